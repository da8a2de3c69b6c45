/*
 * ollama_basics.c - the routes of the Ollama API that need no model.
 */
#include "base/json_writer.h"
#include "server/ollama.h"
#include "server/server_internal.h"

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
