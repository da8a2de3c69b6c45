/* value_arguments.c - see value_arguments.h. */
#include "text/chat/value_arguments.h"

#include "base/json_memory.h"
#include "text/chat/tool_schema.h"

#include <jansson.h>
#include <string.h>

void value_arguments_deinit(struct value_arguments *arguments) {
    string_buffer_deinit(&arguments->value);
}

/* --- JSON out --- */

/* One byte of a JSON string. */
static void put_byte(struct string_buffer *out, char byte) {
    static const char escaped[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *at = byte == '\0' ? NULL : strchr(escaped, byte);
    if (at != NULL) {
        string_buffer_append_char(out, '\\');
        string_buffer_append_char(out, letters[at - escaped]);
    } else if ((unsigned char)byte < 0x20) {
        string_buffer_append_format(out, "\\u%04x", (unsigned char)byte);
    } else {
        string_buffer_append_char(out, byte);
    }
}

static void put_text(struct string_buffer *out, struct string_view text) {
    string_buffer_append_char(out, '"');
    for (size_t i = 0; i < text.length; i++) {
        put_byte(out, text.data[i]);
    }
    string_buffer_append_char(out, '"');
}

static struct string_view view_of(const struct string_buffer *buffer) {
    return (struct string_view){string_buffer_text(buffer), buffer->length};
}

static struct string_view trimmed(struct string_view text) {
    static const char blanks[] = " \n\r\t";
    while (text.length > 0 && strchr(blanks, text.data[0]) != NULL) {
        text.data++;
        text.length--;
    }
    while (text.length > 0 && strchr(blanks, text.data[text.length - 1]) != NULL) {
        text.length--;
    }
    return text;
}

/* What is not JSON but is meant so: Python's words. NULL: none of them. */
static const char *json_word(struct string_view text) {
    static const char *const words[][2] = {{"True", "true"}, {"False", "false"}, {"None", "null"}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (string_view_is(text, words[i][0])) {
            return words[i][1];
        }
    }
    return NULL;
}

/* A value of the kinds allowed: as JSON where it is that, else as a text. */
static void put_value(struct string_buffer *out, struct string_view text, unsigned kinds) {
    struct string_view inner = trimmed(text);
    const char *word = json_word(inner);
    if (word != NULL) {
        inner = string_view_of(word);
    }
    json_t *value = json_guarded(json_loadb, inner.data, inner.length, JSON_DECODE_ANY, NULL);
    bool is_json = value != NULL && (json_kind_of(value) & kinds) != 0 &&
                   (!json_is_string(value) || kinds == KIND_ANY);
    json_decref(value);
    if (is_json) {
        string_buffer_append(out, inner.data, inner.length);
    } else {
        put_text(out, text);
    }
}

/* --- tagged --- */

void tagged_begin(struct value_arguments *arguments, bool on_own_lines) {
    arguments->on_own_lines = on_own_lines;
    arguments->has_values = false;
    string_buffer_append_char(arguments->out, '{');
}

void tagged_end(struct value_arguments *arguments) {
    string_buffer_append_char(arguments->out, '}');
}

void tagged_key(struct value_arguments *arguments, struct string_view key, unsigned kinds) {
    if (arguments->has_values) {
        string_buffer_append_text(arguments->out, ", ");
    }
    put_text(arguments->out, key);
    string_buffer_append_text(arguments->out, ": ");
    arguments->has_values = true;
    arguments->kinds = kinds;
    arguments->is_text = kinds == KIND_TEXT; /* known to be one: it can go out as it comes */
    arguments->is_first_byte = true;
    arguments->holds_line_end = false;
    string_buffer_clear(&arguments->value);
    if (arguments->is_text) {
        string_buffer_append_char(arguments->out, '"');
    }
}

static void push_byte(struct value_arguments *arguments, char byte) {
    if (arguments->is_text) {
        put_byte(arguments->out, byte);
    } else {
        string_buffer_append_char(&arguments->value, byte);
    }
}

void tagged_push(struct value_arguments *arguments, char byte) {
    bool is_first = arguments->is_first_byte;
    arguments->is_first_byte = false;
    if (is_first && byte == '\n' && arguments->on_own_lines) {
        return;
    }
    if (arguments->holds_line_end) {
        push_byte(arguments, '\n');
    }
    arguments->holds_line_end = byte == '\n' && arguments->on_own_lines;
    if (!arguments->holds_line_end) {
        push_byte(arguments, byte);
    }
}

void tagged_value_end(struct value_arguments *arguments) {
    if (arguments->is_text) {
        string_buffer_append_char(arguments->out, '"');
    } else {
        put_value(arguments->out, view_of(&arguments->value), arguments->kinds);
    }
}

/* --- gemma --- */

enum gemma_state {
    GEMMA_BEGIN,
    GEMMA_KEY_OR_END, /* after "{" */
    GEMMA_KEY,        /* after a comma in an object */
    GEMMA_BARE_KEY,
    GEMMA_MARKED_KEY,
    GEMMA_COLON,
    GEMMA_VALUE,
    GEMMA_VALUE_OR_END, /* after "[" */
    GEMMA_TEXT,
    GEMMA_WORD, /* a number, true, false, null; or a text without marks */
    GEMMA_NEXT, /* a comma, or the end of what the value is in */
    GEMMA_DONE,
};

void gemma_begin(struct value_arguments *arguments) {
    arguments->state = GEMMA_BEGIN;
    arguments->depth = 0;
    string_buffer_clear(&arguments->value);
}

static bool is_blank(char byte) {
    return byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r';
}

static enum gemma_progress go(struct value_arguments *arguments, enum gemma_state state) {
    arguments->state = (uint8_t)state;
    return state == GEMMA_DONE ? GEMMA_COMPLETE : GEMMA_MORE;
}

static enum gemma_progress open_bracket(struct value_arguments *arguments, char byte) {
    if (arguments->depth == GEMMA_MAX_DEPTH) {
        return GEMMA_WRONG;
    }
    arguments->is_list[arguments->depth++] = byte == '[';
    string_buffer_append_char(arguments->out, byte);
    return go(arguments, byte == '[' ? GEMMA_VALUE_OR_END : GEMMA_KEY_OR_END);
}

static enum gemma_progress close_bracket(struct value_arguments *arguments, char byte) {
    if (arguments->is_list[arguments->depth - 1] != (byte == ']')) {
        return GEMMA_WRONG;
    }
    arguments->depth--;
    string_buffer_append_char(arguments->out, byte);
    return go(arguments, arguments->depth == 0 ? GEMMA_DONE : GEMMA_NEXT);
}

static enum gemma_progress push_next(struct value_arguments *arguments, char byte) {
    if (byte == '}' || byte == ']') {
        return close_bracket(arguments, byte);
    }
    if (byte != ',') {
        return GEMMA_WRONG;
    }
    string_buffer_append_text(arguments->out, ", ");
    return go(arguments, arguments->is_list[arguments->depth - 1] ? GEMMA_VALUE : GEMMA_KEY);
}

static void end_key(struct value_arguments *arguments) {
    put_text(arguments->out, trimmed(view_of(&arguments->value)));
    string_buffer_clear(&arguments->value);
}

static enum gemma_progress begin_value(struct value_arguments *arguments, char byte) {
    if (byte == '{' || byte == '[') {
        return open_bracket(arguments, byte);
    }
    if (byte == ']' && arguments->state == GEMMA_VALUE_OR_END) {
        return close_bracket(arguments, byte);
    }
    if (strchr(",}]:", byte) != NULL) { /* "\0" too */
        return GEMMA_WRONG;
    }
    string_buffer_clear(&arguments->value);
    string_buffer_append_char(&arguments->value, byte);
    return go(arguments, GEMMA_WORD);
}

static enum gemma_progress push_bare(struct value_arguments *arguments, char byte) {
    if (arguments->state == GEMMA_BARE_KEY && byte == ':') {
        end_key(arguments);
        string_buffer_append_text(arguments->out, ": ");
        return go(arguments, GEMMA_VALUE);
    }
    bool ends = byte == ',' || byte == '}' || byte == ']';
    if (arguments->state == GEMMA_WORD && ends) {
        put_value(arguments->out, trimmed(view_of(&arguments->value)), KIND_ANY);
        string_buffer_clear(&arguments->value);
        return push_next(arguments, byte);
    }
    if (ends || byte == '{' || byte == '[') {
        return GEMMA_WRONG;
    }
    string_buffer_append_char(&arguments->value, byte);
    return GEMMA_MORE;
}

enum gemma_progress gemma_push(struct value_arguments *arguments, char byte) {
    enum gemma_state state = (enum gemma_state)arguments->state;
    if (state == GEMMA_TEXT) {
        put_byte(arguments->out, byte);
        return GEMMA_MORE;
    }
    if (state == GEMMA_MARKED_KEY) {
        string_buffer_append_char(&arguments->value, byte);
        return GEMMA_MORE;
    }
    if (state == GEMMA_BARE_KEY || state == GEMMA_WORD) {
        return push_bare(arguments, byte);
    }
    if (is_blank(byte)) {
        return GEMMA_MORE;
    }
    switch (state) {
    case GEMMA_BEGIN:
        return byte == '{' ? open_bracket(arguments, byte) : GEMMA_WRONG;
    case GEMMA_KEY_OR_END:
    case GEMMA_KEY:
        if (byte == '}' && state == GEMMA_KEY_OR_END) {
            return close_bracket(arguments, byte);
        }
        if (strchr(",:{}[]", byte) != NULL) {
            return GEMMA_WRONG;
        }
        string_buffer_clear(&arguments->value);
        string_buffer_append_char(&arguments->value, byte);
        return go(arguments, GEMMA_BARE_KEY);
    case GEMMA_COLON:
        string_buffer_append_text(arguments->out, ": ");
        return byte == ':' ? go(arguments, GEMMA_VALUE) : GEMMA_WRONG;
    case GEMMA_VALUE:
    case GEMMA_VALUE_OR_END:
        return begin_value(arguments, byte);
    case GEMMA_NEXT:
        return push_next(arguments, byte);
    default:
        return GEMMA_WRONG;
    }
}

enum gemma_progress gemma_mark(struct value_arguments *arguments) {
    switch ((enum gemma_state)arguments->state) {
    case GEMMA_KEY_OR_END:
    case GEMMA_KEY:
        string_buffer_clear(&arguments->value);
        return go(arguments, GEMMA_MARKED_KEY);
    case GEMMA_MARKED_KEY:
        put_text(arguments->out, view_of(&arguments->value));
        string_buffer_clear(&arguments->value);
        return go(arguments, GEMMA_COLON);
    case GEMMA_VALUE:
    case GEMMA_VALUE_OR_END:
        string_buffer_append_char(arguments->out, '"');
        return go(arguments, GEMMA_TEXT);
    case GEMMA_TEXT:
        string_buffer_append_char(arguments->out, '"');
        return go(arguments, GEMMA_NEXT);
    default:
        return GEMMA_WRONG;
    }
}
