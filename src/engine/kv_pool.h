/*
 * kv_pool.h - who holds which block of the KV cache, and which blocks hold known content.
 *
 * Pure bookkeeping: a block is a number below block_count; its keys and values live in the
 * backend's cache under that number and are never touched here. A block is free, referenced (by one
 * or more sequences), or cached: unreferenced, its content still findable. A full block is
 * published under its chain: what came before it (the chain of the block before) and its own 16
 * tokens. Lookups compare chain and tokens themselves, never a hash alone, so contents cannot be
 * mixed up. Blocks that are needed anew come from those given back, then from those never used (so
 * that what nobody needs is never touched), then from the cached ones, least recently used first.
 * Nothing allocates after create. Engine thread.
 */
#ifndef MISTRAL_ENGINE_KV_POOL_H
#define MISTRAL_ENGINE_KV_POOL_H

#include "backend/backend.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Names the content of a published block and of all blocks before it; never given twice. */
typedef uint64_t kv_chain;
#define KV_CHAIN_ROOT ((kv_chain)0) /* before the first block */

struct kv_pool;

/* cache_limit_blocks: most unreferenced blocks kept for their content; 0: none. */
bool kv_pool_create(uint32_t block_count, uint32_t cache_limit_blocks, struct kv_pool **pool,
                    struct error *error);
void kv_pool_free(struct kv_pool *pool); /* NULL allowed */

/* Makes storage for blocks [0, wanted) at least, and returns how many blocks have it now; fewer
 * than wanted: there is no more memory. */
typedef uint32_t (*kv_pool_grow)(void *context, uint32_t wanted);
/* Before the first alloc: blocks have no storage until `grow` has made it. Once it fails, the pool
 * is as large as it has become. */
void kv_pool_set_grow(struct kv_pool *pool, kv_pool_grow grow, void *context);

/* A block with one reference and no content, or KV_BLOCK_NONE when all are referenced. */
uint32_t kv_pool_alloc(struct kv_pool *pool);
/* Drops one reference. Release a sequence's blocks last to first: the pool evicts in the order of
 * release, and a block is of no use without those before it. */
void kv_pool_release(struct kv_pool *pool, uint32_t block);

/*
 * Makes a full, referenced block findable. *chain is the chain before it and becomes its own.
 * tokens: [KV_BLOCK_TOKENS]. Returns the block that holds this content from now on: the same one,
 * or, where another block had it already, that one; the caller's reference moves to it.
 */
uint32_t kv_pool_publish(struct kv_pool *pool, uint32_t block, const int32_t *tokens,
                         kv_chain *chain);

/* The longest run of findable blocks for tokens[0 .. token_count), whole blocks only. Writes their
 * numbers to blocks[token_count / KV_BLOCK_TOKENS] and the last one's chain (or KV_CHAIN_ROOT);
 * returns how many. References nothing: kv_pool_adopt must come before anything else. */
size_t kv_pool_find(const struct kv_pool *pool, const int32_t *tokens, size_t token_count,
                    uint32_t *blocks, kv_chain *chain);
/* One reference more to each of the blocks found; `looked_up` whole blocks were asked for (both
 * counted in the statistics). */
void kv_pool_adopt(struct kv_pool *pool, const uint32_t *blocks, size_t count, size_t looked_up);

uint32_t kv_pool_references(const struct kv_pool *pool, uint32_t block);
/* How many blocks alloc can give before it returns KV_BLOCK_NONE: free and cached ones. */
size_t kv_pool_available(const struct kv_pool *pool);

struct kv_pool_stats {
    size_t total, used, cached; /* blocks; free = total - used - cached */
    size_t backed;              /* blocks that have storage */
    uint64_t lookups, hits;     /* blocks asked for and found, since create */
    uint64_t evictions;         /* cached blocks given up for new content or by the limit */
};
void kv_pool_read_stats(const struct kv_pool *pool, struct kv_pool_stats *stats);

/* Walks everything: each block in exactly one state, lists and index whole, counts right. False
 * with the first contradiction found. For tests; takes time in proportion to the pool. */
bool kv_pool_check(const struct kv_pool *pool, struct error *error);

#endif
