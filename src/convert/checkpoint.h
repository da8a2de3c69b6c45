/*
 * checkpoint.h - what the files that read a Hugging Face folder show one another.
 *
 * source_open (source.h) is the way in. Files of the folder are hostile like any other: JSON of a
 * bounded size, whole numbers within bounds, tensors as safetensors.h checks them.
 */
#ifndef MISTRAL_CONVERT_CHECKPOINT_H
#define MISTRAL_CONVERT_CHECKPOINT_H

#include "base/error.h"
#include "convert/source.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* What config.json says, as far as more than one file needs it. */
struct checkpoint {
    const char *folder; /* borrowed */
    json_t *config;     /* config.json */
    size_t layer_count, head_count, kv_head_count, head_dim, vocabulary_size;
    bool is_tied; /* the embedding is the output matrix too */
};

/* checkpoint.c: fills in the source from the folder source->path. */
bool checkpoint_open(struct source *source, struct error *error);

/* A JSON file of the folder; *value is NULL when there is no such file and it is not required. */
bool checkpoint_read_json(const char *folder, const char *name, bool required, json_t **value,
                          struct error *error);

/* checkpoint_config.c: reads the sizes, and writes GGUF's metadata of them. */
bool checkpoint_read_config(struct checkpoint *checkpoint, struct error *error);
bool checkpoint_write_config(const struct checkpoint *checkpoint, struct gguf_writer *values,
                             struct error *error);
/* Llama 3's divisors of the RoPE frequencies, [head_dim / 2]; false when the model has none. */
bool checkpoint_rope_factors(const struct checkpoint *checkpoint, float *factors);

/* checkpoint_tokenizer.c: the vocabulary and the chat template. */
bool checkpoint_write_tokenizer(const struct checkpoint *checkpoint, struct gguf_writer *values,
                                struct arena *arena, struct error *error);

#endif
