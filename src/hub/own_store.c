/* own_store.c - see own_store.h. */
#include "hub/own_store.h"

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* What was uploaded and never used goes when something else is removed. */
enum { UNUSED_SECONDS = 24 * 3600 };

bool own_store_needs(const struct ollama_layer *layer) {
    return strcmp(layer->type, "projector") != 0;
}

/* --- the store and its lock --- */

bool own_store_open(const struct config *config, struct own_store *store, struct error *error) {
    *store = (struct own_store){.lock = -1};
    struct string_buffer blobs = {0};
    bool done = ollama_own_root(config, &store->root, error);
    if (done) {
        string_buffer_append_format(&blobs, "%s/blobs", string_buffer_text(&store->root));
        done =
            !blobs.failed || error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a file's name");
        done = done && file_make_directories(string_buffer_text(&blobs), error);
    }
    string_buffer_deinit(&blobs);
    return done;
}

bool own_store_lock(struct own_store *store, struct error *error) {
    struct string_buffer path = {0};
    string_buffer_append_format(&path, "%s/lock", string_buffer_text(&store->root));
    store->lock = open(string_buffer_text(&path), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    bool done = store->lock >= 0;
    while (done && flock(store->lock, LOCK_EX) != 0) {
        done = errno == EINTR;
    }
    if (!done) {
        error_set_errno(error, errno, "cannot lock '%s'", string_buffer_text(&path));
    }
    string_buffer_deinit(&path);
    return done;
}

void own_store_unlock(struct own_store *store) {
    if (store->lock >= 0) {
        close(store->lock);
        store->lock = -1;
    }
}

void own_store_close(struct own_store *store) {
    own_store_unlock(store);
    string_buffer_deinit(&store->root);
}

/* --- blobs --- */

bool own_store_has_blob(const struct own_store *store, const char *digest, uint64_t *bytes) {
    struct string_buffer path = {0};
    struct stat status;
    ollama_append_blob(string_buffer_text(&store->root), digest, &path);
    bool has = stat(string_buffer_text(&path), &status) == 0 && S_ISREG(status.st_mode);
    *bytes = has ? (uint64_t)status.st_size : 0;
    string_buffer_deinit(&path);
    return has;
}

bool own_store_put_text(const struct own_store *store, const char *text, size_t length,
                        char digest[DIGEST_HEX_BYTES], bool *existed, struct error *error) {
    struct string_buffer path = {0};
    uint64_t bytes;
    if (!digest_of(text, length, digest)) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a checksum");
    }
    bool is_there = own_store_has_blob(store, digest, &bytes) && bytes == length;
    if (existed != NULL) {
        *existed = is_there;
    }
    ollama_append_blob(string_buffer_text(&store->root), digest, &path);
    bool done = is_there || file_write_atomic(string_buffer_text(&path), text, length, error);
    string_buffer_deinit(&path);
    return done;
}

/* --- what nothing mentions --- */

struct candidates {
    char (*digests)[65]; /* [count] */
    size_t count, capacity;
};

static bool add_candidate(struct candidates *list, const char *digest) {
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 64 : list->capacity * 2;
        char(*digests)[65] = realloc(list->digests, capacity * sizeof *digests);
        if (digests == NULL) {
            return false;
        }
        list->digests = digests;
        list->capacity = capacity;
    }
    memcpy(list->digests[list->count++], digest, sizeof *list->digests);
    return true;
}

static bool add_manifest_blobs(struct candidates *list, const struct ollama_manifest *manifest) {
    bool done = manifest->config.digest[0] == '\0' || add_candidate(list, manifest->config.digest);
    for (size_t i = 0; done && i < manifest->count; i++) {
        done = add_candidate(list, manifest->layers[i].digest);
    }
    return done;
}

static bool add_old_blobs(const struct own_store *store, struct candidates *list) {
    struct string_buffer folder = {0};
    string_buffer_append_format(&folder, "%s/blobs", string_buffer_text(&store->root));
    DIR *directory = opendir(string_buffer_text(&folder));
    const struct dirent *entry;
    bool done = true;
    time_t now = time(NULL);
    while (directory != NULL && done && (entry = readdir(directory)) != NULL) {
        struct stat status;
        const char *digest = entry->d_name + strlen("sha256-");
        bool is_blob = strncmp(entry->d_name, "sha256-", 7) == 0 && strlen(digest) == 64;
        bool is_leaving = strncmp(entry->d_name, ".sha256-", 8) == 0; /* of a killed writer */
        if ((!is_blob && !is_leaving) ||
            fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0 ||
            now - status.st_mtime <= UNUSED_SECONDS) {
            continue;
        }
        if (is_leaving) {
            unlinkat(dirfd(directory), entry->d_name, 0);
        } else {
            done = add_candidate(list, digest);
        }
    }
    if (directory != NULL) {
        closedir(directory);
    }
    string_buffer_deinit(&folder);
    return done;
}

