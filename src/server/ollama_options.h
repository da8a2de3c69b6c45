/*
 * ollama_options.h - `options` and `keep_alive` as Ollama's clients send them.
 *
 * Pure; any thread.
 */
#ifndef MISTRAL_SERVER_OLLAMA_OPTIONS_H
#define MISTRAL_SERVER_OLLAMA_OPTIONS_H

#include "base/arena.h"
#include "base/string_view.h"
#include "engine/sampler.h"
#include "server/api_error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ollama_options {
    struct arena *arena; /* where texts are copied to */
    int64_t num_ctx;     /* tokens; ≤ 0: the model's own. Never more than that */
    int64_t num_keep;    /* tokens at the start of a prompt that a cut leaves there */
    int64_t num_predict; /* ≤ 0: until the context is full */
    int64_t seed;        /* -1: a fresh one */
    int64_t top_k, repeat_last_n;
    struct sampling_params sampling; /* but for seed, top_k and repeat_last_n above */
    struct string_view *stops;       /* [stop_count] */
    size_t stop_count;
};

/* Ollama's defaults, with this temperature. */
struct ollama_options ollama_options_default(struct arena *arena, float temperature);

/* Reads an object over what is there: call it for the model's own parameters, then for the
 * request's. NULL and null change nothing. Options that mean nothing here are ignored and named, a
 * few of them, in one log line. */
bool ollama_options_read(const json_t *object, struct ollama_options *options,
                         struct api_error *error);

/* Whether an option of that name means something here. */
bool ollama_options_knows(const char *name);

/* What the engine is asked for; a seed is drawn when there is none. */
bool ollama_options_sampling(const struct ollama_options *options, size_t vocabulary_size,
                             struct sampling_params *sampling, struct api_error *error);

/* Seconds from a number, or from a Go duration ("10m", "1h30m", "-1s"); a text that is only a
 * number is seconds too. Negative: for ever. NULL and null leave *seconds as it is. */
bool ollama_keep_alive_read(const json_t *value, double *seconds, struct api_error *error);

#endif
