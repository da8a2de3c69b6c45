/*
 * file_request.h - a request whose answer is made from files: listing, showing, changing models.
 *
 * The event loop must not wait for a disk. The work is done on the files worker, the answer is
 * written on the loop, and a client that leaves meanwhile is no trouble.
 */
#ifndef MISTRAL_SERVER_FILE_REQUEST_H
#define MISTRAL_SERVER_FILE_REQUEST_H

#include "server/http_server.h"
#include "server/worker.h"

struct server;

/* Embedded as the first member of what the work needs; that is allocated with malloc. */
struct file_request {
    struct task task; /* first */
    struct server *server;
    struct http_connection *connection; /* NULL: the client has left */
    const char *route;                  /* its pattern, for the log */
    /* Files worker's thread; must not touch server or connection. */
    void (*work)(struct file_request *request);
    /* Loop's thread; only while the client is there. Must answer. */
    void (*answer)(struct file_request *request);
    /* Loop's thread, at the end: releases what hangs on it, not itself. May be NULL. */
    void (*discard)(struct file_request *request);
};

/* `request` has work, answer and discard set and is owned from here on; NULL (no memory for it) is
 * answered with an error. `worker` is NULL for the server's files worker. */
void file_request_begin(struct server *server, struct http_connection *connection,
                        const char *route, struct worker *worker, struct file_request *request);

#endif
