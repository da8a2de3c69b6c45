/*
 * avx2_matmul.c - matrix kernels for AVX2, FMA and F16C; built a second time for processors that
 * have AVX-VNNI besides, which is AVX-512's multiply-add of bytes for vectors of 256 bits.
 *
 * Integer formats: a group of four activations (32 bits) is broadcast and meets 8 rows × 4 columns
 * of unsigned quants in one _mm256_maddubs_epi16; the 16-bit pair sums are added while they cannot
 * overflow (127 * quant * 2 a group), then widened. So there is no horizontal sum, and row scales
 * are plain vector loads. Formats with sub-block scales widen with the scale itself in place of
 * ones. With AVX-VNNI, _mm256_dpbusd_avx_epi32 multiplies and adds to 32 bits at once, which cannot
 * overflow: nothing is widened. Integer sums are exact, so both give the same bits; the f32 part
 * runs once a block, in block order, with the same instructions for one row and for many: a row's
 * result does not depend on its neighbours.
 *
 * Float formats: panels are transposed to [column][16], each activation is broadcast and multiplied
 * into 16 running sums.
 */
#include "backend/cpu/avx2_blocks.h"

#ifdef __AVXVNNI__
#define HAS_VNNI    1
#define THIS_KERNEL avxvnni_matmul_kernel
#else
#define HAS_VNNI    0
#define THIS_KERNEL avx2_matmul_kernel
#endif

/* As planes_to_quants, eight groups from `first`, from wherever they are: a packed block, or bytes
 * in order. AVX-VNNI wants one side unsigned: it gets signed quants moved up by 128. */
INLINE __m256i quants_at(const uint8_t *quants, const bool packed,
                         const struct packed_layout layout, size_t first, size_t j, size_t half) {
    __m256i q;
    if (packed) {
        const struct packed_offsets at = packed_offsets(layout);
        q = planes_to_quants(quants + at.low + first * layout.low_bits / 8 * GROUP_BYTES,
                             quants + at.high + first * layout.high_bits / 8 * GROUP_BYTES, layout,
                             j, half);
    } else {
        q = _mm256_load_si256((const __m256i *)(quants + (first + j) * GROUP_BYTES + half * 32));
    }
    return HAS_VNNI && is_signed(layout) ? _mm256_xor_si256(q, _mm256_set1_epi8((char)0x80)) : q;
}

/* ---- blocks of 32: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, IQ4, MXFP4 ---- */

struct unpacked_32 {
    _Alignas(32) uint8_t q[BLOCKS_PER_CHUNK][GROUPS_32 * GROUP_BYTES];
    struct scales_32 scales;
    const uint8_t *next; /* packed bytes that are wanted after these */
};

_Static_assert(sizeof(struct unpacked_32) <= UNPACKED_BYTES, "fits the scratch");

INLINE void unpack_32(const struct cpu_weight *weight, size_t panel, size_t first_column,
                      size_t columns, struct unpacked_32 *out, const struct packed_layout layout) {
    const struct packed_offsets at = packed_offsets(layout);
    const uint8_t *packed = packed_at(weight, panel, first_column, 32, at.total);
    unpack_scales_32(packed, columns / 32, &out->scales, layout);
    for (size_t b = 0; b < columns / 32; b++, packed += at.total) {
        unpack_quants(packed, layout, GROUPS_32, out->q[b]);
    }
    out->next = packed;
}

