/* ollama_answer.c - see ollama_answer.h. */
#include "server/ollama_answer.h"

#include "base/clock.h"
#include "server/chat_turn.h"
#include "server/ndjson.h"
#include "server/ollama.h"
#include "server/openai_answer.h"
#include "server/server_internal.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* What the pieces of a choice hold. */
enum { LOGPROBS, TOKENS };

void ollama_write_time_member(struct json_writer *json, const char *name, int64_t wall_ns) {
    char text[64] = "";
    time_t seconds = (time_t)(wall_ns / 1000000000);
    struct tm parts;
    if (gmtime_r(&seconds, &parts) != NULL) {
        size_t length = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
        snprintf(text + length, sizeof text - length, ".%06dZ", (int)(wall_ns % 1000000000 / 1000));
    }
    json_write_text_member(json, name, text);
}

static void write_duration_member(struct json_writer *json, const char *name, double seconds) {
    json_write_integer_member(json, name, (int64_t)(seconds * 1e9));
}

static const struct ollama_answer *answer_of(const struct generation *generation) {
    return generation->details;
}

/* What one object holds of the answer. */
struct part {
    struct string_view text, thinking;
    struct string_view calls; /* the inside of a list */
};

static struct string_view view_of(const struct string_buffer *buffer) {
    return (struct string_view){string_buffer_text(buffer), buffer->length};
}

/* Of a message, or of the object itself. */
static void write_part(struct json_writer *json, const char *text_name, const struct part *part) {
    json_write_key(json, text_name);
    json_write_text(json, part->text.data == NULL ? "" : part->text.data, part->text.length);
    if (part->thinking.length != 0) {
        json_write_key(json, "thinking");
        json_write_text(json, part->thinking.data, part->thinking.length);
    }
    if (part->calls.length != 0) {
        json_write_key(json, "tool_calls");
        json_write_array_begin(json);
        json_write_raw(json, part->calls.data, part->calls.length);
        json_write_array_end(json);
    }
}

/* {"model":…,"created_at":…,"response" or "message":… */
static void write_begin(struct json_writer *json, const struct generation *generation,
                        const struct part *part) {
    const struct ollama_answer *answer = answer_of(generation);
    json_write_object_begin(json);
    json_write_text_member(json, "model", answer->name);
    ollama_write_time_member(json, "created_at", clock_wall_ns());
    if (answer->is_chat) {
        json_write_key(json, "message");
        json_write_object_begin(json);
        json_write_text_member(json, "role", "assistant");
        write_part(json, "content", part);
        json_write_object_end(json);
    } else {
        write_part(json, "response", part);
    }
}

/* A model may break the lines of a call's arguments; in strings JSON has none. */
static void write_on_one_line(struct json_writer *json, struct string_view object) {
    struct string_buffer text = {0};
    bool in_string = false;
    for (size_t i = 0; i < object.length; i++) {
        char byte = object.data[i];
        bool is_escaped = in_string && byte == '\\' && i + 1 < object.length;
        in_string = (byte == '"') != in_string;
        if (in_string || strchr(" \t\r\n", byte) == NULL) {
            string_buffer_append_char(&text, byte);
        }
        if (is_escaped) {
            string_buffer_append_char(&text, object.data[++i]);
        }
    }
    json_write_raw_of(json, &text);
    string_buffer_deinit(&text);
}

static void write_call(struct json_writer *json, const struct answer_event *event) {
    json_write_object_begin(json);
    json_write_text_member(json, "id", event->id);
    json_write_key(json, "function");
    json_write_object_begin(json);
    json_write_integer_member(json, "index", (int64_t)event->call);
    json_write_key(json, "name");
    json_write_text(json, event->name.data, event->name.length);
    json_write_key(json, "arguments");
    write_on_one_line(json, event->text);
    json_write_object_end(json);
    json_write_object_end(json);
}

static void write_logprobs(struct json_writer *json, struct generation_choice *choice) {
    struct string_buffer *pieces = &choice->logprobs[LOGPROBS];
    if (pieces->length != 0) {
        json_write_key(json, "logprobs");
        json_write_array_begin(json);
        json_write_raw_of(json, pieces);
        json_write_array_end(json);
        string_buffer_clear(pieces);
    }
}

static void write_done(struct json_writer *json, bool is_done, const char *reason) {
    json_write_key(json, "done");
    json_write_bool(json, is_done);
    if (is_done) {
        json_write_text_member(json, "done_reason", reason);
    }
}

/* The conversation as tokens: what the next request may send as its `context`. */
static void write_context(struct json_writer *json, const struct generation_choice *choice) {
    const struct token_list *prompt = &choice->generation->request.prompts[0];
    const struct string_buffer *generated = &choice->logprobs[TOKENS];
    json_write_key(json, "context");
    json_write_array_begin(json);
    for (size_t i = 0; i < prompt->count; i++) {
        json_write_integer(json, prompt->ids[i]);
    }
    if (generated->length != 0) {
        json_write_raw_of(json, generated);
    }
    json_write_array_end(json);
}

