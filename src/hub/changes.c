/* changes.c - models are created, copied and deleted; see hub.h. */
#include "base/file.h"
#include "base/json_writer.h"
#include "hub/models.h"
#include "hub/own_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HASH_BYTES = 1 << 18 };

static const char manifest_type[] = "application/vnd.docker.distribution.manifest.v2+json";
static const char layer_type_prefix[] = "application/vnd.ollama.image.";

bool hub_parse_digest(const char *text, char sha256[65]) {
    bool good = strncmp(text, "sha256", 6) == 0 && (text[6] == ':' || text[6] == '-') &&
                strlen(text) == 7 + 64 && strspn(text + 7, "0123456789abcdef") == 64;
    if (good) {
        memcpy(sha256, text + 7, 65);
    }
    return good;
}

static bool parse_name(const char *text, struct ollama_name *name, struct error *error) {
    return ollama_name_parse(text, name) ||
           error_set(error, ERROR_INVALID_ARGUMENT,
                     "invalid model name '%.200s': write [namespace/]model[:tag], of letters, "
                     "digits and ._-",
                     text);
}

/* --- create --- */

struct creating {
    const struct hub_creation *wanted;
    struct own_store store;
    struct ollama_name name;
    char *weights; /* without symbolic links */
    uint64_t weights_bytes;
    char weights_digest[DIGEST_HEX_BYTES];
    struct string_buffer manifest;
    struct json_writer json;
    struct ollama_manifest fresh; /* the blobs that were not there before */
    struct error *error;
};

static void tell(const struct creating *creating, const char *format, const char *digest) {
    struct string_buffer text = {0};
    if (creating->wanted->status != NULL) {
        string_buffer_append_format(&text, "%s%s%s", format,
                                    digest == NULL ? "" : " sha256:", digest == NULL ? "" : digest);
        creating->wanted->status(creating->wanted->context, string_buffer_text(&text));
        string_buffer_deinit(&text);
    }
}

static bool hash_file(struct creating *creating, int file) {
    struct digest *digest = digest_create();
    char *buffer = malloc(HASH_BYTES);
    const struct hub_creation *wanted = creating->wanted;
    bool done = (digest != NULL && buffer != NULL) ||
                error_set(creating->error, ERROR_OUT_OF_MEMORY, "no memory for a checksum");
    ssize_t count = 1;
    while (done && count != 0) {
        count = read(file, buffer, HASH_BYTES);
        if (wanted->cancelled != NULL && wanted->cancelled(wanted->context)) {
            done = error_set(creating->error, ERROR_CANCELLED, "cancelled");
        } else if (count < 0 && errno != EINTR) {
            done = error_set_errno(creating->error, errno, "cannot read '%s'", creating->weights);
        } else if (count > 0 && !digest_update(digest, buffer, (size_t)count)) {
            done = error_set(creating->error, ERROR_OUT_OF_MEMORY, "no memory for a checksum");
        }
    }
    done = done && digest_finish(digest, creating->weights_digest);
    free(buffer);
    digest_free(digest);
    return done;
}

/* The file's checksum: its name, where it lies in a store that names files so, else computed. */
static bool identify_weights(struct creating *creating) {
    struct stat status;
    creating->weights = realpath(creating->wanted->weights, NULL);
    int file = creating->weights == NULL ? -1 : open(creating->weights, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) {
        bool is_odd = file >= 0;
        error_set_errno(creating->error, is_odd ? EINVAL : errno, "cannot read '%s'",
                        creating->wanted->weights);
        if (is_odd) {
            close(file);
        }
        return false;
    }
    creating->weights_bytes = (uint64_t)status.st_size;
    const char *base = strrchr(creating->weights, '/') + 1;
    bool done = true;
    if (strlen(base) == 64 && strspn(base, "0123456789abcdef") == 64) {
        memcpy(creating->weights_digest, base, 65);
    } else if (!hub_parse_digest(base, creating->weights_digest)) {
        tell(creating, "reading the file's checksum", NULL);
        done = hash_file(creating, file);
    }
    close(file);
    return done;
}

static void add_layer(struct creating *creating, const char *type, const char *digest,
                      uint64_t bytes, bool is_fresh) {
    struct string_buffer text = {0};
    if (is_fresh) { /* weights, and one of each text: fewer than a manifest may have */
        struct ollama_layer *layer = &creating->fresh.layers[creating->fresh.count++];
        snprintf(layer->digest, sizeof layer->digest, "%s", digest);
    }
    json_write_object_begin(&creating->json);
    string_buffer_append_format(&text, "%s%s", layer_type_prefix, type);
    json_write_text_member(&creating->json, "mediaType", string_buffer_text(&text));
    string_buffer_clear(&text);
    string_buffer_append_format(&text, "sha256:%s", digest);
    json_write_text_member(&creating->json, "digest", string_buffer_text(&text));
    json_write_integer_member(&creating->json, "size", (int64_t)bytes);
    json_write_object_end(&creating->json);
    string_buffer_deinit(&text);
}

