/*
 * openai_request.h - the fields that OpenAI's two text routes share, read and checked.
 *
 * Pure; preparer's thread.
 */
#ifndef MISTRAL_SERVER_OPENAI_REQUEST_H
#define MISTRAL_SERVER_OPENAI_REQUEST_H

#include "base/arena.h"
#include "server/answer_format.h"
#include "server/api_error.h"
#include "server/generation.h"
#include "server/request_fields.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct served_model;

enum { OPENAI_NOT_GIVEN = -1 };

struct openai_request {
    struct arena *arena; /* where lists are copied to */
    const char *model;   /* borrowed from the body, like all texts here; NULL: none named */
    bool stream;
    bool has_stream_options, include_usage;
    int64_t choices_per_prompt;                /* n */
    int64_t max_tokens, max_completion_tokens; /* OPENAI_NOT_GIVEN: no bound of its own */
    struct sampling_params sampling;
    int64_t top_k;
    bool has_seed;
    struct string_view *stops; /* [stop_count] */
    size_t stop_count;
    bool ignore_end;
    struct answer_format format;
    /* chat */
    const json_t *messages;
    bool want_logprobs;
    int64_t top_logprobs; /* OPENAI_NOT_GIVEN, or 0 … 20 */
    /* completions */
    const json_t *prompt;
    const char *suffix; /* NULL or empty: none */
    int64_t logprobs;   /* OPENAI_NOT_GIVEN, or 0 … 20 alternatives */
    bool echo;
    int64_t best_of;
};

/* Reads the shared fields and those of `own_fields` (ends with a NULL name) into `request`. */
bool openai_request_read(const json_t *body, const struct request_field *own_fields,
                         const struct served_model *model, struct arena *arena,
                         struct openai_request *request, struct api_error *error);

/* Readers for FIELD_CUSTOM rows: a value that asks for what cannot be done yet is refused, one that
 * asks for nothing (an empty list) is taken. The first keeps the JSON value, borrowed,
 * in a `const json_t *` at the field's target. */
bool openai_read_any(const struct request_field *field, const json_t *value, void *request,
                     struct api_error *error);
bool openai_refuse_unless_empty(const struct request_field *field, const json_t *value,
                                void *request, struct api_error *error);

/* What the request asks of the engine, but for the prompts and the answer's format. */
bool openai_request_apply(const struct openai_request *request, const struct served_model *model,
                          size_t prompt_count, struct generation_request *wanted,
                          struct api_error *error);

/* Refuses a prompt that is empty or too long for the context; `field` is where it came from. The
 * second needs only its length as text, and spares the tokenizer what cannot fit anyway. */
bool openai_check_prompt(const struct token_list *prompt, const struct served_model *model,
                         const char *field, struct api_error *error);
bool openai_check_prompt_bytes(size_t length, const struct served_model *model, const char *field,
                               struct api_error *error);

#endif
