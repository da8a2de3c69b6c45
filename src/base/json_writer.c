/* json_writer.c - see json_writer.h. */
#include "base/json_writer.h"

#include "base/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static void begin_value(struct json_writer *writer) {
    if (writer->needs_comma) {
        string_buffer_append_char(writer->out, ',');
    }
    writer->needs_comma = true;
}

static void open_with(struct json_writer *writer, char bracket) {
    begin_value(writer);
    string_buffer_append_char(writer->out, bracket);
    writer->needs_comma = false;
}

static void close_with(struct json_writer *writer, char bracket) {
    string_buffer_append_char(writer->out, bracket);
    writer->needs_comma = true;
}

void json_write_object_begin(struct json_writer *writer) {
    open_with(writer, '{');
}

void json_write_object_end(struct json_writer *writer) {
    close_with(writer, '}');
}

void json_write_array_begin(struct json_writer *writer) {
    open_with(writer, '[');
}

void json_write_array_end(struct json_writer *writer) {
    close_with(writer, ']');
}

static void append_escape(struct string_buffer *out, unsigned char byte) {
    static const char short_names[] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f',
                                       ['\r'] = 'r', ['"'] = '"',  ['\\'] = '\\'};
    if (byte < sizeof short_names && short_names[byte] != 0) {
        string_buffer_append_char(out, '\\');
        string_buffer_append_char(out, short_names[byte]);
    } else {
        string_buffer_append_format(out, "\\u%04x", byte);
    }
}

static void append_quoted(struct string_buffer *out, const char *text, size_t length) {
    string_buffer_append_char(out, '"');
    size_t plain = 0; /* start of the run that is copied as it is */
    size_t at = 0;
    while (at < length) {
        unsigned char byte = (unsigned char)text[at];
        uint32_t code_point;
        size_t taken = byte < 0x80 ? 1 : utf8_decode(text + at, length - at, &code_point);
        bool escape = byte < 0x20 || byte == '"' || byte == '\\' || byte == 0x7f;
        if (taken != 0 && !escape) {
            at += taken;
            continue;
        }
        string_buffer_append(out, text + plain, at - plain);
        if (taken == 0) {
            string_buffer_append_text(out, "\xef\xbf\xbd");
        } else {
            append_escape(out, byte);
        }
        at++;
        plain = at;
    }
    string_buffer_append(out, text + plain, at - plain);
    string_buffer_append_char(out, '"');
}

void json_write_key(struct json_writer *writer, const char *name) {
    begin_value(writer);
    append_quoted(writer->out, name, strlen(name));
    string_buffer_append_char(writer->out, ':');
    writer->needs_comma = false;
}

void json_write_text(struct json_writer *writer, const char *text, size_t length) {
    begin_value(writer);
    append_quoted(writer->out, text, length);
}

void json_write_integer(struct json_writer *writer, int64_t value) {
    begin_value(writer);
    string_buffer_append_format(writer->out, "%" PRId64, value);
}

void json_write_number(struct json_writer *writer, double value) {
    if (!isfinite(value)) {
        json_write_null(writer);
        return;
    }
    begin_value(writer);
    string_buffer_append_format(writer->out, "%.9g", value);
}

void json_write_bool(struct json_writer *writer, bool value) {
    begin_value(writer);
    string_buffer_append_text(writer->out, value ? "true" : "false");
}

void json_write_null(struct json_writer *writer) {
    begin_value(writer);
    string_buffer_append_text(writer->out, "null");
}

void json_write_raw(struct json_writer *writer, const char *json, size_t length) {
    if (length != 0) {
        begin_value(writer);
        string_buffer_append(writer->out, json, length);
    }
}

void json_write_text_member(struct json_writer *writer, const char *name, const char *text) {
    json_write_key(writer, name);
    if (text == NULL) {
        json_write_null(writer);
    } else {
        json_write_text(writer, text, strlen(text));
    }
}

void json_write_integer_member(struct json_writer *writer, const char *name, int64_t value) {
    json_write_key(writer, name);
    json_write_integer(writer, value);
}

void json_write_text_of(struct json_writer *writer, const struct string_buffer *text) {
    json_write_text(writer, string_buffer_text(text), text->length);
    writer->out->failed = writer->out->failed || text->failed;
}

void json_write_raw_of(struct json_writer *writer, const struct string_buffer *json) {
    json_write_raw(writer, string_buffer_text(json), json->length);
    writer->out->failed = writer->out->failed || json->failed;
}
