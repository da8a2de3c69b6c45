/*
 * system_information.h - where a measurement was made and of what: the facts that every report
 * carries.
 *
 * A list of named facts in the order in which they are shown. Reading them asks the operating
 * system, which may load libcuda for a moment, and hashing a model reads the whole file. Main
 * thread.
 */
#ifndef MISTRAL_BENCH_SYSTEM_INFORMATION_H
#define MISTRAL_BENCH_SYSTEM_INFORMATION_H

#include "base/arena.h"
#include "base/error.h"
#include "config/config.h"

#include <stdbool.h>
#include <stddef.h>

struct system_fact {
    const char *key;   /* of JSON: "memory_bytes" */
    const char *label; /* for people: "Memory" */
    const char *text;  /* for people: "23.5 GiB" */
    bool is_number;
    double number; /* JSON has this instead of the text, if so */
};

enum { SYSTEM_INFORMATION_MAX = 48 };

struct system_information {
    struct system_fact facts[SYSTEM_INFORMATION_MAX];
    size_t count;
    struct arena arena; /* holds the texts */
};

/* Time, processor, cores, memory, operating system, device, and this program's version and commit.
 * A zeroed struct is an empty list. */
bool system_information_read(struct system_information *information, struct error *error);
void system_information_deinit(struct system_information *information);

/* One more; key and label are borrowed and must outlive the list, the text is copied. A list that
 * is full keeps what it has. */
bool system_information_add(struct system_information *information, const char *key,
                            const char *label, const char *text, struct error *error);
bool system_information_add_number(struct system_information *information, const char *key,
                                   const char *label, double number, const char *text,
                                   struct error *error);

/* The settings that differ from their defaults, as one fact: "performance.num_threads=2, …". */
bool system_information_add_settings(struct system_information *information,
                                     const struct config *config, enum config_reader reader,
                                     struct error *error);

/* A model file: its name, size and SHA-256. Reads all of it. */
bool system_information_add_model(struct system_information *information, const char *path,
                                  struct error *error);

/* NULL when there is none of that key. */
const char *system_information_find(const struct system_information *information, const char *key);

#endif
