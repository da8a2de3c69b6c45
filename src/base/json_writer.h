/*
 * json_writer.h - JSON text written value by value, in the order a reader will see it.
 *
 * Commas are the writer's business; nesting and key-before-value are the caller's. Output is
 * compact, one line, and always valid UTF-8: bytes that are not come out as U+FFFD. A zeroed struct
 * with `out` set is ready. Not thread-safe.
 */
#ifndef MISTRAL_BASE_JSON_WRITER_H
#define MISTRAL_BASE_JSON_WRITER_H

#include "base/string_buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_writer {
    struct string_buffer *out; /* borrowed; its `failed` tells when memory ran out */
    bool needs_comma;
};

void json_write_object_begin(struct json_writer *writer);
void json_write_object_end(struct json_writer *writer);
void json_write_array_begin(struct json_writer *writer);
void json_write_array_end(struct json_writer *writer);

/* A key; the next call writes its value. */
void json_write_key(struct json_writer *writer, const char *name);

void json_write_text(struct json_writer *writer, const char *text, size_t length);
void json_write_integer(struct json_writer *writer, int64_t value);
/* Nine significant digits: every float comes back as itself. What JSON cannot say is null. */
void json_write_number(struct json_writer *writer, double value);
void json_write_bool(struct json_writer *writer, bool value);
void json_write_null(struct json_writer *writer);
/* JSON text that is already made: one value, or several with their commas between them. */
void json_write_raw(struct json_writer *writer, const char *json, size_t length);
/* A buffer's content, as text or as JSON. One that is not whole (`failed`) fails the writer's. */
void json_write_text_of(struct json_writer *writer, const struct string_buffer *text);
void json_write_raw_of(struct json_writer *writer, const struct string_buffer *json);

/* Key and value in one. A NULL text is null. */
void json_write_text_member(struct json_writer *writer, const char *name, const char *text);
void json_write_integer_member(struct json_writer *writer, const char *name, int64_t value);

#endif
