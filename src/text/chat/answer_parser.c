/*
 * answer_parser.c - see answer_parser.h. Text waits in `pending` until it is decided: a tag may be
 * cut anywhere. Everything before the first undecided byte has gone where it belongs.
 */
#include "text/chat/answer_parser.h"

#include "base/random.h"
#include "base/string_buffer.h"
#include "text/chat/tool_call_reader.h"

#include <stdlib.h>
#include <string.h>

/* U+FDD0 and U+FDD1, which stand around a control token: see text/tokenizer/tokenizer.h. */
static const char mark_open[] = "\xef\xb7\x90";
static const char mark_close[] = "\xef\xb7\x91";
enum { MARK_BYTES = 3, CONTROL_MAX_BYTES = 256 };

enum place {
    IN_CONTENT,
    IN_THINKING,
    CALL_BODY,      /* after the tag: a list, an object or a name comes */
    CALL_OBJECT,    /* the reader has it */
    CALL_NAME,      /* Mistral: name[CALL_ID]id[ARGS]{…} */
    CALL_ID,        /* after [CALL_ID] */
    CALL_ARGUMENTS, /* after [ARGS]: the object comes */
    CALL_NEXT,      /* after a call: what separates it from the next, or ends them */
    CALL_ITEM,      /* after a comma in a list: an object comes */
};

struct answer_parser {
    struct answer_options options;
    struct chat_tags call_tags, thinking_tags; /* open NULL: not looked for */
    struct random_state random;
    enum place place;
    struct string_buffer pending;
    size_t at;                   /* in pending: everything before is decided */
    struct string_buffer spaces; /* white space that ends the content, or the thought, so far */
    bool drops_spaces;           /* the next white space belongs to a tag */
    bool has_content;
    bool failed;

    /* Text of one kind, on its way to the sink. */
    struct string_buffer out;
    enum answer_event_kind out_kind;

    /* The call in progress. */
    struct tool_call_reader reader;
    struct string_buffer raw; /* all of it, from its tag on, or from the end of the call before */
    bool is_list, is_bare;
    bool has_begun;
    size_t sent;      /* bytes of the arguments */
    size_t raw_shown; /* bytes of raw that the client has seen, when it has begun */
    char id[TOOL_ID_MAX_BYTES + 1];
    size_t begun_count, complete_count;
};

/* --- to the sink --- */

static void flush(struct answer_parser *parser) {
    if (parser->out.length == 0) {
        return;
    }
    struct answer_event event = {
        .kind = parser->out_kind,
        .text = {string_buffer_text(&parser->out), parser->out.length},
    };
    if (event.kind == ANSWER_CALL_ARGUMENTS) {
        event.call = parser->begun_count - 1;
    }
    parser->options.sink(parser->options.context, &event);
    parser->failed = parser->failed || parser->out.failed;
    string_buffer_clear(&parser->out);
}

static void put(struct answer_parser *parser, enum answer_event_kind kind, const char *text,
                size_t length) {
    if (parser->out_kind != kind) {
        flush(parser);
        parser->out_kind = kind;
    }
    string_buffer_append(&parser->out, text, length);
}

static void send_call(struct answer_parser *parser, enum answer_event_kind kind,
                      const struct string_buffer *text) {
    flush(parser);
    const struct string_buffer *name = &parser->reader.name;
    struct answer_event event = {
        .kind = kind,
        .call = parser->begun_count - 1,
        .id = parser->id,
        .name = {string_buffer_text(name), name->length},
        .shown = parser->raw_shown,
    };
    if (text != NULL) {
        event.text = (struct string_view){string_buffer_text(text), text->length};
    }
    parser->options.sink(parser->options.context, &event);
}

/* --- content and thoughts --- */

static bool is_space(char byte) {
    return byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r';
}

static void drop_spaces(struct answer_parser *parser) {
    string_buffer_clear(&parser->spaces);
    parser->drops_spaces = true;
}

static void put_text(struct answer_parser *parser, enum answer_event_kind kind, char byte) {
    if (is_space(byte)) {
        if (!parser->drops_spaces) {
            string_buffer_append_char(&parser->spaces, byte);
        }
        return;
    }
    put(parser, kind, string_buffer_text(&parser->spaces), parser->spaces.length);
    put(parser, kind, &byte, 1);
    string_buffer_clear(&parser->spaces);
    parser->drops_spaces = false;
    parser->has_content = parser->has_content || kind == ANSWER_CONTENT;
}

