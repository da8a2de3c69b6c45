/*
 * sentencepiece.h - SentencePiece's BPE: merges over whole characters, by the score of the result.
 *
 * Text is first escaped (every space becomes U+2581), then starts as one symbol a character; the
 * pair whose joined text is the token of highest score is joined first, leftmost among equals. A
 * character that stays without a token is spelled in byte tokens. "gemma4" is the same with a list
 * of merges in place of scores. Control tokens never come out of plain text. Immutable after init:
 * any thread may encode, each with its own scratch.
 */
#ifndef MISTRAL_TEXT_TOKENIZER_SENTENCEPIECE_H
#define MISTRAL_TEXT_TOKENIZER_SENTENCEPIECE_H

#include "base/hash_map.h"
#include "text/tokenizer/byte_pair_merge.h"
#include "text/tokenizer/merge_table.h"
#include "text/tokenizer/vocabulary.h"

struct sentencepiece {
    struct hash_map tokens; /* text → token id, of what plain text may become; keys in vocabulary */
    size_t longest;         /* bytes of the longest of them */
    uint32_t *priorities;   /* [token_count]: how many distinct scores are higher; owned */
    int32_t byte_tokens[256]; /* or TOKEN_NONE */
    int32_t unknown;
    bool remove_extra_whitespaces;
    bool by_rank;              /* merged as `merges` says, else by the score of the result */
    struct merge_table merges; /* empty unless by_rank */
    bool before_mark[256]; /* a token has U+2581 after this byte; elsewhere words end before it */
};

/* The piece writer for vocabulary_init: U+2581 becomes a space, a byte token its byte. */
size_t sentencepiece_piece(uint8_t type, const char *text, size_t length, char *out);

/* The vocabulary must outlive this. A score that is not a number, or a merge that is no
 * pair, is ERROR_FORMAT. */
bool sentencepiece_init(struct sentencepiece *model, const struct vocabulary *vocabulary,
                        const struct tokenizer_source *source, struct error *error);
void sentencepiece_deinit(struct sentencepiece *model);

struct sentencepiece_scratch {
    struct string_buffer escaped;
    struct merge_list list;
};
void sentencepiece_scratch_deinit(struct sentencepiece_scratch *scratch);

/* Appends the text's tokens, with a space put before it when asked. A byte that is not UTF-8 is a
 * character of its own. Where neither a token nor a byte token fits, a run of such characters is
 * one unknown token, or nothing when the vocabulary has none. At most INT32_MAX / 3 bytes. */
bool sentencepiece_encode(const struct sentencepiece *model, struct sentencepiece_scratch *scratch,
                          const char *text, size_t length, bool space_before,
                          struct token_list *out, struct error *error);

#endif
