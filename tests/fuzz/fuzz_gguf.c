/*
 * fuzz_gguf.c - any bytes as a GGUF file: opens it, and reads all that a caller could reach.
 *
 * Tensors are decoded block by block into a small buffer, since block contents are hostile too.
 */
#include "fuzz.h"

#include "model/gguf.h"

enum { MOST_BLOCK_VALUES = 256 };

static void read_value(const struct gguf *gguf, const struct gguf_value *value) {
    struct string_view text;
    double number;
    for (size_t i = 0; i < value->count && i < 1000; i++) {
        (void)gguf_string_at(value, i, &text);
        (void)gguf_number_at(value, i, &number);
    }
    char key[64];
    if (value->key.length < sizeof key) {
        struct error error;
        uint32_t u32;
        float f32;
        bool flag;
        memcpy(key, value->key.data, value->key.length);
        key[value->key.length] = '\0';
        (void)gguf_read_u32(gguf, key, &u32, &error);
        (void)gguf_read_f32(gguf, key, &f32, &error);
        (void)gguf_read_bool(gguf, key, &flag, &error);
        (void)gguf_read_string(gguf, key, &text, &error);
    }
}

static void decode_tensor(const struct gguf_tensor *tensor) {
    float values[MOST_BLOCK_VALUES];
    const struct quant_format *format = tensor->format;
    for (size_t at = 0; at < tensor->bytes; at += format->block_bytes) {
        format->decode(tensor->data + at, values, format->block_values);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct gguf *gguf = NULL;
    struct error error = {0};
    if (!gguf_open_bytes("fuzz", data, size, &gguf, &error)) {
        return 0;
    }
    for (size_t i = 0; i < gguf_value_count(gguf); i++) {
        read_value(gguf, gguf_value_at(gguf, i));
    }
    for (size_t i = 0; i < gguf_tensor_count(gguf); i++) {
        decode_tensor(gguf_tensor_at(gguf, i));
    }
    gguf_close(gguf);
    return 0;
}
