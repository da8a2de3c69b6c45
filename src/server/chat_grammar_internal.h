/*
 * chat_grammar_internal.h - what the files of chat_grammar.h share: chat_grammar.c puts an answer
 * together, chat_grammar_call.c one call, chat_grammar_values.c arguments that are not JSON. For
 * these only.
 */
#ifndef MISTRAL_SERVER_CHAT_GRAMMAR_INTERNAL_H
#define MISTRAL_SERVER_CHAT_GRAMMAR_INTERNAL_H

#include "grammar/grammar_builder.h"
#include "server/chat_grammar.h"

/* A grammar on its way. */
struct assembly {
    const struct chat_grammar_source *source;
    struct grammar_builder *builder;
    const struct tool_call_form *form;
    bool has_calls;
    struct api_error *error;
};

/* A text of the model's form, with its control tokens as tokens; NULL: the empty text. */
grammar_expr chat_grammar_marked(const struct assembly *assembly, const char *text);
/* The first piece of such a text, white space around it apart, as a trigger without a body; *rest:
 * what comes behind it. */
struct grammar_trigger chat_grammar_trigger(const struct assembly *assembly, const char *text,
                                            const char **rest);

/* A call of any of the functions that may be called, without what opens and closes it, from behind
 * `skipped` bytes of it. */
bool chat_grammar_any_call(struct assembly *assembly, size_t skipped, grammar_expr *expr);

/* Arguments as CALL_TAGGED and CALL_GEMMA write them: by the schema of an object, or any where
 * `parameters` is NULL. */
grammar_expr chat_grammar_tagged(const struct assembly *assembly, const json_t *parameters);
grammar_expr chat_grammar_gemma(const struct assembly *assembly, const json_t *parameters);

#endif
