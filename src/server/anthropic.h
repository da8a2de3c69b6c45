/*
 * anthropic.h - Anthropic's API: /v1/messages and /v1/messages/count_tokens.
 *
 * A request is turned into the chat request that says the same (anthropic_request.c) and goes that
 * request's way to the engine; the answer is told in Anthropic's blocks and events
 * (anthropic_answer.c).
 */
#ifndef MISTRAL_SERVER_ANTHROPIC_H
#define MISTRAL_SERVER_ANTHROPIC_H

#include "server/api_error.h"
#include "server/generation.h"

#include <jansson.h>
#include <stdbool.h>

extern const struct generation_kind anthropic_messages_kind;
extern const struct generation_kind anthropic_count_tokens_kind;

/* The body of a chat request that asks for the same; the caller releases it. Preparer's thread. */
bool anthropic_to_chat(const json_t *body, json_t **chat, struct api_error *error);

/* Makes the prepared chat request answer as a message. Preparer's thread. */
bool anthropic_answer_prepare(struct generation *generation, const struct served_model *model,
                              bool is_stream, struct api_error *error);

#endif
