/*
 * pretokenizer.h - cuts text into the words that byte-level BPE may merge within.
 *
 * GGUF names a pre-tokenizer (tokenizer.ggml.pre); a row of the table in pretokenizer.c says which
 * patterns that is. A pattern cuts every piece the one before it left into its matches and what
 * lies between them; the pieces after the last pattern are the words. Every byte of the text is in
 * exactly one word.
 *
 * Patterns are compiled once and shared; each call brings its own scratch, so any thread may split
 * at once. They are written so that no text makes them slow: no repeat is followed by something
 * that can fail after giving back more than it could match once.
 */
#ifndef MISTRAL_TEXT_TOKENIZER_PRETOKENIZER_H
#define MISTRAL_TEXT_TOKENIZER_PRETOKENIZER_H

#include "base/error.h"
#include "base/string_view.h"

#include <stdbool.h>
#include <stddef.h>

struct pretokenizer;
struct pretokenizer_scratch;

/* What a model with this pre-tokenizer expects beside the patterns. */
struct pretokenizer_traits {
    bool ignore_merges; /* a word that is a token is that token, whatever the merges say */
    bool adds_bos;      /* when the file does not say (tokenizer.ggml.add_bos_token) */
    bool normalize_nfc; /* text is brought into Unicode's form C first */
};

/* False when the name is not in the table. An empty name is "default". */
bool pretokenizer_traits_of(struct string_view name, struct pretokenizer_traits *traits);

/* An unknown name is ERROR_UNSUPPORTED and quoted. */
bool pretokenizer_create(struct string_view name, struct pretokenizer **pretokenizer,
                         struct error *error);
void pretokenizer_free(struct pretokenizer *pretokenizer); /* NULL allowed */

/* One thread at a time. */
bool pretokenizer_scratch_create(const struct pretokenizer *pretokenizer,
                                 struct pretokenizer_scratch **scratch, struct error *error);
void pretokenizer_scratch_free(struct pretokenizer_scratch *scratch); /* NULL allowed */

/* Called for each word, in order; false ends the split, which then returns false. */
typedef bool (*pretokenizer_word)(void *context, const char *word, size_t length,
                                  struct error *error);

/* The text must be well-formed UTF-8. */
bool pretokenizer_split(const struct pretokenizer *pretokenizer,
                        struct pretokenizer_scratch *scratch, const char *text, size_t length,
                        pretokenizer_word word, void *context, struct error *error);

#endif
