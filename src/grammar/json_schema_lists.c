/*
 * json_schema_lists.c - objects and arrays of a schema, as automata over their members.
 *
 * A state is how many of the named members are behind, and how many were there: just whether any
 * was, for the comma, or their number where the schema counts them.
 */
#include "grammar/json_schema.h"

#include "base/bytes.h"
#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { END = 1, MOST_STATES = 200000, MOST_NAME_WORK = 20000000 };

struct arc_list {
    POOL(struct grammar_arc) arcs;
    bool failed;
};

static void add_arc(struct arc_list *list, size_t from, size_t to, grammar_expr label) {
    if (!POOL_RESERVE(&list->arcs, 1)) {
        list->failed = true;
        return;
    }
    list->arcs.items[list->arcs.count++] =
        (struct grammar_arc){(uint32_t)from, (uint32_t)to, label};
}

static grammar_expr finish(struct schema_reader *reader, struct arc_list *list, size_t states) {
    grammar_expr expr = list->failed ? schema_fail(reader, ERROR_OUT_OF_MEMORY, "no memory")
                                     : grammar_automaton(reader->builder, states, list->arcs.items,
                                                         list->arcs.count);
    free(list->arcs.items);
    return expr;
}

/* --- a member's name that is not one of some --- */

struct name_node {
    uint32_t code_point, first_child, next; /* nodes; 0: none */
    bool is_name;
};

struct name_trie {
    POOL(struct name_node) nodes;
    size_t work; /* nodes looked at: names that all begin differently make long lists */
};

static bool insert_name(struct name_trie *trie, const char *name) {
    size_t length = strlen(name);
    uint32_t at = 0;
    for (size_t i = 0; i < length;) {
        uint32_t code_point;
        size_t taken = utf8_decode(name + i, length - i, &code_point);
        if (taken == 0 || !POOL_RESERVE(&trie->nodes, 1)) {
            return false;
        }
        i += taken;
        uint32_t child = trie->nodes.items[at].first_child;
        while (child != 0 && trie->nodes.items[child].code_point != code_point) {
            child = trie->nodes.items[child].next;
            trie->work++;
        }
        if (trie->work > MOST_NAME_WORK || trie->nodes.count >= MOST_STATES) {
            return false;
        }
        if (child == 0) {
            child = (uint32_t)trie->nodes.count++;
            trie->nodes.items[child] = (struct name_node){
                .code_point = code_point, .next = trie->nodes.items[at].first_child};
            trie->nodes.items[at].first_child = child;
        }
        at = child;
    }
    trie->nodes.items[at].is_name = true;
    return true;
}

/* Node i is state i + 3; 0 is before the first quote, 1 behind the last, 2 can no longer become one
 * of the names. */
static void add_name_arcs(struct schema_reader *reader, const struct name_trie *trie,
                          struct arc_list *list) {
    struct grammar_builder *b = reader->builder;
    grammar_expr quote = grammar_text(b, "\"");
    POOL(struct code_point_range) ranges = {0};
    add_arc(list, 0, 3, quote);
    add_arc(list, 2, 2, reader->parts.plain);
    add_arc(list, 2, END, quote);
    for (size_t i = 0; i < trie->nodes.count && !list->failed; i++) {
        ranges.count = 0;
        for (uint32_t child = trie->nodes.items[i].first_child; child != 0;
             child = trie->nodes.items[child].next) {
            struct code_point_range one = {trie->nodes.items[child].code_point,
                                           trie->nodes.items[child].code_point};
            add_arc(list, i + 3, child + 3, json_class(b, &one, 1, false));
            list->failed = list->failed || !POOL_RESERVE(&ranges, 1);
            if (!list->failed) {
                ranges.items[ranges.count++] = one;
            }
        }
        add_arc(list, i + 3, 2, json_class(b, ranges.items, ranges.count, true));
        if (!trie->nodes.items[i].is_name) {
            add_arc(list, i + 3, END, quote);
        }
    }
    free(ranges.items);
}

static grammar_expr other_name(struct schema_reader *reader, const char *const *names,
                               size_t count) {
    struct name_trie trie = {0};
    struct arc_list list = {0};
    if (count == 0) {
        return reader->parts.string;
    }
    bool done = POOL_RESERVE(&trie.nodes, 1);
    if (done) {
        trie.nodes.items[trie.nodes.count++] = (struct name_node){0};
    }
    for (size_t i = 0; done && i < count; i++) {
        done = insert_name(&trie, names[i]);
    }
    if (trie.work > MOST_NAME_WORK || trie.nodes.count >= MOST_STATES) {
        schema_fail(reader, ERROR_UNSUPPORTED, "so many names are too many to be told apart");
    }
    list.failed = !done;
    if (done) {
        add_name_arcs(reader, &trie, &list);
    }
    grammar_expr expr = finish(reader, &list, trie.nodes.count + 3);
    free(trie.nodes.items);
    return expr;
}

