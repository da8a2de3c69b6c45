/* worker.c - see worker.h. */
#include "server/worker.h"

#include <pthread.h>
#include <stdlib.h>

struct worker {
    pthread_t thread;
    struct mailbox inbox;
    struct mailbox *done;
    struct mailbox_message stop; /* sent last */
};

static void *run(void *context) {
    struct worker *worker = context;
    for (;;) {
        struct mailbox_message *message = mailbox_wait_all(&worker->inbox, -1);
        while (message != NULL) {
            struct mailbox_message *next = message->next;
            if (message == &worker->stop) {
                return NULL;
            }
            struct task *task = (struct task *)message;
            if (task->run != NULL) {
                task->run(task);
            }
            mailbox_send(worker->done, message);
            message = next;
        }
    }
}

bool worker_create(struct mailbox *done, struct worker **worker, struct error *error) {
    struct worker *made = calloc(1, sizeof *made);
    if (made == NULL || !mailbox_init(&made->inbox, NULL, NULL)) {
        free(made);
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a thread of the server");
    }
    made->done = done;
    int failure = pthread_create(&made->thread, NULL, run, made);
    if (failure != 0) {
        mailbox_deinit(&made->inbox);
        free(made);
        return error_set_errno(error, failure, "cannot start a thread of the server");
    }
    *worker = made;
    return true;
}

void worker_free(struct worker *worker) {
    if (worker == NULL) {
        return;
    }
    mailbox_send(&worker->inbox, &worker->stop);
    pthread_join(worker->thread, NULL);
    mailbox_deinit(&worker->inbox);
    free(worker);
}

void worker_send(struct worker *worker, struct task *task) {
    mailbox_send(&worker->inbox, &task->message);
}

void task_receive_all(struct mailbox *done, int64_t timeout_ns) {
    struct mailbox_message *message = mailbox_wait_all(done, timeout_ns);
    while (message != NULL) {
        struct mailbox_message *next = message->next;
        struct task *task = (struct task *)message;
        if (task->done != NULL) {
            task->done(task);
        }
        message = next;
    }
}
