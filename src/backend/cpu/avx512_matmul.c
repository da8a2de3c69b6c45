/*
 * avx512_matmul.c - matrix kernels for AVX-512 (F, BW, DQ, VL) with VNNI.
 *
 * The shape is that of avx2_matmul.c, with a whole group (16 rows × 4 columns) in one vector:
 * _mm512_dpbusd_epi32 multiplies it with a broadcast group of activations and adds to 32 bits at
 * once, which cannot overflow, so nothing is widened on the way. A sub-block's sum is exact; it is
 * converted and multiplied with the sub-block's scale in f32. Both products are exact too, and the
 * sum over a block rounds only beyond 2^24, so that results are AVX2's bit for bit but for blocks
 * of the largest quants. The f32 part runs once a block, in block order, with the same instructions
 * for one row and for many.
 */
#include "backend/cpu/avx2.h"
#include "backend/cpu/avx512_blocks.h"

enum {
    MAX_BATCH = 8
}; /* activation rows that one pass over a chunk serves: their sums stay in registers */

/* ---- products ---- */

/* The same, eight groups from `first`, from wherever they are: a packed block, or bytes in order.
 * Signed quants are moved up by 128, since the instruction wants one side unsigned. */
INLINE __m512i quants_at(const uint8_t *quants, const bool packed,
                         const struct packed_layout layout, size_t first, size_t j) {
    __m512i q;
    if (packed) {
        const struct packed_offsets at = packed_offsets(layout);
        q = planes_to_quants(quants + at.low + first * layout.low_bits / 8 * GROUP_BYTES,
                             quants + at.high + first * layout.high_bits / 8 * GROUP_BYTES, layout,
                             j);
    } else {
        q = _mm512_load_si512(quants + (first + j) * GROUP_BYTES);
    }
    return is_signed(layout) ? _mm512_xor_si512(q, _mm512_set1_epi8((char)0x80)) : q;
}

/* `batch` rows against consecutive blocks, whose quants lie quant_stride bytes apart. Blocks are
 * asked for at `next`, as many as are multiplied, unless it is NULL. */
INLINE void multiply_rows_32(const struct scales_32 *w, const uint8_t *quants, size_t quant_stride,
                             const uint8_t *next, const bool packed,
                             const struct packed_layout layout, const uint8_t *activations,
                             size_t stride, size_t columns, float *out, const size_t batch) {
    __m512 sums[MAX_BATCH];
#pragma GCC unroll 8
    for (size_t t = 0; t < batch; t++) {
        sums[t] = _mm512_loadu_ps(out + t * PANEL_ROWS);
    }
    const struct q8_block32 *x = (const void *)activations;
    for (size_t b = 0; b < columns / 32; b++, quants += quant_stride, x++) {
        if (next != NULL) {
            prefetch(next + b * packed_offsets(layout).total, packed_offsets(layout).total);
        }
        __m512i integers[MAX_BATCH];
#pragma GCC unroll 8
        for (size_t t = 0; t < batch; t++) {
            const struct q8_block32 *row = (const void *)((const uint8_t *)x + t * stride);
            integers[t] =
                is_signed(layout) ? _mm512_set1_epi32(row->minus_128_sums) : _mm512_setzero_si512();
        }
#pragma GCC unroll 8
        for (size_t g = 0; g < GROUPS_32; g++) {
            __m512i q = quants_at(quants, packed, layout, 0, g);
#pragma GCC unroll 8
            for (size_t t = 0; t < batch; t++) {
                const struct q8_block32 *row = (const void *)((const uint8_t *)x + t * stride);
                integers[t] = _mm512_dpbusd_epi32(integers[t], q, broadcast_group(row->q + 4 * g));
            }
        }
#pragma GCC unroll 8
        for (size_t t = 0; t < batch; t++) {
            const struct q8_block32 *row = (const void *)((const uint8_t *)x + t * stride);
            sums[t] = add_block_32(sums[t], integers[t], w, b, row, layout);
        }
    }
#pragma GCC unroll 8
    for (size_t t = 0; t < batch; t++) {
        _mm512_storeu_ps(out + t * PANEL_ROWS, sums[t]);
    }
}

