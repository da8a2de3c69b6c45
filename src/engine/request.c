/* request.c - see request.h. */
#include "engine/request.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "engine/grammar_draw.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Events a receiver may be behind before one more is allocated: what a step with the longest draft
 * sends, and as many again. */
enum { EVENT_COUNT = 2 * (NGRAM_DRAFT_MAX + 1) };

/* Bytes of text an event has room for at most from the start: longer ones are rare, and how long a
 * stop string or a token is, others say. */
enum { MOST_TEXT_ROOM = 1024 };

/* ---- creating ---- */

static bool check_prompt(const struct engine_request *params, size_t context_length,
                         size_t vocabulary, struct error *error) {
    if (params->prompt_count == 0) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "the prompt is empty");
    }
    if (params->embed ? params->prompt_count > context_length
                      : params->prompt_count >= context_length) {
        return error_set(error, ERROR_CONTEXT_LENGTH,
                         "the prompt has %zu tokens; the context holds %zu%s", params->prompt_count,
                         context_length,
                         params->embed ? "" : ", and an answer needs at least one of them");
    }
    for (size_t i = 0; i < params->prompt_count; i++) {
        if (params->prompt[i] < 0 || (size_t)params->prompt[i] >= vocabulary) {
            return error_set(error, ERROR_INVALID_ARGUMENT,
                             "token id %d at position %zu is not in the vocabulary of %zu",
                             params->prompt[i], i, vocabulary);
        }
    }
    if (params->top_logprobs > ENGINE_MAX_TOP_LOGPROBS) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "top_logprobs is %zu; at most %d",
                         params->top_logprobs, ENGINE_MAX_TOP_LOGPROBS);
    }
    return params->embed || sampling_params_check(&params->sampling, vocabulary, error);
}

static bool copy_stops(struct request *request, const struct engine_request *params) {
    struct string_view *stops = arena_alloc(&request->arena, params->stop_count, sizeof *stops);
    if (stops == NULL) {
        return false;
    }
    size_t count = 0;
    for (size_t i = 0; i < params->stop_count; i++) {
        size_t length = params->stops[i].length;
        if (length == 0) {
            continue; /* would stop everything at once: clients send it for "none" */
        }
        stops[count].data = arena_copy_text(&request->arena, params->stops[i].data, length);
        stops[count].length = length;
        if (stops[count++].data == NULL) {
            return false;
        }
    }
    request->params.stops = stops;
    request->params.stop_count = count;
    request->stops.stops = stops;
    request->stops.stop_count = count;
    return true;
}

static bool copy_bias(struct request *request, const struct sampling_params *sampling) {
    size_t count = sampling->logit_bias_count;
    struct logit_bias *bias = arena_alloc(&request->arena, count, sizeof *bias);
    if (bias == NULL) {
        return false;
    }
    if (count > 0) {
        memcpy(bias, sampling->logit_bias, count * sizeof *bias);
    }
    request->params.sampling.logit_bias = bias;
    return true;
}

/* Sizes everything that one token's text goes through, so that no step needs more. */
static bool create_text_buffers(struct request *request, const struct request_limits *limits) {
    size_t longest_stop = 0;
    for (size_t i = 0; i < request->params.stop_count; i++) {
        longest_stop = size_max(longest_stop, request->params.stops[i].length);
    }
    /* Each byte of a piece that is no UTF-8 comes out as three; four may have waited before it. */
    size_t room = size_min(limits->longest_piece, MOST_TEXT_ROOM) * 3 + 12;
    room = size_min(room + size_min(longest_stop, MOST_TEXT_ROOM), MOST_TEXT_ROOM);
    request->events = event_pool_create(EVENT_COUNT, room + 1);
    return request->events != NULL && string_buffer_reserve(&request->decoded, room) &&
           string_buffer_reserve(&request->stops.held, room) &&
           string_buffer_reserve(&request->shown, room);
}

static bool create_parts(struct request *request, const struct engine_request *params,
                         const struct request_limits *limits, struct error *error) {
    if (!copy_stops(request, params) || !copy_bias(request, &params->sampling) ||
        !create_text_buffers(request, limits)) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the request");
    }
    size_t room = limits->context_length - params->prompt_count;
    size_t wanted = params->max_tokens == 0 ? room : size_min(params->max_tokens, room);
    request->params.max_tokens = wanted;
    const struct sequence_options options = {.capacity = params->prompt_count + wanted,
                                             .window = limits->window,
                                             .prompt_logits = params->echo_logprobs,
                                             .user = request};
    if (!sequence_create(params->prompt, params->prompt_count, &options, &request->sequence,
                         error) ||
        !sampler_create(&request->params.sampling, tokenizer_vocabulary_size(request->tokenizer),
                        &request->sampler, error)) {
        return false;
    }
    if (params->grammar != NULL) {
        request->masked =
            calloc(tokenizer_vocabulary_size(request->tokenizer), sizeof *request->masked);
        if (request->masked == NULL) {
            return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the request");
        }
    }
    for (size_t i = 0; i < params->prompt_count; i++) {
        sampler_accept(request->sampler, params->prompt[i]);
    }
    return true;
}

