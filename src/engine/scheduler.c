/*
 * scheduler.c - see scheduler.h.
 *
 * Both lists are in order of arrival: sequences are admitted from the head of the waiting list to
 * the tail of the running one, and set back the other way. So all that run are older than all that
 * wait.
 */
#include "engine/scheduler.h"

#include "base/bytes.h"

#include <assert.h>
#include <stdlib.h>

struct sequence_list {
    struct sequence *first, *last;
    size_t count;
};

struct scheduler {
    struct scheduler_options options;
    struct kv_pool *pool;
    struct sequence_list waiting, running;
    struct step_row *rows; /* [max_running_requests] */
    struct step_plan plan;
    bool plan_is_open;
    uint64_t last_arrival;
    uint64_t last_turn; /* the last number given to one that decodes */
    uint64_t preemptions, prefix_lookup_tokens, prefix_hit_tokens;
};

/* What is left to give in the step being planned. */
struct step_budget {
    size_t prompt_tokens, draft_tokens, logits;
    struct sequence *oldest_prompt; /* of those that ran before; NULL: none is being read */
};

/* --- lists --- */

static void list_append(struct sequence_list *list, struct sequence *sequence) {
    sequence->previous = list->last;
    sequence->next = NULL;
    *(list->last != NULL ? &list->last->next : &list->first) = sequence;
    list->last = sequence;
    list->count++;
}

static void list_prepend(struct sequence_list *list, struct sequence *sequence) {
    sequence->previous = NULL;
    sequence->next = list->first;
    *(list->first != NULL ? &list->first->previous : &list->last) = sequence;
    list->first = sequence;
    list->count++;
}

static void list_remove(struct sequence_list *list, struct sequence *sequence) {
    *(sequence->previous != NULL ? &sequence->previous->next : &list->first) = sequence->next;
    *(sequence->next != NULL ? &sequence->next->previous : &list->last) = sequence->previous;
    sequence->next = sequence->previous = NULL;
    list->count--;
}

/* --- life --- */

static size_t decode_limit(const struct scheduler_options *options) {
    return size_min(size_min(options->max_batch_size, options->decode_chunk_size),
                    options->max_running_requests);
}

static bool check_options(const struct scheduler_options *options, struct error *error) {
    const struct {
        const char *name;
        size_t value, least;
    } rows[] = {
        {"max_running_requests", options->max_running_requests, 1},
        {"max_batch_size", options->max_batch_size, 1},
        {"prefill_chunk_size", options->prefill_chunk_size, 1},
        {"decode_chunk_size", options->decode_chunk_size, 1},
        {"max_step_logits", options->max_step_logits, decode_limit(options) + 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].value < rows[i].least) {
            return error_set(error, ERROR_INVALID_ARGUMENT, "%s is %zu; it must be at least %zu",
                             rows[i].name, rows[i].value, rows[i].least);
        }
    }
    return true;
}

bool scheduler_create(const struct scheduler_options *options, struct scheduler **scheduler,
                      struct error *error) {
    *scheduler = NULL;
    if (!check_options(options, error)) {
        return false;
    }
    struct scheduler *created = calloc(1, sizeof *created);
    if (created != NULL) {
        created->options = *options;
        created->rows = calloc(options->max_running_requests, sizeof *created->rows);
    }
    if (created == NULL || created->rows == NULL) {
        scheduler_free(created);
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a scheduler of %zu requests",
                         options->max_running_requests);
    }
    created->plan.rows = created->rows;
    if (!kv_pool_create(options->block_count, options->cache_limit_blocks, &created->pool, error)) {
        scheduler_free(created);
        return false;
    }
    if (options->grow != NULL) {
        kv_pool_set_grow(created->pool, options->grow, options->grow_context);
    }
    *scheduler = created;
    return true;
}

