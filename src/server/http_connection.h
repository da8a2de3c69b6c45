/* http_connection.h - between http_server.c (what is listened on), http_places.c (who is let in)
 * and http_connection.c (what is said). */
#ifndef MISTRAL_SERVER_HTTP_CONNECTION_H
#define MISTRAL_SERVER_HTTP_CONNECTION_H

#include "base/random.h"
#include "server/http_server.h"

#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/listener.h>
#include <event2/util.h>
#include <sys/queue.h>

enum connection_state {
    CONNECTION_IDLE,      /* no byte of a request yet */
    CONNECTION_HEAD,      /* a head is arriving */
    CONNECTION_BODY,      /* its body is arriving */
    CONNECTION_ANSWERING, /* the handler has the request */
    CONNECTION_FLUSHING,  /* the answer is complete and on its way out */
    CONNECTION_LINGERING, /* our side is closed; what still comes is read and dropped, so that the
                             answer is not lost to a reset (RFC 9112 9.6) */
    CONNECTION_DROPPED,   /* ends at the next turn of the loop */
};
enum { CONNECTION_STATES = CONNECTION_DROPPED + 1 };

enum http_place { HTTP_PLACE_NONE, HTTP_PLACE_OWN, HTTP_PLACE_SPARE, HTTP_PLACE_SPARE_OF_ADDRESS };

enum { HTTP_CLIENT_KEY_BYTES = 16, HTTP_CLIENT_BUCKETS = 1024 };
struct http_client; /* one address, while it has connections */
LIST_HEAD(http_client_list, http_client);

/* A port that is listened on. */
struct http_listener {
    struct http_server *server;
    struct evconnlistener *listener; /* NULL: nobody is accepted */
};

struct http_connection {
    TAILQ_ENTRY(http_connection) link; /* in server->connections[state], longest there first */
    TAILQ_ENTRY(http_connection) spare_link; /* in server->spares, oldest first */
    struct http_client *client;              /* its address */
    bool is_spare;                           /* only a vital request is answered */
    const char *spare_reason;                /* what the others are told; constant text */
    struct http_server *server;
    size_t listener;            /* its index: which port the client came in by */
    struct bufferevent *stream; /* its socket is ours to close */
    struct event deadline;
    enum connection_state state;
    int64_t since_ns;   /* when this state began */
    bool client_closed; /* its side of the socket is closed */
    bool must_close;    /* after this answer */
    bool is_held_back;  /* nothing is read for now: it has sent enough ahead */
    bool is_paused;     /* the body is not read for now */
    bool is_chunked;    /* the answer comes in pieces, each with its length */
    bool stream_begun;
    struct http_request request;
    size_t body_bytes;                   /* of server->body_bytes, this request's share */
    struct string_buffer answer_headers; /* lines for the answer's head, each with its line end */
    struct http_note note;               /* the handler's */
    bool is_known;                       /* to the handler, which is to hear of its end */
    int status;                          /* of the answer; 0: not begun */
    char request_id[25];
    int64_t started_ns; /* first byte of the request */
    void (*abandoned)(void *user, enum http_abandoned why);
    void *user;
    enum http_abandoned why;
};

TAILQ_HEAD(http_connection_list, http_connection);

struct http_server {
    struct event_base *base;
    struct http_server_options options;
    struct http_handler handler;
    struct http_listener listeners[HTTP_MAX_LISTENERS]; /* [listener_count] */
    size_t listener_count;
    struct event *resume_accepting;
    bool is_loopback; /* every one of them */
    bool draining;
    struct http_connection_list connections[CONNECTION_STATES];
    struct http_connection_list spares;
    size_t connection_count, spare_count;
    size_t accepted; /* since it was last seen to that they are read from */
    struct http_client_list clients[HTTP_CLIENT_BUCKETS];
    uint64_t client_seed;
    size_t body_bytes;          /* of all requests that are not answered yet */
    struct random_state random; /* request ids */
};

/* Takes over the socket, and the client that http_client_enter counted; NULL (and the socket
 * closed, the client left) when memory runs out. */
struct http_connection *http_connection_create(struct http_server *server, evutil_socket_t socket,
                                               size_t listener, struct http_client *client,
                                               enum http_place place);
/* From the event loop only, never from inside a handler. */
void http_connection_free(struct http_connection *connection, enum http_abandoned why);
/* Its head has little time left: nobody waits for it any more. */
void http_connection_hurry(struct http_connection *connection);
const char *http_connection_state_name(enum connection_state state); /* constant text */

/* Counts a connection from the address; NULL when memory runs out. Each is left once. */
struct http_client *http_client_enter(struct http_server *server, const struct sockaddr *address);
void http_client_leave(struct http_client *client);
/* The place of a newcomer; others may be freed for it. From the event loop only. */
enum http_place http_place_find(struct http_server *server, const struct http_client *client);

/* Answers through the handler's `refused`, and closes. */
void http_connection_refuse(struct http_connection *connection, int status, const char *reason);

#endif
