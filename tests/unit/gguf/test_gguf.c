/*
 * test_gguf.c - the reader of model files: what a right file says, and that no wrong one hurts.
 *
 * Files are built in memory and opened from a heap copy of exactly their size, so that under
 * AddressSanitizer a read one byte past the end is seen.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/random.h"
#include "gguf_builder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Touches everything a reader of the file could be given. */
static uint64_t walk(const struct gguf *gguf) {
    uint64_t sum = 0;
    for (size_t i = 0; i < gguf_value_count(gguf); i++) {
        const struct gguf_value *value = gguf_value_at(gguf, i);
        struct string_view text;
        double number;
        for (size_t j = 0; j < value->count; j++) {
            if (gguf_string_at(value, j, &text) && text.length > 0) {
                sum += (uint8_t)text.data[0] + (uint8_t)text.data[text.length - 1];
            } else if (gguf_number_at(value, j, &number)) {
                sum += number > 0;
            }
        }
    }
    for (size_t i = 0; i < gguf_tensor_count(gguf); i++) {
        const struct gguf_tensor *tensor = gguf_tensor_at(gguf, i);
        for (size_t j = 0; j < tensor->bytes; j++) {
            sum += tensor->data[j];
        }
    }
    return sum;
}

/* Opens an exact copy of the bytes and walks through it. True when it opened. */
static bool open_and_walk(const char *bytes, size_t length, struct error *error) {
    uint8_t *copy = malloc(length > 0 ? length : 1);
    assert_non_null(copy);
    if (length > 0) {
        memcpy(copy, bytes, length);
    }
    struct gguf *gguf = NULL;
    bool opened = gguf_open_bytes("test.gguf", copy, length, &gguf, error);
    if (opened) {
        (void)walk(gguf);
        gguf_close(gguf);
    }
    free(copy);
    return opened;
}

struct sample {
    struct string_buffer file;
    struct gguf *gguf;
};

static int open_sample(void **state) {
    static struct sample sample;
    sample = (struct sample){0};
    build_sample(&sample.file);
    struct error error = {0};
    if (!gguf_open_bytes("sample.gguf", sample.file.data, sample.file.length, &sample.gguf,
                         &error)) {
        print_error("the sample does not open: %s\n", error.message);
        return -1;
    }
    *state = &sample;
    return 0;
}

static int close_sample(void **state) {
    struct sample *sample = *state;
    gguf_close(sample->gguf);
    string_buffer_deinit(&sample->file);
    return 0;
}

/* ---- a right file ---- */

static void every_value_type_is_read(void **state) {
    const struct gguf *gguf = ((struct sample *)*state)->gguf;
    static const struct {
        const char *key;
        enum gguf_value_type type;
        double number;
    } expected[] = {
        {"t.uint8", GGUF_UINT8, 200},
        {"t.int8", GGUF_INT8, -100},
        {"t.uint16", GGUF_UINT16, 60000},
        {"t.int16", GGUF_INT16, -30000},
        {"t.uint32", GGUF_UINT32, 4000000000},
        {"t.int32", GGUF_INT32, -2000000000},
        {"t.uint64", GGUF_UINT64, 0x1p40},
        {"t.int64", GGUF_INT64, -7},
        {"t.float32", GGUF_FLOAT32, 0.5},
        {"t.float64", GGUF_FLOAT64, -2.25},
        {"t.bool", GGUF_BOOL, 1},
    };
    assert_int_equal(gguf_version(gguf), 3);
    assert_int_equal(gguf_value_count(gguf), 17);
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        const struct gguf_value *value = gguf_find(gguf, expected[i].key);
        assert_non_null(value);
        assert_ptr_equal(value, gguf_value_at(gguf, i));
        assert_int_equal(value->type, expected[i].type);
        double number = 0;
        assert_true(gguf_number_at(value, 0, &number));
        assert_true(number == expected[i].number);
        assert_false(gguf_number_at(value, 1, &number));
    }
    assert_null(gguf_find(gguf, "t.absent"));
}

