/*
 * process_watch.h - the memory and processor time of a running process and its descendants, sampled
 * on a thread of its own while something else goes on.
 *
 * On macOS the process alone. Resident memory is added up, so pages that several processes share
 * count for each of them.
 */
#ifndef MISTRAL_BENCH_PROCESS_WATCH_H
#define MISTRAL_BENCH_PROCESS_WATCH_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct process_sample {
    double at; /* seconds after the watch began */
    double resident_bytes;
    double cpu_seconds; /* since the processes began; of those that are still there */
};

struct process_watch;

/* ERROR_NOT_FOUND when there is no such process, or it may not be looked at. */
bool process_watch_start(int64_t pid, struct process_watch **watch, struct error *error);
void process_watch_free(struct process_watch *watch); /* stops it; NULL allowed */

/* The samples so far, oldest first; copied into `samples`, at most `most` of them. Any thread. */
size_t process_watch_read(struct process_watch *watch, struct process_sample *samples, size_t most);

/* A sample of this moment; false when the process is gone. */
bool process_watch_now(struct process_watch *watch, struct process_sample *sample);

enum { PROCESS_WATCH_MOST = 4096 };

#endif
