/* sse.c - see sse.h. */
#include "server/sse.h"

#include "server/http_server.h"

static void begin_once(struct http_connection *connection) {
    if (http_stream_begun(connection)) {
        return;
    }
    http_add_header(connection, "Cache-Control", "no-cache");
    http_add_header(connection, "X-Accel-Buffering", "no"); /* nginx would collect the pieces */
    http_stream_begin(connection, 200, "text/event-stream; charset=utf-8");
}

void sse_send(struct http_connection *connection, const struct string_buffer *json) {
    sse_send_event(connection, NULL, json);
}

void sse_send_event(struct http_connection *connection, const char *name,
                    const struct string_buffer *json) {
    struct string_buffer event = {0};
    begin_once(connection);
    if (name != NULL) {
        string_buffer_append_format(&event, "event: %s\n", name);
    }
    string_buffer_append(&event, "data: ", 6);
    string_buffer_append_buffer(&event, json);
    string_buffer_append(&event, "\n\n", 2);
    if (json->failed || event.failed) {
        http_connection_drop(connection);
    } else {
        http_stream_write(connection, event.data, event.length);
    }
    string_buffer_deinit(&event);
}

void sse_end(struct http_connection *connection) {
    static const char done[] = "data: [DONE]\n\n";
    begin_once(connection);
    http_stream_write(connection, done, sizeof done - 1);
    http_stream_end(connection);
}

void sse_fail(struct http_connection *connection, const struct api_error *error) {
    struct string_buffer json = {0};
    api_error_write(error, &json);
    sse_send(connection, &json);
    string_buffer_deinit(&json);
    http_stream_end(connection);
}
