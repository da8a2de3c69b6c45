/* filters_number.c - filters that make numbers. */
#include "text/jinja/builtin.h"
#include "text/jinja/text.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DIGITS = 400 }; /* longer texts are not taken for numbers */

/* The text without white space around it and underscores between digits; false when it cannot be a
 * number. */
static bool clean_number(struct jinja_render *render, struct string_view text,
                         char out[MAX_DIGITS]) {
    if (!jinja_spend(render, JINJA_STEPS_OF_NUMBER) ||
        !jinja_text_strip_paid(render, &text, NULL, JINJA_STRIP_BOTH)) {
        return false;
    }
    if (text.length == 0 || text.length >= MAX_DIGITS) {
        return false;
    }
    size_t length = 0;
    for (size_t i = 0; i < text.length; i++) {
        char c = text.data[i];
        if (c == '_') {
            bool between = i > 0 && i + 1 < text.length && text.data[i - 1] != '_' &&
                           strchr("+-.", text.data[i - 1]) == NULL && text.data[i + 1] != '.';
            if (!between) {
                return false;
            }
        } else if ((unsigned char)c <= ' ') {
            return false;
        } else {
            out[length++] = c;
        }
    }
    out[length] = '\0';
    return true;
}

static bool parse_integer(struct jinja_render *render, struct string_view text, int64_t base,
                          int64_t *value) {
    char digits[MAX_DIGITS], *end;
    if (!clean_number(render, text, digits)) {
        return false;
    }
    /* strtoll takes a prefix only for base 16; Python takes the one that belongs to the base. */
    char *start = digits + (digits[0] == '-' || digits[0] == '+');
    const char *letters = base == 2 ? "bB" : base == 8 ? "oO" : base == 16 ? "xX" : "";
    if (start[0] == '0' && start[1] != '\0' && strchr(letters, start[1]) != NULL) {
        memmove(start, start + 2, strlen(start + 2) + 1);
    }
    if (base < 2 || base > 36) {
        return false;
    }
    bool digit = (start[0] >= '0' && start[0] <= '9') || ((start[0] | 0x20) >= 'a' && base > 10);
    errno = 0;
    *value = strtoll(digits, &end, (int)base);
    return digit && *end == '\0' && errno == 0;
}

/* What float() reads; C's hexadecimal floats and "nan(...)" are not among it. */
static bool parse_float(struct jinja_render *render, struct string_view text, double *value) {
    char digits[MAX_DIGITS], *end;
    if (!clean_number(render, text, digits) || strpbrk(digits, "xX(") != NULL) {
        return false;
    }
    *value = strtod(digits, &end);
    return *end == '\0' && end != digits;
}

static bool float_to_integer(double number, int64_t *value) {
    if (!(number > -9223372036854775808.0 && number < 9223372036854775808.0)) {
        return false;
    }
    *value = (int64_t)number;
    return true;
}

static bool filter_int(struct jinja_render *render, const struct jinja_call *call,
                       struct jinja_value *result) {
    const struct jinja_value *subject = &call->subject;
    const struct jinja_value *given_base = &call->arguments[1];
    int64_t value = 0, base = 10;
    double number = 0;
    if (jinja_is_undefined(subject)) {
        return jinja_fail_undefined(render, subject);
    }
    if (jinja_given(given_base)) { /* one that is none reads no integers */
        base = jinja_is_integral(given_base) ? jinja_integral(given_base) : 0;
    }
    bool good = false;
    if (jinja_is_integral(subject)) {
        value = jinja_integral(subject);
        good = true;
    } else if (subject->kind == JINJA_FLOAT) {
        good = float_to_integer(subject->number, &value);
        if (!good && !isnan(subject->number)) {
            return jinja_fail(render, "a float does not fit in an integer");
        }
    } else if (subject->kind == JINJA_STRING) {
        good = parse_integer(render, subject->text, base, &value) ||
               (parse_float(render, subject->text, &number) && float_to_integer(number, &value));
    }
    *result = good                               ? jinja_integer(value)
              : jinja_given(&call->arguments[0]) ? call->arguments[0]
                                                 : jinja_integer(0);
    return !render->failed;
}

