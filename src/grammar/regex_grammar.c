/*
 * regex_grammar.c - regular expressions, of whole texts and of the contents of JSON strings, by
 * recursive descent. Nesting is bounded; what a regular language has no word for is refused by
 * name.
 */
#include "base/bytes.h"
#include "base/utf8.h"
#include "grammar/grammar_internal.h"
#include "grammar/grammar_json.h"
#include "grammar/grammar_schema.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_NESTING = 200, MAX_REPEAT = 100000, MAX_RANGES = 4096 };

struct regex {
    struct string_view source;
    size_t at;
    size_t nesting;
    struct grammar_builder *builder;
    bool in_json;          /* characters are spelled as in a JSON string */
    bool searches;         /* a match anywhere in the text counts */
    grammar_expr anything; /* what may surround a match that is searched for */
};

struct range_list {
    POOL(struct code_point_range) ranges;
};

static grammar_expr fail(struct regex *regex, enum error_code code, const char *reason) {
    struct error error;
    error_set(&error, code, "pattern '%.*s', byte %zu: %s",
              (int)size_min(regex->source.length, 200), regex->source.data, regex->at, reason);
    regex->at = regex->source.length;
    return grammar_builder_fail(regex->builder, &error);
}

static bool at_end(const struct regex *regex) {
    return regex->at >= regex->source.length;
}

static char peek(const struct regex *regex, size_t ahead) {
    size_t at = regex->at + ahead;
    return at < regex->source.length ? regex->source.data[at] : '\0';
}

static bool takes(struct regex *regex, const char *text) {
    size_t length = strlen(text);
    if (regex->source.length - regex->at < length ||
        memcmp(regex->source.data + regex->at, text, length) != 0) {
        return false;
    }
    regex->at += length;
    return true;
}

/* --- classes --- */

static void add_range(struct regex *regex, struct range_list *list, uint32_t low, uint32_t high) {
    if (list->ranges.count >= MAX_RANGES || !POOL_RESERVE(&list->ranges, 1)) {
        fail(regex, ERROR_UNSUPPORTED, "a class is too large");
        return;
    }
    list->ranges.items[list->ranges.count++] = (struct code_point_range){low, high};
}

