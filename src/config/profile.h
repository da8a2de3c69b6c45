/*
 * profile.h - settings for a kind of machine, derived from its cores, memory and bandwidth.
 *
 * The derivation is sized for Mistral 7B in q5_k_m and says why of each setting. A profile lies
 * below everything people set (config.h). Pure, but for measuring this machine. Private to config/
 * and to the subcommands that print it.
 */
#ifndef MISTRAL_CONFIG_PROFILE_H
#define MISTRAL_CONFIG_PROFILE_H

#include "base/error.h"
#include "base/string_buffer.h"
#include "config/config.h"
#include "config/machines.h"

#include <stdbool.h>
#include <stddef.h>

enum { PROFILE_SETTINGS = 10 };

struct profile_setting {
    enum config_knob knob;
    char value[24]; /* as people write it */
    char reason[240];
};

struct profile {
    struct machine machine;
    struct profile_setting settings[PROFILE_SETTINGS]; /* [count] */
    size_t count;
    double ceiling; /* tokens a second of one answer, at most */
};

/* `name`: a row of machine_table, or "auto". */
bool profile_make(const char *name, struct profile *profile, struct error *error);

/* A TOML file with the reasons as comments; profiles/ has those of machine_table. */
void profile_append_toml(const struct profile *profile, struct string_buffer *out);

/* One line a row of machine_table. */
void profile_append_list(struct string_buffer *out);

#endif
