/* grammar_builder.c - see grammar_builder.h. Expressions are rows of a table; lists lie in pools.
 */
#include "grammar/grammar_builder.h"

#include "base/bytes.h"
#include "grammar/grammar_internal.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { NOTHING = 1, MAX_LISTED = 16 };

bool pool_reserve(void *items_pointer, size_t *capacity, size_t count, size_t extra, size_t size) {
    void **items = items_pointer;
    size_t wanted, bytes;
    if (!size_add(count, extra, &wanted)) {
        return false;
    }
    if (wanted <= *capacity) {
        return true;
    }
    wanted = size_max(wanted, size_max(16, *capacity + *capacity / 2));
    void *grown = size_multiply(wanted, size, &bytes) ? realloc(*items, bytes) : NULL;
    if (grown == NULL) {
        return false;
    }
    *items = grown;
    *capacity = wanted;
    return true;
}

/* --- life --- */

struct grammar_builder *grammar_builder_create(void) {
    struct grammar_builder *builder = calloc(1, sizeof *builder);
    if (builder == NULL || !POOL_RESERVE(&builder->exprs, 64) || builder->exprs.items == NULL) {
        grammar_builder_free(builder);
        return NULL;
    }
    builder->exprs.items[GRAMMAR_EMPTY] = (struct expr){.kind = EXPR_EMPTY, .depth = 1};
    builder->exprs.items[NOTHING] = (struct expr){.kind = EXPR_NOTHING, .depth = 1};
    builder->exprs.count = 2;
    return builder;
}

void grammar_builder_free(struct grammar_builder *builder) {
    if (builder == NULL) {
        return;
    }
    free(builder->exprs.items);
    free(builder->bytes.items);
    free(builder->lists.items);
    free(builder->ranges.items);
    free(builder->arcs.items);
    free(builder->tokens.items);
    free(builder->token_offsets.items);
    free(builder->rules.items);
    free(builder);
}

grammar_expr grammar_builder_fail(struct grammar_builder *builder, const struct error *error) {
    if (!builder->has_failed) {
        builder->has_failed = true;
        builder->error = *error;
    }
    return GRAMMAR_EMPTY;
}

bool grammar_builder_failed(const struct grammar_builder *builder) {
    return builder->has_failed;
}

static grammar_expr no_memory(struct grammar_builder *builder) {
    struct error error;
    error_set(&error, ERROR_OUT_OF_MEMORY, "no memory for the grammar");
    return grammar_builder_fail(builder, &error);
}

static grammar_expr too_large(struct grammar_builder *builder) {
    struct error error;
    error_set(&error, ERROR_UNSUPPORTED,
              "the grammar is too large; write it with fewer or smaller parts");
    return grammar_builder_fail(builder, &error);
}

static grammar_expr add(struct grammar_builder *builder, struct expr expr) {
    if (builder->has_failed) {
        return GRAMMAR_EMPTY;
    }
    if (builder->exprs.count >= GRAMMAR_MAX_EXPRESSIONS || expr.depth > GRAMMAR_MAX_DEPTH) {
        return too_large(builder);
    }
    if (!POOL_RESERVE(&builder->exprs, 1)) {
        return no_memory(builder);
    }
    builder->exprs.items[builder->exprs.count] = expr;
    return (grammar_expr)builder->exprs.count++;
}

static uint32_t saturate(uint64_t cost) {
    return cost > UINT32_MAX ? UINT32_MAX : (uint32_t)cost;
}

/* --- leaves --- */

static bool copy_bytes(struct grammar_builder *builder, struct string_view bytes, uint32_t *first) {
    if (builder->has_failed) {
        return false;
    }
    if (bytes.length > GRAMMAR_MAX_BYTES ||
        builder->bytes.count > GRAMMAR_MAX_BYTES - bytes.length) {
        too_large(builder);
        return false;
    }
    if (!POOL_RESERVE(&builder->bytes, bytes.length)) {
        no_memory(builder);
        return false;
    }
    *first = (uint32_t)builder->bytes.count;
    if (bytes.length > 0) {
        memcpy(builder->bytes.items + builder->bytes.count, bytes.data, bytes.length);
    }
    builder->bytes.count += bytes.length;
    return true;
}

