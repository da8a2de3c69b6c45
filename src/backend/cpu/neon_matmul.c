/*
 * neon_matmul.c - matrix kernels for NEON with the dot product instructions (FEAT_DotProd).
 *
 * Integer formats: a vector of four groups of activations (16 columns) stays in a register; each
 * vdotq_laneq_s32 takes one group of it by lane, multiplies it with 4 rows × 4 columns of quants
 * and adds to 32 bits, which cannot overflow. So nothing is broadcast, widened or summed across.
 * Both sides are signed, so quants that a format moves down may be moved as they are unpacked. A
 * sub-block's sum is multiplied with its scale as an integer; all integers are exact. The f32 part
 * runs once a block, in block order, with the same instructions for one row and for many.
 *
 * Several rows go by half panels, 8 rows × 4 activations, whose sums and scaled sums fill half of
 * the 32 registers; one or two rows take quants from the packed bits, and the whole panel at once.
 *
 * Float formats: panels are [column][16], each activation is multiplied into 16 running sums.
 */
#include "backend/cpu/neon_blocks.h"

/* The quants of one quarter of group first + j, from wherever they are: a packed block, or bytes in
 * order. */
INLINE int8x16_t quants_at(const uint8_t *quants, const bool packed,
                           const struct packed_layout layout, size_t first, size_t j,
                           size_t quarter) {
    if (packed) {
        return packed_quants(quants, layout, first, j, quarter);
    }
    return vreinterpretq_s8_u8(
        vld1q_u8(quants + (first + j) * GROUP_BYTES + quarter * QUARTER_BYTES));
}

/* Quants of `groups` groups (a multiple of 8), one byte each. */
INLINE void unpack_quants(const uint8_t *packed, const struct packed_layout layout,
                          const int offset, size_t groups, uint8_t *out) {
    for (size_t first = 0; first < groups; first += 8) {
#pragma GCC unroll 8
        for (size_t j = 0; j < 8; j++) {
#pragma GCC unroll 4
            for (size_t quarter = 0; quarter < QUARTERS; quarter++) {
                int8x16_t q = packed_quants(packed, layout, first, j, quarter);
                q = vsubq_s8(q, vdupq_n_s8((int8_t)offset));
                vst1q_u8(out + (first + j) * GROUP_BYTES + quarter * QUARTER_BYTES,
                         vreinterpretq_u8_s8(q));
            }
        }
    }
}

/* The intrinsic wants a literal; `lane` is a constant once the caller is unrolled. */
INLINE int32x4_t dot_lane(int32x4_t sum, int8x16_t w, int8x16_t x, const size_t lane) {
    switch (lane) {
    case 0:
        return vdotq_laneq_s32(sum, w, x, 0);
    case 1:
        return vdotq_laneq_s32(sum, w, x, 1);
    case 2:
        return vdotq_laneq_s32(sum, w, x, 2);
    default:
        return vdotq_laneq_s32(sum, w, x, 3);
    }
}

/* ---- blocks of 32 ---- */

/* `batch` rows against `quarters` quarters of consecutive blocks, whose quants lie quant_stride
 * bytes apart. */
