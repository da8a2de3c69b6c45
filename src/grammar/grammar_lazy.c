/*
 * grammar_lazy.c - grammar_lazy and grammar_until of grammar_builder.h: free text until a trigger
 * appears, by the automaton of Aho and Corasick (1975) over the triggers' bytes.
 */
#include "grammar/grammar_internal.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_TRIGGERS = 64, MAX_TRIGGER_BYTES = 1024, END = 1 };

struct trigger_node {
    uint32_t next[256];
    uint32_t fallback;
    uint32_t trigger; /* + 1: the text up to here ends with it */
};

struct trigger_trie {
    struct trigger_node *nodes;
    uint32_t count;
};

static void insert(struct trigger_trie *trie, struct string_view text, uint32_t trigger) {
    uint32_t at = 0;
    for (size_t i = 0; i < text.length; i++) {
        uint32_t *next = &trie->nodes[at].next[(uint8_t)text.data[i]];
        if (*next == 0) {
            *next = trie->count++;
        }
        at = *next;
    }
    if (trie->nodes[at].trigger == 0) {
        trie->nodes[at].trigger = trigger + 1;
    }
}

/* Breadth first: completes every node's transitions with those of its longest proper suffix. */
static bool complete(struct trigger_trie *trie) {
    uint32_t *queue = calloc(trie->count, sizeof *queue);
    uint32_t head = 0, tail = 1; /* the root waits */
    if (queue == NULL) {
        return false;
    }
    while (head < tail) {
        uint32_t at = queue[head++];
        struct trigger_node *node = &trie->nodes[at];
        if (node->trigger == 0) {
            node->trigger = trie->nodes[node->fallback].trigger;
        }
        for (size_t byte = 0; byte < 256; byte++) {
            uint32_t suffix = at == 0 ? 0 : trie->nodes[node->fallback].next[byte];
            if (node->next[byte] == 0) {
                node->next[byte] = suffix;
            } else {
                trie->nodes[node->next[byte]].fallback = suffix;
                queue[tail++] = node->next[byte];
            }
        }
    }
    free(queue);
    return true;
}

struct lazy_arcs {
    struct grammar_builder *builder;
    POOL(struct grammar_arc) arcs;
    bool may_end; /* without a trigger */
    bool failed;
};

static void add_arc(struct lazy_arcs *lazy, uint32_t from, uint32_t to, grammar_expr label) {
    if (!POOL_RESERVE(&lazy->arcs, 1)) {
        lazy->failed = true;
        return;
    }
    lazy->arcs.items[lazy->arcs.count++] = (struct grammar_arc){from, to, label};
}

/* Node i is state i, but for 1, which is the end: nodes from 1 on are moved by one. */
static uint32_t state_of_node(uint32_t node) {
    return node == 0 ? 0 : node + 1;
}

static void add_node_arcs(struct lazy_arcs *lazy, const struct trigger_trie *trie, uint32_t at,
                          const struct grammar_trigger *triggers, size_t count,
                          grammar_expr other_tokens) {
    struct grammar_builder *builder = lazy->builder;
    const struct trigger_node *node = &trie->nodes[at];
    uint32_t from = state_of_node(at);
    if (node->trigger != 0) {
        add_arc(lazy, from, END, triggers[node->trigger - 1].body);
        return;
    }
    if (lazy->may_end) {
        add_arc(lazy, from, END, GRAMMAR_EMPTY);
    }
    add_arc(lazy, from, 0, other_tokens);
    for (size_t i = 0; i < count; i++) {
        if (triggers[i].is_token) {
            const grammar_expr parts[] = {grammar_token(builder, triggers[i].text),
                                          triggers[i].body};
            add_arc(lazy, from, END, grammar_sequence(builder, parts, 2));
        }
    }
    for (size_t byte = 0; byte < 256;) {
        size_t last = byte;
        while (last < 255 && node->next[last + 1] == node->next[byte]) {
            last++;
        }
        add_arc(lazy, from, state_of_node(node->next[byte]),
                grammar_byte_range(builder, (uint8_t)byte, (uint8_t)last));
        byte = last + 1;
    }
}

static grammar_expr free_text(struct grammar_builder *builder,
                              const struct grammar_trigger *triggers, size_t count, bool may_end) {
    struct error error;
    struct trigger_trie trie = {.count = 1};
    struct lazy_arcs lazy = {.builder = builder, .may_end = may_end};
    size_t bytes = 1;
    for (size_t i = 0; i < count; i++) {
        bytes += triggers[i].is_token ? 0 : triggers[i].text.length;
        if (triggers[i].text.length == 0 || bytes > MAX_TRIGGER_BYTES || count > MAX_TRIGGERS) {
            error_set(&error, ERROR_INVALID_ARGUMENT,
                      "triggers are 1 to %d texts of %d bytes together", MAX_TRIGGERS,
                      MAX_TRIGGER_BYTES);
            return grammar_builder_fail(builder, &error);
        }
    }
    trie.nodes = calloc(bytes, sizeof *trie.nodes);
    for (size_t i = 0; trie.nodes != NULL && i < count; i++) {
        if (!triggers[i].is_token) {
            insert(&trie, triggers[i].text, (uint32_t)i);
        }
    }
    grammar_expr expr = GRAMMAR_EMPTY;
    bool done = trie.nodes != NULL && complete(&trie);
    if (done) {
        grammar_expr other = grammar_other_tokens(builder);
        for (uint32_t at = 0; at < trie.count; at++) {
            add_node_arcs(&lazy, &trie, at, triggers, count, other);
        }
        done = !lazy.failed;
        expr = grammar_automaton(builder, trie.count + 1, lazy.arcs.items, lazy.arcs.count);
    }
    free(trie.nodes);
    free(lazy.arcs.items);
    if (!done) {
        error_set(&error, ERROR_OUT_OF_MEMORY, "no memory for the grammar");
        return grammar_builder_fail(builder, &error);
    }
    return expr;
}

grammar_expr grammar_lazy(struct grammar_builder *builder, const struct grammar_trigger *triggers,
                          size_t count) {
    return free_text(builder, triggers, count, true);
}

grammar_expr grammar_until(struct grammar_builder *builder, const struct grammar_trigger *triggers,
                           size_t count) {
    return free_text(builder, triggers, count, false);
}
