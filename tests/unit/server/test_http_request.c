/*
 * test_http_request.c - what is a request and what is not, however the bytes are cut into pieces.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"
#include "server/http_request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct http_limits limits = {
    .max_head_bytes = 2048, .max_header_count = 10, .max_body_bytes = 1000};

/* Feeds `bytes` in pieces of at most `piece`; returns the last progress, *taken the bytes used. */
static enum http_progress feed(struct http_request *request, const char *bytes, size_t length,
                               size_t piece, size_t *taken) {
    enum http_progress progress = HTTP_NEEDS_MORE;
    *taken = 0;
    bool head_seen = false;
    while (progress == HTTP_NEEDS_MORE || progress == HTTP_HEAD_COMPLETE) {
        size_t rest = length - *taken;
        size_t consumed = 0;
        if (rest == 0 && request->phase != HTTP_PHASE_COMPLETE) {
            return HTTP_NEEDS_MORE;
        }
        progress =
            http_request_feed(request, bytes + *taken, rest < piece ? rest : piece, &consumed);
        *taken += consumed;
        if (progress == HTTP_HEAD_COMPLETE) {
            assert_false(head_seen);
            head_seen = true;
        }
    }
    return progress;
}

struct text {
    const char *data;
    size_t length;
};
#define TEXT(literal) {literal, sizeof(literal) - 1}

