/*
 * avx512_blocks.h - unpacked chunks as the AVX-512 and AMX kernels read them, and the f32 part of a
 * product, which both run instruction for instruction alike. Private to them.
 */
#ifndef MISTRAL_BACKEND_CPU_AVX512_BLOCKS_H
#define MISTRAL_BACKEND_CPU_AVX512_BLOCKS_H

#include "backend/cpu/avx512.h"
#include "backend/cpu/packed.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

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

/* As in avx2_matmul.c: packed weights are read once, in several streams. */
INLINE void prefetch(const uint8_t *from, size_t bytes) {
#pragma GCC unroll 16
    for (size_t at = 0; at < bytes + 64; at += 64) {
        _mm_prefetch((const char *)from + at, _MM_HINT_T0);
    }
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

INLINE __m512 load_halves(const uint8_t *at) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)at));
}

INLINE __m512i broadcast_group(const int8_t *q) {
    int32_t four;
    memcpy(&four, q, sizeof four);
    return _mm512_set1_epi32(four);
}

/* ---- blocks of 32: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 ---- */

struct scales_32 {
    _Alignas(64) float scale[BLOCKS_PER_CHUNK][PANEL_ROWS];
    _Alignas(64) float minimum[BLOCKS_PER_CHUNK][PANEL_ROWS];
};

struct unpacked_32 {
    _Alignas(64) uint8_t q[BLOCKS_PER_CHUNK][GROUPS_32 * GROUP_BYTES];
    struct scales_32 scales;
    const uint8_t *next; /* packed bytes that are wanted after these */
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
    out->next = packed;
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
    const uint8_t *next;
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
    const size_t bytes = packed_offsets(layout).total;
    const uint8_t *packed = packed_at(weight, panel, first_column, 256, bytes);
    unpack_scales_256(packed, &out->scales, layout);
    unpack_quants(packed, layout, GROUPS_PER_CHUNK, out->q[0]);
    out->next = packed + bytes;
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

#endif
