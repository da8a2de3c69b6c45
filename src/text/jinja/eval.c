/*
 * eval.c - evaluates expressions.
 *
 * One function a kind of node, chosen by a table. jinja_evaluate counts the step and the depth, and
 * notes the line of the innermost expression that failed.
 */
#include "text/jinja/eval.h"

#include "text/jinja/json.h"
#include "text/jinja/print.h"

#include <jansson.h>
#include <string.h>

static bool evaluate_constant(struct jinja_render *render, const struct jinja_node *node,
                              struct jinja_value *result) {
    (void)render;
    *result = node->constant;
    return true;
}

static bool evaluate_variable(struct jinja_render *render, const struct jinja_node *node,
                              struct jinja_value *result) {
    *result = *jinja_slot(render, node->variable.reference);
    if (result->kind == JINJA_MISSING) {
        *result = jinja_undefined_variable(node->variable.name->text);
    }
    return true;
}

static bool evaluate_items(struct jinja_render *render, const struct jinja_node *node,
                           enum jinja_kind kind, struct jinja_value *result) {
    if (!jinja_new_list(render, kind, node->sequence.count, result)) {
        return false;
    }
    for (const struct jinja_node *item = node->sequence.items; item != NULL; item = item->next) {
        struct jinja_value value;
        if (!jinja_evaluate(render, item, &value) ||
            !jinja_list_append(render, result->list, value)) {
            return false;
        }
    }
    return true;
}

static bool evaluate_list(struct jinja_render *render, const struct jinja_node *node,
                          struct jinja_value *result) {
    return evaluate_items(render, node, JINJA_LIST, result);
}

static bool evaluate_tuple(struct jinja_render *render, const struct jinja_node *node,
                           struct jinja_value *result) {
    return evaluate_items(render, node, JINJA_TUPLE, result);
}

static bool evaluate_dict(struct jinja_render *render, const struct jinja_node *node,
                          struct jinja_value *result) {
    if (!jinja_new_dict(render, JINJA_DICT, node->sequence.count / 2, result)) {
        return false;
    }
    for (const struct jinja_node *item = node->sequence.items; item != NULL;
         item = item->next->next) {
        struct jinja_value key, value;
        if (!jinja_evaluate(render, item, &key) || !jinja_evaluate(render, item->next, &value) ||
            !jinja_dict_set(render, result->dict, key, value)) {
            return false;
        }
    }
    return true;
}

static bool evaluate_concatenation(struct jinja_render *render, const struct jinja_node *node,
                                   struct jinja_value *result) {
    struct jinja_builder builder = {.render = render};
    for (const struct jinja_node *item = node->sequence.items; item != NULL; item = item->next) {
        struct jinja_value value;
        if (!jinja_evaluate(render, item, &value) || !jinja_append_value(&builder, &value)) {
            return false;
        }
    }
    return jinja_finish(&builder, result);
}

static bool evaluate_not(struct jinja_render *render, const struct jinja_node *node,
                         struct jinja_value *result) {
    struct jinja_value value;
    if (!jinja_evaluate(render, node->binary.left, &value)) {
        return false;
    }
    *result = jinja_bool(!jinja_truth(&value));
    return true;
}

static bool evaluate_negation(struct jinja_render *render, const struct jinja_node *node,
                              struct jinja_value *result) {
    struct jinja_value value;
    return jinja_evaluate(render, node->binary.left, &value) &&
           jinja_negate(render, &value, result);
}

static bool evaluate_identity(struct jinja_render *render, const struct jinja_node *node,
                              struct jinja_value *result) {
    struct jinja_value zero = jinja_integer(0), value;
    return jinja_evaluate(render, node->binary.left, &value) &&
           jinja_binary(render, JINJA_ADD, &zero, &value, result);
}

/* and, or: the operand that decides is the result. */
static bool evaluate_and(struct jinja_render *render, const struct jinja_node *node,
                         struct jinja_value *result) {
    return jinja_evaluate(render, node->binary.left, result) &&
           (!jinja_truth(result) || jinja_evaluate(render, node->binary.right, result));
}

static bool evaluate_or(struct jinja_render *render, const struct jinja_node *node,
                        struct jinja_value *result) {
    return jinja_evaluate(render, node->binary.left, result) &&
           (jinja_truth(result) || jinja_evaluate(render, node->binary.right, result));
}

static bool evaluate_arithmetic(struct jinja_render *render, const struct jinja_node *node,
                                struct jinja_value *result) {
    struct jinja_value left, right;
    return jinja_evaluate(render, node->binary.left, &left) &&
           jinja_evaluate(render, node->binary.right, &right) &&
           jinja_binary(render, node->binary.operation, &left, &right, result);
}

