/*
 * fake_server.c - the real server over a scripted engine (see ../support/fake_engine.h), for tests
 * that drive it over real sockets.
 *
 * Options are name=value, as in the table below. Prints {"event":"listening","port":N} when ready
 * and {"event":"ended","ok":…} when server_run has returned.
 */
#include "base/log.h"
#include "fake_engine.h"
#include "metrics/metrics.h"
#include "server/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct settings {
    struct server_options server;
    size_t context_length, max_requests;
    const char *template_source;
    const char *origins[1];
    const char *hosts[1];
    const char *aliases[2];
    const char *models; /* folder; then other models are served too */
    struct config config;
    struct engine_options engine_options;
};

enum kind { TEXT, PORT, NUMBER, SECONDS };

#define AT(member) offsetof(struct settings, member)
static const struct {
    const char *name;
    enum kind kind;
    size_t target;
} rows[] = {
    {"host", TEXT, AT(server.host)},
    {"port", PORT, AT(server.port)},
    {"ollama_port", PORT, AT(server.ollama_port)},
    {"api_key", TEXT, AT(server.api_key)},
    {"origin", TEXT, AT(origins[0])},
    {"allowed_host", TEXT, AT(hosts[0])},
    {"template", TEXT, AT(template_source)},
    {"max_connections", NUMBER, AT(server.max_connections)},
    {"max_per_address", NUMBER, AT(server.max_connections_per_address)},
    {"preparers", NUMBER, AT(server.preparers)},
    {"max_head_bytes", NUMBER, AT(server.max_head_bytes)},
    {"max_header_count", NUMBER, AT(server.max_header_count)},
    {"max_body_bytes", NUMBER, AT(server.max_body_bytes)},
    {"max_bodies_bytes", NUMBER, AT(server.max_bodies_bytes)},
    {"max_queued_bytes", NUMBER, AT(server.max_queued_bytes)},
    {"max_answer_bytes", NUMBER, AT(server.max_answer_bytes)},
    {"head_timeout", SECONDS, AT(server.head_timeout)},
    {"body_timeout", SECONDS, AT(server.body_timeout)},
    {"idle_timeout", SECONDS, AT(server.idle_timeout)},
    {"write_timeout", SECONDS, AT(server.write_timeout)},
    {"drain_timeout", SECONDS, AT(server.drain_timeout)},
    {"models", TEXT, AT(models)},
    {"default_model", TEXT, AT(server.default_model)}, /* and no engine at start */
    {"cache_bytes", NUMBER, AT(server.model_cache_bytes)},
    {"heap_bytes", NUMBER, AT(engine_options.heap_bytes)},
    {"context", NUMBER, AT(context_length)},
    {"max_requests", NUMBER, AT(max_requests)},
};

static bool read_setting(struct settings *settings, const char *argument) {
    const char *value = strchr(argument, '=');
    if (strcmp(argument, "allow_no_key") == 0) {
        settings->server.allow_no_key = true;
        return true;
    }
    if (strcmp(argument, "shrink_kv=1") == 0) {
        settings->engine_options.shrink_kv = true;
        return true;
    }
    if (strcmp(argument, "log_prompts=1") == 0) {
        settings->server.log_prompts = true;
        return true;
    }
    for (size_t i = 0; value != NULL && i < sizeof rows / sizeof rows[0]; i++) {
        if (strncmp(argument, rows[i].name, (size_t)(value - argument)) == 0 &&
            rows[i].name[value - argument] == '\0') {
            char *target = (char *)settings + rows[i].target;
            const char *text = value + 1;
            size_t number = strtoull(text, NULL, 10);
            double seconds = strtod(text, NULL);
            switch (rows[i].kind) {
            case TEXT:
                memcpy(target, &text, sizeof text);
                break;
            case PORT:
                memcpy(target, &(uint16_t){(uint16_t)number}, sizeof(uint16_t));
                break;
            case NUMBER:
                memcpy(target, &number, sizeof number);
                break;
            case SECONDS:
                memcpy(target, &seconds, sizeof seconds);
                break;
            }
            return true;
        }
    }
    return false;
}

static void on_listening(void *context, const char *host, uint16_t port) {
    (void)context;
    printf("{\"event\":\"listening\",\"host\":\"%s\",\"port\":%u}\n", host, (unsigned)port);
    fflush(stdout);
}

int main(int argument_count, char **arguments) {
    struct settings settings = {
        .server = server_options_default(),
        .context_length = 4096,
        .max_requests = 64,
        .template_source = fake_engine_template,
        .aliases = {"fake-alias", "organisation/fake"},
    };
    settings.server.port = 0;
    settings.server.model_aliases = settings.aliases;
    settings.server.model_alias_count = 2;
    settings.server.listening = on_listening;
    for (int i = 1; i < argument_count; i++) {
        if (!read_setting(&settings, arguments[i])) {
            fprintf(stderr, "fake_server: unknown setting '%s'\n", arguments[i]);
            return 2;
        }
    }
    settings.server.allowed_origins = settings.origins;
    settings.server.allowed_origin_count = settings.origins[0] != NULL;
    settings.server.allowed_hosts = settings.hosts;
    settings.server.allowed_host_count = settings.hosts[0] != NULL;
    if (settings.models != NULL) {
        settings.config.models_path = settings.models;
        settings.config.default_quantization = "q5_k_m";
        settings.server.config = &settings.config;
        settings.server.engine = &settings.engine_options;
    }
    log_configure(LOG_INFO, LOG_FORMAT_JSON);
    struct engine *engine =
        settings.server.default_model != NULL
            ? NULL
            : fake_engine_create(settings.context_length, settings.max_requests,
                                 settings.template_source[0] == '\0' ? NULL
                                                                     : settings.template_source);
    struct error error = {0};
    struct metrics *metrics = NULL;
    if (!metrics_create(&metrics, &error)) {
        return 1;
    }
    settings.server.metrics = metrics;
    bool ok = server_run(&settings.server, engine, &error);
    printf("{\"event\":\"ended\",\"ok\":%s,\"code\":%d}\n", ok ? "true" : "false", (int)error.code);
    fflush(stdout);
    if (!ok) {
        fprintf(stderr, "fake_server: %s\n", error.message);
    }
    if (error.code == ERROR_CANCELLED) {
        _exit(3); /* an engine is still busy: see server_run */
    }
    metrics_free(metrics);
    return ok ? 0 : 1;
}
