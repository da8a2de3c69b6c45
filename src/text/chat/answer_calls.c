/* answer_calls.c - the part of answer_parser.c that reads calls, form by form. */
#include "text/chat/answer_parser_internal.h"
#include "text/chat/tool_schema.h"

#include <string.h>

/* --- to the sink --- */

static void send_call(struct answer_parser *parser, enum answer_event_kind kind,
                      const struct string_buffer *text) {
    answer_flush(parser);
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

static void make_id(struct answer_parser *parser) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    const struct string_buffer *given = &parser->reader.id;
    bool short_ids = parser->options.traits.short_call_ids || parser->form->has_short_ids;
    bool is_usable = given->length > 0 && strcspn(given->data, "0123456789") > 0;
    if (is_usable && (!short_ids || given->length == 9)) {
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
        answer_put(parser, ANSWER_CALL_ARGUMENTS, arguments->data + parser->sent,
                   arguments->length - parser->sent);
        parser->sent = arguments->length;
        parser->raw_shown = parser->raw.length;
    }
}

/* --- beginnings and ends --- */

void answer_leave_calls(struct answer_parser *parser) {
    parser->place = IN_CONTENT;
    parser->is_bare = false;
    answer_drop_spaces(parser);
}

static void begin_call(struct answer_parser *parser, bool is_bare) {
    parser->is_bare = is_bare;
    parser->is_list = false;
    parser->has_begun = false;
    parser->sent = 0;
    parser->raw_shown = 0;
    string_buffer_clear(&parser->raw);
    parser->place = CALL_HEAD;
}

/* The white space before a call is the content's, should it be none. */
static void take_spaces(struct answer_parser *parser) {
    string_buffer_append_buffer(&parser->raw, &parser->spaces);
    answer_drop_spaces(parser);
}

void answer_open_call(struct answer_parser *parser, enum answer_mark mark) {
    bool is_section = mark == MARK_SECTION_OPEN && parser->marks[MARK_OPEN].length > 0;
    bool is_name = mark == MARK_OTHER_OPEN && parser->form->before_name != NULL;
    begin_call(parser, false);
    take_spaces(parser);
    parser->place = is_section ? CALL_SECTION : CALL_HEAD;
    if (!is_name) { /* else what opens it is what stands before its name */
        answer_take_mark(parser, mark);
    }
}

void answer_open_bare_call(struct answer_parser *parser) {
    begin_call(parser, true);
    take_spaces(parser);
}

