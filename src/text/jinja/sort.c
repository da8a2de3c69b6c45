/* sort.c - see sort.h: a bottom-up merge sort. */
#include "text/jinja/sort.h"

#include "base/bytes.h"

#include <string.h>

/* Merges the sorted runs [start, middle) and [middle, end) of `from` into the same place of `to`.
 */
static bool merge_runs(struct jinja_render *render, const struct jinja_entry *from,
                       struct jinja_entry *to, const size_t bounds[3], bool reverse) {
    size_t left = bounds[0], right = bounds[1];
    for (size_t at = bounds[0]; at < bounds[2]; at++) {
        bool take_right = left == bounds[1];
        if (!take_right && right < bounds[2]) {
            enum jinja_order order;
            if (!jinja_compare(render, &from[right].key, &from[left].key, &order)) {
                return false;
            }
            take_right = order == (reverse ? JINJA_GREATER : JINJA_LESS);
        }
        to[at] = from[take_right ? right++ : left++];
    }
    return true;
}

bool jinja_sort(struct jinja_render *render, struct jinja_entry *entries, size_t count,
                bool reverse) {
    struct jinja_entry *scratch = jinja_alloc(render, count, sizeof *scratch);
    if (scratch == NULL) {
        return false;
    }
    struct jinja_entry *from = entries, *to = scratch;
    for (size_t run = 1; run < count; run *= 2) {
        for (size_t start = 0; start < count; start += 2 * run) {
            size_t bounds[3] = {start, size_min(start + run, count),
                                size_min(start + 2 * run, count)};
            if (!merge_runs(render, from, to, bounds, reverse)) {
                return false;
            }
        }
        struct jinja_entry *swap = from;
        from = to;
        to = swap;
    }
    if (from != entries && count > 0) {
        memcpy(entries, from, count * sizeof *entries);
    }
    return true;
}
