/* test_access.c - whose requests are let in: keys, Host names, Origins. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/access.h"
#include "server/authority.h"

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
static const char *const hosts[] = {"named.example", "mistral", "192.0.2.7"};

enum { UNREADABLE = -2 };

static void an_authority_is_read_strictly(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int port; /* UNREADABLE: refused */
        const char *name;
    } cases[] = {
        {"a", -1, "a"},
        {"A.Example", -1, "a.example"},
        {"a.example.", -1, "a.example"},
        {"a_b-c.example:80", 80, "a_b-c.example"},
        {"1a.example:65535", 65535, "1a.example"},
        {"a.1b", -1, "a.1b"},
        {"127.0.0.1:1", 1, ""},
        {"[::1]:1", 1, ""},
        {"[::ffff:10.0.0.1]", -1, ""},
        {"", UNREADABLE, NULL},
        {".", UNREADABLE, NULL},
        {"..", UNREADABLE, NULL},
        {".a", UNREADABLE, NULL},
        {"a..b", UNREADABLE, NULL},
        {"a..", UNREADABLE, NULL},
        {":80", UNREADABLE, NULL},
        {"a:", UNREADABLE, NULL},
        {"a:80:80", UNREADABLE, NULL},
        {"a:+1", UNREADABLE, NULL},
        {"a:1x", UNREADABLE, NULL},
        {"a:65536", UNREADABLE, NULL},
        {"a:000080", UNREADABLE, NULL},
        {"a b", UNREADABLE, NULL},
        {"a@b", UNREADABLE, NULL},
        {"a/b", UNREADABLE, NULL},
        {"a\\b", UNREADABLE, NULL},
        {"a?b", UNREADABLE, NULL},
        {"a#b", UNREADABLE, NULL},
        {"a%2eb", UNREADABLE, NULL},
        {"a*", UNREADABLE, NULL},
        {"a\tb", UNREADABLE, NULL},
        {"\xc3\xa4.example", UNREADABLE, NULL},
        {"127.1", UNREADABLE, NULL},
        {"2130706433", UNREADABLE, NULL},
        {"0x7f.0.0.1", UNREADABLE, NULL},
        {"0x7f000001", UNREADABLE, NULL},
        {"0177.0.0.1", UNREADABLE, NULL},
        {"127.0.0.1.", UNREADABLE, NULL},
        {"127.0.0.256", UNREADABLE, NULL},
        {"127.0.0.1.1", UNREADABLE, NULL},
        {"evil.0x1", UNREADABLE, NULL},
        {"[", UNREADABLE, NULL},
        {"[]", UNREADABLE, NULL},
        {"[::1", UNREADABLE, NULL},
        {"[::1]a", UNREADABLE, NULL},
        {"[::1]]", UNREADABLE, NULL},
        {"[::1%25lo]", UNREADABLE, NULL},
        {"[localhost]", UNREADABLE, NULL},
        {"[127.0.0.1]", UNREADABLE, NULL},
        {"::1", UNREADABLE, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct authority read;
        bool is_readable = authority_parse(string_view_of(cases[i].text), &read);
        if (is_readable != (cases[i].port != UNREADABLE) ||
            (is_readable &&
             (read.port != cases[i].port || strcmp(read.name, cases[i].name) != 0))) {
            fail_msg("'%s' was %s: '%s', port %d", cases[i].text, is_readable ? "read" : "refused",
                     read.name, read.port);
        }
    }
    char label[70];
    memset(label, 'a', sizeof label);
    struct authority read;
    assert_true(authority_parse((struct string_view){label, 63}, &read));
    assert_false(authority_parse((struct string_view){label, 64}, &read));
    char name[300];
    for (size_t i = 0; i < sizeof name; i++) {
        name[i] = i % 2 == 0 ? 'a' : '.';
    }
    assert_true(authority_parse((struct string_view){name, 253}, &read));
    assert_false(authority_parse((struct string_view){name, 255}, &read));
}