/* Integer sums of one block for `batch` rows. */
#if HAS_VNNI
INLINE void dot_block_32(const uint8_t *quants, const bool packed,
                         const struct packed_layout layout, const struct q8_block32 *const *x,
                         const size_t batch, __m256i sums[][HALVES]) {
#pragma GCC unroll 4
    for (size_t t = 0; t < batch; t++) {
        sums[t][0] = sums[t][1] =
            is_signed(layout) ? _mm256_set1_epi32(x[t]->minus_128_sums) : _mm256_setzero_si256();
    }
#pragma GCC unroll 8
    for (size_t g = 0; g < GROUPS_32; g++) {
        __m256i q0 = quants_at(quants, packed, layout, 0, g, 0);
        __m256i q1 = quants_at(quants, packed, layout, 0, g, 1);
#pragma GCC unroll 4
        for (size_t t = 0; t < batch; t++) {
            __m256i a = broadcast_group(x[t]->q + 4 * g);
            sums[t][0] = _mm256_dpbusd_avx_epi32(sums[t][0], q0, a);
            sums[t][1] = _mm256_dpbusd_avx_epi32(sums[t][1], q1, a);
        }
    }
}
#else
INLINE void dot_block_32(const uint8_t *quants, const bool packed,
                         const struct packed_layout layout, const struct q8_block32 *const *x,
                         const size_t batch, __m256i sums[][HALVES]) {
    const __m256i ones = _mm256_set1_epi16(1);
    /* Groups whose 16-bit pair sums cannot overflow: 254 * largest quant * groups ≤ 32767. */
    const bool is_wide = is_signed(layout) && layout.codes != CODES_E2M1; /* quants up to 127 */
    const size_t groups_per_widening = is_wide ? 1 : layout.high_bits == 1 ? 4 : 8;
    __m256i pairs[4][HALVES];
#pragma GCC unroll 8
    for (size_t g = 0; g < GROUPS_32; g++) {
#pragma GCC unroll 2
        for (size_t half = 0; half < HALVES; half++) {
            __m256i w = quants_at(quants, packed, layout, 0, g, half);
            __m256i magnitude = is_signed(layout) ? _mm256_abs_epi8(w) : w;
#pragma GCC unroll 4
            for (size_t t = 0; t < batch; t++) {
                __m256i a = broadcast_group(x[t]->q + 4 * g);
                a = is_signed(layout) ? _mm256_sign_epi8(a, w) : a;
                __m256i product = _mm256_maddubs_epi16(magnitude, a);
                bool first = g % groups_per_widening == 0;
                pairs[t][half] = first ? product : _mm256_add_epi16(pairs[t][half], product);
                if (groups_per_widening > 1) {
                    keep_order(&pairs[t][half]);
                }
                if (g % groups_per_widening == groups_per_widening - 1) {
                    __m256i wide = _mm256_madd_epi16(pairs[t][half], ones);
                    sums[t][half] =
                        g < groups_per_widening ? wide : _mm256_add_epi32(sums[t][half], wide);
                    if (is_signed(layout)) {
                        keep_order(&sums[t][half]);
                    }
                }
            }
        }
    }
}
#endif

/* `batch` rows against consecutive blocks, whose quants lie quant_stride bytes apart. Blocks are
 * asked for at `next`, as many as are multiplied, unless it is NULL. */
INLINE void multiply_rows_32(const struct scales_32 *w, const uint8_t *quants, size_t quant_stride,
                             const uint8_t *next, const bool packed,
                             const struct packed_layout layout, const uint8_t *activations,
                             size_t stride, size_t columns, float *out, const size_t batch) {
    const struct q8_block32 *x[4];
    __m256 sums[4][HALVES];
#pragma GCC unroll 4
    for (size_t t = 0; t < batch; t++) {
        x[t] = (const void *)(activations + t * stride);
        for (size_t half = 0; half < HALVES; half++) {
            sums[t][half] = _mm256_loadu_ps(out + t * PANEL_ROWS + half * 8);
        }
    }
    for (size_t b = 0; b < columns / 32; b++, quants += quant_stride) {
        if (next != NULL) {
            prefetch(next + b * packed_offsets(layout).total, packed_offsets(layout).total);
        }
        __m256i integers[4][HALVES];
        dot_block_32(quants, packed, layout, x, batch, integers);
#pragma GCC unroll 4
        for (size_t t = 0; t < batch; t++) {
            __m256 x_scale = _mm256_set1_ps(x[t]->scale);
#pragma GCC unroll 2
            for (size_t half = 0; half < HALVES; half++) {
                __m256 scale = _mm256_mul_ps(_mm256_load_ps(w->scale[b] + half * 8), x_scale);
                __m256 sum =
                    _mm256_fmadd_ps(_mm256_cvtepi32_ps(integers[t][half]), scale, sums[t][half]);
                if (!is_signed(layout)) {
                    sum = _mm256_fmadd_ps(_mm256_load_ps(w->minimum[b] + half * 8),
                                          _mm256_set1_ps(x[t]->scaled_sum), sum);
                }
                sums[t][half] = sum;
            }
            x[t]++;
        }
    }
#pragma GCC unroll 4
    for (size_t t = 0; t < batch; t++) {
        for (size_t half = 0; half < HALVES; half++) {
            _mm256_storeu_ps(out + t * PANEL_ROWS + half * 8, sums[t][half]);
        }
    }
}

