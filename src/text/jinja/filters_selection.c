/* filters_selection.c - map, select, reject and their kin: filters that call others by name.
 */
#include "text/jinja/builtin.h"
#include "text/jinja/operators.h"

#include "base/bytes.h"

static bool fail_unknown(struct jinja_render *render, const char *what,
                         const struct jinja_value *name) {
    if (name->kind != JINJA_STRING) {
        return jinja_fail(render, "a %s's name must be a string", what);
    }
    return jinja_fail(render, "no %s named '%.*s'", what, (int)size_min(name->text.length, 40),
                      name->text.data);
}

/* map(attribute="a.b", default=x). */
static bool map_attribute(struct jinja_render *render, const struct jinja_call *call,
                          const struct jinja_value *item, struct jinja_value *result) {
    const struct jinja_value *path = NULL, *otherwise = NULL;
    for (size_t i = 0; i < call->keyword_count; i++) {
        if (string_view_is(call->keywords[i].name, "attribute")) {
            path = &call->keywords[i].value;
        } else if (string_view_is(call->keywords[i].name, "default")) {
            otherwise = &call->keywords[i].value;
        } else {
            return jinja_fail(render, "map() got an unexpected keyword argument");
        }
    }
    if (path == NULL) {
        return jinja_fail(render, "map requires a filter argument");
    }
    return jinja_path(render, item, path, otherwise, result);
}

/* map("upper"), map("replace", "a", "b"): the rest of the arguments are the filter's. */
static bool map_filter(struct jinja_render *render, const struct jinja_call *call,
                       const struct jinja_value *item, struct jinja_value *result) {
    const struct jinja_value *name = &call->arguments[0];
    const struct jinja_builtin *filter =
        name->kind == JINJA_STRING ? jinja_find_filter(name->text) : NULL;
    if (filter == NULL) {
        return fail_unknown(render, "filter", name);
    }
    if (!jinja_spend(render, JINJA_STEPS_OF_LOOK_UP)) {
        return false;
    }
    struct jinja_call inner = *call;
    inner.subject = *item;
    inner.arguments++;
    inner.count--;
    if (!jinja_enter(render)) { /* a filter may be map again */
        return false;
    }
    bool done = jinja_call_builtin(render, filter, &inner, result);
    jinja_leave(render);
    return done;
}

static bool filter_map(struct jinja_render *render, const struct jinja_call *call,
                       struct jinja_value *result) {
    struct jinja_iteration iteration;
    struct jinja_value list, item, mapped = jinja_none();
    if (!jinja_new_list(render, JINJA_LIST, 0, &list)) {
        return false;
    }
    if (jinja_truth(&call->subject)) {
        if (!jinja_iterate(render, &call->subject, &iteration)) {
            return false;
        }
        while (jinja_next(render, &iteration, &item)) {
            bool done = call->count > 0 ? map_filter(render, call, &item, &mapped)
                                        : map_attribute(render, call, &item, &mapped);
            if (!done || !jinja_list_append(render, list.list, mapped)) {
                return false;
            }
        }
    }
    return !render->failed && jinja_new_iterator(render, list, result);
}

/* Whether an item, or the part of it that the first argument names, passes the test that the next
 * argument names; without one, whether it is true. */
static bool passes(struct jinja_render *render, const struct jinja_call *call, bool by_attribute,
                   const struct jinja_value *item, bool *passed) {
    struct jinja_call inner = *call;
    struct jinja_value verdict;
    inner.subject = *item;
    if (by_attribute) {
        if (!jinja_path(render, item, &call->arguments[0], NULL, &inner.subject)) {
            return false;
        }
        inner.arguments++;
        inner.count--;
    }
    if (inner.count == 0) {
        *passed = jinja_truth(&inner.subject);
        return true;
    }
    const struct jinja_value *name = &inner.arguments[0];
    const struct jinja_builtin *test =
        name->kind == JINJA_STRING ? jinja_find_test(name->text) : NULL;
    if (test == NULL) {
        return fail_unknown(render, "test", name);
    }
    inner.arguments++;
    inner.count--;
    if (!jinja_spend(render, JINJA_STEPS_OF_LOOK_UP) ||
        !jinja_call_builtin(render, test, &inner, &verdict)) {
        return false;
    }
    *passed = jinja_truth(&verdict);
    return true;
}

static bool select_items(struct jinja_render *render, const struct jinja_call *call,
                         bool by_attribute, bool wanted, struct jinja_value *result) {
    struct jinja_iteration iteration;
    struct jinja_value list, item;
    bool passed = false;
    if (!jinja_new_list(render, JINJA_LIST, 0, &list)) {
        return false;
    }
    if (jinja_truth(&call->subject)) {
        if (by_attribute && call->count == 0) {
            return jinja_fail(render, "Missing parameter for attribute name");
        }
        if (!jinja_iterate(render, &call->subject, &iteration)) {
            return false;
        }
        while (jinja_next(render, &iteration, &item)) {
            if (!passes(render, call, by_attribute, &item, &passed) ||
                (passed == wanted && !jinja_list_append(render, list.list, item))) {
                return false;
            }
        }
    }
    return !render->failed && jinja_new_iterator(render, list, result);
}

static bool filter_select(struct jinja_render *render, const struct jinja_call *call,
                          struct jinja_value *result) {
    return select_items(render, call, false, true, result);
}

static bool filter_reject(struct jinja_render *render, const struct jinja_call *call,
                          struct jinja_value *result) {
    return select_items(render, call, false, false, result);
}

static bool filter_selectattr(struct jinja_render *render, const struct jinja_call *call,
                              struct jinja_value *result) {
    return select_items(render, call, true, true, result);
}

static bool filter_rejectattr(struct jinja_render *render, const struct jinja_call *call,
                              struct jinja_value *result) {
    return select_items(render, call, true, false, result);
}

const struct jinja_builtin jinja_selection_filters[] = {
    {"map", filter_map, .variadic = true},
    {"select", filter_select, .variadic = true},
    {"reject", filter_reject, .variadic = true},
    {"selectattr", filter_selectattr, .variadic = true},
    {"rejectattr", filter_rejectattr, .variadic = true},
    {0},
};