void ollama_write_durations(struct json_writer *json, const struct generation *generation) {
    double total = clock_seconds(clock_now_ns() - generation->started_ns);
    write_duration_member(json, "total_duration", total);
    write_duration_member(json, "load_duration", 0);
}

static void write_counts(struct json_writer *json, const struct generation *generation) {
    struct engine_usage usage = generation_usage(generation);
    ollama_write_durations(json, generation);
    json_write_integer_member(json, "prompt_eval_count", (int64_t)usage.prompt_tokens);
    write_duration_member(json, "prompt_eval_duration", usage.prefill_seconds);
    json_write_integer_member(json, "eval_count", (int64_t)usage.generated_tokens);
    write_duration_member(json, "eval_duration", usage.decode_seconds);
}

static void send_object(struct generation *generation, struct string_buffer *text) {
    if (answer_of(generation)->is_stream) {
        ndjson_send(generation->connection, text);
    } else {
        server_send_json(generation->connection, 200, text);
    }
    string_buffer_deinit(text);
}

void ollama_write_idle(struct generation *generation, const char *reason) {
    struct json_writer json = {.out = &generation->answer};
    write_begin(&json, generation, &(struct part){0});
    write_done(&json, true, reason);
    ollama_write_durations(&json, generation);
    json_write_object_end(&json);
}

/* --- generation_format --- */

static void send_piece(struct generation_choice *choice, const struct part *part) {
    struct string_buffer text = {0};
    struct json_writer json = {.out = &text};
    write_begin(&json, choice->generation, part);
    write_done(&json, false, NULL);
    write_logprobs(&json, choice);
    json_write_object_end(&json);
    send_object(choice->generation, &text);
}

/* answer_sink: a part of the answer, sent or kept. Of calls only whole ones are. */
static void take_part(void *context, const struct answer_event *event) {
    struct generation_choice *choice = context;
    bool is_stream = answer_of(choice->generation)->is_stream;
    struct string_buffer call = {0};
    struct string_buffer *kept = is_stream ? &call : &choice->calls;
    struct json_writer json = {.out = kept, .needs_comma = kept->length != 0};
    struct part part = {0};
    switch (event->kind) {
    case ANSWER_CONTENT:
    case ANSWER_CALL_BROKEN:
        part.text = event->text;
        break;
    case ANSWER_THINKING:
        part.thinking = event->text;
        break;
    case ANSWER_CALL_END:
        write_call(&json, event);
        part.calls = view_of(&call);
        break;
    case ANSWER_CALL_BEGIN:
    case ANSWER_CALL_ARGUMENTS:
        return;
    }
    if (is_stream) {
        send_piece(choice, &part);
    } else {
        string_buffer_append(&choice->text, part.text.data, part.text.length);
        string_buffer_append(&choice->thinking, part.thinking.data, part.thinking.length);
    }
    choice->calls.failed = choice->calls.failed || call.failed;
    string_buffer_deinit(&call);
}

static void on_token(struct generation_choice *choice, const struct engine_event *event) {
    const struct ollama_answer *answer = answer_of(choice->generation);
    if (answer->want_logprobs) {
        struct string_buffer *pieces = &choice->logprobs[LOGPROBS];
        struct json_writer json = {.out = pieces, .needs_comma = pieces->length != 0};
        openai_write_token_logprobs(&json, answer->model->tokenizer, event);
    }
    if (answer->tells_context) {
        struct string_buffer *tokens = &choice->logprobs[TOKENS];
        string_buffer_append_format(tokens, "%s%d", tokens->length == 0 ? "" : ",", event->token);
    }
    chat_turn_feed(choice, event->text, event->text_length, take_part, choice);
}

static void on_choice_done(struct generation_choice *choice, const struct engine_event *event) {
    chat_turn_feed(choice, event->text, event->text_length, take_part, choice);
    chat_turn_finish(choice, take_part, choice);
}

static void on_all_done(struct generation *generation) {
    const struct ollama_answer *answer = answer_of(generation);
    struct generation_choice *choice = &generation->choices[0];
    struct string_buffer text = {0};
    struct json_writer json = {.out = &text};
    const struct part whole = {view_of(&choice->text), view_of(&choice->thinking),
                               view_of(&choice->calls)};
    write_begin(&json, generation, &whole);
    write_done(&json, true, choice->finish_reason == FINISH_LENGTH ? "length" : "stop");
    write_logprobs(&json, choice);
    if (answer->tells_context) {
        write_context(&json, choice);
    }
    write_counts(&json, generation);
    json_write_object_end(&json);
    struct http_connection *connection = generation->connection;
    send_object(generation, &text);
    if (answer->is_stream) {
        ndjson_end(connection);
    }
}

static void on_failed(struct generation *generation, const struct api_error *error) {
    ndjson_fail(generation->connection, error);
}

const struct generation_format ollama_format = {
    .token = on_token,
    .choice_done = on_choice_done,
    .all_done = on_all_done,
    .failed = on_failed,
};
