/*
 * description.h - an architecture as data: what each layer of a model is made of, its sizes, and
 * the numbers of its arithmetic. The forward pass (model.h) walks it and knows nothing else.
 *
 * Families (family.h) fill it from a file's metadata. After description_read every size is bounded,
 * heads divide, and products of two or three sizes fit in size_t. It lives in the caller's arena.
 * Immutable after that; any thread.
 */
#ifndef MISTRAL_MODEL_DESCRIPTION_H
#define MISTRAL_MODEL_DESCRIPTION_H

#include "backend/backend.h"
#include "base/arena.h"
#include "base/error.h"
#include "model/gguf.h"

#include <stdbool.h>
#include <stddef.h>

/* What a layer has. Each part brings its tensors (tensors.c) and its steps of the forward pass. */
enum layer_part {
    PART_ATTENTION = 1 << 0,    /* queries from one matrix, or, with PART_LATENT, see there */
    PART_KEYS = 1 << 1,         /* stores keys; without it the layer reads another one's */
    PART_VALUES = 1 << 2,       /* a matrix of its own for values; without it they are its keys */
    PART_VALUE_NORM = 1 << 3,   /* values are normalised, without weights */
    PART_QK_NORM = 1 << 4,      /* RMS norms of each head of queries and keys */
    PART_SINKS = 1 << 5,        /* attention sinks, one a head */
    PART_LATENT = 1 << 6,       /* latent attention (MLA) in place of keys and values */
    PART_LATENT_QUERY = 1 << 7, /* its queries too come from a latent vector */
    PART_ATTENTION_POST_NORM = 1 << 8,    /* a norm of attention's output before it is added */
    PART_FEED_FORWARD_POST_NORM = 1 << 9, /* the same of the feed-forward's */
    PART_DENSE = 1 << 10,                 /* one gated feed-forward */
    PART_EXPERTS = 1 << 11,               /* a router and experts */
    PART_SHARED_EXPERT = 1 << 12,         /* an expert that every row takes */
    PART_SHARED_GATE = 1 << 13,           /* its output is weighted by a sigmoid */
    PART_EXPERT_NORMS = 1 << 14,          /* experts beside a dense feed-forward, each between norms
                                           * of its own (Gemma 4) */
    PART_LAYER_EMBEDDING = 1 << 15, /* an embedding of the token for this layer (Gemma 3n, 4) */
};

/* Of attention that keeps one latent vector a token (DeepSeek-AI 2024, section 2.1), in the form
 * where the up-projections of keys and values are absorbed into queries and output. */
struct latent_attention {
    size_t query_rank; /* 0: queries come straight from the layer's input */
    size_t rank;       /* values of the latent vector */
    size_t plain_dim;  /* of a head's query: compared with the latent vector */
    size_t rope_dim;   /* of a head's query: compared with the rotated key that heads share */
    size_t value_dim;  /* of a head's output */
};

enum { ROPE_NONE = STEP_MAX_ROPES }; /* an index: the layer rotates nothing */

struct layer_description {
    unsigned parts; /* of enum layer_part */
    size_t head_count, kv_head_count;
    size_t key_dim, value_dim; /* of a head, as the cache has them */
    float attention_scale;
    size_t window;   /* tokens a row sees; 0: all */
    size_t rope;     /* index into the ropes, or ROPE_NONE */
    size_t kv_layer; /* of the cache: its own, or the one whose keys it reads */
    size_t feed_forward_length;
};

enum rope_scaling {
    ROPE_SCALING_NONE,
    ROPE_SCALING_LINEAR,
    ROPE_SCALING_YARN,
    ROPE_SCALING_LONG, /* factors for short and for long contexts (LongRoPE) */
};

struct rope_description {
    enum rope_pairing pairing;
    size_t first, dimensions; /* of a head; dimensions even */
    float base;
    enum rope_scaling scaling;
    float factor;           /* context extension */
    size_t original_length; /* context before extension */
    float yarn_extrapolation, yarn_beta_fast, yarn_beta_slow;
    float magnitude;            /* of rotated vectors */
    const char *factors_tensor; /* divides the frequencies, [dimensions / 2], where the file has it;
                                 * NULL: none is looked for */
};

struct expert_description {
    struct expert_choice choice; /* expert_count 0: the model has none */
    size_t length;               /* d_ff of an expert */
    size_t shared_length;        /* of the shared expert */
    float router_scale;          /* of the router's norm weight (PART_EXPERT_NORMS) */
};

struct model_description {
    char architecture[32];   /* general.architecture */
    size_t layer_count;      /* without those that only predict further tokens */
    size_t embedding_length; /* d_model */
    size_t vocabulary_size;
    size_t context_length; /* tokens the model was trained for */
    float norm_epsilon;
    struct layer_description *layers; /* [layer_count] */
    struct rope_description ropes[STEP_MAX_ROPES];
    size_t rope_count;
    struct gate gate; /* of the feed-forwards */
    struct expert_description experts;
    struct latent_attention latent;
    size_t layer_embedding_length; /* of PART_LAYER_EMBEDDING */
    float embedding_scale;
    float residual_scale; /* of a branch before it is added: 1 */
    float attention_soft_cap;
    struct query_temperature query_temperature;
    struct logits_finish logits;
    bool parallel; /* attention and feed-forward read the same norm, side by side */
    size_t kv_layer_count;
    struct kv_layer *kv_layers; /* [kv_layer_count] */
};

/* sequence_length: the longest sequence that will be run, 0 for context_length; models with factors
 * for short and for long contexts choose by it. An architecture this program does not know is
 * ERROR_UNSUPPORTED and named, beside those it runs. */
bool description_read(const struct gguf *gguf, size_t sequence_length, struct arena *arena,
                      struct model_description *description, struct error *error);

/* The longest window that all layers have, 0 where one of them sees everything: blocks older than
 * that can be given up. */
size_t description_common_window(const struct model_description *description);

/* Radians a token for each pair, [dimensions / 2]. `factors` [dimensions / 2] divide them, or NULL.
 */
void rope_frequencies(const struct rope_description *rope, const float *factors,
                      float *frequencies);

/* The architectures that this program runs, in the order of its list; NULL past the end. */
const char *description_architecture(size_t index);

#endif
