/*
 * reference.h - what people write to name a model that can be fetched. Private to hub/.
 */
#ifndef MISTRAL_HUB_REFERENCE_H
#define MISTRAL_HUB_REFERENCE_H

#include "hub/hub.h"
#include "hub/ollama_store.h"

enum { HUB_NAME_BYTES = 256 };

struct hub_reference {
    bool is_ollama; /* ollama:…, and then `ollama` alone counts */
    struct ollama_name ollama;
    const struct hub_alias *alias;   /* NULL: hf:… */
    char repository[HUB_NAME_BYTES]; /* owner/name */
    char wanted[HUB_NAME_BYTES];     /* a format ("Q4_K_M") or a file's name (ends in .gguf); "" */
};

/* Whether the text begins as an hf: or an ollama: reference does. */
bool reference_is_remote(const char *text);

bool reference_parse(const char *text, struct hub_reference *reference, struct error *error);

/* An alias[:format], without an opinion on whether it was meant: false when there is no such alias.
 */
bool reference_parse_alias(const char *text, struct hub_reference *reference);

/* Appends the name of the file that the reference means, when that can be told without asking: an
 * alias, or a file's name. False when it cannot. */
bool reference_file_name(const struct hub_reference *reference, const char *default_format,
                         struct string_buffer *name);

#endif
