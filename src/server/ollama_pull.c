/*
 * ollama_pull.c - /api/pull: fetches a model, and tells how far it is.
 *
 * The download runs on a worker of its own, one at a time; its progress comes back as messages. A
 * client that leaves ends it; what has arrived is kept, and the next pull goes on from there.
 */
#include "base/clock.h"
#include "base/hash_map.h"
#include "base/json_writer.h"
#include "base/log.h"
#include "server/ndjson.h"
#include "server/ollama.h"
#include "server/server_internal.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t between_lines_ns = 200000000;

struct pull {
    struct task task; /* first */
    struct server *server;
    struct http_connection *connection; /* loop's; NULL: the client has left */
    const char *route;
    int64_t started_ns;
    char id[32];
    char *name; /* as asked for */
    char *reference;
    bool is_stream;
    bool has_begun; /* "pulling manifest" is out */
    atomic_bool is_unwanted;
    struct hub_pull_result result;
    struct error error;
    bool ok;
    /* worker's */
    int64_t last_line_ns;
    enum hub_stage last_stage;
};

/* One line on its way to the loop. */
struct progress_line {
    struct task task; /* first */
    struct pull *pull;
    char digest[80];
    uint64_t done, total;
    bool is_checking;
};

/* --- lines --- */

static void send_line(struct pull *pull, const char *status, const struct progress_line *line) {
    struct string_buffer text = {0};
    struct json_writer json = {.out = &text};
    if (pull->connection == NULL || !pull->is_stream) {
        return;
    }
    json_write_object_begin(&json);
    json_write_text_member(&json, "status", status);
    if (line != NULL) {
        json_write_text_member(&json, "digest", line->digest);
        json_write_integer_member(&json, "total", (int64_t)line->total);
        json_write_integer_member(&json, "completed", (int64_t)line->done);
    }
    json_write_object_end(&json);
    ndjson_send(pull->connection, &text);
    string_buffer_deinit(&text);
}

static void begin_once(struct pull *pull) {
    if (!pull->has_begun) {
        pull->has_begun = true;
        send_line(pull, "pulling manifest", NULL);
    }
}

static void on_line(struct task *task) {
    struct progress_line *line = (struct progress_line *)task;
    char status[64];
    begin_once(line->pull);
    if (line->is_checking) {
        send_line(line->pull, "verifying sha256 digest", NULL);
    } else {
        snprintf(status, sizeof status, "pulling %.12s", line->digest + strlen("sha256:"));
        send_line(line->pull, status, line);
    }
    free(line);
}

/* --- the worker's side --- */

/* Clients tell files apart by a digest; the real one is known at the end only. */
static void name_file(const char *file, char *digest, size_t size) {
    size_t length = (size_t)snprintf(digest, size, "sha256:");
    for (uint64_t i = 0; i < 4; i++) {
        snprintf(digest + length + 16 * i, size - length - 16 * i, "%016" PRIx64,
                 hash_bytes(file, strlen(file), i));
    }
}

static void on_progress(void *context, const struct hub_progress *progress) {
    struct pull *pull = context;
    int64_t now = clock_now_ns();
    bool is_news = progress->stage != pull->last_stage || progress->done == progress->total;
    if (progress->file == NULL || progress->stage == HUB_ASKING || progress->stage == HUB_WAITING ||
        (!is_news && now - pull->last_line_ns < between_lines_ns)) {
        return;
    }
    struct progress_line *line = calloc(1, sizeof *line);
    if (line == NULL) {
        return;
    }
    pull->last_stage = progress->stage;
    pull->last_line_ns = now;
    line->task.done = on_line;
    line->pull = pull;
    line->done = progress->done;
    line->total = progress->total;
    line->is_checking = progress->stage == HUB_CHECKING;
    name_file(progress->file, line->digest, sizeof line->digest);
    mailbox_send(&pull->server->tasks_done, &line->task.message);
}

static bool is_cancelled(void *context) {
    const struct pull *pull = context;
    return atomic_load_explicit(&pull->is_unwanted, memory_order_relaxed);
}

static void run(struct task *task) {
    struct pull *pull = (struct pull *)task;
    const struct hub_pull_options options = {
        .config = pull->server->options->config,
        .progress = on_progress,
        .cancelled = is_cancelled,
        .context = pull,
    };
    pull->ok =
        !is_cancelled(pull) && hub_pull(pull->reference, &options, &pull->result, &pull->error);
}

