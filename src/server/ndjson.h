/*
 * ndjson.h - newline-delimited JSON as Ollama's streams use it: one object a line.
 *
 * The only writer of `application/x-ndjson`. Loop thread.
 */
#ifndef MISTRAL_SERVER_NDJSON_H
#define MISTRAL_SERVER_NDJSON_H

#include "base/string_buffer.h"
#include "server/api_error.h"

struct http_connection;

/* One line; the first begins the answer, with status 200. JSON of one line. When it cannot be
 * queued (a slow reader, no memory) the connection is about to be dropped and its watcher will hear
 * of it. */
void ndjson_send(struct http_connection *connection, const struct string_buffer *json);

/* The end of the answer; after one line at least. */
void ndjson_end(struct http_connection *connection);

/* {"error":"…"} as the last line. */
void ndjson_fail(struct http_connection *connection, const struct api_error *error);

#endif
