/*
 * responses_request.c - a request of /v1/responses, as the chat request that asks for the same.
 *
 * Pure; preparer's thread, but for the route of stored responses.
 */
#include "server/openai.h"
#include "server/request_fields.h"
#include "server/responses.h"
#include "server/served_model.h"
#include "server/server_internal.h"

#include <stdio.h>
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

/* --- items --- */

/* Where an item comes from and goes to. */
struct item {
    const json_t *json;
    json_t *messages;
    char where[40]; /* "input[3]" */
};

/* The last message, when it is the assistant's: calls and thoughts go into it. */
static json_t *assistant_message(struct item *item) {
    size_t count = json_array_size(item->messages);
    json_t *last = json_array_get(item->messages, count - 1);
    const char *role = text_member(last, "role");
    if (count == 0 || role == NULL || strcmp(role, "assistant") != 0) {
        json_array_append_new(item->messages,
                              json_pack("{s:s, s:s}", "role", "assistant", "content", ""));
        last = json_array_get(item->messages, count);
    }
    return last; /* NULL: no memory */
}

/* A string, or parts of text: chat parts have the type "text". */
static bool read_content(const struct item *item, const json_t *content, json_t **out,
                         struct api_error *error) {
    static const char *const types[] = {"input_text", "output_text",    "text",
                                        "refusal",    "reasoning_text", "summary_text"};
    if (json_is_string(content)) {
        *out = json_deep_copy(content);
        return *out != NULL || api_error_out_of_memory(error);
    }
    if (!json_is_array(content)) {
        return request_field_wrong_type(item->where, "content as a string or an array of parts",
                                        content, error);
    }
    json_t *parts = json_array();
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *part = json_array_get(content, i);
        const char *type = text_member(part, "type");
        json_t *text = json_object_get(part, "text");
        bool is_text = false;
        for (size_t k = 0; type != NULL && k < sizeof types / sizeof types[0]; k++) {
            is_text = is_text || strcmp(type, types[k]) == 0;
        }
        text = text == NULL ? json_object_get(part, "refusal") : text;
        if (!is_text || !json_is_string(text)) {
            json_decref(parts);
            return api_error_set(error, 400, "unsupported_value", item->where,
                                 "Invalid '%s': this model reads parts of text only, not '%.40s'.",
                                 item->where, type == NULL ? "null" : type);
        }
        if (!append(parts, json_pack("{s:s, s:O}", "type", "text", "text", text), error)) {
            json_decref(parts);
            return false;
        }
    }
    *out = parts;
    return true;
}

static bool read_message(struct item *item, struct api_error *error) {
    const char *role = text_member(item->json, "role");
    json_t *content = NULL;
    if (role == NULL || (strcmp(role, "user") != 0 && strcmp(role, "assistant") != 0 &&
                         strcmp(role, "system") != 0 && strcmp(role, "developer") != 0)) {
        return api_error_set(error, 400, "invalid_value", item->where,
                             "Invalid '%s': a message has the role 'user', 'assistant', 'system' "
                             "or 'developer'.",
                             item->where);
    }
    return read_content(item, json_object_get(item->json, "content"), &content, error) &&
           append(item->messages, json_pack("{s:s, s:o}", "role", role, "content", content), error);
}

static bool read_call(struct item *item, struct api_error *error) {
    const char *id = text_member(item->json, "call_id"), *name = text_member(item->json, "name");
    const char *arguments = text_member(item->json, "arguments");
    if (id == NULL || name == NULL || arguments == NULL) {
        return api_error_set(error, 400, "invalid_value", item->where,
                             "Invalid '%s': a function_call has 'call_id', 'name' and 'arguments', "
                             "all strings.",
                             item->where);
    }
    json_t *message = assistant_message(item);
    json_t *calls = json_object_get(message, "tool_calls");
    if (message != NULL && calls == NULL) {
        calls = json_array();
        json_object_set_new(message, "tool_calls", calls);
    }
    return append(calls,
                  json_pack("{s:s, s:s, s:{s:s, s:s}}", "id", id, "type", "function", "function",
                            "name", name, "arguments", arguments),
                  error);
}

static bool read_call_output(struct item *item, struct api_error *error) {
    const char *id = text_member(item->json, "call_id");
    json_t *content = NULL;
    if (id == NULL) {
        return api_error_set(error, 400, "invalid_value", item->where,
                             "Invalid '%s': a function_call_output has a 'call_id'.", item->where);
    }
    return read_content(item, json_object_get(item->json, "output"), &content, error) &&
           append(
               item->messages,
               json_pack("{s:s, s:s, s:o}", "role", "tool", "tool_call_id", id, "content", content),
               error);
}

