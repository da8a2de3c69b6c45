/*
 * neon_kernels.c - the NEON kernels beside the matrix products: encoding, norm, SiLU, attention.
 * Each sums in an order fixed by its sizes alone. They need nothing that a processor of ARMv8-A
 * lacks; only the matrix products of the sets that hold them do.
 */
#include "backend/cpu/exp.h"
#include "backend/cpu/neon.h"

#include "base/bytes.h"

#include <arm_neon.h>
#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* exp(x): see exp.h. */
INLINE float32x4_t exp_vector(float32x4_t x) {
    const float32x4_t lowest = vdupq_n_f32(exp_lowest), rounds = vdupq_n_f32(exp_rounds);
    const float32x4_t log2_e = vdupq_n_f32(exp_log2_e);
    float32x4_t clamped = vminq_f32(vmaxq_f32(x, lowest), vdupq_n_f32(exp_highest)); /* NaN: NaN */
    float32x4_t rounded = vfmaq_f32(rounds, clamped, log2_e);
    float32x4_t n = vsubq_f32(rounded, rounds);
    float32x4_t r = vnegq_f32(vfmsq_f32(n, clamped, log2_e));
    r = vfmaq_f32(r, clamped, vdupq_n_f32(exp_log2_e_rest));
    float32x4_t p = vdupq_n_f32(exp_polynomial[EXP_DEGREE]);
#pragma GCC unroll 8
    for (size_t i = EXP_DEGREE; i-- > 0;) {
        p = vfmaq_f32(vdupq_n_f32(exp_polynomial[i]), p, r);
    }
    uint32x4_t power = vshlq_n_u32(vreinterpretq_u32_f32(rounded), 23);
    float32x4_t result = vmulq_f32(p, vreinterpretq_f32_u32(power));
    return vbslq_f32(vcltq_f32(x, lowest), vdupq_n_f32(0), result);
}

/* ---- encoding activations ---- */

/* Passes over NaN, as the reference does. */
INLINE float largest_magnitude(const float *values, size_t count) {
    float32x4_t largest = vdupq_n_f32(0);
    for (size_t i = 0; i < count; i += 4) {
        largest = vmaxnmq_f32(largest, vabsq_f32(vld1q_f32(values + i)));
    }
    return vmaxvq_f32(largest);
}

/* 16 values → 16 quants at `q`; returns their sum. NaN becomes 0. */
INLINE int encode_16(const float *x, float inverse, int8_t *q) {
    int16x8_t halves[2];
#pragma GCC unroll 2
    for (size_t i = 0; i < 2; i++) {
        int32x4_t low = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + 8 * i), inverse));
        int32x4_t high = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + 8 * i + 4), inverse));
        halves[i] = vqmovn_high_s32(vqmovn_s32(low), high);
    }
    int8x16_t quants = vqmovn_high_s16(vqmovn_s16(halves[0]), halves[1]);
    quants = vmaxq_s8(quants, vdupq_n_s8(-127));
    vst1q_s8(q, quants);
    return vaddlvq_s8(quants);
}

static void encode_q8_32(const float *values, size_t columns, struct q8_block32 *blocks) {
    for (size_t b = 0; b < columns / 32; b++, values += 32) {
        float largest = largest_magnitude(values, 32);
        float inverse = largest > 0 ? 127.0f / largest : 0;
        int sum = encode_16(values, inverse, blocks[b].q);
        sum += encode_16(values + 16, inverse, blocks[b].q + 16);
        blocks[b].scale = largest / 127.0f;
        blocks[b].scaled_sum = blocks[b].scale * (float)sum;
        blocks[b].minus_128_sums = -128 * sum;
    }
}

