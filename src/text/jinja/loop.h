/*
 * loop.h - the variable `loop` of a for statement, and the walk behind it.
 *
 * The items come one by one, and a condition on the for statement is asked when an item is wanted,
 * so that what the body changes is seen; asking for loop.last looks one item ahead, asking for
 * loop.length under a condition takes all of them.
 */
#ifndef MISTRAL_TEXT_JINJA_LOOP_H
#define MISTRAL_TEXT_JINJA_LOOP_H

#include "text/jinja/value.h"

struct jinja_activation;
struct jinja_node;

struct jinja_loop {
    struct jinja_iteration iteration;
    const struct jinja_node *statement;  /* the for statement, whose condition is asked */
    struct jinja_activation *activation; /* where it runs */
    size_t index;                        /* of the current item, from 1; 0 before the first */
    struct jinja_value current, previous;
    struct jinja_list ahead; /* items taken before their turn */
    size_t ahead_at;         /* the first of them that is still to come */
    bool counted;
    size_t length;             /* when counted */
    struct jinja_value change; /* what loop.changed was last called with */
};

/* False at the end, and after a failure. */
bool jinja_loop_next(struct jinja_render *render, struct jinja_loop *loop,
                     struct jinja_value *item);
bool jinja_loop_length(struct jinja_render *render, struct jinja_loop *loop, size_t *length);
/* loop.index and its like; *found is false for a name that a loop does not have. */
bool jinja_loop_attribute(struct jinja_render *render, struct jinja_loop *loop,
                          struct string_view name, struct jinja_value *value, bool *found);

#endif
