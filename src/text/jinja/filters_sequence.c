/* filters_sequence.c - filters over lists, dicts and other iterables; and `default`. */
#include "text/jinja/builtin.h"
#include "text/jinja/operators.h"
#include "text/jinja/print.h"
#include "text/jinja/sort.h"
#include "text/jinja/text.h"

static bool filter_default(struct jinja_render *render, const struct jinja_call *call,
                           struct jinja_value *result) {
    (void)render;
    bool replace = jinja_is_undefined(&call->subject) ||
                   (jinja_truth(&call->arguments[1]) && !jinja_truth(&call->subject));
    *result = !replace                           ? call->subject
              : jinja_given(&call->arguments[0]) ? call->arguments[0]
                                                 : jinja_string((struct string_view){"", 0});
    return true;
}

static bool filter_length(struct jinja_render *render, const struct jinja_call *call,
                          struct jinja_value *result) {
    size_t length;
    bool done = jinja_length(render, &call->subject, &length);
    *result = jinja_integer(done ? (int64_t)length : 0);
    return done;
}

static bool filter_list(struct jinja_render *render, const struct jinja_call *call,
                        struct jinja_value *result) {
    return jinja_collect(render, &call->subject, result);
}

static bool filter_first(struct jinja_render *render, const struct jinja_call *call,
                         struct jinja_value *result) {
    struct jinja_iteration iteration;
    if (!jinja_iterate(render, &call->subject, &iteration)) {
        return false;
    }
    if (!jinja_next(render, &iteration, result)) {
        *result = jinja_undefined_because("No first item, sequence was empty.");
    }
    return !render->failed;
}

static bool filter_last(struct jinja_render *render, const struct jinja_call *call,
                        struct jinja_value *result) {
    struct jinja_value list;
    if (call->subject.kind == JINJA_ITERATOR) {
        return jinja_fail(render, "an iterator has no last item; use list first");
    }
    if (!jinja_collect(render, &call->subject, &list)) {
        return false;
    }
    *result = list.list->count > 0 ? list.list->items[list.list->count - 1]
                                   : jinja_undefined_because("No last item, sequence was empty.");
    return true;
}

static bool filter_items(struct jinja_render *render, const struct jinja_call *call,
                         struct jinja_value *result) {
    struct jinja_value list, pair;
    if (!jinja_new_list(render, JINJA_LIST, 0, &list)) {
        return false;
    }
    if (call->subject.kind != JINJA_DICT && !jinja_is_undefined(&call->subject)) {
        return jinja_fail(render, "Can only get item pairs from a mapping.");
    }
    const struct jinja_dict *dict =
        call->subject.kind == JINJA_DICT ? call->subject.dict : &(struct jinja_dict){0};
    for (size_t i = 0; i < dict->count; i++) {
        if (!jinja_new_pair(render, dict->entries[i].key, dict->entries[i].value, &pair) ||
            !jinja_list_append(render, list.list, pair)) {
            return false;
        }
    }
    return jinja_new_iterator(render, list, result);
}

/* What an item is sorted by: a part of it, in lower case unless the case matters. */
static bool sort_key(struct jinja_render *render, const struct jinja_value *item,
                     const struct jinja_value *path, bool case_sensitive, struct jinja_value *key) {
    if (!jinja_path(render, item, path, NULL, key)) {
        return false;
    }
    if (key->kind != JINJA_STRING || case_sensitive) {
        return true;
    }
    struct jinja_builder builder = {.render = render};
    if (!jinja_spend_characters(render, key->text.length)) {
        return false;
    }
    jinja_append_lower(&builder, key->text);
    return jinja_finish(&builder, key);
}

/* The same for a path with commas, which is several paths. The keys are in a list even when there
 * is one: lists compare equal items first, so that keys without an order may be equal. */
static bool sort_keys(struct jinja_render *render, const struct jinja_value *item,
                      const struct jinja_value *path, bool case_sensitive,
                      struct jinja_value *keys) {
    struct jinja_value part = *path, key;
    struct string_view rest = path->kind == JINJA_STRING ? path->text : (struct string_view){0};
    if (!jinja_new_list(render, JINJA_LIST, 1, keys)) {
        return false;
    }
    for (bool more = true; more;) {
        size_t comma = jinja_text_find(rest, string_view_of(","), 0);
        if (path->kind == JINJA_STRING) {
            part = jinja_string(jinja_text_until(rest, comma));
        }
        if (!sort_key(render, item, &part, case_sensitive, &key) ||
            !jinja_list_append(render, keys->list, key)) {
            return false;
        }
        more = comma != JINJA_NOT_FOUND;
        rest = more ? jinja_text_from(rest, comma + 1) : rest;
    }
    return true;
}

