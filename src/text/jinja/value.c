/* value.c - see value.h: containers, truth, walking, equality and order. */
#include "text/jinja/value.h"

#include "text/jinja/loop.h"
#include "text/jinja/text.h"

#include "base/bytes.h"
#include "base/utf8.h"

#include <string.h>

static const char *const type_names[JINJA_KIND_COUNT] = {
    [JINJA_MISSING] = "missing",
    [JINJA_UNDEFINED] = "Undefined",
    [JINJA_NONE] = "None",
    [JINJA_BOOL] = "bool",
    [JINJA_INTEGER] = "int",
    [JINJA_FLOAT] = "float",
    [JINJA_STRING] = "str",
    [JINJA_LIST] = "list",
    [JINJA_TUPLE] = "tuple",
    [JINJA_DICT] = "dict",
    [JINJA_RANGE] = "range",
    [JINJA_VIEW] = "dict view",
    [JINJA_ITERATOR] = "iterator",
    [JINJA_NAMESPACE] = "Namespace",
    [JINJA_LOOP] = "LoopContext",
    [JINJA_MACRO] = "Macro",
    [JINJA_METHOD] = "builtin method",
    [JINJA_FUNCTION] = "function",
};

const char *jinja_type_name(const struct jinja_value *value) {
    return type_names[value->kind];
}

static int printed_length(struct string_view text) {
    return (int)size_min(text.length, 200);
}

bool jinja_fail_undefined(struct jinja_render *render, const struct jinja_value *value) {
    int length = printed_length(value->text);
    if (value->owner == JINJA_MISSING) {
        return jinja_fail(render, "'%.*s' is undefined", length, value->text.data);
    }
    if (value->owner == JINJA_UNDEFINED) {
        return jinja_fail(render, "%.*s", length, value->text.data);
    }
    return jinja_fail(render, "'%s' object has no attribute or element '%.*s'",
                      type_names[value->owner], length, value->text.data);
}

bool jinja_expect_string(struct jinja_render *render, const struct jinja_value *value,
                         const char *what) {
    if (value->kind == JINJA_STRING) {
        return true;
    }
    if (jinja_is_undefined(value)) {
        return jinja_fail_undefined(render, value);
    }
    return jinja_fail(render, "%s must be a string, not %s", what, jinja_type_name(value));
}

bool jinja_expect_integer(struct jinja_render *render, const struct jinja_value *value,
                          const char *what) {
    if (jinja_is_integral(value)) {
        return true;
    }
    if (jinja_is_undefined(value)) {
        return jinja_fail_undefined(render, value);
    }
    return jinja_fail(render, "%s must be an integer, not %s", what, jinja_type_name(value));
}

bool jinja_new_list(struct jinja_render *render, enum jinja_kind list_or_tuple, size_t capacity,
                    struct jinja_value *list) {
    struct jinja_list *created = jinja_alloc(render, 1, sizeof *created);
    if (created == NULL) {
        return false;
    }
    if (capacity > 0) {
        created->items = jinja_alloc(render, capacity, sizeof *created->items);
        if (created->items == NULL) {
            return false;
        }
        created->capacity = capacity;
    }
    *list = (struct jinja_value){.kind = (uint8_t)list_or_tuple, .list = created};
    return true;
}

