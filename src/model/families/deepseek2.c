/*
 * deepseek2.c - DeepSeek V2 and V3, GLM-4.7-Flash, and Mistral Large 3 (as `mistral4` too): latent
 * attention and experts (DeepSeek-AI 2024). Attention runs in the absorbed form for decoding and
 * for prompts: the two forms round differently, and a row's result must not depend on how a prompt
 * was cut into steps.
 */
#include "model/families/families.h"

#include "base/bytes.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool read_latent(const struct family_reader *reader, struct model_description *d) {
    struct latent_attention *latent = &d->latent;
    size_t key_dim = 0;
    if (!family_has_key(reader, "attention.key_length_mla")) {
        return family_fail(reader, "attention.key_length_mla",
                           "is missing: this file was made before latent attention was stored as "
                           "it is run; convert the model again, or fetch a newer file of it");
    }
    latent->rope_dim = d->ropes[0].dimensions;
    if (!family_read_size(reader, "attention.q_lora_rank", 0, MAX_WIDTH, &latent->query_rank) ||
        !family_read_size(reader, "attention.kv_lora_rank", 1, MAX_HEAD_DIM, &latent->rank) ||
        !family_read_size(reader, "attention.key_length_mla", 2, MAX_HEAD_DIM, &key_dim) ||
        !family_read_size(reader, "attention.value_length_mla", 1, MAX_HEAD_DIM,
                          &latent->value_dim)) {
        return false;
    }
    if (latent->rope_dim >= key_dim || latent->rank + latent->rope_dim > MAX_HEAD_DIM) {
        return family_fail(reader, "attention.key_length_mla",
                           "must be larger than rope.dimension_count");
    }
    latent->plain_dim = key_dim - latent->rope_dim;
    return true;
}

/* Scores grow with the context's extension, by YaRN's factor of mscale_all_dim, squared. */
static bool score_growth(const struct family_reader *reader, struct model_description *d,
                         float *out) {
    struct rope_description *rope = &d->ropes[0];
    float log_multiplier = 0; /* the file has a tenth of mscale_all_dim */
    *out = 1;
    if (rope->scaling != ROPE_SCALING_YARN) {
        return true;
    }
    if (!family_read_float(reader, "rope.scaling.yarn_log_multiplier", &log_multiplier)) {
        return false;
    }
    float all = 10 * log_multiplier, growth = 0.1f * logf(rope->factor);
    bool same = strcmp(reader->architecture, "deepseek2") == 0 && all != 1; /* mscale is, too */
    if (log_multiplier != 0) {
        rope->magnitude = same ? 1 : (1 + growth) / (1 + growth * all);
    }
    *out = rope->magnitude * (1 + growth * all);
    return true;
}

static bool describe_layers(const struct family_reader *reader, struct model_description *d) {
    const struct latent_attention *latent = &d->latent;
    float growth = 1;
    if (!score_growth(reader, d, &growth)) {
        return false;
    }
    float scale = growth * growth / sqrtf((float)(latent->plain_dim + latent->rope_dim));
    for (size_t i = 0; i < d->layer_count; i++) {
        struct layer_description *layer = &d->layers[i];
        layer->kv_head_count = 1;
        layer->key_dim = latent->rank + latent->rope_dim;
        layer->value_dim = latent->rank;
        layer->attention_scale = scale;
        layer->parts |= latent->query_rank > 0 ? PART_LATENT_QUERY : 0;
    }
    d->ropes[0].first = latent->rank;
    return true;
}

/* Selection biases came with scores by sigmoid (DeepSeek-AI 2025, section 2.1.2): some files, as of
 * GLM-4.7-Flash, have them and do not say how experts are scored. */
static bool has_selection_bias(const struct family_reader *reader,
                               const struct model_description *d) {
    char name[64];
    snprintf(name, sizeof name, "blk.%zu.exp_probs_b.bias", d->layer_count - 1);
    return gguf_find_tensor(reader->gguf, name) != NULL;
}

static bool describe_deepseek2(const struct family_reader *reader, struct model_description *d) {
    if (!read_latent(reader, d) || !describe_layers(reader, d)) {
        return false;
    }
    if (!family_has_key(reader, "expert_gating_func") && has_selection_bias(reader, d)) {
        d->experts.choice.scoring = EXPERTS_SIGMOID;
    }
    return true;
}

const struct family family_deepseek2 = {
    .architectures = {"deepseek2", "mistral4"},
    .parts = PART_ATTENTION | PART_LATENT,
    .pairing = ROPE_INTERLEAVED,
    .describe = describe_deepseek2,
};
