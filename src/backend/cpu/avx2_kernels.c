/*
 * avx2_kernels.c - the AVX2, FMA and F16C kernels beside the matrix products: encoding, norm, SiLU,
 * attention. Each sums in an order fixed by its sizes alone.
 */
#include "backend/cpu/avx2.h"
#include "backend/cpu/exp.h"

#include "base/bytes.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

INLINE float sum_lanes(__m256 x) {
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

INLINE float max_lanes(__m256 x) {
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

/* exp(x): see exp.h. */
INLINE __m256 exp_vector(__m256 x) {
    const __m256 lowest = _mm256_set1_ps(exp_lowest), rounds = _mm256_set1_ps(exp_rounds);
    const __m256 log2_e = _mm256_set1_ps(exp_log2_e);
    /* Of a NaN and a number, these return their second argument. */
    __m256 clamped = _mm256_max_ps(lowest, _mm256_min_ps(_mm256_set1_ps(exp_highest), x));
    __m256 rounded = _mm256_fmadd_ps(clamped, log2_e, rounds);
    __m256 r = _mm256_fmsub_ps(clamped, log2_e, _mm256_sub_ps(rounded, rounds));
    r = _mm256_fmadd_ps(clamped, _mm256_set1_ps(exp_log2_e_rest), r);
    __m256 p = _mm256_set1_ps(exp_polynomial[EXP_DEGREE]);
#pragma GCC unroll 8
    for (size_t i = EXP_DEGREE; i-- > 0;) {
        p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(exp_polynomial[i]));
    }
    __m256 power = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(rounded), 23));
    return _mm256_andnot_ps(_mm256_cmp_ps(x, lowest, _CMP_LT_OQ), _mm256_mul_ps(p, power));
}

/* ---- encoding activations ---- */

INLINE __m256 magnitude(__m256 x) {
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
}

INLINE float largest_magnitude(const float *values, size_t count) {
    __m256 largest = _mm256_setzero_ps();
    for (size_t i = 0; i < count; i += 8) {
        largest = _mm256_max_ps(magnitude(_mm256_loadu_ps(values + i)), largest);
    }
    return max_lanes(largest);
}

/* 32 values → 32 quants at `q`, as 32-bit integers' low bytes in order; returns them. */
INLINE __m256i encode_32(const float *x, __m256 inverse) {
    __m256i v[4];
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        v[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), inverse));
    }
    __m256i low = _mm256_packs_epi32(v[0], v[1]), high = _mm256_packs_epi32(v[2], v[3]);
    __m256i mixed = _mm256_packs_epi16(low, high);
    return _mm256_permutevar8x32_epi32(mixed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* Sums of 16 consecutive int8: the low and the high half of the vector. */
INLINE void sum_16(__m256i q, int *low, int *high) {
    __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), q);
    __m256i fours = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    __m128i a = _mm256_castsi256_si128(fours), b = _mm256_extracti128_si256(fours, 1);
    __m128i sums = _mm_hadd_epi32(_mm_hadd_epi32(a, b), _mm_setzero_si128());
    *low = _mm_cvtsi128_si32(sums);
    *high = _mm_extract_epi32(sums, 1);
}

void avx2_encode_q8_32(const float *values, size_t columns, struct q8_block32 *blocks) {
    for (size_t b = 0; b < columns / 32; b++) {
        float largest = largest_magnitude(values + 32 * b, 32);
        __m256 inverse = _mm256_set1_ps(largest > 0 ? 127.0f / largest : 0);
        __m256i q = encode_32(values + 32 * b, inverse);
        int low, high;
        sum_16(q, &low, &high);
        _mm256_storeu_si256((__m256i *)blocks[b].q, q);
        blocks[b].scale = largest / 127.0f;
        blocks[b].scaled_sum = blocks[b].scale * (float)(low + high);
        blocks[b].minus_128_sums = -128 * (low + high);
    }
}

