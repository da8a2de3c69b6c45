/*
 * expression.c - the expression half of the parser: from "a if b else c" down to names and
 * literals. The order of binding is Jinja's, which differs from Python's: "~" binds tighter than
 * "+", filters and tests tighter than any operator.
 */
#include "text/jinja/parser.h"

#include <string.h>

static bool at_operator(const struct jinja_parser *parser, const char *text) {
    return jinja_parser_is(parser, JINJA_TOKEN_OPERATOR, text);
}

static bool at_name(const struct jinja_parser *parser, const char *text) {
    return jinja_parser_is(parser, JINJA_TOKEN_NAME, text);
}

static bool expect_operator(struct jinja_parser *parser, const char *text) {
    return jinja_parser_expect(parser, JINJA_TOKEN_OPERATOR, text);
}

/* Takes this token and the one after it, which has been looked at. */
static bool skip_two(struct jinja_parser *parser) {
    bool first = jinja_parser_next(parser);
    return first && jinja_parser_next(parser);
}

static struct jinja_node *constant(struct jinja_parser *parser, struct jinja_value value,
                                   uint32_t line) {
    struct jinja_node *node = jinja_new_node(parser, JINJA_CONSTANT, line);
    if (node != NULL) {
        node->constant = value;
    }
    return node;
}

static struct jinja_node *binary(struct jinja_parser *parser, enum jinja_node_kind kind,
                                 uint32_t line, struct jinja_node *left, struct jinja_node *right) {
    struct jinja_node *node = jinja_new_node(parser, kind, line);
    if (node == NULL || !jinja_adopt(parser, node, left) || !jinja_adopt(parser, node, right)) {
        return NULL;
    }
    node->binary.left = left;
    node->binary.right = right;
    return node;
}

/* Appends to a list, tuple, dict or concatenation node. */
static bool add_item(struct jinja_parser *parser, struct jinja_node *node, struct jinja_node ***end,
                     struct jinja_node *item) {
    if (item == NULL || !jinja_adopt(parser, node, item)) {
        return false;
    }
    **end = item;
    *end = &item->next;
    node->sequence.count++;
    return true;
}

/* Items up to the closing bracket, which is taken; a comma may stand before it. */
static struct jinja_node *parse_bracketed(struct jinja_parser *parser, enum jinja_node_kind kind,
                                          const char *close) {
    struct jinja_node *node = jinja_new_node(parser, kind, parser->token.line);
    if (node == NULL || !jinja_parser_next(parser)) {
        return NULL;
    }
    struct jinja_node **end = &node->sequence.items;
    while (!at_operator(parser, close)) {
        if (node->sequence.count > 0) {
            if (!expect_operator(parser, ",")) {
                return NULL;
            }
            if (at_operator(parser, close)) {
                break;
            }
        }
        if (!add_item(parser, node, &end, jinja_parse_expression(parser, true))) {
            return NULL;
        }
        if (kind == JINJA_DICT_LITERAL &&
            (!expect_operator(parser, ":") ||
             !add_item(parser, node, &end, jinja_parse_expression(parser, true)))) {
            return NULL;
        }
    }
    return jinja_parser_next(parser) ? node : NULL;
}

static bool at_tuple_end(const struct jinja_parser *parser) {
    return parser->token.kind == JINJA_TOKEN_OUTPUT_END ||
           parser->token.kind == JINJA_TOKEN_BLOCK_END || at_operator(parser, ")");
}

