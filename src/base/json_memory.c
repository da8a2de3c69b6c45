/* json_memory.c - see json_memory.h. */
#include "base/json_memory.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

enum { FIRST_CAPACITY = 64 };

/* What was allocated in a guarded call, and not freed. */
struct json_guard {
    jmp_buf failed;
    void **blocks;   /* [capacity], hashed by address; NULL: free, &removed: was used */
    size_t capacity; /* a power of two, or 0 */
    size_t used;     /* places that are not NULL */
};

static _Thread_local struct json_guard *current; /* NULL: no guarded call on this thread */

/* --- the reserve: blocks that are handed out when there are no others, and made anew later --- */

enum { SIZES = 3, MOST_BLOCKS = 32 };

static struct {
    const size_t bytes, most;
    void *blocks[MOST_BLOCKS]; /* [count] */
    size_t count;
} reserve[SIZES] = {
    {.bytes = 64, .most = 32}, {.bytes = 512, .most = 16}, {.bytes = 8192, .most = 4}};
static pthread_mutex_t reserve_lock = PTHREAD_MUTEX_INITIALIZER; /* guards it */
static _Atomic bool reserve_is_short;

void json_memory_fill(void) {
    bool is_full = true;
    pthread_mutex_lock(&reserve_lock);
    for (size_t i = 0; i < SIZES; i++) {
        while (is_full && reserve[i].count < reserve[i].most) {
            void *block = malloc(reserve[i].bytes);
            is_full = block != NULL;
            if (is_full) {
                reserve[i].blocks[reserve[i].count++] = block;
            }
        }
    }
    atomic_store(&reserve_is_short, !is_full);
    pthread_mutex_unlock(&reserve_lock);
}

static void *take_from_reserve(size_t bytes) {
    void *memory = NULL;
    pthread_mutex_lock(&reserve_lock);
    for (size_t i = 0; memory == NULL && i < SIZES; i++) {
        if (bytes <= reserve[i].bytes && reserve[i].count > 0) {
            memory = reserve[i].blocks[--reserve[i].count];
            atomic_store(&reserve_is_short, true);
        }
    }
    pthread_mutex_unlock(&reserve_lock);
    return memory;
}

void json_memory_empty(void) {
    pthread_mutex_lock(&reserve_lock);
    for (size_t i = 0; i < SIZES; i++) {
        while (reserve[i].count > 0) {
            free(reserve[i].blocks[--reserve[i].count]);
        }
    }
    atomic_store(&reserve_is_short, false);
    pthread_mutex_unlock(&reserve_lock);
}

/* --- what a guarded call holds --- */

static char removed; /* stands where a block was */

static size_t place_of(const void *block, size_t capacity) {
    return (size_t)(((uint64_t)(uintptr_t)block >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 20) &
           (capacity - 1);
}

/* The table has a free place. */
static void put(void **blocks, size_t capacity, void *block) {
    size_t place = place_of(block, capacity);
    while (blocks[place] != NULL) {
        place = (place + 1) & (capacity - 1);
    }
    blocks[place] = block;
}

/* A new table without what was freed: twice as large when more than half is in use. */
static bool grow(struct json_guard *guard) {
    size_t held = 0;
    for (size_t i = 0; i < guard->capacity; i++) {
        held += guard->blocks[i] != NULL && guard->blocks[i] != &removed;
    }
    size_t capacity = guard->capacity == 0          ? FIRST_CAPACITY
                      : held >= guard->capacity / 2 ? guard->capacity * 2
                                                    : guard->capacity;
    void **blocks = calloc(capacity, sizeof *blocks);
    if (blocks == NULL) {
        return false;
    }
    for (size_t i = 0; i < guard->capacity; i++) {
        if (guard->blocks[i] != NULL && guard->blocks[i] != &removed) {
            put(blocks, capacity, guard->blocks[i]);
        }
    }
    guard->used = held;
    free(guard->blocks);
    guard->blocks = blocks;
    guard->capacity = capacity;
    return true;
}

static void forget(struct json_guard *guard, const void *block) {
    size_t mask = guard->capacity - 1;
    for (size_t place = guard->capacity == 0 ? 0 : place_of(block, guard->capacity);
         guard->capacity != 0 && guard->blocks[place] != NULL; place = (place + 1) & mask) {
        if (guard->blocks[place] == block) {
            guard->blocks[place] = &removed;
            return;
        }
    }
}

static void free_all(struct json_guard *guard) {
    for (size_t i = 0; i < guard->capacity; i++) {
        if (guard->blocks[i] != &removed) {
            free(guard->blocks[i]);
        }
    }
}

static void *allocate_guarded(struct json_guard *guard, size_t bytes) {
    void *memory = guard->used >= guard->capacity / 4 * 3 && !grow(guard) ? NULL : malloc(bytes);
    if (memory == NULL) {
        free_all(guard);
        longjmp(guard->failed, 1);
    }
    put(guard->blocks, guard->capacity, memory);
    guard->used++;
    return memory;
}

void *json_memory_allocate(size_t bytes) {
    bytes = bytes == 0 ? 1 : bytes;
    if (current != NULL) {
        return allocate_guarded(current, bytes);
    }
    void *memory = malloc(bytes);
    if (memory == NULL) {
        return take_from_reserve(bytes);
    }
    if (atomic_load_explicit(&reserve_is_short, memory_order_relaxed)) {
        json_memory_fill();
    }
    return memory;
}

void json_memory_free(void *memory) {
    if (current != NULL && memory != NULL) {
        forget(current, memory);
    }
    free(memory);
}

struct json_t *json_guarded(struct json_t *(*load)(const char *bytes, size_t length, size_t flags,
                                                   struct json_error_t *reason),
                            const char *bytes, size_t length, size_t flags,
                            struct json_error_t *reason) {
    struct json_guard guard = {.blocks = NULL};
    struct json_t *volatile loaded = NULL;
    current = &guard;
    if (setjmp(guard.failed) == 0) {
        loaded = load(bytes, length, flags, reason);
    }
    current = NULL;
    free(guard.blocks);
    return loaded;
}
