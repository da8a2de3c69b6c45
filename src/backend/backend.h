/*
 * backend.h - the ops a device must offer; the forward pass is written over these and nothing else.
 *
 * A step works on a ragged batch: rows of several sequences, prompt chunks and decode rows
 * together. Ops are coarse, so that a backend can fuse inside them. Activations live in buffers the
 * backend owns, in the element type it likes (f32 on a CPU, 16-bit on a GPU): callers pass handles
 * and never look inside.
 *
 * Reproducible by design: what an op computes for one row depends on that row's sequence alone,
 * never on the other rows, the chunking or the number of threads. Kernels sum in one fixed order
 * for one row or many; attention visits keys in tiles at fixed positions. tests/ops holds every
 * backend to that.
 *
 * Thread: everything here is called by the engine thread alone (create and free too).
 */
#ifndef MISTRAL_BACKEND_BACKEND_H
#define MISTRAL_BACKEND_BACKEND_H

#include "backend/kv_layout.h"
#include "base/error.h"
#include "quant/quant.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct backend;
struct weight;     /* a matrix or vector in the backend's own form */
struct activation; /* [max_rows][columns] */
struct kv_cache;

/* A tensor's bytes as they stand in a file: rows of blocks. Borrowed; mapped for the model's life.
 */
struct weight_source {
    const struct quant_format *format;
    const void *data; /* [rows] rows of columns / block_values blocks */
    size_t rows;      /* outputs */
    size_t columns;   /* inputs; a multiple of the format's block_values */
    bool is_spare;    /* pages of a file that nobody else reads: they may leave memory once the
                       * backend has its own form, and would come back from the file */
};

enum weight_use {
    WEIGHT_MATRIX,    /* right-hand side of matmul: the backend may repack it */
    WEIGHT_EMBEDDING, /* rows are looked up */
    WEIGHT_VECTOR,    /* one f32 row: norm weights, biases */
};

/* One sequence's part of a step. Its rows are consecutive; row i has position `position + i`. */
struct batch_span {
    size_t first_row;
    size_t row_count;
    size_t position;             /* of the first row, in tokens from the sequence's start */
    const uint32_t *block_table; /* [ceil((position + row_count) / KV_BLOCK_TOKENS)] */
};

struct batch {
    size_t row_count;
    const int32_t *tokens; /* [row_count], below the vocabulary size */
    size_t span_count;
    const struct batch_span *spans; /* [span_count], in row order, covering every row once */
    size_t logit_row_count;
    const uint32_t *logit_rows; /* [logit_row_count], increasing: rows whose logits are wanted */
};

/* Rotary embedding on pairs (2i, 2i+1) of the first 2 * pair_count values of a head (the order in
 * which GGUF stores llama's Q and K). Angle = position * frequencies[i]; the result is scaled by
 * magnitude. */
struct rope {
    size_t pair_count;
    const float *frequencies; /* [pair_count], radians a token */
    float magnitude;          /* 1, or YaRN's attention factor */
};

struct attention_shape {
    size_t head_count; /* a multiple of kv_head_count: grouped-query attention */
    size_t kv_head_count;
    size_t head_dim;
    float scale;   /* of Q·K, 1 / sqrt(head_dim) unless the model says otherwise */
    size_t window; /* tokens a row sees, itself included; 0: all before it */
};

enum matmul_epilogue {
    MATMUL_STORE, /* out = x Wᵀ (+ bias) */
    MATMUL_ADD,   /* out += x Wᵀ (+ bias): the residual stream */
    MATMUL_SILU_MUL, /* out = silu(x Wᵀ (+ bias)) ⊙ (x W2ᵀ (+ second_bias)): a gated feed-forward's
                      * first half */
};

/* One product of a group that shares its input. */
struct matmul_target {
    const struct weight *weight;
    const struct weight *second; /* W2 of MATMUL_SILU_MUL, same shape; else NULL */
    const struct weight *bias;   /* WEIGHT_VECTOR [rows], or NULL */
    const struct weight *second_bias;
    struct activation *out; /* [rows of the batch][weight rows] */
    enum matmul_epilogue epilogue;
};

enum { MATMUL_MAX_TARGETS = 4 };

struct backend_ops {
    const char *name; /* "cpu" */
    void (*free)(struct backend *backend);

