/* http_client.c - see http_client.h. The answer is read by http_answer.c. */
#include "bench/http_client.h"

#include "bench/http_answer.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <unistd.h>

struct http_call {
    LIST_ENTRY(http_call) link; /* of the client's busy or idle connections */
    struct http_client *client;
    struct bufferevent *connection;
    struct http_answer answer;
    struct evbuffer *request; /* kept for a second try; a connection that is not new may be dead */
    void *context;
    bool is_connected, is_reused;
};

LIST_HEAD(http_calls, http_call);

struct http_client {
    struct event_base *base;
    const struct http_address *address;
    const char *key;
    const struct http_handler *handler;
    struct timeval timeout;
    struct http_calls busy, idle;
};

/* ---- addresses ---- */

static bool split_url(const char *url, char *host, size_t host_size, char *service,
                      size_t service_size, struct http_address *address, struct error *error) {
    static const char scheme[] = "http://";
    if (strncasecmp(url, "https://", 8) == 0) {
        return error_set(error, ERROR_UNSUPPORTED,
                         "'%.200s': only http:// is spoken; put the benchmark beside the server, "
                         "before its TLS",
                         url);
    }
    const char *start = strncasecmp(url, scheme, 7) == 0 ? url + 7 : url;
    size_t length = strcspn(start, "/");
    const char *path = start + length;
    const char *end = start + length;
    const char *colon = NULL;
    for (const char *at = start; at < end; at++) {
        colon = *at == ':' ? at : *at == ']' ? NULL : colon;
    }
    bool bracketed = start[0] == '[';
    const char *host_end = colon == NULL ? end : colon;
    size_t host_length = (size_t)(host_end - start);
    if (bracketed && host_length >= 2 && host_end[-1] == ']') {
        snprintf(host, host_size, "%.*s", (int)host_length - 2, start + 1);
    } else {
        snprintf(host, host_size, "%.*s", (int)host_length, start);
    }
    snprintf(service, service_size, "%.*s", colon == NULL ? 2 : (int)(end - colon - 1),
             colon == NULL ? "80" : colon + 1);
    size_t path_length = strlen(path);
    path_length -= path_length > 0 && path[path_length - 1] == '/';
    if (host[0] == '\0' || strstr(start, "://") != NULL || length >= sizeof address->authority ||
        path_length >= sizeof address->path || service[0] == '\0' ||
        service[strspn(service, "0123456789")] != '\0' || strpbrk(url, " \r\n\t?#") != NULL) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "'%.200s' is no address such as http://localhost:8080", url);
    }
    snprintf(address->authority, sizeof address->authority, "%.*s", (int)length, start);
    snprintf(address->path, sizeof address->path, "%.*s", (int)path_length, path);
    return true;
}

static bool answers(const struct addrinfo *each) {
    int file = socket(each->ai_family, each->ai_socktype, each->ai_protocol);
    bool connected = file >= 0 && connect(file, each->ai_addr, each->ai_addrlen) == 0;
    if (file >= 0) {
        close(file);
    }
    return connected;
}

bool http_address_find(const char *url, struct http_address *address, struct error *error) {
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    char host[256], service[16];
    if (!split_url(url, host, sizeof host, service, sizeof service, address, error)) {
        return false;
    }
    int failure = getaddrinfo(host, service, &hints, &list);
    if (failure != 0) {
        return error_set(error, ERROR_NETWORK, "%s: %s", host, gai_strerror(failure));
    }
    const struct addrinfo *each = list;
    while (each != NULL && !answers(each)) {
        each = each->ai_next;
    }
    if (each != NULL) {
        memcpy(&address->socket, each->ai_addr, each->ai_addrlen);
        address->socket_length = each->ai_addrlen;
    }
    freeaddrinfo(list);
    return each != NULL ||
           error_set(error, ERROR_NETWORK, "no server answers on %s; start it, or give its address",
                     address->authority);
}

/* ---- connections ---- */

static void release(struct http_call *call) {
    if (call->connection != NULL) {
        bufferevent_free(call->connection);
    }
    if (call->request != NULL) {
        evbuffer_free(call->request);
    }
    free(call);
}