INLINE void multiply_32(const struct unpacked_32 *w, const uint8_t *x, size_t stride,
                        size_t row_count, size_t columns, float *sums,
                        const struct packed_layout layout) {
    const size_t step = GROUPS_32 * GROUP_BYTES;
    const uint8_t *q = w->q[0], *next = w->next;
    for (; row_count >= 4; row_count -= 4, x += 4 * stride, sums += 4 * PANEL_ROWS, next = NULL) {
        multiply_rows_32(&w->scales, q, step, next, false, layout, x, stride, columns, sums, 4);
    }
    if (row_count == 3) {
        multiply_rows_32(&w->scales, q, step, next, false, layout, x, stride, columns, sums, 3);
    } else if (row_count == 2) {
        multiply_rows_32(&w->scales, q, step, next, false, layout, x, stride, columns, sums, 2);
    } else if (row_count == 1) {
        multiply_rows_32(&w->scales, q, step, next, false, layout, x, stride, columns, sums, 1);
    }
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

/* ---- blocks of 256 with sub-block scales: Q2_K … Q6_K ---- */

struct scales_256 {
    /* A sub-block's scale: twice in 16 bits, or with AVX-VNNI once in 32. */
    _Alignas(32) int16_t scale[16][PANEL_ROWS][2];
    _Alignas(32) int16_t minimum[8][PANEL_ROWS][2]; /* of a pair of sub-blocks */
    _Alignas(32) float block_scale[PANEL_ROWS];
    _Alignas(32) float block_minimum[PANEL_ROWS]; /* times the minimums' sum, subtracted */
};

struct unpacked_256 {
    _Alignas(32) uint8_t q[GROUPS_PER_CHUNK][GROUP_BYTES];
    struct scales_256 scales;
    const uint8_t *next;
};

_Static_assert(sizeof(struct unpacked_256) <= UNPACKED_BYTES, "fits the scratch");

/* Scales of a pair of sub-blocks, [row][2] → of each of the two, as struct scales_256 has them. */
INLINE void split_scales(__m256i pair, __m256i *first, __m256i *second) {
#if HAS_VNNI
    *first = _mm256_srai_epi32(_mm256_slli_epi32(pair, 16), 16);
    *second = _mm256_srai_epi32(pair, 16);
#else
    const __m256i lanes = _mm256_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c, 0, 0x04040404,
                                            0x08080808, 0x0c0c0c0c);
    *first = _mm256_shuffle_epi8(pair, _mm256_add_epi8(_mm256_set1_epi32(0x01000100), lanes));
    *second = _mm256_shuffle_epi8(pair, _mm256_add_epi8(_mm256_set1_epi32(0x03020302), lanes));
#endif
}

INLINE void unpack_scales_256(const uint8_t *packed, struct scales_256 *out,
                              const struct packed_layout layout) {
    const struct packed_offsets at = packed_offsets(layout);
    for (size_t pair = 0; pair < layout.sub_blocks / 2; pair++) {
#pragma GCC unroll 2
        for (size_t half = 0; half < HALVES; half++) {
            size_t from = pair * PANEL_ROWS * 2 + half * 16;
            __m256i scales = _mm256_cvtepi8_epi16(
                _mm_loadu_si128((const __m128i *)(packed + at.sub_scale + from)));
            __m256i first, second;
            split_scales(scales, &first, &second);
            _mm256_store_si256((__m256i *)out->scale[2 * pair][half * 8], first);
            _mm256_store_si256((__m256i *)out->scale[2 * pair + 1][half * 8], second);
            /* Without minimums, the quants' offset times the scale plays that part. */
            __m256i minimums = layout.has_minimum
                                   ? _mm256_cvtepu8_epi16(_mm_loadu_si128(
                                         (const __m128i *)(packed + at.sub_minimum + from)))
                                   : scales;
            _mm256_store_si256((__m256i *)out->minimum[pair][half * 8], minimums);
        }
    }
#pragma GCC unroll 2
    for (size_t half = 0; half < HALVES; half++) {
        __m256 scale = load_halves(packed + at.scale + half * 16);
        __m256 minimum = layout.has_minimum
                             ? load_halves(packed + at.minimum + half * 16)
                             : _mm256_mul_ps(scale, _mm256_set1_ps((float)layout.offset));
        _mm256_store_ps(out->block_scale + half * 8, scale);
        _mm256_store_ps(out->block_minimum + half * 8, minimum);
    }
}

