/*
 * suggest.h - the nearest valid name to one that somebody mistyped. Pure functions.
 */
#ifndef MISTRAL_CONFIG_SUGGEST_H
#define MISTRAL_CONFIG_SUGGEST_H

#include "base/string_view.h"

struct suggestion {
    struct string_view given; /* borrowed */
    struct string_view best;  /* the nearest candidate so far; empty: none is near enough */
    size_t distance;          /* edits between the two */
};

/* Starts a search for what `given` may have meant. */
struct suggestion suggest_for(const char *given);

/* Considers a valid name, which must outlive the suggestion. */
void suggest_offer(struct suggestion *suggestion, struct string_view candidate);

#endif
