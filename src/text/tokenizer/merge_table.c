/* merge_table.c - see merge_table.h. */
#include "text/tokenizer/merge_table.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/random.h"

#include <stdlib.h>
#include <string.h>

static bool reserve(struct merge_table *table, size_t merge_count) {
    table->capacity = 16;
    while (table->capacity / 3 * 2 < merge_count) {
        table->capacity *= 2;
    }
    table->seed = random_fresh_seed();
    table->slots = malloc(table->capacity * sizeof *table->slots);
    if (table->slots == NULL) {
        return false;
    }
    for (size_t i = 0; i < table->capacity; i++) {
        table->slots[i] = (struct merge_slot){.pair = UINT64_MAX};
    }
    return true;
}

/* Splits "left right" at its space; neither side may be empty. */
static bool parse_merge(struct string_view text, struct string_view *left,
                        struct string_view *right) {
    const char *space = text.length < 3 ? NULL : memchr(text.data + 1, ' ', text.length - 2);
    if (space == NULL) {
        return false;
    }
    *left = (struct string_view){text.data, (size_t)(space - text.data)};
    *right = (struct string_view){space + 1, text.length - left->length - 1};
    return true;
}

static void add(struct merge_table *table, const struct merge_ids *ids, size_t rank) {
    uint64_t pair = (uint64_t)ids->left << 32 | ids->right;
    struct merge_slot *slot = merge_table_slot(table, pair);
    if (slot->pair == UINT64_MAX) {
        *slot = (struct merge_slot){pair, (uint32_t)rank, ids->merged};
    }
}

bool merge_table_init(struct merge_table *table, const struct tokenizer_source *source,
                      merge_resolver resolve, const void *context, struct error *error) {
    size_t longest = 1;
    for (size_t i = 0; i < source->merge_count; i++) {
        longest = size_max(longest, source->merges[i].length);
    }
    char *bytes = malloc(longest);
    if (bytes == NULL || source->merge_count > UINT32_MAX / 2 ||
        !reserve(table, source->merge_count)) {
        free(bytes);
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for %zu merges",
                         source->merge_count);
    }
    bool done = true;
    size_t ignored = 0;
    for (size_t i = 0; done && i < source->merge_count; i++) {
        struct string_view left;
        struct string_view right;
        struct merge_ids ids;
        if (!parse_merge(source->merges[i], &left, &right)) {
            done = error_set(error, ERROR_FORMAT,
                             "merge %zu is not two tokens with a space between", i);
        } else if (resolve(context, left, right, bytes, &ids)) {
            add(table, &ids, i);
        } else {
            ignored++;
        }
    }
    if (ignored > 0) {
        log_event(LOG_WARN, "merges_ignored", log_integer("ignored", (int64_t)ignored),
                  log_integer("merges", (int64_t)source->merge_count),
                  log_text("reason", "they do not make a token out of two tokens"));
    }
    free(bytes);
    return done;
}

void merge_table_deinit(struct merge_table *table) {
    free(table->slots);
    *table = (struct merge_table){0};
}
