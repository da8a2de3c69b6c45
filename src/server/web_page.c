/* web_page.c - see web_page.h. */
#include "server/web_page.h"

#include "server/ollama.h"
#include "server/server_internal.h"

#include <string.h>

/* Nothing inline, nothing from elsewhere, no markup made from text, no frame around it. */
static const char policy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'";

static bool header_holds(const struct http_request *request, const char *name, const char *text) {
    const struct string_view *value = http_request_header(request, name);
    return value != NULL && memmem(value->data, value->length, text, strlen(text)) != NULL;
}

static void respond_file(struct http_connection *connection, const struct web_file *file) {
    const struct http_request *request = http_connection_request(connection);
    http_add_header(connection, "ETag", file->entity_tag);
    http_add_header(connection, "Cache-Control", "no-cache"); /* kept, but asked for each time */
    http_add_header(connection, "Content-Security-Policy", policy);
    http_add_header(connection, "X-Content-Type-Options", "nosniff");
    http_add_header(connection, "Referrer-Policy", "no-referrer");
    http_add_header(connection, "Cross-Origin-Resource-Policy", "same-origin");
    if (header_holds(request, "If-None-Match", file->entity_tag)) {
        http_respond(connection, 304, NULL, NULL, 0);
    } else {
        http_respond(connection, 200, file->content_type, file->bytes, file->length);
    }
}

void web_page_answer_root(struct server *server, struct http_connection *connection,
                          const char *route) {
    const struct http_request *request = http_connection_request(connection);
    http_add_header(connection, "Vary", "Accept");
    if (http_connection_listener(connection) != OLLAMA_LISTENER &&
        header_holds(request, "Accept", "text/html")) {
        respond_file(connection, &web_files[0]);
    } else {
        ollama_answer_root(server, connection, route);
    }
}

void web_page_answer_file(struct server *server, struct http_connection *connection,
                          const char *route) {
    (void)server;
    const struct http_request *request = http_connection_request(connection);
    const char *name = string_buffer_text(&request->path) + strlen(route);
    for (size_t i = 0; i < web_file_count; i++) {
        if (strcmp(web_files[i].name, name) == 0) {
            respond_file(connection, &web_files[i]);
            return;
        }
    }
    struct api_error error;
    api_error_set(&error, 404, "unknown_url", NULL, "The web page has no file of that name.");
    server_respond_error(connection, route, &error);
}
