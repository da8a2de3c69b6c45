/*
 * metrics.c - see metrics.h. The registry: families, their series, and how they are counted.
 *
 * The lists are read and written under the lock; the numbers are atomics and need none.
 */
#include "base/utf8.h"
#include "metrics/metrics_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* --- families --- */

/* clang-format off */
#define BOUNDS_LONG(X) \
    X(0.005) X(0.01) X(0.025) X(0.05) X(0.1) X(0.25) X(0.5) X(1.0) X(2.5) X(5.0) X(7.5) X(10.0) \
    X(15.0) X(20.0) X(30.0) X(45.0) X(60.0) X(120.0) X(300.0) X(600.0)
#define BOUNDS_STEP(X) \
    X(0.0005) X(0.001) X(0.002) X(0.005) X(0.0075) X(0.01) X(0.015) X(0.02) X(0.03) X(0.04) \
    X(0.05) X(0.075) X(0.1) X(0.15) X(0.2) X(0.3) X(0.5) X(1.0) X(2.5) X(5.0)
/* clang-format on */
#define BOUND_NS(seconds)   (int64_t)((seconds) * 1e9 + 0.5),
#define BOUND_TEXT(seconds) #seconds,

static const int64_t long_ns[] = {BOUNDS_LONG(BOUND_NS)};
static const char *const long_text[] = {BOUNDS_LONG(BOUND_TEXT)};
static const int64_t step_ns[] = {BOUNDS_STEP(BOUND_NS)};
static const char *const step_text[] = {BOUNDS_STEP(BOUND_TEXT)};

static const struct metric_bounds bounds_LONG = {sizeof long_ns / sizeof *long_ns, long_ns,
                                                 long_text};
static const struct metric_bounds bounds_STEP = {sizeof step_ns / sizeof *step_ns, step_ns,
                                                 step_text};
static const struct metric_bounds bounds_NONE = {0, NULL, NULL};

