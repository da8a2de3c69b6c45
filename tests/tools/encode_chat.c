/*
 * encode_chat.c - conversations to prompt tokens, for the Python tests: encode_chat MODEL.gguf
 *
 * Standard input: one JSON object a line, {"template", "messages", "tools"?, "variables"?}.
 * Standard output: one a line, {"ids": […], "text": …, "thinking_open": …} or {"error": message}.
 */
#include "engine/vocabulary.h"
#include "text/chat/prompt.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static json_t *encode(const struct tokenizer *tokenizer, const json_t *request) {
    const json_t *source = json_object_get(request, "template");
    struct chat_template *chat_template = NULL;
    struct chat_traits traits;
    struct token_list ids = {0};
    struct string_buffer text = {0};
    struct error error = {0};
    bool thinking_open = false;
    json_t *answer = NULL;
    if (chat_template_create(json_string_value(source), json_string_length(source), &chat_template,
                             &error)) {
        chat_traits_probe(chat_template, json_string_value(source), tokenizer, &traits, NULL);
        const struct chat_prompt prompt = {
            .chat_template = chat_template,
            .tokenizer = tokenizer,
            .traits = &traits,
            .messages = json_object_get(request, "messages"),
            .tools = json_object_get(request, "tools"),
            .variables = json_object_get(request, "variables"),
        };
        if (chat_prompt_build(&prompt, &ids, &thinking_open, &error) &&
            chat_prompt_render(&prompt, &text, &error)) {
            json_t *list = json_array();
            for (size_t i = 0; i < ids.count; i++) {
                json_array_append_new(list, json_integer(ids.ids[i]));
            }
            answer = json_pack("{s:o, s:o, s:b}", "ids", list, "text",
                               json_stringn(string_buffer_text(&text), text.length),
                               "thinking_open", thinking_open);
        }
    }
    if (answer == NULL) {
        answer = json_pack("{s:s}", "error", error.message);
    }
    string_buffer_deinit(&text);
    token_list_deinit(&ids);
    chat_template_free(chat_template);
    return answer;
}

static void serve(const struct tokenizer *tokenizer) {
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    while ((length = getline(&line, &capacity, stdin)) > 0) {
        json_t *request = json_loadb(line, (size_t)length, 0, NULL);
        json_t *answer = encode(tokenizer, request);
        char *text = json_dumps(answer, JSON_COMPACT);
        printf("%s\n", text);
        free(text);
        json_decref(answer);
        json_decref(request);
    }
    free(line);
}

int main(int argument_count, char **arguments) {
    struct gguf *gguf = NULL;
    struct tokenizer *tokenizer = NULL;
    struct error error = {0};
    if (argument_count != 2) {
        fprintf(stderr, "usage: %s MODEL.gguf\n", arguments[0]);
        return EXIT_FAILURE;
    }
    if (gguf_open(arguments[1], &gguf, &error) && vocabulary_load(gguf, &tokenizer, &error)) {
        serve(tokenizer);
    }
    tokenizer_free(tokenizer);
    gguf_close(gguf);
    if (error.code != ERROR_NONE) {
        fprintf(stderr, "%s\n", error.message);
        return EXIT_FAILURE;
    }
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
