/*
 * json_schema.c - grammar_json_schema of grammar_schema.h: a schema as a choice over its types.
 *
 * References become rules, so a schema may contain itself; everything else is turned into
 * expressions where it stands. Depth and work are bounded.
 */
#include "grammar/json_schema.h"

#include "base/bytes.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_DEPTH = 200, MOST_WORK = 200000, MOST_KNOWN = 4096 };
enum { MOST_LENGTH = 100000, MOST_MULTIPLE = 128, MOST_DECIMALS = 8 };

grammar_expr schema_fail(struct schema_reader *reader, enum error_code code, const char *format,
                         ...) {
    char reason[600];
    struct error error;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    error_set(&error, code, "JSON schema, %.300s: %s", string_buffer_text(&reader->path), reason);
    return grammar_builder_fail(reader->builder, &error);
}

static grammar_expr nothing(struct schema_reader *reader) {
    return grammar_choice(reader->builder, NULL, 0);
}

size_t schema_count(struct schema_reader *reader, const json_t *schema, const char *key,
                    size_t otherwise) {
    const json_t *value = json_object_get(schema, key);
    double number = json_number_value(value);
    if (value == NULL) {
        return otherwise;
    }
    if (!json_is_number(value) || number < 0 || number != floor(number)) {
        schema_fail(reader, ERROR_FORMAT, "'%s' is a whole number of at least 0", key);
        return otherwise;
    }
    return number > 1e9 ? (size_t)1e9 : (size_t)number;
}

/* --- what is refused --- */

static bool check_keywords(struct schema_reader *reader, const json_t *schema) {
    static const char *const refused[] = {"not",
                                          "if",
                                          "then",
                                          "else",
                                          "dependentSchemas",
                                          "dependentRequired",
                                          "dependencies",
                                          "propertyNames",
                                          "patternProperties",
                                          "contains",
                                          "minContains",
                                          "maxContains",
                                          "unevaluatedItems",
                                          "unevaluatedProperties",
                                          "$dynamicRef",
                                          "$recursiveRef",
                                          "additionalItems"};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)schema, key, value) {
        for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
            bool asks_nothing = json_is_true(value) && strncmp(key, "unevaluated", 11) == 0;
            if (strcmp(key, refused[i]) == 0 && !asks_nothing) {
                schema_fail(reader, ERROR_UNSUPPORTED, "'%s' is not supported", key);
                return false;
            }
        }
    }
    if (json_is_true(json_object_get(schema, "uniqueItems"))) {
        schema_fail(reader, ERROR_UNSUPPORTED, "'uniqueItems' is not supported");
        return false;
    }
    return true;
}

/* --- constants --- */

static grammar_expr literal(struct schema_reader *reader, const json_t *value);

static grammar_expr number_literal(struct schema_reader *reader, const json_t *value) {
    char text[64];
    double number = json_number_value(value);
    if (json_is_integer(value)) {
        snprintf(text, sizeof text, "%lld", (long long)json_integer_value(value));
    } else if (number == floor(number) && fabs(number) < 1e15) {
        snprintf(text, sizeof text, "%.0f", number);
    } else {
        int precision = 1;
        do {
            snprintf(text, sizeof text, "%.*g", precision, number);
        } while (strtod(text, NULL) != number && ++precision <= 17);
    }
    return grammar_text(reader->builder, text);
}

static grammar_expr string_literal(struct schema_reader *reader, const char *text, size_t length) {
    struct grammar_builder *b = reader->builder;
    return grammar_sequence_of(b, 3, grammar_text(b, "\""),
                               json_text(b, (struct string_view){text, length}),
                               grammar_text(b, "\""));
}

