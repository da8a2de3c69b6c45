/*
 * synthetic_model.h - a GGUF file made up in memory: the shape and formats of a real model, with
 * weights that mean nothing, so that speed can be measured without a download.
 *
 * Pure; any thread. Blocks while it is made (a 7B model: some seconds, and its size in memory).
 */
#ifndef MISTRAL_BENCH_SYNTHETIC_MODEL_H
#define MISTRAL_BENCH_SYNTHETIC_MODEL_H

#include "base/error.h"
#include "base/string_buffer.h"

#include <stdbool.h>
#include <stddef.h>

struct synthetic_model {
    void *bytes; /* of a GGUF file; see gguf_open_bytes */
    size_t length;
};

/* "SHAPE:FORMAT", such as "mistral-7b:q5_k_m"; the format is a mix of convert/mix.h. Unknown words
 * are refused with those there are. The vocabulary has a size and no tokens. */
bool synthetic_model_make(const char *wanted, struct synthetic_model *model, struct error *error);
void synthetic_model_deinit(struct synthetic_model *model); /* a zeroed one too */

/* "mistral-7b, llama-3-8b, …" */
void synthetic_model_append_shapes(struct string_buffer *out);

#endif
