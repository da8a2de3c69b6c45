/*
 * openai_answer.h - the pieces that chat and completion answers have in common.
 *
 * Loop thread.
 */
#ifndef MISTRAL_SERVER_OPENAI_ANSWER_H
#define MISTRAL_SERVER_OPENAI_ANSWER_H

#include "base/json_writer.h"
#include "server/generation.h"
#include "text/tokenizer/tokenizer.h"

#include <stdbool.h>
#include <stddef.h>

/* What the answer's writer must know of the request: generation->details. Arena memory. */
struct openai_answer {
    const struct served_model *model;
    bool include_usage;
    bool want_logprobs;
    /* completions */
    bool echo;
    bool score_only;                 /* max_tokens 0: the generated token is not shown */
    const struct string_view *texts; /* [prompt_count], of the prompts; for echo */
};

struct openai_answer *openai_answer_of(const struct generation *generation);

/* {"id":…,"object":…,"created":…,"model":…,"system_fingerprint":…,"choices":[ */
void openai_answer_begin(struct json_writer *json, const struct generation *generation,
                         const char *object);
/* ]} with "usage" between, when there is one to tell; in a stream that will tell it at its end, the
 * other chunks say null. */
enum openai_usage_member { OPENAI_USAGE_ABSENT, OPENAI_USAGE_NULL, OPENAI_USAGE_FULL };
void openai_answer_end(struct json_writer *json, const struct generation *generation,
                       enum openai_usage_member usage);
enum openai_usage_member openai_chunk_usage(const struct generation *generation);

/* "finish_reason": "stop", "length", "tool_calls", or null while it runs. */
void openai_write_finish_reason(struct json_writer *json, const struct generation_choice *choice,
                                bool is_finished);

/* A token as clients read it: its text, or, where it is no whole character, its bytes written out
 * as OpenAI does, "\xe2\x80" behind `prefix`. */
void openai_write_token_text(struct json_writer *json, struct string_view piece,
                             const char *prefix);
/* -9999 stands for what JSON cannot say. */
void openai_write_logprob(struct json_writer *json, float logprob);

/* {"token":…,"logprob":…,"bytes":[…],"top_logprobs":[…]} */
void openai_write_token_logprobs(struct json_writer *json, const struct tokenizer *tokenizer,
                                 const struct engine_event *event);

/* The last event of a stream that went well: usage if asked for, then [DONE]. */
void openai_stream_done(struct generation *generation, const char *object);
/* generation_format.failed of both streams. */
void openai_stream_failed(struct generation *generation, const struct api_error *error);

#endif
