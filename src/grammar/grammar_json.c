/* grammar_json.c - see grammar_json.h. */
#include "grammar/grammar_json.h"

#include "base/utf8.h"
#include "grammar/grammar_internal.h"
#include "grammar/grammar_schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONTROL_COUNT = 32, ESCAPED_COUNT = CONTROL_COUNT + 2 };

/* The one spelling of a character that cannot stand for itself in a JSON string. */
static void spell(uint32_t code_point, char out[8]) {
    static const char letters[] = "\"\\bfnrt", values[] = "\"\\\b\f\n\r\t";
    const char *found = code_point == 0 ? NULL : strchr(values, (int)code_point);
    if (found != NULL) {
        snprintf(out, 8, "\\%c", letters[found - values]);
    } else {
        snprintf(out, 8, "\\u%04x", code_point & 0xff);
    }
}

static bool must_escape(uint32_t code_point) {
    return code_point < CONTROL_COUNT || code_point == '"' || code_point == '\\';
}

grammar_expr json_class(struct grammar_builder *builder, const struct code_point_range *ranges,
                        size_t count, bool is_negated) {
    static const uint32_t others[] = {'"', '\\'};
    grammar_expr choices[ESCAPED_COUNT + 1];
    size_t choice_count = 0;
    /* What stands for itself: the ranges, less what must be escaped. A complement gets these added
     * to what it leaves out; else the ranges are cut around them. */
    struct code_point_range *plain = calloc(3 * count + 3, sizeof *plain);
    if (plain == NULL) {
        struct error error;
        error_set(&error, ERROR_OUT_OF_MEMORY, "no memory for the grammar");
        return grammar_builder_fail(builder, &error);
    }
    static const struct code_point_range kept[] = {{' ', '!'}, {'#', '['}, {']', 0x10ffff}};
    size_t plain_count = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < (is_negated ? 1 : 3); k++) {
            struct code_point_range range = ranges[i];
            if (!is_negated) {
                range.low = range.low > kept[k].low ? range.low : kept[k].low;
                range.high = range.high < kept[k].high ? range.high : kept[k].high;
            }
            plain[plain_count++] = range; /* an empty one is dropped by grammar_class */
        }
    }
    if (is_negated) {
        plain[plain_count++] = (struct code_point_range){0, CONTROL_COUNT - 1};
        plain[plain_count++] = (struct code_point_range){'"', '"'};
        plain[plain_count++] = (struct code_point_range){'\\', '\\'};
    }
    choices[choice_count++] = grammar_class(builder, plain, plain_count, is_negated);
    free(plain);
    for (uint32_t i = 0; i < ESCAPED_COUNT; i++) {
        uint32_t code_point = i < CONTROL_COUNT ? i : others[i - CONTROL_COUNT];
        bool is_in = is_negated;
        for (size_t k = 0; k < count; k++) {
            if (ranges[k].low <= code_point && code_point <= ranges[k].high) {
                is_in = !is_negated;
            }
        }
        char spelled[8];
        if (is_in) {
            spell(code_point, spelled);
            choices[choice_count++] = grammar_text(builder, spelled);
        }
    }
    return grammar_choice(builder, choices, choice_count);
}

grammar_expr json_text(struct grammar_builder *builder, struct string_view text) {
    POOL(char) out = {0};
    grammar_expr expr = GRAMMAR_EMPTY;
    if (!POOL_RESERVE(&out, text.length * 6 + 1)) {
        struct error error;
        error_set(&error, ERROR_OUT_OF_MEMORY, "no memory for the grammar");
        return grammar_builder_fail(builder, &error);
    }
    for (size_t i = 0; i < text.length; i++) {
        char spelled[8] = {text.data[i]};
        if (must_escape((uint8_t)text.data[i])) {
            spell((uint8_t)text.data[i], spelled);
        }
        size_t length = must_escape((uint8_t)text.data[i]) ? strlen(spelled) : 1;
        memcpy(out.items + out.count, spelled, length);
        out.count += length;
    }
    expr = grammar_bytes(builder, (struct string_view){out.items, out.count});
    free(out.items);
    return expr;
}