/* A list of the entries' values, in order. */
static bool list_of_values(struct jinja_render *render, const struct jinja_entry *entries,
                           size_t count, struct jinja_value *list) {
    if (!jinja_new_list(render, JINJA_LIST, count, list)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        list->list->items[list->list->count++] = entries[i].value;
    }
    return true;
}

static bool filter_sort(struct jinja_render *render, const struct jinja_call *call,
                        struct jinja_value *result) {
    struct jinja_value list;
    if (!jinja_collect(render, &call->subject, &list)) {
        return false;
    }
    size_t count = list.list->count;
    struct jinja_entry *entries = jinja_alloc(render, count, sizeof *entries);
    for (size_t i = 0; entries != NULL && i < count; i++) {
        entries[i].value = list.list->items[i];
        if (!sort_keys(render, &entries[i].value, &call->arguments[2],
                       jinja_truth(&call->arguments[1]), &entries[i].key)) {
            return false;
        }
    }
    return entries != NULL &&
           jinja_sort(render, entries, count, jinja_truth(&call->arguments[0])) &&
           list_of_values(render, entries, count, result);
}

static bool filter_dictsort(struct jinja_render *render, const struct jinja_call *call,
                            struct jinja_value *result) {
    const struct jinja_value *by = &call->arguments[1];
    struct jinja_value whole = jinja_none();
    if (call->subject.kind != JINJA_DICT) {
        return jinja_is_undefined(&call->subject)
                   ? jinja_fail_undefined(render, &call->subject)
                   : jinja_fail(render, "dictsort needs a dict, not '%s'",
                                jinja_type_name(&call->subject));
    }
    bool by_value = by->kind == JINJA_STRING && string_view_is(by->text, "value");
    if (jinja_given(by) && !by_value &&
        !(by->kind == JINJA_STRING && string_view_is(by->text, "key"))) {
        return jinja_fail(render, "You can only sort by either \"key\" or \"value\"");
    }
    const struct jinja_dict *dict = call->subject.dict;
    struct jinja_entry *entries = jinja_alloc(render, dict->count, sizeof *entries);
    for (size_t i = 0; entries != NULL && i < dict->count; i++) {
        const struct jinja_entry *from = &dict->entries[i];
        if (!sort_key(render, by_value ? &from->value : &from->key, &whole,
                      jinja_truth(&call->arguments[0]), &entries[i].key) ||
            !jinja_new_pair(render, from->key, from->value, &entries[i].value)) {
            return false;
        }
    }
    return entries != NULL &&
           jinja_sort(render, entries, dict->count, jinja_truth(&call->arguments[2])) &&
           list_of_values(render, entries, dict->count, result);
}

static bool filter_reverse(struct jinja_render *render, const struct jinja_call *call,
                           struct jinja_value *result) {
    struct jinja_value list;
    if (call->subject.kind == JINJA_STRING) {
        struct jinja_value bounds[3] = {jinja_none(), jinja_none(), jinja_integer(-1)};
        return jinja_slice(render, &call->subject, bounds, result);
    }
    if (!jinja_collect(render, &call->subject, &list)) {
        return false;
    }
    struct jinja_value *items = list.list->items;
    for (size_t i = 0, j = list.list->count; i + 1 < j; i++) {
        struct jinja_value item = items[i];
        items[i] = items[--j];
        items[j] = item;
    }
    if (call->subject.kind == JINJA_ITERATOR) { /* Python makes a list of these, and only these */
        *result = list;
        return true;
    }
    return jinja_new_iterator(render, list, result);
}

static bool filter_unique(struct jinja_render *render, const struct jinja_call *call,
                          struct jinja_value *result) {
    struct jinja_value seen, list, item, key, nothing = jinja_none();
    struct jinja_iteration iteration;
    if (!jinja_iterate(render, &call->subject, &iteration) ||
        !jinja_new_dict(render, JINJA_DICT, 0, &seen) ||
        !jinja_new_list(render, JINJA_LIST, 0, &list)) {
        return false;
    }
    while (jinja_next(render, &iteration, &item)) {
        size_t before = seen.dict->count;
        if (!sort_key(render, &item, &call->arguments[1], jinja_truth(&call->arguments[0]), &key) ||
            !jinja_dict_set(render, seen.dict, key, nothing)) {
            return false;
        }
        if (seen.dict->count > before && !jinja_list_append(render, list.list, item)) {
            return false;
        }
    }
    return !render->failed && jinja_new_iterator(render, list, result);
}

