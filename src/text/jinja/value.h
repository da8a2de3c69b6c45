/*
 * value.h - the values a template computes with: Python's, as far as templates can see them.
 *
 * A value is small and copied freely; what it points to lives in the rendering's memory, in the
 * template's, or in the caller's JSON, all of which outlive it. Text is valid UTF-8 and may hold
 * NUL. Lists can be changed by a template (append, pop); everything else is immutable.
 */
#ifndef MISTRAL_TEXT_JINJA_VALUE_H
#define MISTRAL_TEXT_JINJA_VALUE_H

#include "text/jinja/render.h"

enum jinja_kind {
    JINJA_MISSING, /* no value: an unset variable's slot, an argument not given */
    JINJA_UNDEFINED,
    JINJA_NONE,
    JINJA_BOOL,
    JINJA_INTEGER,
    JINJA_FLOAT,
    JINJA_STRING,
    JINJA_LIST,
    JINJA_TUPLE,
    JINJA_DICT,
    JINJA_RANGE,
    JINJA_VIEW,     /* a dict's keys(), values() or items() */
    JINJA_ITERATOR, /* Python's generators and iterators: can be walked once */
    JINJA_NAMESPACE,
    JINJA_LOOP, /* the variable `loop` of a for statement */
    JINJA_MACRO,
    JINJA_METHOD, /* bound to its object */
    JINJA_FUNCTION,
    JINJA_KIND_COUNT
};

struct jinja_value {
    uint8_t kind;  /* enum jinja_kind */
    bool safe;     /* string: marked as HTML by `safe` or `escape` (Python's Markup) */
    uint8_t owner; /* undefined: kind of the object that lacks `text`; JINJA_MISSING for a variable
                      of that name; JINJA_UNDEFINED when `text` is the whole reason */
    union {
        bool boolean;
        int64_t integer;
        double number;
        struct string_view text;
        struct jinja_list *list; /* list and tuple */
        struct jinja_dict *dict; /* dict and namespace */
        const struct jinja_range *range;
        const struct jinja_view *view;
        struct jinja_iteration *iteration;
        struct jinja_loop *loop;
        const struct jinja_macro *macro;
        const struct jinja_method *method;
        const struct jinja_builtin *function;
    };
};

struct jinja_list {
    struct jinja_value *items; /* [count] */
    size_t count, capacity;
};

struct jinja_entry {
    struct jinja_value key, value;
};

struct jinja_dict {
    struct jinja_entry *entries; /* [count], in order of insertion */
    size_t count, capacity;
};

struct jinja_range {
    int64_t start, stop, step;
    size_t count;
};

enum jinja_view_part { JINJA_KEYS, JINJA_VALUES, JINJA_ITEMS };

struct jinja_view {
    const struct jinja_dict *dict;
    enum jinja_view_part part;
};

/* A walk over an iterable, in progress. */
struct jinja_iteration {
    struct jinja_value source;
    size_t at; /* index of the next item; for a string, the byte offset */
};

static inline struct jinja_value jinja_none(void) {
    return (struct jinja_value){.kind = JINJA_NONE};
}

static inline struct jinja_value jinja_bool(bool value) {
    return (struct jinja_value){.kind = JINJA_BOOL, .boolean = value};
}

static inline struct jinja_value jinja_integer(int64_t value) {
    return (struct jinja_value){.kind = JINJA_INTEGER, .integer = value};
}

static inline struct jinja_value jinja_float(double value) {
    return (struct jinja_value){.kind = JINJA_FLOAT, .number = value};
}

static inline struct jinja_value jinja_string(struct string_view text) {
    return (struct jinja_value){.kind = JINJA_STRING, .text = text};
}

static inline struct jinja_value jinja_undefined_variable(struct string_view name) {
    return (struct jinja_value){.kind = JINJA_UNDEFINED, .text = name};
}

/* `reason` is a literal. */
static inline struct jinja_value jinja_undefined_because(const char *reason) {
    return (struct jinja_value){
        .kind = JINJA_UNDEFINED, .owner = JINJA_UNDEFINED, .text = string_view_of(reason)};
}

static inline bool jinja_is_undefined(const struct jinja_value *value) {
    return value->kind == JINJA_UNDEFINED;
}

static inline bool jinja_given(const struct jinja_value *value) {
    return value->kind != JINJA_MISSING;
}

/* Bool and integer are integers to Python's arithmetic, and to indexing. */
static inline bool jinja_is_integral(const struct jinja_value *value) {
    return value->kind == JINJA_INTEGER || value->kind == JINJA_BOOL;
}

