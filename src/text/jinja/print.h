/*
 * print.h - values as text: Python's str() and repr(), HTML escaping.
 */
#ifndef MISTRAL_TEXT_JINJA_PRINT_H
#define MISTRAL_TEXT_JINJA_PRINT_H

#include "text/jinja/value.h"

enum { JINJA_NUMBER_BYTES = 40 };

/* repr() of a float, the shortest text that reads back the same. Returns its length. */
size_t jinja_format_float(double number, char out[JINJA_NUMBER_BYTES]);

/* str(): undefined prints as nothing. False only after jinja_fail. */
bool jinja_append_value(struct jinja_builder *builder, const struct jinja_value *value);
bool jinja_append_repr(struct jinja_builder *builder, const struct jinja_value *value);

/* str() without a copy where the value is a string already. */
bool jinja_to_text(struct jinja_render *render, const struct jinja_value *value,
                   struct string_view *text);

/* & < > ' " as HTML entities, except in what is marked safe. */
bool jinja_escape(struct jinja_render *render, const struct jinja_value *value,
                  struct jinja_value *escaped);

/* A string value of what was built; false when the rendering has failed. */
bool jinja_finish(const struct jinja_builder *builder, struct jinja_value *string);

#endif
