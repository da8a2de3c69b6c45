/* operators.c - see operators.h. */
#include "text/jinja/operators.h"

#include "text/jinja/builtin.h"
#include "text/jinja/loop.h"
#include "text/jinja/print.h"
#include "text/jinja/text.h"

#include "base/bytes.h"

#include <math.h>
#include <string.h>

static const char *const operator_texts[JINJA_OPERATOR_COUNT] = {"+",  "-", "*", "/",
                                                                 "//", "%", "**"};

static bool fail_operands(struct jinja_render *render, enum jinja_operator operation,
                          const struct jinja_value *left, const struct jinja_value *right) {
    if (jinja_is_undefined(left) || jinja_is_undefined(right)) {
        return jinja_fail_undefined(render, jinja_is_undefined(left) ? left : right);
    }
    return jinja_fail(render, "unsupported operand types for %s: '%s' and '%s'",
                      operator_texts[operation], jinja_type_name(left), jinja_type_name(right));
}

static bool fail_overflow(struct jinja_render *render) {
    return jinja_fail(render, "an integer does not fit in 64 bits");
}

static bool fail_zero(struct jinja_render *render) {
    return jinja_fail(render, "division by zero");
}

/* Rounds towards minus infinity, as Python does. */
static bool floor_divide(struct jinja_render *render, int64_t left, int64_t right,
                         int64_t *quotient, int64_t *remainder) {
    if (right == 0) {
        return fail_zero(render);
    }
    if (left == INT64_MIN && right == -1) {
        return fail_overflow(render);
    }
    *quotient = left / right;
    *remainder = left % right;
    if (*remainder != 0 && (*remainder < 0) != (right < 0)) {
        *quotient -= 1;
        *remainder += right;
    }
    return true;
}

static bool integer_power(struct jinja_render *render, int64_t base, int64_t exponent,
                          struct jinja_value *result) {
    if (exponent < 0) {
        if (base == 0) {
            return fail_zero(render);
        }
        *result = jinja_float(pow((double)base, (double)exponent));
        return true;
    }
    int64_t power = 1;
    while (exponent > 0) {
        if ((exponent & 1) != 0 && __builtin_mul_overflow(power, base, &power)) {
            return fail_overflow(render);
        }
        exponent >>= 1;
        if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) {
            return fail_overflow(render);
        }
    }
    *result = jinja_integer(power);
    return true;
}

static bool integer_binary(struct jinja_render *render, enum jinja_operator operation, int64_t left,
                           int64_t right, struct jinja_value *result) {
    int64_t value = 0, other;
    bool overflow = false;
    switch (operation) {
    case JINJA_ADD:
        overflow = __builtin_add_overflow(left, right, &value);
        break;
    case JINJA_SUBTRACT:
        overflow = __builtin_sub_overflow(left, right, &value);
        break;
    case JINJA_MULTIPLY:
        overflow = __builtin_mul_overflow(left, right, &value);
        break;
    case JINJA_DIVIDE:
        if (right == 0) {
            return fail_zero(render);
        }
        *result = jinja_float((double)left / (double)right);
        return true;
    case JINJA_FLOOR_DIVIDE:
        if (!floor_divide(render, left, right, &value, &other)) {
            return false;
        }
        break;
    case JINJA_MODULO:
        if (!floor_divide(render, left, right, &other, &value)) {
            return false;
        }
        break;
    default:
        return integer_power(render, left, right, result);
    }
    *result = jinja_integer(value);
    return !overflow || fail_overflow(render);
}

