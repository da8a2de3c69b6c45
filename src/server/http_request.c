/* http_request.c - see http_request.h. The head; the body's framing is in http_body.c. */
#include "server/http_request.h"

#include "server/http_request_internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct {
    const char *name;
    enum http_method method;
} method_names[] = {
    {"GET", HTTP_GET}, {"HEAD", HTTP_HEAD},     {"POST", HTTP_POST},
    {"PUT", HTTP_PUT}, {"DELETE", HTTP_DELETE}, {"OPTIONS", HTTP_OPTIONS},
};

/* Headers whose repetition would leave open which one counts. */
static const char *const single_headers[] = {
    "Host",          "Content-Length", "Transfer-Encoding", "Content-Encoding",
    "Authorization", "Origin",         "X-Api-Key",         "Expect",
};

void http_request_init(struct http_request *request, const struct http_limits *limits) {
    *request = (struct http_request){.limits = limits};
}

void http_request_deinit(struct http_request *request) {
    string_buffer_deinit(&request->head);
    string_buffer_deinit(&request->path);
    string_buffer_deinit(&request->body);
    free(request->headers);
    *request = (struct http_request){0};
}

bool http_request_has_begun(const struct http_request *request) {
    return request->phase != HTTP_PHASE_HEAD || request->head.length != 0;
}

enum http_progress http_malformed(struct http_request *request, int status, const char *reason) {
    request->phase = HTTP_PHASE_MALFORMED;
    request->status = status;
    request->reason = reason;
    return HTTP_MALFORMED;
}

static bool view_equals_ignoring_case(struct string_view view, const char *text) {
    return view.length == strlen(text) && strncasecmp(view.data, text, view.length) == 0;
}

const struct string_view *http_request_header(const struct http_request *request,
                                              const char *name) {
    for (size_t i = 0; i < request->header_count; i++) {
        if (view_equals_ignoring_case(request->headers[i].name, name)) {
            return &request->headers[i].value;
        }
    }
    return NULL;
}

