/*
 * event_pool.h - a request's events, used again and again, so that sending one allocates nothing.
 *
 * A pool is made with the request, on the caller's thread. The engine thread takes events; whoever
 * receives them gives them back with engine_event_free, on any thread, also long after the request
 * has ended: the pool lives until its owner and every event have let go of it. A receiver that is
 * further behind than the pool has events costs one allocation for each, which then stays in the
 * pool.
 */
#ifndef MISTRAL_ENGINE_EVENT_POOL_H
#define MISTRAL_ENGINE_EVENT_POOL_H

#include "engine/engine.h"

#include <stdbool.h>
#include <stddef.h>

struct event_pool;

/* `count` events (at least 1), each with room for `payload_bytes` behind it. NULL: no memory. */
struct event_pool *event_pool_create(size_t count, size_t payload_bytes);
/* The owner lets go: nothing is taken after this. NULL allowed. */
void event_pool_close(struct event_pool *pool);

/* A zeroed event with room for `payload_bytes`, 8-byte aligned, at *payload. Owner's thread. NULL
 * when memory runs out; but one event is kept for `last`, which so always gets one, if perhaps with
 * less room (*payload NULL). */
struct engine_event *event_pool_take(struct event_pool *pool, size_t payload_bytes, bool last,
                                     void **payload);

#endif
