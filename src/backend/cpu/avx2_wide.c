/*
 * avx2_wide.c - Q8_0 for many rows with AVX2: 16 bits on both sides.
 *
 * Signed bytes have no multiply-add here: what is unsigned in one factor has to be taken from the
 * other, and two products are all that 16 bits hold. With both sides widened, _mm256_madd_epi16
 * needs neither: as many instructions, but more of them are additions, of which a processor does
 * more at a time. A group becomes two pairs of columns.
 */
#include "backend/cpu/avx2_blocks.h"

struct unpacked_wide {
    _Alignas(32) int16_t q[BLOCKS_PER_CHUNK][2 * GROUPS_32][PANEL_ROWS][2];
    struct scales_32 scales;
    const uint8_t *next;
};

_Static_assert(sizeof(struct unpacked_wide) <= UNPACKED_BYTES, "fits the scratch");

void avx2_unpack_wide_q8_0(const struct cpu_weight *weight, size_t panel, size_t first_column,
                           size_t columns, void *unpacked) {
    const struct packed_layout layout = LAYOUT_Q8_0;
    const struct packed_offsets at = packed_offsets(layout);
    const uint8_t *packed = packed_at(weight, panel, first_column, 32, at.total);
    struct unpacked_wide *out = unpacked;
    unpack_scales_32(packed, columns / 32, &out->scales, layout);
    for (size_t b = 0; b < columns / 32; b++, packed += at.total) {
        for (size_t g = 0; g < GROUPS_32; g++) {
            for (size_t half = 0; half < HALVES; half++) {
                __m256i q = load_plane(packed + at.low, 8, g, half);
                __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(q, 8), 8);
                __m256i odd = _mm256_srai_epi16(q, 8);
                __m256i first = _mm256_blend_epi16(even, _mm256_slli_epi32(odd, 16), 0xaa);
                __m256i second = _mm256_blend_epi16(_mm256_srli_epi32(even, 16), odd, 0xaa);
                _mm256_store_si256((__m256i *)out->q[b][2 * g][half * 8], first);
                _mm256_store_si256((__m256i *)out->q[b][2 * g + 1][half * 8], second);
            }
        }
    }
    out->next = packed;
}

/* `batch` rows against one block; sums are not kept in registers, which its products fill. */
INLINE void multiply_block_wide(const struct unpacked_wide *w, size_t b, const uint8_t *x,
                                size_t stride, float *out, const size_t batch) {
    __m256i integers[4][HALVES];
#pragma GCC unroll 16
    for (size_t pair = 0; pair < 2 * GROUPS_32; pair++) {
        __m256i q[HALVES];
#pragma GCC unroll 2
        for (size_t half = 0; half < HALVES; half++) {
            q[half] = _mm256_load_si256((const __m256i *)w->q[b][pair][half * 8]);
        }
#pragma GCC unroll 4
        for (size_t t = 0; t < batch; t++) {
            const struct q8_wide32 *row = (const void *)(x + t * stride);
            __m256i a = broadcast_group((const int8_t *)(row[b].q + 2 * pair));
#pragma GCC unroll 2
            for (size_t half = 0; half < HALVES; half++) {
                __m256i product = _mm256_madd_epi16(q[half], a);
                integers[t][half] =
                    pair == 0 ? product : _mm256_add_epi32(integers[t][half], product);
                keep_order(&integers[t][half]);
            }
        }
    }
#pragma GCC unroll 4
    for (size_t t = 0; t < batch; t++) {
        const struct q8_wide32 *row = (const void *)(x + t * stride);
#pragma GCC unroll 2
        for (size_t half = 0; half < HALVES; half++) {
            float *to = out + t * PANEL_ROWS + half * 8;
            __m256 scale = _mm256_mul_ps(_mm256_load_ps(w->scales.scale[b] + half * 8),
                                         _mm256_set1_ps(row[b].scale));
            _mm256_storeu_ps(to, _mm256_fmadd_ps(_mm256_cvtepi32_ps(integers[t][half]), scale,
                                                 _mm256_loadu_ps(to)));
        }
    }
}

INLINE void multiply_rows_wide(const struct unpacked_wide *w, const uint8_t *next, const uint8_t *x,
                               size_t stride, size_t columns, float *out, const size_t batch) {
    const size_t block_bytes = packed_offsets((const struct packed_layout)LAYOUT_Q8_0).total;
    for (size_t b = 0; b < columns / 32; b++) {
        if (next != NULL) {
            prefetch(next + b * block_bytes, block_bytes);
        }
        multiply_block_wide(w, b, x, stride, out, batch);
    }
}

void avx2_multiply_wide(const void *unpacked, const uint8_t *x, size_t stride, size_t row_count,
                        size_t columns, float *sums) {
    const struct unpacked_wide *w = unpacked;
    const uint8_t *next = w->next;
    for (; row_count >= 4; row_count -= 4, x += 4 * stride, sums += 4 * PANEL_ROWS, next = NULL) {
        multiply_rows_wide(w, next, x, stride, columns, sums, 4);
    }
    for (; row_count > 0; row_count--, x += stride, sums += PANEL_ROWS, next = NULL) {
        multiply_rows_wide(w, next, x, stride, columns, sums, 1);
    }
}
