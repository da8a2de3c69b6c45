/* http_server.c - see http_server.h. What is listened on; who is let in is in
 * http_places.c, what is said then in http_connection.c. */
#include "server/http_server.h"

#include "base/clock.h"
#include "base/log.h"
#include "server/http_connection.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    LISTEN_BACKLOG = 1024,
    ACCEPTED_AT_ONCE = 32, /* then those are read from: fewer than there are spare places */
};

static const struct timeval accept_pause = {.tv_usec = 100000};

static void resume_accepting(evutil_socket_t socket, short what, void *context) {
    (void)socket;
    (void)what;
    struct http_server *server = context;
    server->accepted = 0;
    for (size_t i = 0; i < server->listener_count; i++) {
        if (server->listeners[i].listener != NULL &&
            evconnlistener_enable(server->listeners[i].listener) != 0) {
            evtimer_add(server->resume_accepting, &accept_pause); /* its place is there */
        }
    }
}

/* A listener that nothing would wake again goes on. */
static void pause_accepting(struct http_server *server, struct evconnlistener *listener,
                            const struct timeval *pause) {
    if (evtimer_add(server->resume_accepting, pause) == 0) {
        evconnlistener_disable(listener);
    }
}

bool http_server_create(struct event_base *base, const struct http_server_options *options,
                        const struct http_handler *handler, struct http_server **server,
                        struct error *error) {
    struct http_server *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the HTTP server");
    }
    made->base = base;
    made->options = *options;
    made->handler = *handler;
    for (size_t i = 0; i < CONNECTION_STATES; i++) {
        TAILQ_INIT(&made->connections[i]);
    }
    TAILQ_INIT(&made->spares);
    random_seed(&made->random, random_fresh_seed());
    made->client_seed = random_fresh_seed();
    made->resume_accepting = evtimer_new(base, resume_accepting, made);
    if (made->resume_accepting == NULL) {
        free(made);
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the HTTP server");
    }
    *server = made;
    return true;
}

static void stop_accepting(struct http_server *server) {
    for (size_t i = 0; i < server->listener_count; i++) {
        if (server->listeners[i].listener != NULL) {
            evconnlistener_free(server->listeners[i].listener);
            server->listeners[i].listener = NULL;
        }
    }
}

void http_server_free(struct http_server *server) {
    if (server == NULL) {
        return;
    }
    stop_accepting(server);
    http_server_drop_all(server);
    event_free(server->resume_accepting);
    free(server);
}

size_t http_server_connection_count(const struct http_server *server) {
    return server->connection_count;
}

bool http_server_is_loopback(const struct http_server *server) {
    return server->is_loopback;
}

/* --- accepting --- */

/* A peer that vanished without a word is noticed after about a minute, not two hours. */
static void set_socket_options(evutil_socket_t socket) {
    static const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},    {SOL_SOCKET, SO_KEEPALIVE, 1},
#ifdef TCP_KEEPIDLE
        {IPPROTO_TCP, TCP_KEEPIDLE, 30},
#endif
#ifdef TCP_KEEPINTVL
        {IPPROTO_TCP, TCP_KEEPINTVL, 10},
#endif
#ifdef TCP_KEEPCNT
        {IPPROTO_TCP, TCP_KEEPCNT, 3},
#endif
    };
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        (void)setsockopt(socket, options[i].level, options[i].name, &options[i].value,
                         sizeof options[i].value);
    }
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t socket,
                      struct sockaddr *address, int address_length, void *context) {
    (void)address_length;
    static const struct timeval at_once = {0};
    struct http_listener *from = context;
    struct http_server *server = from->server;
    server->accepted++;
    if (server->accepted >=
        ACCEPTED_AT_ONCE) { /* a crowd must not displace whom nobody has heard */
        pause_accepting(server, listener, &at_once);
    }
    struct http_client *client = http_client_enter(server, address);
    enum http_place place = client == NULL ? HTTP_PLACE_NONE : http_place_find(server, client);
    if (place == HTTP_PLACE_NONE) {
        if (client != NULL) {
            http_client_leave(client);
        }
        evutil_closesocket(socket);
        return;
    }
    set_socket_options(socket);
    (void)http_connection_create(server, socket, (size_t)(from - server->listeners), client, place);
}

/* Out of descriptors or memory: without a pause the loop would spin on the waiting connection. */
static void on_accept_error(struct evconnlistener *listener, void *context) {
    const struct http_listener *from = context;
    log_event(LOG_WARN, "accept_failed", log_text("reason", strerror(errno)));
    pause_accepting(from->server, listener, &accept_pause);
}

/* --- listening --- */

