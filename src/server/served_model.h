/*
 * served_model.h - what requests need to know of the model: its names, its words, its limits.
 *
 * Filled before the server's threads start and constant until they have ended: any of them may read
 * it.
 */
#ifndef MISTRAL_SERVER_SERVED_MODEL_H
#define MISTRAL_SERVER_SERVED_MODEL_H

#include "base/error.h"
#include "engine/engine.h"
#include "server/fill_in_middle.h"
#include "server/server.h"
#include "text/chat_template.h"
#include "text/chat_traits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct served_model {
    const char *id;
    const char *const *aliases; /* [alias_count] */
    size_t alias_count;
    const struct engine_info *info;
    const struct tokenizer *tokenizer;
    struct chat_template *chat_template; /* NULL: none, or one that cannot be used */
    struct error chat_template_error;    /* why */
    struct chat_traits chat_traits;      /* what the template can do: tools, thinking */
    size_t longest_piece;                /* most bytes one token stands for */
    struct fill_in_middle fill_in_middle;
    float default_temperature;
    size_t max_choices;
    int64_t created;      /* seconds since the epoch */
    char fingerprint[32]; /* changes with the model file and the kernels */
};

/* A template that cannot be used is no failure: completions need none. */
void served_model_init(struct served_model *model, const struct server_options *options,
                       const struct engine *engine);
void served_model_deinit(struct served_model *model);

/* Whether `name` is the model's id or one of its aliases. */
bool served_model_is(const struct served_model *model, const char *name);

#endif
