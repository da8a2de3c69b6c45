/* test_access.c - whose requests are let in: keys, Host names, Origins. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/access.h"

#include <stdio.h>
#include <string.h>

static const struct http_limits limits = {
    .max_head_bytes = 4096, .max_header_count = 20, .max_body_bytes = 0};

/* A GET with this Host and these further header lines. */
static void make_request(struct http_request *request, const char *host, const char *headers) {
    char bytes[2048];
    int length =
        snprintf(bytes, sizeof bytes, "GET / HTTP/1.1\r\nHost: %s\r\n%s\r\n", host, headers);
    size_t consumed;
    http_request_init(request, &limits);
    assert_int_equal(http_request_feed(request, bytes, (size_t)length, &consumed),
                     HTTP_HEAD_COMPLETE);
}

static void a_key_must_match_in_full(void **state) {
    (void)state;
    static const struct {
        const char *headers;
        bool accepted;
    } cases[] = {
        {"Authorization: Bearer secret\r\n", true},
        {"authorization: bEaReR   secret\r\n", true},
        {"X-Api-Key: secret\r\n", true},
        {"X-Api-Key: wrong\r\nAuthorization: Bearer secret\r\n", true},
        {"", false},
        {"X-Api-Key:\r\n", false},
        {"X-Api-Key: secre\r\n", false},
        {"X-Api-Key: secrets\r\n", false},
        {"X-Api-Key: secretsecret\r\n", false},
        {"X-Api-Key: Secret\r\n", false},
        {"Authorization: secret\r\n", false},
        {"Authorization: Basic secret\r\n", false},
        {"Authorization: Bearer\r\n", false},
        {"Authorization: Bearer secret x\r\n", false},
    };
    const struct access_rules rules = {.api_key = "secret"};
    const struct access_rules open = {.api_key = ""};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct http_request request;
        make_request(&request, "localhost", cases[i].headers);
        if (access_has_key(&rules, &request) != cases[i].accepted) {
            fail_msg("'%s' should be %s", cases[i].headers,
                     cases[i].accepted ? "accepted" : "refused");
        }
        assert_true(access_has_key(&open, &request));
        http_request_deinit(&request);
    }
}

static const char *const origins[] = {"https://chat.example:8443", "http://plain.example"};

static void a_foreign_host_is_refused_on_loopback(void **state) {
    (void)state;
    static const struct {
        const char *host;
        bool trusted;
    } cases[] = {
        {"localhost", true},
        {"LOCALHOST:8080", true},
        {"app.localhost:1", true},
        {"127.0.0.1:8080", true},
        {"127.9.9.9", true},
        {"0.0.0.0:8080", true},
        {"[::1]:8080", true},
        {"[::1]", true},
        {"host.docker.internal:8080", true},
        {"chat.example", true},
        {"plain.example:80", true},
        {"evil.example", false},
        {"localhost.evil.example", false},
        {"notlocalhost", false},
        {"127.0.0.1.evil.example", false},
        {"192.168.1.7:8080", false},
        {"[::2]:8080", false},
        {"internal", false},
        {"[", false},
    };
    struct access_rules rules = {
        .allowed_origins = origins, .allowed_origin_count = 2, .is_loopback = true};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct http_request request;
        make_request(&request, cases[i].host, "");
        rules.is_loopback = true;
        if (access_trusts_host(&rules, &request) != cases[i].trusted) {
            fail_msg("Host '%s' should be %s", cases[i].host,
                     cases[i].trusted ? "trusted" : "refused");
        }
        rules.is_loopback = false;
        assert_true(access_trusts_host(&rules, &request));
        http_request_deinit(&request);
    }
}

static void only_local_and_configured_pages_may_ask(void **state) {
    (void)state;
    static const struct {
        const char *header;
        bool allowed;
    } cases[] = {
        {"", true},
        {"Origin: http://localhost\r\n", true},
        {"Origin: https://localhost:3000\r\n", true},
        {"Origin: http://127.0.0.1:5173\r\n", true},
        {"Origin: http://0.0.0.0:1\r\n", true},
        {"Origin: http://[::1]:1\r\n", true},
        {"Origin: app://obsidian.md\r\n", true},
        {"Origin: file://\r\n", true},
        {"Origin: tauri://localhost\r\n", true},
        {"Origin: vscode-webview://0abc\r\n", true},
        {"Origin: https://chat.example:8443\r\n", true},
        {"Origin: http://plain.example\r\n", true},
        {"Origin: http://192.168.1.7:8080\r\n", true}, /* the Host itself: our own page */
        {"Origin: https://chat.example\r\n", false},
        {"Origin: http://192.168.1.7\r\n", false},
        {"Origin: https://plain.example\r\n", false},
        {"Origin: http://localhost.evil.example\r\n", false},
        {"Origin: http://evil.example/localhost\r\n", false},
        {"Origin: null\r\n", false},
        {"Origin:\r\n", false},
        {"Origin: ftp://localhost\r\n", false},
        {"Origin: localhost\r\n", false},
    };
    static const char *const anything[] = {"*"};
    const struct access_rules rules = {.allowed_origins = origins, .allowed_origin_count = 2};
    const struct access_rules open = {.allowed_origins = anything, .allowed_origin_count = 1};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct http_request request;
        make_request(&request, "192.168.1.7:8080", cases[i].header);
        if (access_allows_origin(&rules, &request) != cases[i].allowed) {
            fail_msg("'%s' should be %s", cases[i].header,
                     cases[i].allowed ? "allowed" : "refused");
        }
        assert_true(access_allows_origin(&open, &request));
        http_request_deinit(&request);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_must_match_in_full),
        cmocka_unit_test(a_foreign_host_is_refused_on_loopback),
        cmocka_unit_test(only_local_and_configured_pages_may_ask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
