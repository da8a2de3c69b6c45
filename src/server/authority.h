/*
 * authority.h - the "host:port" of a Host header or an Origin, read strictly.
 *
 * One reader for whatever decides about a name: what is spelled in a way no browser writes (user
 * information, a path, an empty label, an address in octal) is no authority, and so trusted by
 * nobody. Pure; any thread.
 */
#ifndef MISTRAL_SERVER_AUTHORITY_H
#define MISTRAL_SERVER_AUTHORITY_H

#include "base/string_view.h"

#include <stdbool.h>

enum { AUTHORITY_NAME_BYTES = 254 };

struct authority {
    bool is_address;
    unsigned char address[16];       /* IPv6; IPv4 as ::ffff:a.b.c.d */
    char name[AUTHORITY_NAME_BYTES]; /* in lower case, without a last dot; "" for an address */
    int port;                        /* -1: none was given */
};

/* "name", "name:80", "192.168.1.7:80", "[::1]:80". Names are of letters, digits, - and _, in labels
 * of 1 to 63 bytes, and the last label is no number. False for everything else. */
bool authority_parse(struct string_view text, struct authority *authority);

/* "http://name:80", nothing behind it. *default_port is the scheme's. */
bool authority_parse_origin(struct string_view origin, struct authority *authority,
                            int *default_port);

bool authority_same_host(const struct authority *a, const struct authority *b);

/* localhost, *.localhost, 127.0.0.0/8, ::1, and 0.0.0.0, which browsers take for this machine. */
bool authority_is_loopback(const struct authority *authority);

#endif