static void encode_q8_256(const float *values, size_t columns, struct q8_block256 *blocks) {
    for (size_t b = 0; b < columns / 256; b++, values += 256) {
        struct q8_block256 *block = &blocks[b];
        float largest = largest_magnitude(values, 256);
        float inverse = largest > 0 ? 127.0f / largest : 0;
        for (size_t i = 0; i < 8; i++) {
            int low = encode_16(values + 32 * i, inverse, block->q + 32 * i);
            int high = encode_16(values + 32 * i + 16, inverse, block->q + 32 * i + 16);
            block->sums16[2 * i] = (int16_t)low;
            block->sums16[2 * i + 1] = (int16_t)high;
            block->sums32[i] = (int16_t)(low + high);
        }
        block->scale = largest / 127.0f;
    }
}

/* ---- norm, SiLU ---- */

static void rms_norm(const float *x, const float *weight, float epsilon, size_t columns,
                     float *out) {
    float32x4_t sums[8] = {0};
    size_t i = 0;
    for (; i + 32 <= columns; i += 32) {
#pragma GCC unroll 8
        for (size_t j = 0; j < 8; j++) {
            float32x4_t v = vld1q_f32(x + i + 4 * j);
            sums[j] = vfmaq_f32(sums[j], v, v);
        }
    }
#pragma GCC unroll 8
    for (size_t j = 1; j < 8; j++) {
        sums[0] = vaddq_f32(sums[0], sums[j]);
    }
    float sum = vaddvq_f32(sums[0]);
    for (; i < columns; i++) {
        sum += x[i] * x[i];
    }
    float factor = 1.0f / sqrtf(sum / (float)columns + epsilon);
    for (i = 0; i < columns; i++) {
        out[i] = x[i] * factor * weight[i]; /* elementwise: the compiler's vectors round alike */
    }
}

/* count: a multiple of 4 (panels are 16 wide). */
/* x sigmoid(z) */
static inline float32x4_t times_sigmoid(float32x4_t x, float32x4_t z) {
    return vdivq_f32(x, vaddq_f32(vdupq_n_f32(1), exp_vector(vnegq_f32(z))));
}

static void gate_silu(const struct gate *gate, float *g, const float *u, size_t count) {
    (void)gate;
    for (size_t i = 0; i < count; i += 4) {
        float32x4_t x = vld1q_f32(g + i);
        vst1q_f32(g + i, vmulq_f32(times_sigmoid(x, x), vld1q_f32(u + i)));
    }
}

static void gate_gelu(const struct gate *gate, float *g, const float *u, size_t count) {
    (void)gate;
    for (size_t i = 0; i < count; i += 4) {
        float32x4_t x = vld1q_f32(g + i);
        float32x4_t z = vfmaq_f32(x, vmulq_n_f32(vmulq_f32(x, x), gelu_cube), x);
        float32x4_t y = times_sigmoid(x, vmulq_n_f32(z, gelu_factor));
        vst1q_f32(g + i, vmulq_f32(y, vld1q_f32(u + i)));
    }
}

static void gate_clamped(const struct gate *gate, float *g, const float *u, size_t count) {
    const float32x4_t limit = vdupq_n_f32(gate->limit), lowest = vdupq_n_f32(-gate->limit);
    for (size_t i = 0; i < count; i += 4) {
        float32x4_t x = vminq_f32(vld1q_f32(g + i), limit);
        float32x4_t y = vmaxq_f32(vminq_f32(vld1q_f32(u + i), limit), lowest);
        float32x4_t silu = times_sigmoid(x, vmulq_n_f32(x, gate->alpha));
        vst1q_f32(g + i, vmulq_f32(silu, vaddq_f32(y, vdupq_n_f32(1))));
    }
}

static void scale_values(float *values, size_t count, float factor) {
    for (size_t i = 0; i < count; i++) {
        values[i] *= factor; /* elementwise, as above */
    }
}

/* ---- attention ---- */

static void widen_f16(const uint16_t *halves, float *out, size_t count) {
    for (size_t i = 0; i < count; i += 8) {
        float16x8_t h = vreinterpretq_f16_u16(vld1q_u16(halves + i));
        vst1q_f32(out + i, vcvt_f32_f16(vget_low_f16(h)));
        vst1q_f32(out + i + 4, vcvt_high_f32_f16(h));
    }
}

