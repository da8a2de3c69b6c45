/*
 * test_quant.c - the table of tensor formats, and blocks worked out by hand.
 *
 * That every format decodes to the bits of another implementation is for
 * tests/python/test_quant_formats.py; here is what needs no second implementation.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "quant/quant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const uint32_t supported[] = {
    TENSOR_F32,     TENSOR_F16,    TENSOR_BF16,   TENSOR_Q4_0,    TENSOR_Q4_1,   TENSOR_Q5_0,
    TENSOR_Q5_1,    TENSOR_Q8_0,   TENSOR_Q2_K,   TENSOR_Q3_K,    TENSOR_Q4_K,   TENSOR_Q5_K,
    TENSOR_Q6_K,    TENSOR_IQ4_NL, TENSOR_IQ4_XS, TENSOR_TQ1_0,   TENSOR_TQ2_0,  TENSOR_MXFP4,
    TENSOR_NVFP4,   TENSOR_IQ1_S,  TENSOR_IQ1_M,  TENSOR_IQ2_XXS, TENSOR_IQ2_XS, TENSOR_IQ2_S,
    TENSOR_IQ3_XXS, TENSOR_IQ3_S,
};

enum { SUPPORTED_COUNT = sizeof supported / sizeof supported[0] };

static void the_table_holds_every_format_once(void **state) {
    (void)state;
    size_t found = 0;
    for (uint32_t type = 0; type < 1000; type++) {
        const struct quant_format *format = quant_format_of(type);
        if (format != NULL) {
            found++;
            assert_int_equal(format->type, type);
            assert_string_equal(format->name, quant_type_name(type));
        }
    }
    assert_int_equal(found, SUPPORTED_COUNT);
    for (size_t i = 0; i < SUPPORTED_COUNT; i++) {
        assert_non_null(quant_format_of(supported[i]));
    }
    assert_null(quant_format_of(UINT32_MAX));
}

static void unsupported_types_have_names(void **state) {
    (void)state;
    assert_string_equal(quant_type_name(15), "Q8_K");
    assert_string_equal(quant_type_name(28), "F64");
    assert_string_equal(quant_type_name(33), "Q4_0_8_8");
    assert_string_equal(quant_type_name(39), "MXFP4");
    assert_null(quant_format_of(15));
    assert_null(quant_type_name(42));
    assert_null(quant_type_name(UINT32_MAX));
}

static void row_bytes_refuses_broken_blocks_and_overflow(void **state) {
    (void)state;
    const struct quant_format *q4_k = quant_format_of(TENSOR_Q4_K);
    const struct quant_format *f32 = quant_format_of(TENSOR_F32);
    size_t bytes = 99;
    assert_true(quant_row_bytes(q4_k, 512, &bytes));
    assert_int_equal(bytes, 288);
    assert_true(quant_row_bytes(q4_k, 0, &bytes));
    assert_int_equal(bytes, 0);
    assert_false(quant_row_bytes(q4_k, 511, &bytes));
    assert_true(quant_row_bytes(f32, SIZE_MAX / 4, &bytes));
    assert_false(quant_row_bytes(f32, SIZE_MAX / 4 + 1, &bytes));
}

static void a_q4_0_block_decodes_as_its_layout_says(void **state) {
    (void)state;
    /* Scale 0.5; byte j holds value j in its low and value j + 16 in its high nibble. */
    uint8_t block[18] = {0x00, 0x38};
    for (uint8_t j = 0; j < 16; j++) {
        block[2 + j] = (uint8_t)(j | (15 - j) << 4);
    }
    float values[32];
    quant_format_of(TENSOR_Q4_0)->decode(block, values, 32);
    for (int j = 0; j < 16; j++) {
        assert_true(values[j] == 0.5f * (float)(j - 8));
        assert_true(values[j + 16] == 0.5f * (float)(7 - j));
    }
}

static void a_q4_k_block_decodes_as_its_layout_says(void **state) {
    (void)state;
    /* d = 1, dmin = 2. Sub-block 0: scale 3, min 1. Sub-block 5: scale 33 (low 1, upper bits 2),
     * min 18 (low 2, upper bits 1); its quants are the high nibbles of bytes 64 to 95. */
    uint8_t block[144] = {0x00, 0x3c, 0x00, 0x40};
    uint8_t *scales = block + 4, *quants = block + 16;
    scales[0] = 3;
    scales[4] = 1;
    scales[9] = 2 << 4 | 1;
    scales[1] = 2 << 6;
    scales[5] = 1 << 6;
    quants[7] = 9;
    quants[64 + 31] = 15 << 4;
    float values[256];
    quant_format_of(TENSOR_Q4_K)->decode(block, values, 256);
    assert_true(values[7] == 3.0f * 9 - 2.0f * 1);
    assert_true(values[6] == -2.0f);
    assert_true(values[5 * 32 + 31] == 33.0f * 15 - 2.0f * 18);
    assert_true(values[5 * 32] == -36.0f);
    assert_true(values[2 * 32] == 0.0f);
}

/* Blocks come from a map at any address; each byte is read on its own. */
static void decoding_needs_no_alignment(void **state) {
    (void)state;
    for (size_t i = 0; i < SUPPORTED_COUNT; i++) {
        const struct quant_format *format = quant_format_of(supported[i]);
        uint8_t *aligned = malloc(format->block_bytes);
        uint8_t *shifted = malloc(format->block_bytes + 1);
        float *values = calloc(2 * format->block_values, sizeof *values);
        assert_true(aligned != NULL && shifted != NULL && values != NULL);
        for (size_t j = 0; j < format->block_bytes; j++) {
            aligned[j] = (uint8_t)(j * 37 + 11) & 0x3f; /* scales stay finite */
        }
        memcpy(shifted + 1, aligned, format->block_bytes);
        format->decode(aligned, values, format->block_values);
        format->decode(shifted + 1, values + format->block_values, format->block_values);
        assert_memory_equal(values, values + format->block_values,
                            format->block_values * sizeof *values);
        free(aligned);
        free(shifted);
        free(values);
    }
}

static void halves_round_to_even(void **state) {
    (void)state;
    assert_int_equal(f32_to_f16(1.0f), 0x3c00);
    assert_int_equal(f32_to_f16(1.0f + 0x1p-11f), 0x3c00);     /* tie, to even: down */
    assert_int_equal(f32_to_f16(1.0f + 3 * 0x1p-11f), 0x3c02); /* tie, to even: up */
    assert_int_equal(f32_to_f16(65519.0f), 0x7bff);
    assert_int_equal(f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(f32_to_f16(0x1p-25f), 0x0000);
    assert_int_equal(f32_to_f16(0x1.002p-25f), 0x0001);
    assert_int_equal(f32_to_f16(-0.0f), 0x8000);
    assert_int_equal(f32_to_f16(-INFINITY), 0xfc00);
    assert_int_equal(f32_to_bf16(1.0f + 0x1p-8f), 0x3f80);
    assert_int_equal(f32_to_bf16(1.0f + 3 * 0x1p-8f), 0x3f82);
    assert_true(isnan(bf16_to_f32(f32_to_bf16(NAN))));
    assert_true(isnan(f16_to_f32(f32_to_f16(NAN))));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_holds_every_format_once),
        cmocka_unit_test(unsupported_types_have_names),
        cmocka_unit_test(row_bytes_refuses_broken_blocks_and_overflow),
        cmocka_unit_test(a_q4_0_block_decodes_as_its_layout_says),
        cmocka_unit_test(a_q4_k_block_decodes_as_its_layout_says),
        cmocka_unit_test(decoding_needs_no_alignment),
        cmocka_unit_test(halves_round_to_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
