/*
 * tensors.c - see tensors.h. Tensor names are GGUF's ("blk.<layer>.attn_q.weight"), as llama.cpp's
 * converters write them.
 */
#include "model/tensors.h"

#include "base/bytes.h"
#include "model/family.h"

#include <stdio.h>
#include <string.h>

/* A weight's sizes, resolved for each layer. */
enum size_name {
    SIZE_ONE,
    SIZE_MODEL,
    SIZE_HEADS,
    SIZE_Q,
    SIZE_K,
    SIZE_V,
    SIZE_ATTENDED,
    SIZE_KEY_DIM,
    SIZE_FEED_FORWARD,
    SIZE_EXPERTS,
    SIZE_EXPERT,
    SIZE_SHARED,
    SIZE_QUERY_RANK,
    SIZE_RANK,
    SIZE_KV_DOWN,
    SIZE_PLAIN_DIM,
    SIZE_OUTPUT_DIM,
    SIZE_LAYER_EMBEDDING,
    SIZE_COUNT,
};

enum shape {
    SHAPE_VECTOR, /* [columns] */
    SHAPE_MATRIX, /* [rows][columns] */
    SHAPE_STACK,  /* [stack][rows][columns], or a tensor each */
    SHAPE_FLAT,   /* [rows][columns], used as one vector */
};

/* One row is one weight of a layer. */
struct tensor_row {
    const char *name; /* after "blk.N." */
    size_t offset;    /* of the struct weight * in struct layer_weights */
    enum shape shape;
    enum size_name rows, columns, stack;
    unsigned part; /* the layer has it when it has this part */
    bool required;
    /* Where it may lie instead: rows of a larger tensor, from `before`'s size on (SIZE_ONE: from
     * the first); or for a stack, one tensor an expert ("ffn_gate.%zu.weight"). */
    const char *fused;
    enum size_name before, and_before;
    const char *apart;
};

#define AT(member) offsetof(struct layer_weights, member)
#define VECTOR(name, member, columns, part, required)                                              \
    {name, AT(member), SHAPE_VECTOR, SIZE_ONE, columns, SIZE_ONE, part, required}
#define MATRIX(name, member, rows, columns, part)                                                  \
    {name, AT(member), SHAPE_MATRIX, rows, columns, SIZE_ONE, part, true}

