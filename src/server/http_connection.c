/*
 * http_connection.c - one connection: reads requests one after the other, sends their answers.
 *
 * A connection is freed only from the event loop's own calls (a read, a write, an end, a deadline),
 * never while a handler is using it: whoever must drop one from elsewhere makes its deadline due.
 */
#include "server/http_connection.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <inttypes.h>
#include <math.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { BODY_PROGRESS = 1 << 20 }; /* bytes of a body that is handed on, in body_timeout */

static const double linger_timeout = 2.0; /* seconds */
static const double spare_timeout = 2.0;  /* seconds for a head, in a spare place or at the end */
static const double look_every = 0.5;     /* seconds: whether a client whose bytes wait is there */
/* A whole answer may take its time as long as the client takes it at this rate. */
static const double slowest_reader = 16384.0; /* bytes a second */

static const struct {
    int status;
    const char *phrase;
} phrases[] = {
    {200, "OK"},
    {201, "Created"},
    {204, "No Content"},
    {304, "Not Modified"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
    {507, "Insufficient Storage"},
    {505, "HTTP Version Not Supported"},
};

const char *http_connection_state_name(enum connection_state state) {
    static const char *const names[CONNECTION_STATES] = {
        [CONNECTION_IDLE] = "idle",         [CONNECTION_HEAD] = "head",
        [CONNECTION_BODY] = "body",         [CONNECTION_ANSWERING] = "answering",
        [CONNECTION_FLUSHING] = "flushing", [CONNECTION_LINGERING] = "lingering",
        [CONNECTION_DROPPED] = "dropped",
    };
    return names[state];
}

static const char *phrase_of(int status) {
    for (size_t i = 0; i < sizeof phrases / sizeof phrases[0]; i++) {
        if (phrases[i].status == status) {
            return phrases[i].phrase;
        }
    }
    return "";
}

/* --- states and their deadlines --- */

static void drop(struct http_connection *connection, enum http_abandoned why);

static void set_deadline(struct http_connection *connection, double seconds) {
    struct timeval delay = {.tv_sec = (time_t)seconds,
                            .tv_usec =
                                (suseconds_t)((seconds - (double)(time_t)seconds) * 1000000.0)};
    if (evtimer_add(&connection->deadline, &delay) != 0) {
        drop(connection, HTTP_NO_MEMORY); /* nothing would ever end it */
    }
}

/* To the end of the state's list: longest there first. */
static void move_to(struct http_connection *connection, enum connection_state state) {
    struct http_server *server = connection->server;
    TAILQ_REMOVE(&server->connections[connection->state], connection, link);
    connection->state = state;
    connection->since_ns = clock_now_ns();
    TAILQ_INSERT_TAIL(&server->connections[state], connection, link);
}

static void enter(struct http_connection *connection, enum connection_state state) {
    if (connection->state == CONNECTION_DROPPED) {
        return; /* from there it only ends */
    }
    const struct http_server_options *options = &connection->server->options;
    move_to(connection, state);
    bool is_spare = connection->is_spare;
    switch (state) {
    case CONNECTION_IDLE:
        set_deadline(connection, is_spare ? spare_timeout : options->idle_timeout);
        break;
    case CONNECTION_HEAD:
        set_deadline(connection,
                     is_spare ? fmin(spare_timeout, options->head_timeout) : options->head_timeout);
        break;
    case CONNECTION_BODY:
        set_deadline(connection, options->body_timeout);
        break;
    case CONNECTION_ANSWERING:
        evtimer_del(&connection->deadline);
        break;
    case CONNECTION_FLUSHING: {
        struct evbuffer *output = bufferevent_get_output(connection->stream);
        set_deadline(connection,
                     options->write_timeout + (double)evbuffer_get_length(output) / slowest_reader);
        break;
    }
    case CONNECTION_LINGERING:
        set_deadline(connection, linger_timeout);
        break;
    case CONNECTION_DROPPED:
        evtimer_del(&connection->deadline);
        event_active(&connection->deadline, EV_TIMEOUT, 0);
        break;
    }
}

void http_connection_hurry(struct http_connection *connection) {
    set_deadline(connection, spare_timeout);
}

/* The request's body counts until it is answered, whoever holds it by then. */
static void count_body(struct http_connection *connection, size_t bytes) {
    connection->server->body_bytes += bytes - connection->body_bytes;
    connection->body_bytes = bytes;
}

static void prepare_request(struct http_connection *connection) {
    http_request_deinit(&connection->request);
    http_request_init(&connection->request, &connection->server->options.limits);
    string_buffer_clear(&connection->answer_headers);
    connection->is_chunked = false;
    connection->is_paused = false;
    connection->stream_begun = false;
    connection->abandoned = NULL;
    connection->user = NULL;
    connection->note = (struct http_note){0};
    connection->status = 0;
}

static void tell_ended(struct http_connection *connection, bool complete, enum http_abandoned why) {
    const struct http_handler *handler = &connection->server->handler;
    if (connection->is_known) {
        connection->is_known = false;
        handler->ended(handler->context, connection, connection->status, complete, why);
    }
}

void http_connection_free(struct http_connection *connection, enum http_abandoned why) {
    struct http_server *server = connection->server;
    if (connection->abandoned != NULL) {
        connection->abandoned(connection->user, why);
    }
    tell_ended(connection, false, why);
    TAILQ_REMOVE(&server->connections[connection->state], connection, link);
    server->connection_count--;
    if (connection->is_spare) {
        TAILQ_REMOVE(&server->spares, connection, spare_link);
        server->spare_count--;
    }
    http_client_leave(connection->client);
    count_body(connection, 0);
    event_del(&connection->deadline);
    /* Closed here: libevent itself would do it at a later turn of the loop, and a burst of new
     * connections, each taking an idle one's place, would run out of descriptors. */
    evutil_socket_t socket = bufferevent_getfd(connection->stream);
    bufferevent_disable(connection->stream, EV_READ | EV_WRITE);
    bufferevent_free(connection->stream);
    evutil_closesocket(socket);
    http_request_deinit(&connection->request);
    string_buffer_deinit(&connection->answer_headers);
    free(connection);
}

static void drop(struct http_connection *connection, enum http_abandoned why) {
    if (connection->state != CONNECTION_DROPPED) {
        connection->why = why;
        enter(connection, CONNECTION_DROPPED);
    }
}

static void name_request(struct http_connection *connection) {
    struct random_state *random = &connection->server->random;
    snprintf(connection->request_id, sizeof connection->request_id, "%016" PRIx64 "%08" PRIx32,
             random_next(random), (uint32_t)(random_next(random) >> 32));
    connection->started_ns = clock_now_ns();
}

void http_connection_drop(struct http_connection *connection) {
    drop(connection, HTTP_SLOW_READER);
}

void http_connection_refuse(struct http_connection *connection, int status, const char *reason) {
    if (connection->request_id[0] == '\0') {
        name_request(connection);
    }
    if (connection->abandoned != NULL) { /* whoever was handed the body */
        connection->abandoned(connection->user, HTTP_CLIENT_LEFT);
        connection->abandoned = NULL;
    }
    connection->must_close = true;
    enter(connection, CONNECTION_ANSWERING);
    connection->is_known = true;
    connection->server->handler.refused(connection->server->handler.context, connection, status,
                                        reason);
}

/* Bytes sent ahead of their turn fill the room there is for them: the socket is read no further
 * until the answer before them is out. (libevent's own watermark would call on_read without end.)
 * Its end is not seen that way, so it is looked for now and then. */
static void hold_back(struct http_connection *connection) {
    connection->is_held_back = true;
    bufferevent_disable(connection->stream, EV_READ);
    if (connection->state == CONNECTION_ANSWERING) {
        set_deadline(connection, look_every);
    }
}

/* Makes room for so many bytes of the answer, so that what is added next is added whole. Without
 * memory for it the connection ends, and nothing of them was said. */
static bool reserve(struct http_connection *connection, size_t bytes) {
    if (connection->state == CONNECTION_DROPPED) {
        return false;
    }
    /* Asked for again where it was already: a socket that is not watched would never be written. */
    bool can_write = bufferevent_enable(connection->stream, EV_WRITE) == 0 &&
                     evbuffer_expand(bufferevent_get_output(connection->stream), bytes) == 0;
    if (!can_write) {
        drop(connection, HTTP_NO_MEMORY);
    }
    return can_write;
}

/* A socket that cannot be watched would never be heard of again. */
static void watch_socket(struct http_connection *connection) {
    if (bufferevent_enable(connection->stream, EV_READ) != 0) {
        drop(connection, HTTP_NO_MEMORY);
    }
}

static void read_on(struct http_connection *connection) {
    if (connection->is_held_back) {
        connection->is_held_back = false;
        watch_socket(connection);
    }
}

/* A client whose bytes wait unread and which has closed its side, or is gone, gives its request up
 * as one whose end is read would. */
static bool has_left(const struct http_connection *connection) {
#ifdef POLLRDHUP
    const short closed = POLLRDHUP;
#else
    const short closed = 0; /* seen as POLLHUP once both sides are closed */
#endif
    struct pollfd socket = {.fd = bufferevent_getfd(connection->stream), .events = closed};
    return poll(&socket, 1, 0) > 0 && (socket.revents & (closed | POLLHUP | POLLERR)) != 0;
}

static void on_deadline(evutil_socket_t socket, short what, void *context) {
    (void)socket;
    (void)what;
    struct http_connection *connection = context;
    switch (connection->state) {
    case CONNECTION_HEAD:
        http_connection_refuse(connection, 408, "the request's headers took too long to arrive");
        break;
    case CONNECTION_BODY:
        http_connection_refuse(connection, 408, "the request's body took too long to arrive");
        break;
    case CONNECTION_ANSWERING:
        if (has_left(connection)) {
            http_connection_free(connection, HTTP_CLIENT_LEFT);
        } else {
            set_deadline(connection, look_every);
        }
        break;
    case CONNECTION_IDLE:
    case CONNECTION_FLUSHING:
    case CONNECTION_LINGERING:
        http_connection_free(connection, HTTP_SLOW_READER);
        break;
    case CONNECTION_DROPPED:
        http_connection_free(connection, connection->why);
        break;
    }
}

/* --- reading --- */

static void head_completed(struct http_connection *connection) {
    struct http_server *server = connection->server;
    struct http_request *request = &connection->request;
    connection->must_close = !request->keep_alive || server->draining || connection->is_spare;
    if (connection->is_spare &&
        (server->handler.is_vital == NULL || !server->handler.is_vital(request))) {
        http_connection_refuse(connection, 503, connection->spare_reason);
        return;
    }
    connection->is_known = true;
    server->handler.head(server->handler.context, connection);
    if (connection->state != CONNECTION_HEAD) {
        return; /* answered */
    }
    bool has_body = request->phase != HTTP_PHASE_COMPLETE;
    struct evbuffer *input = bufferevent_get_input(connection->stream);
    if (has_body && request->expect_continue && evbuffer_get_length(input) == 0) {
        if (reserve(connection, 25)) {
            bufferevent_write(connection->stream, "HTTP/1.1 100 Continue\r\n\r\n", 25);
        }
    }
    enter(connection, CONNECTION_BODY);
}

static void note_progress(struct http_connection *connection, uint64_t before) {
    if (connection->request.take != NULL && connection->state == CONNECTION_BODY &&
        connection->request.body_bytes / BODY_PROGRESS != before / BODY_PROGRESS) {
        move_to(connection, CONNECTION_BODY);
        set_deadline(connection, connection->server->options.body_timeout);
    }
}

/* Reads from what has arrived until a request is whole or the bytes run out. */
static void read_request(struct http_connection *connection) {
    struct http_server *server = connection->server;
    struct evbuffer *input = bufferevent_get_input(connection->stream);
    while (connection->state <= CONNECTION_BODY && !connection->is_paused) {
        struct evbuffer_iovec piece = {0};
        bool has_bytes = evbuffer_peek(input, -1, NULL, &piece, 1) > 0 && piece.iov_len != 0;
        if (!has_bytes && connection->request.phase != HTTP_PHASE_COMPLETE) {
            return;
        }
        if (connection->state == CONNECTION_IDLE) {
            enter(connection, CONNECTION_HEAD);
            name_request(connection);
        }
        size_t consumed = 0;
        uint64_t before = connection->request.body_bytes;
        enum http_progress progress =
            http_request_feed(&connection->request, piece.iov_base, piece.iov_len, &consumed);
        evbuffer_drain(input, consumed);
        note_progress(connection, before);
        count_body(connection, connection->request.body.length);
        if (connection->body_bytes != 0 && server->body_bytes > server->options.max_bodies_bytes) {
            http_connection_refuse(connection, 503, "too many large requests, try again later");
            return;
        }
        switch (progress) {
        case HTTP_NEEDS_MORE:
            break;
        case HTTP_HEAD_COMPLETE:
            head_completed(connection);
            break;
        case HTTP_COMPLETE:
            enter(connection, CONNECTION_ANSWERING);
            server->handler.request(server->handler.context, connection);
            break;
        case HTTP_MALFORMED:
            http_connection_refuse(connection, connection->request.status,
                                   connection->request.reason);
            break;
        }
    }
}

static void on_read(struct bufferevent *stream, void *context) {
    struct http_connection *connection = context;
    struct evbuffer *input = bufferevent_get_input(stream);
    if (connection->state <= CONNECTION_BODY) {
        read_request(connection);
    } else if (connection->state == CONNECTION_LINGERING ||
               (connection->must_close && connection->state == CONNECTION_FLUSHING)) {
        evbuffer_drain(input, evbuffer_get_length(input)); /* it will not be read */
    } else if (evbuffer_get_length(input) >= connection->server->options.limits.max_head_bytes) {
        hold_back(connection);
    }
}

/* --- after an answer --- */

static void on_write(struct bufferevent *stream, void *context) {
    struct http_connection *connection = context;
    if (connection->state != CONNECTION_FLUSHING ||
        evbuffer_get_length(bufferevent_get_output(stream)) != 0) {
        return;
    }
    tell_ended(connection, true, HTTP_CLIENT_LEFT);
    read_on(connection);
    if (connection->client_closed) {
        http_connection_free(connection, HTTP_CLIENT_LEFT);
    } else if (connection->must_close || connection->server->draining) {
        shutdown(bufferevent_getfd(stream), SHUT_WR);
        enter(connection, CONNECTION_LINGERING);
        evbuffer_drain(bufferevent_get_input(stream),
                       evbuffer_get_length(bufferevent_get_input(stream)));
    } else {
        prepare_request(connection);
        enter(connection, CONNECTION_IDLE);
        read_request(connection);
    }
}

static void on_event(struct bufferevent *stream, short what, void *context) {
    struct http_connection *connection = context;
    bool has_output = evbuffer_get_length(bufferevent_get_output(stream)) != 0;
    if (what & BEV_EVENT_TIMEOUT) {
        drop(connection, HTTP_SLOW_READER);
    } else if ((what & BEV_EVENT_EOF) && connection->state == CONNECTION_FLUSHING && has_output) {
        connection->client_closed = true; /* perhaps only half: it may still be reading */
    } else {
        http_connection_free(connection, HTTP_CLIENT_LEFT);
    }
}

struct http_connection *http_connection_create(struct http_server *server, evutil_socket_t socket,
                                               size_t listener, struct http_client *client,
                                               enum http_place place) {
    struct http_connection *connection = calloc(1, sizeof *connection);
    struct bufferevent *stream =
        connection == NULL ? NULL : bufferevent_socket_new(server->base, socket, 0);
    if (stream == NULL) {
        free(connection);
        http_client_leave(client);
        evutil_closesocket(socket);
        return NULL;
    }
    connection->server = server;
    connection->listener = listener;
    connection->stream = stream;
    evtimer_assign(&connection->deadline, server->base, on_deadline, connection);
    http_request_init(&connection->request, &server->options.limits);
    connection->client = client;
    TAILQ_INSERT_TAIL(&server->connections[CONNECTION_IDLE], connection, link);
    server->connection_count++;
    if (place != HTTP_PLACE_OWN) {
        connection->is_spare = true;
        connection->spare_reason = place == HTTP_PLACE_SPARE
                                       ? "too many connections, try again later"
                                       : "too many connections from this address";
        TAILQ_INSERT_TAIL(&server->spares, connection, spare_link);
        server->spare_count++;
    }
    bufferevent_setcb(stream, on_read, on_write, on_event, connection);
    struct timeval write_timeout = {.tv_sec = (time_t)server->options.write_timeout};
    write_timeout.tv_usec =
        (suseconds_t)((server->options.write_timeout - (double)write_timeout.tv_sec) * 1000000.0);
    bufferevent_set_timeouts(stream, NULL, &write_timeout);
    enter(connection, CONNECTION_IDLE);
    watch_socket(connection);
    return connection;
}

/* --- answering --- */

const struct http_request *http_connection_request(const struct http_connection *connection) {
    return &connection->request;
}

size_t http_connection_listener(const struct http_connection *connection) {
    return connection->listener;
}

void http_connection_local_address(const struct http_connection *connection,
                                   char text[HTTP_ADDRESS_BYTES]) {
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;
    char digits[INET6_ADDRSTRLEN] = "";
    text[0] = '\0';
    if (getsockname(bufferevent_getfd(connection->stream), (struct sockaddr *)&address, &length) !=
        0) {
        return;
    }
    if (address.ss_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, &address, sizeof v4);
        inet_ntop(AF_INET, &v4.sin_addr, text, HTTP_ADDRESS_BYTES);
    } else if (address.ss_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, &address, sizeof v6);
        inet_ntop(AF_INET6, &v6.sin6_addr, digits, sizeof digits);
        snprintf(text, HTTP_ADDRESS_BYTES, "[%s]", digits);
    }
}

