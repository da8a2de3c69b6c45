/*
 * openai_chat.c - /v1/chat/completions: messages to a prompt, tokens to a message or its deltas:
 * content, what was thought, calls of tools.
 */
#include "server/chat_turn.h"
#include "server/openai.h"
#include "server/openai_answer.h"
#include "server/openai_messages.h"
#include "server/openai_request.h"
#include "server/server_internal.h"
#include "server/sse.h"

static const char chunk_object[] = "chat.completion.chunk";

/* --- the answer --- */

/* "logprobs": null, or its content; `content` is the array's inside. */
static void write_logprobs(struct json_writer *json, const struct generation *generation,
                           const struct string_buffer *content) {
    json_write_key(json, "logprobs");
    if (!openai_answer_of(generation)->want_logprobs) {
        json_write_null(json);
        return;
    }
    json_write_object_begin(json);
    json_write_key(json, "content");
    json_write_array_begin(json);
    json_write_raw_of(json, content);
    json_write_array_end(json);
    json_write_key(json, "refusal");
    json_write_null(json);
    json_write_object_end(json);
}

static void collect_logprobs(struct generation_choice *choice, const struct engine_event *event,
                             struct string_buffer *content) {
    const struct openai_answer *answer = openai_answer_of(choice->generation);
    if (answer->want_logprobs) {
        struct json_writer json = {.out = content, .needs_comma = content->length != 0};
        openai_write_token_logprobs(&json, answer->model->tokenizer, event);
    }
}

/* One call of the list; the arguments are text, as OpenAI has it. */
static void write_call(struct json_writer *json, const struct answer_event *event) {
    json_write_object_begin(json);
    json_write_text_member(json, "id", event->id);
    json_write_text_member(json, "type", "function");
    json_write_key(json, "function");
    json_write_object_begin(json);
    json_write_key(json, "name");
    json_write_text(json, event->name.data, event->name.length);
    json_write_key(json, "arguments");
    json_write_text(json, event->text.data, event->text.length);
    json_write_object_end(json);
    json_write_object_end(json);
}

/* answer_sink: what an answer that is not streamed is made of. */
static void keep_part(void *context, const struct answer_event *event) {
    struct generation_choice *choice = context;
    struct json_writer json = {.out = &choice->calls, .needs_comma = choice->calls.length != 0};
    switch (event->kind) {
    case ANSWER_CONTENT:
    case ANSWER_CALL_BROKEN:
        string_buffer_append(&choice->text, event->text.data, event->text.length);
        break;
    case ANSWER_THINKING:
        string_buffer_append(&choice->thinking, event->text.data, event->text.length);
        break;
    case ANSWER_CALL_END:
        write_call(&json, event);
        break;
    case ANSWER_CALL_BEGIN:
    case ANSWER_CALL_ARGUMENTS:
        break;
    }
}

static void whole_token(struct generation_choice *choice, const struct engine_event *event) {
    chat_turn_feed(choice, event->text, event->text_length, keep_part, choice);
    collect_logprobs(choice, event, &choice->logprobs[0]);
}

static void whole_choice_done(struct generation_choice *choice, const struct engine_event *event) {
    chat_turn_feed(choice, event->text, event->text_length, keep_part, choice);
    chat_turn_finish(choice, keep_part, choice);
}

static void write_choice(struct json_writer *json, const struct generation_choice *choice) {
    json_write_object_begin(json);
    json_write_integer_member(json, "index", (int64_t)choice->index);
    json_write_key(json, "message");
    json_write_object_begin(json);
    json_write_text_member(json, "role", "assistant");
    json_write_key(json, "content");
    if (choice->calls.length != 0 && choice->text.length == 0) {
        json_write_null(json);
    } else {
        json_write_text_of(json, &choice->text);
    }
    if (choice->thinking.length != 0) {
        json_write_key(json, "reasoning_content");
        json_write_text_of(json, &choice->thinking);
    }
    if (choice->calls.length != 0) {
        json_write_key(json, "tool_calls");
        json_write_array_begin(json);
        json_write_raw_of(json, &choice->calls);
        json_write_array_end(json);
    }
    json_write_key(json, "refusal");
    json_write_null(json);
    json_write_object_end(json);
    write_logprobs(json, choice->generation, &choice->logprobs[0]);
    openai_write_finish_reason(json, choice, true);
    json_write_object_end(json);
}

