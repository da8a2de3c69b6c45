/* tests.c - what can stand after "is". */
#include "text/jinja/builtin.h"
#include "text/jinja/operators.h"
#include "text/jinja/print.h"
#include "text/jinja/text.h"

#include "base/utf8.h"

static bool answer(struct jinja_value *result, bool holds) {
    *result = jinja_bool(holds);
    return true;
}

/* Tests that only look at the subject: a predicate each, and a function that asks it. */
#define KIND_TEST(name, condition)                                                                 \
    static bool test_##name(struct jinja_render *render, const struct jinja_call *call,            \
                            struct jinja_value *result) {                                          \
        (void)render;                                                                              \
        const struct jinja_value *subject = &call->subject;                                        \
        return answer(result, condition);                                                          \
    }

KIND_TEST(defined, !jinja_is_undefined(subject))
KIND_TEST(undefined, jinja_is_undefined(subject))
KIND_TEST(none, subject->kind == JINJA_NONE)
KIND_TEST(boolean, subject->kind == JINJA_BOOL)
KIND_TEST(true, subject->kind == JINJA_BOOL && subject->boolean)
KIND_TEST(false, subject->kind == JINJA_BOOL && !subject->boolean)
KIND_TEST(integer, subject->kind == JINJA_INTEGER)
KIND_TEST(float, subject->kind == JINJA_FLOAT)
KIND_TEST(number, jinja_is_number(subject))
KIND_TEST(string, subject->kind == JINJA_STRING)
KIND_TEST(mapping, subject->kind == JINJA_DICT)
KIND_TEST(iterable, jinja_is_iterable(subject))
KIND_TEST(escaped, subject->kind == JINJA_STRING && subject->safe)
/* What has a length and elements: dicts too, but not their views. */
KIND_TEST(sequence,
          jinja_has_length(subject) && subject->kind != JINJA_VIEW && subject->kind != JINJA_LOOP)
KIND_TEST(callable, subject->kind == JINJA_MACRO || subject->kind == JINJA_METHOD ||
                        subject->kind == JINJA_FUNCTION || subject->kind == JINJA_LOOP ||
                        subject->kind == JINJA_UNDEFINED)
KIND_TEST(filter, subject->kind == JINJA_STRING && jinja_find_filter(subject->text) != NULL)
KIND_TEST(test, subject->kind == JINJA_STRING && jinja_find_test(subject->text) != NULL)

/* subject % divisor == remainder. */
static bool test_remainder(struct jinja_render *render, const struct jinja_value *subject,
                           struct jinja_value divisor, int64_t remainder,
                           struct jinja_value *result) {
    struct jinja_value left, right = jinja_integer(remainder);
    bool equal;
    if (!jinja_binary(render, JINJA_MODULO, subject, &divisor, &left) ||
        !jinja_equal(render, &left, &right, &equal)) {
        return false;
    }
    return answer(result, equal);
}

static bool test_odd(struct jinja_render *render, const struct jinja_call *call,
                     struct jinja_value *result) {
    return test_remainder(render, &call->subject, jinja_integer(2), 1, result);
}

static bool test_even(struct jinja_render *render, const struct jinja_call *call,
                      struct jinja_value *result) {
    return test_remainder(render, &call->subject, jinja_integer(2), 0, result);
}

static bool test_divisibleby(struct jinja_render *render, const struct jinja_call *call,
                             struct jinja_value *result) {
    return test_remainder(render, &call->subject, call->arguments[0], 0, result);
}

/* str.islower() or isupper(): some letter has this case, and none has the other. */
static bool test_case(struct jinja_render *render, const struct jinja_call *call,
                      bool (*wanted)(uint32_t), bool (*other)(uint32_t),
                      struct jinja_value *result) {
    struct string_view text;
    bool any = false;
    if (!jinja_to_text(render, &call->subject, &text) ||
        !jinja_spend_characters(render, text.length)) {
        return false;
    }
    size_t bytes;
    for (size_t at = 0; at < text.length; at += bytes) {
        uint32_t code_point = 0;
        utf8_decode(text.data + at, text.length - at, &code_point);
        bytes = jinja_character_bytes(text.data + at, text.length - at);
        if (other(code_point)) {
            return answer(result, false);
        }
        any = any || wanted(code_point);
    }
    return answer(result, any);
}

static bool test_lower(struct jinja_render *render, const struct jinja_call *call,
                       struct jinja_value *result) {
    return test_case(render, call, jinja_is_lower, jinja_is_upper, result);
}

