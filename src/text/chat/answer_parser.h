/*
 * answer_parser.h - takes a model's answer apart as it comes: content, thinking, tool calls.
 *
 * Fed with the text of the engine's events, in any pieces; what comes out does not depend on where
 * the pieces were cut, but for how the texts of one kind are cut in turn. The request must ask the
 * engine for marked control tokens (engine_request.mark_special): a control token then stands in
 * the text between U+FDD0 and U+FDD1, so that a tag which is a token is told from the same text
 * spelled out. Marked tokens that mean nothing here are dropped, as they are in plain text.
 *
 * Nothing is lost: a call that turns out to be none becomes content. Dropped are only the tags,
 * the headers of messages in channels, white space around thoughts and calls, and, with
 * `single_call`, the calls after the first.
 *
 * What an answer parser is asked and told is hostile (a model repeats what users say): memory is
 * bounded by the answer's length, nesting by a constant. One thread at a time.
 */
#ifndef MISTRAL_TEXT_CHAT_ANSWER_PARSER_H
#define MISTRAL_TEXT_CHAT_ANSWER_PARSER_H

#include "base/string_view.h"
#include "text/chat/traits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum answer_event_kind {
    ANSWER_CONTENT,  /* text: the next piece */
    ANSWER_THINKING, /* text: the next piece */
    /* A call as it comes. The texts of ANSWER_CALL_ARGUMENTS are pieces of one JSON object. */
    ANSWER_CALL_BEGIN,
    ANSWER_CALL_ARGUMENTS,
    /* The call is complete; text: all its arguments, one JSON object. Who does not stream calls
     * needs only this event. */
    ANSWER_CALL_END,
    /* The call that has begun is none: its JSON is wrong, or the answer ended. text: all the model
     * wrote of it, to be shown as content. Who has streamed its beginning shows only
     * text[shown …]. */
    ANSWER_CALL_BROKEN,
};

/* Texts are valid until the callback returns. */
struct answer_event {
    enum answer_event_kind kind;
    struct string_view text;
    size_t call;             /* which call: 0, 1, … */
    const char *id;          /* BEGIN, END: NUL-terminated */
    struct string_view name; /* BEGIN, END */
    size_t shown;            /* BROKEN */
};

typedef void answer_sink(void *context, const struct answer_event *event);

struct answer_parameter {
    struct string_view name;
    unsigned kinds; /* see text/chat/tool_schema.h */
};
struct answer_tool {
    struct string_view name;
    const struct answer_parameter *parameters; /* [parameter_count]; others may be of any kind */
    size_t parameter_count;
};

struct answer_options {
    struct chat_traits traits;
    /* [tool_count], borrowed until the parser is freed. Without tools no calls are looked for. */
    const struct answer_tool *tools;
    size_t tool_count;
    bool thinking_open; /* the prompt ends inside a thought that the template has opened */
    bool single_call;   /* parallel_tool_calls: false */
    uint64_t id_seed;   /* the calls' ids come from it: a fresh one for each answer */
    answer_sink *sink;
    void *context; /* handed to the sink */
};

struct answer_parser;

/* True when an answer needs no parser: neither thoughts nor calls can be in it. */
bool answer_is_plain(const struct answer_options *options);

/* NULL when memory runs out. */
struct answer_parser *answer_parser_create(const struct answer_options *options);
void answer_parser_free(struct answer_parser *parser); /* NULL allowed */

void answer_parser_feed(struct answer_parser *parser, const char *text, size_t length);
/* The answer is over: what was held back comes out. */
void answer_parser_finish(struct answer_parser *parser);

/* Complete calls so far; with any, the answer's finish reason is "tool_calls". */
size_t answer_parser_calls(const struct answer_parser *parser);
/* Memory ran out: the answer is incomplete. */
bool answer_parser_failed(const struct answer_parser *parser);

#endif