/* Thoughts of an earlier answer; only templates that want them show them. */
static bool read_reasoning(struct item *item, struct api_error *error) {
    const json_t *content = json_object_get(item->json, "content");
    struct string_buffer text = {0};
    for (size_t i = 0; i < json_array_size(content); i++) {
        const char *part = text_member(json_array_get(content, i), "text");
        string_buffer_append_text(&text, part == NULL ? "" : part);
    }
    bool ok = text.length == 0 || set(assistant_message(item), "reasoning_content",
                                      json_stringn(string_buffer_text(&text), text.length), error);
    string_buffer_deinit(&text);
    return ok;
}

static const struct {
    const char *type;
    bool (*read)(struct item *item, struct api_error *error);
} item_types[] = {
    {"message", read_message},
    {"function_call", read_call},
    {"function_call_output", read_call_output},
    {"reasoning", read_reasoning},
};

static bool read_item(struct item *item, struct api_error *error) {
    const char *type = text_member(item->json, "type");
    type = type == NULL && json_is_object(item->json) ? "message" : type;
    for (size_t i = 0; type != NULL && i < sizeof item_types / sizeof item_types[0]; i++) {
        if (strcmp(type, item_types[i].type) == 0) {
            return item_types[i].read(item, error);
        }
    }
    return api_error_set(error, 400, "unsupported_value", item->where,
                         "Invalid '%s': items of type '%.40s' are not supported. (Nothing is "
                         "stored here: send the items themselves.)",
                         item->where, type == NULL ? "null" : type);
}

static bool read_input(const json_t *body, json_t *chat, struct api_error *error) {
    const json_t *input = json_object_get(body, "input");
    json_t *instructions = json_object_get(body, "instructions");
    json_t *messages = json_array();
    if (!set(chat, "messages", messages, error)) {
        return false;
    }
    if (is_given(instructions)) {
        if (!json_is_string(instructions)) {
            return request_field_wrong_type("instructions", "a string", instructions, error);
        }
        if (!append(messages, json_pack("{s:s, s:O}", "role", "system", "content", instructions),
                    error)) {
            return false;
        }
    }
    if (json_is_string(input)) {
        json_t *text = json_deep_copy(input);
        return append(messages, json_pack("{s:s, s:o}", "role", "user", "content", text), error);
    }
    if (!json_is_array(input) || json_array_size(input) == 0) {
        return is_given(input) && !json_is_array(input)
                   ? request_field_wrong_type("input", "a string or an array of items", input,
                                              error)
                   : api_error_set(error, 400, "missing_required_parameter", "input",
                                   "Missing required parameter: 'input'.");
    }
    for (size_t i = 0; i < json_array_size(input); i++) {
        struct item item = {.json = json_array_get(input, i), .messages = messages};
        snprintf(item.where, sizeof item.where, "input[%zu]", i);
        if (!read_item(&item, error)) {
            return false;
        }
    }
    return true;
}

/* --- tools and formats --- */

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
        const json_t *tool = json_array_get(given, i);
        const char *type = text_member(tool, "type");
        if (type == NULL || strcmp(type, "function") != 0) {
            return api_error_set(error, 400, "unsupported_value", "tools",
                                 "Invalid 'tools[%zu]': this server runs no tools of its own "
                                 "('%.40s'); only functions of yours can be called.",
                                 i, type == NULL ? "null" : type);
        }
        json_t *function = json_copy((json_t *)(uintptr_t)tool);
        json_object_del(function, "type");
        if (!append(tools, json_pack("{s:s, s:o}", "type", "function", "function", function),
                    error)) {
            return false;
        }
    }
    return true;
}

/* {type: allowed_tools, mode, tools: [{type: function, name}]}, with a level more in a chat. */
static bool read_allowed_tools(const json_t *given, json_t *chat, struct api_error *error) {
    json_t *tools = json_array();
    const json_t *listed = json_object_get(given, "tools");
    json_t *allowed =
        json_pack("{s:O*, s:o}", "mode", json_object_get(given, "mode"), "tools", tools);
    bool ok = allowed != NULL || api_error_out_of_memory(error);
    for (size_t i = 0; ok && i < json_array_size(listed); i++) {
        json_t *name = json_object_get(json_array_get(listed, i), "name");
        ok = append(tools,
                    json_pack("{s:s, s:{s:O*}}", "type", "function", "function", "name", name),
                    error);
    }
    if (!ok) {
        json_decref(allowed);
        return false;
    }
    return set(chat, "tool_choice",
               json_pack("{s:s, s:o}", "type", "allowed_tools", "allowed_tools", allowed), error);
}

