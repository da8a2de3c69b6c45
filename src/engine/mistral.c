/*
 * mistral.c - include/mistral.h over engine.h: the names and shapes that embedders see.
 *
 * A stream is a mailbox of its own. Everything here runs on the caller's threads.
 */
#include "mistral.h"

#include "engine/engine.h"
#include "text/chat/prompt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct mistral_engine {
    struct engine *engine;
    struct chat_template *chat_template; /* NULL: the file has none, or one that cannot be read */
    struct error chat_template_error;
};

struct mistral_stream {
    struct engine *engine;
    uint64_t request_id;
    struct mailbox mailbox;
    struct mailbox_message *pending; /* received, not yet given out */
    struct engine_event *current;    /* whose text the caller may be reading */
    bool ended;
};

_Static_assert((int)MISTRAL_ERROR_CANCELLED == (int)ERROR_CANCELLED, "the codes are the same");
_Static_assert(sizeof(struct mistral_error) == sizeof(struct error), "so is the struct");

static void copy_error(struct mistral_error *to, const struct error *from) {
    if (to != NULL) {
        to->code = (enum mistral_error_code)from->code;
        memcpy(to->message, from->message, sizeof to->message);
    }
}

const char *mistral_version(void) {
    return MISTRAL_VERSION;
}

/* ---- engines ---- */

struct mistral_options mistral_options_default(void) {
    struct engine_options options = engine_options_default();
    return (struct mistral_options){
        .thread_count = options.thread_count,
        .max_sequence_length = options.max_sequence_length,
        .max_total_tokens = options.max_total_tokens,
        .max_batch_size = options.max_batch_size,
        .max_running_requests = options.max_running_requests,
        .max_waiting_requests = options.max_waiting_requests,
        .prefill_chunk_size = options.prefill_chunk_size,
    };
}

static struct engine_options engine_options_of(const struct mistral_options *from) {
    struct engine_options options = engine_options_default();
    options.thread_count = from->thread_count;
    options.max_sequence_length = from->max_sequence_length;
    options.max_total_tokens = from->max_total_tokens;
    options.max_batch_size = from->max_batch_size;
    options.max_running_requests = from->max_running_requests;
    options.max_waiting_requests = from->max_waiting_requests;
    options.prefill_chunk_size = from->prefill_chunk_size;
    return options;
}

static void read_template(struct mistral_engine *handle) {
    const char *source = engine_info(handle->engine)->chat_template;
    if (source == NULL) {
        error_set(&handle->chat_template_error, ERROR_UNSUPPORTED,
                  "%s carries no chat template; use mistral_tokenize",
                  engine_info(handle->engine)->name);
    } else {
        chat_template_create(source, strlen(source), &handle->chat_template,
                             &handle->chat_template_error);
    }
}

struct mistral_engine *mistral_open(const char *path, const struct mistral_options *options,
                                    void (*progress)(void *context, double fraction), void *context,
                                    struct mistral_error *error) {
    struct error cause = {0};
    struct mistral_engine *handle = calloc(1, sizeof *handle);
    if (handle == NULL) {
        error_set(&cause, ERROR_OUT_OF_MEMORY, "no memory for the engine");
        copy_error(error, &cause);
        return NULL;
    }
    const struct engine_options chosen = engine_options_of(options);
    if (!engine_create(path, &chosen, progress, context, &handle->engine, &cause)) {
        copy_error(error, &cause);
        free(handle);
        return NULL;
    }
    read_template(handle);
    return handle;
}

void mistral_close(struct mistral_engine *engine) {
    if (engine != NULL) {
        engine_free(engine->engine);
        chat_template_free(engine->chat_template);
        free(engine);
    }
}

void mistral_read_info(const struct mistral_engine *engine, struct mistral_info *info) {
    const struct engine_info *from = engine_info(engine->engine);
    *info = (struct mistral_info){
        .name = from->name,
        .architecture = from->architecture,
        .format = from->format,
        .kernels = from->kernels,
        .parameter_count = from->parameter_count,
        .context_length = from->context_length,
        .vocabulary_size = from->vocabulary_size,
        .embedding_length = from->embedding_length,
        .layer_count = from->layer_count,
        .thread_count = from->thread_count,
        .has_chat_template = engine->chat_template != NULL,
    };
}

/* ---- tokens ---- */

void mistral_tokens_free(struct mistral_tokens *tokens) {
    if (tokens != NULL) {
        free(tokens->ids);
        *tokens = (struct mistral_tokens){0};
    }
}

static bool give_tokens(bool done, struct token_list *list, struct mistral_tokens *tokens,
                        const struct error *cause, struct mistral_error *error) {
    if (done) {
        *tokens = (struct mistral_tokens){list->ids, list->count};
    } else {
        token_list_deinit(list);
        copy_error(error, cause);
    }
    return done;
}

bool mistral_tokenize(const struct mistral_engine *engine, const char *text, size_t length,
                      bool parse_special, struct mistral_tokens *tokens,
                      struct mistral_error *error) {
    struct token_list list = {0};
    struct error cause = {0};
    bool done = tokenizer_encode(engine_tokenizer(engine->engine), text, length, true,
                                 parse_special, &list, &cause);
    return give_tokens(done, &list, tokens, &cause, error);
}

