/*
 * file.h - reading, mapping and replacing files. Safe on any thread.
 */
#ifndef MISTRAL_BASE_FILE_H
#define MISTRAL_BASE_FILE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

struct mapped_file {
    const uint8_t *data;      /* NULL for an empty file */
    size_t size;              /* bytes, as of the moment of mapping */
    struct file_guard *guard; /* base/file_guard.h; NULL: bytes that are no file's */
};

/* Maps a regular file read-only. A directory or a device is an error that says so. When the file is
 * cut short afterwards or cannot be read, zeros are read: ask file_check before what was read is
 * used. It may be overwritten too, so what has been checked once is not to be read again, but where
 * any bytes will do. */
bool file_map(const char *path, struct mapped_file *mapped, struct error *error);
/* Whether all that was read from the map until now is what the file held when it was mapped; else
 * ERROR_IO, with `path` and what happened. One system call. */
bool file_check(const struct mapped_file *mapped, const char *path, struct error *error);
/* Makes the first `length` bytes (rounded up to pages) a copy that no change of the file reaches.
 * Nobody else may be reading them. */
bool file_keep_head(struct mapped_file *mapped, size_t length, struct error *error);
/* Pages that lie whole in these mapped bytes may leave this process's memory until they are read
 * again. */
void file_forget(const void *bytes, size_t length);
void file_unmap(struct mapped_file *mapped);

/* The whole file, NUL-terminated, in memory the caller frees with free(); *length excludes the NUL.
 * Larger than `limit` bytes: ERROR_INVALID_ARGUMENT. */
bool file_read_all(const char *path, size_t limit, char **text, size_t *length,
                   struct error *error);

/* Replaces `path` as a whole or not at all: writes beside it, syncs, renames. What a killed process
 * leaves is hidden (".NAME.PID.part"), so that whoever lists the folder does not take it for one of
 * its files. */
bool file_write_atomic(const char *path, const void *bytes, size_t length, struct error *error);

/* mkdir -p. */
bool file_make_directories(const char *path, struct error *error);

bool file_exists(const char *path);          /* anything at all */
bool file_is_at(int file, const char *path); /* this open file, not another of that name */
bool file_is_directory(const char *path);
struct timespec file_modified(const struct stat *status); /* to the nanosecond */
struct timespec file_accessed(const struct stat *status);

#endif