static bool float_binary(struct jinja_render *render, enum jinja_operator operation, double left,
                         double right, struct jinja_value *result) {
    double value = 0;
    bool divides =
        operation == JINJA_DIVIDE || operation == JINJA_FLOOR_DIVIDE || operation == JINJA_MODULO;
    if ((divides && right == 0) || (operation == JINJA_POWER && left == 0 && right < 0)) {
        return fail_zero(render);
    }
    switch (operation) {
    case JINJA_ADD:
        value = left + right;
        break;
    case JINJA_SUBTRACT:
        value = left - right;
        break;
    case JINJA_MULTIPLY:
        value = left * right;
        break;
    case JINJA_DIVIDE:
        value = left / right;
        break;
    case JINJA_FLOOR_DIVIDE:
        value = floor(left / right);
        break;
    case JINJA_MODULO:
        value = fmod(left, right);
        value += value != 0 && (value < 0) != (right < 0) ? right : 0;
        break;
    default:
        value = pow(left, right);
        break;
    }
    *result = jinja_float(value);
    return true;
}

/* When one side is marked safe, the other is escaped and the sum is safe. */
static bool add_strings(struct jinja_render *render, struct jinja_value left,
                        struct jinja_value right, struct jinja_value *result) {
    bool safe = left.safe || right.safe;
    if (safe && (!jinja_escape(render, &left, &left) || !jinja_escape(render, &right, &right))) {
        return false;
    }
    size_t length;
    if (!size_add(left.text.length, right.text.length, &length)) {
        return jinja_fail_memory(render);
    }
    uint8_t *own;
    char *joined = jinja_alloc_text(render, length, &own);
    if (joined == NULL) {
        return false;
    }
    jinja_copy_text(render, joined, own, left.text.data, left.text.length);
    jinja_copy_text(render, joined + left.text.length, own == NULL ? NULL : own + left.text.length,
                    right.text.data, right.text.length);
    *result = jinja_string((struct string_view){joined, length});
    result->safe = safe;
    return true;
}

static bool add_lists(struct jinja_render *render, const struct jinja_value *left,
                      const struct jinja_value *right, struct jinja_value *result) {
    size_t left_count = left->list->count, right_count = right->list->count;
    if (!jinja_new_list(render, left->kind, left_count + right_count, result)) {
        return false;
    }
    struct jinja_list *list = result->list;
    if (left_count > 0) {
        memcpy(list->items, left->list->items, left_count * sizeof *list->items);
    }
    if (right_count > 0) {
        memcpy(list->items + left_count, right->list->items, right_count * sizeof *list->items);
    }
    list->count = left_count + right_count;
    return true;
}

static bool repeat(struct jinja_render *render, const struct jinja_value *value, int64_t times,
                   struct jinja_value *result) {
    size_t count = times < 0 ? 0 : (size_t)times;
    if (value->kind == JINJA_STRING) {
        struct jinja_builder builder = {.render = render};
        jinja_append_repeated(&builder, value->text, count);
        bool done = jinja_finish(&builder, result);
        result->safe = value->safe;
        return done;
    }
    const struct jinja_list *list = value->list;
    size_t total;
    if (!size_multiply(count, list->count, &total)) {
        return jinja_fail_memory(render);
    }
    if (!jinja_new_list(render, value->kind, total, result)) {
        return false;
    }
    for (size_t i = 0; i < total; i++) {
        result->list->items[i] = list->items[i % list->count];
    }
    result->list->count = total;
    return true;
}

static bool is_repeatable(const struct jinja_value *value) {
    return value->kind == JINJA_STRING || jinja_is_sequence(value);
}

bool jinja_binary(struct jinja_render *render, enum jinja_operator operation,
                  const struct jinja_value *left, const struct jinja_value *right,
                  struct jinja_value *result) {
    if (jinja_is_integral(left) && jinja_is_integral(right)) {
        return integer_binary(render, operation, jinja_integral(left), jinja_integral(right),
                              result);
    }
    if (jinja_is_number(left) && jinja_is_number(right)) {
        return float_binary(render, operation, jinja_number(left), jinja_number(right), result);
    }
    if (operation == JINJA_ADD && left->kind == right->kind) {
        if (left->kind == JINJA_STRING) {
            return add_strings(render, *left, *right, result);
        }
        if (jinja_is_sequence(left)) {
            return add_lists(render, left, right, result);
        }
    }
    if (operation == JINJA_MULTIPLY && is_repeatable(left) && jinja_is_integral(right)) {
        return repeat(render, left, jinja_integral(right), result);
    }
    if (operation == JINJA_MULTIPLY && is_repeatable(right) && jinja_is_integral(left)) {
        return repeat(render, right, jinja_integral(left), result);
    }
    if (operation == JINJA_MODULO && left->kind == JINJA_STRING) {
        return jinja_format_percent(render, left, right, result);
    }
    return fail_operands(render, operation, left, right);
}

