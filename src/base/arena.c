/* arena.c - see arena.h. */
#include "base/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_ALIGNMENT = 64, ARENA_CHUNK_BYTES = 64 * 1024 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t used;     /* bytes, counted from the chunk's own start */
    size_t capacity; /* bytes, header included */
};

static size_t round_up(size_t bytes) {
    return (bytes + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
}

void arena_deinit(struct arena *arena) {
    struct arena_chunk *chunk = arena->chunks;
    while (chunk != NULL) {
        struct arena_chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
    *arena = (struct arena){0};
}

static struct arena_chunk *add_chunk(struct arena *arena, size_t payload) {
    size_t header = round_up(sizeof(struct arena_chunk));
    size_t capacity = payload + header < ARENA_CHUNK_BYTES ? ARENA_CHUNK_BYTES : payload + header;
    struct arena_chunk *chunk = aligned_alloc(ARENA_ALIGNMENT, capacity);
    if (chunk == NULL) {
        return NULL;
    }
    *chunk = (struct arena_chunk){.next = arena->chunks, .used = header, .capacity = capacity};
    arena->chunks = chunk;
    arena->total += capacity;
    return chunk;
}

void *arena_alloc(struct arena *arena, size_t count, size_t size) {
    if (size != 0 && count > (SIZE_MAX / 2 - ARENA_CHUNK_BYTES) / size) {
        return NULL;
    }
    size_t bytes = round_up(count * size);
    struct arena_chunk *chunk = arena->chunks;
    if (chunk == NULL || chunk->capacity - chunk->used < bytes) {
        chunk = add_chunk(arena, bytes);
        if (chunk == NULL) {
            return NULL;
        }
    }
    void *memory = (char *)chunk + chunk->used;
    chunk->used += bytes;
    memset(memory, 0, bytes);
    return memory;
}

char *arena_copy_text(struct arena *arena, const char *text, size_t length) {
    char *copy = length == SIZE_MAX ? NULL : arena_alloc(arena, length + 1, 1);
    if (copy != NULL && length > 0) {
        memcpy(copy, text, length);
    }
    return copy;
}

bool arena_next_span(const struct arena *arena, const void **cursor, const char **start,
                     size_t *length) {
    const struct arena_chunk *last = *cursor;
    const struct arena_chunk *chunk = last == NULL ? arena->chunks : last->next;
    if (chunk == NULL) {
        return false;
    }
    size_t header = round_up(sizeof *chunk);
    *cursor = chunk;
    *start = (const char *)chunk + header;
    *length = chunk->used - header;
    return true;
}
