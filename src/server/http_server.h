/*
 * http_server.h - HTTP/1.1 over libevent: listens, reads requests, sends answers, bounds all of it.
 *
 * Owns every socket and every connection. Knows nothing of routes, JSON or models: a handler
 * decides what to answer. One thread: that of the event base. Nothing here waits.
 *
 * The bounds: connections, header bytes and lines, body bytes of one and of all, the time a head, a
 * body and an idle connection may take (measured from their start, so that a trickle does not
 * help), the bytes queued for a slow reader, and the time without progress when sending. When all
 * places are taken, those give way to a new one that have no request under way (http_places.c).
 */
#ifndef MISTRAL_SERVER_HTTP_SERVER_H
#define MISTRAL_SERVER_HTTP_SERVER_H

#include "base/error.h"
#include "base/string_buffer.h"
#include "server/http_request.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct http_server;
struct http_connection;

struct metric_series;

/* Why a connection ended before its answer was complete. */
enum http_abandoned {
    HTTP_CLIENT_LEFT,
    HTTP_SLOW_READER,
    HTTP_SERVER_STOPPED,
    HTTP_GAVE_WAY,
    HTTP_NO_MEMORY, /* for its answer, or to watch its socket */
};

struct http_server_options {
    struct http_limits limits;
    size_t max_connections;
    size_t max_per_address;  /* of those, from one address (IPv6: network); 0: no bound */
    bool bounds_own_address; /* from a loopback address too */
    size_t max_bodies_bytes; /* of all requests together, until each is answered */
    size_t max_queued_bytes; /* of one stream, written and not yet taken by the client */
    double head_timeout;     /* seconds, each */
    double body_timeout;
    double idle_timeout;
    double write_timeout; /* without progress */
};

struct http_handler {
    void *context;
    /* The last byte of its answer has left (`complete`), or the connection is over before that, as
     * `why` says. Once for each request that `head` or `refused` was called for. `status` is 0 when
     * no answer was begun. */
    void (*ended)(void *context, struct http_connection *connection, int status, bool complete,
                  enum http_abandoned why);
    /* A piece was written to the stream that is its answer. */
    void (*piece)(void *context, struct http_connection *connection);
    /* The head is there, the body is not. An answer given here refuses the body. */
    void (*head)(void *context, struct http_connection *connection);
    /* The whole request is there: answer now or later. */
    void (*request)(void *context, struct http_connection *connection);
    /* A request that is answered even where there is no place. NULL: none is. */
    bool (*is_vital)(const struct http_request *request);
    /* A connection was closed, or ("new") not taken, because places are short; in which state it
     * was: constant text. NULL: nobody wants to know. */
    void (*displaced)(void *context, const char *state);
    /* The bytes were no request, or came too late, or there is no place: answer `status`. */
    void (*refused)(void *context, struct http_connection *connection, int status,
                    const char *reason);
};

/* What the handler wants to remember of a request; the connection only keeps it. Zero when a
 * request begins. */
struct http_note {
    const char *endpoint; /* constant text */
    const char *error;    /* constant text; NULL: none */
    struct metric_series *chunks;
};

/* Options and handler are copied. */
bool http_server_create(struct event_base *base, const struct http_server_options *options,
                        const struct http_handler *handler, struct http_server **server,
                        struct error *error);
void http_server_free(struct http_server *server); /* NULL allowed; drops what is left */

enum { HTTP_MAX_LISTENERS = 2 };

/* Binds and listens; up to HTTP_MAX_LISTENERS times, and the bounds are those of all together. Port
 * 0 takes any; *bound_port (may be NULL) is the one taken. With `loopback_only`, an address others
 * could reach is ERROR_INVALID_ARGUMENT. */
bool http_server_listen(struct http_server *server, const char *host, uint16_t port,
                        bool loopback_only, uint16_t *bound_port, struct error *error);
bool http_server_is_loopback(const struct http_server *server); /* all that it listens on */

/* Accepts no more, closes what is idle; every answer from here on closes its connection. */
void http_server_drain(struct http_server *server);
/* Drops every connection now; their watchers hear of it. */
void http_server_drop_all(struct http_server *server);
size_t http_server_connection_count(const struct http_server *server);

/* --- one request and its answer --- */

const struct http_request *http_connection_request(const struct http_connection *connection);
/* Which http_server_listen let it in: 0 for the first. */
size_t http_connection_listener(const struct http_connection *connection);
/* The address of this machine that the client reached, as a Host spells it ("192.168.1.7",
 * "[fe80::1]"); "" when the system does not say. */
enum { HTTP_ADDRESS_BYTES = 64 };
void http_connection_local_address(const struct http_connection *connection,
                                   char text[HTTP_ADDRESS_BYTES]);
/* Who asks: one number for an address; of this machine's own, behind which there may be a proxy's
 * many clients, for a connection. Never 0. */
uint64_t http_connection_client(const struct http_connection *connection);
struct http_note *http_connection_note(struct http_connection *connection);
/* Takes the body out of the request; the caller frees it with string_buffer_deinit. */
struct string_buffer http_connection_take_body(struct http_connection *connection);
/* From the handler's `head` only: the body is not kept but given to `take` piece by piece, which
 * must not answer. It may take as long as it comes at 1 MiB in body_timeout. `context` can be asked
 * for until the request is answered. */
void http_connection_hand_on_body(struct http_connection *connection,
                                  void (*take)(void *context, const char *bytes, size_t length),
                                  void *context);
void *http_connection_body_context(const struct http_connection *connection);
/* Stops reading such a body, and goes on. */
void http_connection_pause_body(struct http_connection *connection, bool pause);
/* 24 hexadecimal digits, random, one for each request; and when its first byte came. */
const char *http_connection_request_id(const struct http_connection *connection);
int64_t http_connection_started_ns(const struct http_connection *connection);

/* To be told, once, from the event loop, if the connection ends before the answer is complete. The
 * connection must not be used after that. */
void http_connection_watch(struct http_connection *connection,
                           void (*abandoned)(void *user, enum http_abandoned why), void *user);

/* Gives the connection up in the middle of an answer; the watcher hears of it from the event loop.
 */
void http_connection_drop(struct http_connection *connection);

/* One more header for the answer; before http_respond or http_stream_begin. */
void http_add_header(struct http_connection *connection, const char *name, const char *value);

/* A whole answer (for HEAD, without its body). content_type NULL: no body at all. */
void http_respond(struct http_connection *connection, int status, const char *content_type,
                  const void *body, size_t length);

/* An answer in pieces. A write that would queue too much drops the connection: its watcher will
 * hear of it, and nothing more need be written. */
void http_stream_begin(struct http_connection *connection, int status, const char *content_type);
void http_stream_write(struct http_connection *connection, const void *bytes, size_t length);
void http_stream_end(struct http_connection *connection);
bool http_stream_begun(const struct http_connection *connection);

#endif
