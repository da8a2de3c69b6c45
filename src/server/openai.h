/* openai.h - the OpenAI API's routes: chat and plain completions, embeddings, models. */
#ifndef MISTRAL_SERVER_OPENAI_H
#define MISTRAL_SERVER_OPENAI_H

#include "server/generation.h"

struct server;
struct http_connection;

extern const struct generation_kind openai_chat_kind;
extern const struct generation_kind openai_completions_kind;
extern const struct generation_kind openai_embeddings_kind;

/* The first `count` values of an embedding, at length 1 again. */
void openai_shorten_embedding(float *values, size_t count);

void openai_list_models(struct server *server, struct http_connection *connection,
                        const char *route);
/* /v1/models/ID; the id may hold slashes itself. */
void openai_show_model(struct server *server, struct http_connection *connection,
                       const char *route);

#endif
