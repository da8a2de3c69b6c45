/* pack.c - see packed.h. Runs once a weight, at load, or for each product when weights stay mapped.
 * Block structures are GGUF's (ggml's). */
#include "backend/cpu/packed.h"

#include "base/bytes.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* 16 bytes in the compilers' vector type, which every processor has. Shifts move pairs of bytes,
 * since SSE2 knows no others; a mask of whole bytes then drops what came over from the neighbour.
 */
typedef uint16_t lanes __attribute__((vector_size(16)));

enum { LANE_BYTES = sizeof(lanes) };

INLINE lanes load(const uint8_t *from) {
    lanes x;
    memcpy(&x, from, sizeof x);
    return x;
}

INLINE void store(uint8_t *to, lanes x) {
    memcpy(to, &x, sizeof x);
}

/* Of each byte the `bits` bits from `from` up, at `to`. */
INLINE lanes move_bits(lanes x, unsigned from, unsigned bits, unsigned to) {
    uint16_t mask = (uint16_t)(((1u << bits) - 1) * 0x0101u);
    return ((x >> (uint16_t)from) & mask) << (uint16_t)to;
}

/* ---- taking blocks of 32 apart ---- */

/* 16 bytes of nibbles: values 0 … 15 in the low, 16 … 31 in the high halves; bit i of `high` is
 * value i's fifth bit. */
