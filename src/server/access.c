/* access.c - see access.h. */
#include "server/access.h"

#include "server/authority.h"

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

static bool asks_for_a_key(const struct access_rules *rules) {
    return rules->api_key != NULL && rules->api_key[0] != '\0';
}

bool access_has_key(const struct access_rules *rules, const struct http_request *request) {
    if (!asks_for_a_key(rules)) {
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

static bool is_same_host(const struct authority *host, const char *text) {
    struct authority other;
    return authority_parse(string_view_of(text), &other) && authority_same_host(host, &other);
}

/* "box.lan": box.lan, box, box.local. */
static bool is_own_name(const char *own_name, const struct authority *host) {
    struct authority own;
    if (own_name == NULL || host->is_address || !authority_parse(string_view_of(own_name), &own) ||
        own.is_address) {
        return false;
    }
    size_t length = strcspn(own.name, ".");
    const char *rest = host->name + length;
    return strcmp(host->name, own.name) == 0 || (strncmp(host->name, own.name, length) == 0 &&
                                                 (rest[0] == '\0' || strcmp(rest, ".local") == 0));
}

static bool is_named_host(const struct access_rules *rules, const struct authority *host) {
    for (size_t i = 0; i < rules->allowed_host_count; i++) {
        if (is_same_host(host, rules->allowed_hosts[i])) {
            return true;
        }
    }
    for (size_t i = 0; i < rules->allowed_origin_count; i++) {
        struct authority origin;
        int port;
        if (authority_parse_origin(string_view_of(rules->allowed_origins[i]), &origin, &port) &&
            authority_same_host(host, &origin)) {
            return true;
        }
    }
    return false;
}

static bool trusts(const struct access_rules *rules, struct string_view text,
                   const char *local_address) {
    struct authority host;
    return authority_parse(text, &host) &&
           (authority_is_loopback(&host) ||
            (host.is_address && is_same_host(&host, local_address)) ||
            is_own_name(rules->own_name, &host) || is_named_host(rules, &host));
}

bool access_trusts_host(const struct access_rules *rules, const struct http_request *request,
                        const char *local_address) {
    if (asks_for_a_key(rules) && !rules->is_loopback) {
        return true;
    }
    /* A target with an authority of its own hides the header's: both are looked at. */
    const struct string_view *header = http_request_header(request, "Host");
    if (request->host.length == 0 && request->is_http_1_0) {
        return true;
    }
    return trusts(rules, request->host, local_address) &&
           (header == NULL || trusts(rules, *header, local_address));
}

bool access_is_host(const char *text) {
    struct authority host;
    return authority_parse(string_view_of(text), &host) && host.port < 0;
}

/* The server's own page: the Origin is the Host, whose port may be left out where it is the
 * scheme's. */
static bool is_own_page(const struct authority *page, int default_port,
                        const struct http_request *request) {
    struct authority host;
    if (!authority_parse(request->host, &host) || !authority_same_host(page, &host)) {
        return false;
    }
    return (page->port < 0 ? default_port : page->port) ==
           (host.port < 0 ? default_port : host.port);
}

bool access_allows_origin(const struct access_rules *rules, const struct http_request *request,
                          const char *local_address) {
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
    struct authority page;
    int default_port;
    if (!authority_parse_origin(*origin, &page, &default_port)) {
        return false;
    }
    return authority_is_loopback(&page) || (is_own_page(&page, default_port, request) &&
                                            access_trusts_host(rules, request, local_address));
}
