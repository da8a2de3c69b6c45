/*
 * ollama_messages.h - a conversation as Ollama's clients send it, made into the one OpenAI's send.
 *
 * Pure; preparer's thread.
 */
#ifndef MISTRAL_SERVER_OLLAMA_MESSAGES_H
#define MISTRAL_SERVER_OLLAMA_MESSAGES_H

#include "server/api_error.h"

#include <jansson.h>
#include <stdbool.h>

/* `messages`, a JSON array, to a new one, which the caller releases, for openai_messages_read. Tool
 * calls are given a type and, where they have none, an id; the results that follow are given the
 * ids in the calls' order. */
bool ollama_messages_read(const json_t *messages, json_t **converted, struct api_error *error);

#endif
