/*
 * chat_traits.c - what chat templates can do, for the Python tests: a template a line as a JSON
 * string in, {"tools":…,"thinking":…,…} a line out.
 */
#include "text/chat/traits.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static json_t *describe(const char *source, size_t length) {
    static const char *const places[] = {"nowhere", "template", "system_message"};
    struct chat_template *chat_template = NULL;
    struct chat_traits traits;
    struct error error = {0};
    if (!chat_template_create(source, length, &chat_template, &error)) {
        return json_pack("{s:s}", "error", error.message);
    }
    chat_traits_probe(chat_template, source, NULL, &traits, NULL);
    chat_template_free(chat_template);
    return json_pack(
        "{s:b, s:b, s:b, s:s, s:s, s:s, s:s, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b}", "tools",
        traits.supports_tools, "thinking", traits.supports_thinking, "thinking_can_be_set",
        traits.thinking_can_be_set, "calls", traits.calls == NULL ? "none" : traits.calls->name,
        "thoughts", traits.thinking == NULL ? "none" : traits.thinking->name, "tools_place",
        places[traits.tools_place], "thinking_key", traits.thinking_key, "arguments_as_text",
        traits.arguments_as_text, "null_content", traits.null_content, "short_call_ids",
        traits.short_call_ids, "typed_content", traits.typed_content, "calls_as_text",
        traits.calls_as_text, "results_as_user", traits.results_as_user, "system_as_user",
        traits.system_as_user, "single_calls", traits.single_calls, "whole_tools",
        traits.whole_tools);
}

int main(void) {
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    while ((length = getline(&line, &capacity, stdin)) > 0) {
        json_t *source = json_loadb(line, (size_t)length, JSON_DECODE_ANY, NULL);
        if (!json_is_string(source)) {
            fprintf(stderr, "chat_traits: not a JSON string: %.60s\n", line);
            return 1;
        }
        json_t *answer = describe(json_string_value(source), json_string_length(source));
        char *text = json_dumps(answer, JSON_COMPACT);
        printf("%s\n", text);
        fflush(stdout);
        free(text);
        json_decref(answer);
        json_decref(source);
    }
    free(line);
    return 0;
}
