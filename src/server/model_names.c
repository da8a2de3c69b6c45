/*
 * model_names.c - what requests call models: the names that are known, and looking up the others.
 * See model_manager_internal.h.
 */
#include "server/model_manager_internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_NAMES = 64 }; /* spellings of one model that are remembered */

/* --- what is known --- */

/* Case does not count, and neither does ":latest". */
bool model_names_match(const char *a, const char *b) {
    static const char latest[] = ":latest";
    size_t a_length = strlen(a);
    size_t b_length = strlen(b);
    const size_t tail = sizeof latest - 1;
    if (a_length > tail && strcasecmp(a + a_length - tail, latest) == 0) {
        a_length -= tail;
    }
    if (b_length > tail && strcasecmp(b + b_length - tail, latest) == 0) {
        b_length -= tail;
    }
    return a_length == b_length && strncasecmp(a, b, a_length) == 0;
}

struct model_name *model_names_find(const struct model_manager *manager, const char *name) {
    struct managed_model *model;
    TAILQ_FOREACH(model, &manager->models, link) {
        struct model_name *known;
        TAILQ_FOREACH(known, &model->names, link) {
            if (model_names_match(known->asked, name)) {
                return known;
            }
        }
    }
    return NULL;
}

static void free_name(struct model_name *name) {
    hub_model_deinit(&name->entry);
    free(name->asked);
    free(name);
}

/* It is found no more; who uses it may go on. */
void model_names_unlist(struct model_name *name) {
    TAILQ_REMOVE(&name->model->names, name, link);
    name->is_listed = false;
    if (name->users == 0) {
        free_name(name);
    }
}

void model_names_drop_user(struct model_name *name) {
    name->users--;
    if (name->users == 0 && !name->is_listed) {
        free_name(name);
    }
}

static void limit_names(struct managed_model *model) {
    size_t count = 0;
    struct model_name *name;
    TAILQ_FOREACH(name, &model->names, link) {
        count++;
    }
    TAILQ_FOREACH(name, &model->names, link) {
        if (count >= MAX_NAMES && name->users == 0) {
            model_names_unlist(name);
            return;
        }
    }
}

/* Takes `entry` over, also when memory runs out (NULL). */
struct model_name *model_names_add(struct managed_model *model, const char *asked,
                                   struct hub_model *entry) {
    struct model_name *name = calloc(1, sizeof *name);
    char *copy = strdup(asked);
    if (name == NULL || copy == NULL) {
        free(name);
        free(copy);
        hub_model_deinit(entry);
        return NULL;
    }
    limit_names(model);
    *name = (struct model_name){.model = model, .asked = copy, .entry = *entry, .is_listed = true};
    *entry = (struct hub_model){0};
    TAILQ_INSERT_TAIL(&model->names, name, link);
    return name;
}

void model_names_unlist_all(struct managed_model *model) {
    struct model_name *next;
    for (struct model_name *name = TAILQ_FIRST(&model->names); name != NULL; name = next) {
        next = TAILQ_NEXT(name, link);
        model_names_unlist(name);
    }
}

/* --- looking up --- */

static struct managed_model *find_path(const struct model_manager *manager, const char *path) {
    struct managed_model *model;
    TAILQ_FOREACH(model, &manager->models, link) {
        if (strcmp(model->path, path) == 0) {
            return model;
        }
    }
    return NULL;
}

/* Files worker's thread. */
static void run_lookup(struct task *task) {
    struct lookup *lookup = (struct lookup *)task;
    lookup->is_found =
        hub_look_up(lookup->manager->options.config, lookup->name, &lookup->found, &lookup->error);
}

static void clear_result(struct lookup *lookup) {
    hub_model_deinit(&lookup->found);
    lookup->error = (struct error){0};
}

/* The name's model, with the name added to it. */
static struct model_name *take_result(struct lookup *lookup) {
    struct model_manager *manager = lookup->manager;
    struct managed_model *model = find_path(manager, lookup->found.real_path);
    if (model == NULL) {
        model = model_loading_add(manager, lookup->found.real_path, lookup->found.name);
    }
    struct model_name *name = NULL;
    if (model != NULL) {
        name = model_names_add(model, lookup->name, &lookup->found);
    }
    if (name == NULL) {
        error_set(&lookup->error, ERROR_OUT_OF_MEMORY, "The server is out of memory.");
    }
    return name;
}

static void lookup_done(struct task *task) {
    struct lookup *lookup = (struct lookup *)task;
    struct model_manager *manager = lookup->manager;
    if (lookup->is_stale) {
        lookup->is_stale = false;
        clear_result(lookup);
        worker_send(manager->options.files, task);
        return;
    }
    manager->under_way--;
    TAILQ_REMOVE(&manager->lookups, lookup, link);
    struct model_name *name =
        lookup->is_found && !TAILQ_EMPTY(&lookup->waiting) ? take_result(lookup) : NULL;
    if (name == NULL) {
        model_lease_fail_all(&lookup->waiting, &lookup->error);
    } else {
        name->users++; /* it stays while its waiters come and go */
        struct model_lease *lease;
        while ((lease = TAILQ_FIRST(&lookup->waiting)) != NULL) {
            model_lease_leave(lease);
            model_lease_use(lease, name);
        }
        model_names_drop_user(name);
    }
    clear_result(lookup);
    free(lookup->name);
    free(lookup);
}

static struct lookup *find_lookup(const struct model_manager *manager, const char *name) {
    struct lookup *lookup;
    TAILQ_FOREACH(lookup, &manager->lookups, link) {
        if (strcmp(lookup->name, name) == 0) {
            return lookup;
        }
    }
    return NULL;
}

static struct lookup *begin_lookup(struct model_manager *manager, const char *name) {
    struct lookup *lookup = calloc(1, sizeof *lookup);
    char *copy = strdup(name);
    if (lookup == NULL || copy == NULL) {
        free(lookup);
        free(copy);
        return NULL;
    }
    lookup->manager = manager;
    lookup->name = copy;
    lookup->task.run = run_lookup;
    lookup->task.done = lookup_done;
    TAILQ_INIT(&lookup->waiting);
    TAILQ_INSERT_TAIL(&manager->lookups, lookup, link);
    manager->under_way++;
    worker_send(manager->options.files, &lookup->task);
    return lookup;
}

static bool is_possible_name(const char *name) {
    size_t length = strlen(name);
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)name[i] < ' ' || name[i] == 0x7f) {
            return false;
        }
    }
    return length <= MODEL_NAME_MOST_BYTES;
}

void model_names_look_up(struct model_manager *manager, const char *name,
                         struct model_lease *lease) {
    struct error error = {0};
    if (manager->options.config == NULL || !is_possible_name(name)) {
        error_set(&error, ERROR_NOT_FOUND, "There is no model '%.100s'.", name);
        model_lease_fail(lease, &error);
        return;
    }
    struct lookup *lookup = find_lookup(manager, name);
    lookup = lookup == NULL ? begin_lookup(manager, name) : lookup;
    if (lookup == NULL) {
        error_set(&error, ERROR_OUT_OF_MEMORY, "The server is out of memory.");
        model_lease_fail(lease, &error);
        return;
    }
    model_lease_wait(lease, &lookup->waiting);
}