void scheduler_free(struct scheduler *scheduler) {
    if (scheduler == NULL) {
        return;
    }
    assert(scheduler->waiting.count == 0 && scheduler->running.count == 0);
    kv_pool_free(scheduler->pool);
    free(scheduler->rows);
    free(scheduler);
}

/* --- blocks --- */

/* The most blocks that a sequence of `tokens` tokens holds at once. With a window it holds what one
 * chunk's tokens look back on, and the chunk: window + chunk - 1 positions, wherever they start. */
static size_t blocks_at_once(const struct scheduler *scheduler, const struct sequence *sequence,
                             size_t tokens) {
    size_t all = size_divide_up(tokens, KV_BLOCK_TOKENS);
    if (sequence->window == 0 || sequence->window >= tokens) {
        return all;
    }
    size_t chunk =
        size_max(scheduler->options.prefill_chunk_size, scheduler->options.decode_chunk_size);
    size_t span = sequence->window + size_min(chunk, tokens) - 1;
    return size_min(all, size_divide_up(span - 1, KV_BLOCK_TOKENS) + 1);
}

/* The table entries that have left the window once `computed` tokens are in the cache. */
static size_t entries_behind_window(const struct sequence *sequence, size_t computed) {
    return sequence->window == 0 || computed < sequence->window
               ? 0
               : (computed - sequence->window + 1) / KV_BLOCK_TOKENS;
}

static void release_entries(struct scheduler *scheduler, struct sequence *sequence, size_t from,
                            size_t to) {
    while (to > from) {
        to--;
        kv_pool_release(scheduler->pool, sequence->blocks[to]);
        sequence->blocks[to] = KV_BLOCK_NONE;
    }
}

static void free_behind_window(struct scheduler *scheduler, struct sequence *sequence) {
    size_t behind = entries_behind_window(sequence, sequence->computed);
    if (behind > sequence->first_block) {
        release_entries(scheduler, sequence, sequence->first_block, behind);
        sequence->first_block = behind;
    }
}

static void publish_full_blocks(struct scheduler *scheduler, struct sequence *sequence) {
    if (!scheduler->options.prefix_caching || sequence->is_uncached) {
        return;
    }
    for (; (sequence->published_blocks + 1) * KV_BLOCK_TOKENS <= sequence->computed;
         sequence->published_blocks++) {
        size_t entry = sequence->published_blocks;
        sequence->blocks[entry] =
            kv_pool_publish(scheduler->pool, sequence->blocks[entry],
                            sequence->tokens + entry * KV_BLOCK_TOKENS, &sequence->chain);
    }
}

/* Takes the sequence out of the running list and its blocks from it. */
static void stop_running(struct scheduler *scheduler, struct sequence *sequence) {
    publish_full_blocks(scheduler, sequence);
    release_entries(scheduler, sequence, sequence->first_block, sequence->block_count);
    sequence->block_count = sequence->first_block = sequence->published_blocks = 0;
    sequence->computed = 0;
    list_remove(&scheduler->running, sequence);
}

static void set_back(struct scheduler *scheduler, struct sequence *sequence) {
    stop_running(scheduler, sequence);
    sequence->state = SEQUENCE_WAITING;
    sequence->preemptions++;
    scheduler->preemptions++;
    list_prepend(&scheduler->waiting, sequence);
}

/*
 * Extends the table for `count` tokens after the computed ones; returns how many of them it covers.
 * Only the first is worth setting others back for; more is taken as far as blocks are there.
 */
static size_t extend_table(struct scheduler *scheduler, struct sequence *sequence, size_t count) {
    size_t computed = sequence->computed;
    while (sequence->block_count * KV_BLOCK_TOKENS < computed + count) {
        uint32_t block = kv_pool_alloc(scheduler->pool);
        if (block != KV_BLOCK_NONE) {
            sequence->blocks[sequence->block_count++] = block;
            continue;
        }
        if (sequence->block_count * KV_BLOCK_TOKENS > computed ||
            scheduler->running.last == sequence) {
            return sequence->block_count * KV_BLOCK_TOKENS - computed;
        }
        set_back(scheduler, scheduler->running.last);
    }
    return count;
}

