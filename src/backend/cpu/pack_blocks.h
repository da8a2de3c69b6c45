/*
 * pack_blocks.h - packing blocks, with vectors of PACK_VECTOR_BYTES: 16 or 32. Included by one file
 * for each: pack.c, which every processor runs, and avx2_pack.c. Runs once a weight, or for each
 * product when weights stay mapped; any thread. Block structures are GGUF's (ggml's).
 *
 * A column of four bytes from each of four rows makes 16 bytes that belong together in a panel. So
 * bits move from the file's places to the layout's in registers, and no quant is ever by itself. A
 * vector has one such part, of four rows, or two of them side by side.
 */
#include "backend/cpu/packed.h"

#include "base/bytes.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* The compilers' vector types. Shifts move pairs of bytes, since SSE2 knows no others; a mask of
 * whole bytes then drops what came over from the neighbour. */
typedef uint16_t lanes __attribute__((vector_size(PACK_VECTOR_BYTES)));
typedef uint32_t words __attribute__((vector_size(PACK_VECTOR_BYTES)));
typedef uint64_t longs __attribute__((vector_size(PACK_VECTOR_BYTES)));
typedef uint32_t part __attribute__((vector_size(16)));

enum {
    LANE_BYTES = sizeof(part),
    PARTS = PACK_VECTOR_BYTES / LANE_BYTES,
    ROWS = 4 * PARTS,     /* that are packed at a time */
    PREFETCH_BYTES = 256, /* how far ahead in a row */
};

/* Lists for __builtin_shufflevector: M(p) for each part. */
#if PACK_VECTOR_BYTES == 32
#define EACH_PART(M) M(0), M(1)
#else
#define EACH_PART(M) M(0)
#endif

/* A block of each of some rows, and where they go. Handed on by value, so that writing through
 * `packed` cannot be taken for changing it. */
struct job {
    const uint8_t *rows; /* the first row's block, in the file's form */
    size_t stride;       /* from one row to the next */
    uint8_t *packed;     /* the panel's block */
    size_t first_row;    /* of the panel */
    struct packed_offsets at;
};

/* ---- moving rows ---- */

INLINE part load_part(const struct job *job, size_t row, size_t from) {
    part x;
    memcpy(&x, job->rows + row * job->stride + from, sizeof x);
    return x;
}

/* 16 bytes of row r, and of row r + 4 if there is a second part. */
INLINE words load_rows(const struct job *job, size_t r, size_t from) {
#if PACK_VECTOR_BYTES == 32
    return __builtin_shufflevector(load_part(job, r, from), load_part(job, r + 4, from), 0, 1, 2, 3,
                                   4, 5, 6, 7);
#else
    return load_part(job, r, from);
#endif
}

#define LOW_WORDS(p)  4 * (p), ROWS + 4 * (p), 4 * (p) + 1, ROWS + 4 * (p) + 1
#define HIGH_WORDS(p) 4 * (p) + 2, ROWS + 4 * (p) + 2, 4 * (p) + 3, ROWS + 4 * (p) + 3
#define LOW_LONG(p)   2 * (p), 2 * PARTS + 2 * (p)
#define HIGH_LONG(p)  2 * (p) + 1, 2 * PARTS + 2 * (p) + 1

/* out[k]: of each row the four bytes at from + 4 k. In each part a transposition of 4 × 4 words. */
INLINE void load_columns(const struct job *job, size_t from, lanes out[4]) {
    words r[4];
    for (size_t i = 0; i < 4; i++) {
        r[i] = load_rows(job, i, from);
    }
    longs a = (longs)__builtin_shufflevector(r[0], r[1], EACH_PART(LOW_WORDS));
    longs b = (longs)__builtin_shufflevector(r[2], r[3], EACH_PART(LOW_WORDS));
    longs c = (longs)__builtin_shufflevector(r[0], r[1], EACH_PART(HIGH_WORDS));
    longs d = (longs)__builtin_shufflevector(r[2], r[3], EACH_PART(HIGH_WORDS));
    out[0] = (lanes)__builtin_shufflevector(a, b, EACH_PART(LOW_LONG));
    out[1] = (lanes)__builtin_shufflevector(a, b, EACH_PART(HIGH_LONG));
    out[2] = (lanes)__builtin_shufflevector(c, d, EACH_PART(LOW_LONG));
    out[3] = (lanes)__builtin_shufflevector(c, d, EACH_PART(HIGH_LONG));
}

