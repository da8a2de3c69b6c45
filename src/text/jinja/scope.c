/*
 * scope.c - decides at compile time which variable each name means.
 *
 * Each frame is walked twice. The first walk finds the frame's own names, without entering frames
 * inside it; what a name holds at first depends on how it is first met: read, it comes from the
 * caller's variables; assigned, it hides them (assigned in a branch of an if, it does not, for the
 * branch may not be taken). A name that an outer frame has is that frame's, until it is assigned
 * here: then this frame has a copy. The second walk gives every name its slot and enters the inner
 * frames. Recursion is bounded by the height of the tree.
 */
#include "text/jinja/ast.h"

#include "base/bytes.h"

/* A name of a frame that is being walked. */
struct jinja_symbol {
    struct jinja_symbol *shadowed; /* same name, outer frame */
    struct jinja_symbol *next;     /* same frame */
    struct jinja_name *name;
    const struct frame *frame;
    struct jinja_load *load;
};

struct frame {
    struct frame *outer;
    bool outer_soft;
    struct jinja_scope *scope;
    struct jinja_symbol *symbols;
    uint32_t *slot_count; /* of its function */
    uint32_t depth;       /* of its function: 0 for the template */
};

struct resolver {
    struct jinja_template *template;
    struct frame *frame;
    struct jinja_name *loop_name;
    unsigned loops;    /* for statements around */
    unsigned branches; /* if statements of this frame around; first walk only */
    bool soft;         /* inside an if of this frame; second walk only */
    struct error *error;
};

static bool out_of_memory(struct resolver *resolver) {
    return error_set(resolver->error, ERROR_OUT_OF_MEMORY, "no memory for the template");
}

static struct jinja_reference reference_to(const struct resolver *resolver,
                                           const struct jinja_symbol *symbol) {
    return (struct jinja_reference){.up = resolver->frame->depth - symbol->frame->depth,
                                    .slot = symbol->load->slot};
}

/* Adds a name to the frame; `action` says what it holds at first. */
static bool define(struct resolver *resolver, struct jinja_name *name,
                   enum jinja_load_action action) {
    struct frame *frame = resolver->frame;
    struct jinja_symbol *outer = name->symbol;
    if (outer != NULL && outer->frame == frame) {
        outer->load->action = action;
        return true;
    }
    struct jinja_symbol *symbol = arena_alloc(resolver->template->arena, 1, sizeof *symbol);
    struct jinja_load *load = arena_alloc(resolver->template->arena, 1, sizeof *load);
    if (symbol == NULL || load == NULL) {
        return out_of_memory(resolver);
    }
    *load = (struct jinja_load){
        .next = frame->scope->loads, .slot = (*frame->slot_count)++, .action = action};
    if (action == JINJA_LOAD_OUTER) {
        load->outer = reference_to(resolver, outer);
    }
    load->name = name;
    frame->scope->loads = load;
    *symbol = (struct jinja_symbol){
        .shadowed = outer, .next = frame->symbols, .name = name, .frame = frame, .load = load};
    frame->symbols = symbol;
    name->symbol = symbol;
    return true;
}

static bool define_from_context(struct resolver *resolver, struct jinja_name *name) {
    if (!name->from_context) {
        name->from_context = true;
        name->context_index = resolver->template->context_count++;
    }
    return define(resolver, name, JINJA_LOAD_CONTEXT);
}

static bool read_name(struct resolver *resolver, struct jinja_name *name) {
    return name->symbol != NULL || define_from_context(resolver, name);
}

static bool assign_name(struct resolver *resolver, struct jinja_name *name, uint32_t line) {
    if (name == resolver->loop_name && resolver->loops > 0) {
        return error_set(resolver->error, ERROR_FORMAT,
                         "line %u: 'loop' cannot be assigned inside a loop", (unsigned)line);
    }
    if (name->symbol != NULL) {
        return name->symbol->frame == resolver->frame || define(resolver, name, JINJA_LOAD_OUTER);
    }
    return resolver->branches > 0 ? define_from_context(resolver, name)
                                  : define(resolver, name, JINJA_LOAD_NOTHING);
}

