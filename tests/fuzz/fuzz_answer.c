/*
 * fuzz_answer.c - any bytes as a model's answer, in every form, whole and in pieces: what comes out
 * must be the same. The first byte chooses the form of calls, the second
 * one that of thoughts, and options.
 */
#include "fuzz.h"

#include "base/string_buffer.h"
#include "text/chat/answer_parser.h"

#include <stdlib.h>
#include <string.h>

struct outcome {
    struct string_buffer content, thoughts, calls;
};

static void take(void *context, const struct answer_event *event) {
    struct outcome *outcome = context;
    switch (event->kind) {
    case ANSWER_CONTENT:
        string_buffer_append(&outcome->content, event->text.data, event->text.length);
        break;
    case ANSWER_THINKING:
        string_buffer_append(&outcome->thoughts, event->text.data, event->text.length);
        break;
    case ANSWER_CALL_BEGIN:
    case ANSWER_CALL_ARGUMENTS:
        string_buffer_append(&outcome->calls, event->text.data, event->text.length);
        break;
    case ANSWER_CALL_END:
        string_buffer_append_format(&outcome->calls, "\n%s %zu ", event->id, event->call);
        string_buffer_append(&outcome->calls, event->name.data, event->name.length);
        string_buffer_append(&outcome->calls, event->text.data, event->text.length);
        break;
    case ANSWER_CALL_BROKEN:
        if (event->shown > event->text.length) {
            abort();
        }
        string_buffer_append(&outcome->content, event->text.data, event->text.length);
        break;
    }
}

static struct outcome parse(struct answer_options options, const char *text, size_t size,
                            size_t piece) {
    struct outcome outcome = {0};
    options.context = &outcome;
    struct answer_parser *parser = answer_parser_create(&options);
    for (size_t at = 0; parser != NULL && at < size; at += piece) {
        answer_parser_feed(parser, text + at, piece < size - at ? piece : size - at);
    }
    if (parser != NULL) {
        answer_parser_finish(parser);
    }
    answer_parser_free(parser);
    return outcome;
}

static void must_be_same(struct string_buffer *one, struct string_buffer *other) {
    if (one->length != other->length ||
        memcmp(string_buffer_text(one), string_buffer_text(other), one->length) != 0) {
        abort();
    }
    string_buffer_deinit(one);
    string_buffer_deinit(other);
}

/* Every bracketed text of the forms is a control token. */
static void add_controls(struct chat_traits *traits) {
    const struct tool_call_form *form = traits->calls;
    const char *const texts[] = {form->section_open,     form->section_close,    form->open,
                                 form->before_name,      form->after_name,       form->close,
                                 form->other_open,       form->text_mark,        form->id_open,
                                 traits->thinking->open, traits->thinking->close};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        for (const char *at = texts[i]; at != NULL && *at != '\0'; at++) {
            const char *end = *at == '<' ? strchr(at, '>') : *at == '[' ? strchr(at, ']') : NULL;
            if (end != NULL && traits->control_count < CHAT_CONTROLS_MAX) {
                traits->controls[traits->control_count++] =
                    (struct string_view){at, (size_t)(end - at) + 1};
                at = end;
            }
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct answer_parameter parameters[] = {{{"text", 4}, 1}, {{"n", 1}, 2}};
    static const struct answer_tool tools[] = {{{"f", 1}, parameters, 2}, {{"add", 3}, NULL, 0}};
    if (size < 3) {
        return 0;
    }
    struct answer_options options = {
        .traits = {.calls = &tool_call_forms[data[0] % tool_call_form_count],
                   .thinking = &thinking_forms[(data[1] & 7) % thinking_form_count]},
        .thinking_open = (data[1] & 32) != 0,
        .single_call = (data[1] & 64) != 0,
        .tools = tools,
        .tool_count = 2,
        .sink = take,
    };
    if ((data[1] & 16) != 0) {
        add_controls(&options.traits);
    }
    if ((data[1] & 8) != 0) {
        options.traits.thinking = NULL;
    }
    const char *text = (const char *)data + 2;
    struct outcome whole = parse(options, text, size - 2, size);
    struct outcome pieces = parse(options, text, size - 2, 1 + (data[1] >> 7) * (size_t)4);
    must_be_same(&whole.content, &pieces.content);
    must_be_same(&whole.thoughts, &pieces.thoughts);
    must_be_same(&whole.calls, &pieces.calls);
    return 0;
}
