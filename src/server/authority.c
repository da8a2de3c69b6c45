/* authority.c - see authority.h. */
#include "server/authority.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

enum { LABEL_BYTES = 63, PORT_DIGITS = 5, MOST_PORT = 65535 };

static const unsigned char v4_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static bool is_digit(char byte) {
    return byte >= '0' && byte <= '9';
}

static char lower(char byte) {
    return byte >= 'A' && byte <= 'Z' ? (char)(byte + ('a' - 'A')) : byte;
}

static bool is_label_byte(char byte) {
    return is_digit(byte) || (byte >= 'a' && byte <= 'z') || byte == '-' || byte == '_';
}

/* ":80" → 80. */
static bool read_port(struct string_view text, int *port) {
    if (text.length < 2 || text.length > 1 + PORT_DIGITS || text.data[0] != ':') {
        return false;
    }
    int value = 0;
    for (size_t i = 1; i < text.length; i++) {
        if (!is_digit(text.data[i])) {
            return false;
        }
        value = value * 10 + (text.data[i] - '0');
    }
    *port = value;
    return value <= MOST_PORT;
}

/* A number where a top-level domain would be: browsers read the whole as an address. */
static bool ends_in_number(const char *name) {
    const char *dot = strrchr(name, '.');
    const char *label = dot == NULL ? name : dot + 1;
    return label[strspn(label, "0123456789")] == '\0' || strncmp(label, "0x", 2) == 0;
}

static bool read_name(struct string_view text, struct authority *authority) {
    if (text.length > 1 && text.data[text.length - 1] == '.') {
        text.length--; /* the root's */
    }
    if (text.length == 0 || text.length >= sizeof authority->name) {
        return false;
    }
    size_t label = 0;
    for (size_t i = 0; i < text.length; i++) {
        char byte = lower(text.data[i]);
        if (byte == '.' ? label == 0 : !is_label_byte(byte) || label == LABEL_BYTES) {
            return false;
        }
        label = byte == '.' ? 0 : label + 1;
        authority->name[i] = byte;
    }
    return label != 0 && !ends_in_number(authority->name);
}

static bool read_v4(struct string_view text, struct authority *authority) {
    char copy[INET_ADDRSTRLEN];
    if (text.length == 0 || text.length >= sizeof copy) {
        return false;
    }
    memcpy(copy, text.data, text.length);
    copy[text.length] = '\0';
    struct in_addr v4;
    if (strlen(copy) != text.length || inet_pton(AF_INET, copy, &v4) != 1) {
        return false;
    }
    memcpy(authority->address, v4_prefix, sizeof v4_prefix);
    memcpy(authority->address + sizeof v4_prefix, &v4, sizeof v4);
    authority->is_address = true;
    return true;
}

/* Without its brackets. */
static bool read_v6(struct string_view text, struct authority *authority) {
    char copy[INET6_ADDRSTRLEN];
    if (text.length == 0 || text.length >= sizeof copy) {
        return false;
    }
    memcpy(copy, text.data, text.length);
    copy[text.length] = '\0';
    authority->is_address = true;
    return strlen(copy) == text.length && inet_pton(AF_INET6, copy, authority->address) == 1;
}

bool authority_parse(struct string_view text, struct authority *authority) {
    *authority = (struct authority){.port = -1};
    size_t end = 0;
    bool is_v6 = text.length != 0 && text.data[0] == '[';
    while (end < text.length && text.data[end] != (is_v6 ? ']' : ':')) {
        end++;
    }
    struct string_view host = {text.data, end};
    if (is_v6) {
        if (end == text.length) {
            return false;
        }
        host = (struct string_view){text.data + 1, end - 1};
        end++;
    }
    struct string_view rest = {text.data + end, text.length - end};
    if (rest.length != 0 && !read_port(rest, &authority->port)) {
        return false;
    }
    return is_v6 ? read_v6(host, authority)
                 : read_v4(host, authority) || read_name(host, authority);
}

bool authority_parse_origin(struct string_view origin, struct authority *authority,
                            int *default_port) {
    static const struct {
        const char *prefix;
        int port;
    } schemes[] = {{"http://", 80}, {"https://", 443}};
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        size_t length = strlen(schemes[i].prefix);
        if (origin.length > length && strncasecmp(origin.data, schemes[i].prefix, length) == 0) {
            *default_port = schemes[i].port;
            return authority_parse(
                (struct string_view){origin.data + length, origin.length - length}, authority);
        }
    }
    return false;
}

bool authority_same_host(const struct authority *a, const struct authority *b) {
    return a->is_address == b->is_address &&
           (a->is_address ? memcmp(a->address, b->address, sizeof a->address) == 0
                          : strcmp(a->name, b->name) == 0);
}

static bool is_loopback_address(const unsigned char *address) {
    static const unsigned char v6_loopback[16] = {[15] = 1};
    static const unsigned char v4_any[4] = {0};
    if (memcmp(address, v4_prefix, sizeof v4_prefix) != 0) {
        return memcmp(address, v6_loopback, sizeof v6_loopback) == 0;
    }
    return address[12] == 127 || memcmp(address + 12, v4_any, sizeof v4_any) == 0;
}

bool authority_is_loopback(const struct authority *authority) {
    static const char suffix[] = ".localhost";
    if (authority->is_address) {
        return is_loopback_address(authority->address);
    }
    size_t length = strlen(authority->name);
    return strcmp(authority->name, suffix + 1) == 0 ||
           (length >= sizeof suffix &&
            strcmp(authority->name + length - (sizeof suffix - 1), suffix) == 0);
}
