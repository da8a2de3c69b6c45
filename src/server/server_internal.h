/* server_internal.h - what the parts of one running server share. Loop thread, but for what
 * preparer.h says. */
#ifndef MISTRAL_SERVER_SERVER_INTERNAL_H
#define MISTRAL_SERVER_SERVER_INTERNAL_H

#include "base/mailbox.h"
#include "server/access.h"
#include "server/api_error.h"
#include "server/generation.h"
#include "server/http_server.h"
#include "server/model_manager.h"
#include "server/preparer.h"
#include "server/server.h"
#include "server/server_metrics.h"
#include "server/worker.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event;
struct event_base;

/* http_connection_listener of those who came in by the second port. */
enum { OLLAMA_LISTENER = 1 };

struct server {
    const struct server_options *options;
    struct model_manager *models;
    struct worker *files;  /* short work with files */
    struct worker *loader; /* of models */
    struct worker *downloads;
    struct worker *changes; /* of the models folder: may hash, write and sync whole models */
    size_t upload_count;    /* under way */
    struct access_rules access;
    char own_name[256]; /* the machine's, for `access` */
    struct event_base *base;
    struct http_server *http;
    struct preparer *preparer;
    struct server_metrics metrics;
    struct mailbox engine_events;
    struct mailbox prepared;   /* generations whose body has been read, or has become tokens */
    struct mailbox tasks_done; /* of all workers */
    int wake_read, wake_write; /* a pipe: a byte in it says that a mailbox has something */
    struct event *wake_event, *terminate_event, *interrupt_event, *drain_event, *second_event;
    struct generation_list generations;
    int signal_count;
    bool abandoned_engines; /* ended at once while an engine held requests, or was being loaded */
};

/* Answers with JSON and writes the request's log line. `route` is its pattern, for the log. */
void server_respond_json(struct http_connection *connection, const char *route, int status,
                         const struct string_buffer *json);
void server_respond_error(struct http_connection *connection, const char *route,
                          const struct api_error *error);
/* Plain text; the same log line. */
void server_respond_text(struct http_connection *connection, const char *route, int status,
                         const char *text);
/* No body at all. */
void server_respond_empty(struct http_connection *connection, const char *route, int status);
/* The same without a log line, for a request that writes its own. */
void server_send_json(struct http_connection *connection, int status,
                      const struct string_buffer *json);
void server_send_error(struct http_connection *connection, const char *route,
                       const struct api_error *error);

#endif
