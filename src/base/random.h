/*
 * random.h - a small, seeded, reproducible generator (xoshiro256**, Blackman and Vigna 2018, seeded
 * by splitmix64). Same seed, same numbers, on every platform. Not for secrets.
 */
#ifndef MISTRAL_BASE_RANDOM_H
#define MISTRAL_BASE_RANDOM_H

#include <stdint.h>

struct random_state {
    uint64_t words[4];
};

void random_seed(struct random_state *state, uint64_t seed);
uint64_t random_next(struct random_state *state);

/* Uniform in [0, 1), 53 bits. */
double random_uniform(struct random_state *state);

/* A seed that differs from run to run, from the system's entropy. */
uint64_t random_fresh_seed(void);

#endif