static grammar_expr list_literal(struct schema_reader *reader, const json_t *value) {
    struct grammar_builder *b = reader->builder;
    grammar_expr list = grammar_sequence_of(b, 2, grammar_text(b, json_is_array(value) ? "[" : "{"),
                                            reader->parts.space);
    size_t count = 0;
    const char *key;
    json_t *item;
    grammar_expr comma = grammar_sequence_of(b, 2, grammar_text(b, ","), reader->parts.space);
    if (json_is_array(value)) {
        for (; count < json_array_size(value); count++) {
            list = grammar_sequence_of(b, 3, list, count > 0 ? comma : GRAMMAR_EMPTY,
                                       literal(reader, json_array_get(value, count)));
        }
    } else {
        json_object_foreach((json_t *)(uintptr_t)value, key, item) {
            list =
                grammar_sequence_of(b, 6, list, count++ > 0 ? comma : GRAMMAR_EMPTY,
                                    string_literal(reader, key, strlen(key)), grammar_text(b, ":"),
                                    reader->parts.space, literal(reader, item));
        }
    }
    return grammar_sequence_of(b, 3, list, count > 0 ? reader->parts.space : GRAMMAR_EMPTY,
                               grammar_text(b, json_is_array(value) ? "]" : "}"));
}

static grammar_expr literal(struct schema_reader *reader, const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_STRING:
        return string_literal(reader, json_string_value(value), json_string_length(value));
    case JSON_INTEGER:
    case JSON_REAL:
        return number_literal(reader, value);
    case JSON_OBJECT:
    case JSON_ARRAY:
        return list_literal(reader, value);
    case JSON_NULL:
        return grammar_text(reader->builder, "null");
    default:
        return grammar_text(reader->builder, json_is_true(value) ? "true" : "false");
    }
}

static bool is_of_types(const json_t *value, unsigned types) {
    double number = json_number_value(value);
    return (json_is_null(value) && types & TYPE_NULL) ||
           (json_is_boolean(value) && types & TYPE_BOOLEAN) ||
           (json_is_number(value) &&
            (types & TYPE_NUMBER || (types & TYPE_INTEGER && number == floor(number)))) ||
           (json_is_string(value) && types & TYPE_STRING) ||
           (json_is_array(value) && types & TYPE_ARRAY) ||
           (json_is_object(value) && types & TYPE_OBJECT);
}

/* enum and const; beside them only the type is looked at. */
static grammar_expr enumeration(struct schema_reader *reader, const json_t *schema) {
    static const char *const others[] = {"properties",
                                         "required",
                                         "items",
                                         "minimum",
                                         "maximum",
                                         "exclusiveMinimum",
                                         "exclusiveMaximum",
                                         "multipleOf",
                                         "minLength",
                                         "maxLength",
                                         "pattern",
                                         "prefixItems",
                                         "minItems",
                                         "maxItems",
                                         "minProperties",
                                         "maxProperties",
                                         "additionalProperties"};
    const json_t *constant = json_object_get(schema, "const");
    const json_t *list = json_object_get(schema, "enum");
    unsigned types = schema_types(schema);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (json_object_get(schema, others[i]) != NULL) {
            return schema_fail(reader, ERROR_UNSUPPORTED, "'%s' beside '%s' is not supported",
                               others[i], constant != NULL ? "const" : "enum");
        }
    }
    if (list != NULL && !json_is_array(list)) {
        return schema_fail(reader, ERROR_FORMAT, "'enum' is an array");
    }
    size_t count = list != NULL ? json_array_size(list) : 1, kept = 0;
    grammar_expr *choices = calloc(count + 1, sizeof *choices);
    if (choices == NULL) {
        return schema_fail(reader, ERROR_OUT_OF_MEMORY, "no memory");
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *value = list != NULL ? json_array_get(list, i) : constant;
        if (is_of_types(value, types) &&
            (constant == NULL ||
             json_equal((json_t *)(uintptr_t)constant, (json_t *)(uintptr_t)value))) {
            choices[kept++] = literal(reader, value);
        }
    }
    grammar_expr expr = grammar_choice(reader->builder, choices, kept);
    free(choices);
    return expr;
}

/* --- numbers and strings --- */

static uint32_t common_divisor(uint32_t a, uint32_t b) {
    return b == 0 ? a : common_divisor(b, a % b);
}

/* But for what multiplying rounds. */
static bool is_whole(double value) {
    return fabs(value - round(value)) <= 1e-13 * fabs(value);
}