/* What an `embed` request needs in place of create_parts. */
static bool create_pool(struct request *request, const struct engine_request *params,
                        const struct request_limits *limits, struct error *error) {
    const struct sequence_options options = {.capacity = params->prompt_count,
                                             .window = limits->window,
                                             .hidden_only = true,
                                             .user = request};
    request->params.stop_count = 0;
    request->params.sampling.logit_bias_count = 0;
    request->pooled =
        arena_alloc(&request->arena, limits->embedding_length, sizeof *request->pooled);
    request->events = event_pool_create(2, limits->embedding_length * sizeof(float));
    if (request->pooled == NULL || request->events == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the request");
    }
    return sequence_create(params->prompt, params->prompt_count, &options, &request->sequence,
                           error);
}

bool request_create(const struct engine_request *params, uint64_t id,
                    const struct request_limits *limits, struct request **out,
                    struct error *error) {
    const struct tokenizer *tokenizer = limits->tokenizer;
    if (!check_prompt(params, limits->context_length, tokenizer_vocabulary_size(tokenizer),
                      error)) {
        return false;
    }
    struct request *request = calloc(1, sizeof *request);
    if (request == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the request");
    }
    request->id = id;
    request->params = *params;
    request->params.prompt = NULL;
    request->params.grammar = grammar_ref(params->grammar);
    request->tokenizer = tokenizer;
    request->detokenizer.tokenizer = tokenizer;
    request->detokenizer.show_special = params->show_special;
    request->detokenizer.mark_special = params->mark_special;
    ngram_draft_init(&request->draft);
    request->submitted_ns = clock_now_ns();
    if (!(params->embed ? create_pool : create_parts)(request, params, limits, error)) {
        request_free(request);
        return false;
    }
    *out = request;
    return true;
}

void request_free(struct request *request) {
    if (request == NULL) {
        return;
    }
    grammar_matcher_free(request->matcher);
    grammar_unref(request->params.grammar);
    free(request->masked);
    sequence_free(request->sequence);
    sampler_free(request->sampler);
    stop_matcher_deinit(&request->stops);
    string_buffer_deinit(&request->decoded);
    string_buffer_deinit(&request->shown);
    event_pool_close(request->events);
    arena_deinit(&request->arena);
    free(request);
}

/* ---- events ---- */

/* NULL when memory ran out, which cannot happen to a request's last event. */
static struct engine_event *new_event(const struct request *request, enum engine_event_kind kind,
                                      size_t payload_bytes, void **payload) {
    bool last = kind != ENGINE_TOKENS;
    struct engine_event *event = event_pool_take(request->events, payload_bytes, last, payload);
    if (event != NULL) {
        event->kind = kind;
        event->request_id = request->id;
        event->user = request->params.user;
        event->logprob = NAN;
    }
    return event;
}

/* The text (may be NULL) is copied behind the event. */
static struct engine_event *new_text_event(const struct request *request,
                                           enum engine_event_kind kind,
                                           const struct string_buffer *text) {
    size_t length = text == NULL ? 0 : text->length;
    void *payload = NULL;
    struct engine_event *event = new_event(request, kind, length == 0 ? 0 : length + 1, &payload);
    if (event != NULL && length > 0 && payload != NULL) {
        event->text = payload;
        memcpy(event->text, text->data, length);
        event->text[length] = '\0';
        event->text_length = length;
    }
    return event;
}

static void send_event(const struct request *request, struct engine_event *event) {
    if (event != NULL) {
        mailbox_send(request->params.replies, &event->message);
    }
}

static double seconds_between(int64_t from, int64_t to) {
    return from == 0 || to == 0 ? 0 : clock_seconds(to - from);
}

static void send_done(struct request *request, struct engine_event *event,
                      enum finish_reason reason) {
    if (event == NULL) {
        return;
    }
    int64_t now = clock_now_ns();
    event->finish_reason = reason;
    event->stop_match = request->stops.matched ? request->stops.match : ENGINE_NO_STOP;
    event->usage = (struct engine_usage){
        .prompt_tokens = request->sequence->prompt_count,
        .cached_tokens = request->sequence->cached_tokens,
        .generated_tokens = request->generated,
        .queue_seconds = seconds_between(request->submitted_ns,
                                         request->started_ns != 0 ? request->started_ns : now),
        .prefill_seconds = seconds_between(
            request->started_ns, request->first_token_ns != 0 ? request->first_token_ns : now),
        .decode_seconds = seconds_between(request->first_token_ns, request->last_token_ns),
    };
    send_event(request, event);
}

void request_send_cancelled(struct request *request) {
    send_done(request, new_text_event(request, ENGINE_DONE, NULL), FINISH_CANCELLED);
}

