/* file_request.c - see file_request.h. */
#include "server/file_request.h"

#include "server/server_internal.h"

#include <stdlib.h>

static void run(struct task *task) {
    struct file_request *request = (struct file_request *)task;
    request->work(request);
}

static void done(struct task *task) {
    struct file_request *request = (struct file_request *)task;
    if (request->connection != NULL) {
        request->answer(request);
    }
    if (request->discard != NULL) {
        request->discard(request);
    }
    free(request);
}

static void abandoned(void *user, enum http_abandoned why) {
    (void)why;
    struct file_request *request = user;
    request->connection = NULL;
}

void file_request_begin(struct server *server, struct http_connection *connection,
                        const char *route, struct worker *worker, struct file_request *request) {
    if (request == NULL) {
        struct api_error error;
        api_error_out_of_memory(&error);
        server_respond_error(connection, route, &error);
        return;
    }
    request->task = (struct task){.run = run, .done = done};
    request->server = server;
    request->connection = connection;
    request->route = route;
    http_connection_watch(connection, abandoned, request);
    worker_send(worker == NULL ? server->files : worker, &request->task);
}
