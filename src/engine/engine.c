/*
 * engine.c - see engine.h. Loading, the engine thread's loop, and the door for other threads.
 *
 * Other threads reach the engine through `inbox` and a few atomics; everything else in struct
 * engine belongs to the engine thread once it runs.
 */
#include "engine/engine.h"

#include "backend/backend.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/file_guard.h"
#include "base/log.h"
#include "engine/engine_metrics.h"
#include "engine/memory_plan.h"
#include "engine/request.h"
#include "engine/scheduler.h"
#include "engine/vocabulary.h"
#include "model/model.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    GROW_BLOCKS = 32, /* by which a KV pool that is not reserved at start grows: 512 tokens */
    FIRST_REQUEST_NS = 100 * 1000 * 1000, /* that an idle engine leaves its weights unpacked */
};

enum command_kind { COMMAND_SUBMIT, COMMAND_CANCEL, COMMAND_STOP };

struct command {
    struct mailbox_message message; /* first */
    enum command_kind kind;
    struct request *request; /* of SUBMIT */
    uint64_t request_id;     /* of CANCEL */
};

struct step_buffers {
    int32_t *tokens;          /* [max_rows] */
    struct batch_span *spans; /* [max_rows] */
    uint32_t *logit_rows;     /* [max_logits] */
    float *logits;            /* [max_logits][vocabulary] */
    struct model_pool *pools; /* [max_rows] */
};

struct engine {
    struct engine_options options;
    struct engine_info info;
    struct arena arena;
    struct gguf *gguf;
    struct tokenizer *tokenizer;
    struct grammar_cache *grammars; /* the engine thread's, once it runs */
    struct backend *backend;
    struct model *model;
    struct kv_cache *kv;
    size_t kv_block_count, kv_block_bytes; /* the most there can be; of all layers */
    struct scheduler *scheduler;
    struct memory_plan plan;
    struct step_buffers step;
    size_t max_rows, max_logits, vocabulary_size;
    size_t window;        /* tokens any layer looks back; 0: some layer sees everything */
    size_t longest_piece; /* bytes of the longest token's text */

    pthread_t thread;
    bool thread_started;
    struct mailbox inbox;
    bool inbox_ready;
    struct command stop_command; /* here, so that stopping needs no memory */
    bool stopping;
    struct request *requests; /* live, newest first */

    _Atomic uint64_t next_request_id;
    _Atomic size_t live_requests; /* submitted and not yet ended; bounds the queue */
    atomic_bool is_lost;          /* the model's file is not what it was: nothing runs any more */
    struct error loss;            /* why; constant once is_lost is set */
    pthread_mutex_t stats_lock;
    struct engine_stats stats; /* guarded by stats_lock */
    struct engine_metrics metrics;
};

/* ---- one step ---- */

static void build_batch(struct engine *engine, const struct step_plan *plan, struct batch *batch) {
    struct step_buffers *step = &engine->step;
    *batch = (struct batch){.tokens = step->tokens,
                            .spans = step->spans,
                            .logit_rows = step->logit_rows,
                            .span_count = plan->row_count};
    for (size_t i = 0; i < plan->row_count; i++) {
        const struct step_row *row = &plan->rows[i];
        step->spans[i] = (struct batch_span){batch->row_count, row->token_count,
                                             row->first_position, row->sequence->blocks};
        memcpy(step->tokens + batch->row_count, row->sequence->tokens + row->first_position,
               row->token_count * sizeof *step->tokens);
        batch->row_count += row->token_count;
        for (size_t j = row->logits_count; j > 0; j--) {
            step->logit_rows[batch->logit_row_count++] = (uint32_t)(batch->row_count - j);
        }
    }
}

/* The parts of the batch that are embedded, into step->pools; returns how many. */
static size_t find_pools(const struct engine *engine, const struct step_plan *plan) {
    size_t count = 0;
    for (size_t i = 0; i < plan->row_count; i++) {
        struct request *request = plan->rows[i].sequence->user;
        if (request->pooled == NULL) {
            continue;
        }
        if (plan->rows[i].first_position == 0) { /* anew, when it was set back */
            memset(request->pooled, 0, engine->info.embedding_length * sizeof *request->pooled);
        }
        const struct batch_span *span = &engine->step.spans[i];
        engine->step.pools[count++] =
            (struct model_pool){span->first_row, span->row_count, request->pooled};
    }
    return count;
}

