/*
 * gguf_writer.h - makes the head of a GGUF file (version 3): its metadata and its list of tensors.
 *
 * Tensors get their places in the order in which they are added, each at a multiple of 32 bytes;
 * their data is written by whoever has it. Adding never fails visibly: when memory runs out the
 * writer turns `failed` and gguf_writer_head says so. One owner, one thread at a time.
 */
#ifndef MISTRAL_MODEL_GGUF_WRITER_H
#define MISTRAL_MODEL_GGUF_WRITER_H

#include "base/error.h"
#include "base/string_buffer.h"
#include "base/string_view.h"
#include "model/gguf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GGUF_ALIGNMENT = 32 };

/* A zeroed struct is an empty file; deinit releases it and leaves it empty again. */
struct gguf_writer {
    struct string_buffer values;  /* as they will stand in the file */
    struct string_buffer tensors; /* likewise */
    size_t value_count, tensor_count;
    size_t data_bytes; /* of all tensors so far, with the padding between them */
    bool failed;       /* sizes overflowed */
};

void gguf_writer_deinit(struct gguf_writer *writer);

/* Metadata. A key must be added once only. */
void gguf_writer_add_u32(struct gguf_writer *writer, const char *key, uint32_t value);
void gguf_writer_add_f32(struct gguf_writer *writer, const char *key, float value);
void gguf_writer_add_bool(struct gguf_writer *writer, const char *key, bool value);
void gguf_writer_add_text(struct gguf_writer *writer, const char *key, struct string_view text);
void gguf_writer_add_texts(struct gguf_writer *writer, const char *key,
                           const struct string_view *texts, size_t count);
void gguf_writer_add_i32s(struct gguf_writer *writer, const char *key, const int32_t *values,
                          size_t count);
void gguf_writer_add_f32s(struct gguf_writer *writer, const char *key, const float *values,
                          size_t count);
/* A value of another file, as it is. */
void gguf_writer_add_value(struct gguf_writer *writer, const struct gguf_value *value);

/* Returns the place of the tensor's data, in bytes behind the head; *bytes is its size. The row
 * length must be a whole number of the format's blocks. */
size_t gguf_writer_add_tensor(struct gguf_writer *writer, struct string_view name,
                              const struct quant_format *format, const size_t *dimensions,
                              size_t dimension_count, size_t *bytes);

/* Appends everything that stands before the data, padded to the alignment. False: memory ran out,
 * or sizes overflowed. */
bool gguf_writer_head(const struct gguf_writer *writer, struct string_buffer *head,
                      struct error *error);

#endif
