/*
 * step_allocations.c - fails when anything is allocated in a step of the engine.
 *
 * Usage: step_allocations MODEL [f16|q8_0|f32 [tiled|plain]]
 *
 * The program's own malloc and its kin stand before the C library's. The linker leads three calls
 * through here (--wrap): scheduler_plan opens a step, the engine's next look into its mailbox
 * closes it, mailbox_send counts the events that are out. Between the two nothing may be allocated
 * by any thread but this one, which plays the clients. The engine's next step waits until every
 * event is back, so that how far behind a receiver is does not depend on the machine.
 *
 * Requests of every kind run together: sampled and greedy, with penalties, stop strings,
 * log-probabilities, drafts, embeddings, in few blocks, so that some are set back.
 */
/* NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming): the C library's and the
 * linker's names. */
#include "base/random.h"
#include "engine/engine.h"
#include "engine/scheduler.h"

#include <execinfo.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REQUESTS = 40, MAX_PROMPT = 120, SHOWN = 5 };

static _Atomic bool in_step;
static _Atomic size_t allocations, steps, events_out;
static _Thread_local bool is_client;

/* ---- the C library's allocator, watched ---- */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static void note(size_t size) {
    if (is_client || !atomic_load(&in_step)) {
        return;
    }
    if (atomic_fetch_add(&allocations, 1) < SHOWN) {
        void *frames[16];
        atomic_store(&in_step, false); /* what tells of it may allocate */
        fprintf(stderr, "%zu bytes allocated in a step, from:\n", size);
        backtrace_symbols_fd(frames, backtrace(frames, 16), STDERR_FILENO);
        atomic_store(&in_step, true);
    }
}