static bool read_multiple(const json_t *multiple, struct json_number_range *range) {
    double step = json_number_value(multiple);
    uint32_t power = 1;
    size_t decimals = 0;
    while (decimals < MOST_DECIMALS && !is_whole(step * power)) {
        decimals++;
        power *= 10;
    }
    double scaled = round(step * power);
    if (!is_whole(step * power) || scaled < 1 || scaled > MOST_MULTIPLE) {
        return false;
    }
    range->multiple_of = (uint32_t)scaled;
    range->multiple_decimals = decimals;
    range->integers_only = range->integers_only || decimals == 0;
    if (range->integers_only) { /* n is one of m / 10^k where m without what it shares divides n */
        range->multiple_of /= common_divisor(range->multiple_of, power);
        range->multiple_decimals = 0;
    }
    return true;
}

static grammar_expr number(struct schema_reader *reader, const json_t *schema, bool integers) {
    struct json_number_range range = {.integers_only = integers};
    const struct {
        const char *key;
        bool is_low, excludes;
    } rows[] = {{"minimum", true, false},
                {"exclusiveMinimum", true, true},
                {"maximum", false, false},
                {"exclusiveMaximum", false, true}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const json_t *value = json_object_get(schema, rows[i].key);
        double bound = json_number_value(value);
        if (value == NULL) {
            continue;
        }
        if (!json_is_number(value)) {
            return schema_fail(reader, ERROR_FORMAT, "'%s' is a number", rows[i].key);
        }
        if (rows[i].is_low && (!range.has_low || bound >= range.low)) {
            range.low = bound;
            range.low_is_excluded = rows[i].excludes;
            range.has_low = true;
        } else if (!rows[i].is_low && (!range.has_high || bound <= range.high)) {
            range.high = bound;
            range.high_is_excluded = rows[i].excludes;
            range.has_high = true;
        }
    }
    const json_t *multiple = json_object_get(schema, "multipleOf");
    if (multiple != NULL && !read_multiple(multiple, &range)) {
        return schema_fail(
            reader, ERROR_UNSUPPORTED,
            "'multipleOf' is supported from 1 to %d, and as many tenths, hundredths, "
            "… down to 10^-%d",
            MOST_MULTIPLE, MOST_DECIMALS);
    }
    return json_number(&reader->parts, &range);
}

struct format_row {
    const char *name, *pattern;
};

#define DATE                                                                                       \
    "(?:\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|"    \
    "30)|02-(?:0[1-9]|1\\d|2[0-8]))|(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|"                   \
    "(?:[02468][048]|[13579][26])00)-02-29)"
#define TIME                                                                                       \
    "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,9})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)"
#define OCTET "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define IPV4  "(?:" OCTET "\\.){3}" OCTET
#define PIECE "[0-9a-fA-F]{1,4}"
#define LAST  "(?:" PIECE ":" PIECE "|" IPV4 ")"
#define IPV6                                                                                       \
    "(?:(?:" PIECE ":){6}" LAST "|::(?:" PIECE ":){5}" LAST "|(?:" PIECE ")?::(?:" PIECE           \
    ":){4}" LAST "|(?:(?:" PIECE ":){0,1}" PIECE ")?::(?:" PIECE ":){3}" LAST "|(?:(?:" PIECE      \
    ":){0,2}" PIECE ")?::(?:" PIECE ":){2}" LAST "|(?:(?:" PIECE ":){0,3}" PIECE ")?::" PIECE      \
    ":" LAST "|(?:(?:" PIECE ":){0,4}" PIECE ")?::" LAST "|(?:(?:" PIECE ":){0,5}" PIECE           \
    ")?::" PIECE "|(?:(?:" PIECE ":){0,6}" PIECE ")?::)"
#define LABEL "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define ATOM  "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
#define UCHAR "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})" /* RFC 3986's pchar */
#define CLOCK "T(?:\\d{1,4}H(?:\\d{1,4}M(?:\\d{1,4}S)?)?|\\d{1,4}M(?:\\d{1,4}S)?|\\d{1,4}S)"

