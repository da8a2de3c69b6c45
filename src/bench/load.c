/* load.c - see load.h. What a request looks like and how an answer is judged is in load_request.c.
 */
#include "bench/load.h"

#include "base/clock.h"
#include "base/random.h"
#include "bench/load_internal.h"

#include <event2/event.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { TICK_MICROSECONDS = 100 * 1000, SPARE_FILES = 64 };

struct load {
    const struct load_options *options;
    const struct workload *workload;
    struct load_run *run;
    struct event_base *base;
    struct http_client *client;
    struct event *arrival, *tick;
    struct load_stream *streams; /* [count], one a request */
    double *times;               /* [count], open loop: when each is to be sent */
    size_t count, next;          /* requests in all; the next to be sent */
    size_t ended, failed;
    double tokens; /* of answers so far */
    int64_t start_ns;
    bool is_over; /* nothing more is sent */
    bool has_failed;
};

static double now(const struct load *load) {
    return clock_seconds(clock_now_ns() - load->start_ns);
}

/* ---- sending ---- */

static void stop_when_done(struct load *load) {
    if (load->ended == load->next && (load->is_over || load->next == load->count)) {
        event_base_loopbreak(load->base);
    }
}

static void record_end(struct load *load, struct load_stream *stream) {
    const struct load_record *record = stream->record;
    load->ended++;
    load->failed += record->outcome != LOAD_OK;
    load->tokens += record->output_tokens > 0 ? (double)record->output_tokens : 0;
    if (record->outcome != LOAD_OK && load->run->problem[0] == '\0') {
        load_stream_problem(stream, load->run->problem, sizeof load->run->problem);
    }
    load_stream_deinit(stream);
}

static void send_next(struct load *load, double intended) {
    size_t index = load->next++;
    struct load_stream *stream = &load->streams[index];
    struct load_record *record = &load->run->records[index];
    const struct workload_request *request =
        &load->workload->requests[index % load->workload->count];
    struct string_buffer body = {0};
    load_stream_begin(stream, load, load->options, request, record);
    load_request_write(load->options, request, &body);
    record->sent = now(load);
    record->intended = load->options->is_open ? intended : record->sent;
    load->run->lateness = fmax(load->run->lateness, record->sent - record->intended);
    bool sent = !body.failed && http_client_send(load->client, load_request_path(load->options),
                                                 body.data, body.length, stream) != NULL;
    string_buffer_deinit(&body);
    if (!sent) {
        record->outcome = LOAD_REFUSED;
        record->ended = record->sent;
        load->has_failed = true; /* no memory, or no file left: the run says nothing */
        load->is_over = true;
        record_end(load, stream);
    }
}

static bool may_send(const struct load *load) {
    double most = load->options->most_seconds;
    return !load->is_over && load->next < load->count && (most <= 0 || now(load) < most);
}

static void schedule(struct load *load) {
    double wait = fmax(load->times[load->next] - now(load), 0);
    struct timeval after = {.tv_sec = (time_t)wait};
    after.tv_usec = (suseconds_t)((wait - (double)after.tv_sec) * 1e6);
    evtimer_add(load->arrival, &after);
}

/* Open loop: everything that is due, then the timer for what is not. */
static void on_arrival(evutil_socket_t file, short what, void *context) {
    struct load *load = context;
    (void)file;
    (void)what;
    while (may_send(load) && load->times[load->next] <= now(load)) {
        send_next(load, load->times[load->next]);
    }
    if (may_send(load)) {
        schedule(load);
    } else {
        load->is_over = true;
        stop_when_done(load);
    }
}

/* ---- answers ---- */

static void on_body(void *context, int status, const char *bytes, size_t length) {
    struct load_stream *stream = context;
    load_stream_push(stream, status, bytes, length, now(stream->load));
}

static void on_end(void *context, enum http_outcome outcome, int status) {
    struct load_stream *stream = context;
    struct load *load = stream->load;
    load_stream_end(stream, outcome, status, now(load));
    record_end(load, stream);
    if (!load->options->is_open && may_send(load)) {
        send_next(load, 0);
    }
    load->is_over = load->is_over || (!load->options->is_open && !may_send(load));
    stop_when_done(load);
}

static void tell_progress(struct load *load) {
    const struct load_options *options = load->options;
    if (options->tick != NULL &&
        !options->tick(options->context, load->ended, load->count, load->failed, load->tokens)) {
        load->run->is_partial = true;
        event_base_loopbreak(load->base);
    }
}

static void on_tick(evutil_socket_t file, short what, void *context) {
    (void)file;
    (void)what;
    tell_progress(context);
}

/* ---- a run ---- */