/* RFC 9110 5.6.2: tchar. */
static bool is_token_byte(char byte) {
    return (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
           (byte >= 'A' && byte <= 'Z') ||
           (byte != '\0' && strchr("!#$%&'*+-.^_`|~", byte) != NULL);
}

static bool is_token(struct string_view view) {
    for (size_t i = 0; i < view.length; i++) {
        if (!is_token_byte(view.data[i])) {
            return false;
        }
    }
    return view.length != 0;
}

/* Splits at the first `separator`; false when there is none. */
static bool split(struct string_view whole, char separator, struct string_view *left,
                  struct string_view *right) {
    const char *at = whole.length == 0 ? NULL : memchr(whole.data, separator, whole.length);
    if (at == NULL) {
        return false;
    }
    size_t length = (size_t)(at - whole.data);
    *left = (struct string_view){whole.data, length};
    *right = (struct string_view){at + 1, whole.length - length - 1};
    return true;
}

static struct string_view trim(struct string_view view) {
    while (view.length != 0 && (view.data[0] == ' ' || view.data[0] == '\t')) {
        view.data++;
        view.length--;
    }
    while (view.length != 0 &&
           (view.data[view.length - 1] == ' ' || view.data[view.length - 1] == '\t')) {
        view.length--;
    }
    return view;
}

int http_hex_digit(char byte) {
    if (byte >= '0' && byte <= '9') {
        return byte - '0';
    }
    char lower = (char)(byte | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static bool decode_path(struct http_request *request, struct string_view path) {
    for (size_t i = 0; i < path.length; i++) {
        char byte = path.data[i];
        if (byte == '%') {
            if (path.length - i < 3) {
                return false;
            }
            int high = http_hex_digit(path.data[i + 1]);
            int low = http_hex_digit(path.data[i + 2]);
            if (high < 0 || low < 0 || (high == 0 && low == 0)) {
                return false;
            }
            byte = (char)(high << 4 | low);
            i += 2;
        }
        string_buffer_append_char(&request->path, byte);
    }
    return true;
}

/* origin-form, absolute-form (its authority then stands for Host), or "*". */
static bool parse_target(struct http_request *request, struct string_view target) {
    for (size_t i = 0; i < target.length; i++) {
        if (target.data[i] <= 0x20 || target.data[i] >= 0x7f) {
            return false;
        }
    }
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        size_t length = strlen(schemes[i]);
        if (target.length > length && strncasecmp(target.data, schemes[i], length) == 0) {
            target = (struct string_view){target.data + length, target.length - length};
            size_t host_length = 0;
            while (host_length < target.length && strchr("/?", target.data[host_length]) == NULL) {
                host_length++;
            }
            request->host = (struct string_view){target.data, host_length};
            target = (struct string_view){target.data + host_length, target.length - host_length};
            if (target.length == 0 || target.data[0] == '?') {
                target = string_view_of("/");
            }
        }
    }
    bool is_asterisk = string_view_is(target, "*");
    if (target.length == 0 || (target.data[0] != '/' && !is_asterisk)) {
        return false;
    }
    struct string_view query;
    (void)split(target, '?', &target, &query);
    return decode_path(request, target);
}

static bool parse_version(struct http_request *request, struct string_view version) {
    request->is_http_1_0 = string_view_is(version, "HTTP/1.0");
    if (request->is_http_1_0 || string_view_is(version, "HTTP/1.1")) {
        return true;
    }
    bool is_http = version.length == 8 && memcmp(version.data, "HTTP/", 5) == 0;
    http_malformed(request, is_http ? 505 : 400,
                   is_http ? "only HTTP/1.0 and HTTP/1.1 are spoken here"
                           : "malformed request line");
    return false;
}

static bool parse_request_line(struct http_request *request, struct string_view line) {
    struct string_view rest, target, version;
    if (!split(line, ' ', &request->method_name, &rest) || !split(rest, ' ', &target, &version) ||
        !is_token(request->method_name)) {
        http_malformed(request, 400, "malformed request line");
        return false;
    }
    if (!parse_version(request, version)) {
        return false;
    }
    request->method = HTTP_OTHER;
    for (size_t i = 0; i < sizeof method_names / sizeof method_names[0]; i++) {
        if (string_view_is(request->method_name, method_names[i].name)) {
            request->method = method_names[i].method;
        }
    }
    if (!parse_target(request, target)) {
        http_malformed(request, 400, "malformed request target");
        return false;
    }
    return true;
}

static bool parse_header(struct http_request *request, struct string_view line) {
    struct http_header *header = &request->headers[request->header_count];
    if (line.data[0] == ' ' || line.data[0] == '\t') {
        http_malformed(request, 400, "a header is folded over several lines");
        return false;
    }
    if (!split(line, ':', &header->name, &header->value) || !is_token(header->name)) {
        http_malformed(request, 400, "malformed header");
        return false;
    }
    header->value = trim(header->value);
    for (size_t i = 0; i < header->value.length; i++) {
        unsigned char byte = (unsigned char)header->value.data[i];
        if ((byte < 0x20 && byte != '\t') || byte == 0x7f) {
            http_malformed(request, 400, "a header holds a control character");
            return false;
        }
    }
    request->header_count++;
    return true;
}

static bool parse_lines(struct http_request *request) {
    request->headers = calloc(request->line_count, sizeof *request->headers);
    if (request->headers == NULL) {
        http_malformed(request, 500, "out of memory");
        return false;
    }
    size_t skip = memcmp(request->head.data, "\r\n", 2) == 0 ? 2 : 0; /* the forgiven empty line */
    struct string_view rest = {request->head.data + skip, request->head.length - skip};
    for (size_t i = 0; i < request->line_count; i++) {
        struct string_view line;
        if (!split(rest, '\n', &line, &rest)) {
            return false; /* cannot be: line_count line feeds were seen */
        }
        line.length--; /* the carriage return */
        if (!(i == 0 ? parse_request_line(request, line) : parse_header(request, line))) {
            return false;
        }
    }
    return true;
}

static bool check_single_headers(struct http_request *request) {
    for (size_t i = 0; i < sizeof single_headers / sizeof single_headers[0]; i++) {
        size_t count = 0;
        for (size_t k = 0; k < request->header_count; k++) {
            count += view_equals_ignoring_case(request->headers[k].name, single_headers[i]);
        }
        if (count > 1) {
            http_malformed(request, 400, "a header that may come once came twice");
            return false;
        }
    }
    return true;
}

static bool check_host(struct http_request *request) {
    const struct string_view *host = http_request_header(request, "Host");
    if (host == NULL && !request->is_http_1_0) {
        http_malformed(request, 400, "the Host header is missing");
        return false;
    }
    if (host != NULL && request->host.length == 0) {
        request->host = *host;
    }
    for (size_t i = 0; i < request->host.length; i++) {
        char byte = request->host.data[i];
        if (!is_token_byte(byte) && strchr(":[]", byte) == NULL) {
            http_malformed(request, 400, "malformed Host header");
            return false;
        }
    }
    return true;
}

/* True when one of the comma-separated words of any Connection header is `word`. */
static bool connection_says(const struct http_request *request, const char *word) {
    for (size_t i = 0; i < request->header_count; i++) {
        struct string_view rest = request->headers[i].value;
        if (!view_equals_ignoring_case(request->headers[i].name, "Connection")) {
            continue;
        }
        struct string_view item;
        while (split(rest, ',', &item, &rest)) {
            if (view_equals_ignoring_case(trim(item), word)) {
                return true;
            }
        }
        if (view_equals_ignoring_case(trim(rest), word)) {
            return true;
        }
    }
    return false;
}

static bool check_expectation(struct http_request *request) {
    const struct string_view *expect = http_request_header(request, "Expect");
    if (expect == NULL || request->is_http_1_0) {
        return true;
    }
    if (!view_equals_ignoring_case(*expect, "100-continue")) {
        http_malformed(request, 417, "the only expectation that can be met is 100-continue");
        return false;
    }
    request->expect_continue = true;
    return true;
}

/* RFC 9112 6.3, without its leniencies. */
static bool choose_framing(struct http_request *request) {
    const struct string_view *coding = http_request_header(request, "Transfer-Encoding");
    const struct string_view *length = http_request_header(request, "Content-Length");
    request->phase = HTTP_PHASE_COMPLETE;
    if (coding != NULL) {
        if (length != NULL || request->is_http_1_0 ||
            !view_equals_ignoring_case(*coding, "chunked")) {
            http_malformed(request, 400,
                           length != NULL
                               ? "Transfer-Encoding and Content-Length exclude each other"
                               : "the only transfer coding is chunked, in HTTP/1.1");
            return false;
        }
        request->phase = HTTP_PHASE_CHUNK_SIZE;
        return true;
    }
    if (length == NULL) {
        return true;
    }
    /* 18 digits: far past any limit, far below 2^64. */
    bool digits_only = length->length != 0 && length->length <= 18;
    for (size_t i = 0; digits_only && i < length->length; i++) {
        digits_only = length->data[i] >= '0' && length->data[i] <= '9';
        request->remaining = request->remaining * 10 + (uint64_t)(length->data[i] - '0');
    }
    if (!digits_only) {
        http_malformed(request, 400, "malformed Content-Length");
        return false;
    }
    if (request->remaining > http_body_limit(request)) {
        http_malformed(request, 413, "the request body is too large");
        return false;
    }
    if (request->remaining != 0) {
        request->phase = HTTP_PHASE_BODY_OF_LENGTH;
    }
    return true;
}

static enum http_progress finish_head(struct http_request *request) {
    if (request->head.failed) {
        return http_malformed(request, 500, "out of memory");
    }
    if (!parse_lines(request) || !check_single_headers(request) || !check_host(request) ||
        !check_expectation(request) || !choose_framing(request)) {
        return HTTP_MALFORMED;
    }
    if (request->path.failed) {
        return http_malformed(request, 500, "out of memory");
    }
    request->keep_alive = request->is_http_1_0 ? connection_says(request, "keep-alive")
                                               : !connection_says(request, "close");
    request->line_count = 0;
    return HTTP_HEAD_COMPLETE;
}

/* A line of the head has ended. HTTP_NEEDS_MORE: there are more lines to come. */
static enum http_progress finish_head_line(struct http_request *request) {
    size_t length = request->head.length - request->line_start; /* with its line feed */
    if (length < 2 || request->head.data[request->head.length - 2] != '\r') {
        return http_malformed(request, 400, "a line ends without a carriage return");
    }
    if (length > 2) {
        request->line_count++;
        if (request->line_count > request->limits->max_header_count + 1) {
            return http_malformed(request, 431, "too many headers");
        }
        request->line_start = request->head.length;
        return HTTP_NEEDS_MORE;
    }
    if (request->line_count == 0) { /* RFC 9112 2.2: one empty line before a request is forgiven */
        if (request->line_start != 0) {
            return http_malformed(request, 400, "malformed request line");
        }
        request->line_start = request->head.length;
        return HTTP_NEEDS_MORE;
    }
    return finish_head(request);
}

enum http_progress http_feed_head(struct http_request *request, const char *bytes, size_t length,
                                  size_t *consumed) {
    while (*consumed < length) {
        const char *start = bytes + *consumed;
        const char *line_feed = memchr(start, '\n', length - *consumed);
        size_t take = line_feed == NULL ? length - *consumed : (size_t)(line_feed - start) + 1;
        if (take > request->limits->max_head_bytes - request->head.length) {
            bool in_request_line = request->line_count == 0;
            return http_malformed(request, in_request_line ? 414 : 431,
                                  in_request_line ? "the request target is too long"
                                                  : "the headers are too large");
        }
        string_buffer_append(&request->head, start, take);
        *consumed += take;
        if (line_feed == NULL) {
            break;
        }
        enum http_progress progress = finish_head_line(request);
        if (progress != HTTP_NEEDS_MORE) {
            return progress;
        }
    }
    return HTTP_NEEDS_MORE;
}
