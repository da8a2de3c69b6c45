/*
 * halving.h - which of many candidates is the best, found by successive halving: all are measured a
 * little, the better half again and twice as often, and so on (Jamieson and Talwalkar 2016), inside
 * a budget of time. What is best must then be shown to differ from what there was.
 *
 * Measures by a callback; knows nothing of what the candidates are. The caller's thread.
 */
#ifndef MISTRAL_BENCH_HALVING_H
#define MISTRAL_BENCH_HALVING_H

#include "base/error.h"
#include "bench/statistics.h"

#include <stdbool.h>
#include <stddef.h>

enum { HALVING_MOST_CANDIDATES = 64, HALVING_MOST_SCORES = 64 };

struct halving_candidate {
    double scores[HALVING_MOST_SCORES]; /* [count], all above 0: more is better */
    size_t count;
    bool refused; /* it cannot run: measuring it failed */
};

struct halving {
    struct halving_candidate candidates[HALVING_MOST_CANDIDATES]; /* [count]; the first is what
                                                                   * there is now */
    size_t count;
    /* Appends `times` scores to the candidate's, fewer when the time is out. False ends the search
     * with the error; a candidate that cannot run is marked as refused, with true. */
    bool (*measure)(void *context, size_t candidate, size_t times, struct error *error);
    bool (*out_of_time)(void *context);
    void *context;
};

double halving_score(const struct halving_candidate *candidate); /* mean; 0 of none */

/* Finds the best; what a candidate was measured before counts. Candidate 0 where no other was
 * measured at all. */
bool halving_run(struct halving *halving, size_t *best, struct error *error);

/* Measures two candidates in turn, `rounds` times or until the time is out, and compares `best`
 * with `other`. */
bool halving_duel(struct halving *halving, size_t best, size_t other, size_t rounds,
                  struct statistics_comparison *comparison, struct error *error);

#endif
