/*
 * ollama_defaults.h - what a store keeps beside a model's weights (options, a system prompt, a
 * conversation to begin with), as the defaults of requests for it.
 *
 * Stores are not trusted: what makes no sense there is left out, and no request fails for it. Pure;
 * any thread.
 */
#ifndef MISTRAL_SERVER_OLLAMA_DEFAULTS_H
#define MISTRAL_SERVER_OLLAMA_DEFAULTS_H

#include "hub/hub.h"
#include "server/ollama_options.h"

#include <jansson.h>

/* Reads the model's own options over what is there. `entry` may be NULL. */
void ollama_defaults_options(const struct hub_model *entry, struct ollama_options *options);

/* A system prompt (`system`, or when that is NULL or empty the model's own) unless `messages` has
 * one, the model's own messages, then `messages` (an array, borrowed): a new array; NULL when
 * memory runs out. */
json_t *ollama_defaults_messages(const struct hub_model *entry, const char *system,
                                 const json_t *messages);

#endif
