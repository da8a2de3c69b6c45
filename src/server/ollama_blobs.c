/*
 * ollama_blobs.c - /api/blobs/sha256:…: whether a file is here, and taking one in.
 *
 * A file may be larger than memory: its pieces go to the changes worker, which writes and hashes
 * them in order, and the connection is not read while too many of them wait. What a client that
 * leaves has sent is removed.
 */
#include "base/string_buffer.h"
#include "server/file_request.h"
#include "server/ollama.h"
#include "server/server_internal.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_UPLOADS = 4,
    PIECE_BYTES = 256 << 10,
    PAUSE_BYTES = 4 << 20, /* not written yet: the connection rests */
    RESUME_BYTES = 1 << 20,
};

/* An upload, from the head of its request to its answer. Loop's, but for what is said. */
struct upload {
    struct task begin, end; /* the first and the last one of its tasks */
    struct server *server;
    struct http_connection *connection; /* NULL: answered, or the client has left */
    const char *route;
    uint64_t length; /* that is announced; 0: none is */
    char sha256[65];
    struct string_buffer piece; /* being filled */
    size_t waiting_bytes;       /* with the worker */
    bool is_ending;             /* the end is on its way to the worker */
    /* the worker's, until a task comes back that says so */
    const struct config *config;
    struct hub_upload *file; /* NULL: it is here already, or has failed */
    bool was_there, has_begun, failed;
    struct error error;
};

struct piece_task {
    struct task task; /* first */
    struct upload *upload;
    struct string_buffer bytes;
    bool failed; /* the first one to fail */
};

static struct upload *of_end(struct task *task) {
    return (struct upload *)(void *)((char *)task - offsetof(struct upload, end));
}

/* --- worker --- */

static void run_begin(struct task *task) {
    struct upload *upload = (struct upload *)task;
    upload->has_begun = hub_upload_begin(upload->config, upload->sha256, upload->length,
                                         &upload->file, &upload->error);
    upload->was_there = upload->has_begun && upload->file == NULL;
    upload->failed = !upload->has_begun;
}

static void run_piece(struct task *task) {
    struct piece_task *piece = (struct piece_task *)task;
    struct upload *upload = piece->upload;
    if (upload->file != NULL &&
        !hub_upload_write(upload->file, piece->bytes.data, piece->bytes.length, &upload->error)) {
        hub_upload_abandon(upload->file);
        upload->file = NULL;
        upload->failed = true;
        piece->failed = true;
    }
}

static void run_finish(struct task *task) {
    struct upload *upload = of_end(task);
    if (upload->file != NULL) {
        upload->failed = !hub_upload_finish(upload->file, &upload->error);
    }
}

static void run_abandon(struct task *task) {
    hub_upload_abandon(of_end(task)->file);
}

/* --- loop --- */

static void answer_failure(struct upload *upload) {
    struct api_error error;
    api_error_from(&error, &upload->error, "digest");
    server_respond_error(upload->connection, upload->route, &error);
    upload->connection = NULL;
}

static void ended(struct task *task) {
    struct upload *upload = of_end(task);
    if (upload->connection != NULL && upload->failed) {
        answer_failure(upload);
    } else if (upload->connection != NULL) {
        server_respond_empty(upload->connection, upload->route, upload->was_there ? 200 : 201);
    }
    upload->server->upload_count--;
    string_buffer_deinit(&upload->piece);
    free(upload);
}

static void end(struct upload *upload, void (*run)(struct task *task)) {
    upload->is_ending = true;
    upload->end = (struct task){.run = run, .done = ended};
    worker_send(upload->server->changes, &upload->end);
}

static void abandoned(void *user, enum http_abandoned why) {
    (void)why;
    struct upload *upload = user;
    upload->connection = NULL;
    if (!upload->is_ending) {
        end(upload, run_abandon);
    }
}

/* The rest of the body would be for nothing: the client is told now. */
static void fail_early(struct upload *upload) {
    if (upload->connection != NULL && !upload->is_ending) {
        answer_failure(upload);
        end(upload, run_abandon);
    }
}

static void began(struct task *task) {
    struct upload *upload = (struct upload *)task;
    if (!upload->has_begun) {
        fail_early(upload);
    }
}

static void written(struct task *task) {
    struct piece_task *piece = (struct piece_task *)task;
    struct upload *upload = piece->upload;
    upload->waiting_bytes -= piece->bytes.length;
    if (piece->failed) {
        fail_early(upload);
    }
    if (upload->connection != NULL && upload->waiting_bytes <= RESUME_BYTES) {
        http_connection_pause_body(upload->connection, false);
    }
    string_buffer_deinit(&piece->bytes);
    free(piece);
}

