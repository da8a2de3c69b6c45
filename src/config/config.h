/*
 * config.h - the settings of the program: one struct, filled from all places where people put them.
 *
 * Precedence: command line, environment, --env-file, --config (TOML), the profile that one of these
 * names, built-in default. Every setting is a row of knobs.def and remembers where its value came
 * from. What does not fit (an
 * unknown key, a wrong type, a value out of range, two spellings that disagree) is an error that
 * names the place and the nearest valid key. Filled once at start by the main thread; immutable
 * afterwards.
 */
#ifndef MISTRAL_CONFIG_CONFIG_H
#define MISTRAL_CONFIG_CONFIG_H

#include "base/arena.h"
#include "base/error.h"
#include "base/string_buffer.h"
#include "config/arguments.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The subcommands that read settings; a row of knobs.def has a set of them, and a subcommand may be
 * several. */
enum config_reader {
    READ_BY_NOBODY = 0,
    READ_BY_SERVE = 1 << 0,
    READ_BY_RUN = 1 << 1,
    READ_BY_PULL = 1 << 2,
    READ_BY_LIST = 1 << 3,
    READ_BY_SHOW = 1 << 4,
    READ_BY_TOKENIZE = 1 << 5,
    READ_BY_PERPLEXITY = 1 << 6,
    READ_BY_CONFIG = 1 << 7, /* these two read every row, whatever it says */
    READ_BY_CHECK = 1 << 8,
    READ_BY_QUANTIZE = 1 << 9,
    READ_BY_BENCH = 1 << 10,    /* of an engine; a server is measured from outside */
    READ_BY_ASK = 1 << 11,      /* whoever asks the server that serve would start */
    READ_BY_KERNELS = 1 << 12,  /* measured without an engine */
    READ_BY_TUNE = 1 << 13,     /* beside what READ_BY_BENCH has */
    READ_BY_ASK_MORE = 1 << 14, /* whoever asks it for more than whether it is there */
    READ_BY_PULLERS = READ_BY_PULL | READ_BY_SERVE,
    READ_BY_ENGINE_USERS = READ_BY_SERVE | READ_BY_RUN | READ_BY_PERPLEXITY | READ_BY_BENCH,
    READ_BY_MODEL_FINDERS = READ_BY_ENGINE_USERS | READ_BY_PULL | READ_BY_LIST | READ_BY_SHOW |
                            READ_BY_TOKENIZE | READ_BY_QUANTIZE,
    READ_BY_ALL =
        READ_BY_MODEL_FINDERS | READ_BY_ASK | READ_BY_KERNELS | READ_BY_TUNE | READ_BY_ASK_MORE,
};

/* What a row acts on. */
enum config_device {
    DEVICE_CPU = 1 << 0,
    DEVICE_CUDA = 1 << 1,
    DEVICE_METAL = 1 << 2,
    DEVICES_GPU = DEVICE_CUDA | DEVICE_METAL,
    DEVICES_ALL = DEVICE_CPU | DEVICES_GPU,
};

/* KNOB_host, KNOB_port, …: the rows of knobs.def, in its order. */
enum config_knob {
#define KNOB(member, ...) KNOB_##member,
#include "config/knobs.def"
#undef KNOB
    KNOB_COUNT
};

/* Lowest precedence first. */
enum config_layer {
    CONFIG_FROM_DEFAULT,
    CONFIG_FROM_PROFILE,
    CONFIG_FROM_TOML,
    CONFIG_FROM_ENV_FILE,
    CONFIG_FROM_ENVIRONMENT,
    CONFIG_FROM_COMMAND_LINE,
};

struct config_origin {
    enum config_layer layer;
    const char *file;    /* of TOML and .env values, else NULL */
    size_t line, column; /* there, from 1; else 0 */
    const char *name;    /* the key, environment name or flag that was used */
};

#define KNOB_TYPE_TEXT    const char * /* NULL when not set */
#define KNOB_TYPE_PATH    const char *
#define KNOB_TYPE_SECRET  const char *
#define KNOB_TYPE_INTEGER int64_t
#define KNOB_TYPE_BYTES   uint64_t
#define KNOB_TYPE_NUMBER  double
#define KNOB_TYPE_BOOL    bool
#define KNOB_TYPE_CHOICE  const char * /* one of the row's words, in its spelling */

struct config {
#define KNOB(member, kind, ...) KNOB_TYPE_##kind member;
#include "config/knobs.def"
#undef KNOB
    struct config_origin origins[KNOB_COUNT];
    struct arena arena; /* holds all texts */
};

struct config_source {
    enum config_reader reader; /* the subcommand, one bit */
    char *const *arguments;    /* [argument_count], what follows the subcommand's name */
    size_t argument_count;
    const struct argument_option *options; /* the subcommand's own; see arguments.h */
    char *const *environment;              /* "NAME=value", NULL at the end */
};

/* Fills `config` (and the targets of source->options); operands keep their order in `operands`, in
 * the config's arena. On false nothing needs to be released. */
bool config_load(const struct config_source *source, struct config *config,
                 struct argument_operands *operands, struct error *error);
void config_deinit(struct config *config);

/* Warns, through the log, of names in the environment that begin with MISTRAL_ and mean nothing:
 * not an error, since a shell or an orchestrator may carry what belongs to something else. */
void config_warn_of_unknown_environment(char *const *environment);

/* Logs each setting that a subcommand reads and somebody has set, with its value and where it came
 * from; secrets without their value. */
void config_log_settings(const struct config *config, enum config_reader reader);

/* Appends "performance.num_threads=2, …": what a subcommand reads and does not have its default
 * value. A secret's value is not in it. */
void config_append_changed(const struct config *config, enum config_reader reader,
                           struct string_buffer *out);

/* Whether somebody set it, rather than a default or a profile. */
static inline bool config_is_set(const struct config *config, enum config_knob knob) {
    return config->origins[knob].layer > CONFIG_FROM_PROFILE;
}

/* Appends "metal.async_dispatch, …": what somebody set and the device cannot use. */
void config_append_not_applicable(const struct config *config, enum config_device device,
                                  struct string_buffer *out);

/* "config.toml:3:8", "environment variable MISTRAL_PORT", "--port", "default". */
void config_describe_origin(const struct config_origin *origin, struct string_buffer *out);

/* The settings a subcommand reads, for its --help. */
void config_append_help(enum config_reader reader, struct string_buffer *out);

#endif
