/*
 * chat_grammar_values.c - the part of chat_grammar.h for arguments that are not written as JSON.
 *
 * Of a text's schema its choices ("enum", "const") are held to; its length and its pattern are not:
 * these forms have texts without quotes, up to what closes them. Every other value follows its
 * schema as JSON does. A schema without "properties" leaves arguments free.
 */
#include "server/chat_grammar_internal.h"

#include "grammar/grammar_schema.h"
#include "text/chat/tool_schema.h"

#include <string.h>

enum { DEPTH_MAX = 8, KEY_MAX = 64 };

static const struct json_schema_options compact = {.compact = true};

/* --- texts --- */

/* Any character but NUL, which JSON texts may hold and readers of them not, and those given. */
static grammar_expr any_but(struct grammar_builder *b, uint32_t one, uint32_t other) {
    const struct code_point_range ranges[] = {{0, 0}, {one, one}, {other, other}};
    return grammar_class(b, ranges, 3, true);
}

/* Any text that does not hold `end`, and then that. `end` begins with a character that it has only
 * there, which makes the states few: a text of it that fails begins anew. */
static grammar_expr text_up_to(const struct assembly *assembly, const char *text) {
    enum { BEGIN, END, INSIDE };
    struct grammar_builder *b = assembly->builder;
    const char *rest = NULL;
    struct grammar_trigger end = chat_grammar_trigger(assembly, text, &rest);
    struct grammar_arc arcs[3 * 64];
    size_t count = 0;
    if (end.is_token) {
        arcs[count++] = (struct grammar_arc){BEGIN, BEGIN, any_but(b, 0, 0)};
        arcs[count++] = (struct grammar_arc){BEGIN, END, grammar_token(b, end.text)};
    }
    for (uint32_t i = 0; !end.is_token && i < end.text.length && i < 64; i++) {
        uint32_t from = i == 0 ? BEGIN : INSIDE + i - 1;
        uint8_t first = (uint8_t)end.text.data[0], byte = (uint8_t)end.text.data[i];
        arcs[count++] = (struct grammar_arc){from, BEGIN, any_but(b, first, byte)};
        arcs[count++] = (struct grammar_arc){from, i + 1 == end.text.length ? END : INSIDE + i,
                                             grammar_byte_range(b, byte, byte)};
        if (i > 0) {
            arcs[count++] = (struct grammar_arc){from, INSIDE, grammar_byte_range(b, first, first)};
        }
    }
    grammar_expr body = grammar_automaton(b, INSIDE + end.text.length, arcs, count);
    return grammar_sequence_of(b, 2, body, chat_grammar_marked(assembly, rest));
}

/* One of the texts that a schema lists. False: it lists none. */
static bool listed_texts(struct grammar_builder *b, const json_t *schema, grammar_expr *expr) {
    const json_t *values = json_object_get(schema, "enum");
    const json_t *only = json_object_get(schema, "const");
    grammar_expr texts[256];
    size_t count = 0;
    if (json_is_string(only)) {
        texts[count++] = grammar_text(b, json_string_value(only));
    }
    for (size_t i = 0; only == NULL && i < json_array_size(values) && count < 256; i++) {
        const char *text = json_string_value(json_array_get(values, i));
        if (text != NULL) {
            texts[count++] = grammar_text(b, text);
        }
    }
    *expr = grammar_choice(b, texts, count);
    return count > 0;
}

/* A value as JSON, by its schema, which may refer to its root's definitions. */
static grammar_expr json_value(const struct assembly *assembly, const json_t *schema,
                               const json_t *root) {
    static const char *const definitions[] = {"$defs", "definitions"};
    json_t *whole = json_copy((json_t *)(uintptr_t)schema);
    for (size_t i = 0; i < 2; i++) {
        json_t *given = json_object_get(root, definitions[i]);
        if (given != NULL && json_object_get(whole, definitions[i]) == NULL) {
            json_object_set(whole, definitions[i], given);
        }
    }
    grammar_expr expr = whole == NULL ? grammar_json_value(assembly->builder)
                                      : grammar_json_schema(assembly->builder, whole, &compact);
    json_decref(whole);
    return expr;
}

static bool is_required(const json_t *schema, const char *name) {
    const json_t *required = json_object_get(schema, "required");
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *text = json_string_value(json_array_get(required, i));
        if (text != NULL && strcmp(text, name) == 0) {
            return true;
        }
    }
    return false;
}

