/* preparer.c - see preparer.h. */
#include "server/preparer.h"

#include "server/generation.h"
#include "server/json_body.h"

#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct preparer {
    pthread_t thread;
    struct mailbox inbox;
    struct mailbox *done;
    struct mailbox_message stop; /* sent last */
};

/* Which model the body asks for. A value of the wrong type is the kind's to refuse. */
static bool choose_model(struct generation *generation) {
    if (generation->kind->choose_model != NULL) {
        return generation->kind->choose_model(generation, generation->json, &generation->error);
    }
    const json_t *model = json_object_get(generation->json, "model");
    if (json_is_string(model)) {
        generation->model_name = arena_copy_text(&generation->arena, json_string_value(model),
                                                 json_string_length(model));
        return generation->model_name != NULL || api_error_out_of_memory(&generation->error);
    }
    return true;
}

static void read_body(struct generation *generation) {
    static const char nothing[] = "{}";
    bool is_empty = generation->kind->has_no_body;
    if (json_body_parse(is_empty ? nothing : string_buffer_text(&generation->body),
                        is_empty ? sizeof nothing - 1 : generation->body.length, &generation->json,
                        &generation->error)) {
        (void)choose_model(generation);
    }
    string_buffer_deinit(&generation->body);
}

static void prepare(struct generation *generation) {
    if (atomic_load_explicit(&generation->is_unwanted, memory_order_relaxed)) {
        return;
    }
    if (generation->json == NULL) {
        read_body(generation);
        return;
    }
    (void)generation->kind->prepare(generation, generation->lease.model, generation->json,
                                    &generation->error);
    json_decref(generation->json);
    generation->json = NULL;
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
            prepare((struct generation *)message);
            mailbox_send(preparer->done, message);
            message = next;
        }
    }
}

bool preparer_create(struct mailbox *done, struct preparer **preparer, struct error *error) {
    struct preparer *made = calloc(1, sizeof *made);
    if (made == NULL || !mailbox_init(&made->inbox, NULL, NULL)) {
        free(made);
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the server");
    }
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
