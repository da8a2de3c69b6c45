/*
 * http_request.h - one HTTP/1.x request, taken from bytes as they arrive (RFC 9110, RFC 9112).
 *
 * Owns the bytes of the request and the strict reading of them: what two programs could read in two
 * ways (two lengths, folded headers, bare line feeds, white space before a colon) is refused, so
 * nothing can be smuggled past a proxy. Every size is bounded before it is stored. Knows no
 * sockets, no time and no JSON; any thread, one at a time.
 */
#ifndef MISTRAL_SERVER_HTTP_REQUEST_H
#define MISTRAL_SERVER_HTTP_REQUEST_H

#include "base/string_buffer.h"
#include "base/string_view.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum http_method { /* bits, so that a route can name several */
                   HTTP_GET = 1 << 0,
                   HTTP_HEAD = 1 << 1,
                   HTTP_POST = 1 << 2,
                   HTTP_PUT = 1 << 3,
                   HTTP_DELETE = 1 << 4,
                   HTTP_OPTIONS = 1 << 5,
                   HTTP_OTHER = 1 << 6,
};

struct http_request;

struct http_limits {
    size_t max_head_bytes;   /* request line and headers; trailers have the same bound */
    size_t max_header_count; /* lines */
    size_t max_body_bytes;   /* decoded, when it came in chunks */
    /* Requests whose bodies are not kept but handed on (http_request_hand_on), and their bound.
     * Asked once the head is there. NULL: there are none. */
    bool (*is_large)(const struct http_request *request);
    uint64_t max_large_body_bytes;
};

struct http_header {
    struct string_view name, value; /* value without the white space around it */
};

enum http_progress {
    HTTP_NEEDS_MORE,    /* everything was taken; the request goes on */
    HTTP_HEAD_COMPLETE, /* said once: headers can be read, the body comes next */
    HTTP_COMPLETE,      /* the request is whole; what was not taken belongs to the next one */
    HTTP_MALFORMED, /* answer `status` with `reason` and close: the bytes have lost their meaning */
};

enum http_phase {
    HTTP_PHASE_HEAD,
    HTTP_PHASE_BODY_OF_LENGTH,
    HTTP_PHASE_CHUNK_SIZE,
    HTTP_PHASE_CHUNK_DATA,
    HTTP_PHASE_CHUNK_END,
    HTTP_PHASE_TRAILER,
    HTTP_PHASE_COMPLETE,
    HTTP_PHASE_MALFORMED,
};

struct http_request {
    const struct http_limits *limits; /* borrowed */
    enum http_phase phase;

    /* From HTTP_HEAD_COMPLETE on. Views point into `head`. */
    enum http_method method;
    struct string_view method_name;
    struct string_view host;     /* with its port; empty when HTTP/1.0 sent none */
    struct string_buffer path;   /* percent-decoded, without the query; holds no NUL */
    struct http_header *headers; /* [header_count]; owned */
    size_t header_count;
    bool is_http_1_0;
    bool keep_alive;      /* what the client asks for */
    bool expect_continue; /* it waits for "100 Continue" before it sends the body */

    struct string_buffer body; /* from HTTP_COMPLETE on; empty when it is handed on */
    uint64_t body_bytes;       /* that have come so far */

    int status;         /* HTTP_MALFORMED: 400, 413, 414, 417, 431, 500 or 505 */
    const char *reason; /* constant text */

    void (*take)(void *context, const char *bytes, size_t length); /* NULL: the body is kept */
    void *take_context;

    /* How far the reading is. */
    struct string_buffer head;
    size_t line_start;   /* of the head's last line */
    size_t line_count;   /* of the head, or of the trailers */
    uint64_t remaining;  /* bytes to come, of the body or of the chunk */
    size_t line_length;  /* bytes of the chunk-size or trailer line so far */
    size_t tail_length;  /* bytes of trailers */
    char previous;       /* last byte of that line */
    bool size_has_digit; /* the chunk-size line has begun with a digit */
    bool size_ended;     /* its digits are over; an extension may follow */
};

void http_request_init(struct http_request *request, const struct http_limits *limits);
void http_request_deinit(struct http_request *request);

/* Takes up to `length` bytes; *consumed says how many. Call again (with length 0 if need be) after
 * HTTP_HEAD_COMPLETE; not after HTTP_COMPLETE or HTTP_MALFORMED. */
enum http_progress http_request_feed(struct http_request *request, const char *bytes, size_t length,
                                     size_t *consumed);

/* From HTTP_HEAD_COMPLETE on, before more is fed: `take` is given the body piece by piece, as it
 * comes, and none of it is kept. */
void http_request_hand_on(struct http_request *request,
                          void (*take)(void *context, const char *bytes, size_t length),
                          void *context);
/* Bytes that the body has; 0 when it comes in chunks or there is none. */
uint64_t http_request_length(const struct http_request *request);

/* True once a byte of the request has arrived. */
bool http_request_has_begun(const struct http_request *request);

/* The first header of that name (any case), or NULL. The headers that decide who may do what, and
 * where the body ends, are known to be there once at most. */
const struct string_view *http_request_header(const struct http_request *request, const char *name);

#endif