void avx2_encode_q8_256(const float *values, size_t columns, struct q8_block256 *blocks) {
    for (size_t b = 0; b < columns / 256; b++) {
        struct q8_block256 *block = &blocks[b];
        float largest = largest_magnitude(values + 256 * b, 256);
        __m256 inverse = _mm256_set1_ps(largest > 0 ? 127.0f / largest : 0);
        for (size_t i = 0; i < 8; i++) {
            __m256i q = encode_32(values + 256 * b + 32 * i, inverse);
            int low, high;
            sum_16(q, &low, &high);
            _mm256_storeu_si256((__m256i *)(block->q + 32 * i), q);
            block->sums16[2 * i] = (int16_t)low;
            block->sums16[2 * i + 1] = (int16_t)high;
            block->sums32[i] = (int16_t)(low + high);
        }
        block->scale = largest / 127.0f;
    }
}

/* ---- norm, SiLU ---- */

void avx2_rms_norm(const float *x, const float *weight, float epsilon, size_t columns, float *out) {
    __m256 sums[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                      _mm256_setzero_ps()};
    size_t i = 0;
    for (; i + 32 <= columns; i += 32) {
#pragma GCC unroll 4
        for (size_t j = 0; j < 4; j++) {
            __m256 v = _mm256_loadu_ps(x + i + 8 * j);
            sums[j] = _mm256_fmadd_ps(v, v, sums[j]);
        }
    }
    float sum =
        sum_lanes(_mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3])));
    for (; i < columns; i++) {
        sum += x[i] * x[i];
    }
    float factor = 1.0f / sqrtf(sum / (float)columns + epsilon);
    for (i = 0; i + 8 <= columns; i += 8) {
        __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(factor));
        _mm256_storeu_ps(out + i, _mm256_mul_ps(v, _mm256_loadu_ps(weight + i)));
    }
    for (; i < columns; i++) {
        out[i] = x[i] * factor * weight[i];
    }
}

/* ---- gates ---- */

/* x sigmoid(z) */
static inline __m256 times_sigmoid(__m256 x, __m256 z) {
    __m256 e = exp_vector(_mm256_sub_ps(_mm256_setzero_ps(), z));
    return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), e));
}

static void gate_silu(const struct gate *gate, float *g, const float *u, size_t count) {
    (void)gate;
    for (size_t i = 0; i < count; i += 8) {
        __m256 x = _mm256_loadu_ps(g + i);
        _mm256_storeu_ps(g + i, _mm256_mul_ps(times_sigmoid(x, x), _mm256_loadu_ps(u + i)));
    }
}

static void gate_gelu(const struct gate *gate, float *g, const float *u, size_t count) {
    (void)gate;
    const __m256 factor = _mm256_set1_ps(gelu_factor), cube = _mm256_set1_ps(gelu_cube);
    for (size_t i = 0; i < count; i += 8) {
        __m256 x = _mm256_loadu_ps(g + i);
        __m256 z = _mm256_fmadd_ps(_mm256_mul_ps(cube, _mm256_mul_ps(x, x)), x, x);
        __m256 y = times_sigmoid(x, _mm256_mul_ps(factor, z));
        _mm256_storeu_ps(g + i, _mm256_mul_ps(y, _mm256_loadu_ps(u + i)));
    }
}

static void gate_clamped(const struct gate *gate, float *g, const float *u, size_t count) {
    const __m256 limit = _mm256_set1_ps(gate->limit), lowest = _mm256_set1_ps(-gate->limit);
    const __m256 alpha = _mm256_set1_ps(gate->alpha), one = _mm256_set1_ps(1.0f);
    for (size_t i = 0; i < count; i += 8) {
        __m256 x = _mm256_min_ps(_mm256_loadu_ps(g + i), limit);
        __m256 y = _mm256_max_ps(_mm256_min_ps(_mm256_loadu_ps(u + i), limit), lowest);
        __m256 silu = times_sigmoid(x, _mm256_mul_ps(alpha, x));
        _mm256_storeu_ps(g + i, _mm256_mul_ps(silu, _mm256_add_ps(y, one)));
    }
}

/* ---- attention ---- */

