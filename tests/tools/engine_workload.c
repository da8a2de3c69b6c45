/*
 * engine_workload.c - the same random requests, alone and in company: every token, and every bit of
 * every log-probability and of every embedding, must be the same.
 *
 * Usage: engine_workload MODEL SEED COUNT [f16|q8_0|f32 [tiled|plain]]
 *
 * First each request runs alone, on one thread, with no prefix cache and its prompt in one step.
 * Then all of them run together under each row of the table below: other thread counts, batch
 * sizes, chunk sizes, with the prefix cache, with so few KV blocks that sequences are set back and
 * recomputed, in a pool that grows, statically batched; some are cancelled on the way and must then
 * agree as far as they came. In the end every block must be back in the pool.
 */
#include "base/random.h"
#include "engine/engine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_PROMPT = 360, MAX_TOKENS = 112, TOP = 3, MAX_EMBEDDING = 256 };
enum { CHATTER = 3 }; /* tokens that some answers are made of: so few that guesses come true */

struct answer {
    int32_t tokens[MAX_TOKENS];
    float logprobs[MAX_TOKENS];
    struct token_logprob top[MAX_TOKENS][TOP];
    size_t count;
    float embedding[MAX_EMBEDDING];
    enum finish_reason reason;
};

struct job {
    int32_t prompt[MAX_PROMPT];
    size_t prompt_count, max_tokens;
    struct sampling_params sampling;
    struct logit_bias bias[CHATTER];
    size_t cancel_after; /* tokens; 0: never */
    bool embed;
    uint64_t id;
    struct answer expected, got;
};

struct scenario {
    const char *name;
    size_t threads, max_batch, max_running, chunk, total_tokens;
    bool prefix_caching, continuous, cancels;
    size_t draft_tokens;
    bool grows; /* the KV pool has no memory until it needs some */
};

static const struct scenario scenarios[] = {
    {"all at once", 2, 8, 16, 64, 65536, false, true, false, 0, false},
    {"three threads, small chunks, cancels", 3, 5, 9, 7, 65536, false, true, true, 0, false},
    {"prefix cache", 2, 8, 16, 32, 65536, true, true, true, 0, false},
    {"few blocks: preemption", 2, 6, 12, 24, 416, false, true, true, 0, false},
    {"few blocks, prefix cache", 1, 8, 16, 50, 416, true, true, true, 0, true},
    {"static batches", 2, 4, 16, 512, 65536, true, false, true, 0, false},
    {"drafts", 2, 8, 16, 64, 65536, true, true, true, 8, true},
    {"drafts, few blocks", 3, 5, 12, 24, 416, false, true, true, 4, false},
};

/* The same for all scenarios of a run. */
static enum kv_element kv_element = KV_ELEMENT_F16;
static bool plain_attention;

static void fill_jobs(struct job *jobs, size_t count, uint64_t seed, size_t vocabulary) {
    struct random_state rng;
    random_seed(&rng, seed);
    int32_t shared[MAX_PROMPT];
    for (size_t i = 0; i < MAX_PROMPT; i++) {
        shared[i] = (int32_t)(random_next(&rng) % vocabulary);
    }
    for (size_t i = 0; i < count; i++) {
        struct job *job = &jobs[i];
        bool is_long = random_next(&rng) % 8 == 0;
        job->prompt_count = 1 + random_next(&rng) % (is_long ? MAX_PROMPT : 90);
        /* Half of them begin as others do, for some way. */
        size_t common = random_next(&rng) % 2 == 0 ? random_next(&rng) % job->prompt_count : 0;
        for (size_t j = 0; j < job->prompt_count; j++) {
            job->prompt[j] = j < common ? shared[j] : (int32_t)(random_next(&rng) % vocabulary);
        }
        job->max_tokens = 1 + random_next(&rng) % 40;
        if (!is_long && random_next(&rng) % 2 == 0) { /* answers that run into what others need */
            job->prompt_count = 1 + job->prompt_count % 15;
            job->max_tokens += MAX_TOKENS - 40;
        }
        job->sampling = sampling_params_default();
        job->sampling.seed = random_next(&rng);
        job->sampling.temperature = random_next(&rng) % 3 == 0 ? 0 : 0.9f;
        job->sampling.top_k = random_next(&rng) % 2 == 0 ? 0 : 40;
        job->sampling.top_p = random_next(&rng) % 2 == 0 ? 1 : 0.9f;
        job->sampling.repeat_penalty = random_next(&rng) % 4 == 0 ? 1.2f : 1;
        job->cancel_after = random_next(&rng) % 6 == 0 ? 1 + random_next(&rng) % 10 : 0;
        job->embed = random_next(&rng) % 4 == 0;
        for (size_t j = 0; j < CHATTER; j++) {
            job->bias[j] = (struct logit_bias){(int32_t)(random_next(&rng) % vocabulary), 40};
        }
        if (random_next(&rng) % 3 == 0) {
            job->sampling.logit_bias = job->bias;
            job->sampling.logit_bias_count = CHATTER;
        }
    }
}

