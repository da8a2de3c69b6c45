/* metrics_internal.h - a family and its series, for the files that fill and write them. */
#ifndef MISTRAL_METRICS_METRICS_INTERNAL_H
#define MISTRAL_METRICS_METRICS_INTERNAL_H

#include "metrics/metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

enum metric_kind { KIND_COUNTER, KIND_SECONDS, KIND_GAUGE, KIND_HISTOGRAM };

struct metric_bounds {
    size_t count;            /* the last bucket, +Inf, is not among them */
    const int64_t *ns;       /* [count], rising */
    const char *const *text; /* [count], seconds as "le" has them: the same in both formats */
};

struct metric_family {
    enum metric_kind kind;
    const char *name;
    const char *labels;                 /* names, with blanks between */
    const struct metric_bounds *bounds; /* of a HISTOGRAM */
    const char *help;
};

extern const struct metric_family metric_families[METRIC_COUNT];

/* Cache lines of its own, so that two threads that count do not slow each other down. */
struct metric_series {
    _Alignas(64) const struct metric_family *family;
    struct metric_series *next; /* of the family, in order of appearance */
    char *labels;               /* as exposed: a="b",c="d"; owned */
    _Atomic uint64_t value; /* a count, nanoseconds, or a gauge's bits; HISTOGRAM: the sum, ns */
    _Atomic uint64_t buckets[]; /* [bounds->count + 1] of a HISTOGRAM, not cumulative */
};

struct metric_series_list {
    struct metric_series *first, *last;
    size_t count;
};

struct metrics {
    pthread_mutex_t lock; /* of the lists; series are only ever appended to them */
    struct metric_series_list series[METRIC_COUNT];
    struct metric_series
        *overflow[METRIC_COUNT]; /* the series of "other"; not in a list until used */
    bool overflowed[METRIC_COUNT];
};

/* The series of these labels, as exposed. Under the lock. */
struct metric_series *metrics_find_or_add(struct metrics *metrics, enum metric_id id,
                                          const struct string_buffer *labels);

#endif