static const struct tensor_row rows[] = {
    VECTOR("attn_norm.weight", attention_norm, SIZE_MODEL, PART_ATTENTION, true),
    {"attn_q.weight", AT(q), SHAPE_MATRIX, SIZE_Q, SIZE_MODEL, SIZE_ONE, PART_ATTENTION, true,
     .fused = "attn_qkv.weight"},
    {"attn_k.weight", AT(k), SHAPE_MATRIX, SIZE_K, SIZE_MODEL, SIZE_ONE, PART_KEYS, true,
     .fused = "attn_qkv.weight", .before = SIZE_Q},
    {"attn_v.weight", AT(v), SHAPE_MATRIX, SIZE_V, SIZE_MODEL, SIZE_ONE, PART_VALUES, true,
     .fused = "attn_qkv.weight", .before = SIZE_Q, .and_before = SIZE_K},
    {"attn_q.bias", AT(q_bias), SHAPE_VECTOR, SIZE_ONE, SIZE_Q, SIZE_ONE, PART_ATTENTION, false,
     .fused = "attn_qkv.bias"},
    {"attn_k.bias", AT(k_bias), SHAPE_VECTOR, SIZE_ONE, SIZE_K, SIZE_ONE, PART_KEYS, false,
     .fused = "attn_qkv.bias", .before = SIZE_Q},
    {"attn_v.bias", AT(v_bias), SHAPE_VECTOR, SIZE_ONE, SIZE_V, SIZE_ONE, PART_VALUES, false,
     .fused = "attn_qkv.bias", .before = SIZE_Q, .and_before = SIZE_K},
    VECTOR("attn_q_norm.weight", q_norm, SIZE_KEY_DIM, PART_QK_NORM, true),
    VECTOR("attn_k_norm.weight", k_norm, SIZE_KEY_DIM, PART_QK_NORM | PART_KEYS, true),
    VECTOR("attn_sinks.weight", sinks, SIZE_HEADS, PART_SINKS, true),
    MATRIX("attn_q_a.weight", q_down, SIZE_QUERY_RANK, SIZE_MODEL, PART_LATENT_QUERY),
    VECTOR("attn_q_a_norm.weight", q_down_norm, SIZE_QUERY_RANK, PART_LATENT_QUERY, true),
    MATRIX("attn_q_b.weight", q_up, SIZE_Q, SIZE_QUERY_RANK, PART_LATENT_QUERY),
    MATRIX("attn_kv_a_mqa.weight", kv_down, SIZE_KV_DOWN, SIZE_MODEL, PART_LATENT),
    VECTOR("attn_kv_a_norm.weight", kv_norm, SIZE_RANK, PART_LATENT, true),
    {"attn_k_b.weight", AT(k_up), SHAPE_STACK, SIZE_RANK, SIZE_PLAIN_DIM, SIZE_HEADS, PART_LATENT,
     true},
    {"attn_v_b.weight", AT(v_up), SHAPE_STACK, SIZE_OUTPUT_DIM, SIZE_RANK, SIZE_HEADS, PART_LATENT,
     true},
    MATRIX("attn_output.weight", attention_output, SIZE_MODEL, SIZE_ATTENDED, PART_ATTENTION),
    VECTOR("attn_output.bias", attention_output_bias, SIZE_MODEL, PART_ATTENTION, false),
    VECTOR("post_attention_norm.weight", attention_post_norm, SIZE_MODEL, PART_ATTENTION_POST_NORM,
           true),
    VECTOR("ffn_norm.weight", feed_forward_norm, SIZE_MODEL, PART_ATTENTION, true),
    {"ffn_gate.weight", AT(gate), SHAPE_MATRIX, SIZE_FEED_FORWARD, SIZE_MODEL, SIZE_ONE, PART_DENSE,
     true, .fused = "ffn_up.weight"},
    {"ffn_up.weight", AT(up), SHAPE_MATRIX, SIZE_FEED_FORWARD, SIZE_MODEL, SIZE_ONE, PART_DENSE,
     true, .fused = "ffn_up.weight", .before = SIZE_FEED_FORWARD},
    MATRIX("ffn_down.weight", down, SIZE_MODEL, SIZE_FEED_FORWARD, PART_DENSE),
    VECTOR("ffn_gate.bias", gate_bias, SIZE_FEED_FORWARD, PART_DENSE, false),
    VECTOR("ffn_up.bias", up_bias, SIZE_FEED_FORWARD, PART_DENSE, false),
    VECTOR("ffn_down.bias", down_bias, SIZE_MODEL, PART_DENSE, false),
    VECTOR("post_ffw_norm_1.weight", dense_post_norm, SIZE_MODEL, PART_EXPERT_NORMS, true),
    VECTOR("ffn_gate_inp.scale", router_norm, SIZE_MODEL, PART_EXPERT_NORMS, true),
    MATRIX("ffn_gate_inp.weight", router, SIZE_EXPERTS, SIZE_MODEL, PART_EXPERTS),
    VECTOR("ffn_gate_inp.bias", router_bias, SIZE_EXPERTS, PART_EXPERTS, false),
    VECTOR("exp_probs_b.bias", selection_bias, SIZE_EXPERTS, PART_EXPERTS, false),
    VECTOR("pre_ffw_norm_2.weight", expert_norm, SIZE_MODEL, PART_EXPERT_NORMS, true),
    {"ffn_gate_exps.weight", AT(expert_gate), SHAPE_STACK, SIZE_EXPERT, SIZE_MODEL, SIZE_EXPERTS,
     PART_EXPERTS, true, .fused = "ffn_gate_up_exps.weight", .apart = "ffn_gate.%zu.weight"},
    {"ffn_up_exps.weight", AT(expert_up), SHAPE_STACK, SIZE_EXPERT, SIZE_MODEL, SIZE_EXPERTS,
     PART_EXPERTS, true, .fused = "ffn_gate_up_exps.weight", .before = SIZE_EXPERT,
     .apart = "ffn_up.%zu.weight"},
    {"ffn_down_exps.weight", AT(expert_down), SHAPE_STACK, SIZE_MODEL, SIZE_EXPERT, SIZE_EXPERTS,
     PART_EXPERTS, true, .apart = "ffn_down.%zu.weight"},
    VECTOR("ffn_down_exps.scale", expert_scales, SIZE_EXPERTS, PART_EXPERTS, false),
    {"ffn_gate_exps.bias", AT(expert_gate_bias), SHAPE_FLAT, SIZE_EXPERTS, SIZE_EXPERT, SIZE_ONE,
     PART_EXPERTS, false},
    {"ffn_up_exps.bias", AT(expert_up_bias), SHAPE_FLAT, SIZE_EXPERTS, SIZE_EXPERT, SIZE_ONE,
     PART_EXPERTS, false},
    {"ffn_down_exps.bias", AT(expert_down_bias), SHAPE_FLAT, SIZE_EXPERTS, SIZE_MODEL, SIZE_ONE,
     PART_EXPERTS, false},
    VECTOR("post_ffw_norm_2.weight", expert_post_norm, SIZE_MODEL, PART_EXPERT_NORMS, true),
    MATRIX("ffn_gate_shexp.weight", shared_gate, SIZE_SHARED, SIZE_MODEL, PART_SHARED_EXPERT),
    MATRIX("ffn_up_shexp.weight", shared_up, SIZE_SHARED, SIZE_MODEL, PART_SHARED_EXPERT),
    MATRIX("ffn_down_shexp.weight", shared_down, SIZE_MODEL, SIZE_SHARED, PART_SHARED_EXPERT),
    MATRIX("ffn_gate_inp_shexp.weight", shared_router, SIZE_ONE, SIZE_MODEL, PART_SHARED_GATE),
    VECTOR("post_ffw_norm.weight", feed_forward_post_norm, SIZE_MODEL, PART_FEED_FORWARD_POST_NORM,
           true),
    MATRIX("inp_gate.weight", embedding_gate, SIZE_LAYER_EMBEDDING, SIZE_MODEL,
           PART_LAYER_EMBEDDING),
    MATRIX("proj.weight", embedding_output, SIZE_MODEL, SIZE_LAYER_EMBEDDING, PART_LAYER_EMBEDDING),
    VECTOR("post_norm.weight", embedding_post_norm, SIZE_MODEL, PART_LAYER_EMBEDDING, true),
};
#undef VECTOR
#undef MATRIX

