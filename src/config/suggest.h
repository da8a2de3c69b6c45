/*
 * suggest.h - the nearest valid name to one that somebody mistyped. Pure functions.
 */
#ifndef MISTRAL_CONFIG_SUGGEST_H
#define MISTRAL_CONFIG_SUGGEST_H

#include <stddef.h>

struct suggestion {
    const char *given; /* borrowed */
    const char *best;  /* the nearest candidate so far, borrowed; NULL: none is near enough */
    size_t distance;   /* edits between the two */
};

/* Starts a search for what `given` may have meant. */
struct suggestion suggest_for(const char *given);

/* Considers a valid name. */
void suggest_offer(struct suggestion *suggestion, const char *candidate);

#endif