/* --- the parts --- */

/* A character of a string in any spelling: itself, an escape, or \u and no lone surrogate. */
static grammar_expr any_character(struct grammar_builder *builder) {
    static const char source[] =
        "[^\"\\\\\\x00-\\x1f]|\\\\(?:[\"\\\\/bfnrt]|u(?:[0-9a-ce-fA-CE-F][0-9a-fA-F]{3}|"
        "[dD][0-7][0-9a-fA-F]{2}|[dD][89abAB][0-9a-fA-F]{2}\\\\u[dD][c-fC-F][0-9a-fA-F]{2}))";
    return grammar_regex(builder, string_view_of(source));
}

static grammar_expr rule_of(struct grammar_builder *builder, const char *name, grammar_expr body) {
    grammar_expr rule = grammar_rule(builder, string_view_of(name));
    grammar_rule_define(builder, rule, body);
    return rule;
}

static grammar_expr regex_rule(struct grammar_builder *builder, const char *name,
                               const char *pattern) {
    return rule_of(builder, name, grammar_regex(builder, string_view_of(pattern)));
}

/* `open` [item (, item)*] `close` */
static grammar_expr list_of(struct json_parts *parts, const char *open, grammar_expr item,
                            const char *close) {
    struct grammar_builder *b = parts->builder;
    grammar_expr more =
        grammar_sequence_of(b, 4, grammar_text(b, ","), parts->space, item, GRAMMAR_EMPTY);
    grammar_expr items = grammar_sequence_of(
        b, 3, item, grammar_repeat(b, more, 0, GRAMMAR_UNBOUNDED), parts->space);
    return grammar_sequence_of(b, 4, grammar_text(b, open), parts->space,
                               grammar_optional(b, items), grammar_text(b, close));
}

void json_parts_init(struct json_parts *parts, struct grammar_builder *b, bool compact) {
    *parts = (struct json_parts){.builder = b};
    parts->space = regex_rule(b, "space", compact ? " ?" : "(?: |\\n{1,2}[ \\t]{0,20})?");
    parts->character = rule_of(b, "character", any_character(b));
    parts->plain = rule_of(b, "plain character", json_class(b, NULL, 0, true));
    parts->string =
        rule_of(b, "string",
                grammar_sequence_of(b, 3, grammar_text(b, "\""),
                                    grammar_repeat(b, parts->character, 0, GRAMMAR_UNBOUNDED),
                                    grammar_text(b, "\"")));
    parts->integer = regex_rule(b, "integer", "-?(?:0|[1-9][0-9]{0,15})");
    parts->number = regex_rule(b, "number",
                               "-?(?:0|[1-9][0-9]{0,15})(?:\\.[0-9]{1,16})?"
                               "(?:[eE][+-]?[0-9]{1,2})?");
    parts->value = grammar_rule(b, string_view_of("value"));
    grammar_expr member =
        grammar_sequence_of(b, 4, parts->string, grammar_text(b, ":"), parts->space, parts->value);
    parts->object = rule_of(b, "object", list_of(parts, "{", member, "}"));
    parts->array = rule_of(b, "array", list_of(parts, "[", parts->value, "]"));
    grammar_rule_define(b, parts->value,
                        grammar_choice_of(b, 7, parts->object, parts->array, parts->string,
                                          parts->number, grammar_text(b, "true"),
                                          grammar_text(b, "false"), grammar_text(b, "null")));
}

grammar_expr grammar_json_value(struct grammar_builder *builder) {
    struct json_parts parts;
    json_parts_init(&parts, builder, false);
    return parts.value;
}

grammar_expr grammar_json_object(struct grammar_builder *builder) {
    struct json_parts parts;
    json_parts_init(&parts, builder, false);
    return parts.object;
}

bool grammar_from_json_object(struct grammar **grammar, struct error *error) {
    struct grammar_builder *builder = grammar_builder_create();
    bool done = builder != NULL
                    ? grammar_build(builder, grammar_json_object(builder), grammar, error)
                    : error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the grammar");
    grammar_builder_free(builder);
    return done;
}