/* ECMAScript's \d, \w, \s and their complements. False: no such letter. */
static bool add_named_class(struct regex *regex, struct range_list *list, char letter) {
    static const struct code_point_range digits[] = {{'0', '9'}};
    static const struct code_point_range words[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
    static const struct code_point_range spaces[] = {
        {'\t', '\r'},     {' ', ' '},       {0xa0, 0xa0},     {0x1680, 0x1680}, {0x2000, 0x200a},
        {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}};
    static const struct {
        char letter;
        const struct code_point_range *ranges;
        size_t count;
    } rows[] = {{'d', digits, 1}, {'w', words, 4}, {'s', spaces, 10}};
    for (size_t i = 0; i < 3; i++) {
        if ((letter | 0x20) != rows[i].letter) {
            continue;
        }
        bool is_negated = letter != rows[i].letter;
        uint32_t next = 0;
        for (size_t k = 0; k < rows[i].count; k++) {
            struct code_point_range range = rows[i].ranges[k];
            if (!is_negated) {
                add_range(regex, list, range.low, range.high);
            } else if (range.low > next) {
                add_range(regex, list, next, range.low - 1);
            }
            next = range.high + 1;
        }
        if (is_negated) {
            add_range(regex, list, next, 0x10ffff);
        }
        return true;
    }
    return false;
}

static uint32_t read_hex(struct regex *regex, size_t least, size_t most) {
    uint32_t value = 0;
    size_t count = 0;
    for (; count < most; count++, regex->at++) {
        const char *digits = "0123456789abcdef0123456789ABCDEF";
        const char *found = peek(regex, 0) == '\0' ? NULL : strchr(digits, peek(regex, 0));
        if (found == NULL) {
            break;
        }
        value = value << 4 | (uint32_t)(found - digits) % 16;
    }
    if (count < least || value > 0x10ffff) {
        fail(regex, ERROR_FORMAT, "an escape lacks its hexadecimal digits");
    }
    return value;
}

static uint32_t read_unicode_escape(struct regex *regex) {
    if (takes(regex, "{")) {
        uint32_t value = read_hex(regex, 1, 6);
        if (!takes(regex, "}")) {
            fail(regex, ERROR_FORMAT, "\\u{…} lacks its '}'");
        }
        return value;
    }
    uint32_t high = read_hex(regex, 4, 4);
    if (high >= 0xd800 && high <= 0xdbff && takes(regex, "\\u")) {
        return 0x10000 + ((high - 0xd800) << 10) + ((read_hex(regex, 4, 4) - 0xdc00) & 0x3ff);
    }
    return high;
}

/* After a backslash, a single character. */
static uint32_t read_escaped_char(struct regex *regex, bool in_class) {
    static const char letters[] = "tnvfr0", values[] = "\t\n\v\f\r";
    char c = peek(regex, 0);
    const char *letter = c == '\0' ? NULL : strchr(letters, c);
    if (letter != NULL) {
        regex->at++;
        return (uint8_t)values[letter - letters];
    }
    if (takes(regex, "x")) {
        return read_hex(regex, 2, 2);
    }
    if (takes(regex, "u")) {
        return read_unicode_escape(regex);
    }
    if (c == 'b' && in_class) {
        regex->at++;
        return '\b';
    }
    if (c == 'c' && ((peek(regex, 1) | 0x20) >= 'a' && (peek(regex, 1) | 0x20) <= 'z')) {
        regex->at += 2;
        return (uint32_t)peek(regex, (size_t)-1) % 32;
    }
    if (c == 'b' || c == 'B') {
        fail(regex, ERROR_UNSUPPORTED, "word boundaries (\\b, \\B) are not supported");
    } else if (c == 'p' || c == 'P') {
        fail(regex, ERROR_UNSUPPORTED, "Unicode properties (\\p, \\P) are not supported");
    } else if ((c >= '1' && c <= '9') || c == 'k') {
        fail(regex, ERROR_UNSUPPORTED, "back-references are not supported");
    } else if (c == '\0' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
        fail(regex, ERROR_FORMAT, "an unknown escape");
    } else {
        uint32_t code_point;
        size_t length = utf8_decode(regex->source.data + regex->at,
                                    regex->source.length - regex->at, &code_point);
        if (length > 0) {
            regex->at += length;
            return code_point;
        }
        fail(regex, ERROR_FORMAT, "the pattern is not UTF-8");
    }
    return 0;
}

static uint32_t read_char(struct regex *regex, bool in_class) {
    uint32_t code_point;
    if (takes(regex, "\\")) {
        return read_escaped_char(regex, in_class);
    }
    size_t length =
        utf8_decode(regex->source.data + regex->at, regex->source.length - regex->at, &code_point);
    if (length == 0) {
        fail(regex, ERROR_FORMAT, "the pattern is not UTF-8");
        return 0;
    }
    regex->at += length;
    return code_point;
}

static grammar_expr class_of(struct regex *regex, const struct range_list *list, bool is_negated) {
    return regex->in_json
               ? json_class(regex->builder, list->ranges.items, list->ranges.count, is_negated)
               : grammar_class(regex->builder, list->ranges.items, list->ranges.count, is_negated);
}

static grammar_expr read_class(struct regex *regex) {
    struct range_list list = {0};
    bool is_negated = takes(regex, "^");
    while (!at_end(regex) && peek(regex, 0) != ']') {
        if (peek(regex, 0) == '\\' && add_named_class(regex, &list, peek(regex, 1))) {
            regex->at += 2;
            continue;
        }
        uint32_t low = read_char(regex, true), high = low;
        if (peek(regex, 0) == '-' && peek(regex, 1) != ']' && peek(regex, 1) != '\0') {
            regex->at++;
            if (peek(regex, 0) == '\\' && strchr("dwsDWS", peek(regex, 1)) != NULL) {
                add_range(regex, &list, '-', '-'); /* no range: the dash is itself */
            } else {
                high = read_char(regex, true);
            }
        }
        if (high < low) {
            fail(regex, ERROR_FORMAT, "a range ends before it begins");
        }
        add_range(regex, &list, low, high);
    }
    if (!takes(regex, "]") && !grammar_builder_failed(regex->builder)) {
        fail(regex, ERROR_FORMAT, "a class lacks its ']'");
    }
    grammar_expr expr = class_of(regex, &list, is_negated);
    free(list.ranges.items);
    return expr;
}

/* --- terms --- */

static grammar_expr read_choice(struct regex *regex);

static grammar_expr read_group(struct regex *regex) {
    if (takes(regex, "?=") || takes(regex, "?!") || takes(regex, "?<=") || takes(regex, "?<!")) {
        return fail(regex, ERROR_UNSUPPORTED, "look-around is not supported");
    }
    if (takes(regex, "?<")) {
        while (!at_end(regex) && peek(regex, 0) != '>') {
            regex->at++;
        }
        if (!takes(regex, ">")) {
            return fail(regex, ERROR_FORMAT, "a group's name lacks its '>'");
        }
    } else if (!takes(regex, "?:") && peek(regex, 0) == '?') {
        return fail(regex, ERROR_UNSUPPORTED, "groups with '(?' are (?:…) and (?<name>…) only");
    }
    if (regex->nesting >= MAX_NESTING) {
        return fail(regex, ERROR_UNSUPPORTED, "groups are nested too deeply");
    }
    regex->nesting++;
    grammar_expr expr = read_choice(regex);
    regex->nesting--;
    if (!takes(regex, ")") && !grammar_builder_failed(regex->builder)) {
        return fail(regex, ERROR_FORMAT, "a ')' is missing");
    }
    return expr;
}

static grammar_expr read_atom(struct regex *regex) {
    struct range_list list = {0};
    grammar_expr expr;
    char c = peek(regex, 0);
    if (takes(regex, "(")) {
        return read_group(regex);
    }
    if (takes(regex, "[")) {
        return read_class(regex);
    }
    if (c == '*' || c == '+' || c == '?') {
        return fail(regex, ERROR_FORMAT, "there is nothing to repeat");
    }
    if (c == '^' || c == '$') {
        return fail(regex, ERROR_UNSUPPORTED,
                    "^ and $ are supported at the ends of the pattern or of its alternatives only");
    }
    if (c == '\\' && add_named_class(regex, &list, peek(regex, 1))) {
        regex->at += 2;
        expr = class_of(regex, &list, false);
    } else if (takes(regex, ".")) {
        add_range(regex, &list, '\n', '\n');
        add_range(regex, &list, '\r', '\r');
        add_range(regex, &list, 0x2028, 0x2029);
        expr = class_of(regex, &list, true);
    } else {
        uint32_t code_point = read_char(regex, false);
        add_range(regex, &list, code_point, code_point);
        expr = class_of(regex, &list, false);
    }
    free(list.ranges.items);
    return expr;
}

/* {m} {m,} {m,n}; false, with nothing taken, where the brace is just a brace. */
static bool read_braces(struct regex *regex, size_t *least, size_t *most) {
    size_t here = regex->at, numbers[2] = {0, 0}, digits[2] = {0, 0};
    bool has_comma = false;
    for (regex->at++; peek(regex, 0) == ',' || (peek(regex, 0) >= '0' && peek(regex, 0) <= '9');
         regex->at++) {
        if (peek(regex, 0) == ',') {
            if (has_comma) {
                break;
            }
            has_comma = true;
            continue;
        }
        size_t *number = &numbers[has_comma];
        *number = size_min(*number * 10 + (size_t)(peek(regex, 0) - '0'), MAX_REPEAT + 1);
        digits[has_comma]++;
    }
    if (digits[0] == 0 || !takes(regex, "}")) {
        regex->at = here;
        return false;
    }
    *least = numbers[0];
    *most = !has_comma ? numbers[0] : digits[1] > 0 ? numbers[1] : GRAMMAR_UNBOUNDED;
    if (*least > MAX_REPEAT || (*most > MAX_REPEAT && *most != GRAMMAR_UNBOUNDED)) {
        fail(regex, ERROR_UNSUPPORTED, "a repetition is larger than 100000");
    } else if (*least > *most) {
        fail(regex, ERROR_FORMAT, "a repetition's largest number is below its smallest");
    }
    return true;
}

static grammar_expr read_term(struct regex *regex) {
    grammar_expr expr = read_atom(regex);
    size_t least = 0, most = GRAMMAR_UNBOUNDED;
    if (takes(regex, "+")) {
        least = 1;
    } else if (takes(regex, "?")) {
        most = 1;
    } else if (!takes(regex, "*") &&
               !(peek(regex, 0) == '{' && read_braces(regex, &least, &most))) {
        return expr;
    }
    (void)takes(regex, "?"); /* lazy: the same texts */
    return grammar_builder_failed(regex->builder)
               ? GRAMMAR_EMPTY
               : grammar_repeat(regex->builder, expr, least, most);
}

static grammar_expr read_sequence(struct regex *regex) {
    POOL(grammar_expr) items = {0};
    bool outermost = regex->nesting == 0;
    bool from_start = outermost && takes(regex, "^"), to_end = false;
    if (outermost && regex->searches && !from_start && POOL_RESERVE(&items, 1)) {
        items.items[items.count++] = regex->anything;
    }
    while (!at_end(regex) && peek(regex, 0) != '|' && !(peek(regex, 0) == ')' && !outermost)) {
        char after = peek(regex, 1);
        if (outermost && peek(regex, 0) == '$' && (after == '|' || after == '\0')) {
            regex->at++;
            to_end = true;
            break;
        }
        if (peek(regex, 0) == ')') {
            fail(regex, ERROR_FORMAT, "a '(' is missing");
            break;
        }
        grammar_expr item = read_term(regex);
        if (!POOL_RESERVE(&items, 2)) {
            fail(regex, ERROR_OUT_OF_MEMORY, "no memory");
            break;
        }
        items.items[items.count++] = item;
    }
    if (outermost && regex->searches && !to_end && POOL_RESERVE(&items, 1)) {
        items.items[items.count++] = regex->anything;
    }
    grammar_expr expr = grammar_sequence(regex->builder, items.items, items.count);
    free(items.items);
    return expr;
}

static grammar_expr read_choice(struct regex *regex) {
    POOL(grammar_expr) items = {0};
    do {
        grammar_expr item = read_sequence(regex);
        if (!POOL_RESERVE(&items, 1)) {
            fail(regex, ERROR_OUT_OF_MEMORY, "no memory");
            break;
        }
        items.items[items.count++] = item;
    } while (takes(regex, "|"));
    grammar_expr expr = grammar_choice(regex->builder, items.items, items.count);
    free(items.items);
    return expr;
}

static grammar_expr read_all(struct regex *regex) {
    if (regex->source.length > GRAMMAR_MAX_BYTES) {
        regex->source.length = 0;
        return fail(regex, ERROR_UNSUPPORTED, "the pattern is too large");
    }
    return read_choice(regex);
}

grammar_expr grammar_regex(struct grammar_builder *builder, struct string_view pattern) {
    struct regex regex = {.source = pattern, .builder = builder};
    return read_all(&regex);
}

grammar_expr json_pattern(struct json_parts *parts, struct string_view pattern) {
    struct grammar_builder *builder = parts->builder;
    struct regex regex = {
        .source = pattern,
        .builder = builder,
        .in_json = true,
        .searches = true,
        .anything = grammar_repeat(builder, parts->plain, 0, GRAMMAR_UNBOUNDED),
    };
    return grammar_sequence_of(builder, 3, grammar_text(builder, "\""), read_all(&regex),
                               grammar_text(builder, "\""));
}

bool grammar_from_regex(struct string_view pattern, struct grammar **grammar, struct error *error) {
    struct grammar_builder *builder = grammar_builder_create();
    bool done = builder != NULL
                    ? grammar_build(builder, grammar_regex(builder, pattern), grammar, error)
                    : error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the grammar");
    grammar_builder_free(builder);
    return done;
}
