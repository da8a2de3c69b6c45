/* models.c - the models folder: where it is, what lies in it, which file a name means. See hub.h.
 */
#include "hub/models.h"

#include "base/file.h"
#include "config/suggest.h"
#include "hub/ollama_store.h"
#include "hub/reference.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { MODELS_MAX_DEPTH = 4 };

bool hub_models_folder(const struct config *config, struct string_buffer *path,
                       struct error *error) {
    const char *data = getenv("XDG_DATA_HOME");
    const char *home = getenv("HOME");
    if (config->models_path != NULL) {
        string_buffer_append_text(path, config->models_path);
    } else if (data != NULL && data[0] == '/') {
        string_buffer_append_format(path, "%s/mistral/models", data);
    } else if (home != NULL && home[0] != '\0') {
        string_buffer_append_format(path, "%s/.local/share/mistral/models", home);
    } else {
        return error_set(error, ERROR_NOT_FOUND,
                         "there is no home folder (HOME is not set): name the models folder with "
                         "--models-path or MISTRAL_MODELS_PATH");
    }
    return true;
}

/* Listing. */

static bool ends_in_gguf(const char *name, size_t length) {
    return length > 5 && strcasecmp(name + length - 5, ".gguf") == 0;
}

bool hub_model_list_append(struct hub_model_list *list, struct hub_model *model) {
    bool has_memory = model->name != NULL && model->path != NULL;
    bool is_gone =
        has_memory && model->real_path == NULL && errno != ENOMEM; /* since it was seen */
    has_memory = has_memory && (is_gone || model->real_path != NULL);
    if (has_memory && !is_gone && list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 16 : list->capacity * 2;
        struct hub_model *models = realloc(list->models, capacity * sizeof *models);
        has_memory = models != NULL;
        list->models = has_memory ? models : list->models;
        list->capacity = has_memory ? capacity : list->capacity;
    }
    if (!has_memory || is_gone) {
        hub_model_deinit(model);
        return has_memory;
    }
    list->models[list->count++] = *model;
    *model = (struct hub_model){0};
    return true;
}

bool models_is_folder(const char *path) {
    static const char *const weights[] = {"model.safetensors", "model.safetensors.index.json"};
    bool has_weights = false;
    struct string_buffer file = {0};
    string_buffer_append_format(&file, "%s/config.json", path);
    bool has_config = file_exists(string_buffer_text(&file));
    for (size_t i = 0; has_config && !has_weights && i < sizeof weights / sizeof weights[0]; i++) {
        string_buffer_clear(&file);
        string_buffer_append_format(&file, "%s/%s", path, weights[i]);
        has_weights = file_exists(string_buffer_text(&file));
    }
    string_buffer_deinit(&file);
    return has_weights;
}

static bool ends_in_safetensors(const char *name, size_t length) {
    static const char end[] = ".safetensors";
    return length >= sizeof end && strcmp(name + length - (sizeof end - 1), end) == 0;
}

/* The weights of a model's folder, and the newest change of any. */
static void measure_folder(const char *path, struct stat *status) {
    DIR *directory = opendir(path);
    const struct dirent *entry;
    status->st_size = 0;
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        struct string_buffer file = {0};
        struct stat inner;
        string_buffer_append_format(&file, "%s/%s", path, entry->d_name);
        if (ends_in_safetensors(entry->d_name, strlen(entry->d_name)) &&
            stat(string_buffer_text(&file), &inner) == 0) {
            status->st_size += inner.st_size;
            status->st_mtime =
                inner.st_mtime > status->st_mtime ? inner.st_mtime : status->st_mtime;
        }
        string_buffer_deinit(&file);
    }
    if (directory != NULL) {
        closedir(directory);
    }
}

static bool append_model(struct hub_model_list *list, const char *name, size_t name_length,
                         const char *path, const struct stat *status) {
    struct hub_model model = {.name = strndup(name, name_length),
                              .path = strdup(path),
                              .real_path = realpath(path, NULL),
                              .bytes = (uint64_t)status->st_size,
                              .modified = (int64_t)status->st_mtime};
    return hub_model_list_append(list, &model);
}

/* `name` is the folder's path below the models folder, with a slash behind it, or empty. False when
 * memory runs out; what cannot be read is passed over. */