static void end_request(struct engine *engine, struct request *request) {
    if (request->sequence->state != SEQUENCE_NEW) { /* the scheduler took it */
        scheduler_finish(engine->scheduler, request->sequence);
    }
    if (request->previous != NULL) {
        request->previous->next = request->next;
    } else {
        engine->requests = request->next;
    }
    if (request->next != NULL) {
        request->next->previous = request->previous;
    }
    request_free(request);
    atomic_fetch_sub(&engine->live_requests, 1);
}

/* Guesses at what comes next in a sequence that goes on decoding, for the next step to verify. */
static void guess_ahead(const struct engine *engine, struct request *request) {
    struct sequence *sequence = request->sequence;
    int32_t guesses[NGRAM_DRAFT_MAX];
    size_t count = ngram_draft_propose(&request->draft, sequence->tokens, sequence->token_count,
                                       engine->options.draft_tokens, guesses);
    if (count > 0) {
        sequence_set_draft(sequence, guesses, count);
    }
}

struct step_counts {
    uint64_t prompt_tokens, generated_tokens, draft_tokens, draft_hit_tokens;
    size_t sequence_count; /* in the step */
};

/* As request_advance, and counted. */
static bool advance(struct engine *engine, struct request *request, const float *logits,
                    int32_t *token, struct step_counts *counts) {
    size_t generated = request->generated;
    int64_t last_token_ns = request->last_token_ns;
    counts->prompt_tokens += generated == 0 ? request->sequence->prompt_count : 0;
    counts->generated_tokens++;
    bool goes_on = request_advance(request, logits, token);
    engine_metrics_advanced(&engine->metrics, request, generated, last_token_ns,
                            counts->sequence_count);
    return goes_on;
}

/* One row's logits, in position order: log-probabilities of prompt tokens, then new tokens. */
static void use_logits(struct engine *engine, const struct step_row *row, const float *logits,
                       struct step_counts *counts) {
    struct request *request = row->sequence->user;
    size_t position = row->first_position + row->token_count - row->logits_count;
    for (size_t i = 0; i < row->logits_count; i++, position++) {
        const float *at = logits + i * engine->vocabulary_size;
        bool is_scored = position + 1 < row->sequence->prompt_count;
        if (position == 0 && request->params.echo_logprobs) {
            request_echo(request, 0, NULL);
        }
        if (is_scored) {
            request_echo(request, position + 1, at);
            continue;
        }
        int32_t token;
        if (!advance(engine, request, at, &token, counts)) {
            end_request(engine, request);
            return;
        }
        if (!sequence_append(request->sequence, token)) {
            break; /* no draft, or one that guessed otherwise: the other logits mean nothing */
        }
        counts->draft_hit_tokens++;
    }
    if (engine->options.draft_tokens > 0 && sequence_is_decoding(request->sequence)) {
        guess_ahead(engine, request);
    }
}

/* After a part of an embedded prompt was computed. */
static void end_if_pooled(struct engine *engine, struct request *request,
                          struct step_counts *counts) {
    const struct sequence *sequence = request->sequence;
    if (sequence->computed == sequence->prompt_count) {
        counts->prompt_tokens += sequence->prompt_count;
        request_send_embedding(request, engine->info.embedding_length);
        end_request(engine, request);
    }
}

static void publish_stats(struct engine *engine, const struct step_counts *counts) {
    struct scheduler_stats now;
    scheduler_read_stats(engine->scheduler, &now);
    pthread_mutex_lock(&engine->stats_lock);
    struct engine_stats *stats = &engine->stats;
    stats->running = now.running;
    stats->waiting = now.waiting;
    stats->kv_blocks_used = now.pool.used;
    stats->kv_blocks_cached = now.pool.cached;
    stats->kv_blocks_total = now.pool.total;
    stats->kv_bytes = now.pool.backed * engine->kv_block_bytes;
    stats->prefix_lookup_tokens = now.prefix_lookup_tokens;
    stats->prefix_hit_tokens = now.prefix_hit_tokens;
    stats->preemptions = now.preemptions;
    if (counts != NULL) { /* after a step */
        stats->prompt_tokens += counts->prompt_tokens;
        stats->generated_tokens += counts->generated_tokens;
        stats->draft_tokens += counts->draft_tokens;
        stats->draft_hit_tokens += counts->draft_hit_tokens;
        stats->steps++;
    }
    const struct engine_stats published = *stats;
    pthread_mutex_unlock(&engine->stats_lock);
    engine_metrics_publish(&engine->metrics, &published);
}