    /* *out borrows source->data, for as long as it lives: where the form is the file's own, and
     * where it is repacked, which may be put off until the first use. */
    bool (*weight_create)(struct backend *backend, const struct weight_source *source,
                          enum weight_use use, struct weight **out, struct error *error);
    void (*weight_free)(struct backend *backend, struct weight *weight);
    /* What weight_create would take of memory; 0: it would use the source where it stands. */
    size_t (*weight_bytes)(struct backend *backend, const struct weight_source *source,
                           enum weight_use use);
    /* Repacks some of a weight that is still to be, between steps, for a few milliseconds. False:
     * there is none. */
    bool (*prepare)(struct backend *backend);
    /* Scratch of steps of so many rows, besides the activations. */
    size_t (*scratch_bytes)(struct backend *backend, size_t max_rows, size_t max_columns,
                            size_t head_dim);

    bool (*activation_create)(struct backend *backend, size_t max_rows, size_t columns,
                              struct activation **out, struct error *error);
    void (*activation_free)(struct backend *backend, struct activation *activation);
    /* f32 [rows][columns] to and from host memory, outside a step. */
    void (*activation_write)(struct backend *backend, struct activation *activation, size_t rows,
                             const float *values);
    void (*activation_read)(struct backend *backend, const struct activation *activation,
                            size_t rows, float *values);

    bool (*kv_create)(struct backend *backend, const struct kv_layout *layout,
                      struct kv_cache **out, struct error *error);
    void (*kv_free)(struct backend *backend, struct kv_cache *kv);
    /* Of a layout that grows: blocks [0, block_count) can be used from now on, where they could not
     * before. Between steps. On failure the cache is as it was. */
    bool (*kv_grow)(struct backend *backend, struct kv_cache *kv, size_t block_count,
                    struct error *error);

    /* A step's ops stand between these two. The batch and rope are borrowed until step_end. */
    void (*step_begin)(struct backend *backend, const struct batch *batch, const struct rope *rope);
    void (*step_end)(struct backend *backend);

    /* x[row] = embedding[tokens[row]] */
    void (*embed)(struct backend *backend, const struct weight *embedding, struct activation *x);
    /* out[row] = x[row] / sqrt(mean(x²) + epsilon) ⊙ weight */
    void (*norm)(struct backend *backend, const struct activation *x, const struct weight *weight,
                 float epsilon, struct activation *out);
    void (*matmul)(struct backend *backend, const struct activation *x,
                   const struct matmul_target *targets, size_t target_count);
    /* Rotates q [rows][heads][head_dim] and k in place, writes k and v [rows][kv_heads][head_dim]
     * into the layer's blocks. */
    void (*rope_store)(struct backend *backend, struct activation *q, struct activation *k,
                       const struct activation *v, size_t head_count, struct kv_cache *kv,
                       size_t layer);
    /* out[row][head] = softmax(scale q·K) V over the row's keys: every earlier token of its
     * sequence within the window, and itself. */
    void (*attention)(struct backend *backend, const struct activation *q,
                      const struct kv_cache *kv, size_t layer, const struct attention_shape *shape,
                      struct activation *out);
    /* Final norm and output matrix for the batch's logit rows. logits:
     * [logit_row_count][vocabulary], f32, in host memory, complete when the call returns. */
    void (*logits)(struct backend *backend, const struct activation *x,
                   const struct weight *norm_weight, float epsilon, const struct weight *output,
                   float *logits);
    /* out[i] = final norm of x[first_row + i]: [row_count][d_model], f32, in host memory, complete
     * when the call returns. */
    void (*hidden)(struct backend *backend, const struct activation *x,
                   const struct weight *norm_weight, float epsilon, size_t first_row,
                   size_t row_count, float *out);
};

struct backend {
    const struct backend_ops *ops;
    const char *kernels; /* the chosen kernels, for the log: "avx2", "portable" */
};

struct cpu_backend_options {
    size_t thread_count; /* at least 1; the engine thread is one of them */
    const char *kernels; /* the set to run, as cpu_kernels_offered names it; NULL, "auto": the best.
                          * Borrowed for the call */
    bool mapped_weights; /* matrices stay in the source's form, and each piece is packed when it is
                          * multiplied: slower, the same results, and no memory for a second form */
    bool plain_attention; /* whole rows of scores, instead of tiles with an online softmax */
};

/* The kernel sets that this processor can run, best first; the last is "portable", the reference.
 * NULL past the end. */
const char *cpu_kernels_offered(size_t index);

/* Refuses kernels that this processor cannot run. */
bool cpu_backend_create(const struct cpu_backend_options *options, struct backend **backend,
                        struct error *error);

#endif
