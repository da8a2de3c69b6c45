/* pack.c - see packed.h. Runs once a weight, at load. Block structures are GGUF's (ggml's). */
#include "backend/cpu/packed.h"

#include "base/bytes.h"

#include <string.h>

/* ---- taking blocks of 32 apart ---- */

/* 16 bytes of nibbles: values 0 … 15 in the low, 16 … 31 in the high halves; bit i of `high` is
 * value i's fifth bit. */
static void take_nibbles(const uint8_t *nibbles, uint32_t high, uint8_t *q) {
    for (size_t i = 0; i < 16; i++) {
        q[i] = (uint8_t)((nibbles[i] & 15) | (high >> i & 1) << 4);
        q[i + 16] = (uint8_t)(nibbles[i] >> 4 | (high >> (i + 16) & 1) << 4);
    }
}

static void take_q4_0(const uint8_t *block, struct block_parts *parts) {
    take_nibbles(block + 2, 0, parts->q);
}

static void take_q4_1(const uint8_t *block, struct block_parts *parts) {
    parts->minimum = load_u16_le(block + 2);
    take_nibbles(block + 4, 0, parts->q);
}

static void take_q5_0(const uint8_t *block, struct block_parts *parts) {
    take_nibbles(block + 6, load_u32_le(block + 2), parts->q);
}

static void take_q5_1(const uint8_t *block, struct block_parts *parts) {
    parts->minimum = load_u16_le(block + 2);
    take_nibbles(block + 8, load_u32_le(block + 4), parts->q);
}

static void take_q8_0(const uint8_t *block, struct block_parts *parts) {
    memcpy(parts->q, block + 2, 32);
}

/* ---- taking blocks of 256 apart ---- */