/* --- the queue --- */

bool scheduler_add(struct scheduler *scheduler, struct sequence *sequence, struct error *error) {
    const struct scheduler_options *options = &scheduler->options;
    assert(sequence->state == SEQUENCE_NEW && !scheduler->plan_is_open);
    size_t needed = blocks_at_once(scheduler, sequence, sequence->capacity);
    if (needed > options->block_count) {
        return error_set(error, ERROR_CONTEXT_LENGTH,
                         "a request of %zu tokens needs %zu KV blocks of %d tokens; there are %u",
                         sequence->capacity, needed, KV_BLOCK_TOKENS, options->block_count);
    }
    size_t queued = scheduler->running.count + scheduler->waiting.count;
    if (queued >= options->max_running_requests &&
        queued - options->max_running_requests >= options->max_waiting_requests) {
        return error_set(error, ERROR_BUSY, "%zu requests run and %zu wait already",
                         scheduler->running.count, scheduler->waiting.count);
    }
    sequence->arrival = ++scheduler->last_arrival;
    sequence->state = SEQUENCE_WAITING;
    list_append(&scheduler->waiting, sequence);
    return true;
}

void scheduler_finish(struct scheduler *scheduler, struct sequence *sequence) {
    assert(!scheduler->plan_is_open);
    if (sequence->state == SEQUENCE_RUNNING) {
        stop_running(scheduler, sequence);
    } else {
        assert(sequence->state == SEQUENCE_WAITING);
        list_remove(&scheduler->waiting, sequence);
    }
    sequence->state = SEQUENCE_FINISHED;
}

/* Blocks that the running sequences still need for the tokens they have, and one more for each:
 * admitting past that would only set somebody back soon. */
static size_t blocks_spoken_for(const struct scheduler *scheduler) {
    size_t sum = 0;
    for (const struct sequence *s = scheduler->running.first; s != NULL; s = s->next) {
        size_t needed = blocks_at_once(scheduler, s, s->token_count);
        size_t held = s->block_count - s->first_block;
        sum += (needed > held ? needed - held : 0) + 1;
    }
    return sum;
}

/* Moves the waiting list's head to the running list, with what the prefix cache has of it. False
 * when its tokens do not fit beside those that run. */
static bool admit(struct scheduler *scheduler) {
    struct sequence *sequence = scheduler->waiting.first;
    kv_chain chain = KV_CHAIN_ROOT;
    size_t found = 0, looked_up = 0;
    bool is_cached = scheduler->options.prefix_caching && !sequence->is_uncached;
    if (is_cached) {
        /* A position whose logits are wanted must be computed. */
        size_t reusable = size_min(sequence->token_count - 1, sequence->logits_from);
        looked_up = reusable / KV_BLOCK_TOKENS;
        found = kv_pool_find(scheduler->pool, sequence->tokens, reusable, sequence->blocks, &chain);
    }
    if (scheduler->running.count > 0) {
        size_t first = entries_behind_window(sequence, found * KV_BLOCK_TOKENS);
        size_t needed = blocks_at_once(scheduler, sequence,
                                       size_min(sequence->token_count + 1, sequence->capacity));
        needed -= size_min(needed, found - first);
        for (size_t i = first; i < found; i++) {
            needed += kv_pool_references(scheduler->pool, sequence->blocks[i]) == 0;
        }
        if (needed + blocks_spoken_for(scheduler) > kv_pool_available(scheduler->pool)) {
            return false;
        }
    }
    kv_pool_adopt(scheduler->pool, sequence->blocks, found, looked_up);
    sequence->block_count = sequence->published_blocks = found;
    sequence->chain = chain;
    sequence->computed = found * KV_BLOCK_TOKENS;
    free_behind_window(scheduler, sequence);
    if (!sequence->was_admitted) {
        sequence->was_admitted = true;
        sequence->cached_tokens = sequence->computed;
        scheduler->prefix_hit_tokens += sequence->computed;
        scheduler->prefix_lookup_tokens += is_cached ? sequence->prompt_count : 0;
    }
    list_remove(&scheduler->waiting, sequence);
    list_append(&scheduler->running, sequence);
    sequence->state = SEQUENCE_RUNNING;
    sequence->turn = scheduler->last_turn;
    return true;
}