/* Copied out: a sockaddr is only a view of the family's own struct. */
static bool is_loopback_address(const struct sockaddr *address) {
    if (address->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof v4);
        return ntohl(v4.sin_addr.s_addr) >> 24 == 127;
    }
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, address, sizeof v6);
        return IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
    }
    return false;
}

static bool read_bound_port(int socket, sa_family_t family, uint16_t *port) {
    struct sockaddr_in v4 = {0};
    struct sockaddr_in6 v6 = {0};
    bool is_v6 = family == AF_INET6;
    socklen_t length = is_v6 ? sizeof v6 : sizeof v4;
    struct sockaddr *address = is_v6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4;
    if (getsockname(socket, address, &length) != 0) {
        return false;
    }
    *port = ntohs(is_v6 ? v6.sin6_port : v4.sin_port);
    return true;
}

/* A listening, non-blocking socket, or -1 with the reason in errno. */
static int open_listener(const struct addrinfo *address) {
    int enabled = 1;
    int disabled = 0;
    int made = socket(address->ai_family, SOCK_STREAM, 0);
    if (made < 0) {
        return -1;
    }
    /* An address of all zeros in IPv6 is meant for both families. */
    if ((address->ai_family == AF_INET6 &&
         setsockopt(made, IPPROTO_IPV6, IPV6_V6ONLY, &disabled, sizeof disabled) != 0) ||
        setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &enabled, sizeof enabled) != 0 ||
        fcntl(made, F_SETFD, FD_CLOEXEC) != 0 || fcntl(made, F_SETFL, O_NONBLOCK) != 0 ||
        bind(made, address->ai_addr, address->ai_addrlen) != 0 ||
        listen(made, LISTEN_BACKLOG) != 0) {
        int reason = errno;
        close(made);
        errno = reason;
        return -1;
    }
    return made;
}

bool http_server_listen(struct http_server *server, const char *host, uint16_t port,
                        bool loopback_only, uint16_t *bound_port, struct error *error) {
    char service[8];
    snprintf(service, sizeof service, "%u", (unsigned)port);
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
                             .ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *address = NULL;
    int resolved = getaddrinfo(host, service, &hints, &address);
    if (resolved != 0) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "cannot listen on '%s': %s", host,
                         gai_strerror(resolved));
    }
    struct http_listener *made = &server->listeners[server->listener_count];
    int socket = -1;
    bool ok = false;
    if (server->listener_count == HTTP_MAX_LISTENERS) {
        error_set(error, ERROR_INVALID_ARGUMENT, "no more than %d ports can be listened on",
                  HTTP_MAX_LISTENERS);
        goto cleanup;
    }
    if (loopback_only && !is_loopback_address(address->ai_addr)) {
        error_set(error, ERROR_INVALID_ARGUMENT,
                  "'%s' can be reached from other machines and no API key is set: set one, listen "
                  "on 127.0.0.1, or allow open access explicitly",
                  host);
        goto cleanup;
    }
    socket = open_listener(address);
    if (socket < 0) {
        error_set_errno(error, errno, "cannot listen on %s port %u", host, (unsigned)port);
        goto cleanup;
    }
    if (bound_port != NULL && !read_bound_port(socket, address->ai_addr->sa_family, bound_port)) {
        error_set_errno(error, errno, "cannot listen on %s port %u", host, (unsigned)port);
        goto cleanup;
    }
    made->server = server;
    made->listener = evconnlistener_new(server->base, on_accept, made,
                                        LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, socket);
    if (made->listener == NULL) {
        error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the HTTP server");
        goto cleanup;
    }
    evconnlistener_set_error_cb(made->listener, on_accept_error);
    server->is_loopback = (server->listener_count == 0 || server->is_loopback) &&
                          is_loopback_address(address->ai_addr);
    server->listener_count++;
    ok = true;
cleanup:
    if (!ok && socket >= 0) {
        close(socket);
    }
    freeaddrinfo(address);
    return ok;
}

/* --- ending --- */

void http_server_drain(struct http_server *server) {
    stop_accepting(server);
    server->draining = true;
    struct http_connection *unfinished;
    TAILQ_FOREACH(unfinished, &server->connections[CONNECTION_HEAD], link) {
        http_connection_hurry(unfinished);
    }
    static const enum connection_state ends[] = {CONNECTION_IDLE, CONNECTION_LINGERING};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct http_connection *connection;
        while ((connection = TAILQ_FIRST(&server->connections[ends[i]])) != NULL) {
            http_connection_free(connection, HTTP_SERVER_STOPPED);
        }
    }
}

void http_server_drop_all(struct http_server *server) {
    for (size_t i = 0; i < CONNECTION_STATES; i++) {
        struct http_connection *connection;
        while ((connection = TAILQ_FIRST(&server->connections[i])) != NULL) {
            http_connection_free(connection, HTTP_SERVER_STOPPED);
        }
    }
}