/* --- calls --- */

static bool uses_short_ids(const struct answer_parser *parser) {
    return parser->options.traits.short_call_ids ||
           parser->options.traits.tool_calls == TOOL_CALLS_MISTRAL;
}

static void make_id(struct answer_parser *parser) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    const struct string_buffer *given = &parser->reader.id;
    bool short_ids = uses_short_ids(parser);
    if (given->length > 0 && (!short_ids || given->length == 9)) {
        memcpy(parser->id, given->data, given->length + 1);
        return;
    }
    size_t length = 0;
    if (!short_ids) {
        memcpy(parser->id, "call_", 5);
        length = 5;
    }
    for (size_t end = length + (short_ids ? 9 : 24); length < end; length++) {
        parser->id[length] = letters[random_next(&parser->random) % (sizeof letters - 1)];
    }
    parser->id[length] = '\0';
}

static bool is_ignored(const struct answer_parser *parser) {
    return parser->options.single_call && parser->complete_count > 0;
}

/* Shows what is known of the call so far, once its name is. */
static void show_call(struct answer_parser *parser) {
    const struct string_buffer *arguments = &parser->reader.arguments;
    if (is_ignored(parser) || arguments->length == 0 || !parser->reader.has_name) {
        return;
    }
    if (!parser->has_begun) {
        parser->has_begun = true;
        parser->begun_count++;
        make_id(parser);
        send_call(parser, ANSWER_CALL_BEGIN, NULL);
    }
    if (arguments->length > parser->sent) {
        put(parser, ANSWER_CALL_ARGUMENTS, arguments->data + parser->sent,
            arguments->length - parser->sent);
        parser->sent = arguments->length;
        parser->raw_shown = parser->raw.length;
    }
}

static void leave_calls(struct answer_parser *parser) {
    parser->place = IN_CONTENT;
    parser->is_bare = false;
    drop_spaces(parser);
}

static void begin_call(struct answer_parser *parser, bool is_bare) {
    parser->is_bare = is_bare;
    parser->is_list = false;
    parser->has_begun = false;
    parser->sent = 0;
    parser->raw_shown = 0;
    string_buffer_clear(&parser->raw);
    parser->place = CALL_BODY;
}

static void call_is_complete(struct answer_parser *parser) {
    show_call(parser);
    if (!is_ignored(parser)) {
        parser->complete_count++;
        send_call(parser, ANSWER_CALL_END, &parser->reader.arguments);
    }
    bool is_list = parser->is_list, is_bare = parser->is_bare;
    begin_call(parser, is_bare);
    parser->is_list = is_list;
    parser->place = CALL_NEXT;
}

/* What was taken for a call is text. The byte at hand is still to be read. */
static void call_is_none(struct answer_parser *parser) {
    if (parser->has_begun) {
        send_call(parser, ANSWER_CALL_BROKEN, &parser->raw);
    } else {
        put(parser, ANSWER_CONTENT, string_buffer_text(&parser->raw), parser->raw.length);
    }
    parser->has_content = true;
    leave_calls(parser);
    parser->drops_spaces = false;
}

static bool is_offered(const struct answer_parser *parser) {
    const struct string_buffer *name = &parser->reader.name;
    for (size_t i = 0; i < parser->options.tool_count; i++) {
        struct string_view offered = parser->options.tools[i];
        if (string_view_equals(offered, (struct string_view){name->data, name->length})) {
            return true;
        }
    }
    return false;
}

static void call_object_byte(struct answer_parser *parser, char byte) {
    enum tool_call_progress progress = tool_call_reader_push(&parser->reader, byte);
    /* JSON without a tag around it is a call only if it calls what there is. */
    if (progress == TOOL_CALL_WRONG ||
        (parser->is_bare && parser->reader.has_name && !is_offered(parser))) {
        call_is_none(parser);
        return;
    }
    string_buffer_append_char(&parser->raw, byte);
    parser->at++;
    if (progress == TOOL_CALL_COMPLETE) {
        call_is_complete(parser);
    } else {
        show_call(parser);
    }
}

/* --- tags --- */

enum match { MATCH_NO, MATCH_YES, MATCH_PERHAPS };

