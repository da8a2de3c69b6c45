/* gguf_writer.c - see gguf_writer.h. Layout: ggml's docs/gguf.md; every number is little-endian. */
#include "model/gguf_writer.h"

#include "base/bytes.h"

static void append_u32(struct string_buffer *out, uint32_t value) {
    const uint8_t bytes[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
                              (uint8_t)(value >> 24)};
    string_buffer_append(out, bytes, sizeof bytes);
}

static void append_u64(struct string_buffer *out, uint64_t value) {
    append_u32(out, (uint32_t)(value & UINT32_MAX));
    append_u32(out, (uint32_t)(value >> 32));
}

static void append_f32(struct string_buffer *out, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    append_u32(out, bits);
}

static void append_text(struct string_buffer *out, struct string_view text) {
    append_u64(out, text.length);
    string_buffer_append(out, text.data, text.length);
}

static void pad(struct string_buffer *out) {
    static const uint8_t zeros[GGUF_ALIGNMENT] = {0};
    size_t used = out->length % GGUF_ALIGNMENT;
    string_buffer_append(out, zeros, used == 0 ? 0 : GGUF_ALIGNMENT - used);
}

void gguf_writer_deinit(struct gguf_writer *writer) {
    string_buffer_deinit(&writer->values);
    string_buffer_deinit(&writer->tensors);
    *writer = (struct gguf_writer){0};
}

/* ---- metadata ---- */

static struct string_buffer *begin_value(struct gguf_writer *writer, struct string_view key,
                                         enum gguf_value_type type) {
    writer->value_count++;
    append_text(&writer->values, key);
    append_u32(&writer->values, type);
    return &writer->values;
}

static struct string_buffer *begin_array(struct gguf_writer *writer, const char *key,
                                         enum gguf_value_type element_type, size_t count) {
    struct string_buffer *out = begin_value(writer, string_view_of(key), GGUF_ARRAY);
    append_u32(out, element_type);
    append_u64(out, count);
    return out;
}

void gguf_writer_add_u32(struct gguf_writer *writer, const char *key, uint32_t value) {
    append_u32(begin_value(writer, string_view_of(key), GGUF_UINT32), value);
}

void gguf_writer_add_f32(struct gguf_writer *writer, const char *key, float value) {
    append_f32(begin_value(writer, string_view_of(key), GGUF_FLOAT32), value);
}

void gguf_writer_add_bool(struct gguf_writer *writer, const char *key, bool value) {
    string_buffer_append_char(begin_value(writer, string_view_of(key), GGUF_BOOL), value ? 1 : 0);
}

void gguf_writer_add_text(struct gguf_writer *writer, const char *key, struct string_view text) {
    append_text(begin_value(writer, string_view_of(key), GGUF_STRING), text);
}

void gguf_writer_add_texts(struct gguf_writer *writer, const char *key,
                           const struct string_view *texts, size_t count) {
    struct string_buffer *out = begin_array(writer, key, GGUF_STRING, count);
    for (size_t i = 0; i < count; i++) {
        append_text(out, texts[i]);
    }
}

void gguf_writer_add_i32s(struct gguf_writer *writer, const char *key, const int32_t *values,
                          size_t count) {
    struct string_buffer *out = begin_array(writer, key, GGUF_INT32, count);
    for (size_t i = 0; i < count; i++) {
        append_u32(out, (uint32_t)values[i]);
    }
}

void gguf_writer_add_f32s(struct gguf_writer *writer, const char *key, const float *values,
                          size_t count) {
    struct string_buffer *out = begin_array(writer, key, GGUF_FLOAT32, count);
    for (size_t i = 0; i < count; i++) {
        append_f32(out, values[i]);
    }
}

void gguf_writer_add_value(struct gguf_writer *writer, const struct gguf_value *value) {
    struct string_buffer *out = begin_value(writer, value->key, value->type);
    if (value->type == GGUF_ARRAY) {
        append_u32(out, value->element_type);
        append_u64(out, value->count);
    }
    string_buffer_append(out, value->data, value->data_bytes);
}

/* ---- tensors ---- */

size_t gguf_writer_add_tensor(struct gguf_writer *writer, struct string_view name,
                              const struct quant_format *format, const size_t *dimensions,
                              size_t dimension_count, size_t *bytes) {
    size_t place = writer->data_bytes;
    size_t padded = 0, end = 0;
    bool fits = quant_row_bytes(format, dimensions[0], bytes);
    for (size_t i = 1; fits && i < dimension_count; i++) {
        fits = size_multiply(*bytes, dimensions[i], bytes);
    }
    fits = fits && size_add(*bytes, GGUF_ALIGNMENT - 1, &padded) && size_add(place, padded, &end);
    writer->failed = writer->failed || !fits;
    writer->data_bytes = end / GGUF_ALIGNMENT * GGUF_ALIGNMENT;
    writer->tensor_count++;
    append_text(&writer->tensors, name);
    append_u32(&writer->tensors, (uint32_t)dimension_count);
    for (size_t i = 0; i < dimension_count; i++) {
        append_u64(&writer->tensors, dimensions[i]);
    }
    append_u32(&writer->tensors, (uint32_t)format->type);
    append_u64(&writer->tensors, place);
    return place;
}

bool gguf_writer_head(const struct gguf_writer *writer, struct string_buffer *head,
                      struct error *error) {
    string_buffer_append(head, "GGUF", 4);
    append_u32(head, 3);
    append_u64(head, writer->tensor_count);
    append_u64(head, writer->value_count);
    string_buffer_append(head, writer->values.data, writer->values.length);
    string_buffer_append(head, writer->tensors.data, writer->tensors.length);
    pad(head);
    if (writer->failed) {
        return error_set(error, ERROR_UNSUPPORTED, "the tensors' sizes overflow");
    }
    if (head->failed || writer->values.failed || writer->tensors.failed) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the head of a GGUF file");
    }
    return true;
}
