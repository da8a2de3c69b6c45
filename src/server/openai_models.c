/* openai_models.c - /v1/models: the one model that is served. Its names are compared, never opened.
 */
#include "base/json_writer.h"
#include "server/openai.h"
#include "server/server_internal.h"

#include <string.h>

static void write_model(struct json_writer *json, const struct served_model *model) {
    json_write_object_begin(json);
    json_write_text_member(json, "id", model->id);
    json_write_text_member(json, "object", "model");
    json_write_integer_member(json, "created", model->created);
    json_write_text_member(json, "owned_by", "mistral.c");
    json_write_object_end(json);
}

void openai_list_models(struct server *server, struct http_connection *connection,
                        const char *route) {
    struct string_buffer text = {0};
    struct json_writer json = {.out = &text};
    json_write_object_begin(&json);
    json_write_text_member(&json, "object", "list");
    json_write_key(&json, "data");
    json_write_array_begin(&json);
    write_model(&json, &server->model);
    json_write_array_end(&json);
    json_write_object_end(&json);
    server_respond_json(connection, route, 200, &text);
    string_buffer_deinit(&text);
}

void openai_show_model(struct server *server, struct http_connection *connection,
                       const char *route) {
    const struct http_request *request = http_connection_request(connection);
    const char *name = string_buffer_text(&request->path) + strlen("/v1/models/");
    if (!served_model_is(&server->model, name)) {
        struct api_error error;
        api_error_set(&error, 404, "model_not_found", "model",
                      "The model '%.200s' does not exist or you do not have access to it.", name);
        server_respond_error(connection, route, &error);
        return;
    }
    struct string_buffer text = {0};
    struct json_writer json = {.out = &text};
    write_model(&json, &server->model);
    server_respond_json(connection, route, 200, &text);
    string_buffer_deinit(&text);
}
