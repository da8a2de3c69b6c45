/*
 * thread_pool.h - workers that do arithmetic for one owner thread.
 *
 * The owner calls thread_pool_run, takes part itself as thread 0, and returns when every worker
 * that began has finished: a fork and a join. Workers spin briefly between jobs, then sleep, so an
 * idle engine uses no CPU. With one thread, run is a plain call with no locked instruction in its
 * way.
 */
#ifndef MISTRAL_BASE_THREAD_POOL_H
#define MISTRAL_BASE_THREAD_POOL_H

#include "base/error.h"

#include <stddef.h>

struct thread_pool;

/* Called once on the owner's thread and at most once on each worker, thread_index below the pool's
 * size: takes chunks until none is left. */
typedef void (*thread_pool_task)(void *context, size_t thread_index);

/* thread_count includes the owner: 1 starts no thread. */
bool thread_pool_create(size_t thread_count, struct thread_pool **pool, struct error *error);
void thread_pool_free(struct thread_pool *pool); /* NULL allowed; owner's thread */

size_t thread_pool_size(const struct thread_pool *pool);

/* Returns when every chunk is done. A worker that has not begun when the owner runs out of chunks
 * is left out, so the work must be divided by thread_pool_next_chunk, never by thread_index.
 * Owner's thread only; never nested. */
void thread_pool_run(struct thread_pool *pool, thread_pool_task task, void *context);

/* The same on the owner's thread alone: for work too small to wake anyone for. */
void thread_pool_run_alone(struct thread_pool *pool, thread_pool_task task, void *context);

/* Inside a task: the next unclaimed chunk, an increasing number that starts at 0 for each run. A
 * task stops at its own last chunk. Any thread of the pool. */
size_t thread_pool_next_chunk(struct thread_pool *pool);

#endif
