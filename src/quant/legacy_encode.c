/*
 * legacy_encode.c - reference encoders of the 32-value formats; layouts in legacy_quants.c.
 *
 * Values should be finite and below 65504 times the largest quant, so that the f16 scale is finite;
 * others give blocks that decode to nonsense, never undefined behaviour.
 */
#include "base/bytes.h"
#include "quant/families.h"
#include "quant/quant.h"

#include <math.h>

static void store_u16_le(uint8_t *at, uint16_t value) {
    at[0] = (uint8_t)(value & 0xff);
    at[1] = (uint8_t)(value >> 8);
}

static float reciprocal_or_zero(float scale) {
    float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
    return isfinite(inverse) ? inverse : 0.0f; /* a scale so small is 0 as f16 */
}

void quant_encode_q8_0(const float *values, void *blocks, size_t count) {
    uint8_t *block = blocks;
    for (size_t i = 0; i < count; i += LEGACY_BLOCK_VALUES, block += Q8_0_BLOCK_BYTES) {
        float largest = 0.0f;
        for (size_t j = 0; j < LEGACY_BLOCK_VALUES; j++) {
            largest = fmaxf(largest, fabsf(values[i + j]));
        }
        float scale = largest / 127.0f;
        float inverse = reciprocal_or_zero(scale);
        store_u16_le(block, f32_to_f16(scale));
        for (size_t j = 0; j < LEGACY_BLOCK_VALUES; j++) {
            /* fmaxf and fminf take the other argument for a NaN: it becomes -127. */
            float rounded = fminf(fmaxf(roundf(values[i + j] * inverse), -127.0f), 127.0f);
            block[2 + j] = (uint8_t)(int8_t)rounded;
        }
    }
}
