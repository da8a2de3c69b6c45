/*
 * phi3.c - Phi-3 and Phi-4 (Abdin et al. 2024): queries, keys and values in one matrix, gate and up
 * in another, and rotation with factors for short and for long contexts.
 */
#include "model/families/families.h"

const struct family family_phi3 = {
    .architectures = {"phi3"},
    .parts = FAMILY_ATTENTION,
    .pairing = ROPE_HALVES,
};
