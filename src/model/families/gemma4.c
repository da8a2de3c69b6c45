/*
 * gemma4.c - Gemma 4: layers with a window and layers that see everything differ in their heads and
 * their rotation; the last layers may read the keys of earlier ones; values are normalised keys
 * where a layer has no matrix for them; small models add an embedding for each layer, one model
 * has experts beside its dense feed-forward.
 */
#include "model/families/families.h"

#include <math.h>
#include <stdio.h>

static bool has_value_matrix(const struct family_reader *reader, size_t layer) {
    char name[64], fused[64];
    snprintf(name, sizeof name, "blk.%zu.attn_v.weight", layer);
    snprintf(fused, sizeof fused, "blk.%zu.attn_qkv.weight", layer);
    return gguf_find_tensor(reader->gguf, name) != NULL ||
           gguf_find_tensor(reader->gguf, fused) != NULL;
}

/* Layers with a window: heads and rotation of their own. */
static bool describe_windows(const struct family_reader *reader, struct model_description *d) {
    size_t key_dim = d->layers[0].key_dim;
    struct rope_description *rope = &d->ropes[1];
    *rope = d->ropes[0];
    rope->factors_tensor = NULL;
    d->rope_count = 2;
    if (!family_read_size(reader, "attention.key_length_swa", 1, MAX_HEAD_DIM, &key_dim)) {
        return false;
    }
    rope->dimensions = key_dim;
    if (!family_read_size(reader, "rope.dimension_count_swa", 1, MAX_HEAD_DIM, &rope->dimensions) ||
        !family_read_float(reader, "rope.freq_base_swa", &rope->base)) {
        return false;
    }
    for (size_t i = 0; i < d->layer_count; i++) {
        struct layer_description *layer = &d->layers[i];
        layer->attention_scale = 1;
        if (layer->window != 0) {
            layer->key_dim = layer->value_dim = key_dim;
            layer->rope = 1;
        }
    }
    return true;
}

/* The last of the layers before `own` that is of the same kind as `layer`. */
static bool find_shared(const struct model_description *d, size_t own, size_t layer, size_t *out) {
    for (size_t i = own; i-- > 0;) {
        if ((d->layers[i].window != 0) == (d->layers[layer].window != 0)) {
            *out = i;
            return true;
        }
    }
    return false;
}

static bool describe_shared(const struct family_reader *reader, struct model_description *d) {
    size_t shared = 0;
    if (!family_read_size(reader, "attention.shared_kv_layers", 0, d->layer_count, &shared)) {
        return false;
    }
    size_t own = d->layer_count - shared;
    for (size_t i = 0; i < d->layer_count; i++) {
        struct layer_description *layer = &d->layers[i];
        if (i >= own) {
            layer->parts &= ~(unsigned)(PART_KEYS | PART_VALUES | PART_VALUE_NORM);
            if (!find_shared(d, own, i, &layer->kv_layer)) {
                return family_fail(reader, "attention.shared_kv_layers",
                                   "leaves no layer whose keys could be read");
            }
        } else if (!has_value_matrix(reader, i)) {
            layer->parts &= ~(unsigned)PART_VALUES;
        }
    }
    return true;
}

static bool describe_gemma4(const struct family_reader *reader, struct model_description *d) {
    if (!family_read_size(reader, "embedding_length_per_layer_input", 0, MAX_WIDTH,
                          &d->layer_embedding_length) ||
        !describe_windows(reader, d) || !describe_shared(reader, d)) {
        return false;
    }
    d->experts.router_scale = 1.0f / sqrtf((float)d->embedding_length);
    for (size_t i = 0; i < d->layer_count; i++) {
        struct layer_description *layer = &d->layers[i];
        if (d->layer_embedding_length > 0) {
            layer->parts |= PART_LAYER_EMBEDDING;
        }
        if ((layer->parts & PART_EXPERTS) != 0) {
            layer->parts |= PART_DENSE | PART_EXPERT_NORMS;
        }
    }
    return true;
}

const struct family family_gemma4 = {
    .architectures = {"gemma4"},
    .parts = FAMILY_ATTENTION | PART_QK_NORM | PART_VALUE_NORM | PART_ATTENTION_POST_NORM |
             PART_FEED_FORWARD_POST_NORM,
    .pairing = ROPE_HALVES,
    .gate = {.function = GATE_GELU_TANH},
    .experts_normalise = true,
    .embedding_scale = true,
    .describe = describe_gemma4,
};
