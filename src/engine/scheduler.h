/*
 * scheduler.h - which sequences take part in the next step, with which tokens, in which blocks.
 *
 * Pure logic: it knows no model and takes no time of its own. The order of one step:
 *
 *     plan = scheduler_plan(s)        choose rows, allocate their blocks
 *     (run the rows: write keys and values, compute the wanted logits)
 *     scheduler_commit(s)             the rows are computed; full blocks become findable
 *     sequence_append(q, token)       what was sampled from a row's last position
 *     scheduler_finish(s, q)          for each sequence that has ended
 *
 * After a commit, every sequence that is computed to its last token gets another or is finished
 * (one that wants no logits: always the latter).
 *
 * Rules. First come, first served: sequences are admitted in order of arrival and none overtakes.
 * Every step takes the sequences that decode (at most max_batch_size of them; when there are more,
 * they take turns) and then up to prefill_chunk_size tokens of prompts, oldest first; of these a
 * quarter is kept for the prompts behind the oldest, as far as they want it. A sequence
 * that needs a block when there is none sets back the youngest one that runs: its blocks are
 * released and it waits, first in line, to be recomputed; when it is the youngest itself it sits
 * out the step. The oldest is never set back, so every sequence ends.
 *
 * Between plan and commit nothing else may be called. Nothing allocates after create. Engine
 * thread.
 */
#ifndef MISTRAL_ENGINE_SCHEDULER_H
#define MISTRAL_ENGINE_SCHEDULER_H

#include "base/error.h"
#include "engine/kv_pool.h"
#include "engine/sequence.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct scheduler_options {
    size_t max_running_requests; /* most sequences admitted */
    size_t max_waiting_requests; /* most that wait beyond those; then ERROR_BUSY */
    size_t max_batch_size;       /* most sequences decoded in one step */
    size_t prefill_chunk_size;   /* most prompt tokens in one step */
    size_t decode_chunk_size;    /* most decode rows in one step, drafts included */
    size_t max_step_logits;      /* most positions with logits in one step */
    uint32_t block_count;        /* of the KV pool */
    uint32_t cache_limit_blocks; /* unreferenced blocks kept for their content */
    kv_pool_grow grow; /* makes storage for blocks as they are needed; NULL: all have it */
    void *grow_context;
    bool continuous_batching; /* false: admit only when nothing runs, at most max_batch_size */
    bool prefix_caching;
};

/* Consecutive positions of one sequence. Its tokens are sequence->tokens[first_position …], drafts
 * included; its blocks are sequence->blocks, all present for these positions and the window before.
 */
struct step_row {
    struct sequence *sequence;
    size_t first_position;
    size_t token_count;
    size_t logits_count; /* logits are wanted of the last so many positions; 0: none */
};

struct step_plan {
    const struct step_row *rows; /* decode rows first, then prompts, each oldest first */
    size_t row_count; /* 0: nothing to do: no sequence waits or runs, unless the pool could
                       * not grow and has become too small for the oldest */
    size_t decode_row_count;
    size_t token_count;  /* of all rows; ≤ prefill_chunk_size + decode_chunk_size */
    size_t logits_count; /* of all rows; ≤ max_step_logits */
};

struct scheduler;

bool scheduler_create(const struct scheduler_options *options, struct scheduler **scheduler,
                      struct error *error);
/* The sequences still in it must be cancelled first. NULL allowed. */
void scheduler_free(struct scheduler *scheduler);

/* Queues a new sequence, which the caller goes on owning and frees once finished. ERROR_BUSY: the
 * queue is full. ERROR_CONTEXT_LENGTH: its capacity could not fit the whole pool. */
bool scheduler_add(struct scheduler *scheduler, struct sequence *sequence, struct error *error);

/* Valid until the next plan. A commit must follow when it has rows. */
const struct step_plan *scheduler_plan(struct scheduler *scheduler);
void scheduler_commit(struct scheduler *scheduler);

/* Ends a waiting or running sequence, for whatever reason; its blocks return. */
void scheduler_finish(struct scheduler *scheduler, struct sequence *sequence);

/* The oldest that runs, or else waits; NULL: there is none. */
struct sequence *scheduler_oldest(const struct scheduler *scheduler);

struct scheduler_stats {
    size_t running, waiting;
    uint64_t preemptions;
    uint64_t prefix_lookup_tokens, prefix_hit_tokens; /* of prompts when first admitted */
    struct kv_pool_stats pool;
};
void scheduler_read_stats(const struct scheduler *scheduler, struct scheduler_stats *stats);

/* The pool, and every sequence's hold on it, are whole. For tests. */
bool scheduler_check(const struct scheduler *scheduler, struct error *error);

#endif
