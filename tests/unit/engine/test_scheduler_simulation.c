/*
 * test_scheduler_simulation.c - whole workloads over the scheduler with a model one can see
 * through.
 *
 * The model's "key and value" of a position is one number that depends on all tokens up to it; it
 * is computed from the number of the position before, as read through the sequence's own block
 * table. A block that is shared wrongly, freed too early, overwritten or not computed shows at
 * once: what a sequence reads is compared with its own history, what it samples with the same
 * request run alone. Every step is also held against the limits, and the pool must be whole after
 * each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/random.h"
#include "engine/scheduler.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_TOKENS = 128, MOST_REQUESTS = 64, MOST_POOL_BLOCKS = 64, END_TOKEN = 0 };

struct request {
    int32_t tokens[MOST_TOKENS]; /* the prompt, then what follows when run alone, past any end */
    size_t prompt_count, capacity;
    size_t stop_at; /* token_count with which it ends */
    bool prompt_logits;
    struct sequence *sequence; /* NULL: not submitted, refused, or over */
    size_t delivered;          /* positions whose logits have come, or are not wanted */
    size_t idle_steps;         /* since a row of it was planned, while it was the oldest */
    bool was_running;
};

struct totals {
    uint64_t requests, finished, cancelled, busy, refused, preemptions, hit_tokens;
    uint64_t accepted_drafts, rejected_drafts, window_blocks, prompt_logits, turns_waited;
};

struct simulation {
    struct scheduler_options options;
    size_t window;
    unsigned cancel_percent, draft_percent;
    bool long_answers; /* short prompts, no end token: what makes a small pool run out */
    struct scheduler *scheduler;
    struct random_state random;
    uint64_t cells[MOST_POOL_BLOCKS][KV_BLOCK_TOKENS];
    struct request requests[MOST_REQUESTS];
    size_t request_count;
    uint64_t last_admitted;                      /* arrival */
    int32_t samples[MOST_REQUESTS][MOST_TOKENS]; /* by row of the step, by position */
    struct totals *totals;
};

static size_t below(struct simulation *simulation, size_t limit) {
    return (size_t)(random_next(&simulation->random) % limit);
}

/* --- the model --- */

static uint64_t next_cell(uint64_t before, int32_t token) {
    uint64_t x = (before ^ ((uint64_t)token + 1) * 0x9e3779b97f4a7c15ULL) * 0xbf58476d1ce4e5b9ULL;
    return x ^ x >> 29;
}

static int32_t sample(uint64_t cell) {
    return (int32_t)((cell >> 20) % 24);
}

static void run_alone(struct request *request, bool end_token_ends) {
    uint64_t cell = 0;
    for (size_t i = 0; i < MOST_TOKENS; i++) {
        if (i >= request->prompt_count) {
            request->tokens[i] = sample(cell);
        }
        cell = next_cell(cell, request->tokens[i]);
    }
    request->stop_at = request->prompt_count;
    while (request->stop_at < request->capacity &&
           (request->stop_at == request->prompt_count || !end_token_ends ||
            request->tokens[request->stop_at - 1] != END_TOKEN)) {
        request->stop_at++;
    }
}

static uint64_t *cell_of(struct simulation *simulation, const struct sequence *sequence,
                         size_t position) {
    size_t entry = position / KV_BLOCK_TOKENS;
    assert_true(entry < sequence->block_count);
    uint32_t block = sequence->blocks[entry];
    if (block >= simulation->options.block_count) {
        fail_msg("position %zu of sequence %d has no block", position, (int)sequence->arrival);
    }
    return &simulation->cells[block][position % KV_BLOCK_TOKENS];
}

/* All positions that attention at `position` looks back on hold this sequence's own history. */
static void check_history(struct simulation *simulation, const struct sequence *sequence,
                          size_t position) {
    size_t first = simulation->window == 0 || position < simulation->window
                       ? 0
                       : position - simulation->window + 1;
    uint64_t cell = 0;
    for (size_t i = 0; i <= position; i++) {
        cell = next_cell(cell, sequence->tokens[i]);
        if (i >= first && *cell_of(simulation, sequence, i) != cell) {
            fail_msg("sequence %d reads foreign content at position %zu of %zu",
                     (int)sequence->arrival, i, position);
        }
    }
}

