/*
 * chat_turn.h - one turn of a conversation, whatever API it came by: tools and thinking on the way
 * to the prompt, what the answer may look like, and the answer taken apart on the way back.
 *
 * Prepared on the preparer's thread, fed on the loop's thread.
 */
#ifndef MISTRAL_SERVER_CHAT_TURN_H
#define MISTRAL_SERVER_CHAT_TURN_H

#include "server/answer_format.h"
#include "server/api_error.h"
#include "server/generation.h"
#include "text/chat/answer_parser.h"
#include "text/chat/template.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum tool_choice { TOOL_CHOICE_AUTO, TOOL_CHOICE_NONE, TOOL_CHOICE_REQUIRED, TOOL_CHOICE_NAMED };

/* What a client asks for beside the messages. */
struct chat_wishes {
    json_t *tools;     /* for the template: [{type: "function", function: {name, …}}]; NULL: none.
                        * Owned; in one order of members, and without what is not the model's to see */
    json_t *functions; /* of each tool, as the client has it; owned */
    enum tool_choice choice;
    const char *chosen_tool; /* TOOL_CHOICE_NAMED */
    bool single_call;
    bool thinking_is_off;
    json_t *variables; /* for the template; owned: see chat_wishes_deinit */
    /* A template in place of the model's own, and what it can do; NULL: none. Borrowed. */
    const struct chat_template *own_template;
    struct chat_traits own_traits;
};

void chat_wishes_deinit(struct chat_wishes *wishes);

/* Reads tools, tool_choice, parallel_tool_calls, reasoning_effort and chat_template_kwargs from a
 * body as /v1/chat/completions has it. Texts are borrowed from it. */
bool chat_wishes_read(const json_t *body, struct chat_wishes *wishes, struct api_error *error);
/* The variables by which templates turn thinking on and off. `effort` NULL: not said. */
bool chat_wishes_set_thinking(struct chat_wishes *wishes, bool enabled, const char *effort,
                              struct api_error *error);

/* As chat_wishes_read, from tools alone; NULL or null: none. */
bool chat_wishes_read_tools(const json_t *tools, struct chat_wishes *wishes,
                            struct api_error *error);

/* The prompt of `messages` (as openai_messages_read makes them), appended to `prompt`. What is
 * needed to read the answer is kept in generation->turn; calling it again, with fewer messages,
 * replaces that. Sets generation->request.mark_special. */
bool chat_turn_encode(struct generation *generation, const struct served_model *model,
                      const json_t *messages, const struct chat_wishes *wishes,
                      struct token_list *prompt, struct api_error *error);

/* After chat_turn_encode: sets generation->request.grammar to what the answer may look like, where
 * the wishes or `format` ask for anything. A call that is asked for is a call, in the model's own
 * form, with arguments that its schema allows; a thought may come before it, or before the format,
 * where the model thinks. */
bool chat_turn_constrain(struct generation *generation, const struct chat_wishes *wishes,
                         const struct answer_format *format, struct api_error *error);

/* Text of the choice's answer, taken apart for the sink; `context` must stay the same. A generation
 * without a turn has content only. */
void chat_turn_feed(struct generation_choice *choice, const char *text, size_t length,
                    answer_sink *sink, void *context);
/* The answer is over. */
void chat_turn_finish(struct generation_choice *choice, answer_sink *sink, void *context);
/* Whether the answer calls tools. */
bool chat_turn_has_calls(const struct generation_choice *choice);

#endif
