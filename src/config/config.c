/*
 * config.c - see config.h. Brings the places together, lowest precedence first, but for the
 * profile, which the others may name: it comes last and fills what they left.
 *
 * A layer overwrites what lower ones set. Within one layer a setting has one value: two spellings
 * of it (inference.max_sequence_length and memory.max_seq_len, MISTRAL_PORT and MISTRAL_API_PORT)
 * must agree; on the command line the last one counts, as people expect there.
 */
#include "config/config.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/log.h"
#include "config/aliases.h"
#include "config/dotenv.h"
#include "config/knob.h"
#include "config/profile.h"
#include "config/suggest.h"
#include "config/toml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More than any configuration file that a person writes. */
enum { CONFIG_FILE_LIMIT = 1 << 20 };

/* Names that Docker Compose, Kubernetes, the health check, our scripts or the old stack's build
 * read, not this program. */
static const char *const foreign_names[] = {
    "MISTRAL_MEMORY_LIMIT", "MISTRAL_MEMORY_RESERVATION",
    "MISTRAL_HEALTH_*",     "MISTRAL_LOG_MAX_*",
    "MISTRAL_SERVICE_*",    "MISTRAL_PORT_*",
    "MISTRAL_RS_VERSION",   "MISTRAL_USE_V5_MODE",
    "MISTRAL_RUN_AS",       "MISTRAL_PROGRAM",
    "MISTRAL_ENV_FILE",     "MISTRAL_STATE_FOLDER",
    "MISTRAL_TARGETS",      "MISTRAL_URL",
};

struct resolver {
    const struct config_source *source;
    struct config *config;
    const char *toml_file; /* --config, or NULL */
    const char *env_file;  /* --env-file, or NULL */
    struct error *error;
};

/* Origins. */

/* "config.toml:3:8: server.port: <what is already in the error>". Returns false. */
static bool prefix_origin(const struct config_origin *origin, struct error *error) {
    struct string_buffer place = {0};
    config_describe_origin(origin, &place);
    bool in_file = origin->file != NULL;
    error_prefix(error, "%s%s%s", string_buffer_text(&place), in_file ? ": " : "",
                 in_file ? origin->name : "");
    string_buffer_deinit(&place);
    return false;
}

static bool fail_at(const struct config_origin *origin, struct error *error, const char *reason) {
    error_set(error, ERROR_INVALID_ARGUMENT, "%s", reason);
    return prefix_origin(origin, error);
}

/* Setting one value. */

/* The old stack's .env has two folders: the first of these on the host, the second where its
 * container mounts that. Where both stand, the first is meant. */
static bool yields_to(const char *name, const char *other) {
    return strcmp(name, "MISTRAL_MODEL_PATH") == 0 && strcmp(other, "MISTRAL_MODELS_PATH") == 0;
}

static bool store(struct resolver *resolver, enum config_knob index, const struct knob_value *value,
                  const struct config_origin *origin) {
    const struct knob *knob = &knob_rows[index];
    struct config_origin *known = &resolver->config->origins[index];
    if (known->layer > origin->layer) {
        return true;
    }
    if (known->layer == origin->layer && known->name != NULL && origin->name != NULL &&
        origin->layer != CONFIG_FROM_COMMAND_LINE) {
        if (yields_to(origin->name, known->name)) {
            return true;
        }
        struct knob_value earlier = knob_fetch(knob, resolver->config);
        if (!knob_values_equal(knob, &earlier, value) && !yields_to(known->name, origin->name)) {
            char reason[256];
            snprintf(reason, sizeof reason,
                     "its value differs from that of %s, which is the same setting; keep one",
                     known->name);
            return fail_at(origin, resolver->error, reason);
        }
    }
    knob_store(knob, value, resolver->config);
    *known = *origin;
    return true;
}

static bool store_text(struct resolver *resolver, enum config_knob index, const char *text,
                       const struct config_origin *origin) {
    struct knob_value value = {0};
    if (!knob_parse(&knob_rows[index], text, &resolver->config->arena, &value, resolver->error)) {
        return prefix_origin(origin, resolver->error);
    }
    return store(resolver, index, &value, origin);
}