/* --- the plan --- */

/* Of those that decode and have not been chosen since `turn`, the one whose turn is longest past.
 */
static struct sequence *next_in_turn(const struct scheduler *scheduler, uint64_t turn) {
    struct sequence *next = NULL;
    for (struct sequence *s = scheduler->running.first; s != NULL; s = s->next) {
        if (sequence_is_decoding(s) && s->turn <= turn && (next == NULL || s->turn < next->turn)) {
            next = s;
        }
    }
    return next;
}

/* Numbers those that decode in this step behind all earlier turns. When there are too many, those
 * come first who were chosen (or admitted: newcomers cannot crowd out the others) longest ago.
 * Returns how many. */
static size_t choose_turns(struct scheduler *scheduler) {
    size_t limit = decode_limit(&scheduler->options), decoding = 0;
    for (const struct sequence *s = scheduler->running.first; s != NULL; s = s->next) {
        decoding += sequence_is_decoding(s);
    }
    uint64_t before = scheduler->last_turn;
    size_t chosen = size_min(limit, decoding);
    if (decoding > limit) {
        for (size_t i = 0; i < chosen; i++) {
            next_in_turn(scheduler, before)->turn = ++scheduler->last_turn;
        }
        return chosen;
    }
    for (struct sequence *s = scheduler->running.first; s != NULL; s = s->next) {
        if (sequence_is_decoding(s)) {
            s->turn = ++scheduler->last_turn;
        }
    }
    return chosen;
}

static void plan_decode(struct scheduler *scheduler, struct sequence *sequence,
                        struct step_budget *budget) {
    size_t draft = size_min(sequence->draft_count, size_min(budget->draft_tokens, budget->logits));
    sequence->planned = extend_table(scheduler, sequence, 1 + draft);
    if (sequence->planned > 1) {
        budget->draft_tokens -= sequence->planned - 1;
        budget->logits -= sequence->planned - 1;
    }
}

static size_t logits_wanted(const struct sequence *sequence, size_t count) {
    size_t end = sequence->computed + count;
    return end > sequence->logits_from ? size_min(end - sequence->logits_from, count) : 0;
}

/* Plans up to `most` of the sequence's prompt tokens, beyond those it has in this step already. */
static void plan_prompt(struct scheduler *scheduler, struct sequence *sequence, size_t most,
                        struct step_budget *budget) {
    size_t before = sequence->planned, had = logits_wanted(sequence, before);
    size_t count = size_min(sequence->token_count - sequence->computed,
                            before + size_min(most, budget->prompt_tokens));
    size_t wanted = logits_wanted(sequence, count) - had;
    count -= wanted > budget->logits ? wanted - budget->logits : 0;
    if (count <= before) {
        return;
    }
    sequence->planned = extend_table(scheduler, sequence, count);
    budget->prompt_tokens -= sequence->planned - before;
    budget->logits -= logits_wanted(sequence, sequence->planned) - had;
}

/* How much of the step the oldest prompt may take at first: what the prompts behind it want, a
 * quarter of the step at most, is kept for them, so that a short one need not wait until a long one
 * has been read. */