/* No step can be made although there are requests: the pool could not grow to what the oldest
 * needs. True: it was ended, and there may be room for the others. */
static bool fail_oldest(struct engine *engine) {
    const struct sequence *oldest = scheduler_oldest(engine->scheduler);
    if (oldest == NULL) {
        return false;
    }
    struct request *request = oldest->user;
    struct error error = {0};
    error_set(
        &error, ERROR_OUT_OF_MEMORY,
        "no memory for the KV cache of this request; lower max_total_tokens, or reserve it at "
        "start with enable_memory_pooling");
    request_send_failed(request, &error);
    end_request(engine, request);
    return true;
}

/* To be asked after the weights were read and before anything that came of it is used. */
static bool file_is_sound(struct engine *engine) {
    if (!atomic_load(&engine->is_lost) && !gguf_check(engine->gguf, &engine->loss)) {
        log_event(LOG_ERROR, "model_file_lost", log_text("path", engine->info.path),
                  log_text("reason", engine->loss.message));
        atomic_store(&engine->is_lost, true);
    }
    return !atomic_load(&engine->is_lost);
}

static void fail_all(struct engine *engine) {
    while (engine->requests != NULL) {
        request_send_failed(engine->requests, &engine->loss);
        end_request(engine, engine->requests);
    }
}

/* False when there is nothing to do. */
static bool run_step(struct engine *engine) {
    const struct step_plan *plan = scheduler_plan(engine->scheduler);
    if (plan->row_count == 0) {
        return fail_oldest(engine);
    }
    struct batch batch;
    int64_t now = clock_now_ns();
    build_batch(engine, plan, &batch);
    for (size_t i = 0; i < plan->row_count; i++) {
        struct request *request = plan->rows[i].sequence->user;
        if (request->started_ns == 0) {
            request->started_ns = now;
            engine_metrics_started(&engine->metrics, request);
        }
    }
    model_forward(engine->model, &batch, engine->kv, engine->step.logits, engine->step.pools,
                  find_pools(engine, plan));
    scheduler_commit(engine->scheduler);
    if (!file_is_sound(engine)) {
        fail_all(engine);
        return false;
    }
    const float *logits = engine->step.logits;
    struct step_counts counts = {.sequence_count = plan->row_count};
    uint64_t decoded = 0;
    for (size_t i = 0; i < plan->row_count; i++) {
        const struct step_row *row = &plan->rows[i];
        size_t logits_count = row->logits_count;
        struct request *request = row->sequence->user;
        if (i < plan->decode_row_count) {
            counts.draft_tokens += row->token_count - 1;
        }
        if (request->pooled != NULL) {
            end_if_pooled(engine, request, &counts);
        } else {
            use_logits(engine, row, logits, &counts);
        }
        logits += logits_count * engine->vocabulary_size;
        decoded = i < plan->decode_row_count ? counts.generated_tokens : decoded;
    }
    engine_metrics_step(&engine->metrics, clock_now_ns() - now, plan->decode_row_count, decoded);
    publish_stats(engine, &counts);
    return true;
}

/* ---- commands ---- */

static void accept_request(struct engine *engine, struct request *request) {
    request->next = engine->requests;
    if (request->next != NULL) {
        request->next->previous = request;
    }
    engine->requests = request;
    struct error error = {0};
    if (!file_is_sound(engine)) {
        fail_all(engine);
        return;
    }
    if (!request_enter_grammar(request, engine->grammars, &error) ||
        !scheduler_add(engine->scheduler, request->sequence, &error)) {
        request_send_failed(request, &error);
        end_request(engine, request);
    }
}

static void cancel_request(struct engine *engine, uint64_t id) {
    for (struct request *request = engine->requests; request != NULL; request = request->next) {
        if (request->id == id) {
            request_send_cancelled(request);
            end_request(engine, request);
            return;
        }
    }
}

static void obey(struct engine *engine, struct command *command) {
    switch (command->kind) {
    case COMMAND_SUBMIT:
        accept_request(engine, command->request);
        break;
    case COMMAND_CANCEL:
        cancel_request(engine, command->request_id);
        break;
    case COMMAND_STOP:
        engine->stopping = true;
        return;
    }
    free(command);
}

