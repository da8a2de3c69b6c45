/*
 * http.h - HTTP GETs, by libcurl. Private to hub/. Blocking; any thread.
 *
 * Follows redirects, but never from https to http, and sends the token to the first host only. A
 * status code is an answer, not an error: the caller decides. Proxies and certificates are those of
 * libcurl's own environment variables.
 */
#ifndef MISTRAL_HUB_HTTP_H
#define MISTRAL_HUB_HTTP_H

#include "base/error.h"
#include "base/string_buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_response {
    long status;         /* of the last answer; 0: none came */
    bool transient;      /* worth another attempt: a cut connection, a time-out, 408, 429, 5xx */
    bool unreachable;    /* no connection at all: a name that is not known, or nobody answers */
    int64_t retry_after; /* seconds the server asks to wait; -1: it does not say */
    int64_t range_start; /* of a 206's Content-Range; -1: none */
    char error_code[64]; /* Hugging Face's X-Error-Code, else "" */
    char challenge[512]; /* WWW-Authenticate of a 401, else "" */
    char reason[256];    /* in words: libcurl's, or the status and the server's message */
};

/* Keeps connections open between requests. One thread at a time. */
struct hub_connection;

struct hub_connection *hub_connection_create(void);      /* NULL when memory runs out */
void hub_connection_free(struct hub_connection *client); /* NULL allowed */

struct http_request {
    struct hub_connection *client; /* NULL: one of its own */
    const char *url;
    const char *token;    /* Bearer, or NULL */
    const char *accept;   /* NULL: anything */
    uint64_t range_start; /* 0, with range_end 0: the whole body */
    uint64_t range_end;   /* past its last byte; 0: to the end */
    long timeout_seconds; /* without a connection, or without a byte */
    /* The body of a 200 or 206, in pieces; false ends the transfer. */
    bool (*body)(void *context, const struct http_response *response, const char *bytes,
                 size_t length);
    bool (*cancelled)(void *context); /* may be NULL */
    void *context;
};

/* True: a status came and, for a 200 or 206, the whole body went to `body`. False: *response says
 * why; *error is set for what another attempt cannot cure (a bad URL, no memory), and with
 * ERROR_CANCELLED when `cancelled` said so. When `body` ended the transfer, *error is untouched. */
bool http_get(const struct http_request *request, struct http_response *response,
              struct error *error);

/* Appends `text` with everything but letters, digits and -._~ percent-encoded. */
void http_append_escaped(struct string_buffer *out, const char *text, size_t length);

#endif
