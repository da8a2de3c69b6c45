/*
 * ollama_models.c - /api/tags and /api/ps: what could be served, and what is loaded.
 */
#include "server/ollama_models.h"
#include "base/clock.h"
#include "base/hash_map.h"
#include "server/file_request.h"
#include "server/ollama.h"
#include "server/ollama_answer.h"
#include "server/server_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* When a model that stays for ever is said to go: a date every client can read. */
static const int64_t for_ever_ns = INT64_C(100) * 365 * 24 * 3600 * 1000000000;

/* --- what the routes share --- */

void ollama_write_details(struct json_writer *json, const struct model_facts *facts) {
    char size[16];
    model_facts_write_size(facts->parameter_count, size);
    json_write_key(json, "details");
    json_write_object_begin(json);
    json_write_text_member(json, "parent_model", "");
    json_write_text_member(json, "format", "gguf");
    json_write_text_member(json, "family", facts->architecture);
    json_write_key(json, "families");
    json_write_array_begin(json);
    json_write_text(json, facts->architecture, strlen(facts->architecture));
    json_write_array_end(json);
    json_write_text_member(json, "parameter_size", size);
    json_write_text_member(json, "quantization_level", facts->format);
    json_write_integer_member(json, "context_length", (int64_t)facts->context_length);
    json_write_integer_member(json, "embedding_length", (int64_t)facts->embedding_length);
    json_write_object_end(json);
}

void ollama_write_capabilities(struct json_writer *json, const struct model_facts *facts) {
    const struct {
        const char *name;
        bool is_there;
    } rows[] = {{"completion", true},
                {"tools", facts->can_use_tools},
                {"insert", facts->can_insert},
                {"embedding", true},
                {"thinking", facts->can_think}};
    json_write_key(json, "capabilities");
    json_write_array_begin(json);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].is_there) {
            json_write_text(json, rows[i].name, strlen(rows[i].name));
        }
    }
    json_write_array_end(json);
}

void ollama_write_digest(struct json_writer *json, const struct hub_model *entry) {
    char text[65] = "";
    if (entry->digest[0] != '\0') {
        json_write_text_member(json, "digest", entry->digest);
        return;
    }
    struct string_buffer identity = {0};
    const char *path = entry->real_path != NULL ? entry->real_path : entry->path;
    string_buffer_append_format(&identity, "%s %" PRIu64 " %" PRId64, path == NULL ? "" : path,
                                entry->bytes, entry->modified);
    for (size_t i = 0; i < 4; i++) {
        snprintf(text + 16 * i, sizeof text - 16 * i, "%016" PRIx64,
                 hash_bytes(string_buffer_text(&identity), identity.length, i));
    }
    string_buffer_deinit(&identity);
    json_write_text_member(json, "digest", text);
}

/* --- /api/tags --- */

struct tags_request {
    struct file_request request; /* first */
    const struct config *config; /* NULL: no stores */
    struct hub_model_list list;
    struct model_facts *facts;         /* [list.count]; NULL when memory ran out */
    char *adopted_name, *adopted_path; /* the model that was named at start; NULL: none */
    struct model_facts adopted_facts;
    struct error error;
    bool failed;
};

/* A file that is no model is listed with what is known. */
static void read_facts(struct tags_request *wanted, const char *path, struct model_facts *facts) {
    struct error reason = {0};
    if (!model_facts_read(wanted->config, path, facts, &reason) &&
        reason.code == ERROR_OUT_OF_MEMORY) {
        wanted->error = reason;
        wanted->failed = true;
    }
}

static void read_stores(struct file_request *request) {
    struct tags_request *wanted = (struct tags_request *)request;
    if (wanted->adopted_path != NULL) {
        read_facts(wanted, wanted->adopted_path, &wanted->adopted_facts);
    }
    if (wanted->config == NULL || wanted->failed) {
        return;
    }
    wanted->failed = !hub_list_all(wanted->config, &wanted->list, &wanted->error);
    wanted->facts = calloc(wanted->list.count + 1, sizeof *wanted->facts);
    if (wanted->facts == NULL) {
        wanted->failed = !error_set(&wanted->error, ERROR_OUT_OF_MEMORY, "no memory for the list");
    }
    for (size_t i = 0; !wanted->failed && i < wanted->list.count; i++) {
        read_facts(wanted, wanted->list.models[i].path, &wanted->facts[i]);
    }
}

static void write_tag(struct json_writer *json, const struct hub_model *entry, const char *name,
                      const struct model_facts *facts) {
    json_write_object_begin(json);
    json_write_text_member(json, "name", name);
    json_write_text_member(json, "model", name);
    ollama_write_time_member(json, "modified_at", entry->modified * 1000000000);
    json_write_integer_member(json, "size", (int64_t)entry->bytes);
    ollama_write_digest(json, entry);
    ollama_write_details(json, facts);
    ollama_write_capabilities(json, facts);
    json_write_object_end(json);
}