static void obey_all(struct engine *engine, struct mailbox_message *messages) {
    while (messages != NULL) {
        struct mailbox_message *next = messages->next;
        obey(engine, (struct command *)messages);
        messages = next;
    }
}

static void *engine_main(void *argument) {
    struct engine *engine = argument;
    struct backend *backend = engine->backend;
    bool busy = true;
    file_guard_thread();
    /* Whoever loaded the model may have a request at hand, which is not to wait for packing. */
    obey_all(engine, mailbox_wait_all(&engine->inbox, FIRST_REQUEST_NS));
    while (!engine->stopping) {
        obey_all(engine,
                 busy ? mailbox_receive_all(&engine->inbox) : mailbox_wait_all(&engine->inbox, -1));
        busy = !engine->stopping && run_step(engine);
        if (!busy) {
            publish_stats(engine, NULL);
            busy = !engine->stopping && file_is_sound(engine) && backend->ops->prepare(backend);
        }
    }
    obey_all(engine, mailbox_receive_all(&engine->inbox));
    while (engine->requests != NULL) {
        request_send_cancelled(engine->requests);
        end_request(engine, engine->requests);
    }
    return NULL;
}

static bool send_command(struct engine *engine, enum command_kind kind, struct request *request,
                         uint64_t request_id) {
    struct command *command = calloc(1, sizeof *command);
    if (command == NULL) {
        return false;
    }
    command->kind = kind;
    command->request = request;
    command->request_id = request_id;
    mailbox_send(&engine->inbox, &command->message);
    return true;
}

bool engine_submit(struct engine *engine, const struct engine_request *params, uint64_t *request_id,
                   struct error *error) {
    const struct engine_options *options = &engine->options;
    size_t limit = options->max_running_requests + options->max_waiting_requests;
    if (atomic_fetch_add(&engine->live_requests, 1) >= limit) {
        atomic_fetch_sub(&engine->live_requests, 1);
        return error_set(error, ERROR_BUSY,
                         "server busy: %zu requests run or wait already; try again later", limit);
    }
    struct request *request = NULL;
    uint64_t id = atomic_fetch_add(&engine->next_request_id, 1) + 1;
    const struct request_limits limits = {engine->tokenizer, engine->info.context_length,
                                          engine->window, engine->info.embedding_length,
                                          engine->longest_piece};
    bool sent = request_create(params, id, &limits, &request, error);
    if (sent && !send_command(engine, COMMAND_SUBMIT, request, id)) {
        request_free(request);
        sent = error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the request");
    }
    if (!sent) {
        atomic_fetch_sub(&engine->live_requests, 1);
        return false;
    }
    *request_id = id;
    return true;
}

void engine_cancel(struct engine *engine, uint64_t request_id) {
    send_command(engine, COMMAND_CANCEL, NULL, request_id);
}

void engine_read_stats(const struct engine *engine, struct engine_stats *stats) {
    struct engine *locked =
        (struct engine *)(uintptr_t)engine; /* the lock is not part of the value */
    pthread_mutex_lock(&locked->stats_lock);
    *stats = engine->stats;
    pthread_mutex_unlock(&locked->stats_lock);
}

/* ---- loading ---- */

static const char *copy_string(struct engine *engine, const char *key, struct error *error) {
    struct string_view value = {NULL, 0};
    if (!gguf_read_string(engine->gguf, key, &value, error) || value.data == NULL) {
        return NULL;
    }
    return arena_copy_text(&engine->arena, value.data, value.length);
}

static const char *file_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

/* The format that most of the file's bytes are in. */
static const char *dominant_format(const struct gguf *gguf, uint64_t *parameter_count) {
    size_t bytes[64] = {0};
    const struct quant_format *best = NULL;
    *parameter_count = 0;
    for (size_t i = 0; i < gguf_tensor_count(gguf); i++) {
        const struct gguf_tensor *tensor = gguf_tensor_at(gguf, i);
        *parameter_count += (uint64_t)tensor->dimensions[0] * tensor->row_count;
        size_t *total = &bytes[(size_t)tensor->format->type % 64];
        *total += tensor->bytes;
        if (best == NULL || *total > bytes[(size_t)best->type % 64]) {
            best = tensor->format;
        }
    }
    return best == NULL ? "none" : best->name;
}

