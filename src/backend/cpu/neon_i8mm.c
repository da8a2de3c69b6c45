/*
 * neon_i8mm.c - matrix kernels for NEON with the matrix multiply instructions (FEAT_I8MM), for
 * three activation rows and more.
 *
 * vmmlaq_s32 multiplies 2 rows × 8 columns with 2 rows × 8 columns: twice what a dot product
 * instruction does. Zipping the words of two neighbouring groups puts 8 columns of a row together,
 * which is done once, as a chunk is unpacked; two activation rows are zipped as they are loaded.
 * All else is neon_matmul.c's: half panels, exact integers, the f32 part, and one or two rows. So
 * the results are its own bit for bit.
 */
#include "backend/cpu/neon_blocks.h"

enum {
    PAIRS = MAX_BATCH / 2,        /* of activation rows */
    HALF_PAIRS = 4,               /* pairs of weight rows in half a panel */
    PAIR_BYTES = 2 * GROUP_BYTES, /* of two groups: [8 pairs of rows][2][8 columns] */
};

/* Quants of `groups` groups (a multiple of 8), one byte each. */
INLINE void unpack_pairs(const uint8_t *packed, const struct packed_layout layout, const int offset,
                         size_t groups, uint8_t *out) {
    for (size_t first = 0; first < groups; first += 8) {
#pragma GCC unroll 4
        for (size_t j = 0; j < 8; j += 2, out += PAIR_BYTES) {
#pragma GCC unroll 4
            for (size_t quarter = 0; quarter < QUARTERS; quarter++) {
                int8x16_t a = packed_quants(packed, layout, first, j, quarter);
                int8x16_t b = packed_quants(packed, layout, first, j + 1, quarter);
                int32x4_t left = vreinterpretq_s32_s8(vsubq_s8(a, vdupq_n_s8((int8_t)offset)));
                int32x4_t right = vreinterpretq_s32_s8(vsubq_s8(b, vdupq_n_s8((int8_t)offset)));
                uint8_t *to = out + 2 * quarter * QUARTER_BYTES;
                vst1q_u8(to, vreinterpretq_u8_s32(vzip1q_s32(left, right)));
                vst1q_u8(to + QUARTER_BYTES, vreinterpretq_u8_s32(vzip2q_s32(left, right)));
            }
        }
    }
}

INLINE int8x16_t zip_rows(int8x16_t a, int8x16_t b, const bool high) {
    int64x2_t left = vreinterpretq_s64_s8(a), right = vreinterpretq_s64_s8(b);
    return vreinterpretq_s8_s64(high ? vzip2q_s64(left, right) : vzip1q_s64(left, right));
}

/* sums[p][w] += activation rows 2p, 2p + 1 (`x`: 2 * pairs of them) · weight rows 2w, 2w + 1, as
 * [2][2], over 16 columns. `quants`: of half a panel, four groups. */
INLINE void multiply_16_columns(const uint8_t *quants, const int8_t *const *x, const size_t pairs,
                                int32x4_t sums[][HALF_PAIRS]) {
    int8x16_t a[PAIRS][2];
#pragma GCC unroll 2
    for (size_t p = 0; p < pairs; p++) {
        int8x16_t even = vld1q_s8(x[2 * p]), odd = vld1q_s8(x[2 * p + 1]);
        a[p][0] = zip_rows(even, odd, false);
        a[p][1] = zip_rows(even, odd, true);
    }
#pragma GCC unroll 2
    for (size_t eight = 0; eight < 2; eight++) {
#pragma GCC unroll 4
        for (size_t w = 0; w < HALF_PAIRS; w++) {
            int8x16_t q =
                vreinterpretq_s8_u8(vld1q_u8(quants + eight * PAIR_BYTES + w * QUARTER_BYTES));
#pragma GCC unroll 2
            for (size_t p = 0; p < pairs; p++) {
                sums[p][w] = vmmlaq_s32(sums[p][w], a[p][eight], q);
            }
        }
    }
}

