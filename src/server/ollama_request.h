/*
 * ollama_request.h - the fields that /api/generate and /api/chat share, read and checked, and what
 * they ask of the engine.
 *
 * Pure; preparer's thread.
 */
#ifndef MISTRAL_SERVER_OLLAMA_REQUEST_H
#define MISTRAL_SERVER_OLLAMA_REQUEST_H

#include "server/answer_format.h"
#include "server/chat_turn.h"
#include "server/generation.h"
#include "server/ollama_answer.h"
#include "server/ollama_options.h"
#include "server/request_fields.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct served_model;

struct ollama_request {
    const char *model; /* borrowed from the body, like all texts and JSON here */
    bool is_stream;
    bool has_keep_alive;
    double keep_alive; /* seconds; negative: for ever */
    const json_t *options_json;
    struct ollama_options options;
    struct answer_format format;
    const json_t *think; /* a boolean or a text; NULL: unset */
    bool truncate;       /* what is too long is cut, else refused */
    bool want_logprobs;
    int64_t top_logprobs;
    /* generate */
    const char *prompt, *suffix, *system, *template_source; /* NULL: not given */
    const json_t *context;
    bool raw;
    /* chat */
    const json_t *messages, *tools;
};

/* The route's kind of prompt, as an array of fields that ends with a NULL name. */
extern const struct request_field ollama_generate_fields[], ollama_chat_fields[];

/* Of struct generation_kind; also takes keep_alive over. */
bool ollama_choose_model(struct generation *generation, const struct json_t *body,
                         struct api_error *error);
void ollama_unknown_model(const char *name, struct api_error *error);

bool ollama_request_read(struct generation *generation, const json_t *body,
                         const struct request_field *own_fields, struct ollama_request *request,
                         struct api_error *error);

/* Fills generation->request but for the prompt and the answer's format, and the answer's details.
 */
bool ollama_request_apply(const struct ollama_request *request, const struct served_model *model,
                          struct generation *generation, struct api_error *error);

/* Tools and `think`, checked against what the model can do; chat_wishes_deinit releases them. */
bool ollama_request_wishes(const struct ollama_request *request, const struct served_model *model,
                           struct chat_wishes *wishes, struct api_error *error);

/* No prompt, and no fault in the rest: the model is only loaded, or, with a keep_alive of 0,
 * unloaded. */
bool ollama_request_idle(const struct ollama_request *request, struct generation *generation,
                         struct api_error *error);

/* Tokens that prompt and answer may have together: num_ctx, at most the model's context. */
size_t ollama_context_limit(const struct ollama_request *request, const struct served_model *model);
/* Most tokens of a prompt that is cut to fit: it leaves room for an answer. */
size_t ollama_prompt_limit(const struct ollama_request *request, const struct served_model *model);

/* The request's prompt is there: bounds the answer by what the context has left. */
void ollama_bound_answer(const struct ollama_request *request, const struct served_model *model,
                         struct generation_request *wanted);

bool ollama_too_long(struct api_error *error);

#endif
