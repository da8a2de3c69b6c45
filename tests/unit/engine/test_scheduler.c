/*
 * test_scheduler.c - the scheduler's rules one by one, on plans small enough to write down.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/scheduler.h"

#include <stdlib.h>
#include <string.h>

static struct scheduler_options default_options(void) {
    return (struct scheduler_options){.max_running_requests = 8,
                                      .max_waiting_requests = 8,
                                      .max_batch_size = 8,
                                      .prefill_chunk_size = 64,
                                      .decode_chunk_size = 8,
                                      .max_step_logits = 64,
                                      .block_count = 64,
                                      .cache_limit_blocks = 64,
                                      .continuous_batching = true};
}

static struct scheduler *make(const struct scheduler_options *options) {
    struct scheduler *scheduler = NULL;
    struct error error = {0};
    if (!scheduler_create(options, &scheduler, &error)) {
        fail_msg("scheduler_create: %s", error.message);
    }
    return scheduler;
}

/* Tokens first, first + 1, … */
static struct sequence *make_sequence(size_t prompt_count, size_t capacity, int32_t first,
                                      size_t window, bool prompt_logits) {
    struct error error = {0};
    struct sequence *sequence = NULL;
    int32_t *prompt = malloc(prompt_count * sizeof *prompt);
    for (size_t i = 0; i < prompt_count; i++) {
        prompt[i] = first + (int32_t)i;
    }
    struct sequence_options options = {
        .capacity = capacity, .window = window, .prompt_logits = prompt_logits};
    if (!sequence_create(prompt, prompt_count, &options, &sequence, &error)) {
        fail_msg("sequence_create: %s", error.message);
    }
    free(prompt);
    return sequence;
}

static struct sequence *add(struct scheduler *scheduler, size_t prompt_count, size_t capacity,
                            int32_t first) {
    struct error error = {0};
    struct sequence *sequence = make_sequence(prompt_count, capacity, first, 0, false);
    if (!scheduler_add(scheduler, sequence, &error)) {
        fail_msg("scheduler_add: %s", error.message);
    }
    return sequence;
}

static void assert_whole(const struct scheduler *scheduler) {
    struct error error = {0};
    if (!scheduler_check(scheduler, &error)) {
        fail_msg("scheduler_check: %s", error.message);
    }
}

/* Plans, commits, and gives each row that has its last token's logits the token 7. The rows stay
 * readable for the caller's checks, the positions in them included. */
static const struct step_plan *step(struct scheduler *scheduler) {
    const struct step_plan *plan = scheduler_plan(scheduler);
    if (plan->row_count > 0) {
        scheduler_commit(scheduler);
    }
    for (size_t i = 0; i < plan->row_count; i++) {
        struct sequence *sequence = plan->rows[i].sequence;
        if (sequence->computed == sequence->token_count) {
            sequence_append(sequence, 7);
        }
    }
    assert_whole(scheduler);
    return plan;
}

static void assert_row(const struct step_plan *plan, size_t index, const struct sequence *sequence,
                       size_t first, size_t count, size_t logits) {
    assert_true(index < plan->row_count);
    const struct step_row *row = &plan->rows[index];
    if (row->sequence != sequence || row->first_position != first || row->token_count != count ||
        row->logits_count != logits) {
        fail_msg("row %zu: sequence %d positions %zu + %zu logits %zu; expected sequence %d "
                 "positions %zu + %zu logits %zu",
                 index, (int)row->sequence->arrival, row->first_position, row->token_count,
                 row->logits_count, (int)sequence->arrival, first, count, logits);
    }
}

static void end(struct scheduler *scheduler, struct sequence **sequences, size_t count) {
    struct scheduler_stats stats;
    for (size_t i = 0; i < count; i++) {
        if (sequences[i]->state != SEQUENCE_FINISHED) {
            scheduler_finish(scheduler, sequences[i]);
        }
        sequence_free(sequences[i]);
    }
    assert_whole(scheduler);
    scheduler_read_stats(scheduler, &stats);
    assert_int_equal(stats.pool.used, 0);
    scheduler_free(scheduler);
}

