/*
 * server.c - see server.h. Starts the parts, turns the loop, and ends them in order.
 */
#include "server/server.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/json_memory.h"
#include "base/log.h"
#include "base/processors.h"
#include "server/routes.h"
#include "server/server_internal.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    DESCRIPTORS_FOR_THE_REST = 256, /* beside connections: model files, logs, pipes, refusals */
    WAKE_TRIES = 100,               /* of writing to a pipe: without it the loop would sleep on */
    MAX_ALIASES = 8,                /* of the model that is named at start */
};

/* Of a file that is uploaded; the disk is the nearer bound. */
#define MAX_MODEL_FILE_BYTES (UINT64_C(1) << 40)

static const int64_t last_wait_ns = 1000000000; /* for the engine, when all must end at once */

struct server_options server_options_default(void) {
    return (struct server_options){
        .host = "127.0.0.1",
        .port = 8080,
        .default_temperature = 0.7f,
        .ollama_temperature = 0.8f,
        .version = "",
        .commit = "",
        .max_connections = 1024,
        .max_head_bytes = 32 * 1024,
        .max_header_count = 100,
        .max_body_bytes = 16 * 1024 * 1024,
        .max_bodies_bytes = 256 * 1024 * 1024,
        .max_queued_bytes = 1024 * 1024,
        .max_answer_bytes = 64 * 1024 * 1024,
        .max_choices = 16,
        .head_timeout = 15.0,
        .body_timeout = 60.0,
        .idle_timeout = 75.0,
        .write_timeout = 30.0,
        .drain_timeout = 30.0,
    };
}

/* --- answers --- */

void server_send_json(struct http_connection *connection, int status,
                      const struct string_buffer *json) {
    static const char no_memory[] = "{\"error\":{\"message\":\"The server is out of memory.\","
                                    "\"type\":\"server_error\",\"param\":null,\"code\":null}}";
    if (json == NULL) {
        http_respond(connection, status, NULL, NULL, 0);
    } else if (json->failed) {
        http_respond(connection, 500, "application/json", no_memory, sizeof no_memory - 1);
    } else {
        http_respond(connection, status, "application/json", string_buffer_text(json),
                     json->length);
    }
}

void server_send_error(struct http_connection *connection, const char *route,
                       const struct api_error *error) {
    struct string_buffer json = {0};
    api_error_write_as(error, api_dialect_of(route), &json);
    server_metrics_failed(connection, error);
    if (error->status == 503) {
        http_add_header(connection, "Retry-After", "1");
    }
    server_send_json(connection, error->status, &json);
    string_buffer_deinit(&json);
}

static void log_request(const struct http_connection *connection, const char *route, int status) {
    int64_t elapsed = clock_now_ns() - http_connection_started_ns(connection);
    /* Whoever asks every few seconds whether all is well would drown the rest. */
    bool is_probe = status == 200 && strcmp(route, "/health") == 0;
    log_event(is_probe ? LOG_DEBUG : LOG_INFO, "request",
              log_text("id", http_connection_request_id(connection)), log_text("route", route),
              log_integer("status", status), log_number("seconds", clock_seconds(elapsed)));
}

void server_respond_json(struct http_connection *connection, const char *route, int status,
                         const struct string_buffer *json) {
    log_request(connection, route, status);
    server_send_json(connection, status, json);
}

void server_respond_text(struct http_connection *connection, const char *route, int status,
                         const char *text) {
    log_request(connection, route, status);
    http_respond(connection, status, "text/plain; charset=utf-8", text, strlen(text));
}

void server_respond_empty(struct http_connection *connection, const char *route, int status) {
    log_request(connection, route, status);
    http_respond(connection, status, NULL, NULL, 0);
}

void server_respond_error(struct http_connection *connection, const char *route,
                          const struct api_error *error) {
    log_request(connection, route, error->status);
    server_send_error(connection, route, error);
}

/* --- messages from the other threads --- */

