/*
 * server_metrics.h - what the server counts of its requests and generations, and /metrics itself.
 *
 * A request counts as active from the moment its head is read (or refused) to the last byte of its
 * answer, or until its connection is over. Label values are constants of the program and models'
 * names; nothing a client sends becomes one. Loop thread.
 */
#ifndef MISTRAL_SERVER_SERVER_METRICS_H
#define MISTRAL_SERVER_SERVER_METRICS_H

#include "metrics/metrics.h"
#include "metrics/process.h"
#include "metrics/utilization.h"
#include "server/http_server.h"

#include <stdbool.h>
#include <stddef.h>

struct api_error;
struct server;
struct server_options;

struct server_metrics {
    struct metrics *metrics; /* borrowed */
    struct metric_series *active, *connections;
    size_t active_count;
    struct process_metrics process;
    struct utilization utilization;
};

/* One model's, for a generation to count in. */
struct generation_metrics {
    struct metric_series *prompt_tokens, *generated_tokens, *duration, *first_token;
};

void server_metrics_init(struct server_metrics *metrics, const struct server_options *options);
void server_metrics_sample(struct server_metrics *metrics); /* once a second */

/* `endpoint` is a route's pattern: constant text. */
void server_metrics_began(struct server_metrics *metrics, struct http_connection *connection,
                          const char *endpoint);
/* Remembers why, for the request's end. */
void server_metrics_failed(struct http_connection *connection, const struct api_error *error);
void server_metrics_ended(struct server_metrics *metrics, struct http_connection *connection,
                          int status, bool complete, enum http_abandoned why);
/* A connection was closed for want of places, or ("new") not taken. */
void server_metrics_displaced(struct server_metrics *metrics, const char *state);
void server_metrics_piece(struct server_metrics *metrics, struct http_connection *connection);

struct generation_metrics server_metrics_of_model(struct server_metrics *metrics,
                                                  const char *model);

/* The route /metrics. */
void server_metrics_answer(struct server *server, struct http_connection *connection,
                           const char *route);

#endif