INLINE void multiply_rows_32(const struct scales_32 *w, const uint8_t *quants, size_t quant_stride,
                             const bool packed, const struct packed_layout layout,
                             const uint8_t *activations, size_t stride, size_t columns, float *out,
                             const size_t batch, size_t first_quarter, const size_t quarters) {
    const struct q8_block32 *x[MAX_BATCH];
    float32x4_t sums[MAX_BATCH][QUARTERS];
#pragma GCC unroll 4
    for (size_t t = 0; t < batch; t++) {
        x[t] = (const void *)(activations + t * stride);
#pragma GCC unroll 4
        for (size_t i = 0; i < quarters; i++) {
            sums[t][i] = vld1q_f32(out + t * PANEL_ROWS + 4 * (first_quarter + i));
        }
    }
    for (size_t b = 0; b < columns / 32; b++, quants += quant_stride) {
        int32x4_t integers[MAX_BATCH][QUARTERS];
        int8x16_t a[MAX_BATCH];
#pragma GCC unroll 4
        for (size_t t = 0; t < batch; t++) {
            int32x4_t first = first_sums(vdupq_n_s32(x[t]->minus_128_sums), layout);
#pragma GCC unroll 4
            for (size_t i = 0; i < quarters; i++) {
                integers[t][i] = first;
            }
        }
#pragma GCC unroll 8
        for (size_t g = 0; g < GROUPS_32; g++) {
#pragma GCC unroll 4
            for (size_t t = 0; t < batch; t++) {
                a[t] = g % 4 == 0 ? vld1q_s8(x[t]->q + 4 * g) : a[t];
            }
#pragma GCC unroll 4
            for (size_t i = 0; i < quarters; i++) {
                int8x16_t q = quants_at(quants, packed, layout, 0, g, first_quarter + i);
#pragma GCC unroll 4
                for (size_t t = 0; t < batch; t++) {
                    integers[t][i] = dot_lane(integers[t][i], q, a[t], g % 4);
                }
            }
        }
#pragma GCC unroll 4
        for (size_t t = 0; t < batch; t++) {
#pragma GCC unroll 4
            for (size_t i = 0; i < quarters; i++) {
                sums[t][i] =
                    add_block_32(sums[t][i], integers[t][i], w, b, first_quarter + i, x[t], layout);
            }
            x[t]++;
        }
    }
#pragma GCC unroll 4
    for (size_t t = 0; t < batch; t++) {
#pragma GCC unroll 4
        for (size_t i = 0; i < quarters; i++) {
            vst1q_f32(out + t * PANEL_ROWS + 4 * (first_quarter + i), sums[t][i]);
        }
    }
}

INLINE void unpack_32(const struct cpu_weight *weight, size_t panel, size_t first_column,
                      size_t columns, struct unpacked_32 *out, const struct packed_layout layout) {
    const struct packed_offsets at = packed_offsets(layout);
    const uint8_t *packed = packed_at(weight, panel, first_column, 32, at.total);
    unpack_scales_32(packed, columns / 32, &out->scales, layout);
    for (size_t b = 0; b < columns / 32; b++, packed += at.total) {
        unpack_quants(packed, layout, 0, GROUPS_32, out->q[b]);
    }
}

INLINE void multiply_32(const struct unpacked_32 *w, const uint8_t *x, size_t stride,
                        size_t row_count, size_t columns, float *sums,
                        const struct packed_layout layout) {
#define ROWS(batch)                                                                                \
    for (size_t quarter = 0; quarter < QUARTERS; quarter += HALF) {                                \
        multiply_rows_32(&w->scales, w->q[0], sizeof w->q[0], false, layout, x, stride, columns,   \
                         sums, batch, quarter, HALF);                                              \
    }
    BY_BATCHES(row_count, x, stride, sums, ROWS)
#undef ROWS
}

INLINE void multiply_packed_32(const struct cpu_weight *weight, size_t panel, size_t first_column,
                               const uint8_t *x, size_t stride, size_t row_count, size_t columns,
                               float *sums, const struct packed_layout layout) {
    const size_t step = packed_offsets(layout).total;
    const uint8_t *packed = packed_at(weight, panel, first_column, 32, step);
    struct scales_32 scales;
    unpack_scales_32(packed, columns / 32, &scales, layout);
    if (row_count == 2) {
        multiply_rows_32(&scales, packed, step, true, layout, x, stride, columns, sums, 2, 0,
                         QUARTERS);
    } else {
        multiply_rows_32(&scales, packed, step, true, layout, x, stride, columns, sums, 1, 0,
                         QUARTERS);
    }
}

/* ---- blocks of 256 ---- */

