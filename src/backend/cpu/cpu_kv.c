/*
 * cpu_kv.c - the CPU's KV cache: its memory, and keys and values in each element type.
 *
 * Owns the address space of the blocks. Pages are touched when tokens are written, so a cache that
 * is reserved whole costs what has been used of it. Storing and reading run on any thread of the
 * pool, for different tokens; creating and growing on the engine thread, between steps.
 */
#include "backend/cpu/cpu.h"

#include "base/bytes.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- memory ---- */

void *cpu_reserve(size_t bytes, bool usable) {
#ifdef MAP_NORESERVE
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
#else
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
#endif
    void *memory = mmap(NULL, bytes, usable ? PROT_READ | PROT_WRITE : PROT_NONE, flags, -1, 0);
    if (memory == MAP_FAILED) {
        return NULL;
    }
    cpu_ask_for_huge_pages(memory, bytes);
    return memory;
}

void cpu_release(void *memory, size_t bytes) {
    if (memory != NULL) {
        munmap(memory, bytes);
    }
}

/* Where each layer's units lie in a block. */
static bool place_layers(struct cpu_kv *kv) {
    const struct kv_layout *layout = &kv->layout;
    size_t total;
    kv->layers = calloc(layout->layer_count, sizeof *kv->layers);
    if (kv->layers == NULL || !kv_block_bytes(layout, &total)) {
        return false;
    }
    for (size_t i = 0; i < layout->layer_count; i++) {
        struct cpu_kv_layer *layer = &kv->layers[i];
        layer->shape = layout->layers[i];
        layer->keys_at = kv->block_key_bytes;
        layer->values_at = kv->block_value_bytes;
        layer->key_bytes = kv_unit_bytes(layout->element, layer->shape.key_dim);
        if (!layer->shape.values_in_keys) {
            layer->value_bytes = kv_unit_bytes(layout->element, layer->shape.value_dim);
        }
        kv->block_key_bytes += kv_layer_key_bytes(&layer->shape, layout->element);
        kv->block_value_bytes += kv_layer_value_bytes(&layer->shape, layout->element);
    }
    kv->layout.layers = NULL; /* the caller's */
    return true;
}

static bool reserve(struct cpu_kv *kv) {
    const struct kv_layout *layout = &kv->layout;
    if (!size_multiply(kv->block_key_bytes, layout->block_count, &kv->key_space) ||
        !size_multiply(kv->block_value_bytes, layout->block_count, &kv->value_space) ||
        kv->key_space == 0) {
        return false;
    }
    kv->keys = cpu_reserve(kv->key_space, !layout->grows);
    kv->values = kv->value_space == 0 ? NULL : cpu_reserve(kv->value_space, !layout->grows);
    return kv->keys != NULL && (kv->value_space == 0 || kv->values != NULL);
}

bool cpu_kv_create(struct cpu_backend *cpu, const struct kv_layout *layout, struct cpu_kv **out,
                   struct error *error) {
    struct cpu_kv *kv = calloc(1, sizeof *kv);
    if (kv == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the KV cache");
    }
    kv->layout = *layout;
    size_t floats = 0;
    bool done = place_layers(kv) && reserve(kv);
    if (done && cpu->plain_attention) { /* a row of scores as long as a sequence can be */
        floats = size_max(layout->block_count * KV_BLOCK_TOKENS, cpu->plain_scores_floats);
        size_t was = cpu->thread_count * cpu->plain_scores_floats * sizeof(float);
        cpu_release(cpu->plain_scores, was);
        cpu->plain_scores_floats = floats;
        cpu->plain_scores = cpu_reserve(cpu->thread_count * floats * sizeof(float), true);
        done = cpu->plain_scores != NULL;
    }
    if (!done) {
        cpu_kv_free(kv);
        return error_set(error, ERROR_OUT_OF_MEMORY,
                         "no memory for a KV cache of %zu tokens; lower max_total_tokens or "
                         "memory_pool_size",
                         layout->block_count * KV_BLOCK_TOKENS);
    }
    *out = kv;
    return true;
}

void cpu_kv_free(struct cpu_kv *kv) {
    cpu_release(kv->keys, kv->key_space);
    cpu_release(kv->values, kv->value_space);
    free(kv->layers);
    free(kv);
}