static bool test_upper(struct jinja_render *render, const struct jinja_call *call,
                       struct jinja_value *result) {
    return test_case(render, call, jinja_is_upper, jinja_is_lower, result);
}

/* Python's `is`: the same object; for small values, which have no identity here, an equal one. */
static bool test_sameas(struct jinja_render *render, const struct jinja_call *call,
                        struct jinja_value *result) {
    const struct jinja_value *a = &call->subject, *b = &call->arguments[0];
    bool equal = false;
    if (a->kind == b->kind) {
        if (jinja_is_sequence(a)) {
            equal = a->list == b->list;
        } else if (a->kind == JINJA_DICT) {
            equal = a->dict == b->dict;
        } else if (!jinja_equal(render, a, b, &equal)) {
            return false;
        }
    }
    return answer(result, equal);
}

static bool test_in(struct jinja_render *render, const struct jinja_call *call,
                    struct jinja_value *result) {
    bool contains;
    return jinja_contains(render, &call->arguments[0], &call->subject, &contains) &&
           answer(result, contains);
}

static bool test_eq(struct jinja_render *render, const struct jinja_call *call,
                    struct jinja_value *result) {
    bool equal;
    return jinja_equal(render, &call->subject, &call->arguments[0], &equal) &&
           answer(result, equal);
}

static bool test_ne(struct jinja_render *render, const struct jinja_call *call,
                    struct jinja_value *result) {
    bool equal;
    return jinja_equal(render, &call->subject, &call->arguments[0], &equal) &&
           answer(result, !equal);
}

static bool test_order(struct jinja_render *render, const struct jinja_call *call,
                       enum jinja_order wanted, bool or_same, struct jinja_value *result) {
    enum jinja_order order;
    return jinja_compare(render, &call->subject, &call->arguments[0], &order) &&
           answer(result, order == wanted || (or_same && order == JINJA_SAME));
}

static bool test_lt(struct jinja_render *render, const struct jinja_call *call,
                    struct jinja_value *result) {
    return test_order(render, call, JINJA_LESS, false, result);
}

static bool test_le(struct jinja_render *render, const struct jinja_call *call,
                    struct jinja_value *result) {
    return test_order(render, call, JINJA_LESS, true, result);
}

static bool test_gt(struct jinja_render *render, const struct jinja_call *call,
                    struct jinja_value *result) {
    return test_order(render, call, JINJA_GREATER, false, result);
}

static bool test_ge(struct jinja_render *render, const struct jinja_call *call,
                    struct jinja_value *result) {
    return test_order(render, call, JINJA_GREATER, true, result);
}

const struct jinja_builtin jinja_tests[] = {
    {"defined", test_defined, {0}},
    {"undefined", test_undefined, {0}},
    {"none", test_none, {0}},
    {"boolean", test_boolean, {0}},
    {"true", test_true, {0}},
    {"false", test_false, {0}},
    {"integer", test_integer, {0}},
    {"float", test_float, {0}},
    {"number", test_number, {0}},
    {"string", test_string, {0}},
    {"mapping", test_mapping, {0}},
    {"sequence", test_sequence, {0}},
    {"iterable", test_iterable, {0}},
    {"callable", test_callable, {0}},
    {"escaped", test_escaped, {0}},
    {"filter", test_filter, {0}},
    {"test", test_test, {0}},
    {"odd", test_odd, {0}},
    {"even", test_even, {0}},
    {"divisibleby", test_divisibleby, {"num"}, .required = 1},
    {"lower", test_lower, {0}},
    {"upper", test_upper, {0}},
    {"sameas", test_sameas, {"other"}, .required = 1},
    {"in", test_in, {"seq"}, .required = 1},
    {"==", test_eq, {"other"}, .required = 1},
    {"eq", test_eq, {"other"}, .required = 1},
    {"equalto", test_eq, {"other"}, .required = 1},
    {"!=", test_ne, {"other"}, .required = 1},
    {"ne", test_ne, {"other"}, .required = 1},
    {"<", test_lt, {"other"}, .required = 1},
    {"lt", test_lt, {"other"}, .required = 1},
    {"lessthan", test_lt, {"other"}, .required = 1},
    {"<=", test_le, {"other"}, .required = 1},
    {"le", test_le, {"other"}, .required = 1},
    {">", test_gt, {"other"}, .required = 1},
    {"gt", test_gt, {"other"}, .required = 1},
    {"greaterthan", test_gt, {"other"}, .required = 1},
    {">=", test_ge, {"other"}, .required = 1},
    {"ge", test_ge, {"other"}, .required = 1},
    {0},
};