/* Items with commas between them; one item without a comma is itself. `one` parses an item. */
static struct jinja_node *parse_items(struct jinja_parser *parser, bool flag, bool may_be_empty,
                                      struct jinja_node *(*one)(struct jinja_parser *, bool)) {
    struct jinja_node *tuple = jinja_new_node(parser, JINJA_TUPLE_LITERAL, parser->token.line);
    if (tuple == NULL) {
        return NULL;
    }
    struct jinja_node **tail = &tuple->sequence.items;
    bool comma = false;
    while (!at_tuple_end(parser)) {
        if (!add_item(parser, tuple, &tail, one(parser, flag))) {
            return NULL;
        }
        bool taken;
        if (!jinja_parser_skip(parser, JINJA_TOKEN_OPERATOR, ",", &taken)) {
            return NULL;
        }
        if (!taken) {
            break;
        }
        comma = true;
    }
    if (!comma && tuple->sequence.count == 1) {
        return tuple->sequence.items;
    }
    if (tuple->sequence.count == 0 && !may_be_empty) {
        jinja_parser_unexpected(parser, "an expression");
        return NULL;
    }
    return tuple;
}

struct jinja_node *jinja_parse_tuple(struct jinja_parser *parser, bool conditional) {
    return parse_items(parser, conditional, false, jinja_parse_expression);
}

static bool is_literal_name(struct string_view name, struct jinja_value *value) {
    static const struct {
        const char *name;
        uint8_t kind;
        bool boolean;
    } literals[] = {{"true", JINJA_BOOL, true},   {"True", JINJA_BOOL, true},
                    {"false", JINJA_BOOL, false}, {"False", JINJA_BOOL, false},
                    {"none", JINJA_NONE, false},  {"None", JINJA_NONE, false}};
    for (size_t i = 0; i < sizeof literals / sizeof literals[0]; i++) {
        if (string_view_is(name, literals[i].name)) {
            *value = (struct jinja_value){.kind = literals[i].kind, .boolean = literals[i].boolean};
            return true;
        }
    }
    return false;
}

static struct jinja_node *parse_one_target(struct jinja_parser *parser, bool namespaces) {
    struct jinja_token token = parser->token;
    struct jinja_value literal;
    bool taken;
    if (!jinja_parser_skip(parser, JINJA_TOKEN_OPERATOR, "(", &taken)) {
        return NULL;
    }
    if (taken) {
        if (!jinja_parser_enter(parser)) {
            return NULL;
        }
        struct jinja_node *inner = jinja_parse_target(parser, namespaces);
        parser->nesting--;
        return inner != NULL && expect_operator(parser, ")") ? inner : NULL;
    }
    if (token.kind != JINJA_TOKEN_NAME || is_literal_name(token.text, &literal)) {
        jinja_parser_unexpected(parser, "a name to assign to");
        return NULL;
    }
    struct jinja_node *node = jinja_new_variable(parser, token.text, token.line);
    if (node == NULL || !jinja_parser_next(parser)) {
        return NULL;
    }
    if (!namespaces || !at_operator(parser, ".")) {
        return node;
    }
    node->kind = JINJA_NAMESPACE_TARGET;
    if (!jinja_parser_next(parser)) {
        return NULL;
    }
    node->variable.attribute = parser->token.text;
    return jinja_parser_expect(parser, JINJA_TOKEN_NAME, NULL) ? node : NULL;
}

struct jinja_node *jinja_parse_target(struct jinja_parser *parser, bool namespaces) {
    return parse_items(parser, namespaces, false, parse_one_target);
}

/* Adjacent string literals are one. */
static struct jinja_node *parse_string(struct jinja_parser *parser) {
    uint32_t line = parser->token.line;
    struct string_view text = parser->token.text;
    while (true) {
        if (!jinja_parser_next(parser)) {
            return NULL;
        }
        if (parser->token.kind != JINJA_TOKEN_STRING) {
            return constant(parser, jinja_string(text), line);
        }
        char *joined = arena_alloc(parser->arena, text.length + parser->token.text.length + 1, 1);
        if (joined == NULL) {
            jinja_parser_fail_memory(parser);
            return NULL;
        }
        memcpy(joined, text.data, text.length);
        memcpy(joined + text.length, parser->token.text.data, parser->token.text.length);
        text = (struct string_view){joined, text.length + parser->token.text.length};
    }
}

