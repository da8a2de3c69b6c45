/*
 * families.h - what the files of this room show one another: block sizes, and the decoders and
 * encoders for the table in quant.c.
 */
#ifndef MISTRAL_QUANT_FAMILIES_H
#define MISTRAL_QUANT_FAMILIES_H

#include <stddef.h>
#include <stdint.h>

static inline void store_u16_le(uint8_t *at, uint16_t value) {
    at[0] = (uint8_t)(value & 0xff);
    at[1] = (uint8_t)(value >> 8);
}

void decode_f32(const void *blocks, float *values, size_t count);
void decode_f16(const void *blocks, float *values, size_t count);
void decode_bf16(const void *blocks, float *values, size_t count);
void encode_f32(const float *values, void *blocks, size_t count);
void encode_f16(const float *values, void *blocks, size_t count);
void encode_bf16(const float *values, void *blocks, size_t count);

enum {
    LEGACY_BLOCK_VALUES = 32, /* Q4_0 to Q8_0 */
    Q4_0_BLOCK_BYTES = 18,
    Q4_1_BLOCK_BYTES = 20,
    Q5_0_BLOCK_BYTES = 22,
    Q5_1_BLOCK_BYTES = 24,
    Q8_0_BLOCK_BYTES = 34,
};

void decode_q4_0(const void *blocks, float *values, size_t count);
void decode_q4_1(const void *blocks, float *values, size_t count);
void decode_q5_0(const void *blocks, float *values, size_t count);
void decode_q5_1(const void *blocks, float *values, size_t count);
void decode_q8_0(const void *blocks, float *values, size_t count);
void encode_q4_0(const float *values, void *blocks, size_t count);
void encode_q4_1(const float *values, void *blocks, size_t count);
void encode_q5_0(const float *values, void *blocks, size_t count);
void encode_q5_1(const float *values, void *blocks, size_t count);

enum {
    K_BLOCK_VALUES = 256, /* Q2_K to Q6_K */
    Q2_K_BLOCK_BYTES = 84,
    Q3_K_BLOCK_BYTES = 110,
    Q4_K_BLOCK_BYTES = 144,
    Q5_K_BLOCK_BYTES = 176,
    Q6_K_BLOCK_BYTES = 210,
};

void decode_q2_k(const void *blocks, float *values, size_t count);
void decode_q3_k(const void *blocks, float *values, size_t count);
void decode_q4_k(const void *blocks, float *values, size_t count);
void decode_q5_k(const void *blocks, float *values, size_t count);
void decode_q6_k(const void *blocks, float *values, size_t count);
void encode_q2_k(const float *values, void *blocks, size_t count);
void encode_q3_k(const float *values, void *blocks, size_t count);
void encode_q4_k(const float *values, void *blocks, size_t count);
void encode_q5_k(const float *values, void *blocks, size_t count);
void encode_q6_k(const float *values, void *blocks, size_t count);

enum {
    IQ4_NL_BLOCK_BYTES = 18,
    IQ4_XS_BLOCK_BYTES = 136,
    MXFP4_BLOCK_BYTES = 17,
    NVFP4_BLOCK_VALUES = 64,
    NVFP4_BLOCK_BYTES = 36,
    TQ1_0_BLOCK_BYTES = 54,
    TQ2_0_BLOCK_BYTES = 66,
};

void decode_iq4_nl(const void *blocks, float *values, size_t count);
void decode_iq4_xs(const void *blocks, float *values, size_t count);
void decode_mxfp4(const void *blocks, float *values, size_t count);
void encode_mxfp4(const float *values, void *blocks, size_t count);
void decode_nvfp4(const void *blocks, float *values, size_t count);
void decode_tq1_0(const void *blocks, float *values, size_t count);
void decode_tq2_0(const void *blocks, float *values, size_t count);

enum {
    IQ2_XXS_BLOCK_BYTES = 66,
    IQ2_XS_BLOCK_BYTES = 74,
    IQ2_S_BLOCK_BYTES = 82,
    IQ3_XXS_BLOCK_BYTES = 98,
    IQ3_S_BLOCK_BYTES = 110,
    IQ1_S_BLOCK_BYTES = 50,
    IQ1_M_BLOCK_BYTES = 56,
};

void decode_iq2_xxs(const void *blocks, float *values, size_t count);
void decode_iq2_xs(const void *blocks, float *values, size_t count);
void decode_iq2_s(const void *blocks, float *values, size_t count);
void decode_iq3_xxs(const void *blocks, float *values, size_t count);
void decode_iq3_s(const void *blocks, float *values, size_t count);
void decode_iq1_s(const void *blocks, float *values, size_t count);
void decode_iq1_m(const void *blocks, float *values, size_t count);

#endif