/* Eight groups, which are whole sub-blocks (one of 8 groups, or two of 4), against `batch` rows,
 * times the sub-blocks' scales. */
#if HAS_VNNI
INLINE void dot_groups_256(const struct scales_256 *w, const uint8_t *quants, const bool packed,
                           const struct packed_layout layout, size_t first_group,
                           const struct q8_block256 *const *x, const size_t batch,
                           __m256i sums[][HALVES]) {
    const size_t groups = GROUPS_PER_CHUNK / layout.sub_blocks;
    __m256i integers[4][HALVES];
#pragma GCC unroll 8
    for (size_t j = 0; j < 8; j++) {
        size_t group = first_group + j;
        __m256i q0 = quants_at(quants, packed, layout, first_group, j, 0);
        __m256i q1 = quants_at(quants, packed, layout, first_group, j, 1);
#pragma GCC unroll 4
        for (size_t t = 0; t < batch; t++) {
            __m256i a = broadcast_group(x[t]->q + 4 * group);
            bool first = j % groups == 0;
            integers[t][0] =
                _mm256_dpbusd_avx_epi32(first ? _mm256_setzero_si256() : integers[t][0], q0, a);
            integers[t][1] =
                _mm256_dpbusd_avx_epi32(first ? _mm256_setzero_si256() : integers[t][1], q1, a);
        }
        if (j % groups == groups - 1) {
            const __m256i *scale = (const __m256i *)w->scale[group / groups];
#pragma GCC unroll 4
            for (size_t t = 0; t < batch; t++) {
#pragma GCC unroll 2
                for (size_t half = 0; half < HALVES; half++) {
                    __m256i scaled =
                        _mm256_mullo_epi32(integers[t][half], _mm256_load_si256(scale + half));
                    sums[t][half] = _mm256_add_epi32(sums[t][half], scaled);
                }
            }
        }
    }
}
#else
INLINE void dot_groups_256(const struct scales_256 *w, const uint8_t *quants, const bool packed,
                           const struct packed_layout layout, size_t first_group,
                           const struct q8_block256 *const *x, const size_t batch,
                           __m256i sums[][HALVES]) {
    const size_t groups_per_sub_block = GROUPS_PER_CHUNK / layout.sub_blocks;
    /* As above: 15, 31, 63 are the largest quants of 4, 5 and 6 bits. */
    const size_t bits = layout.low_bits + layout.high_bits;
    const size_t groups_per_widening = bits == 6 ? 2 : bits == 5 || layout.sub_blocks == 16 ? 4 : 8;
    __m256i pairs[4][HALVES];
#pragma GCC unroll 8
    for (size_t j = 0; j < 8; j++) {
        size_t group = first_group + j;
#pragma GCC unroll 2
        for (size_t half = 0; half < HALVES; half++) {
            __m256i q = quants_at(quants, packed, layout, first_group, j, half);
#pragma GCC unroll 4
            for (size_t t = 0; t < batch; t++) {
                __m256i product = _mm256_maddubs_epi16(q, broadcast_group(x[t]->q + 4 * group));
                bool first = j % groups_per_widening == 0;
                pairs[t][half] = first ? product : _mm256_add_epi16(pairs[t][half], product);
                keep_order(&pairs[t][half]);
                if (j % groups_per_widening == groups_per_widening - 1) {
                    size_t sub_block =
                        first_group / groups_per_sub_block + j / groups_per_sub_block;
                    __m256i scale =
                        _mm256_load_si256((const __m256i *)w->scale[sub_block][half * 8]);
                    sums[t][half] =
                        _mm256_add_epi32(sums[t][half], _mm256_madd_epi16(pairs[t][half], scale));
                }
            }
        }
    }
}
#endif

