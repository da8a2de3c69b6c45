/*
 * cache.h - the results of converting, kept on disk: one GGUF file for each source and format.
 *
 * The folder is $XDG_CACHE_HOME/mistral/converted, else ~/.cache/mistral/converted. An entry's name
 * has the source's name, the format, and a hash of the source's path, sizes and times and of this
 * program's way of converting; its last bytes are a checksum of the others. An entry is written
 * into NAME.part, locked, and renamed when it is whole: two processes make one entry once, and what
 * a killed one left is swept up by the next. What was used least recently goes when the entries
 * hold more than the limit; what somebody is opening stays.
 *
 * Any thread; several processes.
 */
#ifndef MISTRAL_CONVERT_CACHE_H
#define MISTRAL_CONVERT_CACHE_H

#include "base/error.h"
#include "base/string_buffer.h"
#include "convert/mix.h"
#include "convert/plan.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Appends the folder's path; it need not exist. */
bool cache_folder(struct string_buffer *path, struct error *error);

/* Appends the name that the source has there in this format. Reads no more than names, sizes and
 * times. */
bool cache_entry_name(const char *source_path, const struct mix *mix, struct string_buffer *name,
                      struct error *error);

/* A file that stays in its place until it is released: an entry, or a file of one use. */
struct cache_hold {
    struct string_buffer path;
    int file; /* open and locked; -1: nothing is held */
    bool is_temporary;
};

/* The entry, when it is there and its checksum is right; a damaged one is removed. Not found is no
 * error: hold->file is then -1. */
bool cache_find(const char *name, struct cache_hold *hold, struct error *error);

/* Makes the entry, unless another process does so first, which is waited for. What is larger than
 * `limit` bytes is written all the same, for this one use, and goes when it is released. */
bool cache_make(const char *name, const struct plan *plan, uint64_t limit, size_t thread_count,
                const struct convert_watch *watch, struct cache_hold *hold, struct error *error);

void cache_release(struct cache_hold *hold);

#endif