grammar_expr grammar_bytes(struct grammar_builder *builder, struct string_view bytes) {
    uint32_t first;
    if (bytes.length == 0 || !copy_bytes(builder, bytes, &first)) {
        return GRAMMAR_EMPTY;
    }
    return add(builder, (struct expr){.kind = EXPR_BYTES,
                                      .depth = 1,
                                      .cost = (uint32_t)bytes.length,
                                      .first = first,
                                      .count = (uint32_t)bytes.length});
}

grammar_expr grammar_text(struct grammar_builder *builder, const char *text) {
    return grammar_bytes(builder, string_view_of(text));
}

grammar_expr grammar_byte_range(struct grammar_builder *builder, uint8_t low, uint8_t high) {
    if (low > high) {
        return NOTHING;
    }
    return add(
        builder,
        (struct expr){.kind = EXPR_BYTE_RANGE, .depth = 1, .cost = 1, .first = low, .count = high});
}

static int compare_ranges(const void *a, const void *b) {
    const struct code_point_range *x = a, *y = b;
    return (x->low > y->low) - (x->low < y->low);
}

/* Sorted and merged in place; returns how many are left. */
static size_t merge_ranges(struct code_point_range *ranges, size_t count) {
    size_t kept = 0;
    qsort(ranges, count, sizeof *ranges, compare_ranges);
    for (size_t i = 0; i < count; i++) {
        if (ranges[i].low > ranges[i].high) {
            continue;
        }
        if (kept > 0 && ranges[i].low <= ranges[kept - 1].high + 1) {
            if (ranges[i].high > ranges[kept - 1].high) {
                ranges[kept - 1].high = ranges[i].high;
            }
        } else {
            ranges[kept++] = ranges[i];
        }
    }
    return kept;
}

/* What merged ranges leave over, written over them: they have room for one more. */
static size_t negate_ranges(struct code_point_range *ranges, size_t count) {
    size_t kept = 0;
    uint32_t next = 0;
    for (size_t i = 0; i < count; i++) {
        struct code_point_range range = ranges[i];
        if (range.low > next) {
            ranges[kept++] = (struct code_point_range){next, range.low - 1};
        }
        next = range.high + 1;
    }
    if (next <= 0x10ffff) {
        ranges[kept++] = (struct code_point_range){next, 0x10ffff};
    }
    return kept;
}

grammar_expr grammar_class(struct grammar_builder *builder, const struct code_point_range *ranges,
                           size_t count, bool is_negated) {
    if (builder->has_failed) {
        return GRAMMAR_EMPTY;
    }
    if (builder->ranges.count + count > GRAMMAR_MAX_EXPRESSIONS) {
        return too_large(builder);
    }
    if (!POOL_RESERVE(&builder->ranges, count + 1)) {
        return no_memory(builder);
    }
    struct code_point_range *copy = builder->ranges.items + builder->ranges.count;
    if (count > 0) {
        memcpy(copy, ranges, count * sizeof *copy);
    }
    size_t kept = merge_ranges(copy, count);
    kept = is_negated ? negate_ranges(copy, kept) : kept;
    if (kept == 0) {
        return NOTHING;
    }
    uint32_t first = (uint32_t)builder->ranges.count;
    builder->ranges.count += kept;
    uint64_t cost = kept + (copy[kept - 1].high > 0x7f ? 12 : 0);
    return add(builder, (struct expr){.kind = EXPR_CLASS,
                                      .depth = 1,
                                      .cost = saturate(cost),
                                      .first = first,
                                      .count = (uint32_t)kept});
}

