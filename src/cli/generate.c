/* generate.c - see generate.h. */
#include "cli/generate.h"

#include "cli/interrupt.h"

enum { POLL_NS = 50 * 1000 * 1000 }; /* how long Ctrl-C may go unnoticed */

void generator_deinit(struct generator *generator) {
    if (generator->engine != NULL) {
        engine_free(generator->engine);
        mailbox_deinit(&generator->replies);
    }
    *generator = (struct generator){0};
}

void generation_deinit(struct generation *generation) {
    string_buffer_deinit(&generation->text);
    token_list_deinit(&generation->tokens);
}

struct pump {
    generation_watcher watcher;
    void *context;
    struct generation *generation;
    struct error *error;
    bool ended;
    bool failed;
};

static void take_event(struct pump *pump, const struct engine_event *event) {
    struct generation *generation = pump->generation;
    if (event->kind == ENGINE_FAILED) {
        *pump->error = event->error;
        pump->ended = true;
        pump->failed = true;
        return;
    }
    if (!event->is_prompt) {
        string_buffer_append(&generation->text, event->text, event->text_length);
    }
    if (event->kind == ENGINE_TOKENS && !event->is_prompt &&
        !token_list_append(&generation->tokens, event->token)) {
        generation->text.failed = true;
    }
    if (event->kind == ENGINE_DONE) {
        generation->finish_reason = event->finish_reason;
        generation->usage = event->usage;
        pump->ended = true;
    }
    if (pump->watcher != NULL) {
        pump->watcher(pump->context, event);
    }
}

bool generate(struct generator *generator, const struct engine_request *request,
              generation_watcher watcher, void *context, struct generation *generation,
              struct error *error) {
    *generation = (struct generation){0};
    struct engine_request own = *request;
    own.replies = &generator->replies;
    struct pump pump = {
        .watcher = watcher, .context = context, .generation = generation, .error = error};
    uint64_t id = 0;
    if (!engine_submit(generator->engine, &own, &id, error)) {
        return false;
    }
    bool cancelled = false;
    while (!pump.ended) {
        struct mailbox_message *message = mailbox_wait_all(&generator->replies, POLL_NS);
        while (message != NULL) {
            struct mailbox_message *next = message->next;
            struct engine_event *event = (struct engine_event *)message;
            take_event(&pump, event);
            engine_event_free(event);
            message = next;
        }
        if (interrupt_requested() && !cancelled) {
            engine_cancel(generator->engine, id);
            cancelled = true;
        }
    }
    if (generation->text.failed && !pump.failed) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the answer");
    }
    return !pump.failed;
}