static void prompts_come_in_chunks_beside_decode_rows(void **state) {
    (void)state;
    struct scheduler_options options = default_options();
    options.prefill_chunk_size = 10;
    struct scheduler *scheduler = make(&options);
    struct sequence *s[3];
    s[0] = add(scheduler, 4, 20, 0);
    s[1] = add(scheduler, 23, 40, 100);
    s[2] = add(scheduler, 5, 20, 200);
    const struct step_plan *plan = step(scheduler);
    assert_int_equal(plan->row_count, 2);
    assert_int_equal(plan->decode_row_count, 0);
    assert_row(plan, 0, s[0], 0, 4, 1);
    assert_row(plan, 1, s[1], 0, 6, 0);
    plan = step(scheduler);
    assert_int_equal(plan->row_count, 3);
    assert_int_equal(plan->decode_row_count, 1);
    assert_row(plan, 0, s[0], 4, 1, 1);
    assert_row(plan, 1, s[1], 6, 8, 0);
    assert_row(plan, 2, s[2], 0, 2, 0);
    plan = step(scheduler);
    assert_int_equal(plan->row_count, 3);
    assert_row(plan, 0, s[0], 5, 1, 1);
    assert_row(plan, 1, s[1], 14, 8, 0);
    assert_row(plan, 2, s[2], 2, 2, 0);
    plan = step(scheduler);
    assert_int_equal(plan->decode_row_count, 1);
    assert_row(plan, 0, s[0], 6, 1, 1);
    assert_row(plan, 1, s[1], 22, 1, 1);
    assert_row(plan, 2, s[2], 4, 1, 1);
    assert_int_equal(plan->token_count, 3);
    assert_int_equal(plan->logits_count, 3);
    end(scheduler, s, 3);
}

static void a_short_prompt_is_read_beside_a_long_one(void **state) {
    (void)state;
    struct scheduler_options options = default_options();
    options.block_count = 128;
    struct scheduler *scheduler = make(&options);
    struct sequence *s[3] = {add(scheduler, 1000, 1001, 0)};
    assert_row(step(scheduler), 0, s[0], 0, 64, 0);
    assert_row(step(scheduler), 0, s[0], 64, 64, 0);
    s[1] = add(scheduler, 10, 11, 2000);
    const struct step_plan *plan = step(scheduler);
    assert_row(plan, 0, s[0], 128, 54, 0);
    assert_row(plan, 1, s[1], 0, 10, 1);
    scheduler_finish(scheduler, s[1]);
    s[2] = add(scheduler, 500, 501, 3000); /* a quarter is the most that is kept */
    plan = step(scheduler);
    assert_row(plan, 0, s[0], 182, 48, 0);
    assert_row(plan, 1, s[2], 0, 16, 0);
    plan = step(scheduler);
    assert_row(plan, 0, s[0], 230, 48, 0);
    assert_row(plan, 1, s[2], 16, 16, 0);
    end(scheduler, s, 3);
}

static void what_is_kept_for_a_prompt_that_does_not_fit_is_not_lost(void **state) {
    (void)state;
    struct scheduler_options options = default_options();
    struct scheduler *scheduler = make(&options);
    struct sequence *s[2] = {add(scheduler, 1000, 1001, 0)};
    assert_row(step(scheduler), 0, s[0], 0, 64, 0);
    s[1] = add(scheduler, 100, 101, 2000);
    const struct step_plan *plan = step(scheduler);
    assert_int_equal(plan->row_count, 1);
    assert_row(plan, 0, s[0], 64, 64, 0);
    end(scheduler, s, 2);
}

static void nothing_to_do_is_an_empty_plan(void **state) {
    (void)state;
    struct scheduler_options options = default_options();
    struct scheduler *scheduler = make(&options);
    assert_int_equal(scheduler_plan(scheduler)->row_count, 0);
    assert_int_equal(scheduler_plan(scheduler)->row_count, 0);
    scheduler_free(scheduler);
    scheduler_free(NULL);
}

static void more_decoding_than_the_batch_take_turns(void **state) {
    (void)state;
    struct scheduler_options options = default_options();
    options.max_batch_size = 2;
    struct scheduler *scheduler = make(&options);
    struct sequence *s[5];
    for (int32_t i = 0; i < 5; i++) {
        s[i] = add(scheduler, 1, 100, i);
    }
    assert_int_equal(step(scheduler)->row_count, 5);
    for (size_t i = 0; i < 25; i++) {
        assert_int_equal(step(scheduler)->row_count, 2);
    }
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(sequence_generated(s[i]), 1 + 50 / 5);
    }
    end(scheduler, s, 5);
}

