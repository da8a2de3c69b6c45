/*
 * portable_kernels.c - the reference: plain C, one obvious loop each, no packing, activations in
 * f32.
 *
 * Runs on any processor, and is what every other kernel's parity test compares with. The sums go in
 * index order.
 */
#include "backend/cpu/cpu.h"
#include "backend/cpu/exp.h"

#include "base/bytes.h"

#include <math.h>
#include <string.h>

/* Decodes the chunk's 16 rows into [columns][16]. */
void portable_unpack_rows(const struct cpu_weight *weight, size_t panel, size_t first_column,
                          size_t columns, void *unpacked) {
    float *out = unpacked;
    const struct quant_format *format = weight->format;
    size_t offset = first_column / format->block_values * format->block_bytes;
    for (size_t r = 0; r < PANEL_ROWS; r++) {
        float values[CHUNK_COLUMNS] = {0};
        size_t row = panel * PANEL_ROWS + r;
        if (row < weight->rows) {
            format->decode(weight->data + row * weight->row_bytes + offset, values, columns);
        }
        for (size_t c = 0; c < columns; c++) {
            out[c * PANEL_ROWS + r] = values[c];
        }
    }
}

/* Four rows of the panel. The compilers' vector type, which has every processor's arithmetic: left
 * to itself GCC 12 vectorises along the columns, through shuffles, several times as slowly. */
typedef float quad __attribute__((vector_size(4 * sizeof(float)), may_alias));

enum { PANEL_QUADS = PANEL_ROWS / 4 };
_Static_assert(PANEL_QUADS == 4, "multiply_f32 has one sum for each");

static void multiply_f32(const void *unpacked, const uint8_t *activations, size_t stride,
                         size_t row_count, size_t columns, float *sums) {
    const quad *weights = unpacked; /* [columns][4] */
    for (size_t row = 0; row < row_count; row++) {
        const float *x = (const float *)(activations + row * stride);
        quad sum[PANEL_QUADS];
        memcpy(sum, sums + row * PANEL_ROWS, sizeof sum);
        quad sum0 = sum[0], sum1 = sum[1], sum2 = sum[2], sum3 = sum[3];
        for (size_t c = 0; c < columns; c++) {
            sum0 += weights[c * PANEL_QUADS] * x[c];
            sum1 += weights[c * PANEL_QUADS + 1] * x[c];
            sum2 += weights[c * PANEL_QUADS + 2] * x[c];
            sum3 += weights[c * PANEL_QUADS + 3] * x[c];
        }
        memcpy(sums + row * PANEL_ROWS, (const quad[]){sum0, sum1, sum2, sum3}, sizeof sum);
    }
}

static const struct matmul_kernel *matmul_kernel_of(enum tensor_type type) {
    (void)type; /* one kernel decodes them all */
    static const struct matmul_kernel kernel = {
        .encoding = ENCODING_F32, .unpack = portable_unpack_rows, .multiply = multiply_f32};
    return &kernel;
}

static float largest_magnitude(const float *values, size_t count) {
    float largest = 0;
    for (size_t i = 0; i < count; i++) {
        largest = fabsf(values[i]) > largest ? fabsf(values[i]) : largest;
    }
    return largest;
}

/* Rounds to nearest, ties to even, as the vector instructions do. Not-a-number becomes 0. */
static int8_t round_to_int8(float value) {
    return (int8_t)(value >= -127.0f ? nearbyintf(value > 127.0f ? 127.0f : value)
                                     : (value < -127.0f ? -127.0f : 0.0f));
}

static void encode_q8_32(const float *values, size_t columns, struct q8_block32 *blocks) {
    for (size_t b = 0; b < columns / 32; b++) {
        const float *x = values + b * 32;
        float largest = largest_magnitude(x, 32);
        float inverse = largest > 0 ? 127.0f / largest : 0;
        int sum = 0;
        for (size_t i = 0; i < 32; i++) {
            blocks[b].q[i] = round_to_int8(x[i] * inverse);
            sum += blocks[b].q[i];
        }
        blocks[b].scale = largest / 127.0f;
        blocks[b].scaled_sum = blocks[b].scale * (float)sum;
        blocks[b].minus_128_sums = -128 * sum;
    }
}

static void encode_q8_256(const float *values, size_t columns, struct q8_block256 *blocks) {
    for (size_t b = 0; b < columns / 256; b++) {
        const float *x = values + b * 256;
        struct q8_block256 *block = &blocks[b];
        float largest = largest_magnitude(x, 256);
        float inverse = largest > 0 ? 127.0f / largest : 0;
        memset(block, 0, sizeof *block);
        for (size_t i = 0; i < 256; i++) {
            block->q[i] = round_to_int8(x[i] * inverse);
            block->sums16[i / 16] = (int16_t)(block->sums16[i / 16] + block->q[i]);
            block->sums32[i / 32] = (int16_t)(block->sums32[i / 32] + block->q[i]);
        }
        block->scale = largest / 127.0f;
    }
}

static void rms_norm(const float *x, const float *weight, float epsilon, size_t columns,
                     float *out) {
    double sum = 0;
    for (size_t i = 0; i < columns; i++) {
        sum += (double)x[i] * (double)x[i];
    }
    float factor = (float)(1.0 / sqrt(sum / (double)columns + (double)epsilon));
    for (size_t i = 0; i < columns; i++) {
        out[i] = x[i] * factor * weight[i];
    }
}

static float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-x));
}

static void gate_silu(const struct gate *gate, float *g, const float *u, size_t count) {
    (void)gate;
    for (size_t i = 0; i < count; i++) {
        g[i] = g[i] / (1.0f + expf(-g[i])) * u[i];
    }
}

