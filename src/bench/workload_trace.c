/*
 * workload_trace.c - a recorded trace: a file with a JSON object a line, one a request. See
 * workload.h.
 *
 *   {"at": 1.25, "prompt": "…", "max_tokens": 64, "scenario": "chat"}
 *
 * `at` is in seconds after the start, or `timestamp` in milliseconds. In place of `prompt` there
 * may be `messages`, or `prompt_tokens` (also `input_length`), of which words are made.
 * `output_length` is another name of `max_tokens`. Lines are in the order of their times.
 */
#include "base/file.h"
#include "base/json_memory.h"
#include "bench/workload_internal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST_TRACE = 1 << 30, MOST_REQUESTS = 1 << 22, MOST_TOKENS = 1 << 20 };

struct trace_reader {
    const struct workload_options *options;
    struct workload *workload;
    struct random_state *random;
    size_t line;
    double last;
};

static bool fail(const struct trace_reader *reader, struct error *error, const char *what) {
    return error_set(error, ERROR_INVALID_ARGUMENT, "%s:%zu: %s", reader->options->trace_path,
                     reader->line, what);
}

/* The member of one of two names. */
static const json_t *either(const json_t *object, const char *first, const char *second) {
    const json_t *value = json_object_get(object, first);
    return value == NULL ? json_object_get(object, second) : value;
}

static bool read_time(struct trace_reader *reader, const json_t *object,
                      struct workload_request *request, struct error *error) {
    const json_t *at = json_object_get(object, "at");
    const json_t *timestamp = json_object_get(object, "timestamp");
    if (!json_is_number(at) && !json_is_number(timestamp)) {
        return at == NULL && timestamp == NULL && !reader->workload->has_arrivals
                   ? true
                   : fail(reader, error, "no time: \"at\" in seconds, or \"timestamp\" in ms");
    }
    request->at = at != NULL ? json_number_value(at) : json_number_value(timestamp) * 1e-3;
    if (!(request->at >= reader->last) || request->at > 1e7) {
        return fail(reader, error, "its time is before that of the line above, or below 0");
    }
    if (reader->workload->count > 0 && !reader->workload->has_arrivals) {
        return fail(reader, error, "a time, which the lines above do not have");
    }
    reader->last = request->at;
    reader->workload->has_arrivals = true;
    return true;
}

static bool read_scenario(struct trace_reader *reader, const json_t *object,
                          struct workload_request *request, struct error *error) {
    struct workload *workload = reader->workload;
    const char *name = json_string_value(json_object_get(object, "scenario"));
    name = name == NULL ? "trace" : name;
    size_t i = 0;
    while (i < workload->scenario_count && strcmp(workload->scenarios[i], name) != 0) {
        i++;
    }
    if (i == workload->scenario_count) {
        const char *copy = i == WORKLOAD_MAX_SCENARIOS
                               ? NULL
                               : arena_copy_text(&workload->arena, name, strlen(name));
        if (copy == NULL) {
            return fail(reader, error, "more than 32 different scenarios");
        }
        workload->scenarios[workload->scenario_count++] = copy;
    }
    request->scenario = i;
    return true;
}

static bool read_prompt(struct trace_reader *reader, const json_t *object,
                        struct workload_request *request, struct error *error) {
    const json_t *prompt = json_object_get(object, "prompt");
    const json_t *messages = json_object_get(object, "messages");
    json_int_t tokens = json_integer_value(either(object, "prompt_tokens", "input_length"));
    if (json_is_string(prompt)) {
        return workload_set_prompt(reader->workload, request, json_string_value(prompt),
                                   json_string_length(prompt), error);
    }
    if (json_is_array(messages)) {
        char *text = json_dumps(messages, JSON_COMPACT);
        request->messages =
            text == NULL ? NULL : arena_copy_text(&reader->workload->arena, text, strlen(text));
        free(text);
        return request->messages != NULL || fail(reader, error, "no memory for its messages");
    }
    if (tokens < 1 || tokens > MOST_TOKENS) {
        return fail(reader, error, "neither \"prompt\", \"messages\" nor \"prompt_tokens\"");
    }
    struct string_buffer text = {0};
    workload_append_words(reader->options->tokenizer, (size_t)tokens, reader->random, &text);
    bool done = workload_set_prompt(reader->workload, request, string_buffer_text(&text),
                                    text.length, error);
    string_buffer_deinit(&text);
    return done;
}

static bool read_line(struct trace_reader *reader, const char *text, size_t length,
                      struct error *error) {
    struct workload *workload = reader->workload;
    struct workload_request *request = &workload->requests[workload->count];
    json_error_t reason;
    json_t *object = json_guarded(json_loadb, text, length, 0, &reason);
    const json_t *most = either(object, "max_tokens", "output_length");
    request->max_tokens = most == NULL ? (int64_t)reader->options->max_tokens.first
                                       : (int64_t)json_integer_value(most);
    bool done = !json_is_object(object) ? fail(reader, error, "no JSON object")
                : request->max_tokens < 1 || request->max_tokens > MOST_TOKENS
                    ? fail(reader, error, "\"max_tokens\" is no number from 1 to 1048576")
                    : read_time(reader, object, request, error) &&
                          read_scenario(reader, object, request, error) &&
                          read_prompt(reader, object, request, error);
    json_decref(object);
    workload->count += done;
    return done;
}

static size_t count_lines(const char *text) {
    size_t count = 1;
    for (; *text != '\0'; text++) {
        count += *text == '\n';
    }
    return count;
}

bool workload_read_trace(const struct workload_options *options, struct workload *workload,
                         struct random_state *random, struct error *error) {
    struct trace_reader reader = {.options = options, .workload = workload, .random = random};
    char *text;
    size_t length;
    if (!file_read_all(options->trace_path, LARGEST_TRACE, &text, &length, error)) {
        return false;
    }
    size_t most = count_lines(text);
    workload->kind = "trace";
    workload->requests = most > MOST_REQUESTS
                             ? NULL
                             : arena_alloc(&workload->arena, most, sizeof *workload->requests);
    if (workload->requests == NULL) {
        free(text);
        return error_set(error, ERROR_INVALID_ARGUMENT, "'%s' has too many lines",
                         options->trace_path);
    }
    bool done = true;
    for (const char *at = text; done && *at != '\0';) {
        size_t line = strcspn(at, "\n");
        reader.line++;
        if (strspn(at, " \t\r") < line) {
            done = read_line(&reader, at, line, error);
        }
        at += line + (at[line] == '\n');
    }
    free(text);
    return done &&
           (workload->count > 0 || error_set(error, ERROR_INVALID_ARGUMENT,
                                             "'%s' has no request in it", options->trace_path));
}