const struct metric_family metric_families[METRIC_COUNT] = {
#define METRIC(member, kind, name, labels, bounds, help)                                           \
    [METRIC_##member] = {KIND_##kind, name, labels, &bounds_##bounds, help},
#include "metrics/metrics.def"
#undef METRIC
};

/* --- series --- */

/* A label's value as both formats quote it: \, " and line ends escaped, always UTF-8. */
static void append_value(struct string_buffer *out, const char *value) {
    size_t length = strlen(value);
    while (length > 0) {
        uint32_t code_point;
        size_t taken = utf8_decode(value, length, &code_point);
        if (taken == 0) {
            taken = 1;
            string_buffer_append_text(out, "\xef\xbf\xbd"); /* U+FFFD */
        } else if (*value == '\n') {
            string_buffer_append_text(out, "\\n");
        } else {
            if (*value == '"' || *value == '\\') {
                string_buffer_append_char(out, '\\');
            }
            string_buffer_append(out, value, taken);
        }
        value += taken;
        length -= taken;
    }
}

/* a="b",c="d"; all of them "other" when there are no values. */
static void write_labels(const struct metric_family *family, const char *const *values,
                         struct string_buffer *out) {
    const char *name = family->labels;
    for (size_t i = 0; *name != '\0'; i++) {
        size_t length = strcspn(name, " ");
        string_buffer_append_text(out, i == 0 ? "" : ",");
        string_buffer_append(out, name, length);
        string_buffer_append_text(out, "=\"");
        append_value(out, values == NULL ? "other" : values[i]);
        string_buffer_append_char(out, '"');
        name += length + (name[length] == ' ');
    }
}

/* NULL when memory ran out. */
static struct metric_series *new_series(const struct metric_family *family,
                                        const struct string_buffer *labels) {
    size_t bucket_count = family->kind == KIND_HISTOGRAM ? family->bounds->count + 1 : 0;
    size_t bytes = sizeof(struct metric_series) + bucket_count * sizeof(_Atomic uint64_t);
    struct metric_series *series =
        aligned_alloc(_Alignof(struct metric_series), (bytes + 63) / 64 * 64);
    char *text = strdup(string_buffer_text(labels));
    if (series == NULL || text == NULL || labels->failed) {
        free(series);
        free(text);
        return NULL;
    }
    *series = (struct metric_series){.family = family, .labels = text};
    for (size_t i = 0; i < bucket_count; i++) {
        atomic_init(&series->buckets[i], 0);
    }
    return series;
}

static void free_series(struct metric_series *series) {
    if (series != NULL) {
        free(series->labels);
        free(series);
    }
}

static void append_series(struct metric_series_list *list, struct metric_series *series) {
    *(list->last != NULL ? &list->last->next : &list->first) = series;
    list->last = series;
    list->count++;
}

struct metric_series *metrics_find_or_add(struct metrics *metrics, enum metric_id id,
                                          const struct string_buffer *labels) {
    struct metric_series_list *list = &metrics->series[id];
    for (struct metric_series *series = list->first; series != NULL; series = series->next) {
        if (strcmp(series->labels, string_buffer_text(labels)) == 0) {
            return series;
        }
    }
    struct metric_series *series =
        list->count + 1 < METRICS_MAX_SERIES ? new_series(&metric_families[id], labels) : NULL;
    if (series == NULL) {
        series = metrics->overflow[id];
        if (metrics->overflowed[id]) {
            return series;
        }
        metrics->overflowed[id] = true;
    }
    append_series(list, series);
    return series;
}

struct metric_series *metrics_series(struct metrics *metrics, enum metric_id id,
                                     const char *const *values) {
    struct string_buffer labels = {0};
    assert(values != NULL || metric_families[id].labels[0] == '\0');
    write_labels(&metric_families[id], values, &labels);
    pthread_mutex_lock(&metrics->lock);
    struct metric_series *series = metrics_find_or_add(metrics, id, &labels);
    pthread_mutex_unlock(&metrics->lock);
    string_buffer_deinit(&labels);
    return series;
}

/* --- counting --- */

void metric_add(struct metric_series *series, uint64_t count) {
    if (series != NULL) {
        assert(series->family->kind == KIND_COUNTER);
        atomic_fetch_add_explicit(&series->value, count, memory_order_relaxed);
    }
}

void metric_add_ns(struct metric_series *series, int64_t ns) {
    if (series != NULL && ns > 0) {
        assert(series->family->kind == KIND_SECONDS);
        atomic_fetch_add_explicit(&series->value, (uint64_t)ns, memory_order_relaxed);
    }
}

void metric_observe_ns(struct metric_series *series, int64_t ns) {
    if (series == NULL) {
        return;
    }
    const struct metric_bounds *bounds = series->family->bounds;
    assert(series->family->kind == KIND_HISTOGRAM);
    ns = ns < 0 ? 0 : ns;
    size_t bucket = 0;
    while (bucket < bounds->count && ns > bounds->ns[bucket]) {
        bucket++;
    }
    atomic_fetch_add_explicit(&series->buckets[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&series->value, (uint64_t)ns, memory_order_relaxed);
}

static uint64_t bits_of(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static double value_of(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

void metric_set(struct metric_series *series, double value) {
    if (series != NULL) {
        assert(series->family->kind == KIND_GAUGE);
        atomic_store_explicit(&series->value, bits_of(value), memory_order_relaxed);
    }
}

void metric_gauge_add(struct metric_series *series, double change) {
    if (series == NULL) {
        return;
    }
    assert(series->family->kind == KIND_GAUGE);
    uint64_t seen = atomic_load_explicit(&series->value, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&series->value, &seen,
                                                  bits_of(value_of(seen) + change),
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}

double metric_value(const struct metric_series *series) {
    uint64_t value = atomic_load_explicit(&series->value, memory_order_relaxed);
    switch (series->family->kind) {
    case KIND_GAUGE:
        return value_of(value);
    case KIND_COUNTER:
        return (double)value;
    case KIND_SECONDS:
    case KIND_HISTOGRAM:
        break;
    }
    return (double)value * 1e-9;
}

/* --- life --- */

bool metrics_create(struct metrics **out, struct error *error) {
    struct metrics *metrics = calloc(1, sizeof *metrics);
    bool ok = metrics != NULL && pthread_mutex_init(&metrics->lock, NULL) == 0;
    if (!ok) {
        free(metrics);
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the metrics");
    }
    for (size_t i = 0; ok && i < METRIC_COUNT; i++) {
        struct string_buffer labels = {0};
        write_labels(&metric_families[i], NULL, &labels);
        metrics->overflow[i] = new_series(&metric_families[i], &labels);
        ok = metrics->overflow[i] != NULL;
        string_buffer_deinit(&labels);
    }
    if (!ok) {
        metrics_free(metrics);
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the metrics");
    }
    *out = metrics;
    return true;
}

void metrics_free(struct metrics *metrics) {
    if (metrics == NULL) {
        return;
    }
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        struct metric_series *series = metrics->series[i].first;
        while (series != NULL) {
            struct metric_series *next = series->next;
            if (series != metrics->overflow[i]) {
                free_series(series);
            }
            series = next;
        }
        free_series(metrics->overflow[i]);
    }
    pthread_mutex_destroy(&metrics->lock);
    free(metrics);
}
