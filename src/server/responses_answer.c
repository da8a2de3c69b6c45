/*
 * responses_answer.c - a response as OpenAI tells it: whole, or as its events
 * (https://platform.openai.com/docs/api-reference/responses-streaming). Loop thread.
 */
#include "base/json_writer.h"
#include "server/answer_blocks.h"
#include "server/responses.h"
#include "server/server_internal.h"
#include "server/sse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Members of the request that the response repeats. */
static const struct {
    const char *name, *otherwise; /* JSON, when the request has none */
} repeated[] = {
    {"instructions", "null"},
    {"max_output_tokens", "null"},
    {"metadata", "{}"},
    {"parallel_tool_calls", "true"},
    {"reasoning", "{\"effort\":null,\"summary\":null}"},
    {"temperature", NULL}, /* the server's own setting */
    {"text", "{\"format\":{\"type\":\"text\"}}"},
    {"tool_choice", "\"auto\""},
    {"tools", "[]"},
    {"top_p", "1"},
    {"user", "null"},
};

enum { REPEATED_COUNT = sizeof repeated / sizeof repeated[0] };

struct response_answer {
    const struct served_model *model;
    const char *repeats[REPEATED_COUNT]; /* JSON */
    bool is_stream;
    int64_t sequence_number; /* of the next event */
    struct answer_blocks blocks;
};

static struct response_answer *answer_of(const struct generation *generation) {
    return generation->details;
}

/* --- items --- */

static void write_item_id(struct json_writer *json, const char *name,
                          const struct generation *generation, const struct answer_block *block) {
    static const char *const prefixes[] = {"msg", "rs", "fc"};
    char id[80];
    snprintf(id, sizeof id, "%s_%s_%zu", prefixes[block->kind],
             generation->id + strlen(generation->kind->id_prefix), block->index);
    json_write_text_member(json, name, id);
}

static void write_part(struct json_writer *json, const struct answer_block *block,
                       struct string_view text) {
    json_write_object_begin(json);
    json_write_text_member(json, "type",
                           block->kind == BLOCK_THINKING ? "reasoning_text" : "output_text");
    json_write_key(json, "text");
    json_write_text(json, text.data, text.length);
    if (block->kind == BLOCK_TEXT) {
        json_write_key(json, "annotations");
        json_write_array_begin(json);
        json_write_array_end(json);
        json_write_key(json, "logprobs");
        json_write_array_begin(json);
        json_write_array_end(json);
    }
    json_write_object_end(json);
}

static void write_call_members(struct json_writer *json, const struct answer_block *block,
                               struct string_view arguments) {
    json_write_text_member(json, "call_id", block->id);
    json_write_text_member(json, "name", block->name);
    json_write_key(json, "arguments");
    json_write_text(json, arguments.data, arguments.length);
}

/* `text` is what the item has so far; without any, its content is still empty. */
static void write_item(struct json_writer *json, const struct generation *generation,
                       const struct answer_block *block, struct string_view text,
                       const char *status) {
    static const char *const types[] = {"message", "reasoning", "function_call"};
    json_write_object_begin(json);
    write_item_id(json, "id", generation, block);
    json_write_text_member(json, "type", types[block->kind]);
    json_write_text_member(json, "status", status);
    if (block->kind == BLOCK_CALL) {
        write_call_members(json, block, text);
        json_write_object_end(json);
        return;
    }
    if (block->kind == BLOCK_TEXT) {
        json_write_text_member(json, "role", "assistant");
    } else {
        json_write_key(json, "summary");
        json_write_array_begin(json);
        json_write_array_end(json);
    }
    json_write_key(json, "content");
    json_write_array_begin(json);
    if (text.length != 0) {
        write_part(json, block, text);
    }
    json_write_array_end(json);
    json_write_object_end(json);
}

/* --- the response --- */

static void write_usage(struct json_writer *json, const struct engine_usage *usage) {
    json_write_object_begin(json);
    json_write_integer_member(json, "input_tokens", (int64_t)usage->prompt_tokens);
    json_write_key(json, "input_tokens_details");
    json_write_object_begin(json);
    json_write_integer_member(json, "cached_tokens", (int64_t)usage->cached_tokens);
    json_write_object_end(json);
    json_write_integer_member(json, "output_tokens", (int64_t)usage->generated_tokens);
    json_write_key(json, "output_tokens_details");
    json_write_object_begin(json);
    json_write_integer_member(json, "reasoning_tokens", 0);
    json_write_object_end(json);
    json_write_integer_member(json, "total_tokens",
                              (int64_t)(usage->prompt_tokens + usage->generated_tokens));
    json_write_object_end(json);
}

