/* ollama_answer.c - see ollama_answer.h. */
#include "server/ollama_answer.h"

#include "base/clock.h"
#include "server/ndjson.h"
#include "server/ollama.h"
#include "server/openai_answer.h"
#include "server/server_internal.h"

#include <stdio.h>
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

/* {"model":…,"created_at":…,"response" or "message":… */
static void write_begin(struct json_writer *json, const struct generation *generation,
                        const char *text, size_t length) {
    const struct ollama_answer *answer = answer_of(generation);
    json_write_object_begin(json);
    json_write_text_member(json, "model", answer->name);
    ollama_write_time_member(json, "created_at", clock_wall_ns());
    if (answer->is_chat) {
        json_write_key(json, "message");
        json_write_object_begin(json);
        json_write_text_member(json, "role", "assistant");
        json_write_key(json, "content");
        json_write_text(json, text, length);
        json_write_object_end(json);
    } else {
        json_write_key(json, "response");
        json_write_text(json, text, length);
    }
}

static void write_logprobs(struct json_writer *json, struct generation_choice *choice) {
    struct string_buffer *pieces = &choice->logprobs[LOGPROBS];
    if (pieces->length != 0) {
        json_write_key(json, "logprobs");
        json_write_array_begin(json);
        json_write_raw(json, string_buffer_text(pieces), pieces->length);
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
        json_write_raw(json, string_buffer_text(generated), generated->length);
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
    write_begin(&json, generation, "", 0);
    write_done(&json, true, reason);
    ollama_write_durations(&json, generation);
    json_write_object_end(&json);
}

/* --- generation_format --- */

static void send_piece(struct generation_choice *choice, const char *piece, size_t length) {
    struct string_buffer text = {0};
    struct json_writer json = {.out = &text};
    write_begin(&json, choice->generation, piece, length);
    write_done(&json, false, NULL);
    write_logprobs(&json, choice);
    json_write_object_end(&json);
    send_object(choice->generation, &text);
}

static void take_text(struct generation_choice *choice, const struct engine_event *event) {
    if (event->text_length == 0) {
        return;
    }
    if (answer_of(choice->generation)->is_stream) {
        send_piece(choice, event->text, event->text_length);
    } else {
        string_buffer_append(&choice->text, event->text, event->text_length);
    }
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
    take_text(choice, event);
}

static void on_choice_done(struct generation_choice *choice, const struct engine_event *event) {
    take_text(choice, event);
}

static void on_all_done(struct generation *generation) {
    const struct ollama_answer *answer = answer_of(generation);
    struct generation_choice *choice = &generation->choices[0];
    struct string_buffer text = {0};
    struct json_writer json = {.out = &text};
    write_begin(&json, generation, string_buffer_text(&choice->text), choice->text.length);
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
