/*
 * merge_table.h - the merges of a byte pair encoding: which two tokens become which, and in what
 * order.
 *
 * A hash table over pairs of token ids. How the two sides of a merge are spelled is the family's
 * business: it is asked for the ids while the table is filled. Immutable after that: any thread may
 * look up.
 */
#ifndef MISTRAL_TEXT_TOKENIZER_MERGE_TABLE_H
#define MISTRAL_TEXT_TOKENIZER_MERGE_TABLE_H

#include "base/hash_map.h"
#include "text/tokenizer/tokenizer.h"

struct merge_slot {
    uint64_t
        pair; /* left token << 32 | right token; UINT64_MAX: free, as ids are below INT32_MAX */
    uint32_t rank;
    uint32_t merged; /* token */
};

struct merge_table {
    struct merge_slot *slots; /* [capacity], a power of two, hashed; owned; NULL: no table */
    size_t capacity;
    uint64_t seed;
};

struct merge_ids {
    uint32_t left, right, merged;
};

/* Finds the three tokens of a merge; false when one is missing. `bytes` has room for both sides. */
typedef bool (*merge_resolver)(const void *context, struct string_view left,
                               struct string_view right, char *bytes, struct merge_ids *ids);

/* Fills a zeroed table with the source's merges, ranked in their order; of two equal ones the first
 * counts. A merge that is not two texts with a space between is ERROR_FORMAT with its number.
 * Merges that do not make a token out of two tokens are left out, and the log says how many. */
bool merge_table_init(struct merge_table *table, const struct tokenizer_source *source,
                      merge_resolver resolve, const void *context, struct error *error);
void merge_table_deinit(struct merge_table *table);

static inline struct merge_slot *merge_table_slot(const struct merge_table *table, uint64_t pair) {
    size_t mask = table->capacity - 1;
    for (size_t i = hash_bytes(&pair, sizeof pair, table->seed) & mask;; i = (i + 1) & mask) {
        if (table->slots[i].pair == pair || table->slots[i].pair == UINT64_MAX) {
            return &table->slots[i];
        }
    }
}

/* Whether the two tokens merge: the rank (0 is merged first), and the token they become. */
static inline bool merge_table_find(const struct merge_table *table, uint32_t left, uint32_t right,
                                    uint32_t *rank, uint32_t *merged) {
    uint64_t pair = (uint64_t)left << 32 | right;
    const struct merge_slot *slot = merge_table_slot(table, pair);
    *rank = slot->rank;
    *merged = slot->merged;
    return slot->pair == pair;
}

#endif
