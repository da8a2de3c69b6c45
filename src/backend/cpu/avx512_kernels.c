/*
 * avx512_kernels.c - the sets avx512 and amx, and the AVX-512 kernels beside the matrix products:
 * SiLU and attention. Each sums in an order fixed by its sizes alone. Encoding, norm and scaling
 * are AVX2's: they are bound by memory, or too short for wider vectors to show.
 */
#include "backend/cpu/avx512.h"

#include "backend/cpu/avx2.h"
#include "backend/cpu/exp.h"
#include "base/bytes.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

/* exp(x): see exp.h. */
INLINE __m512 exp_vector(__m512 x) {
    const __m512 lowest = _mm512_set1_ps(exp_lowest), rounds = _mm512_set1_ps(exp_rounds);
    const __m512 log2_e = _mm512_set1_ps(exp_log2_e);
    /* Of a NaN and a number, these return their second argument. */
    __m512 clamped = _mm512_max_ps(lowest, _mm512_min_ps(_mm512_set1_ps(exp_highest), x));
    __m512 rounded = _mm512_fmadd_ps(clamped, log2_e, rounds);
    __m512 r = _mm512_fmsub_ps(clamped, log2_e, _mm512_sub_ps(rounded, rounds));
    r = _mm512_fmadd_ps(clamped, _mm512_set1_ps(exp_log2_e_rest), r);
    __m512 p = _mm512_set1_ps(exp_polynomial[EXP_DEGREE]);
#pragma GCC unroll 8
    for (size_t i = EXP_DEGREE; i-- > 0;) {
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(exp_polynomial[i]));
    }
    __m512 power = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(rounded), 23));
    return _mm512_maskz_mul_ps(_mm512_cmp_ps_mask(x, lowest, _CMP_NLT_UQ), p, power);
}

/* The first `count` lanes. */
INLINE __mmask16 first_lanes(size_t count) {
    return (__mmask16)(count >= 16 ? 0xffff : (1u << count) - 1);
}

/* ---- gates ---- */

/* x sigmoid(z) */
static inline __m512 times_sigmoid(__m512 x, __m512 z) {
    __m512 e = exp_vector(_mm512_sub_ps(_mm512_setzero_ps(), z));
    return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0f), e));
}

static void gate_silu(const struct gate *gate, float *g, const float *u, size_t count) {
    (void)gate;
    for (size_t i = 0; i < count; i += 16) {
        __m512 x = _mm512_loadu_ps(g + i);
        _mm512_storeu_ps(g + i, _mm512_mul_ps(times_sigmoid(x, x), _mm512_loadu_ps(u + i)));
    }
}

static void gate_gelu(const struct gate *gate, float *g, const float *u, size_t count) {
    (void)gate;
    const __m512 factor = _mm512_set1_ps(gelu_factor), cube = _mm512_set1_ps(gelu_cube);
    for (size_t i = 0; i < count; i += 16) {
        __m512 x = _mm512_loadu_ps(g + i);
        __m512 z = _mm512_fmadd_ps(_mm512_mul_ps(cube, _mm512_mul_ps(x, x)), x, x);
        __m512 y = times_sigmoid(x, _mm512_mul_ps(factor, z));
        _mm512_storeu_ps(g + i, _mm512_mul_ps(y, _mm512_loadu_ps(u + i)));
    }
}

static void gate_clamped(const struct gate *gate, float *g, const float *u, size_t count) {
    const __m512 limit = _mm512_set1_ps(gate->limit), lowest = _mm512_set1_ps(-gate->limit);
    const __m512 alpha = _mm512_set1_ps(gate->alpha), one = _mm512_set1_ps(1.0f);
    for (size_t i = 0; i < count; i += 16) {
        __m512 x = _mm512_min_ps(_mm512_loadu_ps(g + i), limit);
        __m512 y = _mm512_max_ps(_mm512_min_ps(_mm512_loadu_ps(u + i), limit), lowest);
        __m512 silu = times_sigmoid(x, _mm512_mul_ps(alpha, x));
        _mm512_storeu_ps(g + i, _mm512_mul_ps(silu, _mm512_add_ps(y, one)));
    }
}

/* ---- attention ---- */

