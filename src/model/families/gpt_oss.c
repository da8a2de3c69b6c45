/*
 * gpt_oss.c - gpt-oss 20B and 120B (OpenAI 2025): experts whose gate is clamped, attention sinks,
 * every other layer with a window.
 */
#include "model/families/families.h"

static bool describe_gpt_oss(const struct family_reader *reader, struct model_description *d) {
    return d->experts.choice.expert_count > 0 || family_fail(reader, "expert_count", "is missing");
}

const struct family family_gpt_oss = {
    .architectures = {"gpt-oss"},
    .parts = FAMILY_ATTENTION | PART_SINKS,
    .pairing = ROPE_HALVES,
    .gate = {.function = GATE_CLAMPED, .alpha = 1.702f, .limit = 7.0f},
    .expert_scoring = EXPERTS_SOFTMAX_OF_CHOSEN,
    .window_pattern = 2,
    .aliases = {{"ffn_norm.weight", "post_attention_norm.weight"}},
    .describe = describe_gpt_oss,
};
