/*
 * ollama_show.c - /api/show: all that is known of one model.
 */
#include "base/json_memory.h"
#include "server/file_request.h"
#include "server/json_body.h"
#include "server/ollama.h"
#include "server/ollama_answer.h"
#include "server/ollama_models.h"
#include "server/ollama_request.h"
#include "server/server_internal.h"

#include <stdlib.h>
#include <string.h>

struct show_request {
    struct file_request request; /* first */
    const struct config *config; /* NULL: no stores */
    char *name;                  /* as asked for */
    char *path;                  /* of its file, when the manager knows it; else NULL */
    bool verbose;
    struct hub_model entry;
    struct model_facts facts;
    struct string_buffer text; /* the answer */
    struct api_error error;    /* status not 0: instead of it */
};

/* --- the answer's texts --- */

/* A line each: the key padded to 30, the value; a list has a line for each element. */
static void write_parameters(const json_t *parameters, const char *prefix, size_t width,
                             struct string_buffer *out) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)parameters, key, value) {
        size_t count = json_is_array(value) ? json_array_size(value) : 1;
        for (size_t i = 0; i < count; i++) {
            const json_t *one = json_is_array(value) ? json_array_get(value, i) : value;
            char *shown = json_dumps(one, JSON_ENCODE_ANY);
            string_buffer_append_format(out, "%s%s%-*s %s", out->length == 0 ? "" : "\n", prefix,
                                        (int)width, key, shown == NULL ? "" : shown);
            free(shown);
        }
    }
}

static void append_block(struct string_buffer *out, const char *keyword, const char *text) {
    if (text != NULL && text[0] != '\0') {
        string_buffer_append_format(out, "\n%s \"\"\"", keyword);
        string_buffer_append_text(out, text);
        string_buffer_append_text(out, "\"\"\"");
    }
}

static void write_modelfile(const struct show_request *wanted, const json_t *parameters,
                            const json_t *messages, struct string_buffer *out) {
    string_buffer_append_text(out, "FROM ");
    string_buffer_append_text(out, wanted->entry.name == NULL ? wanted->name : wanted->entry.name);
    append_block(out, "TEMPLATE", wanted->entry.template_text);
    append_block(out, "SYSTEM", wanted->entry.system);
    write_parameters(parameters, "PARAMETER ", 0, out);
    append_block(out, "LICENSE", wanted->entry.license);
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *message = json_array_get(messages, i);
        const char *role = json_string_value(json_object_get(message, "role"));
        struct string_buffer keyword = {0};
        string_buffer_append_format(&keyword, "MESSAGE %s", role == NULL ? "user" : role);
        append_block(out, string_buffer_text(&keyword),
                     json_string_value(json_object_get(message, "content")));
        string_buffer_deinit(&keyword);
    }
}

static void write_buffer_member(struct json_writer *json, const char *name,
                                struct string_buffer *text) {
    json_write_key(json, name);
    json_write_text_of(json, text);
    string_buffer_deinit(text);
}

/* The Go template of Ollama's store, which clients look into, else the file's own. Editors look for
 * .Suffix there to learn that a model fills in. */
static void write_template(struct json_writer *json, struct show_request *wanted) {
    struct string_buffer text = {0};
    if (wanted->entry.template_text != NULL) {
        string_buffer_append_text(&text, wanted->entry.template_text);
    } else {
        string_buffer_append_buffer(&text, &wanted->facts.chat_template);
        if (wanted->facts.can_insert) {
            string_buffer_append_text(&text, "{# .Suffix: fills in the middle #}");
        }
    }
    write_buffer_member(json, "template", &text);
}

