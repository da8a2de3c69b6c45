/*
 * serve_sandbox.c - see serve_sandbox.h: which files and ports a server needs. docs/security.md
 * tells operators.
 *
 * Written: the models folder and the cache of converted models. Read: the other stores, the model
 * that was named, what links in the stores point at now, and what the C library, libcurl and
 * OpenSSL look into. The rest is denied.
 */
#include "cli/serve_sandbox.h"

#include "base/file.h"
#include "base/log.h"
#include "base/sandbox.h"
#include "base/string_buffer.h"
#include "convert/cache.h"
#include "hub/hub.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

/* Names, certificates, time zones, libraries that the resolver loads; what /metrics and the memory
 * plan read. */
static const struct sandbox_path system_paths[] = {
    {"/etc", false},
    {"/usr", false},
    {"/lib", false},
    {"/lib64", false},
    {"/proc", false},
    {"/sys", false},
    {"/dev/null", true},
    {"/dev/urandom", false},
    {"/dev/random", false},
    {"/run/systemd/resolve", false},
    {"/run/resolvconf", false},
    {"/run/NetworkManager", false},
};

/* Of OpenSSL; what they name may lie anywhere. */
static const char *const path_variables[] = {"SSL_CERT_FILE", "SSL_CERT_DIR", "OPENSSL_CONF"};

static const char *const proxy_variables[] = {"http_proxy", "https_proxy", "HTTPS_PROXY",
                                              "all_proxy", "ALL_PROXY"};

enum { PORT_DNS = 53, PORT_HTTP = 80, PORT_HTTPS = 443, PORT_PROXY = 1080, MAX_CONNECT = 16 };

struct path_list {
    struct sandbox_path *paths; /* [count], each path owned */
    size_t count, capacity;
    bool failed;
};

static void path_list_deinit(struct path_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        free((void *)(uintptr_t)list->paths[i].path);
    }
    free(list->paths);
}

static void add_path(struct path_list *list, const char *path, bool writable) {
    if (list->count == list->capacity) {
        size_t capacity = list->capacity * 2 + 32;
        struct sandbox_path *grown = realloc(list->paths, capacity * sizeof *grown);
        if (grown == NULL) {
            list->failed = true;
            return;
        }
        list->paths = grown;
        list->capacity = capacity;
    }
    char *copy = strdup(path);
    if (copy == NULL) {
        list->failed = true;
        return;
    }
    list->paths[list->count++] = (struct sandbox_path){copy, writable};
}

/* It has to be there to be allowed; where it cannot be made, nothing could be written into it
 * either. */
static void add_own_folder(struct path_list *list, const char *folder) {
    struct error ignored;
    (void)file_make_directories(folder, &ignored);
    add_path(list, folder, true);
}

/* --- models --- */

static bool add_store(void *context, const char *folder) {
    add_path(context, folder, false);
    return true;
}

/* Hugging Face's own programs keep links in such a folder. */
static void add_model_folder(struct path_list *list, const char *folder) {
    DIR *directory = opendir(folder);
    const struct dirent *entry;
    add_path(list, folder, false);
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        struct string_buffer path = {0};
        string_buffer_append_format(&path, "%s/%s", folder, entry->d_name);
        char *real = entry->d_name[0] == '.' ? NULL : realpath(string_buffer_text(&path), NULL);
        if (real != NULL) {
            add_path(list, real, false);
        }
        free(real);
        string_buffer_deinit(&path);
    }
    if (directory != NULL) {
        closedir(directory);
    }
}

/* Where a link of a store leads; a file inside the store is allowed once more, which changes
 * nothing. */
static void add_linked_models(struct path_list *list, const struct config *config) {
    struct hub_model_list models = {0};
    struct error ignored;
    if (hub_list_all(config, &models, &ignored)) {
        for (size_t i = 0; i < models.count; i++) {
            const char *path = models.models[i].real_path;
            if (file_is_directory(path)) {
                add_model_folder(list, path);
            } else {
                add_path(list, path, false);
            }
        }
        hub_model_list_deinit(&models);
    }
}

/* "/home/ann" and "/" for HOME=/home/ann: too much to allow for the sake of one file in it. */
static bool is_home_or_above(const char *folder) {
    const char *variable = getenv("HOME");
    char *home = variable == NULL ? NULL : realpath(variable, NULL);
    size_t length = strlen(folder);
    bool is = strcmp(folder, "/") == 0 || (home != NULL && strncmp(home, folder, length) == 0 &&
                                           (home[length] == '/' || home[length] == '\0'));
    free(home);
    return is;
}

static void add_folder_of(struct path_list *list, const char *path) {
    char *folder = strdup(path);
    char *slash = folder == NULL ? NULL : strrchr(folder, '/');
    if (slash != NULL && slash != folder) {
        *slash = '\0';
        char *real = realpath(folder, NULL);
        if (real != NULL && !is_home_or_above(real)) {
            add_path(list, real, false);
        }
        free(real);
    }
    list->failed = list->failed || folder == NULL;
    free(folder);
}

/* The file and, for its parts and for what may take its place, the folders of its name and of where
 * that leads. */
static void add_model_file(struct path_list *list, const char *path) {
    char *real = realpath(path, NULL);
    if (real != NULL) {
        add_path(list, real, false);
        add_folder_of(list, real);
        add_folder_of(list, path);
    }
    free(real);
}

