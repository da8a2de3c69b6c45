/* http_connection.h - between http_server.c (who is let in) and http_connection.c (what is said).
 */
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

/* A port that is listened on. */
struct http_listener {
    struct http_server *server;
    struct evconnlistener *listener; /* NULL: nobody is accepted */
};

struct http_connection {
    TAILQ_ENTRY(http_connection) link; /* in server->connections, oldest first */
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
    struct http_connection_list connections;
    size_t connection_count;
    size_t body_bytes;          /* of all requests that are not answered yet */
    struct random_state random; /* request ids */
};

/* Takes over the socket; NULL (and the socket closed) when memory runs out. */
struct http_connection *http_connection_create(struct http_server *server, evutil_socket_t socket,
                                               size_t listener);
/* From the event loop only, never from inside a handler. */
void http_connection_free(struct http_connection *connection, enum http_abandoned why);
/* Answers through the handler's `refused`, and closes. */
void http_connection_refuse(struct http_connection *connection, int status, const char *reason);

#endif