static void write_output(struct json_writer *json, const struct generation *generation,
                         bool is_incomplete) {
    const struct answer_blocks *blocks = &answer_of(generation)->blocks;
    json_write_key(json, "output");
    json_write_array_begin(json);
    for (const struct answer_block *block = blocks->first; block != NULL; block = block->next) {
        write_item(json, generation, block, answer_block_text(blocks, block),
                   is_incomplete && block->next == NULL ? "incomplete" : "completed");
    }
    json_write_array_end(json);
}

enum response_state { RESPONSE_RUNNING, RESPONSE_OVER, RESPONSE_FAILED };

static void write_failure(struct json_writer *json, const struct api_error *error) {
    json_write_key(json, "error");
    if (error == NULL) {
        json_write_null(json);
        return;
    }
    json_write_object_begin(json);
    json_write_text_member(json, "code", error->code == NULL ? "server_error" : error->code);
    json_write_text_member(json, "message", error->message);
    json_write_object_end(json);
}

static void write_response(struct json_writer *json, const struct generation *generation,
                           enum response_state state, const struct api_error *error) {
    const struct response_answer *answer = answer_of(generation);
    const struct generation_choice *choice = &generation->choices[0];
    bool is_cut = state == RESPONSE_OVER && choice->finish_reason == FINISH_LENGTH;
    json_write_object_begin(json);
    json_write_text_member(json, "id", generation->id);
    json_write_text_member(json, "object", "response");
    json_write_integer_member(json, "created_at", generation->created);
    json_write_text_member(json, "status",
                           state == RESPONSE_RUNNING  ? "in_progress"
                           : state == RESPONSE_FAILED ? "failed"
                           : is_cut                   ? "incomplete"
                                                      : "completed");
    write_failure(json, error);
    json_write_key(json, "incomplete_details");
    if (is_cut) {
        json_write_object_begin(json);
        json_write_text_member(json, "reason", "max_output_tokens");
        json_write_object_end(json);
    } else {
        json_write_null(json);
    }
    json_write_text_member(json, "model", answer->model->id);
    for (size_t i = 0; i < REPEATED_COUNT; i++) {
        json_write_key(json, repeated[i].name);
        json_write_raw(json, answer->repeats[i], strlen(answer->repeats[i]));
    }
    json_write_text_member(json, "previous_response_id", NULL);
    json_write_key(json, "store");
    json_write_bool(json, false); /* whatever was asked for: this is what happens */
    json_write_text_member(json, "truncation", "disabled");
    write_output(json, generation, state == RESPONSE_RUNNING || is_cut);
    json_write_key(json, "usage");
    if (state == RESPONSE_OVER) {
        write_usage(json, &choice->usage);
    } else {
        json_write_null(json);
    }
    json_write_object_end(json);
}

/* --- events --- */

struct response_event {
    struct string_buffer text;
    struct json_writer json;
    const char *type;
};

static void event_begin(struct response_event *event, const struct generation *generation,
                        const char *type) {
    *event = (struct response_event){.type = type};
    event->json.out = &event->text;
    json_write_object_begin(&event->json);
    json_write_text_member(&event->json, "type", type);
    json_write_integer_member(&event->json, "sequence_number",
                              answer_of(generation)->sequence_number++);
}

static void event_send(struct response_event *event, const struct generation *generation) {
    json_write_object_end(&event->json);
    sse_send_event(generation->connection, event->type, &event->text);
    string_buffer_deinit(&event->text);
}

static void send_response(const struct generation *generation, const char *type,
                          enum response_state state, const struct api_error *error) {
    struct response_event event;
    event_begin(&event, generation, type);
    json_write_key(&event.json, "response");
    write_response(&event.json, generation, state, error);
    event_send(&event, generation);
}

/* An event about a block: its item, its place, and what the caller adds. */
static void block_event_begin(struct response_event *event, const struct generation *generation,
                              const struct answer_block *block, const char *type) {
    event_begin(event, generation, type);
    write_item_id(&event->json, "item_id", generation, block);
    json_write_integer_member(&event->json, "output_index", (int64_t)block->index);
    if (block->kind != BLOCK_CALL) {
        json_write_integer_member(&event->json, "content_index", 0);
    }
}

static void send_item(const struct generation *generation, const struct answer_block *block,
                      const char *type, struct string_view text, const char *status) {
    struct response_event event;
    event_begin(&event, generation, type);
    json_write_integer_member(&event.json, "output_index", (int64_t)block->index);
    json_write_key(&event.json, "item");
    write_item(&event.json, generation, block, text, status);
    event_send(&event, generation);
}

static void send_part(const struct generation *generation, const struct answer_block *block,
                      const char *type, struct string_view text) {
    struct response_event event;
    if (block->kind == BLOCK_CALL) {
        return;
    }
    block_event_begin(&event, generation, block, type);
    json_write_key(&event.json, "part");
    write_part(&event.json, block, text);
    event_send(&event, generation);
}