static void submit(struct engine *engine, struct job *job, struct mailbox *replies) {
    struct error error = {0};
    struct engine_request request = {.prompt = job->prompt,
                                     .prompt_count = job->prompt_count,
                                     .max_tokens = job->max_tokens,
                                     .sampling = job->sampling,
                                     .ignore_end = true,
                                     .want_logprobs = true,
                                     .top_logprobs = TOP,
                                     .embed = job->embed,
                                     .replies = replies,
                                     .user = job};
    job->got = (struct answer){.reason = FINISH_CANCELLED};
    if (!engine_submit(engine, &request, &job->id, &error)) {
        fprintf(stderr, "submit: %s\n", error.message);
        exit(1);
    }
}

/* True when the request has ended. */
static bool note(struct engine *engine, const struct engine_event *event, bool cancels) {
    struct job *job = event->user;
    struct answer *got = &job->got;
    switch (event->kind) {
    case ENGINE_TOKENS:
        if (got->count < MAX_TOKENS) {
            got->tokens[got->count] = event->token;
            got->logprobs[got->count] = event->logprob;
            memcpy(got->top[got->count], event->top, sizeof got->top[0]);
        }
        got->count++;
        if (cancels && got->count == job->cancel_after) {
            engine_cancel(engine, job->id);
        }
        return false;
    case ENGINE_DONE:
        got->reason = event->finish_reason;
        if (event->embedding != NULL) {
            memcpy(got->embedding, event->embedding,
                   engine_info(engine)->embedding_length * sizeof *got->embedding);
        }
        return true;
    case ENGINE_FAILED:
        fprintf(stderr, "request failed: %s\n", event->error.message);
        exit(1);
    }
    return true;
}

static void wait_for(struct engine *engine, struct mailbox *replies, size_t requests,
                     bool cancels) {
    while (requests > 0) {
        struct mailbox_message *message = mailbox_wait_all(replies, -1);
        while (message != NULL) {
            struct mailbox_message *next = message->next;
            struct engine_event *event = (struct engine_event *)message;
            requests -= note(engine, event, cancels);
            engine_event_free(event);
            message = next;
        }
    }
}

static struct engine *create(const char *path, const struct scenario *s) {
    struct engine_options options = engine_options_default();
    struct error error = {0};
    struct engine *engine = NULL;
    options.thread_count = s->threads;
    options.max_batch_size = s->max_batch;
    options.max_running_requests = s->max_running;
    options.max_waiting_requests = 100000;
    options.prefill_chunk_size = s->chunk;
    options.max_total_tokens = s->total_tokens;
    options.prefix_caching = s->prefix_caching;
    options.continuous_batching = s->continuous;
    options.draft_tokens = s->draft_tokens;
    options.memory_pooling = !s->grows;
    options.kv_element = kv_element;
    options.plain_attention = plain_attention;
    if (!engine_create(path, &options, NULL, NULL, &engine, &error)) {
        fprintf(stderr, "%s\n", error.message);
        exit(1);
    }
    return engine;
}

/* Returns how many requests differ. */
static size_t compare(const struct job *jobs, size_t count, const struct scenario *s) {
    size_t wrong = 0;
    for (size_t i = 0; i < count; i++) {
        const struct answer *want = &jobs[i].expected, *got = &jobs[i].got;
        bool cancelled = s->cancels && got->reason == FINISH_CANCELLED;
        bool same = cancelled ? got->count <= want->count
                              : got->count == want->count && got->reason == want->reason;
        size_t n = got->count < want->count ? got->count : want->count;
        same = same && memcmp(want->tokens, got->tokens, n * sizeof *want->tokens) == 0 &&
               memcmp(want->logprobs, got->logprobs, n * sizeof *want->logprobs) == 0 &&
               memcmp(want->top, got->top, n * sizeof *want->top) == 0 &&
               memcmp(want->embedding, got->embedding, sizeof want->embedding) == 0;
        if (!same) {
            wrong++;
            printf("%s: request %zu (prompt %zu, %zu tokens): expected %zu tokens, got %zu%s\n",
                   s->name, i, jobs[i].prompt_count, jobs[i].max_tokens, want->count, got->count,
                   cancelled ? " (cancelled)" : "");
        }
    }
    return wrong;
}