static void strings_and_arrays_are_read(void **state) {
    const struct gguf *gguf = ((struct sample *)*state)->gguf;
    struct string_view text = {0};
    assert_true(gguf_read_string(gguf, "t.string", &text, NULL));
    assert_true(string_view_is(text, "na\xc3\xafve"));

    const struct gguf_value *strings = gguf_find(gguf, "t.strings");
    struct string_view all[3];
    assert_int_equal(strings->count, 3);
    assert_true(gguf_strings(strings, all));
    assert_true(string_view_is(all[0], "one"));
    assert_true(string_view_is(all[1], ""));
    assert_true(string_view_is(all[2], "three"));
    assert_true(gguf_string_at(strings, 2, &text));
    assert_true(string_view_is(text, "three"));
    assert_false(gguf_string_at(strings, 3, &text));

    const struct gguf_value *floats = gguf_find(gguf, "t.floats");
    double number = 0;
    assert_true(gguf_number_at(floats, 1, &number));
    assert_true(number == -1.5);
    assert_false(gguf_string_at(floats, 0, &text));
    assert_false(gguf_strings(floats, all));
    assert_int_equal(gguf_find(gguf, "t.empty")->count, 0);
}

static void tensors_are_placed(void **state) {
    const struct gguf *gguf = ((struct sample *)*state)->gguf;
    assert_int_equal(gguf_tensor_count(gguf), 3);
    const struct gguf_tensor *a = gguf_find_tensor(gguf, "a");
    const struct gguf_tensor *b = gguf_find_tensor(gguf, "b");
    const struct gguf_tensor *c = gguf_find_tensor(gguf, "c");
    assert_ptr_equal(b, gguf_tensor_at(gguf, 1));
    assert_null(gguf_find_tensor(gguf, "d"));
    assert_int_equal(a->format->type, TENSOR_F32);
    assert_int_equal(a->dimension_count, 2);
    assert_int_equal(a->row_count, 2);
    assert_int_equal(a->bytes, 24);
    assert_int_equal(b->row_count, 2);
    assert_int_equal(b->dimensions[2], 2);
    assert_int_equal(b->bytes, 72);
    assert_int_equal(b->data - a->data, 64);
    assert_int_equal(c->dimensions[1], 1);
    float values[5];
    c->format->decode(c->data, values, 5);
    assert_true(values[0] == 1.0f && values[4] == 1.0f + 4 * 0x1p-10f);
}

static void typed_reads_convert_what_fits_and_refuse_the_rest(void **state) {
    const struct gguf *gguf = ((struct sample *)*state)->gguf;
    struct error error = {0};
    uint32_t u32 = 5;
    assert_true(gguf_read_u32(gguf, "t.absent", &u32, &error) && u32 == 5);
    assert_true(gguf_read_u32(gguf, "t.uint8", &u32, &error) && u32 == 200);
    assert_true(gguf_read_u32(gguf, "t.uint32", &u32, &error) && u32 == 4000000000u);
    static const char *const no_u32[] = {"t.int8", "t.int64",  "t.uint64", "t.float32",
                                         "t.bool", "t.string", "t.floats", "t.empty"};
    for (size_t i = 0; i < sizeof no_u32 / sizeof no_u32[0]; i++) {
        assert_false(gguf_read_u32(gguf, no_u32[i], &u32, &error));
        assert_non_null(strstr(error.message, no_u32[i]));
    }
    float f32 = 9;
    assert_true(gguf_read_f32(gguf, "t.float64", &f32, &error) && f32 == -2.25f);
    assert_true(gguf_read_f32(gguf, "t.int8", &f32, &error) && f32 == -100.0f);
    assert_true(gguf_read_f32(gguf, "t.absent", &f32, &error) && f32 == -100.0f);
    assert_false(gguf_read_f32(gguf, "t.string", &f32, &error));
    assert_false(gguf_read_f32(gguf, "t.floats", &f32, &error));
    bool flag = false;
    assert_true(gguf_read_bool(gguf, "t.bool", &flag, &error) && flag);
    assert_false(gguf_read_bool(gguf, "t.uint8", &flag, &error));
    struct string_view text;
    assert_false(gguf_read_string(gguf, "t.strings", &text, &error));
    assert_string_equal(strstr(error.message, "key"),
                        "key 't.strings' is of type array; a string is needed");
}

