/* tool_call_reader.c - see tool_call_reader.h. */
#include "text/chat/tool_call_reader.h"

#include "base/json_memory.h"
#include "base/string_view.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_MAX_BYTES = 64 };

static const struct {
    const char *key;
    enum tool_call_value kind;
} keys[] = {
    {"name", TOOL_VALUE_NAME},           {"tool_name", TOOL_VALUE_NAME},
    {"arguments", TOOL_VALUE_ARGUMENTS}, {"parameters", TOOL_VALUE_ARGUMENTS},
    {"function", TOOL_VALUE_FUNCTION},   {"id", TOOL_VALUE_ID},
    {"tool_call_id", TOOL_VALUE_ID},     {"type", TOOL_VALUE_IGNORED},
};

void tool_call_reader_begin(struct tool_call_reader *reader, bool arguments_only,
                            bool known_keys_only) {
    reader->scanner = (struct json_scanner){0};
    reader->arguments_only = arguments_only;
    reader->known_keys_only = known_keys_only;
    reader->has_arguments = false;
    reader->streams_arguments = arguments_only;
    reader->value_kind = TOOL_VALUE_NONE;
    if (!arguments_only) {
        reader->has_name = false;
        string_buffer_clear(&reader->name);
        string_buffer_clear(&reader->id);
    }
    string_buffer_clear(&reader->arguments);
    string_buffer_clear(&reader->key);
    string_buffer_clear(&reader->value);
}

void tool_call_reader_deinit(struct tool_call_reader *reader) {
    string_buffer_deinit(&reader->name);
    string_buffer_deinit(&reader->id);
    string_buffer_deinit(&reader->arguments);
    string_buffer_deinit(&reader->key);
    string_buffer_deinit(&reader->value);
}

static bool has_only(const char *text, size_t length, const char *more) {
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\0' ||
            (strchr(letters, text[i]) == NULL && strchr(more, text[i]) == NULL)) {
            return false;
        }
    }
    return length > 0;
}

bool tool_id_is_usable(const char *id, size_t length) {
    return length <= TOOL_ID_MAX_BYTES && has_only(id, length, "");
}

bool tool_name_is_plain(const char *name, size_t length) {
    return length <= TOOL_NAME_MAX_BYTES && has_only(name, length, ".:/");
}

/* --- values that are complete --- */

static bool take_name(struct tool_call_reader *reader, const json_t *value) {
    size_t length = json_string_length(value);
    if (!json_is_string(value) || reader->has_name || length == 0 || length > TOOL_NAME_MAX_BYTES) {
        return false;
    }
    string_buffer_append(&reader->name, json_string_value(value), length);
    reader->has_name = true;
    return true;
}

static bool take_object(struct tool_call_reader *reader, const json_t *value) {
    char *text = json_dumps(value, JSON_COMPACT);
    string_buffer_clear(&reader->arguments);
    string_buffer_append_text(&reader->arguments, text == NULL ? "{}" : text);
    free(text);
    return true;
}

/* Arguments that are not an object: one as text, or none at all. */
static bool take_arguments(struct tool_call_reader *reader, const json_t *value) {
    if (json_is_object(value)) {
        return take_object(reader, value);
    }
    if (json_is_null(value)) {
        string_buffer_append_text(&reader->arguments, "{}");
        return true;
    }
    json_t *inside = json_is_string(value) ? json_guarded(json_loadb, json_string_value(value),
                                                          json_string_length(value), 0, NULL)
                                           : NULL;
    bool is_object = json_is_object(inside);
    if (is_object) {
        string_buffer_append(&reader->arguments, json_string_value(value),
                             json_string_length(value));
    }
    json_decref(inside);
    return is_object;
}

static bool take_function(struct tool_call_reader *reader, const json_t *value) {
    if (!json_is_object(value)) {
        return take_name(reader, value);
    }
    const json_t *arguments = json_object_get(value, "arguments");
    if (arguments == NULL) {
        arguments = json_object_get(value, "parameters");
    }
    if (reader->has_arguments || !take_name(reader, json_object_get(value, "name"))) {
        return false;
    }
    reader->has_arguments = true;
    return arguments == NULL || take_arguments(reader, arguments);
}

