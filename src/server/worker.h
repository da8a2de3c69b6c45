/*
 * worker.h - a thread that does slow things for the event loop: files, loading, downloads.
 *
 * A task belongs to whoever holds it: the loop until worker_send, the worker while `run` runs, the
 * loop again from `done` on, which may free it. A worker does its tasks one at a time, in order.
 */
#ifndef MISTRAL_SERVER_WORKER_H
#define MISTRAL_SERVER_WORKER_H

#include "base/error.h"
#include "base/mailbox.h"

#include <stdbool.h>
#include <stdint.h>

struct worker;

struct task {
    struct mailbox_message message;  /* first */
    void (*run)(struct task *task);  /* worker's thread; NULL: a message for the loop only */
    void (*done)(struct task *task); /* loop's thread, from task_receive_all */
};

/* Finished tasks go into `done`, which must outlive the worker. */
bool worker_create(struct mailbox *done, struct worker **worker, struct error *error);
/* Finishes what it was sent and joins the thread; the loop then receives once more. NULL allowed.
 */
void worker_free(struct worker *worker);

void worker_send(struct worker *worker, struct task *task);

/* Calls `done` of every task in the mailbox, after waiting up to timeout_ns for one. Loop's thread.
 */
void task_receive_all(struct mailbox *done, int64_t timeout_ns);

#endif
