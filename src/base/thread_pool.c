/* thread_pool.c - see thread_pool.h. */
#include "base/thread_pool.h"

#include "base/file_guard.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

/* About 50 µs of spinning on current processors: longer than the gap between two ops of a step,
 * shorter than anyone's patience with a busy idle process. */
enum { SPIN_ROUNDS = 2000 };

/* A run is open while its owner works on it. A worker that comes to it then counts itself in, and
 * is waited for; one that comes later, because its core was busy with something else, is not
 * missed: the others have done its chunks. So a worker that sleeps never holds up a run. */
#define RUN_OPEN   (UINT64_C(1) << 31)
#define RUN_INSIDE (RUN_OPEN - 1)

static uint64_t run_number(uint64_t run) {
    return run >> 32;
}

struct worker {
    struct thread_pool *pool;
    size_t index;
    pthread_t thread;
};

struct thread_pool {
    size_t thread_count;
    size_t started;         /* workers whose thread exists; owner only */
    struct worker *workers; /* [thread_count - 1] */
    thread_pool_task task;  /* written before the run opens, read inside */
    void *context;
    _Alignas(64) _Atomic uint64_t run; /* number of the run << 32 | RUN_OPEN | workers inside */
    _Alignas(64) _Atomic size_t next_chunk;
    _Alignas(64) _Atomic size_t sleepers;
    _Atomic bool owner_sleeps;
    _Atomic bool stopping;
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
};

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Sleeps until another run than `seen` has begun. The sleeper count and the run are both
 * sequentially consistent, so either the owner sees the sleeper or the sleeper sees the new run. */
static void sleep_until_run(struct thread_pool *pool, uint64_t seen) {
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->sleepers, 1);
    while (run_number(atomic_load(&pool->run)) == seen) {
        pthread_cond_wait(&pool->wake, &pool->lock);
    }
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->lock);
}

static uint64_t wait_for_run(struct thread_pool *pool, uint64_t seen) {
    for (int round = 0; round < SPIN_ROUNDS; round++) {
        uint64_t run = atomic_load_explicit(&pool->run, memory_order_acquire);
        if (run_number(run) != seen) {
            return run;
        }
        relax();
    }
    sleep_until_run(pool, seen);
    return atomic_load(&pool->run);
}

/* Counts this worker in, unless the run is over. */
static bool enter_run(struct thread_pool *pool, uint64_t run) {
    while ((run & RUN_OPEN) != 0) {
        if (atomic_compare_exchange_weak_explicit(&pool->run, &run, run + 1, memory_order_acquire,
                                                  memory_order_acquire)) {
            return true;
        }
    }
    return false;
}

/* Counts this worker out. The last one wakes an owner that sleeps: count and flag are sequentially
 * consistent, so either the owner sees the count or the worker sees the flag. */
static void leave_run(struct thread_pool *pool) {
    uint64_t run = atomic_fetch_sub(&pool->run, 1);
    if ((run & RUN_INSIDE) == 1 && atomic_load(&pool->owner_sleeps)) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_signal(&pool->done);
        pthread_mutex_unlock(&pool->lock);
    }
}

static void *worker_main(void *argument) {
    struct worker *worker = argument;
    struct thread_pool *pool = worker->pool;
    uint64_t seen = 0;
    file_guard_thread();
    for (;;) {
        uint64_t run = wait_for_run(pool, seen);
        bool inside = enter_run(pool, run);
        /* Entering may meet a later run than the one that woke us, the last too, which has no task:
         * so `stopping` and `seen` are read inside. */
        if (atomic_load_explicit(&pool->stopping, memory_order_relaxed)) {
            return NULL;
        }
        if (inside) {
            seen = run_number(atomic_load_explicit(&pool->run, memory_order_relaxed));
            pool->task(pool->context, worker->index);
            leave_run(pool);
        } else {
            seen = run_number(run);
        }
    }
}

static void start_run(struct thread_pool *pool) {
    uint64_t last = atomic_load_explicit(&pool->run, memory_order_relaxed);
    atomic_store(&pool->run, (run_number(last) + 1) << 32 | RUN_OPEN);
    if (atomic_load(&pool->sleepers) > 0) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->lock);
    }
}

/* Lets no more workers in and waits for those inside. A worker that is late has lost its core to
 * something else; asleep, the owner leaves it its own, where spinning would keep both from it. */
static void end_run(struct thread_pool *pool) {
    uint64_t run = atomic_fetch_and(&pool->run, ~RUN_OPEN);
    for (int round = 0; (run & RUN_INSIDE) != 0 && round < SPIN_ROUNDS; round++) {
        relax();
        run = atomic_load_explicit(&pool->run, memory_order_acquire);
    }
    if ((run & RUN_INSIDE) == 0) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->owner_sleeps, true);
    while ((atomic_load(&pool->run) & RUN_INSIDE) != 0) {
        pthread_cond_wait(&pool->done, &pool->lock);
    }
    atomic_store(&pool->owner_sleeps, false);
    pthread_mutex_unlock(&pool->lock);
}

bool thread_pool_create(size_t thread_count, struct thread_pool **out, struct error *error) {
    if (thread_count == 0 || thread_count > 4096) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "a thread pool of %zu threads",
                         thread_count);
    }
    struct thread_pool *pool = aligned_alloc(64, (sizeof *pool + 63) / 64 * 64);
    struct worker *workers = calloc(thread_count, sizeof *workers);
    if (pool == NULL || workers == NULL) {
        free(pool);
        free(workers);
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for %zu threads", thread_count);
    }
    *pool = (struct thread_pool){.thread_count = thread_count, .workers = workers};
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->done, NULL);
    for (size_t i = 0; i + 1 < thread_count; i++) {
        workers[i] = (struct worker){.pool = pool, .index = i + 1};
        int reason = pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]);
        if (reason != 0) {
            thread_pool_free(pool);
            return error_set_errno(error, reason, "cannot start thread %zu of %zu", i + 2,
                                   thread_count);
        }
        pool->started++;
    }
    *out = pool;
    return true;
}

void thread_pool_free(struct thread_pool *pool) {
    if (pool == NULL) {
        return;
    }
    atomic_store(&pool->stopping, true);
    start_run(pool);
    for (size_t i = 0; i < pool->started; i++) {
        pthread_join(pool->workers[i].thread, NULL);
    }
    pthread_cond_destroy(&pool->wake);
    pthread_cond_destroy(&pool->done);
    pthread_mutex_destroy(&pool->lock);
    free(pool->workers);
    free(pool);
}

size_t thread_pool_size(const struct thread_pool *pool) {
    return pool->thread_count;
}

void thread_pool_run_alone(struct thread_pool *pool, thread_pool_task task, void *context) {
    atomic_store_explicit(&pool->next_chunk, 0, memory_order_relaxed);
    task(context, 0);
}

void thread_pool_run(struct thread_pool *pool, thread_pool_task task, void *context) {
    if (pool->thread_count == 1) {
        thread_pool_run_alone(pool, task, context);
        return;
    }
    atomic_store_explicit(&pool->next_chunk, 0, memory_order_relaxed);
    pool->task = task;
    pool->context = context;
    start_run(pool);
    task(context, 0);
    end_run(pool);
}

size_t thread_pool_next_chunk(struct thread_pool *pool) {
    if (pool->thread_count == 1) {
        size_t chunk = atomic_load_explicit(&pool->next_chunk, memory_order_relaxed);
        atomic_store_explicit(&pool->next_chunk, chunk + 1, memory_order_relaxed);
        return chunk;
    }
    return atomic_fetch_add_explicit(&pool->next_chunk, 1, memory_order_relaxed);
}
