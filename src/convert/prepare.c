/* prepare.c - see prepare.h. */
#include "convert/prepare.h"

#include "base/clock.h"
#include "base/log.h"
#include "convert/mix.h"
#include "convert/source.h"

#include <string.h>
#include <sys/mman.h>

#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

static bool check_type(const struct config *config, const char *path, bool is_folder,
                       struct error *error) {
    const char *wanted = config->model_type;
    if (wanted == NULL || strcmp(wanted, is_folder ? "gguf" : "plain") != 0) {
        return true;
    }
    return error_set(error, ERROR_INVALID_ARGUMENT,
                     "model.model_type is %s, and '%s' is a %s; set it to auto", wanted, path,
                     is_folder ? "folder of safetensors" : "file");
}

/* What the model is to become; *mix is NULL when it is loaded as it is. */
static bool choose(const struct config *config, const char *path, struct source *source,
                   const struct mix **mix, struct error *error) {
    bool is_folder = file_is_directory(path);
    *mix = NULL;
    if (config == NULL) {
        return true;
    }
    if (!check_type(config, path, is_folder, error)) {
        return false;
    }
    if (!is_folder && !config->dynamic_quantization) {
        return true;
    }
    struct error reason = {0};
    if (!source_open(path, source, &reason)) {
        *error =
            reason; /* the engine says what is wrong with a GGUF file; what is wrong here may */
        bool is_ours = reason.code == ERROR_OUT_OF_MEMORY || reason.code == ERROR_IO;
        return !is_folder && !is_ours; /* have passed by then, and other weights been loaded */
    }
    const struct quant_format *now = source_main_format(source);
    const struct mix *wanted = mix_of(config->default_quantization);
    bool is_smaller = wanted != NULL && now != NULL && source_is_float(source) &&
                      quant_format_of(wanted->base)->block_bytes * now->block_values <
                          now->block_bytes * quant_format_of(wanted->base)->block_values;
    if (config->dynamic_quantization && is_smaller) {
        *mix = wanted;
    } else if (is_folder) {
        *mix = now == NULL ? NULL : mix_of(now->name);
    }
    return *mix != NULL || !is_folder ||
           error_set(error, ERROR_UNSUPPORTED, "'%s' holds no weights to convert", path);
}

/* A line in the log at every tenth. */
struct logged_watch {
    const struct convert_watch *watch; /* may be NULL */
    const char *path;
    int tenths;
};

static void log_progress(void *context, double fraction) {
    struct logged_watch *logged = context;
    if ((int)(fraction * 10) > logged->tenths) {
        logged->tenths = (int)(fraction * 10);
        log_event(LOG_INFO, "model_converting", log_text("path", logged->path),
                  log_integer("percent", logged->tenths * 10));
    }
    if (logged->watch != NULL && logged->watch->progress != NULL) {
        logged->watch->progress(logged->watch->context, fraction);
    }
}

static bool is_cancelled(void *context) {
    const struct convert_watch *watch = ((const struct logged_watch *)context)->watch;
    return watch != NULL && watch->cancelled != NULL && watch->cancelled(watch->context);
}

static bool make(const struct config *config, const char *name, const char *path,
                 const struct plan *plan, const struct convert_watch *watch,
                 struct prepared *prepared, struct error *error) {
    struct logged_watch logged = {.watch = watch, .path = path};
    const struct convert_watch inner = {log_progress, is_cancelled, &logged};
    int64_t start = clock_now_ns();
    log_event(LOG_INFO, "model_conversion", log_text("path", path),
              log_text("format", plan->mix->name), log_integer("bytes", (int64_t)plan->file_bytes));
    if (!cache_make(name, plan, (uint64_t)config->quantization_cache_size,
                    (size_t)config->num_threads, &inner, &prepared->hold, error)) {
        return false;
    }
    log_event(prepared->hold.is_temporary ? LOG_WARN : LOG_INFO, "model_converted",
              log_text("path", string_buffer_text(&prepared->hold.path)),
              log_text("format", plan->mix->name),
              log_number("seconds", clock_seconds(clock_now_ns() - start)),
              log_text("note", prepared->hold.is_temporary
                                   ? "larger than quantization.cache_size, so it is not kept and "
                                     "will be made again at the next start"
                                   : "kept for the next start"));
    return true;
}

static bool find_or_make(const struct config *config, const char *path, const struct source *source,
                         const struct mix *mix, const struct convert_watch *watch,
                         struct prepared *prepared, struct error *error) {
    struct string_buffer name = {0};
    struct plan plan = {0};
    bool done = cache_entry_name(path, mix, &name, error) &&
                cache_find(string_buffer_text(&name), &prepared->hold, error);
    if (done && prepared->hold.file < 0) {
        done = plan_make(source, mix, &plan, error) &&
               make(config, string_buffer_text(&name), path, &plan, watch, prepared, error);
        plan_free(&plan);
    }
    string_buffer_deinit(&name);
    return done;
}

bool prepare_model(const struct config *config, const char *path, const struct convert_watch *watch,
                   struct prepared *prepared, struct error *error) {
    struct source source = {0};
    const struct mix *mix;
    *prepared = (struct prepared){.hold.file = -1};
    bool done = choose(config, path, &source, &mix, error);
    if (done && mix != NULL) {
        done = find_or_make(config, path, &source, mix, watch, prepared, error);
        prepared->is_converted = done;
        path = string_buffer_text(&prepared->hold.path);
    }
    if (done) {
        string_buffer_append_text(&prepared->path, path);
        done =
            !prepared->path.failed || error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a path");
    }
    if (!done) {
        prepared_release(prepared);
    }
    source_close(&source);
    return done;
}

void prepared_release(struct prepared *prepared) {
    if (prepared->is_converted) {
        cache_release(&prepared->hold);
    }
    string_buffer_deinit(&prepared->path);
    *prepared = (struct prepared){.hold.file = -1};
}

/* Address space as large as the file would be; only the head's pages are there. */
static bool map_outline(const struct plan *plan, const char *path, struct outline *outline,
                        struct error *error) {
    void *bytes = mmap(NULL, plan->file_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (bytes == MAP_FAILED) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no address space for '%s'", path);
    }
    memcpy(bytes, plan->head.data, plan->head.length);
    outline->bytes = bytes;
    outline->length = plan->file_bytes;
    outline->is_converted = true;
    return gguf_open_bytes(path, bytes, outline->length, &outline->gguf, error);
}

bool outline_open(const struct config *config, const char *path, bool as_loaded,
                  struct outline *outline, struct error *error) {
    struct source source = {0};
    struct plan plan = {0};
    const struct mix *mix = NULL;
    *outline = (struct outline){0};
    bool done =
        (!as_loaded && !file_is_directory(path)) || choose(config, path, &source, &mix, error);
    if (done && mix == NULL) {
        done = gguf_open(path, &outline->gguf, error);
    } else if (done) {
        done = plan_make(&source, mix, &plan, error) && map_outline(&plan, path, outline, error);
    }
    plan_free(&plan);
    source_close(&source);
    if (!done) {
        outline_close(outline);
    }
    return done;
}

void outline_close(struct outline *outline) {
    gguf_close(outline->gguf);
    if (outline->bytes != NULL) {
        munmap(outline->bytes, outline->length);
    }
    *outline = (struct outline){0};
}
