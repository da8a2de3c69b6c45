/*
 * ollama.h - the Ollama API's routes.
 *
 * Each is the `answer` of a row in routes.c: loop thread.
 */
#ifndef MISTRAL_SERVER_OLLAMA_H
#define MISTRAL_SERVER_OLLAMA_H

struct server;
struct http_connection;

void ollama_answer_root(struct server *server, struct http_connection *connection,
                        const char *route);
void ollama_answer_version(struct server *server, struct http_connection *connection,
                           const char *route);
void ollama_answer_generate(struct server *server, struct http_connection *connection,
                            const char *route);
void ollama_answer_chat(struct server *server, struct http_connection *connection,
                        const char *route);

#endif
