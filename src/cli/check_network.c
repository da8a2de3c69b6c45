/* check_network.c - mistral check: addresses, ports, and the server that may run there already. */
#include "cli/check.h"

#include "base/bytes.h"
#include "base/json_memory.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { ANSWER_BYTES = 64 << 10 };

/* A socket for the address, after `act` (bind or connect) succeeded on it; -1: it did not. */
static int open_socket(const char *host, int port, bool connects) {
    char service[16];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    snprintf(service, sizeof service, "%d", port);
    if (getaddrinfo(host, service, &hints, &list) != 0) {
        return -1;
    }
    int file = socket(list->ai_family, SOCK_STREAM, 0);
    int yes = 1;
    const struct timeval wait = {.tv_sec = 2};
    bool done = false;
    if (file >= 0) {
        setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        setsockopt(file, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
        setsockopt(file, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
        done = (connects ? connect(file, list->ai_addr, list->ai_addrlen)
                         : bind(file, list->ai_addr, list->ai_addrlen)) == 0;
    }
    freeaddrinfo(list);
    if (!done && file >= 0) {
        close(file);
    }
    return done ? file : -1;
}

/* The JSON that a GET answers with; NULL: none. */
static json_t *ask(const struct config *config, const char *path) {
    const char *host = strcmp(config->host, "0.0.0.0") == 0 ? "127.0.0.1" : config->host;
    int file = open_socket(host, (int)config->port, true);
    char *answer = file < 0 ? NULL : malloc(ANSWER_BYTES + 1);
    json_t *value = NULL;
    if (answer != NULL) {
        char request[1024];
        bool has_key = config->api_key != NULL && strlen(config->api_key) < 512;
        int length = snprintf(
            request, sizeof request,
            "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s%s%s\r\n", path,
            has_key ? "X-Api-Key: " : "", has_key ? config->api_key : "", has_key ? "\r\n" : "");
        size_t got = 0;
        ssize_t count = send(file, request, (size_t)length, MSG_NOSIGNAL);
        while (count > 0 && got < ANSWER_BYTES) {
            count = recv(file, answer + got, ANSWER_BYTES - got, 0);
            got += count > 0 ? (size_t)count : 0;
        }
        answer[got] = '\0';
        const char *body = strstr(answer, "\r\n\r\n");
        value = body == NULL ? NULL : json_guarded(json_loadb, body + 4, strlen(body + 4), 0, NULL);
    }
    free(answer);
    if (file >= 0) {
        close(file);
    }
    return value;
}

/* True when something of ours answers on the port. */
static bool check_running_server(struct check *check) {
    const struct config *config = &check->cli->config;
    json_t *version = ask(config, "/api/version");
    json_t *models = ask(config, "/v1/models");
    const char *text = json_string_value(json_object_get(version, "version"));
    const json_t *list = json_object_get(models, "data");
    bool runs = text != NULL || json_is_array(list);
    if (runs) {
        char names[512] = "";
        size_t length = 0, i;
        const json_t *row;
        json_array_foreach(list, i, row) {
            const char *id = json_string_value(json_object_get(row, "id"));
            length += (size_t)snprintf(names + length, sizeof names - length, "%s%s",
                                       i == 0 ? "" : ", ", id == NULL ? "?" : id);
            length = size_min(length, sizeof names - 1);
        }
        check_add(check, CHECK_OK, "running", NULL,
                  "a server answers on port %d already: version %s, models: %s", (int)config->port,
                  text == NULL ? "not told (is the API key right?)" : text,
                  names[0] == '\0' ? "none told" : names);
    }
    json_decref(version);
    json_decref(models);
    return runs;
}

/* One that nobody asked for by name serve does without. */
static void check_port(struct check *check, const char *name, int64_t port, bool is_needed) {
    int file = open_socket(check->cli->config.host, (int)port, false);
    if (file >= 0) {
        close(file);
        check_add(check, CHECK_OK, "port", NULL, "%s %lld is free", name, (long long)port);
    } else {
        char advice[128];
        snprintf(advice, sizeof advice, "end what uses it, or set %s to another", name);
        check_add(check, is_needed ? CHECK_ERROR : CHECK_WARNING, "port", advice,
                  "%s %lld on %s cannot be had%s", name, (long long)port, check->cli->config.host,
                  is_needed ? "" : ": serve does without it");
    }
}

static void check_access(struct check *check) {
    const struct config *config = &check->cli->config;
    bool is_local = strncmp(config->host, "127.", 4) == 0 || strcmp(config->host, "::1") == 0 ||
                    strcmp(config->host, "localhost") == 0;
    bool has_key = config->api_key != NULL && config->api_key[0] != '\0';
    if (!is_local && !has_key && !config->allow_no_key) {
        check_add(check, CHECK_ERROR, "access",
                  "set api_key, or allow_no_key where something else keeps others out",
                  "host is %s, which other machines reach, and there is no api_key: serve refuses",
                  config->host);
    } else if (!is_local && !has_key) {
        check_add(check, CHECK_WARNING, "access", "set api_key",
                  "whoever reaches this machine may use the models: allow_no_key is on");
    } else {
        check_add(check, CHECK_OK, "access", NULL, is_local ? "this machine only" : "with a key");
    }
}

void check_network(struct check *check) {
    const struct config *config = &check->cli->config;
    check_access(check);
    if (config->port != 0 && check_running_server(check)) {
        return;
    }
    if (config->port != 0) {
        check_port(check, "port", config->port, true);
    }
    if (config->ollama_port != 0) {
        check_port(check, "ollama_port", config->ollama_port,
                   config->origins[KNOB_ollama_port].layer != CONFIG_FROM_DEFAULT);
    }
}
