/*
 * kv_pool.c - see kv_pool.h.
 *
 * Free and cached blocks are two doubly linked lists through the block records: the cached one in
 * order of release, oldest first. Published blocks are in a hash table of singly linked buckets.
 */
#include "engine/kv_pool.h"

#include "base/hash_map.h"
#include "base/random.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct block_identity {
    kv_chain parent;
    int32_t tokens[KV_BLOCK_TOKENS];
};

struct kv_block {
    struct block_identity identity; /* of a published block */
    kv_chain chain;                 /* KV_CHAIN_ROOT: not published */
    uint32_t references;
    uint32_t bucket_next;    /* KV_BLOCK_NONE: the last */
    uint32_t previous, next; /* in the free or cached list; KV_BLOCK_NONE at the ends */
};

struct block_list {
    uint32_t first, last; /* KV_BLOCK_NONE: empty */
    size_t count;
};

struct kv_pool {
    struct kv_block *blocks;                        /* [block_count] */
    uint32_t *buckets;                              /* [bucket_mask + 1] */
    uint32_t block_count, cache_limit, bucket_mask; /* block_count: falls when growing fails */
    uint32_t fresh;  /* blocks from here on were never given out and are in no list */
    uint32_t backed; /* blocks from here on have no storage yet */
    kv_pool_grow grow;
    void *grow_context;
    uint64_t hash_seed; /* fresh, so that no prompt can be made to fill one bucket */
    kv_chain last_chain;
    struct block_list free, cached;
    uint64_t lookups, hits, evictions;
};

/* --- lists --- */

static void list_append(struct kv_pool *pool, struct block_list *list, uint32_t block) {
    struct kv_block *record = &pool->blocks[block];
    record->previous = list->last;
    record->next = KV_BLOCK_NONE;
    if (list->last == KV_BLOCK_NONE) {
        list->first = block;
    } else {
        pool->blocks[list->last].next = block;
    }
    list->last = block;
    list->count++;
}

static void list_remove(struct kv_pool *pool, struct block_list *list, uint32_t block) {
    const struct kv_block *record = &pool->blocks[block];
    if (record->previous == KV_BLOCK_NONE) {
        list->first = record->next;
    } else {
        pool->blocks[record->previous].next = record->next;
    }
    if (record->next == KV_BLOCK_NONE) {
        list->last = record->previous;
    } else {
        pool->blocks[record->next].previous = record->previous;
    }
    list->count--;
}

/* --- the index of published blocks --- */

static uint32_t *bucket_of(const struct kv_pool *pool, const struct block_identity *identity) {
    uint64_t hash = hash_bytes(identity->tokens, sizeof identity->tokens,
                               pool->hash_seed ^ identity->parent * 0x9e3779b97f4a7c15ULL);
    return &pool->buckets[hash & pool->bucket_mask];
}

static uint32_t index_find(const struct kv_pool *pool, const struct block_identity *identity) {
    uint32_t block = *bucket_of(pool, identity);
    while (block != KV_BLOCK_NONE) {
        const struct kv_block *record = &pool->blocks[block];
        if (record->identity.parent == identity->parent &&
            memcmp(record->identity.tokens, identity->tokens, sizeof identity->tokens) == 0) {
            break;
        }
        block = record->bucket_next;
    }
    return block;
}

static void index_add(struct kv_pool *pool, uint32_t block) {
    struct kv_block *record = &pool->blocks[block];
    uint32_t *bucket = bucket_of(pool, &record->identity);
    record->bucket_next = *bucket;
    *bucket = block;
}

static void index_remove(struct kv_pool *pool, uint32_t block) {
    struct kv_block *record = &pool->blocks[block];
    uint32_t *link = bucket_of(pool, &record->identity);
    while (*link != block) {
        link = &pool->blocks[*link].bucket_next;
    }
    *link = record->bucket_next;
    record->chain = KV_CHAIN_ROOT;
}

/* The least recently used cached block, its content forgotten, in no list. */
static uint32_t evict(struct kv_pool *pool) {
    uint32_t block = pool->cached.first;
    list_remove(pool, &pool->cached, block);
    index_remove(pool, block);
    pool->evictions++;
    return block;
}

/* --- life --- */

