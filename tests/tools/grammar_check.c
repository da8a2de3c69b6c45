/*
 * grammar_check.c - compiles grammars and says which texts they match: what Python tests compare
 * with other implementations.
 *
 * Each line of standard input is an object: "kind" (gbnf, regex, schema or json_object), "source"
 * (text, or the schema as a value), "texts" (a list of strings), and for a schema "as_written"
 * (boolean). Each line of standard output is {"matches": [true, …]} or {"error": "…", "code": N}.
 */
#include "grammar/grammar_automaton.h"
#include "grammar/grammar_schema.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool compile(const json_t *order, struct grammar **grammar, struct error *error) {
    const char *kind = json_string_value(json_object_get(order, "kind"));
    const json_t *source = json_object_get(order, "source");
    struct string_view text = {json_string_value(source), json_string_length(source)};
    if (strcmp(kind, "gbnf") == 0) {
        return grammar_from_gbnf(text, grammar, error);
    }
    if (strcmp(kind, "regex") == 0) {
        return grammar_from_regex(text, grammar, error);
    }
    if (strcmp(kind, "json_object") == 0) {
        return grammar_from_json_object(grammar, error);
    }
    const struct json_schema_options options = {
        .as_written = json_is_true(json_object_get(order, "as_written"))};
    return grammar_from_json_schema(source, &options, grammar, error);
}

static bool matches(struct automaton *automaton, const char *text, size_t length) {
    uint32_t state = AUTOMATON_START;
    for (size_t i = 0; i < length && state != AUTOMATON_DEAD; i++) {
        automaton->work = AUTOMATON_STEP_WORK;
        state = automaton_next(automaton, state, (uint8_t)text[i]);
    }
    if (automaton->has_failed) {
        fputs("grammar_check: past the bounds\n", stderr);
        exit(1);
    }
    return automaton_accepts(automaton, state);
}

static json_t *answer(const json_t *order) {
    struct error error = {0};
    struct grammar *grammar = NULL;
    struct automaton automaton;
    if (!compile(order, &grammar, &error)) {
        return json_pack("{s:s, s:i}", "error", error.message, "code", (int)error.code);
    }
    if (!automaton_init(&automaton, grammar)) {
        grammar_unref(grammar);
        return json_pack("{s:s, s:i}", "error", "past the bounds", "code", 0);
    }
    json_t *list = json_array();
    const json_t *texts = json_object_get(order, "texts");
    for (size_t i = 0; i < json_array_size(texts); i++) {
        const json_t *text = json_array_get(texts, i);
        json_array_append_new(list, json_boolean(matches(&automaton, json_string_value(text),
                                                         json_string_length(text))));
    }
    automaton_deinit(&automaton);
    grammar_unref(grammar);
    return json_pack("{s:o}", "matches", list);
}

int main(void) {
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, stdin) > 0) {
        json_error_t reason;
        json_t *order = json_loads(line, JSON_ALLOW_NUL, &reason);
        json_t *result = order != NULL ? answer(order)
                                       : json_pack("{s:s, s:i}", "error", reason.text, "code", 0);
        char *text = json_dumps(result, JSON_COMPACT);
        puts(text);
        fflush(stdout);
        free(text);
        json_decref(result);
        json_decref(order);
    }
    free(line);
    return 0;
}