static void check_nobody_else_holds(struct simulation *simulation, const struct sequence *sequence,
                                    uint32_t block) {
    for (size_t i = 0; i < simulation->request_count; i++) {
        const struct sequence *other = simulation->requests[i].sequence;
        for (size_t j = 0; other != NULL && other != sequence && j < other->block_count; j++) {
            if (other->blocks[j] == block) {
                fail_msg("sequence %d writes to block %u, which sequence %d holds",
                         (int)sequence->arrival, block, (int)other->arrival);
            }
        }
    }
}

static void run_row(struct simulation *simulation, const struct step_row *row, int32_t *samples) {
    const struct sequence *sequence = row->sequence;
    /* Published content is never written again. */
    assert_true(row->first_position >= sequence->published_blocks * KV_BLOCK_TOKENS);
    for (size_t i = 0; i < row->token_count; i++) {
        size_t position = row->first_position + i;
        /* With a window of 1 the position before may be gone: its number is then taken as given. */
        uint64_t before = 0;
        if (position > 0 && simulation->window != 1) {
            before = *cell_of(simulation, sequence, position - 1);
        } else {
            for (size_t j = 0; j < position; j++) {
                before = next_cell(before, sequence->tokens[j]);
            }
        }
        uint64_t cell = next_cell(before, sequence->tokens[position]);
        *cell_of(simulation, sequence, position) = cell;
        samples[position] = row->token_count - i <= row->logits_count ? sample(cell) : -1;
        if (i == 0 || position % KV_BLOCK_TOKENS == 0) {
            check_nobody_else_holds(simulation, sequence,
                                    sequence->blocks[position / KV_BLOCK_TOKENS]);
        }
        if (i == 0 || i + 1 == row->token_count) {
            check_history(simulation, sequence, position);
        }
    }
}

/* --- one step --- */

static void check_plan(struct simulation *simulation, const struct step_plan *plan) {
    const struct scheduler_options *options = &simulation->options;
    size_t decode_tokens = 0, prompt_tokens = 0, logits = 0;
    for (size_t i = 0; i < plan->row_count; i++) {
        const struct step_row *row = &plan->rows[i];
        bool decoding = sequence_is_decoding(row->sequence);
        assert_int_equal(decoding, i < plan->decode_row_count);
        assert_true(row->token_count > 0);
        assert_true(row->sequence->state == SEQUENCE_RUNNING);
        assert_true(row->first_position == row->sequence->computed);
        if (i > 0 && i != plan->decode_row_count) {
            assert_true(row->sequence->arrival > plan->rows[i - 1].sequence->arrival);
        }
        *(decoding ? &decode_tokens : &prompt_tokens) += row->token_count;
        logits += row->logits_count;
    }
    assert_true(plan->decode_row_count <= options->max_batch_size);
    assert_true(decode_tokens <= options->decode_chunk_size);
    assert_true(prompt_tokens <= options->prefill_chunk_size);
    assert_true(logits <= options->max_step_logits);
    assert_int_equal(plan->logits_count, logits);
    assert_int_equal(plan->token_count, decode_tokens + prompt_tokens);
}

static void finish(struct simulation *simulation, struct request *request) {
    simulation->totals->preemptions += request->sequence->preemptions;
    simulation->totals->window_blocks += request->sequence->first_block;
    scheduler_finish(simulation->scheduler, request->sequence);
    sequence_free(request->sequence);
    request->sequence = NULL;
}

static void maybe_draft(struct simulation *simulation, struct request *request) {
    struct sequence *sequence = request->sequence;
    if (below(simulation, 100) >= simulation->draft_percent) {
        return;
    }
    int32_t guesses[8];
    size_t count = 1 + below(simulation, 8);
    for (size_t i = 0; i < count; i++) {
        size_t position = size_min(sequence->token_count + i, MOST_TOKENS - 1);
        guesses[i] = below(simulation, 4) == 0 ? 23 : request->tokens[position];
    }
    size_t taken = sequence_set_draft(sequence, guesses, count);
    assert_true(taken <= count && sequence->token_count + taken < request->capacity);
}

