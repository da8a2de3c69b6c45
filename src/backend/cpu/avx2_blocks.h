/*
 * avx2_blocks.h - packed blocks as the AVX2 kernels read them: bit planes, scales. Private to them.
 */
#ifndef MISTRAL_BACKEND_CPU_AVX2_BLOCKS_H
#define MISTRAL_BACKEND_CPU_AVX2_BLOCKS_H

#include "backend/cpu/avx2.h"
#include "backend/cpu/packed.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum {
    HALVES = 2, /* vectors of 8 rows in a panel */
};

/* Holds the compiler to the order of the source: left alone, it computes the products of many
 * groups before it adds the first, and spills them. */
INLINE void keep_order(__m256i *x) {
    __asm__ volatile("" : "+x"(*x));
}

/* ---- bit planes → bytes ---- */

/* (x >> right) << left for each byte after masking; one of the two shifts is 0. */
INLINE __m256i plane_bits(__m256i x, int shift, int mask) {
    __m256i moved = shift >= 0 ? _mm256_srli_epi16(x, shift) : _mm256_slli_epi16(x, -shift);
    return _mm256_and_si256(moved, _mm256_set1_epi8((char)mask));
}

INLINE __m256i load_plane(const uint8_t *plane, size_t bits, size_t group, size_t half) {
    return _mm256_loadu_si256(
        (const __m256i *)(plane + group * bits / 8 * GROUP_BYTES + half * 32));
}

/* Both lanes of a shuffle's table. */
INLINE __m256i codebook(const enum packed_codes codes) {
    const __m128i uneven =
        _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
    const __m128i e2m1 = _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
    return _mm256_broadcastsi128_si256(codes == CODES_E2M1 ? e2m1 : uneven);
}

/* 8 rows × 4 columns of quants, one byte each. `group` counts from the planes' start and is below
 * 8: the caller unrolls, so that the shifts are constants. */
INLINE __m256i planes_to_quants(const uint8_t *low, const uint8_t *high,
                                const struct packed_layout layout, size_t group, size_t half) {
    __m256i q = load_plane(low, layout.low_bits, group, half);
    if (layout.low_bits < 8) {
        int shift = (int)(group % (8 / layout.low_bits) * layout.low_bits);
        q = plane_bits(q, shift, (1 << layout.low_bits) - 1);
    }
    if (layout.high_bits > 0) {
        int from = (int)(group % (8 / layout.high_bits) * layout.high_bits);
        int mask = ((1 << layout.high_bits) - 1) << layout.low_bits;
        q = _mm256_or_si256(q, plane_bits(load_plane(high, layout.high_bits, group, half),
                                          from - (int)layout.low_bits, mask));
    }
    if (layout.codes != CODES_PLAIN) {
        q = _mm256_shuffle_epi8(codebook(layout.codes), q);
    }
    return q;
}

/* Packed weights are read once, and in several streams, which the processor's own prefetcher
 * follows badly: kernels ask for the bytes ahead, past the end of the weights too, which does no
 * harm. */
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
#pragma GCC unroll 2
            for (size_t half = 0; half < HALVES; half++) {
                _mm256_store_si256((__m256i *)(out + (first + j) * GROUP_BYTES + half * 32),
                                   planes_to_quants(low, high, layout, j, half));
            }
        }
    }
}

INLINE __m256 load_halves(const uint8_t *at) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)at));
}

INLINE __m256i broadcast_group(const int8_t *q) {
    int32_t four;
    memcpy(&four, q, sizeof four);
    return _mm256_set1_epi32(four);
}

/* ---- blocks of 32: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, IQ4, MXFP4 ---- */

/* Eight rows' scales, of 16 at `at`. */
INLINE __m256 load_scales(const uint8_t *at, size_t half, const struct packed_layout layout) {
    if (layout.codes == CODES_UNEVEN_PARTS) {
        return _mm256_loadu_ps((const float *)(const void *)at + half * 8);
    }
    if (layout.codes != CODES_E2M1) {
        return load_halves(at + half * 16);
    }
    __m256i bits = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(at + half * 16)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16));
}

struct scales_32 {
    _Alignas(32) float scale[BLOCKS_PER_CHUNK][PANEL_ROWS];
    _Alignas(32) float minimum[BLOCKS_PER_CHUNK][PANEL_ROWS];
};

INLINE void unpack_scales_32(const uint8_t *packed, size_t block_count, struct scales_32 *out,
                             const struct packed_layout layout) {
    const struct packed_offsets at = packed_offsets(layout);
    for (size_t b = 0; b < block_count; b++, packed += at.total) {
#pragma GCC unroll 2
        for (size_t half = 0; half < HALVES; half++) {
            __m256 scale = load_scales(packed + at.scale, half, layout);
            _mm256_store_ps(out->scale[b] + half * 8, scale);
            if (!is_signed(layout)) {
                __m256 minimum = layout.has_minimum
                                     ? load_halves(packed + at.minimum + half * 16)
                                     : _mm256_mul_ps(scale, _mm256_set1_ps((float)-layout.offset));
                _mm256_store_ps(out->minimum[b] + half * 8, minimum);
            }
        }
    }
}

#endif