/* Eight groups, which are whole sub-blocks (one of 8 groups, or two of 4), against `batch` rows. */
INLINE void dot_groups_256(const struct scales_256 *w, const uint8_t *quants, const bool packed,
                           const struct packed_layout layout, size_t first_group,
                           const struct q8_block256 *const *x, const size_t batch,
                           size_t first_quarter, const size_t quarters,
                           int32x4_t sums[][QUARTERS]) {
    const size_t groups = GROUPS_PER_CHUNK / layout.sub_blocks;
    int32x4_t integers[MAX_BATCH][QUARTERS];
    int8x16_t a[MAX_BATCH];
#pragma GCC unroll 8
    for (size_t j = 0; j < 8; j++) {
#pragma GCC unroll 4
        for (size_t t = 0; t < batch; t++) {
            a[t] = j % 4 == 0 ? vld1q_s8(x[t]->q + 4 * (first_group + j)) : a[t];
        }
#pragma GCC unroll 4
        for (size_t i = 0; i < quarters; i++) {
            int8x16_t q = quants_at(quants, packed, layout, first_group, j, first_quarter + i);
#pragma GCC unroll 4
            for (size_t t = 0; t < batch; t++) {
                int32x4_t before = j % groups == 0 ? vdupq_n_s32(0) : integers[t][i];
                integers[t][i] = dot_lane(before, q, a[t], j % 4);
            }
        }
        if (j % groups == groups - 1) {
#pragma GCC unroll 4
            for (size_t i = 0; i < quarters; i++) {
                int32x4_t scale =
                    vld1q_s32(w->scale[(first_group + j) / groups] + 4 * (first_quarter + i));
#pragma GCC unroll 4
                for (size_t t = 0; t < batch; t++) {
                    sums[t][i] = vmlaq_s32(sums[t][i], integers[t][i], scale);
                }
            }
        }
    }
}

INLINE void multiply_rows_256(const struct scales_256 *w, const uint8_t *quants, const bool packed,
                              const struct packed_layout layout, const uint8_t *activations,
                              size_t stride, float *out, const size_t batch, size_t first_quarter,
                              const size_t quarters) {
    const struct q8_block256 *x[MAX_BATCH];
    int32x4_t sums[MAX_BATCH][QUARTERS];
#pragma GCC unroll 4
    for (size_t t = 0; t < batch; t++) {
        x[t] = (const void *)(activations + t * stride);
#pragma GCC unroll 4
        for (size_t i = 0; i < quarters; i++) {
            sums[t][i] = vdupq_n_s32(0);
        }
    }
    for (size_t group = 0; group < GROUPS_PER_CHUNK; group += 8) {
        dot_groups_256(w, quants, packed, layout, group, x, batch, first_quarter, quarters, sums);
    }
#pragma GCC unroll 4
    for (size_t t = 0; t < batch; t++) {
#pragma GCC unroll 2
        for (size_t i = 0; i < quarters; i += HALF) {
            finish_block_256(w, x[t], layout, !packed, sums[t] + i, first_quarter + i,
                             out + t * PANEL_ROWS);
        }
    }
}

INLINE void unpack_256(const struct cpu_weight *weight, size_t panel, size_t first_column,
                       struct unpacked_256 *out, const struct packed_layout layout) {
    const uint8_t *packed =
        packed_at(weight, panel, first_column, 256, packed_offsets(layout).total);
    unpack_scales_256(packed, &out->scales, layout);
    unpack_quants(packed, layout, layout.offset, GROUPS_PER_CHUNK, out->q[0]);
}

INLINE void multiply_256(const struct unpacked_256 *w, const uint8_t *x, size_t stride,
                         size_t row_count, float *sums, const struct packed_layout layout) {
#define ROWS(batch)                                                                                \
    for (size_t quarter = 0; quarter < QUARTERS; quarter += HALF) {                                \
        multiply_rows_256(&w->scales, w->q[0], false, layout, x, stride, sums, batch, quarter,     \
                          HALF);                                                                   \
    }
    BY_BATCHES(row_count, x, stride, sums, ROWS)
#undef ROWS
}

