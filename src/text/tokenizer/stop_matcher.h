/*
 * stop_matcher.h - finds stop strings in streamed text, across the seams of tokens.
 *
 * Text that might be the beginning of a stop string is held back until it is clear that it is not.
 * One matcher a request; one thread at a time.
 */
#ifndef MISTRAL_TEXT_TOKENIZER_STOP_MATCHER_H
#define MISTRAL_TEXT_TOKENIZER_STOP_MATCHER_H

#include "base/string_buffer.h"
#include "base/string_view.h"

#include <stdbool.h>
#include <stddef.h>

struct stop_matcher {
    const struct string_view *stops; /* [stop_count], borrowed; none is empty */
    size_t stop_count;
    struct string_buffer held; /* could still become a stop string */
    bool matched;
    size_t match; /* which of the stops it was */
};

void stop_matcher_deinit(struct stop_matcher *matcher);

/* Appends to `out` what is now safe to show. Returns true when a stop string was found: the text
 * before it has been put out, it and what follows dropped. Of several, the one that was complete
 * first counts (the longest of those that end together), so the result does not depend on the
 * pieces the text comes in. Out of memory: `out` turns failed. */
bool stop_matcher_push(struct stop_matcher *matcher, const char *text, size_t length,
                       struct string_buffer *out);

/* The end without a match: what was held back comes out. */
void stop_matcher_finish(struct stop_matcher *matcher, struct string_buffer *out);

#endif
