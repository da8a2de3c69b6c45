/*
 * chat_grammar.h - what the answer to a chat may look like, as a grammar: a thought, then calls of
 * tools in the form that the model's template uses, or the format that the client asks for.
 *
 * Pure; preparer's thread.
 */
#ifndef MISTRAL_SERVER_CHAT_GRAMMAR_H
#define MISTRAL_SERVER_CHAT_GRAMMAR_H

#include "grammar/grammar.h"
#include "server/answer_format.h"
#include "server/api_error.h"
#include "text/chat/traits.h"

#include <jansson.h>
#include <stdbool.h>

struct chat_grammar_source {
    const struct chat_traits *traits;
    const json_t *functions; /* [{name, parameters, strict}], checked; NULL or empty: none */
    const char *chosen_tool; /* the only one that may be called; NULL: any */
    bool call_is_forced;     /* nothing but a call will do */
    bool single_call;
    bool thinking_open; /* the prompt ends in a thought, which the answer goes on with */
    bool may_think;     /* the answer may begin with a thought, where the model thinks */
    const struct answer_format *format;
};

/*
 * *grammar: the caller's to unref, or NULL where nothing is asked for.
 *
 *     call_is_forced      calls whose arguments follow their schemas; the format has no place
 *     format, functions   calls, or the format
 *     format              the format
 *     strict functions    any text; once a call has begun, it goes on as one
 *
 * Arguments follow the schema of a function that is strict or forced, and are any object else. What
 * a schema asks in vain is refused, with its place.
 */
bool chat_grammar_compile(const struct chat_grammar_source *source, struct grammar **grammar,
                          struct api_error *error);

#endif
