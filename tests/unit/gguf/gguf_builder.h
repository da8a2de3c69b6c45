/* gguf_builder.h - writes GGUF files into memory, right or wrong on purpose, field by field. */
#ifndef MISTRAL_TESTS_GGUF_BUILDER_H
#define MISTRAL_TESTS_GGUF_BUILDER_H

#include "base/string_buffer.h"
#include "model/gguf.h"

/* Appends, little-endian. */
void build_u8(struct string_buffer *file, uint8_t value);
void build_u16(struct string_buffer *file, uint16_t value);
void build_u32(struct string_buffer *file, uint32_t value);
void build_u64(struct string_buffer *file, uint64_t value);
void build_f32(struct string_buffer *file, float value);
void build_f64(struct string_buffer *file, double value);
void build_string(struct string_buffer *file, const char *text); /* length, then bytes */
void build_zeros(struct string_buffer *file, size_t count);

void build_header(struct string_buffer *file, uint32_t version, uint64_t tensors, uint64_t entries);

/* Key and type; the value is for the caller to append. */
void build_key(struct string_buffer *file, const char *key, uint32_t type);
void build_array_key(struct string_buffer *file, const char *key, uint32_t element_type,
                     uint64_t count);

void build_tensor(struct string_buffer *file, const char *name, size_t dimension_count,
                  const uint64_t *dimensions, uint32_t type, uint64_t offset);

/* Zeros up to the next multiple. */
void build_padding(struct string_buffer *file, size_t alignment);

/* A file with every value type, arrays, and three tensors (F32, Q4_0, F16), all as it should be. */
void build_sample(struct string_buffer *file);

#endif