/* A value under an older name; see aliases.h. */
static bool store_alias(struct resolver *resolver, const struct knob_alias *alias, const char *word,
                        const struct config_origin *origin) {
    const char *meaning = NULL;
    if (!knob_alias_translate(alias, word, &meaning, resolver->error)) {
        return prefix_origin(origin, resolver->error);
    }
    return meaning == NULL || store_text(resolver, alias->knob, meaning, origin);
}

static bool apply_defaults(struct resolver *resolver) {
    const struct config_origin origin = {.layer = CONFIG_FROM_DEFAULT};
    for (size_t i = 0; i < KNOB_COUNT; i++) {
        const char *text = knob_rows[i].default_text;
        if (text != NULL && !store_text(resolver, (enum config_knob)i, text, &origin)) {
            return false;
        }
    }
    return true;
}

/* Rows by name. KNOB_COUNT: none. */

static size_t find_key(const char *key) {
    size_t i = 0;
    while (i < KNOB_COUNT && !knob_list_has(knob_rows[i].keys, key)) {
        i++;
    }
    return i;
}

static size_t find_name(const char *name) {
    size_t i = 0;
    while (i < KNOB_COUNT && !knob_list_has(knob_rows[i].names, name)) {
        i++;
    }
    return i;
}

static size_t find_flag(const char *flag) {
    size_t i = 0;
    while (i < KNOB_COUNT && (knob_rows[i].flag == NULL || strcmp(knob_rows[i].flag, flag) != 0)) {
        i++;
    }
    return i;
}

/* The part behind the last dot. */
static struct string_view last_part(struct string_view key) {
    size_t start = key.length;
    while (start > 0 && key.data[start - 1] != '.') {
        start--;
    }
    return (struct string_view){key.data + start, key.length - start};
}

/* "; did you mean 'x'?" for the nearest TOML key or environment name, or nothing. Where none is
 * near, a key whose last part is the same has probably been put into the wrong section. */
static void describe_nearest(const char *given, bool keys, char *out, size_t size) {
    struct suggestion suggestion = suggest_for(given);
    struct string_view namesake = {0};
    for (size_t i = 0; i < KNOB_COUNT; i++) {
        size_t at = 0;
        struct string_view word;
        while (knob_next_word(keys ? knob_rows[i].keys : knob_rows[i].names, &at, &word)) {
            suggest_offer(&suggestion, word);
            const char *dot = keys ? memchr(word.data, '.', word.length) : NULL;
            if (dot != NULL) { /* its section */
                suggest_offer(&suggestion,
                              (struct string_view){word.data, (size_t)(dot - word.data)});
            }
            if (keys && string_view_equals(last_part(word), last_part(suggestion.given))) {
                namesake = word;
            }
        }
    }
    struct string_view best = suggestion.best.length > 0 ? suggestion.best : namesake;
    snprintf(out, size, best.length == 0 ? "" : "; did you mean '%.*s'?", (int)best.length,
             best.data);
}

/* TOML. */

/* Whether some key begins with the table's name and a dot. */
static bool is_section(const char *path) {
    size_t length = strlen(path);
    for (size_t i = 0; i < KNOB_COUNT; i++) {
        size_t at = 0;
        struct string_view word;
        while (knob_next_word(knob_rows[i].keys, &at, &word)) {
            if (word.length > length && strncmp(word.data, path, length) == 0 &&
                word.data[length] == '.') {
                return true;
            }
        }
    }
    return false;
}

/* What an older name says, as text. "" is none of its words. */
static const char *alias_word(const struct toml_value *value) {
    if (value->kind == TOML_BOOL) {
        return value->boolean ? "true" : "false";
    }
    return value->kind == TOML_STRING ? value->text.data : "";
}

/* A settings file, and what it counts as. */
struct toml_source {
    const char *file;
    enum config_layer layer;
    const struct toml_document *document;
};

