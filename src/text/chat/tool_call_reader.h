/*
 * tool_call_reader.h - reads one tool call's JSON byte by byte: its name, its id, its arguments.
 *
 * The object is {"name": …, "arguments": {…}} in any order, with "parameters" for "arguments",
 * "function" or "tool_name" for "name" ("function" perhaps for an object of both), and perhaps an
 * "id". What is read so far is in
 * the struct. One thread.
 */
#ifndef MISTRAL_TEXT_CHAT_TOOL_CALL_READER_H
#define MISTRAL_TEXT_CHAT_TOOL_CALL_READER_H

#include "base/string_buffer.h"
#include "text/chat/json_scanner.h"

#include <stdbool.h>

enum { TOOL_NAME_MAX_BYTES = 256, TOOL_ID_MAX_BYTES = 64 };

/* What the bytes of the value that is being read are for. */
enum tool_call_value {
    TOOL_VALUE_NONE, /* between values */
    TOOL_VALUE_IGNORED,
    TOOL_VALUE_NAME,
    TOOL_VALUE_ID,
    TOOL_VALUE_FUNCTION,
    TOOL_VALUE_ARGUMENTS,
};

struct tool_call_reader {
    struct json_scanner scanner;
    bool arguments_only; /* the object is the arguments themselves; name and id came before it */
    bool known_keys_only;
    bool has_name, has_arguments; /* complete */
    bool streams_arguments;       /* `arguments` grows as they come */
    uint8_t value_kind;           /* enum tool_call_value */
    struct string_buffer name;
    struct string_buffer id;        /* empty: none given, or none that can be used */
    struct string_buffer arguments; /* one JSON object, as the model wrote it */
    struct string_buffer key, value;
};

/* Ready for an object's "{". Keeps the buffers' memory; with `arguments_only` keeps name and id. */
void tool_call_reader_begin(struct tool_call_reader *reader, bool arguments_only,
                            bool known_keys_only);
void tool_call_reader_deinit(struct tool_call_reader *reader);

enum tool_call_progress { TOOL_CALL_MORE, TOOL_CALL_COMPLETE, TOOL_CALL_WRONG };
/* COMPLETE with the byte that ends the object, when there is a name; the arguments are "{}" when
 * there were none. */
enum tool_call_progress tool_call_reader_push(struct tool_call_reader *reader, char byte);

/* Letters, digits, "_" and "-": what may be taken for a call's id. */
bool tool_id_is_usable(const char *id, size_t length);
/* These and ".", ":", "/": a name that can stand between tags. */
bool tool_name_is_plain(const char *name, size_t length);

#endif