/* Requests that come and go must not keep the turn from one that stays. */
static void newcomers_do_not_crowd_out_who_waits_for_a_turn(void **state) {
    (void)state;
    struct scheduler_options options = default_options();
    options.max_batch_size = 1;
    options.max_running_requests = 4;
    struct scheduler *scheduler = make(&options);
    struct sequence *old = add(scheduler, 1, 1000, 0), *young[3];
    for (int32_t i = 0; i < 3; i++) {
        young[i] = add(scheduler, 1, 10, i);
    }
    for (size_t i = 0; i < 400; i++) {
        step(scheduler);
        for (size_t j = 0; j < 3; j++) {
            if (sequence_generated(young[j]) == 2) { /* one turn after its prompt */
                scheduler_finish(scheduler, young[j]);
                sequence_free(young[j]);
                young[j] = add(scheduler, 1, 10, 0);
            }
        }
    }
    assert_true(sequence_generated(old) >= 100);
    struct sequence *s[] = {old, young[0], young[1], young[2]};
    end(scheduler, s, 4);
}

static void a_full_queue_is_busy(void **state) {
    (void)state;
    struct scheduler_options options = default_options();
    options.max_running_requests = 2;
    options.max_waiting_requests = 1;
    struct scheduler *scheduler = make(&options);
    struct sequence *s[3];
    for (int32_t i = 0; i < 3; i++) {
        s[i] = add(scheduler, 2, 10, i);
    }
    step(scheduler);
    struct error error = {0};
    struct sequence *refused = make_sequence(2, 10, 0, 0, false);
    assert_false(scheduler_add(scheduler, refused, &error));
    assert_int_equal(error.code, ERROR_BUSY);
    assert_string_equal(error.message, "2 requests run and 1 wait already");
    assert_int_equal(refused->state, SEQUENCE_NEW);
    scheduler_finish(scheduler, s[1]);
    assert_true(scheduler_add(scheduler, refused, &error));
    scheduler_finish(scheduler, refused);
    sequence_free(refused);
    end(scheduler, s, 3);
}

static void what_can_never_fit_is_refused(void **state) {
    (void)state;
    struct scheduler_options options = default_options();
    options.block_count = 4;
    options.prefill_chunk_size = 8;
    struct scheduler *scheduler = make(&options);
    struct error error = {0};
    struct sequence *large = make_sequence(2, 65, 0, 0, false);
    assert_false(scheduler_add(scheduler, large, &error));
    assert_int_equal(error.code, ERROR_CONTEXT_LENGTH);
    assert_string_equal(error.message, "a request of 65 tokens needs 5 KV blocks of 16 tokens; "
                                       "there are 4");
    sequence_free(large);
    large = make_sequence(2, 500, 0, 31 + 16, false);
    assert_false(scheduler_add(scheduler, large, &error));
    sequence_free(large);
    /* A window of 30 and chunks of 8 look on 37 positions, in at most 4 blocks. */
    struct sequence *s[2] = {make_sequence(500, 1000, 0, 30, false), add(scheduler, 64, 64, 0)};
    assert_true(scheduler_add(scheduler, s[0], &error));
    end(scheduler, s, 2);
}

static void a_window_frees_what_it_has_passed(void **state) {
    (void)state;
    struct scheduler_options options = default_options();
    options.block_count = 4;
    options.prefill_chunk_size = 8;
    struct scheduler *scheduler = make(&options);
    struct error error = {0};
    struct sequence *sequence = make_sequence(100, 200, 0, 30, false);
    assert_true(scheduler_add(scheduler, sequence, &error));
    while (sequence->token_count < 200) {
        step(scheduler);
        /* The next position looks back to computed - 29. */
        size_t kept = sequence->computed < 29 ? 0 : (sequence->computed - 29) / 16;
        assert_int_equal(sequence->first_block, kept);
        for (size_t i = 0; i < sequence->block_count; i++) {
            assert_int_equal(sequence->blocks[i] == KV_BLOCK_NONE, i < kept);
        }
    }
    assert_int_equal(sequence->preemptions, 0);
    end(scheduler, &sequence, 1);
}

