/*
 * ternary_quants.c - TQ1_0 and TQ2_0: 256 values that are -1, 0 or 1 times one f16 scale, decode.
 *
 *   TQ1_0  q u8[48], rest u8[4], scale f16: five values a byte (of `rest` four), as a fraction in
 * base 3: the next digit is the whole part of three times the byte over 256 TQ2_0  q u2[256], scale
 * f16
 *
 * The values of a byte lie a whole run of bytes apart: run r of the values comes from digit r of
 * the bytes in order. TQ1_0's first 32 bytes make 160 values, the next 16 make 80, the last 4
 * make 16.
 */
#include "base/bytes.h"
#include "quant/families.h"
#include "quant/quant.h"

/* `digits` runs of `bytes` values each. */
static float *decode_base_3(const uint8_t *from, size_t bytes, size_t digits, float scale,
                            float *values) {
    unsigned power = 1;
    for (size_t d = 0; d < digits; d++, power *= 3) {
        for (size_t i = 0; i < bytes; i++) {
            uint8_t fraction = (uint8_t)(from[i] * power);
            *values++ = scale * (float)((int)(fraction * 3u >> 8) - 1);
        }
    }
    return values;
}

void decode_tq1_0(const void *blocks, float *values, size_t count) {
    const uint8_t *block = blocks;
    for (size_t i = 0; i < count; i += K_BLOCK_VALUES, block += TQ1_0_BLOCK_BYTES) {
        float scale = f16_to_f32(load_u16_le(block + 52));
        float *at = decode_base_3(block, 32, 5, scale, values + i);
        at = decode_base_3(block + 32, 16, 5, scale, at);
        decode_base_3(block + 48, 4, 4, scale, at);
    }
}

void decode_tq2_0(const void *blocks, float *values, size_t count) {
    const uint8_t *block = blocks;
    for (size_t i = 0; i < count; i += K_BLOCK_VALUES, block += TQ2_0_BLOCK_BYTES) {
        float scale = f16_to_f32(load_u16_le(block + 64)), *at = values + i;
        for (size_t part = 0; part < 2; part++) {
            for (size_t digit = 0; digit < 4; digit++) {
                for (size_t j = 0; j < 32; j++) {
                    int q = block[32 * part + j] >> (2 * digit) & 3;
                    *at++ = scale * (float)(q - 1);
                }
            }
        }
    }
}