bool jinja_list_append(struct jinja_render *render, struct jinja_list *list,
                       struct jinja_value item) {
    if (!jinja_spend(render, 1)) {
        return false;
    }
    if (list->count == list->capacity) {
        size_t capacity = size_max(4, list->capacity * 2);
        struct jinja_value *items = jinja_alloc(render, capacity, sizeof *items);
        if (items == NULL) {
            return false;
        }
        if (list->count > 0) {
            memcpy(items, list->items, list->count * sizeof *items);
        }
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = item;
    return true;
}

bool jinja_new_pair(struct jinja_render *render, struct jinja_value first,
                    struct jinja_value second, struct jinja_value *tuple) {
    if (!jinja_new_list(render, JINJA_TUPLE, 2, tuple)) {
        return false;
    }
    tuple->list->items[0] = first;
    tuple->list->items[1] = second;
    tuple->list->count = 2;
    return true;
}

bool jinja_new_dict(struct jinja_render *render, enum jinja_kind dict_or_namespace, size_t capacity,
                    struct jinja_value *dict) {
    struct jinja_dict *created = jinja_alloc(render, 1, sizeof *created);
    if (created == NULL) {
        return false;
    }
    if (capacity > 0) {
        created->entries = jinja_alloc(render, capacity, sizeof *created->entries);
        if (created->entries == NULL) {
            return false;
        }
        created->capacity = capacity;
    }
    *dict = (struct jinja_value){.kind = (uint8_t)dict_or_namespace, .dict = created};
    return true;
}

bool jinja_dict_add(struct jinja_render *render, struct jinja_dict *dict, struct jinja_value key,
                    struct jinja_value value) {
    if (!jinja_spend(render, 1)) {
        return false;
    }
    if (dict->count == dict->capacity) {
        size_t capacity = size_max(4, dict->capacity * 2);
        struct jinja_entry *entries = jinja_alloc(render, capacity, sizeof *entries);
        if (entries == NULL) {
            return false;
        }
        if (dict->count > 0) {
            memcpy(entries, dict->entries, dict->count * sizeof *entries);
        }
        dict->entries = entries;
        dict->capacity = capacity;
    }
    dict->entries[dict->count++] = (struct jinja_entry){key, value};
    return true;
}

bool jinja_is_hashable(struct jinja_render *render, const struct jinja_value *value) {
    if (value->kind == JINJA_TUPLE) {
        if (!jinja_spend(render, value->list->count / 8)) {
            return false;
        }
        for (size_t i = 0; i < value->list->count; i++) {
            /* A tuple inside a tuple is refused as a key: it would need a bound on the depth. */
            if (value->list->items[i].kind == JINJA_TUPLE ||
                !jinja_is_hashable(render, &value->list->items[i])) {
                return false;
            }
        }
        return true;
    }
    return value->kind != JINJA_LIST && value->kind != JINJA_DICT && value->kind != JINJA_VIEW;
}

bool jinja_dict_find_text(struct jinja_render *render, const struct jinja_dict *dict,
                          struct string_view key, struct jinja_value **found) {
    *found = NULL;
    if (!jinja_spend(render, dict->count / 8)) {
        return false;
    }
    for (size_t i = 0; i < dict->count; i++) {
        const struct jinja_value *candidate = &dict->entries[i].key;
        if (candidate->kind == JINJA_STRING && candidate->text.length == key.length &&
            !jinja_spend_bytes(render, key.length)) {
            return false;
        }
        if (candidate->kind == JINJA_STRING && string_view_equals(candidate->text, key)) {
            *found = &dict->entries[i].value;
            return true;
        }
    }
    return true;
}

bool jinja_dict_find(struct jinja_render *render, const struct jinja_dict *dict,
                     const struct jinja_value *key, struct jinja_value **found) {
    if (key->kind == JINJA_STRING) {
        return jinja_dict_find_text(render, dict, key->text, found);
    }
    *found = NULL;
    for (size_t i = 0; i < dict->count; i++) {
        bool equal;
        if (!jinja_equal(render, &dict->entries[i].key, key, &equal)) {
            return false;
        }
        if (equal) {
            *found = &dict->entries[i].value;
            return true;
        }
    }
    return true;
}

bool jinja_dict_set(struct jinja_render *render, struct jinja_dict *dict, struct jinja_value key,
                    struct jinja_value value) {
    if (!jinja_is_hashable(render, &key)) {
        return jinja_fail(render, "unhashable type: '%s'", jinja_type_name(&key));
    }
    struct jinja_value *found;
    if (!jinja_dict_find(render, dict, &key, &found)) {
        return false;
    }
    if (found != NULL) {
        *found = value;
        return true;
    }
    return jinja_dict_add(render, dict, key, value);
}

bool jinja_truth(const struct jinja_value *value) {
    switch ((enum jinja_kind)value->kind) {
    case JINJA_MISSING:
    case JINJA_UNDEFINED:
    case JINJA_NONE:
        return false;
    case JINJA_BOOL:
        return value->boolean;
    case JINJA_INTEGER:
        return value->integer != 0;
    case JINJA_FLOAT:
        return value->number != 0;
    case JINJA_STRING:
        return value->text.length != 0;
    case JINJA_LIST:
    case JINJA_TUPLE:
        return value->list->count != 0;
    case JINJA_DICT:
        return value->dict->count != 0;
    case JINJA_RANGE:
        return value->range->count != 0;
    case JINJA_VIEW:
        return value->view->dict->count != 0;
    default:
        return true;
    }
}

bool jinja_has_length(const struct jinja_value *value) {
    switch ((enum jinja_kind)value->kind) {
    case JINJA_UNDEFINED:
    case JINJA_STRING:
    case JINJA_LIST:
    case JINJA_TUPLE:
    case JINJA_DICT:
    case JINJA_RANGE:
    case JINJA_VIEW:
    case JINJA_LOOP:
        return true;
    default:
        return false;
    }
}

bool jinja_length(struct jinja_render *render, const struct jinja_value *value, size_t *length) {
    switch ((enum jinja_kind)value->kind) {
    case JINJA_UNDEFINED:
        *length = 0;
        return true;
    case JINJA_STRING:
        *length = jinja_text_length(value->text);
        return jinja_spend_bytes(render, value->text.length);
    case JINJA_LIST:
    case JINJA_TUPLE:
        *length = value->list->count;
        return true;
    case JINJA_DICT:
        *length = value->dict->count;
        return true;
    case JINJA_RANGE:
        *length = value->range->count;
        return true;
    case JINJA_VIEW:
        *length = value->view->dict->count;
        return true;
    case JINJA_LOOP:
        return jinja_loop_length(render, value->loop, length);
    default:
        return jinja_fail(render, "object of type '%s' has no len()", jinja_type_name(value));
    }
}

bool jinja_is_iterable(const struct jinja_value *value) {
    return jinja_has_length(value) || value->kind == JINJA_ITERATOR;
}

bool jinja_iterate(struct jinja_render *render, const struct jinja_value *value,
                   struct jinja_iteration *iteration) {
    *iteration = (struct jinja_iteration){.source = *value};
    return (jinja_is_iterable(value) && value->kind != JINJA_LOOP) ||
           jinja_fail(render, "'%s' object is not iterable", jinja_type_name(value));
}

static bool next_character(struct jinja_iteration *iteration, struct jinja_value *item) {
    struct string_view text = iteration->source.text;
    if (iteration->at >= text.length) {
        return false;
    }
    const char *start = text.data + iteration->at;
    size_t length = jinja_character_bytes(start, text.length - iteration->at);
    *item = jinja_string((struct string_view){start, length});
    iteration->at += length;
    return true;
}

static bool next_entry(struct jinja_render *render, const struct jinja_dict *dict,
                       enum jinja_view_part part, struct jinja_iteration *iteration,
                       struct jinja_value *item) {
    if (iteration->at >= dict->count) {
        return false;
    }
    const struct jinja_entry *entry = &dict->entries[iteration->at++];
    if (part == JINJA_ITEMS) {
        return jinja_new_pair(render, entry->key, entry->value, item);
    }
    *item = part == JINJA_KEYS ? entry->key : entry->value;
    return true;
}

bool jinja_next(struct jinja_render *render, struct jinja_iteration *iteration,
                struct jinja_value *item) {
    while (iteration->source.kind == JINJA_ITERATOR) {
        iteration = iteration->source.iteration;
    }
    if (!jinja_spend(render, 1)) {
        return false;
    }
    const struct jinja_value *source = &iteration->source;
    switch ((enum jinja_kind)source->kind) {
    case JINJA_STRING:
        return next_character(iteration, item);
    case JINJA_LIST:
    case JINJA_TUPLE:
        if (iteration->at >= source->list->count) {
            return false;
        }
        *item = source->list->items[iteration->at++];
        return true;
    case JINJA_RANGE:
        if (iteration->at >= source->range->count) {
            return false;
        }
        *item = jinja_integer(source->range->start + (int64_t)iteration->at * source->range->step);
        iteration->at++;
        return true;
    case JINJA_DICT:
        return next_entry(render, source->dict, JINJA_KEYS, iteration, item);
    case JINJA_VIEW:
        return next_entry(render, source->view->dict, source->view->part, iteration, item);
    default:
        return false; /* undefined: empty */
    }
}

bool jinja_collect(struct jinja_render *render, const struct jinja_value *value,
                   struct jinja_value *list) {
    struct jinja_iteration iteration;
    if (!jinja_iterate(render, value, &iteration) || !jinja_new_list(render, JINJA_LIST, 0, list)) {
        return false;
    }
    struct jinja_value item;
    while (jinja_next(render, &iteration, &item)) {
        if (!jinja_list_append(render, list->list, item)) {
            return false;
        }
    }
    return !render->failed;
}

bool jinja_new_iterator(struct jinja_render *render, struct jinja_value list,
                        struct jinja_value *iterator) {
    struct jinja_iteration *iteration = jinja_alloc(render, 1, sizeof *iteration);
    if (iteration == NULL) {
        return false;
    }
    iteration->source = list;
    *iterator = (struct jinja_value){.kind = JINJA_ITERATOR, .iteration = iteration};
    return true;
}

static bool lists_equal(struct jinja_render *render, const struct jinja_list *a,
                        const struct jinja_list *b, bool *equal) {
    *equal = a->count == b->count;
    for (size_t i = 0; *equal && i < a->count && i < b->count; i++) {
        if (!jinja_equal(render, &a->items[i], &b->items[i], equal)) {
            return false;
        }
    }
    return true;
}

static bool dicts_equal(struct jinja_render *render, const struct jinja_dict *a,
                        const struct jinja_dict *b, bool *equal) {
    *equal = a->count == b->count;
    for (size_t i = 0; *equal && i < a->count; i++) {
        struct jinja_value *other;
        if (!jinja_dict_find(render, b, &a->entries[i].key, &other)) {
            return false;
        }
        if (other == NULL) {
            *equal = false;
        } else if (!jinja_equal(render, &a->entries[i].value, other, equal)) {
            return false;
        }
    }
    return true;
}

static bool ranges_equal(const struct jinja_range *a, const struct jinja_range *b) {
    return a->count == b->count &&
           (a->count == 0 || (a->start == b->start && (a->count == 1 || a->step == b->step)));
}

static bool same_kind_equal(struct jinja_render *render, const struct jinja_value *a,
                            const struct jinja_value *b, bool *equal) {
    switch ((enum jinja_kind)a->kind) {
    case JINJA_UNDEFINED:
    case JINJA_NONE:
        *equal = true;
        return true;
    case JINJA_STRING:
        *equal = string_view_equals(a->text, b->text);
        return jinja_spend_bytes(render, size_min(a->text.length, b->text.length));
    case JINJA_LIST:
    case JINJA_TUPLE:
        return lists_equal(render, a->list, b->list, equal);
    case JINJA_DICT:
        return dicts_equal(render, a->dict, b->dict, equal);
    case JINJA_RANGE:
        *equal = ranges_equal(a->range, b->range);
        return true;
    default: /* by identity; every remaining kind is one pointer */
        *equal = a->function == b->function;
        return true;
    }
}

/* Exact: an int64 and a double compare by value, without rounding the integer. */
static enum jinja_order compare_numbers(const struct jinja_value *a, const struct jinja_value *b) {
    if (jinja_is_integral(a) && jinja_is_integral(b)) {
        int64_t left = jinja_integral(a), right = jinja_integral(b);
        return left < right ? JINJA_LESS : left > right ? JINJA_GREATER : JINJA_SAME;
    }
    if (a->kind == JINJA_FLOAT && b->kind == JINJA_FLOAT) {
        return a->number < b->number    ? JINJA_LESS
               : a->number > b->number  ? JINJA_GREATER
               : a->number == b->number ? JINJA_SAME
                                        : JINJA_UNORDERED;
    }
    if (a->kind == JINJA_FLOAT) {
        enum jinja_order order = compare_numbers(b, a);
        return order == JINJA_UNORDERED ? order : (enum jinja_order)(-(int)order);
    }
    double right = b->number;
    if (right != right) {
        return JINJA_UNORDERED;
    }
    if (right >= 9223372036854775808.0) { /* 2^63 */
        return JINJA_LESS;
    }
    if (right < -9223372036854775808.0) {
        return JINJA_GREATER;
    }
    int64_t left = jinja_integral(a), whole = (int64_t)right;
    if (left != whole) {
        return left < whole ? JINJA_LESS : JINJA_GREATER;
    }
    double fraction = right - (double)whole;
    return fraction > 0 ? JINJA_LESS : fraction < 0 ? JINJA_GREATER : JINJA_SAME;
}

bool jinja_equal(struct jinja_render *render, const struct jinja_value *a,
                 const struct jinja_value *b, bool *equal) {
    *equal = false;
    if (!jinja_spend(render, 1)) {
        return false;
    }
    if (jinja_is_number(a) && jinja_is_number(b)) {
        *equal = compare_numbers(a, b) == JINJA_SAME;
        return true;
    }
    if (a->kind != b->kind) {
        return true;
    }
    if (!jinja_enter(render)) {
        return false;
    }
    bool done = same_kind_equal(render, a, b, equal);
    jinja_leave(render);
    return done;
}

static enum jinja_order compare_text(struct string_view a, struct string_view b) {
    size_t common = size_min(a.length, b.length);
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    if (order != 0) {
        return order < 0 ? JINJA_LESS : JINJA_GREATER;
    }
    return a.length < b.length ? JINJA_LESS : a.length > b.length ? JINJA_GREATER : JINJA_SAME;
}

static bool compare_lists(struct jinja_render *render, const struct jinja_list *a,
                          const struct jinja_list *b, enum jinja_order *order) {
    for (size_t i = 0; i < a->count && i < b->count; i++) {
        bool equal;
        if (!jinja_equal(render, &a->items[i], &b->items[i], &equal)) {
            return false;
        }
        if (!equal) {
            return jinja_compare(render, &a->items[i], &b->items[i], order);
        }
    }
    *order = a->count < b->count ? JINJA_LESS : a->count > b->count ? JINJA_GREATER : JINJA_SAME;
    return true;
}

bool jinja_compare(struct jinja_render *render, const struct jinja_value *a,
                   const struct jinja_value *b, enum jinja_order *order) {
    if (!jinja_spend(render, 1)) {
        return false;
    }
    if (jinja_is_number(a) && jinja_is_number(b)) {
        *order = compare_numbers(a, b);
        return true;
    }
    if (a->kind == JINJA_STRING && b->kind == JINJA_STRING) {
        /* The order of UTF-8's bytes is the order of code points. */
        *order = compare_text(a->text, b->text);
        return jinja_spend_bytes(render, size_min(a->text.length, b->text.length));
    }
    if (jinja_is_sequence(a) && a->kind == b->kind) {
        if (!jinja_enter(render)) {
            return false;
        }
        bool done = compare_lists(render, a->list, b->list, order);
        jinja_leave(render);
        return done;
    }
    if (jinja_is_undefined(a) || jinja_is_undefined(b)) {
        return jinja_fail_undefined(render, jinja_is_undefined(a) ? a : b);
    }
    return jinja_fail(render, "no order between '%s' and '%s'", jinja_type_name(a),
                      jinja_type_name(b));
}

bool jinja_contains(struct jinja_render *render, const struct jinja_value *container,
                    const struct jinja_value *item, bool *contains) {
    *contains = false;
    if (container->kind == JINJA_STRING) {
        if (item->kind != JINJA_STRING) {
            return jinja_fail(render, "'in <string>' requires string as left operand, not %s",
                              jinja_type_name(item));
        }
        size_t at;
        bool done = jinja_search(render, container->text, item->text, 0, &at);
        *contains = done && at != JINJA_NOT_FOUND;
        return done;
    }
    if (container->kind == JINJA_DICT) {
        if (!jinja_is_hashable(render, item)) {
            return jinja_fail(render, "unhashable type: '%s'", jinja_type_name(item));
        }
        struct jinja_value *found;
        bool done = jinja_dict_find(render, container->dict, item, &found);
        *contains = found != NULL;
        return done;
    }
    struct jinja_iteration iteration;
    if (!jinja_iterate(render, container, &iteration)) {
        return false;
    }
    struct jinja_value candidate;
    while (!*contains && jinja_next(render, &iteration, &candidate)) {
        if (!jinja_equal(render, &candidate, item, contains)) {
            return false;
        }
    }
    return !render->failed;
}