/* --- objects --- */

struct member {
    const char *name;
    const json_t *schema; /* NULL: anything */
    bool is_required;
};

struct object {
    struct member *members; /* [count] */
    size_t count;
    const json_t *others; /* schema of members without a name here; NULL: anything */
    bool allows_others;
    size_t least, most;
};

static bool read_members(struct schema_reader *reader, const json_t *schema,
                         struct object *object) {
    json_t *properties = json_object_get(schema, "properties");
    const json_t *required = json_object_get(schema, "required");
    const json_t *others = json_object_get(schema, "additionalProperties");
    if ((properties != NULL && !json_is_object(properties)) ||
        (required != NULL && !json_is_array(required))) {
        schema_fail(reader, ERROR_FORMAT, "'properties' is an object and 'required' an array");
        return false;
    }
    object->members = calloc(json_object_size(properties) + json_array_size(required) + 1,
                             sizeof *object->members);
    json_t *names = schema_required(schema);
    if (object->members == NULL || names == NULL) {
        schema_fail(reader, ERROR_OUT_OF_MEMORY, "no memory");
        json_decref(names);
        return false;
    }
    bool is_closed =
        others == NULL ? !reader->options.as_written && properties != NULL : json_is_false(others);
    const char *key;
    json_t *value;
    json_object_foreach(properties, key, value) {
        object->members[object->count++] =
            (struct member){key, value, json_object_get(names, key) != NULL};
    }
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *name = json_string_value(json_array_get(required, i));
        if (name == NULL) {
            schema_fail(reader, ERROR_FORMAT, "'required' is an array of names");
            json_decref(names);
            return false;
        }
        /* Once it is a member it leaves the set. */
        if (json_object_get(properties, name) == NULL && json_object_del(names, name) == 0) {
            object->members[object->count++] = (struct member){name, others, true};
        }
    }
    json_decref(names);
    object->others = others;
    object->allows_others = !is_closed;
    object->least = schema_count(reader, schema, "minProperties", 0);
    object->most = schema_count(reader, schema, "maxProperties", GRAMMAR_UNBOUNDED);
    return true;
}

/* "name": value */
static grammar_expr member_expr(struct schema_reader *reader, grammar_expr name,
                                grammar_expr value) {
    struct grammar_builder *b = reader->builder;
    return grammar_sequence_of(b, 4, name, grammar_text(b, ":"), reader->parts.space, value);
}

static grammar_expr named_member(struct schema_reader *reader, const struct member *member) {
    struct grammar_builder *b = reader->builder;
    grammar_expr name =
        grammar_sequence_of(b, 3, grammar_text(b, "\""), json_text(b, string_view_of(member->name)),
                            grammar_text(b, "\""));
    grammar_expr value = member->schema == NULL
                             ? reader->parts.value
                             : schema_part(reader, member->schema, "properties", member->name);
    return member_expr(reader, name, value);
}

static grammar_expr other_member(struct schema_reader *reader, const struct object *object) {
    const char **names = calloc(object->count + 1, sizeof *names);
    if (names == NULL) {
        return schema_fail(reader, ERROR_OUT_OF_MEMORY, "no memory");
    }
    for (size_t i = 0; i < object->count; i++) {
        names[i] = object->members[i].name;
    }
    grammar_expr name = other_name(reader, names, object->count);
    free(names);
    grammar_expr value = object->others == NULL
                             ? reader->parts.value
                             : schema_part(reader, object->others, "additionalProperties", "");
    return member_expr(reader, name, value);
}

/* State of `behind` members of which `there` were there (at most `cap`, which stands for more). */
static size_t object_state(size_t behind, size_t there, size_t cap) {
    return 2 + behind * (cap + 1) + there;
}