static bool list_folder(struct hub_model_list *list, const char *folder, const char *name,
                        size_t depth) {
    DIR *directory = opendir(folder);
    if (directory == NULL) {
        return true;
    }
    bool done = true;
    const struct dirent *entry;
    while (done && (entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        struct string_buffer path = {0};
        struct string_buffer inner = {0};
        struct stat status;
        string_buffer_append_format(&path, "%s/%s", folder, entry->d_name);
        string_buffer_append_format(&inner, "%s%s", name, entry->d_name);
        done = !path.failed && !inner.failed;
        if (done && stat(string_buffer_text(&path), &status) == 0) {
            if (S_ISDIR(status.st_mode) && models_is_folder(path.data)) {
                measure_folder(path.data, &status);
                done = append_model(list, inner.data, inner.length, path.data, &status);
            } else if (S_ISDIR(status.st_mode) && depth < MODELS_MAX_DEPTH) {
                string_buffer_append_char(&inner, '/');
                done = list_folder(list, string_buffer_text(&path), string_buffer_text(&inner),
                                   depth + 1);
            } else if (S_ISREG(status.st_mode) && ends_in_gguf(inner.data, inner.length)) {
                done = append_model(list, inner.data, inner.length - 5, path.data, &status);
            }
        }
        string_buffer_deinit(&path);
        string_buffer_deinit(&inner);
    }
    closedir(directory);
    return done;
}

static int compare_models(const void *a, const void *b) {
    return strcmp(((const struct hub_model *)a)->name, ((const struct hub_model *)b)->name);
}

bool hub_list_models(const char *folder, struct hub_model_list *list, struct error *error) {
    *list = (struct hub_model_list){0};
    if (file_exists(folder) && !file_is_directory(folder)) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "the models folder '%s' is not a folder",
                         folder);
    }
    if (!list_folder(list, folder, "", 1)) {
        hub_model_list_deinit(list);
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the list of models");
    }
    if (list->count > 1) {
        qsort(list->models, list->count, sizeof *list->models, compare_models);
    }
    return true;
}

void hub_model_list_deinit(struct hub_model_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        hub_model_deinit(&list->models[i]);
    }
    free(list->models);
    *list = (struct hub_model_list){0};
}

static const size_t owned_texts[] = {
    offsetof(struct hub_model, name),          offsetof(struct hub_model, path),
    offsetof(struct hub_model, real_path),     offsetof(struct hub_model, manifest),
    offsetof(struct hub_model, parameters),    offsetof(struct hub_model, system),
    offsetof(struct hub_model, template_text), offsetof(struct hub_model, license),
    offsetof(struct hub_model, messages),
};

enum { OWNED_TEXTS = sizeof owned_texts / sizeof owned_texts[0] };

static char **text_at(struct hub_model *model, size_t i) {
    return (char **)(void *)((char *)model + owned_texts[i]);
}

void hub_model_deinit(struct hub_model *model) {
    for (size_t i = 0; i < OWNED_TEXTS; i++) {
        free(*text_at(model, i));
    }
    *model = (struct hub_model){0};
}

bool hub_model_copy(const struct hub_model *from, struct hub_model *to) {
    bool done = true;
    *to = *from;
    for (size_t i = 0; i < OWNED_TEXTS; i++) {
        char **text = text_at(to, i);
        *text = *text == NULL || !done ? NULL : strdup(*text);
        done = done && (*text != NULL || *text_at((struct hub_model *)(uintptr_t)from, i) == NULL);
    }
    if (!done) {
        hub_model_deinit(to);
    }
    return done;
}

const char *hub_store_name(enum hub_store store) {
    static const char *const names[] = {"folder", "ollama", "hugging face"};
    return names[store];
}

static void sort_from(struct hub_model_list *list, size_t first) {
    if (list->count - first > 1) {
        qsort(list->models + first, list->count - first, sizeof *list->models, compare_models);
    }
}

static bool list_foreign(void *context, const char *root) {
    return ollama_store_list(root, HUB_OLLAMA, context);
}