static void out_of_blocks_sets_back_the_youngest(void **state) {
    (void)state;
    for (int caching = 0; caching < 2; caching++) {
        struct scheduler_options options = default_options();
        options.block_count = 5;
        options.prefix_caching = caching == 1;
        struct scheduler *scheduler = make(&options);
        struct sequence *s[2];
        s[0] = add(scheduler, 8, 80, 0);
        s[1] = add(scheduler, 8, 80, 100);
        /* Both grow; at 2 and 2 blocks the older takes the fifth, then the younger's. */
        size_t alone = 0;
        while (s[0]->token_count < 80) {
            const struct step_plan *plan = step(scheduler);
            alone += plan->row_count == 1;
        }
        assert_int_equal(s[0]->preemptions, 0);
        assert_int_equal(s[1]->preemptions, 1);
        assert_int_equal(s[1]->state, SEQUENCE_WAITING);
        assert_true(sequence_generated(s[1]) > 20 && alone > 20);
        size_t known = s[1]->token_count;
        scheduler_finish(scheduler, s[0]);
        const struct step_plan *plan = step(scheduler);
        /* Recomputed with its own tokens, of which the cache may have whole blocks. */
        assert_int_equal(plan->row_count, 1);
        size_t reused = plan->rows[0].first_position;
        assert_row(plan, 0, s[1], reused, known - reused, 1);
        assert_int_equal(reused % 16, 0);
        assert_true(caching == 1 || reused == 0);
        assert_int_equal(s[1]->cached_tokens, 0); /* none of them came from another request */
        struct scheduler_stats stats;
        scheduler_read_stats(scheduler, &stats);
        assert_int_equal(stats.preemptions, 1);
        end(scheduler, s, 2);
    }
}

static void admission_leaves_room_for_those_that_run(void **state) {
    (void)state;
    struct scheduler_options options = default_options();
    options.block_count = 6;
    options.prefill_chunk_size = 16;
    struct scheduler *scheduler = make(&options);
    struct sequence *s[3];
    s[0] = add(scheduler, 60, 96, 0); /* 4 blocks, 1 of them taken in the first step, 1 to grow */
    s[1] = add(scheduler, 20, 40, 0); /* 2 blocks: too many */
    s[2] = add(scheduler, 1, 16, 0);  /* would fit, but came later */
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(step(scheduler)->row_count, 1);
    }
    scheduler_finish(scheduler, s[1]);
    assert_int_equal(step(scheduler)->row_count, 2);
    end(scheduler, s, 3);
}

/* Found blocks that nobody holds are no longer there to be taken; those that are held cost nothing.
 */
static void what_wants_hidden_states_stays_out_of_the_prefix_cache(void **state) {
    (void)state;
    struct scheduler_options options = default_options();
    options.prefix_caching = true;
    struct scheduler *scheduler = make(&options);
    struct sequence *s[3];
    int32_t prompt[40] = {0};
    struct error error = {0};
    const struct sequence_options hidden = {.capacity = 40, .hidden_only = true};
    assert_true(sequence_create(prompt, 40, &hidden, &s[0], &error));
    assert_true(scheduler_add(scheduler, s[0], &error));
    assert_row(scheduler_plan(scheduler), 0, s[0], 0, 40, 0);
    scheduler_commit(scheduler);
    scheduler_finish(scheduler, s[0]);
    const struct sequence_options plain = {.capacity = 60};
    assert_true(sequence_create(prompt, 40, &plain, &s[1], &error));
    assert_true(scheduler_add(scheduler, s[1], &error));
    assert_row(step(scheduler), 0, s[1], 0, 40, 1); /* the first left nothing behind */
    assert_true(sequence_create(prompt, 40, &hidden, &s[2], &error));
    assert_true(scheduler_add(scheduler, s[2], &error));
    assert_row(scheduler_plan(scheduler), 1, s[2], 0, 40, 0); /* and this one takes nothing */
    scheduler_commit(scheduler);
    sequence_append(s[1], 7);
    end(scheduler, s, 3);
}

