/* clock.h - time, in nanoseconds. Safe on any thread. */
#ifndef MISTRAL_BASE_CLOCK_H
#define MISTRAL_BASE_CLOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Monotonic: for durations and deadlines. */
int64_t clock_now_ns(void);

/* Since the Unix epoch: for time stamps people read. It may jump, by a day or more: nothing waits
 * for it, and no duration comes of it. */
int64_t clock_wall_ns(void);

static inline double clock_seconds(int64_t nanoseconds) {
    return (double)nanoseconds * 1e-9;
}

/* A condition for clock_wait; destroyed as any other. 0, or why not (errno). */
int clock_condition_init(pthread_cond_t *condition);

/* Waits, with the lock held, until the condition is signalled or `deadline_ns` of the monotonic
 * clock has come: then false. May wake without a reason, as pthread_cond_wait. */
bool clock_wait(pthread_cond_t *condition, pthread_mutex_t *lock, int64_t deadline_ns);

#endif
