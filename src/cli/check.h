/*
 * check.h - what the files of mistral check share: the list of findings. Main thread.
 */
#ifndef MISTRAL_CLI_CHECK_H
#define MISTRAL_CLI_CHECK_H

#include "cli/cli.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum check_level { CHECK_OK, CHECK_WARNING, CHECK_ERROR };

struct check {
    const struct cli *cli;
    const char *root;  /* before /proc and /sys: "" but in tests */
    const char *model; /* as named on the command line or in the settings */
    bool quick;        /* nothing is measured */
    json_t *findings;  /* [{"check": …, "level": …, "text": …, "advice": …}] */
    size_t counts[CHECK_ERROR + 1];
};

/* `text` is formatted; `advice` is what to do, or NULL. Newlines in the text begin further lines.
 */
void check_add(struct check *check, enum check_level level, const char *name, const char *advice,
               const char *format, ...) __attribute__((format(printf, 5, 6)));

void check_machine(struct check *check);   /* check_machine.c */
void check_network(struct check *check);   /* check_network.c */
void check_the_model(struct check *check); /* check_model.c */

#endif
