/* statistics.c - see statistics.h. */
#include "bench/statistics.h"

#include "base/bytes.h"
#include "base/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RESAMPLES = 4000, SEED = 20240229 };

/* A difference that two decimals of a ratio do not show is none. */
static const double least_difference = 0.005;

static const double normal_975 = 1.959964; /* the normal distribution's quantile */

/* Student's t, 97.5 %, by degrees of freedom from 1 on. */
static const double t_975[] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306,
                               2.262,  2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
                               2.110,  2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064,
                               2.060,  2.056, 2.052, 2.048, 2.045, 2.042};

/* How much wider than the percentile interval the interval of so many values must be. */
static double stretch(size_t count) {
    size_t known = sizeof t_975 / sizeof t_975[0];
    double n = (double)count;
    double t = count - 1 <= known ? t_975[count - 2] : normal_975 + 2.4 / (n - 1);
    return sqrt(n / (n - 1)) * t / normal_975;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void statistics_sort(double *values, size_t count) {
    if (count > 0) {
        qsort(values, count, sizeof *values, by_value);
    }
}

double statistics_quantile(const double *sorted, size_t count, double q) {
    if (count == 0) {
        return NAN;
    }
    double at = q * (double)(count - 1);
    size_t below = size_min((size_t)at, count - 1);
    size_t above = size_min(below + 1, count - 1);
    double part = at - (double)below;
    return sorted[below] + part * (sorted[above] - sorted[below]);
}

double statistics_mean(const double *values, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += values[i];
    }
    return count == 0 ? NAN : sum / (double)count;
}

struct statistics_summary statistics_summarize(double *values, size_t count) {
    statistics_sort(values, count);
    return (struct statistics_summary){
        .count = count,
        .mean = statistics_mean(values, count),
        .minimum = statistics_quantile(values, count, 0),
        .p50 = statistics_quantile(values, count, 0.5),
        .p90 = statistics_quantile(values, count, 0.9),
        .p95 = statistics_quantile(values, count, 0.95),
        .p99 = statistics_quantile(values, count, 0.99),
        .maximum = statistics_quantile(values, count, 1),
    };
}

/* ---- intervals ---- */

/* A row of values, and what is said of them. */
struct sample {
    const double *values; /* [count] */
    size_t count;
    double *drawn; /* [count], scratch */
};

static void draw(const struct sample *sample, struct random_state *random) {
    for (size_t i = 0; i < sample->count; i++) {
        size_t at = (size_t)(random_uniform(random) * (double)sample->count);
        sample->drawn[i] = sample->values[at];
    }
}

static double median_of(double *values, size_t count) {
    statistics_sort(values, count);
    return statistics_quantile(values, count, 0.5);
}

/* What the interval is of: the median of `first`, or a difference of means where there is a
 * `second`. */
static double resampled(const struct sample *first, const struct sample *second, bool median,
                        struct random_state *random) {
    draw(first, random);
    double value = median ? median_of(first->drawn, first->count)
                          : statistics_mean(first->drawn, first->count);
    if (second != NULL) {
        draw(second, random);
        value -= statistics_mean(second->drawn, second->count);
    }
    return value;
}

static bool bootstrap(const struct sample *first, const struct sample *second, bool median,
                      struct statistics_interval *interval, struct error *error) {
    size_t fewest = second == NULL ? first->count : size_min(first->count, second->count);
    interval->low = interval->high = NAN;
    if (fewest < STATISTICS_FEWEST) {
        return true;
    }
    double *results = malloc(RESAMPLES * sizeof *results);
    if (results == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory to resample");
    }
    struct random_state random;
    random_seed(&random, SEED);
    for (size_t i = 0; i < RESAMPLES; i++) {
        results[i] = resampled(first, second, median, &random);
    }
    statistics_sort(results, RESAMPLES);
    double wider = stretch(fewest);
    double low = statistics_quantile(results, RESAMPLES, 0.025);
    double high = statistics_quantile(results, RESAMPLES, 0.975);
    interval->low = interval->value - wider * (interval->value - low);
    interval->high = interval->value + wider * (high - interval->value);
    free(results);
    return true;
}

