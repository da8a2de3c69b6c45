/*
 * access.h - who may ask: the API key, the Host a browser was led to, the Origin of a page.
 *
 * Decides; answers nothing. A web page may not drive a server on its visitor's own machine or
 * network: where no key keeps it out, or only this machine can reach the server, a Host name that
 * could have been pointed here by others is refused (DNS rebinding), and so is a request from a
 * page that is neither local nor named in the configuration, because its body would be taken
 * whatever its Content-Type. Pure; any thread.
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
    const char *const *allowed_hosts; /* [allowed_host_count]: "chat.example", without a port */
    size_t allowed_host_count;
    const char *own_name; /* this machine's; NULL: none */
    bool is_loopback;     /* bound to an address of this machine alone */
};

/* "Authorization: Bearer KEY" or "X-Api-Key: KEY", compared in time that does not depend on where
 * they differ. True when no key is asked for. */
bool access_has_key(const struct access_rules *rules, const struct http_request *request);
bool access_sends_a_key(const struct http_request *request); /* any at all */

/* True where the Host is not looked at (there is a key, and other machines reach the server), for a
 * request without a Host (HTTP/1.0), and when it is one of these, on any port: localhost,
 * *.localhost, a loopback address, `local_address` (the one the client reached, as text; may be
 * empty), this machine's name (its first part, too, and that with .local), an allowed host, or an
 * allowed origin's host. */
bool access_trusts_host(const struct access_rules *rules, const struct http_request *request,
                        const char *local_address);

/* True without an Origin header; for pages of this machine, of this server under a Host that is
 * trusted, of the configured origins; and for app://, file://, tauri:// and vscode-webview://. */
bool access_allows_origin(const struct access_rules *rules, const struct http_request *request,
                          const char *local_address);

/* Whether it can be one of allowed_hosts. */
bool access_is_host(const char *text);

#endif
