/*
 * ollama_changes.c - /api/copy and /api/delete: an empty answer, or why not.
 */
#include "server/file_request.h"
#include "server/ollama.h"
#include "server/ollama_request.h"
#include "server/server_internal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct change {
    struct file_request request; /* first */
    const struct config *config; /* NULL: no stores */
    char *source;
    char *destination;         /* NULL: the source is deleted */
    struct string_buffer name; /* of what was deleted, as lists call it */
    struct error error;
    bool done;
};

static void work(struct file_request *request) {
    struct change *change = (struct change *)request;
    if (change->config == NULL) {
        change->done =
            error_set(&change->error, ERROR_UNSUPPORTED, "this server has no folder for models");
    } else if (change->destination == NULL) {
        change->done = hub_delete(change->config, change->source, &change->name, &change->error);
    } else {
        change->done =
            hub_copy(change->config, change->source, change->destination, &change->error);
    }
}

/* The model is unloaded when nobody uses it any more, and its name means nothing from here on. */
static void forget_deleted(struct change *change) {
    struct model_manager *models = change->request.server->models;
    const char *names[] = {change->source, string_buffer_text(&change->name)};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        model_manager_delete(models, names[i]);
    }
}

static void answer(struct file_request *request) {
    struct change *change = (struct change *)request;
    struct api_error error;
    if (change->done) {
        server_respond_empty(request->connection, request->route, 200);
        return;
    }
    if (change->error.code == ERROR_NOT_FOUND) {
        ollama_unknown_model(change->source, &error);
    } else {
        api_error_from(&error, &change->error, NULL);
    }
    server_respond_error(request->connection, request->route, &error);
}

static void discard(struct file_request *request) {
    struct change *change = (struct change *)request;
    if (change->done && change->destination == NULL) {
        forget_deleted(change);
    } else if (change->done) {
        model_manager_forget(request->server->models, change->destination);
    }
    free(change->source);
    free(change->destination);
    string_buffer_deinit(&change->name);
}

/* The texts are copied. */
static void begin(struct server *server, struct http_connection *connection, const char *route,
                  const char *source, const char *destination) {
    struct change *change = calloc(1, sizeof *change);
    if (change != NULL) {
        change->config = server->options->config;
        change->source = strdup(source);
        change->destination = destination == NULL ? NULL : strdup(destination);
        change->request.work = work;
        change->request.answer = answer;
        change->request.discard = discard;
    }
    if (change != NULL &&
        (change->source == NULL || (destination != NULL && change->destination == NULL))) {
        free(change->source);
        free(change->destination);
        free(change);
        change = NULL;
    }
    file_request_begin(server, connection, route, server->changes,
                       change == NULL ? NULL : &change->request);
}

void ollama_answer_copy(struct server *server, struct http_connection *connection,
                        const char *route) {
    struct api_error error;
    json_t *body = NULL;
    const char *source = ollama_read_small_body(connection, &body, "source", NULL, &error);
    const char *destination = json_string_value(json_object_get(body, "destination"));
    if (source != NULL && (destination == NULL || destination[0] == '\0')) {
        source = NULL;
        api_error_set(&error, 400, "missing_required_parameter", "destination",
                      "destination is required");
    } else if (source != NULL && !ollama_check_name(destination, "destination", &error)) {
        source = NULL;
    }
    if (source == NULL) {
        server_respond_error(connection, route, &error);
    } else {
        begin(server, connection, route, source, destination);
    }
    json_decref(body);
}

void ollama_answer_delete(struct server *server, struct http_connection *connection,
                          const char *route) {
    struct api_error error;
    json_t *body = NULL;
    const char *name = ollama_read_small_body(connection, &body, "model", "name", &error);
    if (name == NULL) {
        server_respond_error(connection, route, &error);
    } else {
        begin(server, connection, route, name, NULL);
    }
    json_decref(body);
}
