/*
 * request.h - one request inside the engine: its sequence, sampler, detokeniser and stop strings,
 * and the events it sends. Created on the caller's thread by engine_submit, then the engine
 * thread's alone.
 */
#ifndef MISTRAL_ENGINE_REQUEST_H
#define MISTRAL_ENGINE_REQUEST_H

#include "base/arena.h"
#include "engine/engine.h"
#include "engine/event_pool.h"
#include "engine/ngram_draft.h"
#include "engine/sequence.h"
#include "grammar/grammar_matcher.h"
#include "text/tokenizer/stop_matcher.h"

struct request {
    struct arena arena; /* copies of what the caller gave */
    uint64_t id;
    struct engine_request params; /* pointers into the arena; prompt is in the sequence */
    const struct tokenizer *tokenizer;
    struct sequence *sequence;
    struct sampler *sampler;
    struct grammar_matcher *matcher; /* NULL: no grammar. Follows the sampled tokens alone */
    float *masked; /* [vocabulary]: the logits of allowed tokens, the others' -INFINITY; or NULL */
    struct detokenizer detokenizer;
    struct stop_matcher stops;
    struct ngram_draft draft;
    struct string_buffer decoded, shown; /* scratch of one token */
    struct event_pool *events;
    size_t generated;
    double *pooled; /* [embedding_length] of an `embed` request: the sum of its hidden states */
    int64_t submitted_ns, started_ns, first_token_ns, last_token_ns; /* 0: not yet */
    struct request *next, *previous; /* the engine's list of live requests */
};

/* What a request must know of the model it goes to. */
struct request_limits {
    const struct tokenizer *tokenizer;
    size_t context_length; /* most tokens of prompt and answer */
    size_t window;         /* tokens any layer looks back; 0: some layer sees everything */
    size_t embedding_length;
    size_t longest_piece; /* bytes of the longest token's text */
};

/* Checks everything that can be wrong with a request. */
bool request_create(const struct engine_request *params, uint64_t id,
                    const struct request_limits *limits, struct request **request,
                    struct error *error);
/* On the engine thread, before the request's first step: where it has a grammar, its place in it.
 */
bool request_enter_grammar(struct request *request, struct grammar_cache *cache,
                           struct error *error);

void request_free(
    struct request *request); /* its sequence must be out of the scheduler; NULL allowed */

/* Logits [vocabulary] for the position before prompt token `index` (index 0: none, NULL): sends the
 * token's log-probability. */
void request_echo(struct request *request, size_t index, const float *logits);

/* Samples from the logits and sends the token. True: the request goes on with *token, which the
 * caller appends to the sequence. False: it has ended, and its last event is sent. */
bool request_advance(struct request *request, const float *logits, int32_t *token);

/* An `embed` request whose prompt is computed and pooled: sends its embedding, the last event. */
void request_send_embedding(struct request *request, size_t embedding_length);

/* Sends the last event of a request that ends for another reason than its own tokens. */
void request_send_cancelled(struct request *request);
void request_send_failed(struct request *request, const struct error *error);

#endif
