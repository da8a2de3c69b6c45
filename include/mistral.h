/*
 * mistral.h - the engine as a library: load a model, submit requests, read their events.
 *
 * An engine holds one model and runs on a thread of its own, which serves all requests together.
 * Any thread may call any function here; one stream is read by one thread at a time. Functions that
 * can fail return false (or NULL) and fill a struct mistral_error. The library never prints and
 * never exits.
 *
 * A model's file is mapped, and another program may cut it short or overwrite it. The requests then
 * end with MISTRAL_FAILED, MISTRAL_ERROR_IO and the reason, and so does each later one: close the
 * engine and open it again. For that the first mistral_open installs a handler of SIGBUS (on macOS
 * of SIGSEGV too) for the process, which stays. It takes faults in the maps of model files alone;
 * all others go to the handler that was there before, or end the process as ever. Install your own
 * before the first mistral_open, or have it call the one that it replaces; and do not block these
 * signals in threads that call mistral_open.
 *
 * A whole program is in examples/minimal.c.
 */
#ifndef MISTRAL_H
#define MISTRAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this interface, as text: "0.1.0". */
const char *mistral_version(void);

/* ---- errors ---- */

enum mistral_error_code {
    MISTRAL_ERROR_NONE = 0,
    MISTRAL_ERROR_INVALID_ARGUMENT, /* an option, a request or a value in it is wrong */
    MISTRAL_ERROR_NOT_FOUND,        /* the file does not exist */
    MISTRAL_ERROR_FORMAT,           /* the file is damaged, or its template cannot be rendered */
    MISTRAL_ERROR_UNSUPPORTED,      /* a sound file, but nothing this program can run */
    MISTRAL_ERROR_IO,
    MISTRAL_ERROR_NO_SPACE,
    MISTRAL_ERROR_OUT_OF_MEMORY,
    MISTRAL_ERROR_NETWORK,
    MISTRAL_ERROR_CONTEXT_LENGTH, /* the prompt does not fit */
    MISTRAL_ERROR_BUSY,           /* too many requests at once: try again later */
    MISTRAL_ERROR_CANCELLED,
};

struct mistral_error {
    enum mistral_error_code code;
    char message[1024]; /* UTF-8, one line */
};

/* ---- engines ---- */

struct mistral_engine;

/* Start from mistral_options_default and change what matters. */
struct mistral_options {
    size_t thread_count;         /* 0: one a physical core */
    size_t max_sequence_length;  /* tokens of one request; 0: the model's own context */
    size_t max_total_tokens;     /* of all requests together, in the KV cache */
    size_t max_batch_size;       /* most requests that generate in one step */
    size_t max_running_requests; /* most worked on at once; the rest wait */
    size_t max_waiting_requests; /* most that wait; beyond, submit answers BUSY */
    size_t prefill_chunk_size;   /* most prompt tokens in one step */
};

struct mistral_options mistral_options_default(void);

/* Loads the GGUF file at `path`; takes as long as reading it. `progress` may be NULL; it hears 0 …
 * 1 on the calling thread. NULL on failure. Close it with mistral_close. */
struct mistral_engine *mistral_open(const char *path, const struct mistral_options *options,
                                    void (*progress)(void *context, double fraction), void *context,
                                    struct mistral_error *error);

/* Ends all requests (their streams must have been freed) and releases the model. NULL allowed. */
void mistral_close(struct mistral_engine *engine);

struct mistral_info {
    const char *name;         /* from the file */
    const char *architecture; /* "llama" */
    const char *format;       /* of most weights: "Q4_1" */
    const char *kernels;      /* in use: "avx2", "portable" */
    uint64_t parameter_count;
    size_t context_length; /* most tokens of one request here */
    size_t vocabulary_size;
    size_t embedding_length;
    size_t layer_count;
    size_t thread_count;
    bool has_chat_template;
};