/* --- tagged --- */

/* A value and what closes it. */
static grammar_expr tagged_value(const struct assembly *assembly, const json_t *schema,
                                 const json_t *root) {
    struct grammar_builder *b = assembly->builder;
    const char *close = assembly->form->value_close;
    const json_t *resolved = tool_schema_resolve(schema, root);
    unsigned kinds = tool_schema_kinds(schema, root);
    grammar_expr texts = GRAMMAR_EMPTY;
    if (kinds == KIND_TEXT && listed_texts(b, resolved, &texts)) {
        return grammar_sequence_of(b, 2, texts, chat_grammar_marked(assembly, close));
    }
    if ((kinds & KIND_TEXT) != 0) {
        return text_up_to(assembly, close);
    }
    return grammar_sequence_of(b, 2, json_value(assembly, schema, root),
                               chat_grammar_marked(assembly, close));
}

static grammar_expr tagged_argument(const struct assembly *assembly, grammar_expr key,
                                    grammar_expr value) {
    const struct tool_call_form *form = assembly->form;
    return grammar_sequence_of(assembly->builder, 5, chat_grammar_marked(assembly, form->key_open),
                               key, chat_grammar_marked(assembly, form->key_close),
                               chat_grammar_marked(assembly, form->value_open), value);
}

static grammar_expr any_tagged(const struct assembly *assembly) {
    static const struct code_point_range marks[] = {
        {0, 0x20}, {'"', '"'}, {'<', '<'}, {'>', '>'}, {'=', '='}};
    struct grammar_builder *b = assembly->builder;
    grammar_expr key = grammar_repeat(b, grammar_class(b, marks, 5, true), 1, KEY_MAX);
    grammar_expr value = text_up_to(assembly, assembly->form->value_close);
    return grammar_repeat(b, tagged_argument(assembly, key, value), 0, GRAMMAR_UNBOUNDED);
}

grammar_expr chat_grammar_tagged(const struct assembly *assembly, const json_t *parameters) {
    struct grammar_builder *b = assembly->builder;
    json_t *properties = json_object_get(parameters, "properties");
    grammar_expr all = GRAMMAR_EMPTY;
    const char *name;
    json_t *schema;
    if (!json_is_object(properties)) {
        return any_tagged(assembly);
    }
    json_object_foreach(properties, name, schema) {
        grammar_expr one = tagged_argument(assembly, grammar_text(b, name),
                                           tagged_value(assembly, schema, parameters));
        one = is_required(parameters, name) ? one : grammar_optional(b, one);
        all = grammar_sequence_of(b, 2, all, one);
    }
    return all;
}

/* --- gemma --- */

struct gemma {
    const struct assembly *assembly;
    const json_t *root;
    grammar_expr any; /* any value: a rule, which refers to itself */
};

static grammar_expr gemma_text(const struct assembly *assembly) {
    return grammar_sequence_of(assembly->builder, 2,
                               chat_grammar_marked(assembly, assembly->form->text_mark),
                               text_up_to(assembly, assembly->form->text_mark));
}

/* open [item {, item}] close, with from `least` to `most` items. */
static grammar_expr gemma_list(struct grammar_builder *b, const char *open, grammar_expr item,
                               const char *close, size_t least, size_t most) {
    grammar_expr more = grammar_sequence_of(b, 2, grammar_text(b, ","), item);
    grammar_expr some =
        grammar_sequence_of(b, 2, item,
                            grammar_repeat(b, more, least > 0 ? least - 1 : 0,
                                           most == GRAMMAR_UNBOUNDED ? most : most - 1));
    grammar_expr items = most == 0 ? GRAMMAR_EMPTY : least == 0 ? grammar_optional(b, some) : some;
    return grammar_sequence_of(b, 3, grammar_text(b, open), items, grammar_text(b, close));
}

