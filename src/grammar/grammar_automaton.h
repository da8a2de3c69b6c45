/*
 * grammar_automaton.h - a grammar as an automaton over bytes, made as far as it is visited.
 *
 * A state is a set of places: a state of the grammar's network, and what follows the rule it is in.
 * What follows is a continuation, itself a set of places to return to; one is shared by everything
 * that calls a rule at the same point, so an ambiguous grammar has no more of them than an Earley
 * parser has items. Equal sets are one state with one number, so a loop in the grammar comes back
 * to the same state, and what was found out about it (transitions, token masks) is found again.
 * Grows with use within the bounds below; engine thread.
 */
#ifndef MISTRAL_GRAMMAR_GRAMMAR_AUTOMATON_H
#define MISTRAL_GRAMMAR_GRAMMAR_AUTOMATON_H

#include "grammar/grammar_internal.h"

enum {
    AUTOMATON_DEAD = 0,              /* the state that nothing leads out of */
    AUTOMATON_START = 1,             /* where every text begins */
    AUTOMATON_SOFT_BYTES = 24 << 20, /* beyond: worth automaton_collect */
    AUTOMATON_HARD_BYTES = 96 << 20, /* beyond: transitions fail */
    AUTOMATON_STEP_WORK = 8 << 20,   /* places looked at for one token: some tens of ms */
};

#define AUTOMATON_UNKNOWN UINT32_MAX

struct automaton_state {
    size_t first_place;  /* in places: sorted, what makes the state this one */
    size_t first_active; /* in places: with the called rules' beginnings */
    uint32_t place_count, active_count;
    uint32_t mask; /* the matcher's: slot + 1; 0: none */
    bool is_expanded, accepts;
};

struct automaton_continuation {
    uint32_t first, count; /* in returns: sorted places */
};

struct automaton {
    const struct grammar *grammar;
    POOL(struct automaton_state) states;
    POOL(uint32_t) rows; /* [states][class_count]: next state, or AUTOMATON_UNKNOWN */
    POOL(uint64_t) places;
    POOL(struct automaton_continuation) continuations; /* 0: the end of the whole text */
    POOL(uint64_t) returns;
    uint32_t *state_index, *continuation_index; /* hash tables of numbers + 1 */
    size_t state_index_size, continuation_index_size;
    bool has_failed; /* out of memory, or past a bound */
    size_t work;     /* left for this token */
    /* scratch */
    POOL(uint64_t) waiting, found;
    POOL(uint64_t) seen;      /* hash set; capacity a power of two, count its entries */
    POOL(uint64_t) calls;     /* places to return to */
    POOL(uint32_t) call_next; /* of the same rule */
    uint32_t *call_first;     /* [rule_count]: call + 1 */
    POOL(uint32_t) called;    /* a heap of rules by rank */
};

bool automaton_init(struct automaton *automaton, const struct grammar *grammar);
void automaton_deinit(struct automaton *automaton);

/* AUTOMATON_DEAD: no text goes on so; also when has_failed turns true. */
uint32_t automaton_next(struct automaton *automaton, uint32_t state, uint8_t byte);
/* After a token: index into the grammar's list, or EDGE_OTHER_TOKENS. */
uint32_t automaton_next_token(struct automaton *automaton, uint32_t state,
                              enum grammar_edge_kind kind, uint32_t token);

/* Calls `found` for each token edge that leaves the state. */
typedef void automaton_token_fn(void *context, enum grammar_edge_kind kind, uint32_t token);
void automaton_tokens(struct automaton *automaton, uint32_t state, automaton_token_fn *found,
                      void *context);
bool automaton_accepts(const struct automaton *automaton, uint32_t state);
/* Whether anything can be read from it. */
bool automaton_goes_on(const struct automaton *automaton, uint32_t state);

size_t automaton_bytes(const struct automaton *automaton);
/* A new automaton that knows the states in states[0 … count) only, whose numbers are changed in
 * place. False, with everything as it was, when memory runs out. */
bool automaton_collect(struct automaton *automaton, uint32_t *const *states, size_t count);

#endif
