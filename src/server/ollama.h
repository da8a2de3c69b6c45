/*
 * ollama.h - the Ollama API's routes.
 *
 * Rows of routes.c: loop thread.
 */
#ifndef MISTRAL_SERVER_OLLAMA_H
#define MISTRAL_SERVER_OLLAMA_H

#include "server/generation.h"

struct server;
struct http_connection;

extern const struct generation_kind ollama_generate_kind, ollama_chat_kind, ollama_embed_kind,
    ollama_embeddings_kind;

void ollama_answer_root(struct server *server, struct http_connection *connection,
                        const char *route);
void ollama_answer_version(struct server *server, struct http_connection *connection,
                           const char *route);
#endif