static struct jinja_node *parse_parenthesis(struct jinja_parser *parser) {
    if (!jinja_parser_next(parser)) {
        return NULL;
    }
    struct jinja_node *node = parse_items(parser, true, true, jinja_parse_expression);
    return node != NULL && expect_operator(parser, ")") ? node : NULL;
}

static struct jinja_node *parse_name(struct jinja_parser *parser) {
    struct jinja_token token = parser->token;
    struct jinja_value literal;
    if (!jinja_parser_next(parser)) {
        return NULL;
    }
    if (is_literal_name(token.text, &literal)) {
        return constant(parser, literal, token.line);
    }
    return jinja_new_variable(parser, token.text, token.line);
}

static struct jinja_node *parse_primary(struct jinja_parser *parser) {
    struct jinja_token token = parser->token;
    switch (token.kind) {
    case JINJA_TOKEN_NAME:
        return parse_name(parser);
    case JINJA_TOKEN_STRING:
        return parse_string(parser);
    case JINJA_TOKEN_INTEGER:
        return jinja_parser_next(parser)
                   ? constant(parser, jinja_integer(token.integer), token.line)
                   : NULL;
    case JINJA_TOKEN_FLOAT:
        return jinja_parser_next(parser) ? constant(parser, jinja_float(token.number), token.line)
                                         : NULL;
    default:
        break;
    }
    if (at_operator(parser, "(")) {
        return parse_parenthesis(parser);
    }
    if (at_operator(parser, "[")) {
        return parse_bracketed(parser, JINJA_LIST_LITERAL, "]");
    }
    if (at_operator(parser, "{")) {
        return parse_bracketed(parser, JINJA_DICT_LITERAL, "}");
    }
    jinja_parser_unexpected(parser, "an expression");
    return NULL;
}

/* One argument: "name=value" or "value". */
static bool parse_argument(struct jinja_parser *parser, struct jinja_node *call,
                           struct jinja_part *part) {
    if (at_operator(parser, "*") || at_operator(parser, "**")) {
        return jinja_parser_fail(parser, parser->token.line,
                                 "calls with * or ** are not supported");
    }
    struct jinja_token token = parser->token;
    if (token.kind == JINJA_TOKEN_NAME) {
        struct jinja_lexer look = parser->lexer;
        struct jinja_token after;
        if (!jinja_lexer_next(&look, &after, parser->error)) {
            return false;
        }
        if (after.kind == JINJA_TOKEN_OPERATOR && string_view_is(after.text, "=")) {
            part->name = token.text;
            if (!skip_two(parser)) {
                return false;
            }
        }
    }
    if (part->name.length == 0 && call->call.keywords > 0) {
        return jinja_parser_fail(parser, token.line,
                                 "a positional argument follows a keyword argument");
    }
    part->value = jinja_parse_expression(parser, true);
    return part->value != NULL && jinja_adopt(parser, call, part->value);
}

/* The arguments in parentheses, which are taken. */
static bool parse_arguments(struct jinja_parser *parser, struct jinja_node *call) {
    enum { MAX_ARGUMENTS = 1000 };
    struct jinja_part **end = &call->call.arguments;
    if (!jinja_parser_next(parser)) {
        return false;
    }
    while (!at_operator(parser, ")")) {
        if (call->call.arguments != NULL) {
            if (!expect_operator(parser, ",")) {
                return false;
            }
            if (at_operator(parser, ")")) {
                break;
            }
        }
        struct jinja_part *part = jinja_new_part(parser);
        if (part == NULL || !parse_argument(parser, call, part)) {
            return false;
        }
        *end = part;
        end = &part->next;
        *(part->name.length > 0 ? &call->call.keywords : &call->call.positional) += 1;
        if (call->call.positional + call->call.keywords > MAX_ARGUMENTS) {
            return jinja_parser_fail(parser, call->line, "too many arguments");
        }
    }
    return jinja_parser_next(parser);
}