static bool apply_toml_value(struct resolver *resolver, const struct toml_source *source,
                             const struct toml_value *value, const char *path) {
    struct config_origin origin = {
        .layer = source->layer,
        .file = source->file,
        .name = arena_copy_text(&resolver->config->arena, path, strlen(path))};
    toml_position(source->document, value->key_offset, &origin.line, &origin.column);
    if (origin.name == NULL) {
        return error_set(resolver->error, ERROR_OUT_OF_MEMORY, "no memory for the settings");
    }
    if (value->kind != TOML_TABLE && is_section(path)) {
        return fail_at(&origin, resolver->error, "this is a section, not a setting");
    }
    const struct knob_alias *alias = knob_alias_find(path);
    if (alias != NULL) {
        return store_alias(resolver, alias, alias_word(value), &origin);
    }
    bool quoted_dot = memchr(value->key.data, '.', value->key.length) != NULL;
    size_t index = quoted_dot ? KNOB_COUNT : find_key(path);
    if (index == KNOB_COUNT) {
        char nearest[256];
        char reason[320];
        describe_nearest(path, true, nearest, sizeof nearest);
        snprintf(reason, sizeof reason, "there is no such %s%s",
                 value->kind == TOML_TABLE ? "section" : "setting", nearest);
        return fail_at(&origin, resolver->error, reason);
    }
    struct knob_value parsed = {0};
    if (!knob_convert(&knob_rows[index], value, &resolver->config->arena, &parsed,
                      resolver->error)) {
        return prefix_origin(&origin, resolver->error);
    }
    return store(resolver, (enum config_knob)index, &parsed, &origin);
}

/* The depth is that of the longest known key: unknown sections are refused, not entered. */
static bool apply_toml_table(struct resolver *resolver, const struct toml_source *source,
                             const struct toml_value *table, const char *prefix) {
    for (const struct toml_value *value = table->first; value != NULL; value = value->next) {
        char path[256];
        snprintf(path, sizeof path, "%s%.*s", prefix, (int)size_min(value->key.length, 100),
                 value->key.data);
        bool done;
        if (value->kind == TOML_TABLE && is_section(path)) {
            char inner[sizeof path + 1];
            snprintf(inner, sizeof inner, "%s.", path);
            done = apply_toml_table(resolver, source, value, inner);
        } else {
            done = apply_toml_value(resolver, source, value, path);
        }
        if (!done) {
            return false;
        }
    }
    return true;
}

static bool apply_toml(struct resolver *resolver, const char *file, enum config_layer layer) {
    if (file == NULL) {
        return true;
    }
    char *text = NULL;
    size_t length = 0;
    struct toml_document *document = NULL;
    bool done = file_read_all(file, CONFIG_FILE_LIMIT, &text, &length, resolver->error) &&
                toml_parse(file, text, length, &document, resolver->error);
    const struct toml_source source = {.file = file, .layer = layer, .document = document};
    done = done && apply_toml_table(resolver, &source, toml_root(document), "");
    toml_free(document);
    free(text);
    return done;
}

/* .env files and the environment. */

