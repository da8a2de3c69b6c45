/*
 * hyperparameters.h - a model's shape, read from GGUF metadata and checked.
 *
 * After read, every size is non-zero and bounded, heads divide, and products fit in size_t. Pure.
 */
#ifndef MISTRAL_MODEL_HYPERPARAMETERS_H
#define MISTRAL_MODEL_HYPERPARAMETERS_H

#include "base/arena.h"
#include "base/error.h"
#include "model/gguf.h"

#include <stdbool.h>
#include <stddef.h>

enum rope_scaling { ROPE_SCALING_NONE, ROPE_SCALING_LINEAR, ROPE_SCALING_YARN };

struct hyperparameters {
    char architecture[32];
    size_t layer_count;
    size_t embedding_length; /* d_model */
    size_t feed_forward_length;
    size_t head_count;
    size_t kv_head_count;
    size_t head_dim;
    size_t vocabulary_size;
    size_t context_length; /* tokens the model was trained for */
    float norm_epsilon;
    float attention_scale;
    size_t sliding_window;        /* tokens; 0: none */
    const bool *layer_has_window; /* [layer_count]; in the arena */

    size_t rope_dimensions; /* of each head, even */
    float rope_base;
    enum rope_scaling rope_scaling;
    float rope_factor;           /* context extension, ≥ 1 with scaling */
    size_t rope_original_length; /* context before extension; YaRN */
    float yarn_extrapolation;    /* 1 unless the file says otherwise */
    float yarn_attention_factor;
    float yarn_beta_fast, yarn_beta_slow;
};

/* An architecture this program does not know is ERROR_UNSUPPORTED and named. */
bool hyperparameters_read(const struct gguf *gguf, struct arena *arena,
                          struct hyperparameters *hyperparameters, struct error *error);

/* Radians a token for each pair, [rope_dimensions / 2], and the magnitude of the rotated vectors.
 * `factors` [rope_dimensions / 2] divide the frequencies (Llama 3's rope_freqs tensor), or NULL. */
void rope_frequencies(const struct hyperparameters *hyperparameters, const float *factors,
                      float *frequencies, float *magnitude);

#endif
