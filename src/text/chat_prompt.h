/*
 * chat_prompt.h - a conversation, through the model's own template, to prompt tokens.
 *
 * The one place that knows how template, special tokens and tokenizer fit together. Pure; any
 * thread.
 */
#ifndef MISTRAL_TEXT_CHAT_PROMPT_H
#define MISTRAL_TEXT_CHAT_PROMPT_H

#include "base/error.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

#include <stddef.h>

struct json_t; /* jansson's value */

/* `messages`: a JSON array of {role, content, …} as templates expect it. Renders with
 * add_generation_prompt, so that the answer comes next, and appends the tokens. */
bool chat_prompt_encode(const struct chat_template *chat_template,
                        const struct tokenizer *tokenizer, const struct json_t *messages,
                        struct token_list *out, struct error *error);

/* As above, from the array's JSON text; anything but a JSON array is ERROR_INVALID_ARGUMENT. */
bool chat_prompt_encode_text(const struct chat_template *chat_template,
                             const struct tokenizer *tokenizer, const char *messages, size_t length,
                             struct token_list *out, struct error *error);

#endif