static void wake(void *context) {
    struct server *server = context;
    for (int i = 0; i < WAKE_TRIES; i++) {
        if (write(server->wake_write, "", 1) == 1 || errno == EAGAIN) {
            return; /* a full pipe is a wake-up already */
        }
    }
}

static void end_loop_when_idle(struct server *server) {
    if (server->signal_count != 0 && LIST_EMPTY(&server->generations) &&
        http_server_connection_count(server->http) == 0 && !model_manager_is_busy(server->models)) {
        event_base_loopbreak(server->base);
    }
}

static void receive(struct server *server) {
    struct mailbox_message *message = mailbox_receive_all(&server->prepared);
    while (message != NULL) {
        struct mailbox_message *next = message->next;
        generation_prepared((struct generation *)message);
        message = next;
    }
    message = mailbox_receive_all(&server->engine_events);
    while (message != NULL) {
        struct mailbox_message *next = message->next;
        generation_event((struct engine_event *)message);
        message = next;
    }
    task_receive_all(&server->tasks_done, 0);
}

static void on_wake(evutil_socket_t socket, short what, void *context) {
    (void)what;
    struct server *server = context;
    char bytes[64];
    while (read(socket, bytes, sizeof bytes) > 0) {
    }
    receive(server);
}

static void on_second(evutil_socket_t socket, short what, void *context) {
    (void)socket;
    (void)what;
    struct server *server = context;
    server_metrics_sample(&server->metrics);
}

/* --- ending --- */

static void stop_all(struct server *server) {
    struct api_error error;
    api_error_set(&error, 503, "server_stopped", NULL, "The server is shutting down.");
    struct generation *generation, *next;
    for (generation = LIST_FIRST(&server->generations); generation != NULL; generation = next) {
        next = LIST_NEXT(generation, link);
        generation_stop(generation, &error);
    }
}

/* The time to finish is over: what runs is told so, and has a moment to take the answer. */
static void on_drain_over(evutil_socket_t socket, short what, void *context) {
    (void)socket;
    (void)what;
    static const struct timeval moment = {.tv_sec = 1};
    struct server *server = context;
    log_event(LOG_WARN, "drain_over", log_number("seconds", server->options->drain_timeout));
    stop_all(server);
    event_base_loopexit(server->base, &moment);
}

static void on_signal(evutil_socket_t signal_number, short what, void *context) {
    (void)what;
    struct server *server = context;
    server->signal_count++;
    log_event(LOG_INFO, "stopping", log_integer("signal", signal_number),
              log_bool("at_once", server->signal_count > 1));
    if (server->signal_count > 1) {
        event_base_loopbreak(server->base);
        return;
    }
    double seconds = server->options->drain_timeout;
    struct timeval limit = {.tv_sec = (time_t)seconds,
                            .tv_usec = (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6)};
    evtimer_add(server->drain_event, &limit);
    http_server_drain(server->http);
}

/* After the loop: no connections, and the engines' last words, for a moment. */
static void finish_generations(struct server *server) {
    http_server_drop_all(server->http);
    stop_all(server);
    preparer_free(server->preparer);
    server->preparer = NULL;
    int64_t until = clock_now_ns() + last_wait_ns;
    receive(server);
    while (!LIST_EMPTY(&server->generations) && clock_now_ns() < until) {
        struct mailbox_message *message =
            mailbox_wait_all(&server->engine_events, until - clock_now_ns());
        while (message != NULL) {
            struct mailbox_message *next = message->next;
            generation_event((struct engine_event *)message);
            message = next;
        }
    }
    while (model_manager_is_busy(server->models) && clock_now_ns() < until) {
        task_receive_all(&server->tasks_done, until - clock_now_ns());
    }
    server->abandoned_engines =
        !LIST_EMPTY(&server->generations) || model_manager_is_busy(server->models);
    if (!server->abandoned_engines) {
        worker_free(server->loader);
        worker_free(server->downloads);
        worker_free(server->changes);
        worker_free(server->files);
        server->loader = NULL;
        server->downloads = NULL;
        server->changes = NULL;
        server->files = NULL;
        task_receive_all(&server->tasks_done, 0);
    }
}