/* gelu(x) ≈ x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x³)) (Hendrycks and Gimpel 2016) */
static void gate_gelu(const struct gate *gate, float *g, const float *u, size_t count) {
    (void)gate;
    for (size_t i = 0; i < count; i++) {
        g[i] = g[i] * sigmoid(gelu_factor * (g[i] + gelu_cube * g[i] * g[i] * g[i])) * u[i];
    }
}

void portable_gate_gelu_erf(const struct gate *gate, float *g, const float *u, size_t count) {
    const float sqrt_half = 0.70710678f;
    (void)gate;
    for (size_t i = 0; i < count; i++) {
        g[i] = 0.5f * g[i] * (1.0f + erff(g[i] * sqrt_half)) * u[i];
    }
}

static void gate_clamped(const struct gate *gate, float *g, const float *u, size_t count) {
    for (size_t i = 0; i < count; i++) {
        float x = fminf(g[i], gate->limit);
        float y = fmaxf(fminf(u[i], gate->limit), -gate->limit);
        g[i] = x * sigmoid(gate->alpha * x) * (y + 1.0f);
    }
}

static void widen_f16(const uint16_t *halves, float *out, size_t count) {
    for (size_t i = 0; i < count; i++) {
        out[i] = f16_to_f32(halves[i]);
    }
}

void portable_narrow_f16(const float *values, uint16_t *out, size_t count) {
    for (size_t i = 0; i < count; i++) {
        out[i] = f32_to_f16(values[i]);
    }
}

static void widen_q8_keys(const uint8_t *unit, size_t head_dim, float *out) {
    const int8_t *quants = (const int8_t *)unit;
    const uint16_t *scales = (const uint16_t *)(const void *)(unit + head_dim * KV_BLOCK_TOKENS);
    for (size_t d = 0; d < head_dim; d++) {
        const uint16_t *of_group = scales + d / KV_Q8_VALUES * KV_BLOCK_TOKENS;
        for (size_t t = 0; t < KV_BLOCK_TOKENS; t++) {
            size_t i = d * KV_BLOCK_TOKENS + t;
            out[i] = (float)quants[i] * f16_to_f32(of_group[t]);
        }
    }
}

static void widen_q8_values(const uint8_t *unit, size_t head_dim, float *out) {
    const int8_t *quants = (const int8_t *)unit;
    const uint16_t *scales = (const uint16_t *)(const void *)(unit + head_dim * KV_BLOCK_TOKENS);
    size_t groups = size_divide_up(head_dim, KV_Q8_VALUES);
    for (size_t t = 0; t < KV_BLOCK_TOKENS; t++) {
        for (size_t d = 0; d < head_dim; d++) {
            size_t i = t * head_dim + d;
            out[i] = (float)quants[i] * f16_to_f32(scales[t * groups + d / KV_Q8_VALUES]);
        }
    }
}

static void block_scores(const float *query, const float *keys, size_t head_dim, float scale,
                         float *scores) {
    float sums[KV_BLOCK_TOKENS] = {0};
    for (size_t d = 0; d < head_dim; d++) {
        for (size_t t = 0; t < KV_BLOCK_TOKENS; t++) {
            sums[t] += query[d] * keys[d * KV_BLOCK_TOKENS + t];
        }
    }
    for (size_t t = 0; t < KV_BLOCK_TOKENS; t++) {
        scores[t] = sums[t] * scale;
    }
}

static void attention_scores(const float *const *queries, size_t count, const float *const *keys,
                             size_t block_count, size_t head_dim, float scale, float *scores,
                             size_t score_stride) {
    for (size_t i = 0; i < count; i++) {
        for (size_t b = 0; b < block_count; b++) {
            block_scores(queries[i], keys[b], head_dim, scale,
                         scores + i * score_stride + b * KV_BLOCK_TOKENS);
        }
    }
}

static float largest(const float *scores, size_t count, float maximum) {
    for (size_t i = 0; i < count; i++) {
        maximum = scores[i] > maximum ? scores[i] : maximum;
    }
    return maximum;
}

static float exp_sum(float *scores, size_t count, float maximum) {
    float sum = 0;
    for (size_t i = 0; i < count; i++) {
        scores[i] = expf(scores[i] - maximum);
        sum += scores[i];
    }
    return sum;
}

static void attention_accumulate(const float *p, const float *values, size_t token_count,
                                 size_t head_dim, float *out) {
    for (size_t t = 0; t < token_count; t++) {
        for (size_t d = 0; d < head_dim; d++) {
            out[d] += p[t] * values[t * head_dim + d];
        }
    }
}

static void scale_values(float *values, size_t count, float factor) {
    for (size_t i = 0; i < count; i++) {
        values[i] *= factor;
    }
}

const struct cpu_kernels cpu_kernels_portable = {
    .name = "portable",
    .matmul = matmul_kernel_of,
    .pack_blocks = portable_pack_blocks,
    .encode_q8_32 = encode_q8_32,
    .encode_q8_256 = encode_q8_256,
    .rms_norm = rms_norm,
    .gates = {gate_silu, gate_gelu, portable_gate_gelu_erf, gate_clamped},
    .widen_f16 = widen_f16,
    .narrow_f16 = portable_narrow_f16,
    .widen_q8_keys = widen_q8_keys,
    .widen_q8_values = widen_q8_values,
    .attention_scores = attention_scores,
    .largest = largest,
    .exp_sum = exp_sum,
    .attention_accumulate = attention_accumulate,
    .scale = scale_values,
};
