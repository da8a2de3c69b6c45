/*
 * gemma.c - Gemma 2 and 3 (Gemma Team 2024, 2025): norms around every branch, windows on most
 * layers, GELU, embeddings scaled by sqrt(d_model). The files' norm weights have their 1 added.
 */
#include "model/families/families.h"

#include <math.h>

enum { GEMMA2_27B_LAYERS = 46, GEMMA3_27B_LAYERS = 62 };

/* The 27B models scale by d_model / heads, which is not their head size. Their files do not say so.
 */
static void scale_by_width(struct model_description *d) {
    for (size_t i = 0; i < d->layer_count; i++) {
        struct layer_description *layer = &d->layers[i];
        size_t width = d->embedding_length / layer->head_count;
        layer->attention_scale = 1.0f / sqrtf((float)width);
    }
}

static bool describe_gemma2(const struct family_reader *reader, struct model_description *d) {
    enum { WINDOW = 4096 };
    if (!family_has_key(reader, "attention.sliding_window") &&
        !family_read_windows(reader, WINDOW, family_gemma2.window_pattern, d)) {
        return false;
    }
    if (d->layer_count == GEMMA2_27B_LAYERS) {
        scale_by_width(d);
    }
    return true;
}

const struct family family_gemma2 = {
    .architectures = {"gemma2"},
    .parts = FAMILY_ATTENTION | PART_ATTENTION_POST_NORM | PART_FEED_FORWARD_POST_NORM,
    .pairing = ROPE_HALVES,
    .gate = {.function = GATE_GELU_TANH},
    .embedding_scale = true,
    .window_pattern = 2,
    .describe = describe_gemma2,
};

/* Layers with a window rotate by a base of their own, and are not stretched. */
static bool describe_gemma3(const struct family_reader *reader, struct model_description *d) {
    d->ropes[1] = d->ropes[0];
    d->ropes[1].scaling = ROPE_SCALING_NONE;
    d->ropes[1].base = 10000.0f;
    d->ropes[1].magnitude = 1;
    d->rope_count = 2;
    if (!family_read_float(reader, "rope.freq_base_swa", &d->ropes[1].base)) {
        return false;
    }
    for (size_t i = 0; i < d->layer_count; i++) {
        d->layers[i].rope = d->layers[i].window != 0 ? 1 : 0;
    }
    if (d->layer_count == GEMMA3_27B_LAYERS) {
        scale_by_width(d);
    }
    return true;
}

const struct family family_gemma3 = {
    .architectures = {"gemma3"},
    .parts =
        FAMILY_ATTENTION | PART_QK_NORM | PART_ATTENTION_POST_NORM | PART_FEED_FORWARD_POST_NORM,
    .pairing = ROPE_HALVES,
    .gate = {.function = GATE_GELU_TANH},
    .embedding_scale = true,
    .window_pattern = 6,
    .describe = describe_gemma3,
};