struct http_note *http_connection_note(struct http_connection *connection) {
    return &connection->note;
}

struct string_buffer http_connection_take_body(struct http_connection *connection) {
    struct string_buffer body = connection->request.body;
    connection->request.body = (struct string_buffer){0};
    return body;
}

void http_connection_hand_on_body(struct http_connection *connection,
                                  void (*take)(void *context, const char *bytes, size_t length),
                                  void *context) {
    http_request_hand_on(&connection->request, take, context);
}

void *http_connection_body_context(const struct http_connection *connection) {
    return connection->request.take_context;
}

void http_connection_pause_body(struct http_connection *connection, bool pause) {
    if (connection->state != CONNECTION_BODY || connection->is_paused == pause) {
        return;
    }
    connection->is_paused = pause;
    if (pause) {
        bufferevent_disable(connection->stream, EV_READ);
        evtimer_del(&connection->deadline);
    } else {
        set_deadline(connection, connection->server->options.body_timeout);
        watch_socket(connection);
        bufferevent_trigger(connection->stream, EV_READ,
                            BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
    }
}

const char *http_connection_request_id(const struct http_connection *connection) {
    return connection->request_id;
}

int64_t http_connection_started_ns(const struct http_connection *connection) {
    return connection->started_ns;
}

void http_connection_watch(struct http_connection *connection,
                           void (*abandoned)(void *user, enum http_abandoned why), void *user) {
    connection->abandoned = abandoned;
    connection->user = user;
}

void http_add_header(struct http_connection *connection, const char *name, const char *value) {
    string_buffer_append_format(&connection->answer_headers, "%s: %s\r\n", name, value);
}

/* The head but for its last lines, in the place of the lines that were added to it. */
static void make_head(struct http_connection *connection, int status, const char *content_type) {
    struct string_buffer head = {0};
    connection->status = status;
    if (connection->state != CONNECTION_ANSWERING &&
        connection->request.phase != HTTP_PHASE_COMPLETE) {
        connection->must_close = true; /* the rest of the request will not be read */
    }
    if (connection->server->draining) {
        connection->must_close = true;
    }
    time_t now = (time_t)(clock_wall_ns() / 1000000000);
    struct tm utc;
    gmtime_r(&now, &utc);
    char date[64];
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &utc);
    string_buffer_append_format(&head, "HTTP/1.1 %d %s\r\nDate: %s\r\n", status, phrase_of(status),
                                date);
    if (content_type != NULL) {
        string_buffer_append_format(&head, "Content-Type: %s\r\n", content_type);
    }
    if (connection->must_close) {
        string_buffer_append_text(&head, "Connection: close\r\n");
    } else if (connection->request.is_http_1_0) {
        string_buffer_append_text(&head, "Connection: keep-alive\r\n");
    }
    string_buffer_append_buffer(&head, &connection->answer_headers);
    head.failed = head.failed || connection->answer_headers.failed;
    string_buffer_deinit(&connection->answer_headers);
    connection->answer_headers = head;
}

