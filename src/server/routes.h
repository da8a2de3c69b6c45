/*
 * routes.h - which path is answered by what, and what every request must pass first.
 *
 * Loop thread.
 */
#ifndef MISTRAL_SERVER_ROUTES_H
#define MISTRAL_SERVER_ROUTES_H

#include "server/http_server.h"

/* The handler that `context`, a struct server, gives its HTTP server. */
void routes_head(void *context, struct http_connection *connection);
/* /health and /metrics, which are answered when there is no place for others. */
bool routes_is_vital(const struct http_request *request);
/* Of struct http_limits. */
bool routes_takes_large_body(const struct http_request *request);
void routes_request(void *context, struct http_connection *connection);
void routes_refused(void *context, struct http_connection *connection, int status,
                    const char *reason);
void routes_ended(void *context, struct http_connection *connection, int status, bool complete,
                  enum http_abandoned why);
void routes_displaced(void *context, const char *state);
void routes_piece(void *context, struct http_connection *connection);

#endif
