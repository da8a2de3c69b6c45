/* chat_grammar.c - see chat_grammar.h. */
#include "server/chat_grammar.h"

#include "grammar/grammar_builder.h"
#include "grammar/grammar_schema.h"
#include "server/request_fields.h"
#include "text/chat/tool_call_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MISTRAL_ID_LENGTH = 9 };

static const struct json_schema_options compact = {.compact = true};

/* How calls are put together. What opens and closes a call or a list of them is in the tags. */
struct call_form {
    const char *arguments_key;  /* of {"name": …, KEY: …}; NULL: name[ARGS]{…} */
    const char *before, *after; /* of a call, within its tags */
    const char *between;        /* one call and the next */
    bool is_list;               /* one pair of tags, and of "[" and "]", around all of them */
};

static struct call_form form_of(const struct chat_traits *traits) {
    static const struct call_form listed = {"arguments", "", "", ", ", true},
                                  named = {NULL, "", "", "", false},
                                  hermes = {"arguments", "\n", "\n", "\n", false},
                                  llama3 = {"parameters", "", "", "; ", false};
    switch (traits->tool_calls) {
    case TOOL_CALLS_HERMES:
        return hermes;
    case TOOL_CALLS_LLAMA3:
        return llama3;
    default:
        return traits->calls_are_listed ? listed : named;
    }
}

/* A grammar on its way. */
struct assembly {
    const struct chat_grammar_source *source;
    struct grammar_builder *builder;
    struct call_form form;
    struct chat_tags tags; /* of a call, or of all of them */
    bool has_calls;
    struct api_error *error;
};

static grammar_expr tag(const struct assembly *assembly, const char *text, bool is_control) {
    struct grammar_builder *b = assembly->builder;
    return text == NULL ? GRAMMAR_EMPTY
           : is_control ? grammar_token(b, string_view_of(text))
                        : grammar_text(b, text);
}

/* --- one call --- */

static bool is_enforced(const struct assembly *assembly, const json_t *function) {
    return assembly->source->call_is_forced || json_is_true(json_object_get(function, "strict"));
}

/* The arguments of functions[index]: an object, whatever else its schema says. */
static bool arguments_of(struct assembly *assembly, size_t index, grammar_expr *expr) {
    struct grammar_builder *b = assembly->builder;
    const json_t *function = json_array_get(assembly->source->functions, index);
    json_t *parameters = json_object_get(function, "parameters");
    const char *type = json_string_value(json_object_get(parameters, "type"));
    struct grammar *none = NULL;
    char place[64];
    snprintf(place, sizeof place, "tools[%zu].function.parameters", index);
    if (!is_enforced(assembly, function)) {
        *expr = grammar_json_object(b);
        return true;
    }
    if (!json_is_object(parameters)) { /* left out: a function without any */
        *expr = grammar_text(b, "{}");
        return true;
    }
    if (json_object_get(parameters, "type") != NULL &&
        (type == NULL || strcmp(type, "object") != 0)) {
        return api_error_set(assembly->error, 400, "invalid_value", place,
                             "Invalid '%s': arguments are an object, so its 'type' is 'object'.",
                             place);
    }
    json_t *schema = json_copy(parameters);
    json_t *object = json_string("object");
    bool done = (schema != NULL && json_object_set_new(schema, "type", object) == 0) ||
                api_error_out_of_memory(assembly->error);
    *expr = done ? grammar_json_schema(b, schema, &compact) : GRAMMAR_EMPTY;
    json_decref(schema);
    return done && (!grammar_builder_failed(b) ||
                    answer_format_build(b, GRAMMAR_EMPTY, place, &none, assembly->error));
}

