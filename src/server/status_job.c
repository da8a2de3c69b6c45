/* status_job.c - see status_job.h. */
#include "server/status_job.h"

#include "base/clock.h"
#include "base/json_writer.h"
#include "base/log.h"
#include "server/ndjson.h"
#include "server/server_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One line on its way to the loop. */
struct line_task {
    struct task task; /* first */
    struct status_job *job;
    struct string_buffer text;
};

static void write_line(const struct status_line *line, struct string_buffer *text) {
    struct json_writer json = {.out = text};
    json_write_object_begin(&json);
    json_write_text_member(&json, "status", line->status);
    if (line->digest != NULL) {
        json_write_text_member(&json, "digest", line->digest);
        json_write_integer_member(&json, "total", (int64_t)line->total);
        json_write_integer_member(&json, "completed", (int64_t)line->completed);
    }
    json_write_object_end(&json);
}

static void on_line(struct task *task) {
    struct line_task *line = (struct line_task *)task;
    if (line->job->connection != NULL && line->job->is_stream) {
        ndjson_send(line->job->connection, &line->text);
    }
    string_buffer_deinit(&line->text);
    free(line);
}

void status_job_tell(struct status_job *job, const struct status_line *line) {
    struct line_task *made = calloc(1, sizeof *made);
    if (made != NULL) {
        made->task.done = on_line;
        made->job = job;
        write_line(line, &made->text);
        mailbox_send(&job->server->tasks_done, &made->task.message);
    }
}

bool status_job_is_unwanted(void *context) {
    const struct status_job *job = context;
    return atomic_load_explicit(&job->is_unwanted, memory_order_relaxed);
}

static void run(struct task *task) {
    struct status_job *job = (struct status_job *)task;
    job->ok = status_job_is_unwanted(job)
                  ? error_set(&job->error, ERROR_CANCELLED, "the client has left")
                  : job->work(job, &job->error);
}

static int answer_success(struct status_job *job) {
    struct string_buffer text = {0};
    write_line(&(struct status_line){.status = "success"}, &text);
    if (job->is_stream) {
        ndjson_send(job->connection, &text);
        ndjson_end(job->connection);
    } else {
        server_send_json(job->connection, 200, &text);
    }
    string_buffer_deinit(&text);
    return 200;
}

static int answer_failure(struct status_job *job) {
    struct api_error error;
    api_error_from(&error, &job->error, "model");
    if (http_stream_begun(job->connection)) {
        ndjson_fail(job->connection, &error);
        return 200;
    }
    server_send_error(job->connection, job->route, &error);
    return error.status;
}

static void done(struct task *task) {
    struct status_job *job = (struct status_job *)task;
    int status = 499;
    if (job->ok && job->succeeded != NULL) {
        job->succeeded(job);
    }
    if (job->connection != NULL) {
        status = job->ok ? answer_success(job) : answer_failure(job);
    }
    log_event(LOG_INFO, "request", log_text("id", job->id), log_text("route", job->route),
              log_integer("status", status), log_text("model", job->name),
              log_bool(job->action, job->ok),
              log_number("seconds", clock_seconds(clock_now_ns() - job->started_ns)));
    job->discard(job);
    free(job->name);
    free(job);
}

static void abandoned(void *user, enum http_abandoned why) {
    (void)why;
    struct status_job *job = user;
    job->connection = NULL;
    atomic_store_explicit(&job->is_unwanted, true, memory_order_relaxed);
}

bool status_job_begin(struct status_job *job, struct server *server,
                      struct http_connection *connection, const char *route, struct worker *worker,
                      const char *name, const json_t *body) {
    job->name = strdup(name);
    if (job->name == NULL) {
        return false;
    }
    job->task = (struct task){.run = run, .done = done};
    job->server = server;
    job->connection = connection;
    job->route = route;
    job->started_ns = http_connection_started_ns(connection);
    snprintf(job->id, sizeof job->id, "%s", http_connection_request_id(connection));
    job->is_stream = !json_is_false(json_object_get(body, "stream"));
    http_connection_watch(connection, abandoned, job);
    worker_send(worker, &job->task);
    return true;
}
