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
    const void *data;   /* [rows] rows of columns / block_values blocks; of a stack: unused */
    size_t rows;        /* outputs; of a stack: of one of its matrices */
    size_t columns;     /* inputs; a multiple of the format's block_values */
    bool is_spare;      /* pages of a file that nobody else reads: they may leave memory once the
                         * backend has its own form, and would come back from the file */
    size_t stack_count; /* matrices of a WEIGHT_STACK or WEIGHT_EXPERTS, else 0 */
    const void *const *stack; /* [stack_count], each as `data` is; the list itself is borrowed for
                               * the call only */
};

enum weight_use {
    WEIGHT_MATRIX,    /* right-hand side of matmul: the backend may repack it */
    WEIGHT_EMBEDDING, /* rows are looked up */
    WEIGHT_VECTOR,    /* one f32 row: norm weights, biases */
    WEIGHT_STACK,     /* matrices of one shape, one a head */
    WEIGHT_EXPERTS,   /* the same, one an expert: a step reads those that its rows use */
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

/* Which two values of a head turn together. */
enum rope_pairing {
    ROPE_INTERLEAVED, /* (2i, 2i + 1): the order in which GGUF stores llama's Q and K */
    ROPE_HALVES,      /* (i, i + pair_count), as GPT-NeoX has it */
};

/* Rotary embedding of the 2 * pair_count values of a head that begin at `first`. Angle = position *
 * frequencies[i]; the result is scaled by magnitude. */
struct rope {
    enum rope_pairing pairing;
    size_t first;
    size_t pair_count;
    const float *frequencies; /* [pair_count], radians a token */
    float magnitude;          /* 1, or YaRN's attention factor */
};

enum { STEP_MAX_ROPES = 2 };

/* A row's queries are multiplied by 1 + scale * ln(1 + floor(position / length)), so that attention
 * stays sharp over long contexts. Scale 0: they are not. */
struct query_temperature {
    float scale;
    size_t length; /* tokens */
};

/* Queries and keys on their way into attention. Of each head of q and k, first the norm, then the
 * rotation; a norm is over the head's first values, as many as its weight has. */
struct attention_input {
    struct activation *q;       /* [rows][head_count * key_dim], in place */
    struct activation *k;       /* [rows][kv heads * key_dim], in place; NULL: the layer reads
                                 * keys and values that another layer stored */
    const struct activation *v; /* [rows][kv heads * value_dim]; NULL: the keys as they were
                                 * before their norm, or what the layer's values are a part of */
    size_t head_count;
    const struct weight *q_norm, *k_norm; /* or NULL: none */
    bool normalise_values;                /* v / sqrt(mean(v²) + epsilon) for each head */
    float epsilon;                        /* of these norms */
    const struct rope *rope;              /* one of the step's; NULL: none */
    struct query_temperature temperature;
};

struct attention_shape {
    size_t head_count; /* a multiple of kv_head_count: grouped-query attention */
    size_t kv_head_count;
    size_t key_dim, value_dim;  /* of one head */
    float scale;                /* of Q·K, 1 / sqrt(key_dim) unless the model says otherwise */
    size_t window;              /* tokens a row sees, itself included; 0: all before it */
    float soft_cap;             /* c: scores become c * tanh(score / c); 0: they stay */
    const struct weight *sinks; /* WEIGHT_VECTOR [head_count]: a score of each head that takes part
                                 * in the softmax and has no value; NULL: none */
};

/* What a gated feed-forward does with its two products g and u. */
enum gate_function {
    GATE_SILU,      /* g sigmoid(g) u */
    GATE_GELU_TANH, /* gelu(g) u, gelu by its approximation with tanh */
    GATE_GELU_ERF,  /* gelu(g) u, exactly */
    GATE_CLAMPED,   /* g' sigmoid(alpha g') (u' + 1), g' at most limit, u' within ± limit */
    GATE_FUNCTIONS,
};

struct gate {
    enum gate_function function;
    float alpha, limit; /* of GATE_CLAMPED */
};

enum matmul_epilogue {
    MATMUL_STORE, /* out = x Wᵀ (+ bias) */
    MATMUL_ADD,   /* out += x Wᵀ (+ bias): the residual stream */
    MATMUL_GATED, /* out = gate(x Wᵀ (+ bias), x W2ᵀ (+ second_bias)): a gated feed-forward's first
                   * half */
};

/* One product of a group that shares its input. */
struct matmul_target {
    const struct weight *weight;
    const struct weight *second; /* W2 of MATMUL_GATED, same shape; else NULL */
    const struct weight *bias;   /* WEIGHT_VECTOR [rows], or NULL */
    const struct weight *second_bias;
    struct activation *out; /* [rows of the batch][weight rows] */
    enum matmul_epilogue epilogue;
    struct gate gate; /* of MATMUL_GATED */
};

enum { MATMUL_MAX_TARGETS = 4 };

/* One part of each head of a row: values [first, first + width) of a head that takes `stride`
 * values, heads one after the other. */
struct head_part {
    size_t stride, first;
};

/* How experts are chosen for a row, from its router logits r [expert_count]. */
enum expert_scoring {
    EXPERTS_SOFTMAX,           /* scores softmax(r), of all experts */
    EXPERTS_SIGMOID,           /* sigmoid(r) */
    EXPERTS_SOFTMAX_OF_CHOSEN, /* r itself chooses; the weights are the softmax of the chosen */
};

struct expert_choice {
    size_t expert_count, used_count; /* of a row */
    enum expert_scoring scoring;
    /* With more than one group (of consecutive experts), only the best `used_groups` groups'
     * experts are chosen from; a group is as good as its two best experts together. */
    size_t group_count, used_groups;
    bool normalise; /* weights are divided by their sum */
    float scale;    /* of the weights */
};

/* A feed-forward of experts: for each row, Σ over its chosen experts e of
 * weight_e (gate(x Gateᵀ_e, x Upᵀ_e) Downᵀ_e + down_bias_e), added in rising order of e. */
struct expert_layer {
    struct expert_choice choice;
    const struct weight *selection_bias; /* [expert_count], added to the scores for the choice
                                          * alone; NULL: none */
    const struct weight *scales;         /* [expert_count], factors of the weights; NULL: none */
    const struct weight *gate, *up;      /* WEIGHT_EXPERTS [expert_count], [d_ff][d_model] */
    const struct weight *down;           /* WEIGHT_EXPERTS [expert_count], [d_model][d_ff] */
    const struct weight *gate_bias, *up_bias, *down_bias; /* WEIGHT_VECTOR [expert_count * rows], or
                                                           * NULL */
    struct gate function;
};

/* What happens to logits after the output matrix: l * scale, then soft_cap * tanh(l / soft_cap). */
struct logits_finish {
    float scale;
    float soft_cap; /* 0: none */
};

/* What sizes the scratch of a step. */
struct scratch_shape {
    size_t max_rows, max_columns; /* of all activations */
    size_t head_dim;              /* the longest key or value of a head */
    size_t rope_count;
    /* Of the feed-forwards of experts; 0: there are none. */
    size_t expert_count, used_experts, expert_length /* d_ff */, expert_width /* d_model */;
};

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
    size_t (*scratch_bytes)(struct backend *backend, const struct scratch_shape *shape);

