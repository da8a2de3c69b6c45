/*
 * tiny_vocabulary.h - vocabularies small enough to know by heart, for the tokenizer's tests.
 *
 * Byte-level: ids 0 to 255 are the bytes, the tokens that are added follow. SentencePiece: 0 <unk>,
 * 1 <s>, 2 </s>, 3 to 258 the byte tokens, the tokens that are added follow. Filled by hand after
 * that: everything in `source` may be changed before tiny_create.
 */
#ifndef MISTRAL_TESTS_TINY_VOCABULARY_H
#define MISTRAL_TESTS_TINY_VOCABULARY_H

#include "text/tokenizer/tokenizer.h"

enum {
    TINY_MOST_TOKENS = 400,
    TINY_MOST_MERGES = 64,
    TINY_FIRST_ADDED = 256,
    TINY_FIRST_PIECE = 259
};

struct tiny_vocabulary {
    struct tokenizer_source source; /* points at the arrays below */
    struct string_view tokens[TINY_MOST_TOKENS];
    float scores[TINY_MOST_TOKENS];
    int32_t types[TINY_MOST_TOKENS];
    struct string_view merges[TINY_MOST_MERGES];
    char texts[256][8]; /* of the bytes' tokens */
};

void tiny_byte_level(struct tiny_vocabulary *tiny, const char *pre);
void tiny_sentencepiece(struct tiny_vocabulary *tiny);

/* Texts are borrowed; returns the id. */
int32_t tiny_add(struct tiny_vocabulary *tiny, const char *text, enum token_type type, float score);
/* "left right"; also adds the token it makes, and returns its id. */
int32_t tiny_merge(struct tiny_vocabulary *tiny, const char *merge, const char *merged);

/* Fails the running test when the tokenizer cannot be made. */
struct tokenizer *tiny_create(const struct tiny_vocabulary *tiny);

/* Encodes and compares: `expected` is ids joined by spaces. */
void tiny_expect(const struct tokenizer *tokenizer, struct string_view text, bool add_special,
                 bool parse_special, const char *expected);

#endif
