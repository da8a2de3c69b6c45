/*
 * eval.h - what the parts that run a template share: expressions (eval.c), statements
 * (execute.c), loops (loop.c).
 */
#ifndef MISTRAL_TEXT_JINJA_EVAL_H
#define MISTRAL_TEXT_JINJA_EVAL_H

#include "text/jinja/ast.h"
#include "text/jinja/macro.h"

bool jinja_evaluate(struct jinja_render *render, const struct jinja_node *node,
                    struct jinja_value *result);
/* As if the filter's subject were this value; a chain's innermost filter has no subject node. */
bool jinja_evaluate_filters(struct jinja_render *render, const struct jinja_node *chain,
                            struct jinja_value subject, struct jinja_value *result);

/* Gives the names of a frame their first values. */
bool jinja_enter_scope(struct jinja_render *render, const struct jinja_scope *scope);
/* To a variable, to ns.name, or piece by piece to a tuple of them. */
bool jinja_assign(struct jinja_render *render, const struct jinja_node *target,
                  const struct jinja_value *value);

static inline struct jinja_value *jinja_slot(struct jinja_render *render,
                                             struct jinja_reference reference) {
    struct jinja_activation *activation = render->activation;
    for (uint32_t i = 0; i < reference.up; i++) {
        activation = activation->outer;
    }
    return &activation->slots[reference.slot];
}

enum jinja_flow { JINJA_FLOW_NEXT, JINJA_FLOW_BREAK, JINJA_FLOW_CONTINUE, JINJA_FLOW_FAILED };

/* Runs statements in order; output goes to render->out. */
enum jinja_flow jinja_execute(struct jinja_render *render, const struct jinja_node *body);

#endif
