/* macro.h - macros as values, and calling whatever can be called. */
#ifndef MISTRAL_TEXT_JINJA_MACRO_H
#define MISTRAL_TEXT_JINJA_MACRO_H

#include "text/jinja/builtin.h"

struct jinja_node;

/* The variables of one run of a function: of the template, or of a macro's call. */
struct jinja_activation {
    struct jinja_value *slots;
    struct jinja_activation *outer; /* where a macro was defined */
};

struct jinja_macro {
    const struct jinja_node *definition;
    struct jinja_activation *outer;
};

struct string_view jinja_macro_name(const struct jinja_macro *macro);

/* Calls a macro, method or function; call->subject is not used. Another kind of value fails. */
bool jinja_call_value(struct jinja_render *render, const struct jinja_value *callee,
                      const struct jinja_call *call, struct jinja_value *result);

#endif
