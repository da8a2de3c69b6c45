/* ollama_store.c - see ollama_store.h. Reading only. */
#include "hub/ollama_store.h"

#include "base/file.h"
#include "base/json_memory.h"
#include "hub/digest.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

static const char default_host[] = "registry.ollama.ai";
static const char default_space[] = "library";
static const char type_prefix[] = "application/vnd.ollama.image.";

enum { MAX_MANIFEST_BYTES = 1 << 20, LEVELS = 4 };

/* --- names --- */

/* Never a path of its own: no slash, no leading dot. */
static bool take_part(const char *text, size_t length, bool is_host, char *part) {
    if (length == 0 || length >= OLLAMA_PART_BYTES || text[0] == '.' || text[0] == '-') {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (!isalnum(c) && strchr("._-", c) == NULL && !(is_host && c == ':')) {
            return false;
        }
    }
    memcpy(part, text, length);
    part[length] = '\0';
    return true;
}

bool ollama_name_parse(const char *text, struct ollama_name *name) {
    *name = (struct ollama_name){0};
    const char *slash = strrchr(text, '/');
    const char *model = slash == NULL ? text : slash + 1;
    const char *colon = strchr(model, ':');
    size_t model_length = colon == NULL ? strlen(model) : (size_t)(colon - model);
    const char *tag = colon == NULL ? "latest" : colon + 1;
    if (!take_part(model, model_length, false, name->model) ||
        !take_part(tag, strlen(tag), false, name->tag)) {
        return false;
    }
    snprintf(name->host, sizeof name->host, "%s", default_host);
    snprintf(name->space, sizeof name->space, "%s", default_space);
    if (slash == NULL) {
        return true;
    }
    const char *first = memchr(text, '/', (size_t)(slash - text));
    const char *space = first == NULL ? text : first + 1;
    return take_part(space, (size_t)(slash - space), false, name->space) &&
           (first == NULL || take_part(text, (size_t)(first - text), true, name->host));
}

bool ollama_name_is_of_default_host(const struct ollama_name *name) {
    return strcasecmp(name->host, default_host) == 0;
}

void ollama_name_append(const struct ollama_name *name, struct string_buffer *out) {
    bool has_host = !ollama_name_is_of_default_host(name);
    if (has_host) {
        string_buffer_append_format(out, "%s/", name->host);
    }
    if (has_host || strcasecmp(name->space, default_space) != 0) {
        string_buffer_append_format(out, "%s/", name->space);
    }
    string_buffer_append_format(out, "%s:%s", name->model, name->tag);
}

void ollama_name_append_path(const char *root, const struct ollama_name *name,
                             struct string_buffer *out) {
    string_buffer_append_format(out, "%s/manifests/%s/%s/%s/%s", root, name->host, name->space,
                                name->model, name->tag);
}

void ollama_append_blob(const char *root, const char *digest, struct string_buffer *out) {
    string_buffer_append_format(out, "%s/blobs/sha256-%s", root, digest);
}

/* --- manifests --- */

static bool read_digest(const json_t *value, char digest[65]) {
    const char *text = json_string_value(value);
    if (text == NULL || json_string_length(value) != 7 + 64 || strncmp(text, "sha256:", 7) != 0 ||
        strspn(text + 7, "0123456789abcdef") != 64) {
        return false;
    }
    memcpy(digest, text + 7, 65);
    return true;
}

static bool read_layer(const json_t *value, struct ollama_layer *layer) {
    const char *type = json_string_value(json_object_get(value, "mediaType"));
    const json_t *size = json_object_get(value, "size");
    if (type == NULL || !json_is_integer(size) || json_integer_value(size) < 0 ||
        !read_digest(json_object_get(value, "digest"), layer->digest)) {
        return false;
    }
    if (strncmp(type, type_prefix, sizeof type_prefix - 1) == 0) {
        type += sizeof type_prefix - 1;
    }
    snprintf(layer->type, sizeof layer->type, "%s", type);
    layer->bytes = (uint64_t)json_integer_value(size);
    return true;
}

