/*
 * legacy_encode.c - encoders of the 32-value formats, whose layouts are in legacy_quants.c.
 *
 * The scale comes from the block's extremes and each value is rounded to the nearest step, as
 * ggml's reference does; results are the same bits. Q4_0 and Q5_0 have one more negative step than
 * positive ones, so the value of largest magnitude takes the outermost negative step and the scale
 * its opposite sign. The step is found with the f32 scale, before the scale itself is rounded to
 * f16.
 */
#include "quant/families.h"
#include "quant/quant.h"

#include <math.h>

enum { HALF_BLOCK = LEGACY_BLOCK_VALUES / 2 };

/* 0 for a scale of 0, and for one so small (and 0 as f16) that its reciprocal overflows. */
static float reciprocal_or_zero(float scale) {
    float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
    return isfinite(inverse) ? inverse : 0.0f;
}

/* Truncates to 0 .. largest. fmaxf and fminf prefer a number, so a NaN becomes 0. */
static uint8_t step_of(float position, float largest) {
    return (uint8_t)fminf(fmaxf(position, 0.0f), largest);
}

/* The value of largest magnitude, with its sign; the first of equals. */
static float extreme_of(const float *values) {
    float extreme = 0.0f;
    for (size_t i = 0; i < LEGACY_BLOCK_VALUES; i++) {
        if (fabsf(values[i]) > fabsf(extreme)) {
            extreme = values[i];
        }
    }
    return extreme;
}

static void range_of(const float *values, float *min, float *max) {
    *min = *max = values[0];
    for (size_t i = 1; i < LEGACY_BLOCK_VALUES; i++) {
        *min = values[i] < *min ? values[i] : *min;
        *max = values[i] > *max ? values[i] : *max;
    }
}

/* Byte j takes the low nibbles of steps j and j + 16. */
static void store_nibbles(uint8_t *pairs, const uint8_t *steps) {
    for (size_t j = 0; j < HALF_BLOCK; j++) {
        pairs[j] = (uint8_t)((steps[j] & 15) | (steps[j + HALF_BLOCK] & 15) << 4);
    }
}

/* Bit i of four little-endian bytes takes bit 4 of step i. */
static void store_fifth_bits(uint8_t *high, const uint8_t *steps) {
    for (size_t i = 0; i < LEGACY_BLOCK_VALUES; i += 8) {
        unsigned byte = 0;
        for (size_t j = 0; j < 8; j++) {
            byte |= (unsigned)(steps[i + j] >> 4) << j;
        }
        high[i / 8] = (uint8_t)byte;
    }
}

/* The symmetric forms: x = scale * (step - zero), zero = 8 or 16. Returns the scale. */
static float find_steps_symmetric(const float *values, float zero, uint8_t *steps) {
    float scale = extreme_of(values) / -zero;
    float inverse = reciprocal_or_zero(scale);
    for (size_t i = 0; i < LEGACY_BLOCK_VALUES; i++) {
        steps[i] = step_of(values[i] * inverse + (zero + 0.5f), 2 * zero - 1);
    }
    return scale;
}

/* The forms with a minimum: x = scale * step + min, steps 0 .. largest. */
static float find_steps_above_min(const float *values, float largest, uint8_t *steps, float *min) {
    float max;
    range_of(values, min, &max);
    float scale = (max - *min) / largest;
    float inverse = reciprocal_or_zero(scale);
    for (size_t i = 0; i < LEGACY_BLOCK_VALUES; i++) {
        steps[i] = step_of((values[i] - *min) * inverse + 0.5f, largest);
    }
    return scale;
}

void encode_q4_0(const float *values, void *blocks, size_t count) {
    uint8_t *block = blocks;
    uint8_t steps[LEGACY_BLOCK_VALUES];
    for (size_t i = 0; i < count; i += LEGACY_BLOCK_VALUES, block += Q4_0_BLOCK_BYTES) {
        store_u16_le(block, f32_to_f16(find_steps_symmetric(values + i, 8, steps)));
        store_nibbles(block + 2, steps);
    }
}

void encode_q4_1(const float *values, void *blocks, size_t count) {
    uint8_t *block = blocks;
    uint8_t steps[LEGACY_BLOCK_VALUES];
    for (size_t i = 0; i < count; i += LEGACY_BLOCK_VALUES, block += Q4_1_BLOCK_BYTES) {
        float min;
        store_u16_le(block, f32_to_f16(find_steps_above_min(values + i, 15, steps, &min)));
        store_u16_le(block + 2, f32_to_f16(min));
        store_nibbles(block + 4, steps);
    }
}

void encode_q5_0(const float *values, void *blocks, size_t count) {
    uint8_t *block = blocks;
    uint8_t steps[LEGACY_BLOCK_VALUES];
    for (size_t i = 0; i < count; i += LEGACY_BLOCK_VALUES, block += Q5_0_BLOCK_BYTES) {
        store_u16_le(block, f32_to_f16(find_steps_symmetric(values + i, 16, steps)));
        store_fifth_bits(block + 2, steps);
        store_nibbles(block + 6, steps);
    }
}

void encode_q5_1(const float *values, void *blocks, size_t count) {
    uint8_t *block = blocks;
    uint8_t steps[LEGACY_BLOCK_VALUES];
    for (size_t i = 0; i < count; i += LEGACY_BLOCK_VALUES, block += Q5_1_BLOCK_BYTES) {
        float min;
        store_u16_le(block, f32_to_f16(find_steps_above_min(values + i, 31, steps, &min)));
        store_u16_le(block + 2, f32_to_f16(min));
        store_fifth_bits(block + 4, steps);
        store_nibbles(block + 8, steps);
    }
}

void quant_encode_q8_0(const float *values, void *blocks, size_t count) {
    uint8_t *block = blocks;
    for (size_t i = 0; i < count; i += LEGACY_BLOCK_VALUES, block += Q8_0_BLOCK_BYTES) {
        float scale = fabsf(extreme_of(values + i)) / 127.0f;
        float inverse = reciprocal_or_zero(scale);
        store_u16_le(block, f32_to_f16(scale));
        for (size_t j = 0; j < LEGACY_BLOCK_VALUES; j++) {
            float rounded = roundf(values[i + j] * inverse);
            block[2 + j] = (uint8_t)(int8_t)fminf(fmaxf(rounded, -127.0f), 127.0f);
        }
    }
}
