/*
 * sequence.h - one request's tokens and where their keys and values lie.
 *
 * Memory is taken once, at create, for the longest the sequence may become. The engine makes and
 * frees sequences and reads any field; the scheduler alone changes what is marked as its own.
 * Engine thread.
 */
#ifndef MISTRAL_ENGINE_SEQUENCE_H
#define MISTRAL_ENGINE_SEQUENCE_H

#include "base/error.h"
#include "engine/kv_pool.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sequence_state {
    SEQUENCE_NEW,      /* not yet given to a scheduler */
    SEQUENCE_WAITING,  /* holds no blocks; new, or set back to be recomputed */
    SEQUENCE_RUNNING,  /* admitted */
    SEQUENCE_FINISHED, /* finished or cancelled; the scheduler has forgotten it */
};

struct sequence_options {
    size_t capacity;    /* most tokens, prompt and generated together */
    size_t window;      /* tokens attention looks back, its own included; 0: all. Only where every
                           layer has a window; the widest one */
    bool prompt_logits; /* logits of every prompt token are wanted, not of the last alone */
    bool hidden_only;   /* no logits at all; every token is computed, none is taken from the prefix
                           cache */
    void *user;         /* the engine's own */
};

struct sequence {
    void *user;
    size_t capacity, window, prompt_count; /* tokens; fixed */

    int32_t *tokens;    /* [capacity]: prompt, generated, draft */
    size_t token_count; /* prompt and generated */

    /* --- the scheduler's --- */
    enum sequence_state state;
    size_t computed;      /* tokens[0 .. computed) have their keys and values in the cache */
    size_t logits_from;   /* logits are wanted at this position and all after it */
    size_t draft_count;   /* guesses after token_count, to be verified by the next step */
    size_t verify_count;  /* guesses after token_count whose logits the last step has given */
    size_t cached_tokens; /* of the prompt, taken from the prefix cache when first admitted */
    size_t preemptions;   /* times it was set back */
    bool is_uncached;     /* it neither uses the prefix cache nor fills it */

    uint32_t *blocks;        /* [capacity / KV_BLOCK_TOKENS, rounded up]: the block table. Entry i
                                holds positions 16 i … 16 i + 15; KV_BLOCK_NONE: left the window */
    size_t block_count;      /* entries in use */
    size_t first_block;      /* entries before it are KV_BLOCK_NONE */
    size_t published_blocks; /* entries known to the prefix cache, or that were */
    kv_chain chain;          /* of entry published_blocks - 1 */

    uint64_t arrival;      /* order of scheduler_add; older is smaller */
    uint64_t turn;         /* when it was last chosen to decode, or admitted */
    size_t planned;        /* its tokens in the step between plan and commit; else 0 */
    bool was_admitted;     /* at least once */
    struct sequence *next; /* younger, in the scheduler's waiting or running list */
    struct sequence *previous;
};

/* Copies the prompt; at least one token, at most options->capacity. */
bool sequence_create(const int32_t *prompt, size_t prompt_count,
                     const struct sequence_options *options, struct sequence **sequence,
                     struct error *error);
/* New or finished sequences only. NULL allowed. */
void sequence_free(struct sequence *sequence);

static inline size_t sequence_generated(const struct sequence *sequence) {
    return sequence->token_count - sequence->prompt_count;
}

/* Exactly its newest, generated token is still to be computed. */
static inline bool sequence_is_decoding(const struct sequence *sequence) {
    return sequence->token_count > sequence->prompt_count &&
           sequence->computed + 1 == sequence->token_count;
}

/* Guesses at the next tokens, to be verified in the next step in which a decoding sequence takes
 * part. Takes as many as can still be of use (the rest of the capacity less one) and returns how
 * many; none when the sequence is not running and decoding. Replaces earlier guesses. */
size_t sequence_set_draft(struct sequence *sequence, const int32_t *tokens, size_t count);

/*
 * Adds the token sampled from the logits at position token_count - 1, all tokens being computed and
 * room left (token_count < capacity). True when it is what a verified draft guessed: then the row's
 * logits at the new last position are valid too, and the next token is sampled from them. False:
 * the rest of the row's logits mean nothing.
 */
bool sequence_append(struct sequence *sequence, int32_t token);

#endif