static const struct format_row formats[] = {
    {"date", "^" DATE "$"},
    {"time", "^" TIME "$"},
    {"date-time", "^" DATE "T" TIME "$"},
    {"uuid", "^[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$"},
    {"ipv4", "^" IPV4 "$"},
    {"ipv6", "^" IPV6 "$"},
    {"hostname", "^" LABEL "(?:\\." LABEL "){0,3}$"},
    {"email", "^" ATOM "{1,64}(?:\\." ATOM "{1,16}){0,2}@" LABEL "(?:\\." LABEL "){1,3}$"},
    {"uri", "^[A-Za-z][A-Za-z0-9+.-]{0,15}:(?://(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*"
            "(?:@(?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2})*)?(?::\\d{0,5})?(?:/" UCHAR "*)*|" UCHAR
            "+(?:/" UCHAR "*)*)(?:\\?(?:" UCHAR "|[/?])*)?(?:#(?:" UCHAR "|[/?])*)?$"},
    {"duration", "^P(?:\\d{1,4}W|(?:\\d{1,4}Y(?:\\d{1,4}M(?:\\d{1,4}D)?)?|\\d{1,4}M(?:\\d{1,4}D)?|"
                 "\\d{1,4}D)(?:" CLOCK ")?|" CLOCK ")$"},
};

/* What the specification defines beside the formats above; any other name is an annotation. */
static const char *const other_formats[] = {
    "idn-email", "idn-hostname",          "iri",           "iri-reference", "json-pointer",
    "regex",     "relative-json-pointer", "uri-reference", "uri-template"};

static grammar_expr formatted(struct schema_reader *reader, const char *format) {
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        if (strcmp(format, formats[i].name) == 0) {
            return json_pattern(&reader->parts, string_view_of(formats[i].pattern));
        }
    }
    for (size_t i = 0; i < sizeof other_formats / sizeof other_formats[0]; i++) {
        if (strcmp(format, other_formats[i]) == 0) {
            return schema_fail(reader, ERROR_UNSUPPORTED, "'format' of '%s' is not supported",
                               format);
        }
    }
    return reader->parts.string;
}

/* A string in which the pattern is found. */
static grammar_expr patterned(struct schema_reader *reader, const json_t *pattern) {
    bool had_failed = grammar_builder_failed(reader->builder);
    grammar_expr found =
        json_pattern(&reader->parts,
                     (struct string_view){json_string_value(pattern), json_string_length(pattern)});
    if (!had_failed && grammar_builder_failed(reader->builder)) {
        struct error cause = reader->builder->error;
        error_set(&reader->builder->error, cause.code, "JSON schema, %.300s: 'pattern': %.600s",
                  string_buffer_text(&reader->path), cause.message);
    }
    return found;
}

grammar_expr schema_string(struct schema_reader *reader, const json_t *schema) {
    struct grammar_builder *b = reader->builder;
    const json_t *pattern = json_object_get(schema, "pattern");
    const json_t *format = json_object_get(schema, "format");
    size_t least = schema_count(reader, schema, "minLength", 0);
    size_t most = schema_count(reader, schema, "maxLength", GRAMMAR_UNBOUNDED);
    bool is_bounded = least > 0 || most != GRAMMAR_UNBOUNDED;
    if (least > MOST_LENGTH || (most != GRAMMAR_UNBOUNDED && most > MOST_LENGTH)) {
        return schema_fail(reader, ERROR_UNSUPPORTED,
                           "'%s' is supported up to %d; no answer is that long: leave it out",
                           least > MOST_LENGTH ? "minLength" : "maxLength", MOST_LENGTH);
    }
    if ((pattern != NULL) + (format != NULL) + is_bounded > 1) {
        return schema_fail(reader, ERROR_UNSUPPORTED,
                           "of 'pattern', 'format' and 'minLength' or 'maxLength' only one is "
                           "supported at a time");
    }
    if ((pattern != NULL && !json_is_string(pattern)) ||
        (format != NULL && !json_is_string(format))) {
        return schema_fail(reader, ERROR_FORMAT, "'pattern' and 'format' are strings");
    }
    if (pattern != NULL) {
        return patterned(reader, pattern);
    }
    if (format != NULL) {
        return formatted(reader, json_string_value(format));
    }
    return !is_bounded
               ? reader->parts.string
               : grammar_sequence_of(b, 3, grammar_text(b, "\""),
                                     grammar_repeat(b, reader->parts.character, least, most),
                                     grammar_text(b, "\""));
}