bool kv_pool_create(uint32_t block_count, uint32_t cache_limit_blocks, struct kv_pool **pool,
                    struct error *error) {
    *pool = NULL;
    if (block_count == 0 || block_count > UINT32_MAX / 4) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "a KV pool of %u blocks", block_count);
    }
    size_t bucket_count = 1;
    while (bucket_count < (size_t)block_count * 2) {
        bucket_count *= 2;
    }
    struct kv_pool *created = calloc(1, sizeof *created);
    if (created != NULL) {
        created->blocks = calloc(block_count, sizeof *created->blocks);
        created->buckets = calloc(bucket_count, sizeof *created->buckets);
    }
    if (created == NULL || created->blocks == NULL || created->buckets == NULL) {
        kv_pool_free(created);
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a KV pool of %u blocks",
                         block_count);
    }
    created->block_count = created->backed = block_count;
    created->cache_limit = cache_limit_blocks;
    created->bucket_mask = (uint32_t)(bucket_count - 1);
    created->hash_seed = random_fresh_seed();
    created->last_chain = KV_CHAIN_ROOT;
    memset(created->buckets, 0xff, bucket_count * sizeof *created->buckets); /* KV_BLOCK_NONE */
    created->free = created->cached = (struct block_list){KV_BLOCK_NONE, KV_BLOCK_NONE, 0};
    *pool = created;
    return true;
}

void kv_pool_set_grow(struct kv_pool *pool, kv_pool_grow grow, void *context) {
    assert(pool->fresh == 0);
    pool->grow = grow;
    pool->grow_context = context;
    pool->backed = 0;
}

void kv_pool_free(struct kv_pool *pool) {
    if (pool == NULL) {
        return;
    }
    free(pool->blocks);
    free(pool->buckets);
    free(pool);
}

/* --- references --- */

/* True when block `fresh` can be given out. */
static bool has_fresh(struct kv_pool *pool) {
    if (pool->fresh == pool->backed && pool->fresh < pool->block_count) {
        uint32_t backed = pool->grow(pool->grow_context, pool->fresh + 1);
        if (backed > pool->fresh) {
            pool->backed = backed < pool->block_count ? backed : pool->block_count;
        } else {
            pool->block_count = pool->fresh;
        }
    }
    return pool->fresh < pool->block_count;
}

uint32_t kv_pool_alloc(struct kv_pool *pool) {
    uint32_t block = pool->free.first;
    if (block != KV_BLOCK_NONE) {
        list_remove(pool, &pool->free, block);
    } else if (has_fresh(pool)) {
        block = pool->fresh++;
    } else if (pool->cached.count > 0) {
        block = evict(pool);
    } else {
        return KV_BLOCK_NONE;
    }
    pool->blocks[block].references = 1;
    return block;
}

void kv_pool_release(struct kv_pool *pool, uint32_t block) {
    struct kv_block *record = &pool->blocks[block];
    assert(block < pool->block_count && record->references > 0);
    if (--record->references > 0) {
        return;
    }
    if (record->chain == KV_CHAIN_ROOT) {
        list_append(pool, &pool->free, block);
        return;
    }
    list_append(pool, &pool->cached, block);
    if (pool->cached.count > pool->cache_limit) {
        list_append(pool, &pool->free, evict(pool));
    }
}

uint32_t kv_pool_references(const struct kv_pool *pool, uint32_t block) {
    assert(block < pool->block_count);
    return pool->blocks[block].references;
}

size_t kv_pool_available(const struct kv_pool *pool) {
    return pool->free.count + pool->cached.count + (pool->block_count - pool->fresh);
}

/* --- content --- */

static struct block_identity identity_of(const int32_t *tokens, kv_chain parent) {
    struct block_identity identity = {.parent = parent};
    memcpy(identity.tokens, tokens, sizeof identity.tokens);
    return identity;
}

static void add_reference(struct kv_pool *pool, uint32_t block) {
    if (pool->blocks[block].references++ == 0) {
        list_remove(pool, &pool->cached, block);
    }
}

uint32_t kv_pool_publish(struct kv_pool *pool, uint32_t block, const int32_t *tokens,
                         kv_chain *chain) {
    struct kv_block *record = &pool->blocks[block];
    assert(block < pool->block_count && record->references > 0);
    assert(record->chain == KV_CHAIN_ROOT);
    struct block_identity identity = identity_of(tokens, *chain);
    uint32_t same = index_find(pool, &identity);
    if (same != KV_BLOCK_NONE) {
        add_reference(pool, same);
        kv_pool_release(pool, block);
        *chain = pool->blocks[same].chain;
        return same;
    }
    record->identity = identity;
    record->chain = ++pool->last_chain;
    index_add(pool, block);
    *chain = record->chain;
    return block;
}