/* Of `space` bytes, the first `used` from now on. A huge page lies in usable memory whole. */
static bool make_usable(uint8_t *memory, size_t used, size_t space) {
    size_t bytes = size_min(size_divide_up(used, HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES, space);
    return space == 0 || mprotect(memory, bytes, PROT_READ | PROT_WRITE) == 0;
}

bool cpu_kv_grow(struct cpu_kv *kv, size_t block_count, struct error *error) {
    size_t blocks = size_min(block_count, kv->layout.block_count);
    if (!make_usable(kv->keys, blocks * kv->block_key_bytes, kv->key_space) ||
        !make_usable(kv->values, blocks * kv->block_value_bytes, kv->value_space)) {
        return error_set(error, ERROR_OUT_OF_MEMORY,
                         "no memory for a KV cache of %zu tokens; lower max_total_tokens",
                         block_count * KV_BLOCK_TOKENS);
    }
    return true;
}

/* ---- element types ---- */

/* How one token's vector of one head is written: a key goes down a column of [dim][16], a value
 * along a row of [16][dim]. */
struct slot {
    uint8_t *unit;
    size_t index, dim;
    bool is_key;
    const struct cpu_kernels *kernels;
};

static void store_f16(const struct slot *slot, const float *from) {
    uint16_t *unit = (uint16_t *)(void *)slot->unit;
    if (!slot->is_key) {
        slot->kernels->narrow_f16(from, unit + slot->index * slot->dim, slot->dim);
        return;
    }
    enum { RUN = 64 };
    for (size_t first = 0; first < slot->dim; first += RUN) {
        size_t count = size_min(RUN, slot->dim - first);
        uint16_t halves[RUN];
        slot->kernels->narrow_f16(from + first, halves, count);
        for (size_t i = 0; i < count; i++) {
            unit[(first + i) * KV_BLOCK_TOKENS + slot->index] = halves[i];
        }
    }
}

static void store_f32(const struct slot *slot, const float *from) {
    float *unit = (float *)(void *)slot->unit;
    if (!slot->is_key) {
        memcpy(unit + slot->index * slot->dim, from, slot->dim * sizeof *from);
        return;
    }
    for (size_t d = 0; d < slot->dim; d++) {
        unit[d * KV_BLOCK_TOKENS + slot->index] = from[d];
    }
}

/* A Q8_0 block: an f16 scale, then 32 quants. */
struct q8_group {
    uint16_t scale;
    int8_t quants[KV_Q8_VALUES];
};
_Static_assert(sizeof(struct q8_group) == 34, "as the format has it");

static struct q8_group encode_group(const float *values, size_t count) {
    float padded[KV_Q8_VALUES] = {0};
    struct q8_group group;
    memcpy(padded, values, count * sizeof *values);
    quant_encode_q8_0(padded, &group, KV_Q8_VALUES);
    return group;
}

static void store_q8(const struct slot *slot, const float *from) {
    size_t dim = slot->dim, groups = size_divide_up(dim, KV_Q8_VALUES);
    int8_t *quants = (int8_t *)slot->unit;
    uint16_t *scales = (uint16_t *)(void *)(slot->unit + dim * KV_BLOCK_TOKENS);
    for (size_t g = 0; g < groups; g++) {
        size_t first = g * KV_Q8_VALUES, count = size_min(KV_Q8_VALUES, dim - first);
        struct q8_group group = encode_group(from + first, count);
        if (slot->is_key) {
            for (size_t i = 0; i < count; i++) {
                quants[(first + i) * KV_BLOCK_TOKENS + slot->index] = group.quants[i];
            }
            scales[g * KV_BLOCK_TOKENS + slot->index] = group.scale;
        } else {
            memcpy(quants + slot->index * dim + first, group.quants, count);
            scales[slot->index * groups + g] = group.scale;
        }
    }
}

void cpu_kv_store(const struct cpu_kv *kv, const struct cpu_kernels *kernels, size_t layer,
                  struct cpu_kv_unit unit, size_t slot, const float *key, const float *value) {
    static void (*const stores[KV_ELEMENT_COUNT])(const struct slot *, const float *) = {
        [KV_ELEMENT_F16] = store_f16,
        [KV_ELEMENT_Q8_0] = store_q8,
        [KV_ELEMENT_F32] = store_f32,
    };
    const struct kv_layer *shape = &kv->layers[layer].shape;
    const struct slot keys = {unit.keys, slot, shape->key_dim, true, kernels};
    const struct slot values = {unit.values, slot, shape->value_dim, false, kernels};
    stores[kv->layout.element](&keys, key);
    if (!shape->values_in_keys) {
        stores[kv->layout.element](&values, value);
    }
}

const float *cpu_kv_keys(const struct cpu_kv *kv, const struct cpu_kernels *kernels, size_t layer,
                         struct cpu_kv_unit unit, float *scratch) {
    size_t dim = kv->layers[layer].shape.key_dim;
    switch (kv->layout.element) {
    case KV_ELEMENT_F32:
        return (const float *)(const void *)unit.keys;
    case KV_ELEMENT_Q8_0:
        kernels->widen_q8_keys(unit.keys, dim, scratch);
        break;
    case KV_ELEMENT_F16:
    case KV_ELEMENT_COUNT:
        kernels->widen_f16((const uint16_t *)(const void *)unit.keys, scratch,
                           dim * KV_BLOCK_TOKENS);
        break;
    }
    return scratch;
}

/* keys [.][16] → out [16][dim]: of each token the first dim values. */
static void transpose_keys(const float *keys, size_t dim, float *out) {
    for (size_t t = 0; t < KV_BLOCK_TOKENS; t++) {
        for (size_t d = 0; d < dim; d++) {
            out[t * dim + d] = keys[d * KV_BLOCK_TOKENS + t];
        }
    }
}

void cpu_kv_values(const struct cpu_kv *kv, const struct cpu_kernels *kernels, size_t layer,
                   struct cpu_kv_unit unit, const float *keys, float *out) {
    const struct kv_layer *shape = &kv->layers[layer].shape;
    size_t dim = shape->value_dim;
    if (shape->values_in_keys) {
        transpose_keys(keys, dim, out);
        return;
    }
    switch (kv->layout.element) {
    case KV_ELEMENT_F32:
        memcpy(out, unit.values, dim * KV_BLOCK_TOKENS * sizeof *out);
        break;
    case KV_ELEMENT_Q8_0:
        kernels->widen_q8_values(unit.values, dim, out);
        break;
    case KV_ELEMENT_F16:
    case KV_ELEMENT_COUNT:
        kernels->widen_f16((const uint16_t *)(const void *)unit.values, out, dim * KV_BLOCK_TOKENS);
        break;
    }
}