static enum match match_text(const struct answer_parser *parser, const char *tag, bool is_final) {
    if (tag == NULL) {
        return MATCH_NO;
    }
    size_t length = strlen(tag);
    size_t left = parser->pending.length - parser->at;
    size_t common = left < length ? left : length;
    if (memcmp(parser->pending.data + parser->at, tag, common) != 0) {
        return MATCH_NO;
    }
    return common == length ? MATCH_YES : is_final ? MATCH_NO : MATCH_PERHAPS;
}

/* A marked control token at hand: its text, and the bytes it takes with its marks. */
static enum match match_control(const struct answer_parser *parser, bool is_final,
                                struct string_view *control, size_t *taken) {
    enum match opens = match_text(parser, mark_open, is_final);
    if (opens != MATCH_YES) {
        return opens;
    }
    const char *text = parser->pending.data + parser->at + MARK_BYTES;
    size_t left = parser->pending.length - parser->at - MARK_BYTES;
    size_t most = left < CONTROL_MAX_BYTES ? left : CONTROL_MAX_BYTES;
    for (size_t i = 0; i + MARK_BYTES <= most; i++) {
        if (memcmp(text + i, mark_close, MARK_BYTES) == 0) {
            *control = (struct string_view){text, i};
            *taken = i + (size_t)2 * MARK_BYTES;
            return MATCH_YES;
        }
    }
    return left < CONTROL_MAX_BYTES && !is_final ? MATCH_PERHAPS : MATCH_NO;
}

static bool is_tag(struct string_view control, const char *tag) {
    return tag != NULL && string_view_is(control, tag);
}

static void open_call(struct answer_parser *parser, const char *tag, size_t taken) {
    drop_spaces(parser);
    begin_call(parser, false);
    string_buffer_append_text(&parser->raw, tag);
    parser->at += taken;
}

static void open_thought(struct answer_parser *parser, size_t taken) {
    drop_spaces(parser);
    parser->place = IN_THINKING;
    parser->at += taken;
}

static void close_thought(struct answer_parser *parser, size_t taken) {
    drop_spaces(parser);
    parser->place = IN_CONTENT;
    parser->at += taken;
}

static bool is_in_call(const struct answer_parser *parser) {
    return parser->place >= CALL_BODY;
}

/* A control token, wherever we are. What means nothing here is dropped. */
static void step_control(struct answer_parser *parser, struct string_view control, size_t taken) {
    if (is_tag(control, parser->call_tags.open)) {
        if (is_in_call(parser) && parser->place != CALL_NEXT) {
            call_is_none(parser);
        }
        open_call(parser, parser->call_tags.open, taken);
        return;
    }
    if (parser->place == CALL_NAME || parser->place == CALL_ID) {
        bool is_id = string_view_is(control, "[CALL_ID]");
        if (is_id || string_view_is(control, "[ARGS]")) {
            string_buffer_append(&parser->raw, control.data, control.length);
            parser->at += taken;
            parser->place = is_id ? CALL_ID : CALL_ARGUMENTS;
            return;
        }
    }
    if (parser->place == IN_THINKING && is_tag(control, parser->thinking_tags.close)) {
        close_thought(parser, taken);
        return;
    }
    if (parser->place == IN_CONTENT && is_tag(control, parser->thinking_tags.open)) {
        open_thought(parser, taken);
        return;
    }
    if (is_in_call(parser) && is_tag(control, parser->call_tags.close)) {
        if (parser->place == CALL_NEXT) {
            leave_calls(parser);
        } else {
            string_buffer_append(&parser->raw, control.data, control.length);
            call_is_none(parser);
        }
    }
    parser->at += taken;
}

/* --- one byte, or one tag in plain text; false: more text is needed to decide --- */

static bool step_content(struct answer_parser *parser, char byte, bool is_final) {
    const struct chat_traits *traits = &parser->options.traits;
    const char *call = traits->tool_tags_are_control ? NULL : parser->call_tags.open;
    /* A thought comes before everything else. */
    bool may_think = !traits->thinking_tags_are_control && !parser->has_content;
    const char *thought = may_think ? parser->thinking_tags.open : NULL;
    enum match is_call = match_text(parser, call, is_final);
    enum match is_thought = match_text(parser, thought, is_final);
    if (call != NULL && is_call == MATCH_YES) {
        open_call(parser, call, strlen(call));
        return true;
    }
    if (thought != NULL && is_thought == MATCH_YES) {
        open_thought(parser, strlen(thought));
        return true;
    }
    if (is_call == MATCH_PERHAPS || is_thought == MATCH_PERHAPS) {
        return false;
    }
    if (byte == '{' && !parser->has_content && parser->call_tags.open != NULL &&
        traits->tool_calls == TOOL_CALLS_LLAMA3) {
        begin_call(parser, true);
        string_buffer_append(&parser->raw, string_buffer_text(&parser->spaces),
                             parser->spaces.length);
        drop_spaces(parser);
        return true;
    }
    put_text(parser, ANSWER_CONTENT, byte);
    parser->at++;
    return true;
}

