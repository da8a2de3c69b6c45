/* remove.c - mistral rm and mistral cp: models of the models folder go, or get another name. */
#include "cli/cli.h"
#include "hub/hub.h"

#include <stdio.h>

static const struct argument_option no_options[] = {{0}};

static bool remove_models(struct cli *cli, struct error *error) {
    for (size_t i = 0; i < cli->operands.count; i++) {
        struct string_buffer name = {0};
        bool done = hub_delete(&cli->config, cli->operands.texts[i], &name, error);
        if (done) {
            printf("removed %s\n", string_buffer_text(&name));
        }
        string_buffer_deinit(&name);
        if (!done) {
            return false;
        }
    }
    return true;
}

static bool copy_model(struct cli *cli, struct error *error) {
    const char *source = cli->operands.texts[0];
    const char *destination = cli->operands.texts[1];
    bool done = hub_copy(&cli->config, source, destination, error);
    if (done) {
        printf("copied %s to %s\n", source, destination);
    }
    return done;
}

const struct cli_command cli_rm_command = {
    .name = "rm",
    .usage = "MODEL...",
    .summary = "remove models that were pulled or created, or files of the models folder",
    .details = "MODEL is a name that 'mistral list' shows. Ollama's and Hugging Face's stores are "
               "only read:\nwhat lies there is not removed.\n",
    .reader = READ_BY_LIST,
    .minimum_operands = 1,
    .maximum_operands = 64,
    .options = no_options,
    .run = remove_models,
};

const struct cli_command cli_cp_command = {
    .name = "cp",
    .usage = "MODEL NAME",
    .summary = "give a model another name, with its options and texts; its file is not copied",
    .reader = READ_BY_LIST,
    .minimum_operands = 2,
    .maximum_operands = 2,
    .options = no_options,
    .run = copy_model,
};