enum { ROW_COUNT = sizeof rows / sizeof rows[0] };

struct visit {
    const struct gguf *gguf;
    const struct model_description *description;
    const struct family *family;
    tensor_visitor visitor;
    void *context;
    struct error *error;
    const void *stack[MAX_EXPERTS > MAX_HEADS ? MAX_EXPERTS : MAX_HEADS];
};

/* ---- shapes ---- */

static bool fail_shape(const struct visit *visit, const struct gguf_tensor *tensor,
                       const char *name, size_t row_count, size_t columns) {
    return error_set(visit->error, ERROR_FORMAT,
                     "%s: the tensor '%s' has %zu rows of %zu values; the model's metadata asks "
                     "for %zu of %zu",
                     gguf_path(visit->gguf), name, tensor->row_count, tensor->dimensions[0],
                     row_count, columns);
}

static bool has_shape(const struct gguf_tensor *tensor, size_t row_count, size_t columns) {
    return tensor->dimensions[0] == columns && tensor->row_count == row_count;
}

static bool deliver(const struct visit *visit, const char *name, const struct gguf_tensor *tensor,
                    struct weight_source source, enum weight_use use, size_t file_bytes,
                    struct weight **slot) {
    source.format = tensor->format;
    /* Rows of an embedding are looked up, also when it is the output's matrix too. */
    source.is_spare = gguf_is_mapped(visit->gguf) && use != WEIGHT_EMBEDDING &&
                      strcmp(name, "token_embd.weight") != 0;
    const struct found_tensor found = {name, source, use, slot, file_bytes};
    return visit->visitor(visit->context, &found, visit->error) ||
           error_prefix(visit->error, "%s: tensor '%s'", gguf_path(visit->gguf), name);
}

/* ---- a layer's tensors ---- */

