/* hash_map.c - see hash_map.h. */
#include "base/hash_map.h"

#include "base/bytes.h"
#include "base/clock.h"

#include <stdatomic.h>
#include <stdlib.h>

/* Multiply-and-fold mixing, 8 bytes a round: the construction of wyhash and its kin. */
static uint64_t fold(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static const uint64_t MIX_A = 0xa0761d6478bd642fULL;
static const uint64_t MIX_B = 0xe7037ed1a0b428dbULL;

uint64_t hash_bytes(const void *bytes, size_t length, uint64_t seed) {
    const uint8_t *at = bytes;
    uint64_t hash = seed ^ fold(length ^ MIX_A, MIX_B);
    size_t left = length;
    for (; left >= 8; left -= 8, at += 8) {
        hash = fold(hash ^ load_u64_le(at) ^ MIX_A, MIX_B);
    }
    uint64_t tail = 0;
    for (size_t i = 0; i < left; i++) {
        tail |= (uint64_t)at[i] << (8 * i);
    }
    return fold(hash ^ tail ^ MIX_B, MIX_A ^ length);
}

/* Addresses (ASLR) and the clock: enough that a request cannot choose colliding keys. */
static uint64_t process_seed(void) {
    static _Atomic uint64_t seed;
    uint64_t value = atomic_load_explicit(&seed, memory_order_relaxed);
    if (value == 0) {
        uint64_t fresh =
            fold((uint64_t)clock_wall_ns() ^ MIX_A, (uint64_t)(uintptr_t)&seed | 1) | 1;
        atomic_compare_exchange_strong(&seed, &value, fresh);
        value = atomic_load(&seed);
    }
    return value;
}

void hash_map_deinit(struct hash_map *map) {
    free(map->slots);
    *map = (struct hash_map){0};
}

static struct hash_map_slot *find_slot(const struct hash_map *map, struct string_view key,
                                       uint64_t hash) {
    size_t mask = map->capacity - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        struct hash_map_slot *slot = &map->slots[i];
        if (slot->key.data == NULL || (slot->hash == hash && string_view_equals(slot->key, key))) {
            return slot;
        }
    }
}

bool hash_map_reserve(struct hash_map *map, size_t count) {
    /* At most 2/3 full, so that a probe always ends soon at a free slot. */
    size_t capacity = map->capacity == 0 ? 16 : map->capacity;
    while (capacity / 3 * 2 < count) {
        if (capacity > SIZE_MAX / 2 / sizeof(struct hash_map_slot)) {
            return false;
        }
        capacity *= 2;
    }
    if (capacity == map->capacity) {
        return true;
    }
    struct hash_map grown = {calloc(capacity, sizeof(struct hash_map_slot)), capacity, map->count};
    if (grown.slots == NULL) {
        return false;
    }
    for (size_t i = 0; i < map->capacity; i++) {
        if (map->slots[i].key.data != NULL) {
            *find_slot(&grown, map->slots[i].key, map->slots[i].hash) = map->slots[i];
        }
    }
    free(map->slots);
    *map = grown;
    return true;
}

bool hash_map_set(struct hash_map *map, struct string_view key, uint64_t value) {
    if (key.data == NULL) {
        key.data = "";
    }
    if (!hash_map_reserve(map, map->count + 1)) {
        return false;
    }
    uint64_t hash = hash_bytes(key.data, key.length, process_seed());
    struct hash_map_slot *slot = find_slot(map, key, hash);
    map->count += slot->key.data == NULL;
    *slot = (struct hash_map_slot){key, hash, value};
    return true;
}

const uint64_t *hash_map_get(const struct hash_map *map, struct string_view key) {
    if (map->capacity == 0) {
        return NULL;
    }
    uint64_t hash = hash_bytes(key.data, key.length, process_seed());
    const struct hash_map_slot *slot = find_slot(map, key, hash);
    return slot->key.data == NULL ? NULL : &slot->value;
}
