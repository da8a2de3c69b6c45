/* ollama_registry.c - see ollama_registry.h. What the registry says is hostile until checked. */
#include "hub/ollama_registry.h"

#include "base/file.h"
#include "base/json_memory.h"
#include "hub/download.h"
#include "hub/own_store.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum {
    MANIFEST_LIMIT = 1 << 20, /* bytes */
    TOKEN_LIMIT = 64 << 10,
    MAX_ROUNDS = 3, /* of fetching what others removed meanwhile */
};

static const char manifest_types[] = "application/vnd.docker.distribution.manifest.v2+json, "
                                     "application/vnd.oci.image.manifest.v1+json";

struct registry {
    struct hub_session *session;
    const struct ollama_name *name;
    struct string_buffer shown;      /* the model's name, for messages */
    struct string_buffer repository; /* namespace/model */
    struct string_buffer token;      /* empty: none */
    struct string_buffer manifest;
    struct ollama_manifest parsed;
    struct own_store store;
    bool fetched;
    struct error *error;
};

static bool no_memory(struct error *error) {
    return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a pull");
}

/* --- one small answer --- */

struct answer {
    struct hub_session *session; /* first: the context of `cancelled` too */
    struct string_buffer text;
    size_t limit;
};

static bool append(void *context, const struct http_response *response, const char *bytes,
                   size_t length) {
    (void)response;
    struct answer *answer = context;
    string_buffer_append(&answer->text, bytes, length);
    return !answer->text.failed && answer->text.length <= answer->limit;
}

static bool answer_cancelled(void *context) {
    const struct answer *answer = context;
    return session_is_cancelled(answer->session);
}

/* Asks again after what may pass. True: a status came, of which the caller makes what it likes. */
static bool ask(struct registry *registry, const char *url, const char *token,
                struct answer *answer, struct http_response *response) {
    struct hub_session *session = registry->session;
    struct http_request request = session_request(session, url);
    size_t attempt = 0;
    request.token = token;
    request.accept = manifest_types;
    request.body = append;
    request.cancelled = answer_cancelled;
    request.context = answer;
    for (;;) {
        string_buffer_clear(&answer->text);
        session_report(session, HUB_ASKING, NULL, 0, 0, NULL);
        bool answered = http_get(&request, response, registry->error);
        if (answered && !response->transient) {
            return true;
        }
        if (answer->text.length > answer->limit) {
            return error_set(registry->error, ERROR_NETWORK, "%s sent more than %zu bytes", url,
                             answer->limit);
        }
        if (response->unreachable) {
            return session_fail_unreachable(session, response, registry->error);
        }
        if (!answered && !response->transient) {
            return false; /* *error is set */
        }
        if (!session_wait_to_retry(session, response, &attempt, NULL, 0, 0, registry->error)) {
            return error_prefix(registry->error, "%s", string_buffer_text(&registry->shown));
        }
    }
}

/* --- tokens --- */

/* key="value" out of a WWW-Authenticate header. */
static bool take_parameter(const char *header, const char *key, struct string_buffer *value) {
    size_t length = strlen(key);
    for (const char *at = header; (at = strcasestr(at, key)) != NULL; at += length) {
        bool is_start = at != header && strchr(" ,", at[-1]) != NULL;
        const char *end = strncmp(at + length, "=\"", 2) == 0 ? strchr(at + length + 2, '"') : NULL;
        if (is_start && end != NULL) {
            string_buffer_append(value, at + length + 2, (size_t)(end - at) - length - 2);
            return true;
        }
    }
    return false;
}

static bool token_url(struct registry *registry, const char *challenge, struct string_buffer *url) {
    struct string_buffer realm = {0}, service = {0}, scope = {0};
    const char *endpoint = string_buffer_text(&registry->session->endpoint);
    bool is_bearer = strncasecmp(challenge, "Bearer ", 7) == 0;
    bool good = is_bearer && take_parameter(challenge, "realm", &realm);
    const char *base = string_buffer_text(&realm);
    bool is_secure = strncasecmp(base, "https://", 8) == 0;
    /* who was asked by https is not answered in the clear */
    good = good && (is_secure || (strncasecmp(base, "http://", 7) == 0 &&
                                  strncasecmp(endpoint, "http://", 7) == 0));
    if (good) {
        string_buffer_append_format(url, "%s%sservice=", base, strchr(base, '?') ? "&" : "?");
        (void)take_parameter(challenge, "service", &service);
        http_append_escaped(url, string_buffer_text(&service), service.length);
        if (take_parameter(challenge, "scope", &scope)) {
            string_buffer_append_text(url, "&scope=");
            http_append_escaped(url, string_buffer_text(&scope), scope.length);
        } else {
            string_buffer_append_format(url, "&scope=repository:%s:pull",
                                        string_buffer_text(&registry->repository));
        }
    }
    string_buffer_deinit(&realm);
    string_buffer_deinit(&service);
    string_buffer_deinit(&scope);
    return good && !url->failed;
}

