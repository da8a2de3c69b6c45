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
#include "backend/cpu/avx512.h"
#include "backend/cpu/packed.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum {
    GROUPS_32 = 8,
    BLOCKS_PER_CHUNK = CHUNK_COLUMNS / 32,
    GROUPS_PER_CHUNK = CHUNK_COLUMNS / 4,
    MAX_BATCH = 8, /* activation rows that one pass over a chunk serves: sums stay in registers */
};

/* ---- bit planes → bytes ---- */

INLINE __m512i plane_bits(__m512i x, int shift, int mask) {
    __m512i moved = shift == 0  ? x
                    : shift > 0 ? _mm512_srli_epi16(x, (uint8_t)shift)
                                : _mm512_slli_epi16(x, (uint8_t)-shift);
    return _mm512_and_si512(moved, _mm512_set1_epi8((char)mask));
}

INLINE __m512i load_plane(const uint8_t *plane, size_t bits, size_t group) {
    return _mm512_loadu_si512(plane + group * bits / 8 * GROUP_BYTES);
}

/* 16 rows × 4 columns of quants, one byte each. `group` counts from the planes' start and is below
 * 8: the caller unrolls, so that the shifts are constants. */
INLINE __m512i planes_to_quants(const uint8_t *low, const uint8_t *high,
                                const struct packed_layout layout, size_t group) {
    __m512i q = load_plane(low, layout.low_bits, group);
    if (layout.low_bits < 8) {
        int shift = (int)(group % (8 / layout.low_bits) * layout.low_bits);
        q = plane_bits(q, shift, (1 << layout.low_bits) - 1);
    }
    if (layout.high_bits > 0) {
        int from = (int)(group % (8 / layout.high_bits) * layout.high_bits);
        int mask = ((1 << layout.high_bits) - 1) << layout.low_bits;
        q = _mm512_or_si512(q, plane_bits(load_plane(high, layout.high_bits, group),
                                          from - (int)layout.low_bits, mask));
    }
    return q;
}

/* Quants of `groups` groups (a multiple of 8), one byte each. */
INLINE void unpack_quants(const uint8_t *packed, const struct packed_layout layout, size_t groups,
                          uint8_t *out) {
    const struct packed_offsets at = packed_offsets(layout);
    for (size_t first = 0; first < groups; first += 8) {
        const uint8_t *low = packed + at.low + first * layout.low_bits / 8 * GROUP_BYTES;
        const uint8_t *high = packed + at.high + first * layout.high_bits / 8 * GROUP_BYTES;
#pragma GCC unroll 8
        for (size_t j = 0; j < 8; j++) {
            _mm512_store_si512(out + (first + j) * GROUP_BYTES,
                               planes_to_quants(low, high, layout, j));
        }
    }
}

INLINE bool is_signed(const struct packed_layout layout) {
    return layout.low_bits == 8;
}

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

INLINE __m512 load_halves(const uint8_t *at) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)at));
}

INLINE __m512i broadcast_group(const int8_t *q) {
    int32_t four;
    memcpy(&four, q, sizeof four);
    return _mm512_set1_epi32(four);
}

/* As in avx2_matmul.c: packed weights are read once, in several streams. */
INLINE void prefetch(const uint8_t *from, size_t bytes) {
#pragma GCC unroll 16
    for (size_t at = 0; at < bytes + 64; at += 64) {
        _mm_prefetch((const char *)from + at, _MM_HINT_T0);
    }
}

INLINE const uint8_t *packed_at(const struct cpu_weight *weight, size_t panel, size_t first_column,
                                size_t block_values, size_t block_bytes) {
    return weight->data + panel * weight->panel_bytes + first_column / block_values * block_bytes;
}

/* ---- blocks of 32: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 ---- */

struct scales_32 {
    _Alignas(64) float scale[BLOCKS_PER_CHUNK][PANEL_ROWS];
    _Alignas(64) float minimum[BLOCKS_PER_CHUNK][PANEL_ROWS];
};

