/* clock.h - time, in nanoseconds. Safe on any thread. */
#ifndef MISTRAL_BASE_CLOCK_H
#define MISTRAL_BASE_CLOCK_H

#include <stdint.h>

/* Monotonic: for durations and deadlines. */
int64_t clock_now_ns(void);

/* Since the Unix epoch: for time stamps people read. */
int64_t clock_wall_ns(void);

static inline double clock_seconds(int64_t nanoseconds) {
    return (double)nanoseconds * 1e-9;
}

#endif
