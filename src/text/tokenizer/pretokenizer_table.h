/*
 * pretokenizer_table.h - the pre-tokenizers that are known, a row each: names, patterns, traits.
 *
 * A new name of a known kind is one row; a new kind its patterns too, and a row in STEPS of
 * tests/python/test_tokenizer_hugging_face.py, which holds them against Hugging Face's tokenizers.
 * Constant data and pure functions; any thread.
 */
#ifndef MISTRAL_TEXT_TOKENIZER_PRETOKENIZER_TABLE_H
#define MISTRAL_TEXT_TOKENIZER_PRETOKENIZER_TABLE_H

#include "base/string_buffer.h"
#include "base/string_view.h"

enum { PRETOKENIZER_PATTERNS_MAX = 6 };

enum {
    PRETOKENIZER_IGNORES_MERGES = 1, /* a word that is a token is that token */
    PRETOKENIZER_ADDS_BOS = 2,       /* when the file does not say */
    PRETOKENIZER_NORMALIZES = 4,     /* to Unicode's form C */
};

struct pretokenizer_row {
    const char *name; /* of tokenizer.ggml.pre */
    int kind;         /* names of one kind cut alike */
    unsigned flags;
};

/* NULL when the name is not in the table. An empty name is "default". */
const struct pretokenizer_row *pretokenizer_row_of(struct string_view name);

/* The row's regular expressions in PCRE2's syntax, the first applied first; NULL after the last
 * when there are fewer than PRETOKENIZER_PATTERNS_MAX. */
const char *const *pretokenizer_patterns(const struct pretokenizer_row *row);

/* Appends one name of each kind, with ", " between. */
void pretokenizer_list_kinds(struct string_buffer *out);

#endif