struct layer_visit {
    struct visit *visit;
    size_t layer;
    size_t sizes[SIZE_COUNT];
    struct layer_weights *weights; /* NULL: the visitor needs none */
};

static struct weight **slot_of(const struct layer_visit *at, const struct tensor_row *row) {
    return at->weights == NULL ? NULL
                               : (struct weight **)(void *)((char *)at->weights + row->offset);
}

static const struct gguf_tensor *find(const struct layer_visit *at, const char *name,
                                      char full[96]) {
    snprintf(full, 96, "blk.%zu.%s", at->layer, name);
    return gguf_find_tensor(at->visit->gguf, full);
}

/* A matrix or a vector, by itself or as a part of a fused tensor. */
static bool visit_plain(const struct layer_visit *at, const struct tensor_row *row,
                        const char *name, const struct gguf_tensor *tensor, bool is_fused) {
    size_t row_count = at->sizes[row->rows], columns = at->sizes[row->columns];
    size_t row_bytes = tensor->bytes / size_max(tensor->row_count, 1), first = 0;
    bool is_vector = row->shape != SHAPE_MATRIX;
    if (is_fused) {
        first = (row->before == SIZE_ONE ? 0 : at->sizes[row->before]) +
                (row->and_before == SIZE_ONE ? 0 : at->sizes[row->and_before]);
        bool fits =
            is_vector ? tensor->row_count == 1 && tensor->dimensions[0] >= first + columns
                      : tensor->dimensions[0] == columns && tensor->row_count >= first + row_count;
        if (!fits) {
            return fail_shape(at->visit, tensor, name, is_vector ? 1 : first + row_count,
                              is_vector ? first + columns : columns);
        }
    } else if (!has_shape(tensor, row_count, columns)) {
        return fail_shape(at->visit, tensor, name, row_count, columns);
    }
    struct weight_source source = {.rows = row_count, .columns = columns};
    size_t skipped = is_vector ? first * tensor->format->block_bytes : first * row_bytes;
    if (is_vector && first != 0 && tensor->format->block_values != 1) {
        return error_set(at->visit->error, ERROR_UNSUPPORTED,
                         "%s: the tensor '%s' is of %s, and only a part of it is one bias",
                         gguf_path(at->visit->gguf), name, tensor->format->name);
    }
    source.data = tensor->data + skipped;
    if (row->shape == SHAPE_FLAT) {
        source.rows = 1;
        source.columns = row_count * columns;
    }
    size_t bytes = is_vector ? tensor->bytes : row_count * row_bytes;
    return deliver(at->visit, name, tensor, source, is_vector ? WEIGHT_VECTOR : WEIGHT_MATRIX,
                   bytes, slot_of(at, row));
}

static enum weight_use use_of_stack(const struct tensor_row *row) {
    return row->stack == SIZE_EXPERTS ? WEIGHT_EXPERTS : WEIGHT_STACK;
}

/* One tensor with a matrix after the other, perhaps each behind another one's rows. */
static bool visit_stack(const struct layer_visit *at, const struct tensor_row *row,
                        const char *name, const struct gguf_tensor *tensor, bool is_fused) {
    size_t row_count = at->sizes[row->rows], columns = at->sizes[row->columns];
    size_t count = at->sizes[row->stack], first = 0, step = row_count;
    if (is_fused) {
        step = 2 * row_count;
        first = row->before == SIZE_ONE ? 0 : at->sizes[row->before];
    }
    if (!has_shape(tensor, step * count, columns)) {
        return fail_shape(at->visit, tensor, name, step * count, columns);
    }
    size_t row_bytes = tensor->bytes / tensor->row_count;
    for (size_t i = 0; i < count; i++) {
        at->visit->stack[i] = tensor->data + (i * step + first) * row_bytes;
    }
    struct weight_source source = {
        .rows = row_count, .columns = columns, .stack_count = count, .stack = at->visit->stack};
    return deliver(at->visit, name, tensor, source, use_of_stack(row),
                   row_count * count * row_bytes, slot_of(at, row));
}

