/*
 * test_kv_pool.c - the KV pool against a slow model of its rules: random operations on small pools,
 * every answer compared, the pool whole after each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"
#include "engine/kv_pool.h"

#include <stdlib.h>
#include <string.h>

static struct kv_pool *make(uint32_t block_count, uint32_t cache_limit) {
    struct kv_pool *pool = NULL;
    struct error error = {0};
    if (!kv_pool_create(block_count, cache_limit, &pool, &error)) {
        fail_msg("kv_pool_create: %s", error.message);
    }
    return pool;
}

static void assert_whole(const struct kv_pool *pool) {
    struct error error = {0};
    if (!kv_pool_check(pool, &error)) {
        fail_msg("kv_pool_check: %s", error.message);
    }
}

/* `count` blocks of tokens: block i holds 16 times base + i. */
static void fill_tokens(int32_t *tokens, size_t count, int32_t base) {
    for (size_t i = 0; i < count * KV_BLOCK_TOKENS; i++) {
        tokens[i] = base + (int32_t)(i / KV_BLOCK_TOKENS);
    }
}

/* Allocates and publishes a chain of blocks. */
static void publish_chain(struct kv_pool *pool, const int32_t *tokens, size_t count,
                          uint32_t *blocks) {
    kv_chain chain = KV_CHAIN_ROOT;
    for (size_t i = 0; i < count; i++) {
        blocks[i] = kv_pool_alloc(pool);
        assert_int_not_equal(blocks[i], KV_BLOCK_NONE);
        blocks[i] = kv_pool_publish(pool, blocks[i], tokens + i * KV_BLOCK_TOKENS, &chain);
    }
}

static void release_all(struct kv_pool *pool, const uint32_t *blocks, size_t count) {
    while (count-- > 0) {
        kv_pool_release(pool, blocks[count]);
    }
}

static void every_block_is_given_once(void **state) {
    (void)state;
    struct kv_pool *pool = make(5, 5);
    bool seen[5] = {false};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(kv_pool_available(pool), 5 - i);
        uint32_t block = kv_pool_alloc(pool);
        assert_in_range(block, 0, 4);
        assert_false(seen[block]);
        seen[block] = true;
    }
    assert_int_equal(kv_pool_alloc(pool), KV_BLOCK_NONE);
    kv_pool_release(pool, 3);
    assert_int_equal(kv_pool_alloc(pool), 3);
    assert_whole(pool);
    kv_pool_free(pool);
    kv_pool_free(NULL);
}

static void a_prefix_is_found_and_shared(void **state) {
    (void)state;
    struct kv_pool *pool = make(8, 8);
    int32_t tokens[4 * KV_BLOCK_TOKENS];
    uint32_t blocks[4], found[4];
    kv_chain chain;
    fill_tokens(tokens, 4, 100);
    publish_chain(pool, tokens, 3, blocks);
    assert_int_equal(kv_pool_find(pool, tokens, 4 * KV_BLOCK_TOKENS, found, &chain), 3);
    assert_memory_equal(found, blocks, 3 * sizeof *found);
    assert_int_equal(kv_pool_find(pool, tokens, 2 * KV_BLOCK_TOKENS + 15, found, &chain), 2);
    assert_int_equal(kv_pool_find(pool, tokens, 15, found, &chain), 0);
    assert_int_equal(chain, KV_CHAIN_ROOT);
    kv_pool_adopt(pool, found, 2, 2);
    assert_int_equal(kv_pool_references(pool, blocks[1]), 2);
    assert_int_equal(kv_pool_references(pool, blocks[2]), 1);
    tokens[20] = 7; /* in the second block */
    assert_int_equal(kv_pool_find(pool, tokens, sizeof tokens / sizeof *tokens, found, &chain), 1);
    assert_whole(pool);
    kv_pool_free(pool);
}

/* The same 16 tokens after another beginning are other content. */
static void equal_tokens_after_another_prefix_are_not_found(void **state) {
    (void)state;
    struct kv_pool *pool = make(8, 8);
    int32_t one[2 * KV_BLOCK_TOKENS], other[2 * KV_BLOCK_TOKENS];
    uint32_t blocks[2], found[2];
    kv_chain chain;
    fill_tokens(one, 2, 1);
    memcpy(other, one, sizeof one);
    other[0] = 99;
    publish_chain(pool, one, 2, blocks);
    assert_int_equal(kv_pool_find(pool, other, 2 * KV_BLOCK_TOKENS, found, &chain), 0);
    assert_int_equal(kv_pool_find(pool, one + KV_BLOCK_TOKENS, KV_BLOCK_TOKENS, found, &chain), 0);
    kv_pool_free(pool);
}

