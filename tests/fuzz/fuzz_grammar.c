/*
 * fuzz_grammar.c - any bytes as a grammar: the first byte chooses GBNF, a regular expression or a
 * JSON Schema, the rest is its source. Memory and time are the grammar's to bound.
 */
#include "fuzz.h"

#include "grammar/grammar_schema.h"

#include <jansson.h>
#include <stdlib.h>

static bool from_schema(struct string_view source, struct grammar **grammar, struct error *error) {
    json_t *schema = json_loadb(source.data, source.length, JSON_DECODE_ANY, NULL);
    struct json_schema_options options = {.as_written = source.length % 2 == 0};
    bool made = schema != NULL && grammar_from_json_schema(schema, &options, grammar, error);
    json_decref(schema);
    return made;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bool (*const compile[])(struct string_view, struct grammar **,
                            struct error *) = {grammar_from_gbnf, grammar_from_regex, from_schema};
    if (size == 0) {
        return 0;
    }
    struct grammar *grammar = NULL;
    struct error error = {0};
    struct string_view source = {(const char *)data + 1, size - 1};
    if (compile[data[0] % 3](source, &grammar, &error) != (grammar != NULL)) {
        abort();
    }
    grammar_unref(grammar);
    return 0;
}
