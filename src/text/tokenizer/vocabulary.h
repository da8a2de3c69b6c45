/*
 * vocabulary.h - the tokens themselves: text, kind, and the bytes each stands for.
 *
 * Copies what it needs out of a tokenizer_source and checks it: after init, every string lies in
 * memory of its own and every special id is in range or TOKEN_NONE. Knows nothing of how text is
 * cut into tokens. Immutable after init: any thread may read.
 */
#ifndef MISTRAL_TEXT_TOKENIZER_VOCABULARY_H
#define MISTRAL_TEXT_TOKENIZER_VOCABULARY_H

#include "text/tokenizer/tokenizer.h"

/* Longer tokens are refused: the longest in published vocabularies are runs of 1,024 spaces. */
enum { VOCABULARY_TOKEN_BYTES_MAX = 65535 };

struct vocabulary_token {
    struct string_view text;  /* as the file spells it */
    struct string_view piece; /* the bytes it stands for */
    uint8_t type;             /* enum token_type */
    bool is_end;              /* ends an answer */
};

struct vocabulary {
    struct vocabulary_token *tokens; /* [count]; owned */
    size_t count;
    char *bytes; /* all texts, then all pieces; owned */
    int32_t bos, eos, unknown;
};

/* How a family turns a token's text into its bytes (`type` is an enum token_type): writes at most
 * `length` bytes to out, returns how many. Control and unknown tokens stand for their own text and
 * are not asked about. */
typedef size_t (*vocabulary_piece_writer)(uint8_t type, const char *text, size_t length, char *out);

/* A count, type or special id out of range, or a token that is too long, is ERROR_FORMAT with the
 * number of the token at fault. Empty and duplicate texts are allowed: an empty one never matches,
 * and of duplicates the lowest id is the one that text turns into. */
bool vocabulary_init(struct vocabulary *vocabulary, const struct tokenizer_source *source,
                     vocabulary_piece_writer write_piece, struct error *error);
void vocabulary_deinit(struct vocabulary *vocabulary);

/* True for what plain text may turn into: not for control, unknown and byte tokens. */
bool vocabulary_is_plain(const struct vocabulary *vocabulary, size_t id);

#endif