static bool finish_value(struct tool_call_reader *reader) {
    enum tool_call_value kind = (enum tool_call_value)reader->value_kind;
    reader->value_kind = TOOL_VALUE_NONE;
    if (kind == TOOL_VALUE_IGNORED) {
        return true;
    }
    if (kind == TOOL_VALUE_ARGUMENTS) {
        reader->has_arguments = true;
        if (reader->streams_arguments) {
            return true;
        }
    }
    json_t *value = json_guarded(json_loadb, string_buffer_text(&reader->value),
                                 reader->value.length, JSON_DECODE_ANY, NULL);
    bool ok = value != NULL;
    if (ok && kind == TOOL_VALUE_NAME) {
        ok = take_name(reader, value);
    } else if (ok && kind == TOOL_VALUE_FUNCTION) {
        ok = take_function(reader, value);
    } else if (ok && kind == TOOL_VALUE_ARGUMENTS) {
        ok = take_arguments(reader, value);
    } else if (ok && json_is_string(value) &&
               tool_id_is_usable(json_string_value(value), json_string_length(value))) {
        string_buffer_clear(&reader->id);
        string_buffer_append(&reader->id, json_string_value(value), json_string_length(value));
    }
    json_decref(value);
    return ok;
}

/* --- bytes --- */

static bool begin_value(struct tool_call_reader *reader, char byte) {
    struct string_view key = {string_buffer_text(&reader->key), reader->key.length};
    reader->value_kind = TOOL_VALUE_IGNORED;
    bool known = false;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (string_view_is(key, keys[i].key)) {
            reader->value_kind = (uint8_t)keys[i].kind;
            known = true;
        }
    }
    string_buffer_clear(&reader->value);
    if (reader->value_kind == TOOL_VALUE_ARGUMENTS) {
        reader->streams_arguments = byte == '{';
        return !reader->has_arguments;
    }
    return known || !reader->known_keys_only;
}

static void append_value(struct tool_call_reader *reader, char byte) {
    if (reader->value_kind == TOOL_VALUE_ARGUMENTS && reader->streams_arguments) {
        string_buffer_append_char(&reader->arguments, byte);
    } else if (reader->value_kind != TOOL_VALUE_IGNORED) {
        string_buffer_append_char(&reader->value, byte);
    }
}

/* Follows keys and values of the call's own object, which is at depth 1. False: it is no call. */
static bool follow(struct tool_call_reader *reader, char byte, enum json_scan_state before,
                   unsigned depth_before) {
    enum json_scan_state after = (enum json_scan_state)reader->scanner.state;
    unsigned depth = reader->scanner.depth;
    if (depth_before == 1 && after == JSON_SCAN_IN_KEY) {
        if (before != JSON_SCAN_IN_KEY) {
            string_buffer_clear(&reader->key);
        } else if (reader->key.length <= KEY_MAX_BYTES) {
            string_buffer_append_char(&reader->key, byte);
        }
        return true;
    }
    bool begins = depth_before == 1 && before == JSON_SCAN_VALUE && after != before;
    if (begins && !begin_value(reader, byte)) {
        return false;
    }
    if (reader->value_kind == TOOL_VALUE_NONE) {
        return true;
    }
    bool ended_before =
        depth_before == 1 && before == JSON_SCAN_IN_NUMBER && after != JSON_SCAN_IN_NUMBER;
    if (!ended_before) {
        append_value(reader, byte);
    }
    bool ends = ended_before || (depth == 1 && after == JSON_SCAN_NEXT);
    return !ends || finish_value(reader);
}

enum tool_call_progress tool_call_reader_push(struct tool_call_reader *reader, char byte) {
    enum json_scan_state before = (enum json_scan_state)reader->scanner.state;
    unsigned depth_before = reader->scanner.depth;
    enum json_scan_state after = json_scanner_push(&reader->scanner, byte);
    if (after == JSON_SCAN_BAD) {
        return TOOL_CALL_WRONG;
    }
    if (reader->arguments_only) {
        if (after != JSON_SCAN_BEGIN) {
            string_buffer_append_char(&reader->arguments, byte);
        }
        return after == JSON_SCAN_DONE ? TOOL_CALL_COMPLETE : TOOL_CALL_MORE;
    }
    if (!follow(reader, byte, before, depth_before)) {
        return TOOL_CALL_WRONG;
    }
    if (after != JSON_SCAN_DONE) {
        return TOOL_CALL_MORE;
    }
    if (reader->arguments.length == 0) {
        string_buffer_append_text(&reader->arguments, "{}");
    }
    return reader->has_name ? TOOL_CALL_COMPLETE : TOOL_CALL_WRONG;
}