static void content_computed_twice_is_kept_once(void **state) {
    (void)state;
    struct kv_pool *pool = make(8, 8);
    int32_t tokens[2 * KV_BLOCK_TOKENS];
    uint32_t first[2], second[2];
    fill_tokens(tokens, 2, 1);
    publish_chain(pool, tokens, 2, first);
    publish_chain(pool, tokens, 2, second);
    assert_memory_equal(first, second, sizeof first);
    assert_int_equal(kv_pool_references(pool, first[0]), 2);
    assert_int_equal(kv_pool_available(pool), 6);
    release_all(pool, first, 2);
    release_all(pool, second, 2);
    assert_int_equal(kv_pool_available(pool), 8);
    publish_chain(pool, tokens, 2, second); /* finds the cached ones */
    assert_memory_equal(first, second, sizeof first);
    assert_whole(pool);
    kv_pool_free(pool);
}

static void the_least_recently_used_content_goes_first(void **state) {
    (void)state;
    struct kv_pool *pool = make(4, 4);
    int32_t tokens[3][2 * KV_BLOCK_TOKENS];
    uint32_t blocks[2][2], found[2];
    kv_chain chain;
    for (int32_t i = 0; i < 3; i++) {
        fill_tokens(tokens[i], 2, 10 * i);
    }
    publish_chain(pool, tokens[0], 2, blocks[0]);
    publish_chain(pool, tokens[1], 2, blocks[1]);
    release_all(pool, blocks[0], 2);
    release_all(pool, blocks[1], 2);
    /* Content 0 is used again, so content 1 is the older: its last block goes, then its first. */
    assert_int_equal(kv_pool_find(pool, tokens[0], 32, found, &chain), 2);
    kv_pool_adopt(pool, found, 2, 2);
    release_all(pool, found, 2);
    assert_int_equal(kv_pool_alloc(pool), blocks[1][1]);
    assert_int_equal(kv_pool_find(pool, tokens[1], 32, found, &chain), 1);
    assert_int_equal(kv_pool_alloc(pool), blocks[1][0]);
    assert_int_equal(kv_pool_find(pool, tokens[0], 32, found, &chain), 2);
    struct kv_pool_stats stats;
    kv_pool_read_stats(pool, &stats);
    assert_int_equal(stats.total, 4);
    assert_int_equal(stats.used, 2);
    assert_int_equal(stats.cached, 2);
    assert_int_equal(stats.evictions, 2);
    assert_int_equal(stats.lookups, 2);
    assert_int_equal(stats.hits, 2);
    assert_whole(pool);
    kv_pool_free(pool);
}

static void the_cache_limit_holds(void **state) {
    (void)state;
    int32_t tokens[4 * KV_BLOCK_TOKENS];
    uint32_t blocks[4], found[4];
    kv_chain chain;
    fill_tokens(tokens, 4, 5);
    for (uint32_t limit = 0; limit <= 5; limit++) {
        struct kv_pool *pool = make(6, limit);
        publish_chain(pool, tokens, 4, blocks);
        release_all(pool, blocks, 4);
        size_t kept = limit < 4 ? limit : 4;
        assert_int_equal(kv_pool_find(pool, tokens, 64, found, &chain), kept);
        assert_memory_equal(found, blocks, kept * sizeof *found); /* the beginning, not the end */
        assert_int_equal(kv_pool_available(pool), 6);
        assert_whole(pool);
        kv_pool_free(pool);
    }
}

/* --- against a model of the rules --- */

enum { MOST_BLOCKS = 24, HOLDERS = 6, LONGEST = 5 };

/* What the pool ought to know of a block. `when` orders releases. */
struct model_block {
    uint32_t references;
    uint64_t when;
    kv_chain chain, parent; /* chain 0: not published */
    int32_t tokens[KV_BLOCK_TOKENS];
};

struct model {
    struct model_block blocks[MOST_BLOCKS];
    uint32_t block_count, cache_limit;
    uint64_t clock;
};

static bool is_cached(const struct model_block *block) {
    return block->references == 0 && block->chain != 0;
}

static uint32_t model_oldest(const struct model *model) {
    uint32_t oldest = KV_BLOCK_NONE;
    for (uint32_t i = 0; i < model->block_count; i++) {
        if (is_cached(&model->blocks[i]) &&
            (oldest == KV_BLOCK_NONE || model->blocks[i].when < model->blocks[oldest].when)) {
            oldest = i;
        }
    }
    return oldest;
}

static void model_release(struct model *model, uint32_t block) {
    assert_true(model->blocks[block].references > 0);
    model->blocks[block].references--;
    model->blocks[block].when = ++model->clock;
    size_t cached = 0;
    for (uint32_t i = 0; i < model->block_count; i++) {
        cached += is_cached(&model->blocks[i]);
    }
    if (cached > model->cache_limit) {
        model->blocks[model_oldest(model)].chain = 0;
    }
}