static void admission_counts_the_found_prefix_once(void **state) {
    (void)state;
    for (int held = 0; held < 2; held++) {
        struct scheduler_options options = default_options();
        options.block_count = 8;
        options.prefix_caching = true;
        struct scheduler *scheduler = make(&options);
        struct sequence *s[3];
        s[0] = add(scheduler, 64, 80, 0); /* 4 blocks */
        step(scheduler);
        s[1] = add(scheduler, 33, 60, 100); /* 3 blocks */
        step(scheduler);
        if (held == 0) {
            scheduler_finish(scheduler, s[0]);
        }
        /* 3 blocks are found and 2 more needed. Held: none is free. Not held: 5 are available, 5 of
         * them needed, and 1 is for s[1] to grow. */
        s[2] = add(scheduler, 64, 80, 0);
        step(scheduler);
        assert_int_equal(s[2]->state, SEQUENCE_WAITING);
        scheduler_finish(scheduler, s[1]);
        step(scheduler); /* held: 3 are free, 1 of them for s[0] to grow */
        assert_int_equal(s[2]->state, SEQUENCE_RUNNING);
        assert_int_equal(s[2]->cached_tokens, 48);
        end(scheduler, s, 3);
    }
}

static void a_static_batch_is_run_to_its_end(void **state) {
    (void)state;
    struct scheduler_options options = default_options();
    options.continuous_batching = false;
    options.max_batch_size = 2;
    options.prefill_chunk_size = 4;
    struct scheduler *scheduler = make(&options);
    struct sequence *s[4];
    for (int32_t i = 0; i < 4; i++) {
        s[i] = add(scheduler, 6, 40, i);
    }
    for (size_t i = 0; i < 6; i++) {
        step(scheduler);
        assert_int_equal(s[2]->state, SEQUENCE_WAITING);
    }
    assert_true(sequence_generated(s[1]) > 1);
    scheduler_finish(scheduler, s[0]);
    assert_int_equal(step(scheduler)->row_count, 1);
    scheduler_finish(scheduler, s[1]);
    const struct step_plan *plan = step(scheduler);
    assert_row(plan, 0, s[2], 0, 3, 0);
    assert_row(plan, 1, s[3], 0, 1, 0);
    step(scheduler);
    assert_int_equal(s[2]->state, SEQUENCE_RUNNING);
    assert_int_equal(s[3]->state, SEQUENCE_RUNNING);
    end(scheduler, s, 4);
}

static void a_known_prefix_is_not_computed_again(void **state) {
    (void)state;
    struct scheduler_options options = default_options();
    options.prefix_caching = true;
    options.prefill_chunk_size = 200;
    struct scheduler *scheduler = make(&options);
    struct sequence *s[5];
    s[0] = add(scheduler, 100, 120, 0);
    assert_row(step(scheduler), 0, s[0], 0, 100, 1);
    s[1] = add(scheduler, 100, 120, 0); /* the first is still running: its blocks are shared */
    assert_row(step(scheduler), 1, s[1], 96, 4, 1);
    assert_int_equal(s[1]->cached_tokens, 96);
    assert_int_equal(s[0]->blocks[5], s[1]->blocks[5]);
    assert_int_not_equal(s[0]->blocks[6], s[1]->blocks[6]);
    scheduler_finish(scheduler, s[0]);
    scheduler_finish(scheduler, s[1]);
    s[2] = add(scheduler, 96, 120, 0); /* the last token is computed, for its logits */
    assert_row(step(scheduler), 0, s[2], 80, 16, 1);
    /* All its logits are wanted: nothing is reused. */
    struct error error = {0};
    s[3] = make_sequence(40, 60, 0, 0, true);
    assert_true(scheduler_add(scheduler, s[3], &error));
    assert_row(step(scheduler), 1, s[3], 0, 40, 40);
    s[4] = add(scheduler, 50, 60, 1); /* other tokens */
    assert_row(step(scheduler), 2, s[4], 0, 50, 1);
    struct scheduler_stats stats;
    scheduler_read_stats(scheduler, &stats);
    assert_int_equal(stats.prefix_lookup_tokens, 100 + 100 + 96 + 40 + 50);
    assert_int_equal(stats.prefix_hit_tokens, 96 + 80);
    end(scheduler, s, 5);
}

static void the_same_prompt_at_once_is_kept_once(void **state) {
    (void)state;
    struct scheduler_options options = default_options();
    options.prefix_caching = true;
    options.prefill_chunk_size = 200;
    struct scheduler *scheduler = make(&options);
    struct sequence *s[2];
    s[0] = add(scheduler, 64, 80, 0);
    s[1] = add(scheduler, 64, 80, 0);
    assert_int_equal(step(scheduler)->token_count, 128);
    assert_memory_equal(s[0]->blocks, s[1]->blocks, 4 * sizeof *s[0]->blocks);
    struct scheduler_stats stats;
    scheduler_read_stats(scheduler, &stats);
    assert_int_equal(stats.pool.used, 4);
    end(scheduler, s, 2);
}