/* 64 bytes of 2-bit values: each 32 bytes hold 128 values in four layers of 32. */
static void take_crumbs(const uint8_t *crumbs, uint8_t *q) {
    for (size_t i = 0; i < 256; i++) {
        q[i] = (uint8_t)(crumbs[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3);
    }
}

static void take_q2_k(const uint8_t *block, struct block_parts *parts) {
    for (size_t i = 0; i < 16; i++) {
        parts->scales[i] = (int8_t)(block[i] & 15);
        parts->minimums[i] = block[i] >> 4;
    }
    take_crumbs(block + 16, parts->q);
    parts->scale = load_u16_le(block + 80);
    parts->minimum = load_u16_le(block + 82);
}

static void take_q3_k(const uint8_t *block, struct block_parts *parts) {
    const uint8_t *high = block, *scales = block + 96;
    take_crumbs(block + 32, parts->q);
    for (size_t i = 0; i < 256; i++) {
        parts->q[i] |= (uint8_t)((high[i % 32] >> (i / 32) & 1) << 2);
    }
    for (size_t i = 0; i < 16; i++) { /* 6 bits: 4 in bytes 0 … 7, 2 in bytes 8 … 11; less 32 */
        int low = i < 8 ? scales[i] & 15 : scales[i - 8] >> 4;
        int top = scales[8 + i % 4] >> (i / 4 * 2) & 3;
        parts->scales[i] = (int8_t)((low | top << 4) - 32);
    }
    parts->scale = load_u16_le(block + 108);
}

/* The eight 6-bit scales and minimums of Q4_K and Q5_K, in 12 bytes. */
static void take_k_scales(const uint8_t *at, struct block_parts *parts) {
    for (size_t i = 0; i < 4; i++) {
        parts->scales[i] = (int8_t)(at[i] & 63);
        parts->minimums[i] = at[i + 4] & 63;
        parts->scales[i + 4] = (int8_t)((at[i + 8] & 15) | at[i] >> 6 << 4);
        parts->minimums[i + 4] = (uint8_t)(at[i + 8] >> 4 | at[i + 4] >> 6 << 4);
    }
}

/* 128 bytes of nibbles: each 32 bytes hold 32 values in the low, the next 32 in the high halves. */
static void take_k_nibbles(const uint8_t *nibbles, uint8_t *q) {
    for (size_t i = 0; i < 256; i++) {
        q[i] = (uint8_t)(nibbles[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15);
    }
}

static void take_q4_k(const uint8_t *block, struct block_parts *parts) {
    parts->minimum = load_u16_le(block + 2);
    take_k_scales(block + 4, parts);
    take_k_nibbles(block + 16, parts->q);
}

static void take_q5_k(const uint8_t *block, struct block_parts *parts) {
    parts->minimum = load_u16_le(block + 2);
    take_k_scales(block + 4, parts);
    take_k_nibbles(block + 48, parts->q);
    for (size_t i = 0; i < 256; i++) {
        parts->q[i] |= (uint8_t)((block[16 + i % 32] >> (i / 32) & 1) << 4);
    }
}

static void take_q6_k(const uint8_t *block, struct block_parts *parts) {
    const uint8_t *low = block, *high = block + 128;
    for (size_t i = 0; i < 256; i++) {
        size_t half = i / 128, j = i % 128; /* each half: 64 bytes of nibbles, 32 of 2-bit tops */
        int nibble = low[half * 64 + j % 64] >> (j / 64 * 4) & 15;
        int top = high[half * 32 + j % 32] >> (j / 32 * 2) & 3;
        parts->q[i] = (uint8_t)(nibble | top << 4);
    }
    memcpy(parts->scales, block + 192, 16);
    parts->scale = load_u16_le(block + 208);
}

void packed_take_apart(enum tensor_type type, const uint8_t *block, struct block_parts *parts) {
    static void (*const take[])(const uint8_t *, struct block_parts *) = {
        [TENSOR_Q4_0] = take_q4_0, [TENSOR_Q4_1] = take_q4_1, [TENSOR_Q5_0] = take_q5_0,
        [TENSOR_Q5_1] = take_q5_1, [TENSOR_Q8_0] = take_q8_0, [TENSOR_Q2_K] = take_q2_k,
        [TENSOR_Q3_K] = take_q3_k, [TENSOR_Q4_K] = take_q4_k, [TENSOR_Q5_K] = take_q5_k,
        [TENSOR_Q6_K] = take_q6_k,
    };
    memset(parts, 0, sizeof *parts);
    parts->scale = load_u16_le(block); /* where most formats have it; the others overwrite it */
    take[type](block, parts);
}

/* ---- packing ---- */

/* Puts `bits` bits of a quant into a plane that starts at `plane`. */
static void put_bits(uint8_t *plane, size_t bits, size_t row, size_t column, unsigned value) {
    size_t group = column / 4, groups_per_vector = 8 / bits;
    uint8_t *byte = plane + group / groups_per_vector * GROUP_BYTES + row * 4 + column % 4;
    *byte |= (uint8_t)(value << (group % groups_per_vector * bits));
}

static void put_half(uint8_t *at, size_t row, uint16_t half) {
    memcpy(at + row * sizeof half, &half, sizeof half);
}

void packed_block(struct packed_layout layout, const uint8_t *const blocks[PANEL_ROWS],
                  uint8_t *packed) {
    struct packed_offsets at = packed_offsets(layout);
    for (size_t row = 0; row < PANEL_ROWS; row++) {
        if (blocks[row] == NULL) {
            continue;
        }
        if (layout.low_bits >= 16) {
            size_t bytes = layout.low_bits / 8;
            memcpy(packed + row * bytes, blocks[row], bytes);
            continue;
        }
        struct block_parts parts;
        packed_take_apart(layout.type, blocks[row], &parts);
        put_half(packed + at.scale, row, parts.scale);
        if (layout.has_minimum) {
            put_half(packed + at.minimum, row, parts.minimum);
        }
        for (size_t s = 0; s < layout.sub_blocks; s++) {
            size_t slot = s / 2 * PANEL_ROWS * 2 + row * 2 + s % 2;
            packed[at.sub_scale + slot] = (uint8_t)parts.scales[s];
            if (layout.has_minimum) {
                packed[at.sub_minimum + slot] = parts.minimums[s];
            }
        }
        unsigned low_mask = (1u << layout.low_bits) - 1;
        for (size_t c = 0; c < layout.block_values; c++) {
            put_bits(packed + at.low, layout.low_bits, row, c, parts.q[c] & low_mask);
            if (layout.high_bits > 0) {
                put_bits(packed + at.high, layout.high_bits, row, c,
                         (unsigned)parts.q[c] >> layout.low_bits);
            }
        }
    }
}
