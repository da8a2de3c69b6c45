/*
 * ngram_draft.h - guesses at the next tokens from the sequence's own text (prompt lookup).
 *
 * The last few tokens are looked for earlier in the sequence; what followed there is the guess. It
 * costs no model. A guess that is verified for nothing costs time, so a request whose guesses do
 * not come true stops making them: the share that came true, a running mean over guesses with
 * weight 1/8 for the newest, starts at 0.5; below 0.3 drafting goes off, above 0.5 on again. While
 * off, guesses are still made and compared with what comes, but not handed out. One a request;
 * engine thread.
 */
#ifndef MISTRAL_ENGINE_NGRAM_DRAFT_H
#define MISTRAL_ENGINE_NGRAM_DRAFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NGRAM_DRAFT_MAX = 16 }; /* most tokens in a guess */

struct ngram_draft {
    size_t shortest, longest; /* tokens that must match */
    double share;             /* of guessed tokens that came true, running mean */
    bool off;
    size_t guess_position; /* token_count when the open guess was made */
    size_t guess_count;    /* 0: no guess is open */
    int32_t guess[NGRAM_DRAFT_MAX];
};

/* Matches of 2 to 4 tokens. */
void ngram_draft_init(struct ngram_draft *draft);

/* tokens: [token_count], the sequence so far, one or more longer than at the last call. Writes up
 * to `limit` (≤ NGRAM_DRAFT_MAX) guesses; returns how many. */
size_t ngram_draft_propose(struct ngram_draft *draft, const int32_t *tokens, size_t token_count,
                           size_t limit, int32_t *guesses);

#endif