static void enter_frame(struct resolver *resolver, struct frame *frame, struct jinja_scope *scope) {
    *frame = (struct frame){.outer = resolver->frame,
                            .outer_soft = resolver->soft,
                            .scope = scope,
                            .slot_count = resolver->frame->slot_count,
                            .depth = resolver->frame->depth};
    resolver->frame = frame;
    resolver->soft = false;
}

static void leave_frame(struct resolver *resolver) {
    for (struct jinja_symbol *symbol = resolver->frame->symbols; symbol != NULL;
         symbol = symbol->next) {
        symbol->name->symbol = symbol->shadowed;
    }
    resolver->soft = resolver->frame->outer_soft;
    resolver->frame = resolver->frame->outer;
}

/* Calls `visit` on every expression directly inside this one; NULL children are left out. */
typedef bool visitor(struct resolver *resolver, struct jinja_node *node);

static bool visit_optional(struct resolver *resolver, struct jinja_node *node, visitor *visit) {
    return node == NULL || visit(resolver, node);
}

static bool visit_items(struct resolver *resolver, struct jinja_node *first, visitor *visit) {
    for (struct jinja_node *node = first; node != NULL; node = node->next) {
        if (!visit(resolver, node)) {
            return false;
        }
    }
    return true;
}

static bool visit_values(struct resolver *resolver, struct jinja_part *first, visitor *visit) {
    for (struct jinja_part *part = first; part != NULL; part = part->next) {
        if (!visit_optional(resolver, part->value, visit)) {
            return false;
        }
    }
    return true;
}

static bool visit_children(struct resolver *resolver, struct jinja_node *node, visitor *visit) {
    switch ((enum jinja_node_kind)node->kind) {
    case JINJA_LIST_LITERAL:
    case JINJA_TUPLE_LITERAL:
    case JINJA_DICT_LITERAL:
    case JINJA_CONCATENATION:
        return visit_items(resolver, node->sequence.items, visit);
    case JINJA_NOT:
    case JINJA_NEGATION:
    case JINJA_IDENTITY:
    case JINJA_AND:
    case JINJA_OR:
    case JINJA_ARITHMETIC:
    case JINJA_ELEMENT:
        return visit(resolver, node->binary.left) &&
               visit_optional(resolver, node->binary.right, visit);
    case JINJA_COMPARISON:
        return visit(resolver, node->comparison.first) &&
               visit_values(resolver, node->comparison.operands, visit);
    case JINJA_CONDITIONAL:
        return visit(resolver, node->conditional.test) && visit(resolver, node->conditional.yes) &&
               visit_optional(resolver, node->conditional.no, visit);
    case JINJA_ATTRIBUTE:
        return visit(resolver, node->attribute.object);
    case JINJA_SLICE:
        return visit(resolver, node->slice.object) &&
               visit_optional(resolver, node->slice.bounds[0], visit) &&
               visit_optional(resolver, node->slice.bounds[1], visit) &&
               visit_optional(resolver, node->slice.bounds[2], visit);
    case JINJA_CALL:
    case JINJA_FILTER:
    case JINJA_TEST:
        return visit_optional(resolver, node->call.subject, visit) &&
               visit_values(resolver, node->call.arguments, visit);
    default:
        return true;
    }
}

/* The first walk. */

static bool collect_expression(struct resolver *resolver, struct jinja_node *node) {
    if (node->kind == JINJA_VARIABLE) {
        return read_name(resolver, node->variable.name);
    }
    return visit_children(resolver, node, collect_expression);
}

static bool collect_target(struct resolver *resolver, struct jinja_node *node) {
    switch ((enum jinja_node_kind)node->kind) {
    case JINJA_VARIABLE:
        return assign_name(resolver, node->variable.name, node->line);
    case JINJA_NAMESPACE_TARGET:
        return read_name(resolver, node->variable.name);
    default:
        return visit_items(resolver, node->sequence.items, collect_target);
    }
}

/* Names that are set by whoever enters the frame. */
static bool collect_parameters(struct resolver *resolver, struct jinja_node *node) {
    if (node->kind != JINJA_VARIABLE) {
        return visit_items(resolver, node->sequence.items, collect_parameters);
    }
    if (node->variable.name == resolver->loop_name && resolver->loops > 0) {
        return assign_name(resolver, node->variable.name, node->line); /* fails */
    }
    return define(resolver, node->variable.name, JINJA_LOAD_LATER);
}

