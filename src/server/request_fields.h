/*
 * request_fields.h - a request's fields as a table: name, type, range, and where the value goes.
 *
 * A field that is absent or null leaves its target as it was; a field no row names is ignored.
 * What is wrong is said as OpenAI says it. Pure; any thread.
 */
#ifndef MISTRAL_SERVER_REQUEST_FIELDS_H
#define MISTRAL_SERVER_REQUEST_FIELDS_H

#include "server/api_error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum request_field_kind {
    FIELD_BOOL,    /* bool */
    FIELD_INTEGER, /* int64_t */
    FIELD_NUMBER,  /* float */
    FIELD_TEXT,    /* const char *, borrowed from the JSON value */
    FIELD_CUSTOM,  /* `read` does it */
};

struct request_field {
    const char *name;
    enum request_field_kind kind;
    double minimum, maximum; /* of numbers; the ends are allowed */
    size_t target;           /* offset in the struct that is filled */
    bool (*read)(const struct request_field *field, const json_t *value, void *request,
                 struct api_error *error);
};

/* `fields` ends with a row whose name is NULL. */
bool request_fields_read(const struct request_field *fields, const json_t *object, void *request,
                         struct api_error *error);

/* For FIELD_CUSTOM: "Invalid type for 'stop': expected a string, but got a number instead."
 * `name` may be a path, as in "messages[2].role". Returns false. */
bool request_field_wrong_type(const char *name, const char *expected, const json_t *value,
                              struct api_error *error);

/* An integer, or a number without a fraction; false when it is neither. */
bool json_read_integer(const json_t *value, int64_t *out);

/* "Invalid 'n': integer above maximum value…". False when value is outside. */
bool request_field_in_range(const char *name, bool is_integer, double value, double minimum,
                            double maximum, struct api_error *error);

#endif