bool jinja_negate(struct jinja_render *render, const struct jinja_value *operand,
                  struct jinja_value *result) {
    if (operand->kind == JINJA_FLOAT) {
        *result = jinja_float(-operand->number);
        return true;
    }
    if (!jinja_is_integral(operand)) {
        return jinja_is_undefined(operand)
                   ? jinja_fail_undefined(render, operand)
                   : jinja_fail(render, "bad operand type for unary -: '%s'",
                                jinja_type_name(operand));
    }
    if (jinja_integral(operand) == INT64_MIN) {
        return fail_overflow(render);
    }
    *result = jinja_integer(-jinja_integral(operand));
    return true;
}

static struct jinja_value lacking(const struct jinja_value *object, struct string_view name) {
    return (struct jinja_value){.kind = JINJA_UNDEFINED, .owner = object->kind, .text = name};
}

/* A method, or an attribute of a loop or namespace. */
static bool find_attribute(struct jinja_render *render, const struct jinja_value *object,
                           struct string_view name, struct jinja_value *result, bool *found) {
    *found = false;
    if (object->kind == JINJA_LOOP &&
        !jinja_loop_attribute(render, object->loop, name, result, found)) {
        return false;
    }
    if (object->kind == JINJA_NAMESPACE) {
        struct jinja_value *value;
        if (!jinja_dict_find_text(render, object->dict, name, &value)) {
            return false;
        }
        *found = value != NULL;
        *result = value != NULL ? *value : *result;
        return true;
    }
    const struct jinja_builtin *builtin = *found ? NULL : jinja_find_method(object->kind, name);
    if (!jinja_spend(render, JINJA_STEPS_OF_LOOK_UP)) {
        return false;
    }
    if (builtin != NULL) {
        struct jinja_method *method = jinja_alloc(render, 1, sizeof *method);
        if (method == NULL) {
            return false;
        }
        *method = (struct jinja_method){.subject = *object, .builtin = builtin};
        *result = (struct jinja_value){.kind = JINJA_METHOD, .method = method};
        *found = true;
    }
    return true;
}

bool jinja_attribute(struct jinja_render *render, const struct jinja_value *object,
                     struct string_view name, struct jinja_value *result) {
    if (jinja_is_undefined(object)) {
        return jinja_fail_undefined(render, object);
    }
    bool found;
    if (!find_attribute(render, object, name, result, &found)) {
        return false;
    }
    if (!found && object->kind == JINJA_DICT) {
        struct jinja_value *value;
        if (!jinja_dict_find_text(render, object->dict, name, &value)) {
            return false;
        }
        if (value != NULL) {
            *result = *value;
            return true;
        }
    }
    if (!found) {
        *result = lacking(object, name);
    }
    return true;
}

/* Python's index: from the end when negative. False when there is no such element. */
static bool find_index(int64_t index, size_t count, size_t *at) {
    if (index < 0) {
        index += (int64_t)count;
    }
    *at = (size_t)index;
    return index >= 0 && (size_t)index < count;
}

static bool indexed_element(struct jinja_render *render, const struct jinja_value *object,
                            int64_t index, struct jinja_value *result, bool *found) {
    size_t count, at;
    if (!jinja_length(render, object, &count)) {
        return false;
    }
    *found = find_index(index, count, &at);
    if (!*found) {
        return true;
    }
    if (object->kind == JINJA_RANGE) {
        *result = jinja_integer(object->range->start + (int64_t)at * object->range->step);
    } else if (object->kind == JINJA_STRING) {
        struct string_view rest =
            jinja_text_from(object->text, jinja_text_offset(object->text, at));
        rest.length = jinja_character_bytes(rest.data, rest.length);
        *result = jinja_string(rest);
        result->safe = object->safe;
        return jinja_spend_characters(render, object->text.length);
    } else {
        *result = object->list->items[at];
    }
    return true;
}

