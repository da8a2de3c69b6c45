/*
 * grammar_compile.c - from expressions to the tables of struct grammar.
 *
 * Thompson's construction, rule by rule; then what is useless is dropped, left recursion refused,
 * rules ranked by who calls whom at its beginning, and bytes that no edge tells apart joined.
 * Everything is linear in the size of the tables.
 */
#include "base/bytes.h"
#include "base/work_limit.h"
#include "grammar/grammar_internal.h"

#include <stdlib.h>
#include <string.h>

enum {
    HOIST_COST = 8, /* what is repeated and costs more becomes a rule of its own: one copy */
    ROOT_RULE = 0,
    NONE = UINT32_MAX
};

struct raw_edge {
    uint32_t from;
    struct grammar_edge edge;
};

struct compiler {
    struct grammar_builder *builder;
    struct error *error;
    bool has_failed;
    uint32_t state_count;
    POOL(struct raw_edge) edges;
    POOL(struct grammar_rule) rules; /* 0: root; 1 + i: the builder's i; then hoisted ones */
    POOL(grammar_expr) bodies;       /* of rules */
    struct grammar *grammar;
};

/* --- construction --- */

static void fail(struct compiler *compiler, enum error_code code, const char *reason) {
    if (!compiler->has_failed) {
        compiler->has_failed = true;
        error_set(compiler->error, code, "%s", reason);
    }
}

static uint32_t new_state(struct compiler *compiler) {
    if (compiler->state_count >= GRAMMAR_MAX_STATES) {
        fail(compiler, ERROR_UNSUPPORTED,
             "the grammar is too large; write it with fewer or smaller parts");
        return 0;
    }
    if (compiler->state_count % WORK_LIMIT_STEPS == 0 && work_limit_reached()) {
        fail(compiler, ERROR_CANCELLED, "nobody waits for the grammar any more");
        return 0;
    }
    return compiler->state_count++;
}

static void add_edge(struct compiler *compiler, uint32_t from, struct grammar_edge edge) {
    if (compiler->edges.count >= GRAMMAR_MAX_EDGES) {
        fail(compiler, ERROR_UNSUPPORTED,
             "the grammar is too large; write it with fewer or smaller parts");
    } else if (!POOL_RESERVE(&compiler->edges, 1)) {
        fail(compiler, ERROR_OUT_OF_MEMORY, "no memory for the grammar");
    } else {
        compiler->edges.items[compiler->edges.count++] = (struct raw_edge){from, edge};
    }
}

static void add_empty(struct compiler *compiler, uint32_t from, uint32_t to) {
    add_edge(compiler, from, (struct grammar_edge){.kind = EDGE_EMPTY, .target = to});
}

static void add_bytes(struct compiler *compiler, uint32_t from, uint8_t low, uint8_t high,
                      uint32_t to) {
    add_edge(compiler, from,
             (struct grammar_edge){.kind = EDGE_BYTES, .low = low, .high = high, .target = to});
}

static void add_valued(struct compiler *compiler, uint32_t from, enum grammar_edge_kind kind,
                       uint32_t value, uint32_t to) {
    add_edge(compiler, from,
             (struct grammar_edge){.kind = (uint8_t)kind, .value = value, .target = to});
}

static uint32_t add_rule(struct compiler *compiler, grammar_expr body) {
    if (!POOL_RESERVE(&compiler->rules, 1) || !POOL_RESERVE(&compiler->bodies, 1)) {
        fail(compiler, ERROR_OUT_OF_MEMORY, "no memory for the grammar");
        return 0;
    }
    struct grammar_rule rule = {.start = new_state(compiler)};
    rule.end = new_state(compiler);
    compiler->rules.items[compiler->rules.count++] = rule;
    compiler->bodies.items[compiler->bodies.count++] = body;
    return (uint32_t)compiler->rules.count - 1;
}

struct class_target {
    struct compiler *compiler;
    uint32_t from, to;
};

static void add_sequence_of_bytes(void *context, const uint8_t low[4], const uint8_t high[4],
                                  size_t length) {
    const struct class_target *target = context;
    uint32_t at = target->from;
    for (size_t i = 0; i < length; i++) {
        uint32_t next = i + 1 == length ? target->to : new_state(target->compiler);
        add_bytes(target->compiler, at, low[i], high[i], next);
        at = next;
    }
}

