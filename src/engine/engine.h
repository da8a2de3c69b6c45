/*
 * engine.h - the engine thread: one model, requests in, events out.
 *
 * One thread owns the model, the KV pool and every sequence. Other threads talk to it by submit and
 * cancel only, and hear from it through the mailbox they gave with the request. A request's events
 * are: any number of ENGINE_TOKENS, then exactly one ENGINE_DONE or ENGINE_FAILED.
 *
 * When the model's file is cut short, overwritten or cannot be read any more, no token that came of
 * it is told: all requests fail with ERROR_IO, the file and the reason, and so does each that comes
 * later. Such an engine can only be freed (engine_is_lost).
 */
#ifndef MISTRAL_ENGINE_ENGINE_H
#define MISTRAL_ENGINE_ENGINE_H

#include "backend/kv_layout.h"
#include "base/error.h"
#include "base/mailbox.h"
#include "base/string_view.h"
#include "engine/sampler.h"
#include "grammar/grammar.h"
#include "text/tokenizer/tokenizer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct engine;
struct metrics;
struct memory_plan; /* engine/memory_plan.h */

/* Filled from the configuration by cli/ and server/; engine/ itself never reads it. */
struct engine_options {
    const char *source_path;     /* what info.path says: where a converted file came from; NULL: the
                                    file's own path */
    size_t thread_count;         /* 0: one a physical core */
    size_t max_sequence_length;  /* tokens; 0: the model's own context; clamped to it */
    size_t max_total_tokens;     /* of the KV pool */
    bool shrink_kv;              /* max_total_tokens may become what fits into memory */
    double memory_fraction;      /* of the machine's memory, or the container's, that may be used */
    uint64_t heap_bytes;         /* most of it in bytes; 0: no such bound */
    uint64_t other_models_bytes; /* of it, that models take which are loaded already */
    bool memory_pooling;         /* the KV pool is reserved at start; false: grown as needed */
    size_t memory_pool_bytes;    /* most of it, when it is reserved at start */
    enum kv_element kv_element;  /* what keys and values are kept as */
    bool mapped_weights;         /* read the file's form at each step; keep no packed one */
    bool plain_attention;        /* the plain form instead of the tiled one */
    size_t max_batch_size;       /* most sequences decoded in one step */
    size_t max_running_requests; /* most admitted; the rest wait */
    size_t max_waiting_requests; /* most that wait; beyond: ERROR_BUSY */
    size_t prefill_chunk_size;   /* most prompt tokens in one step */
    size_t decode_chunk_size;    /* most decode rows in one step */
    bool continuous_batching;    /* false: a batch is filled, run to its end, then refilled */
    bool prefix_caching;         /* reuse the KV blocks of prompts seen before */
    size_t prefix_cache_bytes;   /* of KV blocks that no request uses, kept for their content */
    size_t draft_tokens;     /* most tokens guessed from the text itself and verified together with
                              * a decode step (prompt lookup); 0: off. Changes speed only */
    const char *kernels;     /* a set that cpu_kernels_offered names; NULL, "auto": the best.
                              * Borrowed until engine_create returns */
    struct metrics *metrics; /* what its steps are counted in; must outlive it; NULL: nowhere */
    const char *metrics_model; /* the label "model" there; NULL: the model's own name */
};

/* Rows of logits in one step, at least: bounds the memory they take, and the steps of a request
 * that wants the logits of its whole prompt. */
enum { ENGINE_MAX_STEP_LOGITS = 64 };

struct engine_options engine_options_default(void);

/* Completes what is left open (threads) and refuses what cannot be; engine_create does it too. */
bool engine_options_complete(struct engine_options *options, struct error *error);

/* Maps the GGUF at `path`, builds tokenizer and weights, starts the thread. Blocks while loading;
 * `progress` (may be NULL) is called on this thread with 0 … 1. */
bool engine_create(const char *path, const struct engine_options *options,
                   void (*progress)(void *context, double fraction), void *progress_context,
                   struct engine **engine, struct error *error);

/* Cancels what runs, joins the thread, releases everything. All mailboxes given must outlive this.
 */
void engine_free(struct engine *engine); /* NULL allowed */

struct engine_info {
    const char *path;
    const char *architecture;  /* "llama" */
    const char *name;          /* general.name, or the file's name */
    const char *format;        /* dominant tensor format: "Q4_1" */
    const char *chat_template; /* Jinja source, NUL-terminated; NULL when the file has none */
    const char *kernels;       /* "portable", "avx2", … */
    uint64_t parameter_count;
    uint64_t file_bytes;
    uint64_t planned_bytes; /* of memory, for this model alone: engine/memory_plan.h */
    size_t context_length;  /* most tokens of one request here */
    size_t vocabulary_size;
    size_t embedding_length;
    size_t layer_count;
    size_t thread_count;
    size_t max_running_requests;
    double load_seconds;
};

/* Constant after create; any thread. */
const struct engine_info *engine_info(const struct engine *engine);
const struct memory_plan *engine_memory_plan(const struct engine *engine);

