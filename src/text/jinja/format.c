/*
 * format.c - the two ways of Python to format: "…{:>8}…".format(x) and "…%8s…" % x.
 *
 * Both come down to a field: a value laid out by fill, alignment, sign, width, precision, type.
 */
#include "text/jinja/builtin.h"
#include "text/jinja/operators.h"
#include "text/jinja/print.h"
#include "text/jinja/text.h"

#include "base/bytes.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_WIDTH = 1000 * 1000, MAX_PRECISION = 100, DIGITS_BYTES = 512 };

struct field {
    struct string_view fill; /* one character; empty: a space */
    char align;              /* < > ^ =, or 0 */
    char sign;               /* + or space: also before what is not negative; or 0 */
    bool alternate;          /* 0x and its like before the digits */
    char grouping;           /* , or _ between groups of three, or 0 */
    size_t width;
    int precision; /* -1: none */
    char type;     /* 0: by kind */
};

static void append_padded(struct jinja_builder *builder, const struct field *field,
                          struct string_view sign, struct string_view body, char default_align) {
    struct string_view fill = field->fill.length > 0 ? field->fill : string_view_of(" ");
    size_t length = sign.length + jinja_text_length(body);
    size_t space = field->width > length ? field->width - length : 0;
    char align = field->align != 0 ? field->align : default_align;
    size_t before = align == '>' ? space : align == '^' ? space / 2 : 0;
    jinja_append_repeated(builder, fill, before);
    jinja_append_view(builder, sign);
    if (align == '=') {
        jinja_append_repeated(builder, fill, space);
        before = space;
    }
    jinja_append_view(builder, body);
    jinja_append_repeated(builder, fill, space - before);
}

static bool append_text_field(struct jinja_builder *builder, const struct field *field,
                              struct string_view text) {
    if (field->precision >= 0) {
        text = jinja_text_until(text, jinja_text_offset(text, (size_t)field->precision));
    }
    append_padded(builder, field, (struct string_view){"", 0}, text, '<');
    return !builder->render->failed;
}

/* Puts the separator between groups of three of the digits before the point. */
static void group_digits(const char *digits, char separator, char out[DIGITS_BYTES]) {
    size_t whole = strspn(digits, "0123456789"), length = 0;
    for (size_t i = 0; i < whole && length + 2 < DIGITS_BYTES; i++) {
        if (i > 0 && (whole - i) % 3 == 0) {
            out[length++] = separator;
        }
        out[length++] = digits[i];
    }
    snprintf(out + length, DIGITS_BYTES - length, "%s", digits + whole);
}

static bool append_number_field(struct jinja_builder *builder, const struct field *field,
                                bool negative, const char *prefix, const char *digits) {
    char sign[8], grouped[DIGITS_BYTES];
    int length = snprintf(sign, sizeof sign, "%s%s",
                          negative             ? "-"
                          : field->sign == '+' ? "+"
                          : field->sign == ' ' ? " "
                                               : "",
                          field->alternate ? prefix : "");
    if (field->grouping != 0) {
        group_digits(digits, field->grouping, grouped);
        digits = grouped;
    }
    append_padded(builder, field, (struct string_view){sign, (size_t)length},
                  string_view_of(digits), '>');
    return !builder->render->failed;
}

static bool append_integer_field(struct jinja_builder *builder, const struct field *field,
                                 int64_t value) {
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    char digits[72] = {0};
    const char *prefix = "";
    switch (field->type) {
    case 'x':
        prefix = "0x";
        snprintf(digits, sizeof digits, "%" PRIx64, magnitude);
        break;
    case 'X':
        prefix = "0X";
        snprintf(digits, sizeof digits, "%" PRIX64, magnitude);
        break;
    case 'o':
        prefix = "0o";
        snprintf(digits, sizeof digits, "%" PRIo64, magnitude);
        break;
    case 'b': {
        prefix = "0b";
        size_t bits = 1;
        while (bits < 64 && magnitude >> bits != 0) {
            bits++;
        }
        for (size_t i = 0; i < bits; i++) {
            digits[i] = (char)('0' + (magnitude >> (bits - 1 - i) & 1));
        }
        break;
    }
    default:
        snprintf(digits, sizeof digits, "%" PRIu64, magnitude);
        break;
    }
    return append_number_field(builder, field, value < 0, prefix, digits);
}