/* One such column. */
INLINE words load_column(const struct job *job, size_t from) {
    words x;
    for (size_t i = 0; i < ROWS; i++) {
        x[i] = load_u32_le(job->rows + i * job->stride + from);
    }
    return x;
}

/* The rows' part of a plane's vector. */
INLINE void put_vector(const struct job *job, size_t plane, size_t vector, lanes x) {
    memcpy(job->packed + plane + vector * GROUP_BYTES + job->first_row * 4, &x, sizeof x);
}

#define FIRST_PAIRS(p)  8 * (p), 8 * (p) + 2, 8 * (p) + 4, 8 * (p) + 6
#define SECOND_PAIRS(p) 8 * (p) + 1, 8 * (p) + 3, 8 * (p) + 5, 8 * (p) + 7

/* Of each row two pairs of bytes: the first ones to `first`, the second ones to `second`. */
INLINE void put_pairs(lanes x, uint8_t *first, uint8_t *second) {
    lanes sorted = __builtin_shufflevector(x, x, EACH_PART(FIRST_PAIRS), EACH_PART(SECOND_PAIRS));
    memcpy(first, &sorted, sizeof sorted / 2);
    memcpy(second, (const uint8_t *)&sorted + sizeof sorted / 2, sizeof sorted / 2);
}

/* Sub-blocks 4 k … 4 k + 3: two pairs. */
INLINE void put_sub_blocks(const struct job *job, size_t place, size_t k, lanes x) {
    uint8_t *to = job->packed + place + k * 2 * PANEL_ROWS * 2 + job->first_row * 2;
    put_pairs(x, to, to + PANEL_ROWS * 2);
}

static void put_halves(const struct job *job, size_t place, size_t from) {
    for (size_t i = 0; i < ROWS; i++) {
        memcpy(job->packed + place + (job->first_row + i) * 2, job->rows + i * job->stride + from,
               2);
    }
}

/* ---- quants ---- */

/* Bytes of two nibbles, 16 at a time: `low_run` is the first vector of the low ones' values,
 * `high_run` of the high ones'. */
INLINE void move_nibbles(const struct job *job, size_t from, size_t bytes, size_t low_run,
                         size_t high_run) {
    for (size_t i = 0; i < bytes; i += LANE_BYTES) {
        lanes x[4];
        load_columns(job, from + i, x);
        for (size_t k = 0; k < 2; k++) {
            lanes a = x[2 * k], b = x[2 * k + 1];
            size_t vector = i / 8 + k;
            put_vector(job, job->at.low, low_run + vector, (a & 0x0f0f) | (b & 0x0f0f) << 4);
            put_vector(job, job->at.low, high_run + vector, (a >> 4 & 0x0f0f) | (b & 0xf0f0));
        }
    }
}

/* Exchanges the fields of `a` that the mask has `shift` bits higher up with those of `b` that it
 * has. */
INLINE void exchange(lanes *a, lanes *b, const unsigned shift, const unsigned mask) {
    lanes t = ((*a >> (uint16_t)shift) ^ *b) & (uint16_t)mask;
    *b ^= t;
    *a ^= t << (uint16_t)shift;
}

/* 32 bytes of four layers of 2-bit values, 32 each: layer l is run `first_run` + l. Field l of
 * column j becomes field j of vector l: a transposition of 4 × 4 fields in each byte. */