INLINE void multiply_packed_256(const struct cpu_weight *weight, size_t panel, size_t first_column,
                                const uint8_t *x, size_t stride, size_t row_count, float *sums,
                                const struct packed_layout layout) {
    const uint8_t *packed =
        packed_at(weight, panel, first_column, 256, packed_offsets(layout).total);
    struct scales_256 scales;
    unpack_scales_256(packed, &scales, layout);
    if (row_count == 2) {
        multiply_rows_256(&scales, packed, true, layout, x, stride, sums, 2, 0, QUARTERS);
    } else {
        multiply_rows_256(&scales, packed, true, layout, x, stride, sums, 1, 0, QUARTERS);
    }
}

/* ---- one set of functions a format ---- */

#define DEFINE_KERNEL_32(name, LAYOUT)                                                             \
    static void unpack_##name(const struct cpu_weight *weight, size_t panel, size_t first_column,  \
                              size_t columns, void *unpacked) {                                    \
        unpack_32(weight, panel, first_column, columns, unpacked, CONSTANT(LAYOUT));               \
    }                                                                                              \
    static void multiply_##name(const void *unpacked, const uint8_t *x, size_t stride,             \
                                size_t row_count, size_t columns, float *sums) {                   \
        multiply_32(unpacked, x, stride, row_count, columns, sums, CONSTANT(LAYOUT));              \
    }                                                                                              \
    void neon_multiply_packed_##name(const struct cpu_weight *weight, size_t panel,                \
                                     size_t first_column, const uint8_t *x, size_t stride,         \
                                     size_t row_count, size_t columns, float *sums) {              \
        multiply_packed_32(weight, panel, first_column, x, stride, row_count, columns, sums,       \
                           CONSTANT(LAYOUT));                                                      \
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
    }                                                                                              \
    void neon_multiply_packed_##name(const struct cpu_weight *weight, size_t panel,                \
                                     size_t first_column, const uint8_t *x, size_t stride,         \
                                     size_t row_count, size_t columns, float *sums) {              \
        (void)columns;                                                                             \
        multiply_packed_256(weight, panel, first_column, x, stride, row_count, sums,               \
                            CONSTANT(LAYOUT));                                                     \
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

/* ---- floats: F32, F16, BF16 ---- */

INLINE size_t column_bytes(const enum tensor_type type) {
    return PANEL_ROWS * (type == TENSOR_F32 ? 4 : 2);
}

/* Four weights of one column, as they are packed. */
INLINE float32x4_t load_quarter(const uint8_t *column, const enum tensor_type type,
                                size_t quarter) {
    const uint8_t *at = column + column_bytes(type) / QUARTERS * quarter;
    if (type == TENSOR_F32) {
        return vreinterpretq_f32_u8(vld1q_u8(at));
    }
    if (type == TENSOR_F16) {
        return load_halves(at);
    }
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(at)), 16));
}

INLINE void multiply_rows_float(const uint8_t *w, const enum tensor_type type,
                                const uint8_t *activations, size_t stride, size_t columns,
                                float *out, const size_t batch) {
    const float *x[MAX_BATCH];
    float32x4_t sums[MAX_BATCH][QUARTERS];
#pragma GCC unroll 4
    for (size_t t = 0; t < batch; t++) {
        x[t] = (const void *)(activations + t * stride);
#pragma GCC unroll 4
        for (size_t i = 0; i < QUARTERS; i++) {
            sums[t][i] = vld1q_f32(out + t * PANEL_ROWS + 4 * i);
        }
    }
    for (size_t c = 0; c < columns; c++, w += column_bytes(type)) {
#pragma GCC unroll 4
        for (size_t i = 0; i < QUARTERS; i++) {
            float32x4_t column = load_quarter(w, type, i);
#pragma GCC unroll 4
            for (size_t t = 0; t < batch; t++) {
                sums[t][i] = vfmaq_n_f32(sums[t][i], column, x[t][c]);
            }
        }
    }
#pragma GCC unroll 4
    for (size_t t = 0; t < batch; t++) {
#pragma GCC unroll 4
        for (size_t i = 0; i < QUARTERS; i++) {
            vst1q_f32(out + t * PANEL_ROWS + 4 * i, sums[t][i]);
        }
    }
}

