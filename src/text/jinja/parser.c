/*
 * parser.c - the statement half of the parser: text, {{ output }} and {% tags %}.
 *
 * Inheritance, inclusion and "call" are not offered: a chat template is one file and none uses
 * them. See parser.h.
 */
#include "text/jinja/parser.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool jinja_parser_next(struct jinja_parser *parser) {
    return jinja_lexer_next(&parser->lexer, &parser->token, parser->error);
}

bool jinja_parser_fail(struct jinja_parser *parser, uint32_t line, const char *format, ...) {
    char message[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    return error_set(parser->error, ERROR_FORMAT, "line %u: %s", (unsigned)line, message);
}

bool jinja_parser_fail_memory(struct jinja_parser *parser) {
    return error_set(parser->error, ERROR_OUT_OF_MEMORY, "no memory for the template");
}

bool jinja_parser_unexpected(struct jinja_parser *parser, const char *expected) {
    const struct jinja_token *token = &parser->token;
    int length = token->text.length > 40 ? 40 : (int)token->text.length;
    switch (token->kind) {
    case JINJA_TOKEN_END:
        return jinja_parser_fail(parser, token->line, "expected %s, got the end of the template",
                                 expected);
    case JINJA_TOKEN_BLOCK_END:
    case JINJA_TOKEN_OUTPUT_END:
        return jinja_parser_fail(parser, token->line, "expected %s, got the end of the tag",
                                 expected);
    case JINJA_TOKEN_INTEGER:
    case JINJA_TOKEN_FLOAT:
        return jinja_parser_fail(parser, token->line, "expected %s, got a number", expected);
    default:
        return jinja_parser_fail(parser, token->line, "expected %s, got '%.*s'", expected, length,
                                 token->text.data);
    }
}

bool jinja_parser_is(const struct jinja_parser *parser, enum jinja_token_kind kind,
                     const char *text) {
    return parser->token.kind == kind && (text == NULL || string_view_is(parser->token.text, text));
}

bool jinja_parser_skip(struct jinja_parser *parser, enum jinja_token_kind kind, const char *text,
                       bool *taken) {
    *taken = jinja_parser_is(parser, kind, text);
    return !*taken || jinja_parser_next(parser);
}

bool jinja_parser_expect(struct jinja_parser *parser, enum jinja_token_kind kind,
                         const char *text) {
    if (jinja_parser_is(parser, kind, text)) {
        return jinja_parser_next(parser);
    }
    char quoted[32];
    snprintf(quoted, sizeof quoted, "'%s'", text == NULL ? "" : text);
    return jinja_parser_unexpected(parser, text != NULL                     ? quoted
                                           : kind == JINJA_TOKEN_NAME       ? "a name"
                                           : kind == JINJA_TOKEN_OUTPUT_END ? "'}}'"
                                                                            : "'%}'");
}

bool jinja_parser_enter(struct jinja_parser *parser) {
    if (parser->nesting == JINJA_MAX_NESTING) {
        return jinja_parser_fail(parser, parser->token.line, "nested too deeply");
    }
    parser->nesting++;
    return true;
}

struct jinja_node *jinja_new_node(struct jinja_parser *parser, enum jinja_node_kind kind,
                                  uint32_t line) {
    struct jinja_node *node = arena_alloc(parser->arena, 1, sizeof *node);
    if (node == NULL) {
        jinja_parser_fail_memory(parser);
        return NULL;
    }
    node->kind = (uint8_t)kind;
    node->line = line;
    return node;
}

struct jinja_part *jinja_new_part(struct jinja_parser *parser) {
    struct jinja_part *part = arena_alloc(parser->arena, 1, sizeof *part);
    if (part == NULL) {
        jinja_parser_fail_memory(parser);
    }
    return part;
}

bool jinja_adopt(struct jinja_parser *parser, struct jinja_node *node,
                 const struct jinja_node *child) {
    if (child == NULL || child->height < node->height) {
        return true;
    }
    if (child->height >= JINJA_MAX_HEIGHT) {
        return jinja_parser_fail(parser, node->line, "nested too deeply");
    }
    node->height = (uint16_t)(child->height + 1);
    return true;
}

/* The one jinja_name of this spelling. */
static struct jinja_name *intern(struct jinja_parser *parser, struct string_view text) {
    const uint64_t *found = hash_map_get(&parser->names, text);
    if (found != NULL) {
        return (struct jinja_name *)(uintptr_t)*found;
    }
    struct jinja_name *name = arena_alloc(parser->arena, 1, sizeof *name);
    const char *copy = arena_copy_text(parser->arena, text.data, text.length);
    if (name == NULL || copy == NULL ||
        !hash_map_set(&parser->names, text, (uint64_t)(uintptr_t)name)) {
        jinja_parser_fail_memory(parser);
        return NULL;
    }
    name->text = (struct string_view){copy, text.length};
    return name;
}

struct jinja_node *jinja_new_variable(struct jinja_parser *parser, struct string_view name,
                                      uint32_t line) {
    struct jinja_node *node = jinja_new_node(parser, JINJA_VARIABLE, line);
    if (node == NULL) {
        return NULL;
    }
    node->variable.name = intern(parser, name);
    return node->variable.name == NULL ? NULL : node;
}

static bool at_name(const struct jinja_parser *parser, const char *text) {
    return jinja_parser_is(parser, JINJA_TOKEN_NAME, text);
}

static bool expect_block_end(struct jinja_parser *parser) {
    return jinja_parser_expect(parser, JINJA_TOKEN_BLOCK_END, NULL);
}

static bool parse_statements(struct jinja_parser *parser, uint32_t line, const char *const *ends,
                             struct jinja_node **body, size_t *end);

/* The statements after a tag, up to one of the tags named in `ends` (NULL-terminated), whose name
 * is taken; *end is its index. The owner's height counts the body in. */
static bool parse_body(struct jinja_parser *parser, struct jinja_node *owner,
                       const char *const *ends, struct jinja_node **body, size_t *end) {
    bool colon;
    if (!jinja_parser_skip(parser, JINJA_TOKEN_OPERATOR, ":", &colon) ||
        !expect_block_end(parser) || !jinja_parser_enter(parser)) {
        return false;
    }
    bool parsed = parse_statements(parser, owner->line, ends, body, end);
    parser->nesting--;
    for (const struct jinja_node *node = *body; parsed && node != NULL; node = node->next) {
        parsed = jinja_adopt(parser, owner, node);
    }
    return parsed;
}

static bool parse_body_until(struct jinja_parser *parser, struct jinja_node *owner, const char *end,
                             struct jinja_node **body) {
    const char *const ends[] = {end, NULL};
    size_t which;
    return parse_body(parser, owner, ends, body, &which);
}

static bool parse_set(struct jinja_parser *parser, struct jinja_node *node) {
    node->block.target = jinja_parse_target(parser, true);
    bool assign;
    if (node->block.target == NULL ||
        !jinja_parser_skip(parser, JINJA_TOKEN_OPERATOR, "=", &assign)) {
        return false;
    }
    if (assign) {
        node->block.value = jinja_parse_tuple(parser, true);
        return node->block.value != NULL && jinja_adopt(parser, node, node->block.value);
    }
    node->kind = JINJA_SET_BLOCK;
    if (jinja_parser_is(parser, JINJA_TOKEN_OPERATOR, "|")) {
        node->block.value = jinja_parse_filters(parser, NULL, false);
        if (node->block.value == NULL || !jinja_adopt(parser, node, node->block.value)) {
            return false;
        }
    }
    return parse_body_until(parser, node, "endset", &node->block.body);
}

static bool parse_if(struct jinja_parser *parser, struct jinja_node *node) {
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    enum { ELIF, ELSE, ENDIF };
    struct jinja_part **next = &node->condition.branches;
    size_t end = ELIF;
    while (end != ENDIF) {
        struct jinja_part *branch = jinja_new_part(parser);
        if (branch == NULL) {
            return false;
        }
        if (end == ELSE) {
            *next = branch;
            return parse_body_until(parser, node, "endif", &branch->body);
        }
        branch->value = jinja_parse_tuple(parser, false);
        if (branch->value == NULL || !jinja_adopt(parser, node, branch->value) ||
            !parse_body(parser, node, ends, &branch->body, &end)) {
            return false;
        }
        *next = branch;
        next = &branch->next;
    }
    return true;
}

/* "for TARGET in ITERABLE if TEST". The target is parsed a second time for the condition, which
 * has variables of its own. */
static bool parse_for_head(struct jinja_parser *parser, struct jinja_node *node) {
    struct jinja_lexer target_lexer = parser->lexer;
    struct jinja_token target_token = parser->token;
    node->loop.target = jinja_parse_target(parser, false);
    if (node->loop.target == NULL || !jinja_parser_expect(parser, JINJA_TOKEN_NAME, "in")) {
        return false;
    }
    node->loop.iterable = jinja_parse_tuple(parser, false);
    if (node->loop.iterable == NULL || !jinja_adopt(parser, node, node->loop.target) ||
        !jinja_adopt(parser, node, node->loop.iterable)) {
        return false;
    }
    bool condition;
    if (!jinja_parser_skip(parser, JINJA_TOKEN_NAME, "if", &condition)) {
        return false;
    }
    if (condition) {
        node->loop.test = jinja_parse_expression(parser, true);
        if (node->loop.test == NULL || !jinja_adopt(parser, node, node->loop.test)) {
            return false;
        }
        struct jinja_lexer lexer = parser->lexer;
        struct jinja_token token = parser->token;
        parser->lexer = target_lexer;
        parser->token = target_token;
        node->loop.test_target = jinja_parse_target(parser, false);
        parser->lexer = lexer;
        parser->token = token;
        if (node->loop.test_target == NULL) {
            return false;
        }
    }
    if (at_name(parser, "recursive")) {
        return jinja_parser_fail(parser, node->line, "recursive loops are not supported");
    }
    return true;
}

static bool parse_for(struct jinja_parser *parser, struct jinja_node *node) {
    static const char *const ends[] = {"endfor", "else", NULL};
    size_t end;
    if (!parse_for_head(parser, node)) {
        return false;
    }
    parser->loops++;
    bool parsed = parse_body(parser, node, ends, &node->loop.body, &end);
    parser->loops--;
    return parsed && (end == 0 || parse_body_until(parser, node, "endfor", &node->loop.otherwise));
}

/* A body in which a loop around it cannot be left: it runs as a function of its own. */
static bool parse_function_body(struct jinja_parser *parser, struct jinja_node *node,
                                const char *end, struct jinja_node **body) {
    unsigned loops = parser->loops;
    parser->loops = 0;
    bool parsed = parse_body_until(parser, node, end, body);
    parser->loops = loops;
    return parsed;
}

static bool parse_parameter(struct jinja_parser *parser, struct jinja_node *node,
                            struct jinja_part *part, bool *has_default) {
    struct string_view name = parser->token.text;
    uint32_t line = parser->token.line;
    if (!jinja_parser_expect(parser, JINJA_TOKEN_NAME, NULL)) {
        return false;
    }
    part->name = name;
    part->target = jinja_new_variable(parser, name, line);
    bool assign;
    if (part->target == NULL || !jinja_parser_skip(parser, JINJA_TOKEN_OPERATOR, "=", &assign)) {
        return false;
    }
    if (!assign) {
        return !*has_default ||
               jinja_parser_fail(parser, line, "a parameter without default follows one with");
    }
    *has_default = true;
    part->value = jinja_parse_expression(parser, true);
    return part->value != NULL && jinja_adopt(parser, node, part->value);
}

static bool parse_macro(struct jinja_parser *parser, struct jinja_node *node) {
    struct string_view name = parser->token.text;
    if (!jinja_parser_expect(parser, JINJA_TOKEN_NAME, NULL)) {
        return false;
    }
    node->macro.target = jinja_new_variable(parser, name, node->line);
    if (node->macro.target == NULL || !jinja_parser_expect(parser, JINJA_TOKEN_OPERATOR, "(")) {
        return false;
    }
    struct jinja_part **end = &node->macro.parameters;
    bool has_default = false;
    while (!jinja_parser_is(parser, JINJA_TOKEN_OPERATOR, ")")) {
        if (node->macro.parameters != NULL &&
            !jinja_parser_expect(parser, JINJA_TOKEN_OPERATOR, ",")) {
            return false;
        }
        struct jinja_part *part = jinja_new_part(parser);
        if (part == NULL || !parse_parameter(parser, node, part, &has_default)) {
            return false;
        }
        *end = part;
        end = &part->next;
    }
    return jinja_parser_next(parser) &&
           parse_function_body(parser, node, "endmacro", &node->macro.body);
}

static bool parse_filter_block(struct jinja_parser *parser, struct jinja_node *node) {
    node->block.value = jinja_parse_filters(parser, NULL, true);
    return node->block.value != NULL && jinja_adopt(parser, node, node->block.value) &&
           parse_body_until(parser, node, "endfilter", &node->block.body);
}

static bool parse_with(struct jinja_parser *parser, struct jinja_node *node) {
    struct jinja_part **end = &node->block.bindings;
    while (!jinja_parser_is(parser, JINJA_TOKEN_BLOCK_END, NULL)) {
        if (node->block.bindings != NULL &&
            !jinja_parser_expect(parser, JINJA_TOKEN_OPERATOR, ",")) {
            return false;
        }
        struct jinja_part *part = jinja_new_part(parser);
        if (part == NULL) {
            return false;
        }
        part->target = jinja_parse_target(parser, false);
        if (part->target == NULL || !jinja_parser_expect(parser, JINJA_TOKEN_OPERATOR, "=")) {
            return false;
        }
        part->value = jinja_parse_expression(parser, true);
        if (part->value == NULL || !jinja_adopt(parser, node, part->value) ||
            !jinja_adopt(parser, node, part->target)) {
            return false;
        }
        *end = part;
        end = &part->next;
    }
    return parse_body_until(parser, node, "endwith", &node->block.body);
}

static bool parse_generation(struct jinja_parser *parser, struct jinja_node *node) {
    return parse_function_body(parser, node, "endgeneration", &node->block.body);
}

static bool parse_loop_control(struct jinja_parser *parser, struct jinja_node *node) {
    return parser->loops > 0 || jinja_parser_fail(parser, node->line, "'%s' outside of a loop",
                                                  node->kind == JINJA_BREAK ? "break" : "continue");
}

static const struct {
    const char *name;
    enum jinja_node_kind kind;
    bool (*parse)(struct jinja_parser *parser, struct jinja_node *node); /* after the name */
} tags[] = {
    {"set", JINJA_SET, parse_set},
    {"if", JINJA_IF, parse_if},
    {"for", JINJA_FOR, parse_for},
    {"macro", JINJA_MACRO_DEFINITION, parse_macro},
    {"filter", JINJA_FILTER_BLOCK, parse_filter_block},
    {"with", JINJA_WITH, parse_with},
    {"generation", JINJA_GENERATION, parse_generation},
    {"break", JINJA_BREAK, parse_loop_control},
    {"continue", JINJA_CONTINUE, parse_loop_control},
};

static struct jinja_node *parse_tag(struct jinja_parser *parser) {
    struct jinja_token token = parser->token;
    for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++) {
        if (!at_name(parser, tags[i].name)) {
            continue;
        }
        struct jinja_node *node = jinja_new_node(parser, tags[i].kind, token.line);
        if (node == NULL || !jinja_parser_next(parser) || !tags[i].parse(parser, node)) {
            return NULL;
        }
        return expect_block_end(parser) ? node : NULL;
    }
    if (token.kind == JINJA_TOKEN_NAME) {
        jinja_parser_fail(parser, token.line, "unknown tag '%.*s'",
                          token.text.length > 40 ? 40 : (int)token.text.length, token.text.data);
    } else {
        jinja_parser_unexpected(parser, "a tag's name");
    }
    return NULL;
}

