/* halving.c - see halving.h. */
#include "bench/halving.h"

#include "base/bytes.h"

double halving_score(const struct halving_candidate *candidate) {
    return candidate->count == 0 ? 0 : statistics_mean(candidate->scores, candidate->count);
}

/* The first `count` of `order` by score, best first; few enough for an insertion sort. */
static void sort_by_score(const struct halving *halving, size_t *order, size_t count) {
    for (size_t i = 1; i < count; i++) {
        size_t moving = order[i], at = i;
        double score = halving_score(&halving->candidates[moving]);
        while (at > 0 && halving_score(&halving->candidates[order[at - 1]]) < score) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = moving;
    }
}

bool halving_run(struct halving *halving, size_t *best, struct error *error) {
    size_t order[HALVING_MOST_CANDIDATES] = {0}, left = halving->count;
    for (size_t i = 0; i < left; i++) {
        order[i] = i;
    }
    for (size_t wanted = 1; left > 1; wanted = 2 * wanted + 1) {
        size_t measured = 0;
        for (size_t i = 0; i < left && !halving->out_of_time(halving->context); i++) {
            size_t have = halving->candidates[order[i]].count;
            size_t scores = size_min(wanted, HALVING_MOST_SCORES);
            if (have < scores &&
                !halving->measure(halving->context, order[i], scores - have, error)) {
                return false;
            }
            measured++;
        }
        sort_by_score(halving, order, left);
        if (measured < left) {
            break; /* what was not measured again keeps its earlier score */
        }
        left = size_divide_up(left, 2);
    }
    *best = order[0];
    return true;
}

bool halving_duel(struct halving *halving, size_t best, size_t other, size_t rounds,
                  struct statistics_comparison *comparison, struct error *error) {
    double ours[HALVING_MOST_SCORES], theirs[HALVING_MOST_SCORES];
    struct halving_candidate *first = &halving->candidates[best];
    struct halving_candidate *second = &halving->candidates[other];
    size_t count = 0;
    first->count = second->count = 0; /* measured in turn from here on */
    while (count < rounds && count < HALVING_MOST_SCORES &&
           !halving->out_of_time(halving->context)) {
        if (!halving->measure(halving->context, best, 1, error) ||
            !halving->measure(halving->context, other, 1, error)) {
            return false;
        }
        if (first->count <= count || second->count <= count) {
            break; /* one of them cannot run */
        }
        ours[count] = first->scores[count];
        theirs[count] = second->scores[count];
        count++;
    }
    return statistics_compare_pairs(ours, theirs, count, true, comparison, error);
}
