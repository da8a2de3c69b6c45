/* generation.c - see generation.h. */
#include "server/generation.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "server/server_internal.h"
#include "text/chat/answer_parser.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static void abandoned(void *user, enum http_abandoned why);
static void model_ready(struct model_lease *lease, const struct error *error);

/* --- its life --- */

static void write_log_line(const struct generation *generation) {
    struct engine_usage usage = generation_usage(generation);
    log_event(LOG_INFO, "request", log_text("id", generation->id),
              log_text("route", generation->kind->route),
              log_text("model", generation->lease.model == NULL ? "" : generation->lease.model->id),
              log_integer("status", generation->status), log_text("end", generation->end_reason),
              log_integer("prompt_tokens", (int64_t)usage.prompt_tokens),
              log_integer("cached_tokens", (int64_t)usage.cached_tokens),
              log_integer("generated_tokens", (int64_t)usage.generated_tokens),
              log_number("queue_seconds", usage.queue_seconds),
              log_number("prefill_seconds", usage.prefill_seconds),
              log_number("decode_seconds", usage.decode_seconds),
              log_number("seconds", clock_seconds(clock_now_ns() - generation->started_ns)));
}

/* Ends the generation when nobody waits for it any more: not the client, not the preparer, and the
 * engine has said its last word. */
static void release_if_over(struct generation *generation) {
    if (generation->connection != NULL || generation->is_preparing ||
        generation->running_count != 0) {
        return;
    }
    write_log_line(generation);
    model_manager_release(&generation->lease, generation->keep_alive);
    LIST_REMOVE(generation, link);
    for (size_t i = 0; i < generation->choice_count; i++) {
        struct generation_choice *choice = &generation->choices[i];
        string_buffer_deinit(&choice->text);
        string_buffer_deinit(&choice->thinking);
        string_buffer_deinit(&choice->calls);
        answer_parser_free(choice->parser);
        for (size_t k = 0; k < sizeof choice->logprobs / sizeof choice->logprobs[0]; k++) {
            string_buffer_deinit(&choice->logprobs[k]);
        }
    }
    for (size_t i = 0; i < generation->request.prompt_count; i++) {
        token_list_deinit(&generation->request.prompts[i]);
    }
    grammar_unref(generation->request.grammar);
    string_buffer_deinit(&generation->body);
    string_buffer_deinit(&generation->answer);
    json_decref(generation->json);
    arena_deinit(&generation->arena);
    free(generation);
}

static void send_to_preparer(struct generation *generation) {
    generation->is_preparing = true;
    preparer_send(generation->server->preparer, generation);
}

void generation_begin(struct server *server, struct http_connection *connection,
                      const struct generation_kind *kind) {
    struct generation *generation = calloc(1, sizeof *generation);
    if (generation == NULL) {
        struct api_error error;
        api_error_out_of_memory(&error);
        server_respond_error(connection, kind->route, &error);
        return;
    }
    generation->server = server;
    generation->kind = kind;
    generation->connection = connection;
    generation->client = http_connection_client(connection);
    generation->body = http_connection_take_body(connection);
    generation->created = clock_wall_ns() / 1000000000;
    generation->started_ns = http_connection_started_ns(connection);
    generation->end_reason = "error";
    generation->keep_alive = MODEL_DEFAULT_KEEP_ALIVE;
    generation->lease.ready = model_ready;
    snprintf(generation->id, sizeof generation->id, "%s%s", kind->id_prefix,
             http_connection_request_id(connection));
    if (server->options->log_prompts) {
        log_event(LOG_INFO, "prompt", log_text("id", generation->id),
                  log_text("body", string_buffer_text(&generation->body)));
    }
    LIST_INSERT_HEAD(&server->generations, generation, link);
    http_connection_watch(connection, abandoned, generation);
    send_to_preparer(generation);
}

