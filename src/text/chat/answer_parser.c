/*
 * answer_parser.c - see answer_parser.h. Text waits in `pending` until it is decided: a tag may be
 * cut anywhere. Everything before the first undecided byte has gone where it belongs.
 */
#include "text/chat/answer_parser.h"

#include "text/chat/answer_parser_internal.h"

#include <stdlib.h>
#include <string.h>

/* U+FDD0 and U+FDD1, which stand around a control token: see text/tokenizer/tokenizer.h. */
static const char mark_open[] = "\xef\xb7\x90";
static const char mark_close[] = "\xef\xb7\x91";
enum { MARK_BYTES = 3, CONTROL_MAX_BYTES = 256, HEADER_MAX_BYTES = 512 };

/* --- to the sink --- */

void answer_flush(struct answer_parser *parser) {
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

void answer_put(struct answer_parser *parser, enum answer_event_kind kind, const char *text,
                size_t length) {
    if (parser->out_kind != kind) {
        answer_flush(parser);
        parser->out_kind = kind;
    }
    string_buffer_append(&parser->out, text, length);
}

/* --- marks --- */

bool answer_is_space(char byte) {
    return byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r';
}

/* A form's text as it stands in an answer. */
static void compile(struct answer_parser *parser, enum answer_mark mark, const char *text) {
    struct string_buffer *out = &parser->marks[mark];
    bool is_control = false;
    if (text == NULL) {
        return;
    }
    text += strspn(text, " \n");
    for (;;) {
        struct string_view piece =
            chat_traits_next_piece(&parser->options.traits, &text, &is_control);
        if (piece.length == 0) {
            break;
        }
        string_buffer_append_text(out, is_control ? mark_open : "");
        string_buffer_append(out, piece.data, piece.length);
        string_buffer_append_text(out, is_control ? mark_close : "");
    }
    while (out->length > 0 && answer_is_space(out->data[out->length - 1])) {
        out->data[--out->length] = '\0';
    }
}

static void compile_marks(struct answer_parser *parser) {
    const struct tool_call_form *form = parser->form;
    const struct thinking_form *thinking = parser->options.traits.thinking;
    if (parser->in_channels) {
        compile(parser, MARK_MESSAGE, "<|message|>");
        compile(parser, MARK_START, "<|start|>");
        compile(parser, MARK_END, "<|end|>");
        return;
    }
    if (thinking != NULL) {
        compile(parser, MARK_THOUGHT_OPEN, thinking->open);
        compile(parser, MARK_THOUGHT_CLOSE, thinking->close);
    }
    if (form == NULL) {
        return;
    }
    const char *const texts[] = {
        [MARK_SECTION_OPEN] = form->section_open,
        [MARK_SECTION_CLOSE] = form->section_close,
        [MARK_OPEN] = form->open,
        [MARK_OTHER_OPEN] = form->other_open,
        [MARK_BEFORE_NAME] = form->before_name,
        [MARK_ID_OPEN] = form->id_open,
        [MARK_AFTER_NAME] = form->after_name,
        [MARK_AFTER_ARGUMENTS] = form->after_arguments,
        [MARK_CLOSE] = form->close,
        [MARK_KEY_OPEN] = form->key_open,
        [MARK_KEY_CLOSE] = form->key_close,
        [MARK_VALUE_OPEN] = form->value_open,
        [MARK_VALUE_CLOSE] = form->value_close,
        [MARK_TEXT] = form->text_mark,
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        compile(parser, (enum answer_mark)i, texts[i]);
    }
}

static enum match match_text(const struct answer_parser *parser, const char *text, size_t length) {
    size_t left = parser->pending.length - parser->at;
    size_t common = left < length ? left : length;
    if (length == 0 || memcmp(parser->pending.data + parser->at, text, common) != 0) {
        return MATCH_NO;
    }
    return common == length ? MATCH_YES : parser->is_final ? MATCH_NO : MATCH_PERHAPS;
}

enum match answer_match(const struct answer_parser *parser, enum answer_mark mark) {
    const struct string_buffer *text = &parser->marks[mark];
    return match_text(parser, string_buffer_text(text), text->length);
}

/* The text of what is at hand, without the marks around control tokens. */
static void keep_raw(struct answer_parser *parser, size_t length) {
    const char *at = parser->pending.data + parser->at, *end = at + length;
    while (at < end) {
        bool is_mark = end - at >= MARK_BYTES && (memcmp(at, mark_open, MARK_BYTES) == 0 ||
                                                  memcmp(at, mark_close, MARK_BYTES) == 0);
        if (!is_mark) {
            string_buffer_append_char(&parser->raw, *at);
        }
        at += is_mark ? MARK_BYTES : 1;
    }
}

void answer_take_mark(struct answer_parser *parser, enum answer_mark mark) {
    keep_raw(parser, parser->marks[mark].length);
    parser->at += parser->marks[mark].length;
}

void answer_take_byte(struct answer_parser *parser, char byte) {
    string_buffer_append_char(&parser->raw, byte);
    parser->at++;
}

/* Looks for a control token at hand. PERHAPS: it may be one, once more text is there. */
static enum match find_control(struct answer_parser *parser) {
    enum match opens = match_text(parser, mark_open, MARK_BYTES);
    parser->at_control = false;
    if (opens != MATCH_YES) {
        return opens;
    }
    const char *text = parser->pending.data + parser->at + MARK_BYTES;
    size_t left = parser->pending.length - parser->at - MARK_BYTES;
    size_t most = left < CONTROL_MAX_BYTES ? left : CONTROL_MAX_BYTES;
    for (size_t i = 0; i + MARK_BYTES <= most; i++) {
        if (memcmp(text + i, mark_close, MARK_BYTES) == 0) {
            parser->at_control = true;
            parser->control = (struct string_view){text, i};
            parser->control_bytes = i + (size_t)2 * MARK_BYTES;
            return MATCH_YES;
        }
    }
    return left < CONTROL_MAX_BYTES && !parser->is_final ? MATCH_PERHAPS : MATCH_NO;
}

/* --- content and thoughts --- */

void answer_drop_spaces(struct answer_parser *parser) {
    string_buffer_clear(&parser->spaces);
    parser->drops_spaces = true;
}

static void put_text(struct answer_parser *parser, enum answer_event_kind kind, char byte) {
    if (answer_is_space(byte)) {
        if (!parser->drops_spaces) {
            string_buffer_append_char(&parser->spaces, byte);
        }
        return;
    }
    answer_put(parser, kind, string_buffer_text(&parser->spaces), parser->spaces.length);
    answer_put(parser, kind, &byte, 1);
    string_buffer_clear(&parser->spaces);
    parser->drops_spaces = false;
    parser->has_content = parser->has_content || kind == ANSWER_CONTENT;
    parser->has_thought = parser->has_thought || kind == ANSWER_THINKING;
}

static void go_to(struct answer_parser *parser, enum answer_place place, size_t taken) {
    answer_drop_spaces(parser);
    parser->place = place;
    parser->at += taken;
}

static enum step step_content(struct answer_parser *parser, char byte) {
    /* A thought comes before everything else, unless what opens it is a token. */
    bool may_think = parser->at_control || !parser->has_content;
    enum match thought = may_think ? answer_match(parser, MARK_THOUGHT_OPEN) : MATCH_NO;
    bool waits = thought == MATCH_PERHAPS;
    for (enum answer_mark mark = MARK_SECTION_OPEN; mark <= MARK_OTHER_OPEN; mark++) {
        enum match match = mark == MARK_SECTION_CLOSE ? MATCH_NO : answer_match(parser, mark);
        if (match == MATCH_YES) {
            answer_open_call(parser, mark);
            return STEP_TAKEN;
        }
        waits = waits || match == MATCH_PERHAPS;
    }
    if (thought == MATCH_YES) {
        go_to(parser, IN_THINKING, parser->marks[MARK_THOUGHT_OPEN].length);
        return STEP_TAKEN;
    }
    if (waits || parser->at_control) {
        return waits ? STEP_WAITS : STEP_UNTAKEN;
    }
    if (byte == '{' && !parser->has_content && !parser->in_channels && parser->form != NULL &&
        tool_call_form_opening(parser->form) == NULL) {
        answer_open_bare_call(parser);
        return STEP_TAKEN;
    }
    put_text(parser, ANSWER_CONTENT, byte);
    parser->at++;
    return STEP_TAKEN;
}

static enum step step_thinking(struct answer_parser *parser, char byte) {
    enum match match = answer_match(parser, MARK_THOUGHT_CLOSE);
    if (match == MATCH_YES) {
        go_to(parser, IN_CONTENT, parser->marks[MARK_THOUGHT_CLOSE].length);
        return STEP_TAKEN;
    }
    if (match == MATCH_PERHAPS || parser->at_control) {
        return match == MATCH_PERHAPS ? STEP_WAITS : STEP_UNTAKEN;
    }
    put_text(parser, ANSWER_THINKING, byte);
    parser->at++;
    return STEP_TAKEN;
}

/* --- channels --- */

/* The word that follows `before` in a header. */
static struct string_view word_after(struct string_view header, const char *before) {
    size_t length = strlen(before);
    for (size_t i = 0; i + length <= header.length; i++) {
        if (memcmp(header.data + i, before, length) != 0) {
            continue;
        }
        struct string_view word = {header.data + i + length, 0};
        size_t left = header.length - i - length;
        while (word.length < left && !answer_is_space(word.data[word.length]) &&
               word.data[word.length] != '<') {
            word.length++;
        }
        return word;
    }
    return (struct string_view){"", 0};
}

/* A second message of a kind stands apart from the first one. */
static void begin_message(struct answer_parser *parser, enum answer_place place, bool is_more) {
    go_to(parser, place, 0);
    if (is_more) {
        string_buffer_append_text(&parser->spaces, "\n\n");
    }
}

/* What a header says of its message: for a tool, for the user, or for itself. */
static void read_header(struct answer_parser *parser) {
    static const char functions[] = "functions.";
    const struct string_view header = {string_buffer_text(&parser->header), parser->header.length};
    struct string_view tool = word_after(header, "to=");
    struct string_view channel = word_after(header, "<|channel|>");
    size_t prefix = sizeof functions - 1;
    if (tool.length > prefix && memcmp(tool.data, functions, prefix) == 0) {
        tool = (struct string_view){tool.data + prefix, tool.length - prefix};
    }
    if (parser->form != NULL && tool.length > 0 && tool_name_is_plain(tool.data, tool.length)) {
        answer_open_named_call(parser, tool);
    } else if (string_view_is(channel, "analysis")) {
        begin_message(parser, IN_THINKING, parser->has_thought);
    } else {
        begin_message(parser, IN_CONTENT, parser->has_content);
    }
    string_buffer_clear(&parser->header);
}

/* An answer that has no headers is all content. */
static void header_is_none(struct answer_parser *parser) {
    struct string_buffer header = parser->header;
    parser->header = (struct string_buffer){0};
    parser->place = IN_CONTENT;
    parser->drops_spaces = false;
    for (size_t i = 0; i < header.length; i++) {
        put_text(parser, ANSWER_CONTENT, header.data[i]);
    }
    parser->failed = parser->failed || header.failed;
    string_buffer_deinit(&header);
}

static enum step step_header(struct answer_parser *parser, char byte) {
    enum match match = answer_match(parser, MARK_MESSAGE);
    if (match == MATCH_YES) {
        parser->at += parser->marks[MARK_MESSAGE].length;
        read_header(parser);
        return STEP_TAKEN;
    }
    if (match == MATCH_PERHAPS) {
        return STEP_WAITS;
    }
    if (parser->at_control) {
        string_buffer_append(&parser->header, parser->control.data, parser->control.length);
        parser->at += parser->control_bytes;
    } else {
        string_buffer_append_char(&parser->header, byte);
        parser->at++;
    }
    if (parser->header.length > HEADER_MAX_BYTES) {
        header_is_none(parser);
    }
    return STEP_TAKEN;
}

/* The end of a message, or the beginning of the next one. */
static enum step step_message_end(struct answer_parser *parser) {
    enum match end = answer_match(parser, MARK_END), start = answer_match(parser, MARK_START);
    if (end != MATCH_YES && start != MATCH_YES) {
        bool waits = end == MATCH_PERHAPS || start == MATCH_PERHAPS;
        return waits ? STEP_WAITS : STEP_UNTAKEN;
    }
    if (answer_in_call(parser) && parser->place != CALL_NEXT) {
        answer_call_is_none(parser);
    }
    string_buffer_clear(&parser->header);
    go_to(parser, IN_HEADER, parser->marks[end == MATCH_YES ? MARK_END : MARK_START].length);
    return STEP_TAKEN;
}

/* --- control tokens --- */

/* What opens calls and is at hand, though nothing here waits for it. PERHAPS: more text will tell.
 */
static enum match find_opening(const struct answer_parser *parser, enum answer_mark *out) {
    static const enum answer_mark marks[] = {MARK_SECTION_OPEN, MARK_OPEN};
    enum match best = MATCH_NO;
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
        enum match match = answer_match(parser, marks[i]);
        if (match == MATCH_YES) {
            *out = marks[i];
            return match;
        }
        best = match == MATCH_PERHAPS ? match : best;
    }
    return best;
}