/* A tensor an expert. All must be of one format. */
static bool visit_apart(const struct layer_visit *at, const struct tensor_row *row, bool *found) {
    size_t row_count = at->sizes[row->rows], columns = at->sizes[row->columns];
    size_t count = at->sizes[row->stack], bytes = 0;
    const struct gguf_tensor *first = NULL;
    char name[96], part[64];
    for (size_t i = 0; i < count; i++) {
        snprintf(part, sizeof part, row->apart, i);
        const struct gguf_tensor *tensor = find(at, part, name);
        if (tensor == NULL && i == 0) {
            *found = false;
            return true;
        }
        if (tensor == NULL) {
            return error_set(at->visit->error, ERROR_FORMAT, "%s: the tensor '%s' is missing",
                             gguf_path(at->visit->gguf), name);
        }
        if (!has_shape(tensor, row_count, columns)) {
            return fail_shape(at->visit, tensor, name, row_count, columns);
        }
        first = i == 0 ? tensor : first;
        if (tensor->format != first->format) {
            return error_set(at->visit->error, ERROR_UNSUPPORTED,
                             "%s: the tensor '%s' is of %s and the first expert's of %s",
                             gguf_path(at->visit->gguf), name, tensor->format->name,
                             first->format->name);
        }
        at->visit->stack[i] = tensor->data;
        bytes += tensor->bytes;
    }
    *found = first != NULL;
    if (first == NULL) {
        return true; /* no expert at all */
    }
    struct weight_source source = {
        .rows = row_count, .columns = columns, .stack_count = count, .stack = at->visit->stack};
    return deliver(at->visit, name, first, source, use_of_stack(row), bytes, slot_of(at, row));
}

static bool visit_row(const struct layer_visit *at, const struct tensor_row *row) {
    char name[96];
    const char *usual = family_tensor_name(at->visit->family, row->name);
    const struct gguf_tensor *tensor = find(at, usual, name);
    /* In a file with gate and up in one tensor, that has the name of one of them. */
    bool is_fused = row->fused != NULL && (tensor == NULL || strcmp(row->fused, usual) == 0);
    if (is_fused && tensor != NULL) {
        char gate[96];
        is_fused = find(at, "ffn_gate.weight", gate) == NULL;
    }
    if (is_fused && tensor == NULL) {
        tensor = find(at, row->fused, name);
    }
    if (tensor == NULL && row->apart != NULL) {
        bool found = false;
        if (!visit_apart(at, row, &found)) {
            return false;
        }
        if (found) {
            return true;
        }
    }
    if (tensor == NULL) {
        find(at, usual, name);
        return !row->required ||
               error_set(at->visit->error, ERROR_FORMAT, "%s: the tensor '%s' is missing",
                         gguf_path(at->visit->gguf), name);
    }
    return row->shape == SHAPE_STACK ? visit_stack(at, row, name, tensor, is_fused)
                                     : visit_plain(at, row, name, tensor, is_fused);
}

static void resolve_sizes(const struct model_description *d, size_t index, size_t *sizes) {
    const struct layer_description *layer = &d->layers[index];
    const struct latent_attention *latent = &d->latent;
    bool is_latent = (layer->parts & PART_LATENT) != 0;
    size_t query_dim = is_latent ? latent->plain_dim + latent->rope_dim : layer->key_dim;
    size_t value_dim = is_latent ? latent->value_dim : layer->value_dim;
    const size_t resolved[SIZE_COUNT] = {
        [SIZE_ONE] = 1,
        [SIZE_MODEL] = d->embedding_length,
        [SIZE_HEADS] = layer->head_count,
        [SIZE_Q] = layer->head_count * query_dim,
        [SIZE_K] = layer->kv_head_count * layer->key_dim,
        [SIZE_V] = layer->kv_head_count * layer->value_dim,
        [SIZE_ATTENDED] = layer->head_count * value_dim,
        [SIZE_KEY_DIM] = layer->key_dim,
        [SIZE_FEED_FORWARD] = layer->feed_forward_length,
        [SIZE_EXPERTS] = d->experts.choice.expert_count,
        [SIZE_EXPERT] = d->experts.length,
        [SIZE_SHARED] = d->experts.shared_length,
        [SIZE_QUERY_RANK] = latent->query_rank,
        [SIZE_RANK] = latent->rank,
        [SIZE_KV_DOWN] = latent->rank + latent->rope_dim,
        [SIZE_PLAIN_DIM] = latent->plain_dim,
        [SIZE_OUTPUT_DIM] = latent->value_dim,
        [SIZE_LAYER_EMBEDDING] = d->layer_embedding_length,
    };
    memcpy(sizes, resolved, sizeof resolved);
}