/* What the engine does with a row's logits: samples from them as far as they are valid. */
static void use_logits(struct simulation *simulation, struct request *request, size_t end,
                       size_t logits_count, const int32_t *samples) {
    struct sequence *sequence = request->sequence;
    size_t known = sequence->token_count;
    if (logits_count == 0) {
        assert_true(end <= request->delivered && end < known);
        return;
    }
    assert_int_equal(end - logits_count, request->delivered);
    simulation->totals->prompt_logits += logits_count > 1 && end <= request->prompt_count;
    if (end < known) {
        request->delivered = end;
        return;
    }
    bool more = true;
    size_t appended = 0;
    while (sequence->token_count < request->stop_at && more) {
        size_t position = sequence->token_count - 1;
        int32_t token = samples[position];
        if (token != request->tokens[position + 1]) {
            fail_msg("sequence %d: token %zu is %d; run alone it is %d", (int)sequence->arrival,
                     position + 1, token, request->tokens[position + 1]);
        }
        more = sequence_append(sequence, token);
        appended++;
        assert_true(appended <= end - known + 1);
    }
    simulation->totals->accepted_drafts += appended > 1 ? appended - 1 : 0;
    simulation->totals->rejected_drafts += !more && appended <= end - known;
    request->delivered = sequence->token_count - 1;
    if (sequence->token_count == request->stop_at) {
        assert_memory_equal(sequence->tokens, request->tokens,
                            sequence->token_count * sizeof *sequence->tokens);
        simulation->totals->finished++;
        finish(simulation, request);
    } else {
        maybe_draft(simulation, request);
    }
}

static struct request *request_of(struct simulation *simulation, const struct sequence *sequence) {
    for (size_t i = 0; i < simulation->request_count; i++) {
        if (simulation->requests[i].sequence == sequence) {
            return &simulation->requests[i];
        }
    }
    fail_msg("a row of an unknown sequence");
    return NULL;
}

static void assert_whole(const struct simulation *simulation) {
    struct error error = {0};
    if (!scheduler_check(simulation->scheduler, &error)) {
        fail_msg("scheduler_check: %s", error.message);
    }
}

/* First admissions come in order of arrival; a static batch admits only when nothing runs; the
 * oldest gets a row at least as often as its turn comes. */
static void check_fairness(struct simulation *simulation, const struct step_plan *plan,
                           size_t running_before) {
    struct request *oldest = NULL;
    for (size_t i = 0; i < simulation->request_count; i++) {
        struct request *request = &simulation->requests[i];
        if (request->sequence == NULL || request->sequence->state != SEQUENCE_RUNNING) {
            continue;
        }
        if (oldest == NULL || request->sequence->arrival < oldest->sequence->arrival) {
            oldest = request;
        }
        if (!request->was_running) {
            request->was_running = true;
            assert_true(simulation->options.continuous_batching || running_before == 0);
            assert_true(request->sequence->arrival > simulation->last_admitted);
            simulation->last_admitted = request->sequence->arrival;
        }
    }
    if (oldest == NULL) {
        return;
    }
    oldest->idle_steps++;
    for (size_t i = 0; i < plan->row_count; i++) {
        if (plan->rows[i].sequence == oldest->sequence) {
            oldest->idle_steps = 0;
        }
    }
    simulation->totals->turns_waited += oldest->idle_steps > 0;
    assert_true(oldest->idle_steps <= simulation->options.max_running_requests);
}

/* False when nothing was to do. */
static bool step(struct simulation *simulation) {
    struct scheduler_stats before, stats;
    scheduler_read_stats(simulation->scheduler, &before);
    const struct step_plan *plan = scheduler_plan(simulation->scheduler);
    assert_whole(simulation);
    scheduler_read_stats(simulation->scheduler, &stats);
    assert_true(stats.running <= simulation->options.max_running_requests);
    assert_int_equal(plan->row_count == 0, before.running + before.waiting == 0);
    check_plan(simulation, plan);
    check_fairness(simulation, plan, before.running);
    if (plan->row_count == 0) {
        return false;
    }
    struct step_row rows[MOST_REQUESTS];
    size_t row_count = plan->row_count;
    memcpy(rows, plan->rows, row_count * sizeof *rows);
    for (size_t i = 0; i < row_count; i++) {
        run_row(simulation, &rows[i], simulation->samples[i]);
    }
    scheduler_commit(simulation->scheduler);
    assert_whole(simulation);
    for (size_t i = 0; i < row_count; i++) {
        struct request *request = request_of(simulation, rows[i].sequence);
        use_logits(simulation, request, rows[i].first_position + rows[i].token_count,
                   rows[i].logits_count, simulation->samples[i]);
    }
    return true;
}