static bool compare_once(struct jinja_render *render, enum jinja_comparison comparison,
                         const struct jinja_value *left, const struct jinja_value *right,
                         bool *holds) {
    enum jinja_order order;
    switch (comparison) {
    case JINJA_EQUAL:
        return jinja_equal(render, left, right, holds);
    case JINJA_NOT_EQUAL:
        if (!jinja_equal(render, left, right, holds)) {
            return false;
        }
        *holds = !*holds;
        return true;
    case JINJA_IN:
        return jinja_contains(render, right, left, holds);
    case JINJA_NOT_IN:
        if (!jinja_contains(render, right, left, holds)) {
            return false;
        }
        *holds = !*holds;
        return true;
    default:
        break;
    }
    if (!jinja_compare(render, left, right, &order)) {
        return false;
    }
    *holds = (order == JINJA_LESS &&
              (comparison == JINJA_LESS_THAN || comparison == JINJA_LESS_EQUAL)) ||
             (order == JINJA_GREATER &&
              (comparison == JINJA_GREATER_THAN || comparison == JINJA_GREATER_EQUAL)) ||
             (order == JINJA_SAME &&
              (comparison == JINJA_LESS_EQUAL || comparison == JINJA_GREATER_EQUAL));
    return true;
}

/* a < b < c: each operand once, up to the first comparison that does not hold. */
static bool evaluate_comparison(struct jinja_render *render, const struct jinja_node *node,
                                struct jinja_value *result) {
    struct jinja_value left, right;
    if (!jinja_evaluate(render, node->comparison.first, &left)) {
        return false;
    }
    bool holds = true;
    for (const struct jinja_part *part = node->comparison.operands; holds && part != NULL;
         part = part->next) {
        if (!jinja_evaluate(render, part->value, &right) ||
            !compare_once(render, part->comparison, &left, &right, &holds)) {
            return false;
        }
        left = right;
    }
    *result = jinja_bool(holds);
    return true;
}

static bool evaluate_conditional(struct jinja_render *render, const struct jinja_node *node,
                                 struct jinja_value *result) {
    struct jinja_value test;
    if (!jinja_evaluate(render, node->conditional.test, &test)) {
        return false;
    }
    if (jinja_truth(&test)) {
        return jinja_evaluate(render, node->conditional.yes, result);
    }
    if (node->conditional.no != NULL) {
        return jinja_evaluate(render, node->conditional.no, result);
    }
    *result = jinja_undefined_because("an inline if was false and has no else");
    return true;
}

static bool evaluate_attribute(struct jinja_render *render, const struct jinja_node *node,
                               struct jinja_value *result) {
    struct jinja_value object;
    return jinja_evaluate(render, node->attribute.object, &object) &&
           jinja_attribute(render, &object, node->attribute.name, result);
}

static bool evaluate_element(struct jinja_render *render, const struct jinja_node *node,
                             struct jinja_value *result) {
    struct jinja_value object, key;
    return jinja_evaluate(render, node->binary.left, &object) &&
           jinja_evaluate(render, node->binary.right, &key) &&
           jinja_element(render, &object, &key, result);
}

static bool evaluate_slice(struct jinja_render *render, const struct jinja_node *node,
                           struct jinja_value *result) {
    struct jinja_value object, bounds[3];
    if (!jinja_evaluate(render, node->slice.object, &object)) {
        return false;
    }
    for (size_t i = 0; i < 3; i++) {
        bounds[i] = jinja_none();
        if (node->slice.bounds[i] != NULL &&
            !jinja_evaluate(render, node->slice.bounds[i], &bounds[i])) {
            return false;
        }
    }
    return jinja_slice(render, &object, bounds, result);
}

/* The arguments of a call, filter or test, in the rendering's memory. */
static bool evaluate_arguments(struct jinja_render *render, const struct jinja_node *node,
                               struct jinja_call *call) {
    if (node->call.arguments == NULL) {
        return true;
    }
    call->arguments = jinja_alloc(render, node->call.positional, sizeof *call->arguments);
    call->keywords = jinja_alloc(render, node->call.keywords, sizeof *call->keywords);
    if (call->arguments == NULL || call->keywords == NULL) {
        return false;
    }
    for (const struct jinja_part *part = node->call.arguments; part != NULL; part = part->next) {
        struct jinja_value value;
        if (!jinja_evaluate(render, part->value, &value)) {
            return false;
        }
        if (part->name.length > 0) {
            call->keywords[call->keyword_count++] = (struct jinja_keyword){part->name, value};
        } else {
            call->arguments[call->count++] = value;
        }
    }
    return true;
}

static bool evaluate_call(struct jinja_render *render, const struct jinja_node *node,
                          struct jinja_value *result) {
    struct jinja_value callee;
    struct jinja_call call = {0};
    return jinja_evaluate(render, node->call.subject, &callee) &&
           evaluate_arguments(render, node, &call) &&
           jinja_call_value(render, &callee, &call, result);
}