bool mistral_tokenize_chat(const struct mistral_engine *engine, const char *messages,
                           struct mistral_tokens *tokens, struct mistral_error *error) {
    struct token_list list = {0};
    struct error cause = engine->chat_template_error;
    bool done = engine->chat_template != NULL &&
                chat_prompt_encode_text(engine->chat_template, engine_tokenizer(engine->engine),
                                        messages, strlen(messages), &list, &cause);
    return give_tokens(done, &list, tokens, &cause, error);
}

/* ---- requests ---- */

struct mistral_request mistral_request_default(void) {
    struct sampling_params params = sampling_params_default();
    return (struct mistral_request){
        .temperature = params.temperature,
        .top_k = params.top_k,
        .top_p = params.top_p,
        .min_p = params.min_p,
        .typical_p = params.typical_p,
        .repeat_penalty = params.repeat_penalty,
        .presence_penalty = params.presence_penalty,
        .frequency_penalty = params.frequency_penalty,
    };
}

static struct sampling_params sampling_of(const struct mistral_request *request) {
    struct sampling_params params = sampling_params_default();
    params.temperature = request->temperature;
    params.top_k = request->top_k;
    params.top_p = request->top_p;
    params.min_p = request->min_p;
    params.typical_p = request->typical_p;
    params.repeat_penalty = request->repeat_penalty;
    params.presence_penalty = request->presence_penalty;
    params.frequency_penalty = request->frequency_penalty;
    params.seed = request->seed;
    return params;
}

static bool submit(struct mistral_stream *stream, const struct mistral_request *request,
                   struct error *error) {
    struct string_view *stops = calloc(request->stop_count + 1, sizeof *stops);
    if (stops == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the request");
    }
    for (size_t i = 0; i < request->stop_count; i++) {
        stops[i] = string_view_of(request->stops[i]);
    }
    const struct engine_request params = {
        .prompt = request->prompt,
        .prompt_count = request->prompt_count,
        .max_tokens = request->max_tokens,
        .sampling = sampling_of(request),
        .stops = stops,
        .stop_count = request->stop_count,
        .want_logprobs = request->logprobs,
        .replies = &stream->mailbox,
    };
    bool done = engine_submit(stream->engine, &params, &stream->request_id, error);
    free(stops);
    return done;
}

struct mistral_stream *mistral_submit(struct mistral_engine *engine,
                                      const struct mistral_request *request,
                                      struct mistral_error *error) {
    struct error cause = {0};
    struct mistral_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL || !mailbox_init(&stream->mailbox, NULL, NULL)) {
        error_set(&cause, ERROR_OUT_OF_MEMORY, "no memory for the stream");
        copy_error(error, &cause);
        free(stream);
        return NULL;
    }
    stream->engine = engine->engine;
    if (!submit(stream, request, &cause)) {
        copy_error(error, &cause);
        mailbox_deinit(&stream->mailbox);
        free(stream);
        return NULL;
    }
    return stream;
}

static void fill_event(const struct engine_event *from, struct mistral_event *to) {
    static const enum mistral_event_kind kinds[] = {
        [ENGINE_TOKENS] = MISTRAL_TOKEN,
        [ENGINE_DONE] = MISTRAL_DONE,
        [ENGINE_FAILED] = MISTRAL_FAILED,
    };
    static const enum mistral_finish_reason reasons[] = {
        [FINISH_STOP] = MISTRAL_FINISH_STOP,
        [FINISH_LENGTH] = MISTRAL_FINISH_LENGTH,
        [FINISH_CANCELLED] = MISTRAL_FINISH_CANCELLED,
    };
    *to = (struct mistral_event){
        .kind = kinds[from->kind],
        .text = from->text == NULL ? "" : from->text,
        .text_length = from->text_length,
        .token = from->token,
        .logprob = from->logprob,
        .finish_reason = reasons[from->finish_reason],
        .prompt_tokens = from->usage.prompt_tokens,
        .cached_tokens = from->usage.cached_tokens,
        .generated_tokens = from->usage.generated_tokens,
        .queue_seconds = from->usage.queue_seconds,
        .prefill_seconds = from->usage.prefill_seconds,
        .decode_seconds = from->usage.decode_seconds,
    };
    copy_error(&to->error, &from->error);
}

bool mistral_next(struct mistral_stream *stream, double timeout_seconds,
                  struct mistral_event *event) {
    engine_event_free(stream->current);
    stream->current = NULL;
    if (stream->ended) {
        return false;
    }
    if (stream->pending == NULL) {
        int64_t timeout_ns = timeout_seconds < 0 ? -1 : (int64_t)(fmin(timeout_seconds, 1e9) * 1e9);
        stream->pending = mailbox_wait_all(&stream->mailbox, timeout_ns);
    }
    if (stream->pending == NULL) {
        *event = (struct mistral_event){.kind = MISTRAL_TIMEOUT, .text = ""};
        return true;
    }
    stream->current = (struct engine_event *)stream->pending;
    stream->pending = stream->pending->next;
    stream->ended = stream->current->kind != ENGINE_TOKENS;
    fill_event(stream->current, event);
    return true;
}

void mistral_cancel(struct mistral_stream *stream) {
    engine_cancel(stream->engine, stream->request_id);
}

void mistral_stream_free(struct mistral_stream *stream) {
    if (stream == NULL) {
        return;
    }
    struct mistral_event event;
    if (!stream->ended) {
        mistral_cancel(stream);
        while (mistral_next(stream, -1, &event)) {
        }
    }
    engine_event_free(stream->current);
    mailbox_deinit(&stream->mailbox);
    free(stream);
}
