/*
 * execute.c - runs statements, and macros when they are called.
 *
 * One function a kind of statement, chosen by a table. What a break or continue leaves is told by
 * the flow that a statement returns.
 */
#include "text/jinja/eval.h"

#include "text/jinja/loop.h"
#include "text/jinja/print.h"

#include "base/bytes.h"

static enum jinja_flow flow_of(bool done) {
    return done ? JINJA_FLOW_NEXT : JINJA_FLOW_FAILED;
}

static bool assign_items(struct jinja_render *render, const struct jinja_node *target,
                         const struct jinja_value *value) {
    struct jinja_iteration iteration;
    struct jinja_value item;
    if (!jinja_iterate(render, value, &iteration)) {
        return false;
    }
    for (const struct jinja_node *node = target->sequence.items; node != NULL; node = node->next) {
        if (!jinja_next(render, &iteration, &item)) {
            return jinja_fail(render, "not enough values to unpack (expected %zu)",
                              target->sequence.count);
        }
        if (!jinja_assign(render, node, &item)) {
            return false;
        }
    }
    if (jinja_next(render, &iteration, &item)) {
        return jinja_fail(render, "too many values to unpack (expected %zu)",
                          target->sequence.count);
    }
    return !render->failed;
}

bool jinja_assign(struct jinja_render *render, const struct jinja_node *target,
                  const struct jinja_value *value) {
    if (target->kind == JINJA_TUPLE_LITERAL) {
        return assign_items(render, target, value);
    }
    struct jinja_value *slot = jinja_slot(render, target->variable.reference);
    if (target->kind == JINJA_VARIABLE) {
        *slot = *value;
        return true;
    }
    if (slot->kind != JINJA_NAMESPACE) {
        return jinja_fail(render, "cannot assign attribute on non-namespace object");
    }
    return jinja_dict_set(render, slot->dict, jinja_string(target->variable.attribute), *value);
}

static enum jinja_flow execute_text(struct jinja_render *render, const struct jinja_node *node) {
    jinja_append_view(render->out, node->text);
    return flow_of(!render->failed);
}

static enum jinja_flow execute_output(struct jinja_render *render, const struct jinja_node *node) {
    struct jinja_value value;
    return flow_of(jinja_evaluate(render, node->binary.left, &value) &&
                   jinja_append_value(render->out, &value));
}

static enum jinja_flow execute_set(struct jinja_render *render, const struct jinja_node *node) {
    struct jinja_value value;
    return flow_of(jinja_evaluate(render, node->block.value, &value) &&
                   jinja_assign(render, node->block.target, &value));
}

/* Runs a block's body in its frame with the output caught, and filters that. */
static enum jinja_flow capture_block(struct jinja_render *render, const struct jinja_node *node,
                                     struct jinja_value *text) {
    struct jinja_builder builder = {.render = render};
    struct jinja_builder *out = render->out;
    if (!jinja_enter_scope(render, &node->block.scope)) {
        return JINJA_FLOW_FAILED;
    }
    render->out = &builder;
    enum jinja_flow flow = jinja_execute(render, node->block.body);
    render->out = out;
    if (flow != JINJA_FLOW_NEXT) {
        return flow;
    }
    if (!jinja_finish(&builder, text)) {
        return JINJA_FLOW_FAILED;
    }
    struct jinja_value caught = *text;
    return flow_of(node->block.value == NULL ||
                   jinja_evaluate_filters(render, node->block.value, caught, text));
}

static enum jinja_flow execute_set_block(struct jinja_render *render,
                                         const struct jinja_node *node) {
    struct jinja_value text;
    enum jinja_flow flow = capture_block(render, node, &text);
    return flow != JINJA_FLOW_NEXT ? flow
                                   : flow_of(jinja_assign(render, node->block.target, &text));
}

static enum jinja_flow execute_filter_block(struct jinja_render *render,
                                            const struct jinja_node *node) {
    struct jinja_value text;
    enum jinja_flow flow = capture_block(render, node, &text);
    return flow != JINJA_FLOW_NEXT ? flow : flow_of(jinja_append_value(render->out, &text));
}

static enum jinja_flow execute_generation(struct jinja_render *render,
                                          const struct jinja_node *node) {
    return jinja_enter_scope(render, &node->block.scope) ? jinja_execute(render, node->block.body)
                                                         : JINJA_FLOW_FAILED;
}