static void write_texts(struct json_writer *json, struct show_request *wanted) {
    struct string_buffer modelfile = {0}, lines = {0};
    json_t *parameters = wanted->entry.parameters == NULL
                             ? NULL
                             : json_guarded(json_loadb, wanted->entry.parameters,
                                            strlen(wanted->entry.parameters), 0, NULL);
    json_t *messages = /* read and written again: a store's file is not trusted to be JSON */
        wanted->entry.messages == NULL ? NULL
                                       : json_guarded(json_loadb, wanted->entry.messages,
                                                      strlen(wanted->entry.messages), 0, NULL);
    write_modelfile(wanted, parameters, messages, &modelfile);
    write_parameters(parameters, "", 30, &lines);
    json_decref(parameters);
    json_write_text_member(json, "license",
                           wanted->entry.license != NULL
                               ? wanted->entry.license
                               : string_buffer_text(&wanted->facts.license));
    write_buffer_member(json, "modelfile", &modelfile);
    write_buffer_member(json, "parameters", &lines);
    write_template(json, wanted);
    if (wanted->entry.system != NULL) {
        json_write_text_member(json, "system", wanted->entry.system);
    }
    char *shown = messages == NULL ? NULL : json_dumps(messages, JSON_COMPACT);
    if (shown != NULL) {
        json_write_key(json, "messages");
        json_write_raw(json, shown, strlen(shown));
    }
    free(shown);
    json_decref(messages);
}

/* --- the work --- */

static bool write_all(struct show_request *wanted, const char *path, struct error *cause) {
    struct json_writer json = {.out = &wanted->text};
    if (!model_facts_read(wanted->config, path, &wanted->facts, cause)) {
        return false;
    }
    json_write_object_begin(&json);
    write_texts(&json, wanted);
    ollama_write_details(&json, &wanted->facts);
    json_write_key(&json, "model_info");
    json_write_object_begin(&json);
    bool ok = model_facts_write_metadata(wanted->config, path, wanted->verbose, &json, cause);
    json_write_object_end(&json);
    json_write_key(&json, "tensors");
    if (wanted->verbose) {
        ok = ok && model_facts_write_tensors(wanted->config, path, &json, cause);
    } else {
        json_write_raw(&json, "[]", 2);
    }
    ollama_write_capabilities(&json, &wanted->facts);
    ollama_write_time_member(&json, "modified_at", wanted->entry.modified * 1000000000);
    json_write_object_end(&json);
    return ok;
}

static void work(struct file_request *request) {
    struct show_request *wanted = (struct show_request *)request;
    struct error cause = {0};
    bool is_known =
        wanted->config != NULL && hub_look_up(wanted->config, wanted->name, &wanted->entry, &cause);
    const char *path = wanted->path != NULL ? wanted->path : wanted->entry.path;
    if (!is_known && wanted->path == NULL) {
        ollama_unknown_model(wanted->name, &wanted->error);
    } else if (!write_all(wanted, path, &cause)) {
        api_error_from(&wanted->error, &cause, NULL);
    }
}

static void answer(struct file_request *request) {
    struct show_request *wanted = (struct show_request *)request;
    if (wanted->error.status != 0) {
        server_respond_error(request->connection, request->route, &wanted->error);
    } else {
        server_respond_json(request->connection, request->route, 200, &wanted->text);
    }
}

static void discard(struct file_request *request) {
    struct show_request *wanted = (struct show_request *)request;
    hub_model_deinit(&wanted->entry);
    model_facts_deinit(&wanted->facts);
    string_buffer_deinit(&wanted->text);
    free(wanted->name);
    free(wanted->path);
}

void ollama_answer_show(struct server *server, struct http_connection *connection,
                        const char *route) {
    struct api_error error;
    json_t *body = NULL;
    const char *name = ollama_read_small_body(connection, &body, "model", "name", &error);
    if (name == NULL) {
        server_respond_error(connection, route, &error);
        json_decref(body);
        return;
    }
    struct show_request *wanted = calloc(1, sizeof *wanted);
    if (wanted != NULL) {
        struct model_status status;
        wanted->config = server->options->config;
        wanted->verbose = json_is_true(json_object_get(body, "verbose"));
        wanted->name = strdup(name);
        if (model_manager_find(server->models, name, &status)) {
            wanted->path = strdup(status.path);
            wanted->entry.modified = status.entry == NULL ? 0 : status.entry->modified;
        }
        wanted->request.work = work;
        wanted->request.answer = answer;
        wanted->request.discard = discard;
    }
    json_decref(body);
    if (wanted != NULL && wanted->name == NULL) {
        free(wanted->path);
        free(wanted);
        wanted = NULL;
    }
    file_request_begin(server, connection, route, NULL, wanted == NULL ? NULL : &wanted->request);
}
