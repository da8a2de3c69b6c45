/*
 * api_error.h - why a request is refused: status, type, code, parameter, message, in OpenAI's terms
 * and, for the routes of other APIs, in theirs.
 *
 * Any thread.
 */
#ifndef MISTRAL_SERVER_API_ERROR_H
#define MISTRAL_SERVER_API_ERROR_H

#include "base/error.h"
#include "base/string_buffer.h"

#include <stdbool.h>

struct api_error {
    int status;       /* of HTTP */
    const char *code; /* constant text; NULL: null */
    char param[128];  /* the field at fault; empty: null */
    char message[1024];
};

/* Sets all of it and returns false. `code` and `param` may be NULL. */
bool api_error_set(struct api_error *error, int status, const char *code, const char *param,
                   const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Memory for the answer ran out: 500. Returns false. */
bool api_error_out_of_memory(struct api_error *error);

/* A failure inside the program, as api_error_set, without the paths that its message names: those
 * are for the log, which gets them here. Returns false. */
bool api_error_tell(struct api_error *error, int status, const char *code, const char *param,
                    const struct error *cause);

/* What a failure inside the program is to the client; told as above. `param` (may be NULL) is the
 * field that held the input, and is named only where the input is at fault. Returns false. */
bool api_error_from(struct api_error *error, const struct error *cause, const char *param);

/* {"error":{"message":…,"type":…,"param":…,"code":…}} */
void api_error_write(const struct api_error *error, struct string_buffer *out);

/* Whose words a route's answers are in; told by its pattern. */
enum api_dialect { API_OPENAI, API_OLLAMA, API_ANTHROPIC };
enum api_dialect api_dialect_of(const char *route);

/* As that API says it. Ollama: {"error":"…"}. Anthropic:
 * {"type":"error","error":{"type":…,"message":…}}. */
void api_error_write_as(const struct api_error *error, enum api_dialect dialect,
                        struct string_buffer *out);

#endif
