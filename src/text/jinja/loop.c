/* loop.c - see loop.h. */
#include "text/jinja/loop.h"

#include "text/jinja/eval.h"

/* Whether the for statement's condition holds for an item. One that was unpacked becomes a tuple of
 * its parts, as Jinja's generator makes it. */
static bool test_item(struct jinja_render *render, const struct jinja_loop *loop,
                      struct jinja_value *item, bool *holds) {
    const struct jinja_node *statement = loop->statement;
    const struct jinja_node *target = statement->loop.test_target;
    struct jinja_activation *activation = render->activation;
    struct jinja_value value = jinja_none();
    render->activation = loop->activation;
    bool done = jinja_enter_scope(render, &statement->loop.test_scope) &&
                jinja_assign(render, target, item) &&
                jinja_evaluate(render, statement->loop.test, &value) &&
                (target->kind != JINJA_TUPLE_LITERAL || jinja_evaluate(render, target, item));
    render->activation = activation;
    *holds = jinja_truth(&value);
    return done;
}

static bool take_from_source(struct jinja_render *render, struct jinja_loop *loop,
                             struct jinja_value *item) {
    while (jinja_next(render, &loop->iteration, item)) {
        bool holds = true;
        if (loop->statement->loop.test != NULL && !test_item(render, loop, item, &holds)) {
            return false;
        }
        if (holds) {
            return true;
        }
    }
    return false;
}

bool jinja_loop_next(struct jinja_render *render, struct jinja_loop *loop,
                     struct jinja_value *item) {
    if (loop->ahead_at < loop->ahead.count) {
        *item = loop->ahead.items[loop->ahead_at++];
    } else if (!take_from_source(render, loop, item)) {
        return false;
    }
    loop->previous = loop->current;
    loop->current = *item;
    loop->index++;
    return true;
}

/* Looks at the next item without moving on; *found is false at the end. */
static bool peek(struct jinja_render *render, struct jinja_loop *loop, struct jinja_value *item,
                 bool *found) {
    *found = true;
    if (loop->ahead_at == loop->ahead.count) {
        *found = take_from_source(render, loop, item);
        return !render->failed && (!*found || jinja_list_append(render, &loop->ahead, *item));
    }
    *item = loop->ahead.items[loop->ahead_at];
    return true;
}

bool jinja_loop_length(struct jinja_render *render, struct jinja_loop *loop, size_t *length) {
    const struct jinja_value *source = &loop->iteration.source;
    if (!loop->counted && loop->statement->loop.test == NULL && jinja_has_length(source)) {
        loop->counted = true;
        if (!jinja_length(render, source, &loop->length)) {
            return false;
        }
    }
    if (!loop->counted) {
        struct jinja_value item;
        while (take_from_source(render, loop, &item)) {
            if (!jinja_list_append(render, &loop->ahead, item)) {
                return false;
            }
        }
        loop->counted = true;
        loop->length = loop->index + loop->ahead.count - loop->ahead_at;
    }
    *length = loop->length;
    return !render->failed;
}

static bool give_number(struct jinja_value *value, size_t number) {
    *value = jinja_integer((int64_t)number);
    return true;
}

static bool get_index(struct jinja_render *render, struct jinja_loop *loop,
                      struct jinja_value *value) {
    (void)render;
    return give_number(value, loop->index);
}

static bool get_index0(struct jinja_render *render, struct jinja_loop *loop,
                       struct jinja_value *value) {
    (void)render;
    return give_number(value, loop->index - 1);
}

static bool get_length(struct jinja_render *render, struct jinja_loop *loop,
                       struct jinja_value *value) {
    size_t length;
    return jinja_loop_length(render, loop, &length) && give_number(value, length);
}

static bool get_revindex(struct jinja_render *render, struct jinja_loop *loop,
                         struct jinja_value *value) {
    size_t length;
    return jinja_loop_length(render, loop, &length) &&
           give_number(value, length - (loop->index - 1));
}

static bool get_revindex0(struct jinja_render *render, struct jinja_loop *loop,
                          struct jinja_value *value) {
    size_t length;
    return jinja_loop_length(render, loop, &length) && give_number(value, length - loop->index);
}

static bool get_first(struct jinja_render *render, struct jinja_loop *loop,
                      struct jinja_value *value) {
    (void)render;
    *value = jinja_bool(loop->index == 1);
    return true;
}

static bool get_last(struct jinja_render *render, struct jinja_loop *loop,
                     struct jinja_value *value) {
    struct jinja_value next;
    bool found;
    if (!peek(render, loop, &next, &found)) {
        return false;
    }
    *value = jinja_bool(!found);
    return true;
}

static bool get_previtem(struct jinja_render *render, struct jinja_loop *loop,
                         struct jinja_value *value) {
    (void)render;
    *value =
        loop->index == 1 ? jinja_undefined_because("there is no previous item") : loop->previous;
    return true;
}

static bool get_nextitem(struct jinja_render *render, struct jinja_loop *loop,
                         struct jinja_value *value) {
    bool found;
    if (!peek(render, loop, value, &found)) {
        return false;
    }
    if (!found) {
        *value = jinja_undefined_because("there is no next item");
    }
    return true;
}

static bool get_depth(struct jinja_render *render, struct jinja_loop *loop,
                      struct jinja_value *value) {
    (void)render;
    (void)loop;
    return give_number(value, 1); /* a loop cannot call itself */
}

static bool get_depth0(struct jinja_render *render, struct jinja_loop *loop,
                       struct jinja_value *value) {
    (void)render;
    (void)loop;
    return give_number(value, 0);
}

static const struct {
    const char *name;
    bool (*get)(struct jinja_render *render, struct jinja_loop *loop, struct jinja_value *value);
} attributes[] = {
    {"index", get_index},         {"index0", get_index0},     {"first", get_first},
    {"last", get_last},           {"length", get_length},     {"revindex", get_revindex},
    {"revindex0", get_revindex0}, {"previtem", get_previtem}, {"nextitem", get_nextitem},
    {"depth", get_depth},         {"depth0", get_depth0},
};

bool jinja_loop_attribute(struct jinja_render *render, struct jinja_loop *loop,
                          struct string_view name, struct jinja_value *value, bool *found) {
    for (size_t i = 0; i < sizeof attributes / sizeof attributes[0]; i++) {
        if (string_view_is(name, attributes[i].name)) {
            *found = true;
            return attributes[i].get(render, loop, value);
        }
    }
    *found = false;
    return true;
}

/* One of the arguments, in turn. */
static bool cycle(struct jinja_render *render, const struct jinja_call *call,
                  struct jinja_value *result) {
    if (call->count == 0) {
        return jinja_fail(render, "no items for cycling given");
    }
    *result = call->arguments[(call->subject.loop->index - 1) % call->count];
    return true;
}

/* Whether the arguments differ from those of the last call. */
static bool changed(struct jinja_render *render, const struct jinja_call *call,
                    struct jinja_value *result) {
    struct jinja_loop *loop = call->subject.loop;
    struct jinja_value tuple;
    bool same;
    if (!jinja_new_list(render, JINJA_TUPLE, call->count, &tuple)) {
        return false;
    }
    for (size_t i = 0; i < call->count; i++) {
        tuple.list->items[i] = call->arguments[i];
    }
    tuple.list->count = call->count;
    if (!jinja_equal(render, &tuple, &loop->change, &same)) {
        return false;
    }
    loop->change = tuple;
    *result = jinja_bool(!same);
    return true;
}

const struct jinja_builtin jinja_loop_methods[] = {
    {"cycle", cycle, .variadic = true},
    {"changed", changed, .variadic = true},
    {0},
};
