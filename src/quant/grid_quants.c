/*
 * grid_quants.c - IQ1, IQ2 and IQ3: codes of a codebook that each stand for 8 or 4 values, decode.
 *
 *            bytes  layout (of 256 values)                                scale of     values
 *   IQ2_XXS   66    d f16, (code u8[4], signs u7[4], s u4)[8]             d*(s+½)/4    32
 *   IQ2_XS    74    d f16, (code u9, signs u7)[32], s u4[16]              d*(s+½)/4    16
 *   IQ2_S     82    d f16, low u8[32], signs u8[32], high u2[32], s u4[16]  d*(s+½)/4  16
 *   IQ3_XXS   98    d f16, code u8[64], (signs u7[4], s u4)[8]            d*(s+½)/2    32
 *   IQ3_S    110    d f16, low u8[64], high u1[64], signs u8[32], s u4[8]  d*(2s+1)    32
 *   IQ1_S     50    d f16, low u8[32], (high u3[4], s u3, shift u1)[8]    d*(2s+1)     32
 *   IQ1_M     56    low u8[32], (high u3, shift u1)[32], (s u3[4], d u4)[4]  d*(2s+1)  16
 *
 * A code of IQ1 and IQ2 stands for 8 values, of IQ3 for 4. Bit j of 8 signs is that of value j; of
 * 7 signs, the eighth makes their number even. IQ1 has no signs: -1, 0 or 1, moved up (shift 0) or
 * down by an eighth. A scale rounds where its formula multiplies, then times the value once more.
 */
#include "base/bytes.h"
#include "quant/families.h"
#include "quant/grids.h"
#include "quant/quant.h"

enum {
    GROUP = 8,                       /* values that share a byte of signs */
    GROUPS = K_BLOCK_VALUES / GROUP, /* of a block */
    GROUPS_OF_32 = 32 / GROUP,
};

/* What the digits of the codebooks mean. */
static const int8_t iq2_magnitudes[4] = {8, 25, 43, 0};
static const int8_t iq3_xxs_magnitudes[8] = {4, 12, 20, 28, 36, 44, 52, 62};
static const int8_t iq3_s_magnitudes[8] = {1, 3, 5, 7, 9, 11, 13, 15};

/* Element i of an array of nibbles, low half first. */
static unsigned nibble_at(const uint8_t *bytes, size_t i) {
    return bytes[i / 2] >> (i % 2 * 4) & 15u;
}

/* Eight signs of seven: an even number of them is set. */
static unsigned even_signs(unsigned seven) {
    unsigned parity = seven ^ seven >> 4;
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    return seven | (parity & 1) << 7;
}

static float signed_value(float scale, int magnitude, unsigned signs, size_t j) {
    return scale * (float)((signs >> j & 1) ? -magnitude : magnitude);
}

static void put_iq2(unsigned entry, unsigned signs, float scale, float *values) {
    for (size_t j = 0; j < GROUP; j++) {
        values[j] = signed_value(scale, iq2_magnitudes[entry >> (2 * j) & 3], signs, j);
    }
}

/* Two codes a group. */
static void put_iq3(unsigned first, unsigned second, const int8_t *magnitudes, unsigned signs,
                    float scale, float *values) {
    for (size_t j = 0; j < GROUP / 2; j++) {
        size_t shift = 3 * j;
        values[j] = signed_value(scale, magnitudes[first >> shift & 7], signs, j);
        values[j + 4] = signed_value(scale, magnitudes[second >> shift & 7], signs, j + 4);
    }
}

static void put_iq1(unsigned entry, bool is_down, float scale, float *values) {
    float shift = is_down ? -0.125f : 0.125f;
    for (size_t j = 0; j < GROUP; j++) {
        values[j] = scale * ((float)(int)(entry >> (2 * j) & 3) - 1 + shift);
    }
}

static float half_step(float d, unsigned scale, float part) {
    return d * (0.5f + (float)scale) * part;
}

void decode_iq2_xxs(const void *blocks, float *values, size_t count) {
    const uint8_t *block = blocks;
    for (size_t i = 0; i < count; i += K_BLOCK_VALUES, block += IQ2_XXS_BLOCK_BYTES) {
        float d = f16_to_f32(load_u16_le(block));
        for (size_t g = 0; g < GROUPS; g++) {
            const uint8_t *part = block + 2 + g / GROUPS_OF_32 * 8;
            size_t k = g % GROUPS_OF_32;
            uint32_t rest = load_u32_le(part + 4);
            put_iq2(grid_iq2_xxs[part[k]], even_signs(rest >> (7 * k) & 127),
                    half_step(d, rest >> 28, 0.25f), values + i + g * GROUP);
        }
    }
}