INLINE void finish_block_256(const struct scales_256 *w, const struct q8_block256 *x,
                             const struct packed_layout layout, const __m256i *integers,
                             float *out) {
    const int16_t *x_sums = layout.sub_blocks == 16 ? x->sums16 : x->sums32;
    __m256 x_scale = _mm256_set1_ps(x->scale);
#pragma GCC unroll 2
    for (size_t half = 0; half < HALVES; half++) {
        __m256i minimums = _mm256_setzero_si256();
#pragma GCC unroll 8
        for (size_t pair = 0; pair < layout.sub_blocks / 2; pair++) {
            __m256i x_pair = broadcast_group((const int8_t *)(x_sums + 2 * pair));
            minimums = _mm256_add_epi32(
                minimums,
                _mm256_madd_epi16(_mm256_load_si256((const __m256i *)w->minimum[pair][half * 8]),
                                  x_pair));
        }
        __m256 sum = _mm256_loadu_ps(out + half * 8);
        __m256 scale = _mm256_mul_ps(_mm256_load_ps(w->block_scale + half * 8), x_scale);
        __m256 minimum = _mm256_mul_ps(_mm256_load_ps(w->block_minimum + half * 8), x_scale);
        sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(integers[half]), scale, sum);
        sum = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(minimums), minimum, sum);
        _mm256_storeu_ps(out + half * 8, sum);
    }
}

INLINE void multiply_rows_256(const struct scales_256 *w, const uint8_t *quants,
                              const uint8_t *next, const bool packed,
                              const struct packed_layout layout, const uint8_t *activations,
                              size_t stride, float *out, const size_t batch) {
    const struct q8_block256 *x[4];
    __m256i sums[4][HALVES];
#pragma GCC unroll 4
    for (size_t t = 0; t < batch; t++) {
        x[t] = (const void *)(activations + t * stride);
        sums[t][0] = sums[t][1] = _mm256_setzero_si256();
    }
    for (size_t group = 0; group < GROUPS_PER_CHUNK; group += 8) {
        if (next != NULL) {
            /* An eighth of the next block with each eighth of this one. */
            const size_t bytes = packed_offsets(layout).total;
            prefetch(next + group / 8 * (bytes / 8), bytes / 8);
        }
        dot_groups_256(w, quants, packed, layout, group, x, batch, sums);
    }
#pragma GCC unroll 4
    for (size_t t = 0; t < batch; t++) {
        finish_block_256(w, x[t], layout, sums[t], out + t * PANEL_ROWS);
    }
}