static uint32_t model_lookup(const struct model *model, const int32_t *tokens, kv_chain parent) {
    for (uint32_t i = 0; i < model->block_count; i++) {
        const struct model_block *block = &model->blocks[i];
        if (block->chain != 0 && block->parent == parent &&
            memcmp(block->tokens, tokens, sizeof block->tokens) == 0) {
            return i;
        }
    }
    return KV_BLOCK_NONE;
}

/* The pool's choice must be free, or, when none is, the least recently used cached block. */
static uint32_t checked_alloc(struct kv_pool *pool, struct model *model) {
    bool any_free = false;
    for (uint32_t i = 0; i < model->block_count; i++) {
        any_free |= model->blocks[i].references == 0 && model->blocks[i].chain == 0;
    }
    uint32_t block = kv_pool_alloc(pool);
    uint32_t oldest = model_oldest(model);
    if (any_free) {
        assert_in_range(block, 0, model->block_count - 1);
        assert_int_equal(model->blocks[block].references, 0);
        assert_int_equal(model->blocks[block].chain, 0);
    } else {
        assert_int_equal(block, oldest);
    }
    if (block != KV_BLOCK_NONE) {
        model->blocks[block].references = 1;
        model->blocks[block].chain = 0;
    }
    return block;
}

static void checked_publish(struct kv_pool *pool, struct model *model, uint32_t *block,
                            const int32_t *tokens, kv_chain *chain) {
    kv_chain before = *chain;
    uint32_t same = model_lookup(model, tokens, before);
    uint32_t got = kv_pool_publish(pool, *block, tokens, chain);
    if (same != KV_BLOCK_NONE) {
        assert_int_equal(got, same);
        assert_true(*chain == model->blocks[same].chain);
        model->blocks[same].references++;
        model_release(model, *block);
        *block = same;
        return;
    }
    assert_int_equal(got, *block);
    for (uint32_t i = 0; i < model->block_count; i++) {
        assert_true(*chain != 0 && *chain != model->blocks[i].chain);
    }
    model->blocks[*block].chain = *chain;
    model->blocks[*block].parent = before;
    memcpy(model->blocks[*block].tokens, tokens, KV_BLOCK_TOKENS * sizeof *tokens);
}

struct holder {
    uint32_t blocks[LONGEST];
    size_t count;
};

/* A holder takes what is found of a random text and computes the rest, as a sequence would. */
static void holder_fill(struct kv_pool *pool, struct model *model, struct holder *holder,
                        struct random_state *random) {
    int32_t tokens[LONGEST * KV_BLOCK_TOKENS];
    size_t length = 1 + random_next(random) % LONGEST;
    for (size_t i = 0; i < length; i++) { /* two kinds of block: texts often begin alike */
        for (size_t j = 0; j < KV_BLOCK_TOKENS; j++) {
            tokens[i * KV_BLOCK_TOKENS + j] = j == 0 ? (int32_t)(random_next(random) % 2) : 0;
        }
    }
    kv_chain chain, expected = KV_CHAIN_ROOT;
    size_t found = kv_pool_find(pool, tokens, length * KV_BLOCK_TOKENS, holder->blocks, &chain);
    for (size_t i = 0; i < length; i++) {
        uint32_t block = model_lookup(model, tokens + i * KV_BLOCK_TOKENS, expected);
        assert_int_equal(i < found, block != KV_BLOCK_NONE);
        if (i >= found) {
            break;
        }
        assert_int_equal(holder->blocks[i], block);
        expected = model->blocks[block].chain;
        model->blocks[block].references++;
    }
    assert_true(chain == expected);
    kv_pool_adopt(pool, holder->blocks, found, length);
    for (holder->count = found; holder->count < length; holder->count++) {
        uint32_t block = checked_alloc(pool, model);
        if (block == KV_BLOCK_NONE) {
            return;
        }
        holder->blocks[holder->count] = block;
        checked_publish(pool, model, &holder->blocks[holder->count],
                        tokens + holder->count * KV_BLOCK_TOKENS, &chain);
    }
    if (random_next(random) % 3 == 0 && holder->count > 1) { /* the front leaves the window */
        kv_pool_release(pool, holder->blocks[0]);
        model_release(model, holder->blocks[0]);
        memmove(holder->blocks, holder->blocks + 1, --holder->count * sizeof *holder->blocks);
    }
}