/* A link is made beside its place and renamed: nobody sees half of one. */
static bool link_weights(struct creating *creating) {
    const char *root = string_buffer_text(&creating->store.root);
    struct string_buffer path = {0};
    struct string_buffer fresh = {0};
    uint64_t bytes;
    bool done = true;
    bool is_there = own_store_has_blob(&creating->store, creating->weights_digest, &bytes) &&
                    bytes == creating->weights_bytes;
    if (is_there) {
        tell(creating, "using existing layer", creating->weights_digest);
    } else {
        tell(creating, "creating new layer", creating->weights_digest);
        ollama_append_blob(root, creating->weights_digest, &path);
        string_buffer_append_format(&fresh, "%s.%ld.link", string_buffer_text(&path),
                                    (long)getpid());
        unlink(string_buffer_text(&fresh));
        done = !fresh.failed && symlink(creating->weights, string_buffer_text(&fresh)) == 0 &&
               rename(string_buffer_text(&fresh), string_buffer_text(&path)) == 0;
        if (!done) {
            error_set_errno(creating->error, errno, "cannot write '%s'", string_buffer_text(&path));
        }
    }
    add_layer(creating, "model", creating->weights_digest, creating->weights_bytes,
              done && !is_there);
    string_buffer_deinit(&path);
    string_buffer_deinit(&fresh);
    return done;
}

static bool add_texts(struct creating *creating) {
    const struct hub_creation *wanted = creating->wanted;
    const struct {
        const char *type, *text;
    } rows[] = {{"template", wanted->template_text},
                {"system", wanted->system},
                {"params", wanted->parameters},
                {"messages", wanted->messages},
                {"license", wanted->license}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char digest[DIGEST_HEX_BYTES];
        bool existed;
        size_t length = rows[i].text == NULL ? 0 : strlen(rows[i].text);
        if (length == 0) {
            continue;
        }
        if (length > OLLAMA_MAX_TEXT) {
            return error_set(creating->error, ERROR_INVALID_ARGUMENT,
                             "the model's %s has more than %d bytes", rows[i].type,
                             OLLAMA_MAX_TEXT);
        }
        if (!own_store_put_text(&creating->store, rows[i].text, length, digest, &existed,
                                creating->error)) {
            return false;
        }
        tell(creating, existed ? "using existing layer" : "creating new layer", digest);
        add_layer(creating, rows[i].type, digest, length, !existed);
    }
    return true;
}

static bool write_model(struct creating *creating) {
    creating->json = (struct json_writer){.out = &creating->manifest};
    struct json_writer *json = &creating->json;
    json_write_object_begin(json);
    json_write_integer_member(json, "schemaVersion", 2);
    json_write_text_member(json, "mediaType", manifest_type);
    json_write_key(json, "layers");
    json_write_array_begin(json);
    bool done = link_weights(creating) && add_texts(creating);
    json_write_array_end(json);
    json_write_object_end(json);
    if (done) {
        tell(creating, "writing manifest", NULL);
        done = own_store_put_manifest(&creating->store, &creating->name,
                                      string_buffer_text(&creating->manifest),
                                      creating->manifest.length, creating->error);
    }
    if (!done) {
        own_store_forget(&creating->store, &creating->fresh);
    }
    return done;
}

/* A file of the models folder would be found first under that name. */
static bool check_free(const struct config *config, const char *name, struct error *error) {
    struct string_buffer folder = {0};
    struct hub_model_list list = {0};
    bool done = hub_models_folder(config, &folder, error) &&
                hub_list_models(string_buffer_text(&folder), &list, error);
    for (size_t i = 0; done && i < list.count; i++) {
        if (models_is_called(&list.models[i], name)) {
            done = error_set(error, ERROR_INVALID_ARGUMENT,
                             "'%.200s' is the name of a file, '%s': choose another name", name,
                             list.models[i].path);
        }
    }
    hub_model_list_deinit(&list);
    string_buffer_deinit(&folder);
    return done;
}

bool hub_create(const struct config *config, const struct hub_creation *wanted,
                struct error *error) {
    struct creating creating = {.wanted = wanted, .store = {.lock = -1}, .error = error};
    bool done = parse_name(wanted->name, &creating.name, error) &&
                check_free(config, wanted->name, error) &&
                own_store_open(config, &creating.store, error) && identify_weights(&creating) &&
                own_store_lock(&creating.store, error) && write_model(&creating);
    own_store_close(&creating.store);
    string_buffer_deinit(&creating.manifest);
    free(creating.weights);
    return done;
}