static void drafts_are_verified_in_one_row(void **state) {
    (void)state;
    static const int32_t guess[4] = {10, 11, 12, 13};
    struct scheduler_options options = default_options();
    struct scheduler *scheduler = make(&options);
    struct sequence *s = add(scheduler, 15, 40, 0);
    assert_int_equal(sequence_set_draft(s, guess, 4), 0); /* does not decode yet */
    step(scheduler);                                      /* 16 tokens, 15 computed */
    assert_int_equal(sequence_set_draft(s, guess, 4), 4);
    assert_row(scheduler_plan(scheduler), 0, s, 15, 5, 5);
    scheduler_commit(scheduler);
    assert_true(sequence_append(s, 10));
    assert_true(sequence_append(s, 11));
    assert_false(sequence_append(s, 99)); /* 12 was guessed */
    assert_int_equal(s->token_count, 19);
    assert_int_equal(s->computed, 18);
    assert_whole(scheduler);
    /* All guessed right: one more token comes from the last guess's logits. */
    assert_int_equal(sequence_set_draft(s, guess, 2), 2);
    assert_row(scheduler_plan(scheduler), 0, s, 18, 3, 3);
    scheduler_commit(scheduler);
    assert_true(sequence_append(s, 10));
    assert_true(sequence_append(s, 11));
    assert_false(sequence_append(s, 12));
    assert_int_equal(s->token_count, 22);
    assert_int_equal(s->computed, 21);
    assert_int_equal(s->tokens[18], 99);
    assert_int_equal(s->tokens[21], 12);
    assert_row(step(scheduler), 0, s, 21, 1, 1);
    end(scheduler, &s, 1);
}

static void drafts_stay_within_every_limit(void **state) {
    (void)state;
    const int32_t guess[50] = {0};
    struct scheduler_options options = default_options();
    options.decode_chunk_size = 6;
    struct scheduler *scheduler = make(&options);
    struct sequence *s[2];
    s[0] = add(scheduler, 4, 12, 0);
    s[1] = add(scheduler, 13, 20, 100);
    step(scheduler);
    assert_int_equal(sequence_set_draft(s[0], guess, 50), 6); /* 5 + 6 + one more = 12 */
    assert_int_equal(sequence_set_draft(s[1], guess, 3), 3);
    const struct step_plan *plan = scheduler_plan(scheduler);
    assert_row(plan, 0, s[0], 4, 5, 5); /* decode_chunk_size is 6, one row is the other's */
    assert_row(plan, 1, s[1], 13, 1, 1);
    scheduler_commit(scheduler);
    assert_false(sequence_append(s[0], 7));
    assert_false(sequence_append(s[1], 7));
    assert_row(step(scheduler), 0, s[0], 5, 1, 1); /* nothing of the draft is left */
    end(scheduler, s, 2);
}

static void drafts_take_free_blocks_only(void **state) {
    (void)state;
    const int32_t guess[6] = {0};
    struct scheduler_options options = default_options();
    options.block_count = 4;
    struct scheduler *scheduler = make(&options);
    struct sequence *s[2];
    s[0] = add(scheduler, 12, 30, 0);
    s[1] = add(scheduler, 31, 40, 100); /* takes 2 blocks, then the last one */
    while (s[0]->token_count < 15) {
        step(scheduler);
    }
    assert_int_equal(s[1]->block_count, 3);
    assert_int_equal(sequence_set_draft(s[0], guess, 6), 6);
    assert_row(scheduler_plan(scheduler), 0, s[0], 14, 2, 2); /* to the end of its block */
    scheduler_commit(scheduler);
    assert_int_equal(s[1]->preemptions, 0);
    assert_false(sequence_append(s[0], 7));
    assert_false(sequence_append(s[1], 7));
    end(scheduler, s, 2);
}

