/*
 * sampler.h - from logits to one token.
 *
 * Stages, in this order: logit bias; repetition, frequency and presence penalties; temperature 0
 * takes the largest and stops here; top-k; typical; top-p; min-p; temperature; draw. (llama.cpp's
 * order.) Log-probabilities are of the model's own distribution: softmax of the raw logits, before
 * any stage. Nothing allocates after create. One sampler a request; engine thread.
 */
#ifndef MISTRAL_ENGINE_SAMPLER_H
#define MISTRAL_ENGINE_SAMPLER_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct logit_bias {
    int32_t token;
    float bias; /* added to the logit; -INFINITY bans the token */
};

struct sampling_params {
    float temperature;       /* ≥ 0; 0 is greedy */
    int32_t top_k;           /* ≤ 0: off */
    float top_p;             /* 1: off */
    float min_p;             /* 0: off */
    float typical_p;         /* 1: off */
    float repeat_penalty;    /* 1: off; > 0 */
    float presence_penalty;  /* 0: off */
    float frequency_penalty; /* 0: off */
    int32_t repeat_last_n;   /* tokens the penalties look back; 0: off, -1: all; ≤ 2^20 */
    uint64_t seed;           /* same seed, same tokens */
    size_t logit_bias_count;
    const struct logit_bias *logit_bias; /* borrowed while the sampler lives */
};

/* Everything off, temperature 1, repeat_last_n 64. */
struct sampling_params sampling_params_default(void);
/* ERROR_INVALID_ARGUMENT that names the field and its range. */
bool sampling_params_check(const struct sampling_params *params, size_t vocabulary_size,
                           struct error *error);

struct token_logprob {
    int32_t token;
    float logprob; /* natural logarithm */
};

struct sampler;

bool sampler_create(const struct sampling_params *params, size_t vocabulary_size,
                    struct sampler **sampler, struct error *error);
void sampler_free(struct sampler *sampler); /* NULL allowed */

/* Tells the penalties of a token in the sequence: prompt tokens first, then each sampled one. */
void sampler_accept(struct sampler *sampler, int32_t token);

/* logits: [vocabulary_size] f32, read only; NaN is treated as -INFINITY; tokens at +INFINITY share
 * the whole mass. Always a token of the vocabulary, whatever the logits. Does not accept it. Takes
 * one number from the seed's stream, none when greedy. */
int32_t sampler_sample(struct sampler *sampler, const float *logits);

/* The log-probability of `token`, and the `top_count` most likely tokens, best first, ties by lower
 * id. Places past the vocabulary get token -1 and -INFINITY. */
float sampler_logprobs(struct sampler *sampler, const float *logits, int32_t token,
                       struct token_logprob *top, size_t top_count);

#endif
