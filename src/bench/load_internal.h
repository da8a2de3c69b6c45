/*
 * load_internal.h - one request of a run, on its way out and back. Private to the load generator.
 */
#ifndef MISTRAL_BENCH_LOAD_INTERNAL_H
#define MISTRAL_BENCH_LOAD_INTERNAL_H

#include "bench/load.h"

struct load;

struct load_stream {
    struct load *load;
    const struct load_options *options;
    const struct workload_request *request;
    struct load_record *record;
    struct stream_reader reader;
    struct string_buffer text; /* the answer, when it is to be counted; or a complaint's body */
    int status;
};

/* The path and body of a request. */
const char *load_request_path(const struct load_options *options);
void load_request_write(const struct load_options *options, const struct workload_request *request,
                        struct string_buffer *body);

void load_stream_begin(struct load_stream *stream, struct load *load,
                       const struct load_options *options, const struct workload_request *request,
                       struct load_record *record);
void load_stream_deinit(struct load_stream *stream);
void load_stream_push(struct load_stream *stream, int status, const char *bytes, size_t length,
                      double at);
/* Judges the answer. */
void load_stream_end(struct load_stream *stream, enum http_outcome outcome, int status, double at);
/* Why it failed, for people. */
void load_stream_problem(const struct load_stream *stream, char *out, size_t size);

#endif