static struct jinja_node *parse_call(struct jinja_parser *parser, struct jinja_node *callee) {
    struct jinja_node *node = jinja_new_node(parser, JINJA_CALL, parser->token.line);
    if (node == NULL || !jinja_adopt(parser, node, callee)) {
        return NULL;
    }
    node->call.subject = callee;
    return parse_arguments(parser, node) ? node : NULL;
}

static struct jinja_node *parse_dot(struct jinja_parser *parser, struct jinja_node *object) {
    uint32_t line = parser->token.line;
    if (!jinja_parser_next(parser)) {
        return NULL;
    }
    struct jinja_token token = parser->token;
    if (token.kind == JINJA_TOKEN_INTEGER) {
        if (!jinja_parser_next(parser)) {
            return NULL;
        }
        struct jinja_node *index = constant(parser, jinja_integer(token.integer), token.line);
        return index == NULL ? NULL : binary(parser, JINJA_ELEMENT, line, object, index);
    }
    struct jinja_node *node = jinja_new_node(parser, JINJA_ATTRIBUTE, line);
    if (node == NULL || !jinja_parser_expect(parser, JINJA_TOKEN_NAME, NULL) ||
        !jinja_adopt(parser, node, object)) {
        return NULL;
    }
    node->attribute.object = object;
    node->attribute.name = token.text;
    return node;
}

/* What is in the brackets of object[…]: an index, or up to three bounds with colons between. */
static struct jinja_node *parse_subscript(struct jinja_parser *parser, struct jinja_node *object) {
    uint32_t line = parser->token.line;
    struct jinja_node *bounds[3] = {NULL, NULL, NULL};
    size_t colons = 0;
    if (!jinja_parser_next(parser)) {
        return NULL;
    }
    while (!at_operator(parser, "]")) {
        if (at_operator(parser, ":") && colons < 2) {
            colons++;
            if (!jinja_parser_next(parser)) {
                return NULL;
            }
        } else if (bounds[colons] == NULL) {
            bounds[colons] = jinja_parse_expression(parser, true);
            if (bounds[colons] == NULL) {
                return NULL;
            }
        } else {
            jinja_parser_unexpected(parser, "']'");
            return NULL;
        }
    }
    if (!jinja_parser_next(parser)) {
        return NULL;
    }
    if (colons == 0) {
        if (bounds[0] == NULL) {
            jinja_parser_fail(parser, line, "expected an index");
            return NULL;
        }
        return binary(parser, JINJA_ELEMENT, line, object, bounds[0]);
    }
    struct jinja_node *node = jinja_new_node(parser, JINJA_SLICE, line);
    if (node == NULL || !jinja_adopt(parser, node, object)) {
        return NULL;
    }
    node->slice.object = object;
    for (size_t i = 0; i < 3; i++) {
        if (!jinja_adopt(parser, node, bounds[i])) {
            return NULL;
        }
        node->slice.bounds[i] = bounds[i];
    }
    return node;
}

static struct jinja_node *parse_postfix(struct jinja_parser *parser, struct jinja_node *node) {
    while (node != NULL) {
        if (at_operator(parser, ".")) {
            node = parse_dot(parser, node);
        } else if (at_operator(parser, "[")) {
            node = parse_subscript(parser, node);
        } else if (at_operator(parser, "(")) {
            node = parse_call(parser, node);
        } else {
            break;
        }
    }
    return node;
}

/* A filter's or test's name. With dots in it, it can be written, but there is none of that name. */
static bool parse_filter_name(struct jinja_parser *parser, struct string_view *name, bool *dotted) {
    *name = parser->token.text;
    *dotted = false;
    if (!jinja_parser_expect(parser, JINJA_TOKEN_NAME, NULL)) {
        return false;
    }
    while (at_operator(parser, ".")) {
        *dotted = true;
        if (!jinja_parser_next(parser) || !jinja_parser_expect(parser, JINJA_TOKEN_NAME, NULL)) {
            return false;
        }
    }
    return true;
}