static void fill_info(struct engine *engine, size_t context_length, double load_seconds) {
    const struct model_description *d = model_description(engine->model);
    struct engine_info *info = &engine->info;
    const char *name = copy_string(engine, "general.name", NULL);
    const char *source = engine->options.source_path;
    info->path = source == NULL ? gguf_path(engine->gguf)
                                : arena_copy_text(&engine->arena, source, strlen(source));
    info->architecture = d->architecture;
    info->name = name != NULL && name[0] != '\0' ? name : file_name(info->path);
    info->format = dominant_format(engine->gguf, &info->parameter_count);
    info->chat_template = copy_string(engine, "tokenizer.chat_template", NULL);
    info->kernels = engine->backend->kernels;
    info->file_bytes = gguf_file_bytes(engine->gguf);
    info->planned_bytes = engine->plan.total - engine->plan.others;
    info->context_length = context_length;
    info->vocabulary_size = d->vocabulary_size;
    info->embedding_length = d->embedding_length;
    info->layer_count = d->layer_count;
    info->load_seconds = load_seconds;
}

static bool create_step_buffers(struct engine *engine, struct error *error) {
    struct step_buffers *step = &engine->step;
    size_t logits = 0;
    step->tokens = arena_alloc(&engine->arena, engine->max_rows, sizeof *step->tokens);
    step->spans = arena_alloc(&engine->arena, engine->max_rows, sizeof *step->spans);
    step->logit_rows = arena_alloc(&engine->arena, engine->max_logits, sizeof *step->logit_rows);
    step->pools = arena_alloc(&engine->arena, engine->max_rows, sizeof *step->pools);
    if (size_multiply(engine->max_logits, engine->vocabulary_size, &logits)) {
        step->logits = arena_alloc(&engine->arena, logits, sizeof *step->logits);
    }
    return (step->tokens != NULL && step->spans != NULL && step->logit_rows != NULL &&
            step->pools != NULL && step->logits != NULL) ||
           error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a step of %zu rows",
                     engine->max_rows);
}

/* kv_pool_grow: on the engine thread, inside scheduler_plan. */
static uint32_t grow_pool(void *context, uint32_t wanted) {
    struct engine *engine = context;
    size_t blocks =
        size_min(size_divide_up(wanted, GROW_BLOCKS) * GROW_BLOCKS, engine->kv_block_count);
    struct error error = {0};
    if (!engine->backend->ops->kv_grow(engine->backend, engine->kv, blocks, &error)) {
        log_event(LOG_WARN, "kv_pool_cannot_grow", log_text("error", error.message),
                  log_integer("blocks", (int64_t)wanted - 1));
        return wanted - 1;
    }
    return (uint32_t)blocks;
}

/* The KV cache: as many blocks as max_total_tokens, and memory_pool_bytes where that counts, allow.
 */
static bool create_kv(struct engine *engine, struct error *error) {
    const struct engine_options *options = &engine->options;
    size_t blocks = options->max_total_tokens / KV_BLOCK_TOKENS;
    struct kv_layout layout = model_kv_layout(engine->model, blocks);
    layout.element = options->kv_element;
    layout.grows = !options->memory_pooling;
    if (!kv_block_bytes(&layout, &engine->kv_block_bytes)) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "the model's KV cache is too large");
    }
    if (blocks == 0 || blocks >= KV_BLOCK_NONE / 4) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "max_total_tokens is %zu; at least %d are needed, and at most %zu",
                         options->max_total_tokens, KV_BLOCK_TOKENS,
                         (size_t)(KV_BLOCK_NONE / 4) * KV_BLOCK_TOKENS);
    }
    blocks = memory_plan_asked_blocks(options, engine->kv_block_bytes);
    if (blocks == 0) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "memory_pool_size is %zu bytes; this model's KV cache takes %zu for every "
                         "%d tokens",
                         options->memory_pool_bytes, engine->kv_block_bytes, KV_BLOCK_TOKENS);
    }
    engine->kv_block_count = layout.block_count = blocks;
    return engine->backend->ops->kv_create(engine->backend, &layout, &engine->kv, error);
}