static void f32_reads_refuse_what_is_not_finite(void **state) {
    (void)state;
    struct string_buffer file = {0};
    build_header(&file, 3, 0, 3);
    build_key(&file, "nan", GGUF_FLOAT32);
    build_f32(&file, NAN);
    build_key(&file, "infinity", GGUF_FLOAT64);
    build_f64(&file, (double)INFINITY);
    build_key(&file, "large", GGUF_FLOAT64);
    build_f64(&file, 1e39);
    struct gguf *gguf = NULL;
    assert_true(gguf_open_bytes("f", file.data, file.length, &gguf, NULL));
    float value = 1;
    assert_false(gguf_read_f32(gguf, "nan", &value, NULL));
    assert_false(gguf_read_f32(gguf, "infinity", &value, NULL));
    assert_false(gguf_read_f32(gguf, "large", &value, NULL));
    assert_true(value == 1);
    gguf_close(gguf);
    string_buffer_deinit(&file);
}

static void version_2_and_the_default_alignment_are_read(void **state) {
    (void)state;
    struct string_buffer file = {0};
    build_header(&file, 2, 1, 0);
    build_tensor(&file, "w", 1, (uint64_t[]){1}, TENSOR_F32, 32);
    build_padding(&file, 32);
    size_t data_start = file.length;
    build_zeros(&file, 32);
    build_f32(&file, 2.0f);
    struct gguf *gguf = NULL;
    assert_true(gguf_open_bytes("f", file.data, file.length, &gguf, NULL));
    assert_int_equal(gguf_version(gguf), 2);
    assert_int_equal((const char *)gguf_tensor_at(gguf, 0)->data - file.data, data_start + 32);
    gguf_close(gguf);
    string_buffer_deinit(&file);
}

/* ---- wrong files: one thing wrong in each ---- */

static void wrong_magic(struct string_buffer *file) {
    build_sample(file);
    file->data[3] = 'G';
}

static void lfs_pointer(struct string_buffer *file) {
    string_buffer_append_text(file, "version https://git-lfs.github.com/spec/v1\n");
}

static void big_endian(struct string_buffer *file) {
    string_buffer_append_text(file, "GGUF");
    build_u32(file, 0x03000000);
    build_zeros(file, 16);
}

static void version_1(struct string_buffer *file) {
    build_header(file, 1, 0, 0);
}

static void version_4(struct string_buffer *file) {
    build_header(file, 4, 0, 0);
}

static void absurd_tensor_count(struct string_buffer *file) {
    build_header(file, 3, UINT64_MAX, 0);
    build_zeros(file, 1000);
}

static void absurd_entry_count(struct string_buffer *file) {
    build_header(file, 3, 0, 1ull << 60);
    build_zeros(file, 1000);
}

static void too_many_entries(struct string_buffer *file) {
    build_header(file, 3, 0, (1 << 16) + 1);
    build_zeros(file, 14 * ((1 << 16) + 1));
}

static void too_many_tensors(struct string_buffer *file) {
    build_header(file, 3, (1 << 18) + 1, 0);
    build_zeros(file, 33 * ((1 << 18) + 1));
}

static void key_past_the_end(struct string_buffer *file) {
    build_header(file, 3, 0, 1);
    build_u64(file, UINT64_MAX - 3);
    build_zeros(file, 20);
}

static void empty_key(struct string_buffer *file) {
    build_header(file, 3, 0, 1);
    build_key(file, "", GGUF_UINT8);
    build_zeros(file, 20);
}

static void key_too_long(struct string_buffer *file) {
    build_header(file, 3, 0, 1);
    build_u64(file, 65536);
    for (int i = 0; i < 65536 + 5; i++) {
        string_buffer_append_char(file, 'k');
    }
}

static void key_with_escape(struct string_buffer *file) {
    build_header(file, 3, 0, 1);
    build_key(file, "a\x1b[31m", GGUF_UINT8);
    build_u8(file, 1);
}

static void key_not_utf8(struct string_buffer *file) {
    build_header(file, 3, 0, 1);
    build_key(file, "a\xff", GGUF_UINT8);
    build_u8(file, 1);
}

static void duplicate_key(struct string_buffer *file) {
    build_header(file, 3, 0, 2);
    for (int i = 0; i < 2; i++) {
        build_key(file, "twice", GGUF_UINT8);
        build_u8(file, 1);
    }
}

