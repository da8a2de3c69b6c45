/*
 * responses.h - OpenAI's /v1/responses, without a memory: each request brings its whole
 * conversation.
 *
 * A request is turned into the chat request that says the same (responses_request.c) and goes that
 * request's way to the engine; the answer is told in items and their events (responses_answer.c).
 */
#ifndef MISTRAL_SERVER_RESPONSES_H
#define MISTRAL_SERVER_RESPONSES_H

#include "server/api_error.h"
#include "server/generation.h"

#include <jansson.h>
#include <stdbool.h>

struct server;
struct http_connection;

extern const struct generation_kind responses_kind;

/* /v1/responses/ID: nothing is kept, so nothing is found. */
void responses_refuse_stored(struct server *server, struct http_connection *connection,
                             const char *route);

/* The body of a chat request that asks for the same; the caller releases it. Preparer's thread. */
bool responses_to_chat(const json_t *body, json_t **chat, struct api_error *error);

/* Makes the prepared chat request answer as a response, which repeats what `body` asked for.
 * Preparer's thread. */
bool responses_answer_prepare(struct generation *generation, const struct served_model *model,
                              const json_t *body, struct api_error *error);

#endif
