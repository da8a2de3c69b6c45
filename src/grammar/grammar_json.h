/*
 * grammar_json.h - the parts of JSON as expressions, for this room's schema and pattern readers.
 */
#ifndef MISTRAL_GRAMMAR_GRAMMAR_JSON_H
#define MISTRAL_GRAMMAR_GRAMMAR_JSON_H

#include "grammar/grammar_builder.h"

/* What of JSON is used again and again: made once a builder, so that it is compiled once. */
struct json_parts {
    struct grammar_builder *builder;
    grammar_expr space;     /* between tokens */
    grammar_expr character; /* of a string, in any spelling */
    grammar_expr plain;     /* of a string, in one spelling: as itself, or its shortest escape */
    grammar_expr string, number, integer, value, array, object;
};

void json_parts_init(struct json_parts *parts, struct grammar_builder *builder, bool compact);

/* The code points of the ranges (or not of them) inside a JSON string, each in its one spelling. */
grammar_expr json_class(struct grammar_builder *builder, const struct code_point_range *ranges,
                        size_t count, bool is_negated);
/* Text in its one spelling, without quotes. */
grammar_expr json_text(struct grammar_builder *builder, struct string_view text);

/* A string (with its quotes) in which a match of `pattern` is found. */
grammar_expr json_pattern(struct json_parts *parts, struct string_view pattern);

/* One of JSON's numbers between bounds, to the digit. */
struct json_number_range {
    bool has_low, has_high, low_is_excluded, high_is_excluded;
    double low, high;
    bool integers_only;
    /* 0: any; else of multiple_of / 10^multiple_decimals; the decimals are 0 for integers */
    uint32_t multiple_of;
    size_t multiple_decimals;
};
/* Where the bounds have more digits than can be had, fails with `place` in the message. */
grammar_expr json_number(struct json_parts *parts, const struct json_number_range *range);

#endif
