/* routes.c - see routes.h. */
#include "server/routes.h"

#include "base/json_writer.h"
#include "server/anthropic.h"
#include "server/llama_server.h"
#include "server/ollama.h"
#include "server/openai.h"
#include "server/responses.h"
#include "server/server_internal.h"
#include "server/web_page.h"

#include <string.h>

struct route {
    const char *path;
    bool is_prefix;   /* what follows the path is a name */
    bool is_open;     /* asks for no key */
    bool is_vital;    /* answered when there is no place for others */
    unsigned methods; /* of enum http_method */
    void (*answer)(struct server *server, struct http_connection *connection, const char *route);
    const struct generation_kind *generates; /* instead of `answer` */
    /* POST: told of the head first; it hands the body on, which is large, or answers. */
    void (*head)(struct server *server, struct http_connection *connection, const char *route);
};

static void answer_health(struct server *server, struct http_connection *connection,
                          const char *route) {
    (void)server;
    struct string_buffer text = {0};
    struct json_writer json = {.out = &text};
    json_write_object_begin(&json);
    json_write_text_member(&json, "status", "ok");
    json_write_object_end(&json);
    server_respond_json(connection, route, 200, &text);
    string_buffer_deinit(&text);
}

static const struct route routes[] = {
    {"/", .is_open = true, .methods = HTTP_GET | HTTP_HEAD, .answer = web_page_answer_root},
    {"/web/", .is_prefix = true, .is_open = true, .methods = HTTP_GET | HTTP_HEAD,
     .answer = web_page_answer_file},
    {"/api/version", .methods = HTTP_GET | HTTP_HEAD, .answer = ollama_answer_version},
    {"/api/generate", .methods = HTTP_POST, .generates = &ollama_generate_kind},
    {"/api/chat", .methods = HTTP_POST, .generates = &ollama_chat_kind},
    {"/api/embed", .methods = HTTP_POST, .generates = &ollama_embed_kind},
    {"/api/embeddings", .methods = HTTP_POST, .generates = &ollama_embeddings_kind},
    {"/api/tags", .methods = HTTP_GET | HTTP_HEAD, .answer = ollama_answer_tags},
    {"/api/ps", .methods = HTTP_GET, .answer = ollama_answer_ps},
    {"/api/show", .methods = HTTP_POST, .answer = ollama_answer_show},
    {"/api/pull", .methods = HTTP_POST, .answer = ollama_answer_pull},
    {"/api/push", .methods = HTTP_POST, .answer = ollama_answer_push},
    {"/api/copy", .methods = HTTP_POST, .answer = ollama_answer_copy},
    {"/api/delete", .methods = HTTP_DELETE, .answer = ollama_answer_delete},
    {"/api/create", .methods = HTTP_POST, .answer = ollama_answer_create},
    {"/api/blobs/", .is_prefix = true, .methods = HTTP_POST | HTTP_HEAD,
     .answer = ollama_answer_blob, .head = ollama_receive_blob},
    {"/health", .is_open = true, .is_vital = true, .methods = HTTP_GET | HTTP_HEAD,
     .answer = answer_health},
    {"/metrics", .is_vital = true, .methods = HTTP_GET | HTTP_HEAD,
     .answer = server_metrics_answer},
    {"/v1/models", .methods = HTTP_GET | HTTP_HEAD, .answer = openai_list_models},
    {"/v1/models/", .is_prefix = true, .methods = HTTP_GET | HTTP_HEAD,
     .answer = openai_show_model},
    {"/v1/chat/completions", .methods = HTTP_POST, .generates = &openai_chat_kind},
    {"/v1/completions", .methods = HTTP_POST, .generates = &openai_completions_kind},
    {"/v1/embeddings", .methods = HTTP_POST, .generates = &openai_embeddings_kind},
    {"/v1/responses", .methods = HTTP_POST, .generates = &responses_kind},
    {"/v1/responses/", .is_prefix = true, .methods = HTTP_GET | HTTP_POST | HTTP_DELETE,
     .answer = responses_refuse_stored},
    {"/v1/messages", .methods = HTTP_POST, .generates = &anthropic_messages_kind},
    {"/v1/messages/count_tokens", .methods = HTTP_POST, .generates = &anthropic_count_tokens_kind},
    {"/tokenize", .methods = HTTP_POST, .generates = &llama_tokenize_kind},
    {"/detokenize", .methods = HTTP_POST, .generates = &llama_detokenize_kind},
    {"/apply-template", .methods = HTTP_POST, .generates = &llama_apply_template_kind},
    {"/completion", .methods = HTTP_POST, .generates = &llama_completion_kind},
    {"/infill", .methods = HTTP_POST, .generates = &llama_infill_kind},
    {"/props", .methods = HTTP_GET, .generates = &llama_props_kind},
    {"/slots", .methods = HTTP_GET, .answer = llama_list_slots},
    {"/slots/", .is_prefix = true, .methods = HTTP_POST, .answer = llama_refuse_slot},
    {"/lora-adapters", .methods = HTTP_GET | HTTP_POST, .answer = llama_adapters},
};