static void cancel_running(struct generation *generation) {
    for (size_t i = 0; i < generation->choice_count; i++) {
        if (generation->choices[i].is_running) {
            engine_cancel(generation->lease.model->engine, generation->choices[i].engine_request);
        }
    }
}

static void abandoned(void *user, enum http_abandoned why) {
    static const char *const reasons[] = {
        [HTTP_CLIENT_LEFT] = "client_left",       [HTTP_SLOW_READER] = "slow_reader",
        [HTTP_SERVER_STOPPED] = "server_stopped", [HTTP_GAVE_WAY] = "gave_way",
        [HTTP_NO_MEMORY] = "no_memory",
    };
    struct generation *generation = user;
    generation->status = http_stream_begun(generation->connection) ? 200 : 499;
    generation->connection = NULL;
    atomic_store_explicit(&generation->is_unwanted, true, memory_order_relaxed);
    generation->end_reason = reasons[why];
    cancel_running(generation);
    release_if_over(generation);
}

/* Tells the client, lets go of the connection, and asks the engine to stop. */
static void fail(struct generation *generation, const struct api_error *error) {
    if (generation->connection != NULL) {
        bool has_begun = http_stream_begun(generation->connection);
        server_metrics_failed(generation->connection, error);
        generation->status = has_begun ? 200 : error->status;
        if (has_begun) {
            generation->format->failed(generation, error);
        } else {
            server_send_error(generation->connection, generation->kind->route, error);
        }
        generation->connection = NULL;
        generation->end_reason = error->code != NULL ? error->code : "error";
    }
    atomic_store_explicit(&generation->is_unwanted, true, memory_order_relaxed);
    cancel_running(generation);
}

void generation_stop(struct generation *generation, const struct api_error *error) {
    fail(generation, error);
    release_if_over(generation);
}

/* --- to the engine --- */

/* The first choice has the request's own seed, so that n = 1 and n = 4 begin alike. */
static uint64_t choice_seed(uint64_t seed, size_t choice) {
    struct random_state random;
    random_seed(&random, seed);
    uint64_t value = seed;
    for (size_t i = 0; i < choice; i++) {
        value = random_next(&random);
    }
    return value;
}

static bool submit_choice(struct generation_choice *choice, struct api_error *error) {
    struct generation *generation = choice->generation;
    const struct generation_request *request = &generation->request;
    const struct token_list *prompt =
        &request->prompts[choice->index / request->choices_per_prompt];
    struct engine_request wanted = {
        .prompt = prompt->ids,
        .prompt_count = prompt->count,
        .max_tokens = request->max_tokens,
        .sampling = request->sampling,
        .stops = request->stops,
        .stop_count = request->stop_count,
        .grammar = request->grammar,
        .ignore_end = request->ignore_end,
        .mark_special = request->mark_special,
        .want_logprobs = request->want_logprobs,
        .top_logprobs = request->top_logprobs,
        .echo_logprobs = request->echo_logprobs,
        .embed = request->embed,
        .replies = &generation->server->engine_events,
        .user = choice,
    };
    wanted.sampling.seed =
        choice_seed(request->sampling.seed, choice->index % request->choices_per_prompt);
    struct error cause = {0};
    if (!engine_submit(generation->lease.model->engine, &wanted, &choice->engine_request, &cause)) {
        return api_error_from(error, &cause,
                              cause.code == ERROR_CONTEXT_LENGTH ? generation->kind->prompt_field
                                                                 : NULL);
    }
    choice->is_running = true;
    generation->running_count++;
    if (choice->index % request->choices_per_prompt == 0) {
        metric_add(generation->metrics.prompt_tokens, prompt->count);
    }
    return true;
}

/* Gives the engine as many choices as it may have at a time. When its queue is full, those that are
 * in it already bring the next ones along. */