static bool append_float_field(struct jinja_builder *builder, const struct field *field,
                               double value) {
    char digits[DIGITS_BYTES], pattern[8];
    if (!jinja_spend(builder->render, JINJA_STEPS_OF_NUMBER)) {
        return false;
    }
    double magnitude = fabs(value);
    int precision = field->precision < 0 ? 6 : field->precision;
    bool negative = signbit(value) && !isnan(value);
    if (field->type == '%') {
        snprintf(digits, sizeof digits, "%.*f%%", precision, magnitude * 100);
    } else if (field->type == 0 && field->precision < 0) {
        digits[jinja_format_float(magnitude, digits)] = '\0';
    } else {
        snprintf(pattern, sizeof pattern, "%%.*%c", field->type == 0 ? 'g' : field->type);
        snprintf(digits, sizeof digits, pattern, precision, magnitude);
    }
    return append_number_field(builder, field, negative, "", digits);
}

/* A value whose type character fits it; a character that does not fit fails. */
static bool append_field(struct jinja_builder *builder, const struct field *field,
                         const struct jinja_value *value, bool safe) {
    struct jinja_render *render = builder->render;
    bool integer_type = field->type != 0 && strchr("dxXob", field->type) != NULL;
    bool float_type = field->type != 0 && strchr("eEfFgG%", field->type) != NULL;
    bool plain_number = field->type == 0 && jinja_is_number(value) && value->kind != JINJA_BOOL;
    if (float_type || (plain_number && value->kind == JINJA_FLOAT)) {
        return jinja_is_number(value)
                   ? append_float_field(builder, field, jinja_number(value))
                   : jinja_fail(render, "format needs a number, not '%s'", jinja_type_name(value));
    }
    if (integer_type || plain_number) {
        return jinja_is_integral(value)
                   ? append_integer_field(builder, field, jinja_integral(value))
                   : jinja_fail(render, "format needs an integer, not '%s'",
                                jinja_type_name(value));
    }
    if (field->type != 0 && field->type != 's') {
        return jinja_fail(render, "unknown format code '%c'", field->type);
    }
    struct jinja_value text = *value;
    struct string_view view;
    if (safe && !jinja_escape(render, value, &text)) {
        return false;
    }
    return jinja_to_text(render, &text, &view) && append_text_field(builder, field, view);
}

static bool read_number(struct string_view text, size_t *at, size_t limit, size_t *number) {
    *number = 0;
    while (*at < text.length && text.data[*at] >= '0' && text.data[*at] <= '9') {
        *number = *number * 10 + (size_t)(text.data[(*at)++] - '0');
        if (*number > limit) {
            return false;
        }
    }
    return true;
}

static bool read_precision(struct string_view text, size_t *at, int *precision) {
    size_t number;
    *precision = -1;
    if (*at >= text.length || text.data[*at] != '.') {
        return true;
    }
    (*at)++;
    if (!read_number(text, at, MAX_PRECISION, &number)) {
        return false;
    }
    *precision = (int)number;
    return true;
}

static char take_one_of(struct string_view text, size_t *at, const char *characters) {
    if (*at < text.length && text.data[*at] != '\0' && strchr(characters, text.data[*at]) != NULL) {
        return text.data[(*at)++];
    }
    return 0;
}

/* [[fill]align][sign][#][0][width][grouping][.precision][type] */
static bool parse_spec(struct jinja_render *render, struct string_view spec, struct field *field) {
    size_t at = 0;
    size_t first = spec.length == 0 ? 0 : jinja_character_bytes(spec.data, spec.length);
    *field = (struct field){.precision = -1};
    if (first < spec.length && strchr("<>^=", spec.data[first]) != NULL) {
        field->fill = jinja_text_until(spec, first);
        field->align = spec.data[first];
        at = first + 1;
    } else {
        field->align = take_one_of(spec, &at, "<>^=");
    }
    char sign = take_one_of(spec, &at, "+- ");
    field->sign = sign == '-' ? 0 : sign;
    field->alternate = take_one_of(spec, &at, "#") != 0;
    if (take_one_of(spec, &at, "0") != 0 && field->align == 0) {
        field->fill = string_view_of("0");
        field->align = '=';
    }
    if (!read_number(spec, &at, MAX_WIDTH, &field->width)) {
        return jinja_fail(render, "format: the width is too large");
    }
    field->grouping = take_one_of(spec, &at, ",_");
    if (!read_precision(spec, &at, &field->precision)) {
        return jinja_fail(render, "format: the precision is too large");
    }
    field->type = at < spec.length ? spec.data[at++] : 0;
    return at == spec.length || jinja_fail(render, "invalid format specifier");
}

/* The arguments of a format() call, and the number of the next "{}". */
struct format_state {
    const struct jinja_call *call;
    size_t next;
};

static bool first_value(struct jinja_render *render, struct format_state *state,
                        struct string_view name, struct jinja_value *value) {
    size_t at = 0, number;
    bool digits = read_number(name, &at, 1000 * 1000, &number) && at == name.length;
    if (digits) {
        number = name.length == 0 ? state->next++ : number;
        if (number >= state->call->count) {
            return jinja_fail(render, "format: argument %zu is missing", number);
        }
        *value = state->call->arguments[number];
        return true;
    }
    for (size_t i = 0; i < state->call->keyword_count; i++) {
        if (string_view_equals(state->call->keywords[i].name, name)) {
            *value = state->call->keywords[i].value;
            return true;
        }
    }
    return jinja_fail(render, "format: argument '%.*s' is missing", (int)size_min(name.length, 100),
                      name.data);
}