bool hub_list_all(const struct config *config, struct hub_model_list *list, struct error *error) {
    struct string_buffer folder = {0};
    struct string_buffer own = {0};
    *list = (struct hub_model_list){0};
    bool done = hub_models_folder(config, &folder, error) &&
                hub_list_models(string_buffer_text(&folder), list, error) &&
                ollama_own_root(config, &own, error);
    if (done) {
        bool has_memory = ollama_store_list(string_buffer_text(&own), HUB_FOLDER, list);
        sort_from(list, 0);
        size_t first = list->count;
        has_memory = has_memory && ollama_foreign_roots(list_foreign, list);
        sort_from(list, first);
        first = list->count;
        has_memory = has_memory && hugging_face_cache_list(list);
        sort_from(list, first);
        done =
            has_memory || error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the list of models");
    }
    if (!done) {
        hub_model_list_deinit(list);
    }
    string_buffer_deinit(&folder);
    string_buffer_deinit(&own);
    return done;
}

bool hub_visit_other_stores(bool (*visit)(void *context, const char *folder), void *context) {
    struct string_buffer cache = {0};
    bool done = ollama_foreign_roots(visit, context);
    if (done && hugging_face_cache_folder(&cache)) {
        done = visit(context, string_buffer_text(&cache));
    }
    string_buffer_deinit(&cache);
    return done;
}

/* Finding. */

bool models_find_file(const char *folder, const char *name, struct string_buffer *path) {
    DIR *directory = opendir(folder);
    if (directory == NULL) {
        return false;
    }
    bool found = false;
    const struct dirent *entry;
    while (!found && (entry = readdir(directory)) != NULL) {
        if (strcasecmp(entry->d_name, name) == 0) {
            string_buffer_append_format(path, "%s/%s", folder, entry->d_name);
            found = true;
        }
    }
    closedir(directory);
    return found;
}

struct search {
    const struct config *config;
    const char *name;
    const char *folder;
    struct hub_model_list list; /* of all stores */
    size_t found;               /* in the list; its count: an alias */
    struct string_buffer *path;
    struct error *error;
};

enum finding { FOUND, NOT_HERE, FAILED };

static bool is_file(const char *path) {
    return file_exists(path) && !file_is_directory(path);
}

/* Ollama's full spelling, "x" as "x:latest"; others as they are. False: no such name. */
static bool is_same_ollama_name(const char *asked, const char *name) {
    struct ollama_name parts;
    struct string_buffer full = {0};
    bool same = ollama_name_parse(asked, &parts);
    if (same) {
        ollama_name_append(&parts, &full);
        same = strcasecmp(string_buffer_text(&full), name) == 0;
        string_buffer_deinit(&full);
    }
    return same;
}

bool models_is_called(const struct hub_model *model, const char *asked) {
    size_t length = strlen(model->name);
    if (model->manifest != NULL) {
        return is_same_ollama_name(asked, model->name);
    }
    if (strncasecmp(asked, model->name, length) != 0) {
        return false;
    }
    const char *rest = asked + length;
    return rest[0] == '\0' || strcasecmp(rest, ".gguf") == 0 || strcasecmp(rest, ":latest") == 0;
}

static enum finding find_in_stores(struct search *search) {
    for (size_t i = 0; i < search->list.count; i++) {
        const struct hub_model *model = &search->list.models[i];
        if (models_is_called(model, search->name)) {
            string_buffer_append_text(search->path, model->path);
            search->found = i;
            return FOUND;
        }
    }
    return NOT_HERE;
}

/* The alias's file in whatever format, when there is just one. */
static enum finding find_any_format(struct search *search, const struct hub_alias *alias) {
    const struct hub_model *found = NULL;
    struct string_buffer names = {0};
    size_t count = 0;
    for (size_t i = 0; i < search->list.count; i++) {
        const struct hub_model *model = &search->list.models[i];
        if (strncasecmp(model->name, alias->stem, strlen(alias->stem)) == 0) {
            found = model;
            count++;
            string_buffer_append_format(&names, " %s", model->name);
        }
    }
    enum finding finding = NOT_HERE;
    if (count == 1) {
        string_buffer_append_text(search->path, found->path);
        finding = FOUND;
    } else if (count > 1) {
        error_set(search->error, ERROR_INVALID_ARGUMENT,
                  "'%s' is there in several formats; name one:%s", search->name,
                  string_buffer_text(&names));
        finding = FAILED;
    }
    string_buffer_deinit(&names);
    return finding;
}

