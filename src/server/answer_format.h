/*
 * answer_format.h - the forms in which a request says what its answer must look like.
 *
 * Pure; preparer's thread.
 */
#ifndef MISTRAL_SERVER_ANSWER_FORMAT_H
#define MISTRAL_SERVER_ANSWER_FORMAT_H

#include "grammar/grammar_builder.h"
#include "server/api_error.h"

#include <jansson.h>
#include <stdbool.h>

/* As the body has them, borrowed; NULL: not given. */
struct answer_format {
    const json_t *response_format; /* OpenAI: {"type": text, json_object or json_schema} */
    const json_t *json_schema;     /* llama-server: the schema itself */
    const json_t *gbnf;            /* "grammar": GBNF; empty asks for nothing */
    const json_t *regex;
    const json_t *ollama; /* "format": "json" or a schema; "" asks for nothing */
};

/* The form as an expression of the builder, and the name of the field that gave it, *field: NULL
 * where any answer will do. More than one form at once, a form of the wrong type and what a schema
 * asks in vain are refused, with the field's name. */
bool answer_format_read(const struct answer_format *format, struct grammar_builder *builder,
                        grammar_expr *expr, const char **field, struct api_error *error);

/* The form as a grammar of its own: the caller's to unref, or NULL where any answer will do. */
bool answer_format_compile(const struct answer_format *format, struct grammar **grammar,
                           struct api_error *error);

/* grammar_build, with what is wrong as the fault of a client's `field`. */
bool answer_format_build(struct grammar_builder *builder, grammar_expr expr, const char *field,
                         struct grammar **grammar, struct api_error *error);

#endif
