/*
 * tensors.h - which tensors of a file a model is made of, and where each one's values lie: apart,
 * as some rows of a fused tensor, or as one matrix an expert.
 *
 * The list follows from the description. Loading and the memory plan walk the same one, so that
 * they cannot differ. Private to src/model. No state; any thread.
 */
#ifndef MISTRAL_MODEL_TENSORS_H
#define MISTRAL_MODEL_TENSORS_H

#include "backend/backend.h"
#include "base/error.h"
#include "model/description.h"
#include "model/gguf.h"

/* A layer's weights. NULL: the layer has none. */
struct layer_weights {
    struct weight *attention_norm, *attention_post_norm;
    struct weight *q, *k, *v, *attention_output;
    struct weight *q_bias, *k_bias, *v_bias, *attention_output_bias;
    struct weight *q_norm, *k_norm, *sinks;
    /* Latent attention: */
    struct weight *q_down, *q_down_norm, *q_up; /* [query_rank], then [heads * (plain + rope)] */
    struct weight *kv_down, *kv_norm;           /* [rank + rope] */
    struct weight *k_up, *v_up; /* stacks, one a head: [rank][plain], [value][rank] */
    struct weight *feed_forward_norm, *feed_forward_post_norm;
    struct weight *gate, *up, *down;
    struct weight *gate_bias, *up_bias, *down_bias;
    struct weight *router, *router_bias, *selection_bias, *expert_scales;
    struct weight *expert_gate, *expert_up, *expert_down; /* stacks, one an expert */
    struct weight *expert_gate_bias, *expert_up_bias, *expert_down_bias;
    struct weight *shared_gate, *shared_up, *shared_down, *shared_router;
    struct weight *router_norm, *expert_norm; /* PART_EXPERT_NORMS */
    struct weight *dense_post_norm, *expert_post_norm;
    struct weight *embedding_gate, *embedding_output,
        *embedding_post_norm; /* PART_LAYER_EMBEDDING */
};

/* The model's other weights. */
struct model_weights {
    struct weight *embedding, *output_norm, *output;
    struct weight *layer_embedding, *layer_projection, *layer_projection_norm;
};

/* One weight as it is found in the file. */
struct found_tensor {
    const char *name; /* of the tensor, for messages; borrowed for the call */
    struct weight_source source;
    enum weight_use use;
    struct weight **slot; /* in the caller's structs */
    size_t file_bytes;    /* of the file that it takes up */
};

/* Hears of every weight, in the order in which a step meets them. False stops. */
typedef bool (*tensor_visitor)(void *context, const struct found_tensor *found,
                               struct error *error);

/* Visits all weights that the description asks for. A tensor that is missing or has another shape
 * is an error that names it. model, layers [layer_count]: where the slots lie; visitors that only
 * add up may give NULL for both. */
bool tensors_visit(const struct gguf *gguf, const struct model_description *description,
                   struct model_weights *model, struct layer_weights *layers,
                   tensor_visitor visitor, void *context, struct error *error);

#endif
