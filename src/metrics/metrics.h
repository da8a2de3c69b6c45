/*
 * metrics.h - counters, gauges and histograms with labels, and Prometheus' exposition of them.
 *
 * metrics.def names every family. A series is one family with one set of label values; whoever
 * counts looks its series up once and keeps the pointer, which stays valid as long as the registry.
 * Updates are one or two relaxed atomic additions, with no lock and no allocation: any thread may
 * make them inside a decode step. Looking a series up takes a lock, and memory when it is new.
 *
 * A family has room for METRICS_MAX_SERIES sets of values; what comes after those, or when memory
 * has run out, is counted in the family's last series, whose label values are all "other". So
 * metrics_series never returns NULL and no client can make the exposition grow without end.
 */
#ifndef MISTRAL_METRICS_METRICS_H
#define MISTRAL_METRICS_METRICS_H

#include "base/error.h"
#include "base/string_buffer.h"
#include "base/string_view.h"

#include <stdbool.h>
#include <stdint.h>

enum metric_id {
#define METRIC(member, kind, name, labels, bounds, help) METRIC_##member,
#include "metrics/metrics.def"
#undef METRIC
    METRIC_COUNT
};

enum { METRICS_MAX_SERIES = 1024, METRICS_MAX_LABELS = 3 };

struct metrics;
struct metric_series;

/* What is counted from now on counts from 0. Free it when nobody holds a series any more. */
bool metrics_create(struct metrics **metrics, struct error *error);
void metrics_free(struct metrics *metrics); /* NULL allowed */

/* The series of these label values, one text for each of the family's labels, in their order
 * (`values` may be NULL where there are none). Values are copied; what is not UTF-8 in them becomes
 * U+FFFD. Any thread. */
struct metric_series *metrics_series(struct metrics *metrics, enum metric_id id,
                                     const char *const *values);

/* Any thread. NULL does nothing: an embedded engine has no registry. */
void metric_add(struct metric_series *series, uint64_t count);      /* COUNTER */
void metric_add_ns(struct metric_series *series, int64_t ns);       /* SECONDS */
void metric_observe_ns(struct metric_series *series, int64_t ns);   /* HISTOGRAM */
void metric_set(struct metric_series *series, double value);        /* GAUGE */
void metric_gauge_add(struct metric_series *series, double change); /* GAUGE of several writers */
double metric_value(const struct metric_series *series);            /* all but HISTOGRAM */

/* Prometheus' text format 0.0.4, or OpenMetrics 1.0. */
enum metrics_format { METRICS_TEXT, METRICS_OPENMETRICS };

/* Which one an Accept header (empty: none) asks for. */
enum metrics_format metrics_format_for(struct string_view accept);
const char *metrics_content_type(enum metrics_format format);

/* All families that have series. Any thread; what others add meanwhile may be in it or not. */
void metrics_write(struct metrics *metrics, enum metrics_format format, struct string_buffer *out);

#endif
