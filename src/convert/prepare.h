/*
 * prepare.h - from the path of a model, whatever it is, to the GGUF file that an engine loads.
 *
 * A GGUF file whose weights are f32, f16 or bf16 is quantised to the setting default_quantization,
 * when dynamic_quantization is on and that makes it smaller; a Hugging Face folder is converted
 * either way. Both are done once and kept (cache.h). Any other file is loaded as it is, and so is
 * every file where `config` is NULL.
 */
#ifndef MISTRAL_CONVERT_PREPARE_H
#define MISTRAL_CONVERT_PREPARE_H

#include "base/error.h"
#include "config/config.h"
#include "convert/cache.h"
#include "convert/plan.h"
#include "model/gguf.h"

#include <stdbool.h>
#include <stddef.h>

struct prepared {
    struct string_buffer path; /* of the file to load */
    struct cache_hold hold;    /* keeps that file in its place */
    bool is_converted;         /* path is not the one that was given */
};

/* May take minutes: any thread but an event loop's. `watch` may be NULL. */
bool prepare_model(const struct config *config, const char *path, const struct convert_watch *watch,
                   struct prepared *prepared, struct error *error);

/* Once the file is open, or is not needed. A zeroed one too. */
void prepared_release(struct prepared *prepared);

/* What the GGUF file says that would be loaded, without making it: its metadata and its tensors'
 * formats and places. Their data is zeros where the file is yet to be made. A GGUF file stands for
 * itself unless `as_loaded` asks what it is quantised to. A NULL `config` knows no folders. */
struct outline {
    struct gguf *gguf;
    void *bytes; /* that it reads from, mapped; NULL: the file */
    size_t length;
    bool is_converted;
};

bool outline_open(const struct config *config, const char *path, bool as_loaded,
                  struct outline *outline, struct error *error);
void outline_close(struct outline *outline); /* a zeroed one too */

#endif