static void whole_all_done(struct generation *generation) {
    struct string_buffer text = {0};
    struct json_writer json = {.out = &text};
    openai_answer_begin(&json, generation, "chat.completion");
    for (size_t i = 0; i < generation->choice_count; i++) {
        write_choice(&json, &generation->choices[i]);
    }
    openai_answer_end(&json, generation, OPENAI_USAGE_FULL);
    server_send_json(generation->connection, 200, &text);
    string_buffer_deinit(&text);
}

/* --- the stream --- */

/* One chunk: a delta of role, text, a piece of a call, or nothing. The log-probabilities that wait
 * in the choice's logprobs[0] go with it. */
struct delta {
    bool has_role;
    const char *member; /* of `text`: "content", "reasoning_content"; NULL: none */
    struct string_view text;
    const struct answer_event *call; /* NULL: none */
    bool is_last;
};

static void write_call_delta(struct json_writer *json, const struct answer_event *event) {
    bool begins = event->kind == ANSWER_CALL_BEGIN;
    json_write_key(json, "tool_calls");
    json_write_array_begin(json);
    json_write_object_begin(json);
    json_write_integer_member(json, "index", (int64_t)event->call);
    if (begins) {
        json_write_text_member(json, "id", event->id);
        json_write_text_member(json, "type", "function");
    }
    json_write_key(json, "function");
    json_write_object_begin(json);
    if (begins) {
        json_write_key(json, "name");
        json_write_text(json, event->name.data, event->name.length);
    }
    json_write_key(json, "arguments");
    json_write_text(json, begins ? "" : event->text.data, begins ? 0 : event->text.length);
    json_write_object_end(json);
    json_write_object_end(json);
    json_write_array_end(json);
}

static void send_delta(struct generation_choice *choice, const struct delta *delta) {
    struct generation *generation = choice->generation;
    struct string_buffer text = {0};
    struct json_writer json = {.out = &text};
    openai_answer_begin(&json, generation, chunk_object);
    json_write_object_begin(&json);
    json_write_integer_member(&json, "index", (int64_t)choice->index);
    json_write_key(&json, "delta");
    json_write_object_begin(&json);
    if (delta->has_role) {
        json_write_text_member(&json, "role", "assistant");
    }
    if (delta->member != NULL) {
        json_write_key(&json, delta->member);
        json_write_text(&json, delta->text.data, delta->text.length);
    }
    if (delta->call != NULL) {
        write_call_delta(&json, delta->call);
    }
    json_write_object_end(&json);
    if (choice->logprobs[0].length == 0) {
        json_write_key(&json, "logprobs");
        json_write_null(&json);
    } else {
        write_logprobs(&json, generation, &choice->logprobs[0]);
        string_buffer_clear(&choice->logprobs[0]);
    }
    openai_write_finish_reason(&json, choice, delta->is_last);
    json_write_object_end(&json);
    openai_answer_end(&json, generation, openai_chunk_usage(generation));
    sse_send(generation->connection, &text);
    string_buffer_deinit(&text);
}

static void announce_once(struct generation_choice *choice) {
    if (!choice->was_announced) {
        choice->was_announced = true;
        send_delta(choice, &(struct delta){.has_role = true, .member = "content", .text = {"", 0}});
    }
}

/* answer_sink: a part of the answer, as it comes. */
static void send_part(void *context, const struct answer_event *event) {
    struct generation_choice *choice = context;
    struct delta delta = {.text = event->text};
    switch (event->kind) {
    case ANSWER_CONTENT:
        delta.member = "content";
        break;
    case ANSWER_THINKING:
        delta.member = "reasoning_content";
        break;
    case ANSWER_CALL_BEGIN:
    case ANSWER_CALL_ARGUMENTS:
        delta.call = event;
        break;
    case ANSWER_CALL_BROKEN:
        if (event->shown == event->text.length) {
            return;
        }
        delta.member = "content";
        delta.text.data += event->shown;
        delta.text.length -= event->shown;
        break;
    case ANSWER_CALL_END:
        return;
    }
    send_delta(choice, &delta);
}

static void stream_token(struct generation_choice *choice, const struct engine_event *event) {
    announce_once(choice);
    collect_logprobs(choice, event, &choice->logprobs[0]);
    chat_turn_feed(choice, event->text, event->text_length, send_part, choice);
    if (choice->logprobs[0].length != 0) { /* of a token without a text of its own */
        send_delta(choice, &(struct delta){.member = "content", .text = {"", 0}});
    }
}

