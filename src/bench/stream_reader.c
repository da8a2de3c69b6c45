/* stream_reader.c - see stream_reader.h. */
#include "bench/stream_reader.h"

#include "base/bytes.h"
#include "base/json_memory.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum { MAX_LINE_BYTES = 4 << 20 };

void stream_reader_deinit(struct stream_reader *reader) {
    string_buffer_deinit(&reader->line);
}

static void complain(struct stream_reader *reader, const char *text) {
    if (reader->problem[0] == '\0') {
        snprintf(reader->problem, sizeof reader->problem, "%.150s", text);
    }
}

static bool take_text(struct stream_reader *reader, const json_t *value) {
    size_t length = json_string_length(value);
    if (length == 0) {
        return false;
    }
    reader->text_bytes += length;
    if (reader->text != NULL) {
        string_buffer_append(reader->text, json_string_value(value), length);
    }
    return true;
}

/* Any of the members that carry words of the model. */
static bool take_members(struct stream_reader *reader, const json_t *object) {
    static const char *const names[] = {"content", "reasoning_content", "reasoning", "thinking",
                                        "text",    "response"};
    bool found = false;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        found = take_text(reader, json_object_get(object, names[i])) || found;
    }
    return found;
}

static void take_usage(struct stream_reader *reader, const json_t *prompt, const json_t *output) {
    if (json_is_integer(output)) {
        reader->has_usage = true;
        reader->output_tokens = json_integer_value(output);
        reader->prompt_tokens = json_is_integer(prompt) ? json_integer_value(prompt) : -1;
    }
}

static bool take_error(struct stream_reader *reader, const json_t *object) {
    const json_t *error = json_object_get(object, "error");
    if (error == NULL || json_is_null(error)) {
        return false;
    }
    const json_t *message = json_is_object(error) ? json_object_get(error, "message") : error;
    reader->is_refused = true;
    complain(reader,
             json_is_string(message) ? json_string_value(message) : "an error, unexplained");
    return true;
}

static bool take_openai(struct stream_reader *reader, const json_t *event) {
    const json_t *usage = json_object_get(event, "usage");
    const json_t *choices = json_object_get(event, "choices"), *choice;
    bool found = false;
    size_t i;
    json_array_foreach(choices, i, choice) {
        const json_t *delta = json_object_get(choice, "delta");
        found = take_members(reader, delta == NULL ? choice : delta) || found;
    }
    take_usage(reader, json_object_get(usage, "prompt_tokens"),
               json_object_get(usage, "completion_tokens"));
    return found;
}

static bool take_ollama(struct stream_reader *reader, const json_t *event) {
    const json_t *message = json_object_get(event, "message");
    bool found = take_members(reader, message == NULL ? event : message);
    if (json_is_true(json_object_get(event, "done"))) {
        reader->is_done = true;
        take_usage(reader, json_object_get(event, "prompt_eval_count"),
                   json_object_get(event, "eval_count"));
    }
    return found;
}

static bool take_json(struct stream_reader *reader, const char *text, size_t length) {
    json_error_t reason;
    json_t *event = json_guarded(json_loadb, text, length, 0, &reason);
    bool found = false;
    if (!json_is_object(event)) {
        reader->is_malformed = true;
        complain(reader, event == NULL ? reason.text : "an event that is no JSON object");
    } else if (!take_error(reader, event)) {
        found = reader->protocol == STREAM_OPENAI ? take_openai(reader, event)
                                                  : take_ollama(reader, event);
    }
    json_decref(event);
    return found;
}

static bool take_line(struct stream_reader *reader, const char *line, size_t length) {
    static const char data[] = "data:";
    length -= length > 0 && line[length - 1] == '\r';
    if (length == 0) {
        return false;
    }
    if (reader->is_done) {
        reader->is_malformed = true;
        complain(reader, "it goes on after its end");
        return false;
    }
    if (reader->protocol == STREAM_OLLAMA) {
        return take_json(reader, line, length);
    }
    if (length < sizeof data - 1 || memcmp(line, data, sizeof data - 1) != 0) {
        return false; /* a comment, an event's name */
    }
    size_t skip = sizeof data - 1;
    skip += length > skip && line[skip] == ' ';
    if (length - skip == 6 && memcmp(line + skip, "[DONE]", 6) == 0) {
        reader->is_done = true;
        return false;
    }
    return take_json(reader, line + skip, length - skip);
}

bool stream_reader_push(struct stream_reader *reader, const char *bytes, size_t length) {
    bool found = false;
    while (length > 0 && !reader->is_malformed) {
        const char *newline = memchr(bytes, '\n', length);
        size_t taken = newline == NULL ? length : (size_t)(newline - bytes) + 1;
        if (newline != NULL && reader->line.length == 0) { /* the usual: a line in one piece */
            found = take_line(reader, bytes, taken - 1) || found;
        } else {
            string_buffer_append(&reader->line, bytes, taken - (newline != NULL));
            if (newline != NULL) {
                found = take_line(reader, string_buffer_text(&reader->line), reader->line.length) ||
                        found;
                string_buffer_clear(&reader->line);
            }
        }
        if (reader->line.failed || reader->line.length > MAX_LINE_BYTES) {
            reader->is_malformed = true;
            complain(reader, "a line of more than 4 MiB");
        }
        bytes += taken;
        length -= taken;
    }
    return found;
}

bool stream_reader_finish(struct stream_reader *reader) {
    bool found = !reader->is_malformed && reader->line.length > 0 &&
                 take_line(reader, string_buffer_text(&reader->line), reader->line.length);
    string_buffer_clear(&reader->line);
    return found;
}

void stream_reader_complaint(const char *body, size_t length, char *out, size_t size) {
    struct stream_reader reader = {.protocol = STREAM_OLLAMA};
    json_t *value = json_guarded(json_loadb, body, length, 0, NULL);
    if (json_is_object(value) && take_error(&reader, value)) {
        snprintf(out, size, "%s", reader.problem);
    } else {
        size_t line = 0;
        while (line < length && body[line] >= ' ') {
            line++;
        }
        snprintf(out, size, "%.*s", (int)size_min(line, 150), body);
    }
    json_decref(value);
}