struct jinja_node *jinja_parse_filters(struct jinja_parser *parser, struct jinja_node *subject,
                                       bool named) {
    while (named || at_operator(parser, "|")) {
        if (!named && !jinja_parser_next(parser)) {
            return NULL;
        }
        named = false;
        struct jinja_node *node = jinja_new_node(parser, JINJA_FILTER, parser->token.line);
        bool dotted;
        if (node == NULL || !parse_filter_name(parser, &node->call.name, &dotted) ||
            !jinja_adopt(parser, node, subject)) {
            return NULL;
        }
        node->call.subject = subject;
        node->call.builtin = dotted ? NULL : jinja_find_filter(node->call.name);
        if (at_operator(parser, "(") && !parse_arguments(parser, node)) {
            return NULL;
        }
        subject = node;
    }
    return subject;
}

/* True where a test is followed by its one argument without parentheses: "is divisibleby 3". */
static bool at_test_argument(const struct jinja_parser *parser) {
    switch (parser->token.kind) {
    case JINJA_TOKEN_NAME:
        return !at_name(parser, "else") && !at_name(parser, "or") && !at_name(parser, "and");
    case JINJA_TOKEN_STRING:
    case JINJA_TOKEN_INTEGER:
    case JINJA_TOKEN_FLOAT:
        return true;
    default:
        return at_operator(parser, "[") || at_operator(parser, "{");
    }
}

static bool parse_test_argument(struct jinja_parser *parser, struct jinja_node *test) {
    if (at_name(parser, "is")) {
        return jinja_parser_fail(parser, parser->token.line, "tests with 'is' cannot be chained");
    }
    struct jinja_part *part = jinja_new_part(parser);
    if (part == NULL) {
        return false;
    }
    part->value = parse_postfix(parser, parse_primary(parser));
    test->call.arguments = part;
    test->call.positional = 1;
    return part->value != NULL && jinja_adopt(parser, test, part->value);
}

static struct jinja_node *parse_test(struct jinja_parser *parser, struct jinja_node *subject) {
    uint32_t line = parser->token.line;
    bool negated, dotted;
    struct jinja_node *node = jinja_new_node(parser, JINJA_TEST, line);
    if (node == NULL || !jinja_parser_next(parser) ||
        !jinja_parser_skip(parser, JINJA_TOKEN_NAME, "not", &negated) ||
        !parse_filter_name(parser, &node->call.name, &dotted) ||
        !jinja_adopt(parser, node, subject)) {
        return NULL;
    }
    node->call.subject = subject;
    node->call.builtin = dotted ? NULL : jinja_find_test(node->call.name);
    bool parsed = true;
    if (at_operator(parser, "(")) {
        parsed = parse_arguments(parser, node);
    } else if (at_test_argument(parser)) {
        parsed = parse_test_argument(parser, node);
    }
    if (!parsed) {
        return NULL;
    }
    return negated ? binary(parser, JINJA_NOT, line, node, NULL) : node;
}

static struct jinja_node *parse_filters_and_tests(struct jinja_parser *parser,
                                                  struct jinja_node *node) {
    while (node != NULL) {
        if (at_operator(parser, "|")) {
            node = jinja_parse_filters(parser, node, false);
        } else if (at_name(parser, "is")) {
            node = parse_test(parser, node);
        } else if (at_operator(parser, "(")) {
            node = parse_call(parser, node);
        } else {
            break;
        }
    }
    return node;
}

static struct jinja_node *parse_unary(struct jinja_parser *parser, bool filters) {
    uint32_t line = parser->token.line;
    bool minus = at_operator(parser, "-");
    struct jinja_node *node;
    if (minus || at_operator(parser, "+")) {
        if (!jinja_parser_enter(parser) || !jinja_parser_next(parser)) {
            return NULL;
        }
        node = parse_unary(parser, false);
        parser->nesting--;
        if (node != NULL) {
            node = binary(parser, minus ? JINJA_NEGATION : JINJA_IDENTITY, line, node, NULL);
        }
    } else {
        node = parse_primary(parser);
    }
    node = parse_postfix(parser, node);
    return filters ? parse_filters_and_tests(parser, node) : node;
}