/* With latent queries the layer's own query matrix is their up-projection. */
static bool has_row(const struct layer_description *layer, const struct tensor_row *row) {
    if (row->offset == AT(q) && (layer->parts & PART_LATENT_QUERY) != 0) {
        return false;
    }
    return (layer->parts & row->part) == row->part;
}

static bool visit_layer(struct visit *visit, size_t index, struct layer_weights *weights) {
    struct layer_visit at = {.visit = visit, .layer = index, .weights = weights};
    resolve_sizes(visit->description, index, at.sizes);
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (has_row(&visit->description->layers[index], &rows[i]) && !visit_row(&at, &rows[i])) {
            return false;
        }
    }
    return true;
}

/* ---- the model's other tensors ---- */

static bool visit_named(const struct visit *visit, const char *name, size_t row_count,
                        size_t columns, enum weight_use use, struct weight **slot) {
    const struct gguf_tensor *tensor = gguf_find_tensor(visit->gguf, name);
    if (tensor == NULL) {
        return error_set(visit->error, ERROR_FORMAT, "%s: the tensor '%s' is missing",
                         gguf_path(visit->gguf), name);
    }
    if (!has_shape(tensor, row_count, columns)) {
        return fail_shape(visit, tensor, name, row_count, columns);
    }
    struct weight_source source = {.data = tensor->data, .rows = row_count, .columns = columns};
    return deliver(visit, name, tensor, source, use, tensor->bytes, slot);
}

static bool visit_ends(const struct visit *visit, struct model_weights *model) {
    const struct model_description *d = visit->description;
    size_t width = d->embedding_length, vocabulary = d->vocabulary_size;
    bool tied = gguf_find_tensor(visit->gguf, "output.weight") == NULL;
    struct model_weights none = {0};
    struct model_weights *to = model == NULL ? &none : model;
    return visit_named(visit, "token_embd.weight", vocabulary, width, WEIGHT_EMBEDDING,
                       &to->embedding) &&
           visit_named(visit, "output_norm.weight", 1, width, WEIGHT_VECTOR, &to->output_norm) &&
           visit_named(visit, tied ? "token_embd.weight" : "output.weight", vocabulary, width,
                       WEIGHT_MATRIX, &to->output);
}

/* Embeddings of the token for each layer, [layer_count][layer_embedding_length] side by side. */
static bool visit_layer_embedding(const struct visit *visit, struct model_weights *model) {
    const struct model_description *d = visit->description;
    size_t all = d->layer_embedding_length * d->layer_count;
    struct model_weights none = {0};
    struct model_weights *to = model == NULL ? &none : model;
    return d->layer_embedding_length == 0 ||
           (visit_named(visit, "per_layer_token_embd.weight", d->vocabulary_size, all,
                        WEIGHT_EMBEDDING, &to->layer_embedding) &&
            visit_named(visit, "per_layer_model_proj.weight", all, d->embedding_length,
                        WEIGHT_MATRIX, &to->layer_projection) &&
            visit_named(visit, "per_layer_proj_norm.weight", 1, d->layer_embedding_length,
                        WEIGHT_VECTOR, &to->layer_projection_norm));
}

bool tensors_visit(const struct gguf *gguf, const struct model_description *description,
                   struct model_weights *model, struct layer_weights *layers,
                   tensor_visitor visitor, void *context, struct error *error) {
    struct visit visit = {.gguf = gguf,
                          .description = description,
                          .family = family_find(string_view_of(description->architecture)),
                          .visitor = visitor,
                          .context = context,
                          .error = error};
    if (!visit_ends(&visit, model) || !visit_layer_embedding(&visit, model)) {
        return false;
    }
    for (size_t i = 0; i < description->layer_count; i++) {
        if (!visit_layer(&visit, i, layers == NULL ? NULL : &layers[i])) {
            return false;
        }
    }
    return true;
}