static void call_free(struct http_call *call) {
    LIST_REMOVE(call, link);
    release(call);
}

static void calls_free(struct http_calls *calls) {
    struct http_call *next;
    for (struct http_call *call = LIST_FIRST(calls); call != NULL; call = next) {
        next = LIST_NEXT(call, link);
        release(call);
    }
}

static bool open_connection(struct http_call *call);

/* A connection that the server had closed meanwhile, which only the next request finds out. */
static bool try_again(struct http_call *call) {
    if (!call->is_reused || call->answer.has_begun) {
        return false;
    }
    call->is_reused = false;
    call->is_connected = false;
    bufferevent_free(call->connection);
    call->connection = NULL;
    return open_connection(call);
}

static void finish(struct http_call *call, enum http_outcome outcome) {
    struct http_client *client = call->client;
    void *context = call->context;
    int status = call->answer.status;
    LIST_REMOVE(call, link);
    LIST_INSERT_HEAD(&client->idle, call, link);
    if (outcome != HTTP_COMPLETE || !http_answer_keeps_connection(&call->answer)) {
        call_free(call);
    }
    client->handler->end(context, outcome, status);
}

static void on_body(void *context, const char *bytes, size_t length) {
    struct http_call *call = context;
    call->client->handler->body(call->context, call->answer.status, bytes, length);
}

static void on_readable(struct bufferevent *connection, void *context) {
    struct http_call *call = context;
    struct evbuffer *input = bufferevent_get_input(connection);
    if (http_answer_is_idle(&call->answer)) { /* nobody asked for this */
        call_free(call);
        return;
    }
    switch (http_answer_read(&call->answer, input, on_body, call)) {
    case HTTP_ANSWER_MORE:
        break;
    case HTTP_ANSWER_WHOLE:
        finish(call, HTTP_COMPLETE);
        break;
    case HTTP_ANSWER_BAD:
        finish(call, HTTP_MALFORMED);
        break;
    }
}

/* Of a connection that no request uses, or one that a request does. */
static void on_event(struct bufferevent *connection, short what, void *context) {
    struct http_call *call = context;
    (void)connection;
    if ((what & BEV_EVENT_CONNECTED) != 0) {
        call->is_connected = true;
    } else if (http_answer_is_idle(&call->answer)) {
        call_free(call);
    } else if ((what & BEV_EVENT_TIMEOUT) != 0) {
        finish(call, HTTP_TIMED_OUT);
    } else if ((what & BEV_EVENT_EOF) != 0 && http_answer_ends_with_connection(&call->answer)) {
        finish(call, HTTP_COMPLETE);
    } else if (!try_again(call)) {
        finish(call, call->is_connected ? HTTP_LOST : HTTP_REFUSED);
    }
}

static void send_request(struct http_call *call) {
    struct evbuffer *output = bufferevent_get_output(call->connection);
    bufferevent_set_timeouts(call->connection, &call->client->timeout, &call->client->timeout);
    evbuffer_add_buffer_reference(output, call->request);
}