static const struct {
    const char *name;
    struct text bytes;
    int status;
} malformed[] = {
    {"both framings",
     TEXT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: "
          "chunked\r\n\r\n0\r\n\r\n"),
     400},
    {"two lengths",
     TEXT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n"
          "\r\n"),
     400},
    {"one length twice",
     TEXT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
          "content-length: 3\r\n\r\nabc"),
     400},
    {"length list", TEXT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc"), 400},
    {"signed length", TEXT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc"), 400},
    {"negative length", TEXT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"), 400},
    {"hex length", TEXT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc"), 400},
    {"empty length", TEXT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"), 400},
    {"length with a space", TEXT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 2\r\n\r\n"), 400},
    {"wrapping length",
     TEXT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: "
          "18446744073709551619\r\n\r\nabc"),
     400},
    {"large length", TEXT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n"), 413},
    {"chunked, gzip",
     TEXT("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n"), 400},
    {"gzip, chunked",
     TEXT("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"), 400},
    {"xchunked", TEXT("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n"), 400},
    {"two codings",
     TEXT("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
          "Transfer-Encoding: identity\r\n\r\n"),
     400},
    {"chunked in 1.0", TEXT("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400},
    {"space before colon", TEXT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\nabc"),
     400},
    {"folded header", TEXT("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n"), 400},
    {"folded first header", TEXT("GET / HTTP/1.1\r\n Host: a\r\n\r\n"), 400},
    {"header without colon", TEXT("GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n"), 400},
    {"header without name", TEXT("GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n"), 400},
    {"NUL in a name", TEXT("GET / HTTP/1.1\r\nHost: a\r\nX\0Y: x\r\n\r\n"), 400},
    {"NUL in a value", TEXT("GET / HTTP/1.1\r\nHost: a\r\nX: x\0y\r\n\r\n"), 400},
    {"bare carriage return", TEXT("GET / HTTP/1.1\r\nHost: a\r\nX: x\ry\r\n\r\n"), 400},
    {"bare line feed", TEXT("GET / HTTP/1.1\nHost: a\r\n\r\n"), 400},
    {"bare line feeds", TEXT("GET / HTTP/1.1\nHost: a\n\n"), 400},
    {"no Host", TEXT("GET / HTTP/1.1\r\n\r\n"), 400},
    {"two Hosts", TEXT("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), 400},
    {"odd Host", TEXT("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), 400},
    {"no version", TEXT("GET /\r\nHost: a\r\n\r\n"), 400},
    {"two spaces", TEXT("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), 400},
    {"space in the target", TEXT("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"), 400},
    {"tab for a space", TEXT("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"), 400},
    {"relative target", TEXT("GET health HTTP/1.1\r\nHost: a\r\n\r\n"), 400},
    {"NUL in the target", TEXT("GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n"), 400},
    {"cut escape", TEXT("GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n"), 400},
    {"bytes in the target", TEXT("GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n"), 400},
    {"HTTP/2 preface", TEXT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505},
    {"lower-case version", TEXT("GET / http/1.1\r\nHost: a\r\n\r\n"), 400},
    {"HTTP/1.2", TEXT("GET / HTTP/1.2\r\nHost: a\r\n\r\n"), 505},
    {"TLS hello", TEXT("\x16\x03\x01\x02\x00\x01\x00\n\r\n"), 400},
    {"two empty lines first", TEXT("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), 400},
    {"a line of one return first", TEXT("\r\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), 400},
    {"returns for a request line", TEXT("\r\r\nX\r\n\r\n"), 400},
    {"other expectation", TEXT("POST / HTTP/1.1\r\nHost: a\r\nExpect: more\r\n\r\n"), 417},
    {"too many headers",
     TEXT("GET / HTTP/1.1\r\nHost: a\r\nB: b\r\nB: b\r\nB: b\r\nB: b\r\nB: b\r\n"
          "B: b\r\nB: b\r\nB: b\r\nB: b\r\nB: b\r\n\r\n"),
     431},
#define CHUNKED "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    {"empty chunk size", TEXT(CHUNKED "\r\n\r\n"), 400},
    {"signed chunk size", TEXT(CHUNKED "+3\r\nabc\r\n0\r\n\r\n"), 400},
    {"0x chunk size", TEXT(CHUNKED "0x3\r\nabc\r\n0\r\n\r\n"), 400},
    {"space before chunk size", TEXT(CHUNKED " 3\r\nabc\r\n0\r\n\r\n"), 400},
    {"space after chunk size", TEXT(CHUNKED "3 \r\nabc\r\n0\r\n\r\n"), 400},
    {"extension without a size", TEXT(CHUNKED ";a=b\r\n0\r\n\r\n"), 400},
    {"wrapping chunk size", TEXT(CHUNKED "10000000000000003\r\nabc\r\n0\r\n\r\n"), 400},
    {"large chunk", TEXT(CHUNKED "fffff\r\n"), 413},
    {"longer chunk than said", TEXT(CHUNKED "3\r\nabcd\r\n0\r\n\r\n"), 400},
    {"chunk ends in a line feed", TEXT(CHUNKED "3\r\nabc\n0\r\n\r\n"), 400},
    {"chunk size ends in a line feed", TEXT(CHUNKED "3\nabc\r\n0\r\n\r\n"), 400},
    {"return inside a chunk extension", TEXT(CHUNKED "3;a\rb\r\nabc\r\n0\r\n\r\n"), 400},
    {"NUL in a chunk extension", TEXT(CHUNKED "3;a\0\r\nabc\r\n0\r\n\r\n"), 400},
    {"NUL in a trailer", TEXT(CHUNKED "0\r\nX: \0\r\n\r\n"), 400},
    {"bare line feed in a trailer", TEXT(CHUNKED "0\r\nX: y\n\r\n"), 400},
    {"too many trailers",
     TEXT(CHUNKED "0\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\n"
                  "a:\r\na:\r\na:\r\n\r\n"),
     431},
};

static void what_is_no_request_is_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        for (size_t piece = 1; piece < 300; piece = piece * 3 + 1) {
            struct http_request request;
            http_request_init(&request, &limits);
            size_t taken;
            enum http_progress progress =
                feed(&request, malformed[i].bytes.data, malformed[i].bytes.length, piece, &taken);
            if (progress != HTTP_MALFORMED || request.status != malformed[i].status) {
                fail_msg("%s (pieces of %zu): expected status %d, got progress %d status %d",
                         malformed[i].name, piece, malformed[i].status, (int)progress,
                         request.status);
            }
            assert_non_null(request.reason);
            http_request_deinit(&request);
        }
    }
}

static const struct {
    struct text bytes;
    enum http_method method;
    const char *path, *host, *body;
    bool keep_alive;
    const char *rest; /* belongs to the next request */
} well_formed[] = {
    {TEXT("GET /health HTTP/1.1\r\nHost: localhost:8080\r\n\r\n"), HTTP_GET, "/health",
     "localhost:8080", "", true, ""},
    {TEXT("\r\nGET / HTTP/1.0\r\n\r\n"), HTTP_GET, "/", "", "", false, ""},
    {TEXT("GET / HTTP/1.0\r\nConnection: x, Keep-Alive\r\n\r\n"), HTTP_GET, "/", "", "", true, ""},
    {TEXT("GET / HTTP/1.1\r\nHost:a\r\nConnection: close\r\n\r\n"), HTTP_GET, "/", "a", "", false,
     ""},
    {TEXT("GET /v1/models/a%2Fb%20c?x=/../ HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP_GET,
     "/v1/models/a/b c", "a", "", true, ""},
    {TEXT("GET http://example.org:80/p?q HTTP/1.1\r\nHost: other\r\n\r\n"), HTTP_GET, "/p",
     "example.org:80", "", true, ""},
    {TEXT("GET http://example.org HTTP/1.1\r\nHost: other\r\n\r\n"), HTTP_GET, "/", "example.org",
     "", true, ""},
    {TEXT("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP_OPTIONS, "*", "a", "", true, ""},
    {TEXT("BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP_OTHER, "/pot", "a", "", true, ""},
    {TEXT("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 003\r\n\r\nabcGET"), HTTP_POST, "/x", "a",
     "abc", true, "GET"},
    {TEXT("POST /x HTTP/1.1\r\nHost: \ta \r\nContent-Length: 0\r\n\r\nX"), HTTP_POST, "/x", "a", "",
     true, "X"},
    {TEXT(CHUNKED "3\r\nabc\r\n1;name=\"v;w\";x\r\n\n\r\n000\r\n\r\nnext"), HTTP_POST, "/", "a",
     "abc\n", true, "next"},
    {TEXT(CHUNKED "A\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n"), HTTP_POST, "/", "a", "0123456789",
     true, ""},
    {TEXT(CHUNKED "0\r\n\r\n"), HTTP_POST, "/", "a", "", true, ""},
};

static void a_request_is_read_however_it_is_cut(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof well_formed / sizeof well_formed[0]; i++) {
        for (size_t piece = 1; piece <= well_formed[i].bytes.length; piece++) {
            struct http_request request;
            http_request_init(&request, &limits);
            size_t taken;
            enum http_progress progress = feed(&request, well_formed[i].bytes.data,
                                               well_formed[i].bytes.length, piece, &taken);
            if (progress != HTTP_COMPLETE) {
                fail_msg("request %zu (pieces of %zu): progress %d, %s", i, piece, (int)progress,
                         request.reason);
            }
            assert_int_equal(request.method, well_formed[i].method);
            assert_string_equal(string_buffer_text(&request.path), well_formed[i].path);
            assert_int_equal(request.host.length, strlen(well_formed[i].host));
            assert_memory_equal(request.host.length == 0 ? "" : request.host.data,
                                well_formed[i].host, request.host.length);
            assert_string_equal(string_buffer_text(&request.body), well_formed[i].body);
            assert_int_equal(request.keep_alive, well_formed[i].keep_alive);
            assert_string_equal(well_formed[i].bytes.data + taken, well_formed[i].rest);
            http_request_deinit(&request);
        }
    }
}

static void a_head_without_end_is_cut_off(void **state) {
    (void)state;
    static const struct {
        const char *start, *more;
        int status;
    } cases[] = {
        {"GET /", "aaaaaaaa", 414},
        {"GET / HTTP/1.1\r\nX: ", "aaaaaaaa", 431},
        {"GET / HTTP/1.1\r\n", "A: b\r\n", 431},
        {CHUNKED "0\r\nX: ", "aaaaaaaa", 431},
        {CHUNKED "1;", "aaaaaaaa", 400},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct http_request request;
        http_request_init(&request, &limits);
        size_t taken;
        enum http_progress progress =
            feed(&request, cases[i].start, strlen(cases[i].start), 64, &taken);
        for (size_t k = 0; progress == HTTP_NEEDS_MORE; k++) {
            assert_true(k < 4096 / 6);
            progress = http_request_feed(&request, cases[i].more, strlen(cases[i].more), &taken);
        }
        assert_int_equal(progress, HTTP_MALFORMED);
        assert_int_equal(request.status, cases[i].status);
        http_request_deinit(&request);
    }
}

static void chunks_add_up_to_the_limit_and_no_further(void **state) {
    (void)state;
    for (size_t chunks = 100; chunks <= 101; chunks++) {
        struct string_buffer bytes = {0};
        string_buffer_append_text(&bytes, CHUNKED);
        for (size_t i = 0; i < chunks; i++) {
            string_buffer_append_text(&bytes, "a\r\n0123456789\r\n");
        }
        string_buffer_append_text(&bytes, "0\r\n\r\n");
        struct http_request request;
        http_request_init(&request, &limits);
        size_t taken;
        enum http_progress progress = feed(&request, bytes.data, bytes.length, 777, &taken);
        assert_int_equal(progress, chunks == 100 ? HTTP_COMPLETE : HTTP_MALFORMED);
        assert_int_equal(request.status, chunks == 100 ? 0 : 413);
        http_request_deinit(&request);
        string_buffer_deinit(&bytes);
    }
}

/* Any bytes: no crash, and never more taken than given. Starts from real requests, so that the
 * later phases are reached. */
static void damaged_requests_do_no_harm(void **state) {
    (void)state;
    struct random_state random;
    random_seed(&random, 7);
    size_t count = sizeof well_formed / sizeof well_formed[0];
    for (size_t round = 0; round < 20000; round++) {
        struct text source = well_formed[random_next(&random) % count].bytes;
        char bytes[256];
        assert_true(source.length <= sizeof bytes);
        memcpy(bytes, source.data, source.length);
        for (size_t k = random_next(&random) % 3; k > 0; k--) {
            bytes[random_next(&random) % source.length] = (char)random_next(&random);
        }
        struct http_request request;
        http_request_init(&request, &limits);
        size_t taken;
        (void)feed(&request, bytes, source.length, 1 + random_next(&random) % 40, &taken);
        assert_true(taken <= source.length);
        http_request_deinit(&request);
    }
}

static void headers_are_found_by_any_case(void **state) {
    (void)state;
    static const char bytes[] = "GET / HTTP/1.1\r\nHOST: a\r\nx-API-key:  k 1 \r\n\r\n";
    struct http_request request;
    http_request_init(&request, &limits);
    size_t taken;
    assert_int_equal(feed(&request, bytes, sizeof bytes - 1, 9, &taken), HTTP_COMPLETE);
    const struct string_view *key = http_request_header(&request, "X-Api-Key");
    assert_non_null(key);
    assert_true(string_view_is(*key, "k 1"));
    assert_null(http_request_header(&request, "X-Api"));
    http_request_deinit(&request);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_request_is_refused),
        cmocka_unit_test(a_request_is_read_however_it_is_cut),
        cmocka_unit_test(a_head_without_end_is_cut_off),
        cmocka_unit_test(chunks_add_up_to_the_limit_and_no_further),
        cmocka_unit_test(damaged_requests_do_no_harm),
        cmocka_unit_test(headers_are_found_by_any_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
