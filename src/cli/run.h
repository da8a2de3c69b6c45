/* run.h - what mistral run's two forms share: one answer, and a chat. Private to run.c and chat.c.
 */
#ifndef MISTRAL_CLI_RUN_H
#define MISTRAL_CLI_RUN_H

#include "cli/generate.h"

struct run_settings {
    struct engine_request request; /* without a prompt */
    const char *system;            /* or NULL */
    bool verbose;                  /* timings after each answer */
    bool keep_history;             /* of lines typed, from chat to chat */
};

/* Talks until the person has had enough; standard input is a terminal. */
bool chat_run(struct generator *generator, const struct run_settings *settings,
              struct error *error);

/* Writes an answer's text as it comes; a generation_watcher, no context. */
void run_write_event(void *context, const struct engine_event *event);

/* One line on standard error: tokens, seconds, tokens a second. */
void run_print_timings(const struct engine_usage *usage);

#endif