/* --- a schema --- */

static grammar_expr of_types(struct schema_reader *reader, const json_t *schema, unsigned types) {
    struct grammar_builder *b = reader->builder;
    grammar_expr choices[8];
    size_t count = 0;
    if (types & TYPE_OBJECT) {
        choices[count++] = schema_object(reader, schema);
    }
    if (types & TYPE_ARRAY) {
        choices[count++] = schema_array(reader, schema);
    }
    if (types & TYPE_STRING) {
        choices[count++] = schema_string(reader, schema);
    }
    if (types & (TYPE_NUMBER | TYPE_INTEGER)) {
        choices[count++] = number(reader, schema, !(types & TYPE_NUMBER));
    }
    if (types & TYPE_BOOLEAN) {
        choices[count++] = grammar_text(b, "true");
        choices[count++] = grammar_text(b, "false");
    }
    if (types & TYPE_NULL) {
        choices[count++] = grammar_text(b, "null");
    }
    return grammar_choice(b, choices, count);
}

/* The type that keywords imply where none is given. */
static unsigned implied_types(const json_t *schema) {
    static const struct {
        const char *key;
        unsigned type;
    } rows[] = {{"properties", TYPE_OBJECT},
                {"required", TYPE_OBJECT},
                {"additionalProperties", TYPE_OBJECT},
                {"minProperties", TYPE_OBJECT},
                {"maxProperties", TYPE_OBJECT},
                {"items", TYPE_ARRAY},
                {"prefixItems", TYPE_ARRAY},
                {"minItems", TYPE_ARRAY},
                {"maxItems", TYPE_ARRAY},
                {"pattern", TYPE_STRING},
                {"format", TYPE_STRING},
                {"minLength", TYPE_STRING},
                {"maxLength", TYPE_STRING},
                {"minimum", TYPE_NUMBER},
                {"maximum", TYPE_NUMBER},
                {"exclusiveMinimum", TYPE_NUMBER},
                {"exclusiveMaximum", TYPE_NUMBER},
                {"multipleOf", TYPE_NUMBER}};
    unsigned types = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        types |= json_object_get(schema, rows[i].key) != NULL ? rows[i].type : 0;
    }
    return types;
}

/* The schema less `key`, which is one of its members, and what goes with it; owned by the reader.
 */
static json_t *rest_of(struct schema_reader *reader, const json_t *schema, const char *key) {
    json_t *rest = json_copy((json_t *)(uintptr_t)schema);
    if (rest == NULL || json_array_append_new(reader->owned, rest) != 0) {
        schema_fail(reader, ERROR_OUT_OF_MEMORY, "no memory");
        return NULL;
    }
    json_object_del(rest, key);
    json_object_del(rest, "discriminator");
    return rest;
}

static grammar_expr read_schema(struct schema_reader *reader, const json_t *schema);
static grammar_expr referenced(struct schema_reader *reader, const json_t *target);

/* The branch with the member required that OpenAPI's "discriminator" names: what tells the branches
 * apart is then always there. The same branch gives the same schema again, as it may hold itself.
 */
static const json_t *discriminated(struct schema_reader *reader, const json_t *branch,
                                   const json_t *name) {
    const json_t *target = schema_resolve(reader, branch);
    if (target == NULL || !json_is_string(name)) {
        return branch;
    }
    json_t *already = schema_required(target);
    bool is_required = json_object_get(already, json_string_value(name)) != NULL;
    json_decref(already);
    if (is_required) {
        return branch;
    }
    for (size_t i = 0; i < reader->narrowed.count; i++) {
        const struct narrowed_schema *row = &reader->narrowed.items[i];
        if (row->schema == target &&
            json_equal((json_t *)(uintptr_t)row->required, (json_t *)(uintptr_t)name)) {
            return row->narrowed;
        }
    }
    json_t *required = json_pack("{s:[O]}", "required", (json_t *)(uintptr_t)name);
    const json_t *joined = NULL;
    if (required != NULL && json_array_append_new(reader->owned, required) == 0 &&
        POOL_RESERVE(&reader->narrowed, 1)) {
        joined = schema_join(reader, target, required);
        reader->narrowed.items[reader->narrowed.count++] =
            (struct narrowed_schema){target, name, joined};
    }
    return joined != NULL ? joined : branch;
}

