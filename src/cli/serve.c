/*
 * serve.c - mistral serve: loads a model and serves it, and others that requests name, over HTTP
 * until it is told to stop.
 */
#include "base/log.h"
#include "build_info.h"
#include "cli/cli.h"
#include "cli/load.h"
#include "cli/serve_sandbox.h"
#include "cli/terminal.h"
#include "hub/hub.h"
#include "metrics/metrics.h"
#include "server/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NAMES = 64 }; /* of allowed_origins, of allowed_hosts */

static char on_demand[] = "models that requests name";

static const struct argument_option option_table[] = {{0}};

/* What requests call the model: the last part of a path, without .gguf. */
static void model_id_of(const char *name, char *id, size_t size) {
    const char *slash = strrchr(name, '/');
    snprintf(id, size, "%s", slash == NULL ? name : slash + 1);
    size_t length = strlen(id);
    if (length > 5 && strcmp(id + length - 5, ".gguf") == 0) {
        id[length - 5] = '\0';
    }
}

/* A setting's list of names. */
struct name_list {
    char *text; /* owned, cut at its commas */
    const char *names[MAX_NAMES];
    size_t count;
};

/* "a, b"; NULL: none. False when memory runs out. */
static bool split_names(const char *value, struct name_list *list) {
    *list = (struct name_list){.text = strdup(value == NULL ? "" : value)};
    char *rest = NULL;
    for (char *name = list->text == NULL ? NULL : strtok_r(list->text, ", ", &rest);
         name != NULL && list->count < MAX_NAMES; name = strtok_r(NULL, ", ", &rest)) {
        list->names[list->count++] = name;
    }
    return list->text != NULL;
}

static void say_listening(void *context, const char *host, uint16_t port) {
    const char *model = context;
    if (terminal_is(stderr)) {
        fprintf(stderr, "serving %s on http://%s:%d (Ctrl-C stops)\n", model, host, port);
    }
}

/* `engine` is NULL when no model is loaded at start. */
static bool serve_engine(const struct config *config, const struct engine_options *engine_options,
                         struct engine *engine, const struct hub_model *entry, char *id,
                         const struct name_list *origins, const struct name_list *hosts,
                         struct metrics *metrics, struct error *error) {
    /* The file's own name too, where an alias was typed. Never default_model: a request for another
     * model than this one must not be answered by it. */
    char stem[256] = "";
    const char *aliases[2];
    if (engine != NULL) {
        model_id_of(engine_info(engine)->path, stem, sizeof stem);
        aliases[0] = engine_info(engine)->name;
        aliases[1] = stem;
    }
    struct server_options options = server_options_default();
    options.host = config->host;
    options.port = (uint16_t)config->port;
    options.ollama_port = (uint16_t)config->ollama_port;
    options.needs_ollama_port = config->origins[KNOB_ollama_port].layer != CONFIG_FROM_DEFAULT;
    options.api_key = config->api_key;
    options.allow_no_key = config->allow_no_key;
    options.allowed_origins = origins->names;
    options.allowed_origin_count = origins->count;
    options.allowed_hosts = hosts->names;
    options.allowed_host_count = hosts->count;
    options.model_entry = entry;
    options.model_id = id;
    options.model_aliases = aliases;
    options.model_alias_count = engine == NULL ? 0 : sizeof aliases / sizeof aliases[0];
    options.config = config;
    options.engine = engine_options;
    options.default_model = config->default_model;
    options.model_cache_bytes = (uint64_t)config->model_cache_size;
    options.default_temperature = (float)config->temperature;
    if (config->origins[KNOB_temperature].layer != CONFIG_FROM_DEFAULT) {
        options.ollama_temperature = options.default_temperature;
    }
    options.max_connections = (size_t)config->max_connections;
    options.max_connections_per_address = (size_t)config->max_connections_per_address;
    options.max_body_bytes = (size_t)config->max_body_size;
    options.preparers = (size_t)config->preparers;
    options.drain_timeout = config->drain_timeout;
    options.metrics = metrics;
    options.log_prompts = config->log_prompts;
    options.version = MISTRAL_VERSION;
    options.commit = MISTRAL_BUILD_COMMIT;
    options.listening = say_listening;
    options.listening_context = engine == NULL ? on_demand : id;
    return server_run(&options, engine, error);
}