static void widen_f16(const uint16_t *halves, float *out, size_t count) {
    for (size_t i = 0; i < count; i += 16) {
        const __m128i *from = (const __m128i *)(halves + i);
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128(from)));
        _mm256_storeu_ps(out + i + 8, _mm256_cvtph_ps(_mm_loadu_si128(from + 1)));
    }
}

static void narrow_f16(const float *values, uint16_t *out, size_t count) {
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        __m128i halves = _mm256_cvtps_ph(_mm256_loadu_ps(values + i), _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128((__m128i *)(out + i), halves);
    }
    portable_narrow_f16(values + i, out + i, count - i);
}

/* Eight quants times their scales: the exact integer, one rounding. */
INLINE void widen_8(const int8_t *quants, __m256 scale, float *out) {
    __m256i wide = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)quants));
    _mm256_storeu_ps(out, _mm256_mul_ps(_mm256_cvtepi32_ps(wide), scale));
}

static void widen_q8_keys(const uint8_t *unit, size_t head_dim, float *out) {
    const int8_t *quants = (const int8_t *)unit;
    const __m128i *scales = (const __m128i *)(unit + head_dim * KV_BLOCK_TOKENS);
    for (size_t first = 0; first < head_dim; first += KV_Q8_VALUES, scales += 2) {
        __m256 low = _mm256_cvtph_ps(_mm_loadu_si128(scales));
        __m256 high = _mm256_cvtph_ps(_mm_loadu_si128(scales + 1));
        size_t end = size_min(first + KV_Q8_VALUES, head_dim);
        for (size_t d = first; d < end; d++) {
            widen_8(quants + d * KV_BLOCK_TOKENS, low, out + d * KV_BLOCK_TOKENS);
            widen_8(quants + d * KV_BLOCK_TOKENS + 8, high, out + d * KV_BLOCK_TOKENS + 8);
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
            for (; d + 8 <= end; d += 8) {
                widen_8(quants + d, _mm256_set1_ps(scale), out + d);
            }
            for (; d < end; d++) {
                out[d] = (float)quants[d] * scale;
            }
        }
    }
}

/* Queries times blocks are at most 6: two sums each stay in registers, and are enough of them in
 * flight to hide the latency of a multiply-add. */
INLINE void scores_of(const float *const *queries, const float *const *keys, size_t head_dim,
                      float scale, float *scores, size_t score_stride, const size_t batch,
                      const size_t blocks) {
    __m256 sums[4][4][2];
#pragma GCC unroll 4
    for (size_t i = 0; i < batch; i++) {
#pragma GCC unroll 4
        for (size_t b = 0; b < blocks; b++) {
            sums[i][b][0] = sums[i][b][1] = _mm256_setzero_ps();
        }
    }
    for (size_t d = 0; d < head_dim; d++) {
#pragma GCC unroll 4
        for (size_t b = 0; b < blocks; b++) {
            __m256 k0 = _mm256_loadu_ps(keys[b] + d * KV_BLOCK_TOKENS);
            __m256 k1 = _mm256_loadu_ps(keys[b] + d * KV_BLOCK_TOKENS + 8);
#pragma GCC unroll 4
            for (size_t i = 0; i < batch; i++) {
                __m256 q = _mm256_broadcast_ss(queries[i] + d);
                sums[i][b][0] = _mm256_fmadd_ps(k0, q, sums[i][b][0]);
                sums[i][b][1] = _mm256_fmadd_ps(k1, q, sums[i][b][1]);
            }
        }
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < batch; i++) {
#pragma GCC unroll 4
        for (size_t b = 0; b < blocks; b++) {
            float *out = scores + i * score_stride + b * KV_BLOCK_TOKENS;
            __m256 s = _mm256_set1_ps(scale);
            _mm256_storeu_ps(out, _mm256_mul_ps(sums[i][b][0], s));
            _mm256_storeu_ps(out + 8, _mm256_mul_ps(sums[i][b][1], s));
        }
    }
}

