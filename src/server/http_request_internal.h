/* http_request_internal.h - between http_request.c (the head) and http_body.c (its framing). */
#ifndef MISTRAL_SERVER_HTTP_REQUEST_INTERNAL_H
#define MISTRAL_SERVER_HTTP_REQUEST_INTERNAL_H

#include "server/http_request.h"

/* Notes why, and returns HTTP_MALFORMED. */
enum http_progress http_malformed(struct http_request *request, int status, const char *reason);

enum http_progress http_feed_head(struct http_request *request, const char *bytes, size_t length,
                                  size_t *consumed);

/* Most bytes of the request's body. */
uint64_t http_body_limit(const struct http_request *request);

int http_hex_digit(char byte); /* its value, or -1 */

#endif
