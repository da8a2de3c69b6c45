/*
 * main.c - finds the subcommand, reads the settings, hands over, and turns errors into exit codes.
 */
#include "build_info.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/preflight.h"
#include "cli/terminal.h"
#include "config/suggest.h"
#include "hub/hub.h"

#include "base/json_memory.h"
#include "base/log.h"

#include <jansson.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static const struct cli_command *const commands[] = {
    &cli_run_command,
    &cli_serve_command,
    &cli_pull_command,
    &cli_list_command,
    &cli_show_command,
    &cli_tokenize_command,
    &cli_perplexity_command,
    &cli_config_command,
    &cli_check_command,
    &cli_health_command,
    &cli_rm_command,
    &cli_cp_command,
    &cli_bench_serve_command,
    &cli_quantize_command,
    &cli_bench_engine_command,
    &cli_bench_compare_command,
    &cli_bench_kernels_command,
    &cli_tune_command,
};

enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

static const struct {
    enum error_code error;
    enum cli_exit exit;
} exit_codes[] = {
    {ERROR_INVALID_ARGUMENT, CLI_USAGE}, {ERROR_CONTEXT_LENGTH, CLI_USAGE},
    {ERROR_NOT_FOUND, CLI_NOT_FOUND},    {ERROR_NETWORK, CLI_NETWORK},
    {ERROR_NO_SPACE, CLI_NO_SPACE},      {ERROR_CANCELLED, CLI_INTERRUPTED},
};

static enum cli_exit exit_code_of(enum error_code code) {
    for (size_t i = 0; i < sizeof exit_codes / sizeof exit_codes[0]; i++) {
        if (exit_codes[i].error == code) {
            return exit_codes[i].exit;
        }
    }
    return CLI_FAILED;
}

/* Help. */

/* Whether a command's name has two words and begins with this one: "bench" of "bench serve". */
static bool is_in_group(const struct cli_command *command, const char *group) {
    size_t length = strlen(group);
    return strncmp(command->name, group, length) == 0 && command->name[length] == ' ';
}

/* Those of a group, or all: NULL. */
static void print_commands(const char *group) {
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        char left[64];
        snprintf(left, sizeof left, "%s %s", commands[i]->name, commands[i]->usage);
        if (group == NULL || is_in_group(commands[i], group)) {
            printf("  %-32s%s\n", left, commands[i]->summary);
        }
    }
}

static void print_overview(void) {
    printf("usage: mistral COMMAND [OPTION...] [ARGUMENT...]\n\n"
           "Loads GGUF language models and runs or serves them.\n\n");
    print_commands(NULL);
    printf("\n"
           "MODEL is a path, a name in the models folder ('mistral list'), or an alias\n"
           "('mistral list --aliases'). 'mistral COMMAND --help' shows options and settings.\n\n"
           "Settings come from the command line, the environment, --env-file FILE, --config FILE\n"
           "(TOML) and --profile NAME, in this order; the first that has a setting counts.\n\n"
           "Exit codes: 0 done, 1 failed, 2 wrong command line, setting or input, 3 not found,\n"
           "4 network, 5 no space, 130 interrupted.\n\n"
           "  --version    version and commit\n"
           "  --help       this page\n");
}

static void print_command_help(const struct cli_command *command) {
    struct string_buffer help = {0};
    string_buffer_append_format(&help, "usage: mistral %s [OPTION...] %s\n\n%s.\n", command->name,
                                command->usage, command->summary);
    if (command->details != NULL) {
        string_buffer_append_format(&help, "\n%s", command->details);
    }
    string_buffer_append_text(&help, "\nOptions:\n");
    arguments_append_help(command->options, &help);
    arguments_append_help_row(&help, "-h, --help", "this page");
    if (command->reader != READ_BY_NOBODY) {
        string_buffer_append_text(&help,
                                  "\nSettings, [default] (TOML key; environment variable):\n");
        config_append_help(command->reader, &help);
    }
    fputs(string_buffer_text(&help), stdout);
    string_buffer_deinit(&help);
}

/* Before anything else on the command line is judged. */
static bool asks_for_help(int count, char **arguments) {
    for (int i = 0; i < count && strcmp(arguments[i], "--") != 0; i++) {
        if (strcmp(arguments[i], "--help") == 0 || strcmp(arguments[i], "-h") == 0) {
            return true;
        }
    }
    return false;
}

/* Commands. */

static bool is_group(const char *name) {
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (is_in_group(commands[i], name)) {
            return true;
        }
    }
    return false;
}

static void print_group(const char *name) {
    printf("usage: mistral %s COMMAND [OPTION...] [ARGUMENT...]\n\n", name);
    print_commands(name);
    printf("\n'mistral %s COMMAND --help' shows options and settings.\n", name);
}

