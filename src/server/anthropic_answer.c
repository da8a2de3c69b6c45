/*
 * anthropic_answer.c - a message as Anthropic's API tells it: whole, or as its events
 * (https://docs.anthropic.com/en/docs/build-with-claude/streaming). Loop thread.
 */
#include "base/json_writer.h"
#include "server/answer_blocks.h"
#include "server/anthropic.h"
#include "server/server_internal.h"
#include "server/sse.h"

struct message_answer {
    const struct served_model *model;
    bool is_stream;
    struct answer_blocks blocks;
};

static struct message_answer *answer_of(const struct generation *generation) {
    return generation->details;
}

/* --- pieces --- */

static const char *stop_reason(const struct message_answer *answer,
                               const struct generation_choice *choice) {
    if (answer->blocks.has_calls) {
        return "tool_use";
    }
    if (choice->finish_reason == FINISH_LENGTH) {
        return "max_tokens";
    }
    return choice->stop != NULL ? "stop_sequence" : "end_turn";
}

static void write_stop(struct json_writer *json, const struct message_answer *answer,
                       const struct generation_choice *choice, bool is_finished) {
    json_write_text_member(json, "stop_reason", is_finished ? stop_reason(answer, choice) : NULL);
    json_write_key(json, "stop_sequence");
    if (is_finished && choice->stop != NULL && !answer->blocks.has_calls) {
        json_write_text(json, choice->stop->data, choice->stop->length);
    } else {
        json_write_null(json);
    }
}

/* input_tokens leaves out what came from the cache. */
static void write_usage(struct json_writer *json, size_t prompt, size_t cached, size_t generated) {
    json_write_key(json, "usage");
    json_write_object_begin(json);
    json_write_integer_member(json, "input_tokens", (int64_t)(prompt - cached));
    json_write_integer_member(json, "cache_creation_input_tokens", 0);
    json_write_integer_member(json, "cache_read_input_tokens", (int64_t)cached);
    json_write_integer_member(json, "output_tokens", (int64_t)generated);
    json_write_object_end(json);
}

/* A block: in a stream it begins empty. */
static void write_block(struct json_writer *json, const struct answer_block *block,
                        struct string_view text, bool is_start) {
    static const char *const types[] = {"text", "thinking", "tool_use"};
    json_write_object_begin(json);
    json_write_text_member(json, "type", types[block->kind]);
    if (block->kind == BLOCK_CALL) {
        json_write_text_member(json, "id", block->id);
        json_write_text_member(json, "name", block->name);
        json_write_key(json, "input");
        if (is_start) {
            json_write_raw(json, "{}", 2);
        } else {
            json_write_raw(json, text.data, text.length);
        }
    } else {
        json_write_key(json, types[block->kind]);
        json_write_text(json, is_start ? "" : text.data, is_start ? 0 : text.length);
        if (block->kind == BLOCK_THINKING) {
            json_write_text_member(json, "signature", "");
        }
    }
    json_write_object_end(json);
}

static void begin_message(struct json_writer *json, const struct generation *generation) {
    json_write_object_begin(json);
    json_write_text_member(json, "id", generation->id);
    json_write_text_member(json, "type", "message");
    json_write_text_member(json, "role", "assistant");
    json_write_text_member(json, "model", answer_of(generation)->model->id);
    json_write_key(json, "content");
    json_write_array_begin(json);
}

/* --- whole --- */

static void send_whole(struct generation *generation) {
    const struct message_answer *answer = answer_of(generation);
    const struct generation_choice *choice = &generation->choices[0];
    const struct engine_usage *usage = &choice->usage;
    struct string_buffer text = {0};
    struct json_writer json = {.out = &text};
    begin_message(&json, generation);
    for (const struct answer_block *block = answer->blocks.first; block != NULL;
         block = block->next) {
        write_block(&json, block, answer_block_text(&answer->blocks, block), false);
    }
    json_write_array_end(&json);
    write_stop(&json, answer, choice, true);
    write_usage(&json, usage->prompt_tokens, usage->cached_tokens, usage->generated_tokens);
    json_write_object_end(&json);
    server_send_json(generation->connection, 200, &text);
    string_buffer_deinit(&text);
}

/* --- the stream --- */

struct stream_event {
    struct string_buffer text;
    struct json_writer json;
    const char *type;
};

static void event_begin(struct stream_event *event, const char *type) {
    *event = (struct stream_event){.type = type};
    event->json.out = &event->text;
    json_write_object_begin(&event->json);
    json_write_text_member(&event->json, "type", type);
}

static void event_send(struct stream_event *event, const struct generation *generation) {
    json_write_object_end(&event->json);
    sse_send_event(generation->connection, event->type, &event->text);
    string_buffer_deinit(&event->text);
}