/* In log lines and labels, for every path that is no route: what clients send must not grow their
 * set. */
static const char other_route[] = "other";
static const char other_ollama_route[] = "/api/*"; /* whose errors are in Ollama's words */

static const struct route *find_route(const struct http_request *request) {
    const char *path = string_buffer_text(&request->path);
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        size_t length = strlen(routes[i].path);
        bool matches = routes[i].is_prefix ? strncmp(path, routes[i].path, length) == 0
                                           : strcmp(path, routes[i].path) == 0;
        if (matches) {
            return &routes[i];
        }
    }
    return NULL;
}

static const char *route_name(const struct route *route, const struct http_request *request) {
    if (route != NULL) {
        return route->path;
    }
    return strncmp(string_buffer_text(&request->path), "/api/", 5) == 0 ? other_ollama_route
                                                                        : other_route;
}

static void list_methods(unsigned methods, struct string_buffer *out) {
    static const struct {
        enum http_method method;
        const char *name;
    } names[] = {{HTTP_GET, "GET"}, {HTTP_HEAD, "HEAD"},     {HTTP_POST, "POST"},
                 {HTTP_PUT, "PUT"}, {HTTP_DELETE, "DELETE"}, {HTTP_OPTIONS, "OPTIONS"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (methods & names[i].method) {
            string_buffer_append_format(out, "%s%s", out->length == 0 ? "" : ", ", names[i].name);
        }
    }
}

static void add_allow(struct http_connection *connection, const struct route *route,
                      const char *header) {
    struct string_buffer methods = {0};
    list_methods(route->methods | HTTP_OPTIONS, &methods);
    http_add_header(connection, header, string_buffer_text(&methods));
    string_buffer_deinit(&methods);
}

/* Copies a request's header into the answer; the parser lets no line end through. */
static void echo_header(struct http_connection *connection, const char *name,
                        const struct string_view *value) {
    struct string_buffer text = {0};
    string_buffer_append(&text, value->data, value->length);
    http_add_header(connection, name, string_buffer_text(&text));
    string_buffer_deinit(&text);
}

static void add_cors_headers(struct http_connection *connection) {
    const struct http_request *request = http_connection_request(connection);
    const struct string_view *origin = http_request_header(request, "Origin");
    if (origin != NULL) {
        echo_header(connection, "Access-Control-Allow-Origin", origin);
        http_add_header(connection, "Access-Control-Expose-Headers", "X-Request-Id, Retry-After");
        http_add_header(connection, "Vary", "Origin");
    }
}

/* OPTIONS, and with it a browser's question before it sends the real request. */
static void answer_options(struct http_connection *connection, const struct route *route) {
    const struct http_request *request = http_connection_request(connection);
    const struct string_view *wanted =
        http_request_header(request, "Access-Control-Request-Headers");
    add_allow(connection, route, "Allow");
    if (http_request_header(request, "Origin") != NULL) {
        add_allow(connection, route, "Access-Control-Allow-Methods");
        http_add_header(connection, "Access-Control-Max-Age", "3600");
        if (wanted != NULL) {
            echo_header(connection, "Access-Control-Allow-Headers", wanted);
        }
    }
    server_respond_json(connection, route->path, 204, NULL);
}

/* Everything a request must pass, cheapest and most general first. */
static bool admit(const struct server *server, const struct http_connection *connection,
                  const struct route *route, struct api_error *error) {
    const struct http_request *request = http_connection_request(connection);
    char local_address[HTTP_ADDRESS_BYTES];
    http_connection_local_address(connection, local_address);
    const char *path = string_buffer_text(&request->path);
    if (!access_trusts_host(&server->access, request, local_address)) {
        return api_error_set(error, 403, "host_not_allowed", NULL,
                             "This server answers to this machine's own names and those of the "
                             "setting allowed_hosts; the Host header names another.");
    }
    if (!access_allows_origin(&server->access, request, local_address)) {
        return api_error_set(error, 403, "origin_not_allowed", NULL,
                             "Pages of this origin may not use this server.");
    }
    bool is_open = (route != NULL && route->is_open) || request->method == HTTP_OPTIONS;
    if (!is_open && !access_has_key(&server->access, request)) {
        return api_error_set(
            error, 401, "invalid_api_key", NULL, "%s",
            access_sends_a_key(request)
                ? "Incorrect API key provided."
                : "You didn't provide an API key. Provide it in an Authorization header using "
                  "Bearer auth (i.e. Authorization: Bearer YOUR_KEY).");
    }
    if (route == NULL) {
        return api_error_set(
            error, 404, "unknown_url", NULL, "Invalid URL (%.*s %.200s)",
            (int)(request->method_name.length > 20 ? 20 : request->method_name.length),
            request->method_name.data, path);
    }
    if ((route->methods & request->method) == 0 && request->method != HTTP_OPTIONS) {
        return api_error_set(
            error, 405, "method_not_supported", NULL,
            "Not allowed to %.*s on %.200s. (HINT: Perhaps you meant to use a "
            "different HTTP method?)",
            (int)(request->method_name.length > 20 ? 20 : request->method_name.length),
            request->method_name.data, path);
    }
    const struct string_view *coding = http_request_header(request, "Content-Encoding");
    if (coding != NULL && !string_view_is(*coding, "identity")) {
        return api_error_set(error, 415, "unsupported_encoding", NULL,
                             "Compressed request bodies are not supported.");
    }
    return true;
}

void routes_head(void *context, struct http_connection *connection) {
    struct server *server = context;
    const struct http_request *request = http_connection_request(connection);
    const struct route *route = find_route(request);
    struct api_error error = {0};
    server_metrics_began(&server->metrics, connection, route_name(route, request));
    http_add_header(connection, "X-Request-Id", http_connection_request_id(connection));
    if (!admit(server, connection, route, &error)) {
        if (error.status != 403) {
            add_cors_headers(connection);
        }
        if (error.status == 401) {
            http_add_header(connection, "WWW-Authenticate", "Bearer");
        } else if (error.status == 405) {
            add_allow(connection, route, "Allow");
        }
        server_respond_error(connection, route_name(route, request), &error);
        return;
    }
    add_cors_headers(connection);
    if (route->head != NULL && request->method == HTTP_POST) {
        route->head(server, connection, route->path);
    }
}

bool routes_is_vital(const struct http_request *request) {
    const struct route *route = find_route(request);
    return route != NULL && route->is_vital && (request->method & route->methods) != 0;
}

bool routes_takes_large_body(const struct http_request *request) {
    const struct route *route = find_route(request);
    return route != NULL && route->head != NULL && request->method == HTTP_POST;
}

void routes_request(void *context, struct http_connection *connection) {
    struct server *server = context;
    const struct http_request *request = http_connection_request(connection);
    const struct route *route = find_route(request); /* there is one: routes_head let it pass */
    if (request->method == HTTP_OPTIONS) {
        answer_options(connection, route);
    } else if (route->generates != NULL) {
        generation_begin(server, connection, route->generates);
    } else {
        route->answer(server, connection, route->path);
    }
}

void routes_refused(void *context, struct http_connection *connection, int status,
                    const char *reason) {
    struct server *server = context;
    struct api_error error;
    server_metrics_began(&server->metrics, connection, other_route);
    api_error_set(&error, status, NULL, NULL, "%s", reason);
    server_respond_error(connection, other_route, &error);
}

void routes_ended(void *context, struct http_connection *connection, int status, bool complete,
                  enum http_abandoned why) {
    struct server *server = context;
    server_metrics_ended(&server->metrics, connection, status, complete, why);
}

void routes_displaced(void *context, const char *state) {
    struct server *server = context;
    server_metrics_displaced(&server->metrics, state);
}

void routes_piece(void *context, struct http_connection *connection) {
    struct server *server = context;
    server_metrics_piece(&server->metrics, connection);
}
