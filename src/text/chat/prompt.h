/*
 * prompt.h - a conversation, through the model's own template, to prompt tokens.
 *
 * The one place that knows how template, special tokens and tokenizer fit together. Control tokens
 * come from the template's own text only: what a message, a tool or a variable says is ordinary
 * text wherever the template puts it, even if it spells "</s>" or "<|im_start|>". The prompt begins
 * with one BOS where the model wants one, and never ends with an EOS that the template did not
 * write. Pure; any thread.
 */
#ifndef MISTRAL_TEXT_CHAT_PROMPT_H
#define MISTRAL_TEXT_CHAT_PROMPT_H

#include "base/error.h"
#include "text/chat/template.h"
#include "text/chat/traits.h"
#include "text/tokenizer/tokenizer.h"

#include <stddef.h>

struct json_t; /* jansson's value */

struct chat_prompt {
    const struct chat_template *chat_template;
    const struct tokenizer *tokenizer;
    /* NULL: messages go to the template as they are. */
    const struct chat_traits *traits;
    const struct json_t *messages;  /* array of {role, content, …} */
    const struct json_t *tools;     /* array of {type, function: {…}}; NULL: none */
    const struct json_t *variables; /* object of more for the template: enable_thinking, …; NULL */
};

/* Renders with add_generation_prompt, so that the answer comes next, and appends the tokens.
 * *thinking_open (NULL allowed): the template has opened a thought at the prompt's end. */
bool chat_prompt_build(const struct chat_prompt *prompt, struct token_list *out,
                       bool *thinking_open, struct error *error);
/* The same as text, as the template writes it. */
bool chat_prompt_render(const struct chat_prompt *prompt, struct string_buffer *text,
                        struct error *error);

/* chat_prompt_build of messages only. */
bool chat_prompt_encode(const struct chat_template *chat_template,
                        const struct tokenizer *tokenizer, const struct json_t *messages,
                        struct token_list *out, struct error *error);

/* As above, from the array's JSON text; anything but a JSON array is ERROR_INVALID_ARGUMENT. */
bool chat_prompt_encode_text(const struct chat_template *chat_template,
                             const struct tokenizer *tokenizer, const char *messages, size_t length,
                             struct token_list *out, struct error *error);

#endif
