/*
 * peer_command.h - another engine's benchmark program, run beside ours: a command that takes
 * llama-bench's options and prints its JSON (llama.cpp, ik_llama.cpp, or a script of the same
 * manners).
 *
 * The command is split into words as a shell would, with quotes and backslashes, but no shell runs
 * and nothing is expanded. Main thread.
 */
#ifndef MISTRAL_BENCH_PEER_COMMAND_H
#define MISTRAL_BENCH_PEER_COMMAND_H

#include "base/error.h"
#include "bench/engine_bench.h"

#include <stdbool.h>

struct peer_command;

/* Splits the command and finds its program: ERROR_INVALID_ARGUMENT, ERROR_NOT_FOUND. */
bool peer_command_create(const char *text, struct peer_command **command, struct error *error);
void peer_command_free(struct peer_command *command); /* NULL allowed */

/* Before anything is measured: learns from the command's help how it is asked for a context (where
 * a test has one), and refuses what it cannot run: ERROR_INVALID_ARGUMENT, ERROR_CANCELLED. */
bool peer_command_check(struct peer_command *command, const struct engine_bench_test *tests,
                        size_t count, bool (*cancelled)(void), struct error *error);

/* Runs the command once with the test's options behind it ("-p 512 -n 0 -r 1 -o json -d 4096", or
 * "-p 0 -n 0 -r 1 -o json -gp 4096,64" where there is no -d) and waits for its end; the test has
 * one stream. The speed is avg_ts of the JSON's last element. When `cancelled` says so, the command
 * and what it started are ended too: ERROR_CANCELLED. */
bool peer_command_run(struct peer_command *command, const struct engine_bench_test *test,
                      bool (*cancelled)(void), double *tokens_a_second, struct error *error);

#endif
