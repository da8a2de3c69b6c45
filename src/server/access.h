/*
 * access.h - who may ask: the API key, the Host a browser was led to, the Origin of a page.
 *
 * Decides; answers nothing. A web page may not drive a server on its visitor's own machine: bound
 * to loopback, a Host name that could have been pointed here by others is refused (DNS rebinding),
 * and so is a request from a page that is neither local nor named in the configuration, because its
 * body would be taken whatever its Content-Type. Pure; any thread.
 */
#ifndef MISTRAL_SERVER_ACCESS_H
#define MISTRAL_SERVER_ACCESS_H

#include "server/http_request.h"

#include <stdbool.h>
#include <stddef.h>

struct access_rules {
    const char *api_key;                /* NULL or empty: none is asked for */
    const char *const *allowed_origins; /* [allowed_origin_count]: "https://chat.example", or "*" */
    size_t allowed_origin_count;
    bool is_loopback; /* bound to an address of this machine alone */
};

/* "Authorization: Bearer KEY" or "X-Api-Key: KEY", compared in time that does not depend on where
 * they differ. True when no key is asked for. */
bool access_has_key(const struct access_rules *rules, const struct http_request *request);
bool access_sends_a_key(const struct http_request *request); /* any at all */

/* True when not bound to loopback, or the Host is this machine's: localhost, *.localhost,
 * *.internal (a container's name for its host), a loopback address, or an allowed origin's host. */
bool access_trusts_host(const struct access_rules *rules, const struct http_request *request);

/* True without an Origin header; for pages of this machine, of this server, of the configured
 * origins; and for app://, file://, tauri:// and vscode-webview://. */
bool access_allows_origin(const struct access_rules *rules, const struct http_request *request);

#endif