static bool read_tool_choice(const json_t *body, json_t *chat, struct api_error *error) {
    json_t *given = json_object_get(body, "tool_choice");
    const char *type = text_member(given, "type"), *name = text_member(given, "name");
    if (!is_given(given)) {
        return true;
    }
    if (json_is_string(given)) {
        return json_object_set(chat, "tool_choice", given) == 0 || api_error_out_of_memory(error);
    }
    if (type != NULL && strcmp(type, "allowed_tools") == 0) {
        return read_allowed_tools(given, chat, error);
    }
    if (type == NULL || strcmp(type, "function") != 0 || name == NULL) {
        return api_error_set(error, 400, "unsupported_value", "tool_choice",
                             "'tool_choice' is 'auto', 'none', 'required', "
                             "{\"type\":\"function\",\"name\":…} or 'allowed_tools'.");
    }
    return set(chat, "tool_choice",
               json_pack("{s:s, s:{s:s}}", "type", "function", "function", "name", name), error);
}

/* text.format has the members of response_format.json_schema beside its type. */
static bool read_format(const json_t *body, json_t *chat, struct api_error *error) {
    json_t *form = json_object_get(json_object_get(body, "text"), "format");
    const char *type = text_member(form, "type");
    if (!is_given(form)) {
        return true;
    }
    if (type == NULL || strcmp(type, "json_schema") != 0) {
        return json_object_set(chat, "response_format", form) == 0 ||
               api_error_out_of_memory(error);
    }
    json_t *schema = json_copy(form);
    json_object_del(schema, "type");
    return set(chat, "response_format",
               json_pack("{s:s, s:o}", "type", type, "json_schema", schema), error);
}

/* --- the rest --- */

static bool refuse_stored(const json_t *body, struct api_error *error) {
    static const char *const names[] = {"previous_response_id", "conversation", "prompt"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (is_given(json_object_get(body, names[i]))) {
            return api_error_set(error, 400, "unsupported_parameter", names[i],
                                 "'%s' is not supported: this server stores nothing. Send the "
                                 "whole conversation in 'input'.",
                                 names[i]);
        }
    }
    return !json_is_true(json_object_get(body, "background")) ||
           api_error_set(error, 400, "unsupported_parameter", "background",
                         "'background' is not supported: this server stores nothing to be fetched "
                         "later.");
}

/* Members that mean the same in both, under their names in each. */
static bool copy_members(const json_t *body, json_t *chat, struct api_error *error) {
    static const struct {
        const char *here, *chat;
    } rows[] = {
        {"model", "model"},
        {"max_output_tokens", "max_completion_tokens"},
        {"temperature", "temperature"},
        {"top_p", "top_p"},
        {"stream", "stream"},
        {"parallel_tool_calls", "parallel_tool_calls"},
        {"seed", "seed"},
        {"stop", "stop"},
        {"top_k", "top_k"},
        {"min_p", "min_p"},
        {"presence_penalty", "presence_penalty"},
        {"frequency_penalty", "frequency_penalty"},
        {"repetition_penalty", "repetition_penalty"},
        {"logit_bias", "logit_bias"},
        {"grammar", "grammar"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_t *value = json_object_get(body, rows[i].here);
        if (is_given(value) && json_object_set(chat, rows[i].chat, value) != 0) {
            return api_error_out_of_memory(error);
        }
    }
    json_t *effort = json_object_get(json_object_get(body, "reasoning"), "effort");
    return !is_given(effort) || json_object_set(chat, "reasoning_effort", effort) == 0 ||
           api_error_out_of_memory(error);
}

bool responses_to_chat(const json_t *body, json_t **chat, struct api_error *error) {
    json_t *made = json_object();
    bool ok = (made != NULL || api_error_out_of_memory(error)) && refuse_stored(body, error) &&
              copy_members(body, made, error) && read_input(body, made, error) &&
              read_tools(body, made, error) && read_tool_choice(body, made, error) &&
              read_format(body, made, error);
    if (!ok) {
        json_decref(made);
        return false;
    }
    *chat = made;
    return true;
}

/* --- the routes --- */

static bool prepare(struct generation *generation, const struct served_model *model,
                    const json_t *body, struct api_error *error) {
    json_t *chat = NULL;
    if (!responses_to_chat(body, &chat, error)) {
        return false;
    }
    bool ok = openai_chat_kind.prepare(generation, model, chat, error) &&
              responses_answer_prepare(generation, model, body, error);
    json_decref(chat);
    return ok;
}

const struct generation_kind responses_kind = {
    .route = "/v1/responses",
    .id_prefix = "resp_",
    .prompt_field = "input",
    .prepare = prepare,
};

void responses_refuse_stored(struct server *server, struct http_connection *connection,
                             const char *route) {
    struct api_error error;
    (void)server;
    api_error_set(&error, 404, "response_not_found", NULL,
                  "This server stores no responses; each answer is given once.");
    server_respond_error(connection, route, &error);
}
