/*
 * callgrind.h - counts the instructions that each call of one function takes, by running a program
 * under valgrind's callgrind. Counts repeat where times do not: on a busy machine, in CI.
 *
 * Starts a process and waits for it. Main thread.
 */
#ifndef MISTRAL_BENCH_CALLGRIND_H
#define MISTRAL_BENCH_CALLGRIND_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Runs `arguments` (the program's path first, NULL at the end) and fills counts[call] for the first
 * `count` calls of `function`, each with all that it calls; fewer calls than that are an error.
 * ERROR_NOT_FOUND: there is no valgrind. */
bool callgrind_count(const char *const *arguments, const char *function, uint64_t *counts,
                     size_t count, struct error *error);

#endif
