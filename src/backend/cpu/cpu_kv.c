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

bool cpu_kv_create(struct cpu_backend *cpu, const struct kv_layout *layout, struct cpu_kv **out,
                   struct error *error) {
    struct cpu_kv *kv = calloc(1, sizeof *kv);
    if (kv == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the KV cache");
    }
    kv->layout = *layout;
    size_t block_bytes, floats = 0;
    if (kv_block_bytes(layout, &block_bytes) &&
        size_multiply(block_bytes / 2, layout->block_count, &kv->bytes) && kv->bytes > 0) {
        kv->unit_bytes = kv_unit_bytes(layout->element, layout->head_dim);
        kv->side_bytes = block_bytes / 2;
        kv->keys = cpu_reserve(kv->bytes, !layout->grows);
        kv->values = cpu_reserve(kv->bytes, !layout->grows);
    }
    bool done = kv->keys != NULL && kv->values != NULL;
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
    cpu_release(kv->keys, kv->bytes);
    cpu_release(kv->values, kv->bytes);
    free(kv);
}

bool cpu_kv_grow(struct cpu_kv *kv, size_t block_count, struct error *error) {
    size_t used = size_min(block_count, kv->layout.block_count) * kv->side_bytes;
    /* A huge page lies in usable memory whole. */
    size_t bytes = size_min(size_divide_up(used, HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES, kv->bytes);
    if (mprotect(kv->keys, bytes, PROT_READ | PROT_WRITE) != 0 ||
        mprotect(kv->values, bytes, PROT_READ | PROT_WRITE) != 0) {
        return error_set(error, ERROR_OUT_OF_MEMORY,
                         "no memory for a KV cache of %zu tokens; lower max_total_tokens",
                         block_count * KV_BLOCK_TOKENS);
    }
    return true;
}

/* ---- element types ---- */

/* One token of one head in a unit: where its values lie. */
struct slot {
    uint8_t *keys, *values; /* the unit's */
    size_t index, head_dim;
    const struct cpu_kernels *kernels;
};

static void store_f16(const struct slot *slot, const float *key, const float *value) {
    uint16_t *keys = (uint16_t *)(void *)slot->keys, *values = (uint16_t *)(void *)slot->values;
    enum { RUN = 64 };
    for (size_t first = 0; first < slot->head_dim; first += RUN) {
        size_t count = size_min(RUN, slot->head_dim - first);
        uint16_t halves[RUN];
        slot->kernels->narrow_f16(key + first, halves, count);
        for (size_t i = 0; i < count; i++) {
            keys[(first + i) * KV_BLOCK_TOKENS + slot->index] = halves[i];
        }
    }
    slot->kernels->narrow_f16(value, values + slot->index * slot->head_dim, slot->head_dim);
}

static void store_f32(const struct slot *slot, const float *key, const float *value) {
    float *keys = (float *)(void *)slot->keys, *values = (float *)(void *)slot->values;
    for (size_t d = 0; d < slot->head_dim; d++) {
        keys[d * KV_BLOCK_TOKENS + slot->index] = key[d];
    }
    memcpy(values + slot->index * slot->head_dim, value, slot->head_dim * sizeof *value);
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

static void store_q8(const struct slot *slot, const float *key, const float *value) {
    size_t dim = slot->head_dim, groups = size_divide_up(dim, KV_Q8_VALUES);
    int8_t *keys = (int8_t *)slot->keys, *values = (int8_t *)slot->values;
    uint16_t *key_scales = (uint16_t *)(void *)(slot->keys + dim * KV_BLOCK_TOKENS);
    uint16_t *value_scales = (uint16_t *)(void *)(slot->values + dim * KV_BLOCK_TOKENS);
    for (size_t g = 0; g < groups; g++) {
        size_t first = g * KV_Q8_VALUES, count = size_min(KV_Q8_VALUES, dim - first);
        struct q8_group k = encode_group(key + first, count);
        struct q8_group v = encode_group(value + first, count);
        for (size_t i = 0; i < count; i++) {
            keys[(first + i) * KV_BLOCK_TOKENS + slot->index] = k.quants[i];
        }
        memcpy(values + slot->index * dim + first, v.quants, count);
        key_scales[g * KV_BLOCK_TOKENS + slot->index] = k.scale;
        value_scales[slot->index * groups + g] = v.scale;
    }
}

void cpu_kv_store(const struct cpu_kv *kv, const struct cpu_kernels *kernels, size_t offset,
                  size_t slot, const float *key, const float *value) {
    static void (*const stores[KV_ELEMENT_COUNT])(const struct slot *, const float *,
                                                  const float *) = {
        [KV_ELEMENT_F16] = store_f16,
        [KV_ELEMENT_Q8_0] = store_q8,
        [KV_ELEMENT_F32] = store_f32,
    };
    const struct slot at = {kv->keys + offset, kv->values + offset, slot, kv->layout.head_dim,
                            kernels};
    stores[kv->layout.element](&at, key, value);
}

const float *cpu_kv_keys(const struct cpu_kv *kv, const struct cpu_kernels *kernels, size_t offset,
                         float *scratch) {
    const void *unit = kv->keys + offset;
    size_t dim = kv->layout.head_dim;
    switch (kv->layout.element) {
    case KV_ELEMENT_F32:
        return unit;
    case KV_ELEMENT_Q8_0:
        kernels->widen_q8_keys(unit, dim, scratch);
        break;
    case KV_ELEMENT_F16:
    case KV_ELEMENT_COUNT:
        kernels->widen_f16(unit, scratch, dim * KV_BLOCK_TOKENS);
        break;
    }
    return scratch;
}

void cpu_kv_values(const struct cpu_kv *kv, const struct cpu_kernels *kernels, size_t offset,
                   float *out) {
    const void *unit = kv->values + offset;
    size_t dim = kv->layout.head_dim;
    switch (kv->layout.element) {
    case KV_ELEMENT_F32:
        memcpy(out, unit, dim * KV_BLOCK_TOKENS * sizeof *out);
        break;
    case KV_ELEMENT_Q8_0:
        kernels->widen_q8_values(unit, dim, out);
        break;
    case KV_ELEMENT_F16:
    case KV_ELEMENT_COUNT:
        kernels->widen_f16(unit, out, dim * KV_BLOCK_TOKENS);
        break;
    }
}