INLINE void multiply_256(const struct unpacked_256 *w, const uint8_t *x, size_t stride,
                         size_t row_count, float *sums, const struct packed_layout layout) {
    const uint8_t *q = w->q[0], *next = w->next;
    for (; row_count >= 4; row_count -= 4, x += 4 * stride, sums += 4 * PANEL_ROWS, next = NULL) {
        multiply_rows_256(&w->scales, q, next, false, layout, x, stride, sums, 4);
    }
    if (row_count == 3) {
        multiply_rows_256(&w->scales, q, next, false, layout, x, stride, sums, 3);
    } else if (row_count == 2) {
        multiply_rows_256(&w->scales, q, next, false, layout, x, stride, sums, 2);
    } else if (row_count == 1) {
        multiply_rows_256(&w->scales, q, next, false, layout, x, stride, sums, 1);
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

INLINE void unpack_256(const struct cpu_weight *weight, size_t panel, size_t first_column,
                       size_t columns, struct unpacked_256 *out,
                       const struct packed_layout layout) {
    (void)columns; /* always a whole block */
    const size_t bytes = packed_offsets(layout).total;
    const uint8_t *packed = packed_at(weight, panel, first_column, 256, bytes);
    unpack_scales_256(packed, &out->scales, layout);
    unpack_quants(packed, layout, GROUPS_PER_CHUNK, out->q[0]);
    out->next = packed + bytes;
}

/* ---- one set of functions a format ---- */

#define CONSTANT(...) ((const struct packed_layout)__VA_ARGS__)

#define DEFINE_PACKED_32(name, LAYOUT)                                                             \
    static void multiply_packed_##name(const struct cpu_weight *weight, size_t panel,              \
                                       size_t first_column, const uint8_t *x, size_t stride,       \
                                       size_t row_count, size_t columns, float *sums) {            \
        multiply_packed_32(weight, panel, first_column, x, stride, row_count, columns, sums,       \
                           CONSTANT(LAYOUT));                                                      \
    }

#define DEFINE_UNPACKED_32(name, LAYOUT)                                                           \
    static void unpack_##name(const struct cpu_weight *weight, size_t panel, size_t first_column,  \
                              size_t columns, void *unpacked) {                                    \
        unpack_32(weight, panel, first_column, columns, unpacked, CONSTANT(LAYOUT));               \
    }                                                                                              \
    static void multiply_##name(const void *unpacked, const uint8_t *x, size_t stride,             \
                                size_t row_count, size_t columns, float *sums) {                   \
        multiply_32(unpacked, x, stride, row_count, columns, sums, CONSTANT(LAYOUT));              \
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

DEFINE_UNPACKED_32(q4_0, LAYOUT_Q4_0)
DEFINE_PACKED_32(q4_0, LAYOUT_Q4_0)
DEFINE_UNPACKED_32(q4_1, LAYOUT_Q4_1)
DEFINE_PACKED_32(q4_1, LAYOUT_Q4_1)
DEFINE_UNPACKED_32(q5_0, LAYOUT_Q5_0)
DEFINE_PACKED_32(q5_0, LAYOUT_Q5_0)
DEFINE_UNPACKED_32(q5_1, LAYOUT_Q5_1)
DEFINE_PACKED_32(q5_1, LAYOUT_Q5_1)
#if HAS_VNNI
DEFINE_UNPACKED_32(q8_0, LAYOUT_Q8_0)
#endif
DEFINE_PACKED_32(q8_0, LAYOUT_Q8_0)
DEFINE_UNPACKED_32(iq4_nl, LAYOUT_IQ4_NL)
DEFINE_PACKED_32(iq4_nl, LAYOUT_IQ4_NL)
DEFINE_UNPACKED_32(iq4_xs, LAYOUT_IQ4_XS_PART)
DEFINE_PACKED_32(iq4_xs, LAYOUT_IQ4_XS_PART)
DEFINE_UNPACKED_32(mxfp4, LAYOUT_MXFP4)
DEFINE_PACKED_32(mxfp4, LAYOUT_MXFP4)
DEFINE_KERNEL_256(q2_k, LAYOUT_Q2_K)
DEFINE_KERNEL_256(q3_k, LAYOUT_Q3_K)
DEFINE_KERNEL_256(q4_k, LAYOUT_Q4_K)
DEFINE_KERNEL_256(q5_k, LAYOUT_Q5_K)
DEFINE_KERNEL_256(q6_k, LAYOUT_Q6_K)

/* ---- floats: F32, F16, BF16 ---- */

static void unpack_f32(const struct cpu_weight *weight, size_t panel, size_t first_column,
                       size_t columns, void *unpacked) {
    memcpy(unpacked, packed_at(weight, panel, first_column, 1, PANEL_ROWS * 4),
           columns * PANEL_ROWS * 4);
}

static void unpack_f16(const struct cpu_weight *weight, size_t panel, size_t first_column,
                       size_t columns, void *unpacked) {
    const uint8_t *from = packed_at(weight, panel, first_column, 1, PANEL_ROWS * 2);
    float *out = unpacked;
    for (size_t i = 0; i < columns * PANEL_ROWS; i += 8) {
        _mm256_store_ps(out + i, load_halves(from + 2 * i));
    }
}

static void unpack_bf16(const struct cpu_weight *weight, size_t panel, size_t first_column,
                        size_t columns, void *unpacked) {
    const uint8_t *from = packed_at(weight, panel, first_column, 1, PANEL_ROWS * 2);
    float *out = unpacked;
    for (size_t i = 0; i < columns * PANEL_ROWS; i += 8) {
        __m256i bits = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(from + 2 * i)));
        _mm256_store_ps(out + i, _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16)));
    }
}