/* Head and body, whole or not at all. */
static void write_answer(struct http_connection *connection, const void *body, size_t length) {
    struct evbuffer *output = bufferevent_get_output(connection->stream);
    const struct string_buffer *head = &connection->answer_headers;
    if (head->failed || length > SIZE_MAX - head->length) {
        drop(connection, HTTP_NO_MEMORY);
    } else if (reserve(connection, head->length + length)) {
        evbuffer_add(output, head->data, head->length);
        evbuffer_add(output, body, length);
    }
}

static void finish_answer(struct http_connection *connection) {
    connection->abandoned = NULL; /* the handler is done with it */
    connection->request.take = NULL;
    if (connection->is_paused) { /* what still comes is read and dropped */
        connection->is_paused = false;
        watch_socket(connection);
    }
    string_buffer_deinit(&connection->request.body);
    count_body(connection, 0);
    if (connection->state == CONNECTION_DROPPED) {
        return;
    }
    enter(connection, CONNECTION_FLUSHING);
    if (evbuffer_get_length(bufferevent_get_output(connection->stream)) == 0) {
        bufferevent_trigger(connection->stream, EV_WRITE,
                            BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
    }
}

void http_respond(struct http_connection *connection, int status, const char *content_type,
                  const void *body, size_t length) {
    make_head(connection, status, content_type);
    if (status != 204 && status != 304) { /* which have no body */
        string_buffer_append_format(&connection->answer_headers, "Content-Length: %zu\r\n", length);
    }
    string_buffer_append_text(&connection->answer_headers, "\r\n");
    write_answer(connection, body, connection->request.method == HTTP_HEAD ? 0 : length);
    finish_answer(connection);
}

void http_stream_begin(struct http_connection *connection, int status, const char *content_type) {
    connection->is_chunked = !connection->request.is_http_1_0;
    connection->must_close = connection->must_close || !connection->is_chunked;
    connection->stream_begun = true;
    make_head(connection, status, content_type);
    string_buffer_append_format(&connection->answer_headers, "%s\r\n",
                                connection->is_chunked ? "Transfer-Encoding: chunked\r\n" : "");
    write_answer(connection, NULL, 0);
}

void http_stream_write(struct http_connection *connection, const void *bytes, size_t length) {
    struct evbuffer *output = bufferevent_get_output(connection->stream);
    if (connection->state == CONNECTION_DROPPED || length == 0) {
        return;
    }
    if (length > connection->server->options.max_queued_bytes ||
        evbuffer_get_length(output) > connection->server->options.max_queued_bytes - length) {
        drop(connection, HTTP_SLOW_READER);
        return;
    }
    char size[24];
    size_t size_length = (size_t)snprintf(size, sizeof size, "%zx\r\n", length);
    if (!reserve(connection, size_length + length + 2)) {
        return;
    }
    connection->server->handler.piece(connection->server->handler.context, connection);
    if (connection->is_chunked) {
        evbuffer_add(output, size, size_length);
    }
    evbuffer_add(output, bytes, length);
    if (connection->is_chunked) {
        evbuffer_add(output, "\r\n", 2);
    }
}

void http_stream_end(struct http_connection *connection) {
    if (connection->is_chunked && reserve(connection, 5)) {
        evbuffer_add(bufferevent_get_output(connection->stream), "0\r\n\r\n", 5);
    }
    finish_answer(connection);
}

bool http_stream_begun(const struct http_connection *connection) {
    return connection->stream_begun;
}
