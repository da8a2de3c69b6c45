/*
 * value_arguments.h - makes a call's JSON arguments of values that are not written as JSON.
 *
 * Two ways come in, and one JSON object comes out, as far as it is known, byte by byte:
 *
 *     tagged  key, then a value's text: a text as it is, anything else as JSON (CALL_TAGGED)
 *     gemma   {key:value,…} without quotes; texts stand between marks (CALL_GEMMA)
 *
 * The bytes are hostile: nesting is bounded. One thread.
 */
#ifndef MISTRAL_TEXT_CHAT_VALUE_ARGUMENTS_H
#define MISTRAL_TEXT_CHAT_VALUE_ARGUMENTS_H

#include "base/string_buffer.h"
#include "base/string_view.h"

#include <stdbool.h>
#include <stdint.h>

enum { GEMMA_MAX_DEPTH = 32 };

/* A zeroed struct with `out` set is ready; `out` is whose it was. */
struct value_arguments {
    struct string_buffer *out;
    struct string_buffer value; /* what may still become one thing or another */
    unsigned kinds;             /* tagged: of the value at hand (text/chat/tool_schema.h) */
    bool on_own_lines; /* tagged: a line break at either end of a value is not the value's */
    bool has_values, is_text, is_first_byte, holds_line_end;

    uint8_t state, depth; /* gemma */
    bool is_list[GEMMA_MAX_DEPTH];
};
void value_arguments_deinit(struct value_arguments *arguments);

/* An object's beginning and its end. */
void tagged_begin(struct value_arguments *arguments, bool on_own_lines);
void tagged_end(struct value_arguments *arguments);
void tagged_key(struct value_arguments *arguments, struct string_view key, unsigned kinds);
void tagged_push(struct value_arguments *arguments, char byte);
void tagged_value_end(struct value_arguments *arguments);

enum gemma_progress { GEMMA_MORE, GEMMA_COMPLETE, GEMMA_WRONG };
/* Ready for the object's "{". */
void gemma_begin(struct value_arguments *arguments);
enum gemma_progress gemma_push(struct value_arguments *arguments, char byte);
/* The mark that stands before a text and after it. */
enum gemma_progress gemma_mark(struct value_arguments *arguments);

#endif