static inline int64_t jinja_integral(const struct jinja_value *value) {
    return value->kind == JINJA_BOOL ? value->boolean : value->integer;
}

static inline bool jinja_is_number(const struct jinja_value *value) {
    return jinja_is_integral(value) || value->kind == JINJA_FLOAT;
}

static inline double jinja_number(const struct jinja_value *value) {
    return value->kind == JINJA_FLOAT ? value->number : (double)jinja_integral(value);
}

static inline bool jinja_is_sequence(const struct jinja_value *value) {
    return value->kind == JINJA_LIST || value->kind == JINJA_TUPLE;
}

/* Python's name of the type, for messages. */
const char *jinja_type_name(const struct jinja_value *value);
/* Fails with what Python would say of an undefined value that is used. */
bool jinja_fail_undefined(struct jinja_render *render, const struct jinja_value *value);
/* Every argument that must be a string goes through this; an undefined one says its own reason. */
bool jinja_expect_string(struct jinja_render *render, const struct jinja_value *value,
                         const char *what);
bool jinja_expect_integer(struct jinja_render *render, const struct jinja_value *value,
                          const char *what);

bool jinja_new_list(struct jinja_render *render, enum jinja_kind list_or_tuple, size_t capacity,
                    struct jinja_value *list);
bool jinja_list_append(struct jinja_render *render, struct jinja_list *list,
                       struct jinja_value item);
bool jinja_new_pair(struct jinja_render *render, struct jinja_value first,
                    struct jinja_value second, struct jinja_value *tuple);
bool jinja_new_dict(struct jinja_render *render, enum jinja_kind dict_or_namespace, size_t capacity,
                    struct jinja_value *dict);
/* Adds without looking for the key; it must be new and hashable. */
bool jinja_dict_add(struct jinja_render *render, struct jinja_dict *dict, struct jinja_value key,
                    struct jinja_value value);
/* Adds or replaces; an unhashable key fails. */
bool jinja_dict_set(struct jinja_render *render, struct jinja_dict *dict, struct jinja_value key,
                    struct jinja_value value);
/* *found is NULL when the key is absent. False only after jinja_fail. */
bool jinja_dict_find(struct jinja_render *render, const struct jinja_dict *dict,
                     const struct jinja_value *key, struct jinja_value **found);
bool jinja_dict_find_text(struct jinja_render *render, const struct jinja_dict *dict,
                          struct string_view key, struct jinja_value **found);
/* False after jinja_fail, too. */
bool jinja_is_hashable(struct jinja_render *render, const struct jinja_value *value);

/* Python's bool(). */
bool jinja_truth(const struct jinja_value *value);
/* Python's len(); a kind without one fails. */
bool jinja_length(struct jinja_render *render, const struct jinja_value *value, size_t *length);
bool jinja_has_length(const struct jinja_value *value);
bool jinja_is_iterable(const struct jinja_value *value);

/* Starts a walk; what cannot be iterated fails. A walk over an iterator shares its position. */
bool jinja_iterate(struct jinja_render *render, const struct jinja_value *value,
                   struct jinja_iteration *iteration);
/* False at the end, and after a failure: look at render->failed when the walk is over. */
bool jinja_next(struct jinja_render *render, struct jinja_iteration *iteration,
                struct jinja_value *item);
/* Everything that is left in an iterable, as a new list. */
bool jinja_collect(struct jinja_render *render, const struct jinja_value *value,
                   struct jinja_value *list);
/* Wraps a list so that it can be walked only once, as Python's generators can. */
bool jinja_new_iterator(struct jinja_render *render, struct jinja_value list,
                        struct jinja_value *iterator);

bool jinja_equal(struct jinja_render *render, const struct jinja_value *a,
                 const struct jinja_value *b, bool *equal);
/* Python's <, as -1, 0 or 1; unordered when one is not a number (NaN). Kinds without an order
 * between them fail. */
enum jinja_order { JINJA_LESS = -1, JINJA_SAME = 0, JINJA_GREATER = 1, JINJA_UNORDERED = 2 };
bool jinja_compare(struct jinja_render *render, const struct jinja_value *a,
                   const struct jinja_value *b, enum jinja_order *order);
/* Python's `item in container`. */
bool jinja_contains(struct jinja_render *render, const struct jinja_value *container,
                    const struct jinja_value *item, bool *contains);

#endif