/* Of sums [2][2] those of activation row t: of a quarter's four weight rows. */
INLINE int32x4_t row_sums(int32x4_t sums[][HALF_PAIRS], size_t t, size_t quarter) {
    int64x2_t left = vreinterpretq_s64_s32(sums[t / 2][2 * quarter]);
    int64x2_t right = vreinterpretq_s64_s32(sums[t / 2][2 * quarter + 1]);
    return vreinterpretq_s32_s64(t % 2 == 0 ? vzip1q_s64(left, right) : vzip2q_s64(left, right));
}

/* The rows of a batch, and for its odd last one itself once more, whose second sums go nowhere. */
INLINE const void *row_at(const uint8_t *activations, size_t stride, size_t t, const size_t batch) {
    return activations + (t < batch ? t : batch - 1) * stride;
}

/* ---- blocks of 32 ---- */

INLINE void dot_block_32(const uint8_t *quants, const struct packed_layout layout,
                         const struct q8_block32 *const *x, const size_t pairs,
                         int32x4_t integers[][HALF_PAIRS]) {
#pragma GCC unroll 2
    for (size_t p = 0; p < pairs; p++) {
        int32x4_t first = first_sums(vcombine_s32(vdup_n_s32(x[2 * p]->minus_128_sums),
                                                  vdup_n_s32(x[2 * p + 1]->minus_128_sums)),
                                     layout);
#pragma GCC unroll 4
        for (size_t w = 0; w < HALF_PAIRS; w++) {
            integers[p][w] = first;
        }
    }
#pragma GCC unroll 2
    for (size_t c = 0; c < 32; c += 16) {
        const int8_t *q[2 * PAIRS];
#pragma GCC unroll 4
        for (size_t t = 0; t < 2 * pairs; t++) {
            q[t] = x[t]->q + c;
        }
        multiply_16_columns(quants + c / 8 * PAIR_BYTES, q, pairs, integers);
    }
}

INLINE void multiply_rows_32(const struct unpacked_32 *weights, const struct packed_layout layout,
                             const uint8_t *activations, size_t stride, size_t columns, float *out,
                             const size_t batch, size_t half) {
    const size_t pairs = (batch + 1) / 2;
    const struct q8_block32 *x[2 * PAIRS];
    float32x4_t sums[MAX_BATCH][HALF];
#pragma GCC unroll 4
    for (size_t t = 0; t < 2 * pairs; t++) {
        x[t] = row_at(activations, stride, t, batch);
    }
#pragma GCC unroll 4
    for (size_t t = 0; t < batch; t++) {
        sums[t][0] = vld1q_f32(out + t * PANEL_ROWS + 8 * half);
        sums[t][1] = vld1q_f32(out + t * PANEL_ROWS + 8 * half + 4);
    }
    for (size_t b = 0; b < columns / 32; b++) {
        int32x4_t integers[PAIRS][HALF_PAIRS];
        dot_block_32(weights->q[b] + half * GROUP_BYTES, layout, x, pairs, integers);
#pragma GCC unroll 4
        for (size_t t = 0; t < batch; t++) {
#pragma GCC unroll 2
            for (size_t i = 0; i < HALF; i++) {
                sums[t][i] = add_block_32(sums[t][i], row_sums(integers, t, i), &weights->scales, b,
                                          HALF * half + i, x[t], layout);
            }
        }
#pragma GCC unroll 4
        for (size_t t = 0; t < 2 * pairs; t++) {
            x[t]++;
        }
    }
#pragma GCC unroll 4
    for (size_t t = 0; t < batch; t++) {
        vst1q_f32(out + t * PANEL_ROWS + 8 * half, sums[t][0]);
        vst1q_f32(out + t * PANEL_ROWS + 8 * half + 4, sums[t][1]);
    }
}

