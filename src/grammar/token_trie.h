/*
 * token_trie.h - a vocabulary's texts as a trie, laid out in the order in which it is walked.
 *
 * Tokens without text (control tokens) are listed apart. Immutable after init; any thread.
 */
#ifndef MISTRAL_GRAMMAR_TOKEN_TRIE_H
#define MISTRAL_GRAMMAR_TOKEN_TRIE_H

#include "text/tokenizer/tokenizer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct trie_node {        /* in pre-order */
    uint32_t end;         /* the first node behind its subtree */
    uint32_t first_token; /* of those with exactly this text, in tokens; up to the next node's */
    uint16_t depth;       /* bytes from the root, which is not stored: from 1 */
    uint8_t byte;
};

struct token_trie {
    const struct tokenizer *tokenizer;
    size_t vocabulary_size;
    struct trie_node *nodes; /* [node_count + 1]: the last ends the lists */
    size_t node_count;
    int32_t *tokens; /* [token_count], in the order of nodes */
    size_t token_count;
    size_t longest; /* bytes of a token */
    int32_t *ends;  /* [end_count]: tokens that end an answer */
    size_t end_count;
    int32_t *specials; /* [special_count]: other tokens without text */
    size_t special_count;
};

bool token_trie_init(struct token_trie *trie, const struct tokenizer *tokenizer);
void token_trie_deinit(struct token_trie *trie);

#endif
