/*
 * ollama_basics.c - the routes of the Ollama API that need no model, and how small bodies are read.
 */
#include "base/json_writer.h"
#include "server/json_body.h"
#include "server/ollama.h"
#include "server/server_internal.h"

#include <string.h>

enum { MOST_BODY_BYTES = 512 * 1024 /* texts of licenses are the longest */ };

/* The release of Ollama whose API this is: clients ask for one at least this or that old, and this
 * program's own version would tell them nothing. The last one that brought a field we serve was
 * that of log-probabilities. */
static const char api_version[] = "0.12.11";

void ollama_answer_root(struct server *server, struct http_connection *connection,
                        const char *route) {
    (void)server;
    server_respond_text(connection, route, 200, "Ollama is running");
}

void ollama_answer_version(struct server *server, struct http_connection *connection,
                           const char *route) {
    (void)server;
    struct string_buffer text = {0};
    struct json_writer json = {.out = &text};
    json_write_object_begin(&json);
    json_write_text_member(&json, "version", api_version);
    json_write_object_end(&json);
    server_respond_json(connection, route, 200, &text);
    string_buffer_deinit(&text);
}

bool ollama_check_name(const char *name, const char *member, struct api_error *error) {
    size_t length = strlen(name);
    if (length > MODEL_NAME_MOST_BYTES) {
        return api_error_set(error, 400, "invalid_value", member,
                             "invalid model name: it has %zu bytes, and at most %d are possible",
                             length, MODEL_NAME_MOST_BYTES);
    }
    return true;
}

const char *ollama_read_small_body(struct http_connection *connection, json_t **body,
                                   const char *member, const char *other, struct api_error *error) {
    struct string_buffer bytes = http_connection_take_body(connection);
    const char *text = NULL;
    if (bytes.length > MOST_BODY_BYTES) {
        api_error_set(error, 413, NULL, NULL, "the request's body has more than %d bytes",
                      MOST_BODY_BYTES);
    } else if (json_body_parse(string_buffer_text(&bytes), bytes.length, body, error)) {
        text = json_string_value(json_object_get(*body, member));
        if (text == NULL && other != NULL) {
            text = json_string_value(json_object_get(*body, other));
        }
        if (text == NULL || text[0] == '\0') {
            text = NULL;
            api_error_set(error, 400, "missing_required_parameter", member, "%s is required",
                          member);
        } else if (!ollama_check_name(text, member, error)) {
            text = NULL;
        }
    }
    string_buffer_deinit(&bytes);
    return text;
}
