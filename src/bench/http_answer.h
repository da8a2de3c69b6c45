/*
 * http_answer.h - reads one HTTP/1.1 answer as its bytes arrive. See http_client.h.
 *
 * Heads are at most 64 KiB; a body is chunked, has a length, or ends with the connection. Single
 * thread.
 */
#ifndef MISTRAL_BENCH_HTTP_ANSWER_H
#define MISTRAL_BENCH_HTTP_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct evbuffer;

enum http_answer_state {
    HTTP_ANSWER_STATUS_LINE,
    HTTP_ANSWER_HEADERS,
    HTTP_ANSWER_CHUNK_SIZE,
    HTTP_ANSWER_CHUNK,
    HTTP_ANSWER_CHUNK_END,
    HTTP_ANSWER_TRAILERS,
    HTTP_ANSWER_LENGTH,
    HTTP_ANSWER_UNTIL_CLOSE,
    HTTP_ANSWER_DONE,
};

struct http_answer {
    enum http_answer_state state;
    int status;      /* 0 before it came */
    bool has_begun;  /* at least a byte came */
    bool closes;     /* "Connection: close", or HTTP/1.0 */
    bool is_chunked; /* of the head being read */
    bool has_length;
    uint64_t left;     /* bytes of the body or chunk that are still to come */
    size_t head_bytes; /* read so far */
};

void http_answer_begin(struct http_answer *answer);

enum http_answer_progress { HTTP_ANSWER_MORE, HTTP_ANSWER_WHOLE, HTTP_ANSWER_BAD };

/* Takes what it can from the buffer; pieces of the body go to `body`. */
enum http_answer_progress
http_answer_read(struct http_answer *answer, struct evbuffer *input,
                 void (*body)(void *context, const char *bytes, size_t length), void *context);

/* After WHOLE: whether the connection may carry another request. */
bool http_answer_keeps_connection(const struct http_answer *answer);
/* Whether the end of the connection is the end of this body. */
bool http_answer_ends_with_connection(const struct http_answer *answer);
/* Whether it is over, and nothing is waited for. */
bool http_answer_is_idle(const struct http_answer *answer);

#endif
