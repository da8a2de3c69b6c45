/*
 * builtin.h - how filters, tests, methods and global functions are written and called.
 *
 * Each is a row of a table: its name, its function, its parameters' names in order. The caller
 * checks and orders the arguments, so that a function finds its n-th parameter in arguments[n], of
 * kind JINJA_MISSING when it was not given.
 */
#ifndef MISTRAL_TEXT_JINJA_BUILTIN_H
#define MISTRAL_TEXT_JINJA_BUILTIN_H

#include "text/jinja/value.h"

enum { JINJA_MAX_PARAMETERS = 5 };

struct jinja_keyword {
    struct string_view name;
    struct jinja_value value;
};

struct jinja_call {
    struct jinja_value subject; /* what is filtered or tested; a method's object */
    struct jinja_value *arguments;
    size_t count;
    struct jinja_keyword *keywords; /* empty when the function is not variadic */
    size_t keyword_count;
};

typedef bool jinja_function(struct jinja_render *render, const struct jinja_call *call,
                            struct jinja_value *result);

struct jinja_builtin {
    const char *name;
    jinja_function *function;
    const char *parameters[JINJA_MAX_PARAMETERS];
    uint8_t required; /* how many of them must be given */
    bool variadic;    /* takes any arguments, as they come */
};

/* What a method value points to. */
struct jinja_method {
    struct jinja_value subject;
    const struct jinja_builtin *builtin;
};

/* A table, ended by a row without a name. */
const struct jinja_builtin *jinja_find_builtin(const struct jinja_builtin *table,
                                               struct string_view name);
bool jinja_call_builtin(struct jinja_render *render, const struct jinja_builtin *builtin,
                        const struct jinja_call *call, struct jinja_value *result);

/* By name; NULL when there is none. */
const struct jinja_builtin *jinja_find_filter(struct string_view name);
const struct jinja_builtin *jinja_find_test(struct string_view name);
const struct jinja_builtin *jinja_find_global(struct string_view name);
const struct jinja_builtin *jinja_find_method(enum jinja_kind kind, struct string_view name);

/* The tables, one for each file that holds a part of them. */
extern const struct jinja_builtin jinja_text_filters[];
extern const struct jinja_builtin jinja_number_filters[];
extern const struct jinja_builtin jinja_sequence_filters[];
extern const struct jinja_builtin jinja_selection_filters[];
extern const struct jinja_builtin jinja_tests[];
extern const struct jinja_builtin jinja_globals[];
extern const struct jinja_builtin jinja_string_methods[];
extern const struct jinja_builtin jinja_list_methods[];
extern const struct jinja_builtin jinja_tuple_methods[];
extern const struct jinja_builtin jinja_dict_methods[];
extern const struct jinja_builtin jinja_loop_methods[];

/* str.format and the % operator, in format.c. */
bool jinja_format_method(struct jinja_render *render, const struct jinja_call *call,
                         struct jinja_value *result);
bool jinja_format_percent(struct jinja_render *render, const struct jinja_value *format,
                          const struct jinja_value *arguments, struct jinja_value *result);

#endif