/* A control token that means nothing where we are. */
static enum step step_control(struct answer_parser *parser) {
    enum answer_mark mark = MARK_OPEN;
    enum match opens = find_opening(parser, &mark);
    enum match closes = answer_in_call(parser) ? answer_match(parser, MARK_CLOSE) : MATCH_NO;
    bool starts_header = parser->in_channels && string_view_is(parser->control, "<|channel|>");
    if (opens == MATCH_PERHAPS || (closes == MATCH_PERHAPS && opens == MATCH_NO)) {
        return STEP_WAITS;
    }
    if (opens == MATCH_YES || starts_header) {
        if (answer_in_call(parser) && parser->place != CALL_NEXT) {
            answer_call_is_none(parser);
        }
        if (opens == MATCH_YES) {
            answer_open_call(parser, mark);
        } else {
            go_to(parser, IN_HEADER, 0); /* a header whose beginning was left out */
        }
        return STEP_TAKEN;
    }
    if (closes == MATCH_YES) {
        answer_take_mark(parser, MARK_CLOSE);
        answer_call_is_none(parser);
        return STEP_TAKEN;
    }
    parser->at += parser->control_bytes;
    return STEP_TAKEN;
}

/* One byte, or one mark; false: more text is needed to decide. */
static bool step(struct answer_parser *parser) {
    char byte = parser->pending.data[parser->at];
    enum step taken = STEP_UNTAKEN;
    if (find_control(parser) == MATCH_PERHAPS) {
        return false;
    }
    if (parser->in_channels) {
        taken = step_message_end(parser);
    }
    if (taken == STEP_UNTAKEN) {
        taken = parser->place == IN_CONTENT    ? step_content(parser, byte)
                : parser->place == IN_THINKING ? step_thinking(parser, byte)
                : parser->place == IN_HEADER   ? step_header(parser, byte)
                                               : answer_step_call(parser, byte);
    }
    if (taken == STEP_UNTAKEN) {
        taken = step_control(parser);
    }
    return taken != STEP_WAITS;
}

