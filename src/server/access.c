/* access.c - see access.h. */
#include "server/access.h"

#include "base/bytes.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

/* --- the key --- */

static bool equals_in_constant_time(struct string_view given, const char *key) {
    size_t key_length = strlen(key);
    volatile size_t difference = given.length ^ key_length;
    for (size_t i = 0; i < given.length; i++) {
        difference |= (unsigned char)(given.data[i] ^ key[i % key_length]);
    }
    return difference == 0;
}

static bool starts_with(struct string_view view, const char *prefix) {
    size_t length = strlen(prefix);
    return view.length >= length && strncasecmp(view.data, prefix, length) == 0;
}

static struct string_view skip(struct string_view view, size_t count) {
    return (struct string_view){view.data + count, view.length - count};
}

bool access_sends_a_key(const struct http_request *request) {
    return http_request_header(request, "Authorization") != NULL ||
           http_request_header(request, "X-Api-Key") != NULL;
}

bool access_has_key(const struct access_rules *rules, const struct http_request *request) {
    if (rules->api_key == NULL || rules->api_key[0] == '\0') {
        return true;
    }
    const struct string_view *plain = http_request_header(request, "X-Api-Key");
    if (plain != NULL && equals_in_constant_time(*plain, rules->api_key)) {
        return true;
    }
    const struct string_view *authorization = http_request_header(request, "Authorization");
    if (authorization == NULL || !starts_with(*authorization, "Bearer ")) {
        return false;
    }
    struct string_view token = skip(*authorization, strlen("Bearer "));
    while (token.length != 0 && token.data[0] == ' ') {
        token = skip(token, 1);
    }
    return equals_in_constant_time(token, rules->api_key);
}

/* --- hosts and origins --- */

static bool equals_ignoring_case(struct string_view a, struct string_view b) {
    return a.length == b.length && strncasecmp(a.data, b.data, a.length) == 0;
}

static bool ends_with(struct string_view view, const char *suffix) {
    size_t length = strlen(suffix);
    return view.length >= length &&
           strncasecmp(view.data + view.length - length, suffix, length) == 0;
}

/* "localhost:8080" → "localhost", "[::1]:80" → "[::1]". */
static struct string_view without_port(struct string_view authority) {
    const char *bracket =
        authority.length == 0 ? NULL : memchr(authority.data, ']', authority.length);
    size_t from = bracket == NULL ? 0 : (size_t)(bracket - authority.data);
    for (size_t i = from; i < authority.length; i++) {
        if (authority.data[i] == ':') {
            return (struct string_view){authority.data, i};
        }
    }
    return authority;
}

/* "https://chat.example:8443" → "chat.example:8443"; without a scheme, the text itself. */
static struct string_view authority_of(struct string_view origin) {
    for (size_t i = 0; i + 3 <= origin.length; i++) {
        if (memcmp(origin.data + i, "://", 3) == 0) {
            return skip(origin, i + 3);
        }
    }
    return origin;
}

static bool is_loopback_address(struct string_view host) {
    char text[64];
    if (host.length >= 2 && host.data[0] == '[' && host.data[host.length - 1] == ']') {
        host = (struct string_view){host.data + 1, host.length - 2};
    }
    if (host.length == 0 || host.length >= sizeof text) {
        return false;
    }
    memcpy(text, host.data, host.length);
    text[host.length] = '\0';
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, text, &v4) == 1) {
        return ntohl(v4.s_addr) >> 24 == 127 || v4.s_addr == 0; /* 0.0.0.0: "this host" */
    }
    return inet_pton(AF_INET6, text, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static bool is_local_name(struct string_view host) {
    return equals_ignoring_case(host, string_view_of("localhost")) ||
           ends_with(host, ".localhost") || is_loopback_address(host);
}

bool access_trusts_host(const struct access_rules *rules, const struct http_request *request) {
    struct string_view host = without_port(request->host);
    if (!rules->is_loopback || host.length == 0 || is_local_name(host) ||
        ends_with(host, ".internal")) {
        return true;
    }
    for (size_t i = 0; i < rules->allowed_origin_count; i++) {
        struct string_view origin = string_view_of(rules->allowed_origins[i]);
        if (equals_ignoring_case(host, without_port(authority_of(origin)))) {
            return true;
        }
    }
    return false;
}

bool access_allows_origin(const struct access_rules *rules, const struct http_request *request) {
    static const char *const application_schemes[] = {"app://", "file://", "tauri://",
                                                      "vscode-webview://"};
    const struct string_view *origin = http_request_header(request, "Origin");
    if (origin == NULL) {
        return true;
    }
    for (size_t i = 0; i < rules->allowed_origin_count; i++) {
        struct string_view allowed = string_view_of(rules->allowed_origins[i]);
        if (string_view_is(allowed, "*") || equals_ignoring_case(*origin, allowed)) {
            return true;
        }
    }
    for (size_t i = 0; i < sizeof application_schemes / sizeof application_schemes[0]; i++) {
        if (starts_with(*origin, application_schemes[i])) {
            return true;
        }
    }
    if (!starts_with(*origin, "http://") && !starts_with(*origin, "https://")) {
        return false;
    }
    struct string_view authority = authority_of(*origin);
    return is_local_name(without_port(authority)) || equals_ignoring_case(authority, request->host);
}
