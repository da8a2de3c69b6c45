/*
 * plain_tools.h - a conversation with tools, for a template that has no place for some of it: tools
 * told in the system message, calls in an answer's content, results in a user's message.
 *
 * What a template does write is left to it. Pure; any thread.
 */
#ifndef MISTRAL_TEXT_CHAT_PLAIN_TOOLS_H
#define MISTRAL_TEXT_CHAT_PLAIN_TOOLS_H

#include "text/chat/traits.h"

struct json_t; /* jansson's value */

/* A new array, which the caller releases; NULL when memory runs out. `tools` NULL: none. Messages
 * of an unexpected shape stay as they are. */
struct json_t *plain_tools_apply(const struct json_t *messages, const struct json_t *tools,
                                 const struct chat_traits *traits);

#endif