static void narrow_f16(const float *values, uint16_t *out, size_t count) {
    size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        float16x4_t halves = vcvt_f16_f32(vld1q_f32(values + i));
        vst1_u16(out + i, vreinterpret_u16_f16(halves));
    }
    portable_narrow_f16(values + i, out + i, count - i);
}

/* Eight quants times their scales: the exact integer, one rounding. */
INLINE void widen_8(const int8_t *quants, float32x4_t low, float32x4_t high, float *out) {
    int16x8_t wide = vmovl_s8(vld1_s8(quants));
    vst1q_f32(out, vmulq_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide))), low));
    vst1q_f32(out + 4, vmulq_f32(vcvtq_f32_s32(vmovl_high_s16(wide)), high));
}

static void widen_q8_keys(const uint8_t *unit, size_t head_dim, float *out) {
    const int8_t *quants = (const int8_t *)unit;
    const uint16_t *scales = (const uint16_t *)(const void *)(unit + head_dim * KV_BLOCK_TOKENS);
    for (size_t first = 0; first < head_dim; first += KV_Q8_VALUES, scales += KV_BLOCK_TOKENS) {
        float wide[KV_BLOCK_TOKENS];
        widen_f16(scales, wide, KV_BLOCK_TOKENS);
        float32x4_t s[4];
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            s[i] = vld1q_f32(wide + 4 * i);
        }
        size_t end = size_min(first + KV_Q8_VALUES, head_dim);
        for (size_t at = first * KV_BLOCK_TOKENS; at < end * KV_BLOCK_TOKENS;
             at += KV_BLOCK_TOKENS) {
            widen_8(quants + at, s[0], s[1], out + at);
            widen_8(quants + at + 8, s[2], s[3], out + at + 8);
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
                widen_8(quants + d, vdupq_n_f32(scale), vdupq_n_f32(scale), out + d);
            }
            for (; d < end; d++) {
                out[d] = (float)quants[d] * scale;
            }
        }
    }
}

/* Queries times blocks are at most 4: four sums each stay in registers, and are enough of them in
 * flight to hide the latency of a multiply-add. */
INLINE void scores_of(const float *const *queries, const float *const *keys, size_t head_dim,
                      float scale, float *scores, size_t score_stride, const size_t batch,
                      const size_t blocks) {
    float32x4_t sums[4][4][4];
#pragma GCC unroll 4
    for (size_t i = 0; i < batch; i++) {
#pragma GCC unroll 4
        for (size_t b = 0; b < blocks; b++) {
            sums[i][b][0] = sums[i][b][1] = sums[i][b][2] = sums[i][b][3] = vdupq_n_f32(0);
        }
    }
    for (size_t d = 0; d < head_dim; d++) {
#pragma GCC unroll 4
        for (size_t b = 0; b < blocks; b++) {
#pragma GCC unroll 4
            for (size_t v = 0; v < 4; v++) {
                float32x4_t k = vld1q_f32(keys[b] + d * KV_BLOCK_TOKENS + 4 * v);
#pragma GCC unroll 4
                for (size_t i = 0; i < batch; i++) {
                    sums[i][b][v] = vfmaq_n_f32(sums[i][b][v], k, queries[i][d]);
                }
            }
        }
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < batch; i++) {
#pragma GCC unroll 4
        for (size_t b = 0; b < blocks; b++) {
            float *out = scores + i * score_stride + b * KV_BLOCK_TOKENS;
#pragma GCC unroll 4
            for (size_t v = 0; v < 4; v++) {
                vst1q_f32(out + 4 * v, vmulq_n_f32(sums[i][b][v], scale));
            }
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
        scores_by_blocks(queries, keys, block_count, head_dim, scale, scores, score_stride, 3, 1);
    } else if (count == 2) {
        scores_by_blocks(queries, keys, block_count, head_dim, scale, scores, score_stride, 2, 2);
    } else if (count == 1) {
        scores_by_blocks(queries, keys, block_count, head_dim, scale, scores, score_stride, 1, 4);
    }
}

static float largest(const float *scores, size_t count, float maximum) {
    float32x4_t most = vdupq_n_f32(maximum);
    size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        most = vmaxnmq_f32(vld1q_f32(scores + i), most);
    }
    for (; i < count; i++) {
        most = vmaxnmq_f32(vdupq_n_f32(scores[i]), most);
    }
    return vmaxnmvq_f32(most);
}

