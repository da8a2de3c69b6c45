/* model_manager.c - see model_manager.h: leases, what can be seen, and the manager's own life. */
#include "server/model_manager.h"

#include "base/clock.h"
#include "base/log.h"
#include "server/model_manager_internal.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

const char *model_state_name(enum model_state state) {
    static const char *const names[] = {
        [MODEL_ABSENT] = "absent",       [MODEL_LOADING] = "loading", [MODEL_READY] = "ready",
        [MODEL_UNLOADING] = "unloading", [MODEL_FAILED] = "failed",
    };
    return names[state];
}

/* --- leases --- */

void model_lease_wait(struct model_lease *lease, struct model_lease_list *queue) {
    TAILQ_INSERT_TAIL(queue, lease, link);
    lease->queue = queue;
}

void model_lease_leave(struct model_lease *lease) {
    TAILQ_REMOVE(lease->queue, lease, link);
    lease->queue = NULL;
}

static void clear_lease(struct model_lease *lease) {
    if (lease->name != NULL) {
        model_names_drop_user(lease->name);
    }
    lease->name = NULL;
    lease->manager = NULL;
    lease->model = NULL;
    lease->entry = NULL;
}

void model_lease_fail(struct model_lease *lease, const struct error *error) {
    clear_lease(lease);
    lease->ready(lease, error);
}

/* Tells all in `queue`; each may come back while others still wait. */
void model_lease_fail_all(struct model_lease_list *queue, const struct error *error) {
    const struct error reason = *error;
    struct model_lease_list local;
    TAILQ_INIT(&local);
    struct model_lease *lease;
    while ((lease = TAILQ_FIRST(queue)) != NULL) {
        model_lease_leave(lease);
        model_lease_wait(lease, &local);
    }
    while ((lease = TAILQ_FIRST(&local)) != NULL) {
        model_lease_leave(lease);
        model_lease_fail(lease, &reason);
    }
}

/* Once for each name. Ollama's templates are Go's, which are not executed here. */
static void tell_template(struct model_name *name, const struct served_model *model) {
    const char *kept = name->entry.template_text;
    const char *own = model->info->chat_template;
    if (kept == NULL || name->has_told_template || (own != NULL && strcmp(own, kept) == 0)) {
        return;
    }
    name->has_told_template = true;
    log_event(LOG_INFO, "template_not_used", log_text("model", name->entry.name),
              log_text("note", own == NULL ? "the store's template is a Go template, which is not "
                                             "read, and the model file has none of its own"
                                           : "the model file's own template is used in place of "
                                             "the store's, which is a Go template"));
}

void model_lease_grant(struct model_lease *lease, struct managed_model *model) {
    model->lease_count++;
    lease->model = &model->served;
    lease->entry = &lease->name->entry;
    tell_template(lease->name, &model->served);
    lease->ready(lease, NULL);
}

void model_lease_use(struct model_lease *lease, struct model_name *name) {
    struct managed_model *model = name->model;
    lease->name = name;
    name->users++;
    if (model->state == MODEL_READY && !model_loading_is_lost(model)) {
        model_lease_grant(lease, model);
        return;
    }
    model_lease_wait(lease, &model->waiting);
    model_loading_drop_lost(model);
    if (model->state == MODEL_ABSENT || model->state == MODEL_FAILED) {
        model_loading_begin(model);
    }
}

void model_manager_acquire(struct model_manager *manager, const char *name,
                           struct model_lease *lease) {
    lease->manager = manager;
    if (name == NULL || name[0] == '\0') {
        if (manager->adopted != NULL) {
            model_lease_use(lease, manager->adopted);
            return;
        }
        name = manager->options.default_model;
    }
    if (name == NULL || name[0] == '\0') {
        struct error error = {0};
        error_set(&error, ERROR_INVALID_ARGUMENT, "You must name a model: there is no default.");
        model_lease_fail(lease, &error);
        return;
    }
    struct model_name *known = model_names_find(manager, name);
    if (known != NULL) {
        model_lease_use(lease, known);
    } else {
        model_names_look_up(manager, name, lease);
    }
}

void model_manager_release(struct model_lease *lease, double keep_alive) {
    struct model_manager *manager = lease->manager;
    if (manager == NULL) {
        return;
    }
    if (lease->queue != NULL) {
        model_lease_leave(lease);
        clear_lease(lease);
        return;
    }
    struct managed_model *model = lease->name->model;
    clear_lease(lease);
    model->lease_count--;
    model->used_ns = clock_now_ns();
    if (model->is_adopted || !TAILQ_EMPTY(&model->names)) {
        model_loading_set_expiry(model, keep_alive);
    } /* else its names have been forgotten: it goes now */
    model_loading_drop_lost(model);
    if (model_loading_is_idle(model)) {
        model_loading_tidy(manager);
    }
}

/* --- seeing and steering --- */

static void describe(const struct managed_model *model, struct model_status *status) {
    const struct model_name *name = TAILQ_FIRST(&model->names);
    bool is_loaded = model->state == MODEL_READY;
    *status = (struct model_status){
        .name = model->id,
        .path = model->path,
        .entry = name == NULL ? NULL : &name->entry,
        .model = is_loaded ? &model->served : NULL,
        .state = model->state,
        .bytes = model_loading_bytes(model),
        .lease_count = model->lease_count,
        .is_adopted = model->is_adopted,
        .stays = model->expires_ns == INT64_MAX,
        .failure = model->state == MODEL_FAILED ? model->error.message : NULL,
    };
    if (model->state == MODEL_LOADING) {
        status->loaded_fraction =
            atomic_load_explicit(&model->loaded_permille, memory_order_relaxed) / 1000.0;
    }
    if (!status->stays) {
        status->expires_at_ns = clock_wall_ns() + model->expires_ns - clock_now_ns();
    }
}