/* The default model is not here, but others are: they are loaded when a request names them. */
static bool can_start_without(const struct config *config, struct error *error) {
    struct hub_model_list list = {0};
    struct error ignored;
    bool can =
        error->code == ERROR_NOT_FOUND && hub_list_all(config, &list, &ignored) && list.count > 0;
    if (can) {
        log_event(LOG_WARN, "no_default_model", log_text("default_model", config->default_model),
                  log_text("reason", error->message), log_integer("models", (int64_t)list.count),
                  log_text("advice", "the others are loaded when a request names them; a request "
                                     "that names none is refused"));
        if (terminal_is(stderr)) {
            fprintf(stderr,
                    "%s\nserving without it: requests may name %zu other%s ('mistral list' shows "
                    "them)\n",
                    error->message, list.count, list.count == 1 ? "" : "s");
        }
    }
    hub_model_list_deinit(&list);
    return can;
}

/* What a store says of the model, when `name` means that store's file and no other. */
static bool find_entry(const struct config *config, const char *name, const char *path,
                       struct hub_model *entry) {
    struct error ignored;
    char *real = realpath(path, NULL);
    bool found = real != NULL && hub_look_up(config, name, entry, &ignored) &&
                 strcmp(entry->real_path, real) == 0;
    free(real);
    return found;
}

static bool serve(struct cli *cli, struct error *error) {
    const struct config *config = &cli->config;
    bool is_default = cli->operands.count == 0;
    const char *name = is_default ? config->default_model : cli->operands.texts[0];
    struct engine_options options = load_engine_options(config);
    struct generator generator = {0};
    struct metrics *metrics = NULL;
    char id[256];
    model_id_of(name, id, sizeof id);
    config_log_settings(config, READ_BY_SERVE);
    if (!serve_sandbox_enter(config, name, error)) {
        return false;
    }
    struct name_list origins = {0}, hosts = {0};
    bool done = (split_names(config->allowed_origins, &origins) &&
                 split_names(config->allowed_hosts, &hosts)) ||
                error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the settings");
    done = done && metrics_create(&metrics, error);
    options.metrics = metrics;
    options.metrics_model = id;
    if (done && !load_model(cli, name, &options, &generator, error)) {
        done = is_default && can_start_without(config, error);
    }
    bool has_engine = generator.engine != NULL;
    struct hub_model entry = {0};
    bool has_entry =
        done && has_engine && find_entry(config, name, engine_info(generator.engine)->path, &entry);
    done = done && serve_engine(config, &options, generator.engine, has_entry ? &entry : NULL, id,
                                &origins, &hosts, metrics, error);
    hub_model_deinit(&entry);
    if (!done && error->code == ERROR_CANCELLED) {
        /* Ended at once while a step was under way: waiting for the engine would be to wait for it.
         */
        _Exit(CLI_INTERRUPTED);
    }
    if (has_engine) {
        mailbox_deinit(&generator.replies); /* server_run has freed the engine */
    }
    metrics_free(metrics);
    free(origins.text);
    free(hosts.text);
    return done;
}

const struct cli_command cli_serve_command = {
    .name = "serve",
    .usage = "[MODEL]",
    .summary = "serve a model over HTTP: the OpenAI and the Ollama API",
    .details =
        "Without MODEL, the setting default_model is served. SIGTERM and Ctrl-C let running\n"
        "answers finish; a second one ends at once.\n",
    .reader = READ_BY_SERVE,
    .minimum_operands = 0,
    .maximum_operands = 1,
    .options = option_table,
    .run = serve,
};
