/*
 * http_client.h - HTTP/1.1 requests to one server, many at once, their answers handed on as bytes
 * arrive.
 *
 * A client keeps connections that the server leaves open and uses them again. What a server sends
 * is taken as hostile: heads, chunk sizes and lengths are bounded and checked. Plain HTTP only.
 * Single thread: that of the event base, on which every callback comes.
 */
#ifndef MISTRAL_BENCH_HTTP_CLIENT_H
#define MISTRAL_BENCH_HTTP_CLIENT_H

#include "base/error.h"
#include "base/string_buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

struct event_base;

/* Where a server is. */
struct http_address {
    char authority[300]; /* "localhost:8080", as the Host header has it */
    char path[256];      /* of the URL, without a slash at its end; usually "" */
    struct sockaddr_storage socket;
    socklen_t socket_length;
};

/* "http://host[:port][/path]"; without a port 80. Looks the name up, and takes the first address on
 * which a server answers now. ERROR_NETWORK: none does. Blocks; any thread. */
bool http_address_find(const char *url, struct http_address *address, struct error *error);

enum http_outcome {
    HTTP_COMPLETE,  /* the whole body came */
    HTTP_REFUSED,   /* no connection */
    HTTP_LOST,      /* the connection ended before the answer did */
    HTTP_TIMED_OUT, /* nothing came for too long */
    HTTP_MALFORMED, /* what came is no HTTP */
};

struct http_handler {
    /* More of the body of an answer with this status; any number of times. */
    void (*body)(void *context, int status, const char *bytes, size_t length);
    /* The last call of a request; status 0: no head came. */
    void (*end)(void *context, enum http_outcome outcome, int status);
};

struct http_client;
struct http_call;

/* `key` (NULL: none) is sent as a Bearer token; it, `address` and `handler` are borrowed.
 * `timeout_seconds`: longest wait for the next byte. NULL when memory runs out. */
struct http_client *http_client_create(struct event_base *base, const struct http_address *address,
                                       const char *key, double timeout_seconds,
                                       const struct http_handler *handler);
void http_client_free(struct http_client *client); /* ends calls under way, silently */

/* Sends a request; `body` NULL: a GET. `end` is always called, never from within this function.
 * NULL when memory runs out. */
struct http_call *http_client_send(struct http_client *client, const char *path, const char *body,
                                   size_t length, void *context);

/* Closes its connection; `end` is not called. Not from within a callback of the same call. */
void http_call_cancel(struct http_call *call);

/* One request, waited for: the status, 0 when there was no answer, and its body, at most `limit`
 * bytes of it. */
int http_fetch(const struct http_address *address, const char *key, double timeout_seconds,
               const char *path, const char *body, size_t limit, struct string_buffer *answer);

#endif