/* `member` holds the text: "delta" while it grows; at its end its own name. */
static void send_text(const struct generation *generation, const struct answer_block *block,
                      const char *type, const char *member, struct string_view text) {
    struct response_event event;
    block_event_begin(&event, generation, block, type);
    json_write_key(&event.json, member);
    json_write_text(&event.json, text.data, text.length);
    if (block->kind == BLOCK_TEXT) {
        json_write_key(&event.json, "logprobs");
        json_write_array_begin(&event.json);
        json_write_array_end(&event.json);
    } else if (block->kind == BLOCK_CALL) {
        json_write_text_member(&event.json, "name", block->name);
    }
    event_send(&event, generation);
}

static void block_opened(struct answer_blocks *blocks, const struct answer_block *block) {
    const struct generation *generation = blocks->choice->generation;
    const struct string_view nothing = {"", 0};
    send_item(generation, block, "response.output_item.added", nothing, "in_progress");
    send_part(generation, block, "response.content_part.added", nothing);
}

static void block_grew(struct answer_blocks *blocks, const struct answer_block *block,
                       struct string_view text) {
    static const char *const types[] = {"response.output_text.delta",
                                        "response.reasoning_text.delta",
                                        "response.function_call_arguments.delta"};
    send_text(blocks->choice->generation, block, types[block->kind], "delta", text);
}

static void block_closed(struct answer_blocks *blocks, const struct answer_block *block) {
    static const char *const types[] = {"response.output_text.done", "response.reasoning_text.done",
                                        "response.function_call_arguments.done"};
    const struct generation *generation = blocks->choice->generation;
    struct string_view text = answer_block_text(blocks, block);
    bool is_call = block->kind == BLOCK_CALL;
    bool is_cut = blocks->is_over && blocks->choice->finish_reason == FINISH_LENGTH;
    send_text(generation, block, types[block->kind], is_call ? "arguments" : "text", text);
    send_part(generation, block, "response.content_part.done", text);
    send_item(generation, block, "response.output_item.done", text,
              is_cut ? "incomplete" : "completed");
}

static const struct answer_block_sink stream_sink = {
    .opened = block_opened, .grew = block_grew, .closed = block_closed};

/* --- the format --- */

static struct answer_blocks *blocks_of(struct generation_choice *choice) {
    struct response_answer *answer = answer_of(choice->generation);
    answer->blocks.choice = choice;
    if (answer->is_stream && !choice->was_announced) {
        choice->was_announced = true;
        send_response(choice->generation, "response.created", RESPONSE_RUNNING, NULL);
        send_response(choice->generation, "response.in_progress", RESPONSE_RUNNING, NULL);
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
    bool is_cut = generation->choices[0].finish_reason == FINISH_LENGTH;
    if (answer_of(generation)->is_stream) {
        send_response(generation, is_cut ? "response.incomplete" : "response.completed",
                      RESPONSE_OVER, NULL);
        http_stream_end(generation->connection);
        return;
    }
    struct string_buffer text = {0};
    struct json_writer json = {.out = &text};
    write_response(&json, generation, RESPONSE_OVER, NULL);
    server_send_json(generation->connection, 200, &text);
    string_buffer_deinit(&text);
}

static void failed(struct generation *generation, const struct api_error *error) {
    send_response(generation, "response.failed", RESPONSE_FAILED, error);
    http_stream_end(generation->connection);
}

static const struct generation_format format = {
    .token = token, .choice_done = choice_done, .all_done = all_done, .failed = failed};

/* --- what the answer repeats --- */

static bool repeat(struct generation *generation, const json_t *value, const char *otherwise,
                   const char **out) {
    if (value == NULL || json_is_null(value)) {
        *out = otherwise;
        return true;
    }
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    *out = text == NULL ? NULL : arena_copy_text(&generation->arena, text, strlen(text));
    free(text);
    return *out != NULL;
}

bool responses_answer_prepare(struct generation *generation, const struct served_model *model,
                              const json_t *body, struct api_error *error) {
    struct response_answer *answer = arena_alloc(&generation->arena, 1, sizeof *answer);
    char temperature[32];
    snprintf(temperature, sizeof temperature, "%g", (double)model->default_temperature);
    const char *kept = arena_copy_text(&generation->arena, temperature, strlen(temperature));
    bool ok = answer != NULL && kept != NULL;
    for (size_t i = 0; ok && i < REPEATED_COUNT; i++) {
        ok = repeat(generation, json_object_get(body, repeated[i].name),
                    repeated[i].otherwise == NULL ? kept : repeated[i].otherwise,
                    &answer->repeats[i]);
    }
    if (!ok) {
        return api_error_out_of_memory(error);
    }
    answer->model = model;
    answer->is_stream = json_is_true(json_object_get(body, "stream"));
    answer->blocks.sink = answer->is_stream ? &stream_sink : NULL;
    generation->details = answer;
    generation->format = &format;
    return true;
}