INLINE void unpack_32(const struct cpu_weight *weight, size_t panel, size_t first_column,
                      size_t columns, struct unpacked_32 *out, const struct packed_layout layout) {
    const struct packed_offsets at = packed_offsets(layout);
    const uint8_t *packed = packed_at(weight, panel, first_column, 32, at.total);
    unpack_scales_32(packed, columns / 32, &out->scales, layout);
    for (size_t b = 0; b < columns / 32; b++, packed += at.total) {
        unpack_pairs(packed, layout, 0, GROUPS_32, out->q[b]);
    }
}

INLINE void multiply_32(const struct unpacked_32 *w, const uint8_t *x, size_t stride,
                        size_t row_count, size_t columns, float *sums,
                        const struct packed_layout layout) {
#define ROWS(batch)                                                                                \
    for (size_t half = 0; half < 2; half++) {                                                      \
        multiply_rows_32(w, layout, x, stride, columns, sums, batch, half);                        \
    }
    BY_BATCHES(row_count, x, stride, sums, ROWS)
#undef ROWS
}

/* ---- blocks of 256 ---- */

/* Scales of a pair of weight rows, as sums [2][2] want them. */
INLINE int32x4_t load_pair_of_scales(const int32_t *scales) {
    int32x2_t pair = vld1_s32(scales);
    return vcombine_s32(pair, pair);
}

INLINE void multiply_rows_256(const struct unpacked_256 *weights, const struct packed_layout layout,
                              const uint8_t *activations, size_t stride, float *out,
                              const size_t batch, size_t half) {
    const size_t pairs = (batch + 1) / 2, columns = CHUNK_COLUMNS / layout.sub_blocks;
    const struct scales_256 *scales = &weights->scales;
    const int8_t *x[2 * PAIRS];
    int32x4_t sums[PAIRS][HALF_PAIRS];
#pragma GCC unroll 4
    for (size_t t = 0; t < 2 * pairs; t++) {
        const struct q8_block256 *row = row_at(activations, stride, t, batch);
        x[t] = row->q;
        sums[t / 2][0] = sums[t / 2][1] = sums[t / 2][2] = sums[t / 2][3] = vdupq_n_s32(0);
    }
    const uint8_t *quants = weights->q[0] + half * GROUP_BYTES;
    for (size_t s = 0; s < layout.sub_blocks; s++) {
        int32x4_t integers[PAIRS][HALF_PAIRS] = {0};
#pragma GCC unroll 2
        for (size_t c = 0; c < columns; c += 16, quants += 2 * PAIR_BYTES) {
            multiply_16_columns(quants, x, pairs, integers);
#pragma GCC unroll 4
            for (size_t t = 0; t < 2 * pairs; t++) {
                x[t] += 16;
            }
        }
#pragma GCC unroll 4
        for (size_t w = 0; w < HALF_PAIRS; w++) {
            int32x4_t scale = load_pair_of_scales(scales->scale[s] + 8 * half + 2 * w);
#pragma GCC unroll 2
            for (size_t p = 0; p < pairs; p++) {
                sums[p][w] = vmlaq_s32(sums[p][w], integers[p][w], scale);
            }
        }
    }
#pragma GCC unroll 4
    for (size_t t = 0; t < batch; t++) {
        const int32x4_t integers[HALF] = {row_sums(sums, t, 0), row_sums(sums, t, 1)};
        finish_block_256(scales, row_at(activations, stride, t, batch), layout, true, integers,
                         HALF * half, out + t * PANEL_ROWS);
    }
}

INLINE void unpack_256(const struct cpu_weight *weight, size_t panel, size_t first_column,
                       struct unpacked_256 *out, const struct packed_layout layout) {
    const uint8_t *packed =
        packed_at(weight, panel, first_column, 256, packed_offsets(layout).total);
    unpack_scales_256(packed, &out->scales, layout);
    unpack_pairs(packed, layout, layout.offset, GROUPS_PER_CHUNK, out->q[0]);
}

