/* print.c - see print.h. */
#include "text/jinja/print.h"

#include "text/jinja/builtin.h"
#include "text/jinja/macro.h"
#include "text/jinja/text.h"

#include "base/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Python's 'r' format: digits of the shortest decimal that reads back as the same double, written
 * plainly for exponents from -4 to 15 and in scientific notation otherwise. */
static size_t layout_digits(const char *digits, size_t count, int exponent, char *out) {
    char *at = out;
    if (exponent < -4 || exponent > 15) {
        *at++ = digits[0];
        if (count > 1) {
            *at++ = '.';
            memcpy(at, digits + 1, count - 1);
            at += count - 1;
        }
        at += snprintf(at, 8, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
        return (size_t)(at - out);
    }
    int whole = exponent < 0 ? 0 : exponent + 1; /* digits before the point */
    if (whole == 0) {
        *at++ = '0';
    }
    for (int i = 0; i < whole; i++) {
        *at++ = (size_t)i < count ? digits[i] : '0';
    }
    *at++ = '.';
    for (int i = -1; i > exponent; i--) {
        *at++ = '0';
    }
    if ((size_t)whole >= count) {
        *at++ = '0';
    } else {
        memcpy(at, digits + whole, count - (size_t)whole);
        at += count - (size_t)whole;
    }
    return (size_t)(at - out);
}

size_t jinja_format_float(double number, char out[JINJA_NUMBER_BYTES]) {
    if (isnan(number) || isinf(number)) {
        return (size_t)snprintf(out, JINJA_NUMBER_BYTES, "%s",
                                isnan(number) ? "nan"
                                : number < 0  ? "-inf"
                                              : "inf");
    }
    size_t sign = 0;
    if (signbit(number)) {
        out[sign++] = '-';
        number = -number;
    }
    char text[JINJA_NUMBER_BYTES];
    for (int precision = 0; precision <= 16; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, number);
        if (strtod(text, NULL) == number) {
            break;
        }
    }
    char digits[20];
    size_t count = 0;
    const char *at = text;
    for (; *at != 'e'; at++) {
        if (*at != '.') {
            digits[count++] = *at;
        }
    }
    while (count > 1 && digits[count - 1] == '0') {
        count--;
    }
    int exponent = (int)strtol(at + 1, NULL, 10);
    return sign + layout_digits(digits, count, exponent, out + sign);
}

static void append_string_repr(struct jinja_builder *builder, struct string_view text) {
    bool single = memchr(text.data, '\'', text.length) != NULL;
    bool both = single && memchr(text.data, '"', text.length) != NULL;
    char quote = single && !both ? '"' : '\'';
    jinja_append_char(builder, quote);
    size_t bytes;
    for (size_t at = 0; at < text.length && !builder->render->failed; at += bytes) {
        uint32_t c;
        bytes = utf8_decode(text.data + at, text.length - at, &c);
        if (bytes == 0) {
            bytes = 1;
            c = 0xfffd;
        }
        if (c == '\\' || c == (uint32_t)quote) {
            jinja_append_format(builder, "\\%c", (char)c);
        } else if (c == '\n' || c == '\r' || c == '\t') {
            jinja_append_text(builder, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
        } else if (jinja_is_printable(c)) {
            jinja_append_code_point(builder, c);
        } else if (c <= 0xff) {
            jinja_append_format(builder, "\\x%02" PRIx32, c);
        } else {
            jinja_append_format(builder, c <= 0xffff ? "\\u%04" PRIx32 : "\\U%08" PRIx32, c);
        }
    }
    jinja_append_char(builder, quote);
}

static bool append_items(struct jinja_builder *builder, const struct jinja_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        jinja_append_text(builder, i == 0 ? "" : ", ");
        if (!jinja_append_repr(builder, &list->items[i])) {
            return false;
        }
    }
    return true;
}

static bool append_tuple(struct jinja_builder *builder, const struct jinja_list *list) {
    jinja_append_char(builder, '(');
    bool done = append_items(builder, list);
    jinja_append_text(builder, list->count == 1 ? ",)" : ")");
    return done;
}

static bool append_list(struct jinja_builder *builder, const struct jinja_list *list) {
    jinja_append_char(builder, '[');
    bool done = append_items(builder, list);
    jinja_append_char(builder, ']');
    return done;
}

static bool append_dict(struct jinja_builder *builder, const struct jinja_dict *dict) {
    jinja_append_char(builder, '{');
    for (size_t i = 0; i < dict->count; i++) {
        jinja_append_text(builder, i == 0 ? "" : ", ");
        if (!jinja_append_repr(builder, &dict->entries[i].key)) {
            return false;
        }
        jinja_append_text(builder, ": ");
        if (!jinja_append_repr(builder, &dict->entries[i].value)) {
            return false;
        }
    }
    jinja_append_char(builder, '}');
    return true;
}

