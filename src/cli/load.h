/* load.h - from the name of a model to a running engine, showing how far it is. Main thread. */
#ifndef MISTRAL_CLI_LOAD_H
#define MISTRAL_CLI_LOAD_H

#include "cli/cli.h"
#include "cli/generate.h"

/* What the settings say; a subcommand may change it before it loads. */
struct engine_options load_engine_options(const struct config *config);

/* Threads that the settings mean: 0 is one a physical core. */
size_t load_thread_count(const struct config *config);

/* For one request at a time: the KV pool has room for `tokens` of it (0: the settings' pool). */
struct engine_options load_single_options(const struct config *config, size_t tokens);

/* Finds the model (see hub_find_model) and starts an engine with it. */
bool load_model(const struct cli *cli, const char *name, const struct engine_options *options,
                struct generator *generator, struct error *error);

#endif
