/* smollm3.c - SmolLM3 (Hugging Face 2025): as Llama, but every fourth layer does not rotate. */
#include "model/families/families.h"

enum { UNROTATED_STEP = 4 };

static bool describe_smollm3(const struct family_reader *reader, struct model_description *d) {
    (void)reader;
    for (size_t i = UNROTATED_STEP - 1; i < d->layer_count; i += UNROTATED_STEP) {
        d->layers[i].rope = ROPE_NONE;
    }
    return true;
}

const struct family family_smollm3 = {
    .architectures = {"smollm3"},
    .parts = FAMILY_ATTENTION,
    .pairing = ROPE_INTERLEAVED,
    .describe = describe_smollm3,
};