static enum jinja_flow execute_with(struct jinja_render *render, const struct jinja_node *node) {
    for (const struct jinja_part *part = node->block.bindings; part != NULL; part = part->next) {
        struct jinja_value value;
        if (!jinja_evaluate(render, part->value, &value) ||
            !jinja_assign(render, part->target, &value)) {
            return JINJA_FLOW_FAILED;
        }
    }
    return execute_generation(render, node); /* the same from here: a frame and its body */
}

static enum jinja_flow execute_if(struct jinja_render *render, const struct jinja_node *node) {
    for (const struct jinja_part *branch = node->condition.branches; branch != NULL;
         branch = branch->next) {
        struct jinja_value test = jinja_bool(true);
        if (branch->value != NULL && !jinja_evaluate(render, branch->value, &test)) {
            return JINJA_FLOW_FAILED;
        }
        if (jinja_truth(&test)) {
            return jinja_execute(render, branch->body);
        }
    }
    return JINJA_FLOW_NEXT;
}

static enum jinja_flow execute_for(struct jinja_render *render, const struct jinja_node *node) {
    struct jinja_value iterable, item;
    struct jinja_loop *loop = jinja_alloc(render, 1, sizeof *loop);
    if (loop == NULL || !jinja_evaluate(render, node->loop.iterable, &iterable) ||
        !jinja_iterate(render, &iterable, &loop->iteration)) {
        return JINJA_FLOW_FAILED;
    }
    loop->statement = node;
    loop->activation = render->activation;
    bool finished_one = false; /* Jinja's rule for else: no run of the body reached its end */
    while (jinja_loop_next(render, loop, &item)) {
        struct jinja_value variable = {.kind = JINJA_LOOP, .loop = loop};
        if (!jinja_assign(render, node->loop.target, &item)) {
            return JINJA_FLOW_FAILED;
        }
        *jinja_slot(render, node->loop.loop) = variable;
        if (!jinja_enter_scope(render, &node->loop.scope)) {
            return JINJA_FLOW_FAILED;
        }
        enum jinja_flow flow = jinja_execute(render, node->loop.body);
        if (flow == JINJA_FLOW_FAILED) {
            return flow;
        }
        finished_one = finished_one || flow == JINJA_FLOW_NEXT;
        if (flow == JINJA_FLOW_BREAK) {
            break;
        }
    }
    if (render->failed) {
        return JINJA_FLOW_FAILED;
    }
    if (finished_one || node->loop.otherwise == NULL) {
        return JINJA_FLOW_NEXT;
    }
    return jinja_enter_scope(render, &node->loop.else_scope)
               ? jinja_execute(render, node->loop.otherwise)
               : JINJA_FLOW_FAILED;
}

static enum jinja_flow execute_macro_definition(struct jinja_render *render,
                                                const struct jinja_node *node) {
    struct jinja_macro *macro = jinja_alloc(render, 1, sizeof *macro);
    if (macro == NULL) {
        return JINJA_FLOW_FAILED;
    }
    *macro = (struct jinja_macro){.definition = node, .outer = render->activation};
    struct jinja_value value = {.kind = JINJA_MACRO, .macro = macro};
    return flow_of(jinja_assign(render, node->macro.target, &value));
}

static enum jinja_flow execute_break(struct jinja_render *render, const struct jinja_node *node) {
    (void)render;
    (void)node;
    return JINJA_FLOW_BREAK;
}

static enum jinja_flow execute_continue(struct jinja_render *render,
                                        const struct jinja_node *node) {
    (void)render;
    (void)node;
    return JINJA_FLOW_CONTINUE;
}

typedef enum jinja_flow executor(struct jinja_render *render, const struct jinja_node *node);

static executor *const executors[JINJA_NODE_KIND_COUNT] = {
    [JINJA_TEXT] = execute_text,
    [JINJA_OUTPUT] = execute_output,
    [JINJA_SET] = execute_set,
    [JINJA_SET_BLOCK] = execute_set_block,
    [JINJA_IF] = execute_if,
    [JINJA_FOR] = execute_for,
    [JINJA_MACRO_DEFINITION] = execute_macro_definition,
    [JINJA_FILTER_BLOCK] = execute_filter_block,
    [JINJA_WITH] = execute_with,
    [JINJA_GENERATION] = execute_generation,
    [JINJA_BREAK] = execute_break,
    [JINJA_CONTINUE] = execute_continue,
};

