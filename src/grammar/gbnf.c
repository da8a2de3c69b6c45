/*
 * gbnf.c - grammar_gbnf and grammar_from_gbnf: llama.cpp's grammar notation, read by recursive
 * descent.
 *
 * Nesting is bounded; a rule may be used before it is defined.
 */
#include "base/bytes.h"
#include "base/hash_map.h"
#include "base/string_buffer.h"
#include "base/utf8.h"
#include "grammar/grammar_internal.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_NESTING = 200, MAX_REPEAT = 100000 };

struct gbnf {
    struct string_view source;
    size_t at;
    size_t nesting;
    struct grammar_builder *builder;
    struct hash_map rules; /* name → its expression */
    struct error *error;
};

/* Items of a sequence, alternatives of a choice. */
struct expr_list {
    POOL(grammar_expr) exprs;
};

static bool fail(const struct gbnf *gbnf, enum error_code code, const char *reason) {
    size_t line = 1, column = 1;
    for (size_t i = 0; i < gbnf->at && i < gbnf->source.length; i++) {
        bool ends_line = gbnf->source.data[i] == '\n';
        line += ends_line;
        column = ends_line ? 1 : column + 1;
    }
    return error_set(gbnf->error, code, "grammar, line %zu, column %zu: %s", line, column, reason);
}

static char peek(const struct gbnf *gbnf) {
    return gbnf->at < gbnf->source.length ? gbnf->source.data[gbnf->at] : '\0';
}

static bool at_end(const struct gbnf *gbnf) {
    return gbnf->at >= gbnf->source.length;
}

static bool is_name_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

static void skip_space(struct gbnf *gbnf, bool over_lines) {
    while (!at_end(gbnf)) {
        char c = peek(gbnf);
        if (c == '#') {
            while (!at_end(gbnf) && peek(gbnf) != '\n' && peek(gbnf) != '\r') {
                gbnf->at++;
            }
        } else if (c == ' ' || c == '\t' || (over_lines && (c == '\n' || c == '\r'))) {
            gbnf->at++;
        } else {
            return;
        }
    }
}

/* Between parts of a rule's outermost level: on to the next line only when it goes on with "|". */
static void skip_to_part(struct gbnf *gbnf) {
    skip_space(gbnf, gbnf->nesting > 0);
    size_t here = gbnf->at;
    skip_space(gbnf, true);
    if (peek(gbnf) != '|') {
        gbnf->at = here;
    }
}

static struct string_view read_name(struct gbnf *gbnf) {
    size_t from = gbnf->at;
    while (is_name_char(peek(gbnf))) {
        gbnf->at++;
    }
    return (struct string_view){gbnf->source.data + from, gbnf->at - from};
}

static bool rule_named(struct gbnf *gbnf, struct string_view name, grammar_expr *rule) {
    const uint64_t *known = hash_map_get(&gbnf->rules, name);
    if (known != NULL) {
        *rule = (grammar_expr)*known;
        return true;
    }
    *rule = grammar_rule(gbnf->builder, name);
    return hash_map_set(&gbnf->rules, name, *rule) ||
           error_set(gbnf->error, ERROR_OUT_OF_MEMORY, "no memory for the grammar");
}

/* --- characters --- */