static void multiply_float(const void *unpacked, const uint8_t *x, size_t stride, size_t row_count,
                           size_t columns, float *sums) {
#define ROWS(batch) multiply_rows_float(unpacked, TENSOR_F32, x, stride, columns, sums, batch)
    BY_BATCHES(row_count, x, stride, sums, ROWS)
#undef ROWS
}

#define DEFINE_KERNEL_FLOAT(name, TYPE)                                                            \
    static void unpack_##name(const struct cpu_weight *weight, size_t panel, size_t first_column,  \
                              size_t columns, void *unpacked) {                                    \
        const uint8_t *from = packed_at(weight, panel, first_column, 1, column_bytes(TYPE));       \
        float *out = unpacked;                                                                     \
        for (size_t i = 0; i < columns * QUARTERS; i++) {                                          \
            vst1q_f32(out + 4 * i, load_quarter(from, TYPE, i));                                   \
        }                                                                                          \
    }                                                                                              \
    static void multiply_packed_##name(const struct cpu_weight *weight, size_t panel,              \
                                       size_t first_column, const uint8_t *x, size_t stride,       \
                                       size_t row_count, size_t columns, float *sums) {            \
        const uint8_t *from = packed_at(weight, panel, first_column, 1, column_bytes(TYPE));       \
        if (row_count == 2) {                                                                      \
            multiply_rows_float(from, TYPE, x, stride, columns, sums, 2);                          \
        } else {                                                                                   \
            multiply_rows_float(from, TYPE, x, stride, columns, sums, 1);                          \
        }                                                                                          \
    }

DEFINE_KERNEL_FLOAT(f32, TENSOR_F32)
DEFINE_KERNEL_FLOAT(f16, TENSOR_F16)
DEFINE_KERNEL_FLOAT(bf16, TENSOR_BF16)

/* ---- the table ---- */

#define ROW(TYPE, name, ENCODING, MULTIPLY, MULTIPLY_PACKED)                                       \
    [TENSOR_##TYPE] = {ENCODING, LAYOUT_##TYPE, unpack_##name, MULTIPLY, MULTIPLY_PACKED}
#define ROW_FLOAT(TYPE, name) ROW(TYPE, name, ENCODING_F32, multiply_float, multiply_packed_##name)
#define ROW_INTEGER(TYPE, name, ENCODING)                                                          \
    ROW(TYPE, name, ENCODING, multiply_##name, neon_multiply_packed_##name)

const struct matmul_kernel *neon_matmul_kernel(enum tensor_type type) {
    static const struct matmul_kernel kernels[] = {
        ROW_FLOAT(F32, f32),
        ROW_FLOAT(F16, f16),
        ROW_FLOAT(BF16, bf16),
        ROW_INTEGER(Q4_0, q4_0, ENCODING_Q8_32),
        ROW_INTEGER(Q4_1, q4_1, ENCODING_Q8_32),
        ROW_INTEGER(Q5_0, q5_0, ENCODING_Q8_32),
        ROW_INTEGER(Q5_1, q5_1, ENCODING_Q8_32),
        ROW_INTEGER(Q8_0, q8_0, ENCODING_Q8_32),
        ROW_INTEGER(Q2_K, q2_k, ENCODING_Q8_256),
        ROW_INTEGER(Q3_K, q3_k, ENCODING_Q8_256),
        ROW_INTEGER(Q4_K, q4_k, ENCODING_Q8_256),
        ROW_INTEGER(Q5_K, q5_k, ENCODING_Q8_256),
        ROW_INTEGER(Q6_K, q6_k, ENCODING_Q8_256),
    };
    /* Of a format without a kernel of its own. */
    static const struct matmul_kernel decoded = {
        .encoding = ENCODING_F32, .unpack = portable_unpack_rows, .multiply = multiply_float};
    bool is_known =
        (size_t)type < sizeof kernels / sizeof kernels[0] && kernels[type].multiply != NULL;
    return is_known ? &kernels[type] : &decoded;
}
