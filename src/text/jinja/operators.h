/*
 * operators.h - arithmetic, attributes, elements and slices, as Python has them.
 */
#ifndef MISTRAL_TEXT_JINJA_OPERATORS_H
#define MISTRAL_TEXT_JINJA_OPERATORS_H

#include "text/jinja/value.h"

enum jinja_operator {
    JINJA_ADD,
    JINJA_SUBTRACT,
    JINJA_MULTIPLY,
    JINJA_DIVIDE,
    JINJA_FLOOR_DIVIDE,
    JINJA_MODULO,
    JINJA_POWER,
    JINJA_OPERATOR_COUNT
};

bool jinja_binary(struct jinja_render *render, enum jinja_operator operation,
                  const struct jinja_value *left, const struct jinja_value *right,
                  struct jinja_value *result);
bool jinja_negate(struct jinja_render *render, const struct jinja_value *operand,
                  struct jinja_value *result);

/* object.name: a method before an element. What does not exist is undefined, not a failure. */
bool jinja_attribute(struct jinja_render *render, const struct jinja_value *object,
                     struct string_view name, struct jinja_value *result);
/* object[key]: an element before a method. */
bool jinja_element(struct jinja_render *render, const struct jinja_value *object,
                   const struct jinja_value *key, struct jinja_value *result);
/* object[start:stop:step]; a bound of kind JINJA_NONE is not given. */
bool jinja_slice(struct jinja_render *render, const struct jinja_value *object,
                 const struct jinja_value bounds[3], struct jinja_value *result);

/* A key path as in "function.name" or "0": what map(attribute=…) and its like look up. `otherwise`
 * takes the place of what is undefined on the way; NULL or None for nothing. */
bool jinja_path(struct jinja_render *render, const struct jinja_value *object,
                const struct jinja_value *path, const struct jinja_value *otherwise,
                struct jinja_value *result);

#endif