static bool open_connection(struct http_call *call) {
    const struct http_address *address = call->client->address;
    int yes = 1;
    int file = socket(address->socket.ss_family, SOCK_STREAM, 0);
    if (file < 0) {
        return false;
    }
    evutil_make_socket_nonblocking(file);
    evutil_make_socket_closeonexec(file);
    setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    call->connection = bufferevent_socket_new(call->client->base, file,
                                              BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
    if (call->connection == NULL) {
        close(file);
        return false;
    }
    bufferevent_setcb(call->connection, on_readable, NULL, on_event, call);
    bufferevent_enable(call->connection, EV_READ | EV_WRITE);
    send_request(call);
    /* A failure that shows at once comes to on_event all the same: callbacks are deferred. */
    (void)bufferevent_socket_connect(call->connection, (const struct sockaddr *)&address->socket,
                                     (int)address->socket_length);
    return true;
}

static bool write_request(struct http_call *call, const char *path, const char *body,
                          size_t length) {
    const struct http_client *client = call->client;
    call->request = evbuffer_new();
    if (call->request == NULL) {
        return false;
    }
    int done = evbuffer_add_printf(call->request, "%s %s%s HTTP/1.1\r\nHost: %s\r\n",
                                   body == NULL ? "GET" : "POST", client->address->path, path,
                                   client->address->authority);
    if (done >= 0 && client->key != NULL) {
        done = evbuffer_add_printf(call->request, "Authorization: Bearer %s\r\n", client->key);
    }
    if (done >= 0 && body != NULL) {
        done = evbuffer_add_printf(
            call->request, "Content-Type: application/json\r\nContent-Length: %zu\r\n", length);
    }
    return done >= 0 && evbuffer_add(call->request, "\r\n", 2) == 0 &&
           (length == 0 || evbuffer_add(call->request, body, length) == 0);
}

/* ---- the client ---- */

struct http_client *http_client_create(struct event_base *base, const struct http_address *address,
                                       const char *key, double timeout_seconds,
                                       const struct http_handler *handler) {
    struct http_client *client = calloc(1, sizeof *client);
    if (client != NULL) {
        client->base = base;
        client->address = address;
        client->key = key;
        client->handler = handler;
        client->timeout.tv_sec = (time_t)timeout_seconds;
        client->timeout.tv_usec =
            (suseconds_t)((timeout_seconds - (double)client->timeout.tv_sec) * 1e6);
        LIST_INIT(&client->busy);
        LIST_INIT(&client->idle);
    }
    return client;
}

void http_client_free(struct http_client *client) {
    if (client != NULL) {
        calls_free(&client->busy);
        calls_free(&client->idle);
        free(client);
    }
}

struct http_call *http_client_send(struct http_client *client, const char *path, const char *body,
                                   size_t length, void *context) {
    struct http_call *call = LIST_FIRST(&client->idle);
    bool is_reused = call != NULL;
    if (is_reused) {
        LIST_REMOVE(call, link);
        evbuffer_free(call->request);
        call->request = NULL;
    } else {
        call = calloc(1, sizeof *call);
        if (call == NULL) {
            return NULL;
        }
        call->client = client;
    }
    LIST_INSERT_HEAD(&client->busy, call, link);
    call->context = context;
    call->is_reused = is_reused;
    http_answer_begin(&call->answer);
    bool sent = write_request(call, path, body, length);
    if (sent && is_reused) {
        send_request(call);
    } else if (sent) {
        sent = open_connection(call);
    }
    if (!sent) {
        call_free(call);
    }
    return sent ? call : NULL;
}

void http_call_cancel(struct http_call *call) {
    call_free(call);
}

/* ---- one request ---- */

struct fetch {
    struct event_base *base;
    struct string_buffer *answer;
    size_t limit;
    int status;
};

static void fetch_body(void *context, int status, const char *bytes, size_t length) {
    struct fetch *fetch = context;
    (void)status;
    if (fetch->answer->length + length <= fetch->limit) {
        string_buffer_append(fetch->answer, bytes, length);
    }
}

static void fetch_end(void *context, enum http_outcome outcome, int status) {
    struct fetch *fetch = context;
    fetch->status = outcome == HTTP_COMPLETE ? status : 0;
    event_base_loopbreak(fetch->base);
}

int http_fetch(const struct http_address *address, const char *key, double timeout_seconds,
               const char *path, const char *body, size_t limit, struct string_buffer *answer) {
    static const struct http_handler handler = {fetch_body, fetch_end};
    struct fetch fetch = {.base = event_base_new(), .answer = answer, .limit = limit};
    struct http_client *client = fetch.base == NULL ? NULL
                                                    : http_client_create(fetch.base, address, key,
                                                                         timeout_seconds, &handler);
    if (client != NULL &&
        http_client_send(client, path, body, body == NULL ? 0 : strlen(body), &fetch) != NULL) {
        event_base_dispatch(fetch.base);
    }
    http_client_free(client);
    if (fetch.base != NULL) {
        event_base_free(fetch.base);
    }
    return fetch.status;
}
