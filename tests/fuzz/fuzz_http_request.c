/*
 * fuzz_http_request.c - any bytes as HTTP requests on one connection, in pieces of any size.
 *
 * The first byte is the size of a piece. What must hold whatever comes: no more is taken than was
 * given, bodies and heads stay within their limits, and the same bytes in one piece end the same
 * way.
 */
#include "fuzz.h"

#include "server/http_request.h"

#include <stdlib.h>

static const struct http_limits limits = {
    .max_head_bytes = 1024, .max_header_count = 16, .max_body_bytes = 512};

static void require(bool holds) {
    if (!holds) {
        abort();
    }
}

static enum http_progress feed(struct http_request *request, const char *bytes, size_t length,
                               size_t piece, size_t *taken) {
    enum http_progress progress = HTTP_NEEDS_MORE;
    *taken = 0;
    while (progress == HTTP_HEAD_COMPLETE || (progress == HTTP_NEEDS_MORE && *taken < length)) {
        size_t rest = length - *taken;
        size_t given = rest < piece ? rest : piece;
        size_t consumed = 0;
        progress = http_request_feed(request, bytes + *taken, given, &consumed);
        require(consumed <= given);
        *taken += consumed;
        if (given == 0 && progress == HTTP_NEEDS_MORE) {
            break;
        }
    }
    return progress;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) {
        return 0;
    }
    const char *bytes = (const char *)data + 1;
    size_t length = size - 1;
    enum http_progress progress = HTTP_COMPLETE;
    while (progress == HTTP_COMPLETE && length != 0) {
        struct http_request whole, cut;
        size_t taken_whole, taken_cut;
        http_request_init(&whole, &limits);
        http_request_init(&cut, &limits);
        progress = feed(&whole, bytes, length, length, &taken_whole);
        require(feed(&cut, bytes, length, (size_t)data[0] + 1, &taken_cut) == progress);
        require(whole.status == cut.status);
        require(whole.body.length <= limits.max_body_bytes);
        require(whole.head.length <= limits.max_head_bytes);
        if (progress == HTTP_COMPLETE) {
            require(taken_whole == taken_cut && whole.body.length == cut.body.length);
        }
        http_request_deinit(&whole);
        http_request_deinit(&cut);
        bytes += taken_whole;
        length -= taken_whole;
    }
    return 0;
}
