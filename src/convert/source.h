/*
 * source.h - a model that is to be written in another form: a GGUF file or a Hugging Face folder.
 *
 * Whatever it is read from, a source is GGUF's metadata and a list of tensors under GGUF's names.
 * Tensor data stays mapped. One owner; immutable after open, so any thread may read.
 */
#ifndef MISTRAL_CONVERT_SOURCE_H
#define MISTRAL_CONVERT_SOURCE_H

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/string_view.h"
#include "convert/mix.h"
#include "model/gguf.h"
#include "model/gguf_writer.h"
#include "quant/quant.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct source_tensor {
    struct string_view name; /* GGUF's */
    const struct quant_format *format;
    size_t dimension_count;
    size_t dimensions[GGUF_MAX_DIMENSIONS]; /* [0] is the row length */
    size_t row_count;                       /* product of dimensions[1..] */
    const uint8_t *data;                    /* mapped, unaligned */
    /* Rows of a query or key matrix, or values of its bias, as Hugging Face has them: a head's
     * first half before its second half, where GGUF has them in turns. 0: as GGUF has them. */
    size_t halved_heads;
};

struct source {
    const char *path;          /* borrowed */
    struct arena arena;        /* of what follows */
    struct gguf_writer values; /* the metadata, but for the format's; no tensors */
    struct source_tensor *tensors;
    size_t tensor_count;
    struct mix_shape shape;

    struct gguf *gguf;         /* of a GGUF file */
    struct mapped_file *files; /* [file_count], of a folder */
    const char **file_paths;   /* [file_count] */
    size_t file_count;
};

/* A zeroed source may be closed. A folder must hold config.json and safetensors of a supported
 * architecture. */
bool source_open(const char *path, struct source *source, struct error *error);
void source_close(struct source *source);

/* Whether what was read of its files until now is what they held when they were opened; else
 * ERROR_IO with the file, and what was made of it is worth nothing. */
bool source_check(const struct source *source, struct error *error);

/* The format of most values of its matrices. */
const struct quant_format *source_main_format(const struct source *source);

/* Whether all matrices are f32, f16 or bf16. */
bool source_is_float(const struct source *source);

#endif
