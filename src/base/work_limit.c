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

bool work_limit_fail(struct error *error) {
    const struct work_limit *limit = limit_of_thread;
    bool is_over = limit != NULL && !is_set(limit->is_unwanted) && !is_set(limit->is_ending);
    return error_set(error, ERROR_CANCELLED,
                     is_over ? "preparing this request takes too long"
                             : "nobody waits for this request any more");
}
