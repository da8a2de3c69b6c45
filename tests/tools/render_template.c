/*
 * render_template.c - renders chat templates for the Python tests.
 *
 * Standard input: one JSON object a line, {"template": text, "context": object, "now": seconds}.
 * Standard output: one JSON object a line, {"text": …} or {"error": message, "code": name}, where
 * the code is "syntax" (the template does not compile), "raised" (raise_exception) or "failed".
 * The template of a line is compiled once for all lines that follow with the same one.
 */
#include "text/chat/template_internal.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct compiled {
    char *source; /* NULL: none yet */
    struct chat_template *chat_template;
    struct error error; /* why chat_template is NULL */
};

static void compile(struct compiled *compiled, const char *source, size_t length) {
    if (compiled->source != NULL && strlen(compiled->source) == length &&
        memcmp(compiled->source, source, length) == 0) {
        return;
    }
    free(compiled->source);
    chat_template_free(compiled->chat_template);
    *compiled = (struct compiled){.source = strndup(source, length)};
    if (!chat_template_create(source, length, &compiled->chat_template, &compiled->error)) {
        compiled->chat_template = NULL;
    }
}

static json_t *failure(const char *code, const struct error *error) {
    return json_pack("{s:s, s:s+}", "code", code, "error", error->message, "");
}

static json_t *answer(struct compiled *compiled, const json_t *request) {
    struct error error = {0};
    struct string_buffer out = {0};
    const json_t *source = json_object_get(request, "template");
    compile(compiled, json_string_value(source), json_string_length(source));
    if (compiled->chat_template == NULL) {
        return failure("syntax", &compiled->error);
    }
    json_t *reply;
    if (chat_template_render_at(compiled->chat_template, json_object_get(request, "context"),
                                json_integer_value(json_object_get(request, "now")), &out,
                                &error)) {
        reply = json_object();
        json_object_set_new(reply, "text", json_stringn(string_buffer_text(&out), out.length));
    } else {
        reply = failure(error.code == ERROR_INVALID_ARGUMENT ? "raised" : "failed", &error);
    }
    string_buffer_deinit(&out);
    return reply;
}

int main(void) {
    char *line = NULL;
    size_t capacity = 0;
    struct compiled compiled = {0};
    int status = EXIT_SUCCESS;
    for (ssize_t length; (length = getline(&line, &capacity, stdin)) > 0;) {
        json_error_t reason;
        json_t *request = json_loadb(line, (size_t)length, JSON_ALLOW_NUL, &reason);
        if (request == NULL || !json_is_string(json_object_get(request, "template")) ||
            !json_is_object(json_object_get(request, "context"))) {
            fprintf(stderr, "not a request: %s\n", request == NULL ? reason.text : line);
            status = EXIT_FAILURE;
        } else {
            json_t *reply = answer(&compiled, request);
            json_dumpf(reply, stdout, JSON_COMPACT);
            putchar('\n');
            json_decref(reply);
        }
        json_decref(request);
    }
    free(compiled.source);
    chat_template_free(compiled.chat_template);
    free(line);
    return status;
}