/* Strings are the engine's and live as long as it does. */
void mistral_read_info(const struct mistral_engine *engine, struct mistral_info *info);

/* ---- tokens ---- */

/* Token ids in an array that mistral_tokens_free releases. */
struct mistral_tokens {
    int32_t *ids; /* [count] */
    size_t count;
};

void mistral_tokens_free(struct mistral_tokens *tokens); /* leaves it empty; NULL allowed */

/* `text` as the model reads it, with the tokens it wants at the beginning. Written-out control
 * tokens
 * ("<|im_end|>") are text unless `parse_special`. */
bool mistral_tokenize(const struct mistral_engine *engine, const char *text, size_t length,
                      bool parse_special, struct mistral_tokens *tokens,
                      struct mistral_error *error);

/* A conversation by the model's own chat template. `messages` is JSON as OpenAI clients send it:
 * [{"role": "user", "content": "Hello"}]. The answer is what comes next. */
bool mistral_tokenize_chat(const struct mistral_engine *engine, const char *messages,
                           struct mistral_tokens *tokens, struct mistral_error *error);

/* ---- requests ---- */

/* Start from mistral_request_default and change what matters. */
struct mistral_request {
    const int32_t *prompt; /* [prompt_count], at least one token; copied */
    size_t prompt_count;
    size_t max_tokens;        /* most to generate; 0: until the context is full */
    const char *const *stops; /* [stop_count] strings that end the answer; copied */
    size_t stop_count;
    float temperature;                         /* 0: always the likeliest token */
    int32_t top_k;                             /* 0: off */
    float top_p;                               /* 1: off */
    float min_p;                               /* 0: off */
    float typical_p;                           /* 1: off */
    float repeat_penalty;                      /* 1: off */
    float presence_penalty, frequency_penalty; /* 0: off */
    uint64_t seed;                             /* the same seed gives the same answer */
    bool logprobs;                             /* fill the events' logprob */
};

struct mistral_request mistral_request_default(void);

struct mistral_stream;

/* Hands the request to the engine and returns at once. NULL on failure. */
struct mistral_stream *mistral_submit(struct mistral_engine *engine,
                                      const struct mistral_request *request,
                                      struct mistral_error *error);

enum mistral_event_kind {
    MISTRAL_TOKEN,  /* one more token */
    MISTRAL_DONE,   /* the last event of a request that went well */
    MISTRAL_FAILED, /* the last event of one that did not */
    MISTRAL_TIMEOUT /* nothing came in time; ask again */
};

enum mistral_finish_reason {
    MISTRAL_FINISH_STOP,   /* the model ended its answer, or a stop string came */
    MISTRAL_FINISH_LENGTH, /* max_tokens, or the context is full */
    MISTRAL_FINISH_CANCELLED,
};

struct mistral_event {
    enum mistral_event_kind kind;
    /* TOKEN and DONE: new text, whole UTF-8 characters, perhaps none. The stream's until the next
     * call. */
    const char *text;
    size_t text_length; /* bytes */
    /* TOKEN */
    int32_t token;
    float logprob; /* natural logarithm; not a number unless asked for */
    /* DONE */
    enum mistral_finish_reason finish_reason;
    size_t prompt_tokens, cached_tokens, generated_tokens;
    double queue_seconds, prefill_seconds, decode_seconds;
    /* FAILED */
    struct mistral_error error;
};

/* Waits for the next event, at most timeout_seconds (negative: for ever). After DONE or FAILED
 * there is none: false. */
bool mistral_next(struct mistral_stream *stream, double timeout_seconds,
                  struct mistral_event *event);

/* Asks the engine to end the request; its last event is then DONE with FINISH_CANCELLED. */
void mistral_cancel(struct mistral_stream *stream);

/* Cancels what still runs, and releases the stream. NULL allowed. */
void mistral_stream_free(struct mistral_stream *stream);

#ifdef __cplusplus
}
#endif

#endif
