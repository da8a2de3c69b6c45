/*
 * file_guard.h - maps of files that may be cut short, overwritten or vanish while they are read.
 *
 * The system answers a read of a mapped page that the file no longer has, or that the disk cannot
 * give, with SIGBUS (on macOS perhaps SIGSEGV), which ends the process. Here such a fault in a
 * guarded map puts zeros in the place of the whole map, marks it as lost, and lets the reader go
 * on. So whoever reads a map does not crash, but must ask file_guard_check before it uses what came
 * of it. Faults anywhere else go to the handler that was there before, or end the process as ever.
 *
 * The handler belongs to the process. It is installed with the first map and stays. A program that
 * installs one of its own afterwards must call the one it replaced. No thread that reads maps may
 * block the signal: file_guard_thread. Everything here is safe on any thread.
 */
#ifndef MISTRAL_BASE_FILE_GUARD_H
#define MISTRAL_BASE_FILE_GUARD_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct file_guard;

/* Guards `length` bytes from `begin`, a map of the open file `file`, which is the guard's from now
 * on. On failure (NULL) it stays the caller's. */
struct file_guard *file_guard_add(const void *begin, size_t length, int file, struct error *error);

/* Nobody reads the map any more; to be called before it is unmapped. */
void file_guard_remove(struct file_guard *guard);

/* The guarded bytes begin here from now on: those before have become the process's own. */
void file_guard_begin_at(struct file_guard *guard, const void *begin);

/* Whether what was read from the map until now is what the file held when it was mapped. Else false
 * with ERROR_IO: the file, called `path`, and what became of it. What was read before a false
 * answer is not to be used. It costs one fstat. */
bool file_guard_check(const struct file_guard *guard, const char *path, struct error *error);

/* At the start of each thread that reads maps: it takes the signal, whatever the thread that made
 * it blocks. */
void file_guard_thread(void);

#endif