void load_arrivals(const struct load_options *options, const struct workload *workload,
                   double *times, size_t count) {
    struct random_state random;
    double at = 0;
    random_seed(&random, options->seed ^ 0x6172726976616c73);
    for (size_t i = 0; i < count; i++) {
        if (options->rate <= 0) {
            times[i] = workload->requests[i % workload->count].at;
            continue;
        }
        times[i] = at;
        at += (options->is_regular ? 1 : -log(1 - random_uniform(&random))) / options->rate;
    }
}

/* A thousand streams are a thousand files. */
static bool raise_file_limit(size_t streams, struct error *error) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= streams + SPARE_FILES) {
        return true;
    }
    rlim_t wanted = streams + SPARE_FILES;
    limit.rlim_cur =
        limit.rlim_max == RLIM_INFINITY || limit.rlim_max > wanted ? wanted : limit.rlim_max;
    return (setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= wanted) ||
           error_set(error, ERROR_INVALID_ARGUMENT,
                     "%zu streams need as many open files, and this process may have %llu; raise "
                     "it with ulimit -n",
                     streams, (unsigned long long)limit.rlim_cur);
}

static bool prepare(struct load *load, struct error *error) {
    static const struct http_handler handler = {on_body, on_end};
    const struct load_options *options = load->options;
    load->run->records = calloc(load->count, sizeof *load->run->records);
    load->streams = calloc(load->count, sizeof *load->streams);
    load->times = calloc(load->count, sizeof *load->times);
    struct event_config *config = event_config_new();
    if (config != NULL) { /* timers in microseconds, not in whole milliseconds */
        event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER);
        load->base = event_base_new_with_config(config);
        event_config_free(config);
    }
    if (load->base != NULL) {
        load->client = http_client_create(load->base, options->address, options->key,
                                          options->timeout, &handler);
        load->arrival = evtimer_new(load->base, on_arrival, load);
        load->tick = event_new(load->base, -1, EV_PERSIST, on_tick, load);
    }
    if (load->run->records == NULL || load->streams == NULL || load->times == NULL ||
        load->client == NULL || load->arrival == NULL || load->tick == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for %zu requests", load->count);
    }
    return raise_file_limit(options->is_open ? load->count : options->clients, error);
}

static void start(struct load *load) {
    const struct timeval often = {.tv_usec = TICK_MICROSECONDS};
    event_add(load->tick, &often);
    tell_progress(load);
    load->start_ns = clock_now_ns();
    if (load->options->is_open) {
        load_arrivals(load->options, load->workload, load->times, load->count);
        schedule(load);
        return;
    }
    for (size_t i = 0; i < load->options->clients && may_send(load); i++) {
        send_next(load, 0);
    }
    stop_when_done(load);
}

/* What was sent and not answered, and how long all of it took. */
static void close_run(struct load *load) {
    struct load_run *run = load->run;
    double first = INFINITY, last = 0;
    run->count = load->next;
    for (size_t i = 0; i < run->count; i++) {
        struct load_record *record = &run->records[i];
        first = fmin(first, record->intended);
        last = isnan(record->ended) ? last : fmax(last, record->ended);
        if (isnan(record->ended)) {
            load_stream_deinit(&load->streams[i]);
        }
    }
    run->seconds = run->is_partial ? now(load) : last - fmin(first, last);
}

/* Requests of a run that ends with the time, not with the workload: as many as may be. */
static size_t most_requests(const struct load_options *options, const struct workload *workload) {
    if (options->most_seconds <= 0) {
        return workload->count;
    }
    double most = options->is_open && options->rate > 0
                      ? ceil(options->most_seconds * options->rate * 2) + 64
                      : 1 << 20;
    return (size_t)fmin(most, 1 << 20);
}

bool load_run_create(const struct load_options *options, const struct workload *workload,
                     struct load_run *run, struct error *error) {
    struct load load = {.options = options,
                        .workload = workload,
                        .run = run,
                        .count = most_requests(options, workload)};
    *run = (struct load_run){0};
    bool done = prepare(&load, error);
    if (done) {
        start(&load);
        event_base_dispatch(load.base);
        done = !load.has_failed ||
               error_set(error, ERROR_IO, "a request could not be sent: no memory or no file left");
        close_run(&load);
    }
    http_client_free(load.client);
    if (load.arrival != NULL) {
        event_free(load.arrival);
    }
    if (load.tick != NULL) {
        event_free(load.tick);
    }
    if (load.base != NULL) {
        event_base_free(load.base);
    }
    free(load.streams);
    free(load.times);
    if (!done) {
        load_run_deinit(run);
    }
    return done;
}

void load_run_deinit(struct load_run *run) {
    free(run->records);
    *run = (struct load_run){0};
}