static bool is_narrowed(const struct schema_reader *reader, const json_t *schema) {
    for (size_t i = 0; i < reader->narrowed.count; i++) {
        if (reader->narrowed.items[i].narrowed == schema) {
            return true;
        }
    }
    return false;
}

static grammar_expr any_of(struct schema_reader *reader, const json_t *schema, const char *key) {
    const json_t *branches = json_object_get(schema, key);
    const json_t *name = json_object_get(json_object_get(schema, "discriminator"), "propertyName");
    json_t *rest = rest_of(reader, schema, key);
    size_t count = json_array_size(branches);
    if (!json_is_array(branches) || count == 0) {
        return schema_fail(reader, ERROR_FORMAT, "'%s' is an array of at least one schema", key);
    }
    for (size_t i = 0; strcmp(key, "oneOf") == 0 && i < count; i++) {
        for (size_t k = 0; k < i; k++) {
            if (!schema_disjoint(reader, discriminated(reader, json_array_get(branches, i), name),
                                 discriminated(reader, json_array_get(branches, k), name))) {
                return schema_fail(reader, ERROR_UNSUPPORTED,
                                   "'oneOf' is supported where no value can satisfy two of its "
                                   "schemas, which cannot be told of %zu and %zu; use 'anyOf'",
                                   k, i);
            }
        }
    }
    grammar_expr *choices = calloc(count, sizeof *choices);
    size_t path = reader->path.length;
    for (size_t i = 0; choices != NULL && rest != NULL && i < count; i++) {
        const json_t *branch = discriminated(reader, json_array_get(branches, i), name);
        string_buffer_append_format(&reader->path, "/%s/%zu", key, i);
        const json_t *joined =
            json_object_size(rest) > 0 ? schema_join(reader, rest, branch) : branch;
        choices[i] = joined == NULL                ? GRAMMAR_EMPTY
                     : is_narrowed(reader, joined) ? referenced(reader, joined)
                                                   : read_schema(reader, joined);
        reader->path.length = path;
    }
    grammar_expr expr = choices != NULL ? grammar_choice(reader->builder, choices, count)
                                        : schema_fail(reader, ERROR_OUT_OF_MEMORY, "no memory");
    free(choices);
    return expr;
}

static grammar_expr all_of(struct schema_reader *reader, const json_t *schema) {
    const json_t *parts = json_object_get(schema, "allOf");
    const json_t *joined = rest_of(reader, schema, "allOf");
    if (!json_is_array(parts)) {
        return schema_fail(reader, ERROR_FORMAT, "'allOf' is an array of schemas");
    }
    for (size_t i = 0; joined != NULL && i < json_array_size(parts); i++) {
        joined = schema_join(reader, joined, json_array_get(parts, i));
    }
    return joined != NULL ? read_schema(reader, joined) : GRAMMAR_EMPTY;
}

/* A rule for what a lone $ref names, made when it is first met: it may contain itself. */
static grammar_expr referenced(struct schema_reader *reader, const json_t *target) {
    for (size_t i = 0; i < reader->known.count; i++) {
        if (reader->known.items[i].schema == target) {
            return reader->known.items[i].rule;
        }
    }
    if (reader->known.count >= MOST_KNOWN || !POOL_RESERVE(&reader->known, 1)) {
        return schema_fail(reader, ERROR_UNSUPPORTED, "too many schemas are referred to");
    }
    grammar_expr rule =
        grammar_rule(reader->builder, (struct string_view){string_buffer_text(&reader->path),
                                                           size_min(reader->path.length, 200)});
    reader->known.items[reader->known.count++] = (struct known_schema){target, rule};
    grammar_expr body = read_schema(reader, target);
    grammar_rule_define(reader->builder, rule, body);
    return rule;
}