static size_t name_end(struct string_view text) {
    size_t at = 0;
    while (at < text.length && text.data[at] != '.' && text.data[at] != '[') {
        at++;
    }
    return at;
}

/* "name.attribute[key]…" */
static bool field_value(struct jinja_render *render, struct format_state *state,
                        struct string_view name, struct jinja_value *value) {
    size_t end = name_end(name);
    struct string_view rest = jinja_text_from(name, end);
    if (!first_value(render, state, jinja_text_until(name, end), value)) {
        return false;
    }
    while (rest.length > 0) {
        struct jinja_value object = *value;
        bool dot = rest.data[0] == '.';
        rest = jinja_text_from(rest, 1);
        size_t length = dot ? name_end(rest) : jinja_text_find(rest, string_view_of("]"), 0);
        if (length == JINJA_NOT_FOUND || length == 0) {
            return jinja_fail(render, "format: broken field name");
        }
        struct string_view part = jinja_text_until(rest, length);
        rest = jinja_text_from(rest, length + (dot ? 0 : 1));
        size_t at = 0, number;
        bool digits = read_number(part, &at, 1000 * 1000, &number) && at == part.length;
        struct jinja_value key = digits ? jinja_integer((int64_t)number) : jinja_string(part);
        bool done = dot ? jinja_attribute(render, &object, part, value)
                        : jinja_element(render, &object, &key, value);
        if (!done) {
            return false;
        }
    }
    return true;
}

/* What is between "{" and "}": name!conversion:spec. */
static bool format_one(struct jinja_builder *builder, struct format_state *state,
                       struct string_view text) {
    struct jinja_render *render = builder->render;
    size_t colon = jinja_text_find(text, string_view_of(":"), 0);
    struct string_view name = jinja_text_until(text, colon);
    struct string_view spec =
        colon == JINJA_NOT_FOUND ? (struct string_view){"", 0} : jinja_text_from(text, colon + 1);
    size_t mark = jinja_text_find(name, string_view_of("!"), 0);
    struct jinja_value value;
    struct field field;
    if (!field_value(render, state, jinja_text_until(name, mark), &value) ||
        !parse_spec(render, spec, &field)) {
        return false;
    }
    if (mark != JINJA_NOT_FOUND) {
        struct string_view conversion = jinja_text_from(name, mark + 1);
        struct jinja_builder converted = {.render = render};
        bool repr = string_view_is(conversion, "r");
        if (!repr && !string_view_is(conversion, "s")) {
            return jinja_fail(render, "format: unknown conversion");
        }
        if (!(repr ? jinja_append_repr : jinja_append_value)(&converted, &value) ||
            !jinja_finish(&converted, &value)) {
            return false;
        }
    }
    return append_field(builder, &field, &value, state->call->subject.safe);
}

bool jinja_format_method(struct jinja_render *render, const struct jinja_call *call,
                         struct jinja_value *result) {
    struct string_view rest = call->subject.text;
    struct jinja_builder builder = {.render = render};
    struct format_state state = {.call = call};
    while (rest.length > 0 && !render->failed) {
        char c = rest.data[0];
        if ((c == '{' || c == '}') && rest.length > 1 && rest.data[1] == c) {
            jinja_append(&builder, rest.data, 1);
            rest = jinja_text_from(rest, 2);
        } else if (c == '{') {
            size_t end = jinja_text_find(rest, string_view_of("}"), 0);
            if (end == JINJA_NOT_FOUND) {
                return jinja_fail(render, "format: '{' without '}'");
            }
            if (!format_one(&builder, &state, jinja_text_from(jinja_text_until(rest, end), 1))) {
                return false;
            }
            rest = jinja_text_from(rest, end + 1);
        } else if (c == '}') {
            return jinja_fail(render, "format: '}' without '{'");
        } else {
            jinja_append(&builder, rest.data, 1);
            rest = jinja_text_from(rest, 1);
        }
    }
    bool done = jinja_finish(&builder, result);
    result->safe = call->subject.safe;
    return done;
}

/* The operand of %: a tuple's items in order, a dict's by name, or one value. */
struct percent_state {
    const struct jinja_value *operand;
    size_t used;
    bool safe;
};