bool jinja_element(struct jinja_render *render, const struct jinja_value *object,
                   const struct jinja_value *key, struct jinja_value *result) {
    bool found = false;
    if (jinja_is_undefined(object)) {
        return jinja_fail_undefined(render, object);
    }
    if (object->kind == JINJA_DICT && jinja_is_hashable(render, key)) {
        struct jinja_value *value;
        if (!jinja_dict_find(render, object->dict, key, &value)) {
            return false;
        }
        if (value != NULL) {
            *result = *value;
            return true;
        }
    } else if (jinja_is_integral(key) &&
               (jinja_is_sequence(object) || object->kind == JINJA_STRING ||
                object->kind == JINJA_RANGE)) {
        if (!indexed_element(render, object, jinja_integral(key), result, &found)) {
            return false;
        }
    }
    if (!found && key->kind == JINJA_STRING &&
        !find_attribute(render, object, key->text, result, &found)) {
        return false;
    }
    if (!found) {
        struct string_view name;
        if (!jinja_to_text(render, key, &name)) {
            return false;
        }
        *result = lacking(object, name);
    }
    return true;
}

/* One bound of a slice, as an offset into [low, high]. */
static bool slice_bound(struct jinja_render *render, const struct jinja_value *bound, size_t count,
                        int64_t low, int64_t high, int64_t missing, int64_t *at) {
    if (bound->kind == JINJA_NONE) {
        *at = missing;
        return true;
    }
    if (!jinja_expect_integer(render, bound, "a slice's bound")) {
        return false;
    }
    int64_t value = jinja_integral(bound);
    if (value < 0) {
        value = value < -(int64_t)count ? low : value + (int64_t)count;
    }
    *at = value < low ? low : value > high ? high : value;
    return true;
}

/* The indices that a slice takes: `taken` of them, from `start` by `step`, before `stop`. */
struct slice {
    int64_t start, stop, step;
    size_t taken;
};

static bool slice_indices(struct jinja_render *render, const struct jinja_value bounds[3],
                          size_t count, struct slice *slice) {
    slice->step = 1;
    if (bounds[2].kind != JINJA_NONE) {
        if (!jinja_expect_integer(render, &bounds[2], "a slice's step")) {
            return false;
        }
        slice->step = jinja_integral(&bounds[2]);
        if (slice->step == 0 || slice->step == INT64_MIN) {
            return jinja_fail(render, "slice step cannot be zero");
        }
    }
    bool back = slice->step < 0;
    int64_t low = back ? -1 : 0, high = back ? (int64_t)count - 1 : (int64_t)count;
    if (!slice_bound(render, &bounds[0], count, low, high, back ? high : low, &slice->start) ||
        !slice_bound(render, &bounds[1], count, low, high, back ? low : high, &slice->stop)) {
        return false;
    }
    int64_t span = back ? slice->start - slice->stop : slice->stop - slice->start;
    int64_t stride = back ? -slice->step : slice->step;
    slice->taken = span <= 0 ? 0 : (size_t)((span - 1) / stride) + 1;
    return true;
}

static bool slice_text(struct jinja_render *render, const struct jinja_value *object,
                       const struct slice *slice, struct jinja_value *result) {
    struct string_view text = object->text;
    if (!jinja_spend_characters(render, text.length)) {
        return false;
    }
    if (slice->step == 1) {
        size_t from = jinja_text_offset(text, (size_t)slice->start);
        struct string_view rest = jinja_text_from(text, from);
        *result = jinja_string(jinja_text_until(rest, jinja_text_offset(rest, slice->taken)));
        result->safe = object->safe;
        return true;
    }
    struct jinja_value characters;
    if (!jinja_collect(render, object, &characters)) {
        return false;
    }
    struct jinja_builder builder = {.render = render};
    for (size_t i = 0; i < slice->taken; i++) {
        size_t at = (size_t)(slice->start + (int64_t)i * slice->step);
        jinja_append_view(&builder, characters.list->items[at].text);
    }
    bool done = jinja_finish(&builder, result);
    result->safe = object->safe;
    return done;
}

