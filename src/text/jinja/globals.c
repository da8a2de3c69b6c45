/* globals.c - the functions a template can call without an object. */
#include "text/jinja/builtin.h"
#include "text/jinja/print.h"

#include "base/bytes.h"
#include "base/utf8.h"

#include <string.h>
#include <time.h>

enum { MAX_RANGE = 100 * 1000 }; /* of Jinja's sandbox */

/* Copies what dict() and namespace() take: a dict or pairs, then keywords. */
static bool fill_dict(struct jinja_render *render, const struct jinja_call *call,
                      struct jinja_dict *dict) {
    struct jinja_iteration iteration;
    struct jinja_value source, item, pair;
    if (call->count > 1) {
        return jinja_fail(render, "dict expected at most 1 argument, got %zu", call->count);
    }
    source = call->count == 1 ? call->arguments[0] : jinja_undefined_because("");
    for (size_t i = 0; source.kind == JINJA_DICT && i < source.dict->count; i++) {
        struct jinja_entry entry = source.dict->entries[i];
        if (!jinja_dict_add(render, dict, entry.key, entry.value)) {
            return false;
        }
    }
    if (source.kind != JINJA_DICT && !jinja_iterate(render, &source, &iteration)) {
        return false;
    }
    while (source.kind != JINJA_DICT && jinja_next(render, &iteration, &item)) {
        if (!jinja_collect(render, &item, &pair)) {
            return false;
        }
        if (pair.list->count != 2) {
            return jinja_fail(render, "dict() needs pairs");
        }
        if (!jinja_dict_set(render, dict, pair.list->items[0], pair.list->items[1])) {
            return false;
        }
    }
    for (size_t i = 0; i < call->keyword_count; i++) {
        if (!jinja_dict_set(render, dict, jinja_string(call->keywords[i].name),
                            call->keywords[i].value)) {
            return false;
        }
    }
    return !render->failed;
}

static bool global_dict(struct jinja_render *render, const struct jinja_call *call,
                        struct jinja_value *result) {
    return jinja_new_dict(render, JINJA_DICT, call->keyword_count, result) &&
           fill_dict(render, call, result->dict);
}

static bool global_namespace(struct jinja_render *render, const struct jinja_call *call,
                             struct jinja_value *result) {
    return jinja_new_dict(render, JINJA_NAMESPACE, call->keyword_count, result) &&
           fill_dict(render, call, result->dict);
}

/* How many numbers there are from start to stop by step. */
static uint64_t range_count(int64_t start, int64_t stop, int64_t step) {
    if ((step > 0 && start >= stop) || (step < 0 && start <= stop)) {
        return 0;
    }
    uint64_t span = step > 0 ? (uint64_t)stop - (uint64_t)start : (uint64_t)start - (uint64_t)stop;
    uint64_t stride = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
    return (span - 1) / stride + 1;
}

static bool global_range(struct jinja_render *render, const struct jinja_call *call,
                         struct jinja_value *result) {
    int64_t bounds[3] = {0, 0, 1}; /* start, stop, step */
    size_t given = 0;
    while (given < 3 && jinja_given(&call->arguments[given])) {
        if (!jinja_expect_integer(render, &call->arguments[given], "range's argument")) {
            return false;
        }
        bounds[given] = jinja_integral(&call->arguments[given]);
        given++;
    }
    if (given == 1) {
        bounds[1] = bounds[0];
        bounds[0] = 0;
    }
    if (bounds[2] == 0) {
        return jinja_fail(render, "range() arg 3 must not be zero");
    }
    uint64_t count = range_count(bounds[0], bounds[1], bounds[2]);
    if (count > MAX_RANGE) {
        return jinja_fail(render, "Range too big. The sandbox blocks ranges larger than %d.",
                          MAX_RANGE);
    }
    struct jinja_range *range = jinja_alloc(render, 1, sizeof *range);
    if (range == NULL) {
        return false;
    }
    *range = (struct jinja_range){
        .start = bounds[0], .stop = bounds[1], .step = bounds[2], .count = (size_t)count};
    *result = (struct jinja_value){.kind = JINJA_RANGE, .range = range};
    return true;
}

/* The template's own refusal: its message becomes the error, on one line, cut between characters.
 */
static bool global_raise_exception(struct jinja_render *render, const struct jinja_call *call,
                                   struct jinja_value *result) {
    struct string_view text;
    char message[sizeof render->error->message];
    *result = jinja_none();
    if (!jinja_to_text(render, &call->arguments[0], &text)) {
        return false;
    }
    size_t length = size_min(text.length, sizeof message - 1);
    if (length < text.length) {
        length -= utf8_incomplete_tail(text.data, length);
    }
    for (size_t i = 0; i < length; i++) {
        message[i] = (unsigned char)text.data[i] < ' ' ? ' ' : text.data[i];
    }
    render->failed = true;
    render->raised = true;
    return error_set(render->error, ERROR_INVALID_ARGUMENT, "%.*s", (int)length, message);
}

static bool global_strftime_now(struct jinja_render *render, const struct jinja_call *call,
                                struct jinja_value *result) {
    enum { MAX_TEXT = 1024 };
    const struct jinja_value *given = &call->arguments[0];
    char format[MAX_TEXT], text[MAX_TEXT];
    if (!jinja_expect_string(render, given, "strftime_now's format") ||
        !jinja_spend(render, JINJA_STEPS_OF_DATE)) {
        return false;
    }
    if (given->text.length + 2 > sizeof format ||
        memchr(given->text.data, '\0', given->text.length) != NULL) {
        return jinja_fail(render, "strftime_now: the format is too long, or has a NUL in it");
    }
    /* One more character, so that an empty result differs from one that did not fit. */
    format[0] = '.';
    memcpy(format + 1, given->text.data, given->text.length);
    format[1 + given->text.length] = '\0';
    time_t now = (time_t)render->now_s;
    struct tm local;
    if (localtime_r(&now, &local) == NULL) {
        return jinja_fail(render, "strftime_now: the clock cannot be read");
    }
    size_t length = strftime(text, sizeof text, format, &local);
    if (length == 0) {
        return jinja_fail(render, "strftime_now: the result is too long");
    }
    struct jinja_builder builder = {.render = render};
    jinja_append(&builder, text + 1, length - 1);
    return jinja_finish(&builder, result);
}

const struct jinja_builtin jinja_globals[] = {
    {"range", global_range, {"start", "stop", "step"}, .required = 1},
    {"dict", global_dict, .variadic = true},
    {"namespace", global_namespace, .variadic = true},
    {"raise_exception", global_raise_exception, {"message"}, .required = 1},
    {"strftime_now", global_strftime_now, {"format"}, .required = 1},
    {0},
};
