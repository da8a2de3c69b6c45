/* check.c - mistral check: whether the settings can work on this machine, and what to do if not. */
#include "cli/check.h"

#include "cli/json_output.h"
#include "cli/preflight.h"
#include "cli/terminal.h"
#include "config/profile.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static struct {
    bool json, quick;
    const char *root;
} options = {.root = ""};

static const struct argument_option option_table[] = {
    {.name = "json", .kind = ARGUMENT_SWITCH, .target = &options.json, .sentence = "as JSON"},
    {.name = "quick",
     .kind = ARGUMENT_SWITCH,
     .target = &options.quick,
     .sentence = "measure nothing"},
    {.name = "root",
     .kind = ARGUMENT_TEXT,
     .target = &options.root,
     .unit = "FOLDER",
     .sentence = "where another machine's or container's /proc and /sys are seen"},
    {0},
};

static const char *const level_names[] = {"ok", "warning", "error"};

void check_add(struct check *check, enum check_level level, const char *name, const char *advice,
               const char *format, ...) {
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    check->counts[level]++;
    json_t *row = json_pack("{s:s, s:s, s:o, s:o}", "check", name, "level", level_names[level],
                            "text", json_output_text(string_view_of(text)), "advice",
                            advice == NULL ? json_null() : json_string(advice));
    json_array_append_new(check->findings, row);
}

/* ---- the settings themselves ---- */

/* What lies above a profile hides it: a person who names one should learn that. */
static void check_profile(struct check *check) {
    const struct config *config = &check->cli->config;
    struct string_buffer hidden = {0};
    struct profile profile = {0};
    struct error error = {0};
    size_t acting = 0;
    for (int i = 0; i < KNOB_COUNT; i++) {
        acting += config->origins[i].layer == CONFIG_FROM_PROFILE;
    }
    /* A file's settings are not known here; those of a name are. */
    bool known =
        strstr(config->profile, ".toml") == NULL && profile_make(config->profile, &profile, &error);
    for (size_t i = 0; known && i < profile.count; i++) {
        const struct config_origin *origin = &config->origins[profile.settings[i].knob];
        if (origin->layer > CONFIG_FROM_PROFILE) {
            string_buffer_append_text(&hidden, hidden.length == 0 ? "; set elsewhere: " : ", ");
            config_describe_origin(origin, &hidden);
            string_buffer_append_format(&hidden, " (%s)", profile.settings[i].value);
        }
    }
    check_add(check, acting == 0 ? CHECK_WARNING : CHECK_OK, "profile",
              acting == 0 ? "leave out what the profile should decide" : NULL,
              "%s: %zu of its settings act%s", config->profile, acting,
              hidden.length == 0 ? "" : string_buffer_text(&hidden));
    string_buffer_deinit(&hidden);
}

static void check_settings(struct check *check) {
    const struct config *config = &check->cli->config;
    struct device_findings found;
    struct error error = {0};
    struct string_buffer list = {0};
    size_t set = 0;
    for (int i = 0; i < KNOB_COUNT; i++) {
        set += config_is_set(config, (enum config_knob)i);
    }
    check_add(check, CHECK_OK, "settings", NULL, "%zu settings are set, all of them well-formed",
              set);
    if (config->profile != NULL) {
        check_profile(check);
    }
    devices_find(&found);
    if (preflight_device(config, &found, &error)) {
        check_add(check, CHECK_OK, "device", NULL, "computes on the CPU (%s; %s)", found.cuda_text,
                  found.metal_text);
    } else {
        check_add(check, CHECK_ERROR, "device", "set device to auto or cpu", "%s", error.message);
    }
    if (!preflight_parallel(config, &found, &error)) {
        check_add(check, CHECK_ERROR, "parallel", "set it to 1", "%s", error.message);
    }
    if (!preflight_model_type(config, &error)) {
        check_add(check, CHECK_ERROR, "model_type", "set model.model_type to auto", "%s",
                  error.message);
    }
    config_append_not_applicable(config, DEVICE_CPU, &list);
    if (list.length > 0) {
        check_add(check, CHECK_WARNING, "not_applicable", "leave them out on this machine",
                  "not applicable on cpu: %s", string_buffer_text(&list));
    }
    string_buffer_deinit(&list);
}

/* ---- printing ---- */

static void print_finding(const json_t *row) {
    static const char *const marks[] = {"✓", "!", "✗"};
    const char *level = json_string_value(json_object_get(row, "level"));
    const char *advice = json_string_value(json_object_get(row, "advice"));
    const char *text = json_string_value(json_object_get(row, "text"));
    size_t index = 0;
    while (index < 2 && strcmp(level_names[index], level) != 0) {
        index++;
    }
    printf("%s%s%s %-14s ", index == CHECK_ERROR ? terminal_style(stdout, STYLE_ERROR) : "",
           marks[index], index == CHECK_ERROR ? terminal_style(stdout, STYLE_PLAIN) : "",
           json_string_value(json_object_get(row, "check")));
    terminal_write_text(stdout, text, strlen(text));
    printf("\n");
    if (advice != NULL) {
        printf("%17s→ %s\n", "", advice);
    }
}

static bool print_all(struct check *check, struct error *error) {
    json_int_t errors = (json_int_t)check->counts[CHECK_ERROR];
    json_int_t warnings = (json_int_t)check->counts[CHECK_WARNING];
    if (options.json) {
        return json_output_print(json_pack("{s:O, s:I, s:I}", "findings", check->findings, "errors",
                                           errors, "warnings", warnings),
                                 error);
    }
    size_t i;
    const json_t *row;
    json_array_foreach(check->findings, i, row) {
        print_finding(row);
    }
    printf("errors: %d, warnings: %d\n", (int)errors, (int)warnings);
    return true;
}

static bool run_check(struct cli *cli, struct error *error) {
    struct check check = {
        .cli = cli,
        .root = options.root,
        .model = cli->operands.count > 0 ? cli->operands.texts[0] : cli->config.default_model,
        .quick = options.quick,
        .findings = json_array(),
    };
    if (check.findings == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the findings");
    }
    check_settings(&check);
    check_machine(&check);
    check_network(&check);
    check_the_model(&check);
    bool done = print_all(&check, error);
    if (done && check.counts[CHECK_ERROR] > 0) {
        done = error_set(error, ERROR_UNSUPPORTED, "errors found: %zu", check.counts[CHECK_ERROR]);
    }
    json_decref(check.findings);
    return done;
}

const struct cli_command cli_check_command = {
    .name = "check",
    .usage = "[MODEL]",
    .summary = "say whether the settings can work on this machine",
    .details =
        "Reads the settings as serve would, and looks at the machine, the models folder, the\n"
        "model, its memory plan, and at a server that runs already. Exit code 0: nothing is\n"
        "wrong, 1: there are errors, 2: the settings themselves cannot be read.\n",
    .reader = READ_BY_CHECK,
    .maximum_operands = 1,
    .options = option_table,
    .run = run_check,
};
