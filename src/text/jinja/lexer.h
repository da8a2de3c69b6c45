/*
 * lexer.h - a template's source as tokens.
 *
 * White space control happens here: "-" and "+" at a tag's edge, and what Hugging Face renders chat
 * templates with: trim_blocks (a statement or comment swallows the newline after it) and
 * lstrip_blocks (it swallows the blanks before it on its line). One thread.
 */
#ifndef MISTRAL_TEXT_JINJA_LEXER_H
#define MISTRAL_TEXT_JINJA_LEXER_H

#include "base/arena.h"
#include "base/error.h"
#include "base/string_view.h"

#include <stdbool.h>
#include <stdint.h>

enum jinja_token_kind {
    JINJA_TOKEN_END,
    JINJA_TOKEN_DATA, /* text outside of tags */
    JINJA_TOKEN_OUTPUT_BEGIN,
    JINJA_TOKEN_OUTPUT_END,
    JINJA_TOKEN_BLOCK_BEGIN,
    JINJA_TOKEN_BLOCK_END,
    JINJA_TOKEN_NAME,
    JINJA_TOKEN_STRING, /* text: the string's value */
    JINJA_TOKEN_INTEGER,
    JINJA_TOKEN_FLOAT,
    JINJA_TOKEN_OPERATOR, /* text: "==", "(", "|" … */
};

struct jinja_token {
    enum jinja_token_kind kind;
    uint32_t line; /* from 1 */
    struct string_view text;
    int64_t integer;
    double number;
};

enum { JINJA_MAX_BRACKETS = 128 };

/* Plain data: a copy of a lexer can be used to look ahead. */
struct jinja_lexer {
    struct arena *arena; /* holds strings with escapes */
    struct string_view source;
    size_t at; /* byte offset */
    uint32_t line;
    enum { JINJA_IN_DATA, JINJA_IN_BLOCK, JINJA_IN_OUTPUT } mode;
    bool line_starting; /* the last token ended with a newline, or none came before */
    bool tag_waits;     /* the data just returned ends where a tag begins */
    size_t bracket_count;
    char brackets[JINJA_MAX_BRACKETS]; /* the closing ones that are awaited */
};

/* The source must be UTF-8 with newlines as \n only, and outlive the tokens. */
void jinja_lexer_init(struct jinja_lexer *lexer, struct string_view source, struct arena *arena);
/* Errors are "line N: …". */
bool jinja_lexer_next(struct jinja_lexer *lexer, struct jinja_token *token, struct error *error);

#endif
