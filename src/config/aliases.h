/*
 * aliases.h - older names whose values need a translation: ENABLE_METAL=true means device=metal.
 *
 * Names that only differ in spelling are in the rows of knobs.def. Pure. Private to config/.
 */
#ifndef MISTRAL_CONFIG_ALIASES_H
#define MISTRAL_CONFIG_ALIASES_H

#include "base/error.h"
#include "config/config.h"

struct knob_alias {
    const char *name; /* a TOML key or an environment name */
    enum config_knob knob;
    struct {
        const char *word;    /* NULL ends the list */
        const char *meaning; /* for the knob; NULL: says nothing about it */
    } words[3];
};

/* A row whose name is NULL ends it. */
extern const struct knob_alias knob_aliases[];

/* NULL: no such alias. */
const struct knob_alias *knob_alias_find(const char *name);

/* *meaning is the knob's value, or NULL where the word leaves it open. False: no such word. */
bool knob_alias_translate(const struct knob_alias *alias, const char *word, const char **meaning,
                          struct error *error);

#endif
