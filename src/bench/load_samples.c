/* load_samples.c - see load_samples.h. docs/bench-serve.schema.json has the form. */
#include "bench/load_samples.h"

#include "bench/load_report.h"

#include <stdio.h>
#include <string.h>

enum { MOST_RUNS = 1 << 16 };

/* Where a run has a metric's value: a member, or a member of one. */
struct place {
    const char *label, *unit, *member, *inner;
    bool more_is_better;
};

static const struct place places[] = {
    {"tokens a second, all streams", "tokens/s", "tokens_per_second", NULL, true},
    {"requests a second", "requests/s", "requests_per_second", NULL, true},
    {"time to first token, median", "s", "ttft_seconds", "p50", false},
    {"time between tokens, median", "s", "itl_seconds", "p50", false},
    {"whole answer, median", "s", "latency_seconds", "p50", false},
    {"whole answer, 95 % of them", "s", "latency_seconds", "p95", false},
    {"part that was answered", "of 1", "outcomes", "ok", true}, /* by "requests" */
};

enum { PLACES = sizeof places / sizeof places[0] };

bool load_samples_are_of(const json_t *document) {
    const char *kind = json_string_value(json_object_get(document, "kind"));
    return kind != NULL && strcmp(kind, "mistral-bench-serve") == 0;
}

/* 0: the run has none. */
static double value_of(const json_t *run, const struct place *place) {
    const json_t *value = json_object_get(run, place->member);
    if (place->inner == NULL) {
        return json_number_value(value);
    }
    double inner = json_number_value(json_object_get(value, place->inner));
    if (strcmp(place->member, "outcomes") != 0) {
        return inner;
    }
    double requests = json_number_value(json_object_get(run, "requests"));
    return requests > 0 ? inner / requests : 0;
}

static bool is_run_of(const json_t *run, const char *target, size_t level) {
    const char *name = json_string_value(json_object_get(run, "target"));
    const json_t *number = json_object_get(run, "level");
    return name != NULL && strcmp(name, target) == 0 && json_is_integer(number) &&
           json_integer_value(number) == (json_int_t)level;
}

/* One metric at one level; none where no round has it. */
static bool add_samples(const json_t *runs, const char *target, size_t index, const char *level,
                        const struct place *place, struct measurements *measurements,
                        struct error *error) {
    struct measurement *row = NULL;
    for (size_t i = 0; i < json_array_size(runs); i++) {
        const json_t *run = json_array_get(runs, i);
        double value = is_run_of(run, target, index) ? value_of(run, place) : 0;
        if (!(value > 0)) {
            continue;
        }
        if (row == NULL) {
            char name[160];
            snprintf(name, sizeof name, "%s: %s", level, place->label);
            row = measurements_add(measurements, name, place->unit, place->more_is_better,
                                   json_array_size(runs), error);
            if (row == NULL) {
                return false;
            }
        }
        row->samples[row->count++] = value;
    }
    return true;
}

static bool add_level(const json_t *document, const char *target, size_t index,
                      struct measurements *measurements, struct error *error) {
    const json_t *json = json_array_get(json_object_get(document, "levels"), index);
    const char *kind = json_string_value(json_object_get(json, "kind"));
    const struct load_level level = {.is_rate = kind != NULL && strcmp(kind, "rate") == 0,
                                     .value = json_number_value(json_object_get(json, "value"))};
    char name[64];
    bool done = true;
    load_level_describe(&level, name, sizeof name);
    for (size_t i = 0; done && i < PLACES; i++) {
        done = add_samples(json_object_get(document, "runs"), target, index, name, &places[i],
                           measurements, error);
    }
    return done;
}

bool load_samples_read(const json_t *document, const char *path, struct measurements *measurements,
                       struct error *error) {
    const json_t *runs = json_object_get(document, "runs");
    const json_t *target = json_array_get(json_object_get(document, "targets"), 0);
    const char *name = json_string_value(json_object_get(target, "name"));
    size_t levels = json_array_size(json_object_get(document, "levels"));
    if (name == NULL || levels == 0 || levels > LOAD_MOST_LEVELS || !json_is_array(runs) ||
        json_array_size(runs) > MOST_RUNS) {
        return error_set(
            error, ERROR_FORMAT,
            "%s: a report of 'mistral bench serve' without its targets, levels or runs", path);
    }
    bool done = measurements_init(measurements, levels * PLACES + 1, error);
    for (size_t i = 0; done && i < levels; i++) {
        done = add_level(document, name, i, measurements, error);
    }
    return done;
}