static void compile_expr(struct compiler *compiler, grammar_expr expr, uint32_t from, uint32_t to);

static void compile_repeat(struct compiler *compiler, struct expr *expr, uint32_t from,
                           uint32_t to) {
    struct expr *items = compiler->builder->exprs.items;
    bool once = expr->most == GRAMMAR_UNBOUNDED ? expr->least == 0 : expr->most == 1;
    uint32_t rule = NONE;
    if (!once && items[expr->first].cost > HOIST_COST) {
        if (expr->count == 0) {
            expr->count = add_rule(compiler, expr->first) + 1;
        }
        rule = expr->count - 1;
    }
    size_t copies = expr->most == GRAMMAR_UNBOUNDED ? expr->least + 1 : expr->most;
    uint32_t at = from;
    for (size_t i = 0; i < copies && !compiler->has_failed; i++) {
        bool loops = expr->most == GRAMMAR_UNBOUNDED && i == expr->least;
        uint32_t begin = at, next = new_state(compiler);
        if (loops) { /* in a state of its own: others may come to `at` */
            begin = new_state(compiler);
            add_empty(compiler, at, begin);
            add_empty(compiler, next, begin);
            add_empty(compiler, begin, to);
        } else if (i >= expr->least) {
            add_empty(compiler, at, to);
        }
        if (rule != NONE) {
            add_valued(compiler, begin, EDGE_RULE, rule, next);
        } else {
            compile_expr(compiler, expr->first, begin, next);
        }
        at = next;
    }
    if (expr->most != GRAMMAR_UNBOUNDED) {
        add_empty(compiler, at, to);
    }
}

static void compile_sequence(struct compiler *compiler, const struct expr *expr, uint32_t from,
                             uint32_t to) {
    uint32_t at = from;
    for (uint32_t i = 0; i < expr->count; i++) {
        uint32_t next = i + 1 == expr->count ? to : new_state(compiler);
        compile_expr(compiler, compiler->builder->lists.items[expr->first + i], at, next);
        at = next;
    }
}

static void compile_bytes(struct compiler *compiler, const struct expr *expr, uint32_t from,
                          uint32_t to) {
    uint32_t at = from;
    for (uint32_t i = 0; i < expr->count; i++) {
        uint32_t next = i + 1 == expr->count ? to : new_state(compiler);
        uint8_t byte = (uint8_t)compiler->builder->bytes.items[expr->first + i];
        add_bytes(compiler, at, byte, byte, next);
        at = next;
    }
}

/* The inner states of an automaton follow one another; its ends are `from` and `to`, behind empty
 * edges, since its own edges may lead to its first state and from its last. */
static void compile_automaton(struct compiler *compiler, const struct expr *expr, uint32_t from,
                              uint32_t to) {
    if (compiler->state_count + expr->least > GRAMMAR_MAX_STATES) {
        fail(compiler, ERROR_UNSUPPORTED,
             "the grammar is too large; write it with fewer or smaller parts");
        return;
    }
    uint32_t base = compiler->state_count;
    compiler->state_count += (uint32_t)expr->least;
    add_empty(compiler, from, base);
    add_empty(compiler, base + 1, to);
    for (uint32_t i = 0; i < expr->count; i++) {
        struct grammar_arc arc = compiler->builder->arcs.items[expr->first + i];
        compile_expr(compiler, arc.label, base + arc.from, base + arc.to);
    }
}

/* Texts of `expr` lead from one state to the other; nothing else is added between them. Recurses as
 * deep as expressions lie in each other, which the builder bounds. */