static bool submit_more(struct generation *generation, struct api_error *error) {
    size_t most = generation->request.max_at_once;
    while (generation->submitted_count < generation->choice_count &&
           (most == 0 || generation->running_count < most)) {
        if (!submit_choice(&generation->choices[generation->submitted_count], error)) {
            return most != 0 && error->status == 503 && generation->running_count != 0;
        }
        generation->submitted_count++;
    }
    return true;
}

static bool submit(struct generation *generation, struct api_error *error) {
    const struct generation_request *request = &generation->request;
    size_t count = request->prompt_count * request->choices_per_prompt;
    if (count == 0) {
        return true;
    }
    generation->choices = arena_alloc(&generation->arena, count, sizeof *generation->choices);
    if (generation->choices == NULL) {
        return api_error_out_of_memory(error);
    }
    generation->choice_count = count;
    generation->metrics =
        server_metrics_of_model(&generation->server->metrics, generation->lease.model->id);
    for (size_t i = 0; i < count; i++) {
        generation->choices[i].generation = generation;
        generation->choices[i].index = i;
    }
    return submit_more(generation, error);
}

static void send_answer(struct generation *generation) {
    generation->status = generation->answer.failed ? 500 : 200;
    generation->end_reason = "answered";
    server_send_json(generation->connection, 200, &generation->answer);
    generation->connection = NULL;
}

/* --- to its model --- */

static void describe_missing_model(const struct generation *generation, const struct error *cause,
                                   struct api_error *error) {
    const char *name = generation->model_name == NULL ? generation->server->options->default_model
                                                      : generation->model_name;
    if (cause->code == ERROR_NOT_FOUND && generation->kind->unknown_model != NULL) {
        generation->kind->unknown_model(name, error);
    } else if (cause->code == ERROR_NOT_FOUND) {
        api_error_set(error, 404, "model_not_found", "model",
                      "The model '%.200s' does not exist or you do not have access to it.", name);
    } else if (cause->code == ERROR_IO || cause->code == ERROR_OUT_OF_MEMORY) {
        api_error_tell(error, 500, "model_load_failed", NULL, cause);
    } else {
        api_error_from(error, cause, "model");
    }
}

static void model_ready(struct model_lease *lease, const struct error *cause) {
    struct generation *generation =
        (struct generation *)((char *)lease - offsetof(struct generation, lease));
    if (cause == NULL) {
        send_to_preparer(generation);
        return;
    }
    describe_missing_model(generation, cause, &generation->error);
    fail(generation, &generation->error);
    release_if_over(generation);
}

static bool submit_or_fail(struct generation *generation) {
    bool submitted = submit(generation, &generation->error);
    if (!submitted) {
        fail(generation, &generation->error);
    }
    return submitted;
}

void generation_prepared(struct generation *generation) {
    generation->is_preparing = false;
    if (generation->connection == NULL) {
        release_if_over(generation);
        return;
    }
    if (generation->error.status != 0) {
        fail(generation, &generation->error);
    } else if (generation->lease.model == NULL) {
        model_manager_acquire(generation->server->models, generation->model_name,
                              &generation->lease);
        return; /* model_ready may have ended it */
    } else if (generation->answer.length != 0 || generation->answer.failed) {
        send_answer(generation);
    } else if (submit_or_fail(generation) &&
               generation->choice_count == 0) { /* it wanted the model, and no text */
        generation->status = 200;
        generation->end_reason = "load";
        generation->format->all_done(generation);
        generation->connection = NULL;
    }
    release_if_over(generation);
}

/* --- from the engine --- */

static void count_token(struct generation *generation, const struct engine_event *event) {
    if (event->is_prompt) {
        return;
    }
    metric_add(generation->metrics.generated_tokens, 1);
    if (!generation->has_token) {
        generation->has_token = true;
        metric_observe_ns(generation->metrics.first_token, clock_now_ns() - generation->started_ns);
    }
}