static grammar_expr add_token(struct grammar_builder *builder, struct grammar_token token,
                              uint32_t offset) {
    if (builder->has_failed) {
        return GRAMMAR_EMPTY;
    }
    for (size_t i = 0; i < builder->tokens.count; i++) {
        const struct grammar_token *known = &builder->tokens.items[i];
        bool same = known->text.length == token.text.length && known->id == token.id &&
                    memcmp(builder->bytes.items + builder->token_offsets.items[i],
                           builder->bytes.items + offset, token.text.length) == 0;
        if (same) {
            return add(
                builder,
                (struct expr){.kind = EXPR_TOKEN, .depth = 1, .cost = 1, .first = (uint32_t)i});
        }
    }
    if (builder->tokens.count >= 4096) {
        return too_large(builder);
    }
    if (!POOL_RESERVE(&builder->tokens, 1) || !POOL_RESERVE(&builder->token_offsets, 1)) {
        return no_memory(builder);
    }
    builder->token_offsets.items[builder->token_offsets.count++] = offset;
    builder->tokens.items[builder->tokens.count++] = token;
    return add(builder, (struct expr){.kind = EXPR_TOKEN,
                                      .depth = 1,
                                      .cost = 1,
                                      .first = (uint32_t)builder->tokens.count - 1});
}

grammar_expr grammar_token(struct grammar_builder *builder, struct string_view text) {
    uint32_t offset;
    if (!copy_bytes(builder, text, &offset)) {
        return GRAMMAR_EMPTY;
    }
    return add_token(
        builder, (struct grammar_token){.text = {NULL, text.length}, .id = TOKEN_BY_TEXT}, offset);
}

grammar_expr grammar_token_id(struct grammar_builder *builder, int32_t id) {
    return add_token(builder, (struct grammar_token){.id = id < 0 ? INT32_MAX : id}, 0);
}

grammar_expr grammar_other_tokens(struct grammar_builder *builder) {
    return add(builder, (struct expr){.kind = EXPR_OTHER_TOKENS, .depth = 1, .cost = 1});
}

/* --- what is made of others --- */

static grammar_expr add_list(struct grammar_builder *builder, enum expr_kind kind,
                             const grammar_expr *items, size_t count) {
    if (builder->has_failed) {
        return GRAMMAR_EMPTY;
    }
    if (count > GRAMMAR_MAX_EXPRESSIONS || builder->lists.count + count > GRAMMAR_MAX_EDGES) {
        return too_large(builder);
    }
    if (!POOL_RESERVE(&builder->lists, count)) {
        return no_memory(builder);
    }
    struct expr expr = {
        .kind = (uint8_t)kind, .first = (uint32_t)builder->lists.count, .count = (uint32_t)count};
    uint64_t cost = 2;
    for (size_t i = 0; i < count; i++) {
        const struct expr *item = &builder->exprs.items[items[i]];
        cost += item->cost;
        expr.depth = (uint16_t)size_max(expr.depth, item->depth + 1U);
        builder->lists.items[builder->lists.count++] = items[i];
    }
    expr.cost = saturate(cost);
    return add(builder, expr);
}

grammar_expr grammar_sequence(struct grammar_builder *builder, const grammar_expr *items,
                              size_t count) {
    return count == 0   ? GRAMMAR_EMPTY
           : count == 1 ? items[0]
                        : add_list(builder, EXPR_SEQUENCE, items, count);
}

grammar_expr grammar_choice(struct grammar_builder *builder, const grammar_expr *items,
                            size_t count) {
    return count == 0   ? NOTHING
           : count == 1 ? items[0]
                        : add_list(builder, EXPR_CHOICE, items, count);
}

static size_t read_items(grammar_expr items[MAX_LISTED], size_t count, va_list *list) {
    count = size_min(count, MAX_LISTED);
    for (size_t i = 0; i < count; i++) {
        items[i] = va_arg(*list, grammar_expr);
    }
    return count;
}