static grammar_expr gemma_key(struct grammar_builder *b) {
    static const struct code_point_range letters[] = {
        {'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
    return grammar_repeat(b, grammar_class(b, letters, 4, false), 1, KEY_MAX);
}

static grammar_expr gemma_free_object(const struct gemma *gemma) {
    struct grammar_builder *b = gemma->assembly->builder;
    grammar_expr member = grammar_sequence_of(b, 3, gemma_key(b), grammar_text(b, ":"), gemma->any);
    return gemma_list(b, "{", member, "}", 0, GRAMMAR_UNBOUNDED);
}

static void define_any(struct gemma *gemma) {
    struct grammar_builder *b = gemma->assembly->builder;
    json_t *scalar = json_pack("{s:[s, s, s]}", "type", "number", "boolean", "null");
    gemma->any = grammar_rule(b, string_view_of("any value"));
    grammar_rule_define(b, gemma->any,
                        grammar_choice_of(b, 4, gemma_text(gemma->assembly),
                                          grammar_json_schema(b, scalar, &compact),
                                          gemma_list(b, "[", gemma->any, "]", 0, GRAMMAR_UNBOUNDED),
                                          gemma_free_object(gemma)));
    json_decref(scalar);
}

static grammar_expr gemma_value(const struct gemma *gemma, const json_t *schema, unsigned depth);

/* {key:value,…}, in the order of "properties". */
static grammar_expr gemma_members(const struct gemma *gemma, const json_t *schema, unsigned depth) {
    struct grammar_builder *b = gemma->assembly->builder;
    json_t *properties = json_object_get(schema, "properties");
    /* Built from the end: `first` where no member stands before, `later` where one does. */
    grammar_expr first = GRAMMAR_EMPTY, later = GRAMMAR_EMPTY;
    const char *names[256];
    size_t count = 0;
    const char *name;
    json_t *value;
    json_object_foreach(properties, name, value) {
        if (count < sizeof names / sizeof names[0]) {
            names[count++] = name;
        }
    }
    while (count-- > 0) {
        grammar_expr member = grammar_sequence_of(
            b, 3, grammar_text(b, names[count]), grammar_text(b, ":"),
            gemma_value(gemma, json_object_get(properties, names[count]), depth + 1));
        grammar_expr begins = grammar_sequence_of(b, 2, member, later);
        grammar_expr follows = grammar_sequence_of(b, 2, grammar_text(b, ","), begins);
        bool must = is_required(schema, names[count]);
        first = must ? begins : grammar_choice_of(b, 2, begins, first);
        later = must ? follows : grammar_choice_of(b, 2, follows, later);
    }
    return grammar_sequence_of(b, 3, grammar_text(b, "{"), first, grammar_text(b, "}"));
}

static size_t bound_of(const json_t *schema, const char *key, size_t otherwise) {
    const json_t *value = json_object_get(schema, key);
    json_int_t number = json_integer_value(value);
    return json_is_integer(value) && number >= 0 && number < 1000 ? (size_t)number : otherwise;
}

static grammar_expr gemma_value(const struct gemma *gemma, const json_t *schema, unsigned depth) {
    const struct assembly *assembly = gemma->assembly;
    struct grammar_builder *b = assembly->builder;
    const json_t *resolved = tool_schema_resolve(schema, gemma->root);
    unsigned kinds = tool_schema_kinds(schema, gemma->root);
    grammar_expr texts = GRAMMAR_EMPTY;
    if (depth >= DEPTH_MAX) {
        return gemma->any;
    }
    if (kinds == KIND_TEXT) {
        grammar_expr mark = chat_grammar_marked(assembly, assembly->form->text_mark);
        return listed_texts(b, resolved, &texts) ? grammar_sequence_of(b, 3, mark, texts, mark)
                                                 : gemma_text(assembly);
    }
    if (kinds == KIND_OBJECT) {
        return json_is_object(json_object_get(resolved, "properties"))
                   ? gemma_members(gemma, resolved, depth)
                   : gemma_free_object(gemma);
    }
    if (kinds == KIND_ARRAY) {
        const json_t *items = json_object_get(resolved, "items");
        return gemma_list(b, "[", gemma_value(gemma, items, depth + 1), "]",
                          bound_of(resolved, "minItems", 0),
                          bound_of(resolved, "maxItems", GRAMMAR_UNBOUNDED));
    }
    bool is_scalar = (kinds & (KIND_TEXT | KIND_OBJECT | KIND_ARRAY)) == 0;
    return is_scalar ? json_value(assembly, schema, gemma->root) : gemma->any;
}

grammar_expr chat_grammar_gemma(const struct assembly *assembly, const json_t *parameters) {
    struct gemma gemma = {.assembly = assembly, .root = parameters};
    define_any(&gemma);
    return json_is_object(json_object_get(parameters, "properties"))
               ? gemma_members(&gemma, parameters, 0)
               : gemma_free_object(&gemma);
}
