/*
 * anthropic_request.c - a request of Anthropic's API, as the chat request that asks for the same.
 *
 * Pure; preparer's thread. What is wrong is named as the client wrote it; what is left to the chat
 * request's own checks (ranges, roles in order) bears the same names there.
 */
#include "server/anthropic.h"
#include "server/openai.h"
#include "server/request_fields.h"
#include "server/served_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *text_member(const json_t *object, const char *name) {
    return json_string_value(json_object_get(object, name));
}

static bool is_given(const json_t *value) {
    return value != NULL && !json_is_null(value);
}

static bool set(json_t *object, const char *name, json_t *value, struct api_error *error) {
    return json_object_set_new(object, name, value) == 0 || api_error_out_of_memory(error);
}

static bool append(json_t *array, json_t *value, struct api_error *error) {
    return json_array_append_new(array, value) == 0 || api_error_out_of_memory(error);
}

/* --- texts --- */

/* A string, or a list of text blocks, as one text; `where` is its place. */
static bool join_text(const json_t *value, const char *where, struct string_buffer *text,
                      struct api_error *error) {
    if (json_is_string(value)) {
        string_buffer_append(text, json_string_value(value), json_string_length(value));
        return true;
    }
    if (!json_is_array(value)) {
        return request_field_wrong_type(where, "a string or an array of blocks", value, error);
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *block = json_array_get(value, i);
        const char *type = text_member(block, "type");
        const json_t *part = json_object_get(block, "text");
        if (type == NULL || strcmp(type, "text") != 0 || !json_is_string(part)) {
            return api_error_set(error, 400, "unsupported_value", where,
                                 "%s[%zu]: this model reads blocks of type 'text' only, not "
                                 "'%.40s'.",
                                 where, i, type == NULL ? "null" : type);
        }
        if (text->length != 0) {
            string_buffer_append_char(text, '\n');
        }
        string_buffer_append(text, json_string_value(part), json_string_length(part));
    }
    return true;
}

static json_t *take_text(struct string_buffer *text) {
    json_t *value = text->failed ? NULL : json_stringn(string_buffer_text(text), text->length);
    string_buffer_deinit(text);
    return value;
}

static bool add_message(json_t *messages, const char *role, struct string_buffer *text,
                        struct api_error *error) {
    json_t *message = json_pack("{s:s, s:o}", "role", role, "content", take_text(text));
    return append(messages, message, error);
}

/* --- messages --- */

/* One message while its blocks are read. */
struct turn {
    json_t *messages;
    const char *role;
    struct string_buffer text, thinking;
    json_t *calls; /* NULL: none */
    char where[80];
};

static bool read_text_block(struct turn *turn, const json_t *block, struct api_error *error) {
    const json_t *text = json_object_get(block, "text");
    if (!json_is_string(text)) {
        return api_error_set(error, 400, "invalid_value", turn->where,
                             "%s: a block of type 'text' has its 'text' as a string.", turn->where);
    }
    if (turn->text.length != 0) {
        string_buffer_append_char(&turn->text, '\n');
    }
    string_buffer_append(&turn->text, json_string_value(text), json_string_length(text));
    return true;
}

static bool read_thinking(struct turn *turn, const json_t *block, struct api_error *error) {
    const char *thinking = text_member(block, "thinking");
    (void)error;
    string_buffer_append_text(&turn->thinking, thinking == NULL ? "" : thinking);
    return true;
}

static bool ignore_block(struct turn *turn, const json_t *block, struct api_error *error) {
    (void)turn; /* redacted thinking: nobody but its writer can read it */
    (void)block;
    (void)error;
    return true;
}

static bool read_tool_use(struct turn *turn, const json_t *block, struct api_error *error) {
    const char *id = text_member(block, "id"), *name = text_member(block, "name");
    const json_t *input = json_object_get(block, "input");
    if (id == NULL || name == NULL || !json_is_object(input)) {
        return api_error_set(error, 400, "invalid_value", turn->where,
                             "%s: a block of type 'tool_use' has 'id', 'name' and 'input', an "
                             "object.",
                             turn->where);
    }
    char *arguments = json_dumps(input, JSON_COMPACT);
    if (turn->calls == NULL) {
        turn->calls = json_array();
    }
    json_t *call = arguments == NULL
                       ? NULL
                       : json_pack("{s:s, s:s, s:{s:s, s:s}}", "id", id, "type", "function",
                                   "function", "name", name, "arguments", arguments);
    free(arguments);
    return append(turn->calls, call, error);
}