/* The adopted model, when it does not lie in a store. */
static void write_adopted(struct json_writer *json, const struct tags_request *wanted) {
    struct model_status status;
    if (wanted->adopted_name == NULL ||
        !model_manager_find(wanted->request.server->models, wanted->adopted_name, &status) ||
        status.entry == NULL) {
        return;
    }
    for (size_t i = 0; i < wanted->list.count; i++) {
        const char *path = wanted->list.models[i].real_path;
        if (path != NULL && strcmp(path, status.path) == 0) {
            return;
        }
    }
    write_tag(json, status.entry, status.name, &wanted->adopted_facts);
}

static void answer_tags(struct file_request *request) {
    const struct tags_request *wanted = (struct tags_request *)request;
    static const struct model_facts nothing = {0};
    if (wanted->failed) {
        struct api_error error;
        api_error_from(&error, &wanted->error, NULL);
        server_respond_error(request->connection, request->route, &error);
        return;
    }
    struct string_buffer text = {0};
    struct json_writer json = {.out = &text};
    json_write_object_begin(&json);
    json_write_key(&json, "models");
    json_write_array_begin(&json);
    write_adopted(&json, wanted);
    for (size_t i = 0; i < wanted->list.count; i++) {
        const struct hub_model *entry = &wanted->list.models[i];
        write_tag(&json, entry, entry->name, wanted->facts == NULL ? &nothing : &wanted->facts[i]);
    }
    json_write_array_end(&json);
    json_write_object_end(&json);
    server_respond_json(request->connection, request->route, 200, &text);
    string_buffer_deinit(&text);
}

static void discard_tags(struct file_request *request) {
    struct tags_request *wanted = (struct tags_request *)request;
    for (size_t i = 0; wanted->facts != NULL && i < wanted->list.count; i++) {
        model_facts_deinit(&wanted->facts[i]);
    }
    free(wanted->facts);
    model_facts_deinit(&wanted->adopted_facts);
    hub_model_list_deinit(&wanted->list);
    free(wanted->adopted_name);
    free(wanted->adopted_path);
}

static void note_adopted(void *context, const struct model_status *status) {
    struct tags_request *wanted = context;
    if (status->is_adopted && wanted->adopted_name == NULL) {
        wanted->adopted_name = strdup(status->name);
        wanted->adopted_path = strdup(status->path);
    }
}

void ollama_answer_tags(struct server *server, struct http_connection *connection,
                        const char *route) {
    struct tags_request *wanted = calloc(1, sizeof *wanted);
    if (wanted != NULL) {
        wanted->config = server->options->config;
        wanted->request.work = read_stores;
        wanted->request.answer = answer_tags;
        wanted->request.discard = discard_tags;
        model_manager_visit(server->models, note_adopted, wanted);
    }
    file_request_begin(server, connection, route, NULL, wanted == NULL ? NULL : &wanted->request);
}

/* --- /api/ps --- */

static void write_running(void *context, const struct model_status *status) {
    struct json_writer *json = context;
    struct model_facts facts = {0};
    if (status->state != MODEL_LOADING && status->model == NULL) {
        return;
    }
    if (status->model != NULL) {
        const struct engine_info *info = status->model->info;
        snprintf(facts.architecture, sizeof facts.architecture, "%s", info->architecture);
        snprintf(facts.format, sizeof facts.format, "%s", info->format);
        facts.parameter_count = info->parameter_count;
        facts.context_length = info->context_length;
        facts.embedding_length = info->embedding_length;
    }
    int64_t end = status->stays ? clock_wall_ns() + for_ever_ns : status->expires_at_ns;
    json_write_object_begin(json);
    json_write_text_member(json, "name", status->name);
    json_write_text_member(json, "model", status->name);
    json_write_integer_member(json, "size", (int64_t)status->bytes);
    ollama_write_digest(json, status->entry == NULL ? &(struct hub_model){0} : status->entry);
    ollama_write_details(json, &facts);
    ollama_write_time_member(json, "expires_at", end);
    json_write_integer_member(json, "size_vram", 0);
    json_write_integer_member(json, "context_length", (int64_t)facts.context_length);
    json_write_text_member(json, "state", model_state_name(status->state));
    if (status->state == MODEL_LOADING) {
        json_write_key(json, "loaded_fraction");
        json_write_number(json, status->loaded_fraction);
    }
    json_write_object_end(json);
}

void ollama_answer_ps(struct server *server, struct http_connection *connection,
                      const char *route) {
    struct string_buffer text = {0};
    struct json_writer json = {.out = &text};
    json_write_object_begin(&json);
    json_write_key(&json, "models");
    json_write_array_begin(&json);
    model_manager_visit(server->models, write_running, &json);
    json_write_array_end(&json);
    json_write_object_end(&json);
    server_respond_json(connection, route, 200, &text);
    string_buffer_deinit(&text);
}