static size_t run_together(const char *path, struct job *jobs, size_t count,
                           const struct scenario *s) {
    struct engine *engine = create(path, s);
    struct mailbox replies;
    mailbox_init(&replies, NULL, NULL);
    for (size_t i = 0; i < count; i++) {
        submit(engine, &jobs[i], &replies);
    }
    wait_for(engine, &replies, count, s->cancels);
    size_t wrong = compare(jobs, count, s);
    struct engine_stats stats = {.kv_blocks_used = 1};
    for (int i = 0; i < 2000 && (stats.kv_blocks_used != 0 || stats.running != 0); i++) {
        usleep(1000); /* the last step's figures follow its last event */
        engine_read_stats(engine, &stats);
    }
    if (stats.kv_blocks_used != 0 || stats.running != 0 || stats.waiting != 0) {
        printf("%s: %zu blocks, %zu running and %zu waiting requests are left\n", s->name,
               stats.kv_blocks_used, stats.running, stats.waiting);
        wrong++;
    }
    if (s->draft_tokens > 0 && (stats.draft_hit_tokens == 0 || stats.draft_tokens == 0)) {
        printf("%s: no guess came true: nothing was tested\n", s->name);
        wrong++;
    }
    printf("%s: %zu requests, %zu wrong; %llu steps, %llu preemptions, %llu prefix tokens hit, "
           "%llu of %llu guesses true, %zu KiB of KV\n",
           s->name, count, wrong, (unsigned long long)stats.steps,
           (unsigned long long)stats.preemptions, (unsigned long long)stats.prefix_hit_tokens,
           (unsigned long long)stats.draft_hit_tokens, (unsigned long long)stats.draft_tokens,
           stats.kv_bytes >> 10);
    engine_free(engine);
    mailbox_deinit(&replies);
    return wrong;
}

static void run_alone(const char *path, struct job *jobs, size_t count) {
    const struct scenario alone = {"alone", 1, 1, 1, 512, 8192, false, true, false, 0, false};
    struct engine *engine = create(path, &alone);
    struct mailbox replies;
    mailbox_init(&replies, NULL, NULL);
    for (size_t i = 0; i < count; i++) {
        submit(engine, &jobs[i], &replies);
        wait_for(engine, &replies, 1, false);
        jobs[i].expected = jobs[i].got;
        if (jobs[i].embed != (jobs[i].got.count == 0 && jobs[i].got.embedding[0] != 0)) {
            fprintf(stderr, "request %zu: %zu tokens, or no embedding\n", i, jobs[i].got.count);
            exit(1);
        }
    }
    engine_free(engine);
    mailbox_deinit(&replies);
}

int main(int argc, char **argv) {
    if (argc < 4 || argc > 6 || (argc > 4 && !kv_element_of_name(argv[4], &kv_element))) {
        fputs("usage: engine_workload MODEL SEED COUNT [f16|q8_0|f32 [tiled|plain]]\n", stderr);
        return 2;
    }
    plain_attention = argc > 5 && strcmp(argv[5], "plain") == 0;
    const struct scenario probe = {"probe", 1, 1, 1, 16, 1024, false, true, false, 0, false};
    size_t count = strtoul(argv[3], NULL, 10), wrong = 0;
    struct job *jobs = calloc(count, sizeof *jobs);
    struct engine *engine = create(argv[1], &probe);
    size_t vocabulary = engine_info(engine)->vocabulary_size;
    bool fits = engine_info(engine)->embedding_length <= MAX_EMBEDDING;
    engine_free(engine);
    if (jobs == NULL || !fits) {
        return 1;
    }
    fill_jobs(jobs, count, strtoull(argv[2], NULL, 10), vocabulary);
    run_alone(argv[1], jobs, count);
    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++) {
        wrong += run_together(argv[1], jobs, count, &scenarios[i]);
    }
    free(jobs);
    return wrong == 0 ? 0 : 1;
}
