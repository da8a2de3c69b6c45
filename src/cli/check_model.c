/* check_model.c - mistral check: models folder, model file, memory plan, the speed to expect. */
#include "base/bandwidth.h"
#include "base/bytes.h"
#include "base/file.h"
#include "cli/check.h"
#include "cli/load.h"
#include "cli/terminal.h"
#include "convert/prepare.h"
#include "engine/memory_plan.h"
#include "hub/hub.h"

#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define LITTLE_SPACE     ((uint64_t)2 << 30)
#define MEASURED_BYTES   ((size_t)512 << 20)
#define MEASURED_SECONDS 1.5

static void check_space(struct check *check, const char *folder) {
    struct statvfs status;
    if (statvfs(folder, &status) != 0) {
        return;
    }
    char text[32];
    uint64_t bytes = (uint64_t)status.f_bavail * status.f_frsize;
    terminal_format_bytes(text, sizeof text, bytes);
    bool little = bytes < LITTLE_SPACE;
    check_add(check, little ? CHECK_WARNING : CHECK_OK, "disk",
              little ? "make room before the next pull" : NULL, "%s are free in %s", text, folder);
}

static void check_folder(struct check *check) {
    struct string_buffer folder = {0};
    struct hub_model_list list = {0};
    struct error error = {0};
    if (!hub_models_folder(&check->cli->config, &folder, &error)) {
        check_add(check, CHECK_ERROR, "folder", "set model.path", "%s", error.message);
    } else if (!file_is_directory(string_buffer_text(&folder))) {
        check_add(check, CHECK_WARNING, "folder", "'mistral pull MODEL' makes it",
                  "the models folder %s does not exist", string_buffer_text(&folder));
    } else {
        bool listed = hub_list_models(string_buffer_text(&folder), &list, &error);
        bool writable = access(string_buffer_text(&folder), W_OK) == 0;
        check_add(check, listed && writable ? CHECK_OK : CHECK_WARNING, "folder",
                  !listed    ? "look at its permissions"
                  : writable ? NULL
                             : "models can be used, but 'mistral pull' cannot write there",
                  "%zu models in %s%s%s", list.count, string_buffer_text(&folder),
                  listed ? "" : ": ", listed ? "" : error.message);
        check_space(check, string_buffer_text(&folder));
    }
    hub_model_list_deinit(&list);
    string_buffer_deinit(&folder);
}

static void check_speed(struct check *check, const struct memory_plan *plan) {
    double rate;
    struct error error = {0};
    size_t threads = load_thread_count(&check->cli->config);
    size_t bytes = MEASURED_BYTES;
    if (plan->limits.available_bytes > 0) {
        bytes = size_min(bytes, (size_t)(plan->limits.available_bytes / 4));
    }
    if (!bandwidth_measure(threads, bytes, MEASURED_SECONDS, &rate, &error)) {
        check_add(check, CHECK_WARNING, "speed", NULL, "not measured: %s", error.message);
        return;
    }
    uint64_t read = plan->packed > 0 ? plan->packed : plan->mapped;
    double load = 0;
    bool is_busy = getloadavg(&load, 1) == 1 && load > (double)threads / 2;
    check_add(check, is_busy ? CHECK_WARNING : CHECK_OK, "speed",
              is_busy ? "other programs were at work: measure again without them" : NULL,
              "memory is read at %.1f GB/s with %zu threads; each token reads %.2f GB of weights, "
              "so one answer alone cannot go faster than %.1f tokens/s",
              rate / 1e9, threads, (double)read / 1e9, rate / (double)read);
}

/* Also what it is quantised to, and what that takes on the disk. */
static void say_model(struct check *check, const char *path, const struct outline *outline) {
    char size[32];
    if (!outline->is_converted) {
        check_add(check, CHECK_OK, "model", NULL, "%s", path);
        return;
    }
    uint64_t bytes = gguf_file_bytes(outline->gguf);
    bool is_kept = bytes <= (uint64_t)check->cli->config.quantization_cache_size;
    terminal_format_bytes(size, sizeof size, bytes);
    check_add(check, is_kept ? CHECK_OK : CHECK_WARNING, "model",
              is_kept ? NULL : "raise quantization.cache_size, or 'mistral quantize' it once",
              "%s; it is converted to %s of %s when it is loaded%s", path, size,
              check->cli->config.dynamic_quantization ? check->cli->config.default_quantization
                                                      : "its own format",
              is_kept ? ", once" : ", each time: that is more than quantization.cache_size");
}

static void check_plan(struct check *check, const char *path) {
    struct engine_options engine = load_engine_options(&check->cli->config);
    struct memory_plan plan;
    struct error error = {0};
    struct string_buffer table = {0};
    struct outline outline = {0};
    if (!outline_open(&check->cli->config, path, true, &outline, &error) ||
        !memory_plan_for_gguf(outline.gguf, &engine, check->root, &plan, &error)) {
        check_add(check, CHECK_ERROR, "model", "is it whole? 'mistral pull --verify' compares it",
                  "%s", error.message);
        outline_close(&outline);
        return;
    }
    say_model(check, path, &outline);
    outline_close(&outline);
    memory_plan_append_table(&plan, &table);
    if (table.length > 0) {
        table.data[--table.length] = '\0'; /* the last newline */
    }
    if (!memory_plan_check(&plan, &engine, &error)) {
        const char *advice = strstr(error.message, "Either ");
        check_add(check, CHECK_ERROR, "memory_plan", advice == NULL ? NULL : advice + 7,
                  "does not fit:\n%s", string_buffer_text(&table));
    } else if (plan.kv_blocks < plan.asked_blocks) {
        check_add(check, CHECK_WARNING, "memory_plan", "or give it more memory, or a smaller model",
                  "fits with max_total_tokens %zu instead of the default:\n%s",
                  plan.kv_blocks * KV_BLOCK_TOKENS, string_buffer_text(&table));
    } else {
        check_add(check, CHECK_OK, "memory_plan", NULL, "fits, with %zu tokens of KV pool:\n%s",
                  plan.kv_blocks * KV_BLOCK_TOKENS, string_buffer_text(&table));
    }
    string_buffer_deinit(&table);
    if (!check->quick) {
        check_speed(check, &plan);
    }
}

void check_the_model(struct check *check) {
    struct string_buffer path = {0};
    struct error error = {0};
    check_folder(check);
    if (hub_find_model(&check->cli->config, check->model, &path, &error)) {
        check_plan(check, string_buffer_text(&path));
    } else {
        check_add(check, CHECK_ERROR, "model",
                  "'mistral pull' fetches one; 'mistral list' shows them", "%s", error.message);
    }
    string_buffer_deinit(&path);
}