INLINE void move_crumbs(const struct job *job, size_t from, size_t plane, size_t first_run) {
    for (size_t i = 0; i < 2; i++) {
        lanes x[4];
        load_columns(job, from + i * LANE_BYTES, x);
        exchange(&x[0], &x[2], 4, 0x0f0f);
        exchange(&x[1], &x[3], 4, 0x0f0f);
        exchange(&x[0], &x[1], 2, 0x3333);
        exchange(&x[2], &x[3], 2, 0x3333);
        for (size_t layer = 0; layer < 4; layer++) {
            put_vector(job, plane, 2 * (first_run + layer) + i, x[layer]);
        }
    }
}

/* 32 bytes of single bits: bit r of byte i belongs to value 32 r + i. The same with 8 × 8 bits. */
INLINE void move_bits(const struct job *job, size_t from) {
    lanes x[8];
    load_columns(job, from, x);
    load_columns(job, from + LANE_BYTES, x + 4);
    for (size_t i = 0; i < 4; i++) {
        exchange(&x[i], &x[i + 4], 4, 0x0f0f);
    }
    for (size_t i = 0; i < 4; i++) {
        size_t at = i / 2 * 4 + i % 2;
        exchange(&x[at], &x[at + 2], 2, 0x3333);
    }
    for (size_t i = 0; i < 8; i += 2) {
        exchange(&x[i], &x[i + 1], 1, 0x5555);
    }
    for (size_t vector = 0; vector < 8; vector++) {
        put_vector(job, job->at.high, vector, x[vector]);
    }
}

/* Exchanges the bits that the mask has with those `shift` bits higher up. */
INLINE words exchange_inside(words x, const unsigned shift, const uint32_t mask) {
    words t = ((x >> shift) ^ x) & mask;
    return x ^ t ^ t << shift;
}

/* A word of fifth bits: bit 4 j + c, which is value 4 j + c's, becomes bit j of byte c. A bit's
 * number has five bits itself, j2 j1 j0 c1 c0; each line exchanges two of them. */
INLINE void move_fifth_bits(const struct job *job, size_t from) {
    words x = load_column(job, from);
    x = exchange_inside(x, 14, 0x0000cccc); /* c1 j1 j0 j2 c0 */
    x = exchange_inside(x, 7, 0x00aa00aa);  /* c1 c0 j0 j2 j1 */
    x = exchange_inside(x, 2, 0x0c0c0c0c);  /* c1 c0 j2 j0 j1 */
    x = exchange_inside(x, 1, 0x22222222);  /* c1 c0 j2 j1 j0 */
    put_vector(job, job->at.high, 0, (lanes)x);
}

/* ---- blocks of 32 ---- */

INLINE void block_q4_0(const struct job *job) {
    put_halves(job, job->at.scale, 0);
    move_nibbles(job, 2, 16, 0, 2);
}

/* MXFP4's exponent byte → the bf16 of half its power of two: as quant/codebook_quants.c has it. */
static void put_exponents(const struct job *job, size_t place, size_t from) {
    for (size_t i = 0; i < ROWS; i++) {
        uint8_t exponent = job->rows[i * job->stride + from];
        uint16_t bits = (uint16_t)(exponent < 2 ? 0x20 << exponent : (exponent - 1) << 7);
        memcpy(job->packed + place + (job->first_row + i) * 2, &bits, sizeof bits);
    }
}

INLINE void block_mxfp4(const struct job *job) {
    put_exponents(job, job->at.scale, 0);
    move_nibbles(job, 1, 16, 0, 2);
}

INLINE void block_q4_1(const struct job *job) {
    put_halves(job, job->at.scale, 0);
    put_halves(job, job->at.minimum, 2);
    move_nibbles(job, 4, 16, 0, 2);
}

INLINE void block_q5_0(const struct job *job) {
    put_halves(job, job->at.scale, 0);
    move_fifth_bits(job, 2);
    move_nibbles(job, 6, 16, 0, 2);
}

