/* methods.c - methods of lists, tuples and dicts. */
#include "text/jinja/builtin.h"

#include <string.h>

/* What Hugging Face's sandbox refuses, but templates written for other engines use: lists made by
 * the template, and copies of the caller's, can grow and shrink. */
static bool list_append(struct jinja_render *render, const struct jinja_call *call,
                        struct jinja_value *result) {
    *result = jinja_none();
    return jinja_list_append(render, call->subject.list, call->arguments[0]);
}

static bool list_pop(struct jinja_render *render, const struct jinja_call *call,
                     struct jinja_value *result) {
    struct jinja_list *list = call->subject.list;
    int64_t index = -1;
    if (jinja_given(&call->arguments[0])) {
        if (!jinja_expect_integer(render, &call->arguments[0], "pop's index")) {
            return false;
        }
        index = jinja_integral(&call->arguments[0]);
    }
    if (index < 0) {
        index += (int64_t)list->count;
    }
    if (index < 0 || (size_t)index >= list->count) {
        return jinja_fail(render, "pop index out of range");
    }
    size_t at = (size_t)index;
    *result = list->items[at];
    size_t behind = list->count - at - 1;
    memmove(&list->items[at], &list->items[at + 1], behind * sizeof *list->items);
    list->count--;
    return jinja_spend_bytes(render, behind * sizeof *list->items);
}

static bool list_copy(struct jinja_render *render, const struct jinja_call *call,
                      struct jinja_value *result) {
    return jinja_collect(render, &call->subject, result);
}

static bool list_index(struct jinja_render *render, const struct jinja_call *call,
                       struct jinja_value *result) {
    const struct jinja_list *list = call->subject.list;
    for (size_t i = 0; i < list->count; i++) {
        bool equal;
        if (!jinja_equal(render, &list->items[i], &call->arguments[0], &equal)) {
            return false;
        }
        if (equal) {
            *result = jinja_integer((int64_t)i);
            return true;
        }
    }
    return jinja_fail(render, "index(): the value is not in the list");
}

static bool list_count(struct jinja_render *render, const struct jinja_call *call,
                       struct jinja_value *result) {
    const struct jinja_list *list = call->subject.list;
    int64_t count = 0;
    for (size_t i = 0; i < list->count; i++) {
        bool equal;
        if (!jinja_equal(render, &list->items[i], &call->arguments[0], &equal)) {
            return false;
        }
        count += equal;
    }
    *result = jinja_integer(count);
    return true;
}

static bool dict_get(struct jinja_render *render, const struct jinja_call *call,
                     struct jinja_value *result) {
    struct jinja_value *found;
    if (!jinja_is_hashable(render, &call->arguments[0])) {
        return jinja_fail(render, "unhashable type: '%s'", jinja_type_name(&call->arguments[0]));
    }
    if (!jinja_dict_find(render, call->subject.dict, &call->arguments[0], &found)) {
        return false;
    }
    *result = found != NULL                      ? *found
              : jinja_given(&call->arguments[1]) ? call->arguments[1]
                                                 : jinja_none();
    return true;
}

static bool dict_view(struct jinja_render *render, const struct jinja_call *call,
                      enum jinja_view_part part, struct jinja_value *result) {
    struct jinja_view *view = jinja_alloc(render, 1, sizeof *view);
    if (view == NULL) {
        return false;
    }
    *view = (struct jinja_view){.dict = call->subject.dict, .part = part};
    *result = (struct jinja_value){.kind = JINJA_VIEW, .view = view};
    return true;
}

static bool dict_keys(struct jinja_render *render, const struct jinja_call *call,
                      struct jinja_value *result) {
    return dict_view(render, call, JINJA_KEYS, result);
}

static bool dict_values(struct jinja_render *render, const struct jinja_call *call,
                        struct jinja_value *result) {
    return dict_view(render, call, JINJA_VALUES, result);
}

static bool dict_items(struct jinja_render *render, const struct jinja_call *call,
                       struct jinja_value *result) {
    return dict_view(render, call, JINJA_ITEMS, result);
}

/* Dicts never change, so a copy is the same dict. */
static bool dict_copy(struct jinja_render *render, const struct jinja_call *call,
                      struct jinja_value *result) {
    (void)render;
    *result = call->subject;
    return true;
}

const struct jinja_builtin jinja_list_methods[] = {
    {"append", list_append, {"object"}, .required = 1},
    {"pop", list_pop, {"index"}},
    {"copy", list_copy, {0}},
    {"index", list_index, {"value"}, .required = 1},
    {"count", list_count, {"value"}, .required = 1},
    {0},
};

const struct jinja_builtin jinja_tuple_methods[] = {
    {"index", list_index, {"value"}, .required = 1},
    {"count", list_count, {"value"}, .required = 1},
    {0},
};

const struct jinja_builtin jinja_dict_methods[] = {
    {"get", dict_get, {"key", "default"}, .required = 1},
    {"keys", dict_keys, {0}},
    {"values", dict_values, {0}},
    {"items", dict_items, {0}},
    {"copy", dict_copy, {0}},
    {0},
};
