/* chat_grammar_call.c - the part of chat_grammar.h that says how one call is written: its name, its
 * id, and its arguments as its schema wants them. */
#include "server/chat_grammar_internal.h"

#include "grammar/grammar_schema.h"
#include "text/chat/tool_call_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHORT_ID_LENGTH = 9 };

static const struct json_schema_options compact = {.compact = true};

static bool is_enforced(const struct assembly *assembly, const json_t *function) {
    return assembly->source->call_is_forced || json_is_true(json_object_get(function, "strict"));
}

/* As JSON, with "object" for the type that the schema left out. */
static grammar_expr json_arguments(struct assembly *assembly, const json_t *parameters) {
    struct grammar_builder *b = assembly->builder;
    json_t *schema = json_copy((json_t *)(uintptr_t)parameters);
    if (schema == NULL || json_object_set_new(schema, "type", json_string("object")) != 0) {
        struct error cause;
        error_set(&cause, ERROR_OUT_OF_MEMORY, "no memory for the grammar");
        json_decref(schema);
        return grammar_builder_fail(b, &cause);
    }
    grammar_expr expr = grammar_json_schema(b, schema, &compact);
    json_decref(schema);
    return expr;
}

/* By the form; `parameters` NULL: any. */
static grammar_expr arguments_by(struct assembly *assembly, const json_t *parameters) {
    switch (assembly->form->codec) {
    case CALL_TAGGED:
        return chat_grammar_tagged(assembly, parameters);
    case CALL_GEMMA:
        return chat_grammar_gemma(assembly, parameters);
    default:
        return parameters == NULL ? grammar_json_object(assembly->builder)
                                  : json_arguments(assembly, parameters);
    }
}

/* The arguments of functions[index]: an object, whatever else its schema says. */
static bool arguments_of(struct assembly *assembly, size_t index, grammar_expr *expr) {
    struct grammar_builder *b = assembly->builder;
    const json_t *function = json_array_get(assembly->source->functions, index);
    const json_t *parameters = json_object_get(function, "parameters");
    const char *type = json_string_value(json_object_get(parameters, "type"));
    struct grammar *none = NULL;
    char place[64];
    snprintf(place, sizeof place, "tools[%zu].function.parameters", index);
    if (!is_enforced(assembly, function)) {
        *expr = arguments_by(assembly, NULL);
        return true;
    }
    if (!json_is_object(parameters)) { /* left out: a function without any */
        bool is_tagged = assembly->form->codec == CALL_TAGGED;
        *expr = is_tagged ? GRAMMAR_EMPTY : grammar_text(b, "{}");
        return true;
    }
    if (json_object_get(parameters, "type") != NULL &&
        (type == NULL || strcmp(type, "object") != 0)) {
        return api_error_set(assembly->error, 400, "invalid_value", place,
                             "Invalid '%s': arguments are an object, so its 'type' is 'object'.",
                             place);
    }
    *expr = arguments_by(assembly, parameters);
    return !grammar_builder_failed(b) ||
           answer_format_build(b, GRAMMAR_EMPTY, place, &none, assembly->error);
}

/* {"name": "add", "arguments": {…}}, from behind `skipped` bytes of it. */
static grammar_expr json_call(const struct assembly *assembly, const char *name,
                              grammar_expr arguments, size_t skipped) {
    struct grammar_builder *b = assembly->builder;
    json_t *value = json_string(name);
    char *quoted = json_dumps(value, JSON_ENCODE_ANY);
    struct string_buffer head = {0};
    string_buffer_append_format(&head, "{\"%s\": %s, \"%s\": ", assembly->form->name_key,
                                quoted == NULL ? "" : quoted, assembly->form->arguments_key);
    grammar_expr expr =
        grammar_sequence_of(b, 3, grammar_text(b, string_buffer_text(&head) + skipped), arguments,
                            grammar_text(b, "}"));
    if (quoted == NULL || head.failed) {
        struct error cause;
        error_set(&cause, ERROR_OUT_OF_MEMORY, "no memory for the grammar");
        expr = grammar_builder_fail(b, &cause);
    }
    string_buffer_deinit(&head);
    free(quoted);
    json_decref(value);
    return expr;
}

/* Mistral's nine letters and digits; else a number, as Kimi counts its calls. */
static grammar_expr id_of(const struct assembly *assembly) {
    static const struct code_point_range letters[] = {{'0', '9'}, {'A', 'Z'}, {'a', 'z'}};
    struct grammar_builder *b = assembly->builder;
    bool is_short = assembly->form->has_short_ids;
    if (assembly->form->id_open == NULL) {
        return GRAMMAR_EMPTY;
    }
    grammar_expr id =
        grammar_repeat(b, grammar_class(b, letters, is_short ? 3 : 1, false),
                       is_short ? SHORT_ID_LENGTH : 1, is_short ? SHORT_ID_LENGTH : 3);
    return grammar_sequence_of(b, 2, chat_grammar_marked(assembly, assembly->form->id_open), id);
}

/* The name with what stands around it, and the arguments. */
static grammar_expr named_call(const struct assembly *assembly, const char *name,
                               grammar_expr arguments) {
    const struct tool_call_form *form = assembly->form;
    struct grammar_builder *b = assembly->builder;
    return grammar_sequence_of(b, 6, chat_grammar_marked(assembly, form->before_name),
                               grammar_text(b, name), id_of(assembly),
                               chat_grammar_marked(assembly, form->after_name), arguments,
                               chat_grammar_marked(assembly, form->after_arguments));
}

/* What stands between tags is a name that can be told from them. */
static bool can_be_named(const struct assembly *assembly, const char *name) {
    return assembly->form->codec == CALL_JSON || tool_name_is_plain(name, strlen(name));
}

static bool refuse_name(const struct assembly *assembly, const char *name) {
    return api_error_set(assembly->error, 400, "invalid_value", "tools",
                         "Invalid function name '%.100s' in 'tools': this model's calls have names "
                         "of letters, digits and '_-.:/'.",
                         name);
}

bool chat_grammar_any_call(struct assembly *assembly, size_t skipped, grammar_expr *expr) {
    struct grammar_builder *b = assembly->builder;
    const json_t *functions = assembly->source->functions;
    const char *chosen = assembly->source->chosen_tool;
    grammar_expr *calls = calloc(json_array_size(functions) + 1, sizeof *calls);
    size_t count = 0;
    bool done = true;
    if (calls == NULL) {
        return api_error_out_of_memory(assembly->error);
    }
    for (size_t i = 0; done && i < json_array_size(functions); i++) {
        const char *name = json_string_value(json_object_get(json_array_get(functions, i), "name"));
        grammar_expr arguments = GRAMMAR_EMPTY;
        if (chosen != NULL && strcmp(chosen, name) != 0) {
            continue;
        }
        if (!can_be_named(assembly, name)) {
            done =
                !is_enforced(assembly, json_array_get(functions, i)) || refuse_name(assembly, name);
            continue;
        }
        done = arguments_of(assembly, i, &arguments);
        calls[count++] = assembly->form->codec == CALL_JSON
                             ? json_call(assembly, name, arguments, skipped)
                             : named_call(assembly, name, arguments);
    }
    if (done) {
        *expr = grammar_choice(b, calls, count);
    }
    free(calls);
    return done;
}