struct unpacked_32 {
    _Alignas(64) uint8_t q[BLOCKS_PER_CHUNK][GROUPS_32 * GROUP_BYTES];
    struct scales_32 scales;
};

_Static_assert(sizeof(struct unpacked_32) <= UNPACKED_BYTES, "fits the scratch");

INLINE void unpack_scales_32(const uint8_t *packed, size_t block_count, struct scales_32 *out,
                             const struct packed_layout layout) {
    const struct packed_offsets at = packed_offsets(layout);
    for (size_t b = 0; b < block_count; b++, packed += at.total) {
        __m512 scale = load_halves(packed + at.scale);
        _mm512_store_ps(out->scale[b], scale);
        if (!is_signed(layout)) {
            __m512 minimum = layout.has_minimum
                                 ? load_halves(packed + at.minimum)
                                 : _mm512_mul_ps(scale, _mm512_set1_ps((float)-layout.offset));
            _mm512_store_ps(out->minimum[b], minimum);
        }
    }
}

INLINE void unpack_32(const struct cpu_weight *weight, size_t panel, size_t first_column,
                      size_t columns, struct unpacked_32 *out, const struct packed_layout layout) {
    const struct packed_offsets at = packed_offsets(layout);
    const uint8_t *packed = packed_at(weight, panel, first_column, 32, at.total);
    unpack_scales_32(packed, columns / 32, &out->scales, layout);
    for (size_t b = 0; b < columns / 32; b++, packed += at.total) {
        unpack_quants(packed, layout, GROUPS_32, out->q[b]);
    }
}

/* One block's part of a row's sums. */
INLINE __m512 add_block_32(__m512 sum, __m512i integers, const struct scales_32 *w, size_t b,
                           const struct q8_block32 *x, const struct packed_layout layout) {
    __m512 scale = _mm512_mul_ps(_mm512_load_ps(w->scale[b]), _mm512_set1_ps(x->scale));
    sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(integers), scale, sum);
    if (!is_signed(layout)) {
        sum = _mm512_fmadd_ps(_mm512_load_ps(w->minimum[b]), _mm512_set1_ps(x->scaled_sum), sum);
    }
    return sum;
}

