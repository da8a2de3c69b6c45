/* thread_pool.c - see thread_pool.h. */
#include "base/thread_pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

/* About 50 µs of spinning on current processors: longer than the gap between two ops of a step,
 * shorter than anyone's patience with a busy idle process. */
enum { SPIN_ROUNDS = 2000 };

struct worker {
    struct thread_pool *pool;
    size_t index;
    pthread_t thread;
};

struct thread_pool {
    size_t thread_count;
    size_t started;         /* workers whose thread exists; owner only */
    struct worker *workers; /* [thread_count - 1] */
    thread_pool_task task;  /* written before generation moves, read after */
    void *context;
    _Alignas(64) _Atomic size_t generation; /* one a run; odd jumps mean nothing */
    _Alignas(64) _Atomic size_t pending;    /* workers still inside the current run */
    _Alignas(64) _Atomic size_t next_chunk;
    _Alignas(64) _Atomic size_t sleepers;
    _Atomic bool stopping;
    pthread_mutex_t lock;
    pthread_cond_t wake;
};

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Sleeps until the generation differs from `seen`. The sleeper count and the generation are both
 * sequentially consistent, so either the owner sees the sleeper or the sleeper sees the new run. */
static void sleep_until_run(struct thread_pool *pool, size_t seen) {
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->sleepers, 1);
    while (atomic_load(&pool->generation) == seen) {
        pthread_cond_wait(&pool->wake, &pool->lock);
    }
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->lock);
}

static size_t wait_for_run(struct thread_pool *pool, size_t seen) {
    for (int round = 0; round < SPIN_ROUNDS; round++) {
        size_t now = atomic_load_explicit(&pool->generation, memory_order_acquire);
        if (now != seen) {
            return now;
        }
        relax();
    }
    sleep_until_run(pool, seen);
    return atomic_load(&pool->generation);
}

static void *worker_main(void *argument) {
    struct worker *worker = argument;
    struct thread_pool *pool = worker->pool;
    size_t seen = 0;
    for (;;) {
        seen = wait_for_run(pool, seen);
        if (atomic_load_explicit(&pool->stopping, memory_order_relaxed)) {
            return NULL;
        }
        pool->task(pool->context, worker->index, pool->thread_count);
        atomic_fetch_sub_explicit(&pool->pending, 1, memory_order_release);
    }
}

static void start_generation(struct thread_pool *pool) {
    atomic_fetch_add(&pool->generation, 1);
    if (atomic_load(&pool->sleepers) > 0) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->lock);
    }
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
    start_generation(pool);
    for (size_t i = 0; i < pool->started; i++) {
        pthread_join(pool->workers[i].thread, NULL);
    }
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    free(pool->workers);
    free(pool);
}

size_t thread_pool_size(const struct thread_pool *pool) {
    return pool->thread_count;
}

void thread_pool_run(struct thread_pool *pool, thread_pool_task task, void *context) {
    atomic_store_explicit(&pool->next_chunk, 0, memory_order_relaxed);
    if (pool->thread_count == 1) {
        task(context, 0, 1);
        return;
    }
    pool->task = task;
    pool->context = context;
    atomic_store_explicit(&pool->pending, pool->thread_count - 1, memory_order_relaxed);
    start_generation(pool);
    task(context, 0, pool->thread_count);
    int round = 0;
    while (atomic_load_explicit(&pool->pending, memory_order_acquire) != 0) {
        /* More threads than cores: let the straggler have this one. */
        if (++round > SPIN_ROUNDS) {
            sched_yield();
        }
        relax();
    }
}

size_t thread_pool_next_chunk(struct thread_pool *pool) {
    if (pool->thread_count == 1) {
        size_t chunk = atomic_load_explicit(&pool->next_chunk, memory_order_relaxed);
        atomic_store_explicit(&pool->next_chunk, chunk + 1, memory_order_relaxed);
        return chunk;
    }
    return atomic_fetch_add_explicit(&pool->next_chunk, 1, memory_order_relaxed);
}