/* A result is a message of its own, before what the user says beside it. */
static bool read_tool_result(struct turn *turn, const json_t *block, struct api_error *error) {
    const char *id = text_member(block, "tool_use_id");
    const json_t *content = json_object_get(block, "content");
    struct string_buffer text = {0};
    if (id == NULL) {
        return api_error_set(error, 400, "invalid_value", turn->where,
                             "%s: a block of type 'tool_result' has a 'tool_use_id'.", turn->where);
    }
    if (json_is_true(json_object_get(block, "is_error"))) {
        string_buffer_append_text(&text, "Error:\n");
    }
    if (is_given(content) && !join_text(content, turn->where, &text, error)) {
        string_buffer_deinit(&text);
        return false;
    }
    json_t *message = json_pack("{s:s, s:s, s:o}", "role", "tool", "tool_call_id", id, "content",
                                take_text(&text));
    return append(turn->messages, message, error);
}

static const struct {
    const char *type, *role;
    bool (*read)(struct turn *turn, const json_t *block, struct api_error *error);
} block_types[] = {
    {"text", NULL, read_text_block},
    {"thinking", "assistant", read_thinking},
    {"redacted_thinking", "assistant", ignore_block},
    {"tool_use", "assistant", read_tool_use},
    {"tool_result", "user", read_tool_result},
};

static bool read_block(struct turn *turn, const json_t *block, struct api_error *error) {
    const char *type = text_member(block, "type");
    for (size_t i = 0; type != NULL && i < sizeof block_types / sizeof block_types[0]; i++) {
        if (strcmp(type, block_types[i].type) == 0) {
            if (block_types[i].role != NULL && strcmp(turn->role, block_types[i].role) != 0) {
                return api_error_set(error, 400, "invalid_value", turn->where,
                                     "%s: blocks of type '%s' stand in messages of the role '%s'.",
                                     turn->where, type, block_types[i].role);
            }
            return block_types[i].read(turn, block, error);
        }
    }
    return api_error_set(error, 400, "unsupported_value", turn->where,
                         "%s: blocks of type '%.40s' are not supported; this model reads text.",
                         turn->where, type == NULL ? "null" : type);
}

static bool finish_turn(struct turn *turn, struct api_error *error) {
    bool has_results = json_array_size(turn->messages) > 0 && strcmp(turn->role, "user") == 0 &&
                       turn->text.length == 0;
    const char *last_role =
        text_member(json_array_get(turn->messages, json_array_size(turn->messages) - 1), "role");
    if (has_results && strcmp(last_role, "tool") == 0) {
        return true; /* results alone */
    }
    if (!add_message(turn->messages, turn->role, &turn->text, error)) {
        return false;
    }
    json_t *message = json_array_get(turn->messages, json_array_size(turn->messages) - 1);
    if (turn->thinking.length != 0 &&
        !set(message, "reasoning_content", take_text(&turn->thinking), error)) {
        return false;
    }
    return turn->calls == NULL || json_object_set(message, "tool_calls", turn->calls) == 0 ||
           api_error_out_of_memory(error);
}

static bool read_message(const json_t *message, size_t index, json_t *messages,
                         struct api_error *error) {
    struct turn turn = {.messages = messages, .role = text_member(message, "role")};
    const json_t *content = json_object_get(message, "content");
    snprintf(turn.where, sizeof turn.where, "messages.%zu", index);
    if (turn.role == NULL ||
        (strcmp(turn.role, "user") != 0 && strcmp(turn.role, "assistant") != 0)) {
        return api_error_set(error, 400, "invalid_value", turn.where,
                             "%s.role: expected 'user' or 'assistant' (a system prompt goes into "
                             "the top-level 'system').",
                             turn.where);
    }
    bool ok = true;
    if (json_is_string(content)) {
        string_buffer_append(&turn.text, json_string_value(content), json_string_length(content));
    } else if (json_is_array(content) && json_array_size(content) > 0) {
        for (size_t i = 0; ok && i < json_array_size(content); i++) {
            snprintf(turn.where, sizeof turn.where, "messages.%zu.content.%zu", index, i);
            ok = read_block(&turn, json_array_get(content, i), error);
        }
    } else {
        ok = api_error_set(error, 400, "invalid_value", turn.where,
                           "%s.content: expected a string or a list of blocks, not empty.",
                           turn.where);
    }
    ok = ok && finish_turn(&turn, error);
    json_decref(turn.calls);
    string_buffer_deinit(&turn.text);
    string_buffer_deinit(&turn.thinking);
    return ok;
}

