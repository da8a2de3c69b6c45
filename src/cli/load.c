/* load.c - see load.h. */
#include "cli/load.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/processors.h"
#include "cli/interrupt.h"
#include "cli/terminal.h"
#include "convert/prepare.h"
#include "engine/memory_plan.h"
#include "hub/hub.h"

#include <stdio.h>
#include <string.h>

enum { BAR_WIDTH = 24, REDRAW_NS = 50 * 1000 * 1000 };

struct engine_options load_engine_options(const struct config *config) {
    enum kv_element element = KV_ELEMENT_F16;
    kv_element_of_name(config->kv_cache_dtype, &element); /* a CHOICE: always one of them */
    return (struct engine_options){
        .thread_count = (size_t)config->num_threads,
        .max_sequence_length = (size_t)config->max_sequence_length,
        .max_total_tokens = (size_t)config->max_total_tokens,
        .shrink_kv = !config_is_set(config, KNOB_max_total_tokens),
        .memory_fraction = config->memory_fraction,
        .heap_bytes = config->heap_size,
        .memory_pooling = config->enable_memory_pooling,
        .memory_pool_bytes = (size_t)config->memory_pool_size,
        .kv_element = element,
        .mapped_weights = !config->repack_weights,
        .plain_attention = !config->use_flash_attention,
        .draft_tokens = (size_t)config->draft_tokens,
        .max_batch_size = (size_t)config->max_batch_size,
        .max_running_requests = (size_t)config->max_running_requests,
        .max_waiting_requests = (size_t)config->max_waiting_requests,
        .prefill_chunk_size = (size_t)config->prefill_chunk_size,
        .decode_chunk_size = (size_t)config->decode_chunk_size,
        .continuous_batching = config->enable_continuous_batching,
        .prefix_caching = config->enable_prefix_caching,
        .prefix_cache_bytes = (size_t)config->prefix_cache_size,
        .kernels = config->kernels,
    };
}

size_t load_thread_count(const struct config *config) {
    return config->num_threads > 0 ? (size_t)config->num_threads : processors_physical();
}

struct engine_options load_single_options(const struct config *config, size_t tokens) {
    struct engine_options options = load_engine_options(config);
    options.max_sequence_length = tokens;
    if (tokens > 0) {
        options.max_total_tokens = size_max(tokens, 16) + 15; /* a whole number of blocks of 16 */
    }
    options.max_batch_size = 1;
    options.max_running_requests = 1;
    options.max_waiting_requests = 1;
    return options;
}

struct display {
    const char *name;
    const char *verb; /* "loading", "quantising" */
    int64_t drawn_ns;
};

static void show_progress(void *context, double fraction) {
    struct display *display = context;
    int64_t now = clock_now_ns();
    if (now - display->drawn_ns < REDRAW_NS) {
        return;
    }
    display->drawn_ns = now;
    char line[256];
    snprintf(line, sizeof line, "%s %.40s ", display->verb, display->name);
    terminal_append_bar(line, sizeof line, fraction, BAR_WIDTH);
    terminal_draw_line(line);
}

/* A model that memory has no room for: the sums, above the error that says what to do. */
static void explain_memory(const struct config *config, const char *path,
                           const struct engine_options *options) {
    struct outline outline = {0};
    struct memory_plan plan;
    struct error ignored = {0};
    struct string_buffer table = {0};
    if (outline_open(config, path, true, &outline, &ignored) &&
        memory_plan_for_gguf(outline.gguf, options, "", &plan, &ignored) && !plan.fits) {
        memory_plan_append_table(&plan, &table);
        fprintf(stderr, "memory plan of %s:\n%s", path, string_buffer_text(&table));
    }
    string_buffer_deinit(&table);
    outline_close(&outline);
}

static bool was_interrupted(void *context) {
    (void)context;
    return interrupt_requested();
}

/* Quantises or converts the model where that is to be done, and loads what came of it. */
static bool load_path(const struct config *config, const char *path, struct display *display,
                      const struct engine_options *options, struct engine **engine,
                      struct error *error) {
    struct prepared prepared;
    struct engine_options own = *options;
    const struct convert_watch watch = {show_progress, was_interrupted, display};
    display->verb = "quantising";
    interrupt_catch(); /* what is half written must go */
    bool done = prepare_model(config, path, &watch, &prepared, error);
    interrupt_release();
    if (done && interrupt_requested()) {
        prepared_release(&prepared);
        done = error_set(error, ERROR_CANCELLED, "stopped");
    }
    if (!done) {
        return false;
    }
    display->verb = "loading";
    own.source_path = path;
    done = engine_create(string_buffer_text(&prepared.path), &own, show_progress, display, engine,
                         error);
    prepared_release(&prepared);
    return done;
}

bool load_model(const struct cli *cli, const char *name, const struct engine_options *options,
                struct generator *generator, struct error *error) {
    *generator = (struct generator){0};
    if (!mailbox_init(&generator->replies, NULL, NULL)) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a mailbox");
    }
    struct string_buffer path = {0};
    const char *slash = strrchr(name, '/');
    struct display display = {.name = slash == NULL ? name : slash + 1};
    bool done = hub_find_model(&cli->config, name, &path, error) &&
                load_path(&cli->config, string_buffer_text(&path), &display, options,
                          &generator->engine, error);
    terminal_clear_line();
    if (!done && error->code == ERROR_OUT_OF_MEMORY) {
        explain_memory(&cli->config, string_buffer_text(&path), options);
    }
    string_buffer_deinit(&path);
    if (!done) {
        mailbox_deinit(&generator->replies);
    }
    return done;
}