static bool fail_access(const struct registry *registry, long status) {
    return error_set(registry->error, ERROR_INVALID_ARGUMENT,
                     "%s: %s refuses access (%ld); only models that ask for no account can be "
                     "fetched",
                     string_buffer_text(&registry->shown),
                     string_buffer_text(&registry->session->endpoint), status);
}

static bool fetch_token(struct registry *registry, const char *challenge) {
    struct string_buffer url = {0};
    struct answer answer = {.session = registry->session, .limit = TOKEN_LIMIT};
    struct http_response response;
    json_t *json = NULL;
    bool done = token_url(registry, challenge, &url) || fail_access(registry, 401);
    if (done) {
        done = ask(registry, string_buffer_text(&url), NULL, &answer, &response) &&
               (response.status == 200 || fail_access(registry, response.status));
    }
    if (done) {
        json =
            json_guarded(json_loadb, string_buffer_text(&answer.text), answer.text.length, 0, NULL);
        const json_t *token = json_object_get(json, "token");
        token = json_is_string(token) ? token : json_object_get(json, "access_token");
        string_buffer_clear(&registry->token);
        string_buffer_append_text(&registry->token,
                                  json_is_string(token) ? json_string_value(token) : "");
        done = registry->token.length != 0 || fail_access(registry, 401);
    }
    json_decref(json);
    string_buffer_deinit(&answer.text);
    string_buffer_deinit(&url);
    registry->session->token =
        registry->token.length == 0 ? NULL : string_buffer_text(&registry->token);
    return done;
}

/* --- the manifest --- */

static bool refused(const struct hub_session *session, const char *shown,
                    const struct http_response *response, struct error *error) {
    if (response->status == 404) {
        return error_set(error, ERROR_NOT_FOUND, "%s: %s has no such model", shown,
                         string_buffer_text(&session->endpoint));
    }
    if (response->status == 401 || response->status == 403) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "%s: %s refuses access (%ld); only models that ask for no account can be "
                         "fetched",
                         shown, string_buffer_text(&session->endpoint), response->status);
    }
    return error_set(error, ERROR_NETWORK, "%s: %s", shown, response->reason);
}

static bool check_layers(const struct registry *registry) {
    const struct ollama_manifest *manifest = &registry->parsed;
    const char *shown = string_buffer_text(&registry->shown);
    if (ollama_manifest_find(manifest, "adapter") != NULL) {
        return error_set(registry->error, ERROR_UNSUPPORTED,
                         "%s needs an adapter, which is not supported", shown);
    }
    size_t count = 0;
    for (size_t i = 0; i < manifest->count; i++) {
        count += strcmp(manifest->layers[i].type, "model") == 0;
    }
    return count == 1 || error_set(registry->error, ERROR_UNSUPPORTED, "%s has %s", shown,
                                   count == 0 ? "no GGUF file" : "its weights in several files");
}

static bool fetch_manifest(struct registry *registry) {
    struct string_buffer url = {0};
    struct answer answer = {.session = registry->session, .limit = MANIFEST_LIMIT};
    struct http_response response = {0};
    const char *shown = string_buffer_text(&registry->shown);
    string_buffer_append_format(&url, "%s/v2/%s/manifests/%s",
                                string_buffer_text(&registry->session->endpoint),
                                string_buffer_text(&registry->repository), registry->name->tag);
    bool done = !url.failed || no_memory(registry->error);
    done = done && ask(registry, string_buffer_text(&url), NULL, &answer, &response);
    if (done && response.status == 401 && response.challenge[0] != '\0') {
        done =
            fetch_token(registry, response.challenge) &&
            ask(registry, string_buffer_text(&url), registry->session->token, &answer, &response);
    }
    done = done && (response.status == 200 ||
                    refused(registry->session, shown, &response, registry->error));
    if (done && !ollama_manifest_parse(string_buffer_text(&answer.text), answer.text.length,
                                       &registry->parsed, registry->error)) {
        registry->error->code = ERROR_NETWORK;
        done = error_prefix(registry->error, "%s", shown);
    }
    registry->manifest = answer.text;
    string_buffer_deinit(&url);
    return done && check_layers(registry);
}

/* --- the layers --- */

