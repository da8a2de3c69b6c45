/* conversation.h - the messages of a chat, and the prompt they become. Main thread. */
#ifndef MISTRAL_CLI_CONVERSATION_H
#define MISTRAL_CLI_CONVERSATION_H

#include "engine/engine.h"

#include <jansson.h>

struct conversation {
    struct chat_template *chat_template;
    json_t *messages; /* [{"role", "content"}] */
};

/* A model without a chat template is ERROR_UNSUPPORTED; a template that is none, ERROR_FORMAT. */
bool conversation_init(struct conversation *conversation, const struct engine *engine,
                       struct error *error);
void conversation_deinit(struct conversation *conversation);

/* Texts must be UTF-8. */
bool conversation_add(struct conversation *conversation, const char *role, const char *text,
                      size_t length, struct error *error);
void conversation_drop_last(struct conversation *conversation);

/* Starts again, with a system message unless `system` is NULL. */
bool conversation_restart(struct conversation *conversation, const char *system,
                          struct error *error);

/* Appends the prompt's tokens. */
bool conversation_encode(const struct conversation *conversation, const struct engine *engine,
                         struct token_list *prompt, struct error *error);

#endif
