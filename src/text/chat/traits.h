/*
 * traits.h - what a model's chat template can do, found by trying it: tools, thinking, and the
 * shapes in which it wants a conversation.
 *
 * A template says none of this outright. The probe renders small conversations and looks at what
 * came out, once, when a model is loaded. Pure; any thread.
 */
#ifndef MISTRAL_TEXT_CHAT_TRAITS_H
#define MISTRAL_TEXT_CHAT_TRAITS_H

#include "text/chat/template.h"
#include "text/tokenizer/tokenizer.h"

#include <stdbool.h>
#include <stddef.h>

/* How the model writes a call. */
enum tool_call_form {
    TOOL_CALLS_NONE,    /* in no form that is known here: an answer is text only */
    TOOL_CALLS_MISTRAL, /* [TOOL_CALLS] and a JSON list of calls, or name[CALL_ID]id[ARGS]{…} */
    TOOL_CALLS_HERMES,  /* <tool_call>{"name":…,"arguments":{…}}</tool_call>: Hermes, Qwen */
    TOOL_CALLS_LLAMA3,  /* {"name":…,"parameters":{…}}, perhaps after <|python_tag|> */
};

/* How it writes what it thinks before it answers. */
enum thinking_form {
    THINKING_NONE,
    THINKING_TAGS,    /* <think>…</think> */
    THINKING_MISTRAL, /* [THINK]…[/THINK] */
};

struct chat_traits {
    /* For capabilities and refusals. Tools are supported when the template shows them to the model
     * and the form of the calls is known. */
    bool supports_tools;
    bool supports_thinking;
    bool thinking_can_be_set; /* enable_thinking, thinking or reasoning_effort changes the prompt */

    enum tool_call_form tool_calls;
    enum thinking_form thinking;
    /* The vocabulary has the form's tags as control tokens: the same text in ordinary tokens is no
     * tag. Of a call the tag that opens it, and those within it ([ARGS], </tool_call>, …). */
    bool tool_tags_are_control, inner_tags_are_control, thinking_tags_are_control;

    /* Within the form, for whoever writes calls. */
    bool
        calls_are_listed; /* Mistral: a JSON list behind one tag, else names, each behind its own */
    bool calls_have_ids;  /* Mistral, names: [CALL_ID] and an id before [ARGS] */
    bool single_calls;    /* the template has no place for two calls in one answer */

    /* The shapes the template wants; chat_messages_adapt gives them to it. */
    bool arguments_as_text; /* a call's arguments as JSON text, not as an object */
    bool null_content;      /* null, not "", as content beside tool calls */
    bool short_call_ids;    /* nine letters and digits, else it refuses */
    bool typed_content;     /* content as a list of parts, else it is lost */
    bool thinking_parts;    /* what was thought as a part of that list, of type "thinking" */
};

/* `source` is the text the template was made from. Without a template (NULL) nothing is supported.
 * `tokenizer` may be NULL: no tag is a control token then. */
void chat_traits_probe(const struct chat_template *chat_template, const char *source,
                       const struct tokenizer *tokenizer, struct chat_traits *traits);

/* The texts that begin and end a call and a thought; NULL where the form has none. */
struct chat_tags {
    const char *open, *close;
};
struct chat_tags tool_call_tags(enum tool_call_form form);
struct chat_tags thinking_tags(enum thinking_form form);

#endif