static bool is_foreign(const char *name) {
    for (size_t i = 0; i < sizeof foreign_names / sizeof foreign_names[0]; i++) {
        size_t length = strcspn(foreign_names[i], "*");
        bool is_prefix = foreign_names[i][length] == '*';
        if (is_prefix ? strncmp(name, foreign_names[i], length) == 0
                      : strcmp(name, foreign_names[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_unknown(const char *name) {
    return strncmp(name, "MISTRAL_", 8) == 0 && find_name(name) == KNOB_COUNT &&
           knob_alias_find(name) == NULL && !is_foreign(name);
}

static bool apply_env_entry(struct resolver *resolver, const struct dotenv_entry *entry) {
    struct config_origin origin = {.layer = CONFIG_FROM_ENV_FILE,
                                   .file = resolver->env_file,
                                   .line = entry->line,
                                   .column = entry->column,
                                   .name = entry->name};
    if (is_unknown(entry->name)) {
        char nearest[256];
        char reason[320];
        describe_nearest(entry->name, false, nearest, sizeof nearest);
        snprintf(reason, sizeof reason, "there is no such setting%s", nearest);
        return fail_at(&origin, resolver->error, reason);
    }
    size_t index = find_name(entry->name);
    const struct knob_alias *alias = knob_alias_find(entry->name);
    if ((index == KNOB_COUNT && alias == NULL) || entry->value[0] == '\0') {
        return true; /* something else's, or left empty: not set */
    }
    if (entry->expands) {
        return fail_at(&origin, resolver->error,
                       "${...} is not expanded here; write the value itself, or put it between "
                       "single quotes if it is meant as it stands");
    }
    if (alias != NULL) {
        return store_alias(resolver, alias, entry->value, &origin);
    }
    return store_text(resolver, (enum config_knob)index, entry->value, &origin);
}

static bool apply_env_file(struct resolver *resolver) {
    if (resolver->env_file == NULL) {
        return true;
    }
    char *text = NULL;
    size_t length = 0;
    struct dotenv_entry *entry = NULL;
    bool done =
        file_read_all(resolver->env_file, CONFIG_FILE_LIMIT, &text, &length, resolver->error) &&
        dotenv_parse(resolver->env_file, text, length, &resolver->config->arena, &entry,
                     resolver->error);
    for (; done && entry != NULL; entry = entry->next) {
        done = apply_env_entry(resolver, entry);
    }
    free(text);
    return done;
}

/* Splits "NAME=value"; false when the name is longer than any of ours. */
static bool split_variable(const char *variable, char *name, size_t size, const char **value) {
    const char *equals = strchr(variable, '=');
    if (equals == NULL || (size_t)(equals - variable) >= size) {
        return false;
    }
    memcpy(name, variable, (size_t)(equals - variable));
    name[equals - variable] = '\0';
    *value = equals + 1;
    return true;
}

static bool apply_environment(struct resolver *resolver) {
    char *const *variable = resolver->source->environment;
    for (; variable != NULL && *variable != NULL; variable++) {
        char name[128];
        const char *value;
        if (!split_variable(*variable, name, sizeof name, &value) || value[0] == '\0') {
            continue;
        }
        size_t index = find_name(name);
        const struct knob_alias *alias = knob_alias_find(name);
        if (index == KNOB_COUNT && alias == NULL) {
            continue;
        }
        struct config_origin origin = {
            .layer = CONFIG_FROM_ENVIRONMENT,
            .name = arena_copy_text(&resolver->config->arena, name, strlen(name))};
        bool done = alias != NULL ? store_alias(resolver, alias, value, &origin)
                                  : store_text(resolver, (enum config_knob)index, value, &origin);
        if (!done) {
            return false;
        }
    }
    return true;
}

void config_warn_of_unknown_environment(char *const *environment) {
    for (; environment != NULL && *environment != NULL; environment++) {
        char name[128];
        char nearest[256];
        const char *value;
        if (split_variable(*environment, name, sizeof name, &value) && is_unknown(name)) {
            describe_nearest(name, false, nearest, sizeof nearest);
            log_event(LOG_WARN, "unknown_environment_variable", log_text("name", name),
                      log_text("note", nearest[0] == '\0' ? "" : nearest + 2));
        }
    }
}

/* The command line. It names the files, whose values it then overrides: its own settings are kept
 * until everything else is in place. */

struct pending_setting {
    size_t index;
    const char *value;
};

struct command_line {
    struct resolver *resolver;
    struct pending_setting *pending; /* [pending_count], room for every argument */
    size_t pending_count;
};

static enum argument_setting find_setting(void *context, const char *name) {
    const struct command_line *line = context;
    if (strcmp(name, "config") == 0 || strcmp(name, "env-file") == 0) {
        return ARGUMENT_SETTING;
    }
    size_t index = find_flag(name);
    if (index == KNOB_COUNT || (knob_rows[index].readers & line->resolver->source->reader) == 0) {
        return ARGUMENT_NOT_A_SETTING;
    }
    return knob_rows[index].kind == KNOB_BOOL ? ARGUMENT_SETTING_SWITCH : ARGUMENT_SETTING;
}

static void set_setting(void *context, const char *name, const char *value) {
    struct command_line *line = context;
    if (strcmp(name, "config") == 0) {
        line->resolver->toml_file = value;
    } else if (strcmp(name, "env-file") == 0) {
        line->resolver->env_file = value;
    } else {
        line->pending[line->pending_count++] =
            (struct pending_setting){.index = find_flag(name), .value = value};
    }
}

static bool refuse_flag(void *context, const char *name, struct error *error) {
    const struct command_line *line = context;
    if (find_flag(name) != KNOB_COUNT) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "--%s is a setting that this subcommand does not read", name);
    }
    struct suggestion suggestion = suggest_for(name);
    for (size_t i = 0; i < KNOB_COUNT; i++) {
        if (knob_rows[i].flag != NULL &&
            (knob_rows[i].readers & line->resolver->source->reader) != 0) {
            suggest_offer(&suggestion, string_view_of(knob_rows[i].flag));
        }
    }
    const struct argument_option *option = line->resolver->source->options;
    for (; option != NULL && option->name != NULL; option++) {
        suggest_offer(&suggestion, string_view_of(option->name));
    }
    suggest_offer(&suggestion, string_view_of("config"));
    suggest_offer(&suggestion, string_view_of("env-file"));
    if (suggestion.best.length == 0) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "unknown option '--%s'", name);
    }
    return error_set(error, ERROR_INVALID_ARGUMENT, "unknown option '--%s'; did you mean '--%.*s'?",
                     name, (int)suggestion.best.length, suggestion.best.data);
}

static bool parse_command_line(struct command_line *line, struct argument_operands *operands) {
    struct resolver *resolver = line->resolver;
    const struct config_source *source = resolver->source;
    const struct argument_settings settings = {
        .find = find_setting, .set = set_setting, .refuse = refuse_flag, .context = line};
    struct arena *arena = &resolver->config->arena;
    line->pending = arena_alloc(arena, source->argument_count + 1, sizeof *line->pending);
    if (line->pending == NULL) {
        return error_set(resolver->error, ERROR_OUT_OF_MEMORY, "no memory for the arguments");
    }
    return arguments_parse(source->arguments, source->argument_count, source->options, &settings,
                           arena, operands, resolver->error);
}

static bool apply_command_line(const struct command_line *line) {
    for (size_t i = 0; i < line->pending_count; i++) {
        size_t index = line->pending[i].index;
        struct config_origin origin = {.layer = CONFIG_FROM_COMMAND_LINE,
                                       .name = knob_rows[index].flag};
        if (!store_text(line->resolver, (enum config_knob)index, line->pending[i].value, &origin)) {
            return false;
        }
    }
    return true;
}

/* The profile that the layers above have named. */

static bool is_file_name(const char *name) {
    size_t length = strlen(name);
    return strchr(name, '/') != NULL || (length > 5 && strcmp(name + length - 5, ".toml") == 0);
}

static bool apply_profile(struct resolver *resolver) {
    const char *name = resolver->config->profile;
    struct profile profile;
    if (name == NULL) {
        return true;
    }
    if (is_file_name(name)) {
        return apply_toml(resolver, name, CONFIG_FROM_PROFILE);
    }
    if (!profile_make(name, &profile, resolver->error)) {
        return prefix_origin(&resolver->config->origins[KNOB_profile], resolver->error);
    }
    const struct config_origin origin = {.layer = CONFIG_FROM_PROFILE, .name = name};
    bool done = true;
    for (size_t i = 0; done && i < profile.count; i++) {
        done = store_text(resolver, profile.settings[i].knob, profile.settings[i].value, &origin);
    }
    return done;
}

bool config_load(const struct config_source *source, struct config *config,
                 struct argument_operands *operands, struct error *error) {
    *config = (struct config){0};
    struct resolver resolver = {.source = source, .config = config, .error = error};
    struct command_line line = {.resolver = &resolver};
    bool done = apply_defaults(&resolver) && parse_command_line(&line, operands) &&
                apply_toml(&resolver, resolver.toml_file, CONFIG_FROM_TOML) &&
                apply_env_file(&resolver) && apply_environment(&resolver) &&
                apply_command_line(&line) && apply_profile(&resolver);
    if (!done) {
        config_deinit(config);
    }
    return done;
}

void config_deinit(struct config *config) {
    arena_deinit(&config->arena);
    *config = (struct config){0};
}
