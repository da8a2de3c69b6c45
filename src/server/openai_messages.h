/*
 * openai_messages.h - a conversation as clients send it, made into what chat templates expect.
 *
 * Pure; preparer's thread.
 */
#ifndef MISTRAL_SERVER_OPENAI_MESSAGES_H
#define MISTRAL_SERVER_OPENAI_MESSAGES_H

#include "server/api_error.h"

#include <jansson.h>
#include <stdbool.h>

/* `messages` (NULL: missing) to a new array, which the caller releases: every role known (developer
 * is system), every content one string (the text parts joined by line feeds; null is empty). Tool
 * calls and their ids are kept for the template. */
bool openai_messages_read(const json_t *messages, json_t **normal, struct api_error *error);

#endif