static void add_named_model(struct path_list *list, const struct config *config, const char *name) {
    struct string_buffer path = {0};
    struct error ignored; /* loading it says what is wrong */
    if (hub_find_model(config, name, &path, &ignored)) {
        const char *text = string_buffer_text(&path);
        if (file_is_directory(text)) {
            add_model_folder(list, text);
        } else {
            add_model_file(list, text);
        }
    }
    string_buffer_deinit(&path);
}

/* --- all together --- */

static void add_all_paths(struct path_list *list, const struct config *config, const char *name) {
    struct string_buffer folder = {0};
    struct error ignored; /* a folder that cannot be named is not used either */
    for (size_t i = 0; i < sizeof system_paths / sizeof system_paths[0]; i++) {
        add_path(list, system_paths[i].path, system_paths[i].writable);
    }
    for (size_t i = 0; i < sizeof path_variables / sizeof path_variables[0]; i++) {
        const char *path = getenv(path_variables[i]);
        if (path != NULL) {
            add_path(list, path, false);
        }
    }
    if (hub_models_folder(config, &folder, &ignored)) {
        add_own_folder(list, string_buffer_text(&folder));
    }
    string_buffer_clear(&folder);
    if (config->dynamic_quantization && cache_folder(&folder, &ignored)) {
        add_own_folder(list, string_buffer_text(&folder));
    }
    hub_visit_other_stores(add_store, list);
    add_linked_models(list, config);
    add_named_model(list, config, name);
    list->failed = list->failed || folder.failed;
    string_buffer_deinit(&folder);
}

/* "https://[::1]:8443/x": 8443; without a port what the scheme has, and `fallback` without a
 * scheme. */
static uint16_t port_of(const char *url, uint16_t fallback) {
    const char *scheme_end = strstr(url, "://");
    const char *host = scheme_end == NULL ? url : scheme_end + 3;
    const char *end = host + strcspn(host, "/?#");
    const char *digits = end;
    while (digits > host && digits[-1] >= '0' && digits[-1] <= '9') {
        digits--;
    }
    if (digits > host && digits < end && digits[-1] == ':') {
        return (uint16_t)strtoul(digits, NULL, 10);
    }
    return scheme_end == NULL               ? fallback
           : strncmp(url, "https:", 6) == 0 ? PORT_HTTPS
           : strncmp(url, "http:", 5) == 0  ? PORT_HTTP
                                            : fallback;
}

/* A mirror on a port of its own may send on to others, which nobody knows before it answers. */
static bool is_mirror_on_own_port(const struct config *config) {
    uint16_t hub = port_of(config->hub_endpoint, PORT_HTTPS);
    uint16_t registry = port_of(config->hub_ollama_registry, PORT_HTTPS);
    return (hub != PORT_HTTPS && hub != PORT_HTTP) ||
           (registry != PORT_HTTPS && registry != PORT_HTTP);
}

/* Of the hubs, which may send on to another host, and of proxies. */
static size_t find_connect_ports(uint16_t ports[MAX_CONNECT]) {
    size_t count = 0;
    ports[count++] = PORT_DNS;
    ports[count++] = PORT_HTTP;
    ports[count++] = PORT_HTTPS;
    for (size_t i = 0; i < sizeof proxy_variables / sizeof proxy_variables[0]; i++) {
        const char *proxy = getenv(proxy_variables[i]);
        if (proxy != NULL && proxy[0] != '\0') {
            ports[count++] = port_of(proxy, PORT_PROXY);
            /* libcurl's for a proxy without a port, whose scheme says how to speak to it */
            ports[count++] = PORT_PROXY;
        }
    }
    return count;
}

static void log_state(const struct sandbox_state *state) {
    log_event(LOG_INFO, "sandbox", log_bool("files", state->files), log_bool("ports", state->ports),
              log_bool("system_calls", state->system_calls),
              log_integer("landlock", state->landlock), log_text("reason", state->reason));
}

bool serve_sandbox_enter(const struct config *config, const char *name, struct error *error) {
    if (strcmp(config->sandbox, "off") == 0) {
        log_state(&(struct sandbox_state){.reason = "the setting sandbox is off"});
        return true;
    }
    struct path_list list = {0};
    uint16_t listen_ports[2] = {(uint16_t)config->port, (uint16_t)config->ollama_port};
    uint16_t connect_ports[MAX_CONNECT];
    struct sandbox_state state;
    add_all_paths(&list, config, name);
    if (list.failed) {
        path_list_deinit(&list);
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the sandbox's rules");
    }
    const struct sandbox_rules rules = {
        .paths = list.paths,
        .path_count = list.count,
        .listen_ports = listen_ports,
        .listen_count = config->ollama_port == 0 ? 1 : 2,
        .connect_ports = connect_ports,
        .connect_count = find_connect_ports(connect_ports),
        .connects_anywhere = is_mirror_on_own_port(config),
    };
    sandbox_enter(&rules, &state);
    path_list_deinit(&list);
    log_state(&state);
    return strcmp(config->sandbox, "required") != 0 || (state.files && state.system_calls) ||
           error_set(error, ERROR_UNSUPPORTED,
                     "sandbox is required, and not to be had here: %s; 'auto' takes what there is",
                     state.reason);
}
