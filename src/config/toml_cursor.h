/*
 * toml_cursor.h - what the two halves of the TOML reader share: a place in the text, and the
 * scalars that are read from there. Private to toml.c and toml_scalar.c.
 */
#ifndef MISTRAL_CONFIG_TOML_CURSOR_H
#define MISTRAL_CONFIG_TOML_CURSOR_H

#include "base/arena.h"
#include "base/string_buffer.h"
#include "config/toml.h"

struct toml_cursor {
    const char *name; /* of the file */
    const char *text; /* valid UTF-8; text[length] is NUL, so looking one byte ahead is safe */
    size_t length;
    size_t at;
    struct arena *arena; /* holds what is parsed */
    struct error *error;
};

/* The byte `ahead` of the cursor, or 0 past the end (a NUL in the text is refused anyway). */
static inline char toml_peek(const struct toml_cursor *cursor, size_t ahead) {
    return ahead < cursor->length - cursor->at ? cursor->text[cursor->at + ahead] : '\0';
}

/* Line and column, from 1, of `offset`. */
void toml_text_position(const char *text, size_t offset, size_t *line, size_t *column);

/* ERROR_FORMAT with the position of `offset` before the reason. Returns false. */
bool toml_fail(const struct toml_cursor *cursor, size_t offset, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A newline (LF or CRLF) at the cursor: steps over it and returns true. */
bool toml_skip_newline(struct toml_cursor *cursor);

/* A quoted string of any of the four kinds (a key may not be one of the multi-line ones); the
 * cursor is on its first quote. The result is NUL-terminated in the arena. */
bool toml_read_string(struct toml_cursor *cursor, bool allow_multiline, struct string_view *text);

/* A boolean, number, date or time at the cursor. */
bool toml_read_plain_scalar(struct toml_cursor *cursor, struct toml_value *value);

#endif
