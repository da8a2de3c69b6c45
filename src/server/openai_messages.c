/* openai_messages.c - see openai_messages.h. */
#include "server/openai_messages.h"

#include "base/string_buffer.h"
#include "server/request_fields.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *sent, *meant;
} roles[] = {
    {"system", "system"},       {"developer", "system"}, {"user", "user"},
    {"assistant", "assistant"}, {"tool", "tool"},        {"function", "function"},
};

/* What a template may want beside role and content. Other servers' names for a thought are taken
 * too; under those anything but a text is ignored, as it ever was (`expected` NULL). */
static const struct {
    const char *name, *kept_as;
    json_type type;
    const char *expected;
} kept[] = {
    {"name", "name", JSON_STRING, "a string"},
    {"tool_call_id", "tool_call_id", JSON_STRING, "a string"},
    {"tool_calls", "tool_calls", JSON_ARRAY, "an array"},
    {"reasoning", "reasoning_content", JSON_STRING, NULL},
    {"thinking", "reasoning_content", JSON_STRING, NULL},
    {"reasoning_content", "reasoning_content", JSON_STRING, "a string"},
};

/* Where in the request we are: "messages[3].content". */
struct place {
    char text[64];
};

static struct place place_of(size_t message, const char *field) {
    struct place place;
    snprintf(place.text, sizeof place.text, "messages[%zu].%s", message, field);
    return place;
}

static bool read_role(const json_t *message, size_t index, json_t *normal,
                      struct api_error *error) {
    struct place place = place_of(index, "role");
    const json_t *value = json_object_get(message, "role");
    if (value == NULL) {
        return api_error_set(error, 400, "missing_required_parameter", place.text,
                             "Missing required parameter: '%s'.", place.text);
    }
    if (!json_is_string(value)) {
        return request_field_wrong_type(place.text, "a string", value, error);
    }
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        if (strcmp(json_string_value(value), roles[i].sent) == 0) {
            return json_object_set_new(normal, "role", json_string(roles[i].meant)) == 0 ||
                   api_error_out_of_memory(error);
        }
    }
    return api_error_set(error, 400, "invalid_value", place.text,
                         "Invalid value: '%.40s'. Supported values are: 'system', 'assistant', "
                         "'user', 'function', 'tool', and 'developer'.",
                         json_string_value(value));
}

static bool append_part(const json_t *part, size_t index, struct string_buffer *text,
                        struct api_error *error) {
    struct place place = place_of(index, "content");
    const json_t *value = json_object_get(part, "text");
    const char *type = json_string_value(json_object_get(part, "type"));
    if (type == NULL) {
        return api_error_set(error, 400, "invalid_value", place.text,
                             "Invalid '%s': each part is an object with a 'type'.", place.text);
    }
    if (strcmp(type, "text") != 0) {
        return api_error_set(error, 400, "unsupported_value", place.text,
                             "Invalid '%s': this model reads parts of type 'text' only, not "
                             "'%.40s'.",
                             place.text, type);
    }
    if (!json_is_string(value)) {
        return api_error_set(error, 400, "invalid_type", place.text,
                             "Invalid '%s': a part of type 'text' has its text as a string.",
                             place.text);
    }
    if (text->length != 0) {
        string_buffer_append_char(text, '\n');
    }
    string_buffer_append(text, json_string_value(value), json_string_length(value));
    return true;
}

static bool read_content(const json_t *message, size_t index, json_t *normal,
                         struct api_error *error) {
    const json_t *value = json_object_get(message, "content");
    struct string_buffer text = {0};
    bool ok = true;
    if (json_is_string(value)) {
        string_buffer_append(&text, json_string_value(value), json_string_length(value));
    } else if (json_is_array(value)) {
        for (size_t i = 0; ok && i < json_array_size(value); i++) {
            ok = append_part(json_array_get(value, i), index, &text, error);
        }
    } else if (value != NULL && !json_is_null(value)) {
        ok = request_field_wrong_type(place_of(index, "content").text,
                                      "a string, an array of parts or null", value, error);
    }
    if (ok && (text.failed ||
               json_object_set_new(normal, "content",
                                   json_stringn(string_buffer_text(&text), text.length)) != 0)) {
        ok = api_error_out_of_memory(error);
    }
    string_buffer_deinit(&text);
    return ok;
}

static bool read_kept(const json_t *message, size_t index, json_t *normal,
                      struct api_error *error) {
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        json_t *value = json_object_get(message, kept[i].name);
        if (value == NULL || json_is_null(value)) {
            continue;
        }
        if (json_typeof(value) != kept[i].type) {
            if (kept[i].expected == NULL) {
                continue;
            }
            return request_field_wrong_type(place_of(index, kept[i].name).text, kept[i].expected,
                                            value, error);
        }
        if (json_object_set(normal, kept[i].kept_as, value) != 0) {
            return api_error_out_of_memory(error);
        }
    }
    return true;
}

static bool read_message(const json_t *message, size_t index, json_t *normal,
                         struct api_error *error) {
    if (!json_is_object(message)) {
        char name[40];
        snprintf(name, sizeof name, "messages[%zu]", index);
        return request_field_wrong_type(name, "an object", message, error);
    }
    return read_role(message, index, normal, error) &&
           read_content(message, index, normal, error) && read_kept(message, index, normal, error);
}

bool openai_messages_read(const json_t *messages, json_t **normal, struct api_error *error) {
    if (messages == NULL) {
        return api_error_set(error, 400, "missing_required_parameter", "messages",
                             "Missing required parameter: 'messages'.");
    }
    if (!json_is_array(messages)) {
        return request_field_wrong_type("messages", "an array of objects", messages, error);
    }
    if (json_array_size(messages) == 0) {
        return api_error_set(error, 400, "empty_array", "messages",
                             "Invalid 'messages': empty array. Expected an array with minimum "
                             "length 1, but got an empty array instead.");
    }
    json_t *made = json_array();
    bool ok = made != NULL || api_error_out_of_memory(error);
    for (size_t i = 0; ok && i < json_array_size(messages); i++) {
        json_t *message = json_object();
        ok = message != NULL || api_error_out_of_memory(error);
        ok = ok && read_message(json_array_get(messages, i), i, message, error);
        if (ok && json_array_append(made, message) != 0) {
            ok = api_error_out_of_memory(error);
        }
        json_decref(message);
    }
    if (!ok) {
        json_decref(made);
        return false;
    }
    *normal = made;
    return true;
}