static size_t share_of_oldest(const struct scheduler *scheduler, const struct sequence *oldest) {
    const struct scheduler_options *options = &scheduler->options;
    size_t kept = options->prefill_chunk_size / 4, wanted = 0;
    for (const struct sequence *s = oldest->next; s != NULL && wanted < kept; s = s->next) {
        wanted += sequence_is_decoding(s) ? 0 : s->token_count - s->computed;
    }
    if (options->continuous_batching && scheduler->waiting.first != NULL &&
        scheduler->running.count < options->max_running_requests) {
        wanted += scheduler->waiting.first->token_count;
    }
    return options->prefill_chunk_size - size_min(kept, wanted);
}

static void plan_running(struct scheduler *scheduler, struct step_budget *budget) {
    uint64_t before = scheduler->last_turn;
    size_t chosen = choose_turns(scheduler);
    budget->logits -= chosen;
    /* One is left for the prompts, so that drafts cannot hold them up. */
    budget->draft_tokens =
        size_min(scheduler->options.decode_chunk_size - chosen, budget->logits - 1);
    for (struct sequence *s = scheduler->running.first; s != NULL; s = s->next) {
        if (!sequence_is_decoding(s)) {
            size_t most = SIZE_MAX;
            if (budget->oldest_prompt == NULL) {
                budget->oldest_prompt = s;
                most = share_of_oldest(scheduler, s);
            }
            plan_prompt(scheduler, s, most, budget);
        } else if (s->turn > before) {
            plan_decode(scheduler, s, budget);
        }
    }
}

static void admit_while_there_is_room(struct scheduler *scheduler, struct step_budget *budget) {
    while (scheduler->waiting.count > 0 && budget->prompt_tokens > 0 &&
           scheduler->running.count < scheduler->options.max_running_requests && admit(scheduler)) {
        struct sequence *admitted = scheduler->running.last;
        if (!sequence_is_decoding(admitted)) { /* else it gets its turn in the next step */
            plan_prompt(scheduler, admitted, SIZE_MAX, budget);
        }
    }
}

static void fill_static_batch(struct scheduler *scheduler) {
    size_t most =
        size_min(scheduler->options.max_running_requests, scheduler->options.max_batch_size);
    while (scheduler->waiting.count > 0 && scheduler->running.count < most && admit(scheduler)) {
    }
}

static void write_rows(struct scheduler *scheduler, bool decoding) {
    struct step_plan *plan = &scheduler->plan;
    for (struct sequence *s = scheduler->running.first; s != NULL; s = s->next) {
        if (s->planned == 0 || sequence_is_decoding(s) != decoding) {
            continue;
        }
        struct step_row row = {s, s->computed, s->planned, logits_wanted(s, s->planned)};
        scheduler->rows[plan->row_count++] = row;
        plan->token_count += row.token_count;
        plan->logits_count += row.logits_count;
    }
}

static void plan_round(struct scheduler *scheduler) {
    const struct scheduler_options *options = &scheduler->options;
    struct step_plan *plan = &scheduler->plan;
    struct step_budget budget = {.prompt_tokens = options->prefill_chunk_size,
                                 .logits = options->max_step_logits};
    if (!options->continuous_batching && scheduler->running.count == 0) {
        fill_static_batch(scheduler);
    }
    plan_running(scheduler, &budget);
    if (options->continuous_batching) {
        admit_while_there_is_room(scheduler, &budget);
    }
    if (budget.oldest_prompt != NULL && budget.oldest_prompt->planned > 0) {
        /* What was kept for others and not taken. */
        plan_prompt(scheduler, budget.oldest_prompt, SIZE_MAX, &budget);
    }
    *plan = (struct step_plan){.rows = scheduler->rows};
    write_rows(scheduler, true);
    plan->decode_row_count = plan->row_count;
    write_rows(scheduler, false);
}

