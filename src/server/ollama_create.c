/*
 * ollama_create.c - /api/create: a model made of another one, or of an uploaded file, with options,
 * texts and messages of its own.
 *
 * What the request does not give is the base model's. Everything is checked before it is written,
 * so that a model that was created can be used.
 */
#include "base/json_memory.h"
#include "model/gguf.h"
#include "server/json_body.h"
#include "server/ollama.h"
#include "server/ollama_messages.h"
#include "server/ollama_options.h"
#include "server/request_fields.h"
#include "server/server_internal.h"
#include "server/status_job.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct create {
    struct status_job job; /* first */
    json_t *body;          /* this job's own */
    /* the worker's */
    struct hub_model base; /* of "from" */
    struct string_buffer path;
    char *parameters, *messages; /* JSON */
    struct string_buffer license;
};

/* --- what is refused --- */

static const struct {
    const char *field, *reason;
} unsupported[] = {
    {"adapters", "adapters are not supported: merge them into the model's file first"},
    {"quantize", "quantize is not supported here: upload a file of the format that is wanted"},
    {"quantization", "quantize is not supported here: upload a file of the format that is wanted"},
    {"modelfile", "the text of a Modelfile is not read: send from, template, system, parameters, "
                  "messages"},
};

static bool is_given(const json_t *value) {
    return value != NULL && !json_is_null(value) && !json_is_false(value) &&
           !(json_is_string(value) && json_string_length(value) == 0) &&
           !(json_is_object(value) && json_object_size(value) == 0) &&
           !(json_is_array(value) && json_array_size(value) == 0);
}

static bool check_types(const json_t *body, struct api_error *error) {
    static const struct {
        const char *field;
        json_type type;
        const char *kind;
    } rows[] = {{"from", JSON_STRING, "a string"},
                {"template", JSON_STRING, "a string"},
                {"system", JSON_STRING, "a string"},
                {"files", JSON_OBJECT, "an object"},
                {"parameters", JSON_OBJECT, "an object"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const json_t *value = json_object_get(body, rows[i].field);
        if (is_given(value) && json_typeof(value) != rows[i].type) {
            return request_field_wrong_type(rows[i].field, rows[i].kind, value, error);
        }
    }
    return true;
}

static bool check_body(const json_t *body, struct api_error *error) {
    for (size_t i = 0; i < sizeof unsupported / sizeof unsupported[0]; i++) {
        if (is_given(json_object_get(body, unsupported[i].field))) {
            return api_error_set(error, 400, "unsupported_value", unsupported[i].field, "%s",
                                 unsupported[i].reason);
        }
    }
    if (!check_types(body, error)) {
        return false;
    }
    bool has_from = is_given(json_object_get(body, "from"));
    const json_t *files = json_object_get(body, "files");
    if (!has_from && !is_given(files)) {
        return api_error_set(error, 400, "missing_required_parameter", "from",
                             "neither 'from' or 'files' was specified");
    }
    if (has_from && is_given(files)) {
        return api_error_set(error, 400, "invalid_value", "files",
                             "'from' and 'files' exclude each other");
    }
    if (is_given(files) && json_object_size(files) != 1) {
        return api_error_set(error, 400, "unsupported_value", "files",
                             "a model is one GGUF file: give just one in 'files'");
    }
    return true;
}

/* --- options and messages --- */

/* A Modelfile's "stop" may be one text. */
static json_t *merge_parameters(const json_t *given, const char *base) {
    json_t *merged = base == NULL ? NULL : json_guarded(json_loadb, base, strlen(base), 0, NULL);
    if (!json_is_object(merged)) {
        json_decref(merged);
        merged = json_object();
    }
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)given, name, value) {
        bool is_one = strcmp(name, "stop") == 0 && json_is_string(value);
        json_object_set_new(merged, name, is_one ? json_pack("[O]", value) : json_incref(value));
    }
    return merged;
}

static bool make_parameters(struct create *create, struct api_error *error) {
    const json_t *given = json_object_get(create->body, "parameters");
    json_t *merged = merge_parameters(given, create->base.parameters);
    struct arena arena = {0};
    struct ollama_options options = ollama_options_default(&arena, 0);
    /* the base's own may be wrong, and are then without effect: only what is given is judged */
    json_t *checked = merge_parameters(given, NULL);
    bool ok = ollama_options_read(checked, &options, error);
    if (ok && json_object_size(merged) != 0) {
        create->parameters = json_dumps(merged, JSON_COMPACT);
        ok = create->parameters != NULL || api_error_out_of_memory(error);
    }
    json_decref(checked);
    json_decref(merged);
    arena_deinit(&arena);
    return ok;
}

static bool make_messages(struct create *create, struct api_error *error) {
    const json_t *given = json_object_get(create->body, "messages");
    json_t *converted = NULL;
    if (!is_given(given)) {
        create->messages = create->base.messages == NULL ? NULL : strdup(create->base.messages);
        return create->base.messages == NULL || create->messages != NULL ||
               api_error_out_of_memory(error);
    }
    bool ok = ollama_messages_read(given, &converted, error);
    for (size_t i = 0; ok && i < json_array_size(given); i++) {
        const json_t *message = json_array_get(given, i);
        const char *role = json_string_value(json_object_get(message, "role"));
        ok = (json_is_string(json_object_get(message, "content")) && role != NULL &&
              (strcmp(role, "system") == 0 || strcmp(role, "user") == 0 ||
               strcmp(role, "assistant") == 0)) ||
             api_error_set(error, 400, "invalid_value", "messages",
                           "a message has a role (system, user or assistant) and a content");
    }
    if (ok) {
        create->messages = json_dumps(given, JSON_COMPACT);
        ok = create->messages != NULL || api_error_out_of_memory(error);
    }
    json_decref(converted);
    return ok;
}