static void drafts_leave_logits_for_prompts(void **state) {
    (void)state;
    const int32_t guess[6] = {0};
    struct scheduler_options options = default_options();
    options.max_running_requests = 2;
    options.max_step_logits = 3;
    struct scheduler *scheduler = make(&options);
    struct sequence *s[2];
    s[0] = add(scheduler, 4, 40, 0);
    step(scheduler);
    s[1] = add(scheduler, 2, 40, 100);
    assert_int_equal(sequence_set_draft(s[0], guess, 6), 6);
    const struct step_plan *plan = scheduler_plan(scheduler);
    assert_row(plan, 0, s[0], 4, 2, 2);
    assert_row(plan, 1, s[1], 0, 2, 1);
    scheduler_commit(scheduler);
    assert_false(sequence_append(s[0], 7));
    assert_false(sequence_append(s[1], 7));
    end(scheduler, s, 2);
}

static void a_block_that_a_draft_filled_is_found_later(void **state) {
    (void)state;
    const int32_t guess[3] = {50, 51, 52};
    struct scheduler_options options = default_options();
    options.prefix_caching = true;
    struct scheduler *scheduler = make(&options);
    struct sequence *s[2];
    s[0] = add(scheduler, 14, 40, 0);
    step(scheduler);
    assert_int_equal(sequence_set_draft(s[0], guess, 3), 3);
    scheduler_plan(scheduler);
    scheduler_commit(scheduler);
    assert_int_equal(s[0]->computed, 15);
    assert_true(sequence_append(s[0], 50)); /* the 16th token, computed */
    assert_false(sequence_append(s[0], 99));
    s[1] = make_sequence(20, 40, 0, 0, false);
    memcpy(s[1]->tokens, s[0]->tokens, 17 * sizeof *s[0]->tokens);
    scheduler_finish(scheduler, s[0]);
    assert_true(scheduler_add(scheduler, s[1], NULL));
    assert_row(step(scheduler), 0, s[1], 16, 4, 1);
    end(scheduler, s, 2);
}

static void logits_stay_within_the_step(void **state) {
    (void)state;
    struct scheduler_options options = default_options();
    options.max_running_requests = options.max_batch_size = 3;
    options.max_step_logits = 6;
    struct scheduler *scheduler = make(&options);
    struct error error = {0};
    struct sequence *s[2];
    s[0] = make_sequence(8, 20, 0, 0, true);
    assert_true(scheduler_add(scheduler, s[0], &error));
    s[1] = add(scheduler, 5, 20, 100);
    const struct step_plan *plan = step(scheduler);
    assert_row(plan, 0, s[0], 0, 6, 6);
    assert_row(plan, 1, s[1], 0, 4, 0); /* its last token would have logits */
    plan = step(scheduler);
    assert_row(plan, 0, s[0], 6, 2, 2);
    assert_row(plan, 1, s[1], 4, 1, 1);
    end(scheduler, s, 2);
}

static void cancelling_returns_blocks_in_every_state(void **state) {
    (void)state;
    struct scheduler_options options = default_options();
    options.max_running_requests = 2;
    options.prefill_chunk_size = 20;
    struct scheduler *scheduler = make(&options);
    struct sequence *s[3];
    s[0] = add(scheduler, 4, 20, 0);  /* decoding */
    s[1] = add(scheduler, 60, 80, 0); /* in its prompt */
    s[2] = add(scheduler, 10, 20, 0); /* waiting */
    step(scheduler);
    assert_true(sequence_is_decoding(s[0]) && s[1]->computed == 16);
    assert_int_equal(s[2]->state, SEQUENCE_WAITING);
    for (size_t i = 3; i-- > 0;) {
        scheduler_finish(scheduler, s[i]);
        assert_int_equal(s[i]->state, SEQUENCE_FINISHED);
        assert_int_equal(s[i]->block_count, 0);
        assert_whole(scheduler);
    }
    end(scheduler, s, 3);
}

static uint32_t no_more_than_three_blocks(void *context, uint32_t wanted) {
    (void)context;
    return wanted <= 3 ? wanted : 3;
}

/* The pool promised 64 blocks and has three: two sequences take turns in them, and the one that
 * needs a fourth is there to be ended. */
