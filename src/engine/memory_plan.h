/*
 * memory_plan.h - what a model will take of memory, added up before it is loaded, and what it may.
 *
 * Rows are upper bounds of what is resident once every part is in use: the KV pool full, a step as
 * large as it can be, all admitted requests running. Pure, but for reading the limits.
 */
#ifndef MISTRAL_ENGINE_MEMORY_PLAN_H
#define MISTRAL_ENGINE_MEMORY_PLAN_H

#include "backend/backend.h"
#include "base/error.h"
#include "base/memory_limits.h"
#include "base/string_buffer.h"
#include "engine/engine.h"
#include "model/description.h"
#include "model/gguf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct memory_plan {
    uint64_t mapped;   /* weights read from the file as they stand, and its metadata */
    uint64_t packed;   /* weights in the backend's own layout */
    uint64_t kv_pool;  /* kv_blocks of block_bytes, and their bookkeeping */
    uint64_t scratch;  /* activations and logits of the largest step */
    uint64_t requests; /* buffers of max_running_requests */
    uint64_t program;  /* the program and the tokenizer */
    uint64_t others;   /* models that are loaded already, by their plans */
    uint64_t total;
    /* Bytes of experts that are read from the file as they are needed, because they do not fit: not
     * part of the total, since their pages may leave memory at any time. 0: no, all are in it. */
    uint64_t experts_read;

    size_t kv_blocks;      /* what the options ask for, or what fits, when they may shrink */
    size_t asked_blocks;   /* what the options ask for */
    size_t block_bytes;    /* of a block of KV_BLOCK_TOKENS tokens */
    size_t fitting_blocks; /* most that would fit; 0: not even one */

    struct memory_limits limits;
    uint64_t allowed;       /* the least of the bounds below; 0: unknown, everything fits */
    const char *allowed_by; /* "memory_fraction of the machine's memory", … */
    bool fits;
};

/* Blocks that the options ask for: max_total_tokens, and memory_pool_bytes where that counts. */
size_t memory_plan_asked_blocks(const struct engine_options *options, size_t block_bytes);

/* `options` as engine_create has completed them. With options->shrink_kv the KV pool becomes as
 * large as fits, down to one sequence of 512 tokens. Where that does not do and the model has
 * experts, they are to be left in the file (experts_read). False: the KV cache's size overflows. */
bool memory_plan_make(const struct gguf *gguf, struct backend *backend,
                      const struct model_description *description,
                      const struct engine_options *options, const struct memory_limits *limits,
                      struct memory_plan *plan, struct error *error);

/* ERROR_OUT_OF_MEMORY with the sums and three ways out, when the plan does not fit. */
bool memory_plan_check(const struct memory_plan *plan, const struct engine_options *options,
                       struct error *error);

/* The plan for a file that is open, without loading it. `root`: see memory_limits_read. */
bool memory_plan_for_gguf(const struct gguf *gguf, const struct engine_options *options,
                          const char *root, struct memory_plan *plan, struct error *error);

/* A table, one row a line, two blanks in front. */
void memory_plan_append_table(const struct memory_plan *plan, struct string_buffer *out);
/* One line in the log. */
void memory_plan_log(const struct memory_plan *plan);

#endif