/* `batch` queries against all blocks, `step` blocks at a time. */
INLINE void scores_by_blocks(const float *const *queries, const float *const *keys,
                             size_t block_count, size_t head_dim, float scale, float *scores,
                             size_t score_stride, const size_t batch, const size_t step) {
    size_t b = 0;
    for (; b + step <= block_count; b += step) {
        scores_of(queries, keys + b, head_dim, scale, scores + b * KV_BLOCK_TOKENS, score_stride,
                  batch, step);
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
        scores_by_blocks(queries, keys, block_count, head_dim, scale, scores, score_stride, 4, 1);
    }
    if (count == 3) {
        scores_by_blocks(queries, keys, block_count, head_dim, scale, scores, score_stride, 3, 2);
    } else if (count == 2) {
        scores_by_blocks(queries, keys, block_count, head_dim, scale, scores, score_stride, 2, 2);
    } else if (count == 1) {
        scores_by_blocks(queries, keys, block_count, head_dim, scale, scores, score_stride, 1, 4);
    }
}

/* Of a score that is no number and a maximum, _mm256_max_ps returns the second. */
static float largest(const float *scores, size_t count, float maximum) {
    __m256 most = _mm256_set1_ps(maximum);
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        most = _mm256_max_ps(_mm256_loadu_ps(scores + i), most);
    }
    for (; i < count; i++) {
        most = _mm256_max_ps(_mm256_set1_ps(scores[i]), most);
    }
    return max_lanes(most);
}

/* Lanes past `count` count as 0; scores past it are left alone. */
static float exp_sum(float *scores, size_t count, float maximum) {
    const __m256 highest = _mm256_set1_ps(maximum);
    __m256 sum = _mm256_setzero_ps();
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        __m256 e = exp_vector(_mm256_sub_ps(_mm256_loadu_ps(scores + i), highest));
        _mm256_storeu_ps(scores + i, e);
        sum = _mm256_add_ps(sum, e);
    }
    if (i < count) {
        const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(count - i)), index);
        __m256 e = exp_vector(_mm256_sub_ps(_mm256_maskload_ps(scores + i, mask), highest));
        _mm256_maskstore_ps(scores + i, mask, e);
        sum = _mm256_add_ps(sum, _mm256_and_ps(e, _mm256_castsi256_ps(mask)));
    }
    return sum_lanes(sum);
}

/* `width` vectors of the head stay in registers while the tokens go by. */
INLINE void accumulate(const float *p, const float *values, size_t token_count, size_t head_dim,
                       float *out, const size_t width) {
    __m256 sums[8];
#pragma GCC unroll 8
    for (size_t j = 0; j < width; j++) {
        sums[j] = _mm256_loadu_ps(out + 8 * j);
    }
    for (size_t t = 0; t < token_count; t++) {
        __m256 weight = _mm256_broadcast_ss(p + t);
#pragma GCC unroll 8
        for (size_t j = 0; j < width; j++) {
            __m256 v = _mm256_loadu_ps(values + t * head_dim + 8 * j);
            sums[j] = _mm256_fmadd_ps(v, weight, sums[j]);
        }
    }
#pragma GCC unroll 8
    for (size_t j = 0; j < width; j++) {
        _mm256_storeu_ps(out + 8 * j, sums[j]);
    }
}

static void attention_accumulate(const float *p, const float *values, size_t token_count,
                                 size_t head_dim, float *out) {
    size_t d = 0;
    for (; d + 64 <= head_dim; d += 64) {
        accumulate(p, values + d, token_count, head_dim, out + d, 8);
    }
    for (; d + 8 <= head_dim; d += 8) {
        accumulate(p, values + d, token_count, head_dim, out + d, 1);
    }
    for (; d < head_dim; d++) {
        for (size_t t = 0; t < token_count; t++) {
            out[d] += p[t] * values[t * head_dim + d];
        }
    }
}

void avx2_scale(float *values, size_t count, float factor) {
    for (size_t i = 0; i < count; i++) {
        values[i] *= factor; /* elementwise: the compiler's vectors round alike */
    }
}

const struct cpu_kernels cpu_kernels_avx2 = {
    .name = "avx2", .matmul = avx2_matmul_kernel, SHARED_KERNELS};

const struct cpu_kernels cpu_kernels_avxvnni = {
    .name = "avxvnni", .matmul = avxvnni_matmul_kernel, SHARED_KERNELS};