/* --- starting --- */

/* Each connection is a descriptor: raise the soft limit as far as allowed, and live with less. */
static size_t fit_connections(size_t wanted) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return wanted;
    }
    rlim_t needed = (rlim_t)wanted + DESCRIPTORS_FOR_THE_REST;
    if (limit.rlim_cur < needed) {
        limit.rlim_cur =
            limit.rlim_max == RLIM_INFINITY || needed < limit.rlim_max ? needed : limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= needed) {
            return wanted;
        }
        size_t fits = limit.rlim_cur > 2 * DESCRIPTORS_FOR_THE_REST
                          ? (size_t)limit.rlim_cur - DESCRIPTORS_FOR_THE_REST
                          : (size_t)limit.rlim_cur / 2;
        log_event(LOG_WARN, "fewer_connections", log_integer("wanted", (int64_t)wanted),
                  log_integer("allowed", (int64_t)fits),
                  log_text("advice", "raise the limit of open files (ulimit -n)"));
        return fits;
    }
    return wanted;
}

static bool open_wake_pipe(struct server *server, struct error *error) {
    int ends[2];
    if (pipe(ends) != 0) {
        return error_set_errno(error, errno, "cannot open a pipe");
    }
    server->wake_read = ends[0];
    server->wake_write = ends[1];
    for (size_t i = 0; i < 2; i++) {
        if (fcntl(ends[i], F_SETFL, O_NONBLOCK) != 0 || fcntl(ends[i], F_SETFD, FD_CLOEXEC) != 0) {
            return error_set_errno(error, errno, "cannot set up a pipe");
        }
    }
    return true;
}

static bool add_events(struct server *server, struct error *error) {
    server->base = event_base_new();
    if (server->base == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the event loop");
    }
    server->wake_event =
        event_new(server->base, server->wake_read, EV_READ | EV_PERSIST, on_wake, server);
    server->terminate_event = evsignal_new(server->base, SIGTERM, on_signal, server);
    server->interrupt_event = evsignal_new(server->base, SIGINT, on_signal, server);
    server->drain_event = evtimer_new(server->base, on_drain_over, server);
    server->second_event = event_new(server->base, -1, EV_PERSIST, on_second, server);
    static const struct timeval second = {.tv_sec = 1};
    if (server->wake_event == NULL || server->second_event == NULL ||
        server->terminate_event == NULL || server->interrupt_event == NULL ||
        server->drain_event == NULL || event_add(server->wake_event, NULL) != 0 ||
        event_add(server->second_event, &second) != 0 ||
        event_add(server->terminate_event, NULL) != 0 ||
        event_add(server->interrupt_event, NULL) != 0) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the event loop");
    }
    return true;
}

/* The second port is often taken: by Ollama itself. Unless it was asked for, serving goes on
 * without it. *port is 0 when there is none. */
static bool listen_for_ollama(struct server *server, bool loopback_only, uint16_t *port,
                              struct error *error) {
    const struct server_options *options = server->options;
    struct error reason = {0};
    *port = 0;
    if (options->ollama_port == 0 ||
        http_server_listen(server->http, options->host, options->ollama_port, loopback_only, port,
                           &reason)) {
        return true;
    }
    if (options->needs_ollama_port) {
        *error = reason;
        return false;
    }
    log_event(LOG_WARN, "no_ollama_port", log_text("reason", reason.message),
              log_text("advice", "stop what listens there, name another with --ollama-port, or "
                                 "turn it off with --ollama-port 0"));
    return true;
}

/* For the log: the model that was named at start, or the one that will be loaded when asked for. */
static const char *start_model(const struct server *server) {
    struct model_status status;
    if (model_manager_find(server->models, "", &status)) {
        return status.name;
    }
    return server->options->default_model == NULL ? "" : server->options->default_model;
}