/* Eight groups, which are whole sub-blocks (one of 8 groups, or two of 4), against `batch` rows. */
INLINE void dot_groups_256(const struct scales_256 *w, const uint8_t *quants, const bool packed,
                           const struct packed_layout layout, size_t first_group, const uint8_t *x,
                           size_t stride, const size_t batch, __m512 *sums) {
    const size_t groups = GROUPS_PER_CHUNK / layout.sub_blocks;
    __m512i integers[MAX_BATCH];
#pragma GCC unroll 8
    for (size_t j = 0; j < 8; j++) {
        __m512i q = quants_at(quants, packed, layout, first_group, j);
#pragma GCC unroll 8
        for (size_t t = 0; t < batch; t++) {
            const struct q8_block256 *row = (const void *)(x + t * stride);
            __m512i a = broadcast_group(row->q + 4 * (first_group + j));
            __m512i before = j % groups == 0 ? _mm512_setzero_si512() : integers[t];
            integers[t] = _mm512_dpbusd_epi32(before, q, a);
        }
        if (j % groups == groups - 1) {
            __m512 scale = _mm512_load_ps(w->scale[(first_group + j) / groups]);
#pragma GCC unroll 8
            for (size_t t = 0; t < batch; t++) {
                sums[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(integers[t]), scale, sums[t]);
            }
        }
    }
}

INLINE void multiply_rows_256(const struct scales_256 *w, const uint8_t *quants,
                              const uint8_t *next, const bool packed,
                              const struct packed_layout layout, const uint8_t *activations,
                              size_t stride, float *out, const size_t batch) {
    __m512 sums[MAX_BATCH];
#pragma GCC unroll 8
    for (size_t t = 0; t < batch; t++) {
        sums[t] = _mm512_setzero_ps();
    }
    for (size_t group = 0; group < GROUPS_PER_CHUNK; group += 8) {
        if (next != NULL) {
            /* An eighth of the next block with each eighth of this one. */
            const size_t bytes = packed_offsets(layout).total;
            prefetch(next + group / 8 * (bytes / 8), bytes / 8);
        }
        dot_groups_256(w, quants, packed, layout, group, activations, stride, batch, sums);
    }
#pragma GCC unroll 8
    for (size_t t = 0; t < batch; t++) {
        finish_block_256(w, (const void *)(activations + t * stride), layout, sums[t],
                         out + t * PANEL_ROWS);
    }
}

/* ---- one set of functions a format ---- */

#define CONSTANT(...) ((const struct packed_layout)__VA_ARGS__)

/* Calls ROWS(batch) with a constant: eights, then a four, a two and a one. */
#define BY_BATCHES(row_count, x, stride, sums, ROWS)                                               \
    while ((row_count) > 0) {                                                                      \
        size_t batch = 1;                                                                          \
        if ((row_count) >= 8) {                                                                    \
            ROWS(8);                                                                               \
            batch = 8;                                                                             \
        } else if ((row_count) >= 4) {                                                             \
            ROWS(4);                                                                               \
            batch = 4;                                                                             \
        } else if ((row_count) >= 2) {                                                             \
            ROWS(2);                                                                               \
            batch = 2;                                                                             \
        } else {                                                                                   \
            ROWS(1);                                                                               \
        }                                                                                          \
        (row_count) -= batch;                                                                      \
        (x) += batch * (stride);                                                                   \
        (sums) += batch * PANEL_ROWS;                                                              \
    }

INLINE void multiply_32(const struct unpacked_32 *w, const uint8_t *x, size_t stride,
                        size_t row_count, size_t columns, float *sums,
                        const struct packed_layout layout) {
    const uint8_t *next = w->next;
#define ROWS(batch)                                                                                \
    do {                                                                                           \
        multiply_rows_32(&w->scales, w->q[0], sizeof w->q[0], next, false, layout, x, stride,      \
                         columns, sums, batch);                                                    \
        next = NULL;                                                                               \
    } while (0)
    BY_BATCHES(row_count, x, stride, sums, ROWS)
#undef ROWS
}

INLINE void multiply_256(const struct unpacked_256 *w, const uint8_t *x, size_t stride,
                         size_t row_count, float *sums, const struct packed_layout layout) {
    const uint8_t *next = w->next;
#define ROWS(batch)                                                                                \
    do {                                                                                           \
        multiply_rows_256(&w->scales, w->q[0], next, false, layout, x, stride, sums, batch);       \
        next = NULL;                                                                               \
    } while (0)
    BY_BATCHES(row_count, x, stride, sums, ROWS)
#undef ROWS
}

