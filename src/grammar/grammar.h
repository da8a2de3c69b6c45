/*
 * grammar.h - what an answer may look like: compiled grammars, and the forms they are written in.
 *
 * A grammar is a set of byte strings, in which tokens of the vocabulary that are no text (control
 * tokens) may stand too. It comes from GBNF, a regular expression, a JSON Schema, or from parts put
 * together with grammar/grammar_builder.h. Compiled once, on any thread; after that it is constant
 * but for its reference count, knows no vocabulary and no model, and any number of requests may
 * share it.
 *
 *     struct grammar *grammar;
 *     if (grammar_from_gbnf(source, &grammar, &error)) {
 *         request.grammar = grammar;      struct engine_request; submit takes its own reference
 *         engine_submit(…);
 *         grammar_unref(grammar);
 *     }
 *
 * The answer then is a text of the grammar, whole when its finish reason is FINISH_STOP; cut at
 * max_tokens (FINISH_LENGTH) it is the beginning of one. See grammar/grammar_matcher.h for how.
 *
 * All sources are hostile: size, nesting, work and memory are bounded. What is malformed is
 * ERROR_FORMAT with its place, what is well-formed but not offered ERROR_UNSUPPORTED by name.
 */
#ifndef MISTRAL_GRAMMAR_GRAMMAR_H
#define MISTRAL_GRAMMAR_GRAMMAR_H

#include "base/error.h"
#include "base/string_view.h"

struct grammar;
struct json_t; /* jansson's value */

/*
 * llama.cpp's GBNF: rules `name ::= …`, literals, classes with ranges and escapes, `.`, groups,
 * alternatives, `*` `+` `?` `{m}` `{m,}` `{m,n}`, comments; the answer is a `root`. Tokens by text
 * or id, `<think>` and `<[1000]>`. Left recursion and rules without any finite text are refused.
 */
bool grammar_from_gbnf(struct string_view source, struct grammar **grammar, struct error *error);

struct grammar *grammar_ref(struct grammar *grammar); /* the same, with one more owner */
void grammar_unref(struct grammar *grammar);          /* NULL allowed */

#endif
