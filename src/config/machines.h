/*
 * machines.h - what is known of common machines, and of this one: cores, memory, bandwidth. Private
 * to config/.
 */
#ifndef MISTRAL_CONFIG_MACHINES_H
#define MISTRAL_CONFIG_MACHINES_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct machine {
    const char *name;   /* as --profile has it */
    const char *title;  /* for people */
    const char *status; /* what a printed profile says of how it was tried */
    const char *source; /* where the figures come from */
    size_t cores; /* that compute: performance cores where there are two kinds; 0: a GPU does */
    uint64_t memory_bytes; /* of the largest configuration */
    double bandwidth;      /* of that memory, bytes a second */
    double share;          /* of that memory that a server may take */
};

/* A row without a name ends it. */
extern const struct machine machine_table[];

/* NULL: no such row. */
const struct machine *machine_find(const char *name);

/* This machine, or the container around this process. Measures the bandwidth: about a third of a
 * second. Any thread. */
bool machine_look(struct machine *machine, struct error *error);

#endif
