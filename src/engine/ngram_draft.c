/* ngram_draft.c - see ngram_draft.h. */
#include "engine/ngram_draft.h"

#include "base/bytes.h"

#include <assert.h>
#include <string.h>

static const double FIRST_SHARE = 0.5, OFF_BELOW = 0.3, ON_ABOVE = 0.5, NEWEST_WEIGHT = 0.125;

void ngram_draft_init(struct ngram_draft *draft) {
    *draft = (struct ngram_draft){.shortest = 2, .longest = 4, .share = FIRST_SHARE};
}

/* Compares the open guess with what came. A guess that still agrees, but has not been reached in
 * full, stays open while drafting is off: then tokens come one by one. */
static void settle_guess(struct ngram_draft *draft, const int32_t *tokens, size_t token_count) {
    if (draft->guess_count == 0 || token_count <= draft->guess_position) {
        return;
    }
    size_t came = size_min(token_count - draft->guess_position, draft->guess_count);
    size_t right = 0;
    while (right < came && tokens[draft->guess_position + right] == draft->guess[right]) {
        right++;
    }
    if (draft->off && right == came && came < draft->guess_count) {
        return;
    }
    double share = (double)right / (double)(right < came ? draft->guess_count : came);
    draft->share += (share - draft->share) * NEWEST_WEIGHT;
    draft->off = draft->share < (draft->off ? ON_ABOVE : OFF_BELOW);
    draft->guess_count = 0;
}

/* Where the sequence's last tokens, the longest run of them (`shortest` … `longest`), came before:
 * the position behind the latest such place; 0 when there is none. */
static size_t find_earlier(const struct ngram_draft *draft, const int32_t *tokens,
                           size_t token_count) {
    size_t best = 0, best_length = draft->shortest - 1;
    for (size_t end = token_count - 1; end >= draft->shortest && best_length < draft->longest;
         end--) {
        size_t most = size_min(draft->longest, end);
        size_t length = 0;
        while (length < most && tokens[end - 1 - length] == tokens[token_count - 1 - length]) {
            length++;
        }
        if (length > best_length) {
            best = end;
            best_length = length;
        }
    }
    return best;
}

size_t ngram_draft_propose(struct ngram_draft *draft, const int32_t *tokens, size_t token_count,
                           size_t limit, int32_t *guesses) {
    assert(token_count > 0);
    settle_guess(draft, tokens, token_count);
    if (draft->guess_count > 0) {
        return 0; /* off, and the last guess has not been told right or wrong */
    }
    limit = size_min(limit, NGRAM_DRAFT_MAX);
    size_t from = find_earlier(draft, tokens, token_count);
    if (from == 0 || limit == 0) {
        return 0;
    }
    draft->guess_position = token_count;
    draft->guess_count = limit;
    for (size_t i = 0; i < limit; i++) { /* past the end, the text repeats into the guess itself */
        size_t at = from + i;
        draft->guess[i] = at < token_count ? tokens[at] : draft->guess[at - token_count];
    }
    if (draft->off) {
        return 0;
    }
    memcpy(guesses, draft->guess, draft->guess_count * sizeof *tokens);
    return draft->guess_count;
}
