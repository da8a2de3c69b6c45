/* input.c - see input.h. */
#include "cli/input.h"

#include "base/utf8.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { INPUT_LIMIT = 64 << 20, INPUT_PIECE = 1 << 16 };

static bool append_stdin(struct string_buffer *text, struct error *error) {
    size_t start = text->length;
    for (;;) {
        if (!string_buffer_reserve(text, INPUT_PIECE)) {
            return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for standard input");
        }
        size_t count = fread(text->data + text->length, 1, INPUT_PIECE, stdin);
        text->length += count;
        text->data[text->length] = '\0';
        if (text->length - start > INPUT_LIMIT) {
            return error_set(error, ERROR_INVALID_ARGUMENT,
                             "standard input has more than %d MiB of text", INPUT_LIMIT >> 20);
        }
        if (count == 0) {
            break;
        }
    }
    if (ferror(stdin)) {
        return error_set_errno(error, errno, "cannot read standard input");
    }
    if (text->length > start && text->data[text->length - 1] == '\n') {
        text->data[--text->length] = '\0';
    }
    return true;
}

bool input_read(const struct argument_operands *operands, size_t first, struct string_buffer *text,
                struct error *error) {
    if (operands->count <= first) {
        return append_stdin(text, error);
    }
    for (size_t i = first; i < operands->count; i++) {
        if (i > first) {
            string_buffer_append_char(text, ' ');
        }
        if (strcmp(operands->texts[i], "-") != 0) {
            string_buffer_append_text(text, operands->texts[i]);
        } else if (!append_stdin(text, error)) {
            return false;
        }
    }
    return !text->failed || error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the text");
}

bool input_check_utf8(const struct string_buffer *text, const char *what, struct error *error) {
    size_t bad_at = 0;
    return utf8_validate(string_buffer_text(text), text->length, &bad_at) ||
           error_set(error, ERROR_INVALID_ARGUMENT, "%s is not UTF-8: byte %zu (0x%02x)", what,
                     bad_at, (unsigned char)text->data[bad_at]);
}
