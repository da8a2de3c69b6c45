/*
 * workload_internal.h - what the files that make workloads share. See workload.h.
 */
#ifndef MISTRAL_BENCH_WORKLOAD_INTERNAL_H
#define MISTRAL_BENCH_WORKLOAD_INTERNAL_H

#include "base/random.h"
#include "base/string_buffer.h"
#include "bench/workload.h"

/* Appends words that make `tokens` tokens, or a little more. */
void workload_append_words(const struct tokenizer *tokenizer, size_t tokens,
                           struct random_state *random, struct string_buffer *text);

/* A conversation of one message. */
bool workload_set_prompt(struct workload *workload, struct workload_request *request,
                         const char *text, size_t length, struct error *error);

/* workload_trace.c */
bool workload_read_trace(const struct workload_options *options, struct workload *workload,
                         struct random_state *random, struct error *error);

#endif
