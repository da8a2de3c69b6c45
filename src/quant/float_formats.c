/*
 * float_formats.c - F32, F16 and BF16: conversions, decode and encode.
 *
 * Widening is exact. A signalling NaN in half precision becomes quiet when its width changes, as
 * IEEE 754-2019 section 6.2 asks and as the conversion instructions of x86 (F16C) and arm64 do.
 */
#include "base/bytes.h"
#include "quant/families.h"
#include "quant/quant.h"

static float float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* half: sign 1, exponent 5 (bias 15), fraction 10; single: 1, 8 (bias 127), 23. */
float f16_to_f32(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t exponent = half >> 10 & 0x1f;
    uint32_t fraction = half & 0x3ff;
    if (exponent == 0x1f) {
        uint32_t quiet = fraction != 0 ? 0x00400000 : 0;
        return float_of_bits(sign | 0x7f800000 | quiet | fraction << 13);
    }
    if (exponent == 0) {
        /* Zero or subnormal: fraction units of 2^-24, every one of them a normal f32. */
        float magnitude = (float)fraction * 0x1p-24f;
        return sign != 0 ? -magnitude : magnitude;
    }
    return float_of_bits(sign | (exponent + 127 - 15) << 23 | fraction << 13);
}

uint16_t f32_to_f16(float value) {
    uint32_t bits = bits_of_float(value);
    uint32_t magnitude = bits & 0x7fffffff;
    uint32_t half;
    if (magnitude > 0x7f800000) { /* NaN: quiet, with what fits of its payload */
        half = 0x7e00 | (magnitude >> 13 & 0x3ff);
    } else if (magnitude >= 0x47800000) { /* 2^16 and beyond */
        half = 0x7c00;
    } else if (magnitude >= 0x38800000) { /* 2^-14: a normal half, or rounds up to infinity */
        uint32_t rebiased = magnitude - ((uint32_t)(127 - 15) << 23);
        half = (rebiased + 0xfff + (rebiased >> 13 & 1)) >> 13;
    } else {
        /* 0.5 has a last place of 2^-24, a subnormal half's unit: the addition rounds for us. */
        half = bits_of_float(float_of_bits(magnitude) + 0.5f) - bits_of_float(0.5f);
    }
    return (uint16_t)(half | (bits >> 16 & 0x8000));
}

float bf16_to_f32(uint16_t bits) {
    return float_of_bits((uint32_t)bits << 16);
}

uint16_t f32_to_bf16(float value) {
    uint32_t bits = bits_of_float(value);
    if ((bits & 0x7fffffff) > 0x7f800000) { /* NaN: quiet, or rounding could make it infinite */
        return (uint16_t)(bits >> 16 | 0x0040);
    }
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

void decode_f32(const void *blocks, float *values, size_t count) {
    const uint8_t *at = blocks;
    for (size_t i = 0; i < count; i++) {
        values[i] = load_f32_le(at + 4 * i);
    }
}

void decode_f16(const void *blocks, float *values, size_t count) {
    const uint8_t *at = blocks;
    for (size_t i = 0; i < count; i++) {
        values[i] = f16_to_f32(load_u16_le(at + 2 * i));
    }
}

void decode_bf16(const void *blocks, float *values, size_t count) {
    const uint8_t *at = blocks;
    for (size_t i = 0; i < count; i++) {
        values[i] = bf16_to_f32(load_u16_le(at + 2 * i));
    }
}

void encode_f32(const float *values, void *blocks, size_t count) {
    uint8_t *at = blocks;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = bits_of_float(values[i]);
        store_u16_le(at + 4 * i, (uint16_t)(bits & 0xffff));
        store_u16_le(at + 4 * i + 2, (uint16_t)(bits >> 16));
    }
}

void encode_f16(const float *values, void *blocks, size_t count) {
    uint8_t *at = blocks;
    for (size_t i = 0; i < count; i++) {
        store_u16_le(at + 2 * i, f32_to_f16(values[i]));
    }
}

void encode_bf16(const float *values, void *blocks, size_t count) {
    uint8_t *at = blocks;
    for (size_t i = 0; i < count; i++) {
        store_u16_le(at + 2 * i, f32_to_bf16(values[i]));
    }
}
