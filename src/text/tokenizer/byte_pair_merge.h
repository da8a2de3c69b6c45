/*
 * byte_pair_merge.h - the one merge loop both tokenizer families run: join the best adjacent pair
 * until no pair can be joined.
 *
 * Symbols form a doubly linked list over the text; candidate pairs wait in a binary heap, best
 * first, leftmost first among equals. A pair that went stale (one side has grown since) is
 * recognised when it is popped and dropped, so the whole costs O(n log n) for n symbols, whatever
 * the text. What a pair becomes is the family's business: it is asked through a function. One list
 * belongs to one call of encode; it is kept between words to reuse its memory.
 */
#ifndef MISTRAL_TEXT_TOKENIZER_BYTE_PAIR_MERGE_H
#define MISTRAL_TEXT_TOKENIZER_BYTE_PAIR_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MERGE_END = -1 };

struct merge_symbol {
    uint32_t start, length; /* bytes of the text; length 0: joined to an earlier symbol */
    uint32_t id;            /* the family's own number for it */
    int32_t previous, next; /* indices, or MERGE_END */
};

struct merge_candidate {
    uint64_t key;    /* priority << 32 | index of the left symbol: the smallest is merged first */
    uint32_t length; /* of both sides together, when it was found */
    uint32_t merged; /* id of the joined symbol */
};

struct merge_list {
    struct merge_symbol *symbols; /* [symbol_count], in text order; owned */
    size_t symbol_count, symbol_capacity;
    struct merge_candidate *heap; /* [heap_count], smallest key at 0; owned */
    size_t heap_count, heap_capacity;
    uint32_t steps; /* of runs and joins: now and then it is asked whether they are wanted */
};

/* True when the two symbols may be joined: *priority (0 is joined first) and the id of the result.
 */
typedef bool (*merge_lookup)(const void *context, const char *text, const struct merge_symbol *left,
                             const struct merge_symbol *right, uint32_t *priority,
                             uint32_t *merged);

/* A zeroed struct is an empty list; deinit releases it and leaves it empty again. */
void merge_list_deinit(struct merge_list *list);
void merge_list_clear(struct merge_list *list); /* keeps the memory */

/* Adds the next symbol of the text (at most INT32_MAX of them); false when memory runs out. */
bool merge_list_push(struct merge_list *list, uint32_t start, uint32_t length, uint32_t id);

/* Joins until nothing can be joined; false when memory runs out, or when the thread's work limit is
 * reached. What is left is the chain from
 * symbols[0] along `next`. */
bool merge_list_run(struct merge_list *list, const char *text, merge_lookup lookup,
                    const void *context);

#endif
