/*
 * traits.h - what a model's chat template can do, found by trying it: tools, thinking, and the
 * shapes in which it wants a conversation.
 *
 * A template says none of this outright. The probe renders small conversations and looks at what
 * came out, once, when a model is loaded. Pure; any thread.
 */
#ifndef MISTRAL_TEXT_CHAT_TRAITS_H
#define MISTRAL_TEXT_CHAT_TRAITS_H

#include "base/string_view.h"
#include "text/chat/forms.h"
#include "text/chat/template.h"
#include "text/tokenizer/tokenizer.h"

#include <stdbool.h>
#include <stddef.h>

enum { CHAT_CONTROLS_MAX = 24 };

/* How tools are shown to the model. */
enum tools_place {
    TOOLS_NOWHERE,           /* the template knows of none, or calls in an unknown form */
    TOOLS_IN_TEMPLATE,       /* the template writes those it is given */
    TOOLS_IN_SYSTEM_MESSAGE, /* it writes the system message's own member `tools`, a text */
};

struct chat_traits {
    /* For capabilities. Tools are supported when the template shows them to the model and the form
     * of the calls is known; else they are told to it in a form of our own
     * (text/chat/plain_tools.h).
     */
    bool supports_tools;
    bool supports_thinking;
    bool thinking_can_be_set; /* enable_thinking, thinking or reasoning_effort changes the prompt */

    const struct tool_call_form *calls;   /* NULL: there is no template */
    const struct thinking_form *thinking; /* NULL: none */
    /* Of the texts in these forms, those that are control tokens of the vocabulary: the same text
     * in ordinary tokens is no mark. */
    struct string_view controls[CHAT_CONTROLS_MAX];
    size_t control_count;
    bool single_calls; /* the template has no place for two calls in one answer */

    /* The shapes the template wants; chat_messages_adapt gives them to it. */
    enum tools_place tools_place;
    bool whole_tools;         /* it fails on a tool without a description or without parameters */
    const char *thinking_key; /* of a message: where it looks for what was thought before */
    bool thinking_excludes_text; /* it refuses a thought and a text beside calls */
    bool calls_as_text;          /* it writes no calls: they go into the content */
    bool results_as_user;        /* it writes no results: they go into a user's message */
    bool system_as_user;         /* it refuses a system message, or drops it */
    bool arguments_as_text;      /* a call's arguments as JSON text, not as an object */
    bool null_content;           /* null, not "", as content beside tool calls */
    bool short_call_ids;         /* nine letters and digits, else it refuses */
    bool typed_content;          /* content as a list of parts, else it is lost */
    bool thinking_parts;         /* what was thought as a part of that list, of type "thinking" */
};

/* `source` is the text the template was made from. Without a template (NULL) nothing is supported.
 * False, with what had not been found missing: ERROR_INVALID_ARGUMENT, the template took longer
 * than a second; ERROR_OUT_OF_MEMORY, what was found may be wrong. */
bool chat_traits_probe(const struct chat_template *chat_template, const char *source,
                       const struct tokenizer *tokenizer, struct chat_traits *traits,
                       struct error *error);

/* Fills `controls` from the forms: for who sets these himself. */
void chat_traits_find_controls(struct chat_traits *traits, const struct tokenizer *tokenizer);
bool chat_traits_is_control(const struct chat_traits *traits, struct string_view text);

/* Takes a form's text apart: the next piece of *text, a control token or what stands before one.
 * Empty at the end. */
struct string_view chat_traits_next_piece(const struct chat_traits *traits, const char **text,
                                          bool *is_control);

#endif