static void check_answer_size(struct generation *generation) {
    size_t total = 0;
    bool failed = false;
    for (size_t i = 0; i < generation->choice_count; i++) {
        const struct generation_choice *choice = &generation->choices[i];
        total += choice->text.length + choice->thinking.length + choice->calls.length;
        failed = failed || choice->text.failed || choice->thinking.failed || choice->calls.failed;
        for (size_t k = 0; k < sizeof choice->logprobs / sizeof choice->logprobs[0]; k++) {
            total += choice->logprobs[k].length;
            failed = failed || choice->logprobs[k].failed;
        }
    }
    if (failed || total > generation->server->options->max_answer_bytes) {
        struct api_error error;
        api_error_set(&error, 500, "answer_too_large", NULL,
                      "The answer has grown past %zu bytes; ask for a stream, or for fewer "
                      "tokens, choices or log-probabilities.",
                      generation->server->options->max_answer_bytes);
        fail(generation, &error);
    }
}

static void choice_ended(struct generation_choice *choice, const struct engine_event *event) {
    struct generation *generation = choice->generation;
    choice->is_running = false;
    generation->running_count--;
    choice->finish_reason = event->finish_reason;
    choice->stop = event->stop_match < generation->request.stop_count
                       ? &generation->request.stops[event->stop_match]
                       : NULL;
    choice->usage = event->usage;
    if (generation->connection == NULL) {
        return;
    }
    if (event->finish_reason == FINISH_CANCELLED) {
        struct api_error error;
        api_error_set(&error, 503, "cancelled", NULL, "The engine ended this request early.");
        fail(generation, &error);
        return;
    }
    generation->format->choice_done(choice, event);
    generation->done_count++;
    struct api_error error;
    check_answer_size(generation);
    if (generation->connection == NULL) {
        return;
    }
    if (!submit_more(generation, &error)) {
        fail(generation, &error);
    } else if (generation->done_count == generation->choice_count) {
        generation->status = 200;
        generation->end_reason = event->finish_reason == FINISH_LENGTH ? "length" : "stop";
        if (!generation->request.embed) {
            metric_observe_ns(generation->metrics.duration,
                              clock_now_ns() - generation->started_ns);
        }
        generation->format->all_done(generation);
        generation->connection = NULL;
    }
}

void generation_event(struct engine_event *event) {
    struct generation_choice *choice = event->user;
    struct generation *generation = choice->generation;
    switch (event->kind) {
    case ENGINE_TOKENS:
        choice->token_count += !event->is_prompt;
        count_token(generation, event);
        if (generation->connection != NULL) {
            generation->format->token(choice, event);
            check_answer_size(generation);
        }
        break;
    case ENGINE_DONE:
        choice_ended(choice, event);
        break;
    case ENGINE_FAILED: {
        choice->is_running = false;
        generation->running_count--;
        struct api_error error;
        api_error_from(&error, &event->error, NULL);
        fail(generation, &error);
        break;
    }
    }
    engine_event_free(event);
    release_if_over(generation);
}

struct engine_usage generation_usage(const struct generation *generation) {
    struct engine_usage total = {0};
    for (size_t i = 0; i < generation->choice_count; i++) {
        const struct engine_usage *usage = &generation->choices[i].usage;
        if (i % generation->request.choices_per_prompt == 0) {
            total.prompt_tokens += usage->prompt_tokens;
            total.cached_tokens += usage->cached_tokens;
        }
        total.generated_tokens += usage->generated_tokens;
        /* Choices run side by side: the longest is what the client waited for. */
        total.queue_seconds =
            usage->queue_seconds > total.queue_seconds ? usage->queue_seconds : total.queue_seconds;
        total.prefill_seconds = usage->prefill_seconds > total.prefill_seconds
                                    ? usage->prefill_seconds
                                    : total.prefill_seconds;
        total.decode_seconds = usage->decode_seconds > total.decode_seconds ? usage->decode_seconds
                                                                            : total.decode_seconds;
    }
    return total;
}