static struct jinja_node *parse_level(struct jinja_parser *parser, size_t level);

/* Levels of left-associative arithmetic, loosest first; "~" (level 1) is parsed apart. */
enum { CONCATENATION_LEVEL = 1, UNARY_LEVEL = 4 };

static bool operator_of_level(const struct jinja_parser *parser, size_t level,
                              enum jinja_operator *operation) {
    static const struct {
        const char *text;
        size_t level;
        enum jinja_operator operation;
    } operators[] = {{"+", 0, JINJA_ADD},      {"-", 0, JINJA_SUBTRACT},
                     {"*", 2, JINJA_MULTIPLY}, {"/", 2, JINJA_DIVIDE},
                     {"%", 2, JINJA_MODULO},   {"//", 2, JINJA_FLOOR_DIVIDE},
                     {"**", 3, JINJA_POWER}};
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
        if (operators[i].level == level && at_operator(parser, operators[i].text)) {
            *operation = operators[i].operation;
            return true;
        }
    }
    return false;
}

static struct jinja_node *parse_concatenation(struct jinja_parser *parser) {
    uint32_t line = parser->token.line;
    struct jinja_node *first = parse_level(parser, CONCATENATION_LEVEL + 1);
    if (first == NULL || !at_operator(parser, "~")) {
        return first;
    }
    struct jinja_node *node = jinja_new_node(parser, JINJA_CONCATENATION, line);
    if (node == NULL) {
        return NULL;
    }
    struct jinja_node **end = &node->sequence.items;
    if (!add_item(parser, node, &end, first)) {
        return NULL;
    }
    while (at_operator(parser, "~")) {
        if (!jinja_parser_next(parser) ||
            !add_item(parser, node, &end, parse_level(parser, CONCATENATION_LEVEL + 1))) {
            return NULL;
        }
    }
    return node;
}

static struct jinja_node *parse_level(struct jinja_parser *parser, size_t level) {
    if (level == CONCATENATION_LEVEL) {
        return parse_concatenation(parser);
    }
    if (level == UNARY_LEVEL) {
        return parse_unary(parser, true);
    }
    uint32_t line = parser->token.line;
    struct jinja_node *left = parse_level(parser, level + 1);
    enum jinja_operator operation;
    while (left != NULL && operator_of_level(parser, level, &operation)) {
        struct jinja_node *right =
            jinja_parser_next(parser) ? parse_level(parser, level + 1) : NULL;
        left = right == NULL ? NULL : binary(parser, JINJA_ARITHMETIC, line, left, right);
        if (left != NULL) {
            left->binary.operation = operation;
        }
        line = parser->token.line;
    }
    return left;
}

/* Takes a comparison's operator, if there is one here. */
static bool take_comparison(struct jinja_parser *parser, enum jinja_comparison *comparison,
                            bool *taken) {
    static const struct {
        const char *text;
        enum jinja_comparison comparison;
    } operators[] = {{"==", JINJA_EQUAL},       {"!=", JINJA_NOT_EQUAL},
                     {"<", JINJA_LESS_THAN},    {"<=", JINJA_LESS_EQUAL},
                     {">", JINJA_GREATER_THAN}, {">=", JINJA_GREATER_EQUAL}};
    *taken = true;
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
        if (at_operator(parser, operators[i].text)) {
            *comparison = operators[i].comparison;
            return jinja_parser_next(parser);
        }
    }
    if (at_name(parser, "in")) {
        *comparison = JINJA_IN;
        return jinja_parser_next(parser);
    }
    if (at_name(parser, "not")) {
        struct jinja_lexer look = parser->lexer;
        struct jinja_token after;
        if (!jinja_lexer_next(&look, &after, parser->error)) {
            return false;
        }
        if (after.kind == JINJA_TOKEN_NAME && string_view_is(after.text, "in")) {
            *comparison = JINJA_NOT_IN;
            return skip_two(parser);
        }
    }
    *taken = false;
    return true;
}