void answer_open_named_call(struct answer_parser *parser, struct string_view name) {
    begin_call(parser, false);
    answer_drop_spaces(parser);
    tool_call_reader_begin(&parser->reader, false, false);
    string_buffer_append(&parser->reader.name, name.data, name.length);
    parser->place = CALL_ARGUMENTS;
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

void answer_call_is_none(struct answer_parser *parser) {
    if (parser->has_begun) {
        send_call(parser, ANSWER_CALL_BROKEN, &parser->raw);
    } else {
        answer_put(parser, ANSWER_CONTENT, string_buffer_text(&parser->raw), parser->raw.length);
    }
    parser->has_content = true;
    answer_leave_calls(parser);
    parser->drops_spaces = false;
}

bool answer_in_call(const struct answer_parser *parser) {
    return parser->place >= CALL_SECTION;
}

static enum step none(struct answer_parser *parser) {
    answer_call_is_none(parser);
    return STEP_TAKEN;
}

/* --- names --- */

/* The first of the marks that is at hand, or may be. */
static enum match match_any(const struct answer_parser *parser, const enum answer_mark *marks,
                            size_t count, enum answer_mark *found) {
    enum match any = MATCH_NO;
    for (size_t i = 0; i < count && any != MATCH_YES; i++) {
        enum match match = answer_match(parser, marks[i]);
        any = match == MATCH_NO ? any : match;
        *found = marks[i];
    }
    return any;
}

static void end_name(struct answer_parser *parser) {
    parser->place = CALL_ARGUMENTS;
    if (parser->form->codec == CALL_TAGGED) {
        bool on_lines = parser->form->key_close[strlen(parser->form->key_close) - 1] == '\n' &&
                        parser->form->value_open == NULL;
        parser->reader.has_name = true;
        parser->values.out = &parser->reader.arguments;
        tagged_begin(&parser->values, on_lines); /* shown once an argument has come */
    }
}

/* Name or id, up to the mark, the white space or the "{" that ends it. */
static enum step step_name(struct answer_parser *parser, char byte) {
    static const enum answer_mark ends[] = {MARK_ID_OPEN, MARK_AFTER_NAME, MARK_KEY_OPEN,
                                            MARK_AFTER_ARGUMENTS, MARK_CLOSE};
    bool is_id = parser->place == CALL_ID;
    struct tool_call_reader *reader = &parser->reader;
    enum answer_mark found = MARK_COUNT;
    enum match match = MATCH_NO;
    if (reader->name.length > 0) {
        match = match_any(parser, ends + is_id, sizeof ends / sizeof ends[0] - is_id, &found);
    }
    if (match == MATCH_PERHAPS) {
        return STEP_WAITS;
    }
    if (match == MATCH_YES && found == MARK_ID_OPEN) {
        answer_take_mark(parser, found);
        parser->place = CALL_ID;
        return STEP_TAKEN;
    }
    if (reader->name.length > 0 && (match == MATCH_YES || byte == '{' || answer_is_space(byte))) {
        end_name(parser);
        return STEP_TAKEN;
    }
    if (parser->at_control) {
        return STEP_UNTAKEN;
    }
    struct string_buffer *text = is_id ? &reader->id : &reader->name;
    bool fits = text->length < (is_id ? TOOL_ID_MAX_BYTES : TOOL_NAME_MAX_BYTES);
    if (!fits || !(is_id ? tool_id_is_usable(&byte, 1) : tool_name_is_plain(&byte, 1))) {
        return none(parser);
    }
    string_buffer_append_char(text, byte);
    answer_take_byte(parser, byte);
    return STEP_TAKEN;
}

/* --- arguments --- */

static bool is_offered(const struct answer_parser *parser) {
    const struct string_buffer *name = &parser->reader.name;
    for (size_t i = 0; i < parser->options.tool_count; i++) {
        if (string_view_equals(parser->options.tools[i].name,
                               (struct string_view){name->data, name->length})) {
            return true;
        }
    }
    return false;
}

static enum step step_object(struct answer_parser *parser, char byte) {
    if (parser->at_control) {
        return STEP_UNTAKEN;
    }
    enum tool_call_progress progress = tool_call_reader_push(&parser->reader, byte);
    /* JSON without a tag around it is a call only if it calls what there is. */
    if (progress == TOOL_CALL_WRONG ||
        (parser->is_bare && parser->reader.has_name && !is_offered(parser))) {
        return none(parser);
    }
    answer_take_byte(parser, byte);
    if (progress == TOOL_CALL_COMPLETE) {
        call_is_complete(parser);
    } else {
        show_call(parser);
    }
    return STEP_TAKEN;
}

/* The kinds of values that the tool's parameter takes. */
static unsigned kinds_of(const struct answer_parser *parser, struct string_view key) {
    const struct string_buffer *name = &parser->reader.name;
    for (size_t i = 0; i < parser->options.tool_count; i++) {
        const struct answer_tool *tool = &parser->options.tools[i];
        if (!string_view_equals(tool->name, (struct string_view){name->data, name->length})) {
            continue;
        }
        for (size_t k = 0; k < tool->parameter_count; k++) {
            if (string_view_equals(tool->parameters[k].name, key)) {
                return tool->parameters[k].kinds;
            }
        }
    }
    return KIND_ANY;
}

/* After the name, and after each argument. */
static enum step step_tagged(struct answer_parser *parser) {
    static const enum answer_mark marks[] = {MARK_KEY_OPEN, MARK_AFTER_ARGUMENTS, MARK_CLOSE};
    enum answer_mark found = MARK_COUNT;
    enum match match = match_any(parser, marks, sizeof marks / sizeof marks[0], &found);
    if (match == MATCH_PERHAPS) {
        return STEP_WAITS;
    }
    if (match == MATCH_YES && found == MARK_KEY_OPEN) {
        answer_take_mark(parser, found);
        string_buffer_clear(&parser->reader.key);
        parser->place = CALL_KEY;
    } else if (match == MATCH_YES) {
        answer_take_mark(parser, found);
        tagged_end(&parser->values);
        call_is_complete(parser);
        if (found == MARK_CLOSE && parser->form->section_open == NULL) {
            answer_leave_calls(parser);
        }
    } else {
        return parser->at_control ? STEP_UNTAKEN : none(parser);
    }
    return STEP_TAKEN;
}

static enum step step_arguments(struct answer_parser *parser, char byte) {
    if (answer_is_space(byte)) {
        answer_take_byte(parser, byte);
        return STEP_TAKEN;
    }
    bool is_first = parser->reader.arguments.length < 2; /* tagged ones have a "{" by now */
    enum match match = is_first ? answer_match(parser, MARK_AFTER_NAME) : MATCH_NO;
    if (match != MATCH_NO) {
        if (match == MATCH_YES) {
            answer_take_mark(parser, MARK_AFTER_NAME);
        }
        return match == MATCH_YES ? STEP_TAKEN : STEP_WAITS;
    }
    if (parser->form->codec == CALL_TAGGED) {
        return step_tagged(parser);
    }
    if (parser->at_control) {
        return STEP_UNTAKEN;
    }
    if (byte != '{' || parser->reader.name.length == 0) {
        return none(parser);
    }
    parser->reader.has_name = true;
    tool_call_reader_begin(&parser->reader, true, false);
    parser->place = CALL_OBJECT;
    if (parser->form->codec == CALL_GEMMA) {
        parser->values.out = &parser->reader.arguments;
        gemma_begin(&parser->values);
        parser->place = CALL_GEMMA_OBJECT;
    }
    return STEP_TAKEN;
}

static enum step step_key(struct answer_parser *parser, char byte) {
    struct string_buffer *key = &parser->reader.key;
    enum match match = answer_match(parser, MARK_KEY_CLOSE);
    if (match == MATCH_YES) {
        struct string_view name = {string_buffer_text(key), key->length};
        answer_take_mark(parser, MARK_KEY_CLOSE);
        tagged_key(&parser->values, name, kinds_of(parser, name));
        parser->place = parser->form->value_open != NULL ? CALL_VALUE_OPEN : CALL_VALUE;
        show_call(parser);
        return STEP_TAKEN;
    }
    if (match == MATCH_PERHAPS || parser->at_control) {
        return match == MATCH_PERHAPS ? STEP_WAITS : STEP_UNTAKEN;
    }
    if (key->length >= TOOL_NAME_MAX_BYTES || byte == '\n') {
        return none(parser);
    }
    string_buffer_append_char(key, byte);
    answer_take_byte(parser, byte);
    return STEP_TAKEN;
}

static enum step step_value_open(struct answer_parser *parser, char byte) {
    enum match match = answer_match(parser, MARK_VALUE_OPEN);
    if (match == MATCH_YES) {
        answer_take_mark(parser, MARK_VALUE_OPEN);
        parser->place = CALL_VALUE;
        return STEP_TAKEN;
    }
    if (match == MATCH_PERHAPS || parser->at_control) {
        return match == MATCH_PERHAPS ? STEP_WAITS : STEP_UNTAKEN;
    }
    if (!answer_is_space(byte)) {
        return none(parser);
    }
    answer_take_byte(parser, byte);
    return STEP_TAKEN;
}

static enum step step_value(struct answer_parser *parser, char byte) {
    enum match match = answer_match(parser, MARK_VALUE_CLOSE);
    if (match == MATCH_YES) {
        answer_take_mark(parser, MARK_VALUE_CLOSE);
        tagged_value_end(&parser->values);
        parser->place = CALL_ARGUMENTS;
    } else if (match == MATCH_PERHAPS || parser->at_control) {
        return match == MATCH_PERHAPS ? STEP_WAITS : STEP_UNTAKEN;
    } else {
        tagged_push(&parser->values, byte);
        answer_take_byte(parser, byte);
    }
    show_call(parser);
    return STEP_TAKEN;
}

static enum step step_gemma(struct answer_parser *parser, char byte) {
    enum match match = answer_match(parser, MARK_TEXT);
    enum gemma_progress progress = GEMMA_WRONG;
    if (match == MATCH_PERHAPS) {
        return STEP_WAITS;
    }
    if (match == MATCH_YES) {
        progress = gemma_mark(&parser->values);
    } else if (parser->at_control) {
        return STEP_UNTAKEN;
    } else {
        progress = gemma_push(&parser->values, byte);
    }
    if (progress == GEMMA_WRONG) {
        return none(parser);
    }
    if (match == MATCH_YES) {
        answer_take_mark(parser, MARK_TEXT);
    } else {
        answer_take_byte(parser, byte);
    }
    if (progress == GEMMA_COMPLETE) {
        call_is_complete(parser);
    } else {
        show_call(parser);
    }
    return STEP_TAKEN;
}

/* --- before and behind --- */

static enum step step_section(struct answer_parser *parser, char byte) {
    enum match match = answer_match(parser, MARK_OPEN);
    if (match == MATCH_YES) {
        answer_take_mark(parser, MARK_OPEN);
        parser->place = CALL_HEAD;
    } else if (match == MATCH_PERHAPS) {
        return STEP_WAITS;
    } else if (answer_is_space(byte)) {
        answer_take_byte(parser, byte);
    } else {
        return parser->at_control ? STEP_UNTAKEN : none(parser);
    }
    return STEP_TAKEN;
}

/* A list, an object, or what stands before a name. */
static enum step step_head(struct answer_parser *parser, char byte) {
    bool is_head = parser->place == CALL_HEAD;
    bool takes_names = parser->form->after_name != NULL || parser->form->codec != CALL_JSON;
    enum match match = is_head ? answer_match(parser, MARK_BEFORE_NAME) : MATCH_NO;
    if (match == MATCH_YES) {
        answer_take_mark(parser, MARK_BEFORE_NAME);
        tool_call_reader_begin(&parser->reader, false, false);
        parser->place = CALL_NAME;
    } else if (match == MATCH_PERHAPS || parser->at_control) {
        return match == MATCH_PERHAPS ? STEP_WAITS : STEP_UNTAKEN;
    } else if (answer_is_space(byte)) {
        answer_take_byte(parser, byte);
    } else if (byte == '{' && parser->form->codec <= CALL_NAMED) {
        parser->place = CALL_OBJECT;
        tool_call_reader_begin(&parser->reader, false, parser->is_bare);
    } else if (byte == '[' && is_head && !parser->is_list && parser->form->codec <= CALL_NAMED) {
        parser->is_list = true;
        answer_take_byte(parser, byte);
    } else if (takes_names && is_head && !parser->is_list) {
        tool_call_reader_begin(&parser->reader, false, false);
        parser->place = CALL_NAME;
    } else {
        return none(parser);
    }
    return STEP_TAKEN;
}

/* What ends a call, or the calls, is at hand. */
static void step_behind(struct answer_parser *parser, enum answer_mark mark) {
    bool is_section = parser->form->section_open != NULL;
    if (mark == MARK_OPEN) {
        answer_take_mark(parser, mark);
        parser->place = CALL_HEAD;
        return;
    }
    answer_take_mark(parser, mark);
    string_buffer_clear(&parser->raw);
    if (mark == MARK_SECTION_CLOSE || (mark == MARK_CLOSE && !is_section)) {
        answer_leave_calls(parser);
    }
}

static enum step step_next(struct answer_parser *parser, char byte) {
    static const enum answer_mark marks[] = {MARK_AFTER_ARGUMENTS, MARK_CLOSE, MARK_SECTION_CLOSE,
                                             MARK_OPEN};
    enum answer_mark found = MARK_COUNT;
    /* Llama 3 has nothing that opens a call, and separates them so. */
    bool is_bare_form = tool_call_form_opening(parser->form) == NULL;
    enum match match = match_any(parser, marks, sizeof marks / sizeof marks[0], &found);
    if (match == MATCH_PERHAPS) {
        return STEP_WAITS;
    }
    if (match == MATCH_YES) {
        step_behind(parser, found);
    } else if (parser->at_control) {
        return STEP_UNTAKEN;
    } else if (answer_is_space(byte) || (is_bare_form && byte == ';')) {
        answer_take_byte(parser, byte);
    } else if (parser->is_list && (byte == ',' || byte == ']')) {
        answer_take_byte(parser, byte);
        parser->place = byte == ',' ? CALL_ITEM : CALL_NEXT;
        parser->is_list = byte == ',';
    } else if (is_bare_form && byte == '{') {
        parser->place = CALL_HEAD;
    } else {
        answer_leave_calls(parser);
    }
    return STEP_TAKEN;
}

enum step answer_step_call(struct answer_parser *parser, char byte) {
    switch (parser->place) {
    case CALL_SECTION:
        return step_section(parser, byte);
    case CALL_HEAD:
    case CALL_ITEM:
        return step_head(parser, byte);
    case CALL_OBJECT:
        return step_object(parser, byte);
    case CALL_NAME:
    case CALL_ID:
        return step_name(parser, byte);
    case CALL_ARGUMENTS:
        return step_arguments(parser, byte);
    case CALL_KEY:
        return step_key(parser, byte);
    case CALL_VALUE_OPEN:
        return step_value_open(parser, byte);
    case CALL_VALUE:
        return step_value(parser, byte);
    case CALL_GEMMA_OBJECT:
        return step_gemma(parser, byte);
    default:
        return step_next(parser, byte);
    }
}
