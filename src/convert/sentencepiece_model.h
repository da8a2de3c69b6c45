/*
 * sentencepiece_model.h - reads a tokenizer.model: SentencePiece's protocol buffer, of which only
 * the pieces and three flags matter here (sentencepiece_model.proto, messages ModelProto,
 * TrainerSpec and NormalizerSpec). Hostile bytes: lengths are checked, nesting is two deep.
 */
#ifndef MISTRAL_CONVERT_SENTENCEPIECE_MODEL_H
#define MISTRAL_CONVERT_SENTENCEPIECE_MODEL_H

#include "base/arena.h"
#include "base/error.h"
#include "base/string_view.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The numbers are those of GGUF's token types too. */
enum piece_type {
    PIECE_NORMAL = 1,
    PIECE_UNKNOWN,
    PIECE_CONTROL,
    PIECE_USER_DEFINED,
    PIECE_UNUSED,
    PIECE_BYTE,
};

struct sentencepiece_model {
    struct string_view *pieces; /* [count], in the bytes that were read */
    float *scores;              /* [count] */
    int32_t *types;             /* [count], enum piece_type */
    size_t count;
    bool is_bpe;
    bool adds_space; /* before the text */
    bool trims_spaces;
};

/* `name` stands in messages; arrays are the arena's. */
bool sentencepiece_model_read(const char *name, const void *bytes, size_t length,
                              struct arena *arena, struct sentencepiece_model *model,
                              struct error *error);

#endif