void decode_iq2_xs(const void *blocks, float *values, size_t count) {
    const uint8_t *block = blocks;
    for (size_t i = 0; i < count; i += K_BLOCK_VALUES, block += IQ2_XS_BLOCK_BYTES) {
        float d = f16_to_f32(load_u16_le(block));
        for (size_t g = 0; g < GROUPS; g++) {
            unsigned code = load_u16_le(block + 2 + 2 * g);
            put_iq2(grid_iq2_xs[code & 511], even_signs(code >> 9),
                    half_step(d, nibble_at(block + 66, g / 2), 0.25f), values + i + g * GROUP);
        }
    }
}

void decode_iq2_s(const void *blocks, float *values, size_t count) {
    const uint8_t *block = blocks;
    for (size_t i = 0; i < count; i += K_BLOCK_VALUES, block += IQ2_S_BLOCK_BYTES) {
        const uint8_t *low = block + 2, *signs = block + 34, *high = block + 66;
        float d = f16_to_f32(load_u16_le(block));
        for (size_t g = 0; g < GROUPS; g++) {
            unsigned code = low[g] | (high[g / 4] >> (g % 4 * 2) & 3u) << 8;
            put_iq2(grid_iq2_s[code], signs[g], half_step(d, nibble_at(block + 74, g / 2), 0.25f),
                    values + i + g * GROUP);
        }
    }
}

void decode_iq3_xxs(const void *blocks, float *values, size_t count) {
    const uint8_t *block = blocks;
    for (size_t i = 0; i < count; i += K_BLOCK_VALUES, block += IQ3_XXS_BLOCK_BYTES) {
        const uint8_t *codes = block + 2;
        float d = f16_to_f32(load_u16_le(block));
        for (size_t g = 0; g < GROUPS; g++) {
            uint32_t rest = load_u32_le(block + 66 + g / GROUPS_OF_32 * 4);
            put_iq3(grid_iq3_xxs[codes[2 * g]], grid_iq3_xxs[codes[2 * g + 1]], iq3_xxs_magnitudes,
                    even_signs(rest >> (7 * (g % GROUPS_OF_32)) & 127),
                    half_step(d, rest >> 28, 0.5f), values + i + g * GROUP);
        }
    }
}

void decode_iq3_s(const void *blocks, float *values, size_t count) {
    const uint8_t *block = blocks;
    for (size_t i = 0; i < count; i += K_BLOCK_VALUES, block += IQ3_S_BLOCK_BYTES) {
        const uint8_t *low = block + 2, *high = block + 66, *signs = block + 74;
        float d = f16_to_f32(load_u16_le(block));
        for (size_t g = 0; g < GROUPS; g++) {
            unsigned tops = high[g / 4] >> (g % 4 * 2);
            unsigned first = low[2 * g] | (tops & 1u) << 8;
            unsigned second = low[2 * g + 1] | (tops >> 1 & 1u) << 8;
            unsigned scale = 2 * nibble_at(block + 106, g / GROUPS_OF_32) + 1;
            put_iq3(grid_iq3_s[first], grid_iq3_s[second], iq3_s_magnitudes, signs[g],
                    d * (float)scale, values + i + g * GROUP);
        }
    }
}

void decode_iq1_s(const void *blocks, float *values, size_t count) {
    const uint8_t *block = blocks;
    for (size_t i = 0; i < count; i += K_BLOCK_VALUES, block += IQ1_S_BLOCK_BYTES) {
        float d = f16_to_f32(load_u16_le(block));
        for (size_t g = 0; g < GROUPS; g++) {
            unsigned high = load_u16_le(block + 34 + g / GROUPS_OF_32 * 2);
            unsigned code = block[2 + g] | (high >> (3 * (g % GROUPS_OF_32)) & 7) << 8;
            put_iq1(grid_iq1_s[code], high >> 15, d * (float)(2 * (high >> 12 & 7) + 1),
                    values + i + g * GROUP);
        }
    }
}

/* d lies in the upper four bits of the four words of scales, lowest first. */
static float iq1_m_scale(const uint8_t *scales) {
    unsigned bits = 0;
    for (size_t word = 0; word < 4; word++) {
        bits |= (unsigned)scales[2 * word + 1] >> 4 << (4 * word);
    }
    return f16_to_f32((uint16_t)bits);
}

void decode_iq1_m(const void *blocks, float *values, size_t count) {
    const uint8_t *block = blocks;
    for (size_t i = 0; i < count; i += K_BLOCK_VALUES, block += IQ1_M_BLOCK_BYTES) {
        const uint8_t *scales = block + 48;
        float d = iq1_m_scale(scales);
        for (size_t g = 0; g < GROUPS; g++) {
            unsigned high = nibble_at(block + 32, g);
            size_t sub = g / 2; /* 16 values a scale, four scales a word */
            unsigned scale = load_u16_le(scales + sub / 4 * 2) >> (3 * (sub % 4)) & 7u;
            put_iq1(grid_iq1_s[block[g] | (high & 7) << 8], high >> 3, d * (float)(2 * scale + 1),
                    values + i + g * GROUP);
        }
    }
}