/* Without `verify`, a file that is there is trusted: it can only have come there whole. */
static bool is_there(struct registry *registry, const struct ollama_layer *layer, const char *path,
                     bool *there) {
    uint64_t bytes;
    char sha256[DIGEST_HEX_BYTES];
    *there = own_store_has_blob(&registry->store, layer->digest, &bytes) && bytes == layer->bytes;
    if (*there && registry->session->options->verify) {
        if (!download_hash_file(registry->session, path, sha256, registry->error)) {
            return false;
        }
        *there = strcmp(sha256, layer->digest) == 0;
    }
    return true;
}

static bool fetch_layer(struct registry *registry, const struct ollama_layer *layer) {
    struct string_buffer url = {0}, path = {0}, label = {0};
    struct hub_session *session = registry->session;
    char sha256[DIGEST_HEX_BYTES];
    bool there = false;
    ollama_append_blob(string_buffer_text(&registry->store.root), layer->digest, &path);
    string_buffer_append_format(&url, "%s/v2/%s/blobs/sha256:%s",
                                string_buffer_text(&session->endpoint),
                                string_buffer_text(&registry->repository), layer->digest);
    string_buffer_append_format(&label, "%s (%s)", string_buffer_text(&registry->shown),
                                layer->type);
    session->sha256 = layer->digest;
    bool done = !(url.failed || path.failed || label.failed) || no_memory(registry->error);
    done = done && is_there(registry, layer, string_buffer_text(&path), &there);
    if (done && !there) {
        const struct download download = {.session = session,
                                          .repository = string_buffer_text(&registry->shown),
                                          .label = string_buffer_text(&label),
                                          .url = string_buffer_text(&url),
                                          .path = string_buffer_text(&path),
                                          .bytes = layer->bytes,
                                          .sha256 = layer->digest,
                                          .refused = refused};
        registry->fetched = true;
        done = download_run(&download, sha256, registry->error);
    }
    session->sha256 = NULL;
    string_buffer_deinit(&url);
    string_buffer_deinit(&path);
    string_buffer_deinit(&label);
    return done;
}

static bool fetch_layers(struct registry *registry) {
    const struct ollama_manifest *manifest = &registry->parsed;
    bool done = true;
    for (size_t i = 0; done && i < manifest->count; i++) {
        done =
            !own_store_needs(&manifest->layers[i]) || fetch_layer(registry, &manifest->layers[i]);
    }
    struct ollama_layer config = manifest->config;
    snprintf(config.type, sizeof config.type, "config");
    return done && (config.digest[0] == '\0' || fetch_layer(registry, &config));
}

/* Somebody may have removed a layer between its check and the manifest: then once more. */
static bool fetch_model(struct registry *registry) {
    for (size_t round = 1;; round++) {
        if (!fetch_layers(registry) || !own_store_lock(&registry->store, registry->error)) {
            return false;
        }
        bool done = own_store_put_manifest(&registry->store, registry->name,
                                           string_buffer_text(&registry->manifest),
                                           registry->manifest.length, registry->error);
        own_store_unlock(&registry->store);
        if (done || registry->error->code != ERROR_NOT_FOUND || round == MAX_ROUNDS) {
            return done;
        }
    }
}

static bool set_result(const struct registry *registry, struct hub_pull_result *result) {
    const struct ollama_layer *weights = ollama_manifest_find(&registry->parsed, "model");
    struct string_buffer path = {0};
    ollama_append_blob(string_buffer_text(&registry->store.root), weights->digest, &path);
    *result = (struct hub_pull_result){.path = string_buffer_take(&path),
                                       .name = strdup(string_buffer_text(&registry->shown)),
                                       .bytes = weights->bytes,
                                       .fetched = registry->fetched};
    snprintf(result->sha256, sizeof result->sha256, "%s", weights->digest);
    return (result->path != NULL && result->name != NULL) || no_memory(registry->error);
}

bool ollama_registry_pull(struct hub_session *session, const struct ollama_name *name,
                          struct hub_pull_result *result, struct error *error) {
    struct registry registry = {
        .session = session, .name = name, .store = {.lock = -1}, .error = error};
    ollama_name_append(name, &registry.shown);
    string_buffer_append_format(&registry.repository, "%s/%s", name->space, name->model);
    bool done = !(registry.shown.failed || registry.repository.failed) || no_memory(error);
    done = done && fetch_manifest(&registry) &&
           own_store_open(session->options->config, &registry.store, error) &&
           fetch_model(&registry) && set_result(&registry, result);
    session->token = NULL;
    own_store_close(&registry.store);
    string_buffer_deinit(&registry.shown);
    string_buffer_deinit(&registry.repository);
    string_buffer_deinit(&registry.token);
    string_buffer_deinit(&registry.manifest);
    return done;
}
