/*
 * model.h - a transformer's weights and its forward pass, over backend.h.
 *
 * Owned by one engine; every function runs on the engine thread. The GGUF must outlive the model:
 * weights that a backend uses in the file's own form are read from the map.
 */
#ifndef MISTRAL_MODEL_MODEL_H
#define MISTRAL_MODEL_MODEL_H

#include "backend/backend.h"
#include "base/error.h"
#include "model/description.h"
#include "model/gguf.h"

#include <stddef.h>
#include <stdint.h>

struct model;

struct model_options {
    size_t max_rows;        /* most rows of one step: sizes the activation buffers */
    size_t sequence_length; /* see description_read */
    /* Hears 0 … 1 as tensors are prepared; may be NULL. */
    void (*progress)(void *context, double fraction);
    void *progress_context;
};

/* A missing or misshapen tensor is an error that names it. */
bool model_create(const struct gguf *gguf, struct backend *backend,
                  const struct model_options *options, struct model **model, struct error *error);
void model_free(struct model *model); /* NULL allowed */

const struct model_description *model_description(const struct model *model);

/* What a model will take, added up before it is loaded. */
struct model_needs {
    uint64_t mapped;  /* bytes of the file that stay in use in its own form */
    uint64_t packed;  /* bytes of weights in the backend's form */
    uint64_t scratch; /* bytes of activations and the backend's scratch, for max_rows */
    /* Of the experts: bytes of the file, and what they have of `mapped` and of `packed`. */
    uint64_t experts, mapped_experts, packed_experts;
};

/* A missing or misshapen tensor is an error, as it is for model_create. Any thread. */
bool model_add_up(const struct gguf *gguf, const struct model_description *description,
                  struct backend *backend, size_t max_rows, struct model_needs *needs,
                  struct error *error);

/* Rows of a step whose last hidden states (after the final norm) are added up, in row order and
 * one at a time: the sum does not depend on how the rows were cut into steps. */
struct model_pool {
    size_t first_row, row_count;
    double *sums; /* [embedding_length], added to */
};

/* One step: writes K and V of every row into `kv`, logits [logit_row_count][vocabulary_size], and
 * adds to the sums of pools [pool_count]. */
void model_forward(struct model *model, const struct batch *batch, struct kv_cache *kv,
                   float *logits, const struct model_pool *pools, size_t pool_count);

/* Writes some K and V for every row of the batch and computes nothing else, so that a benchmark can
 * measure at a long context without reading one: its speed does not depend on the values. */
void model_occupy_kv(struct model *model, const struct batch *batch, struct kv_cache *kv);

/* The KV cache's layout for this model and a number of blocks: f16, all there from the start. Its
 * layers are the model's. */
struct kv_layout model_kv_layout(const struct model *model, size_t block_count);

#endif
