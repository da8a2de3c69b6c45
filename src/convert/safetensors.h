/*
 * safetensors.h - reads the head of a safetensors file: eight bytes of length, a JSON object, data.
 *
 * The file is hostile until proven otherwise: after reading, names differ, shapes multiply without
 * overflow, and every tensor's bytes lie inside the file, as many as its shape asks for, none in
 * two tensors. Format: huggingface/safetensors, README ("Format").
 */
#ifndef MISTRAL_CONVERT_SAFETENSORS_H
#define MISTRAL_CONVERT_SAFETENSORS_H

#include "base/arena.h"
#include "base/error.h"
#include "base/string_view.h"
#include "model/gguf.h"
#include "quant/quant.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Far beyond the largest there is; what a JSON parser takes for it is some 20 times as much. */
enum { SAFETENSORS_MAX_HEAD = 16 << 20 };

struct safetensor {
    struct string_view name; /* in the arena */
    const struct quant_format
        *format;            /* NULL: a type that is no weight's (integers, 8-bit floats) */
    size_t dimension_count; /* 0: a single value */
    size_t dimensions[GGUF_MAX_DIMENSIONS]; /* as the file has them: the last is the row length */
    const uint8_t *data;                    /* in the file's bytes, unaligned */
    size_t bytes;
};

/* `name` stands in messages. Entries in the order of their data. Appends nothing on failure. */
bool safetensors_read(const char *name, const void *bytes, size_t length, struct arena *arena,
                      struct safetensor **tensors, size_t *count, struct error *error);

#endif