/* --- the loop's side --- */

static int answer_success(struct pull *pull) {
    begin_once(pull);
    if (pull->is_stream) {
        send_line(pull, "verifying sha256 digest", NULL);
        send_line(pull, "writing manifest", NULL);
        send_line(pull, "success", NULL);
        ndjson_end(pull->connection);
    } else {
        static const char success[] = "{\"status\":\"success\"}";
        http_respond(pull->connection, 200, "application/json", success, sizeof success - 1);
    }
    return 200;
}

static int answer_failure(struct pull *pull) {
    struct api_error error;
    api_error_from(&error, &pull->error, "model");
    if (pull->has_begun && pull->is_stream) {
        ndjson_fail(pull->connection, &error);
        return 200;
    }
    server_send_error(pull->connection, pull->route, &error);
    return error.status;
}

static void done(struct task *task) {
    struct pull *pull = (struct pull *)task;
    int status = 499;
    if (pull->connection != NULL) {
        status = pull->ok ? answer_success(pull) : answer_failure(pull);
    }
    if (pull->ok) {
        model_manager_forget(pull->server->models, pull->name);
    }
    log_event(LOG_INFO, "request", log_text("id", pull->id), log_text("route", pull->route),
              log_integer("status", status), log_text("model", pull->name),
              log_bool("pulled", pull->ok),
              log_number("seconds", clock_seconds(clock_now_ns() - pull->started_ns)));
    free(pull->result.path);
    free(pull->reference);
    free(pull->name);
    free(pull);
}

static void abandoned(void *user, enum http_abandoned why) {
    (void)why;
    struct pull *pull = user;
    pull->connection = NULL;
    atomic_store_explicit(&pull->is_unwanted, true, memory_order_relaxed);
}

/* --- the request --- */

/* A name as Ollama has it is of Ollama's registry, unless it says otherwise or is an alias. */
static char *reference_of(const char *name) {
    static const char *const known[] = {"hf:", "hf.co/", "huggingface.co/", "https://", "ollama:"};
    struct string_buffer text = {0};
    bool says = false;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        says = says || strncmp(name, known[i], strlen(known[i])) == 0;
    }
    for (const struct hub_alias *alias = hub_aliases(); alias->name != NULL; alias++) {
        size_t length = strlen(alias->name);
        says = says || (strncmp(name, alias->name, length) == 0 &&
                        (name[length] == '\0' || name[length] == ':'));
    }
    string_buffer_append_format(&text, "%s%s", says ? "" : "ollama:", name);
    return string_buffer_take(&text);
}

static struct pull *new_pull(struct server *server, struct http_connection *connection,
                             const char *name) {
    struct pull *pull = calloc(1, sizeof *pull);
    if (pull == NULL) {
        return NULL;
    }
    pull->task = (struct task){.run = run, .done = done};
    pull->server = server;
    pull->connection = connection;
    pull->started_ns = http_connection_started_ns(connection);
    snprintf(pull->id, sizeof pull->id, "%s", http_connection_request_id(connection));
    pull->name = strdup(name);
    pull->reference = reference_of(name);
    if (pull->name == NULL || pull->reference == NULL) {
        free(pull->name);
        free(pull->reference);
        free(pull);
        return NULL;
    }
    return pull;
}

void ollama_answer_pull(struct server *server, struct http_connection *connection,
                        const char *route) {
    struct api_error error;
    json_t *body = NULL;
    const char *name = ollama_read_small_body(connection, &body, "model", "name", &error);
    struct pull *pull = NULL;
    if (name != NULL && server->options->config == NULL) {
        api_error_set(&error, 400, "no_store", NULL, "this server has no folder for models");
    } else if (name != NULL) {
        pull = new_pull(server, connection, name);
        api_error_out_of_memory(&error);
    }
    if (pull == NULL) {
        server_respond_error(connection, route, &error);
    } else {
        pull->route = route;
        pull->is_stream = !json_is_false(json_object_get(body, "stream"));
        http_connection_watch(connection, abandoned, pull);
        worker_send(server->downloads, &pull->task);
    }
    json_decref(body);
}

void ollama_answer_push(struct server *server, struct http_connection *connection,
                        const char *route) {
    (void)server;
    struct api_error error;
    api_error_set(&error, 400, "unsupported", NULL,
                  "push is not supported: this server publishes no models");
    server_respond_error(connection, route, &error);
}
