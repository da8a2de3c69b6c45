/* server_metrics.c - see server_metrics.h. */
#include "server/server_metrics.h"

#include "base/clock.h"
#include "base/log.h"
#include "server/server_internal.h"

#include <stdio.h>
#include <string.h>

static const char metrics_route[] = "/metrics";

/* error_type of answers that name no code of their own. */
static const struct {
    int status;
    const char *error;
} errors_by_status[] = {
    {400, "malformed_request"},    {401, "invalid_api_key"},    {404, "not_found"},
    {405, "method_not_supported"}, {408, "request_timeout"},    {413, "body_too_large"},
    {414, "uri_too_long"},         {417, "expectation_failed"}, {431, "headers_too_large"},
    {500, "server_error"},         {503, "overloaded"},         {505, "http_version_not_supported"},
};

/* The errors that are this server's bounds and rules, not the client's mistakes. */
static const struct {
    const char *error, *reason;
} rejections[] = {
    {"queue_full", "queue_full"},
    {"overloaded", "overloaded"},
    {"context_length_exceeded", "context_length"},
    {"body_too_large", "too_large"},
    {"headers_too_large", "too_large"},
    {"uri_too_long", "too_large"},
    {"request_timeout", "timeout"},
    {"invalid_api_key", "unauthorized"},
    {"host_not_allowed", "forbidden"},
    {"origin_not_allowed", "forbidden"},
    {"server_stopped", "shutting_down"},
};

static const char *const abandoned_errors[] = {
    [HTTP_CLIENT_LEFT] = "client_left",       [HTTP_SLOW_READER] = "slow_reader",
    [HTTP_SERVER_STOPPED] = "server_stopped", [HTTP_GAVE_WAY] = "gave_way",
    [HTTP_NO_MEMORY] = "no_memory",
};

static struct metric_series *series_1(struct server_metrics *metrics, enum metric_id id,
                                      const char *value) {
    return metrics_series(metrics->metrics, id, (const char *const[]){value});
}

void server_metrics_init(struct server_metrics *metrics, const struct server_options *options) {
    *metrics = (struct server_metrics){
        .metrics = options->metrics,
        .active = metrics_series(options->metrics, METRIC_ACTIVE_REQUESTS, NULL),
        .connections = metrics_series(options->metrics, METRIC_CONNECTIONS, NULL),
    };
    process_metrics_init(&metrics->process, options->metrics, options->version, options->commit);
    utilization_init(&metrics->utilization, options->metrics);
    server_metrics_sample(metrics);
    /* There from the start, so that the first one of its kind is an increase from 0. */
    const char *const usual[] = {"/v1/chat/completions", "200", "none"};
    metrics_series(metrics->metrics, METRIC_HTTP_REQUESTS, usual);
    for (size_t i = 0; i < sizeof rejections / sizeof rejections[0]; i++) {
        series_1(metrics, METRIC_REJECTIONS, rejections[i].reason);
    }
}

void server_metrics_sample(struct server_metrics *metrics) {
    utilization_sample(&metrics->utilization, clock_now_ns());
}

struct generation_metrics server_metrics_of_model(struct server_metrics *metrics,
                                                  const char *model) {
    return (struct generation_metrics){
        .prompt_tokens = series_1(metrics, METRIC_PROMPT_TOKENS, model),
        .generated_tokens = series_1(metrics, METRIC_GENERATE_TOKENS, model),
        .duration = series_1(metrics, METRIC_GENERATE_DURATION, model),
        .first_token = series_1(metrics, METRIC_TIME_TO_FIRST_TOKEN, model),
    };
}

/* --- requests --- */

/* Whoever reads the gauge is not part of what it says. */
static bool is_counted_active(const struct http_note *note) {
    return strcmp(note->endpoint, metrics_route) != 0;
}

static void count_active(struct server_metrics *metrics, size_t count) {
    metrics->active_count = count;
    metric_set(metrics->active, (double)count);
}

