/*
 * event_pool.c - see event_pool.h.
 *
 * Events that come back are pushed on `returned`, a stack that any thread pushes to and that the
 * engine thread empties at one stroke, so nobody waits and no event is met twice on the way out.
 */
#include "engine/event_pool.h"

#include "base/bytes.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct slot {
    struct engine_event event; /* first: an event's address is its slot's */
    struct event_pool *pool;
    struct slot *next;    /* in a list of free ones */
    size_t payload_bytes; /* room behind the slot */
    bool is_extra;        /* allocated by itself, not with the pool */
    max_align_t payload[];
};

struct event_pool {
    struct slot *free;     /* owner's */
    struct slot *reserved; /* owner's; for the last event; NULL: taken */
    size_t slot_payload;   /* of those made with the pool */
    struct slot *_Atomic returned;
    _Atomic size_t references; /* the owner, and each event that is out */
    /* The slots made with it follow. */
};

static size_t slot_bytes(size_t payload_bytes) {
    size_t unit = _Alignof(max_align_t);
    return sizeof(struct slot) + size_divide_up(payload_bytes, unit) * unit;
}

struct event_pool *event_pool_create(size_t count, size_t payload_bytes) {
    size_t header =
        size_divide_up(sizeof(struct event_pool), _Alignof(struct slot)) * _Alignof(struct slot);
    size_t bytes;
    if (count == 0 || payload_bytes > SIZE_MAX / 4 ||
        !size_multiply(count, slot_bytes(payload_bytes), &bytes) || bytes > SIZE_MAX / 2) {
        return NULL;
    }
    struct event_pool *pool = malloc(header + bytes);
    if (pool == NULL) {
        return NULL;
    }
    *pool = (struct event_pool){.slot_payload = payload_bytes, .references = 1};
    char *at = (char *)pool + header;
    for (size_t i = 0; i < count; i++, at += slot_bytes(payload_bytes)) {
        struct slot *slot = (struct slot *)(void *)at;
        slot->pool = pool;
        slot->payload_bytes = payload_bytes;
        slot->is_extra = false;
        slot->next = pool->free;
        pool->free = slot;
    }
    pool->reserved = pool->free;
    pool->free = pool->free->next;
    return pool;
}

static void free_extras(struct slot *list) {
    while (list != NULL) {
        struct slot *next = list->next;
        if (list->is_extra) {
            free(list);
        }
        list = next;
    }
}

static void let_go(struct event_pool *pool) {
    if (atomic_fetch_sub_explicit(&pool->references, 1, memory_order_acq_rel) == 1) {
        free_extras(pool->free);
        free_extras(atomic_load_explicit(&pool->returned, memory_order_acquire));
        free(pool);
    }
}

void event_pool_close(struct event_pool *pool) {
    if (pool != NULL) {
        let_go(pool);
    }
}

void engine_event_free(struct engine_event *event) {
    if (event == NULL) {
        return;
    }
    struct slot *slot = (struct slot *)event;
    struct event_pool *pool = slot->pool;
    slot->next = atomic_load_explicit(&pool->returned, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&pool->returned, &slot->next, slot,
                                                  memory_order_release, memory_order_relaxed)) {
    }
    let_go(pool);
}

/* A free slot with the room, made if need be. */
static struct slot *find_slot(struct event_pool *pool, size_t payload_bytes) {
    if (pool->free == NULL) {
        pool->free = atomic_exchange_explicit(&pool->returned, NULL, memory_order_acquire);
    }
    struct slot *slot = pool->free;
    if (slot != NULL && slot->payload_bytes >= payload_bytes) {
        pool->free = slot->next;
        return slot;
    }
    size_t room = size_max(payload_bytes, pool->slot_payload);
    slot = room > SIZE_MAX / 4 ? NULL : malloc(slot_bytes(room));
    if (slot != NULL) {
        slot->pool = pool;
        slot->payload_bytes = room;
        slot->is_extra = true;
    }
    return slot;
}

struct engine_event *event_pool_take(struct event_pool *pool, size_t payload_bytes, bool last,
                                     void **payload) {
    struct slot *slot = find_slot(pool, payload_bytes);
    if (slot == NULL && last) {
        slot = pool->reserved;
        pool->reserved = NULL;
    }
    if (slot == NULL) {
        return NULL;
    }
    memset(&slot->event, 0, sizeof slot->event);
    *payload = slot->payload_bytes >= payload_bytes ? slot->payload : NULL;
    atomic_fetch_add_explicit(&pool->references, 1, memory_order_relaxed);
    return &slot->event;
}