static struct jinja_node *parse_comparison(struct jinja_parser *parser) {
    uint32_t line = parser->token.line;
    struct jinja_node *first = parse_level(parser, 0);
    struct jinja_node *node = NULL;
    struct jinja_part **end = NULL;
    while (first != NULL) {
        enum jinja_comparison comparison = JINJA_EQUAL;
        bool taken;
        if (!take_comparison(parser, &comparison, &taken)) {
            return NULL;
        }
        if (!taken) {
            break;
        }
        if (node == NULL) {
            node = jinja_new_node(parser, JINJA_COMPARISON, line);
            if (node == NULL || !jinja_adopt(parser, node, first)) {
                return NULL;
            }
            node->comparison.first = first;
            end = &node->comparison.operands;
        }
        struct jinja_part *part = jinja_new_part(parser);
        if (part == NULL) {
            return NULL;
        }
        part->comparison = comparison;
        part->value = parse_level(parser, 0);
        if (part->value == NULL || !jinja_adopt(parser, node, part->value)) {
            return NULL;
        }
        *end = part;
        end = &part->next;
    }
    return node == NULL ? first : node;
}

static struct jinja_node *parse_not(struct jinja_parser *parser) {
    if (!at_name(parser, "not")) {
        return parse_comparison(parser);
    }
    uint32_t line = parser->token.line;
    if (!jinja_parser_enter(parser) || !jinja_parser_next(parser)) {
        return NULL;
    }
    struct jinja_node *operand = parse_not(parser);
    parser->nesting--;
    return operand == NULL ? NULL : binary(parser, JINJA_NOT, line, operand, NULL);
}

static struct jinja_node *parse_and(struct jinja_parser *parser) {
    uint32_t line = parser->token.line;
    struct jinja_node *left = parse_not(parser);
    while (left != NULL && at_name(parser, "and")) {
        struct jinja_node *right = jinja_parser_next(parser) ? parse_not(parser) : NULL;
        left = right == NULL ? NULL : binary(parser, JINJA_AND, line, left, right);
    }
    return left;
}

static struct jinja_node *parse_or(struct jinja_parser *parser) {
    uint32_t line = parser->token.line;
    struct jinja_node *left = parse_and(parser);
    while (left != NULL && at_name(parser, "or")) {
        struct jinja_node *right = jinja_parser_next(parser) ? parse_and(parser) : NULL;
        left = right == NULL ? NULL : binary(parser, JINJA_OR, line, left, right);
    }
    return left;
}

static struct jinja_node *parse_conditional(struct jinja_parser *parser) {
    uint32_t line = parser->token.line;
    struct jinja_node *node = parse_or(parser);
    while (node != NULL && at_name(parser, "if")) {
        struct jinja_node *chosen = jinja_new_node(parser, JINJA_CONDITIONAL, line);
        if (chosen == NULL || !jinja_parser_next(parser)) {
            return NULL;
        }
        chosen->conditional.yes = node;
        chosen->conditional.test = parse_or(parser);
        bool otherwise;
        if (chosen->conditional.test == NULL ||
            !jinja_parser_skip(parser, JINJA_TOKEN_NAME, "else", &otherwise)) {
            return NULL;
        }
        if (otherwise) {
            chosen->conditional.no = jinja_parse_expression(parser, true);
            if (chosen->conditional.no == NULL) {
                return NULL;
            }
        }
        if (!jinja_adopt(parser, chosen, node) ||
            !jinja_adopt(parser, chosen, chosen->conditional.test) ||
            !jinja_adopt(parser, chosen, chosen->conditional.no)) {
            return NULL;
        }
        node = chosen;
    }
    return node;
}

struct jinja_node *jinja_parse_expression(struct jinja_parser *parser, bool conditional) {
    if (!jinja_parser_enter(parser)) {
        return NULL;
    }
    struct jinja_node *node = conditional ? parse_conditional(parser) : parse_or(parser);
    parser->nesting--;
    return node;
}