static const struct cli_command *find_command(const char *name, struct error *error) {
    struct suggestion suggestion = suggest_for(name);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i]->name, name) == 0) {
            return commands[i];
        }
        suggest_offer(&suggestion, string_view_of(commands[i]->name));
    }
    if (suggestion.best.length > 0) {
        error_set(error, ERROR_INVALID_ARGUMENT, "unknown command '%.100s'; did you mean '%.*s'?",
                  name, (int)suggestion.best.length, suggestion.best.data);
    } else {
        error_set(error, ERROR_INVALID_ARGUMENT,
                  "unknown command '%.100s'; 'mistral --help' lists them", name);
    }
    return NULL;
}

/* Only the server speaks as the settings' defaults have it: at a terminal, JSON lines of level info
 * would be in the way of the answer. */
static void configure_log(const struct cli *cli) {
    const struct config *config = &cli->config;
    bool is_server = cli->command == &cli_serve_command;
    bool level_given = config->origins[KNOB_log_level].layer != CONFIG_FROM_DEFAULT;
    bool format_given = config->origins[KNOB_log_format].layer != CONFIG_FROM_DEFAULT;
    enum log_level level = LOG_WARN;
    enum log_format format = LOG_FORMAT_TEXT;
    if (is_server || level_given) {
        log_level_parse(config->log_level, &level);
    }
    if ((is_server || format_given) && strcmp(config->log_format, "json") == 0) {
        format = LOG_FORMAT_JSON;
    }
    log_configure(level, format);
}

static bool check_operands(const struct cli *cli, struct error *error) {
    const struct cli_command *command = cli->command;
    size_t count = cli->operands.count;
    if (count >= command->minimum_operands && count <= command->maximum_operands) {
        return true;
    }
    return error_set(error, ERROR_INVALID_ARGUMENT, "%s argument; usage: mistral %s %s",
                     count < command->minimum_operands ? "missing" : "unexpected", command->name,
                     command->usage);
}

static bool run_command(struct cli *cli, int count, char **arguments, char **environment,
                        struct error *error) {
    const struct config_source source = {.reader = cli->command->reader,
                                         .arguments = arguments,
                                         .argument_count = (size_t)count,
                                         .options = cli->command->options,
                                         .environment = environment};
    if (!config_load(&source, &cli->config, &cli->operands, error)) {
        if (error->code == ERROR_FORMAT || error->code == ERROR_NOT_FOUND) {
            error->code = ERROR_INVALID_ARGUMENT; /* a settings file's, not a model's */
        }
        return false;
    }
    cli->arguments = arguments;
    cli->argument_count = (size_t)count;
    configure_log(cli);
    config_warn_of_unknown_environment(environment);
    bool uses_engine = (cli->command->reader & READ_BY_ENGINE_USERS) != 0;
    bool done = check_operands(cli, error) && (!uses_engine || preflight(&cli->config, error)) &&
                cli->command->run(cli, error);
    config_deinit(&cli->config);
    return done;
}

bool cli_find_model(const struct cli *cli, struct string_buffer *path, struct error *error) {
    return hub_find_model(&cli->config, cli->operands.texts[0], path, error);
}

static int fail(const struct error *error) {
    terminal_print_error(error);
    return exit_code_of(error->code);
}

int main(int argc, char **argv, char **environment) {
    setlocale(LC_CTYPE, "");
    json_memory_fill();
    hub_set_memory();
    json_set_alloc_funcs(json_memory_allocate, json_memory_free);
    signal(SIGXFSZ, SIG_IGN); /* a file-size limit is a failed write */
    const char *name = argc < 2 ? NULL : argv[1];
    if (name == NULL || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        print_overview();
        return name == NULL ? CLI_USAGE : CLI_DONE;
    }
    if (strcmp(name, "--version") == 0) {
        printf("mistral %s (%s)\n", MISTRAL_VERSION, MISTRAL_BUILD_COMMIT);
        return CLI_DONE;
    }
    char words[64];
    int used = 2; /* arguments that name the command */
    if (is_group(name)) {
        if (argc < 3 || asks_for_help(1, argv + 2)) {
            print_group(name);
            return argc < 3 ? CLI_USAGE : CLI_DONE;
        }
        snprintf(words, sizeof words, "%s %.40s", name, argv[2]);
        name = words;
        used = 3;
    }
    struct error error = {0};
    struct cli cli = {.command = find_command(name, &error)};
    if (cli.command == NULL) {
        return fail(&error);
    }
    if (asks_for_help(argc - used, argv + used)) {
        print_command_help(cli.command);
        return CLI_DONE;
    }
    bool done = run_command(&cli, argc - used, argv + used, environment, &error);
    if (done && (fflush(stdout) != 0 || ferror(stdout))) {
        done = error_set(&error, ERROR_IO, "cannot write to standard output");
    }
    return done ? CLI_DONE : fail(&error);
}
