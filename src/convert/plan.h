/*
 * plan.h - the GGUF file that a source becomes: its head, the place of each tensor, and writing it.
 */
#ifndef MISTRAL_CONVERT_PLAN_H
#define MISTRAL_CONVERT_PLAN_H

#include "base/error.h"
#include "base/string_buffer.h"
#include "convert/mix.h"
#include "convert/source.h"

#include <stdbool.h>
#include <stddef.h>

struct planned_tensor {
    const struct source_tensor *source;
    const struct quant_format *format;
    size_t offset; /* of its data in the file, bytes */
    size_t bytes;
};

struct plan {
    const struct source *source; /* borrowed */
    const struct mix *mix;
    struct string_buffer head;      /* everything before the data */
    struct planned_tensor *tensors; /* [source->tensor_count], in the source's order; owned */
    size_t file_bytes;
};

/* A source that is quantised already is refused: its errors would add up. */
bool plan_make(const struct source *source, const struct mix *mix, struct plan *plan,
               struct error *error);
void plan_free(struct plan *plan); /* a zeroed one too */

/* How a conversion is watched and stopped. Both callbacks run on the caller's thread. */
struct convert_watch {
    void (*progress)(void *context, double fraction); /* may be NULL */
    bool (*cancelled)(void *context);                 /* may be NULL */
    void *context;
};

/* Writes the file into an open, empty one; `path` stands in messages. All `thread_count` threads
 * decode, encode and write (0: one a physical core). ERROR_CANCELLED, ERROR_NO_SPACE, ERROR_IO. */
bool plan_write(const struct plan *plan, int file, const char *path, size_t thread_count,
                const struct convert_watch *watch, struct error *error);

#endif