static bool extreme(struct jinja_render *render, const struct jinja_call *call,
                    enum jinja_order wanted, struct jinja_value *result) {
    struct jinja_value item, key, best_key;
    struct jinja_iteration iteration;
    bool any = false;
    if (!jinja_iterate(render, &call->subject, &iteration)) {
        return false;
    }
    *result = jinja_undefined_because("No aggregated item, sequence was empty.");
    while (jinja_next(render, &iteration, &item)) {
        enum jinja_order order = wanted;
        if (!sort_key(render, &item, &call->arguments[1], jinja_truth(&call->arguments[0]), &key) ||
            (any && !jinja_compare(render, &key, &best_key, &order))) {
            return false;
        }
        if (order == wanted) {
            *result = item;
            best_key = key;
        }
        any = true;
    }
    return !render->failed;
}

static bool filter_min(struct jinja_render *render, const struct jinja_call *call,
                       struct jinja_value *result) {
    return extreme(render, call, JINJA_LESS, result);
}

static bool filter_max(struct jinja_render *render, const struct jinja_call *call,
                       struct jinja_value *result) {
    return extreme(render, call, JINJA_GREATER, result);
}

static bool filter_sum(struct jinja_render *render, const struct jinja_call *call,
                       struct jinja_value *result) {
    struct jinja_value item, part;
    struct jinja_iteration iteration;
    if (!jinja_iterate(render, &call->subject, &iteration)) {
        return false;
    }
    *result = jinja_given(&call->arguments[1]) ? call->arguments[1] : jinja_integer(0);
    if (result->kind == JINJA_STRING) {
        return jinja_fail(render, "sum() cannot add strings; use join");
    }
    while (jinja_next(render, &iteration, &item)) {
        struct jinja_value total = *result;
        if (!jinja_path(render, &item, &call->arguments[0], NULL, &part) ||
            !jinja_binary(render, JINJA_ADD, &total, &part, result)) {
            return false;
        }
    }
    return !render->failed;
}

static bool fill_batch(struct jinja_render *render, struct jinja_value *batch, size_t size,
                       const struct jinja_value *fill) {
    while (jinja_given(fill) && fill->kind != JINJA_NONE && batch->list->count < size) {
        if (!jinja_list_append(render, batch->list, *fill)) {
            return false;
        }
    }
    return true;
}

static bool filter_batch(struct jinja_render *render, const struct jinja_call *call,
                         struct jinja_value *result) {
    struct jinja_value list, batch = jinja_none(), item;
    struct jinja_iteration iteration;
    if (!jinja_expect_integer(render, &call->arguments[0], "batch's size") ||
        !jinja_iterate(render, &call->subject, &iteration) ||
        !jinja_new_list(render, JINJA_LIST, 0, &list)) {
        return false;
    }
    int64_t size = jinja_integral(&call->arguments[0]);
    if (size < 1) {
        return jinja_fail(render, "batch's size must be positive");
    }
    while (jinja_next(render, &iteration, &item)) {
        if (batch.kind == JINJA_NONE || batch.list->count == (size_t)size) {
            if (!jinja_new_list(render, JINJA_LIST, 0, &batch) ||
                !jinja_list_append(render, list.list, batch)) {
                return false;
            }
        }
        if (!jinja_list_append(render, batch.list, item)) {
            return false;
        }
    }
    return !render->failed &&
           (batch.kind == JINJA_NONE ||
            fill_batch(render, &batch, (size_t)size, &call->arguments[1])) &&
           jinja_new_iterator(render, list, result);
}

static bool filter_attr(struct jinja_render *render, const struct jinja_call *call,
                        struct jinja_value *result) {
    const struct jinja_value *name = &call->arguments[0];
    if (!jinja_expect_string(render, name, "attr's name")) {
        return false;
    }
    if (call->subject.kind == JINJA_DICT &&
        jinja_find_method(JINJA_DICT, name->text) == NULL) { /* no elements, unlike a dot */
        *result = jinja_undefined_variable(name->text);
        return true;
    }
    return jinja_attribute(render, &call->subject, name->text, result);
}

const struct jinja_builtin jinja_sequence_filters[] = {
    {"default", filter_default, {"default_value", "boolean"}},
    {"d", filter_default, {"default_value", "boolean"}},
    {"length", filter_length, {0}},
    {"count", filter_length, {0}},
    {"list", filter_list, {0}},
    {"first", filter_first, {0}},
    {"last", filter_last, {0}},
    {"items", filter_items, {0}},
    {"sort", filter_sort, {"reverse", "case_sensitive", "attribute"}},
    {"dictsort", filter_dictsort, {"case_sensitive", "by", "reverse"}},
    {"reverse", filter_reverse, {0}},
    {"unique", filter_unique, {"case_sensitive", "attribute"}},
    {"min", filter_min, {"case_sensitive", "attribute"}},
    {"max", filter_max, {"case_sensitive", "attribute"}},
    {"sum", filter_sum, {"attribute", "start"}},
    {"batch", filter_batch, {"linecount", "fill_with"}, .required = 1},
    {"attr", filter_attr, {"name"}, .required = 1},
    {0},
};
