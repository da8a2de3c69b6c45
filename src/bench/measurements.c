/* measurements.c - see measurements.h. */
#include "bench/measurements.h"

#include "base/file.h"
#include "base/json_memory.h"
#include "bench/load_samples.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT "mistral-bench/1"

enum { MOST_ROWS = 100000, MOST_SAMPLES = 1000000, FILE_LIMIT = 1 << 28 };

void measurements_deinit(struct measurements *measurements) {
    arena_deinit(&measurements->arena);
    *measurements = (struct measurements){0};
}

bool measurements_init(struct measurements *measurements, size_t capacity, struct error *error) {
    measurements->rows = arena_alloc(&measurements->arena, capacity, sizeof *measurements->rows);
    measurements->capacity = capacity;
    return measurements->rows != NULL ||
           error_set(error, ERROR_OUT_OF_MEMORY, "no memory for %zu measurements", capacity);
}

struct measurement *measurements_add(struct measurements *measurements, const char *name,
                                     const char *unit, bool more_is_better, size_t capacity,
                                     struct error *error) {
    struct arena *arena = &measurements->arena;
    struct measurement row = {.name = arena_copy_text(arena, name, strlen(name)),
                              .unit = arena_copy_text(arena, unit, strlen(unit)),
                              .more_is_better = more_is_better,
                              .samples = arena_alloc(arena, capacity, sizeof *row.samples),
                              .capacity = capacity};
    if (measurements->count == measurements->capacity || row.name == NULL || row.unit == NULL ||
        row.samples == NULL) {
        error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the measurement '%.60s'", name);
        return NULL;
    }
    struct measurement *added = &measurements->rows[measurements->count++];
    *added = row;
    return added;
}

const struct measurement *measurements_find(const struct measurements *measurements,
                                            const char *name) {
    for (size_t i = 0; i < measurements->count; i++) {
        if (strcmp(measurements->rows[i].name, name) == 0) {
            return &measurements->rows[i];
        }
    }
    return NULL;
}

bool measurements_add_baseline(struct measurements *measurements, struct measurement *row,
                               struct error *error) {
    row->baseline = arena_alloc(&measurements->arena, row->capacity, sizeof *row->baseline);
    return row->baseline != NULL || error_set(error, ERROR_OUT_OF_MEMORY,
                                              "no memory for the baseline of '%.60s'", row->name);
}

bool measurement_compare(const struct measurement *row, struct statistics_comparison *comparison,
                         struct string_buffer *verdict, struct error *error) {
    if (!statistics_compare_pairs(row->samples, row->baseline, row->baseline_count,
                                  row->more_is_better, comparison, error)) {
        return false;
    }
    if (row->baseline_count > 0) {
        statistics_append_verdict(comparison, "faster", "slower", verdict);
    }
    return !verdict->failed || error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a verdict");
}

/* --- writing --- */

static json_t *number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *samples_to_json(const double *values, size_t count) {
    json_t *samples = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(samples, number(values[i]));
    }
    return samples;
}

/* NULL on failure. */
static json_t *baseline_to_json(const struct measurement *row, struct error *error) {
    struct statistics_interval median;
    struct statistics_comparison comparison;
    struct string_buffer verdict = {0};
    json_t *json = NULL;
    if (statistics_median_interval(row->baseline, row->baseline_count, &median, error) &&
        measurement_compare(row, &comparison, &verdict, error)) {
        json = json_pack("{s:o, s:o, s:o, s:o, s:o, s:s?}", "samples",
                         samples_to_json(row->baseline, row->baseline_count), "median",
                         number(median.value), "ratio", number(comparison.ratio.value), "low",
                         number(comparison.ratio.low), "high", number(comparison.ratio.high),
                         "verdict", verdict.data);
    }
    string_buffer_deinit(&verdict);
    return json;
}

static json_t *row_to_json(const struct measurement *row, struct error *error) {
    struct statistics_interval median;
    if (!statistics_median_interval(row->samples, row->count, &median, error)) {
        return NULL;
    }
    json_t *json =
        json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o}", "name", row->name, "unit", row->unit,
                  "better", row->more_is_better ? "higher" : "lower", "samples",
                  samples_to_json(row->samples, row->count), "median", number(median.value), "low",
                  number(median.low), "high", number(median.high));
    if (row->limit > 0) {
        json_object_set_new(json, "limit", number(row->limit));
        json_object_set_new(json, "limit_by", json_string(row->limit_by));
    }
    if (row->baseline != NULL &&
        json_object_set_new(json, "baseline", baseline_to_json(row, error)) != 0) {
        json_decref(json);
        return NULL;
    }
    return json;
}