static void random_use_follows_the_rules(void **state) {
    (void)state;
    struct random_state random;
    random_seed(&random, 21);
    for (int round = 0; round < 300; round++) {
        struct model model = {.block_count = 1 + (uint32_t)(random_next(&random) % MOST_BLOCKS)};
        model.cache_limit = (uint32_t)(random_next(&random) % (model.block_count + 2));
        struct kv_pool *pool = make(model.block_count, model.cache_limit);
        struct holder holders[HOLDERS] = {0};
        for (int step = 0; step < 150; step++) {
            struct holder *holder = &holders[random_next(&random) % HOLDERS];
            if (holder->count == 0) {
                holder_fill(pool, &model, holder, &random);
            } else {
                while (holder->count > 0) {
                    uint32_t block = holder->blocks[--holder->count];
                    kv_pool_release(pool, block);
                    model_release(&model, block);
                }
            }
            assert_whole(pool);
            for (uint32_t i = 0; i < model.block_count; i++) {
                assert_int_equal(kv_pool_references(pool, i), model.blocks[i].references);
            }
        }
        for (size_t i = 0; i < HOLDERS; i++) {
            release_all(pool, holders[i].blocks, holders[i].count);
        }
        assert_int_equal(kv_pool_available(pool), model.block_count);
        assert_whole(pool);
        kv_pool_free(pool);
    }
}

/* Storage comes four blocks at a time, until `most`. */
struct storage {
    uint32_t backed, most, calls;
};

static uint32_t add_storage(void *context, uint32_t wanted) {
    struct storage *storage = context;
    storage->calls++;
    while (storage->backed < wanted && storage->backed < storage->most) {
        storage->backed += 4;
    }
    return storage->backed;
}

static void storage_is_asked_for_when_it_is_needed(void **state) {
    (void)state;
    struct kv_pool *pool = make(10, 10);
    struct storage storage = {0, 100, 0};
    struct kv_pool_stats stats;
    kv_pool_set_grow(pool, add_storage, &storage);
    kv_pool_read_stats(pool, &stats);
    assert_int_equal(stats.backed, 0);
    assert_int_equal(stats.total, 10);
    assert_int_equal(kv_pool_available(pool), 10);
    for (int round = 0; round < 50; round++) { /* two at a time never need more than four */
        uint32_t a = kv_pool_alloc(pool), b = kv_pool_alloc(pool);
        assert_true(a < storage.backed && b < storage.backed);
        kv_pool_release(pool, a);
        kv_pool_release(pool, b);
    }
    assert_int_equal(storage.calls, 1);
    for (int i = 0; i < 10; i++) {
        assert_true(kv_pool_alloc(pool) < storage.backed);
        assert_whole(pool);
    }
    assert_int_equal(kv_pool_alloc(pool), KV_BLOCK_NONE);
    kv_pool_read_stats(pool, &stats);
    assert_int_equal(stats.backed, 10);
    assert_int_equal(storage.calls, 3);
    kv_pool_free(pool);
}

static void a_pool_that_cannot_grow_is_as_large_as_it_is(void **state) {
    (void)state;
    struct kv_pool *pool = make(100, 100);
    struct storage storage = {0, 8, 0};
    struct kv_pool_stats stats;
    uint32_t last = KV_BLOCK_NONE;
    kv_pool_set_grow(pool, add_storage, &storage);
    for (int i = 0; i < 8; i++) {
        last = kv_pool_alloc(pool);
        assert_true(last < 8);
    }
    assert_int_equal(kv_pool_available(pool), 92); /* nothing has failed yet */
    assert_int_equal(kv_pool_alloc(pool), KV_BLOCK_NONE);
    assert_int_equal(kv_pool_available(pool), 0);
    assert_whole(pool);
    kv_pool_release(pool, last);
    assert_int_equal(kv_pool_alloc(pool), last);
    kv_pool_read_stats(pool, &stats);
    assert_int_equal(stats.total, 8);
    assert_int_equal(stats.used, 8);
    assert_whole(pool);
    kv_pool_free(pool);
}

static void absurd_sizes_are_refused(void **state) {
    (void)state;
    struct kv_pool *pool;
    struct error error = {0};
    assert_false(kv_pool_create(0, 0, &pool, &error));
    assert_int_equal(error.code, ERROR_INVALID_ARGUMENT);
    assert_false(kv_pool_create(UINT32_MAX, 0, &pool, &error));
    assert_null(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_block_is_given_once),
        cmocka_unit_test(a_prefix_is_found_and_shared),
        cmocka_unit_test(equal_tokens_after_another_prefix_are_not_found),
        cmocka_unit_test(content_computed_twice_is_kept_once),
        cmocka_unit_test(the_least_recently_used_content_goes_first),
        cmocka_unit_test(the_cache_limit_holds),
        cmocka_unit_test(random_use_follows_the_rules),
        cmocka_unit_test(storage_is_asked_for_when_it_is_needed),
        cmocka_unit_test(a_pool_that_cannot_grow_is_as_large_as_it_is),
        cmocka_unit_test(absurd_sizes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