/* Any thread. Whether the model's file was found to have changed, and (NULL allowed) how. An engine
 * looks when it reads the file: in steps, and when a request comes. */
bool engine_is_lost(const struct engine *engine, struct error *reason);
const struct tokenizer *engine_tokenizer(const struct engine *engine);

struct engine_request {
    const int32_t *prompt; /* [prompt_count], at least one token; copied by submit */
    size_t prompt_count;
    size_t max_tokens;               /* most to generate; 0: until the context is full */
    struct sampling_params sampling; /* logit_bias is copied by submit */
    const struct string_view *stops; /* [stop_count]; copied by submit */
    size_t stop_count;
    struct grammar *grammar; /* what the answer may look like, or NULL: anything; submit takes a
                              * reference of its own. The answer is then a text of the grammar
                              * (FINISH_STOP) or the beginning of one (FINISH_LENGTH, or a stop
                              * string); where the grammar allows an end, end-of-answer tokens end
                              * it whatever ignore_end says, and where nothing else can follow it
                              * ends by itself. Tokens do not depend on drafts or preemption */
    bool ignore_end;         /* do not stop at end-of-answer tokens */
    bool show_special;       /* control tokens appear in the text */
    bool mark_special;   /* they appear between U+FDD0 and U+FDD1: see text/chat/answer_parser.h */
    bool want_logprobs;  /* fill token_logprob and top */
    size_t top_logprobs; /* 0 … 20 alternatives with each token */
    bool embed;          /* ENGINE_DONE brings the prompt's embedding; nothing is generated, and
                          * what else is said of generating is ignored */
    bool echo_logprobs;  /* also events for the prompt's own tokens (perplexity, echo) */
    struct mailbox *replies; /* receives struct engine_event; the receiver frees each */
    void *user;              /* handed back in each event */
};

enum engine_event_kind { ENGINE_TOKENS, ENGINE_DONE, ENGINE_FAILED };
enum finish_reason { FINISH_STOP, FINISH_LENGTH, FINISH_CANCELLED };

enum { ENGINE_MAX_TOP_LOGPROBS = 20 };
#define ENGINE_NO_STOP SIZE_MAX

struct engine_usage {
    size_t prompt_tokens;
    size_t cached_tokens; /* of the prompt, taken from the prefix cache */
    size_t generated_tokens;
    double queue_seconds;   /* submit to first step */
    double prefill_seconds; /* first step to first token */
    double decode_seconds;  /* first token to last */
};

struct engine_event {
    struct mailbox_message message; /* first */
    enum engine_event_kind kind;
    uint64_t request_id;
    void *user;
    /* ENGINE_TOKENS: one token. Its text may be empty (held back), or hold more than its own bytes.
     */
    int32_t token;
    bool is_prompt; /* an echo_logprobs event for a prompt token */
    float logprob;  /* natural log; NAN when not asked for, or for the first prompt token */
    size_t top_count;
    struct token_logprob top[ENGINE_MAX_TOP_LOGPROBS];
    char *text; /* UTF-8, NUL-terminated, of the event's own; NULL when empty */
    size_t text_length;
    /* ENGINE_DONE: text may carry the last held-back piece. */
    enum finish_reason finish_reason;
    size_t stop_match; /* FINISH_STOP by a stop string: which one, not counting empty ones; else
                        * ENGINE_NO_STOP */
    struct engine_usage usage;
    /* ENGINE_DONE of an `embed` request that was not cancelled: the mean of its tokens' last hidden
     * states, scaled to length 1. Freed with the event. */
    float *embedding; /* [embedding_length] of engine_info; else NULL */
    /* ENGINE_FAILED */
    struct error error;
};

/* Gives the event back to its request, which uses it again. NULL allowed; any thread, also after
 * engine_free. */
void engine_event_free(struct engine_event *event);

/* Any thread. Copies what it needs. *request_id names the request for cancel; never 0. Refusals
 * come here, synchronously: ERROR_CONTEXT_LENGTH (prompt + 1 > context; to embed: prompt >
 * context), ERROR_BUSY (queue full), ERROR_INVALID_ARGUMENT (parameters, token ids). */
bool engine_submit(struct engine *engine, const struct engine_request *request,
                   uint64_t *request_id, struct error *error);

/* Any thread. The request ends with FINISH_CANCELLED within a step; an unknown id is ignored. */
void engine_cancel(struct engine *engine, uint64_t request_id);

struct engine_stats { /* a snapshot; any thread */
    size_t running, waiting;
    size_t kv_blocks_used, kv_blocks_cached, kv_blocks_total;
    size_t kv_bytes; /* of the KV pool's storage: all of it, or what it has grown to */
    /* Since start: */
    uint64_t prompt_tokens, generated_tokens;
    uint64_t prefix_lookup_tokens, prefix_hit_tokens;
    uint64_t draft_tokens,
        draft_hit_tokens; /* guessed and verified; of them, those that came true */
    uint64_t preemptions, steps;
};
void engine_read_stats(const struct engine *engine, struct engine_stats *stats);

#endif