static void stream_choice_done(struct generation_choice *choice, const struct engine_event *event) {
    announce_once(choice);
    chat_turn_feed(choice, event->text, event->text_length, send_part, choice);
    chat_turn_finish(choice, send_part, choice);
    send_delta(choice, &(struct delta){.is_last = true});
}

static void stream_all_done(struct generation *generation) {
    openai_stream_done(generation, chunk_object);
}

static const struct generation_format whole_format = {
    .token = whole_token,
    .choice_done = whole_choice_done,
    .all_done = whole_all_done,
};

static const struct generation_format stream_format = {
    .token = stream_token,
    .choice_done = stream_choice_done,
    .all_done = stream_all_done,
    .failed = openai_stream_failed,
};

/* --- the request --- */

static const struct request_field fields[] = {
    {"messages", FIELD_CUSTOM, .target = offsetof(struct openai_request, messages),
     .read = openai_read_any},
    {"max_tokens", FIELD_INTEGER, 1, 1e15, offsetof(struct openai_request, max_tokens)},
    {"max_completion_tokens", FIELD_INTEGER, 1, 1e15,
     offsetof(struct openai_request, max_completion_tokens)},
    {"logprobs", FIELD_BOOL, .target = offsetof(struct openai_request, want_logprobs)},
    {"top_logprobs", FIELD_INTEGER, 0, ENGINE_MAX_TOP_LOGPROBS,
     offsetof(struct openai_request, top_logprobs)},
    {"functions", FIELD_CUSTOM, .read = openai_refuse_unless_empty},
    {.name = NULL},
};

static bool encode_messages(struct generation *generation, const struct served_model *model,
                            const json_t *messages, const struct chat_wishes *wishes,
                            struct api_error *error) {
    struct token_list *prompt = &generation->request.prompts[0];
    json_t *normal = NULL;
    if (!openai_messages_read(messages, &normal, error)) {
        return false;
    }
    size_t bytes = 0;
    for (size_t i = 0; i < json_array_size(normal); i++) {
        bytes += json_string_length(json_object_get(json_array_get(normal, i), "content"));
    }
    bool ok = openai_check_prompt_bytes(bytes, model, "messages", error) &&
              chat_turn_encode(generation, model, normal, wishes, prompt, error);
    json_decref(normal);
    return ok && openai_check_prompt(prompt, model, "messages", error);
}

static bool prepare(struct generation *generation, const struct served_model *model,
                    const json_t *body, struct api_error *error) {
    struct openai_request request;
    struct generation_request *wanted = &generation->request;
    if (!openai_request_read(body, fields, model, &generation->arena, &request, error)) {
        return false;
    }
    if (request.top_logprobs > 0 && !request.want_logprobs) {
        return api_error_set(error, 400, "invalid_value", "top_logprobs",
                             "The 'top_logprobs' parameter is only allowed when 'logprobs' is "
                             "enabled.");
    }
    struct openai_answer *answer = arena_alloc(&generation->arena, 1, sizeof *answer);
    wanted->prompts = arena_alloc(&generation->arena, 1, sizeof *wanted->prompts);
    if (answer == NULL || wanted->prompts == NULL) {
        return api_error_out_of_memory(error);
    }
    wanted->prompt_count = 1;
    wanted->want_logprobs = request.want_logprobs;
    wanted->top_logprobs = request.top_logprobs > 0 ? (size_t)request.top_logprobs : 0;
    *answer = (struct openai_answer){.model = model,
                                     .include_usage = request.include_usage,
                                     .want_logprobs = request.want_logprobs};
    generation->details = answer;
    generation->format = request.stream ? &stream_format : &whole_format;
    struct chat_wishes wishes;
    if (!openai_request_apply(&request, model, 1, wanted, error) ||
        !chat_wishes_read(body, &wishes, error)) {
        return false;
    }
    bool ok = encode_messages(generation, model, request.messages, &wishes, error) &&
              chat_turn_constrain(generation, &wishes, &request.format, error);
    chat_wishes_deinit(&wishes);
    return ok;
}

const struct generation_kind openai_chat_kind = {
    .route = "/v1/chat/completions",
    .id_prefix = "chatcmpl-",
    .prompt_field = "messages",
    .prepare = prepare,
};
