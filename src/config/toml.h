/*
 * toml.h - reads TOML 1.0 (toml.io/en/v1.0.0), all of it.
 *
 * Text comes from outside and is hostile: it is checked to be UTF-8, nesting and key length are
 * bounded, and every error says file, line and column. A document is immutable once parsed: any
 * thread may read it. Knows nothing of settings; config.c gives the keys their meaning.
 */
#ifndef MISTRAL_CONFIG_TOML_H
#define MISTRAL_CONFIG_TOML_H

#include "base/error.h"
#include "base/string_view.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum toml_kind {
    TOML_STRING,
    TOML_INTEGER,
    TOML_FLOAT,
    TOML_BOOL,
    TOML_OFFSET_DATE_TIME,
    TOML_LOCAL_DATE_TIME,
    TOML_LOCAL_DATE,
    TOML_LOCAL_TIME,
    TOML_ARRAY,
    TOML_TABLE,
};

/* What a value of the kind does not have (the date of a local time, an offset) is 0. */
struct toml_time {
    int year, month, day;
    int hour, minute, second;
    int nanosecond;     /* digits past the ninth are dropped */
    int offset_minutes; /* east of UTC */
};

/* How a table came to be decides who may add to it. */
enum toml_table_origin {
    TOML_TABLE_IMPLIED, /* a parent of a [header]: may still get its own header */
    TOML_TABLE_HEADER,  /* [header] or an element of [[header]] */
    TOML_TABLE_DOTTED,  /* from a.b = …: only keys of the same body add to it */
    TOML_TABLE_INLINE,  /* { … }: closed */
};

struct toml_value {
    enum toml_kind kind;
    size_t offset;            /* of the value in the text, bytes */
    size_t key_offset;        /* of the key that names it; elements of arrays: as offset */
    struct string_view key;   /* empty for the root and for elements of arrays */
    struct toml_value *next;  /* in the table or array that holds it, in order of appearance */
    struct toml_value *first; /* of a table or an array */
    struct toml_value *last;
    size_t count;            /* of a table or an array */
    struct string_view text; /* TOML_STRING: UTF-8, may hold NUL; also NUL-terminated */
    union {
        int64_t integer;
        double number;
        bool boolean;
        struct toml_time time;
        struct {
            enum toml_table_origin origin;
            size_t body; /* which body of key = value lines made a DOTTED table */
        } table;
        bool of_tables; /* TOML_ARRAY: made by [[header]], so another may add to it */
    };
};

struct toml_document;

/* `name` is the file's name for messages. Copies the text. Errors are ERROR_FORMAT, "name:line:
 * column: reason". */
bool toml_parse(const char *name, const char *text, size_t length, struct toml_document **document,
                struct error *error);
void toml_free(struct toml_document *document); /* NULL allowed */

const struct toml_value *toml_root(const struct toml_document *document);

/* NULL when the table has no such key. */
const struct toml_value *toml_find(const struct toml_document *document,
                                   const struct toml_value *table, struct string_view key);

/* Line and column (in characters) of a byte offset, both from 1. */
void toml_position(const struct toml_document *document, size_t offset, size_t *line,
                   size_t *column);

/* "an integer", "a table", … for messages. */
const char *toml_kind_name(enum toml_kind kind);

#endif
