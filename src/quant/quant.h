/*
 * quant.h - the tensor formats of GGUF: names, block sizes, reference decode and encode.
 *
 * A format stores a row of values as blocks of `block_values` values in `block_bytes` bytes; a
 * row's length is a whole number of blocks. Formats of one family live in one file
 * (legacy_quants.c: Q4_0 to Q8_0; k_quants.c: Q2_K to Q6_K; codebook_quants.c: IQ4, MXFP4, NVFP4;
 * grid_quants.c: IQ1 to IQ3; ternary_quants.c; float_formats.c). Everything here is
 * the plain reference: portable C, no intrinsics, pure functions, any thread. Layouts are those of
 * the GGUF specification (ggml's block structs), read as little-endian bytes, so a block needs no
 * alignment.
 */
#ifndef MISTRAL_QUANT_QUANT_H
#define MISTRAL_QUANT_QUANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Values are GGUF's own numbers. */
enum tensor_type {
    TENSOR_F32 = 0,
    TENSOR_F16 = 1,
    TENSOR_Q4_0 = 2,
    TENSOR_Q4_1 = 3,
    TENSOR_Q5_0 = 6,
    TENSOR_Q5_1 = 7,
    TENSOR_Q8_0 = 8,
    TENSOR_Q2_K = 10,
    TENSOR_Q3_K = 11,
    TENSOR_Q4_K = 12,
    TENSOR_Q5_K = 13,
    TENSOR_Q6_K = 14,
    TENSOR_IQ2_XXS = 16,
    TENSOR_IQ2_XS = 17,
    TENSOR_IQ3_XXS = 18,
    TENSOR_IQ1_S = 19,
    TENSOR_IQ4_NL = 20,
    TENSOR_IQ3_S = 21,
    TENSOR_IQ2_S = 22,
    TENSOR_IQ4_XS = 23,
    TENSOR_IQ1_M = 29,
    TENSOR_BF16 = 30,
    TENSOR_TQ1_0 = 34,
    TENSOR_TQ2_0 = 35,
    TENSOR_MXFP4 = 39,
    TENSOR_NVFP4 = 40,
};

struct quant_format {
    enum tensor_type type;
    const char *name;    /* as people write it: "Q5_K" */
    size_t block_values; /* values in a block */
    size_t block_bytes;  /* bytes of a block */
    /* Decodes `count` values (a multiple of block_values) from blocks to f32. */
    void (*decode)(const void *blocks, float *values, size_t count);
    /* Encodes `count` values (likewise); NULL: the format is only read. They should be finite and
     * of a size whose scale fits f16; what others become is not defined, but nothing worse happens.
     */
    void (*encode)(const float *values, void *blocks, size_t count);
};

/* NULL when the number is not a supported format. */
const struct quant_format *quant_format_of(uint32_t type);

/* The name GGUF gives any type number, supported or not ("IQ2_XXS", …); NULL when there is none. */
const char *quant_type_name(uint32_t type);

/* Bytes of a row of `values` values; false when not a whole number of blocks or too large. */
bool quant_row_bytes(const struct quant_format *format, size_t values, size_t *bytes);

/* IEEE half precision and bfloat16, exactly; from f32 they round to nearest even. */
float f16_to_f32(uint16_t half);
uint16_t f32_to_f16(float value);
float bf16_to_f32(uint16_t bits);
uint16_t f32_to_bf16(float value);

/* The encoder of Q8_0 by name, for activations: scale = max|x| / 127, q = round(x / scale), halves
 * away from zero, the scale stored as f16. count: a multiple of 32. */
void quant_encode_q8_0(const float *values, void *blocks, size_t count);

#endif