void request_send_embedding(struct request *request, size_t embedding_length) {
    void *payload = NULL;
    double square = 0;
    struct engine_event *event =
        new_event(request, ENGINE_DONE, embedding_length * sizeof(float), &payload);
    if (event == NULL || payload == NULL) {
        return;
    }
    event->embedding = payload;
    for (size_t i = 0; i < embedding_length; i++) {
        square += request->pooled[i] * request->pooled[i];
    }
    /* The mean's length is the sum's over the count, which the scaling takes out again. */
    double scale = square > 0 ? 1 / sqrt(square) : 0;
    for (size_t i = 0; i < embedding_length; i++) {
        event->embedding[i] = (float)(request->pooled[i] * scale);
    }
    request->first_token_ns = request->last_token_ns = clock_now_ns();
    send_done(request, event, FINISH_STOP);
}

void request_send_failed(struct request *request, const struct error *error) {
    struct engine_event *event = new_text_event(request, ENGINE_FAILED, NULL);
    if (event != NULL) {
        event->error = *error;
        send_event(request, event);
    }
}

static void fill_logprobs(struct request *request, struct engine_event *event,
                          const float *logits) {
    event->top_count = request->params.top_logprobs;
    event->logprob =
        sampler_logprobs(request->sampler, logits, event->token, event->top, event->top_count);
}

void request_echo(struct request *request, size_t index, const float *logits) {
    string_buffer_clear(&request->decoded);
    struct string_view piece =
        tokenizer_piece(request->tokenizer, request->sequence->tokens[index], true);
    string_buffer_append(&request->decoded, piece.data, piece.length);
    struct engine_event *event = new_text_event(request, ENGINE_TOKENS, &request->decoded);
    if (event == NULL) {
        return;
    }
    event->token = request->sequence->tokens[index];
    event->is_prompt = true;
    if (logits != NULL) {
        fill_logprobs(request, event, logits);
    }
    send_event(request, event);
}

/* The text that is safe to show after `token`; true when a stop string ended it. */
static bool decode_token(struct request *request, int32_t token) {
    string_buffer_clear(&request->decoded);
    string_buffer_clear(&request->shown);
    detokenizer_push(&request->detokenizer, token, &request->decoded);
    return stop_matcher_push(&request->stops, string_buffer_text(&request->decoded),
                             request->decoded.length, &request->shown);
}

/* What was held back comes out with the last event. */
static void finish(struct request *request, enum finish_reason reason, bool matched) {
    string_buffer_clear(&request->decoded);
    string_buffer_clear(&request->shown);
    if (!matched) {
        detokenizer_finish(&request->detokenizer, &request->decoded);
        matched = stop_matcher_push(&request->stops, string_buffer_text(&request->decoded),
                                    request->decoded.length, &request->shown);
        if (!matched) {
            stop_matcher_finish(&request->stops, &request->shown);
        }
    }
    send_done(request, new_text_event(request, ENGINE_DONE, &request->shown), reason);
}

bool request_enter_grammar(struct request *request, struct grammar_cache *cache,
                           struct error *error) {
    return request->params.grammar == NULL ||
           grammar_matcher_create(cache, request->params.grammar, &request->matcher, error);
}

/* Samples among the tokens that the grammar allows. */
static bool sample(struct request *request, const float *logits, int32_t *token,
                   struct error *error) {
    if (request->matcher == NULL) {
        *token = sampler_sample(request->sampler, logits);
        return true;
    }
    return grammar_draw(request->sampler, request->matcher, logits, request->masked,
                        tokenizer_vocabulary_size(request->tokenizer), token, error);
}

/* Whether `token`, just sampled, ends the answer: an end-of-answer token does, and is allowed only
 * where the grammar may end. */
static bool is_end(const struct request *request, int32_t token) {
    return tokenizer_is_end(request->tokenizer, token) &&
           (request->matcher != NULL || !request->params.ignore_end);
}

bool request_advance(struct request *request, const float *logits, int32_t *token) {
    struct error error = {0};
    if (!sample(request, logits, token, &error)) {
        request_send_failed(request, &error);
        return false;
    }
    request->last_token_ns = clock_now_ns();
    if (request->first_token_ns == 0) {
        request->first_token_ns = request->last_token_ns;
    }
    if (is_end(request, *token)) {
        finish(request, FINISH_STOP, false);
        return false;
    }
    if (request->matcher != NULL && !grammar_matcher_accept(request->matcher, *token)) {
        error_set(&error, ERROR_OUT_OF_MEMORY, "no memory to follow the grammar");
        request_send_failed(request, &error);
        return false;
    }
    bool is_whole = request->matcher != NULL && grammar_matcher_must_end(request->matcher);
    sampler_accept(request->sampler, *token);
    request->generated++;
    bool matched = decode_token(request, *token);
    struct engine_event *event = new_text_event(request, ENGINE_TOKENS, &request->shown);
    if (event != NULL) {
        event->token = *token;
        if (request->params.want_logprobs) {
            fill_logprobs(request, event, logits);
        }
        send_event(request, event);
    }
    if (matched || is_whole || request->generated >= request->params.max_tokens) {
        finish(request, matched || is_whole ? FINISH_STOP : FINISH_LENGTH, matched);
        return false;
    }
    return true;
}
