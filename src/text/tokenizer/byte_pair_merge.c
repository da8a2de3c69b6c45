/* byte_pair_merge.c - see byte_pair_merge.h. */
#include "text/tokenizer/byte_pair_merge.h"

#include "base/work_limit.h"

#include "base/bytes.h"

#include <stdlib.h>

void merge_list_deinit(struct merge_list *list) {
    free(list->symbols);
    free(list->heap);
    *list = (struct merge_list){0};
}

void merge_list_clear(struct merge_list *list) {
    list->symbol_count = 0;
    list->heap_count = 0;
}

/* Doubles an array that is full. */
static bool grow(void **array, size_t *capacity, size_t element_size) {
    size_t wanted = *capacity == 0 ? 64 : *capacity;
    size_t bytes;
    if (!size_multiply(wanted, 2, &wanted) || !size_multiply(wanted, element_size, &bytes)) {
        return false;
    }
    void *grown = realloc(*array, bytes);
    if (grown == NULL) {
        return false;
    }
    *array = grown;
    *capacity = wanted;
    return true;
}

bool merge_list_push(struct merge_list *list, uint32_t start, uint32_t length, uint32_t id) {
    size_t count = list->symbol_count;
    if (count >= INT32_MAX) {
        return false;
    }
    if (count == list->symbol_capacity &&
        !grow((void **)&list->symbols, &list->symbol_capacity, sizeof *list->symbols)) {
        return false;
    }
    if (count > 0) {
        list->symbols[count - 1].next = (int32_t)count;
    }
    list->symbols[count] = (struct merge_symbol){start, length, id, (int32_t)count - 1, MERGE_END};
    list->symbol_count++;
    return true;
}

static void sift_down(struct merge_list *list, size_t at) {
    struct merge_candidate *heap = list->heap;
    struct merge_candidate moving = heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= list->heap_count) {
            break;
        }
        if (child + 1 < list->heap_count && heap[child + 1].key < heap[child].key) {
            child++;
        }
        if (moving.key <= heap[child].key) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moving;
}

static void sift_up(struct merge_list *list, size_t at) {
    struct merge_candidate *heap = list->heap;
    struct merge_candidate moving = heap[at];
    while (at > 0 && moving.key < heap[(at - 1) / 2].key) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = moving;
}

static struct merge_candidate pop_best(struct merge_list *list) {
    struct merge_candidate best = list->heap[0];
    list->heap[0] = list->heap[--list->heap_count];
    if (list->heap_count > 0) {
        sift_down(list, 0);
    }
    return best;
}

struct merge_rules {
    const char *text;
    merge_lookup lookup;
    const void *context;
};

/* Puts the pair (left, its successor) at the end of the heap's array when it can be joined; the
 * caller restores the heap's order. False: no memory. */
static bool append_pair(struct merge_list *list, const struct merge_rules *rules, int32_t left) {
    if (left == MERGE_END || list->symbols[left].next == MERGE_END) {
        return true;
    }
    const struct merge_symbol *a = &list->symbols[left];
    const struct merge_symbol *b = &list->symbols[a->next];
    uint32_t priority;
    uint32_t merged;
    if (!rules->lookup(rules->context, rules->text, a, b, &priority, &merged)) {
        return true;
    }
    if (list->heap_count == list->heap_capacity &&
        !grow((void **)&list->heap, &list->heap_capacity, sizeof *list->heap)) {
        return false;
    }
    list->heap[list->heap_count++] = (struct merge_candidate){
        (uint64_t)priority << 32 | (uint32_t)left, a->length + b->length, merged};
    return true;
}

static bool push_pair(struct merge_list *list, const struct merge_rules *rules, int32_t left) {
    size_t before = list->heap_count;
    if (!append_pair(list, rules, left)) {
        return false;
    }
    if (list->heap_count > before) {
        sift_up(list, before);
    }
    return true;
}

/* A symbol only ever grows to the right, so a pair whose sides have the same total length as when
 * it was found is the very same pair. */
static bool is_stale(const struct merge_list *list, const struct merge_candidate *candidate) {
    const struct merge_symbol *left = &list->symbols[(uint32_t)candidate->key];
    return left->length == 0 || left->next == MERGE_END ||
           left->length + list->symbols[left->next].length != candidate->length;
}

static void join(struct merge_list *list, int32_t left, uint32_t merged) {
    struct merge_symbol *a = &list->symbols[left];
    struct merge_symbol *b = &list->symbols[a->next];
    a->length += b->length;
    a->id = merged;
    a->next = b->next;
    if (b->next != MERGE_END) {
        list->symbols[b->next].previous = left;
    }
    b->length = 0;
}

bool merge_list_run(struct merge_list *list, const char *text, merge_lookup lookup,
                    const void *context) {
    struct merge_rules rules = {text, lookup, context};
    list->heap_count = 0;
    if (work_limit_reached_at(&list->steps)) {
        return false;
    }
    for (size_t i = 0; i + 1 < list->symbol_count; i++) {
        if (!append_pair(list, &rules, (int32_t)i)) {
            return false;
        }
    }
    for (size_t i = list->heap_count / 2; i > 0; i--) {
        sift_down(list, i - 1);
    }
    while (list->heap_count > 0) {
        if (work_limit_reached_at(&list->steps)) {
            return false;
        }
        struct merge_candidate best = pop_best(list);
        if (is_stale(list, &best)) {
            continue;
        }
        int32_t left = (int32_t)(uint32_t)best.key;
        join(list, left, best.merged);
        if (!push_pair(list, &rules, list->symbols[left].previous) ||
            !push_pair(list, &rules, left)) {
            return false;
        }
    }
    return true;
}
