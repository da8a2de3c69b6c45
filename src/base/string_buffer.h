/*
 * string_buffer.h - a growing byte string, always NUL-terminated.
 *
 * Appending never fails visibly: when memory runs out the buffer turns `failed`, keeps what it had,
 * and ignores further appends. Check `failed` once at the end of a piece of work. Not thread-safe.
 */
#ifndef MISTRAL_BASE_STRING_BUFFER_H
#define MISTRAL_BASE_STRING_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

struct string_buffer {
    char *data;      /* NULL until the first append; owned */
    size_t length;   /* bytes, without the NUL */
    size_t capacity; /* bytes allocated */
    bool failed;     /* an allocation failed; contents are incomplete */
};

/* A zeroed struct is an empty buffer; deinit releases it and leaves it empty again. */
void string_buffer_deinit(struct string_buffer *buffer);

void string_buffer_clear(struct string_buffer *buffer); /* keeps the memory */
bool string_buffer_reserve(struct string_buffer *buffer, size_t extra);
void string_buffer_append(struct string_buffer *buffer, const void *bytes, size_t length);
/* One that is not whole (`failed`) fails this one too. */
void string_buffer_append_buffer(struct string_buffer *buffer, const struct string_buffer *other);
void string_buffer_append_text(struct string_buffer *buffer, const char *text);
void string_buffer_append_char(struct string_buffer *buffer, char character);
void string_buffer_append_format(struct string_buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The contents as a C string; "" when nothing was appended. Borrowed until the next change. */
const char *string_buffer_text(const struct string_buffer *buffer);

/* Hands the memory over to the caller (free with free()); NULL when the buffer failed. */
char *string_buffer_take(struct string_buffer *buffer);

#endif