/* {"name": "add", "arguments": {…}}, from behind `skipped` bytes of it. */
static grammar_expr json_call(const struct assembly *assembly, const char *name,
                              grammar_expr arguments, size_t skipped) {
    struct grammar_builder *b = assembly->builder;
    json_t *value = json_string(name);
    char *quoted = json_dumps(value, JSON_ENCODE_ANY);
    struct string_buffer head = {0};
    string_buffer_append_format(&head, "{\"name\": %s, \"%s\": ", quoted == NULL ? "" : quoted,
                                assembly->form.arguments_key);
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

/* name[CALL_ID]id[ARGS]{…} */
static grammar_expr named_call(const struct assembly *assembly, const char *name,
                               grammar_expr arguments) {
    struct grammar_builder *b = assembly->builder;
    bool is_control = assembly->source->traits->inner_tags_are_control;
    grammar_expr id = GRAMMAR_EMPTY;
    if (assembly->source->traits->calls_have_ids) {
        static const struct code_point_range letters[] = {{'0', '9'}, {'A', 'Z'}, {'a', 'z'}};
        id = grammar_sequence_of(b, 2, tag(assembly, "[CALL_ID]", is_control),
                                 grammar_repeat(b, grammar_class(b, letters, 3, false),
                                                MISTRAL_ID_LENGTH, MISTRAL_ID_LENGTH));
    }
    return grammar_sequence_of(b, 4, grammar_text(b, name), id, tag(assembly, "[ARGS]", is_control),
                               arguments);
}

/* What a Mistral call has between its tags is a name that can be told from them. */
static bool can_be_named(const struct assembly *assembly, const char *name) {
    return assembly->form.arguments_key != NULL || tool_name_is_plain(name, strlen(name));
}

static bool refuse_name(const struct assembly *assembly, const char *name) {
    return api_error_set(assembly->error, 400, "invalid_value", "tools",
                         "Invalid function name '%.100s' in 'tools': this model's calls have names "
                         "of letters, digits and '_-.:/'.",
                         name);
}

/* A call of any of the functions that may be called, without its tags. */
static bool any_call(struct assembly *assembly, size_t skipped, grammar_expr *expr) {
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
        calls[count++] = assembly->form.arguments_key != NULL
                             ? json_call(assembly, name, arguments, skipped)
                             : named_call(assembly, name, arguments);
    }
    if (done) {
        *expr = grammar_choice(b, calls, count);
    }
    free(calls);
    return done;
}

/* --- calls --- */

/* The calls from behind their first tag, given one call. `first`: how the first of them goes on. */
static grammar_expr calls_after_tag(const struct assembly *assembly, grammar_expr call,
                                    grammar_expr first) {
    struct grammar_builder *b = assembly->builder;
    const struct chat_traits *traits = assembly->source->traits;
    const struct call_form *form = &assembly->form;
    grammar_expr open = tag(assembly, assembly->tags.open, traits->tool_tags_are_control);
    grammar_expr close = tag(assembly, assembly->tags.close, traits->inner_tags_are_control);
    grammar_expr before = grammar_text(b, form->before), after = grammar_text(b, form->after);
    grammar_expr next = grammar_text(b, form->between);
    bool is_single = assembly->source->single_call || traits->single_calls;
    if (form->is_list) {
        grammar_expr more = grammar_sequence_of(b, 2, next, call);
        grammar_expr rest =
            is_single ? GRAMMAR_EMPTY : grammar_repeat(b, more, 0, GRAMMAR_UNBOUNDED);
        grammar_expr begin = grammar_sequence_of(b, 2, grammar_optional(b, grammar_text(b, " ")),
                                                 grammar_text(b, "["));
        return grammar_sequence_of(b, 4, begin, first, rest, grammar_text(b, "]"));
    }
    grammar_expr more = grammar_sequence_of(b, 6, next, open, before, call, after, close);
    grammar_expr rest = is_single ? GRAMMAR_EMPTY : grammar_repeat(b, more, 0, GRAMMAR_UNBOUNDED);
    return grammar_sequence_of(b, 5, before, first, after, close, rest);
}

/* All calls, tags included, and perhaps the space before them that SentencePiece likes. */
static grammar_expr whole_calls(const struct assembly *assembly, grammar_expr call) {
    struct grammar_builder *b = assembly->builder;
    bool is_control = assembly->source->traits->tool_tags_are_control;
    return grammar_sequence_of(b, 3, grammar_optional(b, grammar_text(b, " ")),
                               tag(assembly, assembly->tags.open, is_control),
                               calls_after_tag(assembly, call, call));
}

/* Any text that does not begin as a Llama 3 call does, or a call. Its models write no tag. */
static grammar_expr text_or_bare_calls(const struct assembly *assembly, grammar_expr call_end) {
    static const char beginning[] = "{\"name\": \"";
    enum { BEGIN, END, FREE, NEXT, LENGTH = sizeof beginning - 1 };
    struct grammar_builder *b = assembly->builder;
    struct grammar_arc arcs[256 * LENGTH + LENGTH + 2];
    size_t count = 0;
    grammar_expr call = grammar_sequence_of(b, 2, grammar_text(b, beginning), call_end);
    for (uint32_t i = 0; i < LENGTH; i++) { /* state NEXT + i: all up to beginning[i] is there */
        uint32_t at = i == 0 ? BEGIN : NEXT + i - 1;
        arcs[count++] = (struct grammar_arc){at, END, GRAMMAR_EMPTY};
        for (unsigned byte = 0; byte < 256; byte++) {
            bool is_blank = i == 0 && (byte == ' ' || byte == '\n');
            uint32_t to = byte == (uint8_t)beginning[i] ? NEXT + i : is_blank ? BEGIN : FREE;
            arcs[count++] =
                (struct grammar_arc){at, to, grammar_byte_range(b, (uint8_t)byte, (uint8_t)byte)};
        }
    }
    arcs[count++] = (struct grammar_arc){FREE, END, grammar_lazy(b, NULL, 0)};
    arcs[count++] =
        (struct grammar_arc){NEXT + LENGTH - 1, END, calls_after_tag(assembly, call, call_end)};
    return grammar_automaton(b, NEXT + LENGTH, arcs, count);
}

