/*
 * http_body.c - where a request's body ends: by its length, or in chunks (RFC 9112 7.1).
 *
 * Chunk extensions and trailers are checked for form, bounded, and dropped.
 */
#include "base/bytes.h"
#include "server/http_request_internal.h"

enum {
    MAX_CHUNK_LINE = 256,  /* bytes of a chunk-size line with its extensions */
    MAX_CHUNK_DIGITS = 15, /* hexadecimal: below 2^60 */
};

uint64_t http_body_limit(const struct http_request *request) {
    const struct http_limits *limits = request->limits;
    bool is_large = limits->is_large != NULL && limits->is_large(request);
    return is_large ? limits->max_large_body_bytes : limits->max_body_bytes;
}

void http_request_hand_on(struct http_request *request,
                          void (*take)(void *context, const char *bytes, size_t length),
                          void *context) {
    request->take = take;
    request->take_context = context;
}

uint64_t http_request_length(const struct http_request *request) {
    return request->phase == HTTP_PHASE_BODY_OF_LENGTH ? request->body_bytes + request->remaining
                                                       : 0;
}

static enum http_progress append_body(struct http_request *request, const char *bytes,
                                      size_t length, size_t *consumed) {
    size_t take = length - *consumed;
    if (take > request->remaining) {
        take = (size_t)request->remaining;
    }
    if (request->take != NULL) {
        request->take(request->take_context, bytes + *consumed, take);
    } else if (take > request->limits->max_body_bytes - request->body.length) {
        return http_malformed(request, 413, "the request body is too large");
    } else {
        string_buffer_append(&request->body, bytes + *consumed, take);
    }
    if (request->body.failed) {
        return http_malformed(request, 500, "out of memory");
    }
    request->body_bytes += take;
    *consumed += take;
    request->remaining -= take;
    return HTTP_NEEDS_MORE;
}

static void begin_line(struct http_request *request, enum http_phase phase) {
    request->phase = phase;
    request->line_length = 0;
    request->previous = '\0';
    request->remaining = phase == HTTP_PHASE_CHUNK_SIZE ? 0 : request->remaining;
    request->size_has_digit = false;
    request->size_ended = false;
}

static bool is_line_byte(char byte) {
    return (unsigned char)byte >= 0x20 ? byte != 0x7f : byte == '\t' || byte == '\r';
}

/* Notes one byte of a line that is only checked. *ended: it was the line's last. */
static bool pass_line_byte(struct http_request *request, char byte, bool *ended) {
    *ended = byte == '\n';
    bool well_formed =
        *ended ? request->previous == '\r' : is_line_byte(byte) && request->previous != '\r';
    request->previous = byte;
    request->line_length++;
    return well_formed;
}

static enum http_progress chunk_size_ended(struct http_request *request) {
    if (!request->size_has_digit) {
        return http_malformed(request, 400, "malformed chunk size");
    }
    if (request->remaining > http_body_limit(request) - request->body_bytes) {
        return http_malformed(request, 413, "the request body is too large");
    }
    begin_line(request, request->remaining == 0 ? HTTP_PHASE_TRAILER : HTTP_PHASE_CHUNK_DATA);
    return HTTP_NEEDS_MORE;
}

static enum http_progress feed_chunk_size(struct http_request *request, char byte) {
    bool ended;
    int digit = http_hex_digit(byte);
    if (!pass_line_byte(request, byte, &ended) || request->line_length > MAX_CHUNK_LINE) {
        return http_malformed(request, 400, "malformed chunk size");
    }
    if (ended) {
        return chunk_size_ended(request);
    }
    if (!request->size_ended && digit >= 0) {
        if (request->line_length > MAX_CHUNK_DIGITS) {
            return http_malformed(request, 400, "malformed chunk size");
        }
        request->remaining = request->remaining << 4 | (uint64_t)digit;
        request->size_has_digit = true;
        return HTTP_NEEDS_MORE;
    }
    if (!request->size_ended && byte != ';' && byte != '\r') {
        return http_malformed(request, 400, "malformed chunk size");
    }
    request->size_ended = true;
    return HTTP_NEEDS_MORE;
}

static enum http_progress feed_trailer(struct http_request *request, char byte) {
    bool ended;
    request->tail_length++;
    if (request->tail_length > request->limits->max_head_bytes ||
        request->line_count > request->limits->max_header_count) {
        return http_malformed(request, 431, "the trailers are too large");
    }
    if (!pass_line_byte(request, byte, &ended)) {
        return http_malformed(request, 400, "malformed trailer");
    }
    if (!ended) {
        return HTTP_NEEDS_MORE;
    }
    if (request->line_length == 2) {
        request->phase = HTTP_PHASE_COMPLETE;
        return HTTP_COMPLETE;
    }
    request->line_count++;
    begin_line(request, HTTP_PHASE_TRAILER);
    return HTTP_NEEDS_MORE;
}

/* The line end after a chunk's data. */
static enum http_progress feed_chunk_end(struct http_request *request, char byte) {
    request->line_length++;
    if (byte != (request->line_length == 1 ? '\r' : '\n')) {
        return http_malformed(request, 400, "a chunk is not as long as it says");
    }
    if (request->line_length == 2) {
        begin_line(request, HTTP_PHASE_CHUNK_SIZE);
    }
    return HTTP_NEEDS_MORE;
}

static enum http_progress feed_body_of_length(struct http_request *request, const char *bytes,
                                              size_t length, size_t *consumed) {
    enum http_progress progress = append_body(request, bytes, length, consumed);
    if (progress == HTTP_NEEDS_MORE && request->remaining == 0) {
        request->phase = HTTP_PHASE_COMPLETE;
        return HTTP_COMPLETE;
    }
    return progress;
}

static enum http_progress feed_chunk_data(struct http_request *request, const char *bytes,
                                          size_t length, size_t *consumed) {
    enum http_progress progress = append_body(request, bytes, length, consumed);
    if (progress == HTTP_NEEDS_MORE && request->remaining == 0) {
        begin_line(request, HTTP_PHASE_CHUNK_END);
    }
    return progress;
}

enum http_progress http_request_feed(struct http_request *request, const char *bytes, size_t length,
                                     size_t *consumed) {
    *consumed = 0;
    if (request->phase == HTTP_PHASE_HEAD) {
        return http_feed_head(request, bytes, length, consumed);
    }
    enum http_progress progress =
        request->phase == HTTP_PHASE_COMPLETE ? HTTP_COMPLETE : HTTP_NEEDS_MORE;
    while (progress == HTTP_NEEDS_MORE && *consumed < length) {
        switch (request->phase) {
        case HTTP_PHASE_BODY_OF_LENGTH:
            progress = feed_body_of_length(request, bytes, length, consumed);
            break;
        case HTTP_PHASE_CHUNK_DATA:
            progress = feed_chunk_data(request, bytes, length, consumed);
            break;
        case HTTP_PHASE_CHUNK_SIZE:
            progress = feed_chunk_size(request, bytes[(*consumed)++]);
            break;
        case HTTP_PHASE_CHUNK_END:
            progress = feed_chunk_end(request, bytes[(*consumed)++]);
            break;
        case HTTP_PHASE_TRAILER:
            progress = feed_trailer(request, bytes[(*consumed)++]);
            break;
        case HTTP_PHASE_HEAD:
        case HTTP_PHASE_COMPLETE:
        case HTTP_PHASE_MALFORMED:
            return http_malformed(request, 500, "the request was over");
        }
    }
    return progress;
}
