/*
 * workload.h - what a load generator asks: prompts of rising complexity, synthetic lengths, shared
 * prefixes, or a recorded trace.
 *
 * Everything follows from the options and the seed: the same ones give the same requests in the
 * same order. Immutable once made. Any thread.
 */
#ifndef MISTRAL_BENCH_WORKLOAD_H
#define MISTRAL_BENCH_WORKLOAD_H

#include "base/arena.h"
#include "base/error.h"
#include "text/tokenizer/tokenizer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How long something is, in tokens. */
struct workload_length {
    enum { LENGTH_FIXED, LENGTH_UNIFORM, LENGTH_LOG_NORMAL } kind;
    double first, second; /* the length; least and most; median and sigma of the logarithm */
};

/* "128", "uniform:64-256", "lognormal:128,0.5". */
bool workload_length_parse(const char *text, const char *option, struct workload_length *length,
                           struct error *error);

struct workload_options {
    size_t requests;                      /* of each scenario */
    struct workload_length max_tokens;    /* most tokens of an answer */
    bool has_prompt_length;               /* synthetic prompts in place of the five */
    struct workload_length prompt_length; /* tokens */
    size_t prefix_tokens, prefix_count;   /* synthetic prompts begin with one of so many prefixes */
    const char *trace_path;               /* JSONL; NULL: none */
    bool vary;                            /* each prompt begins with its own number */
    size_t first_number;                  /* of the first prompt; as many follow as there are */
    uint64_t seed;
    const struct tokenizer *tokenizer; /* counts the words of synthetic prompts; NULL: a word is
                                        * taken for a token */
};

struct workload_request {
    const char *messages; /* JSON: [{"role": "user", "content": …}] */
    size_t scenario;
    int64_t max_tokens;
    double at; /* seconds after the start; of a trace, else 0 */
};

enum { WORKLOAD_MAX_SCENARIOS = 32 };

struct workload {
    struct workload_request *requests; /* [count], in the order in which they are sent */
    size_t count;
    const char *scenarios[WORKLOAD_MAX_SCENARIOS]; /* [scenario_count] */
    size_t scenario_count;
    bool has_arrivals; /* the trace says when */
    const char *kind;  /* "prompts", "synthetic", "shared prefix", "trace" */
    struct arena arena;
};

bool workload_create(const struct workload_options *options, struct workload *workload,
                     struct error *error);
void workload_deinit(struct workload *workload);

#endif
