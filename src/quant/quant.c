/* quant.c - see quant.h: the table of formats, and the names of all type numbers. */
#include "quant/quant.h"

#include "base/bytes.h"
#include "quant/families.h"

static const struct quant_format formats[] = {
    {TENSOR_F32, "F32", 1, 4, decode_f32, encode_f32},
    {TENSOR_F16, "F16", 1, 2, decode_f16, encode_f16},
    {TENSOR_BF16, "BF16", 1, 2, decode_bf16, encode_bf16},
    {TENSOR_Q4_0, "Q4_0", LEGACY_BLOCK_VALUES, Q4_0_BLOCK_BYTES, decode_q4_0, encode_q4_0},
    {TENSOR_Q4_1, "Q4_1", LEGACY_BLOCK_VALUES, Q4_1_BLOCK_BYTES, decode_q4_1, encode_q4_1},
    {TENSOR_Q5_0, "Q5_0", LEGACY_BLOCK_VALUES, Q5_0_BLOCK_BYTES, decode_q5_0, encode_q5_0},
    {TENSOR_Q5_1, "Q5_1", LEGACY_BLOCK_VALUES, Q5_1_BLOCK_BYTES, decode_q5_1, encode_q5_1},
    {TENSOR_Q8_0, "Q8_0", LEGACY_BLOCK_VALUES, Q8_0_BLOCK_BYTES, decode_q8_0, quant_encode_q8_0},
    {TENSOR_Q2_K, "Q2_K", K_BLOCK_VALUES, Q2_K_BLOCK_BYTES, decode_q2_k, encode_q2_k},
    {TENSOR_Q3_K, "Q3_K", K_BLOCK_VALUES, Q3_K_BLOCK_BYTES, decode_q3_k, encode_q3_k},
    {TENSOR_Q4_K, "Q4_K", K_BLOCK_VALUES, Q4_K_BLOCK_BYTES, decode_q4_k, encode_q4_k},
    {TENSOR_Q5_K, "Q5_K", K_BLOCK_VALUES, Q5_K_BLOCK_BYTES, decode_q5_k, encode_q5_k},
    {TENSOR_Q6_K, "Q6_K", K_BLOCK_VALUES, Q6_K_BLOCK_BYTES, decode_q6_k, encode_q6_k},
    {TENSOR_IQ4_NL, "IQ4_NL", LEGACY_BLOCK_VALUES, IQ4_NL_BLOCK_BYTES, decode_iq4_nl, NULL},
    {TENSOR_IQ4_XS, "IQ4_XS", K_BLOCK_VALUES, IQ4_XS_BLOCK_BYTES, decode_iq4_xs, NULL},
    {TENSOR_MXFP4, "MXFP4", LEGACY_BLOCK_VALUES, MXFP4_BLOCK_BYTES, decode_mxfp4, encode_mxfp4},
    {TENSOR_NVFP4, "NVFP4", NVFP4_BLOCK_VALUES, NVFP4_BLOCK_BYTES, decode_nvfp4, NULL},
    {TENSOR_TQ1_0, "TQ1_0", K_BLOCK_VALUES, TQ1_0_BLOCK_BYTES, decode_tq1_0, NULL},
    {TENSOR_TQ2_0, "TQ2_0", K_BLOCK_VALUES, TQ2_0_BLOCK_BYTES, decode_tq2_0, NULL},
    {TENSOR_IQ2_XXS, "IQ2_XXS", K_BLOCK_VALUES, IQ2_XXS_BLOCK_BYTES, decode_iq2_xxs, NULL},
    {TENSOR_IQ2_XS, "IQ2_XS", K_BLOCK_VALUES, IQ2_XS_BLOCK_BYTES, decode_iq2_xs, NULL},
    {TENSOR_IQ2_S, "IQ2_S", K_BLOCK_VALUES, IQ2_S_BLOCK_BYTES, decode_iq2_s, NULL},
    {TENSOR_IQ3_XXS, "IQ3_XXS", K_BLOCK_VALUES, IQ3_XXS_BLOCK_BYTES, decode_iq3_xxs, NULL},
    {TENSOR_IQ3_S, "IQ3_S", K_BLOCK_VALUES, IQ3_S_BLOCK_BYTES, decode_iq3_s, NULL},
    {TENSOR_IQ1_S, "IQ1_S", K_BLOCK_VALUES, IQ1_S_BLOCK_BYTES, decode_iq1_s, NULL},
    {TENSOR_IQ1_M, "IQ1_M", K_BLOCK_VALUES, IQ1_M_BLOCK_BYTES, decode_iq1_m, NULL},
};

/* Indexed by GGUF's number. 4, 5, 31 to 33 and 36 to 38 were withdrawn from the format; old files
 * still carry them. */
static const char *const type_names[] = {
    "F32",   "F16",        "Q4_0",       "Q4_1",       "Q4_2",     "Q4_3",     "Q5_0",
    "Q5_1",  "Q8_0",       "Q8_1",       "Q2_K",       "Q3_K",     "Q4_K",     "Q5_K",
    "Q6_K",  "Q8_K",       "IQ2_XXS",    "IQ2_XS",     "IQ3_XXS",  "IQ1_S",    "IQ4_NL",
    "IQ3_S", "IQ2_S",      "IQ4_XS",     "I8",         "I16",      "I32",      "I64",
    "F64",   "IQ1_M",      "BF16",       "Q4_0_4_4",   "Q4_0_4_8", "Q4_0_8_8", "TQ1_0",
    "TQ2_0", "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4",    "NVFP4",    "Q1_0",
};

const struct quant_format *quant_format_of(uint32_t type) {
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        if ((uint32_t)formats[i].type == type) {
            return &formats[i];
        }
    }
    return NULL;
}

const char *quant_type_name(uint32_t type) {
    return type < sizeof type_names / sizeof type_names[0] ? type_names[type] : NULL;
}

bool quant_row_bytes(const struct quant_format *format, size_t values, size_t *bytes) {
    return values % format->block_values == 0 &&
           size_multiply(values / format->block_values, format->block_bytes, bytes);
}
