/*
 * load.h - the load generator: a workload sent to one server, and when each answer's tokens came.
 *
 * Closed loop: a number of clients, each of which asks again when it has its answer. Open loop:
 * requests at times that are fixed before the run begins, whatever the server does; what a slow
 * server makes late counts against it, since times are taken from the moment a request should have
 * been sent (no coordinated omission). Everything runs on the caller's thread, one event loop.
 */
#ifndef MISTRAL_BENCH_LOAD_H
#define MISTRAL_BENCH_LOAD_H

#include "base/error.h"
#include "bench/http_client.h"
#include "bench/stream_reader.h"
#include "bench/workload.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How a request ended. All but OK and UNFINISHED are failures. */
enum load_outcome {
    LOAD_OK,
    LOAD_UNFINISHED,   /* the run was stopped before it ended */
    LOAD_REFUSED,      /* no connection */
    LOAD_LOST,         /* the connection ended before the answer */
    LOAD_TIMED_OUT,    /* nothing came for too long */
    LOAD_HTTP_4XX,     /* a status */
    LOAD_HTTP_5XX,     /* a status */
    LOAD_HTTP_OTHER,   /* a status that is neither */
    LOAD_STREAM_ERROR, /* an error in the middle of the stream */
    LOAD_TRUNCATED,    /* the stream ended without its end: [DONE], or "done" */
    LOAD_MALFORMED,    /* no HTTP, or no JSON */
    LOAD_EMPTY,        /* a good end, and no text */
    LOAD_WRONG_USAGE,  /* the server's count of tokens cannot be true */
    LOAD_OUTCOME_COUNT,
};

/* "ok", "http_5xx", … and a sentence for people. */
const char *load_outcome_name(enum load_outcome outcome);
const char *load_outcome_sentence(enum load_outcome outcome);

/* Seconds are after the start of the run. NaN: it did not happen. */
struct load_record {
    double intended;                      /* when it was to be sent; closed loop: when it was */
    double sent;                          /* when it was */
    double first, last;                   /* text of the answer */
    double ended;                         /* last byte */
    double longest_pause;                 /* between two pieces of text */
    int64_t prompt_tokens, output_tokens; /* -1: not known */
    int64_t counted_tokens; /* of the answer's text by our tokenizer; -1: none was given */
    size_t scenario;
    enum load_outcome outcome;
};

/* What a run asks for beside the workload. */
struct load_options {
    const struct http_address *address;
    enum stream_protocol protocol;
    const char *key;   /* NULL: none */
    const char *model; /* NULL: not named */
    size_t clients;    /* closed loop: as many at once */
    double rate;       /* open loop: requests a second; 0: closed loop, or the trace's times */
    bool is_open;
    bool is_regular;     /* open loop: evenly spaced; else exponential gaps (Poisson) */
    double most_seconds; /* nothing new is sent after them; 0: until the workload is over */
    double timeout;      /* seconds without a byte */
    bool ignore_end;     /* answers go on to max_tokens; an extension of OpenAI's protocol */
    uint64_t seed;       /* of the arrivals, and what the server is told */
    const struct tokenizer *tokenizer; /* NULL: the server's count has to do */
    /* At the beginning, and about ten times a second; false ends the run. May be NULL. */
    bool (*tick)(void *context, size_t done, size_t total, size_t failed, double tokens);
    void *context;
};

struct load_run {
    struct load_record *records; /* [count]; owned */
    size_t count;
    double seconds;    /* from the first request's time to the last answer's end */
    double lateness;   /* longest time by which the generator itself was late to send, seconds */
    bool is_partial;   /* stopped by tick */
    char problem[160]; /* what the first failure said; "" for none */
};

/* A failed request is a record, never an error. `skip`: where in the workload to begin. */
bool load_run_create(const struct load_options *options, const struct workload *workload,
                     struct load_run *run, struct error *error);
void load_run_deinit(struct load_run *run);

/* Arrival times of `count` requests, ascending. Pure. */
void load_arrivals(const struct load_options *options, const struct workload *workload,
                   double *times, size_t count);

#endif