static void widen_f16(const uint16_t *halves, float *out, size_t count) {
    for (size_t i = 0; i < count; i += 16) {
        _mm512_storeu_ps(out + i,
                         _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(halves + i))));
    }
}

static void narrow_f16(const float *values, uint16_t *out, size_t count) {
    for (size_t i = 0; i < count; i += 16) {
        __mmask16 lanes = first_lanes(count - i);
        __m256i halves =
            _mm512_cvtps_ph(_mm512_maskz_loadu_ps(lanes, values + i), _MM_FROUND_TO_NEAREST_INT);
        _mm256_mask_storeu_epi16(out + i, lanes, halves);
    }
}

/* Sixteen quants times their scales: the exact integer, one rounding. */
INLINE void widen_16(const int8_t *quants, __m512 scale, float *out) {
    __m512i wide = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)quants));
    _mm512_storeu_ps(out, _mm512_mul_ps(_mm512_cvtepi32_ps(wide), scale));
}

static void widen_q8_keys(const uint8_t *unit, size_t head_dim, float *out) {
    const int8_t *quants = (const int8_t *)unit;
    const __m256i *scales = (const __m256i *)(unit + head_dim * KV_BLOCK_TOKENS);
    for (size_t first = 0; first < head_dim; first += KV_Q8_VALUES, scales++) {
        __m512 scale = _mm512_cvtph_ps(_mm256_loadu_si256(scales));
        size_t end = size_min(first + KV_Q8_VALUES, head_dim);
        for (size_t d = first; d < end; d++) {
            widen_16(quants + d * KV_BLOCK_TOKENS, scale, out + d * KV_BLOCK_TOKENS);
        }
    }
}

static void widen_q8_values(const uint8_t *unit, size_t head_dim, float *out) {
    const int8_t *quants = (const int8_t *)unit;
    const uint16_t *scales = (const uint16_t *)(const void *)(unit + head_dim * KV_BLOCK_TOKENS);
    for (size_t t = 0; t < KV_BLOCK_TOKENS; t++, quants += head_dim, out += head_dim) {
        for (size_t first = 0; first < head_dim; first += KV_Q8_VALUES) {
            float scale = f16_to_f32(*scales++);
            size_t d = first, end = size_min(first + KV_Q8_VALUES, head_dim);
            for (; d + 16 <= end; d += 16) {
                widen_16(quants + d, _mm512_set1_ps(scale), out + d);
            }
            for (; d < end; d++) {
                out[d] = (float)quants[d] * scale;
            }
        }
    }
}

/* Queries times blocks are at most 16: their sums stay in registers, and each load of a key vector
 * serves all queries, each broadcast of a query all blocks. */
INLINE void scores_of(const float *const *queries, const float *const *keys, size_t head_dim,
                      float scale, float *scores, size_t score_stride, const size_t batch,
                      const size_t blocks) {
    __m512 sums[4][4];
#pragma GCC unroll 4
    for (size_t i = 0; i < batch; i++) {
#pragma GCC unroll 4
        for (size_t b = 0; b < blocks; b++) {
            sums[i][b] = _mm512_setzero_ps();
        }
    }
    for (size_t d = 0; d < head_dim; d++) {
        __m512 k[4];
#pragma GCC unroll 4
        for (size_t b = 0; b < blocks; b++) {
            k[b] = _mm512_loadu_ps(keys[b] + d * KV_BLOCK_TOKENS);
        }
#pragma GCC unroll 4
        for (size_t i = 0; i < batch; i++) {
            __m512 q = _mm512_set1_ps(queries[i][d]);
#pragma GCC unroll 4
            for (size_t b = 0; b < blocks; b++) {
                sums[i][b] = _mm512_fmadd_ps(k[b], q, sums[i][b]);
            }
        }
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < batch; i++) {
#pragma GCC unroll 4
        for (size_t b = 0; b < blocks; b++) {
            _mm512_storeu_ps(scores + i * score_stride + b * KV_BLOCK_TOKENS,
                             _mm512_mul_ps(sums[i][b], _mm512_set1_ps(scale)));
        }
    }
}

