/*
 * model_loading.c - models come and go: loading, idle time, room. See model_manager_internal.h.
 *
 * Loads and unloads are tasks of one worker, which does them in the order in which they were asked
 * for: what makes room is gone before what needs it comes.
 */
#include "server/model_manager_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "convert/prepare.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FAILED = 8 }; /* models whose failure is remembered */

struct managed_model *model_loading_add(struct model_manager *manager, const char *path,
                                        const char *id) {
    struct managed_model *model = calloc(1, sizeof *model);
    if (model == NULL) {
        return NULL;
    }
    model->path = strdup(path);
    model->id = strdup(id);
    if (model->path == NULL || model->id == NULL) {
        free(model->path);
        free(model->id);
        free(model);
        return NULL;
    }
    model->manager = manager;
    model->expires_ns = INT64_MAX;
    TAILQ_INIT(&model->waiting);
    TAILQ_INIT(&model->names);
    TAILQ_INSERT_TAIL(&manager->models, model, link);
    return model;
}

/* Neither loaded nor waited for. */
void model_loading_free(struct managed_model *model) {
    model_names_unlist_all(model);
    TAILQ_REMOVE(&model->manager->models, model, link);
    free(model->path);
    free(model->id);
    free(model);
}

bool model_loading_is_idle(const struct managed_model *model) {
    return model->state == MODEL_READY && model->lease_count == 0 && TAILQ_EMPTY(&model->waiting);
}

bool model_loading_is_lost(const struct managed_model *model) {
    return model->state == MODEL_READY && engine_is_lost(model->served.engine, NULL);
}

uint64_t model_loading_bytes(const struct managed_model *model) {
    return model->state == MODEL_READY ? model->served.info->file_bytes : 0;
}

/* --- room --- */

static void model_unload(struct managed_model *model, const char *reason);
static void load(struct managed_model *model, bool may_shrink);

static struct managed_model *least_recently_used(const struct model_manager *manager,
                                                 uint64_t *idle_bytes, size_t *idle_count) {
    struct managed_model *least = NULL;
    struct managed_model *model;
    *idle_bytes = 0;
    *idle_count = 0;
    TAILQ_FOREACH(model, &manager->models, link) {
        if (model_loading_is_idle(model) && !model->is_adopted) {
            *idle_bytes += model_loading_bytes(model);
            ++*idle_count;
            least = least == NULL || model->used_ns < least->used_ns ? model : least;
        }
    }
    return least;
}

/* Unloads idle models until they hold no more than `limit`; `keeps_last` spares the one that was
 * used last. */
static void make_room(struct model_manager *manager, uint64_t limit, bool keeps_last) {
    for (;;) {
        uint64_t bytes;
        size_t count;
        struct managed_model *least = least_recently_used(manager, &bytes, &count);
        if (least == NULL || bytes <= limit || (keeps_last && count == 1)) {
            return;
        }
        model_unload(least, "room");
    }
}

/* --- loading --- */

static void note_progress(void *context, double fraction) {
    struct managed_model *model = context;
    atomic_store_explicit(&model->loaded_permille, (int)(fraction * 1000), memory_order_relaxed);
}

/* Loader's thread. */
static void run_load(struct task *task) {
    struct managed_model *model = (struct managed_model *)task;
    const struct model_manager_options *options = &model->manager->options;
    struct engine_options own =
        options->engine == NULL ? engine_options_default() : *options->engine;
    struct engine *engine = NULL;
    struct prepared prepared = {0};
    const struct convert_watch watch = {.progress = note_progress, .context = model};
    own.metrics_model = model->id;
    own.source_path = model->path;
    own.other_models_bytes = model->manager->planned_bytes;
    own.shrink_kv = own.shrink_kv && model->may_shrink;
    model->has_failed =
        !prepare_model(options->config, model->path, &watch, &prepared, &model->error) ||
        !engine_create(string_buffer_text(&prepared.path), &own, note_progress, model, &engine,
                       &model->error);
    prepared_release(&prepared);
    if (!model->has_failed &&
        !served_model_init(&model->served, &options->served, model->id, engine, &model->error)) {
        model->has_failed = true;
        engine_free(engine);
    }
    if (!model->has_failed) {
        model->manager->planned_bytes += model->served.info->planned_bytes;
    }
}

/* Only a name can be not found, and only a request's own fields are its fault. */
static void describe_failure(struct managed_model *model) {
    if (model->error.code != ERROR_OUT_OF_MEMORY && model->error.code != ERROR_NO_SPACE) {
        model->error.code = ERROR_IO;
    }
    error_prefix(&model->error, "The model '%s' could not be loaded", model->id);
    log_event(LOG_ERROR, "model_load_failed", log_text("model", model->id),
              log_text("path", model->path), log_text("reason", model->error.message));
}

static void limit_failed(struct model_manager *manager) {
    size_t count = 0;
    struct managed_model *model, *next;
    for (model = TAILQ_LAST(&manager->models, managed_model_list); model != NULL; model = next) {
        next = TAILQ_PREV(model, managed_model_list, link);
        if (model->state == MODEL_FAILED && !model->is_adopted && ++count > MAX_FAILED) {
            model_loading_free(model);
        }
    }
}

/* Memory has no room for it: the idle ones go, least recently used first, one for each attempt;
 * when none is left, a smaller KV pool must do, where that is allowed. False: it has all been
 * tried. */