bool statistics_median_interval(const double *values, size_t count,
                                struct statistics_interval *interval, struct error *error) {
    double *copy = calloc(2 * count + 1, sizeof *copy);
    if (copy == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for %zu values", count);
    }
    memcpy(copy, values, count * sizeof *copy);
    interval->value = median_of(copy, count);
    const struct sample sample = {copy, count, copy + count};
    bool done = bootstrap(&sample, NULL, true, interval, error);
    free(copy);
    return done;
}

/* ---- comparisons ---- */

/* The interval is of a difference of logarithms so far. */
static void judge(struct statistics_comparison *comparison, bool more_is_better) {
    struct statistics_interval *ratio = &comparison->ratio;
    double low = more_is_better ? ratio->low : -ratio->high;
    double high = more_is_better ? ratio->high : -ratio->low;
    ratio->value = exp(more_is_better ? ratio->value : -ratio->value);
    ratio->low = exp(low);
    ratio->high = exp(high);
    comparison->verdict = isnan(low)                 ? STATISTICS_TOO_FEW
                          : low > least_difference   ? STATISTICS_BETTER
                          : high < -least_difference ? STATISTICS_WORSE
                                                     : STATISTICS_NO_DIFFERENCE;
}

bool statistics_compare_pairs(const double *ours, const double *theirs, size_t count,
                              bool more_is_better, struct statistics_comparison *comparison,
                              struct error *error) {
    double *logs = calloc(2 * count + 1, sizeof *logs);
    if (logs == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for %zu rounds", count);
    }
    for (size_t i = 0; i < count; i++) {
        logs[i] = log(ours[i] / theirs[i]);
    }
    const struct sample sample = {logs, count, logs + count};
    *comparison =
        (struct statistics_comparison){.ratio.value = statistics_mean(logs, count), .count = count};
    bool done = bootstrap(&sample, NULL, false, &comparison->ratio, error);
    judge(comparison, more_is_better);
    free(logs);
    return done;
}

bool statistics_compare_samples(const double *ours, size_t our_count, const double *theirs,
                                size_t their_count, bool more_is_better,
                                struct statistics_comparison *comparison, struct error *error) {
    double *logs = calloc(2 * (our_count + their_count) + 1, sizeof *logs);
    if (logs == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the measurements");
    }
    for (size_t i = 0; i < our_count + their_count; i++) {
        logs[i] = log(i < our_count ? ours[i] : theirs[i - our_count]);
    }
    double *scratch = logs + our_count + their_count;
    const struct sample first = {logs, our_count, scratch};
    const struct sample second = {logs + our_count, their_count, scratch + our_count};
    *comparison =
        (struct statistics_comparison){.ratio.value = statistics_mean(logs, our_count) -
                                                      statistics_mean(second.values, their_count),
                                       .count = size_min(our_count, their_count)};
    bool done = bootstrap(&first, &second, false, &comparison->ratio, error);
    judge(comparison, more_is_better);
    free(logs);
    return done;
}

void statistics_append_verdict(const struct statistics_comparison *comparison, const char *better,
                               const char *worse, struct string_buffer *out) {
    const struct statistics_interval *ratio = &comparison->ratio;
    switch (comparison->verdict) {
    case STATISTICS_TOO_FEW:
        string_buffer_append_format(out, "too few rounds to tell (%.2f ×)", ratio->value);
        break;
    case STATISTICS_NO_DIFFERENCE:
        string_buffer_append_format(out, "no difference beyond the noise (%.2f ×, 95 %% %.2f–%.2f)",
                                    ratio->value, ratio->low, ratio->high);
        break;
    case STATISTICS_BETTER:
        string_buffer_append_format(out, "%.2f × %s, 95 %% %.2f–%.2f", ratio->value, better,
                                    ratio->low, ratio->high);
        break;
    case STATISTICS_WORSE:
        string_buffer_append_format(out, "%.2f × %s, 95 %% %.2f–%.2f", 1 / ratio->value, worse,
                                    1 / ratio->high, 1 / ratio->low);
        break;
    }
}
