/*
 * gguf.h - reads a GGUF file (version 2 or 3, little-endian), memory-mapped.
 *
 * The file is hostile until proven otherwise: every count, string, array, offset and alignment is
 * checked against the file's size before it is used, and an error names the byte offset and the
 * field. After open, all tensor data lies inside the map and tensor shapes multiply without
 * overflow. Nothing is decoded here. Immutable after open: any thread may read.
 *
 * The file may be cut short or overwritten while it is open. Metadata and the list of tensors are a
 * copy that stays as it was; tensor data becomes zeros or other bytes, which gguf_check tells.
 */
#ifndef MISTRAL_MODEL_GGUF_H
#define MISTRAL_MODEL_GGUF_H

#include "base/error.h"
#include "base/string_view.h"
#include "quant/quant.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum gguf_value_type {
    GGUF_UINT8,
    GGUF_INT8,
    GGUF_UINT16,
    GGUF_INT16,
    GGUF_UINT32,
    GGUF_INT32,
    GGUF_FLOAT32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_UINT64,
    GGUF_INT64,
    GGUF_FLOAT64,
};

struct gguf_value {
    struct string_view key; /* in the map */
    enum gguf_value_type type;
    enum gguf_value_type element_type; /* of an array, else = type; never GGUF_ARRAY */
    size_t count;                      /* elements of an array, else 1 */
    const uint8_t *data;               /* first element in the map, unaligned; a string element is
                                          its u64 length and its bytes */
    size_t data_bytes;                 /* of all elements in the file */
};

enum { GGUF_MAX_DIMENSIONS = 4 };

struct gguf_tensor {
    struct string_view name; /* in the map */
    const struct quant_format *format;
    size_t dimension_count;
    size_t dimensions[GGUF_MAX_DIMENSIONS]; /* [0] is the row length (columns); unused ones are 1 */
    size_t row_count;                       /* product of dimensions[1..] */
    size_t bytes;                           /* of the data */
    const uint8_t *data;                    /* in the map; aligned to general.alignment */
};

struct gguf;

/* Owns the map until gguf_close. `path` is copied for messages. A tensor of an unsupported type, a
 * duplicate tensor name or key, or data past the end is an error that names the tensor or the key.
 * The first one installs a handler of faults: base/file_guard.h. */
bool gguf_open(const char *path, struct gguf **gguf, struct error *error);

/* The same over bytes in memory, which stay the caller's and must outlive the gguf. `name` stands
 * in messages where the path would. */
bool gguf_open_bytes(const char *name, const void *bytes, size_t length, struct gguf **gguf,
                     struct error *error);

/* Whether all tensor data that was read until now is what the file held when it was opened. Else
 * ERROR_IO with the file and what happened; whatever came of that data is not to be used. Cheap
 * enough for each step: one system call. */
bool gguf_check(const struct gguf *gguf, struct error *error);

void gguf_close(struct gguf *gguf); /* NULL allowed */

const char *gguf_path(const struct gguf *gguf);
uint32_t gguf_version(const struct gguf *gguf);
bool gguf_is_mapped(const struct gguf *gguf); /* a file, not bytes in memory */
size_t gguf_file_bytes(const struct gguf *gguf);

/* Entries in file order; the index must be below the count. */
size_t gguf_value_count(const struct gguf *gguf);
const struct gguf_value *gguf_value_at(const struct gguf *gguf, size_t index);
const struct gguf_value *gguf_find(const struct gguf *gguf, const char *key); /* NULL if absent */

/* Tensors in file order; the index must be below the count. */
size_t gguf_tensor_count(const struct gguf *gguf);
const struct gguf_tensor *gguf_tensor_at(const struct gguf *gguf, size_t index);
const struct gguf_tensor *gguf_find_tensor(const struct gguf *gguf, const char *name);

const char *gguf_value_type_name(enum gguf_value_type type); /* "uint32", "array", … */

/* Typed reads. Absent: true, *out untouched (set the default first). Wrong type or out of range for
 * the target: false, with the key in the message. u32 takes any integer type when the value fits;
 * f32 any number that is finite as f32. */
bool gguf_read_u32(const struct gguf *gguf, const char *key, uint32_t *out, struct error *error);
bool gguf_read_f32(const struct gguf *gguf, const char *key, float *out, struct error *error);
bool gguf_read_bool(const struct gguf *gguf, const char *key, bool *out, struct error *error);
bool gguf_read_string(const struct gguf *gguf, const char *key, struct string_view *out,
                      struct error *error);

/* Element access for arrays (a scalar is its own element 0). False when the index is not below
 * value->count or the element type does not match. gguf_string_at walks from the first string. */
bool gguf_string_at(const struct gguf_value *value, size_t index, struct string_view *out);
/* All strings of an array in one pass: out[value->count]. False when not an array of strings. */
bool gguf_strings(const struct gguf_value *value, struct string_view *out);
/* Any integer or float type, and bool as 0 or 1. Integers beyond 2^53 lose their last bits. */
bool gguf_number_at(const struct gguf_value *value, size_t index, double *out);

#endif
