/*
 * kv_layout.h - the shape of the KV cache, the same for every backend, and what it costs.
 *
 * The cache is a pool of blocks of 16 tokens. A block id means the same tokens in every layer. No
 * state; any thread.
 */
#ifndef MISTRAL_BACKEND_KV_LAYOUT_H
#define MISTRAL_BACKEND_KV_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    KV_BLOCK_TOKENS = 16, /* tokens in one block of the KV cache */
    KV_Q8_VALUES = 32,    /* values of a head that share one scale in a q8_0 cache */
};

/* A block-table entry whose block was released (older than the sliding window). Never read. */
#define KV_BLOCK_NONE UINT32_MAX

/* What a key or value is stored as. */
enum kv_element {
    KV_ELEMENT_F16,
    KV_ELEMENT_Q8_0, /* 8 bits each, and an f16 scale for up to KV_Q8_VALUES values of one head: a
                      * token's own, so that no token's keys depend on another's */
    KV_ELEMENT_F32,
    KV_ELEMENT_COUNT,
};

/* One layer's part of a token. */
struct kv_layer {
    size_t head_count;
    size_t key_dim, value_dim; /* values of one head */
    bool values_in_keys; /* a head's value is the first value_dim values of its key: stored once */
};

struct kv_layout {
    size_t layer_count;
    const struct kv_layer *layers; /* [layer_count], borrowed for the call; a cache keeps a copy */
    size_t block_count;            /* the most there can be */
    enum kv_element element;
    bool grows; /* blocks have no storage until kv_grow; else all have from the start */
};

/* "f16", "q8_0", "f32"; the other way round false when there is none of that name. */
const char *kv_element_name(enum kv_element element);
bool kv_element_of_name(const char *name, enum kv_element *element);

/* Bytes of the keys, or of the values, of one head in one block. */
size_t kv_unit_bytes(enum kv_element element, size_t head_dim);
/* Bytes of one layer's keys, and of its values, in one block. */
size_t kv_layer_key_bytes(const struct kv_layer *layer, enum kv_element element);
size_t kv_layer_value_bytes(const struct kv_layer *layer, enum kv_element element);
/* Bytes of one block, keys and values of all layers; false when they do not fit a size_t. */
bool kv_block_bytes(const struct kv_layout *layout, size_t *bytes);

#endif