static bool collect_body(struct resolver *resolver, struct jinja_node *body);

static bool collect_branches(struct resolver *resolver, struct jinja_node *node) {
    resolver->branches++;
    bool collected = true;
    for (struct jinja_part *branch = node->condition.branches; collected && branch != NULL;
         branch = branch->next) {
        collected = visit_optional(resolver, branch->value, collect_expression) &&
                    collect_body(resolver, branch->body);
    }
    resolver->branches--;
    return collected;
}

static bool collect_statement(struct resolver *resolver, struct jinja_node *node) {
    switch ((enum jinja_node_kind)node->kind) {
    case JINJA_OUTPUT:
        return collect_expression(resolver, node->binary.left);
    case JINJA_SET:
        return collect_expression(resolver, node->block.value) &&
               collect_target(resolver, node->block.target);
    case JINJA_SET_BLOCK:
        return collect_target(resolver, node->block.target);
    case JINJA_IF:
        return collect_branches(resolver, node);
    case JINJA_FOR:
        return collect_expression(resolver, node->loop.iterable);
    case JINJA_MACRO_DEFINITION:
        return collect_target(resolver, node->macro.target);
    case JINJA_FILTER_BLOCK:
        return collect_expression(resolver, node->block.value);
    case JINJA_WITH:
        return visit_values(resolver, node->block.bindings, collect_expression);
    default:
        return true;
    }
}

static bool collect_body(struct resolver *resolver, struct jinja_node *body) {
    return visit_items(resolver, body, collect_statement);
}

/* A frame's own first walk: it has no branches around it yet. */
static bool collect_frame(struct resolver *resolver, struct jinja_node *body) {
    unsigned branches = resolver->branches;
    resolver->branches = 0;
    bool collected = collect_body(resolver, body);
    resolver->branches = branches;
    return collected;
}

/* The second walk. */

/* A filter or test that does not exist is an error at once, except where an if may go around it. */
static bool fail_unknown(struct resolver *resolver, const struct jinja_node *node) {
    return error_set(resolver->error, ERROR_FORMAT, "line %u: no %s named '%.*s'",
                     (unsigned)node->line, node->kind == JINJA_FILTER ? "filter" : "test",
                     (int)size_min(node->call.name.length, 40), node->call.name.data);
}

static bool bind_expression(struct resolver *resolver, struct jinja_node *node) {
    if (node->kind == JINJA_VARIABLE || node->kind == JINJA_NAMESPACE_TARGET) {
        node->variable.reference = reference_to(resolver, node->variable.name->symbol);
        return true;
    }
    bool soft = resolver->soft;
    if ((node->kind == JINJA_FILTER || node->kind == JINJA_TEST) && node->call.builtin == NULL &&
        !soft) {
        return fail_unknown(resolver, node);
    }
    resolver->soft = soft || node->kind == JINJA_CONDITIONAL;
    bool bound = visit_children(resolver, node, bind_expression);
    resolver->soft = soft;
    return bound;
}

static bool bind_body(struct resolver *resolver, struct jinja_node *body);

static bool bind_block(struct resolver *resolver, struct jinja_node *node) {
    struct frame frame;
    enter_frame(resolver, &frame, &node->block.scope);
    bool bound = visit_optional(resolver, node->block.value, collect_expression) &&
                 collect_frame(resolver, node->block.body) &&
                 visit_optional(resolver, node->block.value, bind_expression) &&
                 bind_body(resolver, node->block.body);
    leave_frame(resolver);
    return bound && visit_optional(resolver, node->block.target, bind_expression);
}

static bool bind_with(struct resolver *resolver, struct jinja_node *node) {
    if (!visit_values(resolver, node->block.bindings, bind_expression)) {
        return false;
    }
    struct frame frame;
    enter_frame(resolver, &frame, &node->block.scope);
    bool bound = true;
    for (struct jinja_part *part = node->block.bindings; bound && part != NULL; part = part->next) {
        bound =
            collect_parameters(resolver, part->target) && bind_expression(resolver, part->target);
    }
    bound =
        bound && collect_frame(resolver, node->block.body) && bind_body(resolver, node->block.body);
    leave_frame(resolver);
    return bound;
}