static void a_sequence_that_memory_is_too_small_for_can_be_ended(void **state) {
    (void)state;
    struct scheduler_options options = default_options();
    options.grow = no_more_than_three_blocks;
    struct scheduler *scheduler = make(&options);
    struct sequence *sequences[] = {add(scheduler, 30, 100, 0), add(scheduler, 20, 22, 1000)};
    size_t steps = 0;
    while (step(scheduler)->row_count > 0) {
        if (sequences[1]->state == SEQUENCE_RUNNING && sequences[1]->token_count == 22) {
            scheduler_finish(scheduler, sequences[1]);
        }
        assert_true(++steps < 100);
    }
    assert_ptr_equal(scheduler_oldest(scheduler), sequences[0]);
    assert_int_equal(sequences[0]->token_count, 49);
    scheduler_finish(scheduler, sequences[0]);
    while (sequences[1]->state != SEQUENCE_FINISHED) {
        assert_true(step(scheduler)->row_count > 0);
        if (sequences[1]->token_count == 22) {
            scheduler_finish(scheduler, sequences[1]);
        }
    }
    assert_null(scheduler_oldest(scheduler));
    end(scheduler, sequences, 2);
}

static void wrong_options_are_named(void **state) {
    (void)state;
    static const struct {
        size_t offset;
        size_t value;
        const char *message;
    } rows[] = {
        {offsetof(struct scheduler_options, max_running_requests), 0,
         "max_running_requests is 0; it must be at least 1"},
        {offsetof(struct scheduler_options, max_batch_size), 0,
         "max_batch_size is 0; it must be at least 1"},
        {offsetof(struct scheduler_options, prefill_chunk_size), 0,
         "prefill_chunk_size is 0; it must be at least 1"},
        {offsetof(struct scheduler_options, decode_chunk_size), 0,
         "decode_chunk_size is 0; it must be at least 1"},
        {offsetof(struct scheduler_options, max_step_logits), 8,
         "max_step_logits is 8; it must be at least 9"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct scheduler_options options = default_options();
        memcpy((char *)&options + rows[i].offset, &rows[i].value, sizeof rows[i].value);
        struct scheduler *scheduler;
        struct error error = {0};
        assert_false(scheduler_create(&options, &scheduler, &error));
        assert_null(scheduler);
        assert_string_equal(error.message, rows[i].message);
    }
    struct scheduler_options options = default_options();
    struct scheduler *scheduler;
    options.block_count = 0;
    assert_false(scheduler_create(&options, &scheduler, NULL));
    struct sequence *sequence;
    struct sequence_options sequence_options = {.capacity = 2};
    const int32_t prompt[3] = {1, 2, 3};
    assert_false(sequence_create(prompt, 0, &sequence_options, &sequence, NULL));
    assert_false(sequence_create(prompt, 3, &sequence_options, &sequence, NULL));
    sequence_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_come_in_chunks_beside_decode_rows),
        cmocka_unit_test(a_short_prompt_is_read_beside_a_long_one),
        cmocka_unit_test(what_is_kept_for_a_prompt_that_does_not_fit_is_not_lost),
        cmocka_unit_test(nothing_to_do_is_an_empty_plan),
        cmocka_unit_test(more_decoding_than_the_batch_take_turns),
        cmocka_unit_test(newcomers_do_not_crowd_out_who_waits_for_a_turn),
        cmocka_unit_test(a_full_queue_is_busy),
        cmocka_unit_test(what_can_never_fit_is_refused),
        cmocka_unit_test(a_window_frees_what_it_has_passed),
        cmocka_unit_test(out_of_blocks_sets_back_the_youngest),
        cmocka_unit_test(admission_leaves_room_for_those_that_run),
        cmocka_unit_test(admission_counts_the_found_prefix_once),
        cmocka_unit_test(a_static_batch_is_run_to_its_end),
        cmocka_unit_test(a_known_prefix_is_not_computed_again),
        cmocka_unit_test(what_wants_hidden_states_stays_out_of_the_prefix_cache),
        cmocka_unit_test(the_same_prompt_at_once_is_kept_once),
        cmocka_unit_test(drafts_are_verified_in_one_row),
        cmocka_unit_test(drafts_stay_within_every_limit),
        cmocka_unit_test(drafts_take_free_blocks_only),
        cmocka_unit_test(drafts_leave_logits_for_prompts),
        cmocka_unit_test(a_block_that_a_draft_filled_is_found_later),
        cmocka_unit_test(logits_stay_within_the_step),
        cmocka_unit_test(cancelling_returns_blocks_in_every_state),
        cmocka_unit_test(a_sequence_that_memory_is_too_small_for_can_be_ended),
        cmocka_unit_test(wrong_options_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
