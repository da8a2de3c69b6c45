/*
 * thread_pool.h - workers that do arithmetic for one owner thread.
 *
 * The owner calls thread_pool_run, takes part itself as thread 0, and returns when every worker has
 * finished: a fork and a join. Workers spin briefly between jobs, then sleep, so an idle engine
 * uses no CPU. With one thread, run is a plain call with no atomics in its way.
 */
#ifndef MISTRAL_BASE_THREAD_POOL_H
#define MISTRAL_BASE_THREAD_POOL_H

#include "base/error.h"

#include <stddef.h>

struct thread_pool;

/* Called once on each thread of the pool, thread_index in [0, thread_count). */
typedef void (*thread_pool_task)(void *context, size_t thread_index, size_t thread_count);

/* thread_count includes the owner: 1 starts no thread. */
bool thread_pool_create(size_t thread_count, struct thread_pool **pool, struct error *error);
void thread_pool_free(struct thread_pool *pool); /* NULL allowed; owner's thread */

size_t thread_pool_size(const struct thread_pool *pool);

/* Runs the task on every thread and waits for all. Owner's thread only; never nested. */
void thread_pool_run(struct thread_pool *pool, thread_pool_task task, void *context);

/* For work in uneven chunks, inside a task: the next unclaimed chunk, an increasing number that
 * starts at 0 for each run. A task stops at its own last chunk. Any thread of the pool. */
size_t thread_pool_next_chunk(struct thread_pool *pool);

#endif
