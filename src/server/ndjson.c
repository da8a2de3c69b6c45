/* ndjson.c - see ndjson.h. */
#include "server/ndjson.h"

#include "server/http_server.h"

static void begin_once(struct http_connection *connection) {
    if (http_stream_begun(connection)) {
        return;
    }
    http_add_header(connection, "Cache-Control", "no-cache");
    http_add_header(connection, "X-Accel-Buffering", "no"); /* nginx would collect the pieces */
    http_stream_begin(connection, 200, "application/x-ndjson");
}

void ndjson_send(struct http_connection *connection, const struct string_buffer *json) {
    struct string_buffer line = {0};
    begin_once(connection);
    string_buffer_append_buffer(&line, json);
    string_buffer_append_char(&line, '\n');
    if (json->failed || line.failed) {
        http_connection_drop(connection);
    } else {
        http_stream_write(connection, line.data, line.length);
    }
    string_buffer_deinit(&line);
}

void ndjson_end(struct http_connection *connection) {
    begin_once(connection);
    http_stream_end(connection);
}

void ndjson_fail(struct http_connection *connection, const struct api_error *error) {
    struct string_buffer json = {0};
    api_error_write_as(error, API_OLLAMA, &json);
    ndjson_send(connection, &json);
    string_buffer_deinit(&json);
    http_stream_end(connection);
}