static bool read_messages(const json_t *body, json_t *chat, struct api_error *error) {
    const json_t *given = json_object_get(body, "messages");
    const json_t *system = json_object_get(body, "system");
    json_t *messages = json_array();
    struct string_buffer text = {0};
    if (!set(chat, "messages", messages, error)) {
        return false;
    }
    if (is_given(system)) {
        bool ok = join_text(system, "system", &text, error);
        if (!ok || (text.length != 0 && !add_message(messages, "system", &text, error))) {
            string_buffer_deinit(&text);
            return false;
        }
        string_buffer_deinit(&text);
    }
    if (!json_is_array(given) || json_array_size(given) == 0) {
        return api_error_set(error, 400, "invalid_value", "messages",
                             "messages: at least one message is required.");
    }
    for (size_t i = 0; i < json_array_size(given); i++) {
        if (!read_message(json_array_get(given, i), i, messages, error)) {
            return false;
        }
    }
    const char *last = text_member(json_array_get(given, json_array_size(given) - 1), "role");
    return strcmp(last, "user") == 0 ||
           api_error_set(error, 400, "invalid_value", "messages",
                         "This model does not support assistant message prefill. The conversation "
                         "must end with a user message.");
}

/* --- tools --- */

static bool read_tool(const json_t *tool, size_t index, json_t *tools, struct api_error *error) {
    const char *type = text_member(tool, "type"), *name = text_member(tool, "name");
    json_t *schema = json_object_get(tool, "input_schema");
    json_t *description = json_object_get(tool, "description");
    if (type != NULL && strcmp(type, "custom") != 0) {
        return api_error_set(error, 400, "unsupported_value", "tools",
                             "tools.%zu: this server runs no tools of its own ('%.60s'); define "
                             "one with 'name' and 'input_schema'.",
                             index, type);
    }
    if (name == NULL || !json_is_object(schema)) {
        return api_error_set(error, 400, "invalid_value", "tools",
                             "tools.%zu: a tool has a 'name' and an 'input_schema', an object.",
                             index);
    }
    bool strict = json_is_true(json_object_get(tool, "strict"));
    json_t *function =
        json_pack("{s:s, s:O, s:b}", "name", name, "parameters", schema, "strict", strict);
    if (json_is_string(description) && function != NULL) {
        json_object_set(function, "description", description);
    }
    return append(tools, json_pack("{s:s, s:o}", "type", "function", "function", function), error);
}

static bool read_tools(const json_t *body, json_t *chat, struct api_error *error) {
    const json_t *given = json_object_get(body, "tools");
    if (!is_given(given)) {
        return true;
    }
    if (!json_is_array(given)) {
        return request_field_wrong_type("tools", "an array of tools", given, error);
    }
    json_t *tools = json_array();
    if (!set(chat, "tools", tools, error)) {
        return false;
    }
    for (size_t i = 0; i < json_array_size(given); i++) {
        if (!read_tool(json_array_get(given, i), i, tools, error)) {
            return false;
        }
    }
    return true;
}

static bool read_tool_choice(const json_t *body, json_t *chat, struct api_error *error) {
    static const struct {
        const char *type, *chat;
    } choices[] = {{"auto", "auto"}, {"any", "required"}, {"none", "none"}, {"tool", NULL}};
    const json_t *given = json_object_get(body, "tool_choice");
    const char *type = text_member(given, "type"), *name = text_member(given, "name");
    if (!is_given(given)) {
        return true;
    }
    if (json_is_true(json_object_get(given, "disable_parallel_tool_use")) &&
        !set(chat, "parallel_tool_calls", json_false(), error)) {
        return false;
    }
    for (size_t i = 0; type != NULL && i < sizeof choices / sizeof choices[0]; i++) {
        if (strcmp(type, choices[i].type) != 0) {
            continue;
        }
        if (choices[i].chat != NULL) {
            return set(chat, "tool_choice", json_string(choices[i].chat), error);
        }
        return name == NULL
                   ? api_error_set(error, 400, "invalid_value", "tool_choice",
                                   "tool_choice.name: which tool?")
                   : set(chat, "tool_choice",
                         json_pack("{s:s, s:{s:s}}", "type", "function", "function", "name", name),
                         error);
    }
    return api_error_set(error, 400, "invalid_value", "tool_choice",
                         "tool_choice.type: expected 'auto', 'any', 'tool' or 'none'.");
}

/* --- the rest --- */

