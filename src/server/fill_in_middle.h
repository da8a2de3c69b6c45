/*
 * fill_in_middle.h - prompts that ask a model for what stands between two pieces of text.
 *
 * Models that were trained for it have control tokens around the pieces. Which ones, and in which
 * order, is told by the tokens' names. Pure; any thread.
 */
#ifndef MISTRAL_SERVER_FILL_IN_MIDDLE_H
#define MISTRAL_SERVER_FILL_IN_MIDDLE_H

#include "base/error.h"
#include "base/string_view.h"
#include "text/tokenizer/tokenizer.h"

#include <stdbool.h>

struct fill_in_middle {
    int32_t prefix, suffix;
    int32_t middle;    /* TOKEN_NONE: the answer follows the last piece */
    bool suffix_first; /* Mistral's order */
    bool is_known;     /* the model has these tokens */
};

/* Looks through the vocabulary: once a model. */
struct fill_in_middle fill_in_middle_find(const struct tokenizer *tokenizer);

/* Whether a token's text is the prefix's or the suffix's mark in one of the known families. */
bool fill_in_middle_is_mark(struct string_view text);

/* Appends the prompt between `prefix` and `suffix`, which are plain text: nothing in them becomes a
 * control token. Only when `is_known`. */
bool fill_in_middle_encode(const struct fill_in_middle *tokens, const struct tokenizer *tokenizer,
                           struct string_view prefix, struct string_view suffix,
                           struct token_list *out, struct error *error);

#endif