INLINE void block_q5_1(const struct job *job) {
    put_halves(job, job->at.scale, 0);
    put_halves(job, job->at.minimum, 2);
    move_fifth_bits(job, 4);
    move_nibbles(job, 8, 16, 0, 2);
}

INLINE void block_q8_0(const struct job *job) {
    put_halves(job, job->at.scale, 0);
    for (size_t i = 0; i < 2; i++) {
        lanes x[4];
        load_columns(job, 2 + i * LANE_BYTES, x);
        for (size_t k = 0; k < 4; k++) {
            put_vector(job, job->at.low, 4 * i + k, x[k]);
        }
    }
}

/* ---- blocks of 256 ---- */

INLINE void block_q2_k(const struct job *job) {
    lanes x[4];
    load_columns(job, 0, x);
    for (size_t k = 0; k < 4; k++) {
        put_sub_blocks(job, job->at.sub_scale, k, x[k] & 0x0f0f);
        put_sub_blocks(job, job->at.sub_minimum, k, x[k] >> 4 & 0x0f0f);
    }
    move_crumbs(job, 16, job->at.low, 0);
    move_crumbs(job, 48, job->at.low, 4);
    put_halves(job, job->at.scale, 80);
    put_halves(job, job->at.minimum, 82);
}

INLINE void block_q3_k(const struct job *job) {
    /* Scales of 6 bits less 32: 4 bits in bytes 0 … 7, the upper 2 in bytes 8 … 11. */
    lanes a = (lanes)load_column(job, 96), b = (lanes)load_column(job, 100);
    lanes top = (lanes)load_column(job, 104);
    const lanes scales[4] = {
        (a & 0x0f0f) | (top << 4 & 0x3030),
        (b & 0x0f0f) | (top << 2 & 0x3030),
        (a >> 4 & 0x0f0f) | (top & 0x3030),
        (b >> 4 & 0x0f0f) | (top >> 2 & 0x3030),
    };
    for (size_t k = 0; k < 4; k++) { /* s ^ 32, its sixth bit made the sign, is s - 32 */
        lanes moved = scales[k] ^ 0x2020;
        lanes sign = moved & 0x2020;
        put_sub_blocks(job, job->at.sub_scale, k, moved | sign << 1 | sign << 2);
    }
    move_crumbs(job, 32, job->at.low, 0);
    move_crumbs(job, 64, job->at.low, 4);
    move_bits(job, 0);
    put_halves(job, job->at.scale, 108);
}

/* The eight 6-bit scales and minimums of Q4_K and Q5_K, in 12 bytes behind the two halves. */
INLINE void move_k_scales(const struct job *job) {
    lanes x[4];
    load_columns(job, 0, x);
    put_pairs(x[0], job->packed + job->at.scale + job->first_row * 2,
              job->packed + job->at.minimum + job->first_row * 2);
    put_sub_blocks(job, job->at.sub_scale, 0, x[1] & 0x3f3f);
    put_sub_blocks(job, job->at.sub_scale, 1, (x[3] & 0x0f0f) | (x[1] >> 2 & 0x3030));
    put_sub_blocks(job, job->at.sub_minimum, 0, x[2] & 0x3f3f);
    put_sub_blocks(job, job->at.sub_minimum, 1, (x[3] >> 4 & 0x0f0f) | (x[2] >> 2 & 0x3030));
}

/* 128 bytes: each 32 have a run of 32 values in the low, the next one in the high halves. */
INLINE void move_k_nibbles(const struct job *job, size_t from) {
    for (size_t pair = 0; pair < 4; pair++) {
        move_nibbles(job, from + pair * 32, 32, pair * 8, pair * 8 + 4);
    }
}

INLINE void block_q4_k(const struct job *job) {
    move_k_scales(job);
    move_k_nibbles(job, 16);
}

INLINE void block_q5_k(const struct job *job) {
    move_k_scales(job);
    move_bits(job, 16);
    move_k_nibbles(job, 48);
}

