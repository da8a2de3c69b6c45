/* work_limit.c - see work_limit.h. */
#include "base/work_limit.h"

#include "base/clock.h"

#include <stddef.h>

static _Thread_local const struct work_limit *limit_of_thread;

void work_limit_set(const struct work_limit *limit) {
    limit_of_thread = limit;
}

static bool is_set(const atomic_bool *flag) {
    return flag != NULL && atomic_load_explicit(flag, memory_order_relaxed);
}

bool work_limit_reached(void) {
    const struct work_limit *limit = limit_of_thread;
    return limit != NULL && (is_set(limit->is_unwanted) || is_set(limit->is_ending) ||
                             (limit->deadline_ns != 0 && clock_now_ns() >= limit->deadline_ns));
}

bool work_limit_is_wanted(void) {
    const struct work_limit *limit = limit_of_thread;
    return limit == NULL || (!is_set(limit->is_unwanted) && !is_set(limit->is_ending));
}

const struct work_limit *work_limit_within(struct work_limit *inner, int64_t ns) {
    const struct work_limit *outer = limit_of_thread;
    int64_t deadline_ns = clock_now_ns() + ns;
    *inner = outer == NULL ? (struct work_limit){0} : *outer;
    if (inner->deadline_ns == 0 || deadline_ns < inner->deadline_ns) {
        inner->deadline_ns = deadline_ns;
    }
    limit_of_thread = inner;
    return outer;
}

bool work_limit_fail(struct error *error) {
    return error_set(error, ERROR_CANCELLED,
                     work_limit_is_wanted() ? "preparing this request takes too long"
                                            : "nobody waits for this request any more");
}