static bool filter_float(struct jinja_render *render, const struct jinja_call *call,
                         struct jinja_value *result) {
    const struct jinja_value *subject = &call->subject;
    double number = 0;
    if (jinja_is_undefined(subject)) {
        return jinja_fail_undefined(render, subject);
    }
    bool good = jinja_is_number(subject);
    if (good) {
        number = jinja_number(subject);
    } else if (subject->kind == JINJA_STRING) {
        good = parse_float(render, subject->text, &number);
    }
    *result = good                               ? jinja_float(number)
              : jinja_given(&call->arguments[0]) ? call->arguments[0]
                                                 : jinja_float(0);
    return !render->failed;
}

static bool expect_number(struct jinja_render *render, const struct jinja_value *value,
                          const char *what) {
    if (jinja_is_number(value)) {
        return true;
    }
    return jinja_is_undefined(value)
               ? jinja_fail_undefined(render, value)
               : jinja_fail(render, "%s needs a number, not '%s'", what, jinja_type_name(value));
}

static bool filter_abs(struct jinja_render *render, const struct jinja_call *call,
                       struct jinja_value *result) {
    const struct jinja_value *subject = &call->subject;
    if (!expect_number(render, subject, "abs")) {
        return false;
    }
    if (subject->kind == JINJA_FLOAT) {
        *result = jinja_float(fabs(subject->number));
        return true;
    }
    int64_t value = jinja_integral(subject);
    if (value == INT64_MIN) {
        return jinja_fail(render, "an integer does not fit in 64 bits");
    }
    *result = jinja_integer(value < 0 ? -value : value);
    return true;
}

/* Python's round(): to the even neighbour where the exact value is half way. */
static bool round_common(const struct jinja_value *subject, int precision,
                         struct jinja_value *result) {
    if (subject->kind != JINJA_FLOAT) {
        *result = jinja_integer(jinja_integral(subject));
        return true;
    }
    char text[MAX_DIGITS];
    snprintf(text, sizeof text, "%.*f", precision, subject->number);
    *result = jinja_float(strtod(text, NULL));
    return true;
}

static bool filter_round(struct jinja_render *render, const struct jinja_call *call,
                         struct jinja_value *result) {
    const struct jinja_value *precision = &call->arguments[0], *method = &call->arguments[1];
    int64_t digits = 0;
    if (!expect_number(render, &call->subject, "round") ||
        !jinja_spend(render, JINJA_STEPS_OF_NUMBER) ||
        (jinja_given(precision) && !jinja_expect_integer(render, precision, "round's precision")) ||
        (jinja_given(method) && !jinja_expect_string(render, method, "round's method"))) {
        return false;
    }
    digits = jinja_given(precision) ? jinja_integral(precision) : 0;
    if (digits < 0 || digits > 50) {
        return jinja_fail(render, "round's precision must be from 0 to 50");
    }
    if (!jinja_given(method) || string_view_is(method->text, "common")) {
        return round_common(&call->subject, (int)digits, result);
    }
    bool up = string_view_is(method->text, "ceil");
    if (!up && !string_view_is(method->text, "floor")) {
        return jinja_fail(render, "round's method must be common, ceil or floor");
    }
    double scale = pow(10, (double)digits), scaled = jinja_number(&call->subject) * scale;
    *result = jinja_float((up ? ceil(scaled) : floor(scaled)) / scale);
    return true;
}

const struct jinja_builtin jinja_number_filters[] = {
    {"int", filter_int, {"default", "base"}},
    {"float", filter_float, {"default"}},
    {"abs", filter_abs, {0}},
    {"round", filter_round, {"precision", "method"}},
    {0},
};
