/* models.h - looking into the models folder. Private to hub/. */
#ifndef MISTRAL_HUB_MODELS_H
#define MISTRAL_HUB_MODELS_H

#include "base/string_buffer.h"
#include "hub/hub.h"

#include <stdbool.h>

/* Whether a folder is a model as Hugging Face keeps one: config.json beside safetensors. */
bool models_is_folder(const char *path);

/* Appends the path of the file of that name right in the folder, case not counted. */
bool models_find_file(const char *folder, const char *name, struct string_buffer *path);

/* Whether `asked` is one of the spellings of that model's name. */
bool models_is_called(const struct hub_model *model, const char *asked);

#endif