/* `batch` queries against all blocks, four blocks (a tile) at a time. */
INLINE void scores_by_blocks(const float *const *queries, const float *const *keys,
                             size_t block_count, size_t head_dim, float scale, float *scores,
                             size_t score_stride, const size_t batch) {
    size_t b = 0;
    for (; b + 4 <= block_count; b += 4) {
        scores_of(queries, keys + b, head_dim, scale, scores + b * KV_BLOCK_TOKENS, score_stride,
                  batch, 4);
    }
    for (; b < block_count; b++) {
        scores_of(queries, keys + b, head_dim, scale, scores + b * KV_BLOCK_TOKENS, score_stride,
                  batch, 1);
    }
}

static void attention_scores(const float *const *queries, size_t count, const float *const *keys,
                             size_t block_count, size_t head_dim, float scale, float *scores,
                             size_t score_stride) {
    for (; count >= 4; count -= 4, queries += 4, scores += 4 * score_stride) {
        scores_by_blocks(queries, keys, block_count, head_dim, scale, scores, score_stride, 4);
    }
    if (count == 3) {
        scores_by_blocks(queries, keys, block_count, head_dim, scale, scores, score_stride, 3);
    } else if (count == 2) {
        scores_by_blocks(queries, keys, block_count, head_dim, scale, scores, score_stride, 2);
    } else if (count == 1) {
        scores_by_blocks(queries, keys, block_count, head_dim, scale, scores, score_stride, 1);
    }
}

static float largest(const float *scores, size_t count, float maximum) {
    __m512 most = _mm512_set1_ps(maximum);
    for (size_t i = 0; i < count; i += 16) {
        __mmask16 mask = first_lanes(count - i);
        most = _mm512_mask_max_ps(most, mask, _mm512_maskz_loadu_ps(mask, scores + i), most);
    }
    return _mm512_reduce_max_ps(most);
}

/* Lanes past `count` are left alone, and count as 0. */
static float exp_sum(float *scores, size_t count, float maximum) {
    __m512 sum = _mm512_setzero_ps();
    for (size_t i = 0; i < count; i += 16) {
        __mmask16 mask = first_lanes(count - i);
        __m512 x = _mm512_maskz_loadu_ps(mask, scores + i);
        __m512 e = exp_vector(_mm512_sub_ps(x, _mm512_set1_ps(maximum)));
        _mm512_mask_storeu_ps(scores + i, mask, e);
        sum = _mm512_mask_add_ps(sum, mask, sum, e);
    }
    return _mm512_reduce_add_ps(sum);
}

/* `width` vectors of the head stay in registers while the tokens go by. */
INLINE void accumulate(const float *p, const float *values, size_t token_count, size_t head_dim,
                       float *out, const size_t width) {
    __m512 sums[8];
#pragma GCC unroll 8
    for (size_t j = 0; j < width; j++) {
        sums[j] = _mm512_loadu_ps(out + 16 * j);
    }
    for (size_t t = 0; t < token_count; t++) {
        __m512 weight = _mm512_set1_ps(p[t]);
#pragma GCC unroll 8
        for (size_t j = 0; j < width; j++) {
            sums[j] =
                _mm512_fmadd_ps(_mm512_loadu_ps(values + t * head_dim + 16 * j), weight, sums[j]);
        }
    }
#pragma GCC unroll 8
    for (size_t j = 0; j < width; j++) {
        _mm512_storeu_ps(out + 16 * j, sums[j]);
    }
}

static void attention_accumulate(const float *p, const float *values, size_t token_count,
                                 size_t head_dim, float *out) {
    size_t d = 0;
    for (; d + 128 <= head_dim; d += 128) {
        accumulate(p, values + d, token_count, head_dim, out + d, 8);
    }
    for (; d + 64 <= head_dim; d += 64) {
        accumulate(p, values + d, token_count, head_dim, out + d, 4);
    }
    for (; d + 16 <= head_dim; d += 16) {
        accumulate(p, values + d, token_count, head_dim, out + d, 1);
    }
    for (; d < head_dim; d++) {
        for (size_t t = 0; t < token_count; t++) {
            out[d] += p[t] * values[t * head_dim + d];
        }
    }
}

const struct cpu_kernels cpu_kernels_avx512 = {
    .name = "avx512", .matmul = avx512_matmul_kernel, SHARED_KERNELS};

const struct cpu_kernels cpu_kernels_amx = {
    .name = "amx", .matmul = amx_matmul_kernel, SHARED_KERNELS};
