/* system_information.c - see system_information.h. */
#include "bench/system_information.h"

#include "base/clock.h"
#include "base/devices.h"
#include "base/file.h"
#include "base/memory_limits.h"
#include "base/processors.h"
#include "build_info.h"
#include "hub/digest.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

void system_information_deinit(struct system_information *information) {
    arena_deinit(&information->arena);
    *information = (struct system_information){0};
}

static bool add(struct system_information *information, struct system_fact fact,
                struct error *error) {
    if (information->count == SYSTEM_INFORMATION_MAX) {
        return true;
    }
    fact.text = arena_copy_text(&information->arena, fact.text, strlen(fact.text));
    if (fact.text == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the system's description");
    }
    information->facts[information->count++] = fact;
    return true;
}

bool system_information_add(struct system_information *information, const char *key,
                            const char *label, const char *text, struct error *error) {
    return add(information, (struct system_fact){.key = key, .label = label, .text = text}, error);
}

bool system_information_add_number(struct system_information *information, const char *key,
                                   const char *label, double number, const char *text,
                                   struct error *error) {
    const struct system_fact fact = {
        .key = key, .label = label, .text = text, .is_number = true, .number = number};
    return add(information, fact, error);
}

static bool add_count(struct system_information *information, const char *key, const char *label,
                      double number, struct error *error) {
    char text[32];
    snprintf(text, sizeof text, "%.0f", number);
    return system_information_add_number(information, key, label, number, text, error);
}

static bool add_bytes(struct system_information *information, const char *key, const char *label,
                      double bytes, struct error *error) {
    char text[48];
    snprintf(text, sizeof text, bytes < 0x1p30 ? "%.1f MiB" : "%.1f GiB",
             bytes < 0x1p30 ? bytes / 0x1p20 : bytes / 0x1p30);
    return system_information_add_number(information, key, label, bytes, text, error);
}

static bool add_time(struct system_information *information, struct error *error) {
    time_t now = (time_t)(clock_wall_ns() / 1000000000);
    struct tm parts;
    char text[32] = "";
    if (gmtime_r(&now, &parts) != NULL) {
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    }
    return system_information_add(information, "time", "Time", text, error);
}

static bool add_system(struct system_information *information, struct error *error) {
    struct utsname name;
    char text[512] = "unknown";
    if (uname(&name) == 0) {
        snprintf(text, sizeof text, "%.100s %.150s, %.60s", name.sysname, name.release,
                 name.machine);
    }
    return system_information_add(information, "os", "Operating system", text, error);
}

/* What this program computes on: the processor, unless a GPU is found that its kernels can use. */
static bool add_devices(struct system_information *information, struct error *error) {
    struct device_findings found;
    char text[512];
    devices_find(&found);
    snprintf(text, sizeof text, "CPU (%s; %s)", found.cuda_text, found.metal_text);
    return system_information_add(information, "device", "Device", text, error);
}

bool system_information_read(struct system_information *information, struct error *error) {
    char processor[128];
    struct memory_limits limits;
    processors_read_name("", processor, sizeof processor);
    memory_limits_read("", &limits);
    return add_time(information, error) &&
           system_information_add(information, "cpu", "Processor", processor, error) &&
           add_count(information, "cores", "Cores, physical", (double)processors_physical(),
                     error) &&
           add_count(information, "processors", "Processors, logical",
                     (double)sysconf(_SC_NPROCESSORS_ONLN), error) &&
           add_bytes(information, "memory_bytes", "Memory", (double)limits.machine_bytes, error) &&
           (limits.cgroup_bytes == 0 || add_bytes(information, "memory_limit_bytes", "Memory limit",
                                                  (double)limits.cgroup_bytes, error)) &&
           add_system(information, error) && add_devices(information, error) &&
           system_information_add(information, "engine_version", "mistral.c", MISTRAL_VERSION,
                                  error) &&
           system_information_add(information, "commit", "Commit", MISTRAL_BUILD_COMMIT, error);
}

bool system_information_add_settings(struct system_information *information,
                                     const struct config *config, enum config_reader reader,
                                     struct error *error) {
    struct string_buffer text = {0};
    config_append_changed(config, reader, &text);
    bool done = text.failed ? error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the settings")
                            : system_information_add(information, "settings",
                                                     "Settings beside the defaults",
                                                     text.length == 0 ? "none" : text.data, error);
    string_buffer_deinit(&text);
    return done;
}

bool system_information_add_model(struct system_information *information, const char *path,
                                  struct error *error) {
    struct mapped_file file;
    if (!file_map(path, &file, error)) {
        return false;
    }
    char hex[DIGEST_HEX_BYTES];
    struct digest *digest = digest_create();
    bool hashed =
        digest != NULL && digest_update(digest, file.data, file.size) && digest_finish(digest, hex);
    digest_free(digest);
    double bytes = (double)file.size;
    bool is_sound = file_check(&file, path, error);
    file_unmap(&file);
    const char *slash = strrchr(path, '/');
    return is_sound && (hashed || error_set(error, ERROR_IO, "'%s' cannot be hashed", path)) &&
           system_information_add(information, "model_file", "Model file",
                                  slash == NULL ? path : slash + 1, error) &&
           add_bytes(information, "model_bytes", "Model size", bytes, error) &&
           system_information_add(information, "model_sha256", "Model SHA-256", hex, error);
}

const char *system_information_find(const struct system_information *information, const char *key) {
    for (size_t i = 0; i < information->count; i++) {
        if (strcmp(information->facts[i].key, key) == 0) {
            return information->facts[i].text;
        }
    }
    return NULL;
}
