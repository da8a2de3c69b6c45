/*
 * byte_pair.h - byte-level BPE over one word: merges by rank, as GPT-2 and its descendants do.
 *
 * A word starts as one symbol a byte; the merge of lowest rank is applied first, leftmost among
 * equals. Works on bytes, not on the alphabet vocabularies are written in. Immutable after init:
 * any thread may encode, each with its own merge_list.
 */
#ifndef MISTRAL_TEXT_TOKENIZER_BYTE_PAIR_H
#define MISTRAL_TEXT_TOKENIZER_BYTE_PAIR_H

#include "base/hash_map.h"
#include "text/tokenizer/byte_pair_merge.h"
#include "text/tokenizer/merge_table.h"
#include "text/tokenizer/vocabulary.h"

struct byte_pair {
    int32_t byte_tokens[256]; /* the tokens words start from; TOKEN_NONE: there is none */
    struct merge_table merges;
    bool ignore_merges;
    struct hash_map tokens; /* bytes → token id; empty unless ignore_merges. Keys in vocabulary. */
};

/* The piece writer for vocabulary_init: stand-ins become bytes; other text stays as it is. */
size_t byte_pair_piece(uint8_t type, const char *text, size_t length, char *out);

/* The vocabulary must outlive this. What becomes of broken merges: see merge_table.h. */
bool byte_pair_init(struct byte_pair *pair, const struct vocabulary *vocabulary,
                    const struct tokenizer_source *source, bool ignore_merges, struct error *error);
void byte_pair_deinit(struct byte_pair *pair);

/* Appends the word's tokens. Any bytes are accepted, at most INT32_MAX. A byte that no token covers
 * is left out, as other implementations do: the unknown token such vocabularies name is mostly the
 * one that ends a text. */
bool byte_pair_encode(const struct byte_pair *pair, struct merge_list *list, const char *word,
                      size_t length, struct token_list *out, struct error *error);

#endif
