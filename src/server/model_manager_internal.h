/*
 * model_manager_internal.h - what the parts of the model manager share: its records, and how they
 * change. Loop thread, but for what model_manager.h says of the workers.
 *
 * model_names.c knows what names mean, model_loading.c loads and unloads, model_manager.c hands out
 * leases.
 */
#ifndef MISTRAL_SERVER_MODEL_MANAGER_INTERNAL_H
#define MISTRAL_SERVER_MODEL_MANAGER_INTERNAL_H

#include "server/model_manager.h"

#include <stdatomic.h>

struct event;

/* What a request may call a model, and what the store says of it. */
struct model_name {
    TAILQ_ENTRY(model_name) link;
    struct managed_model *model;
    char *asked;
    struct hub_model entry;
    size_t users; /* leases that wait or are held, and one of the adopted model's first name */
    bool is_listed;
    bool has_told_template; /* the log has the line about its template */
};
TAILQ_HEAD(model_name_list, model_name);

struct managed_model {
    struct task task; /* first: loading or unloading */
    TAILQ_ENTRY(managed_model) link;
    struct model_manager *manager;
    char *path; /* without symbolic links: one file is one model */
    char *id;   /* what answers and lists call it: the first name it was found by */
    enum model_state state;
    struct served_model served; /* the loader's while LOADING and UNLOADING */
    struct error error;         /* of the last load, or why what was loaded was lost */
    bool has_failed;            /* the last load did */
    bool is_lost;               /* it is unloaded because its file changed while it was in use */
    bool may_shrink;            /* this load may take a smaller KV pool than is asked for */
    atomic_int loaded_permille;
    size_t lease_count;              /* held */
    struct model_lease_list waiting; /* for the load */
    struct model_name_list names;
    bool is_adopted;
    int64_t used_ns;    /* when the last lease was released */
    int64_t expires_ns; /* monotonic; INT64_MAX: never */
};
TAILQ_HEAD(managed_model_list, managed_model);

/* A name that is being looked up. */
struct lookup {
    struct task task; /* first */
    TAILQ_ENTRY(lookup) link;
    struct model_manager *manager;
    char *name;
    struct hub_model found; /* the worker's while it runs, like all below */
    bool is_found;
    struct error error;
    bool is_stale; /* the loop's: what names mean has changed since */
    struct model_lease_list waiting;
};
TAILQ_HEAD(lookup_list, lookup);

struct model_manager {
    struct model_manager_options options;
    struct managed_model_list models;
    struct lookup_list lookups;
    struct model_name *adopted; /* NULL: none */
    struct event *timer;
    size_t under_way;       /* tasks that the workers have */
    uint64_t planned_bytes; /* the loader's: of all models that are loaded, by their plans */
};

/* --- model_names.c --- */

struct model_name *model_names_find(const struct model_manager *manager, const char *name);
/* Whether two spellings mean one name: case does not count, and neither does ":latest". */
bool model_names_match(const char *a, const char *b);
/* Takes `entry` over, also when memory runs out (NULL). */
struct model_name *model_names_add(struct managed_model *model, const char *asked,
                                   struct hub_model *entry);
/* It is found no more; who uses it may go on. */
void model_names_unlist(struct model_name *name);
void model_names_unlist_all(struct managed_model *model);
void model_names_drop_user(struct model_name *name);
/* Has the files worker look the name up; `lease` waits for it. */
void model_names_look_up(struct model_manager *manager, const char *name,
                         struct model_lease *lease);

/* --- model_loading.c --- */

struct managed_model *model_loading_add(struct model_manager *manager, const char *path,
                                        const char *id); /* NULL: no memory */
/* Neither loaded nor waited for. */
void model_loading_free(struct managed_model *model);
void model_loading_begin(struct managed_model *model);
/* Nobody uses it, nobody waits for it. */
bool model_loading_is_idle(const struct managed_model *model);
/* It is loaded, and its file has changed since: nothing comes of it any more. */
bool model_loading_is_lost(const struct managed_model *model);
/* Unloads a lost model once nobody uses it; who waits for it gets what a new load brings. */
void model_loading_drop_lost(struct managed_model *model);
uint64_t model_loading_bytes(const struct managed_model *model);
void model_loading_set_expiry(struct managed_model *model, double keep_alive);
/* Unloads what has been idle long enough or is too much, and sets the timer for what comes next. */
void model_loading_tidy(struct model_manager *manager);
void model_loading_on_timer(int socket, short what, void *manager);

/* --- model_manager.c --- */

void model_lease_wait(struct model_lease *lease, struct model_lease_list *queue);
void model_lease_leave(struct model_lease *lease);
/* Gives the lease its model, or has it wait for the load, which begins when it has not. */
void model_lease_use(struct model_lease *lease, struct model_name *name);
void model_lease_grant(struct model_lease *lease, struct managed_model *model);
void model_lease_fail(struct model_lease *lease, const struct error *error);
void model_lease_fail_all(struct model_lease_list *queue, const struct error *error);

#endif
