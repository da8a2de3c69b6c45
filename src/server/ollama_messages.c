/* ollama_messages.c - see ollama_messages.h. */
#include "server/ollama_messages.h"

#include "server/request_fields.h"

#include <stdio.h>

/* The calls that still wait for their results. */
struct calls {
    size_t made;     /* so far */
    size_t answered; /* of these, in order */
};

/* Nine letters and digits: what Mistral's templates demand. */
static json_t *call_id(size_t number) {
    char id[32];
    snprintf(id, sizeof id, "call%05zu", number % 100000);
    return json_string(id);
}

static bool convert_call(const json_t *call, struct calls *calls, json_t *list,
                         struct api_error *error) {
    const json_t *function = json_object_get(call, "function");
    const json_t *name = json_object_get(function, "name");
    const json_t *arguments = json_object_get(function, "arguments");
    json_t *id = json_object_get(call, "id");
    if (!json_is_string(name)) {
        return api_error_set(error, 400, "invalid_value", "messages",
                             "invalid message: a tool call has a function with a name");
    }
    json_t *kept_id = json_string_length(id) != 0 ? json_incref(id) : call_id(calls->made);
    json_t *kept_arguments =
        arguments == NULL || json_is_null(arguments) ? json_object() : json_deep_copy(arguments);
    json_t *made = json_pack("{s:o,s:s,s:{s:O,s:o}}", "id", kept_id, "type", "function", "function",
                             "name", name, "arguments", kept_arguments);
    calls->made++;
    return (made != NULL && json_array_append_new(list, made) == 0) ||
           api_error_out_of_memory(error);
}

static bool convert_calls(const json_t *list, struct calls *calls, json_t *made,
                          struct api_error *error) {
    if (json_array_size(list) == 0) {
        return list == NULL || json_is_null(list) || json_is_array(list) ||
               request_field_wrong_type("tool_calls", "an array", list, error);
    }
    json_t *converted = json_array();
    calls->answered = calls->made;
    bool ok = converted != NULL || api_error_out_of_memory(error);
    for (size_t i = 0; ok && i < json_array_size(list); i++) {
        ok = convert_call(json_array_get(list, i), calls, converted, error);
    }
    if (ok && json_object_set(made, "tool_calls", converted) != 0) {
        ok = api_error_out_of_memory(error);
    }
    json_decref(converted);
    return ok;
}

/* Copies a member under another name when it holds something. */
static bool copy(const json_t *from, const char *name, json_t *to, const char *new_name,
                 struct api_error *error) {
    json_t *value = json_object_get(from, name);
    bool is_empty = value == NULL || json_is_null(value) ||
                    (json_is_string(value) && json_string_length(value) == 0);
    return is_empty || json_object_set(to, new_name, value) == 0 || api_error_out_of_memory(error);
}

static bool convert_message(const json_t *message, struct calls *calls, json_t *made,
                            struct api_error *error) {
    if (!json_is_object(message)) {
        return request_field_wrong_type("messages", "an array of objects", message, error);
    }
    if (json_array_size(json_object_get(message, "images")) != 0) {
        return api_error_set(error, 400, "unsupported_value", "images",
                             "this model does not support image input");
    }
    const char *role = json_string_value(json_object_get(message, "role"));
    if (!copy(message, "role", made, "role", error) ||
        !copy(message, "content", made, "content", error) ||
        !copy(message, "thinking", made, "reasoning_content", error) ||
        !convert_calls(json_object_get(message, "tool_calls"), calls, made, error)) {
        return false;
    }
    if (role == NULL || role[0] != 't') { /* tool */
        return true;
    }
    if (!copy(message, "tool_name", made, "name", error) ||
        !copy(message, "name", made, "name", error) ||
        !copy(message, "tool_call_id", made, "tool_call_id", error)) {
        return false;
    }
    if (json_object_get(made, "tool_call_id") == NULL && calls->answered < calls->made &&
        json_object_set_new(made, "tool_call_id", call_id(calls->answered)) != 0) {
        return api_error_out_of_memory(error);
    }
    calls->answered++;
    return true;
}

bool ollama_messages_read(const json_t *messages, json_t **converted, struct api_error *error) {
    if (!json_is_array(messages)) {
        return request_field_wrong_type("messages", "an array of objects", messages, error);
    }
    struct calls calls = {0};
    json_t *list = json_array();
    bool ok = list != NULL || api_error_out_of_memory(error);
    for (size_t i = 0; ok && i < json_array_size(messages); i++) {
        json_t *made = json_object();
        ok = made != NULL || api_error_out_of_memory(error);
        ok = ok && convert_message(json_array_get(messages, i), &calls, made, error);
        if (ok && json_array_append(list, made) != 0) {
            ok = api_error_out_of_memory(error);
        }
        json_decref(made);
    }
    if (!ok) {
        json_decref(list);
        return false;
    }
    *converted = list;
    return true;
}