INLINE void block_q6_k(const struct job *job) {
    for (size_t half = 0; half < 2; half++) { /* 128 values: 64 bytes of nibbles, 32 of tops */
        for (size_t i = 0; i < 2; i++) {
            size_t vector = half * 16 + i * 4;
            move_nibbles(job, half * 64 + i * 32, 32, vector, vector + 8);
        }
        move_crumbs(job, 128 + half * 32, job->at.high, half * 4);
    }
    lanes x[4];
    load_columns(job, 192, x);
    for (size_t k = 0; k < 4; k++) {
        put_sub_blocks(job, job->at.sub_scale, k, x[k]);
    }
    put_halves(job, job->at.scale, 208);
}

/* Eight blocks of 32, one after the other, each with its own scale: the block's times a part's. */
INLINE void block_iq4_xs(const struct job *job) {
    struct job piece = *job;
    piece.at = packed_offsets((struct packed_layout)LAYOUT_IQ4_XS_PART);
    for (unsigned s = 0; s < 8; s++, piece.packed += piece.at.total) {
        for (size_t i = 0; i < ROWS; i++) {
            const uint8_t *block = job->rows + i * job->stride;
            unsigned low = block[4 + s / 2] >> (4 * (s % 2)) & 15;
            unsigned high = load_u16_le(block + 2) >> (2 * s) & 3;
            float scale = f16_to_f32(load_u16_le(block)) * (float)((int)(low | high << 4) - 32);
            memcpy(piece.packed + piece.at.scale + (job->first_row + i) * sizeof scale, &scale,
                   sizeof scale);
        }
        move_nibbles(&piece, 8 + 16 * s, 16, 0, 2);
    }
}

/* ---- panels ---- */

/* Rows lie too far apart for the processor to see that each is read in order. Smaller blocks than a
 * cache line would ask for each line more than once, which costs more than it gains. */
INLINE void prefetch_rows(const struct job *job, size_t bytes) {
    for (size_t row = 0; row < ROWS; row++) {
        for (size_t i = 0; i < bytes; i += 64) {
            __builtin_prefetch(job->rows + row * job->stride + PREFETCH_BYTES + i);
        }
    }
}

/* Consecutive blocks of ROWS rows. */
#define DEFINE_PACK(name, LAYOUT)                                                                  \
    static void pack_##name(struct job job, size_t blocks, size_t block_bytes) {                   \
        job.at = packed_offsets((struct packed_layout)LAYOUT);                                     \
        for (; blocks > 0; blocks--) {                                                             \
            block_##name(&job);                                                                    \
            if (block_bytes > 64) {                                                                \
                prefetch_rows(&job, block_bytes);                                                  \
            }                                                                                      \
            job.rows += block_bytes;                                                               \
            job.packed += job.at.total;                                                            \
        }                                                                                          \
    }

DEFINE_PACK(q4_0, LAYOUT_Q4_0)
DEFINE_PACK(mxfp4, LAYOUT_MXFP4)
DEFINE_PACK(iq4_xs, LAYOUT_IQ4_XS)
DEFINE_PACK(q4_1, LAYOUT_Q4_1)
DEFINE_PACK(q5_0, LAYOUT_Q5_0)
DEFINE_PACK(q5_1, LAYOUT_Q5_1)
DEFINE_PACK(q8_0, LAYOUT_Q8_0)
DEFINE_PACK(q2_k, LAYOUT_Q2_K)
DEFINE_PACK(q3_k, LAYOUT_Q3_K)
DEFINE_PACK(q4_k, LAYOUT_Q4_K)
DEFINE_PACK(q5_k, LAYOUT_Q5_K)
DEFINE_PACK(q6_k, LAYOUT_Q6_K)

