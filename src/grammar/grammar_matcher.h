/*
 * grammar_matcher.h - where one answer stands in its grammar, and which tokens may come next.
 *
 * A matcher walks its grammar's automaton (grammar/grammar_automaton.h) token by token. The tokens
 * allowed next are found by one walk over the vocabulary's trie and kept with the automaton's
 * state, so that coming back to a state costs nothing. Automata are shared by the requests that use
 * equal grammars, and kept a while for the next such request. Nothing here looks at the model: what
 * is allowed depends on the tokens so far alone. Engine thread.
 */
#ifndef MISTRAL_GRAMMAR_GRAMMAR_MATCHER_H
#define MISTRAL_GRAMMAR_GRAMMAR_MATCHER_H

#include "base/error.h"
#include "grammar/grammar.h"
#include "text/tokenizer/tokenizer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A tokenizer's pieces as a trie, and the automata over it that are in use or were lately. */
struct grammar_cache;

/* The tokenizer must outlive it. */
bool grammar_cache_create(const struct tokenizer *tokenizer, struct grammar_cache **cache,
                          struct error *error);
/* Its matchers must be freed first. NULL allowed. */
void grammar_cache_free(struct grammar_cache *cache);

struct grammar_matcher;

/* Takes a reference to the grammar. ERROR_INVALID_ARGUMENT: it names a token that the vocabulary
 * lacks. */
bool grammar_matcher_create(struct grammar_cache *cache, struct grammar *grammar,
                            struct grammar_matcher **matcher, struct error *error);
void grammar_matcher_free(struct grammar_matcher *matcher); /* NULL allowed */

/*
 * *mask: [(vocabulary_size + 63) / 64] words, bit `id % 64` of word `id / 64` set when the token
 * may come next; never all clear. End-of-answer tokens may where the text so far is whole. Valid
 * until the next call on any matcher of this cache. Fails when no token of the vocabulary goes on
 * from here, or when the grammar is too ambiguous for the bounds on work and memory.
 */
bool grammar_matcher_mask(struct grammar_matcher *matcher, const uint64_t **mask,
                          struct error *error);

/* Whether the token may come next: the mask's bit, without the mask. */
bool grammar_matcher_allows(struct grammar_matcher *matcher, int32_t token);

/* Goes on with a token that is no end-of-answer token. False, with the matcher where it was, when
 * the grammar does not allow it. */
bool grammar_matcher_accept(struct grammar_matcher *matcher, int32_t token);

/* The text so far is one of the grammar's; and nothing can follow it. */
bool grammar_matcher_may_end(const struct grammar_matcher *matcher);
bool grammar_matcher_must_end(const struct grammar_matcher *matcher);

#endif