size_t kv_pool_find(const struct kv_pool *pool, const int32_t *tokens, size_t token_count,
                    uint32_t *blocks, kv_chain *chain) {
    size_t found = 0;
    *chain = KV_CHAIN_ROOT;
    for (; (found + 1) * KV_BLOCK_TOKENS <= token_count; found++) {
        struct block_identity identity = identity_of(tokens + found * KV_BLOCK_TOKENS, *chain);
        uint32_t block = index_find(pool, &identity);
        if (block == KV_BLOCK_NONE) {
            break;
        }
        blocks[found] = block;
        *chain = pool->blocks[block].chain;
    }
    return found;
}

void kv_pool_adopt(struct kv_pool *pool, const uint32_t *blocks, size_t count, size_t looked_up) {
    for (size_t i = 0; i < count; i++) {
        add_reference(pool, blocks[i]);
    }
    pool->lookups += looked_up;
    pool->hits += count;
}

/* --- seen from outside --- */

void kv_pool_read_stats(const struct kv_pool *pool, struct kv_pool_stats *stats) {
    *stats = (struct kv_pool_stats){
        .total = pool->block_count,
        .used = pool->fresh - pool->free.count - pool->cached.count,
        .cached = pool->cached.count,
        .backed = pool->backed,
        .lookups = pool->lookups,
        .hits = pool->hits,
        .evictions = pool->evictions,
    };
}

/* Every member unreferenced, published or not as the list says, and linked both ways. */
static bool check_list(const struct kv_pool *pool, const struct block_list *list, bool published,
                       const char *name, struct error *error) {
    size_t count = 0;
    uint32_t previous = KV_BLOCK_NONE;
    for (uint32_t block = list->first; block != KV_BLOCK_NONE;
         previous = block, block = pool->blocks[block].next) {
        const struct kv_block *record = &pool->blocks[block];
        if (++count > pool->block_count) {
            return error_set(error, ERROR_FORMAT, "the %s list has no end", name);
        }
        if (record->references > 0 || (record->chain != KV_CHAIN_ROOT) != published ||
            record->previous != previous) {
            return error_set(error, ERROR_FORMAT, "block %u does not belong in the %s list", block,
                             name);
        }
    }
    if (count != list->count || list->last != previous) {
        return error_set(error, ERROR_FORMAT, "the %s list holds %zu blocks, not %zu", name, count,
                         list->count);
    }
    return true;
}

bool kv_pool_check(const struct kv_pool *pool, struct error *error) {
    if (!check_list(pool, &pool->free, false, "free", error) ||
        !check_list(pool, &pool->cached, true, "cached", error)) {
        return false;
    }
    if (pool->cached.count > pool->cache_limit) {
        return error_set(error, ERROR_FORMAT, "%zu cached blocks are over the limit of %u",
                         pool->cached.count, pool->cache_limit);
    }
    size_t unreferenced = 0, published = 0, indexed = 0;
    for (uint32_t block = 0; block < pool->block_count; block++) {
        const struct kv_block *record = &pool->blocks[block];
        unreferenced += record->references == 0;
        published += record->chain != KV_CHAIN_ROOT;
        if (record->chain != KV_CHAIN_ROOT && index_find(pool, &record->identity) != block) {
            return error_set(error, ERROR_FORMAT, "published block %u cannot be found", block);
        }
    }
    size_t listed = pool->free.count + pool->cached.count + pool->block_count - pool->fresh;
    if (unreferenced != listed) {
        return error_set(error, ERROR_FORMAT,
                         "%zu blocks are unreferenced, %zu are in the lists or were never used",
                         unreferenced, listed);
    }
    if (pool->fresh > pool->backed) {
        return error_set(error, ERROR_FORMAT, "%u blocks are in use, %u have storage", pool->fresh,
                         pool->backed);
    }
    for (size_t bucket = 0; bucket <= pool->bucket_mask; bucket++) {
        for (uint32_t block = pool->buckets[bucket]; block != KV_BLOCK_NONE && indexed <= published;
             block = pool->blocks[block].bucket_next) {
            indexed++;
        }
    }
    if (indexed != published) {
        return error_set(error, ERROR_FORMAT, "%zu blocks are published, %zu or more indexed",
                         published, indexed);
    }
    return true;
}
