/*
 * ollama_answer.h - the answers of /api/generate and /api/chat: one object, or a line for each
 * piece and a last one with the counts.
 *
 * Loop thread.
 */
#ifndef MISTRAL_SERVER_OLLAMA_ANSWER_H
#define MISTRAL_SERVER_OLLAMA_ANSWER_H

#include "base/json_writer.h"
#include "server/generation.h"

#include <stdbool.h>

/* What the writer must know of the request: generation->details. Arena memory. */
struct ollama_answer {
    const struct served_model *model;
    const char *name; /* of the model, as the request has it */
    bool is_chat;
    bool is_stream;
    bool want_logprobs;
    bool tells_context; /* generate, not raw: the tokens so far, for the next request */
};

extern const struct generation_format ollama_format;

/* The whole answer to a request without a prompt, into generation->answer: the model was loaded, or
 * is to be unloaded (`reason`). Preparer's thread. */
void ollama_write_idle(struct generation *generation, const char *reason);

/* "created_at" and its like: RFC 3339 in UTC, with microseconds; Open WebUI reads no more digits.
 */
void ollama_write_time_member(struct json_writer *json, const char *name, int64_t wall_ns);
/* "total_duration" and "load_duration", up to now. */
void ollama_write_durations(struct json_writer *json, const struct generation *generation);

#endif
