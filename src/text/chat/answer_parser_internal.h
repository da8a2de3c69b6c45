/*
 * answer_parser_internal.h - what answer_parser.c (content, thoughts, channels) and answer_calls.c
 * (calls) share. For these two only.
 */
#ifndef MISTRAL_TEXT_CHAT_ANSWER_PARSER_INTERNAL_H
#define MISTRAL_TEXT_CHAT_ANSWER_PARSER_INTERNAL_H

#include "base/random.h"
#include "base/string_buffer.h"
#include "text/chat/answer_parser.h"
#include "text/chat/tool_call_reader.h"
#include "text/chat/value_arguments.h"

enum answer_place {
    IN_CONTENT,
    IN_THINKING,
    IN_HEADER,      /* of a message in a channel */
    CALL_SECTION,   /* after what opens the calls: what opens the first one */
    CALL_HEAD,      /* after what opens a call: a list, an object, or what stands before its name */
    CALL_ITEM,      /* after a comma in a list: an object comes */
    CALL_OBJECT,    /* the reader has it */
    CALL_NAME,      /* up to what ends it */
    CALL_ID,        /* after id_open */
    CALL_ARGUMENTS, /* after the name, and between tagged arguments */
    CALL_KEY,       /* tagged */
    CALL_VALUE_OPEN,   /* tagged: between key and value */
    CALL_VALUE,        /* tagged */
    CALL_GEMMA_OBJECT, /* value_arguments has it */
    CALL_NEXT,         /* after a call: what closes it, the next one, or the end of the calls */
};

/* The forms' texts as they stand in an answer: control tokens marked, no white space around. */
enum answer_mark {
    MARK_SECTION_OPEN,
    MARK_SECTION_CLOSE,
    MARK_OPEN,
    MARK_OTHER_OPEN,
    MARK_BEFORE_NAME,
    MARK_ID_OPEN,
    MARK_AFTER_NAME,
    MARK_AFTER_ARGUMENTS,
    MARK_CLOSE,
    MARK_KEY_OPEN,
    MARK_KEY_CLOSE,
    MARK_VALUE_OPEN,
    MARK_VALUE_CLOSE,
    MARK_TEXT,
    MARK_THOUGHT_OPEN,
    MARK_THOUGHT_CLOSE,
    /* Of messages in channels. */
    MARK_MESSAGE,
    MARK_START,
    MARK_END,
    MARK_COUNT,
};

enum match { MATCH_NO, MATCH_YES, MATCH_PERHAPS };
/* What became of the byte at hand; UNTAKEN: it begins a control token that means nothing here. */
enum step { STEP_TAKEN, STEP_WAITS, STEP_UNTAKEN };

struct answer_parser {
    struct answer_options options;
    const struct tool_call_form *form;      /* NULL: calls are not looked for */
    bool in_channels;                       /* all an answer says is in messages with headers */
    struct string_buffer marks[MARK_COUNT]; /* empty: the form has none */
    struct random_state random;
    enum answer_place place;
    struct string_buffer pending;
    size_t at;                   /* in pending: everything before is decided */
    bool is_final;               /* nothing comes after pending */
    bool at_control;             /* a control token is at hand, whole */
    struct string_view control;  /* its text */
    size_t control_bytes;        /* with its marks */
    struct string_buffer spaces; /* white space that ends the content, or the thought, so far */
    bool drops_spaces;           /* the next white space belongs to a tag */
    bool has_content, has_thought;
    bool failed;
    struct string_buffer header; /* IN_HEADER: so far */

    /* Text of one kind, on its way to the sink. */
    struct string_buffer out;
    enum answer_event_kind out_kind;

    /* The call in progress. */
    struct tool_call_reader reader;
    struct value_arguments values;
    struct string_buffer raw; /* all of it, from its tag on, or from the end of the call before */
    bool is_list, is_bare;
    bool has_begun;
    size_t sent;      /* bytes of the arguments */
    size_t raw_shown; /* bytes of raw that the client has seen, when it has begun */
    char id[TOOL_ID_MAX_BYTES + 1];
    size_t begun_count, complete_count;
};

/* --- answer_parser.c --- */

bool answer_is_space(char byte);
enum match answer_match(const struct answer_parser *parser, enum answer_mark mark);
/* Goes past a mark or a byte that is part of a call. */
void answer_take_mark(struct answer_parser *parser, enum answer_mark mark);
void answer_take_byte(struct answer_parser *parser, char byte);
void answer_put(struct answer_parser *parser, enum answer_event_kind kind, const char *text,
                size_t length);
void answer_flush(struct answer_parser *parser);
void answer_drop_spaces(struct answer_parser *parser);

/* --- answer_calls.c --- */

/* A mark that opens a call, or calls, is at hand. */
void answer_open_call(struct answer_parser *parser, enum answer_mark mark);
/* JSON without a tag, which is a call if it calls what there is. */
void answer_open_bare_call(struct answer_parser *parser);
/* A message to a tool: its arguments come. */
void answer_open_named_call(struct answer_parser *parser, struct string_view name);
/* What was taken for a call is text. The byte at hand is still to be read. */
void answer_call_is_none(struct answer_parser *parser);
void answer_leave_calls(struct answer_parser *parser);
bool answer_in_call(const struct answer_parser *parser);
enum step answer_step_call(struct answer_parser *parser, char byte);

#endif