static bool create_scheduler(struct engine *engine, size_t *context_length, struct error *error) {
    const struct engine_options *options = &engine->options;
    const struct model_description *d = model_description(engine->model);
    if (!create_kv(engine, error)) {
        return false;
    }
    size_t wanted =
        options->max_sequence_length == 0 ? d->context_length : options->max_sequence_length;
    *context_length =
        size_min(size_min(wanted, d->context_length), engine->kv_block_count * KV_BLOCK_TOKENS);
    size_t cached = options->prefix_cache_bytes / engine->kv_block_bytes;
    const struct scheduler_options scheduling = {
        .max_running_requests = options->max_running_requests,
        .max_waiting_requests = options->max_waiting_requests + options->max_running_requests,
        .max_batch_size = options->max_batch_size,
        .prefill_chunk_size = options->prefill_chunk_size,
        .decode_chunk_size = options->decode_chunk_size,
        .max_step_logits = engine->max_logits,
        .block_count = (uint32_t)engine->kv_block_count,
        .cache_limit_blocks = (uint32_t)size_min(cached, UINT32_MAX),
        .grow = options->memory_pooling ? NULL : grow_pool,
        .grow_context = engine,
        .continuous_batching = options->continuous_batching,
        .prefix_caching = options->prefix_caching,
    };
    return scheduler_create(&scheduling, &engine->scheduler, error);
}

static size_t longest_piece(const struct tokenizer *tokenizer) {
    size_t longest = 0;
    for (size_t id = 0; id < tokenizer_vocabulary_size(tokenizer); id++) {
        longest = size_max(longest, tokenizer_piece(tokenizer, (int32_t)id, true).length);
    }
    return longest;
}

static void start_metrics(struct engine *engine) {
    const struct engine_info *info = &engine->info;
    const char *label = engine->options.metrics_model;
    const struct engine_metrics_about about = {
        .model = label != NULL ? label : info->name,
        .device = engine->backend->ops->name,
        .device_id = "0",
        .load_seconds = info->load_seconds,
        .weight_bytes = (double)(engine->plan.mapped + engine->plan.packed),
    };
    engine_metrics_init(&engine->metrics, &engine->options, &about);
}

/* In place of the one there is. What the plan says of experts is obeyed, once there is a plan. */
static bool create_backend(struct engine *engine, struct error *error) {
    const struct engine_options *options = &engine->options;
    const struct cpu_backend_options cpu = {.thread_count = options->thread_count,
                                            .kernels = options->kernels,
                                            .mapped_weights = options->mapped_weights,
                                            .mapped_experts = engine->plan.experts_read > 0,
                                            .plain_attention = options->plain_attention};
    if (engine->backend != NULL) {
        engine->backend->ops->free(engine->backend);
        engine->backend = NULL;
    }
    return cpu_backend_create(&cpu, &engine->backend, error);
}

/* Before anything large is made. The KV pool is made as the plan has it, and experts are left in
 * the file where it says so. */
static bool make_plan(struct engine *engine, struct error *error) {
    struct model_description description;
    struct memory_limits limits;
    struct arena arena = {0};
    memory_limits_read("", &limits);
    bool done = description_read(engine->gguf, engine->options.max_sequence_length, &arena,
                                 &description, error) &&
                memory_plan_make(engine->gguf, engine->backend, &description, &engine->options,
                                 &limits, &engine->plan, error);
    arena_deinit(&arena);
    if (!done) {
        return false;
    }
    memory_plan_log(&engine->plan);
    if (engine->plan.kv_blocks < engine->plan.asked_blocks) {
        engine->options.max_total_tokens = engine->plan.kv_blocks * KV_BLOCK_TOKENS;
    }
    if (!memory_plan_check(&engine->plan, &engine->options, error)) {
        return error_prefix(error, "%s", gguf_path(engine->gguf));
    }
    return engine->plan.experts_read == 0 || create_backend(engine, error);
}

static bool load(struct engine *engine, const char *path,
                 void (*progress)(void *context, double fraction), void *progress_context,
                 struct error *error) {
    int64_t start = clock_now_ns();
    size_t context_length = 0;
    const struct engine_options *options = &engine->options;
    engine->max_rows = options->prefill_chunk_size + options->decode_chunk_size;
    engine->max_logits = size_max(ENGINE_MAX_STEP_LOGITS, options->decode_chunk_size + 1);
    const struct model_options model = {.max_rows = engine->max_rows,
                                        .sequence_length = options->max_sequence_length,
                                        .progress = progress,
                                        .progress_context = progress_context};
    if (!gguf_open(path, &engine->gguf, error) || !create_backend(engine, error) ||
        !make_plan(engine, error) || !vocabulary_load(engine->gguf, &engine->tokenizer, error) ||
        !grammar_cache_create(engine->tokenizer, &engine->grammars, error) ||
        !model_create(engine->gguf, engine->backend, &model, &engine->model, error)) {
        return false;
    }
    engine->vocabulary_size = model_description(engine->model)->vocabulary_size;
    engine->longest_piece = longest_piece(engine->tokenizer);
    engine->window = description_common_window(model_description(engine->model));
    if (!create_step_buffers(engine, error) || !create_scheduler(engine, &context_length, error)) {
        return false;
    }
    fill_info(engine, context_length, clock_seconds(clock_now_ns() - start));
    engine->info.thread_count = options->thread_count;
    engine->info.max_running_requests = options->max_running_requests;
    start_metrics(engine);
    publish_stats(engine, NULL);
    return gguf_check(engine->gguf, error);
}