static bool step_thinking(struct answer_parser *parser, char byte, bool is_final) {
    bool is_control = parser->options.traits.thinking_tags_are_control;
    const char *close = is_control ? NULL : parser->thinking_tags.close;
    switch (match_text(parser, close, is_final)) {
    case MATCH_YES:
        close_thought(parser, close == NULL ? 0 : strlen(close));
        return true;
    case MATCH_PERHAPS:
        return false;
    case MATCH_NO:
        break;
    }
    put_text(parser, ANSWER_THINKING, byte);
    parser->at++;
    return true;
}

static void keep_raw(struct answer_parser *parser, char byte) {
    string_buffer_append_char(&parser->raw, byte);
    parser->at++;
}

static bool step_body(struct answer_parser *parser, char byte) {
    bool is_mistral = parser->options.traits.tool_calls == TOOL_CALLS_MISTRAL;
    if (is_space(byte)) {
        keep_raw(parser, byte);
    } else if (byte == '{') {
        parser->place = CALL_OBJECT;
        tool_call_reader_begin(&parser->reader, false, parser->is_bare);
    } else if (byte == '[' && parser->place == CALL_BODY && !parser->is_list) {
        parser->is_list = true;
        keep_raw(parser, byte);
    } else if (is_mistral && parser->place == CALL_BODY && !parser->is_list) {
        parser->place = CALL_NAME;
        tool_call_reader_begin(&parser->reader, false, false);
    } else {
        call_is_none(parser);
    }
    return true;
}

/* Name or id, up to the tag that ends it. */
static bool step_name(struct answer_parser *parser, char byte, bool is_final) {
    bool is_id = parser->place == CALL_ID;
    static const struct {
        const char *tag;
        enum place next;
    } ends[] = {{"[CALL_ID]", CALL_ID}, {"[ARGS]", CALL_ARGUMENTS}};
    struct tool_call_reader *reader = &parser->reader;
    if (reader->name.length > 0 && byte == '[') {
        for (size_t i = is_id; i < 2; i++) {
            enum match match = match_text(parser, ends[i].tag, is_final);
            if (match == MATCH_YES) {
                string_buffer_append_text(&parser->raw, ends[i].tag);
                parser->at += strlen(ends[i].tag);
                parser->place = ends[i].next;
            }
            if (match != MATCH_NO) {
                return match == MATCH_YES;
            }
        }
    }
    if (reader->name.length > 0 && (byte == '{' || is_space(byte))) {
        parser->place = CALL_ARGUMENTS;
        return true;
    }
    struct string_buffer *text = is_id ? &reader->id : &reader->name;
    bool fits = text->length < (is_id ? TOOL_ID_MAX_BYTES : TOOL_NAME_MAX_BYTES);
    if (!fits || !(is_id ? tool_id_is_usable(&byte, 1) : tool_name_is_plain(&byte, 1))) {
        call_is_none(parser);
        return true;
    }
    string_buffer_append_char(text, byte);
    keep_raw(parser, byte);
    return true;
}

static bool step_arguments(struct answer_parser *parser, char byte) {
    if (is_space(byte)) {
        keep_raw(parser, byte);
    } else if (byte == '{' && parser->reader.name.length > 0) {
        parser->reader.has_name = true;
        tool_call_reader_begin(&parser->reader, true, false);
        parser->place = CALL_OBJECT;
    } else {
        call_is_none(parser);
    }
    return true;
}

