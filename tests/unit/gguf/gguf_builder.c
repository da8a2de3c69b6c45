/* gguf_builder.c - see gguf_builder.h. */
#include "gguf_builder.h"

#include <string.h>

static void build_little_endian(struct string_buffer *file, uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        string_buffer_append_char(file, (char)(value >> (8 * i) & 0xff));
    }
}

void build_u8(struct string_buffer *file, uint8_t value) {
    build_little_endian(file, value, 1);
}

void build_u16(struct string_buffer *file, uint16_t value) {
    build_little_endian(file, value, 2);
}

void build_u32(struct string_buffer *file, uint32_t value) {
    build_little_endian(file, value, 4);
}

void build_u64(struct string_buffer *file, uint64_t value) {
    build_little_endian(file, value, 8);
}

void build_f32(struct string_buffer *file, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    build_u32(file, bits);
}

void build_f64(struct string_buffer *file, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    build_u64(file, bits);
}

void build_string(struct string_buffer *file, const char *text) {
    build_u64(file, strlen(text));
    string_buffer_append_text(file, text);
}

void build_zeros(struct string_buffer *file, size_t count) {
    for (size_t i = 0; i < count; i++) {
        string_buffer_append_char(file, '\0');
    }
}

void build_header(struct string_buffer *file, uint32_t version, uint64_t tensors,
                  uint64_t entries) {
    string_buffer_append_text(file, "GGUF");
    build_u32(file, version);
    build_u64(file, tensors);
    build_u64(file, entries);
}

void build_key(struct string_buffer *file, const char *key, uint32_t type) {
    build_string(file, key);
    build_u32(file, type);
}

void build_array_key(struct string_buffer *file, const char *key, uint32_t element_type,
                     uint64_t count) {
    build_key(file, key, GGUF_ARRAY);
    build_u32(file, element_type);
    build_u64(file, count);
}

void build_tensor(struct string_buffer *file, const char *name, size_t dimension_count,
                  const uint64_t *dimensions, uint32_t type, uint64_t offset) {
    build_string(file, name);
    build_u32(file, (uint32_t)dimension_count);
    for (size_t i = 0; i < dimension_count; i++) {
        build_u64(file, dimensions[i]);
    }
    build_u32(file, type);
    build_u64(file, offset);
}

void build_padding(struct string_buffer *file, size_t alignment) {
    while (file->length % alignment != 0) {
        string_buffer_append_char(file, '\0');
    }
}

void build_sample(struct string_buffer *file) {
    build_header(file, 3, 3, 17);
    build_key(file, "t.uint8", GGUF_UINT8);
    build_u8(file, 200);
    build_key(file, "t.int8", GGUF_INT8);
    build_u8(file, (uint8_t)-100);
    build_key(file, "t.uint16", GGUF_UINT16);
    build_u16(file, 60000);
    build_key(file, "t.int16", GGUF_INT16);
    build_u16(file, (uint16_t)-30000);
    build_key(file, "t.uint32", GGUF_UINT32);
    build_u32(file, 4000000000u);
    build_key(file, "t.int32", GGUF_INT32);
    build_u32(file, (uint32_t)-2000000000);
    build_key(file, "t.uint64", GGUF_UINT64);
    build_u64(file, 1ull << 40);
    build_key(file, "t.int64", GGUF_INT64);
    build_u64(file, (uint64_t)-7);
    build_key(file, "t.float32", GGUF_FLOAT32);
    build_f32(file, 0.5f);
    build_key(file, "t.float64", GGUF_FLOAT64);
    build_f64(file, -2.25);
    build_key(file, "t.bool", GGUF_BOOL);
    build_u8(file, 1);
    build_key(file, "t.string", GGUF_STRING);
    build_string(file, "na\xc3\xafve");
    build_array_key(file, "t.strings", GGUF_STRING, 3);
    build_string(file, "one");
    build_string(file, "");
    build_string(file, "three");
    build_array_key(file, "t.floats", GGUF_FLOAT32, 2);
    build_f32(file, 1.5f);
    build_f32(file, -1.5f);
    build_array_key(file, "t.bools", GGUF_BOOL, 2);
    build_u8(file, 0);
    build_u8(file, 1);
    build_array_key(file, "t.empty", GGUF_INT32, 0);
    build_key(file, "general.alignment", GGUF_UINT32);
    build_u32(file, 64);
    build_tensor(file, "a", 2, (uint64_t[]){3, 2}, TENSOR_F32, 0);
    build_tensor(file, "b", 4, (uint64_t[]){64, 1, 2, 1}, TENSOR_Q4_0, 64);
    build_tensor(file, "c", 1, (uint64_t[]){5}, TENSOR_F16, 192);
    build_padding(file, 64);
    for (int i = 0; i < 6; i++) {
        build_f32(file, (float)i);
    }
    build_padding(file, 64);
    build_zeros(file, 128); /* b: 4 blocks of 18 bytes, padded */
    for (uint16_t i = 0; i < 5; i++) {
        build_u16(file, (uint16_t)(0x3c00 + i));
    }
}