static bool append_view(struct jinja_builder *builder, const struct jinja_value *value) {
    static const char *const names[] = {"dict_keys(", "dict_values(", "dict_items("};
    struct jinja_value list;
    if (!jinja_collect(builder->render, value, &list)) {
        return false;
    }
    jinja_append_text(builder, names[value->view->part]);
    bool done = append_list(builder, list.list);
    jinja_append_char(builder, ')');
    return done;
}

static void append_range(struct jinja_builder *builder, const struct jinja_range *range) {
    jinja_append_format(builder, "range(%" PRId64 ", %" PRId64, range->start, range->stop);
    if (range->step != 1) {
        jinja_append_format(builder, ", %" PRId64, range->step);
    }
    jinja_append_char(builder, ')');
}

static bool append_compound_repr(struct jinja_builder *builder, const struct jinja_value *value) {
    switch ((enum jinja_kind)value->kind) {
    case JINJA_LIST:
        return append_list(builder, value->list);
    case JINJA_TUPLE:
        return append_tuple(builder, value->list);
    case JINJA_DICT:
        return append_dict(builder, value->dict);
    case JINJA_NAMESPACE: {
        jinja_append_text(builder, "<Namespace ");
        bool done = append_dict(builder, value->dict);
        jinja_append_char(builder, '>');
        return done;
    }
    case JINJA_VIEW:
        return append_view(builder, value);
    case JINJA_RANGE:
        append_range(builder, value->range);
        return true;
    case JINJA_MACRO:
        jinja_append_text(builder, "<Macro ");
        append_string_repr(builder, jinja_macro_name(value->macro));
        jinja_append_char(builder, '>');
        return true;
    default: /* Python prints an address here */
        jinja_append_format(builder, "<%s object>", jinja_type_name(value));
        return true;
    }
}

bool jinja_append_repr(struct jinja_builder *builder, const struct jinja_value *value) {
    struct jinja_render *render = builder->render;
    if (!jinja_spend(render, 1)) {
        return false;
    }
    switch ((enum jinja_kind)value->kind) {
    case JINJA_UNDEFINED:
    case JINJA_MISSING:
        jinja_append_text(builder, "Undefined");
        break;
    case JINJA_NONE:
        jinja_append_text(builder, "None");
        break;
    case JINJA_BOOL:
        jinja_append_text(builder, value->boolean ? "True" : "False");
        break;
    case JINJA_INTEGER:
        jinja_append_format(builder, "%" PRId64, value->integer);
        break;
    case JINJA_FLOAT: {
        if (!jinja_spend(render, JINJA_STEPS_OF_NUMBER)) {
            return false;
        }
        char text[JINJA_NUMBER_BYTES];
        jinja_append(builder, text, jinja_format_float(value->number, text));
        break;
    }
    case JINJA_STRING:
        if (!jinja_spend_characters(render, value->text.length)) {
            return false;
        }
        jinja_append_text(builder, value->safe ? "Markup(" : "");
        append_string_repr(builder, value->text);
        jinja_append_text(builder, value->safe ? ")" : "");
        break;
    default: {
        if (!jinja_enter(render)) {
            return false;
        }
        bool done = append_compound_repr(builder, value);
        jinja_leave(render);
        return done && !render->failed;
    }
    }
    return !render->failed;
}

bool jinja_append_value(struct jinja_builder *builder, const struct jinja_value *value) {
    if (value->kind == JINJA_STRING) {
        jinja_append_view(builder, value->text);
        return !builder->render->failed;
    }
    return jinja_is_undefined(value) || jinja_append_repr(builder, value);
}

bool jinja_to_text(struct jinja_render *render, const struct jinja_value *value,
                   struct string_view *text) {
    if (value->kind == JINJA_STRING) {
        *text = value->text;
        return true;
    }
    struct jinja_builder builder = {.render = render};
    bool done = jinja_append_value(&builder, value);
    *text = jinja_built(&builder);
    return done;
}

bool jinja_finish(const struct jinja_builder *builder, struct jinja_value *string) {
    *string = jinja_string(jinja_built(builder));
    return !builder->render->failed;
}

static const char *entity(char character) {
    switch (character) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '\'':
        return "&#39;";
    case '"':
        return "&#34;";
    default:
        return NULL;
    }
}

bool jinja_escape(struct jinja_render *render, const struct jinja_value *value,
                  struct jinja_value *escaped) {
    if (value->kind == JINJA_STRING && value->safe) {
        *escaped = *value;
        return true;
    }
    struct string_view text;
    if (!jinja_to_text(render, value, &text)) {
        return false;
    }
    struct jinja_builder builder = {.render = render};
    for (size_t i = 0; i < text.length && !render->failed; i++) {
        const char *name = entity(text.data[i]);
        if (name != NULL) {
            jinja_append_text(&builder, name);
        } else {
            jinja_append(&builder, text.data + i, 1); /* who wrote it is kept */
        }
    }
    bool done = jinja_finish(&builder, escaped);
    escaped->safe = true;
    return done;
}