const struct step_plan *scheduler_plan(struct scheduler *scheduler) {
    assert(!scheduler->plan_is_open);
    plan_round(scheduler);
    /* Empty when those whose turn it is are the youngest and find no block, or were just admitted
     * to decode: then it is the next ones' turn. The oldest always finds a block. */
    for (size_t turns = scheduler->running.count; scheduler->plan.row_count == 0 && turns > 0;
         turns--) {
        plan_round(scheduler);
    }
    scheduler->plan_is_open = scheduler->plan.row_count > 0;
    return &scheduler->plan;
}

void scheduler_commit(struct scheduler *scheduler) {
    assert(scheduler->plan_is_open);
    scheduler->plan_is_open = false;
    for (size_t i = 0; i < scheduler->plan.row_count; i++) {
        struct sequence *sequence = scheduler->rows[i].sequence;
        size_t end = sequence->computed + sequence->planned;
        sequence->computed = size_min(end, sequence->token_count);
        sequence->verify_count = end - sequence->computed;
        sequence->logits_from = size_max(sequence->logits_from, sequence->computed);
        sequence->draft_count = sequence->planned = 0;
        publish_full_blocks(scheduler, sequence);
        free_behind_window(scheduler, sequence);
    }
}

/* --- seen from outside --- */

struct sequence *scheduler_oldest(const struct scheduler *scheduler) {
    return scheduler->running.first != NULL ? scheduler->running.first : scheduler->waiting.first;
}

void scheduler_read_stats(const struct scheduler *scheduler, struct scheduler_stats *stats) {
    *stats = (struct scheduler_stats){
        .running = scheduler->running.count,
        .waiting = scheduler->waiting.count,
        .preemptions = scheduler->preemptions,
        .prefix_lookup_tokens = scheduler->prefix_lookup_tokens,
        .prefix_hit_tokens = scheduler->prefix_hit_tokens,
    };
    kv_pool_read_stats(scheduler->pool, &stats->pool);
}

static bool check_sequence(const struct scheduler *scheduler, const struct sequence *sequence,
                           struct error *error) {
    bool running = sequence->state == SEQUENCE_RUNNING;
    bool ok = sequence->computed <= sequence->token_count &&
              sequence->token_count <= sequence->capacity &&
              sequence->block_count * KV_BLOCK_TOKENS >= sequence->computed &&
              sequence->first_block <= sequence->block_count &&
              (running || (sequence->block_count == 0 && sequence->computed == 0));
    for (size_t i = 0; ok && i < sequence->block_count; i++) {
        uint32_t block = sequence->blocks[i];
        ok = i < sequence->first_block ? block == KV_BLOCK_NONE
                                       : block < scheduler->options.block_count &&
                                             kv_pool_references(scheduler->pool, block) > 0;
    }
    return ok || error_set(error, ERROR_FORMAT, "sequence %llu and its block table disagree",
                           (unsigned long long)sequence->arrival);
}

bool scheduler_check(const struct scheduler *scheduler, struct error *error) {
    if (!kv_pool_check(scheduler->pool, error)) {
        return false;
    }
    size_t held = 0, referenced = 0;
    uint64_t arrival = 0;
    const struct sequence_list *lists[] = {&scheduler->running, &scheduler->waiting};
    for (size_t i = 0; i < 2; i++) {
        for (const struct sequence *s = lists[i]->first; s != NULL; s = s->next) {
            if (s->arrival <= arrival) {
                return error_set(error, ERROR_FORMAT, "sequence %llu is out of order",
                                 (unsigned long long)s->arrival);
            }
            arrival = s->arrival;
            held += s->block_count - s->first_block;
            if (!check_sequence(scheduler, s, error)) {
                return false;
            }
        }
    }
    struct kv_pool_stats stats; /* its total falls below the options' when the pool cannot grow */
    kv_pool_read_stats(scheduler->pool, &stats);
    for (uint32_t block = 0; block < stats.total; block++) {
        referenced += kv_pool_references(scheduler->pool, block);
    }
    return held == referenced ||
           error_set(error, ERROR_FORMAT, "sequences hold %zu blocks, the pool counts %zu", held,
                     referenced);
}
