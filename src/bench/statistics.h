/*
 * statistics.h - what a row of measurements says, and whether two of them differ at all.
 *
 * Quantiles interpolate between neighbours (type 7 of Hyndman and Fan 1996). Intervals are 95 %,
 * bootstrapped with a seed, so the same measurements always give the same interval. A percentile
 * bootstrap of a few values is too narrow; it is stretched as Hesterberg (2015, "What teachers
 * should know about the bootstrap", section 4.3) tells, by sqrt(n/(n-1)) t(n-1) / 1.96. Pure; any
 * thread.
 */
#ifndef MISTRAL_BENCH_STATISTICS_H
#define MISTRAL_BENCH_STATISTICS_H

#include "base/error.h"
#include "base/string_buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* NaN where there is no value. */
struct statistics_summary {
    size_t count;
    double mean, minimum, p50, p90, p95, p99, maximum;
};

void statistics_sort(double *values, size_t count);

/* The q-quantile, q in [0, 1], of sorted values; NaN of none. */
double statistics_quantile(const double *sorted, size_t count, double q);
double statistics_mean(const double *values, size_t count);

/* Sorts the values. */
struct statistics_summary statistics_summarize(double *values, size_t count);

struct statistics_interval {
    double value, low, high; /* low and high are NaN when there are too few values to tell */
};

/* Fewest values, or pairs, of which an interval is told. */
enum { STATISTICS_FEWEST = 3 };

/* The median and its interval. */
bool statistics_median_interval(const double *values, size_t count,
                                struct statistics_interval *interval, struct error *error);

enum statistics_verdict {
    STATISTICS_TOO_FEW,       /* fewer than STATISTICS_FEWEST: nothing is claimed */
    STATISTICS_NO_DIFFERENCE, /* the interval of the ratio has 1 in it */
    STATISTICS_BETTER,
    STATISTICS_WORSE,
};

struct statistics_comparison {
    struct statistics_interval ratio; /* above 1: ours is better */
    enum statistics_verdict verdict;
    size_t count; /* pairs, or values of the smaller side */
};

/* Ours beside theirs, measured in turn: round i gave ours[i] and theirs[i], all above 0. The ratio
 * is the geometric mean of the rounds' own, so that what slows a whole round down does not count.
 * `more_is_better`: a speed; else a time, whose ratio is turned around. */
bool statistics_compare_pairs(const double *ours, const double *theirs, size_t count,
                              bool more_is_better, struct statistics_comparison *comparison,
                              struct error *error);

/* The same of two rows that were not measured in turn: ratio of geometric means. */
bool statistics_compare_samples(const double *ours, size_t our_count, const double *theirs,
                                size_t their_count, bool more_is_better,
                                struct statistics_comparison *comparison, struct error *error);

/* "1.42 × faster, 95 % 1.35–1.49", "1.20 × slower, 95 % 1.10–1.31", "no difference beyond the noise
 * (1.01 ×, 95 % 0.97–1.06)", "too few rounds to tell (1.10 ×)". */
void statistics_append_verdict(const struct statistics_comparison *comparison, const char *better,
                               const char *worse, struct string_buffer *out);

#endif