void server_metrics_began(struct server_metrics *metrics, struct http_connection *connection,
                          const char *endpoint) {
    struct http_note *note = http_connection_note(connection);
    if (note->endpoint != NULL) {
        return; /* its head was let in, its body was not */
    }
    note->endpoint = endpoint;
    if (is_counted_active(note)) {
        count_active(metrics, metrics->active_count + 1);
    }
}

static const char *error_of_status(int status) {
    for (size_t i = 0; i < sizeof errors_by_status / sizeof errors_by_status[0]; i++) {
        if (errors_by_status[i].status == status) {
            return errors_by_status[i].error;
        }
    }
    return status >= 500 ? "server_error" : "invalid_request_error";
}

void server_metrics_failed(struct http_connection *connection, const struct api_error *error) {
    http_connection_note(connection)->error =
        error->code != NULL ? error->code : error_of_status(error->status);
}

static void count_rejection(struct server_metrics *metrics, const char *error) {
    for (size_t i = 0; i < sizeof rejections / sizeof rejections[0]; i++) {
        if (strcmp(rejections[i].error, error) == 0) {
            metric_add(series_1(metrics, METRIC_REJECTIONS, rejections[i].reason), 1);
            return;
        }
    }
}

void server_metrics_ended(struct server_metrics *metrics, struct http_connection *connection,
                          int status, bool complete, enum http_abandoned why) {
    const struct http_note *note = http_connection_note(connection);
    if (note->endpoint == NULL) {
        return;
    }
    if (status == 0) {
        status = 499; /* as nginx calls it: the client closed the request */
    }
    const char *error = note->error;
    if (error == NULL && !complete) {
        error = abandoned_errors[why];
    } else if (error == NULL && status >= 400) {
        error = error_of_status(status);
    }
    char status_text[12];
    snprintf(status_text, sizeof status_text, "%d", status);
    const char *const labels[] = {note->endpoint, status_text, error == NULL ? "none" : error};
    metric_add(metrics_series(metrics->metrics, METRIC_HTTP_REQUESTS, labels), 1);
    metric_observe_ns(series_1(metrics, METRIC_HTTP_DURATION, note->endpoint),
                      clock_now_ns() - http_connection_started_ns(connection));
    if (note->error != NULL && status >= 400) {
        count_rejection(metrics, note->error);
    }
    if (is_counted_active(note)) {
        count_active(metrics, metrics->active_count - 1);
    }
}

void server_metrics_displaced(struct server_metrics *metrics, const char *state) {
    metric_add(series_1(metrics, METRIC_CONNECTIONS_DISPLACED, state), 1);
}

void server_metrics_piece(struct server_metrics *metrics, struct http_connection *connection) {
    struct http_note *note = http_connection_note(connection);
    if (note->chunks == NULL && note->endpoint != NULL) {
        note->chunks = series_1(metrics, METRIC_STREAMING_CHUNKS, note->endpoint);
    }
    metric_add(note->chunks, 1);
}

/* --- the route --- */

void server_metrics_answer(struct server *server, struct http_connection *connection,
                           const char *route) {
    const struct http_request *request = http_connection_request(connection);
    const struct string_view *accept = http_request_header(request, "Accept");
    enum metrics_format format =
        metrics_format_for(accept == NULL ? (struct string_view){0} : *accept);
    struct string_buffer text = {0};
    process_metrics_read(&server->metrics.process);
    metric_set(server->metrics.connections, (double)http_server_connection_count(server->http));
    metrics_write(server->metrics.metrics, format, &text);
    if (text.failed) {
        struct api_error error;
        api_error_out_of_memory(&error);
        server_respond_error(connection, route, &error);
    } else {
        http_add_header(connection, "Vary", "Accept");
        http_respond(connection, 200, metrics_content_type(format), text.data, text.length);
    }
    string_buffer_deinit(&text);
}