/* --- copy --- */

/* Within our store: the same manifest under another name. */
static bool copy_manifest(const struct config *config, const struct hub_model *source,
                          const struct ollama_name *name, struct error *error) {
    struct own_store store = {.lock = -1};
    struct ollama_manifest manifest;
    char *text = NULL;
    size_t length;
    bool done = own_store_open(config, &store, error) && own_store_lock(&store, error) &&
                ollama_manifest_read(source->manifest, &text, &length, &manifest, error) &&
                own_store_put_manifest(&store, name, text, length, error);
    free(text);
    own_store_close(&store);
    return done;
}

bool hub_copy(const struct config *config, const char *source, const char *destination,
              struct error *error) {
    struct ollama_name name;
    struct hub_model model = {0};
    bool done = parse_name(destination, &name, error) &&
                hub_look_up(config, source, &model, error) &&
                check_free(config, destination, error);
    if (done && model.manifest != NULL && model.store == HUB_FOLDER) {
        done = copy_manifest(config, &model, &name, error);
    } else if (done) {
        const struct hub_creation creation = {
            .name = destination,
            .weights = model.path,
            .parameters = model.parameters,
            .system = model.system,
            .template_text = model.template_text,
            .license = model.license,
            .messages = model.messages,
        };
        done = hub_create(config, &creation, error);
    }
    hub_model_deinit(&model);
    return done;
}

/* --- delete --- */

/* A file of the models folder. When a model of our store points at it, it goes there instead. */
static bool delete_file(struct own_store *store, const struct hub_model *model,
                        struct error *error) {
    struct string_buffer folder = {0};
    struct string_buffer blob = {0};
    struct stat status;
    string_buffer_append_format(&folder, "%s/blobs", string_buffer_text(&store->root));
    DIR *directory = opendir(string_buffer_text(&folder));
    const struct dirent *entry;
    bool is_used = false;
    bool is_link = lstat(model->path, &status) == 0 && S_ISLNK(status.st_mode);
    while (directory != NULL && !is_link && !is_used && (entry = readdir(directory)) != NULL) {
        string_buffer_clear(&blob);
        string_buffer_append_format(&blob, "%s/%s", string_buffer_text(&folder), entry->d_name);
        char *target = realpath(string_buffer_text(&blob), NULL);
        is_used = target != NULL && strcmp(target, model->real_path) == 0;
        free(target);
    }
    bool done =
        (is_used ? rename(model->path, string_buffer_text(&blob)) : unlink(model->path)) == 0 ||
        error_set_errno(error, errno, "cannot remove '%s'", model->path);
    if (directory != NULL) {
        closedir(directory);
    }
    string_buffer_deinit(&blob);
    string_buffer_deinit(&folder);
    return done;
}

static bool refuse_foreign(const struct hub_model *model, struct error *error) {
    return error_set(error, ERROR_UNSUPPORTED,
                     "'%s' belongs to %s, whose store is only read here: remove it with %s",
                     model->name, model->store == HUB_OLLAMA ? "Ollama" : "Hugging Face's cache",
                     model->store == HUB_OLLAMA ? "'ollama rm'" : "'hf cache delete'");
}

bool hub_delete(const struct config *config, const char *asked, struct string_buffer *name,
                struct error *error) {
    struct hub_model model;
    struct own_store store = {.lock = -1};
    bool done = hub_look_up(config, asked, &model, error);
    if (done && model.store != HUB_FOLDER) {
        done = refuse_foreign(&model, error);
    }
    done = done && own_store_open(config, &store, error) && own_store_lock(&store, error);
    if (done) {
        done = model.manifest != NULL ? own_store_remove(&store, model.manifest, error)
                                      : delete_file(&store, &model, error);
    }
    if (done && name != NULL) {
        string_buffer_append_text(name, model.name);
    }
    own_store_close(&store);
    hub_model_deinit(&model);
    return done;
}

bool hub_find_blob(const struct config *config, const char *sha256, struct string_buffer *path,
                   struct error *error) {
    struct own_store store;
    uint64_t bytes;
    bool done = own_store_open(config, &store, error);
    if (done && !own_store_has_blob(&store, sha256, &bytes)) {
        done = error_set(error, ERROR_NOT_FOUND, "blob \"sha256:%s\" not found", sha256);
    }
    if (done) {
        ollama_append_blob(string_buffer_text(&store.root), sha256, path);
    }
    own_store_close(&store);
    return done;
}