INLINE void multiply_256(const struct unpacked_256 *w, const uint8_t *x, size_t stride,
                         size_t row_count, float *sums, const struct packed_layout layout) {
#define ROWS(batch)                                                                                \
    for (size_t half = 0; half < 2; half++) {                                                      \
        multiply_rows_256(w, layout, x, stride, sums, batch, half);                                \
    }
    BY_BATCHES(row_count, x, stride, sums, ROWS)
#undef ROWS
}

/* ---- two functions a format; the rest is neon_matmul.c's ---- */

#define DEFINE_KERNEL_32(name, LAYOUT)                                                             \
    static void unpack_##name(const struct cpu_weight *weight, size_t panel, size_t first_column,  \
                              size_t columns, void *unpacked) {                                    \
        unpack_32(weight, panel, first_column, columns, unpacked, CONSTANT(LAYOUT));               \
    }                                                                                              \
    static void multiply_##name(const void *unpacked, const uint8_t *x, size_t stride,             \
                                size_t row_count, size_t columns, float *sums) {                   \
        multiply_32(unpacked, x, stride, row_count, columns, sums, CONSTANT(LAYOUT));              \
    }

/* Always a whole block: 256 columns. */
#define DEFINE_KERNEL_256(name, LAYOUT)                                                            \
    static void unpack_##name(const struct cpu_weight *weight, size_t panel, size_t first_column,  \
                              size_t columns, void *unpacked) {                                    \
        (void)columns;                                                                             \
        unpack_256(weight, panel, first_column, unpacked, CONSTANT(LAYOUT));                       \
    }                                                                                              \
    static void multiply_##name(const void *unpacked, const uint8_t *x, size_t stride,             \
                                size_t row_count, size_t columns, float *sums) {                   \
        (void)columns;                                                                             \
        multiply_256(unpacked, x, stride, row_count, sums, CONSTANT(LAYOUT));                      \
    }

DEFINE_KERNEL_32(q4_0, LAYOUT_Q4_0)
DEFINE_KERNEL_32(q4_1, LAYOUT_Q4_1)
DEFINE_KERNEL_32(q5_0, LAYOUT_Q5_0)
DEFINE_KERNEL_32(q5_1, LAYOUT_Q5_1)
DEFINE_KERNEL_32(q8_0, LAYOUT_Q8_0)
DEFINE_KERNEL_256(q2_k, LAYOUT_Q2_K)
DEFINE_KERNEL_256(q3_k, LAYOUT_Q3_K)
DEFINE_KERNEL_256(q4_k, LAYOUT_Q4_K)
DEFINE_KERNEL_256(q5_k, LAYOUT_Q5_K)
DEFINE_KERNEL_256(q6_k, LAYOUT_Q6_K)

#define ROW(TYPE, name, ENCODING)                                                                  \
    [TENSOR_##TYPE] = {ENCODING, LAYOUT_##TYPE, unpack_##name, multiply_##name,                    \
                       neon_multiply_packed_##name}

const struct matmul_kernel *i8mm_matmul_kernel(enum tensor_type type) {
    static const struct matmul_kernel kernels[] = {
        ROW(Q4_0, q4_0, ENCODING_Q8_32),  ROW(Q4_1, q4_1, ENCODING_Q8_32),
        ROW(Q5_0, q5_0, ENCODING_Q8_32),  ROW(Q5_1, q5_1, ENCODING_Q8_32),
        ROW(Q8_0, q8_0, ENCODING_Q8_32),  ROW(Q2_K, q2_k, ENCODING_Q8_256),
        ROW(Q3_K, q3_k, ENCODING_Q8_256), ROW(Q4_K, q4_k, ENCODING_Q8_256),
        ROW(Q5_K, q5_k, ENCODING_Q8_256), ROW(Q6_K, q6_k, ENCODING_Q8_256),
    };
    bool is_integer = (size_t)type < sizeof kernels / sizeof kernels[0] &&
                      kernels[type].multiply != NULL; /* floats have no matrix instructions */
    return is_integer ? &kernels[type] : neon_matmul_kernel(type);
}
