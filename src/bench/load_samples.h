/*
 * load_samples.h - what a written report of 'mistral bench serve' has to compare: of the server
 * that was measured (not its baseline), each metric at each level, a sample a round. Any thread.
 */
#ifndef MISTRAL_BENCH_LOAD_SAMPLES_H
#define MISTRAL_BENCH_LOAD_SAMPLES_H

#include "base/error.h"
#include "bench/measurements.h"

#include <jansson.h>
#include <stdbool.h>

/* Whether the document says that it is one. */
bool load_samples_are_of(const json_t *document);

/* Appends them to an empty list. ERROR_FORMAT with the path and the place where it is no report
 * after all. */
bool load_samples_read(const json_t *document, const char *path, struct measurements *measurements,
                       struct error *error);

#endif