static bool step_next(struct answer_parser *parser, char byte, bool is_final) {
    if (is_space(byte)) {
        keep_raw(parser, byte);
        return true;
    }
    if (parser->is_list && (byte == ',' || byte == ']')) {
        keep_raw(parser, byte);
        parser->place = byte == ',' ? CALL_ITEM : CALL_NEXT;
        parser->is_list = byte == ',';
        return true;
    }
    const struct chat_traits *traits = &parser->options.traits;
    const char *close = traits->tool_tags_are_control ? NULL : parser->call_tags.close;
    enum match match = match_text(parser, close, is_final);
    if (close != NULL && match == MATCH_YES) {
        parser->at += strlen(close);
        leave_calls(parser);
        return true;
    }
    if (match == MATCH_NO && traits->tool_calls == TOOL_CALLS_LLAMA3 && byte == ';') {
        keep_raw(parser, byte);
        return true;
    }
    if (match == MATCH_NO && traits->tool_calls == TOOL_CALLS_LLAMA3 && byte == '{') {
        parser->place = CALL_BODY;
        return true;
    }
    if (match == MATCH_NO) {
        leave_calls(parser);
    }
    return match == MATCH_NO;
}

static bool step(struct answer_parser *parser, bool is_final) {
    struct string_view control = {0};
    size_t taken = 0;
    char byte = parser->pending.data[parser->at];
    switch (match_control(parser, is_final, &control, &taken)) {
    case MATCH_YES:
        step_control(parser, control, taken);
        return true;
    case MATCH_PERHAPS:
        return false;
    case MATCH_NO:
        break;
    }
    switch (parser->place) {
    case IN_CONTENT:
        return step_content(parser, byte, is_final);
    case IN_THINKING:
        return step_thinking(parser, byte, is_final);
    case CALL_BODY:
    case CALL_ITEM:
        return step_body(parser, byte);
    case CALL_OBJECT:
        call_object_byte(parser, byte);
        return true;
    case CALL_NAME:
    case CALL_ID:
        return step_name(parser, byte, is_final);
    case CALL_ARGUMENTS:
        return step_arguments(parser, byte);
    case CALL_NEXT:
        return step_next(parser, byte, is_final);
    }
    return false;
}

static void run(struct answer_parser *parser, bool is_final) {
    while (parser->at < parser->pending.length && step(parser, is_final)) {
    }
    size_t left = parser->pending.length - parser->at;
    if (parser->at > 0) {
        memmove(parser->pending.data, parser->pending.data + parser->at, left + 1);
        parser->pending.length = left;
        parser->at = 0;
    }
}

/* --- the interface --- */

bool answer_is_plain(const struct answer_options *options) {
    const struct chat_traits *traits = &options->traits;
    bool may_call = options->tool_count > 0 && traits->tool_calls != TOOL_CALLS_NONE;
    return !may_call && traits->thinking == THINKING_NONE;
}

struct answer_parser *answer_parser_create(const struct answer_options *options) {
    struct answer_parser *parser = calloc(1, sizeof *parser);
    if (parser == NULL) {
        return NULL;
    }
    parser->options = *options;
    if (options->tool_count > 0 && options->traits.tool_calls != TOOL_CALLS_NONE) {
        parser->call_tags = tool_call_tags(options->traits.tool_calls);
    }
    parser->thinking_tags = thinking_tags(options->traits.thinking);
    if (options->thinking_open && options->traits.thinking != THINKING_NONE) {
        parser->place = IN_THINKING;
        parser->drops_spaces = true;
    }
    random_seed(&parser->random, options->id_seed);
    return parser;
}

void answer_parser_free(struct answer_parser *parser) {
    if (parser == NULL) {
        return;
    }
    string_buffer_deinit(&parser->pending);
    string_buffer_deinit(&parser->spaces);
    string_buffer_deinit(&parser->out);
    string_buffer_deinit(&parser->raw);
    tool_call_reader_deinit(&parser->reader);
    free(parser);
}

void answer_parser_feed(struct answer_parser *parser, const char *text, size_t length) {
    string_buffer_append(&parser->pending, text, length);
    run(parser, false);
    flush(parser);
}

void answer_parser_finish(struct answer_parser *parser) {
    run(parser, true);
    if (is_in_call(parser) && parser->place != CALL_NEXT) {
        call_is_none(parser);
    }
    if (parser->place == IN_CONTENT) {
        put(parser, ANSWER_CONTENT, string_buffer_text(&parser->spaces), parser->spaces.length);
        string_buffer_clear(&parser->spaces);
    }
    flush(parser);
}

size_t answer_parser_calls(const struct answer_parser *parser) {
    return parser->complete_count;
}

bool answer_parser_failed(const struct answer_parser *parser) {
    const struct tool_call_reader *reader = &parser->reader;
    return parser->failed || parser->pending.failed || parser->spaces.failed ||
           parser->raw.failed || reader->name.failed || reader->id.failed ||
           reader->arguments.failed || reader->key.failed || reader->value.failed;
}
