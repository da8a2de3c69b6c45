/*
 * parser.h - what the two halves of the parser share: statements (parser.c) and
 * expressions (expression.c).
 *
 * Every parsing function returns NULL (or false) after it has set the error.
 */
#ifndef MISTRAL_TEXT_JINJA_PARSER_H
#define MISTRAL_TEXT_JINJA_PARSER_H

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

#include "base/hash_map.h"

enum {
    JINJA_MAX_NESTING = 100, /* brackets in brackets, statements in statements */
    JINJA_MAX_HEIGHT = 200,  /* of the tree: also long chains of operators */
};

struct jinja_parser {
    struct arena *arena;
    struct jinja_lexer lexer;
    struct jinja_token token; /* the one to look at */
    struct hash_map names;    /* spelling to struct jinja_name */
    struct error *error;
    unsigned nesting;
    unsigned loops; /* for statements of this macro around the current place */
};

bool jinja_parser_next(struct jinja_parser *parser);
bool jinja_parser_fail(struct jinja_parser *parser, uint32_t line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool jinja_parser_fail_memory(struct jinja_parser *parser);
/* "expected X, got Y". */
bool jinja_parser_unexpected(struct jinja_parser *parser, const char *expected);

bool jinja_parser_is(const struct jinja_parser *parser, enum jinja_token_kind kind,
                     const char *text);
/* Takes the token if it is this one; *taken says whether. */
bool jinja_parser_skip(struct jinja_parser *parser, enum jinja_token_kind kind, const char *text,
                       bool *taken);
bool jinja_parser_expect(struct jinja_parser *parser, enum jinja_token_kind kind, const char *text);
bool jinja_parser_enter(struct jinja_parser *parser);

struct jinja_node *jinja_new_node(struct jinja_parser *parser, enum jinja_node_kind kind,
                                  uint32_t line);
struct jinja_part *jinja_new_part(struct jinja_parser *parser);
/* Counts the child into the node's height; false when that is too much. NULL is no child. */
bool jinja_adopt(struct jinja_parser *parser, struct jinja_node *node,
                 const struct jinja_node *child);
struct jinja_node *jinja_new_variable(struct jinja_parser *parser, struct string_view name,
                                      uint32_t line);

/* One expression; `conditional`: "a if b else c" is allowed at the top. */
struct jinja_node *jinja_parse_expression(struct jinja_parser *parser, bool conditional);
/* One expression, or several with commas between: a tuple. */
struct jinja_node *jinja_parse_tuple(struct jinja_parser *parser, bool conditional);
/* What can be assigned to; `namespaces`: also ns.name. */
struct jinja_node *jinja_parse_target(struct jinja_parser *parser, bool namespaces);
/* The filters after a "|", put around `subject` (NULL for the text of a block). `named`: the first
 * name comes without its "|". */
struct jinja_node *jinja_parse_filters(struct jinja_parser *parser, struct jinja_node *subject,
                                       bool named);

#endif