/* --- workloads --- */

static void submit(struct simulation *simulation, struct request *request) {
    struct error error = {0};
    struct scheduler_stats stats;
    struct sequence_options options = {.capacity = request->capacity,
                                       .window = simulation->window,
                                       .prompt_logits = request->prompt_logits};
    assert_true(sequence_create(request->tokens, request->prompt_count, &options,
                                &request->sequence, &error));
    run_alone(request, !simulation->long_answers);
    request->delivered = request->prompt_logits ? 0 : request->prompt_count - 1;
    simulation->totals->requests++;
    scheduler_read_stats(simulation->scheduler, &stats);
    bool full = stats.running + stats.waiting >=
                simulation->options.max_running_requests + simulation->options.max_waiting_requests;
    bool large =
        size_divide_up(request->capacity, KV_BLOCK_TOKENS) > simulation->options.block_count;
    if (scheduler_add(simulation->scheduler, request->sequence, &error)) {
        assert_true(!full && (!large || simulation->window > 0));
        return;
    }
    /* With a window, what is large may fit nevertheless; the rest is for the steps to show. */
    assert_true(error.code == ERROR_CONTEXT_LENGTH ? large : full && error.code == ERROR_BUSY);
    large = error.code == ERROR_CONTEXT_LENGTH;
    simulation->totals->busy += !large;
    simulation->totals->refused += large;
    sequence_free(request->sequence);
    request->sequence = NULL;
}

static void begin(struct simulation *simulation) {
    struct error error = {0};
    if (!scheduler_create(&simulation->options, &simulation->scheduler, &error)) {
        fail_msg("scheduler_create: %s", error.message);
    }
    memset(simulation->cells, 0xee, sizeof simulation->cells);
}

static void end(struct simulation *simulation) {
    struct scheduler_stats stats;
    assert_false(step(simulation));
    scheduler_read_stats(simulation->scheduler, &stats);
    assert_int_equal(stats.running + stats.waiting, 0);
    assert_int_equal(stats.pool.used, 0);
    assert_true(stats.pool.cached <= simulation->options.cache_limit_blocks);
    assert_true(simulation->options.prefix_caching || stats.pool.cached == 0);
    assert_true(stats.prefix_hit_tokens <= stats.prefix_lookup_tokens);
    simulation->totals->hit_tokens += stats.prefix_hit_tokens;
    scheduler_free(simulation->scheduler);
}

/* Few texts, cut and continued differently, so that beginnings are shared. */
static void random_request(struct simulation *simulation, struct request *request) {
    struct random_state text;
    random_seed(&text, below(simulation, 3));
    size_t longest = simulation->long_answers ? 10 : 70;
    request->prompt_count = 1 + below(simulation, longest);
    request->capacity = request->prompt_count + below(simulation, MOST_TOKENS - 10 - longest);
    request->prompt_logits = below(simulation, 8) == 0;
    size_t own = below(simulation, 2) == 0 ? request->prompt_count : below(simulation, 70);
    for (size_t i = 0; i < request->prompt_count; i++) {
        uint64_t word = i < own ? random_next(&text) : random_next(&simulation->random);
        request->tokens[i] = (int32_t)(word % 24);
    }
}

static void random_options(struct simulation *simulation) {
    struct scheduler_options *options = &simulation->options;
    options->block_count = 8 + (uint32_t)below(simulation, MOST_POOL_BLOCKS - 8);
    if (below(simulation, 2) == 0) {
        options->block_count = 5 + (uint32_t)below(simulation, 6); /* tight */
    }
    options->cache_limit_blocks = (uint32_t)below(simulation, options->block_count + 1);
    options->max_running_requests = 1 + below(simulation, 10);
    options->max_waiting_requests = below(simulation, 60);
    options->max_batch_size = 1 + below(simulation, 8);
    options->prefill_chunk_size = 1 + below(simulation, 80);
    options->decode_chunk_size = 1 + below(simulation, 20);
    options->max_step_logits = 11 + below(simulation, 40);
    options->continuous_batching = below(simulation, 4) != 0;
    options->prefix_caching = below(simulation, 4) != 0;
    simulation->window = below(simulation, 3) == 0 ? 1 + below(simulation, 50) : 0;
    simulation->cancel_percent = (unsigned)below(simulation, 2);
    simulation->long_answers = below(simulation, 2) == 0;
    simulation->draft_percent = (unsigned)below(simulation, 3) * 45;
}

