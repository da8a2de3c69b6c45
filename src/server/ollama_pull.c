/*
 * ollama_pull.c - /api/pull: fetches a model, and tells how far it is.
 *
 * One pull at a time. A client that leaves ends it; what has arrived is kept, and the next pull
 * goes on from there.
 */
#include "base/clock.h"
#include "base/hash_map.h"
#include "server/ollama.h"
#include "server/server_internal.h"
#include "server/status_job.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t between_lines_ns = 200000000;

struct pull {
    struct status_job job; /* first */
    char *reference;
    struct hub_pull_result result;
    /* worker's */
    bool has_begun; /* "pulling manifest" is told: before that, a failure has its own status */
    int64_t last_line_ns;
    enum hub_stage last_stage;
    char last_digest[80];
};

/* --- the worker's side --- */

/* Clients tell files apart by a digest; where the repository gives none, the name stands for it. */
static void name_file(const struct hub_progress *progress, char *digest, size_t size) {
    size_t length = (size_t)snprintf(digest, size, "sha256:%s", progress->sha256);
    for (uint64_t i = 0; progress->sha256[0] == '\0' && i < 4; i++) {
        snprintf(digest + length + 16 * i, size - length - 16 * i, "%016" PRIx64,
                 hash_bytes(progress->file, strlen(progress->file), i));
    }
}

static void begin_once(struct pull *pull) {
    if (!pull->has_begun) {
        pull->has_begun = true;
        status_job_tell(&pull->job, &(struct status_line){.status = "pulling manifest"});
    }
}

static void on_progress(void *context, const struct hub_progress *progress) {
    struct pull *pull = context;
    int64_t now = clock_now_ns();
    char digest[80], status[64];
    if (progress->file == NULL || progress->stage == HUB_ASKING || progress->stage == HUB_WAITING) {
        return;
    }
    name_file(progress, digest, sizeof digest);
    bool is_news = progress->stage != pull->last_stage || progress->done == progress->total ||
                   strcmp(digest, pull->last_digest) != 0;
    if (!is_news && now - pull->last_line_ns < between_lines_ns) {
        return;
    }
    bool is_checking = progress->stage == HUB_CHECKING;
    if (is_checking && pull->last_stage == HUB_CHECKING) {
        return; /* said once */
    }
    begin_once(pull);
    pull->last_stage = progress->stage;
    pull->last_line_ns = now;
    memcpy(pull->last_digest, digest, sizeof digest);
    snprintf(status, sizeof status, "pulling %.12s", digest + strlen("sha256:"));
    const struct status_line line = {.status = is_checking ? "verifying sha256 digest" : status,
                                     .digest = is_checking ? NULL : digest,
                                     .total = progress->total,
                                     .completed = progress->done};
    status_job_tell(&pull->job, &line);
}

static bool work(struct status_job *job, struct error *error) {
    struct pull *pull = (struct pull *)job;
    const struct hub_pull_options options = {
        .config = job->server->options->config, /* constant */
        .progress = on_progress,
        .cancelled = status_job_is_unwanted,
        .context = pull,
    };
    if (!hub_pull(pull->reference, &options, &pull->result, error)) {
        return false;
    }
    begin_once(pull);
    status_job_tell(job, &(struct status_line){.status = "verifying sha256 digest"});
    status_job_tell(job, &(struct status_line){.status = "writing manifest"});
    return true;
}

/* --- the loop's side --- */

static void succeeded(struct status_job *job) {
    model_manager_forget(job->server->models, job->name);
}

static void discard(struct status_job *job) {
    struct pull *pull = (struct pull *)job;
    hub_pull_result_deinit(&pull->result);
    free(pull->reference);
}

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

void ollama_answer_pull(struct server *server, struct http_connection *connection,
                        const char *route) {
    struct api_error error;
    json_t *body = NULL;
    const char *name = ollama_read_small_body(connection, &body, "model", "name", &error);
    struct pull *pull = NULL;
    bool begun = false;
    if (name != NULL && server->options->config == NULL) {
        api_error_set(&error, 400, "no_store", NULL, "this server has no folder for models");
    } else if (name != NULL) {
        api_error_out_of_memory(&error);
        pull = calloc(1, sizeof *pull);
    }
    if (pull != NULL) {
        pull->reference = reference_of(name);
        pull->job = (struct status_job){
            .action = "pulled", .work = work, .succeeded = succeeded, .discard = discard};
        begun = pull->reference != NULL && status_job_begin(&pull->job, server, connection, route,
                                                            server->downloads, name, body);
    }
    if (!begun) {
        if (pull != NULL) {
            free(pull->reference);
        }
        free(pull);
        server_respond_error(connection, route, &error);
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