static enum finding find_alias(struct search *search) {
    struct hub_reference reference;
    if (!reference_parse_alias(search->name, &reference)) {
        return NOT_HERE;
    }
    struct string_buffer name = {0};
    reference_file_name(&reference, search->config->default_quantization, &name);
    enum finding finding = NOT_HERE;
    if (models_find_file(search->folder, string_buffer_text(&name), search->path)) {
        finding = FOUND;
    } else if (reference.wanted[0] == '\0') {
        finding = find_any_format(search, reference.alias);
    }
    string_buffer_deinit(&name);
    if (finding == NOT_HERE) {
        error_set(search->error, ERROR_NOT_FOUND,
                  "'%s' is not in %s yet; get it with: mistral pull %s", search->name,
                  search->folder, search->name);
        finding = FAILED;
    }
    return finding;
}

static void fail_not_found(const struct search *search) {
    if (file_is_directory(search->name)) {
        error_set(search->error, ERROR_INVALID_ARGUMENT,
                  "'%s' is a directory without config.json and model.safetensors; a model is one "
                  "GGUF file, or a folder with those",
                  search->name);
        return;
    }
    if (reference_is_remote(search->name)) {
        error_set(
            search->error, ERROR_NOT_FOUND,
            "'%s' names a download: 'mistral pull' fetches it and prints the name to use here",
            search->name);
        return;
    }
    struct suggestion suggestion = suggest_for(search->name);
    for (const struct hub_alias *alias = hub_aliases(); alias->name != NULL; alias++) {
        suggest_offer(&suggestion, string_view_of(alias->name));
    }
    for (size_t i = 0; i < search->list.count; i++) {
        suggest_offer(&suggestion, string_view_of(search->list.models[i].name));
    }
    struct string_view best = suggestion.best;
    error_set(search->error, ERROR_NOT_FOUND,
              "no model '%.200s': no file, no name in %s, no alias%s%.*s%s ('mistral list' shows "
              "what is there)",
              search->name, search->folder, best.length > 0 ? "; did you mean '" : "",
              (int)best.length, best.length > 0 ? best.data : "", best.length > 0 ? "'?" : "");
}

/* Fills in search->path and search->found. */
static bool search_stores(struct search *search) {
    struct string_buffer folder = {0};
    bool found = false;
    if (hub_models_folder(search->config, &folder, search->error)) {
        search->folder = string_buffer_text(&folder);
        if (hub_list_all(search->config, &search->list, search->error)) {
            search->found = search->list.count;
            enum finding finding = find_in_stores(search);
            finding = finding == NOT_HERE ? find_alias(search) : finding;
            if (finding == NOT_HERE) {
                fail_not_found(search);
            }
            found = finding == FOUND;
        }
    }
    size_t count = search->list.count;
    for (size_t i = 0; found && i < count && search->found == count; i++) {
        if (strcmp(search->list.models[i].path, string_buffer_text(search->path)) == 0) {
            search->found = i;
        }
    }
    string_buffer_deinit(&folder);
    return found;
}

bool hub_find_model(const struct config *config, const char *name, struct string_buffer *path,
                    struct error *error) {
    if (is_file(name) || models_is_folder(name)) {
        string_buffer_append_text(path, name);
        return true;
    }
    struct search search = {.config = config, .name = name, .path = path, .error = error};
    bool found = search_stores(&search);
    hub_model_list_deinit(&search.list);
    return found;
}

bool hub_look_up(const struct config *config, const char *name, struct hub_model *model,
                 struct error *error) {
    struct string_buffer path = {0};
    struct search search = {.config = config, .name = name, .path = &path, .error = error};
    *model = (struct hub_model){0};
    bool found = search_stores(&search);
    if (found && search.found < search.list.count) {
        *model = search.list.models[search.found];
        search.list.models[search.found] = (struct hub_model){0};
        if (model->manifest != NULL && !ollama_store_read_texts(model, error)) {
            hub_model_deinit(model);
            found = false;
        }
    } else if (found) {
        found = error_set(error, ERROR_NOT_FOUND, "'%.200s' is gone", name);
    }
    string_buffer_deinit(&path);
    hub_model_list_deinit(&search.list);
    return found;
}