/* Any text; once a call has begun, it goes on as one. */
static bool text_or_calls(struct assembly *assembly, grammar_expr call, grammar_expr *expr) {
    bool is_bare = assembly->tags.open == NULL;
    if (is_bare) {
        grammar_expr end = GRAMMAR_EMPTY;
        bool done = any_call(assembly, strlen("{\"name\": \""), &end);
        *expr = text_or_bare_calls(assembly, end);
        return done;
    }
    const struct grammar_trigger trigger = {
        .text = string_view_of(assembly->tags.open),
        .is_token = assembly->source->traits->tool_tags_are_control,
        .body = calls_after_tag(assembly, call, call),
    };
    *expr = grammar_lazy(assembly->builder, &trigger, 1);
    return true;
}

/* --- thoughts --- */

/* A thought and then `answer`; or, where the model has not begun to think, the answer alone. A call
 * whose tag is a token ends a thought as well. */
static grammar_expr after_thought(const struct assembly *assembly, grammar_expr answer,
                                  grammar_expr call) {
    struct grammar_builder *b = assembly->builder;
    const struct chat_grammar_source *source = assembly->source;
    struct chat_tags tags = thinking_tags(source->traits->thinking);
    bool is_control = source->traits->thinking_tags_are_control;
    if (tags.open == NULL || (!source->thinking_open && !source->may_think)) {
        return answer;
    }
    grammar_expr spaces = grammar_repeat(b, grammar_text(b, "\n"), 0, 2);
    struct grammar_trigger triggers[2] = {
        {string_view_of(tags.close), is_control, grammar_sequence_of(b, 2, spaces, answer)}};
    size_t count = 1;
    if (assembly->has_calls && source->traits->tool_tags_are_control) {
        triggers[count++] = (struct grammar_trigger){string_view_of(assembly->tags.open), true,
                                                     calls_after_tag(assembly, call, call)};
    }
    grammar_expr thought = grammar_until(b, triggers, count);
    if (source->thinking_open) {
        return thought;
    }
    grammar_expr begun = grammar_sequence_of(b, 2, tag(assembly, tags.open, is_control), thought);
    return grammar_choice_of(b, 2, begun, answer);
}

/* --- the whole --- */

static bool has_strict(const struct chat_grammar_source *source) {
    for (size_t i = 0; i < json_array_size(source->functions); i++) {
        if (json_is_true(json_object_get(json_array_get(source->functions, i), "strict"))) {
            return true;
        }
    }
    return false;
}

static bool assemble(struct assembly *assembly, grammar_expr *expr, const char **field) {
    const struct chat_grammar_source *source = assembly->source;
    grammar_expr format = GRAMMAR_EMPTY, call = GRAMMAR_EMPTY;
    if (!answer_format_read(source->format, assembly->builder, &format, field, assembly->error)) {
        return false;
    }
    bool is_strict = has_strict(source);
    assembly->has_calls = json_array_size(source->functions) > 0 &&
                          (source->call_is_forced || is_strict || *field != NULL);
    if (!assembly->has_calls && *field == NULL) {
        return true;
    }
    if (assembly->has_calls && !any_call(assembly, 0, &call)) {
        return false;
    }
    if (source->call_is_forced) {
        *expr = whole_calls(assembly, call);
    } else if (*field != NULL && assembly->has_calls) {
        *expr = grammar_choice_of(assembly->builder, 2, whole_calls(assembly, call), format);
    } else if (*field != NULL) {
        *expr = format;
    } else if (!text_or_calls(assembly, call, expr)) {
        return false;
    }
    *field = *field == NULL ? "tools" : *field;
    *expr = after_thought(assembly, *expr, call);
    return true;
}

bool chat_grammar_compile(const struct chat_grammar_source *source, struct grammar **grammar,
                          struct api_error *error) {
    struct assembly assembly = {
        .source = source,
        .builder = grammar_builder_create(),
        .form = form_of(source->traits),
        .error = error,
    };
    if (source->traits->tool_calls != TOOL_CALLS_LLAMA3) { /* its tag may be left out, and is */
        assembly.tags = tool_call_tags(source->traits->tool_calls);
    }
    grammar_expr expr = GRAMMAR_EMPTY;
    const char *field = NULL;
    *grammar = NULL;
    bool done =
        (assembly.builder != NULL || api_error_out_of_memory(error)) &&
        assemble(&assembly, &expr, &field) &&
        (field == NULL || answer_format_build(assembly.builder, expr, field, grammar, error));
    grammar_builder_free(assembly.builder);
    return done;
}
