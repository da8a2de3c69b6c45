/*
 * health.c - mistral health: asks a running server whether it answers, as a container's health
 * check does. Reads the settings that serve reads, so that the same files and environment find it.
 * Speaks one HTTP request over a plain socket: no library, nothing the image would need beside it.
 */
#include "cli/cli.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { WAIT_SECONDS = 5 };

static const struct argument_option option_table[] = {{0}};

/* An address that listens on everything is asked on this machine. */
static const char *address_to_ask(const char *host) {
    if (strcmp(host, "0.0.0.0") == 0) {
        return "127.0.0.1";
    }
    return strcmp(host, "::") == 0 ? "::1" : host;
}

static bool is_healthy(int connection) {
    static const char request[] =
        "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    static const char wanted[] = "HTTP/1.1 200 ";
    char answer[sizeof wanted] = "";
    size_t have = 0;
    if (send(connection, request, sizeof request - 1, 0) != (ssize_t)(sizeof request - 1)) {
        return false;
    }
    while (have < sizeof wanted - 1) {
        ssize_t got = recv(connection, answer + have, sizeof wanted - 1 - have, 0);
        if (got <= 0) {
            return false;
        }
        have += (size_t)got;
    }
    return memcmp(answer, wanted, sizeof wanted - 1) == 0;
}

/* 0: healthy; else an errno, EPROTO for an answer that is none. */
static int ask(const struct addrinfo *address) {
    const struct timeval wait = {.tv_sec = WAIT_SECONDS};
    int connection = socket(address->ai_family, address->ai_socktype, address->ai_protocol);
    if (connection < 0) {
        return errno;
    }
    int problem = 0;
    if (setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) != 0 ||
        setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait) != 0 ||
        connect(connection, address->ai_addr, address->ai_addrlen) != 0) {
        problem = errno;
    } else if (!is_healthy(connection)) {
        problem = EPROTO;
    }
    close(connection);
    return problem;
}

static bool health(struct cli *cli, struct error *error) {
    const char *host = address_to_ask(cli->config.host);
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *addresses = NULL;
    char port[12];
    snprintf(port, sizeof port, "%d", (int)cli->config.port);
    int failure = getaddrinfo(host, port, &hints, &addresses);
    if (failure != 0) {
        return error_set(error, ERROR_NETWORK, "%s: %s", host, gai_strerror(failure));
    }
    int problem = 0;
    for (const struct addrinfo *each = addresses; each != NULL; each = each->ai_next) {
        problem = ask(each);
        if (problem == 0) {
            break;
        }
    }
    freeaddrinfo(addresses);
    if (problem == EPROTO) {
        return error_set(error, ERROR_NETWORK, "what answers on %s:%s is no healthy mistral", host,
                         port);
    }
    if (problem != 0) {
        return error_set_errno(error, problem, "no server answers on %s:%s", host, port) ||
               (error->code = ERROR_NETWORK, false);
    }
    printf("healthy: http://%s:%s\n", host, port);
    return true;
}

const struct cli_command cli_health_command = {
    .name = "health",
    .usage = "",
    .summary = "ask whether the server that serve would start is running and answers",
    .details = "Exit code 0: it does. 4: it does not.\n",
    .reader = READ_BY_ASK,
    .minimum_operands = 0,
    .maximum_operands = 0,
    .options = option_table,
    .run = health,
};