static void unknown_value_type(struct string_buffer *file) {
    build_header(file, 3, 0, 1);
    build_key(file, "k", 13);
    build_zeros(file, 20);
}

static void bad_bool(struct string_buffer *file) {
    build_header(file, 3, 0, 1);
    build_key(file, "k", GGUF_BOOL);
    build_u8(file, 2);
}

static void string_past_the_end(struct string_buffer *file) {
    build_header(file, 3, 0, 1);
    build_key(file, "k", GGUF_STRING);
    build_u64(file, 100);
    build_zeros(file, 99);
}

static void nested_array(struct string_buffer *file) {
    build_header(file, 3, 0, 1);
    build_array_key(file, "k", GGUF_ARRAY, 1);
    build_u32(file, GGUF_UINT8);
    build_u64(file, 0);
}

static void absurd_array(struct string_buffer *file) {
    build_header(file, 3, 0, 1);
    build_array_key(file, "k", GGUF_FLOAT64, 1ull << 61); /* times 8 wraps to 0 */
    build_zeros(file, 100);
}

static void absurd_string_array(struct string_buffer *file) {
    build_header(file, 3, 0, 1);
    build_array_key(file, "k", GGUF_STRING, 14);
    build_zeros(file, 13 * 8 + 7);
}

static void array_cut_inside(struct string_buffer *file) {
    build_header(file, 3, 0, 1);
    build_array_key(file, "k", GGUF_STRING, 2);
    build_string(file, "first");
    build_u64(file, 7);
    build_zeros(file, 6);
}

static void alignment_of(struct string_buffer *file, uint32_t alignment) {
    build_header(file, 3, 0, 1);
    build_key(file, "general.alignment", GGUF_UINT32);
    build_u32(file, alignment);
}

static void alignment_0(struct string_buffer *file) {
    alignment_of(file, 0);
}

static void alignment_4(struct string_buffer *file) {
    alignment_of(file, 4);
}

static void alignment_24(struct string_buffer *file) {
    alignment_of(file, 24);
}

static void alignment_text(struct string_buffer *file) {
    build_header(file, 3, 0, 1);
    build_key(file, "general.alignment", GGUF_STRING);
    build_string(file, "32");
}

static void alignment_past_the_end(struct string_buffer *file) {
    build_header(file, 3, 1, 1);
    build_key(file, "general.alignment", GGUF_UINT32);
    build_u32(file, 0x80000000u);
    build_tensor(file, "w", 1, (uint64_t[]){1}, TENSOR_F32, 0);
    build_zeros(file, 100);
}

/* A header and one tensor, with 1024 zeros of data behind it. */
static void one_tensor(struct string_buffer *file, const char *name, size_t dimension_count,
                       const uint64_t *dimensions, uint32_t type, uint64_t offset) {
    build_header(file, 3, 1, 0);
    build_tensor(file, name, dimension_count, dimensions, type, offset);
    build_padding(file, 32);
    build_zeros(file, 1024);
}

static void unsupported_tensor_type(struct string_buffer *file) {
    one_tensor(file, "blk.0.ffn_up.weight", 1, (uint64_t[]){256}, 15, 0);
}

static void unknown_tensor_type(struct string_buffer *file) {
    one_tensor(file, "w", 1, (uint64_t[]){256}, 4242, 0);
}

static void no_dimensions(struct string_buffer *file) {
    one_tensor(file, "w", 0, NULL, TENSOR_F32, 0);
}

static void five_dimensions(struct string_buffer *file) {
    one_tensor(file, "w", 5, (uint64_t[]){1, 1, 1, 1, 1}, TENSOR_F32, 0);
}

static void zero_dimension(struct string_buffer *file) {
    one_tensor(file, "w", 2, (uint64_t[]){32, 0}, TENSOR_F32, 0);
}

static void negative_dimension(struct string_buffer *file) {
    one_tensor(file, "w", 2, (uint64_t[]){32, (uint64_t)-1}, TENSOR_F32, 0);
}

static void overflowing_dimensions(struct string_buffer *file) {
    uint64_t large = 1ull << 31;
    one_tensor(file, "w", 4, (uint64_t[]){large, large, large, large}, TENSOR_F32, 0);
}

