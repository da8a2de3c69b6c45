/* models.h - looking into the models folder. Private to hub/. */
#ifndef MISTRAL_HUB_MODELS_H
#define MISTRAL_HUB_MODELS_H

#include "base/string_buffer.h"

#include <stdbool.h>

/* Appends the path of the file of that name right in the folder, case not counted. */
bool models_find_file(const char *folder, const char *name, struct string_buffer *path);

#endif
