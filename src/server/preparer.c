/* preparer.c - see preparer.h. */
#include "server/preparer.h"

#include "server/generation.h"
#include "server/json_body.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct preparer {
    pthread_t thread;
    const struct served_model *model;
    struct mailbox inbox;
    struct mailbox *done;
    struct mailbox_message stop; /* sent last */
};

static void prepare(const struct preparer *preparer, struct generation *generation) {
    json_t *body = NULL;
    static const char nothing[] = "{}";
    bool is_empty = generation->kind->has_no_body;
    if (!atomic_load_explicit(&generation->is_unwanted, memory_order_relaxed) &&
        json_body_parse(is_empty ? nothing : string_buffer_text(&generation->body),
                        is_empty ? sizeof nothing - 1 : generation->body.length, &body,
                        &generation->error)) {
        (void)generation->kind->prepare(generation, preparer->model, body, &generation->error);
        json_decref(body);
    }
    string_buffer_deinit(&generation->body);
}

static void *run(void *context) {
    struct preparer *preparer = context;
    for (;;) {
        struct mailbox_message *message = mailbox_wait_all(&preparer->inbox, -1);
        while (message != NULL) {
            struct mailbox_message *next = message->next;
            if (message == &preparer->stop) {
                return NULL;
            }
            prepare(preparer, (struct generation *)message);
            mailbox_send(preparer->done, message);
            message = next;
        }
    }
}

bool preparer_create(const struct served_model *model, struct mailbox *done,
                     struct preparer **preparer, struct error *error) {
    struct preparer *made = calloc(1, sizeof *made);
    if (made == NULL || !mailbox_init(&made->inbox, NULL, NULL)) {
        free(made);
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the server");
    }
    made->model = model;
    made->done = done;
    int failure = pthread_create(&made->thread, NULL, run, made);
    if (failure != 0) {
        mailbox_deinit(&made->inbox);
        free(made);
        return error_set_errno(error, failure, "cannot start the server's second thread");
    }
    *preparer = made;
    return true;
}

void preparer_free(struct preparer *preparer) {
    if (preparer == NULL) {
        return;
    }
    mailbox_send(&preparer->inbox, &preparer->stop);
    pthread_join(preparer->thread, NULL);
    mailbox_deinit(&preparer->inbox);
    free(preparer);
}

void preparer_send(struct preparer *preparer, struct generation *generation) {
    mailbox_send(&preparer->inbox, &generation->message);
}
