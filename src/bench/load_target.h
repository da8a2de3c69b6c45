/*
 * load_target.h - a server under test: its address and protocol, and what it says of itself.
 */
#ifndef MISTRAL_BENCH_LOAD_TARGET_H
#define MISTRAL_BENCH_LOAD_TARGET_H

#include "base/error.h"
#include "bench/http_client.h"
#include "bench/stream_reader.h"

#include <stdbool.h>

struct load_target {
    char name[64]; /* in reports: "mistral.c", "ollama", or what somebody called it */
    char model[256];
    char version[96]; /* as the server tells; "" when it does not */
    char digest[80];  /* of the model, as the server tells; "" when it does not */
    char url[320];    /* without the protocol */
    enum stream_protocol protocol;
    struct http_address address;
    const char *key; /* NULL: none */
};

/* "openai" or "ollama" */
const char *load_protocol_name(enum stream_protocol protocol);

/* `text` is "URL" or "URL,protocol" (openai unless it says ollama). Asks the server which models it
 * has, its version and the model's checksum. `model` NULL: the first it lists. `name` NULL: what
 * the server seems to be. ERROR_NETWORK: no server. ERROR_NOT_FOUND: it has no such model; the
 * message lists those it has. */
bool load_target_find(const char *text, const char *key, const char *model, const char *name,
                      struct load_target *target, struct error *error);

#endif
