/*
 * cli.h - what the files of the program share: the table of subcommands, exit codes, one process's
 * state. The main thread only, before and beside the engine's and the server's threads.
 */
#ifndef MISTRAL_CLI_CLI_H
#define MISTRAL_CLI_CLI_H

#include "base/error.h"
#include "config/config.h"

#include <stdbool.h>
#include <stddef.h>

/* What the program tells the shell; in --help too. */
enum cli_exit {
    CLI_DONE = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,     /* the command line, a setting or an input is wrong */
    CLI_NOT_FOUND = 3, /* a model, file or repository does not exist */
    CLI_NETWORK = 4,
    CLI_NO_SPACE = 5,
    CLI_INTERRUPTED = 130, /* Ctrl-C, as shells have it */
};

struct cli {
    const struct cli_command *command;
    struct config config;
    struct argument_operands operands;
    char *const *arguments; /* [argument_count], behind the command's name, as they were given */
    size_t argument_count;
};

struct cli_command {
    const char *name;          /* "serve", or group and name: "bench serve" */
    const char *usage;         /* behind the name: "MODEL [PROMPT]" */
    const char *summary;       /* one line */
    const char *details;       /* lines for its --help, or NULL */
    enum config_reader reader; /* or several, whose settings it then reads all */
    size_t minimum_operands, maximum_operands;
    const struct argument_option *options; /* targets are the command file's own */
    /* True, or false with the error set. */
    bool (*run)(struct cli *cli, struct error *error);
};

extern const struct cli_command cli_run_command;
extern const struct cli_command cli_serve_command;
extern const struct cli_command cli_health_command;
extern const struct cli_command cli_pull_command;
extern const struct cli_command cli_list_command;
extern const struct cli_command cli_rm_command;
extern const struct cli_command cli_cp_command;
extern const struct cli_command cli_show_command;
extern const struct cli_command cli_tokenize_command;
extern const struct cli_command cli_perplexity_command;
extern const struct cli_command cli_config_command;
extern const struct cli_command cli_check_command;
extern const struct cli_command cli_bench_serve_command;
extern const struct cli_command cli_bench_engine_command;
extern const struct cli_command cli_bench_compare_command;
extern const struct cli_command cli_bench_kernels_command;
extern const struct cli_command cli_tune_command;
extern const struct cli_command cli_quantize_command;

/* Appends the path of the model that operand 0 names. */
bool cli_find_model(const struct cli *cli, struct string_buffer *path, struct error *error);

#endif