static bool bind_for_body(struct resolver *resolver, struct jinja_node *node) {
    struct frame frame;
    enter_frame(resolver, &frame, &node->loop.scope);
    bool bound = define(resolver, resolver->loop_name, JINJA_LOAD_LATER);
    resolver->loops++;
    if (bound) {
        node->loop.loop = reference_to(resolver, resolver->loop_name->symbol);
        bound = collect_parameters(resolver, node->loop.target) &&
                collect_frame(resolver, node->loop.body) &&
                bind_expression(resolver, node->loop.target) &&
                bind_body(resolver, node->loop.body);
    }
    resolver->loops--;
    leave_frame(resolver);
    return bound;
}

static bool bind_for(struct resolver *resolver, struct jinja_node *node) {
    if (!bind_expression(resolver, node->loop.iterable) || !bind_for_body(resolver, node)) {
        return false;
    }
    struct frame frame;
    enter_frame(resolver, &frame, &node->loop.else_scope);
    bool bound =
        collect_frame(resolver, node->loop.otherwise) && bind_body(resolver, node->loop.otherwise);
    leave_frame(resolver);
    if (!bound || node->loop.test == NULL) {
        return bound;
    }
    enter_frame(resolver, &frame, &node->loop.test_scope);
    bound = collect_parameters(resolver, node->loop.test_target) &&
            collect_expression(resolver, node->loop.test) &&
            bind_expression(resolver, node->loop.test_target) &&
            bind_expression(resolver, node->loop.test);
    leave_frame(resolver);
    return bound;
}

static bool bind_macro(struct resolver *resolver, struct jinja_node *node) {
    if (!bind_expression(resolver, node->macro.target)) {
        return false;
    }
    struct frame frame;
    enter_frame(resolver, &frame, &node->macro.scope);
    frame.slot_count = &node->macro.slot_count;
    frame.depth++;
    bool bound = true;
    for (struct jinja_part *part = node->macro.parameters; bound && part != NULL;
         part = part->next) {
        bound = collect_parameters(resolver, part->target);
    }
    bound = bound && visit_values(resolver, node->macro.parameters, collect_expression) &&
            collect_frame(resolver, node->macro.body);
    for (struct jinja_part *part = node->macro.parameters; bound && part != NULL;
         part = part->next) {
        bound = bind_expression(resolver, part->target) &&
                visit_optional(resolver, part->value, bind_expression);
    }
    bound = bound && bind_body(resolver, node->macro.body);
    leave_frame(resolver);
    return bound;
}

static bool bind_branches(struct resolver *resolver, struct jinja_node *node) {
    bool soft = resolver->soft, bound = true;
    resolver->soft = true;
    for (struct jinja_part *branch = node->condition.branches; bound && branch != NULL;
         branch = branch->next) {
        bound = visit_optional(resolver, branch->value, bind_expression) &&
                bind_body(resolver, branch->body);
    }
    resolver->soft = soft;
    return bound;
}

static bool bind_statement(struct resolver *resolver, struct jinja_node *node) {
    switch ((enum jinja_node_kind)node->kind) {
    case JINJA_OUTPUT:
        return bind_expression(resolver, node->binary.left);
    case JINJA_SET:
        return bind_expression(resolver, node->block.value) &&
               bind_expression(resolver, node->block.target);
    case JINJA_SET_BLOCK:
    case JINJA_FILTER_BLOCK:
    case JINJA_GENERATION:
        return bind_block(resolver, node);
    case JINJA_IF:
        return bind_branches(resolver, node);
    case JINJA_FOR:
        return bind_for(resolver, node);
    case JINJA_MACRO_DEFINITION:
        return bind_macro(resolver, node);
    case JINJA_WITH:
        return bind_with(resolver, node);
    default:
        return true;
    }
}

static bool bind_body(struct resolver *resolver, struct jinja_node *body) {
    return visit_items(resolver, body, bind_statement);
}

bool jinja_resolve_names(struct jinja_template *template, struct jinja_name *loop_name,
                         struct error *error) {
    struct frame frame = {.scope = &template->scope, .slot_count = &template->slot_count};
    struct resolver resolver = {
        .template = template, .frame = &frame, .loop_name = loop_name, .error = error};
    return collect_body(&resolver, template->body) && bind_body(&resolver, template->body);
}