grammar_expr grammar_sequence_of(struct grammar_builder *builder, size_t count, ...) {
    grammar_expr items[MAX_LISTED];
    va_list list;
    va_start(list, count);
    count = read_items(items, count, &list);
    va_end(list);
    return grammar_sequence(builder, items, count);
}

grammar_expr grammar_choice_of(struct grammar_builder *builder, size_t count, ...) {
    grammar_expr items[MAX_LISTED];
    va_list list;
    va_start(list, count);
    count = read_items(items, count, &list);
    va_end(list);
    return grammar_choice(builder, items, count);
}

grammar_expr grammar_repeat(struct grammar_builder *builder, grammar_expr item, size_t least,
                            size_t most) {
    if (least > most) {
        return NOTHING;
    }
    if (most == 0 || item == GRAMMAR_EMPTY) {
        return GRAMMAR_EMPTY;
    }
    if (least == 1 && most == 1) {
        return item;
    }
    size_t copies = most == GRAMMAR_UNBOUNDED ? least + 1 : most;
    if (least > GRAMMAR_MAX_STATES || copies > GRAMMAR_MAX_STATES) {
        struct error error;
        error_set(&error, ERROR_UNSUPPORTED,
                  "a repetition of %zu is too large for a grammar; at most %d are possible", copies,
                  GRAMMAR_MAX_STATES);
        return grammar_builder_fail(builder, &error);
    }
    const struct expr *repeated = &builder->exprs.items[item];
    return add(builder, (struct expr){.kind = EXPR_REPEAT,
                                      .depth = (uint16_t)(repeated->depth + 1),
                                      .cost = saturate((uint64_t)repeated->cost * copies + copies),
                                      .first = item,
                                      .least = least,
                                      .most = most});
}

grammar_expr grammar_optional(struct grammar_builder *builder, grammar_expr item) {
    return grammar_repeat(builder, item, 0, 1);
}

grammar_expr grammar_rule(struct grammar_builder *builder, struct string_view name) {
    uint32_t offset;
    if (!copy_bytes(builder, name, &offset)) {
        return GRAMMAR_EMPTY;
    }
    if (!POOL_RESERVE(&builder->rules, 1)) {
        return no_memory(builder);
    }
    builder->rules.items[builder->rules.count++] =
        (struct builder_rule){.name = offset, .name_length = (uint32_t)name.length};
    return add(builder, (struct expr){.kind = EXPR_RULE,
                                      .depth = 1,
                                      .cost = 1,
                                      .first = (uint32_t)builder->rules.count - 1});
}

void grammar_rule_define(struct grammar_builder *builder, grammar_expr rule, grammar_expr body) {
    if (!builder->has_failed) {
        struct builder_rule *row = &builder->rules.items[builder->exprs.items[rule].first];
        row->body = body;
        row->is_defined = true;
    }
}

grammar_expr grammar_automaton(struct grammar_builder *builder, size_t state_count,
                               const struct grammar_arc *arcs, size_t arc_count) {
    if (builder->has_failed) {
        return GRAMMAR_EMPTY;
    }
    if (state_count > GRAMMAR_MAX_STATES || arc_count > GRAMMAR_MAX_EDGES ||
        builder->arcs.count + arc_count > GRAMMAR_MAX_EDGES) {
        return too_large(builder);
    }
    if (!POOL_RESERVE(&builder->arcs, arc_count)) {
        return no_memory(builder);
    }
    struct expr expr = {.kind = EXPR_AUTOMATON,
                        .depth = 1,
                        .first = (uint32_t)builder->arcs.count,
                        .count = (uint32_t)arc_count,
                        .least = state_count};
    uint64_t cost = state_count;
    for (size_t i = 0; i < arc_count; i++) {
        const struct expr *label = &builder->exprs.items[arcs[i].label];
        cost += label->cost;
        expr.depth = (uint16_t)size_max(expr.depth, label->depth + 1U);
        builder->arcs.items[builder->arcs.count++] = arcs[i];
    }
    expr.cost = saturate(cost);
    return add(builder, expr);
}