/* Elements as they are: [column][16]. */
static void pack_floats(struct job job, size_t columns, size_t bytes) {
    size_t column = 0, step = LANE_BYTES / bytes;
    for (; column + step <= columns; column += step) {
        lanes x[4];
        load_columns(&job, column * bytes, x);
        uint8_t *to = job.packed + column * PANEL_ROWS * bytes + job.first_row * bytes;
        for (size_t k = 0; k < 4; k++, to += GROUP_BYTES) {
            if (bytes == 4) {
                memcpy(to, &x[k], sizeof x[k]);
            } else {
                put_pairs(x[k], to, to + PANEL_ROWS * 2);
            }
        }
    }
    for (; column < columns; column++) {
        for (size_t i = 0; i < ROWS; i++) {
            memcpy(job.packed + (column * PANEL_ROWS + job.first_row + i) * bytes,
                   job.rows + i * job.stride + column * bytes, bytes);
        }
    }
}

/* Consecutive blocks of 16 rows. */
static void pack_rows(enum tensor_type type, struct job job, size_t blocks, size_t block_bytes) {
    static void (*const pack[])(struct job, size_t, size_t) = {
        [TENSOR_Q4_0] = pack_q4_0,     [TENSOR_Q4_1] = pack_q4_1,   [TENSOR_Q5_0] = pack_q5_0,
        [TENSOR_Q5_1] = pack_q5_1,     [TENSOR_Q8_0] = pack_q8_0,   [TENSOR_Q2_K] = pack_q2_k,
        [TENSOR_Q3_K] = pack_q3_k,     [TENSOR_Q4_K] = pack_q4_k,   [TENSOR_Q5_K] = pack_q5_k,
        [TENSOR_Q6_K] = pack_q6_k,     [TENSOR_F32] = pack_floats,  [TENSOR_F16] = pack_floats,
        [TENSOR_BF16] = pack_floats,   [TENSOR_IQ4_NL] = pack_q4_0, [TENSOR_MXFP4] = pack_mxfp4,
        [TENSOR_IQ4_XS] = pack_iq4_xs,
    };
    for (; job.first_row < PANEL_ROWS; job.first_row += ROWS) {
        pack[type](job, blocks, block_bytes);
        job.rows += ROWS * job.stride;
    }
}

/* The same of the last panel, whose rows past the matrix's end are zeros. */
static void pack_last_rows(enum tensor_type type, struct job job, size_t blocks, size_t block_bytes,
                           size_t present) {
    uint8_t copies[PANEL_ROWS * CHUNK_COLUMNS * sizeof(float)];
    size_t bytes = blocks * block_bytes;
    memset(copies + present * bytes, 0, (PANEL_ROWS - present) * bytes);
    for (size_t row = 0; row < present; row++) {
        memcpy(copies + row * bytes, job.rows + row * job.stride, bytes);
    }
    job.rows = copies;
    job.stride = bytes;
    pack_rows(type, job, blocks, block_bytes);
}

/* struct cpu_kernels' pack_blocks. Chunk by chunk, which the first cache holds. */
INLINE void pack_panel(const struct cpu_weight *weight, size_t panel, size_t first_block,
                       size_t block_count, uint8_t *packed) {
    const struct packed_layout layout = weight->kernel->layout;
    size_t block_bytes = weight->format->block_bytes, total = packed_offsets(layout).total;
    size_t present = size_min(PANEL_ROWS, weight->rows - panel * PANEL_ROWS);
    const uint8_t *rows = weight->data + panel * PANEL_ROWS * weight->row_bytes;
    size_t end = first_block + block_count;
    while (first_block < end) {
        size_t blocks = size_min(CHUNK_COLUMNS / layout.block_values, end - first_block);
        const struct job job = {.rows = rows + first_block * block_bytes,
                                .stride = weight->row_bytes,
                                .packed = packed};
        if (present == PANEL_ROWS) {
            pack_rows(layout.type, job, blocks, block_bytes);
        } else {
            pack_last_rows(layout.type, job, blocks, block_bytes, present);
        }
        first_block += blocks;
        packed += blocks * total;
    }
}