/* 2^62 values of 4 bytes: the bytes wrap to 0, the values do not. */
static void overflowing_bytes(struct string_buffer *file) {
    one_tensor(file, "w", 2, (uint64_t[]){1ull << 31, 1ull << 31}, TENSOR_F32, 0);
}

static void broken_row(struct string_buffer *file) {
    one_tensor(file, "w", 2, (uint64_t[]){100, 2}, TENSOR_Q6_K, 0);
}

static void unaligned_offset(struct string_buffer *file) {
    one_tensor(file, "w", 1, (uint64_t[]){8}, TENSOR_F32, 8);
}

static void data_past_the_end(struct string_buffer *file) {
    one_tensor(file, "w", 1, (uint64_t[]){257}, TENSOR_F32, 0);
}

static void offset_past_the_end(struct string_buffer *file) {
    one_tensor(file, "w", 1, (uint64_t[]){8}, TENSOR_F32, UINT64_MAX - 31);
}

static void name_too_long(struct string_buffer *file) {
    one_tensor(file, "blk.0.a_name_of_more_than_sixty_four_bytes_is_not_one_of_this_format", 1,
               (uint64_t[]){8}, TENSOR_F32, 0);
}

static void duplicate_tensor(struct string_buffer *file) {
    build_header(file, 3, 2, 0);
    build_tensor(file, "w", 1, (uint64_t[]){8}, TENSOR_F32, 0);
    build_tensor(file, "w", 1, (uint64_t[]){8}, TENSOR_F32, 32);
    build_padding(file, 32);
    build_zeros(file, 64);
}

static const struct {
    void (*build)(struct string_buffer *file);
    enum error_code code;
    const char *message; /* a part of it */
} wrong_files[] = {
    {wrong_magic, ERROR_FORMAT, "byte 0: the magic number is 47 47 55 47"},
    {lfs_pointer, ERROR_FORMAT, "Git LFS pointer"},
    {big_endian, ERROR_UNSUPPORTED,
     "byte 4: the header has the version field 0x03000000: this is "
     "a big-endian GGUF file"},
    {version_1, ERROR_UNSUPPORTED, "byte 4: the header says GGUF version 1"},
    {version_4, ERROR_UNSUPPORTED, "GGUF version 4; versions 2 and 3 are read"},
    {absurd_tensor_count, ERROR_FORMAT, "byte 8: the header has the tensor count 1844674407370"},
    {absurd_entry_count, ERROR_FORMAT, "byte 16: the header has the metadata count 11529215046"},
    {too_many_entries, ERROR_FORMAT, "metadata count 65537; at most 65536"},
    {too_many_tensors, ERROR_FORMAT, "tensor count 262145; at most 262144"},
    {key_past_the_end, ERROR_FORMAT, "byte 32: key number 0 is cut off: its name takes 18446744"},
    {empty_key, ERROR_FORMAT, "byte 24: key number 0 has a name of 0 bytes"},
    {key_too_long, ERROR_FORMAT, "a name of 65536 bytes; 1 to 65535"},
    {key_with_escape, ERROR_FORMAT, "byte 33: key number 0 has a name with the byte 0x1b"},
    {key_not_utf8, ERROR_FORMAT, "byte 33: key number 0 has a name with the byte 0xff"},
    {duplicate_key, ERROR_FORMAT, "byte 42: key 'twice' appears twice"},
    {unknown_value_type, ERROR_FORMAT, "byte 33: key 'k' has the unknown value type 13"},
    {bad_bool, ERROR_FORMAT, "byte 37: key 'k' has the bool 2"},
    {string_past_the_end, ERROR_FORMAT,
     "key 'k' is cut off: its string takes 100 bytes, but the "
     "file has 99 left"},
    {nested_array, ERROR_UNSUPPORTED, "byte 37: key 'k' is an array of arrays"},
    {absurd_array, ERROR_FORMAT, "byte 41: key 'k' has the array length 2305843009213693952"},
    {absurd_string_array, ERROR_FORMAT, "length 14, for which the 111 bytes left"},
    {array_cut_inside, ERROR_FORMAT, "its string takes 7 bytes, but the file has 6 left"},
    {alignment_0, ERROR_FORMAT, "byte 53: key 'general.alignment' is 0; it must be a power of two"},
    {alignment_4, ERROR_FORMAT, "key 'general.alignment' is 4"},
    {alignment_24, ERROR_FORMAT, "key 'general.alignment' is 24"},
    {alignment_text, ERROR_FORMAT, "key 'general.alignment' is of type string; an integer"},
    {alignment_past_the_end, ERROR_FORMAT, "tensor 'w' has 4 bytes at the data offset 0, past"},
    {unsupported_tensor_type, ERROR_UNSUPPORTED,
     "tensor 'blk.0.ffn_up.weight' has type Q8_K, which is not supported; use a file of the "
     "model with tensors of the types F32 F16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K "
     "IQ2_XXS IQ2_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ2_S IQ4_XS IQ1_M BF16 TQ1_0 TQ2_0 MXFP4 NVFP4"},
    {unknown_tensor_type, ERROR_UNSUPPORTED, "tensor 'w' has type number 4242, which is not"},
    {no_dimensions, ERROR_FORMAT, "byte 33: tensor 'w' has 0 dimensions"},
    {five_dimensions, ERROR_FORMAT, "tensor 'w' has 5 dimensions; 1 to 4 are allowed"},
    {zero_dimension, ERROR_FORMAT, "byte 45: tensor 'w' has 0 as the size of its dimension 1"},
    {negative_dimension, ERROR_FORMAT, "tensor 'w' has 18446744073709551615 as the size of its"},
    {overflowing_dimensions, ERROR_FORMAT, "tensor 'w' has dimensions whose product overflows"},
    {overflowing_bytes, ERROR_FORMAT, "tensor 'w' has dimensions whose product overflows"},
    {broken_row, ERROR_FORMAT, "tensor 'w' has rows of 100 values, not a multiple of the 256"},
    {unaligned_offset, ERROR_FORMAT, "tensor 'w' has the data offset 8, not a multiple of"},
    {data_past_the_end, ERROR_FORMAT, "tensor 'w' has 1028 bytes at the data offset 0, past"},
    {offset_past_the_end, ERROR_FORMAT, "at the data offset 18446744073709551584, past the end"},
    {name_too_long, ERROR_FORMAT, "byte 24: tensor number 0 has a name of 68 bytes; 1 to 64"},
    {duplicate_tensor, ERROR_FORMAT, "tensor 'w' appears twice"},
};

