/* preflight.c - see preflight.h. */
#include "cli/preflight.h"

#include "base/log.h"

#include <string.h>

bool preflight_device(const struct config *config, const struct device_findings *found,
                      struct error *error) {
    bool wants_cuda = strcmp(config->device, "cuda") == 0;
    bool wants_metal = strcmp(config->device, "metal") == 0;
    if (!wants_cuda && !wants_metal) {
        return true;
    }
    bool present = wants_cuda ? found->cuda_count > 0 : found->has_metal;
    if (!present) {
        return error_set(error, ERROR_UNSUPPORTED,
                         "device is %s, but there is none here; found: %s; %s; the CPU. Set device "
                         "to auto or cpu",
                         config->device, found->cuda_text, found->metal_text);
    }
    return error_set(error, ERROR_UNSUPPORTED,
                     "device is %s and this machine has it (%s), but this build computes on the "
                     "CPU only. Set device to auto or cpu",
                     config->device, wants_cuda ? found->cuda_text : found->metal_text);
}

bool preflight_parallel(const struct config *config, const struct device_findings *found,
                        struct error *error) {
    const struct {
        const char *name;
        int64_t size;
    } rows[] = {{"tensor_parallel_size", config->tensor_parallel_size},
                {"pipeline_parallel_size", config->pipeline_parallel_size}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].size > 1) {
            return error_set(error, ERROR_UNSUPPORTED,
                             "%s is %lld, but the model can use 1 device here: the CPU, whatever "
                             "its sockets and cores (found: %s; %s). Set it to 1",
                             rows[i].name, (long long)rows[i].size, found->cuda_text,
                             found->metal_text);
        }
    }
    return true;
}

bool preflight_model_type(const struct config *config, struct error *error) {
    static const struct {
        const char *type, *advice;
    } refused[] = {
        {"lora", "adapters are not applied at run time: merge the adapter into its model, convert "
                 "that to GGUF, and set auto"},
        {"x-lora", "adapters are not applied at run time: merge the adapters into their model, "
                   "convert that to GGUF, and set auto"},
        {"toml", "selector files of mistral.rs are not read: name the model with "
                 "model.default_model, and set auto"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        if (strcmp(config->model_type, refused[i].type) == 0) {
            return error_set(error, ERROR_UNSUPPORTED, "model.model_type is %s: %s",
                             config->model_type, refused[i].advice);
        }
    }
    return true;
}

static void log_not_applicable(const struct config *config) {
    struct string_buffer list = {0};
    config_append_not_applicable(config, DEVICE_CPU, &list);
    if (list.length > 0 && !list.failed) {
        log_event(LOG_INFO, "not_applicable", log_text("device", "cpu"),
                  log_text("settings", list.data), log_text("note", "not applicable on cpu"));
    }
    string_buffer_deinit(&list);
}

bool preflight(const struct config *config, struct error *error) {
    struct device_findings found;
    devices_find(&found);
    if (!preflight_model_type(config, error) || !preflight_device(config, &found, error) ||
        !preflight_parallel(config, &found, error)) {
        return false;
    }
    log_event(LOG_INFO, "device", log_text("device", "cpu"), log_text("asked", config->device),
              log_text("cuda", found.cuda_text), log_text("metal", found.metal_text));
    log_not_applicable(config);
    return true;
}
