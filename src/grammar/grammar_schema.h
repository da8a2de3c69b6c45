/*
 * grammar_schema.h - grammars of JSON values and of regular expressions, whole or as parts.
 *
 * What is generated is one form of each value: members in the order of "properties" (then required
 * ones that are not among them, then others), numbers of at most 16 digits before and after the
 * point, and between tokens at most one space, or up to two line breaks with up to 20 blanks. Pure;
 * any thread.
 */
#ifndef MISTRAL_GRAMMAR_GRAMMAR_SCHEMA_H
#define MISTRAL_GRAMMAR_GRAMMAR_SCHEMA_H

#include "grammar/grammar_builder.h"

struct json_schema_options {
    /* The specification to the letter: an object takes members that "properties" does not name
     * unless "additionalProperties" forbids it, and keywords for one type (properties, items, …) do
     * not imply that type. Else as people mean it: only named members unless additionalProperties
     * allows more, and the keywords' type where none is given. Either way what is generated is
     * valid. */
    bool as_written;
    /* Nothing between the tokens of JSON but one space after ',' and ':'. */
    bool compact;
};

/*
 * A JSON Schema (draft 2020-12), whose memory is needed during the call only. ERROR_UNSUPPORTED
 * names the keyword and where it stands, "#/properties/a: 'uniqueItems' is not supported…";
 * ERROR_FORMAT: no schema; ERROR_INVALID_ARGUMENT: nothing could satisfy it. `options` NULL: all
 * off.
 */
bool grammar_from_json_schema(const struct json_t *schema,
                              const struct json_schema_options *options, struct grammar **grammar,
                              struct error *error);
/* Any JSON object. */
bool grammar_from_json_object(struct grammar **grammar, struct error *error);

/*
 * A regular expression that the whole text matches, as in ECMAScript with the flag "u":
 * alternation, groups, quantifiers (a lazy one means the same here), classes, `.` and escapes. ^
 * and $ are allowed at the ends only. Look-around, back-references, \b, \p are refused by name.
 */
bool grammar_from_regex(struct string_view pattern, struct grammar **grammar, struct error *error);

/* The same as expressions of a builder, which notes failures. The schema must outlive the call
 * only. */
grammar_expr grammar_json_schema(struct grammar_builder *builder, const struct json_t *schema,
                                 const struct json_schema_options *options);
grammar_expr grammar_json_value(struct grammar_builder *builder);  /* any value */
grammar_expr grammar_json_object(struct grammar_builder *builder); /* any object */
grammar_expr grammar_regex(struct grammar_builder *builder, struct string_view pattern);

#endif
