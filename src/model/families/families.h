/* families.h - declares every family of families.def; what they are is told by family.h. */
#ifndef MISTRAL_MODEL_FAMILIES_FAMILIES_H
#define MISTRAL_MODEL_FAMILIES_FAMILIES_H

#include "model/family.h"

/* What nearly every layer has. */
#define FAMILY_ATTENTION (PART_ATTENTION | PART_KEYS | PART_VALUES)

#define FAMILY(name) extern const struct family family_##name;
#include "model/families/families.def"
#undef FAMILY

#endif