/* `batch` rows against consecutive blocks, whose quants lie quant_stride bytes apart. */
INLINE void multiply_rows_32(const struct scales_32 *w, const uint8_t *quants, size_t quant_stride,
                             const bool packed, const struct packed_layout layout,
                             const uint8_t *activations, size_t stride, size_t columns, float *out,
                             const size_t batch) {
    __m512 sums[MAX_BATCH];
#pragma GCC unroll 8
    for (size_t t = 0; t < batch; t++) {
        sums[t] = _mm512_loadu_ps(out + t * PANEL_ROWS);
    }
    const struct q8_block32 *x = (const void *)activations;
    for (size_t b = 0; b < columns / 32; b++, quants += quant_stride, x++) {
        if (packed) {
            prefetch(quants + BLOCKS_PER_CHUNK * quant_stride, quant_stride);
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

/* ---- blocks of 256 with sub-block scales: Q2_K … Q6_K ---- */

struct scales_256 {
    _Alignas(64) float scale[16][PANEL_ROWS];       /* of a sub-block, a whole number */
    _Alignas(64) int16_t minimum[8][PANEL_ROWS][2]; /* of a pair of sub-blocks */
    _Alignas(64) float block_scale[PANEL_ROWS];
    _Alignas(64) float block_minimum[PANEL_ROWS]; /* times the minimums' sum, subtracted */
};

struct unpacked_256 {
    _Alignas(64) uint8_t q[GROUPS_PER_CHUNK][GROUP_BYTES];
    struct scales_256 scales;
};

_Static_assert(sizeof(struct unpacked_256) <= UNPACKED_BYTES, "fits the scratch");

INLINE void unpack_scales_256(const uint8_t *packed, struct scales_256 *out,
                              const struct packed_layout layout) {
    const struct packed_offsets at = packed_offsets(layout);
#pragma GCC unroll 8
    for (size_t pair = 0; pair < layout.sub_blocks / 2; pair++) {
        size_t from = pair * PANEL_ROWS * 2;
        __m512i scales = _mm512_cvtepi8_epi16(
            _mm256_loadu_si256((const __m256i *)(packed + at.sub_scale + from)));
        __m512i even = _mm512_srai_epi32(_mm512_slli_epi32(scales, 16), 16);
        __m512i odd = _mm512_srai_epi32(scales, 16);
        _mm512_store_ps(out->scale[2 * pair], _mm512_cvtepi32_ps(even));
        _mm512_store_ps(out->scale[2 * pair + 1], _mm512_cvtepi32_ps(odd));
        /* Without minimums, the quants' offset times the scale plays that part. */
        __m512i minimums = layout.has_minimum
                               ? _mm512_cvtepu8_epi16(_mm256_loadu_si256(
                                     (const __m256i *)(packed + at.sub_minimum + from)))
                               : scales;
        _mm512_store_si512(out->minimum[pair], minimums);
    }
    __m512 scale = load_halves(packed + at.scale);
    __m512 minimum = layout.has_minimum
                         ? load_halves(packed + at.minimum)
                         : _mm512_mul_ps(scale, _mm512_set1_ps((float)layout.offset));
    _mm512_store_ps(out->block_scale, scale);
    _mm512_store_ps(out->block_minimum, minimum);
}

INLINE void unpack_256(const struct cpu_weight *weight, size_t panel, size_t first_column,
                       size_t columns, struct unpacked_256 *out,
                       const struct packed_layout layout) {
    (void)columns; /* always a whole block */
    const uint8_t *packed =
        packed_at(weight, panel, first_column, 256, packed_offsets(layout).total);
    unpack_scales_256(packed, &out->scales, layout);
    unpack_quants(packed, layout, GROUPS_PER_CHUNK, out->q[0]);
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

/* A block's sums of scaled sub-blocks, less the minimums' part, into a row's sums. */
INLINE void finish_block_256(const struct scales_256 *w, const struct q8_block256 *x,
                             const struct packed_layout layout, __m512 sub_block_sums, float *out) {
    const int16_t *x_sums = layout.sub_blocks == 16 ? x->sums16 : x->sums32;
    __m512i minimums = _mm512_setzero_si512();
#pragma GCC unroll 8
    for (size_t pair = 0; pair < layout.sub_blocks / 2; pair++) {
        __m512i x_pair = broadcast_group((const int8_t *)(x_sums + 2 * pair));
        minimums = _mm512_dpwssd_epi32(minimums, _mm512_load_si512(w->minimum[pair]), x_pair);
    }
    __m512 x_scale = _mm512_set1_ps(x->scale);
    __m512 scale = _mm512_mul_ps(_mm512_load_ps(w->block_scale), x_scale);
    __m512 minimum = _mm512_mul_ps(_mm512_load_ps(w->block_minimum), x_scale);
    __m512 sum = _mm512_fmadd_ps(sub_block_sums, scale, _mm512_loadu_ps(out));
    sum = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(minimums), minimum, sum);
    _mm512_storeu_ps(out, sum);
}

INLINE void multiply_rows_256(const struct scales_256 *w, const uint8_t *quants, const bool packed,
                              const struct packed_layout layout, const uint8_t *activations,
                              size_t stride, float *out, const size_t batch) {
    __m512 sums[MAX_BATCH];
#pragma GCC unroll 8
    for (size_t t = 0; t < batch; t++) {
        sums[t] = _mm512_setzero_ps();
    }
    for (size_t group = 0; group < GROUPS_PER_CHUNK; group += 8) {
        if (packed) {
            /* An eighth of the next block with each eighth of this one. */
            const size_t bytes = packed_offsets(layout).total;
            prefetch(quants + bytes + group / 8 * (bytes / 8), bytes / 8);
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
                        const struct packed_layout layout){
#define ROWS(batch)                                                                                \
    multiply_rows_32(&w->scales, w->q[0], sizeof w->q[0], false, layout, x, stride, columns, sums, \
                     batch)
    BY_BATCHES(row_count, x, stride, sums, ROWS)
#undef ROWS
}

INLINE void multiply_256(const struct unpacked_256 *w, const uint8_t *x, size_t stride,
                         size_t row_count, float *sums, const struct packed_layout layout){
#define ROWS(batch) multiply_rows_256(&w->scales, w->q[0], false, layout, x, stride, sums, batch)
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
        multiply_rows_32(&scales, packed, step, true, layout, x, stride, columns, sums, 2);
    } else {
        multiply_rows_32(&scales, packed, step, true, layout, x, stride, columns, sums, 1);
    }
}

INLINE void multiply_packed_256(const struct cpu_weight *weight, size_t panel, size_t first_column,
                                const uint8_t *x, size_t stride, size_t row_count, float *sums,
                                const struct packed_layout layout) {
    const uint8_t *packed =
        packed_at(weight, panel, first_column, 256, packed_offsets(layout).total);
    struct scales_256 scales;
    unpack_scales_256(packed, &scales, layout);
    if (row_count == 2) {
        multiply_rows_256(&scales, packed, true, layout, x, stride, sums, 2);
    } else {
        multiply_rows_256(&scales, packed, true, layout, x, stride, sums, 1);
    }
}

#define DEFINE_KERNEL_32(name, LAYOUT)                                                             \
    static void unpack_##name(const struct cpu_weight *weight, size_t panel, size_t first_column,  \
                              size_t columns, void *unpacked) {                                    \
        unpack_32(weight, panel, first_column, columns, unpacked, CONSTANT(LAYOUT));               \
    }                                                                                              \
    static void multiply_##name(const void *unpacked, const uint8_t *x, size_t stride,             \
                                size_t row_count, size_t columns, float *sums) {                   \
        multiply_32(unpacked, x, stride, row_count, columns, sums, CONSTANT(LAYOUT));              \
    }                                                                                              \
    static void multiply_packed_##name(const struct cpu_weight *weight, size_t panel,              \
                                       size_t first_column, const uint8_t *x, size_t stride,       \
                                       size_t row_count, size_t columns, float *sums) {            \
        multiply_packed_32(weight, panel, first_column, x, stride, row_count, columns, sums,       \
                           CONSTANT(LAYOUT));                                                      \
    }

#define DEFINE_KERNEL_256(name, LAYOUT)                                                            \
    static void unpack_##name(const struct cpu_weight *weight, size_t panel, size_t first_column,  \
                              size_t columns, void *unpacked) {                                    \
        unpack_256(weight, panel, first_column, columns, unpacked, CONSTANT(LAYOUT));              \
    }                                                                                              \
    static void multiply_##name(const void *unpacked, const uint8_t *x, size_t stride,             \
                                size_t row_count, size_t columns, float *sums) {                   \
        (void)columns;                                                                             \
        multiply_256(unpacked, x, stride, row_count, sums, CONSTANT(LAYOUT));                      \
    }                                                                                              \
    static void multiply_packed_##name(const struct cpu_weight *weight, size_t panel,              \
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
    static void unpack_##name(const struct cpu_weight *weight, size_t panel, size_t first_column,  \
                              size_t columns, void *unpacked) {                                    \
        const uint8_t *from = packed_at(weight, panel, first_column, 1, column_bytes(TYPE));       \
        float *out = unpacked;                                                                     \
        for (size_t c = 0; c < columns; c++) {                                                     \
            _mm512_store_ps(out + c * PANEL_ROWS,                                                  \
                            load_column(from + c * column_bytes(TYPE), TYPE));                     \
        }                                                                                          \
    }                                                                                              \
    static void multiply_packed_##name(const struct cpu_weight *weight, size_t panel,              \
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
    [TENSOR_##TYPE] = {ENCODING, LAYOUT_##TYPE, unpack_##name, MULTIPLY, multiply_packed_##name}

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
    return &kernels[type];
}