enum jinja_flow jinja_execute(struct jinja_render *render, const struct jinja_node *body) {
    if (!jinja_enter(render)) {
        return JINJA_FLOW_FAILED;
    }
    enum jinja_flow flow = JINJA_FLOW_NEXT;
    for (const struct jinja_node *node = body; flow == JINJA_FLOW_NEXT && node != NULL;
         node = node->next) {
        flow = jinja_spend(render, 1) ? executors[node->kind](render, node) : JINJA_FLOW_FAILED;
        if (flow == JINJA_FLOW_FAILED && render->failed_line == 0) {
            render->failed_line = node->line;
        }
    }
    jinja_leave(render);
    return flow;
}

struct string_view jinja_macro_name(const struct jinja_macro *macro) {
    return macro->definition->macro.target->variable.name->text;
}

/* Puts the arguments of a call into the macro's parameters, and checks that all have a place. */
static bool bind_parameters(struct jinja_render *render, const struct jinja_macro *macro,
                            const struct jinja_call *call, struct jinja_activation *activation) {
    struct string_view name = jinja_macro_name(macro);
    size_t position = 0, keywords_used = 0;
    for (const struct jinja_part *part = macro->definition->macro.parameters; part != NULL;
         part = part->next) {
        struct jinja_value *slot = &activation->slots[part->target->variable.reference.slot];
        if (position < call->count) {
            *slot = call->arguments[position++];
            continue;
        }
        for (size_t i = 0; i < call->keyword_count; i++) {
            if (string_view_equals(call->keywords[i].name, part->name)) {
                *slot = call->keywords[i].value;
                keywords_used++;
                break;
            }
        }
    }
    if (position < call->count) {
        return jinja_fail(render, "macro '%.*s' takes not more than %zu arguments",
                          (int)size_min(name.length, 100), name.data, position);
    }
    if (keywords_used < call->keyword_count) {
        return jinja_fail(render, "macro '%.*s' was given an unknown keyword argument",
                          (int)size_min(name.length, 100), name.data);
    }
    return true;
}

/* What was not given gets its default, which may use the parameters before it. */
static bool fill_defaults(struct jinja_render *render, const struct jinja_node *definition) {
    for (const struct jinja_part *part = definition->macro.parameters; part != NULL;
         part = part->next) {
        struct jinja_value *slot = jinja_slot(render, part->target->variable.reference);
        if (jinja_given(slot)) {
            continue;
        }
        struct jinja_value value = jinja_undefined_variable(part->name);
        if (part->value != NULL && !jinja_evaluate(render, part->value, &value)) {
            return false;
        }
        *slot = value;
    }
    return true;
}

static bool call_macro(struct jinja_render *render, const struct jinja_macro *macro,
                       const struct jinja_call *call, struct jinja_value *result) {
    const struct jinja_node *definition = macro->definition;
    struct jinja_activation *caller = render->activation;
    struct jinja_builder builder = {.render = render}, *out = render->out;
    /* Not on the stack: a macro or loop of this call may outlive it in a namespace. */
    struct jinja_activation *activation = jinja_alloc(render, 1, sizeof *activation);
    if (activation == NULL) {
        return false;
    }
    activation->outer = macro->outer;
    activation->slots =
        jinja_alloc(render, definition->macro.slot_count, sizeof *activation->slots);
    if (activation->slots == NULL || !bind_parameters(render, macro, call, activation)) {
        return false;
    }
    render->activation = activation;
    render->out = &builder;
    bool done = jinja_enter_scope(render, &definition->macro.scope) &&
                fill_defaults(render, definition) &&
                jinja_execute(render, definition->macro.body) == JINJA_FLOW_NEXT;
    render->activation = caller;
    render->out = out;
    return done && jinja_finish(&builder, result);
}

bool jinja_call_value(struct jinja_render *render, const struct jinja_value *callee,
                      const struct jinja_call *call, struct jinja_value *result) {
    struct jinja_call bound = *call;
    switch ((enum jinja_kind)callee->kind) {
    case JINJA_MACRO:
        return call_macro(render, callee->macro, call, result);
    case JINJA_METHOD:
        bound.subject = callee->method->subject;
        return jinja_call_builtin(render, callee->method->builtin, &bound, result);
    case JINJA_FUNCTION:
        return jinja_call_builtin(render, callee->function, &bound, result);
    case JINJA_UNDEFINED:
        return jinja_fail_undefined(render, callee);
    default:
        return jinja_fail(render, "'%s' object is not callable", jinja_type_name(callee));
    }
}