/* The last vector is filled up with what exp makes 0; scores past `count` are left alone. */
static float exp_sum(float *scores, size_t count, float maximum) {
    float32x4_t sum = vdupq_n_f32(0);
    size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        float32x4_t e = exp_vector(vsubq_f32(vld1q_f32(scores + i), vdupq_n_f32(maximum)));
        vst1q_f32(scores + i, e);
        sum = vaddq_f32(sum, e);
    }
    if (i < count) {
        float last[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
        memcpy(last, scores + i, (count - i) * sizeof *last);
        float32x4_t e = exp_vector(vsubq_f32(vld1q_f32(last), vdupq_n_f32(maximum)));
        vst1q_f32(last, e);
        memcpy(scores + i, last, (count - i) * sizeof *last);
        sum = vaddq_f32(sum, e);
    }
    return vaddvq_f32(sum);
}

/* `width` vectors of the head stay in registers while the tokens go by. */
INLINE void accumulate(const float *p, const float *values, size_t token_count, size_t head_dim,
                       float *out, const size_t width) {
    float32x4_t sums[16];
#pragma GCC unroll 16
    for (size_t j = 0; j < width; j++) {
        sums[j] = vld1q_f32(out + 4 * j);
    }
    for (size_t t = 0; t < token_count; t++) {
#pragma GCC unroll 16
        for (size_t j = 0; j < width; j++) {
            sums[j] = vfmaq_n_f32(sums[j], vld1q_f32(values + t * head_dim + 4 * j), p[t]);
        }
    }
#pragma GCC unroll 16
    for (size_t j = 0; j < width; j++) {
        vst1q_f32(out + 4 * j, sums[j]);
    }
}

static void attention_accumulate(const float *p, const float *values, size_t token_count,
                                 size_t head_dim, float *out) {
    size_t d = 0;
    for (; d + 64 <= head_dim; d += 64) {
        accumulate(p, values + d, token_count, head_dim, out + d, 16);
    }
    for (; d + 16 <= head_dim; d += 16) {
        accumulate(p, values + d, token_count, head_dim, out + d, 4);
    }
    for (; d < head_dim; d++) {
        for (size_t t = 0; t < token_count; t++) {
            out[d] += p[t] * values[t * head_dim + d];
        }
    }
}

/* What both sets have. */
#define SHARED_KERNELS                                                                             \
    .pack_blocks = portable_pack_blocks, .encode_q8_32 = encode_q8_32,                             \
    .encode_q8_256 = encode_q8_256, .rms_norm = rms_norm,                                          \
    .gates = {gate_silu, gate_gelu, portable_gate_gelu_erf, gate_clamped}, .widen_f16 = widen_f16, \
    .narrow_f16 = narrow_f16, .widen_q8_keys = widen_q8_keys, .widen_q8_values = widen_q8_values,  \
    .attention_scores = attention_scores, .largest = largest, .exp_sum = exp_sum,                  \
    .attention_accumulate = attention_accumulate, .scale = scale_values

const struct cpu_kernels cpu_kernels_neon = {
    .name = "neon", .matmul = neon_matmul_kernel, SHARED_KERNELS};

const struct cpu_kernels cpu_kernels_i8mm = {
    .name = "i8mm", .matmul = i8mm_matmul_kernel, SHARED_KERNELS};
