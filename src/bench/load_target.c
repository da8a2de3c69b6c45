/* load_target.c - see load_target.h. */
#include "bench/load_target.h"

#include "base/bytes.h"
#include "base/json_memory.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { LISTING_BYTES = 4 << 20, LISTING_SECONDS = 30 };

static const char *const protocols[] = {[STREAM_OPENAI] = "openai", [STREAM_OLLAMA] = "ollama"};

const char *load_protocol_name(enum stream_protocol protocol) {
    return protocols[protocol];
}

static json_t *ask(const struct load_target *target, const char *path, int *status) {
    struct string_buffer answer = {0};
    *status = http_fetch(&target->address, target->key, LISTING_SECONDS, path, NULL, LISTING_BYTES,
                         &answer);
    json_t *value = *status == 200 && answer.length > 0
                        ? json_guarded(json_loadb, answer.data, answer.length, 0, NULL)
                        : NULL;
    string_buffer_deinit(&answer);
    return value;
}

static void copy(char *out, size_t size, const char *text) {
    snprintf(out, size, "%s", text == NULL ? "" : text);
}

/* "URL,protocol" in two. */
static bool split(const char *text, struct load_target *target, struct error *error) {
    const char *comma = strrchr(text, ',');
    size_t length = comma == NULL ? strlen(text) : (size_t)(comma - text);
    if (length >= sizeof target->url) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "the address is too long");
    }
    snprintf(target->url, sizeof target->url, "%.*s", (int)length, text);
    target->protocol = STREAM_OPENAI;
    for (size_t i = 0; comma != NULL && i < sizeof protocols / sizeof protocols[0]; i++) {
        if (strcmp(comma + 1, protocols[i]) == 0) {
            target->protocol = (enum stream_protocol)i;
            return true;
        }
    }
    return comma == NULL ||
           error_set(error, ERROR_INVALID_ARGUMENT,
                     "'%.60s' is no protocol that is spoken; openai and ollama are", comma + 1);
}

/* Ollama's own names have a tag, which ":latest" stands for. */
static bool names_match(const char *listed, const char *wanted) {
    size_t length = strlen(wanted);
    return strcmp(listed, wanted) == 0 ||
           (strncmp(listed, wanted, length) == 0 && strcmp(listed + length, ":latest") == 0);
}

static bool choose_model(struct load_target *target, const json_t *list, const char *member,
                         const char *wanted, struct error *error) {
    char names[512] = "";
    size_t length = 0, i;
    const json_t *row;
    json_array_foreach(list, i, row) {
        const char *id = json_string_value(json_object_get(row, member));
        if (id != NULL && (wanted == NULL || names_match(id, wanted))) {
            copy(target->model, sizeof target->model, wanted == NULL ? id : wanted);
            copy(target->digest, sizeof target->digest,
                 json_string_value(json_object_get(row, "digest")));
            return true;
        }
        length += (size_t)snprintf(names + length, sizeof names - length, "%s%s",
                                   i == 0 ? "" : ", ", id == NULL ? "?" : id);
        length = size_min(length, sizeof names - 1);
    }
    if (!json_is_array(list)) { /* no list: the name is taken on trust */
        copy(target->model, sizeof target->model, wanted);
        return true;
    }
    return wanted == NULL
               ? error_set(error, ERROR_NOT_FOUND, "%s has no model", target->url)
               : error_set(error, ERROR_NOT_FOUND, "%s has no model '%.100s'; it has: %s",
                           target->url, wanted, names[0] == '\0' ? "none" : names);
}

/* Ollama's listing has checksums, and servers of both protocols often have it. */
static void find_digest(struct load_target *target) {
    int status;
    json_t *tags = ask(target, "/api/tags", &status);
    const json_t *list = json_object_get(tags, "models"), *row;
    size_t i;
    json_array_foreach(list, i, row) {
        const char *id = json_string_value(json_object_get(row, "name"));
        if (target->digest[0] == '\0' && id != NULL && names_match(id, target->model)) {
            copy(target->digest, sizeof target->digest,
                 json_string_value(json_object_get(row, "digest")));
        }
    }
    json_decref(tags);
}

/* mistral_build_info{version="0.1.0",commit="…"} of our own metrics. */
static bool is_ours(struct load_target *target) {
    static const char mark[] = "\nmistral_build_info{version=\"";
    struct string_buffer page = {0};
    int status = http_fetch(&target->address, target->key, LISTING_SECONDS, "/metrics", NULL,
                            LISTING_BYTES, &page);
    const char *found = status == 200 ? strstr(string_buffer_text(&page), mark) : NULL;
    if (found != NULL) {
        const char *version = found + sizeof mark - 1;
        const char *commit = strstr(version, "commit=\"");
        int length = (int)strcspn(version, "\"");
        snprintf(target->version, sizeof target->version, "%.*s (%.*s)", length, version,
                 commit == NULL ? 1 : (int)strcspn(commit + 8, "\""),
                 commit == NULL ? "?" : commit + 8);
    }
    string_buffer_deinit(&page);
    return found != NULL;
}

/* What it seems to be: the pages that only one kind of server has. */
static const char *identify(struct load_target *target) {
    int status;
    if (is_ours(target)) {
        return "mistral.c";
    }
    json_t *props = ask(target, "/props", &status);
    const char *build = json_string_value(json_object_get(props, "build_info"));
    copy(target->version, sizeof target->version, build);
    json_decref(props);
    if (build != NULL) {
        return "llama.cpp";
    }
    json_t *version = ask(target, "/api/version", &status);
    const char *text = json_string_value(json_object_get(version, "version"));
    copy(target->version, sizeof target->version, text);
    json_decref(version);
    return text != NULL ? "ollama" : target->address.authority;
}

static bool find_model(struct load_target *target, const char *wanted, struct error *error) {
    bool is_openai = target->protocol == STREAM_OPENAI;
    const char *path = is_openai ? "/v1/models" : "/api/tags";
    int status;
    json_t *listing = ask(target, path, &status);
    bool done;
    if (status == 401 || status == 403) {
        done = error_set(error, ERROR_INVALID_ARGUMENT,
                         "%s asks for a key (status %d); set MISTRAL_API_KEY", target->url, status);
    } else if (status == 0) {
        done =
            error_set(error, ERROR_NETWORK, "what answers on %s does not speak HTTP", target->url);
    } else if (listing == NULL && wanted == NULL) {
        done = error_set(error, ERROR_NETWORK,
                         "%s lists no models (status %d of %s); is it an %s server?", target->url,
                         status, path, protocols[target->protocol]);
    } else {
        done = choose_model(target, json_object_get(listing, is_openai ? "data" : "models"),
                            is_openai ? "id" : "name", wanted, error);
    }
    json_decref(listing);
    return done;
}

bool load_target_find(const char *text, const char *key, const char *model, const char *name,
                      struct load_target *target, struct error *error) {
    *target = (struct load_target){.key = key};
    if (!split(text, target, error) || !http_address_find(target->url, &target->address, error) ||
        !find_model(target, model, error)) {
        return false;
    }
    const char *seems = identify(target);
    copy(target->name, sizeof target->name, name == NULL ? seems : name);
    if (target->digest[0] == '\0') {
        find_digest(target);
    }
    return true;
}
