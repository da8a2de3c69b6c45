/*
 * messages.h - a conversation, given the shapes that a model's template wants.
 *
 * Clients send calls' arguments as text and ids of any form; templates want objects, or nine
 * letters and digits. Pure; any thread.
 */
#ifndef MISTRAL_TEXT_CHAT_MESSAGES_H
#define MISTRAL_TEXT_CHAT_MESSAGES_H

#include "text/chat/traits.h"

struct json_t; /* jansson's value */

enum { CHAT_ROLE_COUNT = 6 };

/* A new array, which the caller releases. `traits` NULL: messages stay as they are, but for their
 * roles. Known roles become the very strings of `roles` (which the caller releases too), so that
 * their addresses tell that they are not a user's text: templates make control tokens of them. NULL
 * when memory runs out. */
struct json_t *chat_messages_adapt(const struct json_t *messages, const struct chat_traits *traits,
                                   struct json_t *roles[CHAT_ROLE_COUNT]);

#endif