static void run(struct answer_parser *parser, bool is_final) {
    parser->is_final = is_final;
    while (parser->at < parser->pending.length && step(parser)) {
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
    return (options->tool_count == 0 || traits->calls == NULL) && traits->thinking == NULL;
}

struct answer_parser *answer_parser_create(const struct answer_options *options) {
    struct answer_parser *parser = calloc(1, sizeof *parser);
    if (parser == NULL) {
        return NULL;
    }
    const struct chat_traits *traits = &options->traits;
    parser->options = *options;
    parser->form = options->tool_count > 0 ? traits->calls : NULL;
    parser->in_channels = traits->thinking != NULL && traits->thinking->content_open != NULL;
    compile_marks(parser);
    if (parser->in_channels) { /* the prompt has begun a message, not its header's end */
        parser->place = IN_HEADER;
        parser->drops_spaces = true;
    } else if (options->thinking_open && traits->thinking != NULL) {
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
    for (size_t i = 0; i < MARK_COUNT; i++) {
        string_buffer_deinit(&parser->marks[i]);
    }
    string_buffer_deinit(&parser->pending);
    string_buffer_deinit(&parser->spaces);
    string_buffer_deinit(&parser->header);
    string_buffer_deinit(&parser->out);
    string_buffer_deinit(&parser->raw);
    tool_call_reader_deinit(&parser->reader);
    value_arguments_deinit(&parser->values);
    free(parser);
}

void answer_parser_feed(struct answer_parser *parser, const char *text, size_t length) {
    string_buffer_append(&parser->pending, text, length);
    run(parser, false);
    answer_flush(parser);
}

void answer_parser_finish(struct answer_parser *parser) {
    run(parser, true);
    if (answer_in_call(parser) && parser->place != CALL_NEXT) {
        answer_call_is_none(parser);
    }
    bool has_header = strstr(string_buffer_text(&parser->header), "<|channel|>") != NULL;
    if (parser->place == IN_HEADER && !parser->has_content && !parser->has_thought &&
        parser->complete_count == 0 && !has_header) {
        header_is_none(parser);
    }
    if (parser->place == IN_CONTENT) {
        answer_put(parser, ANSWER_CONTENT, string_buffer_text(&parser->spaces),
                   parser->spaces.length);
        string_buffer_clear(&parser->spaces);
    }
    answer_flush(parser);
}

size_t answer_parser_calls(const struct answer_parser *parser) {
    return parser->complete_count;
}

bool answer_parser_failed(const struct answer_parser *parser) {
    const struct tool_call_reader *reader = &parser->reader;
    bool failed = parser->failed || parser->pending.failed || parser->spaces.failed ||
                  parser->raw.failed || parser->header.failed || parser->values.value.failed ||
                  reader->name.failed || reader->id.failed || reader->arguments.failed ||
                  reader->key.failed || reader->value.failed;
    for (size_t i = 0; i < MARK_COUNT; i++) {
        failed = failed || parser->marks[i].failed;
    }
    return failed;
}
