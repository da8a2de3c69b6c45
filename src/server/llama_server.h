/*
 * llama_server.h - the routes of llama.cpp's own server that people's scripts use beside OpenAI's.
 *
 * Tokens and templates (llama_server_text.c), the plain completion and the one in the middle
 * (llama_server_completion.c), and what the server is doing (llama_server_state.c). What cannot be
 * done here (saving slots, adapters) is refused in words.
 */
#ifndef MISTRAL_SERVER_LLAMA_SERVER_H
#define MISTRAL_SERVER_LLAMA_SERVER_H

#include "base/json_writer.h"
#include "server/generation.h"

struct server;
struct http_connection;

extern const struct generation_kind llama_tokenize_kind;
extern const struct generation_kind llama_detokenize_kind;
extern const struct generation_kind llama_apply_template_kind;
extern const struct generation_kind llama_props_kind;
extern const struct generation_kind llama_completion_kind;
extern const struct generation_kind llama_infill_kind;

void llama_list_slots(struct server *server, struct http_connection *connection, const char *route);
/* /slots/ID: saving, restoring and erasing what a slot holds. */
void llama_refuse_slot(struct server *server, struct http_connection *connection,
                       const char *route);
void llama_adapters(struct server *server, struct http_connection *connection, const char *route);

/* "timings":{…}: tokens and milliseconds of prompt and answer, as llama-server tells them. Loop
 * thread, when the choices are done. */
void llama_write_timings(struct json_writer *json, const struct generation *generation);

#endif
