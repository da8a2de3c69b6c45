/*
 * packed.h - the interleaved layouts that integer kernels read, and their packing.
 *
 * A packed block holds one quantisation block of 16 rows (a panel). Its quants are ordered in
 * groups of 4 columns: byte 4 r + c of a group is row r, column 4 g + c, so that a 32-bit broadcast
 * of four activations meets all 16 rows at once, and sums need no shuffle. A group's 64 bytes are
 * split into bit planes, each packed densely:
 *
 *   low plane   4 bits: vector v holds group 2v in its low, 2v+1 in its high nibbles
 *               2 bits: vector v holds groups 4v … 4v+3, from the lowest bits up
 *   high plane  1 bit:  vector v holds groups 8v … 8v+7, bit j for group 8v+j
 *               2 bits: as above
 *
 * Scales of sub-blocks are stored in pairs, [pair][row][2], which widens to the 16-bit pairs that a
 * multiply-add instruction wants. A float format's block is one column, 16 elements as they are.
 * Memory: as the file, but Q4_K +2.8 %, Q5_K +2.3 %, Q3_K +3.6 % (their 6-bit scales become bytes).
 * The layout is the same for every instruction set (pack_blocks.h fills it).
 */
#ifndef MISTRAL_BACKEND_CPU_PACKED_H
#define MISTRAL_BACKEND_CPU_PACKED_H

#include "backend/cpu/cpu.h"

enum {
    GROUP_BYTES = 4 * PANEL_ROWS,
    GROUPS_32 = 8, /* of a block of 32 columns */
    BLOCKS_PER_CHUNK = CHUNK_COLUMNS / 32,
    GROUPS_PER_CHUNK = CHUNK_COLUMNS / 4,
};

/* Byte offsets inside a packed block. */
struct packed_offsets {
    size_t scale;       /* uint16_t f16 [16]; see enum packed_codes for others */
    size_t minimum;     /* uint16_t f16 [16], when has_minimum */
    size_t sub_scale;   /* int8_t or uint8_t [sub_blocks / 2][16][2] */
    size_t sub_minimum; /* uint8_t [sub_blocks / 2][16][2], when has_minimum */
    size_t low;         /* uint8_t [groups * low_bits / 8][64] */
    size_t high;        /* uint8_t [groups * high_bits / 8][64] */
    size_t total;
};

static inline struct packed_offsets packed_offsets(const struct packed_layout layout) {
    if (layout.low_bits >= 16) {
        return (struct packed_offsets){.total = PANEL_ROWS * layout.low_bits / 8};
    }
    size_t groups = layout.block_values / 4;
    size_t halves = PANEL_ROWS * sizeof(uint16_t), pairs = layout.sub_blocks * PANEL_ROWS;
    size_t scales = layout.codes == CODES_UNEVEN_PARTS
                        ? layout.block_values / 32 * PANEL_ROWS * sizeof(float)
                        : halves;
    struct packed_offsets at = {0};
    at.minimum = at.scale + scales;
    at.sub_scale = at.minimum + (layout.has_minimum ? halves : 0);
    at.sub_minimum = at.sub_scale + pairs;
    at.low = at.sub_minimum + (layout.has_minimum ? pairs : 0);
    at.high = at.low + groups * layout.low_bits / 8 * GROUP_BYTES;
    at.total = at.high + groups * layout.high_bits / 8 * GROUP_BYTES;
    return at;
}

/* Whether quants have their sign, stored with it (Q8_0) or by a table. */
static inline bool is_signed(const struct packed_layout layout) {
    return layout.low_bits == 8 || layout.codes != CODES_PLAIN;
}

/* The block that begins at that column of a panel. */
static inline const uint8_t *packed_at(const struct cpu_weight *weight, size_t panel,
                                       size_t first_column, size_t block_values,
                                       size_t block_bytes) {
    return weight->data + panel * weight->panel_bytes + first_column / block_values * block_bytes;
}

/* Each format's layout, an initialiser; cast it where a value is wanted. Kernels pass it as a
 * constant, so that the compiler folds the offsets. */
#define LAYOUT_F32         {TENSOR_F32, 1, 32, 0, 0, false, 0}
#define LAYOUT_F16         {TENSOR_F16, 1, 16, 0, 0, false, 0}
#define LAYOUT_BF16        {TENSOR_BF16, 1, 16, 0, 0, false, 0}
#define LAYOUT_Q4_0        {TENSOR_Q4_0, 32, 4, 0, 0, false, 8}
#define LAYOUT_Q4_1        {TENSOR_Q4_1, 32, 4, 0, 0, true, 0}
#define LAYOUT_Q5_0        {TENSOR_Q5_0, 32, 4, 1, 0, false, 16}
#define LAYOUT_Q5_1        {TENSOR_Q5_1, 32, 4, 1, 0, true, 0}
#define LAYOUT_Q8_0        {TENSOR_Q8_0, 32, 8, 0, 0, false, 0}
#define LAYOUT_IQ4_NL      {TENSOR_IQ4_NL, 32, 4, 0, 0, false, 0, CODES_UNEVEN}
#define LAYOUT_IQ4_XS      {TENSOR_IQ4_XS, 256, 4, 0, 0, false, 0, CODES_UNEVEN_PARTS}
#define LAYOUT_IQ4_XS_PART {TENSOR_IQ4_XS, 32, 4, 0, 0, false, 0, CODES_UNEVEN_PARTS}
#define LAYOUT_MXFP4       {TENSOR_MXFP4, 32, 4, 0, 0, false, 0, CODES_E2M1}
#define LAYOUT_Q2_K        {TENSOR_Q2_K, 256, 2, 0, 16, true, 0}
#define LAYOUT_Q3_K        {TENSOR_Q3_K, 256, 2, 1, 16, false, 4}
#define LAYOUT_Q4_K        {TENSOR_Q4_K, 256, 4, 0, 8, true, 0}
#define LAYOUT_Q5_K        {TENSOR_Q5_K, 256, 4, 1, 8, true, 0}
#define LAYOUT_Q6_K        {TENSOR_Q6_K, 256, 4, 2, 16, false, 32}

#endif
