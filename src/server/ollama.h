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
void ollama_answer_tags(struct server *server, struct http_connection *connection,
                        const char *route);
void ollama_answer_ps(struct server *server, struct http_connection *connection, const char *route);
void ollama_answer_show(struct server *server, struct http_connection *connection,
                        const char *route);

void ollama_answer_pull(struct server *server, struct http_connection *connection,
                        const char *route);
void ollama_answer_push(struct server *server, struct http_connection *connection,
                        const char *route);

void ollama_answer_copy(struct server *server, struct http_connection *connection,
                        const char *route);
void ollama_answer_delete(struct server *server, struct http_connection *connection,
                          const char *route);
void ollama_answer_create(struct server *server, struct http_connection *connection,
                          const char *route);
/* Of struct route's `head`: a file is on its way. */
void ollama_receive_blob(struct server *server, struct http_connection *connection,
                         const char *route);
void ollama_answer_blob(struct server *server, struct http_connection *connection,
                        const char *route);

/* Reads the body of a request that is answered from files: a JSON object of at most 512 KiB, which
 * the caller releases, also after a failure (NULL is fine). Returns the text at `member`, or at
 * `other` (may be NULL), in it, which is a model's name; NULL with the error when there is none, or
 * one that is too long. Loop thread. */
const char *ollama_read_small_body(struct http_connection *connection, struct json_t **body,
                                   const char *member, const char *other, struct api_error *error);

/* Whether a model may be called so, by its length alone; else 400. */
bool ollama_check_name(const char *name, const char *member, struct api_error *error);

#endif
