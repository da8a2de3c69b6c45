/* openai_answer.c - see openai_answer.h. */
#include "server/openai_answer.h"

#include "base/utf8.h"
#include "server/chat_turn.h"
#include "server/llama_server.h"
#include "server/server_internal.h"
#include "server/sse.h"

#include <math.h>

struct openai_answer *openai_answer_of(const struct generation *generation) {
    return generation->details;
}

void openai_answer_begin(struct json_writer *json, const struct generation *generation,
                         const char *object) {
    const struct openai_answer *answer = openai_answer_of(generation);
    json_write_object_begin(json);
    json_write_text_member(json, "id", generation->id);
    json_write_text_member(json, "object", object);
    json_write_integer_member(json, "created", generation->created);
    json_write_text_member(json, "model", answer->model->id);
    json_write_text_member(json, "system_fingerprint", answer->model->fingerprint);
    json_write_key(json, "choices");
    json_write_array_begin(json);
}

static void write_usage(struct json_writer *json, const struct generation *generation) {
    struct engine_usage usage = generation_usage(generation);
    int64_t prompt = (int64_t)usage.prompt_tokens;
    int64_t completion =
        openai_answer_of(generation)->score_only ? 0 : (int64_t)usage.generated_tokens;
    json_write_object_begin(json);
    json_write_integer_member(json, "prompt_tokens", prompt);
    json_write_integer_member(json, "completion_tokens", completion);
    json_write_integer_member(json, "total_tokens", prompt + completion);
    json_write_key(json, "prompt_tokens_details");
    json_write_object_begin(json);
    json_write_integer_member(json, "cached_tokens", (int64_t)usage.cached_tokens);
    json_write_object_end(json);
    json_write_object_end(json);
}

void openai_answer_end(struct json_writer *json, const struct generation *generation,
                       enum openai_usage_member usage) {
    json_write_array_end(json);
    if (usage != OPENAI_USAGE_ABSENT) {
        json_write_key(json, "usage");
        if (usage == OPENAI_USAGE_NULL) {
            json_write_null(json);
        } else {
            write_usage(json, generation);
            llama_write_timings(json, generation);
        }
    }
    json_write_object_end(json);
}

enum openai_usage_member openai_chunk_usage(const struct generation *generation) {
    return openai_answer_of(generation)->include_usage ? OPENAI_USAGE_NULL : OPENAI_USAGE_ABSENT;
}

void openai_write_finish_reason(struct json_writer *json, const struct generation_choice *choice,
                                bool is_finished) {
    const char *reason = choice->finish_reason == FINISH_LENGTH ? "length"
                         : chat_turn_has_calls(choice)          ? "tool_calls"
                                                                : "stop";
    json_write_text_member(json, "finish_reason", is_finished ? reason : NULL);
}

void openai_write_token_text(struct json_writer *json, struct string_view piece,
                             const char *prefix) {
    if (utf8_validate(piece.data, piece.length, NULL)) {
        json_write_text(json, piece.data == NULL ? "" : piece.data, piece.length);
        return;
    }
    struct string_buffer text = {0};
    string_buffer_append_text(&text, prefix);
    for (size_t i = 0; i < piece.length; i++) {
        string_buffer_append_format(&text, "\\x%02x", (unsigned char)piece.data[i]);
    }
    json_write_text_of(json, &text);
    string_buffer_deinit(&text);
}

void openai_write_logprob(struct json_writer *json, float logprob) {
    json_write_number(json, isfinite(logprob) ? (double)logprob : -9999.0);
}

static void write_logprob_entry(struct json_writer *json, const struct tokenizer *tokenizer,
                                struct token_logprob entry) {
    struct string_view piece = tokenizer_piece(tokenizer, entry.token, true);
    json_write_key(json, "token");
    openai_write_token_text(json, piece, "");
    json_write_key(json, "logprob");
    openai_write_logprob(json, entry.logprob);
    json_write_key(json, "bytes");
    json_write_array_begin(json);
    for (size_t i = 0; i < piece.length; i++) {
        json_write_integer(json, (unsigned char)piece.data[i]);
    }
    json_write_array_end(json);
}

void openai_write_token_logprobs(struct json_writer *json, const struct tokenizer *tokenizer,
                                 const struct engine_event *event) {
    json_write_object_begin(json);
    write_logprob_entry(json, tokenizer, (struct token_logprob){event->token, event->logprob});
    json_write_key(json, "top_logprobs");
    json_write_array_begin(json);
    for (size_t i = 0; i < event->top_count; i++) {
        json_write_object_begin(json);
        write_logprob_entry(json, tokenizer, event->top[i]);
        json_write_object_end(json);
    }
    json_write_array_end(json);
    json_write_object_end(json);
}

void openai_stream_done(struct generation *generation, const char *object) {
    if (openai_answer_of(generation)->include_usage) {
        struct string_buffer text = {0};
        struct json_writer json = {.out = &text};
        openai_answer_begin(&json, generation, object);
        openai_answer_end(&json, generation, OPENAI_USAGE_FULL);
        sse_send(generation->connection, &text);
        string_buffer_deinit(&text);
    }
    sse_end(generation->connection);
}

void openai_stream_failed(struct generation *generation, const struct api_error *error) {
    sse_fail(generation->connection, error);
}