static void each_wrong_file_is_refused_by_field_and_offset(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof wrong_files / sizeof wrong_files[0]; i++) {
        struct string_buffer file = {0};
        wrong_files[i].build(&file);
        struct error error = {0};
        if (open_and_walk(file.data, file.length, &error)) {
            fail_msg("wrong file %zu opened; wanted: %s", i, wrong_files[i].message);
        }
        if (error.code != wrong_files[i].code ||
            strstr(error.message, wrong_files[i].message) == NULL ||
            strstr(error.message, "test.gguf") == NULL) {
            fail_msg("wrong file %zu: got code %d, '%s'; wanted code %d, '%s'", i, error.code,
                     error.message, wrong_files[i].code, wrong_files[i].message);
        }
        string_buffer_deinit(&file);
    }
}

static void every_truncation_is_refused(void **state) {
    const struct sample *sample = *state;
    for (size_t length = 0; length < sample->file.length; length++) {
        struct error error = {0};
        if (open_and_walk(sample->file.data, length, &error)) {
            fail_msg("the sample opened when cut to %zu of %zu bytes", length, sample->file.length);
        }
        assert_true(error.code == ERROR_FORMAT);
    }
}

/* Each byte of the sample replaced, then random ones: an error or a file that can be walked. */
static void flipped_bytes_never_hurt(void **state) {
    struct sample *sample = *state;
    char *bytes = sample->file.data;
    static const uint8_t patterns[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    size_t opened = 0, refused = 0;
    for (size_t at = 0; at < sample->file.length; at++) {
        for (size_t i = 0; i < sizeof patterns; i++) {
            char before = bytes[at];
            bytes[at] = (char)patterns[i];
            opened += open_and_walk(bytes, sample->file.length, NULL);
            bytes[at] = before;
        }
    }
    struct random_state random;
    random_seed(&random, 7);
    for (int i = 0; i < 5000; i++) {
        char *copy = malloc(sample->file.length);
        assert_non_null(copy);
        memcpy(copy, bytes, sample->file.length);
        for (uint64_t flips = 1 + random_next(&random) % 4; flips > 0; flips--) {
            copy[random_next(&random) % sample->file.length] ^=
                (char)(1 << random_next(&random) % 8);
        }
        bool open = open_and_walk(copy, sample->file.length, NULL);
        opened += open;
        refused += !open;
        free(copy);
    }
    assert_true(opened > 1000 && refused > 1000);
}

/* ---- paths ---- */

static void expect_refusal(const char *path, enum error_code code, const char *part) {
    struct gguf *gguf = NULL;
    struct error error = {0};
    assert_false(gguf_open(path, &gguf, &error));
    assert_null(gguf);
    if (error.code != code || strstr(error.message, part) == NULL ||
        strstr(error.message, path) == NULL) {
        fail_msg("'%s': got code %d, '%s'; wanted code %d, '%s'", path, error.code, error.message,
                 code, part);
    }
}

/* The metadata is a copy; the tensors' data is not, and whoever has read it is told. */
static void a_file_that_is_cut_short_while_it_is_open_keeps_its_metadata(void **state) {
    char folder[] = "/tmp/test_gguf_XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/cut.gguf", folder);
    const struct string_buffer *sample = &((struct sample *)*state)->file;
    struct gguf *gguf = NULL;
    struct error error = {0};
    assert_true(file_write_atomic(path, sample->data, sample->length, &error));
    assert_true(gguf_open(path, &gguf, &error));
    assert_true(gguf_check(gguf, &error));
    assert_int_equal(truncate(path, 8), 0);
    assert_int_equal(walk(gguf), walk(((struct sample *)*state)->gguf));
    assert_false(gguf_check(gguf, &error));
    assert_int_equal(error.code, ERROR_IO);
    assert_non_null(strstr(error.message, path));
    assert_non_null(strstr(error.message, "cut short while it was in use"));
    gguf_close(gguf);
    unlink(path);
    rmdir(folder);
}