static void only_a_listed_host_is_trusted_without_a_key(void **state) {
    (void)state;
    static const struct {
        const char *host;
        bool trusted;
    } cases[] = {
        {"localhost", true},
        {"LOCALHOST:8080", true},
        {"localhost.", true},
        {"app.localhost:1", true},
        {"127.0.0.1:8080", true},
        {"127.9.9.9", true},
        {"0.0.0.0:8080", true},
        {"[::1]:8080", true},
        {"[::1]", true},
        {"[::ffff:127.0.0.1]:1", true},
        {"192.168.1.7:8080", true}, /* the address that was reached */
        {"[::ffff:192.168.1.7]", true},
        {"box.lan:8080", true},
        {"BOX", true},
        {"box.local", true},
        {"named.example:8080", true},
        {"mistral:8080", true},
        {"192.0.2.7", true},
        {"chat.example", true},
        {"plain.example:80", true},
        {"host.docker.internal:8080", false},
        {"evil.internal", false},
        {"internal", false},
        {"evil.example", false},
        {"evil.example:8080", false},
        {"localhost.evil.example", false},
        {"localhost.evil.example.", false},
        {"notlocalhost", false},
        {".localhost", false},
        {"evil..localhost", false},
        {"localhost..", false},
        {"localhost:", false},
        {"localhost:80:80", false},
        {"127.0.0.1.evil.example", false},
        {"127.1", false},
        {"0x7f.1", false},
        {"0", false},
        {"192.168.1.8:8080", false},
        {"named.example.evil.example", false},
        {"evil.named.example", false},
        {"box.evil", false},
        {"boxes", false},
        {"box.lan.evil", false},
        {"bo", false},
        {"[::2]:8080", false},
        {"[", false},
        {"", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct http_request request;
        make_request(&request, cases[i].host, "");
        for (int is_loopback = 0; is_loopback < 2; is_loopback++) {
            const struct access_rules rules = {.allowed_origins = origins,
                                               .allowed_origin_count = 2,
                                               .allowed_hosts = hosts,
                                               .allowed_host_count = 3,
                                               .own_name = "Box.lan",
                                               .is_loopback = is_loopback != 0};
            if (access_trusts_host(&rules, &request, "192.168.1.7") != cases[i].trusted) {
                fail_msg("Host '%s' should be %s", cases[i].host,
                         cases[i].trusted ? "trusted" : "refused");
            }
        }
        const struct access_rules with_key = {.api_key = "secret"};
        assert_true(access_trusts_host(&with_key, &request, ""));
        http_request_deinit(&request);
    }
}

static void a_target_with_a_host_hides_no_other(void **state) {
    (void)state;
    static const struct {
        const char *request;
        bool trusted;
    } cases[] = {
        {"GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n", true},
        {"GET http://localhost/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", false},
        {"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n", false},
        {"GET / HTTP/1.0\r\n\r\n", true},
        {"GET / HTTP/1.0\r\nHost: evil.example\r\n\r\n", false},
    };
    const struct access_rules rules = {.own_name = ""};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct http_request request;
        size_t consumed;
        http_request_init(&request, &limits);
        assert_int_equal(
            http_request_feed(&request, cases[i].request, strlen(cases[i].request), &consumed),
            HTTP_HEAD_COMPLETE);
        if (access_trusts_host(&rules, &request, "") != cases[i].trusted) {
            fail_msg("%s should be %s", cases[i].request, cases[i].trusted ? "trusted" : "refused");
        }
        http_request_deinit(&request);
    }
}

static void a_page_of_an_untrusted_host_is_not_our_own(void **state) {
    (void)state;
    static const struct {
        const char *host, *headers;
        bool allowed;
    } cases[] = {
        {"evil.example:8080", "Origin: http://evil.example:8080\r\n", false},
        {"evil.example", "Origin: http://evil.example\r\n", false},
        {"10.0.0.9:8080", "Origin: http://10.0.0.9:8080\r\n", false},
        {"box:8080", "Origin: http://box:8080\r\n", true},
        {"box", "Origin: http://box:80\r\n", true},
        {"box", "Origin: https://box\r\n", true},
        {"box:8080", "Origin: http://box\r\n", false},
        {"192.168.1.7:8080", "Origin: http://192.168.1.7:8080\r\n", true},
    };
    const struct access_rules rules = {.own_name = "box"};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct http_request request;
        make_request(&request, cases[i].host, cases[i].headers);
        if (access_allows_origin(&rules, &request, "192.168.1.7") != cases[i].allowed) {
            fail_msg("%s: '%s' should be %s", cases[i].host, cases[i].headers,
                     cases[i].allowed ? "allowed" : "refused");
        }
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
        {"Origin: http://evil.com/.localhost\r\n", false},
        {"Origin: http://evil.com?.localhost\r\n", false},
        {"Origin: http://evil.com#.localhost\r\n", false},
        {"Origin: http://evil.com\\.localhost\r\n", false},
        {"Origin: https://127.0.0.1:1@evil\r\n", false},
        {"Origin: https://127.0.0.1@evil\r\n", false},
        {"Origin: https://evil@localhost\r\n", false},
        {"Origin: http://localhost/\r\n", false},
        {"Origin: http://localhost:1/x\r\n", false},
        {"Origin: http://localhost, http://evil.example\r\n", false},
        {"Origin: http://evil.example http://localhost\r\n", false},
        {"Origin: http://http://localhost\r\n", false},
        {"Origin: http:///localhost\r\n", false},
        {"Origin: http://.localhost\r\n", false},
        {"Origin: http://localhost:99999\r\n", false},
        {"Origin: http://localhost:80:80\r\n", false},
        {"Origin: http://[::1]evil\r\n", false},
        {"Origin: http://[::1].evil.example\r\n", false},
        {"Origin: http://127.1\r\n", false},
        {"Origin: http://\r\n", false},
        {"Origin: http://host.docker.internal\r\n", false},
    };
    static const char *const anything[] = {"*"};
    const struct access_rules rules = {.allowed_origins = origins, .allowed_origin_count = 2};
    const char *const here = "192.168.1.7";
    const struct access_rules open = {.allowed_origins = anything, .allowed_origin_count = 1};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct http_request request;
        make_request(&request, "192.168.1.7:8080", cases[i].header);
        if (access_allows_origin(&rules, &request, here) != cases[i].allowed) {
            fail_msg("'%s' should be %s", cases[i].header,
                     cases[i].allowed ? "allowed" : "refused");
        }
        assert_true(access_allows_origin(&open, &request, here));
        http_request_deinit(&request);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_must_match_in_full),
        cmocka_unit_test(an_authority_is_read_strictly),
        cmocka_unit_test(only_a_listed_host_is_trusted_without_a_key),
        cmocka_unit_test(a_target_with_a_host_hides_no_other),
        cmocka_unit_test(a_page_of_an_untrusted_host_is_not_our_own),
        cmocka_unit_test(only_local_and_configured_pages_may_ask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