static void strike_out(struct candidates *list, const char *digest) {
    for (size_t i = list->count; i-- > 0;) {
        if (strcmp(list->digests[i], digest) == 0) {
            memmove(list->digests[i], list->digests[--list->count], sizeof *list->digests);
        }
    }
}

/* A manifest that cannot be read mentions who knows what: then nothing is removed. */
static bool strike_out_mentioned(void *context, const char *path, const struct ollama_name *name) {
    (void)name;
    struct candidates *list = context;
    struct ollama_manifest manifest;
    char *text = NULL;
    size_t length;
    if (!ollama_manifest_read(path, &text, &length, &manifest, NULL)) {
        return false;
    }
    free(text);
    strike_out(list, manifest.config.digest);
    for (size_t i = 0; i < manifest.count; i++) {
        strike_out(list, manifest.layers[i].digest);
    }
    return true;
}

/* Removes what `removed` mentioned and no manifest mentions now. Best effort: what stays only takes
 * room. */
static void prune(const struct own_store *store, const struct ollama_manifest *removed) {
    struct candidates list = {0};
    const char *root = string_buffer_text(&store->root);
    if (add_manifest_blobs(&list, removed) && add_old_blobs(store, &list) &&
        ollama_store_walk(root, strike_out_mentioned, &list)) {
        for (size_t i = 0; i < list.count; i++) {
            struct string_buffer path = {0};
            ollama_append_blob(root, list.digests[i], &path);
            if (!path.failed) {
                unlink(string_buffer_text(&path));
            }
            string_buffer_deinit(&path);
        }
    }
    free(list.digests);
}

void own_store_forget(const struct own_store *store, const struct ollama_manifest *manifest) {
    prune(store, manifest);
}

/* --- manifests --- */

static bool check_blobs(const struct own_store *store, const char *text, size_t length,
                        struct error *error) {
    struct ollama_manifest manifest;
    if (!ollama_manifest_parse(text, length, &manifest, error)) {
        return false;
    }
    for (size_t i = 0; i < manifest.count; i++) {
        const struct ollama_layer *layer = &manifest.layers[i];
        uint64_t bytes;
        if (own_store_needs(layer) &&
            (!own_store_has_blob(store, layer->digest, &bytes) || bytes != layer->bytes)) {
            return error_set(error, ERROR_NOT_FOUND, "the blob sha256:%s is not there",
                             layer->digest);
        }
    }
    return true;
}

struct same_name {
    const struct ollama_name *name;
    struct string_buffer *path;
};

static bool find_same_name(void *context, const char *path, const struct ollama_name *name) {
    struct same_name *wanted = context;
    bool same = strcasecmp(name->host, wanted->name->host) == 0 &&
                strcasecmp(name->space, wanted->name->space) == 0 &&
                strcasecmp(name->model, wanted->name->model) == 0 &&
                strcasecmp(name->tag, wanted->name->tag) == 0;
    if (same) {
        string_buffer_append_text(wanted->path, path);
    }
    return !same;
}

static bool write_manifest(const char *path, const char *text, size_t length, struct error *error) {
    struct string_buffer folder = {0};
    string_buffer_append(&folder, path, (size_t)(strrchr(path, '/') - path));
    bool done = file_make_directories(string_buffer_text(&folder), error) &&
                file_write_atomic(path, text, length, error);
    string_buffer_deinit(&folder);
    return done;
}

bool own_store_put_manifest(const struct own_store *store, const struct ollama_name *name,
                            const char *text, size_t length, struct error *error) {
    const char *root = string_buffer_text(&store->root);
    struct string_buffer path = {0};
    struct same_name wanted = {name, &path};
    struct ollama_manifest before;
    char *old = NULL;
    size_t old_length;
    if (!check_blobs(store, text, length, error)) {
        return false;
    }
    (void)ollama_store_walk(root, find_same_name, &wanted);
    bool replaces = path.length != 0;
    if (!replaces) {
        ollama_name_append_path(root, name, &path);
    }
    bool is_known = replaces && ollama_manifest_read(string_buffer_text(&path), &old, &old_length,
                                                     &before, NULL);
    bool done =
        !path.failed || error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a file's name");
    done = done && write_manifest(string_buffer_text(&path), text, length, error);
    if (done && is_known) {
        prune(store, &before);
    }
    free(old);
    string_buffer_deinit(&path);
    return done;
}

bool own_store_remove(const struct own_store *store, const char *manifest_path,
                      struct error *error) {
    struct ollama_manifest manifest;
    char *text = NULL;
    size_t length;
    bool is_known = ollama_manifest_read(manifest_path, &text, &length, &manifest, NULL);
    free(text);
    if (unlink(manifest_path) != 0) {
        return error_set_errno(error, errno, "cannot remove '%s'", manifest_path);
    }
    if (is_known) {
        prune(store, &manifest);
    }
    return true;
}
