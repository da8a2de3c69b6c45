/*
 * grammar_internal.h - a compiled grammar's tables, and the builder's: shared by this room's files.
 *
 * A grammar is a recursive transition network: one non-deterministic automaton a rule, over bytes,
 * tokens and calls of rules. Every state that is left can reach the end of its rule, no rule calls
 * itself before it has read something, and the final state of a rule has no edges.
 */
#ifndef MISTRAL_GRAMMAR_GRAMMAR_INTERNAL_H
#define MISTRAL_GRAMMAR_GRAMMAR_INTERNAL_H

#include "grammar/grammar_builder.h"

#include <stdatomic.h>

enum {
    GRAMMAR_MAX_STATES = 400000,
    GRAMMAR_MAX_EDGES = 800000,
    GRAMMAR_MAX_EXPRESSIONS = 1 << 20,
    GRAMMAR_MAX_DEPTH = 1000,    /* of expressions in expressions */
    GRAMMAR_MAX_BYTES = 4 << 20, /* of literals; of a source */
};

/* --- compiled --- */

enum grammar_edge_kind {
    EDGE_EMPTY,        /* reads nothing */
    EDGE_BYTES,        /* a byte from low to high */
    EDGE_TOKEN,        /* token `value` of the grammar's list */
    EDGE_OTHER_TOKENS, /* a control token that neither ends an answer nor is in the list */
    EDGE_RULE,         /* a text of rule `value` */
};

struct grammar_edge {
    uint8_t kind; /* enum grammar_edge_kind */
    uint8_t low, high;
    uint32_t value;
    uint32_t target;
};

enum { TOKEN_BY_TEXT = -1 };

struct grammar_token {
    struct string_view text; /* when id is TOKEN_BY_TEXT */
    int32_t id;
};

struct grammar_rule {
    uint32_t start, end; /* states */
    uint32_t rank;       /* a rule that calls another before it reads anything has a lower one */
    bool is_nullable;
};

enum {
    STATE_USEFUL = 1, /* can reach the end of its rule */
    STATE_IS_END = 2, /* of its rule */
    STATE_READS = 4,  /* has an edge that is not empty */
    STATE_ONLY_ENDS =
        8, /* whatever empty edges lead to, it is the end of the rule and nothing else */
};

struct grammar {
    _Atomic size_t references;
    size_t state_count, edge_count, rule_count, token_count, class_count;
    uint32_t *first_edge;         /* [state_count + 1]: edges of state s are [s] … [s + 1] - 1 */
    struct grammar_edge *edges;   /* [edge_count], to useful states only */
    uint8_t *flags;               /* [state_count] */
    struct grammar_rule *rules;   /* [rule_count]; 0 is the root */
    struct grammar_token *tokens; /* [token_count]; texts owned */
    uint8_t byte_class[256];      /* bytes that no edge tells apart share one, below class_count */
};

/* --- being built --- */

enum expr_kind {
    EXPR_EMPTY,
    EXPR_NOTHING, /* matches not even the empty text */
    EXPR_BYTES,
    EXPR_BYTE_RANGE,
    EXPR_CLASS,
    EXPR_TOKEN,
    EXPR_OTHER_TOKENS,
    EXPR_SEQUENCE,
    EXPR_CHOICE,
    EXPR_REPEAT,
    EXPR_RULE,
    EXPR_AUTOMATON,
};

struct expr {
    uint8_t kind;
    uint16_t depth;
    uint32_t cost;  /* about how many states it takes, saturating */
    uint32_t first; /* BYTES, CLASS, SEQUENCE, CHOICE, AUTOMATON: of its part of a pool; BYTE_RANGE:
                       low; TOKEN, RULE: index; REPEAT: the item */
    uint32_t count; /* of the same; BYTE_RANGE: high; REPEAT: its wrapping rule + 1, once made */
    size_t least, most; /* REPEAT; AUTOMATON: least is its state count */
};

struct builder_rule {
    uint32_t name, name_length; /* in bytes */
    grammar_expr body;
    bool is_defined;
};

/* Growing arrays. */
#define POOL(type)                                                                                 \
    struct {                                                                                       \
        type *items;                                                                               \
        size_t count, capacity;                                                                    \
    }

struct grammar_builder {
    bool has_failed;
    struct error error;
    POOL(struct expr) exprs;
    POOL(char) bytes;
    POOL(grammar_expr) lists;
    POOL(struct code_point_range) ranges;
    POOL(struct grammar_arc) arcs;
    POOL(struct grammar_token) tokens; /* text.data is unset: */
    POOL(uint32_t) token_offsets;      /* of their texts, in bytes */
    POOL(struct builder_rule) rules;
};

/* Any control token that the grammar does not name and that does not end an answer. */
grammar_expr grammar_other_tokens(struct grammar_builder *builder);

/* Room for `extra` more items of `size` bytes in *items; false when there is no memory. */
bool pool_reserve(void *items_pointer, size_t *capacity, size_t count, size_t extra, size_t size);
#define POOL_RESERVE(pool, extra)                                                                  \
    pool_reserve(&(pool)->items, &(pool)->capacity, (pool)->count, (extra), sizeof *(pool)->items)

/* The ranges of UTF-8 sequences that are the code points low … high (no surrogates among them):
 * calls `emit` with `length` byte ranges for each. */
typedef void utf8_range_fn(void *context, const uint8_t low[4], const uint8_t high[4],
                           size_t length);
void utf8_ranges(uint32_t low, uint32_t high, utf8_range_fn *emit, void *context);

#endif
