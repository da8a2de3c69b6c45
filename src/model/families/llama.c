/*
 * llama.c - Llama 2 and 3, Mistral 7B to Nemo, SmolLM2, and Mixtral, whose feed-forwards are of
 * experts (Touvron et al. 2023; Jiang et al. 2023, 2024); and Ministral 3, Mistral Small 3.x,
 * Devstral and Magistral as `mistral3`, which keep attention sharp over long contexts.
 */
#include "model/families/families.h"

const struct family family_llama = {
    .architectures = {"llama"},
    .parts = FAMILY_ATTENTION,
    .pairing = ROPE_INTERLEAVED,
    .experts_normalise = true,
};

/* Its temperature counts in original contexts. */
static bool describe_mistral3(const struct family_reader *reader, struct model_description *d) {
    (void)reader;
    d->query_temperature.length = d->ropes[0].original_length;
    return true;
}

const struct family family_mistral3 = {
    .architectures = {"mistral3"},
    .parts = FAMILY_ATTENTION,
    .pairing = ROPE_INTERLEAVED,
    .experts_normalise = true,
    .describe = describe_mistral3,
};