static void send_piece(struct upload *upload) {
    struct piece_task *piece = calloc(1, sizeof *piece);
    if (piece == NULL || upload->piece.failed) {
        free(piece);
        http_connection_drop(upload->connection); /* its watcher, above, hears of it */
        return;
    }
    *piece = (struct piece_task){
        .task = {.run = run_piece, .done = written}, .upload = upload, .bytes = upload->piece};
    upload->piece = (struct string_buffer){0};
    upload->waiting_bytes += piece->bytes.length;
    worker_send(upload->server->changes, &piece->task);
    if (upload->waiting_bytes > PAUSE_BYTES) {
        http_connection_pause_body(upload->connection, true);
    }
}

static void take(void *context, const char *bytes, size_t length) {
    struct upload *upload = context;
    string_buffer_append(&upload->piece, bytes, length);
    if (upload->piece.length >= PIECE_BYTES || upload->piece.failed) {
        send_piece(upload);
    }
}

static bool digest_of_path(const struct http_connection *connection, char sha256[65],
                           struct api_error *error) {
    const struct http_request *request = http_connection_request(connection);
    const char *digest = string_buffer_text(&request->path) + strlen("/api/blobs/");
    return hub_parse_digest(digest, sha256) ||
           api_error_set(error, 400, "invalid_value", "digest",
                         "invalid digest: it is sha256: and 64 lower-case hexadecimal digits");
}

static struct upload *new_upload(struct server *server, struct http_connection *connection,
                                 struct api_error *error) {
    char sha256[65];
    if (!digest_of_path(connection, sha256, error)) {
        return NULL;
    }
    if (server->options->config == NULL) {
        api_error_set(error, 400, "no_store", NULL, "this server has no folder for models");
        return NULL;
    }
    if (server->upload_count == MAX_UPLOADS) {
        api_error_set(error, 503, "too_many_uploads", NULL,
                      "%d files are on their way here already, try again later", MAX_UPLOADS);
        return NULL;
    }
    struct upload *upload = calloc(1, sizeof *upload);
    if (upload == NULL) {
        api_error_out_of_memory(error);
        return NULL;
    }
    memcpy(upload->sha256, sha256, sizeof sha256);
    return upload;
}

void ollama_receive_blob(struct server *server, struct http_connection *connection,
                         const char *route) {
    struct api_error error;
    struct upload *upload = new_upload(server, connection, &error);
    if (upload == NULL) {
        server_respond_error(connection, route, &error);
        return;
    }
    upload->server = server;
    upload->config = server->options->config;
    upload->connection = connection;
    upload->route = route;
    upload->length = http_request_length(http_connection_request(connection));
    upload->begin = (struct task){.run = run_begin, .done = began};
    server->upload_count++;
    http_connection_hand_on_body(connection, take, upload);
    http_connection_watch(connection, abandoned, upload);
    worker_send(server->changes, &upload->begin);
}

/* --- whether it is here --- */

struct presence {
    struct file_request request; /* first */
    const struct config *config;
    char sha256[65];
    bool is_here;
};

static void look(struct file_request *request) {
    struct presence *presence = (struct presence *)request;
    struct string_buffer path = {0};
    struct error ignored;
    presence->is_here = presence->config != NULL &&
                        hub_find_blob(presence->config, presence->sha256, &path, &ignored);
    string_buffer_deinit(&path);
}

static void answer_presence(struct file_request *request) {
    const struct presence *presence = (struct presence *)request;
    server_respond_empty(request->connection, request->route, presence->is_here ? 200 : 404);
}

/* The whole of a POST is here, or somebody asks by HEAD. */
void ollama_answer_blob(struct server *server, struct http_connection *connection,
                        const char *route) {
    struct upload *upload = http_connection_body_context(connection);
    struct presence *presence = NULL;
    struct api_error error;
    char sha256[65];
    if (upload != NULL) {
        if (upload->piece.length != 0) {
            send_piece(upload);
        }
        end(upload, run_finish);
        return;
    }
    if (!digest_of_path(connection, sha256, &error)) {
        server_respond_error(connection, route, &error);
        return;
    }
    presence = calloc(1, sizeof *presence);
    if (presence != NULL) {
        presence->config = server->options->config;
        memcpy(presence->sha256, sha256, sizeof sha256);
        presence->request.work = look;
        presence->request.answer = answer_presence;
    }
    file_request_begin(server, connection, route, NULL,
                       presence == NULL ? NULL : &presence->request);
}
