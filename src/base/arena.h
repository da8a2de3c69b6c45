/*
 * arena.h - memory that is released all at once: a model's tables, a request's pieces.
 *
 * Allocation is a pointer bump in a chain of chunks; nothing is released one by one. Memory is
 * zeroed. One owner, one thread at a time.
 */
#ifndef MISTRAL_BASE_ARENA_H
#define MISTRAL_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks; /* newest first; owned */
    size_t total;               /* bytes obtained from the system */
};

/* A zeroed struct is an empty arena; deinit releases every chunk and leaves it empty again. */
void arena_deinit(struct arena *arena);

/* `count` elements of `size` bytes, zeroed, aligned to 64 bytes (a cache line and a vector
 * register). NULL when memory runs out or the product overflows. */
void *arena_alloc(struct arena *arena, size_t count, size_t size);

/* The memory it has handed out, chunk by chunk: start with *cursor NULL; false at the end. */
bool arena_next_span(const struct arena *arena, const void **cursor, const char **start,
                     size_t *length);

/* A NUL-terminated copy of `length` bytes; NULL when memory runs out. */
char *arena_copy_text(struct arena *arena, const char *text, size_t length);

#endif
