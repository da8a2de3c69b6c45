/* dotenv.c - see dotenv.h. */
#include "config/dotenv.h"

#include "base/string_buffer.h"
#include "base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct reader {
    const char *file;
    const char *text;
    size_t length;
    size_t at;
    size_t line;       /* of `at`, from 1 */
    size_t line_start; /* offset of the line's first byte */
    struct arena *arena;
    struct error *error;
};

/* 0 past the end; a NUL in the text is refused before. */
static char peek(const struct reader *reader) {
    return reader->at < reader->length ? reader->text[reader->at] : '\0';
}

static void step(struct reader *reader) {
    if (peek(reader) == '\n') {
        reader->line++;
        reader->line_start = reader->at + 1;
    }
    reader->at++;
}

static size_t column_of(const struct reader *reader) {
    size_t column = 1;
    for (size_t i = reader->line_start; i < reader->at; i++) {
        column += ((unsigned char)reader->text[i] & 0xc0) != 0x80 ? 1 : 0;
    }
    return column;
}

static bool fail(const struct reader *reader, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bool fail(const struct reader *reader, const char *format, ...) {
    char reason[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    return error_set(reader->error, ERROR_FORMAT, "%s:%zu:%zu: %s", reader->file, reader->line,
                     column_of(reader), reason);
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r';
}

static void skip_blanks(struct reader *reader) {
    while (is_blank(peek(reader))) {
        step(reader);
    }
}

static void skip_to_line_end(struct reader *reader) {
    while (reader->at < reader->length && peek(reader) != '\n') {
        step(reader);
    }
}

static bool is_name_char(char c, bool first) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
           (!first && c >= '0' && c <= '9');
}

static size_t name_length(const struct reader *reader) {
    size_t length = 0;
    while (reader->at + length < reader->length &&
           is_name_char(reader->text[reader->at + length], length == 0)) {
        length++;
    }
    return length;
}

/* The text up to the end of the line or a comment, without the blanks at its end. */
static void read_unquoted(struct reader *reader, struct string_buffer *value) {
    bool after_blank = true;
    while (reader->at < reader->length && peek(reader) != '\n') {
        char c = peek(reader);
        if (c == '#' && after_blank) {
            skip_to_line_end(reader);
            break;
        }
        after_blank = is_blank(c);
        string_buffer_append_char(value, c);
        step(reader);
    }
    while (value->length > 0 && is_blank(value->data[value->length - 1])) {
        value->data[--value->length] = '\0';
    }
}

/* An unknown escape keeps its backslash, as the usual libraries do. */
static void read_escape(struct reader *reader, struct string_buffer *value) {
    static const char letters[] = "nrt\"\\$'";
    static const char meanings[] = "\n\r\t\"\\$'";
    step(reader);
    char c = peek(reader);
    const char *found = c == '\0' ? NULL : strchr(letters, c);
    if (found == NULL) {
        string_buffer_append_char(value, '\\');
        return;
    }
    string_buffer_append_char(value, meanings[found - letters]);
    step(reader);
}

static bool read_quoted(struct reader *reader, struct string_buffer *value) {
    struct reader start = *reader;
    char quote = peek(reader);
    step(reader);
    while (peek(reader) != quote) {
        if (reader->at == reader->length) {
            return fail(&start, "this value has no closing %c", quote);
        }
        if (quote == '"' && peek(reader) == '\\') {
            read_escape(reader, value);
        } else {
            string_buffer_append_char(value, peek(reader));
            step(reader);
        }
    }
    step(reader);
    bool blank = is_blank(peek(reader));
    skip_blanks(reader);
    if (peek(reader) == '#' && blank) {
        skip_to_line_end(reader);
    }
    if (reader->at < reader->length && peek(reader) != '\n') {
        return fail(reader, "text after the closing %c", quote);
    }
    return true;
}

/* NAME = value; the cursor is on the first character of the line that is no blank. */
static bool read_entry(struct reader *reader, struct dotenv_entry *entry) {
    if (reader->length - reader->at > 7 && memcmp(reader->text + reader->at, "export", 6) == 0 &&
        is_blank(reader->text[reader->at + 6])) {
        reader->at += 6;
        skip_blanks(reader);
    }
    entry->line = reader->line;
    entry->column = column_of(reader);
    size_t length = name_length(reader);
    if (length == 0) {
        return fail(reader, "a line is NAME=value, a comment, or empty");
    }
    entry->name = arena_copy_text(reader->arena, reader->text + reader->at, length);
    reader->at += length;
    skip_blanks(reader);
    if (peek(reader) != '=') {
        return fail(reader, "an equals sign is missing after the name");
    }
    step(reader);
    skip_blanks(reader);
    struct string_buffer value = {0};
    size_t start = reader->at;
    bool literal = peek(reader) == '\'';
    bool done = true;
    if (literal || peek(reader) == '"') {
        done = read_quoted(reader, &value);
    } else {
        read_unquoted(reader, &value);
    }
    entry->expands = !literal && memmem(reader->text + start, reader->at - start, "${", 2) != NULL;
    if (done) {
        entry->value =
            value.failed ? NULL
                         : arena_copy_text(reader->arena, string_buffer_text(&value), value.length);
        done = (entry->name != NULL && entry->value != NULL) ||
               error_set(reader->error, ERROR_OUT_OF_MEMORY, "no memory for '%s'", reader->file);
    }
    string_buffer_deinit(&value);
    return done;
}

static bool check_text(struct reader *reader) {
    size_t bad_at = reader->length;
    const char *nul = memchr(reader->text, '\0', reader->length);
    if (nul != NULL) {
        bad_at = (size_t)(nul - reader->text);
    } else if (utf8_validate(reader->text, reader->length, &bad_at)) {
        return true;
    }
    while (reader->at < bad_at) {
        step(reader);
    }
    return fail(reader, "the bytes here are not UTF-8 text");
}

bool dotenv_parse(const char *file, const char *text, size_t length, struct arena *arena,
                  struct dotenv_entry **entries, struct error *error) {
    struct reader reader = {
        .file = file, .text = text, .length = length, .line = 1, .arena = arena, .error = error};
    *entries = NULL;
    if (length > 0 && !check_text(&reader)) {
        return false;
    }
    if (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        reader.at = 3; /* a byte order mark */
    }
    struct dotenv_entry **end = entries;
    while (reader.at < length) {
        skip_blanks(&reader);
        if (peek(&reader) == '#') {
            skip_to_line_end(&reader);
        } else if (reader.at < length && peek(&reader) != '\n') {
            struct dotenv_entry *entry = arena_alloc(arena, 1, sizeof *entry);
            if (entry == NULL) {
                return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for '%s'", file);
            }
            if (!read_entry(&reader, entry)) {
                return false;
            }
            *end = entry;
            end = &entry->next;
        }
        if (reader.at < length) {
            step(&reader); /* the newline */
        }
    }
    return true;
}
