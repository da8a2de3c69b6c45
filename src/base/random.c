/* random.c - see random.h. */
#include "base/random.h"

#include "base/clock.h"

#include <fcntl.h>
#include <unistd.h>

static uint64_t splitmix64(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

void random_seed(struct random_state *state, uint64_t seed) {
    for (int i = 0; i < 4; i++) {
        state->words[i] = splitmix64(&seed);
    }
}

static uint64_t rotate_left(uint64_t x, int bits) {
    return x << bits | x >> (64 - bits);
}

uint64_t random_next(struct random_state *state) {
    uint64_t *s = state->words;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate_left(s[3], 45);
    return result;
}

double random_uniform(struct random_state *state) {
    return (double)(random_next(state) >> 11) * 0x1.0p-53;
}

uint64_t random_fresh_seed(void) {
    uint64_t seed = 0;
    int file = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    ssize_t got = -1;
    if (file >= 0) {
        got = read(file, &seed, sizeof seed);
        close(file);
    }
    return got == (ssize_t)sizeof seed ? seed : (uint64_t)clock_wall_ns();
}
