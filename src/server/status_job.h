/*
 * status_job.h - a request that takes long and says how far it is: pull and create.
 *
 * The work is done on a worker and tells its status from there; each becomes a line of the answer,
 * or, without `stream`, only the end is told. A client that leaves makes the work unwanted, which
 * it should notice soon.
 */
#ifndef MISTRAL_SERVER_STATUS_JOB_H
#define MISTRAL_SERVER_STATUS_JOB_H

#include "base/error.h"
#include "server/http_server.h"
#include "server/worker.h"

#include <jansson.h>
#include <stdatomic.h>

struct server;

/* Embedded as the first member of what the work needs; that is allocated with malloc, zeroed. */
struct status_job {
    struct task task; /* first */
    struct server *server;
    struct http_connection *connection; /* loop's; NULL: the client has left */
    const char *route;                  /* its pattern, for the log */
    int64_t started_ns;
    char id[32];
    char *name; /* of the model, as asked for */
    bool is_stream;
    atomic_bool is_unwanted;
    struct error error;
    bool ok;
    const char *action; /* for the log: "pulled" */
    /* Worker's thread; must not touch server or connection. */
    bool (*work)(struct status_job *job, struct error *error);
    /* Loop's thread, after work that succeeded, before it is told. May be NULL. */
    void (*succeeded)(struct status_job *job);
    /* Loop's thread, at the end: releases what hangs on it, not itself. */
    void (*discard)(struct status_job *job);
};

struct status_line {
    const char *status;
    const char *digest; /* NULL: none, and no numbers */
    uint64_t total, completed;
};

/* Takes the job over; `body` (borrowed) says whether it streams. False: no memory, and the job is
 * still the caller's. */
bool status_job_begin(struct status_job *job, struct server *server,
                      struct http_connection *connection, const char *route, struct worker *worker,
                      const char *name, const json_t *body);
/* Worker's thread. What cannot be told for lack of memory is not told. */
void status_job_tell(struct status_job *job, const struct status_line *line);
/* Has the shape that hub/ wants; the context is a job. Any thread. */
bool status_job_is_unwanted(void *job);

#endif
