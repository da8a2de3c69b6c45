/*
 * dotenv.h - reads .env files: NAME=value lines, as Docker Compose and the usual libraries do.
 *
 *   # a comment                    export NAME=value        (export is ignored)
 *   NAME=value with spaces # a comment, after a blank
 *   NAME='taken as it is, # too'   NAME="with \n \t \" \\ \$ escapes, over several lines if need
 * be"
 *
 * Nothing is expanded; `expands` tells the caller that ${…} stood where others would expand it.
 */
#ifndef MISTRAL_CONFIG_DOTENV_H
#define MISTRAL_CONFIG_DOTENV_H

#include "base/arena.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct dotenv_entry {
    struct dotenv_entry *next; /* in order of appearance */
    const char *name;
    const char *value;   /* NUL-terminated; "" for NAME= */
    size_t line, column; /* of the name, from 1; columns in characters */
    bool expands;        /* ${ in an unquoted or double-quoted value */
};

/* `file` is the name for messages: "file:line:column: reason". Entries lie in the arena. */
bool dotenv_parse(const char *file, const char *text, size_t length, struct arena *arena,
                  struct dotenv_entry **entries, struct error *error);

#endif