bool ollama_manifest_parse(const char *text, size_t length, struct ollama_manifest *manifest,
                           struct error *error) {
    *manifest = (struct ollama_manifest){0};
    json_t *json = length > MAX_MANIFEST_BYTES
                       ? NULL
                       : json_guarded(json_loadb, text, length, JSON_REJECT_DUPLICATES, NULL);
    const json_t *layers = json_object_get(json, "layers");
    size_t count = json_array_size(layers);
    bool good = json_is_array(layers) && count > 0 && count <= OLLAMA_MAX_LAYERS;
    for (size_t i = 0; good && i < count; i++) {
        good = read_layer(json_array_get(layers, i), &manifest->layers[i]);
    }
    manifest->count = good ? count : 0;
    if (good && !read_layer(json_object_get(json, "config"), &manifest->config)) {
        manifest->config.digest[0] = '\0';
    }
    json_decref(json);
    return good || error_set(error, ERROR_FORMAT, "the manifest is not understood");
}

const struct ollama_layer *ollama_manifest_find(const struct ollama_manifest *manifest,
                                                const char *type) {
    for (size_t i = 0; i < manifest->count; i++) {
        if (strcmp(manifest->layers[i].type, type) == 0) {
            return &manifest->layers[i];
        }
    }
    return NULL;
}

/* --- listing --- */

struct walk {
    bool (*visit)(void *context, const char *path, const struct ollama_name *name);
    void *context;
    char parts[LEVELS][OLLAMA_PART_BYTES];
};

/* The root that a manifest's path lies below: four folders and "manifests" up. */
static void append_root(const char *manifest_path, struct string_buffer *root) {
    size_t length = strlen(manifest_path);
    for (size_t i = 0; i < LEVELS + 1; i++) {
        do {
            length -= length > 0;
        } while (length > 0 && manifest_path[length] != '/');
    }
    string_buffer_append(root, manifest_path, length);
}

struct listing {
    const char *root;
    enum hub_store store;
    struct hub_model_list *list;
};

/* False: no memory. What is not whole is passed over. */
static bool add_manifest(void *context, const char *path, const struct ollama_name *parts) {
    struct listing *listing = context;
    char *text = NULL;
    size_t length;
    struct ollama_manifest manifest;
    struct stat status;
    struct stat blob_status;
    struct string_buffer blob = {0};
    struct string_buffer name = {0};
    bool has_memory = true;
    if (!ollama_manifest_read(path, &text, &length, &manifest, NULL)) {
        return true;
    }
    const struct ollama_layer *weights = ollama_manifest_find(&manifest, "model");
    if (weights != NULL) {
        ollama_append_blob(listing->root, weights->digest, &blob);
    }
    if (weights != NULL && stat(path, &status) == 0 &&
        stat(string_buffer_text(&blob), &blob_status) == 0 && S_ISREG(blob_status.st_mode) &&
        (uint64_t)blob_status.st_size == weights->bytes) {
        ollama_name_append(parts, &name);
        struct hub_model model = {.name = strdup(string_buffer_text(&name)),
                                  .path = strdup(string_buffer_text(&blob)),
                                  .real_path = realpath(string_buffer_text(&blob), NULL),
                                  .manifest = strdup(path),
                                  .bytes = weights->bytes,
                                  .modified = (int64_t)status.st_mtime,
                                  .store = listing->store};
        has_memory = digest_of(text, length, model.digest);
        has_memory = hub_model_list_append(listing->list, &model) && has_memory;
    }
    string_buffer_deinit(&name);
    string_buffer_deinit(&blob);
    free(text);
    return has_memory;
}

static bool visit_manifest(const struct walk *walk, const char *path) {
    struct ollama_name name = {0};
    snprintf(name.host, sizeof name.host, "%s", walk->parts[0]);
    snprintf(name.space, sizeof name.space, "%s", walk->parts[1]);
    snprintf(name.model, sizeof name.model, "%s", walk->parts[2]);
    snprintf(name.tag, sizeof name.tag, "%s", walk->parts[3]);
    return walk->visit(walk->context, path, &name);
}