INLINE void multiply_rows_float(const float *w, const uint8_t *activations, size_t stride,
                                size_t columns, float *out, const size_t batch) {
    const float *x[4];
    __m256 sums[4][HALVES];
#pragma GCC unroll 4
    for (size_t t = 0; t < batch; t++) {
        x[t] = (const void *)(activations + t * stride);
        sums[t][0] = _mm256_loadu_ps(out + t * PANEL_ROWS);
        sums[t][1] = _mm256_loadu_ps(out + t * PANEL_ROWS + 8);
    }
    for (size_t c = 0; c < columns; c++) {
        __m256 w0 = _mm256_load_ps(w + c * PANEL_ROWS);
        __m256 w1 = _mm256_load_ps(w + c * PANEL_ROWS + 8);
#pragma GCC unroll 4
        for (size_t t = 0; t < batch; t++) {
            __m256 a = _mm256_broadcast_ss(x[t] + c);
            sums[t][0] = _mm256_fmadd_ps(w0, a, sums[t][0]);
            sums[t][1] = _mm256_fmadd_ps(w1, a, sums[t][1]);
        }
    }
#pragma GCC unroll 4
    for (size_t t = 0; t < batch; t++) {
        _mm256_storeu_ps(out + t * PANEL_ROWS, sums[t][0]);
        _mm256_storeu_ps(out + t * PANEL_ROWS + 8, sums[t][1]);
    }
}

static void multiply_float(const void *unpacked, const uint8_t *x, size_t stride, size_t row_count,
                           size_t columns, float *sums) {
    for (; row_count >= 4; row_count -= 4, x += 4 * stride, sums += 4 * PANEL_ROWS) {
        multiply_rows_float(unpacked, x, stride, columns, sums, 4);
    }
    for (; row_count > 0; row_count--, x += stride, sums += PANEL_ROWS) {
        multiply_rows_float(unpacked, x, stride, columns, sums, 1);
    }
}

/* ---- the table ---- */

#define ROW(TYPE, name, ENCODING)                                                                  \
    [TENSOR_##                                                                                     \
        TYPE] = {ENCODING, LAYOUT_##TYPE, unpack_##name, multiply_##name, multiply_packed_##name}

const struct matmul_kernel *THIS_KERNEL(enum tensor_type type) {
    static const struct matmul_kernel kernels[] = {
        [TENSOR_F32] = {ENCODING_F32, LAYOUT_F32, unpack_f32, multiply_float, NULL},
        [TENSOR_F16] = {ENCODING_F32, LAYOUT_F16, unpack_f16, multiply_float, NULL},
        [TENSOR_BF16] = {ENCODING_F32, LAYOUT_BF16, unpack_bf16, multiply_float, NULL},
        ROW(Q4_0, q4_0, ENCODING_Q8_32),
        ROW(Q4_1, q4_1, ENCODING_Q8_32),
        ROW(Q5_0, q5_0, ENCODING_Q8_32),
        ROW(Q5_1, q5_1, ENCODING_Q8_32),
#if HAS_VNNI
        ROW(Q8_0, q8_0, ENCODING_Q8_32),
#else
        [TENSOR_Q8_0] = {ENCODING_Q8_32, LAYOUT_Q8_0, avx2_unpack_wide_q8_0, avx2_multiply_wide,
                         multiply_packed_q8_0, .multiplies_wide = true},
#endif
        ROW(IQ4_NL, iq4_nl, ENCODING_Q8_32),
        ROW(IQ4_XS, iq4_xs, ENCODING_Q8_32),
        ROW(MXFP4, mxfp4, ENCODING_Q8_32),
        ROW(Q2_K, q2_k, ENCODING_Q8_256),
        ROW(Q3_K, q3_k, ENCODING_Q8_256),
        ROW(Q4_K, q4_k, ENCODING_Q8_256),
        ROW(Q5_K, q5_k, ENCODING_Q8_256),
        ROW(Q6_K, q6_k, ENCODING_Q8_256),
    };
    /* Of a format without a kernel of its own. */
    static const struct matmul_kernel decoded = {
        .encoding = ENCODING_F32, .unpack = portable_unpack_rows, .multiply = multiply_float};
    bool is_known =
        (size_t)type < sizeof kernels / sizeof kernels[0] && kernels[type].multiply != NULL;
    return is_known ? &kernels[type] : &decoded;
}
