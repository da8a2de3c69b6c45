/* string_buffer.c - see string_buffer.h. */
#include "base/string_buffer.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void string_buffer_deinit(struct string_buffer *buffer) {
    free(buffer->data);
    *buffer = (struct string_buffer){0};
}

void string_buffer_clear(struct string_buffer *buffer) {
    buffer->length = 0;
    buffer->failed = false;
    if (buffer->data != NULL) {
        buffer->data[0] = '\0';
    }
}

bool string_buffer_reserve(struct string_buffer *buffer, size_t extra) {
    if (buffer->failed || extra > SIZE_MAX / 2 - buffer->length - 1) {
        buffer->failed = true;
        return false;
    }
    size_t needed = buffer->length + extra + 1;
    if (needed <= buffer->capacity) {
        return true;
    }
    size_t capacity = buffer->capacity < 64 ? 64 : buffer->capacity;
    while (capacity < needed) {
        capacity *= 2;
    }
    char *data = realloc(buffer->data, capacity);
    if (data == NULL) {
        buffer->failed = true;
        return false;
    }
    buffer->data = data;
    buffer->capacity = capacity;
    buffer->data[buffer->length] = '\0';
    return true;
}

void string_buffer_append(struct string_buffer *buffer, const void *bytes, size_t length) {
    if (length == 0 || !string_buffer_reserve(buffer, length)) {
        return;
    }
    memcpy(buffer->data + buffer->length, bytes, length);
    buffer->length += length;
    buffer->data[buffer->length] = '\0';
}

void string_buffer_append_buffer(struct string_buffer *buffer, const struct string_buffer *other) {
    string_buffer_append(buffer, string_buffer_text(other), other->length);
    buffer->failed = buffer->failed || other->failed;
}

void string_buffer_append_text(struct string_buffer *buffer, const char *text) {
    string_buffer_append(buffer, text, strlen(text));
}

void string_buffer_append_char(struct string_buffer *buffer, char character) {
    string_buffer_append(buffer, &character, 1);
}

void string_buffer_append_format(struct string_buffer *buffer, const char *format, ...) {
    va_list arguments;
    va_list again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0) {
        buffer->failed = true;
    } else if (string_buffer_reserve(buffer, (size_t)length)) {
        vsnprintf(buffer->data + buffer->length, (size_t)length + 1, format, again);
        buffer->length += (size_t)length;
    }
    va_end(again);
}

const char *string_buffer_text(const struct string_buffer *buffer) {
    return buffer->data == NULL ? "" : buffer->data;
}

char *string_buffer_take(struct string_buffer *buffer) {
    if (buffer->failed || !string_buffer_reserve(buffer, 0)) {
        string_buffer_deinit(buffer);
        return NULL;
    }
    char *data = buffer->data;
    *buffer = (struct string_buffer){0};
    return data;
}
