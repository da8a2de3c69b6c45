/*
 * model_facts.h - what a model's file says of it, without loading it.
 *
 * `config` says what a folder of safetensors is loaded as; NULL: GGUF files only.
 *
 * Reads the file's head, its vocabulary and its template: milliseconds, and from a disk; for a
 * worker, not for the event loop. Each call stands for itself.
 */
#ifndef MISTRAL_SERVER_MODEL_FACTS_H
#define MISTRAL_SERVER_MODEL_FACTS_H

#include "base/error.h"
#include "base/json_writer.h"
#include "base/string_buffer.h"
#include "config/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct model_facts {
    char architecture[32]; /* "llama" */
    char format[32];       /* "Q4_K_M"; the commonest tensor's where the file does not say */
    uint64_t parameter_count;
    size_t context_length, embedding_length;
    bool can_use_tools, can_think, can_insert;
    struct string_buffer chat_template; /* Jinja; empty: none */
    struct string_buffer license;       /* its name; empty: not said */
};

/* A file that cannot be read is an error; facts are then empty. */
bool model_facts_read(const struct config *config, const char *path, struct model_facts *facts,
                      struct error *error);
void model_facts_deinit(struct model_facts *facts);

/* Writes the file's metadata as the members of an object that is open: numbers, texts, arrays; a
 * long array as [] unless `verbose`. The template is left out: it has a place of its own. */
bool model_facts_write_metadata(const struct config *config, const char *path, bool verbose,
                                struct json_writer *json, struct error *error);
/* [{"name":…,"type":…,"shape":[…]}, …] */
bool model_facts_write_tensors(const struct config *config, const char *path,
                               struct json_writer *json, struct error *error);

/* "134.52M", "7.2B", as Ollama writes it. */
void model_facts_write_size(uint64_t parameter_count, char text[16]);

#endif