static void run_workload(uint64_t seed, struct totals *totals) {
    struct simulation *simulation = calloc(1, sizeof *simulation);
    assert_non_null(simulation);
    simulation->totals = totals;
    random_seed(&simulation->random, seed);
    random_options(simulation);
    begin(simulation);
    size_t steps = 0;
    bool busy = true;
    while (busy || simulation->request_count < MOST_REQUESTS) {
        while (simulation->request_count < MOST_REQUESTS && below(simulation, 3) == 0) {
            struct request *request = &simulation->requests[simulation->request_count];
            random_request(simulation, request);
            submit(simulation, request);
            simulation->request_count++;
        }
        for (size_t i = 0; i < simulation->request_count; i++) {
            if (simulation->requests[i].sequence != NULL &&
                below(simulation, 100) < simulation->cancel_percent) {
                totals->cancelled++;
                finish(simulation, &simulation->requests[i]);
            }
        }
        busy = step(simulation);
        /* All tokens one by one, each recomputed in full thrice, would take fewer steps. */
        if (++steps > MOST_REQUESTS * MOST_TOKENS * 4) {
            fail_msg("workload %d does not come to its end", (int)seed);
        }
    }
    end(simulation);
    free(simulation);
}

static void random_workloads_run_as_if_alone(void **state) {
    (void)state;
    struct totals totals = {0};
    for (uint64_t seed = 1; seed <= 400; seed++) {
        run_workload(seed, &totals);
    }
    /* The simulation has met what it is there for. */
    assert_int_equal(totals.requests, 400 * MOST_REQUESTS);
    assert_int_equal(totals.requests,
                     totals.finished + totals.cancelled + totals.busy + totals.refused);
    assert_true(totals.finished > 6000 && totals.cancelled > 500 && totals.busy > 500);
    assert_true(totals.preemptions > 500 && totals.hit_tokens > 10000 && totals.refused > 100);
    assert_true(totals.accepted_drafts > 5000 && totals.rejected_drafts > 2000);
    assert_true(totals.window_blocks > 1000 && totals.prompt_logits > 500);
    assert_true(totals.turns_waited > 500);
}

/* Two requests of all lengths around a block's edge, in the smallest pools and all chunk sizes. */
static void small_workloads_run_as_if_alone(void **state) {
    (void)state;
    static const size_t lengths[] = {1, 2, 15, 16, 17, 31, 32, 33};
    static const size_t chunks[] = {1, 2, 15, 16, 17, 64};
    struct totals totals = {0};
    struct simulation *simulation = malloc(sizeof *simulation);
    assert_non_null(simulation);
    for (size_t c = 0; c < 8 * 8 * 6 * 2 * 3 * 2; c++) {
        *simulation = (struct simulation){.totals = &totals, .draft_percent = 50};
        random_seed(&simulation->random, c);
        size_t digits = c;
        size_t first = lengths[digits % 8], second = lengths[digits / 8 % 8];
        digits /= 64;
        simulation->options = (struct scheduler_options){.max_running_requests = 2,
                                                         .max_waiting_requests = 2,
                                                         .max_batch_size = 1 + digits / 6 % 2,
                                                         .prefill_chunk_size = chunks[digits % 6],
                                                         .decode_chunk_size = 4,
                                                         .max_step_logits = 4,
                                                         .continuous_batching = true,
                                                         .prefix_caching = digits / 36 % 2 == 1};
        simulation->options.block_count = 4 + (uint32_t)(digits / 12 % 3);
        simulation->options.cache_limit_blocks = simulation->options.block_count;
        begin(simulation);
        simulation->request_count = 2;
        for (size_t i = 0; i < 2; i++) {
            struct request *request = &simulation->requests[i];
            request->prompt_count = i == 0 ? first : second;
            request->capacity = request->prompt_count + 20;
            memset(request->tokens, 0, sizeof request->tokens);
            submit(simulation, request);
        }
        while (step(simulation)) {
        }
        end(simulation);
    }
    free(simulation);
    assert_int_equal(totals.finished, totals.requests);
    assert_true(totals.preemptions > 100 && totals.hit_tokens > 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_workloads_run_as_if_alone),
        cmocka_unit_test(small_workloads_run_as_if_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