static bool try_again(struct managed_model *model) {
    struct model_manager *manager = model->manager;
    uint64_t bytes;
    size_t count;
    model->state = MODEL_FAILED; /* not one of those that may go */
    struct managed_model *least = least_recently_used(manager, &bytes, &count);
    if (model->error.code != ERROR_OUT_OF_MEMORY || (least == NULL && model->may_shrink)) {
        return false;
    }
    if (least != NULL) {
        model_unload(least, "room"); /* it goes first: the loader keeps the order */
    }
    load(model, count <= 1);
    return true;
}

/* Remembered as a failure until somebody asks for it again. */
static void fail(struct managed_model *model) {
    model->state = MODEL_FAILED;
    if (!model->is_adopted) {
        model_names_unlist_all(model); /* the next request looks again what the name means */
    }
}

static void load_failed(struct managed_model *model) {
    struct model_manager *manager = model->manager;
    if (try_again(model)) {
        return;
    }
    describe_failure(model);
    fail(model);
    model_lease_fail_all(&model->waiting, &model->error);
    limit_failed(manager);
}

static void load_done(struct task *task) {
    struct managed_model *model = (struct managed_model *)task;
    struct model_manager *manager = model->manager;
    manager->under_way--;
    if (model->has_failed) {
        load_failed(model);
        model_loading_tidy(manager);
        return;
    }
    model->state = MODEL_READY;
    model->used_ns = clock_now_ns();
    model->expires_ns =
        model->is_adopted ? INT64_MAX : model->used_ns + (int64_t)(MODEL_DEFAULT_KEEP_ALIVE * 1e9);
    struct model_lease *lease;
    while ((lease = TAILQ_FIRST(&model->waiting)) != NULL) {
        model_lease_leave(lease);
        model_lease_grant(lease, model);
    }
    model_loading_tidy(manager);
}

static void load(struct managed_model *model, bool may_shrink) {
    model->state = MODEL_LOADING;
    model->may_shrink = may_shrink;
    atomic_store_explicit(&model->loaded_permille, 0, memory_order_relaxed);
    model->error = (struct error){0};
    model->is_lost = false;
    model->task.run = run_load;
    model->task.done = load_done;
    model->manager->under_way++;
    worker_send(model->manager->options.loader, &model->task);
}

void model_loading_begin(struct managed_model *model) {
    struct model_manager *manager = model->manager;
    uint64_t bytes;
    size_t idle_count;
    log_event(LOG_INFO, "model_loading", log_text("model", model->id),
              log_text("path", model->path));
    make_room(manager, manager->options.max_idle_bytes, false);
    (void)least_recently_used(manager, &bytes, &idle_count);
    load(model, idle_count == 0);
}

/* --- unloading --- */

/* Loader's thread. */
static void run_unload(struct task *task) {
    struct managed_model *model = (struct managed_model *)task;
    model->manager->planned_bytes -= model->served.info->planned_bytes;
    served_model_deinit(&model->served);
}

static void unload_done(struct task *task) {
    struct managed_model *model = (struct managed_model *)task;
    struct model_manager *manager = model->manager;
    manager->under_way--;
    model->state = MODEL_ABSENT;
    if (!TAILQ_EMPTY(&model->waiting)) {
        model_loading_begin(model);
    } else if (model->is_lost) {
        fail(model);
        limit_failed(manager);
    } else if (!model->is_adopted) {
        model_loading_free(model);
    }
    model_loading_tidy(manager);
}

static void model_unload(struct managed_model *model, const char *reason) {
    log_event(LOG_INFO, "model_unloading", log_text("model", model->id),
              log_text("reason", reason));
    model->state = MODEL_UNLOADING;
    model->task.run = run_unload;
    model->task.done = unload_done;
    model->manager->under_way++;
    worker_send(model->manager->options.loader, &model->task);
}

void model_loading_drop_lost(struct managed_model *model) {
    if (!model_loading_is_lost(model) || model->lease_count > 0) {
        return;
    }
    model->is_lost = engine_is_lost(model->served.engine, &model->error);
    error_prefix(&model->error, "The model '%s' was unloaded", model->id);
    model_unload(model, "file_lost");
}

void model_loading_tidy(struct model_manager *manager) {
    int64_t now = clock_now_ns();
    int64_t next = INT64_MAX;
    struct managed_model *model;
    make_room(manager, manager->options.max_idle_bytes, true);
    TAILQ_FOREACH(model, &manager->models, link) {
        model_loading_drop_lost(model);
        if (model_loading_is_idle(model) && model->expires_ns <= now) {
            model_unload(model, "expired");
        } else if (model_loading_is_idle(model) && model->expires_ns < next) {
            next = model->expires_ns;
        }
    }
    if (next == INT64_MAX) {
        evtimer_del(manager->timer);
        return;
    }
    int64_t microseconds = (next - now) / 1000 + 1;
    const struct timeval wait = {.tv_sec = (time_t)(microseconds / 1000000),
                                 .tv_usec = (suseconds_t)(microseconds % 1000000)};
    evtimer_add(manager->timer, &wait);
}

void model_loading_on_timer(evutil_socket_t socket, short what, void *context) {
    (void)socket;
    (void)what;
    model_loading_tidy(context);
}

void model_loading_set_expiry(struct managed_model *model, double keep_alive) {
    static const double longest = 100.0 * 365 * 24 * 3600;
    bool stays = !(keep_alive >= 0 && keep_alive < longest) ||
                 (model->is_adopted && keep_alive > 0); /* NaN stays */
    model->expires_ns = stays ? INT64_MAX : clock_now_ns() + (int64_t)(keep_alive * 1e9);
}
