/*
 * sse.h - server-sent events as the APIs' streams use them: one JSON object an event; in OpenAI's
 * first two APIs, then [DONE].
 *
 * The only writer of `text/event-stream`. Loop thread.
 */
#ifndef MISTRAL_SERVER_SSE_H
#define MISTRAL_SERVER_SSE_H

#include "base/string_buffer.h"
#include "server/api_error.h"

struct http_connection;

/* One event; the first begins the answer. JSON of one line. When it cannot be queued (a slow
 * reader, no memory) the connection is about to be dropped and its watcher will hear of it. */
void sse_send(struct http_connection *connection, const struct string_buffer *json);

/* The same with the event's name before it. */
void sse_send_event(struct http_connection *connection, const char *name,
                    const struct string_buffer *json);

/* data: [DONE], and the end of the answer. */
void sse_end(struct http_connection *connection);

/* An error in the middle of a stream, which ends it without [DONE]. */
void sse_fail(struct http_connection *connection, const struct api_error *error);

#endif
