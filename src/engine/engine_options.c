/*
 * engine_options.c - what engine.h says of struct engine_options: the defaults, and what cannot be.
 * Pure; any thread.
 */
#include "base/bytes.h"
#include "base/processors.h"
#include "engine/engine.h"
#include "engine/ngram_draft.h"

struct engine_options engine_options_default(void) {
    return (struct engine_options){
        .max_total_tokens = 131072,
        .shrink_kv = true,
        .memory_fraction = 0.9,
        .memory_pooling = true,
        .memory_pool_bytes = (size_t)8 << 30,
        .max_batch_size = 8,
        .max_running_requests = 16,
        .max_waiting_requests = 128,
        .prefill_chunk_size = 512,
        .decode_chunk_size = 256,
        .continuous_batching = true,
        .prefix_caching = true,
        .prefix_cache_bytes = (size_t)2 << 30,
    };
}

bool engine_options_complete(struct engine_options *options, struct error *error) {
    if (options->thread_count == 0) {
        options->thread_count = processors_physical();
    }
    const struct {
        const char *name;
        size_t value;
    } rows[] = {
        {"max_batch_size", options->max_batch_size},
        {"max_running_requests", options->max_running_requests},
        {"prefill_chunk_size", options->prefill_chunk_size},
        {"decode_chunk_size", options->decode_chunk_size},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].value == 0 || rows[i].value > 65536) {
            return error_set(error, ERROR_INVALID_ARGUMENT, "%s is %zu; 1 to 65536 are possible",
                             rows[i].name, rows[i].value);
        }
    }
    options->draft_tokens = size_min(options->draft_tokens, NGRAM_DRAFT_MAX);
    /* What a step can use: a row for each decoding sequence and for each of its guesses. */
    options->decode_chunk_size =
        size_min(options->decode_chunk_size, options->max_batch_size * (1 + options->draft_tokens));
    return true;
}
