/*
 * codebook_quants.c - IQ4_NL, IQ4_XS, MXFP4, NVFP4: four bits that number a value of a table,
 * decode; and the encoder of MXFP4.
 *
 *   IQ4_NL  scale f16, q u4[32]                                       x = scale * uneven[q]
 *   IQ4_XS  scale f16, high u2[8], low u4[8], q u4[256]; s = high·16 + low - 32 for each 32 values
 *                                                                     x = scale * s * uneven[q]
 *   MXFP4   exponent u8, q u4[32]                                     x = 2^(exponent - 127) *
 * e2m1[q] NVFP4   scale e4m3 u8[4], q u4[64]; a scale for each 16 values    x = scale * e2m1[q]
 *
 * Nibbles of each 32 values (NVFP4: 16) lie as in Q4_0: byte j has value j (low) and the one half
 * of them further (high). MXFP4 is the OCP microscaling format (OCP MX specification 1.0, 2023):
 * e2m1 is a sign, two bits of exponent, one of mantissa. Its values are kept doubled here, so that
 * they are whole numbers, with half of the scale. A scale times a table's value rounds once.
 */
#include "base/bytes.h"
#include "quant/families.h"
#include "quant/quant.h"

#include <math.h>
#include <string.h>

/* Unevenly spaced: closer together near zero, where weights are. */
static const int8_t uneven[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};
static const int8_t e2m1_doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static void decode_nibbles(const uint8_t *pairs, const int8_t *table, float scale, size_t count,
                           float *values) {
    for (size_t j = 0; j < count / 2; j++) {
        values[j] = scale * (float)table[pairs[j] & 15];
        values[j + count / 2] = scale * (float)table[pairs[j] >> 4];
    }
}

void decode_iq4_nl(const void *blocks, float *values, size_t count) {
    const uint8_t *block = blocks;
    for (size_t i = 0; i < count; i += LEGACY_BLOCK_VALUES, block += IQ4_NL_BLOCK_BYTES) {
        decode_nibbles(block + 2, uneven, f16_to_f32(load_u16_le(block)), LEGACY_BLOCK_VALUES,
                       values + i);
    }
}

void decode_iq4_xs(const void *blocks, float *values, size_t count) {
    const uint8_t *block = blocks;
    for (size_t i = 0; i < count; i += K_BLOCK_VALUES, block += IQ4_XS_BLOCK_BYTES) {
        float scale = f16_to_f32(load_u16_le(block));
        unsigned high = load_u16_le(block + 2);
        const uint8_t *low = block + 4, *pairs = block + 8;
        for (size_t s = 0; s < 8; s++) {
            unsigned nibble = low[s / 2] >> (4 * (s % 2)) & 15;
            int part = (int)(nibble | (high >> (2 * s) & 3) << 4) - 32;
            decode_nibbles(pairs + 16 * s, uneven, scale * (float)part, 32, values + i + 32 * s);
        }
    }
}

/* 2^(exponent - 128): half of E8M0's value. */
static float half_of_e8m0(uint8_t exponent) {
    uint32_t bits = exponent < 2 ? UINT32_C(0x00200000) << exponent : (exponent - 1u) << 23;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

void decode_mxfp4(const void *blocks, float *values, size_t count) {
    const uint8_t *block = blocks;
    for (size_t i = 0; i < count; i += LEGACY_BLOCK_VALUES, block += MXFP4_BLOCK_BYTES) {
        decode_nibbles(block + 1, e2m1_doubled, half_of_e8m0(block[0]), LEGACY_BLOCK_VALUES,
                       values + i);
    }
}

/* The nearest of the table's values, the first of two as near. */
static unsigned nearest_e2m1(float value, float scale) {
    unsigned best = 0;
    float least = INFINITY;
    for (unsigned q = 0; q < 16; q++) {
        float off = fabsf(scale * (float)e2m1_doubled[q] - value);
        if (off < least) {
            least = off;
            best = q;
        }
    }
    return best;
}

/* The exponent is that of the largest magnitude, less the table's own. */
void encode_mxfp4(const float *values, void *blocks, size_t count) {
    uint8_t *block = blocks;
    for (size_t i = 0; i < count; i += LEGACY_BLOCK_VALUES, block += MXFP4_BLOCK_BYTES) {
        float largest = 0;
        for (size_t j = 0; j < LEGACY_BLOCK_VALUES; j++) {
            largest = fmaxf(largest, fabsf(values[i + j]));
        }
        float exponent = largest > 0 ? floorf(log2f(largest)) - 2 + 127 : 0;
        block[0] = (uint8_t)fminf(fmaxf(exponent, 0), 254);
        float scale = half_of_e8m0(block[0]);
        for (size_t j = 0; j < LEGACY_BLOCK_VALUES / 2; j++) {
            unsigned low = nearest_e2m1(values[i + j], scale);
            unsigned high = nearest_e2m1(values[i + j + LEGACY_BLOCK_VALUES / 2], scale);
            block[1 + j] = (uint8_t)(low | high << 4);
        }
    }
}

/* Half of an unsigned E4M3's value; 0x7f, which is no number, stands for 0. */
static float half_of_e4m3(uint8_t bits) {
    int exponent = bits >> 3 & 15;
    float mantissa = (float)(bits & 7);
    if (bits == 0 || bits == 0x7f) {
        return 0;
    }
    return exponent == 0 ? ldexpf(mantissa, -10) : ldexpf(1 + mantissa / 8, exponent - 8);
}

void decode_nvfp4(const void *blocks, float *values, size_t count) {
    const uint8_t *block = blocks;
    for (size_t i = 0; i < count; i += NVFP4_BLOCK_VALUES, block += NVFP4_BLOCK_BYTES) {
        for (size_t s = 0; s < 4; s++) {
            decode_nibbles(block + 4 + 8 * s, e2m1_doubled, half_of_e4m3(block[s]), 16,
                           values + i + 16 * s);
        }
    }
}
