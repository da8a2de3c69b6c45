/*
 * fuzz_answer.c - any bytes as a model's answer, in every form, whole and in pieces: what comes out
 * must be the same. The first byte chooses form and options.
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct string_view tools[] = {{"f", 1}, {"add", 3}};
    if (size < 2) {
        return 0;
    }
    const struct answer_options options = {
        .traits = {.tool_calls = (enum tool_call_form)(data[0] & 3),
                   .thinking = (enum thinking_form)((data[0] >> 2 & 3) % 3),
                   .tool_tags_are_control = (data[0] & 16) != 0,
                   .thinking_tags_are_control = (data[0] & 16) != 0},
        .thinking_open = (data[0] & 32) != 0,
        .single_call = (data[0] & 64) != 0,
        .tools = tools,
        .tool_count = 2,
        .sink = take,
    };
    const char *text = (const char *)data + 1;
    struct outcome whole = parse(options, text, size - 1, size);
    struct outcome pieces = parse(options, text, size - 1, 1 + (data[0] >> 7) * (size_t)4);
    must_be_same(&whole.content, &pieces.content);
    must_be_same(&whole.thoughts, &pieces.thoughts);
    must_be_same(&whole.calls, &pieces.calls);
    return 0;
}