static bool read_thinking_setting(const json_t *body, json_t *chat, struct api_error *error) {
    const json_t *given = json_object_get(body, "thinking");
    const char *type = text_member(given, "type");
    if (!is_given(given)) {
        return true;
    }
    if (type == NULL || (strcmp(type, "enabled") != 0 && strcmp(type, "disabled") != 0 &&
                         strcmp(type, "adaptive") != 0)) {
        return api_error_set(error, 400, "invalid_value", "thinking",
                             "thinking.type: expected 'enabled', 'adaptive' or 'disabled'.");
    }
    return strcmp(type, "adaptive") == 0 ||
           set(chat, "reasoning_effort",
               json_string(strcmp(type, "enabled") == 0 ? "high" : "none"), error);
}

/* output_config.format {"type":"json_schema","schema":…} */
static bool read_output_format(const json_t *body, json_t *chat, struct api_error *error) {
    const json_t *form = json_object_get(json_object_get(body, "output_config"), "format");
    json_t *schema = json_object_get(form, "schema");
    if (!is_given(form)) {
        form = json_object_get(body, "output_format");
        schema = json_object_get(form, "schema");
    }
    if (!is_given(form)) {
        return true;
    }
    const char *type = text_member(form, "type");
    if (type == NULL || strcmp(type, "json_schema") != 0 || !json_is_object(schema)) {
        return api_error_set(error, 400, "invalid_value", "output_config",
                             "output_config.format: expected the type 'json_schema' and a "
                             "'schema'.");
    }
    return set(chat, "response_format",
               json_pack("{s:s, s:{s:s, s:O}}", "type", "json_schema", "json_schema", "name",
                         "answer", "schema", schema),
               error);
}

/* Members that mean the same in both, under their names in each. */
static bool copy_members(const json_t *body, json_t *chat, struct api_error *error) {
    static const struct {
        const char *anthropic, *chat;
    } rows[] = {{"model", "model"},   {"max_tokens", "max_tokens"},
                {"top_p", "top_p"},   {"temperature", "temperature"},
                {"top_k", "top_k"},   {"stop_sequences", "stop"},
                {"stream", "stream"}, {"seed", "seed"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_t *value = json_object_get(body, rows[i].anthropic);
        if (is_given(value) && json_object_set(chat, rows[i].chat, value) != 0) {
            return api_error_out_of_memory(error);
        }
    }
    return true;
}

bool anthropic_to_chat(const json_t *body, json_t **chat, struct api_error *error) {
    json_t *made = json_object();
    bool ok = (made != NULL || api_error_out_of_memory(error)) && copy_members(body, made, error) &&
              read_messages(body, made, error) && read_tools(body, made, error) &&
              read_tool_choice(body, made, error) && read_thinking_setting(body, made, error) &&
              read_output_format(body, made, error);
    if (!ok) {
        json_decref(made);
        return false;
    }
    *chat = made;
    return true;
}

/* --- the routes --- */

static bool prepare_messages(struct generation *generation, const struct served_model *model,
                             const json_t *body, struct api_error *error) {
    json_t *chat = NULL;
    if (!is_given(json_object_get(body, "max_tokens"))) {
        return api_error_set(error, 400, "missing_required_parameter", "max_tokens",
                             "max_tokens: Field required");
    }
    if (!anthropic_to_chat(body, &chat, error)) {
        return false;
    }
    bool is_stream = json_is_true(json_object_get(chat, "stream"));
    bool ok = openai_chat_kind.prepare(generation, model, chat, error) &&
              anthropic_answer_prepare(generation, model, is_stream, error);
    json_decref(chat);
    return ok;
}

const struct generation_kind anthropic_messages_kind = {
    .route = "/v1/messages",
    .id_prefix = "msg_",
    .prompt_field = "messages",
    .prepare = prepare_messages,
};

static bool prepare_count(struct generation *generation, const struct served_model *model,
                          const json_t *body, struct api_error *error) {
    json_t *chat = NULL;
    if (!anthropic_to_chat(body, &chat, error)) {
        return false;
    }
    bool ok = openai_chat_kind.prepare(generation, model, chat, error);
    json_decref(chat);
    if (ok) {
        string_buffer_append_format(&generation->answer, "{\"input_tokens\":%zu}",
                                    generation->request.prompts[0].count);
    }
    return ok;
}

const struct generation_kind anthropic_count_tokens_kind = {
    .route = "/v1/messages/count_tokens",
    .id_prefix = "count-",
    .prompt_field = "messages",
    .prepare = prepare_count,
};
