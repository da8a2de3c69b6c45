/*
 * openai_prompts.h - the forms a completion's `prompt` may have, made into token lists.
 *
 * Pure; preparer's thread.
 */
#ifndef MISTRAL_SERVER_OPENAI_PROMPTS_H
#define MISTRAL_SERVER_OPENAI_PROMPTS_H

#include "base/arena.h"
#include "base/string_view.h"
#include "server/api_error.h"
#include "server/generation.h"

#include <jansson.h>
#include <stdbool.h>

struct served_model;

/* With a `suffix` (NULL or empty: none), a text is what stands before a gap, the suffix what stands
 * behind it, and the model fills it in, if it can. A string, a list of strings, one list of this
 * model's token ids, or a list of such lists. Fills wanted->prompts; and *texts, [prompt_count] in
 * the arena, with what an echo shows. */
bool openai_prompts_read(const json_t *value, const char *suffix, const struct served_model *model,
                         struct arena *arena, struct generation_request *wanted,
                         const struct string_view **texts, struct api_error *error);

#endif