static grammar_expr object_body(struct schema_reader *reader, const struct object *object) {
    struct grammar_builder *b = reader->builder;
    struct arc_list list = {0};
    size_t cap = object->most != GRAMMAR_UNBOUNDED ? object->most : size_max(1, object->least);
    cap = size_max(1, size_min(cap, object->most == GRAMMAR_UNBOUNDED || object->allows_others
                                        ? cap
                                        : object->count));
    if (cap >= MOST_STATES || (object->count + 2) * (cap + 1) > MOST_STATES) {
        return schema_fail(reader, ERROR_UNSUPPORTED, "so many members are too many to be counted");
    }
    grammar_expr comma = grammar_sequence_of(b, 2, grammar_text(b, ","), reader->parts.space);
    bool is_exact = object->most != GRAMMAR_UNBOUNDED; /* cap is a bound, not "or more" */
    size_t last = is_exact ? size_min(cap, object->most) : cap;
    add_arc(&list, 0, object_state(0, 0, cap), GRAMMAR_EMPTY);
    for (size_t i = 0; i < object->count + object->allows_others; i++) {
        bool is_other = i == object->count;
        if (!is_other && schema_is_false(object->members[i].schema) &&
            !object->members[i].is_required) {
            for (size_t n = 0; n <= last; n++) {
                add_arc(&list, object_state(i, n, cap), object_state(i + 1, n, cap), GRAMMAR_EMPTY);
            }
            continue;
        }
        grammar_expr member =
            is_other ? other_member(reader, object) : named_member(reader, &object->members[i]);
        for (size_t n = 0; n <= last; n++) {
            size_t next = n < last ? n + 1 : n;
            if (!is_exact || n < last) {
                add_arc(&list, object_state(i, n, cap), object_state(i + !is_other, next, cap),
                        grammar_sequence_of(b, 2, n > 0 ? comma : GRAMMAR_EMPTY, member));
            }
            if (!is_other && !object->members[i].is_required) {
                add_arc(&list, object_state(i, n, cap), object_state(i + 1, n, cap), GRAMMAR_EMPTY);
            }
        }
    }
    for (size_t n = object->least; n <= last; n++) {
        add_arc(&list, object_state(object->count, n, cap), END,
                n > 0 ? reader->parts.space : GRAMMAR_EMPTY);
    }
    return finish(reader, &list, object_state(object->count + 1, 0, cap) + 1);
}

grammar_expr schema_object(struct schema_reader *reader, const json_t *schema) {
    struct grammar_builder *b = reader->builder;
    struct object object = {0};
    grammar_expr body = GRAMMAR_EMPTY;
    if (read_members(reader, schema, &object)) {
        size_t required = 0;
        for (size_t i = 0; i < object.count; i++) {
            required += object.members[i].is_required;
        }
        if (object.allows_others && object.least > required + 1) {
            schema_fail(reader, ERROR_UNSUPPORTED,
                        "'minProperties' is supported up to one more than the required ones, where "
                        "other members than the named are allowed: two could have the same name");
        } else {
            body = object_body(reader, &object);
        }
    }
    free(object.members);
    return grammar_sequence_of(b, 4, grammar_text(b, "{"), reader->parts.space, body,
                               grammar_text(b, "}"));
}

/* --- arrays --- */

grammar_expr schema_array(struct schema_reader *reader, const json_t *schema) {
    struct grammar_builder *b = reader->builder;
    struct arc_list list = {0};
    const json_t *prefix = json_object_get(schema, "prefixItems");
    const json_t *items = json_object_get(schema, "items");
    size_t least = schema_count(reader, schema, "minItems", 0);
    size_t most = schema_count(reader, schema, "maxItems", GRAMMAR_UNBOUNDED);
    size_t named = json_array_size(prefix);
    if ((prefix != NULL && !json_is_array(prefix)) || json_is_array(items)) {
        return schema_fail(reader, ERROR_UNSUPPORTED,
                           "'prefixItems' is an array of schemas and 'items' one schema");
    }
    if (least > MOST_STATES || (most != GRAMMAR_UNBOUNDED && most > MOST_STATES)) {
        return schema_fail(reader, ERROR_UNSUPPORTED, "so many items are too many to be counted");
    }
    bool no_more = schema_is_false(items);
    grammar_expr item = no_more         ? GRAMMAR_EMPTY
                        : items == NULL ? reader->parts.value
                                        : schema_part(reader, items, "items", "");
    grammar_expr comma = grammar_sequence_of(b, 2, grammar_text(b, ","), reader->parts.space);
    grammar_expr following = grammar_sequence_of(b, 2, comma, item);
    /* State 2 + n: n items are there; the last one loops where there may be any number. */
    size_t last = most != GRAMMAR_UNBOUNDED ? (no_more ? size_min(most, named) : most)
                  : no_more                 ? named
                                            : size_max(1, size_max(least, named));
    add_arc(&list, 0, 2, GRAMMAR_EMPTY);
    for (size_t n = 0; n <= last && !list.failed; n++) {
        if (n >= least) {
            add_arc(&list, 2 + n, END, n > 0 ? reader->parts.space : GRAMMAR_EMPTY);
        }
        if (n < named && n < last) {
            char place[24];
            snprintf(place, sizeof place, "%zu", n);
            grammar_expr part =
                schema_part(reader, json_array_get(prefix, n), "prefixItems", place);
            add_arc(&list, 2 + n, 3 + n,
                    grammar_sequence_of(b, 2, n > 0 ? comma : GRAMMAR_EMPTY, part));
        } else if (n < last) {
            add_arc(&list, 2 + n, 3 + n, n > 0 ? following : item);
        } else if (most == GRAMMAR_UNBOUNDED && !no_more) {
            add_arc(&list, 2 + n, 2 + n, following);
        }
    }
    return grammar_sequence_of(b, 4, grammar_text(b, "["), reader->parts.space,
                               finish(reader, &list, last + 3), grammar_text(b, "]"));
}