static bool walk_folder(struct walk *walk, const char *folder, size_t level) {
    DIR *directory = opendir(folder);
    const struct dirent *entry;
    bool done = true;
    while (directory != NULL && done && (entry = readdir(directory)) != NULL) {
        if (!take_part(entry->d_name, strlen(entry->d_name), level == 0, walk->parts[level])) {
            continue;
        }
        struct string_buffer path = {0};
        string_buffer_append_format(&path, "%s/%s", folder, entry->d_name);
        bool is_folder = file_is_directory(string_buffer_text(&path));
        if (level == LEVELS - 1) {
            done = is_folder || visit_manifest(walk, string_buffer_text(&path));
        } else if (is_folder) {
            done = walk_folder(walk, string_buffer_text(&path), level + 1);
        }
        string_buffer_deinit(&path);
    }
    if (directory != NULL) {
        closedir(directory);
    }
    return done;
}

bool ollama_store_walk(const char *root,
                       bool (*visit)(void *context, const char *path,
                                     const struct ollama_name *name),
                       void *context) {
    struct walk walk = {.visit = visit, .context = context};
    struct string_buffer folder = {0};
    string_buffer_append_format(&folder, "%s/manifests", root);
    bool done = walk_folder(&walk, string_buffer_text(&folder), 0);
    string_buffer_deinit(&folder);
    return done;
}

bool ollama_store_list(const char *root, enum hub_store store, struct hub_model_list *list) {
    struct listing listing = {.root = root, .store = store, .list = list};
    return ollama_store_walk(root, add_manifest, &listing);
}

bool ollama_manifest_read(const char *path, char **text, size_t *length,
                          struct ollama_manifest *manifest, struct error *error) {
    bool done = file_read_all(path, MAX_MANIFEST_BYTES, text, length, error);
    if (done && !ollama_manifest_parse(*text, *length, manifest, error)) {
        free(*text);
        *text = NULL;
        return error_prefix(error, "%s", path);
    }
    return done;
}

bool ollama_store_read_texts(struct hub_model *model, struct error *error) {
    char *text = NULL;
    size_t length;
    struct ollama_manifest manifest;
    bool done = ollama_manifest_read(model->manifest, &text, &length, &manifest, error);
    free(text);
    const struct {
        const char *type;
        char **target;
    } rows[] = {{"params", &model->parameters},
                {"system", &model->system},
                {"template", &model->template_text},
                {"license", &model->license},
                {"messages", &model->messages}};
    struct string_buffer root = {0};
    append_root(model->manifest, &root);
    for (size_t i = 0; done && i < sizeof rows / sizeof rows[0]; i++) {
        const struct ollama_layer *layer = ollama_manifest_find(&manifest, rows[i].type);
        if (layer != NULL && layer->bytes <= OLLAMA_MAX_TEXT) {
            struct string_buffer blob = {0};
            ollama_append_blob(string_buffer_text(&root), layer->digest, &blob);
            (void)file_read_all(string_buffer_text(&blob), OLLAMA_MAX_TEXT, rows[i].target, &length,
                                NULL); /* a lost text is no reason not to serve */
            string_buffer_deinit(&blob);
        }
    }
    string_buffer_deinit(&root);
    return done;
}

/* --- where --- */

bool ollama_own_root(const struct config *config, struct string_buffer *root, struct error *error) {
    if (!hub_models_folder(config, root, error)) {
        return false;
    }
    string_buffer_append_text(root, "/.ollama");
    return true;
}

bool ollama_foreign_roots(bool (*visit)(void *context, const char *root), void *context) {
    const char *named = getenv("OLLAMA_MODELS");
    const char *home = getenv("HOME");
    if (named != NULL && named[0] != '\0') {
        return visit(context, named);
    }
    if (home != NULL && home[0] != '\0') {
        struct string_buffer root = {0};
        string_buffer_append_format(&root, "%s/.ollama/models", home);
        bool go_on = visit(context, string_buffer_text(&root));
        string_buffer_deinit(&root);
        if (!go_on) {
            return false;
        }
    }
    return visit(context, "/usr/share/ollama/.ollama/models");
}