static bool set_access(struct server *server, struct error *error) {
    const struct server_options *options = server->options;
    for (size_t i = 0; i < options->allowed_host_count; i++) {
        if (!access_is_host(options->allowed_hosts[i])) {
            return error_set(error, ERROR_INVALID_ARGUMENT,
                             "allowed_hosts: '%s' is no name or address of a host; neither a port "
                             "nor http:// belongs there",
                             options->allowed_hosts[i]);
        }
    }
    if (gethostname(server->own_name, sizeof server->own_name - 1) != 0) {
        server->own_name[0] = '\0';
    }
    server->access = (struct access_rules){
        .api_key = options->api_key,
        .allowed_origins = options->allowed_origins,
        .allowed_origin_count = options->allowed_origin_count,
        .allowed_hosts = options->allowed_hosts,
        .allowed_host_count = options->allowed_host_count,
        .own_name = server->own_name,
        .is_loopback = http_server_is_loopback(server->http),
    };
    return true;
}

static bool start_http(struct server *server, struct error *error) {
    const struct server_options *options = server->options;
    size_t max_connections = fit_connections(options->max_connections);
    const struct http_server_options http_options = {
        .limits = {.max_head_bytes = options->max_head_bytes,
                   .max_header_count = options->max_header_count,
                   .max_body_bytes = options->max_body_bytes,
                   .is_large = routes_takes_large_body,
                   .max_large_body_bytes = MAX_MODEL_FILE_BYTES},
        .max_connections = max_connections,
        .max_per_address = options->max_connections_per_address != 0
                               ? options->max_connections_per_address
                               : size_max(max_connections / 4 * 3, 1),
        .bounds_own_address = options->max_connections_per_address != 0,
        .max_bodies_bytes = size_max(options->max_bodies_bytes, options->max_body_bytes),
        .max_queued_bytes = options->max_queued_bytes,
        .head_timeout = options->head_timeout,
        .body_timeout = options->body_timeout,
        .idle_timeout = options->idle_timeout,
        .write_timeout = options->write_timeout,
    };
    const struct http_handler handler = {.context = server,
                                         .head = routes_head,
                                         .request = routes_request,
                                         .refused = routes_refused,
                                         .ended = routes_ended,
                                         .is_vital = routes_is_vital,
                                         .displaced = routes_displaced,
                                         .piece = routes_piece};
    bool has_key = options->api_key != NULL && options->api_key[0] != '\0';
    bool loopback_only = !has_key && !options->allow_no_key;
    uint16_t port, ollama_port;
    if (!http_server_create(server->base, &http_options, &handler, &server->http, error) ||
        !http_server_listen(server->http, options->host, options->port, loopback_only, &port,
                            error) ||
        !listen_for_ollama(server, loopback_only, &ollama_port, error) ||
        !set_access(server, error)) {
        return false;
    }
    log_event(LOG_INFO, "listening", log_text("host", options->host), log_integer("port", port),
              log_integer("ollama_port", ollama_port), log_text("model", start_model(server)),
              log_bool("api_key", has_key));
    if (options->listening != NULL) {
        options->listening(options->listening_context, options->host, port);
    }
    return true;
}

static void free_event(struct event *event) {
    if (event != NULL) {
        event_free(event);
    }
}

static void close_server(struct server *server) {
    http_server_free(server->http);
    preparer_free(server->preparer);
    if (!server->abandoned_engines) {
        worker_free(server->loader);
        worker_free(server->downloads);
        worker_free(server->changes);
        worker_free(server->files);
        model_manager_free(server->models);
    }
    free_event(server->wake_event);
    free_event(server->terminate_event);
    free_event(server->interrupt_event);
    free_event(server->drain_event);
    free_event(server->second_event);
    if (server->base != NULL && !server->abandoned_engines) { /* the models' timer belongs to it */
        event_base_free(server->base);
    }
    if (!server->abandoned_engines) { /* which may yet write to the pipe */
        close(server->wake_read);
        close(server->wake_write);
    }
}

/* The loop ends when a signal has come and nothing is left to finish, or a moment after that took
 * too long, or at a second signal. */
