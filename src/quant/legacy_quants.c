/*
 * legacy_quants.c - Q4_0, Q4_1, Q5_0, Q5_1, Q8_0: 32 values a block, one f16 scale, decode.
 *
 *   Q4_0   scale f16, q u4[32]                    x = scale * (q - 8)
 *   Q4_1   scale f16, min f16, q u4[32]           x = scale * q + min
 *   Q5_0   scale f16, high u1[32], q u4[32]       x = scale * (q - 16)
 *   Q5_1   scale f16, min f16, high u1[32], q u4  x = scale * q + min
 *   Q8_0   scale f16, q i8[32]                    x = scale * q
 *
 * Of the 16 bytes of nibbles, byte j holds value j (low) and value j + 16 (high). Bit i of the
 * little-endian word `high` is the fifth bit of value i. Products and sums round once each, in
 * the order written above, so that every implementation of the format gives the same bits.
 */
#include "base/bytes.h"
#include "quant/families.h"
#include "quant/quant.h"

enum { HALF_BLOCK = LEGACY_BLOCK_VALUES / 2 };

/* One value's 5 bits: a nibble of the pair byte and its bit of the high word. */
static int five_bits(uint32_t nibble, uint32_t high, size_t index) {
    return (int)(nibble | (high >> index & 1) << 4);
}

void decode_q4_0(const void *blocks, float *values, size_t count) {
    const uint8_t *block = blocks;
    for (size_t i = 0; i < count; i += LEGACY_BLOCK_VALUES, block += Q4_0_BLOCK_BYTES) {
        float scale = f16_to_f32(load_u16_le(block));
        const uint8_t *pairs = block + 2;
        for (size_t j = 0; j < HALF_BLOCK; j++) {
            values[i + j] = scale * (float)((pairs[j] & 15) - 8);
            values[i + j + HALF_BLOCK] = scale * (float)((pairs[j] >> 4) - 8);
        }
    }
}

void decode_q4_1(const void *blocks, float *values, size_t count) {
    const uint8_t *block = blocks;
    for (size_t i = 0; i < count; i += LEGACY_BLOCK_VALUES, block += Q4_1_BLOCK_BYTES) {
        float scale = f16_to_f32(load_u16_le(block));
        float min = f16_to_f32(load_u16_le(block + 2));
        const uint8_t *pairs = block + 4;
        for (size_t j = 0; j < HALF_BLOCK; j++) {
            values[i + j] = scale * (float)(pairs[j] & 15) + min;
            values[i + j + HALF_BLOCK] = scale * (float)(pairs[j] >> 4) + min;
        }
    }
}

void decode_q5_0(const void *blocks, float *values, size_t count) {
    const uint8_t *block = blocks;
    for (size_t i = 0; i < count; i += LEGACY_BLOCK_VALUES, block += Q5_0_BLOCK_BYTES) {
        float scale = f16_to_f32(load_u16_le(block));
        uint32_t high = load_u32_le(block + 2);
        const uint8_t *pairs = block + 6;
        for (size_t j = 0; j < HALF_BLOCK; j++) {
            values[i + j] = scale * (float)(five_bits(pairs[j] & 15, high, j) - 16);
            values[i + j + HALF_BLOCK] =
                scale * (float)(five_bits(pairs[j] >> 4, high, j + HALF_BLOCK) - 16);
        }
    }
}

void decode_q5_1(const void *blocks, float *values, size_t count) {
    const uint8_t *block = blocks;
    for (size_t i = 0; i < count; i += LEGACY_BLOCK_VALUES, block += Q5_1_BLOCK_BYTES) {
        float scale = f16_to_f32(load_u16_le(block));
        float min = f16_to_f32(load_u16_le(block + 2));
        uint32_t high = load_u32_le(block + 4);
        const uint8_t *pairs = block + 8;
        for (size_t j = 0; j < HALF_BLOCK; j++) {
            values[i + j] = scale * (float)five_bits(pairs[j] & 15, high, j) + min;
            values[i + j + HALF_BLOCK] =
                scale * (float)five_bits(pairs[j] >> 4, high, j + HALF_BLOCK) + min;
        }
    }
}

void decode_q8_0(const void *blocks, float *values, size_t count) {
    const uint8_t *block = blocks;
    for (size_t i = 0; i < count; i += LEGACY_BLOCK_VALUES, block += Q8_0_BLOCK_BYTES) {
        float scale = f16_to_f32(load_u16_le(block));
        for (size_t j = 0; j < LEGACY_BLOCK_VALUES; j++) {
            values[i + j] = scale * (float)(int8_t)block[2 + j];
        }
    }
}