static int hex_value(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static bool read_hex(struct gbnf *gbnf, size_t digits, uint32_t *code_point) {
    uint32_t value = 0;
    for (size_t i = 0; i < digits; i++, gbnf->at++) {
        int digit = hex_value(peek(gbnf));
        if (digit < 0) {
            return fail(gbnf, ERROR_FORMAT, "an escape lacks a hexadecimal digit");
        }
        value = value << 4 | (uint32_t)digit;
    }
    *code_point = value;
    return (value <= 0x10ffff && (value < 0xd800 || value > 0xdfff)) ||
           fail(gbnf, ERROR_FORMAT, "an escape is no Unicode character");
}

static bool read_escape(struct gbnf *gbnf, uint32_t *code_point) {
    static const struct {
        char letter;
        uint8_t digits, value;
    } escapes[] = {{'x', 2, 0},    {'u', 4, 0},     {'U', 8, 0},   {'n', 0, '\n'}, {'r', 0, '\r'},
                   {'t', 0, '\t'}, {'\\', 0, '\\'}, {'"', 0, '"'}, {'[', 0, '['},  {']', 0, ']'},
                   {'-', 0, '-'},  {'^', 0, '^'},   {'/', 0, '/'}};
    char letter = peek(gbnf);
    for (size_t i = 0; i < sizeof escapes / sizeof escapes[0]; i++) {
        if (escapes[i].letter == letter) {
            gbnf->at++;
            *code_point = escapes[i].value;
            return escapes[i].digits == 0 || read_hex(gbnf, escapes[i].digits, code_point);
        }
    }
    return fail(gbnf, ERROR_FORMAT,
                "an unknown escape; there are \\n \\r \\t \\\\ \\\" \\[ \\] \\xHH "
                "\\uHHHH \\UHHHHHHHH");
}

static bool read_char(struct gbnf *gbnf, uint32_t *code_point) {
    if (at_end(gbnf)) {
        return fail(gbnf, ERROR_FORMAT, "the grammar ends inside a literal or class");
    }
    if (peek(gbnf) == '\\') {
        gbnf->at++;
        return read_escape(gbnf, code_point);
    }
    size_t length =
        utf8_decode(gbnf->source.data + gbnf->at, gbnf->source.length - gbnf->at, code_point);
    gbnf->at += length;
    return length > 0 || fail(gbnf, ERROR_FORMAT, "the grammar is not UTF-8");
}

static bool read_literal(struct gbnf *gbnf, grammar_expr *expr) {
    struct string_buffer text = {0};
    bool done = true;
    gbnf->at++;
    while (done && peek(gbnf) != '"') {
        uint32_t code_point = 0;
        char bytes[4];
        done = read_char(gbnf, &code_point);
        if (done) {
            string_buffer_append(&text, bytes, utf8_encode(code_point, bytes));
        }
    }
    gbnf->at++;
    if (done && text.failed) {
        done = error_set(gbnf->error, ERROR_OUT_OF_MEMORY, "no memory for the grammar");
    }
    if (done) {
        *expr = grammar_bytes(gbnf->builder,
                              (struct string_view){string_buffer_text(&text), text.length});
    }
    string_buffer_deinit(&text);
    return done;
}

static bool read_class(struct gbnf *gbnf, grammar_expr *expr) {
    POOL(struct code_point_range) ranges = {0};
    bool done = true;
    gbnf->at++;
    bool is_negated = peek(gbnf) == '^';
    gbnf->at += is_negated;
    while (done && peek(gbnf) != ']') {
        struct code_point_range range = {0};
        done = read_char(gbnf, &range.low);
        range.high = range.low;
        if (done && peek(gbnf) == '-' && gbnf->at + 1 < gbnf->source.length &&
            gbnf->source.data[gbnf->at + 1] != ']') {
            gbnf->at++;
            done = read_char(gbnf, &range.high);
            if (done && range.high < range.low) {
                done = fail(gbnf, ERROR_FORMAT, "a range ends before it begins");
            }
        }
        if (done && !POOL_RESERVE(&ranges, 1)) {
            done = error_set(gbnf->error, ERROR_OUT_OF_MEMORY, "no memory for the grammar");
        }
        if (done) {
            ranges.items[ranges.count++] = range;
        }
    }
    gbnf->at++;
    if (done) {
        *expr = grammar_class(gbnf->builder, ranges.items, ranges.count, is_negated);
    }
    free(ranges.items);
    return done;
}

/* <[1000]> or <text>, brackets included in the text's name: "<think>" is the token <think>. */
static bool read_token(struct gbnf *gbnf, grammar_expr *expr) {
    const char *from = gbnf->source.data + gbnf->at;
    const char *end = memchr(from, '>', gbnf->source.length - gbnf->at);
    if (end == NULL) {
        return fail(gbnf, ERROR_FORMAT, "a token lacks its '>'");
    }
    struct string_view text = {from, (size_t)(end - from) + 1};
    if (text.length > 4 && from[1] == '[' && end[-1] == ']') {
        uint32_t id = 0;
        bool is_number = text.length <= 13;
        for (const char *at = from + 2; at < end - 1; at++) {
            is_number = is_number && *at >= '0' && *at <= '9' && id < INT32_MAX / 10;
            id = is_number ? id * 10 + (uint32_t)(*at - '0') : 0;
        }
        if (!is_number) {
            return fail(gbnf, ERROR_FORMAT, "a token id is a number, as in <[1000]>");
        }
        *expr = grammar_token_id(gbnf->builder, (int32_t)id);
    } else {
        *expr = grammar_token(gbnf->builder, text);
    }
    gbnf->at += text.length;
    return true;
}

/* --- parts --- */

static bool read_choice(struct gbnf *gbnf, grammar_expr *expr);

static bool read_group(struct gbnf *gbnf, grammar_expr *expr) {
    if (gbnf->nesting >= MAX_NESTING) {
        return fail(gbnf, ERROR_UNSUPPORTED, "groups are nested too deeply");
    }
    gbnf->at++;
    gbnf->nesting++;
    bool done = read_choice(gbnf, expr);
    gbnf->nesting--;
    if (done && peek(gbnf) != ')') {
        return fail(gbnf, ERROR_FORMAT, "a ')' is missing");
    }
    gbnf->at++;
    return done;
}

static bool read_number(struct gbnf *gbnf, size_t *number) {
    *number = 0;
    if (peek(gbnf) < '0' || peek(gbnf) > '9') {
        return fail(gbnf, ERROR_FORMAT, "a repetition lacks its number, as in {2,5}");
    }
    for (; peek(gbnf) >= '0' && peek(gbnf) <= '9'; gbnf->at++) {
        *number = *number * 10 + (size_t)(peek(gbnf) - '0');
        if (*number > MAX_REPEAT) {
            return fail(gbnf, ERROR_UNSUPPORTED, "a repetition is larger than 100000");
        }
    }
    return true;
}

/* {m} {m,} {m,n} {,n} */
static bool read_braces(struct gbnf *gbnf, size_t *least, size_t *most) {
    gbnf->at++;
    skip_space(gbnf, gbnf->nesting > 0);
    *least = 0;
    if (peek(gbnf) != ',' && !read_number(gbnf, least)) {
        return false;
    }
    *most = *least;
    skip_space(gbnf, gbnf->nesting > 0);
    if (peek(gbnf) == ',') {
        gbnf->at++;
        skip_space(gbnf, gbnf->nesting > 0);
        *most = GRAMMAR_UNBOUNDED;
        if (peek(gbnf) != '}' && !read_number(gbnf, most)) {
            return false;
        }
    }
    skip_space(gbnf, gbnf->nesting > 0);
    if (peek(gbnf) != '}') {
        return fail(gbnf, ERROR_FORMAT, "a '}' is missing");
    }
    gbnf->at++;
    return *least <= *most ||
           fail(gbnf, ERROR_FORMAT, "a repetition's largest number is below its smallest");
}

static bool read_postfixes(struct gbnf *gbnf, grammar_expr *expr) {
    for (;;) {
        size_t here = gbnf->at, least = 0, most = GRAMMAR_UNBOUNDED;
        skip_space(gbnf, gbnf->nesting > 0);
        switch (peek(gbnf)) {
        case '*':
            gbnf->at++;
            break;
        case '+':
            least = 1;
            gbnf->at++;
            break;
        case '?':
            most = 1;
            gbnf->at++;
            break;
        case '{':
            if (!read_braces(gbnf, &least, &most)) {
                return false;
            }
            break;
        default:
            gbnf->at = here;
            return true;
        }
        *expr = grammar_repeat(gbnf->builder, *expr, least, most);
    }
}

static bool read_part(struct gbnf *gbnf, grammar_expr *expr) {
    static const struct code_point_range any = {0, 0x10ffff};
    char c = peek(gbnf);
    if (c == '"') {
        return read_literal(gbnf, expr);
    }
    if (c == '[') {
        return read_class(gbnf, expr);
    }
    if (c == '(') {
        return read_group(gbnf, expr);
    }
    if (c == '<') {
        return read_token(gbnf, expr);
    }
    if (c == '.') {
        gbnf->at++;
        *expr = grammar_class(gbnf->builder, &any, 1, false);
        return true;
    }
    if (is_name_char(c)) {
        return rule_named(gbnf, read_name(gbnf), expr);
    }
    return c == '!' ? fail(gbnf, ERROR_UNSUPPORTED, "'!' before a token is not supported")
                    : fail(gbnf, ERROR_FORMAT,
                           "a literal, class, group, rule name, token, '|' or "
                           "the end of the rule was expected");
}

static bool append(struct gbnf *gbnf, struct expr_list *list, grammar_expr expr) {
    if (!POOL_RESERVE(&list->exprs, 1)) {
        return error_set(gbnf->error, ERROR_OUT_OF_MEMORY, "no memory for the grammar");
    }
    list->exprs.items[list->exprs.count++] = expr;
    return true;
}

static bool ends_sequence(const struct gbnf *gbnf) {
    char c = peek(gbnf);
    return at_end(gbnf) || c == '|' || c == '\n' || c == '\r' || (c == ')' && gbnf->nesting > 0);
}

static bool read_sequence(struct gbnf *gbnf, grammar_expr *expr) {
    struct expr_list items = {0};
    bool done = true;
    skip_to_part(gbnf);
    while (done && !ends_sequence(gbnf)) {
        grammar_expr item = GRAMMAR_EMPTY;
        done = read_part(gbnf, &item) && read_postfixes(gbnf, &item) && append(gbnf, &items, item);
        if (done) {
            skip_to_part(gbnf);
        }
    }
    if (done) {
        *expr = grammar_sequence(gbnf->builder, items.exprs.items, items.exprs.count);
    }
    free(items.exprs.items);
    return done;
}

static bool read_choice(struct gbnf *gbnf, grammar_expr *expr) {
    struct expr_list items = {0};
    bool done = true, more = true;
    skip_space(gbnf, true);
    while (done && more) {
        grammar_expr item = GRAMMAR_EMPTY;
        done = read_sequence(gbnf, &item) && append(gbnf, &items, item);
        more = peek(gbnf) == '|';
        if (more) {
            gbnf->at++;
            skip_space(gbnf, true);
        }
    }
    if (done) {
        *expr = grammar_choice(gbnf->builder, items.exprs.items, items.exprs.count);
    }
    free(items.exprs.items);
    return done;
}

static bool read_rule(struct gbnf *gbnf) {
    grammar_expr rule, body = GRAMMAR_EMPTY;
    struct string_view name = read_name(gbnf);
    if (name.length == 0) {
        return fail(gbnf, ERROR_FORMAT, "a rule begins with its name and '::='");
    }
    skip_space(gbnf, false);
    if (gbnf->source.length - gbnf->at < 3 || memcmp(gbnf->source.data + gbnf->at, "::=", 3) != 0) {
        return fail(gbnf, ERROR_FORMAT, "'::=' was expected after the rule's name");
    }
    gbnf->at += 3;
    if (!rule_named(gbnf, name, &rule)) {
        return false;
    }
    if (!grammar_builder_failed(gbnf->builder)) {
        const struct expr *expr = &gbnf->builder->exprs.items[rule];
        if (gbnf->builder->rules.items[expr->first].is_defined) {
            return fail(gbnf, ERROR_FORMAT, "a rule of this name is defined already");
        }
    }
    if (!read_choice(gbnf, &body)) {
        return false;
    }
    if (!at_end(gbnf) && peek(gbnf) != '\n' && peek(gbnf) != '\r') {
        return fail(gbnf, ERROR_FORMAT, "the rule does not end here");
    }
    grammar_rule_define(gbnf->builder, rule, body);
    return true;
}

static bool read_rules(struct gbnf *gbnf, grammar_expr *expr) {
    if (gbnf->source.length > GRAMMAR_MAX_BYTES) {
        return error_set(gbnf->error, ERROR_UNSUPPORTED,
                         "the grammar has %zu bytes; at most %d are "
                         "possible",
                         gbnf->source.length, GRAMMAR_MAX_BYTES);
    }
    for (skip_space(gbnf, true); !at_end(gbnf); skip_space(gbnf, true)) {
        if (!read_rule(gbnf)) {
            return false;
        }
    }
    const uint64_t *root = hash_map_get(&gbnf->rules, string_view_of("root"));
    if (root == NULL) {
        return error_set(gbnf->error, ERROR_FORMAT, "the grammar has no rule 'root'");
    }
    *expr = (grammar_expr)*root;
    return true;
}

grammar_expr grammar_gbnf(struct grammar_builder *builder, struct string_view source) {
    struct error error = {0};
    struct gbnf gbnf = {.source = source, .error = &error, .builder = builder};
    grammar_expr expr = GRAMMAR_EMPTY;
    if (!read_rules(&gbnf, &expr)) {
        expr = grammar_builder_fail(builder, &error);
    }
    hash_map_deinit(&gbnf.rules);
    return expr;
}

bool grammar_from_gbnf(struct string_view source, struct grammar **grammar, struct error *error) {
    struct grammar_builder *builder = grammar_builder_create();
    bool done = builder != NULL
                    ? grammar_build(builder, grammar_gbnf(builder, source), grammar, error)
                    : error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the grammar");
    grammar_builder_free(builder);
    return done;
}