    /* Scratch of feed-forwards of experts, for as long as the backend lives. Before the first one.
     */
    bool (*experts_reserve)(struct backend *backend, const struct scratch_shape *shape,
                            struct error *error);

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

    /* A step's ops stand between these two. The batch and the ropes, at most STEP_MAX_ROPES, are
     * borrowed until step_end. */
    void (*step_begin)(struct backend *backend, const struct batch *batch, const struct rope *ropes,
                       size_t rope_count);
    void (*step_end)(struct backend *backend);

    /* x[row] = scale * embedding[tokens[row]] */
    void (*embed)(struct backend *backend, const struct weight *embedding, float scale,
                  struct activation *x);
    /* out = x / sqrt(mean(x²) + epsilon) ⊙ weight. The weight has as many values as a row of x, or
     * a part of it has; then each part is normalised by itself. NULL: all ones, over the row. out
     * may be x. */
    void (*norm)(struct backend *backend, const struct activation *x, const struct weight *weight,
                 float epsilon, struct activation *out);
    /* The same, added: out += …. x is used up. */
    void (*norm_add)(struct backend *backend, struct activation *x, const struct weight *weight,
                     float epsilon, struct activation *out);
    /* out = (out + x) * scale, or, without x (NULL), out * scale. */
    void (*add)(struct backend *backend, const struct activation *x, float scale,
                struct activation *out);
    /* out[row] += sigmoid(gate[row]) x[row]; gate [rows][1]. */
    void (*add_gated)(struct backend *backend, const struct activation *x,
                      const struct activation *gate, struct activation *out);
    /* x = gate(x, other), of `other` the columns from first on. */
    void (*gate)(struct backend *backend, const struct gate *gate, const struct activation *other,
                 size_t first, struct activation *x);
    void (*matmul)(struct backend *backend, const struct activation *x,
                   const struct matmul_target *targets, size_t target_count);
    /* out[row][head] = x[row][head] W_headᵀ, over the parts of each head that `from` and `to` name:
     * as wide as the stack's columns and rows. */
    void (*matmul_heads)(struct backend *backend, const struct activation *x, struct head_part from,
                         const struct weight *stack, struct activation *out, struct head_part to);
    /* out[row][head] = x[row][head], `width` values of each of `count` heads. */
    void (*copy_heads)(struct backend *backend, const struct activation *x, struct head_part from,
                       size_t count, size_t width, struct activation *out, struct head_part to);
    /* Norms and rotates q and k, writes k and v into the layer's blocks. */
    void (*attention_input)(struct backend *backend, const struct attention_input *input,
                            struct kv_cache *kv, size_t layer);
    /* out[row][head] = softmax(scale q·K) V over the row's keys: every earlier token of its
     * sequence within the window, and itself. */
    void (*attention)(struct backend *backend, const struct activation *q,
                      const struct kv_cache *kv, size_t layer, const struct attention_shape *shape,
                      struct activation *out);
    /* out = the rows' experts' sum, or with `adds` out += it. router: logits [rows][expert_count].
     */
    void (*experts)(struct backend *backend, const struct activation *x,
                    const struct activation *router, const struct expert_layer *layer, bool adds,
                    struct activation *out);
    /* Final norm and output matrix for the batch's logit rows. logits:
     * [logit_row_count][vocabulary], f32, in host memory, complete when the call returns. */
    void (*logits)(struct backend *backend, const struct activation *x,
                   const struct weight *norm_weight, float epsilon, const struct weight *output,
                   const struct logits_finish *finish, float *logits);
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
    bool mapped_experts; /* the same of experts alone: pages of those that are seldom used may leave
                          * memory, and come back from the file */
    bool plain_attention; /* whole rows of scores, instead of tiles with an online softmax */
};

/* The kernel sets that this processor can run, best first; the last is "portable", the reference.
 * NULL past the end. */
const char *cpu_kernels_offered(size_t index);

/* Refuses kernels that this processor cannot run. */
bool cpu_backend_create(const struct cpu_backend_options *options, struct backend **backend,
                        struct error *error);

#endif