static void compile_expr(struct compiler *compiler, grammar_expr index, uint32_t from,
                         uint32_t to) {
    struct grammar_builder *builder = compiler->builder;
    struct expr *expr = &builder->exprs.items[index];
    if (compiler->has_failed) {
        return;
    }
    switch ((enum expr_kind)expr->kind) {
    case EXPR_EMPTY:
        add_empty(compiler, from, to);
        break;
    case EXPR_NOTHING:
        break;
    case EXPR_BYTES:
        compile_bytes(compiler, expr, from, to);
        break;
    case EXPR_BYTE_RANGE:
        add_bytes(compiler, from, (uint8_t)expr->first, (uint8_t)expr->count, to);
        break;
    case EXPR_CLASS:
        for (uint32_t i = 0; i < expr->count; i++) {
            struct code_point_range range = builder->ranges.items[expr->first + i];
            struct class_target target = {compiler, from, to};
            utf8_ranges(range.low, range.high, add_sequence_of_bytes, &target);
        }
        break;
    case EXPR_TOKEN:
        add_valued(compiler, from, EDGE_TOKEN, expr->first, to);
        break;
    case EXPR_OTHER_TOKENS:
        add_valued(compiler, from, EDGE_OTHER_TOKENS, 0, to);
        break;
    case EXPR_SEQUENCE:
        compile_sequence(compiler, expr, from, to);
        break;
    case EXPR_CHOICE:
        for (uint32_t i = 0; i < expr->count; i++) {
            compile_expr(compiler, builder->lists.items[expr->first + i], from, to);
        }
        break;
    case EXPR_REPEAT:
        compile_repeat(compiler, expr, from, to);
        break;
    case EXPR_RULE:
        add_valued(compiler, from, EDGE_RULE, expr->first + 1, to);
        break;
    case EXPR_AUTOMATON:
        compile_automaton(compiler, expr, from, to);
        break;
    }
}

static void compile_rules(struct compiler *compiler, grammar_expr root) {
    const struct grammar_builder *builder = compiler->builder;
    add_rule(compiler, root);
    for (size_t i = 0; i < builder->rules.count; i++) {
        const struct builder_rule *rule = &builder->rules.items[i];
        if (!rule->is_defined && !compiler->has_failed) {
            compiler->has_failed = true;
            error_set(compiler->error, ERROR_FORMAT, "rule '%.*s' is used but not defined",
                      (int)size_min(rule->name_length, 100), builder->bytes.items + rule->name);
        }
        add_rule(compiler, rule->body);
    }
    /* Compiling may hoist what is repeated into further rules. */
    for (size_t i = 0; i < compiler->rules.count && !compiler->has_failed; i++) {
        struct grammar_rule rule = compiler->rules.items[i];
        compile_expr(compiler, compiler->bodies.items[i], rule.start, rule.end);
    }
}

/* --- tables --- */

/* Edges sorted by the state they leave. */
static bool sort_edges(struct compiler *compiler) {
    struct grammar *grammar = compiler->grammar;
    size_t states = grammar->state_count;
    uint32_t *first = calloc(states + 2, sizeof *first);
    struct grammar_edge *edges = calloc(compiler->edges.count + 1, sizeof *edges);
    grammar->first_edge = first;
    grammar->edges = edges;
    if (first == NULL || edges == NULL) {
        return false;
    }
    for (size_t i = 0; i < compiler->edges.count; i++) {
        first[compiler->edges.items[i].from + 2]++;
    }
    for (size_t s = 2; s < states + 2; s++) {
        first[s] += first[s - 1];
    }
    for (size_t i = 0; i < compiler->edges.count; i++) {
        const struct raw_edge *raw = &compiler->edges.items[i];
        edges[first[raw->from + 1]++] = raw->edge;
    }
    grammar->edge_count = compiler->edges.count;
    return true;
}

/* Sets marks[s] for each state from which the end of its rule is reached: by any edges, or by those
 * that read nothing. A call counts once the called rule's start is marked. */
static bool mark_reaching(const struct compiler *compiler, bool may_read, uint8_t *marks) {
    const struct grammar *grammar = compiler->grammar;
    size_t states = grammar->state_count, count = 0;
    const struct raw_edge *raw = compiler->edges.items;
    size_t edges = compiler->edges.count;
    /* Edges by target, and calls by rule: linked lists, edge + 1. */
    uint32_t *into = calloc(states + 1, sizeof *into), *next_into = calloc(edges + 1, sizeof *into);
    uint32_t *calls = calloc(states + 1, sizeof *calls),
             *next_call = calloc(edges + 1, sizeof *calls);
    uint32_t *waiting = calloc(states + 1, sizeof *waiting);
    bool done =
        into != NULL && next_into != NULL && calls != NULL && next_call != NULL && waiting != NULL;
    for (size_t i = 0; done && i < edges; i++) {
        next_into[i] = into[raw[i].edge.target];
        into[raw[i].edge.target] = (uint32_t)i + 1;
        if (raw[i].edge.kind == EDGE_RULE) { /* by the state the rule starts in */
            uint32_t start = grammar->rules[raw[i].edge.value].start;
            next_call[i] = calls[start];
            calls[start] = (uint32_t)i + 1;
        }
    }
    for (size_t i = 0; done && i < grammar->rule_count; i++) {
        marks[grammar->rules[i].end] = 1;
        waiting[count++] = grammar->rules[i].end;
    }
    while (done && count > 0) {
        uint32_t state = waiting[--count];
        for (uint32_t at = into[state]; at != 0; at = next_into[at - 1]) {
            const struct raw_edge *edge = &raw[at - 1];
            bool passes =
                edge->edge.kind == EDGE_EMPTY ||
                (edge->edge.kind == EDGE_RULE ? marks[grammar->rules[edge->edge.value].start] != 0
                                              : may_read);
            if (passes && !marks[edge->from]) {
                marks[edge->from] = 1;
                waiting[count++] = edge->from;
            }
        }
        for (uint32_t at = calls[state]; at != 0; at = next_call[at - 1]) {
            const struct raw_edge *edge = &raw[at - 1];
            if (marks[edge->edge.target] && !marks[edge->from]) {
                marks[edge->from] = 1;
                waiting[count++] = edge->from;
            }
        }
    }
    free(into);
    free(next_into);
    free(calls);
    free(next_call);
    free(waiting);
    return done;
}

