/*
 * answer_format.h - the forms in which a request says what its answer must look like, compiled.
 *
 * Pure; preparer's thread.
 */
#ifndef MISTRAL_SERVER_ANSWER_FORMAT_H
#define MISTRAL_SERVER_ANSWER_FORMAT_H

#include "grammar/grammar.h"
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

/* *grammar: the caller's to unref, or NULL where any answer will do. More than one form at once,
 * a form of the wrong type and what a schema asks in vain are refused, with the field's name. */
bool answer_format_compile(const struct answer_format *format, struct grammar **grammar,
                           struct api_error *error);

#endif
