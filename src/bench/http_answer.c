/* http_answer.c - see http_answer.h. */
#include "bench/http_answer.h"

#include "base/bytes.h"

#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_HEAD_BYTES = 64 << 10, MAX_LINE_BYTES = 16 << 10, PIECE_BYTES = 16 << 10 };

void http_answer_begin(struct http_answer *answer) {
    *answer = (struct http_answer){.state = HTTP_ANSWER_STATUS_LINE};
}

bool http_answer_keeps_connection(const struct http_answer *answer) {
    return answer->state == HTTP_ANSWER_DONE && !answer->closes;
}

bool http_answer_ends_with_connection(const struct http_answer *answer) {
    return answer->state == HTTP_ANSWER_UNTIL_CLOSE;
}

bool http_answer_is_idle(const struct http_answer *answer) {
    return answer->state == HTTP_ANSWER_DONE;
}

/* "HTTP/1.1 200 OK" */
static bool read_status_line(struct http_answer *answer, const char *line) {
    if (strncmp(line, "HTTP/1.", 7) != 0 || (line[7] != '0' && line[7] != '1') || line[8] != ' ') {
        return false;
    }
    for (size_t i = 9; i < 12; i++) {
        if (line[i] < '0' || line[i] > '9') {
            return false;
        }
    }
    answer->status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
    answer->closes = line[7] == '0';
    return answer->status >= 100;
}

/* Digits of the base, at most 15 of them, up to the end or a character of `ends`. */
static bool read_number(const char *text, int base, const char *ends, uint64_t *value) {
    char *end;
    size_t digits = strspn(text, base == 16 ? "0123456789abcdefABCDEF" : "0123456789");
    if (digits == 0 || digits > 15) {
        return false;
    }
    *value = strtoull(text, &end, base);
    return *end == '\0' || strchr(ends, *end) != NULL;
}

static bool read_header(struct http_answer *answer, const char *line) {
    const char *colon = strchr(line, ':');
    if (colon == NULL) {
        return false;
    }
    size_t length = (size_t)(colon - line);
    const char *value = colon + 1 + strspn(colon + 1, " \t");
    if (length == 14 && strncasecmp(line, "content-length", length) == 0) {
        answer->has_length = true;
        return read_number(value, 10, " \t", &answer->left);
    }
    if (length == 17 && strncasecmp(line, "transfer-encoding", length) == 0) {
        answer->is_chunked = strncasecmp(value, "chunked", 7) == 0;
        return answer->is_chunked;
    }
    if (length == 10 && strncasecmp(line, "connection", length) == 0) {
        answer->closes = answer->closes || strncasecmp(value, "close", 5) == 0;
    }
    return true;
}

static bool end_head(struct http_answer *answer) {
    if (answer->status < 200) { /* an interim answer: the real one follows */
        http_answer_begin(answer);
        answer->has_begun = true;
        return true;
    }
    if (answer->is_chunked) {
        answer->state = HTTP_ANSWER_CHUNK_SIZE;
        return !answer->has_length;
    }
    bool is_empty =
        answer->status == 204 || answer->status == 304 || (answer->has_length && answer->left == 0);
    answer->state = is_empty             ? HTTP_ANSWER_DONE
                    : answer->has_length ? HTTP_ANSWER_LENGTH
                                         : HTTP_ANSWER_UNTIL_CLOSE;
    return true;
}

static bool read_line(struct http_answer *answer, const char *line) {
    switch (answer->state) {
    case HTTP_ANSWER_STATUS_LINE:
        answer->state = HTTP_ANSWER_HEADERS;
        return read_status_line(answer, line);
    case HTTP_ANSWER_HEADERS:
        return line[0] == '\0' ? end_head(answer) : read_header(answer, line);
    case HTTP_ANSWER_CHUNK_SIZE:
        answer->head_bytes = 0;
        answer->state = HTTP_ANSWER_CHUNK;
        if (!read_number(line, 16, "; \t", &answer->left)) {
            return false;
        }
        answer->state = answer->left == 0 ? HTTP_ANSWER_TRAILERS : HTTP_ANSWER_CHUNK;
        return true;
    case HTTP_ANSWER_CHUNK_END:
        answer->state = HTTP_ANSWER_CHUNK_SIZE;
        return line[0] == '\0';
    default: /* trailers: passed over */
        answer->state = line[0] == '\0' ? HTTP_ANSWER_DONE : HTTP_ANSWER_TRAILERS;
        return true;
    }
}

/* Bytes of the body that are at hand; false: none. */
static bool read_body(struct http_answer *answer, struct evbuffer *input,
                      void (*body)(void *context, const char *bytes, size_t length),
                      void *context) {
    char bytes[PIECE_BYTES];
    bool is_bounded = answer->state != HTTP_ANSWER_UNTIL_CLOSE;
    size_t wanted = is_bounded && answer->left < sizeof bytes ? (size_t)answer->left : sizeof bytes;
    int got = evbuffer_remove(input, bytes, wanted);
    if (got <= 0) {
        return false;
    }
    if (is_bounded) {
        answer->left -= (uint64_t)got;
        if (answer->left == 0) {
            answer->state =
                answer->state == HTTP_ANSWER_CHUNK ? HTTP_ANSWER_CHUNK_END : HTTP_ANSWER_DONE;
        }
    }
    body(context, bytes, (size_t)got);
    return true;
}

enum http_answer_progress
http_answer_read(struct http_answer *answer, struct evbuffer *input,
                 void (*body)(void *context, const char *bytes, size_t length), void *context) {
    answer->has_begun = answer->has_begun || evbuffer_get_length(input) > 0;
    while (answer->state != HTTP_ANSWER_DONE) {
        if (answer->state == HTTP_ANSWER_CHUNK || answer->state == HTTP_ANSWER_LENGTH ||
            answer->state == HTTP_ANSWER_UNTIL_CLOSE) {
            if (!read_body(answer, input, body, context)) {
                return HTTP_ANSWER_MORE;
            }
            continue;
        }
        size_t length = 0;
        char *line = evbuffer_readln(input, &length, EVBUFFER_EOL_CRLF);
        if (line == NULL) {
            return evbuffer_get_length(input) > MAX_LINE_BYTES ? HTTP_ANSWER_BAD : HTTP_ANSWER_MORE;
        }
        answer->head_bytes += length + 2;
        bool ok = answer->head_bytes <= MAX_HEAD_BYTES && strlen(line) == length &&
                  read_line(answer, line);
        free(line);
        if (!ok) {
            return HTTP_ANSWER_BAD;
        }
    }
    return evbuffer_get_length(input) > 0 ? HTTP_ANSWER_BAD : HTTP_ANSWER_WHOLE;
}
