/*
 * generation.h - one client's request for text: what to generate, how it goes, how it ends.
 *
 * Owns the way of a request through the program, whatever API it came by: body → name of a model
 * (preparer), name → model (model_manager.h), body → tokens (preparer), tokens → engine, events →
 * answer, and the one log line at its end. It outlives its connection
 * when the client leaves: until the engine has said the last word on each of its sequences. What
 * the answer looks like is the format's business. Loop thread, but for `prepare`.
 */
#ifndef MISTRAL_SERVER_GENERATION_H
#define MISTRAL_SERVER_GENERATION_H

#include "base/arena.h"
#include "base/mailbox.h"
#include "base/string_buffer.h"
#include "engine/engine.h"
#include "server/api_error.h"
#include "server/http_server.h"
#include "server/model_manager.h"
#include "server/server_metrics.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct server;
struct generation;
struct answer_parser;
struct chat_turn;
struct json_t; /* jansson's value */

/* What is asked of the engine. Memory is the generation's arena, but for the token lists. */
struct generation_request {
    struct token_list *prompts; /* [prompt_count] */
    size_t prompt_count;
    size_t choices_per_prompt;
    size_t max_tokens;               /* 0: until the context is full */
    struct sampling_params sampling; /* its seed is the first choice's; the others derive theirs */
    struct string_view *stops;       /* [stop_count] */
    size_t stop_count;
    struct grammar *grammar; /* what each answer may look like; owned; NULL: anything */
    bool ignore_end;
    bool mark_special; /* for an answer parser */
    bool want_logprobs;
    size_t top_logprobs;
    bool echo_logprobs;
    bool embed;         /* embeddings of the prompts instead of texts */
    size_t max_at_once; /* most choices the engine is given at a time; 0: all */
};

/* One answer text of several. */
struct generation_choice {
    struct generation *generation;
    size_t index;
    uint64_t engine_request; /* 0: not submitted */
    bool is_running;         /* the engine's last word is still to come */
    enum finish_reason finish_reason;
    const struct string_view *stop; /* the stop string that ended it; NULL: none did */
    struct engine_usage usage;
    struct string_buffer text;        /* of an answer that is not streamed */
    struct string_buffer logprobs[4]; /* JSON pieces; the format says which is what */
    /* chat: the answer's other parts, and what takes it apart; see chat_turn.h */
    struct answer_parser *parser;
    struct string_buffer thinking, calls;
    size_t token_count;      /* generated so far */
    size_t shown_characters; /* of text, for offsets */
    bool was_announced;      /* streamed: its first piece is out */
};

/* How an API puts it. Called only while the client is there. */
struct generation_format {
    void (*token)(struct generation_choice *choice, const struct engine_event *event);
    void (*choice_done)(struct generation_choice *choice, const struct engine_event *event);
    void (*all_done)(struct generation *generation);
    /* An answer, or the last piece of one that has begun. */
    void (*failed)(struct generation *generation, const struct api_error *error);
};

/* A route that generates. */
struct generation_kind {
    const char *route;        /* its pattern, for the log */
    const char *id_prefix;    /* "chatcmpl-" */
    const char *prompt_field; /* named when the prompt does not fit */
    bool has_no_body;         /* a GET: prepared from an empty object */
    /* Which model the body asks for: sets model_name (arena memory; NULL: none is named) and, where
     * the API has it, keep_alive. NULL: the member "model". Preparer's thread. */
    bool (*choose_model)(struct generation *generation, const struct json_t *body,
                         struct api_error *error);
    /* What a client is told of a model that is nowhere; NULL: in OpenAI's words. */
    void (*unknown_model)(const char *name, struct api_error *error);
    /* Body to request, `format` and `details`; or, where no model has to run, to the whole `answer`
     * (JSON). Preparer's thread; reads the model, changes only the
     * generation, and keeps nothing that points into the body. */
    bool (*prepare)(struct generation *generation, const struct served_model *model,
                    const struct json_t *body, struct api_error *error);
};

struct generation {
    struct mailbox_message message; /* first: on its way to or from the preparer */
    LIST_ENTRY(generation) link;
    struct server *server;
    const struct generation_kind *kind;
    struct http_connection *connection; /* NULL: answered, or the client has left */
    uint64_t client;                    /* who asks, for the preparer to share itself out */
    int64_t queued_ns;                  /* when it was sent to the preparer */
    struct string_buffer body;
    struct json_t *json;    /* the body, from the first visit to the preparer to the second */
    const char *model_name; /* as the body has it; NULL: none is named */
    double keep_alive;      /* seconds that the model stays after this; negative: for ever */
    struct model_lease lease;
    struct arena arena; /* everything below that has no other owner */

    bool is_preparing;
    atomic_bool is_unwanted; /* the client has left: the preparer gives up */
    struct api_error error;  /* why it could not be prepared: status is not 0 */
    struct generation_request request;
    const struct generation_format *format;
    void *details;          /* the API's own: what it needs to write the answer */
    struct chat_turn *turn; /* chat: how to read the answer; NULL: it is plain text */
    struct string_buffer answer;

    char id[48];     /* "chatcmpl-…" */
    int64_t created; /* seconds since the epoch */
    int64_t started_ns;
    struct generation_metrics metrics; /* its model's; zero before it is submitted */
    bool has_token;                    /* the first one is counted */
    struct generation_choice *choices; /* [choice_count] */
    size_t choice_count;
    size_t submitted_count;
    size_t running_count; /* sequences the engine still holds */
    size_t done_count;    /* choices that ended well */
    int status;           /* what the client was told */
    const char *end_reason;
};

LIST_HEAD(generation_list, generation);

/* Takes the request over from the connection. */
void generation_begin(struct server *server, struct http_connection *connection,
                      const struct generation_kind *kind);
/* What the preparer has done; may free it. */
void generation_prepared(struct generation *generation);
/* Routes one event to its choice and frees it; may free the generation. */
void generation_event(struct engine_event *event);
/* Ends it from our side: the client is told, the engine asked to stop. */
void generation_stop(struct generation *generation, const struct api_error *error);

/* Sums over the choices: a prompt counts once, however many answers it was given. */
struct engine_usage generation_usage(const struct generation *generation);

#endif