void model_manager_visit(const struct model_manager *manager,
                         void (*visit)(void *context, const struct model_status *status),
                         void *context) {
    const struct managed_model *model;
    TAILQ_FOREACH(model, &manager->models, link) {
        struct model_status status;
        describe(model, &status);
        visit(context, &status);
    }
}

bool model_manager_find(const struct model_manager *manager, const char *name,
                        struct model_status *status) {
    const struct model_name *known =
        name[0] == '\0' ? manager->adopted : model_names_find(manager, name);
    if (known != NULL) {
        describe(known->model, status);
        status->entry = &known->entry;
    }
    return known != NULL;
}

bool model_manager_keep(struct model_manager *manager, const char *name, double keep_alive) {
    const struct model_name *known = model_names_find(manager, name);
    if (known == NULL || known->model->state != MODEL_READY) {
        return false;
    }
    model_loading_set_expiry(known->model, keep_alive);
    model_loading_tidy(manager);
    return true;
}

void model_manager_forget(struct model_manager *manager, const char *name) {
    struct lookup *lookup;
    TAILQ_FOREACH(lookup, &manager->lookups, link) {
        lookup->is_stale = lookup->is_stale || model_names_match(lookup->name, name);
    }
    struct managed_model *model;
    TAILQ_FOREACH(model, &manager->models, link) {
        struct model_name *known, *next;
        for (known = TAILQ_FIRST(&model->names); known != NULL; known = next) {
            next = TAILQ_NEXT(known, link);
            if (model_names_match(known->asked, name) ||
                model_names_match(known->entry.name, name)) {
                model_names_unlist(known);
            }
        }
        if (TAILQ_EMPTY(&model->names) && !model->is_adopted) {
            model->expires_ns = 0;
        }
    }
    model_loading_tidy(manager);
}

/* The model that was named at start is one like any other from here on, and without a name. */
static void end_adoption(struct model_manager *manager) {
    struct model_name *name = manager->adopted;
    struct managed_model *model = name->model;
    manager->adopted = NULL;
    model->is_adopted = false;
    model->expires_ns = 0;
    model_names_drop_user(name);
    model_names_unlist_all(model);
    bool is_unloaded = model->state == MODEL_ABSENT || model->state == MODEL_FAILED;
    if (is_unloaded && TAILQ_EMPTY(&model->waiting)) {
        model_loading_free(model);
    }
}

void model_manager_delete(struct model_manager *manager, const char *name) {
    const struct model_name *known = model_names_find(manager, name);
    bool was_adopted =
        manager->adopted != NULL && (model_names_match(manager->adopted->entry.name, name) ||
                                     (known != NULL && known->model == manager->adopted->model));
    (void)model_manager_keep(manager, name, 0);
    if (was_adopted) {
        end_adoption(manager);
    }
    model_manager_forget(manager, name);
}

/* --- its life --- */

bool model_manager_create(const struct model_manager_options *options,
                          struct model_manager **manager, struct error *error) {
    struct model_manager *made = calloc(1, sizeof *made);
    if (made != NULL) {
        made->options = *options;
        TAILQ_INIT(&made->models);
        TAILQ_INIT(&made->lookups);
        made->timer = evtimer_new(options->base, model_loading_on_timer, made);
    }
    if (made == NULL || made->timer == NULL) {
        free(made);
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the models");
    }
    *manager = made;
    return true;
}

static bool name_adopted(struct managed_model *model, const char *const *names, size_t name_count,
                         const struct hub_model *known, const struct engine_info *info) {
    for (size_t i = 0; i < name_count; i++) {
        struct hub_model entry = {
            .name = strdup(names[i]), .path = strdup(info->path), .bytes = info->file_bytes};
        struct model_name *name = NULL;
        if (known != NULL) {
            hub_model_deinit(&entry);
            (void)hub_model_copy(known, &entry);
        }
        if (entry.name != NULL && entry.path != NULL) {
            name = model_names_add(model, names[i], &entry);
        } else {
            hub_model_deinit(&entry);
        }
        if (name == NULL) {
            return false;
        }
        if (i == 0) {
            name->users++; /* requests that name no model, whatever becomes of the name */
            model->manager->adopted = name;
        }
    }
    return true;
}

bool model_manager_adopt(struct model_manager *manager, struct engine *engine,
                         const char *const *names, size_t name_count, const struct hub_model *entry,
                         struct error *error) {
    const struct engine_info *info = engine_info(engine);
    char *path = realpath(info->path, NULL);
    struct managed_model *model =
        model_loading_add(manager, path == NULL ? info->path : path, names[0]);
    free(path);
    if (model == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the models");
    }
    model->is_adopted = true;
    if (!name_adopted(model, names, name_count, entry, info)) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the models");
    }
    if (!served_model_init(&model->served, &manager->options.served, names[0], engine, error)) {
        return false;
    }
    model->state = MODEL_READY;
    manager->planned_bytes += info->planned_bytes; /* the loader has nothing to do yet */
    return true;
}

bool model_manager_is_busy(const struct model_manager *manager) {
    return manager->under_way != 0;
}

void model_manager_free(struct model_manager *manager) {
    if (manager == NULL) {
        return;
    }
    if (manager->adopted != NULL) {
        model_names_drop_user(manager->adopted);
    }
    struct managed_model *model;
    while ((model = TAILQ_FIRST(&manager->models)) != NULL) {
        if (model->state == MODEL_READY) {
            served_model_deinit(&model->served);
        }
        model_loading_free(model);
    }
    event_free(manager->timer);
    free(manager);
}
