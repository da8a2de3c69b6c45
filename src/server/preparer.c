/* preparer.c - see preparer.h. */
#include "server/preparer.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/work_limit.h"
#include "metrics/metrics.h"
#include "server/generation.h"
#include "server/json_body.h"

#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_THREADS = 4, MOST_THREADS = 16, LOOK_AHEAD = 256 };

struct worker_thread {
    struct preparer *preparer;
    pthread_t thread;
    uint64_t client; /* whose generation it has; 0: none. Guarded by lock */
};

struct preparer {
    pthread_mutex_t lock;
    pthread_cond_t arrived;
    struct mailbox_message *first, *last; /* waiting, oldest first; guarded by lock */
    size_t waiting_count;                 /* guarded by lock */
    atomic_bool is_ending;
    struct mailbox *done;
    struct metric_series *waiting, *waited;
    size_t thread_count; /* started */
    struct worker_thread threads[];
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

static void prepare(struct preparer *preparer, struct generation *generation) {
    const struct work_limit limit = {.is_unwanted = &generation->is_unwanted,
                                     .is_ending = &preparer->is_ending};
    work_limit_set(&limit);
    if (work_limit_reached()) {
        api_error_set(&generation->error, 503, "server_stopped", NULL,
                      "The server is shutting down.");
    } else if (generation->json == NULL) {
        read_body(generation);
    } else {
        (void)generation->kind->prepare(generation, generation->lease.model, generation->json,
                                        &generation->error);
        json_decref(generation->json);
        generation->json = NULL;
    }
    work_limit_set(NULL);
}

/* --- whose turn it is; under the lock --- */

static size_t under_way(const struct preparer *preparer, uint64_t client) {
    size_t count = 0;
    for (size_t i = 0; i < preparer->thread_count; i++) {
        count += preparer->threads[i].client == client;
    }
    return count;
}

/* Takes the next one out of the queue; NULL when none may begin. */
static struct generation *take_next(struct preparer *preparer) {
    size_t bound = preparer->thread_count > 1 ? preparer->thread_count - 1 : 1, fewest = SIZE_MAX;
    struct mailbox_message *before = NULL, *best_before = NULL, *best = NULL;
    struct mailbox_message *message = preparer->first;
    for (size_t i = 0; message != NULL && i < LOOK_AHEAD && fewest != 0; i++) {
        size_t count = under_way(preparer, ((struct generation *)message)->client);
        if (count < bound && count < fewest) {
            fewest = count;
            best = message;
            best_before = before;
        }
        before = message;
        message = message->next;
    }
    if (best == NULL) {
        return NULL;
    }
    *(best_before == NULL ? &preparer->first : &best_before->next) = best->next;
    if (preparer->last == best) {
        preparer->last = best_before;
    }
    preparer->waiting_count--;
    metric_set(preparer->waiting, (double)preparer->waiting_count);
    struct generation *generation = (struct generation *)best;
    metric_observe_ns(preparer->waited, clock_now_ns() - generation->queued_ns);
    return generation;
}

static void *run(void *context) {
    struct worker_thread *self = context;
    struct preparer *preparer = self->preparer;
    pthread_mutex_lock(&preparer->lock);
    for (;;) {
        struct generation *generation = take_next(preparer);
        if (generation == NULL && atomic_load(&preparer->is_ending) && preparer->first == NULL) {
            break;
        }
        if (generation == NULL) {
            pthread_cond_wait(&preparer->arrived, &preparer->lock);
            continue;
        }
        self->client = generation->client;
        pthread_mutex_unlock(&preparer->lock);
        prepare(preparer, generation);
        mailbox_send(preparer->done, &generation->message);
        pthread_mutex_lock(&preparer->lock);
        self->client = 0;
        pthread_cond_broadcast(&preparer->arrived); /* its client may begin another */
    }
    pthread_mutex_unlock(&preparer->lock);
    return NULL;
}

/* --- its life --- */

size_t preparer_default_threads(size_t cores) {
    return size_min(size_max(cores / 2, LEAST_THREADS), MOST_THREADS);
}

static bool start(struct preparer *preparer, size_t threads, struct error *error) {
    for (size_t i = 0; i < threads; i++) {
        preparer->threads[i].preparer = preparer;
        int failure =
            pthread_create(&preparer->threads[i].thread, NULL, run, &preparer->threads[i]);
        if (failure != 0) {
            return error_set_errno(error, failure, "cannot start a thread of the server");
        }
        pthread_mutex_lock(&preparer->lock);
        preparer->thread_count++;
        pthread_mutex_unlock(&preparer->lock);
    }
    return true;
}

bool preparer_create(size_t threads, struct mailbox *done, struct metrics *metrics,
                     struct preparer **preparer, struct error *error) {
    struct preparer *made = calloc(1, sizeof *made + threads * sizeof made->threads[0]);
    if (made == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the server");
    }
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->arrived, NULL);
    made->done = done;
    made->waiting = metrics_series(metrics, METRIC_PREPARER_QUEUE, NULL);
    made->waited = metrics_series(metrics, METRIC_PREPARER_WAIT, NULL);
    if (!start(made, threads, error)) {
        preparer_free(made);
        return false;
    }
    *preparer = made;
    return true;
}

void preparer_free(struct preparer *preparer) {
    if (preparer == NULL) {
        return;
    }
    pthread_mutex_lock(&preparer->lock);
    atomic_store(&preparer->is_ending, true);
    pthread_cond_broadcast(&preparer->arrived);
    pthread_mutex_unlock(&preparer->lock);
    for (size_t i = 0; i < preparer->thread_count; i++) {
        pthread_join(preparer->threads[i].thread, NULL);
    }
    pthread_cond_destroy(&preparer->arrived);
    pthread_mutex_destroy(&preparer->lock);
    free(preparer);
}

void preparer_send(struct preparer *preparer, struct generation *generation) {
    generation->queued_ns = clock_now_ns();
    generation->message.next = NULL;
    pthread_mutex_lock(&preparer->lock);
    *(preparer->last == NULL ? &preparer->first : &preparer->last->next) = &generation->message;
    preparer->last = &generation->message;
    preparer->waiting_count++;
    metric_set(preparer->waiting, (double)preparer->waiting_count);
    pthread_cond_signal(&preparer->arrived);
    pthread_mutex_unlock(&preparer->lock);
}
