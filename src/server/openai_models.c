/*
 * openai_models.c - /v1/models: what could be served, the loaded ones first. Names out of requests
 * are compared with those in the stores, never opened.
 */
#include "base/json_writer.h"
#include "server/file_request.h"
#include "server/openai.h"
#include "server/server_internal.h"

#include <stdlib.h>
#include <string.h>

static void write_model(struct json_writer *json, const char *id, int64_t created) {
    json_write_object_begin(json);
    json_write_text_member(json, "id", id);
    json_write_text_member(json, "object", "model");
    json_write_integer_member(json, "created", created);
    json_write_text_member(json, "owned_by", "mistral.c");
    json_write_object_end(json);
}

static int64_t created_of(const struct model_status *status) {
    if (status->model != NULL) {
        return status->model->created;
    }
    return status->entry == NULL ? 0 : status->entry->modified;
}

/* --- the list --- */

struct list_request {
    struct file_request request; /* first */
    const struct config *config; /* NULL: no stores */
    struct hub_model_list list;
    struct error error;
    bool failed;
};

static void read_stores(struct file_request *request) {
    struct list_request *wanted = (struct list_request *)request;
    if (wanted->config != NULL) {
        wanted->failed = !hub_list_all(wanted->config, &wanted->list, &wanted->error);
    }
}

static void write_if_loaded(void *context, const struct model_status *status) {
    if (status->model != NULL) {
        write_model(context, status->name, created_of(status));
    }
}

static void write_if_adopted(void *context, const struct model_status *status) {
    if (status->model == NULL && status->is_adopted) {
        write_model(context, status->name, created_of(status));
    }
}

struct path_search {
    const char *path;
    bool is_listed;
};

/* Loaded, or adopted: it stands in the list already. */
static void compare_path(void *context, const struct model_status *status) {
    struct path_search *search = context;
    if ((status->model != NULL || status->is_adopted) && strcmp(status->path, search->path) == 0) {
        search->is_listed = true;
    }
}

static void answer_list(struct file_request *request) {
    const struct list_request *wanted = (struct list_request *)request;
    const struct model_manager *models = request->server->models;
    if (wanted->failed) {
        struct api_error error;
        api_error_from(&error, &wanted->error, NULL);
        server_respond_error(request->connection, request->route, &error);
        return;
    }
    struct string_buffer text = {0};
    struct json_writer json = {.out = &text};
    json_write_object_begin(&json);
    json_write_text_member(&json, "object", "list");
    json_write_key(&json, "data");
    json_write_array_begin(&json);
    model_manager_visit(models, write_if_loaded, &json);
    model_manager_visit(models, write_if_adopted, &json);
    for (size_t i = 0; i < wanted->list.count; i++) {
        const struct hub_model *entry = &wanted->list.models[i];
        struct path_search search = {.path = entry->real_path};
        model_manager_visit(models, compare_path, &search);
        if (!search.is_listed) {
            write_model(&json, entry->name, entry->modified);
        }
    }
    json_write_array_end(&json);
    json_write_object_end(&json);
    server_respond_json(request->connection, request->route, 200, &text);
    string_buffer_deinit(&text);
}

static void discard_list(struct file_request *request) {
    hub_model_list_deinit(&((struct list_request *)request)->list);
}

void openai_list_models(struct server *server, struct http_connection *connection,
                        const char *route) {
    struct list_request *wanted = calloc(1, sizeof *wanted);
    if (wanted != NULL) {
        wanted->config = server->options->config;
        wanted->request.work = read_stores;
        wanted->request.answer = answer_list;
        wanted->request.discard = discard_list;
    }
    file_request_begin(server, connection, route, NULL, wanted == NULL ? NULL : &wanted->request);
}

/* --- one --- */

struct show_request {
    struct file_request request; /* first */
    const struct config *config;
    char *name;
    struct hub_model found;
    struct error error;
    bool is_found;
};

static void respond_model(struct http_connection *connection, const char *route, const char *id,
                          int64_t created) {
    struct string_buffer text = {0};
    struct json_writer json = {.out = &text};
    write_model(&json, id, created);
    server_respond_json(connection, route, 200, &text);
    string_buffer_deinit(&text);
}

static void respond_unknown(struct http_connection *connection, const char *route,
                            const char *name) {
    struct api_error error;
    api_error_set(&error, 404, "model_not_found", "model",
                  "The model '%.200s' does not exist or you do not have access to it.", name);
    server_respond_error(connection, route, &error);
}

static void look_up(struct file_request *request) {
    struct show_request *wanted = (struct show_request *)request;
    wanted->is_found = hub_look_up(wanted->config, wanted->name, &wanted->found, &wanted->error);
}

static void answer_one(struct file_request *request) {
    const struct show_request *wanted = (struct show_request *)request;
    if (wanted->is_found) {
        respond_model(request->connection, request->route, wanted->found.name,
                      wanted->found.modified);
    } else {
        respond_unknown(request->connection, request->route, wanted->name);
    }
}

static void discard_one(struct file_request *request) {
    struct show_request *wanted = (struct show_request *)request;
    hub_model_deinit(&wanted->found);
    free(wanted->name);
}

void openai_show_model(struct server *server, struct http_connection *connection,
                       const char *route) {
    const struct http_request *request = http_connection_request(connection);
    const char *name = string_buffer_text(&request->path) + strlen("/v1/models/");
    struct model_status status;
    if (name[0] != '\0' && model_manager_find(server->models, name, &status)) {
        respond_model(connection, route, status.name, created_of(&status));
        return;
    }
    if (server->options->config == NULL) {
        respond_unknown(connection, route, name);
        return;
    }
    struct show_request *wanted = calloc(1, sizeof *wanted);
    char *copy = strdup(name);
    if (wanted == NULL || copy == NULL) {
        free(wanted);
        free(copy);
        file_request_begin(server, connection, route, NULL, NULL);
        return;
    }
    wanted->config = server->options->config;
    wanted->name = copy;
    wanted->request.work = look_up;
    wanted->request.answer = answer_one;
    wanted->request.discard = discard_one;
    file_request_begin(server, connection, route, NULL, &wanted->request);
}
