/*
 * pull.c - from a reference to a checked file in the models folder; see hub_pull in hub.h.
 *
 * A file that is there under the name that is wanted is taken as it is, without asking anybody: it
 * can only have come there whole. Where the name is not known before asking, or with `verify`, the
 * checksum decides.
 */
#include "base/file.h"
#include "hub/download.h"
#include "hub/hugging_face.h"
#include "hub/models.h"
#include "hub/ollama_registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct pull {
    struct hub_session session;
    struct hub_reference reference;
    struct string_buffer folder;
    const char *default_format;
    struct hub_pull_result *result;
    struct error *error;
};

void hub_pull_result_deinit(struct hub_pull_result *result) {
    free(result->path);
    free(result->name);
    *result = (struct hub_pull_result){0};
}

static bool set_result(struct pull *pull, const char *path, bool fetched, const char *sha256) {
    struct stat status;
    if (stat(path, &status) != 0) {
        return error_set(pull->error, ERROR_IO, "'%s' is gone", path);
    }
    *pull->result = (struct hub_pull_result){
        .path = strdup(path), .bytes = (uint64_t)status.st_size, .fetched = fetched};
    snprintf(pull->result->sha256, sizeof pull->result->sha256, "%s", sha256);
    const char *base = strrchr(path, '/') + 1;
    pull->result->name = strndup(base, strlen(base) - strlen(".gguf"));
    return (pull->result->path != NULL && pull->result->name != NULL) ||
           error_set(pull->error, ERROR_OUT_OF_MEMORY, "no memory for the result");
}

/* Without the network: the wanted file, when its name is known and it is there. */
static bool find_local(struct pull *pull, struct string_buffer *path) {
    struct string_buffer name = {0};
    bool found =
        reference_file_name(&pull->reference, pull->default_format, &name) &&
        models_find_file(string_buffer_text(&pull->folder), string_buffer_text(&name), path);
    string_buffer_deinit(&name);
    return found;
}

/* A file of that name is there, and the repository's list of files is known. */
static bool compare_with_local(struct pull *pull, const struct hub_file *file, const char *path,
                               bool *same) {
    struct stat status;
    char sha256[DIGEST_HEX_BYTES] = "";
    if (stat(path, &status) != 0) {
        return error_set(pull->error, ERROR_IO, "cannot read '%s'", path);
    }
    *same = (uint64_t)status.st_size == file->bytes;
    if (*same && file->sha256[0] != '\0') {
        if (!download_hash_file(&pull->session, path, sha256, pull->error)) {
            return false;
        }
        *same = strcmp(sha256, file->sha256) == 0;
    }
    if (*same) {
        return set_result(pull, path, false, sha256);
    }
    return error_set(
        pull->error, ERROR_INVALID_ARGUMENT,
        "'%s' is there already and differs from the file of that name in %s: remove it, "
        "rename it, or pull into another folder with --models-path",
        path, pull->reference.repository);
}

static bool download_file(struct pull *pull, const struct hub_file *file, const char *path) {
    struct string_buffer url = {0};
    hugging_face_append_url(&pull->session, pull->reference.repository, file, &url);
    const struct download download = {.session = &pull->session,
                                      .repository = pull->reference.repository,
                                      .label = strrchr(path, '/') + 1,
                                      .url = string_buffer_text(&url),
                                      .path = path,
                                      .bytes = file->bytes,
                                      .sha256 = file->sha256,
                                      .refused = hugging_face_refused};
    char sha256[DIGEST_HEX_BYTES] = "";
    bool done = file_make_directories(string_buffer_text(&pull->folder), pull->error) &&
                download_run(&download, sha256, pull->error) &&
                set_result(pull, path, true, sha256);
    string_buffer_deinit(&url);
    return done;
}

static bool pull_remote(struct pull *pull) {
    struct hub_file_list list;
    if (!hugging_face_list(&pull->session, pull->reference.repository, &list, pull->error)) {
        return false;
    }
    struct string_buffer path = {0};
    const struct hub_file *file =
        hugging_face_choose(&list, &pull->reference, pull->default_format, pull->error);
    bool done = file != NULL;
    if (done) {
        const char *slash = strrchr(file->path, '/');
        string_buffer_append_format(&path, "%s/%s", string_buffer_text(&pull->folder),
                                    slash == NULL ? file->path : slash + 1);
        done = !path.failed ||
               error_set(pull->error, ERROR_OUT_OF_MEMORY, "no memory for a file's name");
    }
    bool same = false;
    pull->session.sha256 = done ? file->sha256 : NULL;
    if (done && file_exists(string_buffer_text(&path))) {
        done = compare_with_local(pull, file, string_buffer_text(&path), &same);
    } else if (done) {
        done = download_file(pull, file, string_buffer_text(&path));
    }
    string_buffer_deinit(&path);
    hub_file_list_deinit(&list);
    return done;
}

static bool set_endpoint(struct pull *pull, const char *endpoint, const char *setting) {
    size_t length = endpoint == NULL ? 0 : strlen(endpoint);
    while (length > 0 && endpoint[length - 1] == '/') {
        length--;
    }
    string_buffer_append(&pull->session.endpoint, endpoint, length);
    return length > 0 ||
           error_set(pull->error, ERROR_INVALID_ARGUMENT, "the setting %s is empty", setting);
}

static bool pull_hugging_face(struct pull *pull) {
    const struct hub_pull_options *options = pull->session.options;
    struct string_buffer path = {0};
    bool done = set_endpoint(pull, options->config->hub_endpoint, "hub.endpoint");
    if (done) {
        pull->session.token = options->config->hub_token;
        pull->session.mirror_name = "HF_ENDPOINT";
        bool local = !options->verify && find_local(pull, &path);
        done = local ? set_result(pull, string_buffer_text(&path), false, "") : pull_remote(pull);
    }
    string_buffer_deinit(&path);
    return done;
}

/* The registry's own name stands for whatever the setting names; another host is asked itself. */
static bool pull_ollama(struct pull *pull) {
    const struct ollama_name *name = &pull->reference.ollama;
    struct string_buffer host = {0};
    bool is_default = ollama_name_is_of_default_host(name);
    string_buffer_append_format(&host, "https://%s", name->host);
    pull->session.mirror_name = "MISTRAL_OLLAMA_REGISTRY";
    bool done = set_endpoint(pull,
                             is_default ? pull->session.options->config->hub_ollama_registry
                                        : string_buffer_text(&host),
                             "hub.ollama_registry") &&
                ollama_registry_pull(&pull->session, name, pull->result, pull->error);
    string_buffer_deinit(&host);
    return done;
}

bool hub_pull(const char *reference, const struct hub_pull_options *options,
              struct hub_pull_result *result, struct error *error) {
    struct pull pull = {.session = {.options = options},
                        .default_format = options->config->default_quantization,
                        .result = result,
                        .error = error};
    *result = (struct hub_pull_result){0};
    bool done = reference_parse(reference, &pull.reference, error) &&
                hub_models_folder(options->config, &pull.folder, error);
    if (done) {
        pull.session.folder = string_buffer_text(&pull.folder);
        done = pull.reference.is_ollama ? pull_ollama(&pull) : pull_hugging_face(&pull);
    }
    string_buffer_deinit(&pull.session.endpoint);
    string_buffer_deinit(&pull.folder);
    return done;
}
