/*
 * hash_map.h - byte strings to 64-bit values; open addressing, linear probing.
 *
 * Keys are borrowed: they must outlive the map. The hash is seeded per process (keys come from
 * outside), so iteration order means nothing and is not offered. Not thread-safe for writes.
 */
#ifndef MISTRAL_BASE_HASH_MAP_H
#define MISTRAL_BASE_HASH_MAP_H

#include "base/string_view.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hash_map_slot {
    struct string_view key; /* data NULL: free */
    uint64_t hash;
    uint64_t value;
};

struct hash_map {
    struct hash_map_slot *slots; /* [capacity], a power of two; owned */
    size_t capacity;
    size_t count;
};

/* A zeroed struct is an empty map. */
void hash_map_deinit(struct hash_map *map);

/* Makes room for `count` keys at once; false when memory runs out. */
bool hash_map_reserve(struct hash_map *map, size_t count);

/* Adds or replaces; false when memory runs out (the map is unchanged). An empty key is allowed. */
bool hash_map_set(struct hash_map *map, struct string_view key, uint64_t value);

/* NULL when absent. Valid until the next set. */
const uint64_t *hash_map_get(const struct hash_map *map, struct string_view key);

/* The seeded hash itself (64-bit, well mixed), for callers that hash other things. */
uint64_t hash_bytes(const void *bytes, size_t length, uint64_t seed);

#endif