static void log_loaded(const struct engine *engine) {
    const struct engine_info *info = &engine->info;
    log_event(LOG_INFO, "model_loaded", log_text("path", info->path), log_text("name", info->name),
              log_text("architecture", info->architecture), log_text("format", info->format),
              log_integer("parameters", (int64_t)info->parameter_count),
              log_integer("context", (int64_t)info->context_length),
              log_text("device", engine->backend->ops->name), log_text("kernels", info->kernels),
              log_integer("threads", (int64_t)info->thread_count),
              log_text("weights", engine->options.mapped_weights  ? "mapped"
                                  : engine->plan.experts_read > 0 ? "repacked, but for experts"
                                                                  : "repacked"),
              log_text("attention", engine->options.plain_attention ? "plain" : "tiled"),
              log_text("kv_cache_dtype", kv_element_name(engine->options.kv_element)),
              log_integer("kv_tokens", (int64_t)(engine->kv_block_count * KV_BLOCK_TOKENS)),
              log_integer("kv_bytes", (int64_t)engine->stats.kv_bytes),
              log_number("seconds", info->load_seconds));
}

bool engine_create(const char *path, const struct engine_options *options,
                   void (*progress)(void *context, double fraction), void *progress_context,
                   struct engine **out, struct error *error) {
    struct engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the engine");
    }
    engine->options = *options;
    pthread_mutex_init(&engine->stats_lock, NULL);
    engine->inbox_ready = mailbox_init(&engine->inbox, NULL, NULL);
    if (!engine->inbox_ready) {
        error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the engine's mailbox");
        goto cleanup;
    }
    if (!engine_options_complete(&engine->options, error) ||
        !load(engine, path, progress, progress_context, error)) {
        goto cleanup;
    }
    log_loaded(engine); /* while no other thread counts */
    int reason = pthread_create(&engine->thread, NULL, engine_main, engine);
    if (reason != 0) {
        error_set_errno(error, reason, "cannot start the engine thread");
        goto cleanup;
    }
    engine->thread_started = true;
    *out = engine;
    return true;
cleanup:
    engine_free(engine);
    return false;
}

void engine_free(struct engine *engine) {
    if (engine == NULL) {
        return;
    }
    if (engine->thread_started) {
        engine->stop_command.kind = COMMAND_STOP;
        mailbox_send(&engine->inbox, &engine->stop_command.message);
        pthread_join(engine->thread, NULL);
    }
    engine_metrics_deinit(&engine->metrics);
    scheduler_free(engine->scheduler);
    if (engine->kv != NULL) {
        engine->backend->ops->kv_free(engine->backend, engine->kv);
    }
    model_free(engine->model);
    if (engine->backend != NULL) {
        engine->backend->ops->free(engine->backend);
    }
    grammar_cache_free(engine->grammars);
    tokenizer_free(engine->tokenizer);
    gguf_close(engine->gguf);
    arena_deinit(&engine->arena);
    if (engine->inbox_ready) {
        mailbox_deinit(&engine->inbox);
    }
    pthread_mutex_destroy(&engine->stats_lock);
    free(engine);
}

const struct engine_info *engine_info(const struct engine *engine) {
    return &engine->info;
}

bool engine_is_lost(const struct engine *engine, struct error *reason) {
    bool is_lost = atomic_load(&engine->is_lost);
    if (is_lost && reason != NULL) {
        *reason = engine->loss;
    }
    return is_lost;
}

const struct tokenizer *engine_tokenizer(const struct engine *engine) {
    return engine->tokenizer;
}

const struct memory_plan *engine_memory_plan(const struct engine *engine) {
    return &engine->plan;
}