json_t *measurements_to_json(const struct measurements *measurements,
                             const struct system_information *system, const char *kind,
                             bool partial, struct error *error) {
    json_t *rows = json_array();
    bool done = rows != NULL;
    for (size_t i = 0; done && i < measurements->count; i++) {
        json_t *row = row_to_json(&measurements->rows[i], error);
        done = row != NULL && json_array_append_new(rows, row) == 0;
    }
    json_t *facts = json_object();
    for (size_t i = 0; done && i < system->count; i++) {
        const struct system_fact *fact = &system->facts[i];
        done = json_object_set_new(facts, fact->key,
                                   fact->is_number ? number(fact->number)
                                                   : json_string(fact->text)) == 0;
    }
    json_t *document =
        done ? json_pack("{s:s, s:s, s:b, s:O, s:O}", "format", FORMAT, "kind", kind, "partial",
                         (int)partial, "system", facts, "measurements", rows)
             : NULL;
    json_decref(facts);
    json_decref(rows);
    if (document == NULL) {
        error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the results as JSON");
    }
    return document;
}

/* --- reading --- */

static bool refuse(const char *path, size_t row, const char *what, struct error *error) {
    return error_set(error, ERROR_FORMAT, "%s: measurements[%zu]: %s", path, row, what);
}

static bool read_row(const json_t *json, const char *path, size_t index,
                     struct measurements *measurements, struct error *error) {
    const char *name = json_string_value(json_object_get(json, "name"));
    const char *unit = json_string_value(json_object_get(json, "unit"));
    const char *better = json_string_value(json_object_get(json, "better"));
    const json_t *samples = json_object_get(json, "samples");
    size_t count = json_array_size(samples);
    if (name == NULL || unit == NULL || better == NULL || !json_is_array(samples)) {
        return refuse(path, index, "name, unit, better and samples are needed", error);
    }
    if (strcmp(better, "higher") != 0 && strcmp(better, "lower") != 0) {
        return refuse(path, index, "better is neither \"higher\" nor \"lower\"", error);
    }
    if (measurements_find(measurements, name) != NULL) {
        return refuse(path, index, "its name is that of an earlier one", error);
    }
    if (count > MOST_SAMPLES) {
        return refuse(path, index, "too many samples", error);
    }
    struct measurement *row =
        measurements_add(measurements, name, unit, strcmp(better, "higher") == 0, count, error);
    for (size_t i = 0; row != NULL && i < count; i++) {
        const json_t *sample = json_array_get(samples, i);
        if (!json_is_number(sample) || !(json_number_value(sample) > 0)) {
            return refuse(path, index, "a sample is no number above 0", error);
        }
        row->samples[row->count++] = json_number_value(sample);
    }
    return row != NULL;
}

static bool read_document(const json_t *document, const char *path,
                          struct measurements *measurements, struct error *error) {
    if (load_samples_are_of(document)) {
        return load_samples_read(document, path, measurements, error);
    }
    const char *format = json_string_value(json_object_get(document, "format"));
    const json_t *rows = json_object_get(document, "measurements");
    if (format == NULL || strcmp(format, FORMAT) != 0 || !json_is_array(rows)) {
        return error_set(error, ERROR_FORMAT,
                         "%s: no result of 'mistral bench' (its \"format\" is not \"" FORMAT "\")",
                         path);
    }
    size_t count = json_array_size(rows);
    if (count > MOST_ROWS) {
        return error_set(error, ERROR_FORMAT, "%s: more than %d measurements", path, MOST_ROWS);
    }
    bool done = measurements_init(measurements, count + 1, error);
    for (size_t i = 0; done && i < count; i++) {
        done = read_row(json_array_get(rows, i), path, i, measurements, error);
    }
    return done;
}

bool measurements_read(const char *path, struct measurements *measurements, struct error *error) {
    *measurements = (struct measurements){0};
    char *text = NULL;
    size_t length = 0;
    json_error_t where;
    if (!file_read_all(path, FILE_LIMIT, &text, &length, error)) {
        return false;
    }
    json_t *document = json_guarded(json_loadb, text, length, 0, &where);
    bool done = document != NULL ? read_document(document, path, measurements, error)
                                 : error_set(error, ERROR_FORMAT, "%s:%d:%d: not JSON: %s", path,
                                             where.line, where.column, where.text);
    json_decref(document);
    free(text);
    if (!done) {
        measurements_deinit(measurements);
    }
    return done;
}
