/*
 * measurements.h - what a benchmark measured: rows of samples, beside the limit of the machine
 * where there is one, as JSON that 'mistral bench compare' reads again.
 *
 *   {"format": "mistral-bench/1", "kind": "engine", "partial": false, "system": {…},
 *    "measurements": [{"name": "generate 64", "unit": "tokens/s", "better": "higher",
 *                      "samples": […], "median": …, "low": …, "high": …, "limit": …,
 *                      "limit_by": "memory bandwidth"}]}
 *
 * low and high are the 95 % interval of the median, null for fewer than three samples; limit and
 * limit_by are left out where there is none. Where another engine was measured in turn there is
 *
 *   "baseline": {"samples": […], "median": …, "ratio": 1.42, "low": 1.35, "high": 1.49,
 *                "verdict": "1.42 × faster, 95 % 1.35–1.49"}
 *
 * with null for what too few rounds do not tell. A reader takes a file with other members beside
 * these, and leaves the baseline out.
 * One owner, one thread at a time.
 */
#ifndef MISTRAL_BENCH_MEASUREMENTS_H
#define MISTRAL_BENCH_MEASUREMENTS_H

#include "base/arena.h"
#include "base/error.h"
#include "bench/statistics.h"
#include "bench/system_information.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct measurement {
    const char *name; /* the same work has the same name in every run */
    const char *unit; /* of the samples: "tokens/s" */
    bool more_is_better;
    double *samples; /* [count] of [capacity] */
    size_t count, capacity;
    double *baseline; /* [baseline_count] of [capacity], another engine's in turn with ours, so
                       * never more than ours; NULL: none is measured */
    size_t baseline_count;
    double limit;         /* what the machine allows, in the same unit; 0: not told */
    const char *limit_by; /* "memory bandwidth"; NULL without a limit */
};

/* A zeroed struct is an empty list. */
struct measurements {
    struct measurement *rows; /* [count], in the arena */
    size_t count, capacity;
    struct arena arena; /* holds all texts and samples */
};

void measurements_deinit(struct measurements *measurements);

/* Room for `capacity` rows; once, before the first add. */
bool measurements_init(struct measurements *measurements, size_t capacity, struct error *error);

/* One more row, without samples, with room for `capacity` of them; texts are copied. NULL: memory
 * ran out, or the list is full. */
struct measurement *measurements_add(struct measurements *measurements, const char *name,
                                     const char *unit, bool more_is_better, size_t capacity,
                                     struct error *error);

/* NULL when there is none of that name. */
const struct measurement *measurements_find(const struct measurements *measurements,
                                            const char *name);

/* Room for another engine's samples beside the row's own. */
bool measurements_add_baseline(struct measurements *measurements, struct measurement *row,
                               struct error *error);

/* What the full rounds of both engines say: of a speed "1.42 × faster, 95 % 1.35–1.49", appended to
 * the verdict; nothing before the first round. The row has a baseline. */
bool measurement_compare(const struct measurement *row, struct statistics_comparison *comparison,
                         struct string_buffer *verdict, struct error *error);

/* The whole document; `partial`: the run was ended early. NULL when memory runs out. */
json_t *measurements_to_json(const struct measurements *measurements,
                             const struct system_information *system, const char *kind,
                             bool partial, struct error *error);

/* A file that measurements_to_json made, or a report of 'mistral bench serve'. What is neither is
 * ERROR_FORMAT with the path and the place. Empty and deinitialised on failure. */
bool measurements_read(const char *path, struct measurements *measurements, struct error *error);

#endif
