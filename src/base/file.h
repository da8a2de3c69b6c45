/*
 * file.h - reading, mapping and replacing files. Safe on any thread.
 */
#ifndef MISTRAL_BASE_FILE_H
#define MISTRAL_BASE_FILE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mapped_file {
    const uint8_t *data; /* NULL for an empty file */
    size_t size;         /* bytes, as of the moment of mapping */
};

/* Maps a regular file read-only. A directory or a device is an error that says so. */
bool file_map(const char *path, struct mapped_file *mapped, struct error *error);
/* Pages that lie whole in these mapped bytes may leave this process's memory until they are read
 * again. */
void file_forget(const void *bytes, size_t length);
void file_unmap(struct mapped_file *mapped);

/* The whole file, NUL-terminated, in memory the caller frees with free(); *length excludes the NUL.
 * Larger than `limit` bytes: ERROR_INVALID_ARGUMENT. */
bool file_read_all(const char *path, size_t limit, char **text, size_t *length,
                   struct error *error);

/* Replaces `path` as a whole or not at all: writes beside it, syncs, renames. */
bool file_write_atomic(const char *path, const void *bytes, size_t length, struct error *error);

/* mkdir -p. */
bool file_make_directories(const char *path, struct error *error);

bool file_exists(const char *path); /* anything at all */
bool file_is_directory(const char *path);

#endif
