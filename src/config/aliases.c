/* aliases.c - see aliases.h. */
#include "config/aliases.h"

#include <string.h>
#include <strings.h>

const struct knob_alias knob_aliases[] = {
    {"resources.use_gpu", KNOB_device, {{"true", NULL}, {"false", "cpu"}}},
    {"ENABLE_METAL", KNOB_device, {{"true", "metal"}, {"false", NULL}}},
    {"ENABLE_CUDA", KNOB_device, {{"true", "cuda"}, {"false", NULL}}},
    {"metal.shader_variant", KNOB_kernels, {{"optimized", NULL}, {"reference", "portable"}}},
    {"MISTRAL_METAL_SHADER_VARIANT",
     KNOB_kernels,
     {{"optimized", NULL}, {"reference", "portable"}}},
    {0},
};

const struct knob_alias *knob_alias_find(const char *name) {
    for (const struct knob_alias *alias = knob_aliases; alias->name != NULL; alias++) {
        if (strcmp(alias->name, name) == 0) {
            return alias;
        }
    }
    return NULL;
}

bool knob_alias_translate(const struct knob_alias *alias, const char *word, const char **meaning,
                          struct error *error) {
    static const char *const spellings[][2] = {
        {"1", "true"},  {"yes", "true"}, {"on", "true"},
        {"0", "false"}, {"no", "false"}, {"off", "false"},
    };
    for (size_t i = 0; i < sizeof spellings / sizeof spellings[0]; i++) {
        word = strcasecmp(word, spellings[i][0]) == 0 ? spellings[i][1] : word;
    }
    for (size_t i = 0; alias->words[i].word != NULL; i++) {
        if (strcasecmp(alias->words[i].word, word) == 0) {
            *meaning = alias->words[i].meaning;
            return true;
        }
    }
    return error_set(error, ERROR_INVALID_ARGUMENT, "it takes %s or %s, not '%.100s'",
                     alias->words[0].word, alias->words[1].word, word);
}
