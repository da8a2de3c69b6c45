/*
 * grammar_builder.h - grammars put together from parts: what every front end builds, and what a
 * caller that needs a form of its own (tool calls) puts around a schema.
 *
 *     struct grammar_builder *b = grammar_builder_create();
 *     grammar_expr call = grammar_sequence_of(b, 3, grammar_token(b, "[TOOL_CALLS]"), …);
 *     bool done = grammar_build(b, call, &grammar, &error);
 *     grammar_builder_free(b);
 *
 * Expressions are numbers, valid in their builder; one may be used in several places. When memory
 * runs out, or a bound is passed, the builder keeps the first reason and grammar_build reports it:
 * nothing in between needs to be checked. One thread at a time.
 */
#ifndef MISTRAL_GRAMMAR_GRAMMAR_BUILDER_H
#define MISTRAL_GRAMMAR_GRAMMAR_BUILDER_H

#include "base/error.h"
#include "base/string_view.h"
#include "grammar/grammar.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint32_t grammar_expr;

enum { GRAMMAR_EMPTY = 0 }; /* the expression of the empty text, in every builder */

#define GRAMMAR_UNBOUNDED SIZE_MAX

struct grammar_builder;

struct grammar_builder *grammar_builder_create(void);       /* NULL: no memory */
void grammar_builder_free(struct grammar_builder *builder); /* NULL allowed */

/* Notes a failure, if it is the first; returns GRAMMAR_EMPTY. */
grammar_expr grammar_builder_fail(struct grammar_builder *builder, const struct error *error);
bool grammar_builder_failed(const struct grammar_builder *builder);

/* These bytes; copied. */
grammar_expr grammar_bytes(struct grammar_builder *builder, struct string_view bytes);
grammar_expr grammar_text(struct grammar_builder *builder, const char *text);

/* One byte from low to high. */
grammar_expr grammar_byte_range(struct grammar_builder *builder, uint8_t low, uint8_t high);

/* One code point, as UTF-8. */
struct code_point_range {
    uint32_t low, high; /* both included, at most U+10FFFF; surrogates in it match nothing */
};
/* Of any of the ranges, or of none of them. No matching code point at all: matches nothing. */
grammar_expr grammar_class(struct grammar_builder *builder, const struct code_point_range *ranges,
                           size_t count, bool is_negated);

/* A token of the vocabulary, as the file spells it ("[TOOL_CALLS]") or by its id: the token itself,
 * never its text in other tokens. A request whose model lacks it fails. */
grammar_expr grammar_token(struct grammar_builder *builder, struct string_view text);
grammar_expr grammar_token_id(struct grammar_builder *builder, int32_t id);

/* Arrays are copied. No item: the empty text; no alternative: nothing matches. */
grammar_expr grammar_sequence(struct grammar_builder *builder, const grammar_expr *items,
                              size_t count);
grammar_expr grammar_sequence_of(struct grammar_builder *builder, size_t count, ...);
grammar_expr grammar_choice(struct grammar_builder *builder, const grammar_expr *items,
                            size_t count);
grammar_expr grammar_choice_of(struct grammar_builder *builder, size_t count, ...);
grammar_expr grammar_repeat(struct grammar_builder *builder, grammar_expr item, size_t least,
                            size_t most /* or GRAMMAR_UNBOUNDED */);
grammar_expr grammar_optional(struct grammar_builder *builder, grammar_expr item);

/* A rule may be used before it is defined, in its own definition too. The name (copied) is for
 * messages. */
grammar_expr grammar_rule(struct grammar_builder *builder, struct string_view name);
void grammar_rule_define(struct grammar_builder *builder, grammar_expr rule, grammar_expr body);

/* A finite automaton whose edges are expressions; it begins in state 0 and ends in state 1. */
struct grammar_arc {
    uint32_t from, to; /* below state_count */
    grammar_expr label;
};
grammar_expr grammar_automaton(struct grammar_builder *builder, size_t state_count,
                               const struct grammar_arc *arcs, size_t arc_count);

/*
 * Any text and any tokens, up to the first of the triggers, then `body`; or no trigger at all. Each
 * trigger is a token's text as in grammar_token when `is_token`, else plain text wherever it
 * appears. A trigger is read by this expression; the body is what follows it. So a tool call's form
 * is enforced from the moment the model begins one.
 */
struct grammar_trigger {
    struct string_view text;
    bool is_token;
    grammar_expr body;
};
grammar_expr grammar_lazy(struct grammar_builder *builder, const struct grammar_trigger *triggers,
                          size_t count);
/* The same, but one of the triggers must come: a thought that has to end. */
grammar_expr grammar_until(struct grammar_builder *builder, const struct grammar_trigger *triggers,
                           size_t count);

/* A `root` of a GBNF source: see grammar/grammar.h. What is wrong with it is noted. */
grammar_expr grammar_gbnf(struct grammar_builder *builder, struct string_view source);

/* The grammar of `root`. The builder stays usable. */
bool grammar_build(struct grammar_builder *builder, grammar_expr root, struct grammar **grammar,
                   struct error *error);

#endif