static void turn_loop(struct server *server) {
    while (!event_base_got_exit(server->base) && !event_base_got_break(server->base)) {
        if (event_base_loop(server->base, EVLOOP_ONCE) != 0) {
            break;
        }
        end_loop_when_idle(server);
    }
}

static bool open_mailboxes(struct server *server, struct error *error) {
    struct mailbox *boxes[] = {&server->engine_events, &server->prepared, &server->tasks_done};
    for (size_t i = 0; i < sizeof boxes / sizeof boxes[0]; i++) {
        if (!mailbox_init(boxes[i], wake, server)) {
            while (i > 0) {
                mailbox_deinit(boxes[--i]);
            }
            return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the server");
        }
    }
    return true;
}

static void close_mailboxes(struct server *server) {
    mailbox_deinit(&server->engine_events);
    mailbox_deinit(&server->prepared);
    mailbox_deinit(&server->tasks_done);
}

/* The workers and the manager of models; *engine is NULL once the manager has it. */
static bool start_models(struct server *server, struct engine **engine, struct error *error) {
    const struct server_options *options = server->options;
    if (!worker_create(&server->tasks_done, &server->files, error) ||
        !worker_create(&server->tasks_done, &server->loader, error) ||
        !worker_create(&server->tasks_done, &server->changes, error) ||
        !worker_create(&server->tasks_done, &server->downloads, error)) {
        return false;
    }
    const struct model_manager_options wanted = {
        .config = options->config,
        .engine = options->engine,
        .served = {.default_temperature = options->default_temperature,
                   .max_choices = options->max_choices},
        .default_model = options->default_model,
        .max_idle_bytes = options->model_cache_bytes,
        .base = server->base,
        .files = server->files,
        .loader = server->loader,
    };
    if (!model_manager_create(&wanted, &server->models, error)) {
        return false;
    }
    if (*engine == NULL) {
        return true;
    }
    const char *names[1 + MAX_ALIASES];
    size_t count = 0;
    names[count++] = options->model_id == NULL ? engine_info(*engine)->name : options->model_id;
    for (size_t i = 0; i < options->model_alias_count && count < 1 + MAX_ALIASES; i++) {
        names[count++] = options->model_aliases[i];
    }
    if (!model_manager_adopt(server->models, *engine, names, count, options->model_entry, error)) {
        return false;
    }
    *engine = NULL;
    return true;
}

static bool start_preparer(struct server *server, struct error *error) {
    const struct server_options *options = server->options;
    size_t threads = options->preparers != 0 ? options->preparers
                                             : preparer_default_threads(processors_physical());
    return preparer_create(threads, &server->prepared, options->metrics, &server->preparer, error);
}

bool server_run(const struct server_options *options, struct engine *engine, struct error *error) {
    struct server *server = calloc(1, sizeof *server);
    if (server == NULL || !open_mailboxes(server, error)) {
        free(server);
        engine_free(engine);
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the server");
    }
    server->options = options;
    server->wake_read = -1;
    server->wake_write = -1;
    LIST_INIT(&server->generations);
    json_memory_fill();
    json_set_alloc_funcs(json_memory_allocate, json_memory_free);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct sigaction before;
    sigaction(SIGPIPE, &ignore, &before); /* a write to a closed socket is an error, not an end */
    server_metrics_init(&server->metrics, options);
    bool ok = open_wake_pipe(server, error) && add_events(server, error) &&
              start_models(server, &engine, error) && start_preparer(server, error) &&
              start_http(server, error);
    if (ok) {
        turn_loop(server);
        finish_generations(server);
        log_event(LOG_INFO, "stopped", log_bool("engine_done", !server->abandoned_engines));
    }
    bool abandoned_engines = server->abandoned_engines;
    close_server(server);
    sigaction(SIGPIPE, &before, NULL);
    if (abandoned_engines) { /* they still hold the mailboxes */
        return error_set(error, ERROR_CANCELLED, "ended before the engine had ended its requests");
    }
    engine_free(engine);
    close_mailboxes(server);
    free(server);
    return ok;
}