/* Keeps the edges that lead on to an end. */
static void drop_useless_edges(struct compiler *compiler, const uint8_t *useful) {
    size_t kept = 0;
    for (size_t i = 0; i < compiler->edges.count; i++) {
        struct raw_edge raw = compiler->edges.items[i];
        bool stays =
            useful[raw.from] && useful[raw.edge.target] &&
            (raw.edge.kind != EDGE_RULE || useful[compiler->grammar->rules[raw.edge.value].start]);
        if (stays) {
            compiler->edges.items[kept++] = raw;
        }
    }
    compiler->edges.count = kept;
}

static bool find_useful(struct compiler *compiler) {
    struct grammar *grammar = compiler->grammar;
    uint8_t *marks = calloc(grammar->state_count + 1, 1);
    grammar->flags = calloc(grammar->state_count + 1, 1);
    bool done = marks != NULL && grammar->flags != NULL && mark_reaching(compiler, true, marks);
    if (done) {
        drop_useless_edges(compiler, marks);
        for (size_t s = 0; s < grammar->state_count; s++) {
            grammar->flags[s] = marks[s] ? STATE_USEFUL : 0;
        }
        memset(marks, 0, grammar->state_count);
        done = mark_reaching(compiler, false, marks);
    }
    for (size_t i = 0; done && i < grammar->rule_count; i++) {
        struct grammar_rule *rule = &grammar->rules[i];
        rule->is_nullable = marks[rule->start] != 0;
        grammar->flags[rule->end] |= STATE_IS_END;
    }
    free(marks);
    return done || error_set(compiler->error, ERROR_OUT_OF_MEMORY, "no memory for the grammar");
}

/* A state whose empty edges lead to one that reads does not only end. Runs backwards: an edge to a
 * state that reads makes its origin one that leads to reading. */
static bool find_enders(struct compiler *compiler) {
    struct grammar *grammar = compiler->grammar;
    size_t count = 0, states = grammar->state_count;
    uint32_t *into = calloc(states + 1, sizeof *into);
    uint32_t *next = calloc(compiler->edges.count + 1, sizeof *next);
    uint32_t *waiting = calloc(states + 1, sizeof *waiting);
    uint8_t *leads = calloc(states + 1, 1);
    bool done = into != NULL && next != NULL && waiting != NULL && leads != NULL;
    for (size_t i = 0; done && i < compiler->edges.count; i++) {
        const struct raw_edge *raw = &compiler->edges.items[i];
        if (raw->edge.kind == EDGE_EMPTY) {
            next[i] = into[raw->edge.target];
            into[raw->edge.target] = (uint32_t)i + 1;
        } else if (!leads[raw->from]) {
            leads[raw->from] = 1;
            grammar->flags[raw->from] |= STATE_READS;
            waiting[count++] = raw->from;
        }
    }
    while (done && count > 0) {
        for (uint32_t at = into[waiting[--count]]; at != 0; at = next[at - 1]) {
            uint32_t from = compiler->edges.items[at - 1].from;
            if (!leads[from]) {
                leads[from] = 1;
                waiting[count++] = from; /* takes the place just left, or a later one */
            }
        }
    }
    for (size_t s = 0; done && s < states; s++) {
        grammar->flags[s] |=
            (uint8_t)(!leads[s] && (grammar->flags[s] & STATE_USEFUL) ? STATE_ONLY_ENDS : 0);
    }
    free(into);
    free(next);
    free(waiting);
    free(leads);
    return done || error_set(compiler->error, ERROR_OUT_OF_MEMORY, "no memory for the grammar");
}