/* A text, or a list of texts. */
static bool make_license(struct create *create, struct api_error *error) {
    const json_t *given = json_object_get(create->body, "license");
    bool ok = !is_given(given) || json_is_string(given) || json_is_array(given);
    if (!is_given(given) && create->base.license != NULL) {
        string_buffer_append_text(&create->license, create->base.license);
    } else if (json_is_string(given)) {
        string_buffer_append_text(&create->license, json_string_value(given));
    }
    for (size_t i = 0; ok && i < json_array_size(given); i++) {
        const json_t *text = json_array_get(given, i);
        ok = json_is_string(text);
        string_buffer_append_text(&create->license, i == 0 ? "" : "\n\n");
        string_buffer_append_text(&create->license, ok ? json_string_value(text) : "");
    }
    return ok || request_field_wrong_type("license", "a string or a list of strings", given, error);
}

/* --- the weights --- */

static bool find_base(struct create *create, const char *from, struct error *error) {
    if (!hub_look_up(create->job.server->options->config, from, &create->base, error)) {
        return error_prefix(error, "model '%.200s' is not here: pull it first", from);
    }
    string_buffer_append_text(&create->path, create->base.path);
    return true;
}

static bool find_file(struct create *create, const json_t *files, struct error *error) {
    const void *only = json_object_iter((json_t *)(uintptr_t)files);
    const char *name = json_object_iter_key((void *)(uintptr_t)only);
    const json_t *value = json_object_iter_value((void *)(uintptr_t)only);
    const char *digest = json_string_value(value);
    char sha256[65];
    struct gguf *gguf = NULL;
    if (digest == NULL || !hub_parse_digest(digest, sha256)) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "invalid digest of '%.200s': it is sha256: and 64 lower-case hexadecimal "
                         "digits",
                         name);
    }
    if (!hub_find_blob(create->job.server->options->config, sha256, &create->path, error)) {
        error->code = ERROR_INVALID_ARGUMENT; /* the request's, not the route's */
        return error_prefix(error, "'%.200s' was not uploaded", name);
    }
    if (!gguf_open(string_buffer_text(&create->path), &gguf, error)) {
        error->code = ERROR_INVALID_ARGUMENT;
        return error_prefix(error, "'%.200s' is no GGUF file that can be read", name);
    }
    gguf_close(gguf);
    return true;
}

/* --- the job --- */

static void tell(void *context, const char *text) {
    status_job_tell(context, &(struct status_line){.status = text});
}

/* The request's own text, or the base's. */
static const char *text_or(const json_t *body, const char *field, const char *base) {
    const json_t *value = json_object_get(body, field);
    return json_is_string(value) ? json_string_value(value) : base;
}

static bool write_model(struct create *create, struct error *error) {
    const struct hub_creation creation = {
        .name = create->job.name,
        .weights = string_buffer_text(&create->path),
        .parameters = create->parameters,
        .system = text_or(create->body, "system", create->base.system),
        .template_text = text_or(create->body, "template", create->base.template_text),
        .license = string_buffer_text(&create->license),
        .messages = create->messages,
        .status = tell,
        .cancelled = status_job_is_unwanted,
        .context = create,
    };
    return hub_create(create->job.server->options->config, &creation, error);
}

static bool work(struct status_job *job, struct error *error) {
    struct create *create = (struct create *)job;
    const char *from = json_string_value(json_object_get(create->body, "from"));
    struct api_error reason;
    bool has_base = from != NULL && from[0] != '\0';
    if (!(has_base ? find_base(create, from, error)
                   : find_file(create, json_object_get(create->body, "files"), error))) {
        return false;
    }
    if (!make_parameters(create, &reason) || !make_messages(create, &reason) ||
        !make_license(create, &reason)) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "%s", reason.message);
    }
    return write_model(create, error);
}

static void succeeded(struct status_job *job) {
    model_manager_forget(job->server->models, job->name);
}

static void discard(struct status_job *job) {
    struct create *create = (struct create *)job;
    hub_model_deinit(&create->base);
    string_buffer_deinit(&create->path);
    string_buffer_deinit(&create->license);
    free(create->parameters);
    free(create->messages);
    json_decref(create->body);
}

static bool begin(struct server *server, struct http_connection *connection, const char *route,
                  const char *name, json_t *body) {
    struct create *create = calloc(1, sizeof *create);
    if (create == NULL) {
        return false;
    }
    create->body = json_incref(body);
    create->job = (struct status_job){
        .action = "created", .work = work, .succeeded = succeeded, .discard = discard};
    bool begun =
        status_job_begin(&create->job, server, connection, route, server->changes, name, body);
    if (!begun) {
        json_decref(create->body);
        free(create);
    }
    return begun;
}

void ollama_answer_create(struct server *server, struct http_connection *connection,
                          const char *route) {
    struct api_error error;
    json_t *body = NULL;
    const char *name = ollama_read_small_body(connection, &body, "model", "name", &error);
    bool good = name != NULL && check_body(body, &error);
    const char *from = json_string_value(json_object_get(body, "from"));
    good = good && (from == NULL || ollama_check_name(from, "from", &error));
    if (good && server->options->config == NULL) {
        good = api_error_set(&error, 400, "no_store", NULL, "this server has no folder for models");
    }
    if (good && !begin(server, connection, route, name, body)) {
        good = api_error_out_of_memory(&error);
    }
    if (!good) {
        server_respond_error(connection, route, &error);
    }
    json_decref(body);
}