static grammar_expr read_object(struct schema_reader *reader, const json_t *schema) {
    if (json_object_get(schema, "$ref") != NULL) {
        const json_t *target = schema_resolve(reader, schema);
        return target != NULL ? referenced(reader, target) : GRAMMAR_EMPTY;
    }
    if (!check_keywords(reader, schema)) {
        return GRAMMAR_EMPTY;
    }
    if (json_object_get(schema, "allOf") != NULL) {
        return all_of(reader, schema);
    }
    if (json_object_get(schema, "anyOf") != NULL) {
        return any_of(reader, schema, "anyOf");
    }
    if (json_object_get(schema, "oneOf") != NULL) {
        return any_of(reader, schema, "oneOf");
    }
    unsigned types = schema_types(schema), implied = implied_types(schema);
    if (types == 0 && json_array_size(json_object_get(schema, "type")) == 0 &&
        !json_is_array(json_object_get(schema, "type"))) {
        return schema_fail(reader, ERROR_FORMAT, "'type' is a name of a type, or a list of them");
    }
    if (json_object_get(schema, "const") != NULL || json_object_get(schema, "enum") != NULL) {
        return enumeration(reader, schema);
    }
    if (types == TYPE_ANY && implied == 0) {
        return reader->parts.value;
    }
    if (types == TYPE_ANY && json_object_get(schema, "type") == NULL &&
        !reader->options.as_written) {
        types = implied;
    }
    return of_types(reader, schema, types);
}

static grammar_expr read_schema(struct schema_reader *reader, const json_t *schema) {
    grammar_expr expr = GRAMMAR_EMPTY;
    if (grammar_builder_failed(reader->builder)) {
        return GRAMMAR_EMPTY;
    }
    if (reader->depth >= MOST_DEPTH || ++reader->work > MOST_WORK) {
        return schema_fail(reader, ERROR_UNSUPPORTED, "the schema is too large or too deep");
    }
    reader->depth++;
    if (json_is_boolean(schema)) {
        expr = json_is_true(schema) ? reader->parts.value : nothing(reader);
    } else if (json_is_object(schema)) {
        expr = read_object(reader, schema);
    } else {
        expr = schema_fail(reader, ERROR_FORMAT, "a schema is an object or a boolean");
    }
    reader->depth--;
    return expr;
}

grammar_expr schema_part(struct schema_reader *reader, const json_t *schema, const char *key,
                         const char *member) {
    size_t path = reader->path.length;
    string_buffer_append_format(&reader->path, "%s%s%s%.100s", key[0] != '\0' ? "/" : "", key,
                                member[0] != '\0' ? "/" : "", member);
    grammar_expr expr = read_schema(reader, schema);
    if (!grammar_builder_failed(reader->builder) &&
        reader->builder->exprs.items[expr].cost > 8) { /* used in several places: one copy */
        grammar_expr rule =
            grammar_rule(reader->builder, (struct string_view){string_buffer_text(&reader->path),
                                                               size_min(reader->path.length, 200)});
        grammar_rule_define(reader->builder, rule, expr);
        expr = rule;
    }
    reader->path.length = path;
    return expr;
}

/* --- the whole --- */

grammar_expr grammar_json_schema(struct grammar_builder *builder, const json_t *schema,
                                 const struct json_schema_options *options) {
    struct schema_reader reader = {.builder = builder, .root = schema, .owned = json_array()};
    if (options != NULL) {
        reader.options = *options;
    }
    string_buffer_append_text(&reader.path, "#");
    json_parts_init(&reader.parts, builder, reader.options.compact);
    grammar_expr expr = reader.owned != NULL
                            ? schema_part(&reader, schema, "", "")
                            : schema_fail(&reader, ERROR_OUT_OF_MEMORY, "no memory");
    free(reader.known.items);
    free(reader.narrowed.items);
    string_buffer_deinit(&reader.path);
    json_decref(reader.owned);
    return expr;
}

bool grammar_from_json_schema(const json_t *schema, const struct json_schema_options *options,
                              struct grammar **grammar, struct error *error) {
    struct grammar_builder *builder = grammar_builder_create();
    bool done =
        builder != NULL
            ? grammar_build(builder, grammar_json_schema(builder, schema, options), grammar, error)
            : error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the grammar");
    grammar_builder_free(builder);
    return done;
}