static void find_classes(struct grammar *grammar) {
    bool begins[257] = {[0] = true};
    for (size_t i = 0; i < grammar->edge_count; i++) {
        if (grammar->edges[i].kind == EDGE_BYTES) {
            begins[grammar->edges[i].low] = true;
            begins[grammar->edges[i].high + 1] = true;
        }
    }
    for (size_t byte = 0; byte < 256; byte++) {
        grammar->class_count += begins[byte];
        grammar->byte_class[byte] = (uint8_t)(grammar->class_count - 1);
    }
}

/* --- left recursion and ranks: Tarjan's strongly connected components (1972), without recursion,
 * of the graph "is reached before anything is read" --- */

struct tarjan {
    uint32_t *index, *low, *component, *stack, *path, *edge_at; /* [state_count] */
    size_t stacked, depth;
    uint32_t next_index, component_count;
};

/* The `which`-th state that `edge` leads to before anything is read; NONE: no more. */
static uint32_t left_target(const struct grammar *grammar, const struct grammar_edge *edge,
                            unsigned which) {
    if (edge->kind == EDGE_EMPTY) {
        return which == 0 ? edge->target : NONE;
    }
    if (edge->kind != EDGE_RULE) {
        return NONE;
    }
    const struct grammar_rule *rule = &grammar->rules[edge->value];
    return which == 0 ? rule->start : which == 1 && rule->is_nullable ? edge->target : NONE;
}

static void tarjan_enter(struct tarjan *t, uint32_t state) {
    t->index[state] = t->low[state] = ++t->next_index;
    t->stack[t->stacked++] = state;
    t->path[t->depth++] = state;
    t->edge_at[state] = 0;
}

static void tarjan_leave(struct tarjan *t, uint32_t state) {
    t->depth--;
    if (t->low[state] == t->index[state]) {
        t->component_count++;
        uint32_t member;
        do {
            member = t->stack[--t->stacked];
            t->component[member] = t->component_count;
        } while (member != state);
    }
    if (t->depth > 0) {
        uint32_t parent = t->path[t->depth - 1];
        t->low[parent] = t->low[state] < t->low[parent] ? t->low[state] : t->low[parent];
    }
}

static void tarjan_run(const struct grammar *grammar, struct tarjan *t, uint32_t root) {
    tarjan_enter(t, root);
    while (t->depth > 0) {
        uint32_t state = t->path[t->depth - 1];
        uint32_t edges = grammar->first_edge[state + 1] - grammar->first_edge[state];
        uint32_t at = t->edge_at[state];
        if (at >= 2 * edges) {
            tarjan_leave(t, state);
            continue;
        }
        t->edge_at[state]++;
        uint32_t target =
            left_target(grammar, &grammar->edges[grammar->first_edge[state] + at / 2], at % 2);
        if (target == NONE) {
            continue;
        }
        if (t->index[target] == 0) {
            tarjan_enter(t, target);
        } else if (t->component[target] == 0 && t->index[target] < t->low[state]) {
            t->low[state] = t->index[target];
        }
    }
}

static bool refuse_left_recursion(const struct compiler *compiler, uint32_t rule) {
    const struct grammar_builder *builder = compiler->builder;
    if (rule == 0 || rule > builder->rules.count) {
        return error_set(compiler->error, ERROR_UNSUPPORTED,
                         "the grammar is left-recursive: a part begins with itself");
    }
    const struct builder_rule *row = &builder->rules.items[rule - 1];
    return error_set(compiler->error, ERROR_UNSUPPORTED,
                     "rule '%.*s' is left-recursive: it begins with itself, before anything is "
                     "read; write it with a repetition",
                     (int)size_min(row->name_length, 100), builder->bytes.items + row->name);
}