static bool percent_value(struct jinja_render *render, struct percent_state *state,
                          struct string_view name, bool named, struct jinja_value *value) {
    const struct jinja_value *operand = state->operand;
    if (named) {
        struct jinja_value *found;
        if (operand->kind != JINJA_DICT) {
            return jinja_fail(render, "format requires a mapping");
        }
        if (!jinja_dict_find_text(render, operand->dict, name, &found)) {
            return false;
        }
        *value = found != NULL ? *found : jinja_none();
        return found != NULL || jinja_fail(render, "format: a key is missing");
    }
    size_t count = operand->kind == JINJA_TUPLE ? operand->list->count : 1;
    if (state->used >= count) {
        return jinja_fail(render, "not enough arguments for format string");
    }
    *value = operand->kind == JINJA_TUPLE ? operand->list->items[state->used] : *operand;
    state->used++;
    return true;
}

static void read_flags(struct string_view text, size_t *at, struct field *field) {
    char flag;
    while ((flag = take_one_of(text, at, "-+ #0")) != 0) {
        if (flag == '-') {
            field->align = '<';
        } else if (flag == '#') {
            field->alternate = true;
        } else if (flag != '0') {
            field->sign = field->sign == '+' ? '+' : flag;
        } else if (field->align == 0) {
            field->align = '=';
            field->fill = string_view_of("0");
        }
    }
    if (field->align == '<') {
        field->fill = string_view_of(" ");
    }
}

static bool append_percent(struct jinja_builder *builder, struct field *field, char type,
                           struct jinja_value value, bool safe) {
    struct jinja_render *render = builder->render;
    if (type == 's' || type == 'r') {
        struct jinja_builder text = {.render = render};
        if (field->align == '=' || field->align == 0) { /* 0 has no meaning for text */
            field->align = '>';
            field->fill = string_view_of(" ");
        }
        if (type == 'r' && (!jinja_append_repr(&text, &value) || !jinja_finish(&text, &value))) {
            return false;
        }
        field->type = 's';
        return append_field(builder, field, &value, safe);
    }
    if (type == 'd' || type == 'i' || type == 'u') {
        field->type = 'd';
        if (value.kind == JINJA_FLOAT && fabs(value.number) < 9e18) {
            value = jinja_integer((int64_t)value.number);
        }
    } else if (strchr("xXoeEfFgG", type) != NULL && type != '\0') {
        field->type = type;
    } else {
        return jinja_fail(render, "unsupported format character '%c'",
                          type >= ' ' && type <= '~' ? type : '?');
    }
    return append_field(builder, field, &value, safe);
}

/* One conversion after its "%"; *taken is its length. */
static bool percent_one(struct jinja_builder *builder, struct percent_state *state,
                        struct string_view text, size_t *taken) {
    struct jinja_render *render = builder->render;
    struct field field = {.precision = -1};
    struct string_view name = {"", 0};
    struct jinja_value value;
    size_t at = 0;
    bool named = text.length > 0 && text.data[0] == '(';
    if (named) {
        size_t close = jinja_text_find(text, string_view_of(")"), 0);
        if (close == JINJA_NOT_FOUND) {
            return jinja_fail(render, "incomplete format key");
        }
        name = jinja_text_from(jinja_text_until(text, close), 1);
        at = close + 1;
    }
    read_flags(text, &at, &field);
    if (!read_number(text, &at, MAX_WIDTH, &field.width) ||
        !read_precision(text, &at, &field.precision)) {
        return jinja_fail(render, "format: the width or precision is too large");
    }
    if (at >= text.length) {
        return jinja_fail(render, "incomplete format");
    }
    char type = text.data[at++];
    *taken = at;
    if (type == '%') {
        jinja_append_char(builder, '%');
        return true;
    }
    return percent_value(render, state, name, named, &value) &&
           append_percent(builder, &field, type, value, state->safe);
}

bool jinja_format_percent(struct jinja_render *render, const struct jinja_value *format,
                          const struct jinja_value *arguments, struct jinja_value *result) {
    struct string_view rest = format->text;
    struct jinja_builder builder = {.render = render};
    struct percent_state state = {.operand = arguments, .safe = format->safe};
    while (rest.length > 0) {
        size_t mark = jinja_text_find(rest, string_view_of("%"), 0);
        jinja_append_view(&builder, jinja_text_until(rest, mark));
        if (mark == JINJA_NOT_FOUND) {
            break;
        }
        rest = jinja_text_from(rest, mark + 1);
        size_t taken = 0;
        if (!percent_one(&builder, &state, rest, &taken)) {
            return false;
        }
        rest = jinja_text_from(rest, taken);
    }
    bool whole = arguments->kind == JINJA_DICT || jinja_is_sequence(arguments);
    if (arguments->kind == JINJA_TUPLE ? state.used < arguments->list->count
                                       : state.used == 0 && !whole) {
        return jinja_fail(render, "not all arguments converted during string formatting");
    }
    bool done = jinja_finish(&builder, result);
    result->safe = format->safe;
    return done;
}