static struct jinja_node *parse_output(struct jinja_parser *parser) {
    struct jinja_node *node = jinja_new_node(parser, JINJA_OUTPUT, parser->token.line);
    if (node == NULL || !jinja_parser_next(parser)) {
        return NULL;
    }
    node->binary.left = jinja_parse_tuple(parser, true);
    if (node->binary.left == NULL || !jinja_adopt(parser, node, node->binary.left) ||
        !jinja_parser_expect(parser, JINJA_TOKEN_OUTPUT_END, NULL)) {
        return NULL;
    }
    return node;
}

static bool at_end_tag(const struct jinja_parser *parser, const char *const *ends, size_t *end) {
    for (*end = 0; ends[*end] != NULL; (*end)++) {
        if (at_name(parser, ends[*end])) {
            return true;
        }
    }
    return false;
}

static struct jinja_node *parse_text(struct jinja_parser *parser) {
    struct jinja_node *node = jinja_new_node(parser, JINJA_TEXT, parser->token.line);
    if (node == NULL) {
        return NULL;
    }
    node->text = parser->token.text;
    return jinja_parser_next(parser) ? node : NULL;
}

/* `line` is that of the tag which the end belongs to. */
static bool parse_statements(struct jinja_parser *parser, uint32_t line, const char *const *ends,
                             struct jinja_node **body, size_t *end) {
    struct jinja_node **tail = body;
    while (parser->token.kind != JINJA_TOKEN_END) {
        struct jinja_node *node;
        if (parser->token.kind == JINJA_TOKEN_BLOCK_BEGIN) {
            if (!jinja_parser_next(parser)) {
                return false;
            }
            if (at_end_tag(parser, ends, end)) {
                return jinja_parser_next(parser);
            }
            node = parse_tag(parser);
        } else if (parser->token.kind == JINJA_TOKEN_OUTPUT_BEGIN) {
            node = parse_output(parser);
        } else {
            node = parse_text(parser);
        }
        if (node == NULL) {
            return false;
        }
        *tail = node;
        tail = &node->next;
    }
    return ends[0] == NULL || jinja_parser_fail(parser, line, "this tag is never closed");
}

bool jinja_parse(struct jinja_template *template, struct string_view source,
                 struct jinja_name **loop_name, struct error *error) {
    static const char *const no_end[] = {NULL};
    struct jinja_parser parser = {.arena = template->arena, .error = error};
    jinja_lexer_init(&parser.lexer, source, template->arena);
    size_t end;
    *loop_name = intern(&parser, string_view_of("loop"));
    bool parsed = *loop_name != NULL && jinja_parser_next(&parser) &&
                  parse_statements(&parser, 1, no_end, &template->body, &end);
    hash_map_deinit(&parser.names);
    return parsed;
}