static bool call_builtin_of(struct jinja_render *render, const struct jinja_node *node,
                            struct jinja_value subject, struct jinja_value *result) {
    struct jinja_call call = {.subject = subject};
    if (node->call.builtin == NULL) {
        return jinja_fail(
            render, "no %s named '%.*s'", node->kind == JINJA_FILTER ? "filter" : "test",
            node->call.name.length > 40 ? 40 : (int)node->call.name.length, node->call.name.data);
    }
    return evaluate_arguments(render, node, &call) &&
           jinja_call_builtin(render, node->call.builtin, &call, result);
}

static bool evaluate_filter(struct jinja_render *render, const struct jinja_node *node,
                            struct jinja_value *result) {
    struct jinja_value subject;
    return jinja_evaluate(render, node->call.subject, &subject) &&
           call_builtin_of(render, node, subject, result);
}

bool jinja_evaluate_filters(struct jinja_render *render, const struct jinja_node *chain,
                            struct jinja_value subject, struct jinja_value *result) {
    if (chain->call.subject != NULL) { /* recursion bounded by the height of the tree */
        struct jinja_value inner;
        if (!jinja_evaluate_filters(render, chain->call.subject, subject, &inner)) {
            return false;
        }
        subject = inner;
    }
    return call_builtin_of(render, chain, subject, result);
}

typedef bool evaluator(struct jinja_render *render, const struct jinja_node *node,
                       struct jinja_value *result);

static evaluator *const evaluators[JINJA_EXPRESSION_COUNT] = {
    [JINJA_CONSTANT] = evaluate_constant,
    [JINJA_VARIABLE] = evaluate_variable,
    [JINJA_LIST_LITERAL] = evaluate_list,
    [JINJA_TUPLE_LITERAL] = evaluate_tuple,
    [JINJA_DICT_LITERAL] = evaluate_dict,
    [JINJA_CONCATENATION] = evaluate_concatenation,
    [JINJA_NOT] = evaluate_not,
    [JINJA_NEGATION] = evaluate_negation,
    [JINJA_IDENTITY] = evaluate_identity,
    [JINJA_AND] = evaluate_and,
    [JINJA_OR] = evaluate_or,
    [JINJA_ARITHMETIC] = evaluate_arithmetic,
    [JINJA_COMPARISON] = evaluate_comparison,
    [JINJA_CONDITIONAL] = evaluate_conditional,
    [JINJA_ATTRIBUTE] = evaluate_attribute,
    [JINJA_ELEMENT] = evaluate_element,
    [JINJA_SLICE] = evaluate_slice,
    [JINJA_CALL] = evaluate_call,
    [JINJA_FILTER] = evaluate_filter,
    [JINJA_TEST] = evaluate_filter,
};

bool jinja_evaluate(struct jinja_render *render, const struct jinja_node *node,
                    struct jinja_value *result) {
    bool done = false;
    if (jinja_spend(render, 1) && jinja_enter(render)) {
        done = evaluators[node->kind](render, node, result);
        jinja_leave(render);
    }
    if (!done && render->failed_line == 0) {
        render->failed_line = node->line;
    }
    return done;
}

/* The caller's variable of this name, converted once; else a global function; else nothing. */
static bool load_context(struct jinja_render *render, const struct jinja_name *name,
                         struct jinja_value *value) {
    struct jinja_value *cached = &render->context_values[name->context_index];
    if (!render->context_loaded[name->context_index]) {
        render->context_loaded[name->context_index] = true;
        const json_t *json = json_object_get(render->context, name->text.data);
        const struct jinja_builtin *function = jinja_find_global(name->text);
        if (json != NULL && !jinja_from_json(render, json, true, cached)) {
            return false;
        }
        if (json == NULL && function != NULL) {
            *cached = (struct jinja_value){.kind = JINJA_FUNCTION, .function = function};
        }
    }
    *value = *cached;
    return true;
}

bool jinja_enter_scope(struct jinja_render *render, const struct jinja_scope *scope) {
    for (const struct jinja_load *load = scope->loads; load != NULL; load = load->next) {
        struct jinja_value *slot = &render->activation->slots[load->slot];
        if (!jinja_spend(render, 1)) {
            return false;
        }
        switch (load->action) {
        case JINJA_LOAD_NOTHING:
            *slot = (struct jinja_value){.kind = JINJA_MISSING};
            break;
        case JINJA_LOAD_CONTEXT:
            if (!load_context(render, load->name, slot)) {
                return false;
            }
            break;
        case JINJA_LOAD_OUTER:
            *slot = *jinja_slot(render, load->outer);
            break;
        case JINJA_LOAD_LATER:
            break;
        }
    }
    return true;
}