INLINE void multiply_packed_32(const struct cpu_weight *weight, size_t panel, size_t first_column,
                               const uint8_t *x, size_t stride, size_t row_count, size_t columns,
                               float *sums, const struct packed_layout layout) {
    const size_t step = packed_offsets(layout).total;
    const uint8_t *packed = packed_at(weight, panel, first_column, 32, step);
    struct scales_32 scales;
    const uint8_t *next = packed + BLOCKS_PER_CHUNK * step;
    unpack_scales_32(packed, columns / 32, &scales, layout);
    if (row_count == 2) {
        multiply_rows_32(&scales, packed, step, next, true, layout, x, stride, columns, sums, 2);
    } else {
        multiply_rows_32(&scales, packed, step, next, true, layout, x, stride, columns, sums, 1);
    }
}

INLINE void multiply_packed_256(const struct cpu_weight *weight, size_t panel, size_t first_column,
                                const uint8_t *x, size_t stride, size_t row_count, float *sums,
                                const struct packed_layout layout) {
    const size_t bytes = packed_offsets(layout).total;
    const uint8_t *packed = packed_at(weight, panel, first_column, 256, bytes);
    const uint8_t *next = packed + bytes;
    struct scales_256 scales;
    unpack_scales_256(packed, &scales, layout);
    if (row_count == 2) {
        multiply_rows_256(&scales, packed, next, true, layout, x, stride, sums, 2);
    } else {
        multiply_rows_256(&scales, packed, next, true, layout, x, stride, sums, 1);
    }
}

#define DEFINE_KERNEL_32(name, LAYOUT)                                                             \
    void avx512_unpack_##name(const struct cpu_weight *weight, size_t panel, size_t first_column,  \
                              size_t columns, void *unpacked) {                                    \
        unpack_32(weight, panel, first_column, columns, unpacked, CONSTANT(LAYOUT));               \
    }                                                                                              \
    static void multiply_##name(const void *unpacked, const uint8_t *x, size_t stride,             \
                                size_t row_count, size_t columns, float *sums) {                   \
        multiply_32(unpacked, x, stride, row_count, columns, sums, CONSTANT(LAYOUT));              \
    }                                                                                              \
    void avx512_multiply_packed_##name(const struct cpu_weight *weight, size_t panel,              \
                                       size_t first_column, const uint8_t *x, size_t stride,       \
                                       size_t row_count, size_t columns, float *sums) {            \
        multiply_packed_32(weight, panel, first_column, x, stride, row_count, columns, sums,       \
                           CONSTANT(LAYOUT));                                                      \
    }

