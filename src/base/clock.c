/* clock.c - see clock.h. */
#include "base/clock.h"

#include <time.h>

static int64_t read_clock(clockid_t id) {
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t clock_now_ns(void) {
    return read_clock(CLOCK_MONOTONIC);
}

int64_t clock_wall_ns(void) {
    return read_clock(CLOCK_REALTIME);
}

#ifdef __APPLE__
int clock_condition_init(pthread_cond_t *condition) {
    return pthread_cond_init(condition, NULL);
}

bool clock_wait(pthread_cond_t *condition, pthread_mutex_t *lock, int64_t deadline_ns) {
    int64_t left = deadline_ns - clock_now_ns();
    const struct timespec wait = {.tv_sec = (time_t)(left / 1000000000),
                                  .tv_nsec = (long)(left % 1000000000)};
    return left > 0 && pthread_cond_timedwait_relative_np(condition, lock, &wait) == 0;
}
#else
int clock_condition_init(pthread_cond_t *condition) {
    pthread_condattr_t attributes;
    int reason = pthread_condattr_init(&attributes);
    if (reason == 0) {
        reason = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        reason = reason == 0 ? pthread_cond_init(condition, &attributes) : reason;
        pthread_condattr_destroy(&attributes);
    }
    return reason;
}

bool clock_wait(pthread_cond_t *condition, pthread_mutex_t *lock, int64_t deadline_ns) {
    const struct timespec until = {.tv_sec = (time_t)(deadline_ns / 1000000000),
                                   .tv_nsec = (long)(deadline_ns % 1000000000)};
    return pthread_cond_timedwait(condition, lock, &until) == 0;
}
#endif