static bool rank_rules(struct compiler *compiler) {
    struct grammar *grammar = compiler->grammar;
    size_t states = grammar->state_count;
    uint32_t *memory = calloc(6 * states + 1, sizeof *memory);
    if (memory == NULL) {
        return error_set(compiler->error, ERROR_OUT_OF_MEMORY, "no memory for the grammar");
    }
    struct tarjan t = {memory,
                       memory + states,
                       memory + 2 * states,
                       memory + 3 * states,
                       memory + 4 * states,
                       memory + 5 * states,
                       0,
                       0,
                       0,
                       0};
    for (uint32_t s = 0; s < states; s++) {
        if (t.index[s] == 0) {
            tarjan_run(grammar, &t, s);
        }
    }
    bool done = true;
    for (size_t i = 0; done && i < compiler->edges.count; i++) {
        const struct raw_edge *raw = &compiler->edges.items[i];
        if (raw->edge.kind == EDGE_RULE &&
            t.component[raw->from] == t.component[grammar->rules[raw->edge.value].start]) {
            done = refuse_left_recursion(compiler, raw->edge.value);
        }
    }
    for (size_t i = 0; i < grammar->rule_count; i++) { /* components are numbered callees first */
        grammar->rules[i].rank = t.component_count - t.component[grammar->rules[i].start];
    }
    free(memory);
    return done;
}

/* --- the whole --- */

static bool copy_tokens(const struct grammar_builder *builder, struct grammar *grammar) {
    grammar->tokens = calloc(builder->tokens.count + 1, sizeof *grammar->tokens);
    if (grammar->tokens == NULL) {
        return false;
    }
    for (size_t i = 0; i < builder->tokens.count; i++) {
        struct grammar_token token = builder->tokens.items[i];
        char *copy = malloc(token.text.length + 1);
        if (copy == NULL) {
            return false;
        }
        if (token.text.length > 0) {
            memcpy(copy, builder->bytes.items + builder->token_offsets.items[i], token.text.length);
        }
        token.text.data = copy;
        grammar->tokens[grammar->token_count++] = token;
    }
    return true;
}

static bool finish_tables(struct compiler *compiler) {
    struct grammar *grammar = compiler->grammar;
    grammar->state_count = compiler->state_count;
    grammar->rules = compiler->rules.items;
    grammar->rule_count = compiler->rules.count;
    compiler->rules.items = NULL;
    if (!find_useful(compiler)) {
        return false;
    }
    if (!(grammar->flags[grammar->rules[ROOT_RULE].start] & STATE_USEFUL)) {
        return error_set(compiler->error, ERROR_UNSUPPORTED,
                         "the grammar matches no finite text at all");
    }
    if (!sort_edges(compiler) || !copy_tokens(compiler->builder, grammar)) {
        return error_set(compiler->error, ERROR_OUT_OF_MEMORY, "no memory for the grammar");
    }
    find_classes(grammar);
    return find_enders(compiler) && rank_rules(compiler);
}

bool grammar_build(struct grammar_builder *builder, grammar_expr root, struct grammar **grammar,
                   struct error *error) {
    if (builder->has_failed) {
        *error = builder->error;
        return false;
    }
    struct compiler compiler = {.builder = builder, .error = error};
    for (size_t i = 0; i < builder->exprs.count; i++) {
        if (builder->exprs.items[i].kind == EXPR_REPEAT) {
            builder->exprs.items[i].count = 0; /* a rule of an earlier build */
        }
    }
    compiler.grammar = calloc(1, sizeof *compiler.grammar);
    if (compiler.grammar == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the grammar");
    }
    atomic_init(&compiler.grammar->references, 1);
    compile_rules(&compiler, root);
    bool done = !compiler.has_failed && finish_tables(&compiler);
    free(compiler.edges.items);
    free(compiler.rules.items);
    free(compiler.bodies.items);
    if (!done) {
        grammar_unref(compiler.grammar);
        return false;
    }
    *grammar = compiler.grammar;
    return true;
}

struct grammar *grammar_ref(struct grammar *grammar) {
    if (grammar != NULL) {
        atomic_fetch_add(&grammar->references, 1);
    }
    return grammar;
}

void grammar_unref(struct grammar *grammar) {
    if (grammar == NULL || atomic_fetch_sub(&grammar->references, 1) != 1) {
        return;
    }
    for (size_t i = 0; i < grammar->token_count; i++) {
        free((char *)(uintptr_t)grammar->tokens[i].text.data);
    }
    free(grammar->tokens);
    free(grammar->first_edge);
    free(grammar->edges);
    free(grammar->flags);
    free(grammar->rules);
    free(grammar);
}
