/* config.c - mistral config: the settings in force and where they came from, or all as a file. */
#include "cli/cli.h"
#include "config/print.h"
#include "config/profile.h"

#include <stdio.h>
#include <string.h>

static struct {
    bool json;
    bool stack;
    const char *format;
} options = {.format = "toml"};

static const struct argument_option option_table[] = {
    {.name = "json", .kind = ARGUMENT_SWITCH, .target = &options.json, .sentence = "show: as JSON"},
    {.name = "format",
     .kind = ARGUMENT_TEXT,
     .target = &options.format,
     .unit = "FORM",
     .sentence = "print: env, toml (default) or markdown, the reference page"},
    {.name = "stack",
     .kind = ARGUMENT_SWITCH,
     .target = &options.stack,
     .sentence = "print: with the values of stacks/mistral where nothing else is set"},
    {0},
};

static bool append_file(const struct config *config, struct string_buffer *out,
                        struct error *error) {
    static const struct {
        const char *name;
        enum config_form form;
    } forms[] = {
        {"env", CONFIG_AS_ENV}, {"toml", CONFIG_AS_TOML}, {"markdown", CONFIG_AS_MARKDOWN}};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (strcmp(options.format, forms[i].name) == 0) {
            config_print(config, forms[i].form, options.stack, out);
            return true;
        }
    }
    return error_set(error, ERROR_INVALID_ARGUMENT,
                     "--format takes env, toml or markdown, not '%.100s'", options.format);
}

/* The profile that is named, or a list of all. */
static bool append_profile(const struct argument_operands *operands, struct string_buffer *out,
                           struct error *error) {
    struct profile profile;
    if (operands->count < 2) {
        profile_append_list(out);
        return true;
    }
    if (!profile_make(operands->texts[1], &profile, error)) {
        return false;
    }
    profile_append_toml(&profile, out);
    return true;
}

static bool config_run(struct cli *cli, struct error *error) {
    const char *action = cli->operands.texts[0];
    struct string_buffer out = {0};
    bool done = true;
    if (strcmp(action, "profile") == 0) {
        done = append_profile(&cli->operands, &out, error);
    } else if (cli->operands.count > 1) {
        done = error_set(error, ERROR_INVALID_ARGUMENT, "'%.100s' takes no argument", action);
    } else if (strcmp(action, "show") == 0 && options.json) {
        config_show_json(&cli->config, &out);
        string_buffer_append_char(&out, '\n');
    } else if (strcmp(action, "show") == 0) {
        config_show(&cli->config, &out);
    } else if (strcmp(action, "print") == 0) {
        done = append_file(&cli->config, &out, error);
    } else {
        done = error_set(error, ERROR_INVALID_ARGUMENT,
                         "'%.100s' is neither show, print nor profile; usage: mistral config %s",
                         action, cli->command->usage);
    }
    if (done && out.failed) {
        done = error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the settings");
    }
    if (done) {
        fputs(string_buffer_text(&out), stdout);
    }
    string_buffer_deinit(&out);
    return done;
}

const struct cli_command cli_config_command = {
    .name = "config",
    .usage = "show|print|profile [NAME]",
    .summary = "show the settings in force, print all as a file, or what a machine should have",
    .details =
        "'mistral config show' has every setting, its value and where that came from.\n"
        "'mistral config print' writes a file with all settings and what they do.\n"
        "'mistral config profile' lists the profiles; with a NAME, or auto for this machine,\n"
        "it writes that one, with the reason of each setting.\n",
    .reader = READ_BY_CONFIG,
    .minimum_operands = 1,
    .maximum_operands = 2,
    .options = option_table,
    .run = config_run,
};
