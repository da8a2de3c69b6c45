/*
 * server.h - serves models over HTTP: the OpenAI and the Ollama API, with every client bounded.
 *
 * The calling thread becomes the event loop and owns all sockets. It never waits for an engine: it
 * submits, cancels, and hears of tokens through a mailbox. Other threads of the server turn request
 * bodies into tokens (preparer.h), so that a long prompt delays nobody else's answer; one loads and
 * unloads models (model_manager.h), one looks into files.
 */
#ifndef MISTRAL_SERVER_SERVER_H
#define MISTRAL_SERVER_SERVER_H

#include "base/error.h"
#include "config/config.h"
#include "engine/engine.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Filled from the configuration by cli/; everything pointed to must outlive server_run. */
struct server_options {
    const char *host;
    uint16_t port;          /* 0: any that is free */
    uint16_t ollama_port;   /* the second port; 0: none. The same routes, but for `/` */
    bool needs_ollama_port; /* one that cannot be had is a failure, not only a warning */
    const char *api_key;    /* NULL or empty: none is asked for */
    bool allow_no_key;      /* listen where other machines can reach it although there is no key */
    const char *const *allowed_origins; /* [allowed_origin_count]; "*" allows every page */
    size_t allowed_origin_count;
    const char *const
        *allowed_hosts; /* [allowed_host_count]: names that this server is reached by */
    size_t allowed_host_count;

    /* Of the engine that server_run is given. */
    const struct hub_model *model_entry; /* what its store says of it; NULL: it lies in none */
    const char *model_id;                /* NULL: the engine's name for its model */
    const char *const *model_aliases;    /* [model_alias_count]; requests may use these names too */
    size_t model_alias_count;

    const struct config *config;         /* where other models are; NULL: there are none */
    const struct engine_options *engine; /* of models that requests ask for; NULL: the defaults */
    const char *default_model;           /* when server_run is given no engine; may be NULL */
    uint64_t model_cache_bytes;          /* of idle models that stay loaded */
    float default_temperature;           /* of requests that name none */
    float ollama_temperature;            /* the same for the Ollama API, whose default is another */

    bool log_prompts;             /* the bodies of requests; else nothing of them is logged */
    struct metrics *metrics;      /* what /metrics tells, and where the server counts */
    const char *version, *commit; /* of the program, for /metrics */

    size_t max_connections;
    size_t max_connections_per_address; /* 0: three quarters of them, and this machine's own
                                           addresses have no bound */
    size_t max_head_bytes;              /* of one request's line and headers */
    size_t max_header_count;            /* lines */
    size_t max_body_bytes;
    size_t max_bodies_bytes; /* of all requests that are not answered yet */
    size_t max_queued_bytes; /* of one stream, not yet taken by its client; then it is dropped */
    size_t max_answer_bytes; /* of one answer that is not streamed */
    size_t preparers;        /* threads that read requests; 0: as many as suit the machine */
    size_t max_choices;      /* n times prompts, of one request */
    double head_timeout;     /* seconds, each, from its start to its end */
    double body_timeout;
    double idle_timeout;
    double write_timeout; /* seconds without progress in sending */
    double drain_timeout; /* what runs when asked to stop has this long to finish */

    /* Called once, on the loop's thread, when connections are accepted. May be NULL. */
    void (*listening)(void *context, const char *host, uint16_t port);
    void *listening_context;
};

struct server_options server_options_default(void);

/* Serves until SIGTERM or SIGINT, then finishes what runs and returns true. A second signal ends it
 * at once. False: it could not start, or ERROR_CANCELLED: it ended at once while an engine still
 * held requests or was being loaded; what that may touch then stays allocated, and the caller
 * should leave the process at once. `engine` (NULL: none yet) is the model that was named at start;
 * it is freed here, in any case but ERROR_CANCELLED. Takes over SIGTERM, SIGINT and SIGPIPE while
 * it runs; one server a process. */
bool server_run(const struct server_options *options, struct engine *engine, struct error *error);

#endif