static void paths_that_are_no_file_are_refused(void **state) {
    (void)state;
    char folder[] = "/tmp/test_gguf_XXXXXX";
    assert_non_null(mkdtemp(folder));
    char path[64];
    expect_refusal(folder, ERROR_INVALID_ARGUMENT, "is a directory");
    snprintf(path, sizeof path, "%s/absent.gguf", folder);
    expect_refusal(path, ERROR_NOT_FOUND, "cannot open");
    snprintf(path, sizeof path, "%s/pipe.gguf", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_refusal(path, ERROR_INVALID_ARGUMENT, "not a regular file");
    unlink(path);
    snprintf(path, sizeof path, "%s/empty.gguf", folder);
    FILE *empty = fopen(path, "w");
    assert_non_null(empty);
    fclose(empty);
    expect_refusal(path, ERROR_FORMAT, "is empty");
    unlink(path);
    rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_value_type_is_read, open_sample, close_sample),
        cmocka_unit_test_setup_teardown(strings_and_arrays_are_read, open_sample, close_sample),
        cmocka_unit_test_setup_teardown(tensors_are_placed, open_sample, close_sample),
        cmocka_unit_test_setup_teardown(typed_reads_convert_what_fits_and_refuse_the_rest,
                                        open_sample, close_sample),
        cmocka_unit_test(f32_reads_refuse_what_is_not_finite),
        cmocka_unit_test(version_2_and_the_default_alignment_are_read),
        cmocka_unit_test(each_wrong_file_is_refused_by_field_and_offset),
        cmocka_unit_test_setup_teardown(every_truncation_is_refused, open_sample, close_sample),
        cmocka_unit_test_setup_teardown(flipped_bytes_never_hurt, open_sample, close_sample),
        cmocka_unit_test(paths_that_are_no_file_are_refused),
        cmocka_unit_test_setup_teardown(
            a_file_that_is_cut_short_while_it_is_open_keeps_its_metadata, open_sample,
            close_sample),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
