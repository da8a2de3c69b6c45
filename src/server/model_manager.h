/*
 * model_manager.h - which models are loaded, which are on their way, and who uses them.
 *
 * A model is one file and one engine, with an engine thread of its own; several may be served at
 * once. Requests name models; a name is looked up in the stores (hub/), on the files worker, and a
 * model that is not there is loaded, on the loader, while the event loop goes on. Two requests for
 * one model load it once. A request holds a lease from `ready` to model_manager_release; a model
 * without leases is idle, and goes when its time (keep_alive) is over, or when the idle models hold
 * more than max_idle_bytes (least recently used first; the one used last stays until another is
 * loaded). A load that fails answers those who wait for it and touches no other model. A model
 * whose file changes while it is in use (engine_is_lost) goes as soon as its requests have failed;
 * the next request loads what the file is then.
 *
 * Everything here is called on the loop's thread. What a lease points to is constant while it is
 * held, and may be read by any thread.
 */
#ifndef MISTRAL_SERVER_MODEL_MANAGER_H
#define MISTRAL_SERVER_MODEL_MANAGER_H

#include "base/error.h"
#include "engine/engine.h"
#include "hub/hub.h"
#include "server/served_model.h"
#include "server/worker.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct event_base;
struct managed_model;
struct model_manager;
struct model_name;

/* A longer name is no model's. */
enum { MODEL_NAME_MOST_BYTES = 512 };

/* Seconds that a model stays after its last request, where the request does not say. */
#define MODEL_DEFAULT_KEEP_ALIVE 300.0

struct model_manager_options {
    const struct config *config;         /* the stores; NULL: only the model that is adopted */
    const struct engine_options *engine; /* of models that are loaded; NULL: the defaults */
    struct served_model_options served;
    const char *default_model; /* of requests that name none, when none was adopted; may be NULL */
    uint64_t max_idle_bytes;
    struct event_base *base;
    struct worker *files;  /* looks names up */
    struct worker *loader; /* loads and unloads */
};

/* Options are copied; what they point to must outlive the manager. */
bool model_manager_create(const struct model_manager_options *options,
                          struct model_manager **manager, struct error *error);

/* Takes over an engine that is loaded already: the model that was named at start. It answers
 * requests that name no model, and stays for ever, unless a request asks for its end (keep_alive
 * 0). `names` [name_count]: what requests may call it; the first is its id. `entry`: what its store
 * says of it, copied; NULL: it lies in none. */
bool model_manager_adopt(struct model_manager *manager, struct engine *engine,
                         const char *const *names, size_t name_count, const struct hub_model *entry,
                         struct error *error);

/* A load or an unload is under way: freeing must wait. */
bool model_manager_is_busy(const struct model_manager *manager);

/* Frees all engines. No lease may be left and it must not be busy. NULL allowed. */
void model_manager_free(struct model_manager *manager);

/* --- leases --- */

/* Embedded in whatever uses a model. Zeroed: not in use. */
struct model_lease {
    /* The model can be used (error NULL) until the lease is released, or why it cannot:
     * ERROR_NOT_FOUND for a name that is nowhere. May be called before model_manager_acquire
     * returns. Not called after a release. */
    void (*ready)(struct model_lease *lease, const struct error *error);
    /* From ready to release: */
    const struct served_model *model;
    const struct hub_model *entry; /* what the store says of the name that was asked for */

    /* The manager's. */
    struct model_manager *manager;
    struct model_name *name;
    TAILQ_ENTRY(model_lease) link;
    struct model_lease_list *queue; /* it waits in; NULL: it does not wait */
};
TAILQ_HEAD(model_lease_list, model_lease);

/* `name` as it stands in a request: never a path, except that of the adopted model. NULL or "": the
 * model for requests that name none. */
void model_manager_acquire(struct model_manager *manager, const char *name,
                           struct model_lease *lease);

/* Ends a lease, or the wait for one; nothing when it is not in use. `keep_alive` seconds from now
 * the model may go: 0 at once, negative never. */
void model_manager_release(struct model_lease *lease, double keep_alive);

/* --- seeing and steering --- */

enum model_state {
    MODEL_ABSENT, /* known (it was adopted) and not loaded */
    MODEL_LOADING,
    MODEL_READY,
    MODEL_UNLOADING,
    MODEL_FAILED, /* the last load, or the file of what was loaded; the next request tries again */
};

struct model_status {
    const char *name;                 /* its id */
    const char *path;                 /* of its file, without symbolic links */
    const struct hub_model *entry;    /* store, path, bytes, digest; NULL: no name is known now */
    const struct served_model *model; /* NULL: not loaded */
    enum model_state state;
    double loaded_fraction; /* 0 … 1, while loading */
    uint64_t bytes;         /* of memory, as far as it is known; 0 when not loaded */
    size_t lease_count;
    bool is_adopted;
    bool stays;            /* expires_at_ns means nothing: it stays for ever */
    int64_t expires_at_ns; /* wall clock; while it is in use, what it would be if that ended now */
    const char *failure;   /* MODEL_FAILED: why; else NULL */
};

const char *model_state_name(enum model_state state);

/* Calls `visit` for each model that is more than a name; what it is given lasts for the call. */
void model_manager_visit(const struct model_manager *manager,
                         void (*visit)(void *context, const struct model_status *status),
                         void *context);

/* Whether `name` (""; the adopted one) is a model's that is more than a name; *status as above. */
bool model_manager_find(const struct model_manager *manager, const char *name,
                        struct model_status *status);

/* Sets when a model may go without using it: 0 unloads it as soon as it is idle. False when no
 * model of that name is loaded. */
bool model_manager_keep(struct model_manager *manager, const char *name, double keep_alive);

/* To be called when what a name means has changed: it was overwritten or created. The next request
 * for it looks it up again; a model that is left without a name goes when it is idle. */
void model_manager_forget(struct model_manager *manager, const char *name);

/* To be called when what a name meant was deleted: as above, and the model goes as soon as it is
 * idle. The model that was named at start is then no longer: requests that name none get the
 * default model, if there is one. */
void model_manager_delete(struct model_manager *manager, const char *name);

#endif