#define DEFINE_KERNEL_256(name, LAYOUT)                                                            \
    void avx512_unpack_##name(const struct cpu_weight *weight, size_t panel, size_t first_column,  \
                              size_t columns, void *unpacked) {                                    \
        unpack_256(weight, panel, first_column, columns, unpacked, CONSTANT(LAYOUT));              \
    }                                                                                              \
    static void multiply_##name(const void *unpacked, const uint8_t *x, size_t stride,             \
                                size_t row_count, size_t columns, float *sums) {                   \
        (void)columns;                                                                             \
        multiply_256(unpacked, x, stride, row_count, sums, CONSTANT(LAYOUT));                      \
    }                                                                                              \
    void avx512_multiply_packed_##name(const struct cpu_weight *weight, size_t panel,              \
                                       size_t first_column, const uint8_t *x, size_t stride,       \
                                       size_t row_count, size_t columns, float *sums) {            \
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

/* 16 weights of one column, as they are packed. */
INLINE __m512 load_column(const uint8_t *from, const enum tensor_type type) {
    if (type == TENSOR_F32) {
        return _mm512_loadu_ps(from);
    }
    if (type == TENSOR_F16) {
        return load_halves(from);
    }
    __m512i bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
}

INLINE size_t column_bytes(const enum tensor_type type) {
    return PANEL_ROWS * (type == TENSOR_F32 ? 4 : 2);
}

INLINE void multiply_rows_float(const uint8_t *w, const enum tensor_type type, const bool packed,
                                const uint8_t *activations, size_t stride, size_t columns,
                                float *out, const size_t batch) {
    __m512 sums[MAX_BATCH];
#pragma GCC unroll 8
    for (size_t t = 0; t < batch; t++) {
        sums[t] = _mm512_loadu_ps(out + t * PANEL_ROWS);
    }
    const size_t bytes = column_bytes(type);
    for (size_t c = 0; c < columns; c++, w += bytes) {
        if (packed && c * bytes % 64 == 0) {
            _mm_prefetch((const char *)w + CHUNK_COLUMNS * bytes / 2, _MM_HINT_T0);
        }
        __m512 column = load_column(w, type);
#pragma GCC unroll 8
        for (size_t t = 0; t < batch; t++) {
            const float *x = (const void *)(activations + t * stride);
            sums[t] = _mm512_fmadd_ps(column, _mm512_set1_ps(x[c]), sums[t]);
        }
    }
#pragma GCC unroll 8
    for (size_t t = 0; t < batch; t++) {
        _mm512_storeu_ps(out + t * PANEL_ROWS, sums[t]);
    }
}

static void multiply_float(const void *unpacked, const uint8_t *x, size_t stride, size_t row_count,
                           size_t columns, float *sums) {
#define ROWS(batch)                                                                                \
    multiply_rows_float(unpacked, TENSOR_F32, false, x, stride, columns, sums, batch)
    BY_BATCHES(row_count, x, stride, sums, ROWS)
#undef ROWS
}

#define DEFINE_KERNEL_FLOAT(name, TYPE)                                                            \
    void avx512_unpack_##name(const struct cpu_weight *weight, size_t panel, size_t first_column,  \
                              size_t columns, void *unpacked) {                                    \
        const uint8_t *from = packed_at(weight, panel, first_column, 1, column_bytes(TYPE));       \
        float *out = unpacked;                                                                     \
        for (size_t c = 0; c < columns; c++) {                                                     \
            _mm512_store_ps(out + c * PANEL_ROWS,                                                  \
                            load_column(from + c * column_bytes(TYPE), TYPE));                     \
        }                                                                                          \
    }                                                                                              \
    void avx512_multiply_packed_##name(const struct cpu_weight *weight, size_t panel,              \
                                       size_t first_column, const uint8_t *x, size_t stride,       \
                                       size_t row_count, size_t columns, float *sums) {            \
        const uint8_t *from = packed_at(weight, panel, first_column, 1, column_bytes(TYPE));       \
        if (row_count == 2) {                                                                      \
            multiply_rows_float(from, TYPE, true, x, stride, columns, sums, 2);                    \
        } else {                                                                                   \
            multiply_rows_float(from, TYPE, true, x, stride, columns, sums, 1);                    \
        }                                                                                          \
    }

DEFINE_KERNEL_FLOAT(f32, TENSOR_F32)
DEFINE_KERNEL_FLOAT(f16, TENSOR_F16)
DEFINE_KERNEL_FLOAT(bf16, TENSOR_BF16)

/* ---- the table ---- */

#define ROW(TYPE, name, ENCODING, MULTIPLY)                                                        \
    [TENSOR_##TYPE] = {ENCODING, LAYOUT_##TYPE, avx512_unpack_##name, MULTIPLY,                    \
                       avx512_multiply_packed_##name}

const struct matmul_kernel *avx512_matmul_kernel(enum tensor_type type) {
    static const struct matmul_kernel kernels[] = {
        ROW(F32, f32, ENCODING_F32, multiply_float),
        ROW(F16, f16, ENCODING_F32, multiply_float),
        ROW(BF16, bf16, ENCODING_F32, multiply_float),
        ROW(Q4_0, q4_0, ENCODING_Q8_32, multiply_q4_0),
        ROW(Q4_1, q4_1, ENCODING_Q8_32, multiply_q4_1),
        ROW(Q5_0, q5_0, ENCODING_Q8_32, multiply_q5_0),
        ROW(Q5_1, q5_1, ENCODING_Q8_32, multiply_q5_1),
        ROW(Q8_0, q8_0, ENCODING_Q8_32, multiply_q8_0),
        ROW(Q2_K, q2_k, ENCODING_Q8_256, multiply_q2_k),
        ROW(Q3_K, q3_k, ENCODING_Q8_256, multiply_q3_k),
        ROW(Q4_K, q4_k, ENCODING_Q8_256, multiply_q4_k),
        ROW(Q5_K, q5_k, ENCODING_Q8_256, multiply_q5_k),
        ROW(Q6_K, q6_k, ENCODING_Q8_256, multiply_q6_k),
    };
    bool is_known =
        (size_t)type < sizeof kernels / sizeof kernels[0] && kernels[type].multiply != NULL;
    return is_known ? &kernels[type] : avx2_matmul_kernel(type); /* which decodes what it has not */
}
