/*
 * json_body.h - a request's body as JSON, with bounds on what it may cost to read.
 *
 * The bytes are JSON whatever the Content-Type says. Nesting and the number of values are counted
 * before anything is built, so a small body cannot become a large tree. Any thread.
 */
#ifndef MISTRAL_SERVER_JSON_BODY_H
#define MISTRAL_SERVER_JSON_BODY_H

#include "server/api_error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    JSON_BODY_MAX_DEPTH = 64,
    JSON_BODY_MAX_VALUES = 1 << 19, /* about 64 MiB of tree at worst */
};

/* An object; the caller releases it with json_decref. Anything else is a 400 that says where. */
bool json_body_parse(const char *bytes, size_t length, json_t **object, struct api_error *error);

#endif
