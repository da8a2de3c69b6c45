/*
 * generate.h - one request at a time to an engine, from submit to its last event. Main thread.
 * Ctrl-C (interrupt.h) cancels the request.
 */
#ifndef MISTRAL_CLI_GENERATE_H
#define MISTRAL_CLI_GENERATE_H

#include "base/string_buffer.h"
#include "engine/engine.h"

/* An engine, and the mailbox that its events come to. The engine may look at a mailbox until it is
 * freed itself, so the two live and end together. */
struct generator {
    struct engine *engine;
    struct mailbox replies;
};

/* Frees the engine too. A zeroed struct is allowed. */
void generator_deinit(struct generator *generator);

struct generation {
    struct string_buffer text;
    struct token_list tokens; /* generated */
    enum finish_reason finish_reason;
    struct engine_usage usage;
};

void generation_deinit(struct generation *generation);

/* Called for each event that is no failure, before it is freed; may be NULL. */
typedef void (*generation_watcher)(void *context, const struct engine_event *event);

/* `request` needs no mailbox; the generator's is used. What was generated before a failure stays in
 * *generation. */
bool generate(struct generator *generator, const struct engine_request *request,
              generation_watcher watcher, void *context, struct generation *generation,
              struct error *error);

#endif
