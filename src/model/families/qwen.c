/*
 * qwen.c - Qwen 2 to 3 and the text of their models with vision (Yang et al. 2024, 2025). Text has
 * one position in all of M-RoPE's sections, so it rotates as RoPE by halves.
 */
#include "model/families/families.h"

#include "base/bytes.h"

const struct family family_qwen2 = {
    .architectures = {"qwen2", "qwen2vl"},
    .parts = FAMILY_ATTENTION,
    .pairing = ROPE_HALVES,
};

/* The older files leave out how long an expert and the shared one are. */
static bool describe_moe(const struct family_reader *reader, struct model_description *d) {
    struct expert_description *experts = &d->experts;
    if (experts->choice.expert_count == 0) {
        return family_fail(reader, "expert_count", "is missing");
    }
    if (!family_has_key(reader, "expert_feed_forward_length")) {
        experts->length = size_max(1, experts->length / experts->choice.used_count);
    }
    return true;
}

static bool describe_qwen2moe(const struct family_reader *reader, struct model_description *d) {
    if (!describe_moe(reader, d)) {
        return false;
    }
    if (d->experts.shared_length == 0) {
        d->experts.shared_length = d->layers[0].feed_forward_length;
    }
    for (size_t i = 0; i < d->layer_count; i++) {
        d->layers[i].parts |= PART_SHARED_EXPERT | PART_SHARED_GATE;
    }
    return true;
}

const struct family family_qwen2moe = {
    .architectures = {"qwen2moe"},
    .parts = FAMILY_ATTENTION,
    .pairing = ROPE_HALVES,
    .describe = describe_qwen2moe,
};

const struct family family_qwen3 = {
    .architectures = {"qwen3", "qwen3vl"},
    .parts = FAMILY_ATTENTION | PART_QK_NORM,
    .pairing = ROPE_HALVES,
};

const struct family family_qwen3moe = {
    .architectures = {"qwen3moe", "qwen3vlmoe"},
    .parts = FAMILY_ATTENTION | PART_QK_NORM,
    .pairing = ROPE_HALVES,
    .experts_normalise = true,
    .describe = describe_moe,
};