static void start_once(struct generation_choice *choice) {
    const struct generation *generation = choice->generation;
    struct stream_event event;
    if (choice->was_announced) {
        return;
    }
    choice->was_announced = true;
    event_begin(&event, "message_start");
    json_write_key(&event.json, "message");
    begin_message(&event.json, generation);
    json_write_array_end(&event.json);
    write_stop(&event.json, answer_of(generation), choice, false);
    write_usage(&event.json, generation->request.prompts[0].count, 0, 0);
    json_write_object_end(&event.json);
    event_send(&event, generation);
    event_begin(&event, "ping");
    event_send(&event, generation);
}

static void block_opened(struct answer_blocks *blocks, const struct answer_block *block) {
    struct stream_event event;
    event_begin(&event, "content_block_start");
    json_write_integer_member(&event.json, "index", (int64_t)block->index);
    json_write_key(&event.json, "content_block");
    write_block(&event.json, block, (struct string_view){"", 0}, true);
    event_send(&event, blocks->choice->generation);
}

static void block_grew(struct answer_blocks *blocks, const struct answer_block *block,
                       struct string_view text) {
    static const struct {
        const char *type, *member;
    } deltas[] = {{"text_delta", "text"},
                  {"thinking_delta", "thinking"},
                  {"input_json_delta", "partial_json"}};
    struct stream_event event;
    event_begin(&event, "content_block_delta");
    json_write_integer_member(&event.json, "index", (int64_t)block->index);
    json_write_key(&event.json, "delta");
    json_write_object_begin(&event.json);
    json_write_text_member(&event.json, "type", deltas[block->kind].type);
    json_write_key(&event.json, deltas[block->kind].member);
    json_write_text(&event.json, text.data, text.length);
    json_write_object_end(&event.json);
    event_send(&event, blocks->choice->generation);
}

static void block_closed(struct answer_blocks *blocks, const struct answer_block *block) {
    struct stream_event event;
    event_begin(&event, "content_block_stop");
    json_write_integer_member(&event.json, "index", (int64_t)block->index);
    event_send(&event, blocks->choice->generation);
}

static const struct answer_block_sink stream_sink = {
    .opened = block_opened, .grew = block_grew, .closed = block_closed};

static void end_stream(struct generation *generation) {
    const struct generation_choice *choice = &generation->choices[0];
    const struct engine_usage *usage = &choice->usage;
    struct stream_event event;
    event_begin(&event, "message_delta");
    json_write_key(&event.json, "delta");
    json_write_object_begin(&event.json);
    write_stop(&event.json, answer_of(generation), choice, true);
    json_write_object_end(&event.json);
    write_usage(&event.json, usage->prompt_tokens, usage->cached_tokens, usage->generated_tokens);
    event_send(&event, generation);
    event_begin(&event, "message_stop");
    event_send(&event, generation);
    http_stream_end(generation->connection);
}

/* --- the format --- */

static struct answer_blocks *blocks_of(struct generation_choice *choice) {
    struct message_answer *answer = answer_of(choice->generation);
    answer->blocks.choice = choice;
    if (answer->is_stream) {
        start_once(choice);
    }
    return &answer->blocks;
}

static void token(struct generation_choice *choice, const struct engine_event *event) {
    answer_blocks_feed(blocks_of(choice), event);
}

static void choice_done(struct generation_choice *choice, const struct engine_event *event) {
    struct answer_blocks *blocks = blocks_of(choice);
    answer_blocks_feed(blocks, event);
    answer_blocks_end(blocks);
}

static void all_done(struct generation *generation) {
    if (answer_of(generation)->is_stream) {
        end_stream(generation);
    } else {
        send_whole(generation);
    }
}

static void failed(struct generation *generation, const struct api_error *error) {
    struct string_buffer text = {0};
    api_error_write_as(error, API_ANTHROPIC, &text);
    sse_send_event(generation->connection, "error", &text);
    string_buffer_deinit(&text);
    http_stream_end(generation->connection);
}

static const struct generation_format format = {
    .token = token, .choice_done = choice_done, .all_done = all_done, .failed = failed};

bool anthropic_answer_prepare(struct generation *generation, const struct served_model *model,
                              bool is_stream, struct api_error *error) {
    struct message_answer *answer = arena_alloc(&generation->arena, 1, sizeof *answer);
    if (answer == NULL) {
        return api_error_out_of_memory(error);
    }
    answer->model = model;
    answer->is_stream = is_stream;
    answer->blocks.sink = is_stream ? &stream_sink : NULL;
    generation->details = answer;
    generation->format = &format;
    return true;
}