void *malloc(size_t size) {
    note(size);
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    note(count * size);
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size) {
    note(size);
    return __libc_realloc(memory, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    note(size);
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    note(size);
    *memory = __libc_memalign(alignment, size);
    return *memory == NULL;
}

/* ---- where steps begin and end ---- */

const struct step_plan *__real_scheduler_plan(struct scheduler *scheduler);
const struct step_plan *__wrap_scheduler_plan(struct scheduler *scheduler);
struct mailbox_message *__real_mailbox_receive_all(struct mailbox *mailbox);
struct mailbox_message *__wrap_mailbox_receive_all(struct mailbox *mailbox);
struct mailbox_message *__real_mailbox_wait_all(struct mailbox *mailbox, int64_t timeout_ns);
struct mailbox_message *__wrap_mailbox_wait_all(struct mailbox *mailbox, int64_t timeout_ns);
void __real_mailbox_send(struct mailbox *mailbox, struct mailbox_message *message);
void __wrap_mailbox_send(struct mailbox *mailbox, struct mailbox_message *message);

const struct step_plan *__wrap_scheduler_plan(struct scheduler *scheduler) {
    while (atomic_load(&events_out) > 0) {
        usleep(20);
    }
    atomic_store(&in_step, true);
    atomic_fetch_add(&steps, 1);
    return __real_scheduler_plan(scheduler);
}

struct mailbox_message *__wrap_mailbox_receive_all(struct mailbox *mailbox) {
    if (!is_client) {
        atomic_store(&in_step, false);
    }
    return __real_mailbox_receive_all(mailbox);
}

struct mailbox_message *__wrap_mailbox_wait_all(struct mailbox *mailbox, int64_t timeout_ns) {
    if (!is_client) {
        atomic_store(&in_step, false);
    }
    return __real_mailbox_wait_all(mailbox, timeout_ns);
}

void __wrap_mailbox_send(struct mailbox *mailbox, struct mailbox_message *message) {
    if (!is_client) {
        atomic_fetch_add(&events_out, 1);
    }
    __real_mailbox_send(mailbox, message);
}

/* NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming) */

/* ---- the clients ---- */

static void submit(struct engine *engine, struct random_state *rng, size_t number,
                   struct mailbox *replies) {
    static const struct string_view stops[] = {{"never to be found", 17}, {"the the the the", 15}};
    int32_t prompt[MAX_PROMPT];
    size_t vocabulary = engine_info(engine)->vocabulary_size;
    struct logit_bias bias[2];
    struct engine_request request = {.prompt = prompt,
                                     .prompt_count = 1 + random_next(rng) % MAX_PROMPT,
                                     .max_tokens = 20 + random_next(rng) % 60,
                                     .sampling = sampling_params_default(),
                                     .stops = stops,
                                     .stop_count = number % 3 == 0 ? 2 : 0,
                                     .ignore_end = true,
                                     .show_special = number % 2 == 0,
                                     .want_logprobs = number % 4 < 2,
                                     .top_logprobs = number % 4 == 1 ? 20 : 0,
                                     .embed = number % 8 == 7,
                                     .replies = replies};
    for (size_t i = 0; i < request.prompt_count; i++) {
        prompt[i] = (int32_t)(random_next(rng) % vocabulary);
    }
    for (size_t i = 0; i < 2; i++) {
        bias[i] = (struct logit_bias){(int32_t)(random_next(rng) % vocabulary), 30};
    }
    if (number % 3 == 1) { /* says the same again and again: drafts come true */
        request.sampling.logit_bias = bias;
        request.sampling.logit_bias_count = 2;
    }
    request.sampling.temperature = number % 5 == 0 ? 0 : 1;
    request.sampling.top_k = number % 2 == 0 ? 40 : 0;
    request.sampling.top_p = number % 3 == 0 ? 0.9f : 1;
    request.sampling.min_p = number % 5 == 1 ? 0.05f : 0;
    request.sampling.typical_p = number % 5 == 2 ? 0.8f : 1;
    request.sampling.repeat_penalty = number % 4 == 2 ? 1.2f : 1;
    request.sampling.presence_penalty = number % 4 == 3 ? 0.5f : 0;
    request.sampling.seed = number;
    struct error error = {0};
    uint64_t id;
    if (!engine_submit(engine, &request, &id, &error)) {
        fprintf(stderr, "submit: %s\n", error.message);
        exit(1);
    }
}

static void receive(struct mailbox *replies, size_t requests) {
    while (requests > 0) {
        struct mailbox_message *message = mailbox_wait_all(replies, -1);
        while (message != NULL) {
            struct mailbox_message *next = message->next;
            struct engine_event *event = (struct engine_event *)message;
            requests -= event->kind != ENGINE_TOKENS;
            if (event->kind == ENGINE_FAILED) {
                fprintf(stderr, "a request failed: %s\n", event->error.message);
                exit(1);
            }
            engine_event_free(event);
            atomic_fetch_sub(&events_out, 1);
            message = next;
        }
    }
}

int main(int argc, char **argv) {
    struct engine_options options = engine_options_default();
    struct engine *engine = NULL;
    struct error error = {0};
    struct random_state rng;
    struct mailbox replies;
    struct engine_stats stats;
    void *frames[1];
    if (argc < 2 || (argc > 2 && !kv_element_of_name(argv[2], &options.kv_element))) {
        fputs("usage: step_allocations MODEL [f16|q8_0|f32 [tiled|plain]]\n", stderr);
        return 2;
    }
    is_client = true;
    backtrace(frames, 1); /* loads what it needs */
    options.plain_attention = argc > 3 && strcmp(argv[3], "plain") == 0;
    options.thread_count = 2;
    options.draft_tokens = 16;
    options.max_batch_size = 16;
    options.max_total_tokens = 512;
    options.prefill_chunk_size = 24;
    options.max_waiting_requests = REQUESTS;
    if (!engine_create(argv[1], &options, NULL, NULL, &engine, &error)) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    random_seed(&rng, 1);
    mailbox_init(&replies, NULL, NULL);
    for (size_t i = 0; i < REQUESTS; i++) {
        submit(engine, &rng, i, &replies);
    }
    receive(&replies, REQUESTS);
    engine_read_stats(engine, &stats);
    engine_free(engine);
    mailbox_deinit(&replies);
    printf("%zu steps, %zu allocations in them; %llu preemptions, %llu guesses true\n",
           atomic_load(&steps), atomic_load(&allocations), (unsigned long long)stats.preemptions,
           (unsigned long long)stats.draft_hit_tokens);
    return allocations == 0 && stats.preemptions > 0 && stats.draft_hit_tokens > 0 ? 0 : 1;
}
