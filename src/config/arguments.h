/*
 * arguments.h - the command line of one subcommand: its own options, settings, operands.
 *
 *   --name value   --name=value   --switch   --no-switch   -x value   --   (ends the options)
 *
 * A subcommand's own options ("run --json") are rows of a table whose targets this fills; settings
 * (rows of knobs.def) are handed to a callback. Pure functions of what is given; never prints.
 */
#ifndef MISTRAL_CONFIG_ARGUMENTS_H
#define MISTRAL_CONFIG_ARGUMENTS_H

#include "base/arena.h"
#include "base/error.h"
#include "base/string_buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum argument_kind {
    ARGUMENT_SWITCH,  /* bool: --name, --no-name */
    ARGUMENT_TEXT,    /* const char * */
    ARGUMENT_INTEGER, /* int64_t */
    ARGUMENT_NUMBER,  /* double */
    ARGUMENT_TEXTS,   /* struct argument_operands: may be given more than once */
};

struct argument_operands {
    const char **texts; /* [count], in the arena; the texts are borrowed from the command line */
    size_t count;
};

struct argument_option {
    const char *name; /* without the dashes; NULL ends a table */
    char letter;      /* short form, or 0 */
    enum argument_kind kind;
    void *target;            /* of the kind's type; untouched when the option is not given */
    double minimum, maximum; /* of INTEGER and NUMBER */
    const char *unit;        /* "TOKENS", for --help; NULL for a switch */
    const char *sentence;
};

/* What a name on the command line means to a setting. */
enum argument_setting {
    ARGUMENT_NOT_A_SETTING,
    ARGUMENT_SETTING,        /* takes a value */
    ARGUMENT_SETTING_SWITCH, /* takes none; --no-name is allowed too */
};

struct argument_settings {
    enum argument_setting (*find)(void *context, const char *name);
    /* `value` is "true" or "false" for a switch. */
    void (*set)(void *context, const char *name, const char *value);
    /* Explains a name that is neither an option nor a setting here. Returns false. */
    bool (*refuse)(void *context, const char *name, struct error *error);
    void *context;
};

/* The texts are borrowed from `arguments`. */
bool arguments_parse(char *const *arguments, size_t count, const struct argument_option *options,
                     const struct argument_settings *settings, struct arena *arena,
                     struct argument_operands *operands, struct error *error);

/* Two columns: "  -j, --json    sentence", wrapped to 96 characters. */
void arguments_append_help(const struct argument_option *options, struct string_buffer *out);

/* One row of such a listing; also used for settings. */
void arguments_append_help_row(struct string_buffer *out, const char *left, const char *right);

#endif
