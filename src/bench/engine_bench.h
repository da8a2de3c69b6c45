/*
 * engine_bench.h - how fast a model reads a prompt and generates, without server, scheduler,
 * sampler or tokenizer: steps of model/ alone, on the backend that the settings choose.
 *
 * Tokens are arbitrary, and the context that a test begins after is made up, not read: speed
 * depends on shapes and formats, not on values. The caller's thread computes.
 */
#ifndef MISTRAL_BENCH_ENGINE_BENCH_H
#define MISTRAL_BENCH_ENGINE_BENCH_H

#include "backend/backend.h"
#include "base/arithmetic.h"
#include "base/error.h"
#include "model/gguf.h"

#include <stdbool.h>
#include <stddef.h>

struct engine_bench;

struct engine_bench_options {
    struct cpu_backend_options cpu;
    enum kv_element kv_element;
    size_t prefill_chunk; /* most tokens of a step */
    size_t max_streams;   /* of any test */
    size_t max_tokens;    /* of one stream: context and what comes after it */
};

struct engine_bench_test {
    bool generates; /* else it reads a prompt */
    size_t length;  /* tokens read or, by each stream, generated */
    size_t depth;   /* of the context before */
    size_t streams; /* together in each step; 1 for a prompt */
};

/* The GGUF must outlive it. `progress` (may be NULL) hears 0 … 1 as the weights are prepared. */
bool engine_bench_create(const struct gguf *gguf, const struct engine_bench_options *options,
                         void (*progress)(void *context, double fraction), void *context,
                         struct engine_bench **bench, struct error *error);
void engine_bench_free(struct engine_bench *bench); /* NULL allowed */

const char *engine_bench_kernels(const struct engine_bench *bench);

/* Runs the test once. False when `cancelled` (may be NULL) said so between two steps. */
bool engine_bench_run(struct engine_bench *bench, const struct engine_bench_test *test,
                      bool (*cancelled)(void), double *tokens_a_second);

/* The most tokens a second that the machine allows: of an answer by its bandwidth (every weight and
 * every key and value once a step), of a prompt by its arithmetic (a multiplication and an addition
 * for each weight and token, and attention's). 0 where a rate is 0. */
double engine_bench_limit(const struct engine_bench *bench, const struct engine_bench_test *test,
                          double bandwidth, const struct arithmetic *arithmetic);

#endif
