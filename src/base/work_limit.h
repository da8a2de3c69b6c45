/*
 * work_limit.h - until when the work of this thread is wanted.
 *
 * Work on what comes from outside (a template, a prompt, a schema) may take long, and whoever asked
 * for it may leave, or the program may end, before it is done. Who starts such work on a thread
 * sets its limit; whoever loops inside looks at it now and then, and gives up. A thread without a
 * limit goes on for ever.
 */
#ifndef MISTRAL_BASE_WORK_LIMIT_H
#define MISTRAL_BASE_WORK_LIMIT_H

#include "base/error.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Must outlive the work. */
struct work_limit {
    const atomic_bool *is_unwanted; /* NULL: always wanted */
    const atomic_bool *is_ending;   /* the same for all work there is; NULL: it is not */
    int64_t deadline_ns;            /* of clock_now_ns; 0: none */
};

void work_limit_set(const struct work_limit *limit); /* of this thread; NULL: none */

/* Work inside work, which has `ns` at most: makes *inner of this thread's limit, sets it, and
 * returns what was set before, for work_limit_set when the work is done. */
const struct work_limit *work_limit_within(struct work_limit *inner, int64_t ns);

/* False when it is not the time that is over. */
bool work_limit_is_wanted(void);

/* Reads the clock: some tens of nanoseconds. */
bool work_limit_reached(void);

/* For loops of small steps: looks once every WORK_LIMIT_STEPS of them. *step is the loop's own
 * count. */
enum { WORK_LIMIT_STEPS = 4096 };
static inline bool work_limit_reached_at(uint32_t *step) {
    return ++*step % WORK_LIMIT_STEPS == 0 && work_limit_reached();
}

/* ERROR_CANCELLED with a line of why. Returns false. */
bool work_limit_fail(struct error *error);

#endif