static void take_nibbles(const uint8_t *nibbles, uint32_t high, uint8_t *q) {
    lanes x = load(nibbles);
    store(q, move_bits(x, 0, 4, 0));
    store(q + 16, move_bits(x, 4, 4, 0));
    for (size_t i = 0; high != 0 && i < 32; i++) {
        q[i] |= (uint8_t)((high >> i & 1) << 4);
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
#pragma GCC unroll 8
    for (unsigned run = 0; run < 8; run++) {
        for (size_t i = 0; i < 32; i += LANE_BYTES) {
            lanes x = load(crumbs + run / 4 * 32 + i);
            store(q + run * 32 + i, move_bits(x, run % 4 * 2, 2, 0));
        }
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

/* 32 bytes of single bits: bit r of byte i belongs to value 32 r + i. */
INLINE void add_high_bits(const uint8_t *bits, const unsigned position, uint8_t *q) {
#pragma GCC unroll 8
    for (unsigned run = 0; run < 8; run++) {
        for (size_t i = 0; i < 32; i += LANE_BYTES) {
            uint8_t *to = q + run * 32 + i;
            store(to, load(to) | move_bits(load(bits + i), run, 1, position));
        }
    }
}

static void take_q3_k(const uint8_t *block, struct block_parts *parts) {
    const uint8_t *high = block, *scales = block + 96;
    take_crumbs(block + 32, parts->q);
    add_high_bits(high, 2, parts->q);
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
    for (size_t pair = 0; pair < 4; pair++) {
        for (size_t i = 0; i < 32; i += LANE_BYTES) {
            lanes x = load(nibbles + pair * 32 + i);
            store(q + pair * 64 + i, move_bits(x, 0, 4, 0));
            store(q + pair * 64 + 32 + i, move_bits(x, 4, 4, 0));
        }
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
    add_high_bits(block + 16, 4, parts->q);
}

static void take_q6_k(const uint8_t *block, struct block_parts *parts) {
    const uint8_t *low = block, *high = block + 128;
#pragma GCC unroll 8
    for (unsigned run = 0; run < 8; run++) { /* each half: 64 bytes of nibbles, 32 of 2-bit tops */
        unsigned half = run / 4, quarter = run % 4;
        for (size_t i = 0; i < 32; i += LANE_BYTES) {
            lanes nibbles = load(low + half * 64 + quarter % 2 * 32 + i);
            lanes tops = load(high + half * 32 + i);
            store(parts->q + run * 32 + i,
                  move_bits(nibbles, quarter / 2 * 4, 4, 0) | move_bits(tops, quarter * 2, 2, 4));
        }
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
    parts->minimum = 0;
    parts->scale = load_u16_le(block); /* where most formats have it; the others overwrite it */
    take[type](block, parts);
}

/* ---- packing ---- */

/* Groups of 64 bytes → a plane of `bits` bits each, taken from bit `from` up. Inlined with
 * constants, so that the shifts are vector instructions. */
INLINE void pack_bits(const uint8_t *groups, size_t group_count, const unsigned from,
                      const unsigned bits, uint8_t *plane) {
    const unsigned per_vector = 8 / bits;
    for (size_t vector = 0; vector < group_count / per_vector; vector++) {
        const uint8_t *q = groups + vector * per_vector * GROUP_BYTES;
        for (size_t i = 0; i < GROUP_BYTES; i += LANE_BYTES) {
            lanes packed = {0};
#pragma GCC unroll 8
            for (unsigned j = 0; j < per_vector; j++) {
                packed |= move_bits(load(q + j * GROUP_BYTES + i), from, bits, j * bits);
            }
            store(plane + vector * GROUP_BYTES + i, packed);
        }
    }
}

static void pack_plane(const uint8_t *restrict groups, size_t group_count, size_t from, size_t bits,
                       uint8_t *restrict plane) {
    if (bits == 8) {
        memcpy(plane, groups, group_count * GROUP_BYTES);
    } else if (bits == 4) {
        pack_bits(groups, group_count, 0, 4, plane);
    } else if (bits == 2 && from == 0) {
        pack_bits(groups, group_count, 0, 2, plane);
    } else if (bits == 2) {
        pack_bits(groups, group_count, 4, 2, plane); /* Q6_K */
    } else if (from == 4) {
        pack_bits(groups, group_count, 4, 1, plane); /* Q5_0, Q5_1, Q5_K */
    } else {
        pack_bits(groups, group_count, 2, 1, plane); /* Q3_K */
    }
}

static void put_half(uint8_t *at, size_t row, uint16_t half) {
    memcpy(at + row * sizeof half, &half, sizeof half);
}

static void place_scales(const struct packed_layout *layout, const struct packed_offsets *at,
                         const struct block_parts *parts, size_t row, uint8_t *packed) {
    put_half(packed + at->scale, row, parts->scale);
    if (layout->has_minimum) {
        put_half(packed + at->minimum, row, parts->minimum);
    }
    for (size_t s = 0; s < layout->sub_blocks; s++) {
        size_t slot = s / 2 * PANEL_ROWS * 2 + row * 2 + s % 2;
        packed[at->sub_scale + slot] = (uint8_t)parts->scales[s];
        if (layout->has_minimum) {
            packed[at->sub_minimum + slot] = parts->minimums[s];
        }
    }
}

typedef uint32_t quad __attribute__((vector_size(16)));

/* Four rows' quants into the interleaved groups, four groups at a time: a transposition of 4 × 4
 * words. */
static void place_quants(const struct block_parts *parts, size_t values, uint8_t *groups) {
    for (size_t at = 0; at < values; at += LANE_BYTES, groups += 4 * GROUP_BYTES) {
        quad r[4];
        for (size_t i = 0; i < 4; i++) {
            memcpy(&r[i], parts[i].q + at, sizeof r[i]);
        }
        quad a = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5);
        quad b = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);
        quad c = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
        quad d = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
        const quad columns[4] = {
            __builtin_shufflevector(a, b, 0, 1, 4, 5), __builtin_shufflevector(a, b, 2, 3, 6, 7),
            __builtin_shufflevector(c, d, 0, 1, 4, 5), __builtin_shufflevector(c, d, 2, 3, 6, 7)};
        for (size_t g = 0; g < 4; g++) {
            memcpy(groups + g * GROUP_BYTES, &columns[g], sizeof columns[g]);
        }
    }
}

static void pack_floats(const struct packed_layout *layout, const uint8_t *const *rows,
                        uint8_t *packed) {
    size_t bytes = layout->low_bits / 8;
    for (size_t r = 0; r < PANEL_ROWS; r++) {
        if (rows[r] != NULL) {
            memcpy(packed + r * bytes, rows[r], bytes);
        } else {
            memset(packed + r * bytes, 0, bytes);
        }
    }
}

void packed_block(const struct packed_layout *layout, const uint8_t *const blocks[PANEL_ROWS],
                  uint8_t *packed) {
    if (layout->low_bits >= 16) {
        pack_floats(layout, blocks, packed);
        return;
    }
    struct packed_offsets at = packed_offsets(*layout);
    size_t group_count = layout->block_values / 4;
    uint8_t groups[256 / 4 * GROUP_BYTES];
    for (size_t row = 0; row < PANEL_ROWS; row += 4) {
        struct block_parts parts[4];
        for (size_t i = 0; i < 4; i++) {
            if (blocks[row + i] == NULL) {
                memset(&parts[i], 0, sizeof parts[i]);
            } else {
                packed_take_apart(layout->type, blocks[row + i], &parts[i]);
            }
            place_scales(layout, &at, &parts[i], row + i, packed);
        }
        place_quants(parts, layout->block_values, groups + 4 * row);
    }
    pack_plane(groups, group_count, 0, layout->low_bits, packed + at.low);
    if (layout->high_bits > 0) {
        pack_plane(groups, group_count, layout->low_bits, layout->high_bits, packed + at.high);
    }
}

void cpu_pack_blocks(const struct cpu_weight *weight, size_t panel, size_t first_block,
                     size_t block_count, uint8_t *packed) {
    size_t block_bytes = packed_offsets(weight->kernel->layout).total;
    for (size_t block = first_block; block < first_block + block_count; block++) {
        const uint8_t *from[PANEL_ROWS];
        for (size_t r = 0; r < PANEL_ROWS; r++) {
            size_t row = panel * PANEL_ROWS + r;
            from[r] = row < weight->rows ? weight->data + row * weight->row_bytes +
                                               block * weight->format->block_bytes
                                         : NULL;
        }
        packed_block(&weight->kernel->layout, from, packed);
        packed += block_bytes;
    }
}
