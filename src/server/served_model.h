/*
 * served_model.h - what requests need to know of a loaded model: its engine, its words, its limits.
 *
 * Constant from init to deinit: any thread may read it. Who may use it how long: model_manager.h.
 */
#ifndef MISTRAL_SERVER_SERVED_MODEL_H
#define MISTRAL_SERVER_SERVED_MODEL_H

#include "base/error.h"
#include "engine/engine.h"
#include "server/fill_in_middle.h"
#include "text/chat/template.h"
#include "text/chat/traits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct served_model_options {
    float default_temperature; /* of requests that name none */
    size_t max_choices;        /* n times prompts, of one request */
};

struct served_model {
    char *id; /* what answers call it */
    struct engine *engine;
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

/* Takes the engine over when it succeeds. Reads the whole vocabulary: not for the event loop. A
 * template that cannot be used is no failure: completions need none. */
bool served_model_init(struct served_model *model, const struct served_model_options *options,
                       const char *id, struct engine *engine, struct error *error);
/* Frees the engine too, which waits for its thread. */
void served_model_deinit(struct served_model *model);

#endif
