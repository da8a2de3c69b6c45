/*
 * hugging_face_cache.c - the GGUF files that Hugging Face's own programs have fetched; read only.
 *
 * <cache>/models--owner--repository/snapshots/<revision>/… are symbolic links to blobs, which are
 * named by their SHA-256. A model is called owner/repository/file; of several revisions, the newest
 * is meant.
 */
#include "base/file.h"
#include "hub/ollama_store.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { MAX_DEPTH = 4 };

bool hugging_face_cache_folder(struct string_buffer *folder) {
    const char *cache = getenv("HF_HUB_CACHE");
    const char *hub = getenv("HF_HOME");
    const char *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    if (cache != NULL && cache[0] != '\0') {
        string_buffer_append_text(folder, cache);
    } else if (hub != NULL && hub[0] != '\0') {
        string_buffer_append_format(folder, "%s/hub", hub);
    } else if (xdg != NULL && xdg[0] == '/') {
        string_buffer_append_format(folder, "%s/huggingface/hub", xdg);
    } else if (home != NULL && home[0] != '\0') {
        string_buffer_append_format(folder, "%s/.cache/huggingface/hub", home);
    } else {
        return false;
    }
    return true;
}

/* Of the same name in another revision: the newer one stays. */
static struct hub_model *find_same(struct hub_model_list *list, const char *name) {
    for (size_t i = 0; i < list->count; i++) {
        if (list->models[i].store == HUB_HUGGING_FACE && strcmp(list->models[i].name, name) == 0) {
            return &list->models[i];
        }
    }
    return NULL;
}

static bool add_file(struct hub_model_list *list, const char *path, const char *name,
                     const struct stat *status) {
    struct hub_model model = {.name = strndup(name, strlen(name) - strlen(".gguf")),
                              .path = strdup(path),
                              .real_path = realpath(path, NULL),
                              .bytes = (uint64_t)status->st_size,
                              .modified = (int64_t)status->st_mtime,
                              .store = HUB_HUGGING_FACE};
    const char *slash = model.real_path == NULL ? NULL : strrchr(model.real_path, '/');
    if (slash != NULL && strlen(slash + 1) == 64 && strspn(slash + 1, "0123456789abcdef") == 64) {
        memcpy(model.digest, slash + 1, 65);
    }
    struct hub_model *same = model.name == NULL ? NULL : find_same(list, model.name);
    if (same == NULL) {
        return hub_model_list_append(list, &model);
    }
    if (same->modified < model.modified) {
        struct hub_model older = *same;
        *same = model;
        model = older;
    }
    hub_model_deinit(&model);
    return true;
}

/* `name` is what the files below `folder` are called, up to the last slash. */
static bool walk(struct hub_model_list *list, const char *folder, const char *name, size_t depth) {
    DIR *directory = opendir(folder);
    const struct dirent *entry;
    bool done = true;
    while (directory != NULL && done && (entry = readdir(directory)) != NULL) {
        size_t length = strlen(entry->d_name);
        if (entry->d_name[0] == '.') {
            continue;
        }
        struct string_buffer path = {0};
        struct string_buffer inner = {0};
        struct stat status;
        string_buffer_append_format(&path, "%s/%s", folder, entry->d_name);
        string_buffer_append_format(&inner, "%s/%s", name, entry->d_name);
        done = !path.failed && !inner.failed;
        if (done && stat(path.data, &status) == 0) {
            if (S_ISDIR(status.st_mode) && depth < MAX_DEPTH) {
                done = walk(list, path.data, inner.data, depth + 1);
            } else if (S_ISREG(status.st_mode) && length > 5 &&
                       strcasecmp(entry->d_name + length - 5, ".gguf") == 0) {
                done = add_file(list, path.data, inner.data, &status);
            }
        }
        string_buffer_deinit(&path);
        string_buffer_deinit(&inner);
    }
    if (directory != NULL) {
        closedir(directory);
    }
    return done;
}

static bool list_repository(struct hub_model_list *list, const char *cache, const char *folder) {
    static const char prefix[] = "models--";
    const char *owner = folder + sizeof prefix - 1;
    const char *gap = strstr(owner, "--");
    if (gap == NULL || gap == owner) {
        return true;
    }
    struct string_buffer snapshots = {0};
    struct string_buffer name = {0};
    string_buffer_append_format(&snapshots, "%s/%s/snapshots", cache, folder);
    string_buffer_append_format(&name, "%.*s/%s", (int)(gap - owner), owner, gap + 2);
    DIR *directory = opendir(string_buffer_text(&snapshots));
    const struct dirent *entry;
    bool done = true;
    while (directory != NULL && done && (entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] != '.') {
            struct string_buffer revision = {0};
            string_buffer_append_format(&revision, "%s/%s", string_buffer_text(&snapshots),
                                        entry->d_name);
            done = walk(list, string_buffer_text(&revision), string_buffer_text(&name), 0);
            string_buffer_deinit(&revision);
        }
    }
    if (directory != NULL) {
        closedir(directory);
    }
    string_buffer_deinit(&snapshots);
    string_buffer_deinit(&name);
    return done;
}

bool hugging_face_cache_list(struct hub_model_list *list) {
    struct string_buffer cache = {0};
    bool done = true;
    DIR *directory = hugging_face_cache_folder(&cache) ? opendir(string_buffer_text(&cache)) : NULL;
    const struct dirent *entry;
    while (directory != NULL && done && (entry = readdir(directory)) != NULL) {
        if (strncmp(entry->d_name, "models--", 8) == 0) {
            done = list_repository(list, string_buffer_text(&cache), entry->d_name);
        }
    }
    if (directory != NULL) {
        closedir(directory);
    }
    string_buffer_deinit(&cache);
    return done;
}