/* A range again. */
static bool slice_range(struct jinja_render *render, const struct jinja_range *object,
                        const struct slice *slice, struct jinja_value *result) {
    struct jinja_range *range = jinja_alloc(render, 1, sizeof *range);
    int64_t start, stop;
    if (range == NULL) {
        return false;
    }
    range->count = slice->taken;
    if (__builtin_mul_overflow(object->step, slice->step, &range->step) ||
        __builtin_mul_overflow(object->step, slice->start, &start) ||
        __builtin_mul_overflow(object->step, slice->stop, &stop) ||
        __builtin_add_overflow(object->start, start, &range->start) ||
        __builtin_add_overflow(object->start, stop, &range->stop)) {
        return fail_overflow(render);
    }
    *result = (struct jinja_value){.kind = JINJA_RANGE, .range = range};
    return true;
}

bool jinja_slice(struct jinja_render *render, const struct jinja_value *object,
                 const struct jinja_value bounds[3], struct jinja_value *result) {
    if (jinja_is_undefined(object)) {
        return jinja_fail_undefined(render, object);
    }
    bool is_range = object->kind == JINJA_RANGE;
    if (object->kind != JINJA_STRING && !is_range && !jinja_is_sequence(object)) {
        return jinja_fail(render, "'%s' object cannot be sliced", jinja_type_name(object));
    }
    size_t count = 0;
    struct slice slice = {0};
    if (!jinja_length(render, object, &count) || !slice_indices(render, bounds, count, &slice)) {
        return false;
    }
    if (object->kind == JINJA_STRING) {
        return slice_text(render, object, &slice, result);
    }
    if (is_range) {
        return slice_range(render, object->range, &slice, result);
    }
    if (!jinja_new_list(render, object->kind, slice.taken, result)) {
        return false;
    }
    for (size_t i = 0; i < slice.taken; i++) {
        result->list->items[i] = object->list->items[slice.start + (int64_t)i * slice.step];
    }
    result->list->count = slice.taken;
    return true;
}

/* One part of a path: a number is an index. */
static struct jinja_value path_key(struct string_view name) {
    int64_t number = 0;
    bool digits = name.length > 0 && name.length < 18;
    for (size_t i = 0; digits && i < name.length; i++) {
        digits = name.data[i] >= '0' && name.data[i] <= '9';
        number = number * 10 + (name.data[i] - '0');
    }
    return digits ? jinja_integer(number) : jinja_string(name);
}

bool jinja_path(struct jinja_render *render, const struct jinja_value *object,
                const struct jinja_value *path, const struct jinja_value *otherwise,
                struct jinja_value *result) {
    struct string_view rest = path->kind == JINJA_STRING ? path->text : (struct string_view){0};
    *result = *object;
    if (path->kind == JINJA_NONE || path->kind == JINJA_MISSING) {
        return true;
    }
    for (bool more = true; more;) {
        size_t dot = jinja_text_find(rest, string_view_of("."), 0);
        struct jinja_value key =
            path->kind == JINJA_STRING ? path_key(jinja_text_until(rest, dot)) : *path;
        struct jinja_value current = *result;
        if (!jinja_spend(render, 1) || !jinja_element(render, &current, &key, result)) {
            return false;
        }
        if (jinja_is_undefined(result) && otherwise != NULL && otherwise->kind != JINJA_NONE) {
            *result = *otherwise;
        }
        more = dot != JINJA_NOT_FOUND;
        rest = more ? jinja_text_from(rest, dot + 1) : rest;
    }
    return true;
}
