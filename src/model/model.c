/*
 * model.c - see model.h. The llama family: pre-norm blocks of grouped-query attention with rotary
 * embedding and a gated SiLU feed-forward (Touvron et al. 2023; Jiang et al. 2023). Tensor names
 * are GGUF's. Weights are found, checked against the hyper-parameters' shapes and handed to the
 * backend once; the forward pass is the short list of ops at the end of this file.
 */
#include "model/model.h"

#include "base/bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct layer {
    struct weight *attention_norm;
    struct weight *q, *k, *v, *attention_output;
    struct weight *q_bias, *k_bias, *v_bias, *attention_output_bias; /* NULL where absent */
    struct weight *feed_forward_norm;
    struct weight *gate, *up, *down;
    struct weight *gate_bias, *up_bias, *down_bias; /* NULL where absent */
};

struct model {
    struct arena arena;
    struct backend *backend;
    struct hyperparameters hyperparameters;
    struct rope rope;
    struct layer *layers; /* [layer_count] */
    struct weight *embedding;
    struct weight *output_norm;
    struct weight *output; /* its own matrix, or the embedding's data again when tied */
    /* Activations, [max_rows][…] */
    struct activation *residual; /* [d_model] */
    struct activation *normed;   /* [d_model] */
    struct activation *q;        /* [heads * head_dim] */
    struct activation *k, *v;    /* [kv_heads * head_dim] */
    struct activation *attended; /* [heads * head_dim] */
    struct activation *gated;    /* [d_ff] */
    float *hidden;               /* [HIDDEN_ROWS][d_model]: on their way to a pool */
};

/* Rows read back at once for a pool. */
enum { HIDDEN_ROWS = 16 };

static const char EMBEDDING[] = "token_embd.weight";

struct loader {
    const struct gguf *gguf;
    struct model *model;
    void (*progress)(void *context, double fraction);
    void *progress_context;
    size_t bytes_done;
    struct error *error;
};

/* Finds a tensor and checks its shape. Absent: NULL, an error only when required. */
static const struct gguf_tensor *find_tensor(const struct loader *loader, const char *name,
                                             size_t rows, size_t columns, bool required, bool *ok) {
    const struct gguf_tensor *tensor = gguf_find_tensor(loader->gguf, name);
    const char *path = gguf_path(loader->gguf);
    *ok = tensor != NULL || !required;
    if (tensor == NULL) {
        if (required) {
            error_set(loader->error, ERROR_FORMAT, "%s: the tensor '%s' is missing", path, name);
        }
        return NULL;
    }
    if (tensor->dimensions[0] != columns || tensor->row_count != rows) {
        *ok = error_set(loader->error, ERROR_FORMAT,
                        "%s: the tensor '%s' has %zu rows of %zu values; the model's metadata asks "
                        "for %zu of %zu",
                        path, name, tensor->row_count, tensor->dimensions[0], rows, columns);
        return NULL;
    }
    return tensor;
}

static bool load_weight(struct loader *loader, const char *name, size_t rows, size_t columns,
                        enum weight_use use, bool required, struct weight **out) {
    bool ok;
    const struct gguf_tensor *tensor = find_tensor(loader, name, rows, columns, required, &ok);
    if (tensor == NULL) {
        return ok;
    }
    /* Rows of the embedding are looked up, also when it is the output's matrix too. */
    bool is_spare = gguf_is_mapped(loader->gguf) && strcmp(name, EMBEDDING) != 0;
    struct weight_source source = {tensor->format, tensor->data, rows, columns, is_spare};
    struct backend *backend = loader->model->backend;
    if (!backend->ops->weight_create(backend, &source, use, out, loader->error)) {
        return error_prefix(loader->error, "%s: tensor '%s'", gguf_path(loader->gguf), name);
    }
    loader->bytes_done += tensor->bytes;
    if (loader->progress != NULL) {
        /* A tied embedding is prepared twice: hence the bound. */
        double done = (double)loader->bytes_done / (double)gguf_file_bytes(loader->gguf);
        loader->progress(loader->progress_context, done < 1 ? done : 1);
    }
    return true;
}

/* One row of this table is one tensor of a layer; sizes are resolved from the hyper-parameters. */
enum layer_size { SIZE_ONE, SIZE_MODEL, SIZE_Q, SIZE_KV, SIZE_FEED_FORWARD, SIZE_COUNT };

struct layer_tensor {
    const char *name;
    size_t offset; /* of the struct weight * in struct layer */
    enum layer_size rows, columns;
    bool required;
};

#define FIELD(member) offsetof(struct layer, member)
static const struct layer_tensor layer_tensors[] = {
    {"attn_norm.weight", FIELD(attention_norm), SIZE_ONE, SIZE_MODEL, true},
    {"attn_q.weight", FIELD(q), SIZE_Q, SIZE_MODEL, true},
    {"attn_k.weight", FIELD(k), SIZE_KV, SIZE_MODEL, true},
    {"attn_v.weight", FIELD(v), SIZE_KV, SIZE_MODEL, true},
    {"attn_output.weight", FIELD(attention_output), SIZE_MODEL, SIZE_Q, true},
    {"attn_q.bias", FIELD(q_bias), SIZE_ONE, SIZE_Q, false},
    {"attn_k.bias", FIELD(k_bias), SIZE_ONE, SIZE_KV, false},
    {"attn_v.bias", FIELD(v_bias), SIZE_ONE, SIZE_KV, false},
    {"attn_output.bias", FIELD(attention_output_bias), SIZE_ONE, SIZE_MODEL, false},
    {"ffn_norm.weight", FIELD(feed_forward_norm), SIZE_ONE, SIZE_MODEL, true},
    {"ffn_gate.weight", FIELD(gate), SIZE_FEED_FORWARD, SIZE_MODEL, true},
    {"ffn_up.weight", FIELD(up), SIZE_FEED_FORWARD, SIZE_MODEL, true},
    {"ffn_down.weight", FIELD(down), SIZE_MODEL, SIZE_FEED_FORWARD, true},
    {"ffn_gate.bias", FIELD(gate_bias), SIZE_ONE, SIZE_FEED_FORWARD, false},
    {"ffn_up.bias", FIELD(up_bias), SIZE_ONE, SIZE_FEED_FORWARD, false},
    {"ffn_down.bias", FIELD(down_bias), SIZE_ONE, SIZE_MODEL, false},
};
#undef FIELD

enum { LAYER_TENSOR_COUNT = sizeof layer_tensors / sizeof layer_tensors[0] };

static struct weight **layer_slot(struct layer *layer, const struct layer_tensor *row) {
    return (struct weight **)((char *)layer + row->offset);
}

static bool load_layer(struct loader *loader, size_t index) {
    const struct hyperparameters *h = &loader->model->hyperparameters;
    const size_t sizes[SIZE_COUNT] = {
        [SIZE_ONE] = 1,
        [SIZE_MODEL] = h->embedding_length,
        [SIZE_Q] = h->head_count * h->head_dim,
        [SIZE_KV] = h->kv_head_count * h->head_dim,
        [SIZE_FEED_FORWARD] = h->feed_forward_length,
    };
    struct layer *layer = &loader->model->layers[index];
    for (size_t i = 0; i < LAYER_TENSOR_COUNT; i++) {
        const struct layer_tensor *row = &layer_tensors[i];
        char name[64];
        snprintf(name, sizeof name, "blk.%zu.%s", index, row->name);
        enum weight_use use = row->rows == SIZE_ONE ? WEIGHT_VECTOR : WEIGHT_MATRIX;
        if (!load_weight(loader, name, sizes[row->rows], sizes[row->columns], use, row->required,
                         layer_slot(layer, row))) {
            return false;
        }
    }
    return true;
}

static bool load_ends(struct loader *loader) {
    struct model *model = loader->model;
    const struct hyperparameters *h = &model->hyperparameters;
    size_t width = h->embedding_length, vocabulary = h->vocabulary_size;
    bool tied = gguf_find_tensor(loader->gguf, "output.weight") == NULL;
    return load_weight(loader, EMBEDDING, vocabulary, width, WEIGHT_EMBEDDING, true,
                       &model->embedding) &&
           load_weight(loader, "output_norm.weight", 1, width, WEIGHT_VECTOR, true,
                       &model->output_norm) &&
           load_weight(loader, tied ? EMBEDDING : "output.weight", vocabulary, width, WEIGHT_MATRIX,
                       true, &model->output);
}

static bool create_rope(struct loader *loader) {
    struct model *model = loader->model;
    const struct hyperparameters *h = &model->hyperparameters;
    size_t pairs = h->rope_dimensions / 2;
    bool ok;
    const struct gguf_tensor *tensor =
        find_tensor(loader, "rope_freqs.weight", 1, pairs, false, &ok);
    if (!ok) {
        return false;
    }
    float *frequencies = arena_alloc(&model->arena, pairs, sizeof *frequencies);
    float *factors = arena_alloc(&model->arena, pairs, sizeof *factors);
    if (frequencies == NULL || factors == NULL) {
        return error_set(loader->error, ERROR_OUT_OF_MEMORY, "no memory for the RoPE table");
    }
    if (tensor != NULL) {
        tensor->format->decode(tensor->data, factors, pairs);
    }
    rope_frequencies(h, tensor == NULL ? NULL : factors, frequencies, &model->rope.magnitude);
    model->rope.pair_count = pairs;
    model->rope.frequencies = frequencies;
    return true;
}

struct buffer_row {
    struct activation **slot;
    size_t columns;
};

enum { BUFFER_COUNT = 7 };

static void buffer_table(struct model *model, struct buffer_row table[BUFFER_COUNT]) {
    const struct hyperparameters *h = &model->hyperparameters;
    size_t q_width = h->head_count * h->head_dim, kv_width = h->kv_head_count * h->head_dim;
    const struct buffer_row rows[BUFFER_COUNT] = {
        {&model->residual, h->embedding_length},
        {&model->normed, h->embedding_length},
        {&model->q, q_width},
        {&model->k, kv_width},
        {&model->v, kv_width},
        {&model->attended, q_width},
        {&model->gated, h->feed_forward_length},
    };
    for (size_t i = 0; i < BUFFER_COUNT; i++) {
        table[i] = rows[i];
    }
}

static bool create_activations(struct model *model, size_t max_rows, struct error *error) {
    struct buffer_row table[BUFFER_COUNT];
    buffer_table(model, table);
    for (size_t i = 0; i < BUFFER_COUNT; i++) {
        if (!model->backend->ops->activation_create(model->backend, max_rows, table[i].columns,
                                                    table[i].slot, error)) {
            return false;
        }
    }
    return true;
}

static bool load_all(struct loader *loader, size_t max_rows) {
    struct model *model = loader->model;
    if (!hyperparameters_read(loader->gguf, &model->arena, &model->hyperparameters,
                              loader->error)) {
        return false;
    }
    size_t layer_count = model->hyperparameters.layer_count;
    model->layers = arena_alloc(&model->arena, layer_count, sizeof *model->layers);
    if (model->layers == NULL) {
        return error_set(loader->error, ERROR_OUT_OF_MEMORY, "no memory for %zu layers",
                         layer_count);
    }
    if (!create_rope(loader) || !load_ends(loader)) {
        return false;
    }
    for (size_t i = 0; i < layer_count; i++) {
        if (!load_layer(loader, i)) {
            return false;
        }
    }
    size_t width = model->hyperparameters.embedding_length;
    model->hidden = arena_alloc(&model->arena, width, HIDDEN_ROWS * sizeof *model->hidden);
    if (model->hidden == NULL) {
        return error_set(loader->error, ERROR_OUT_OF_MEMORY, "no memory for hidden states");
    }
    return create_activations(model, max_rows, loader->error);
}

bool model_create(const struct gguf *gguf, struct backend *backend, size_t max_rows,
                  void (*progress)(void *context, double fraction), void *progress_context,
                  struct model **out, struct error *error) {
    struct model *model = calloc(1, sizeof *model);
    if (model == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the model");
    }
    model->backend = backend;
    struct loader loader = {.gguf = gguf,
                            .model = model,
                            .progress = progress,
                            .progress_context = progress_context,
                            .error = error};
    if (!load_all(&loader, max_rows)) {
        model_free(model);
        return false;
    }
    *out = model;
    return true;
}

static void free_weight(struct model *model, struct weight *weight) {
    if (weight != NULL) {
        model->backend->ops->weight_free(model->backend, weight);
    }
}

void model_free(struct model *model) {
    if (model == NULL) {
        return;
    }
    for (size_t i = 0; model->layers != NULL && i < model->hyperparameters.layer_count; i++) {
        for (size_t j = 0; j < LAYER_TENSOR_COUNT; j++) {
            free_weight(model, *layer_slot(&model->layers[i], &layer_tensors[j]));
        }
    }
    free_weight(model, model->embedding);
    free_weight(model, model->output_norm);
    free_weight(model, model->output);
    struct buffer_row table[BUFFER_COUNT];
    buffer_table(model, table);
    for (size_t i = 0; i < BUFFER_COUNT; i++) {
        if (*table[i].slot != NULL) {
            model->backend->ops->activation_free(model->backend, *table[i].slot);
        }
    }
    arena_deinit(&model->arena);
    free(model);
}

const struct hyperparameters *model_hyperparameters(const struct model *model) {
    return &model->hyperparameters;
}

struct kv_layout model_kv_layout(const struct model *model, size_t block_count) {
    const struct hyperparameters *h = &model->hyperparameters;
    return (struct kv_layout){.layer_count = h->layer_count,
                              .block_count = block_count,
                              .kv_head_count = h->kv_head_count,
                              .head_dim = h->head_dim};
}

static void attention_block(struct model *model, size_t index, struct kv_cache *kv) {
    const struct hyperparameters *h = &model->hyperparameters;
    const struct layer *layer = &model->layers[index];
    struct backend *backend = model->backend;
    const struct backend_ops *ops = backend->ops;
    const struct attention_shape shape = {
        .head_count = h->head_count,
        .kv_head_count = h->kv_head_count,
        .head_dim = h->head_dim,
        .scale = h->attention_scale,
        .window = h->layer_has_window[index] ? h->sliding_window : 0,
    };
    const struct matmul_target qkv[] = {
        {.weight = layer->q, .bias = layer->q_bias, .out = model->q},
        {.weight = layer->k, .bias = layer->k_bias, .out = model->k},
        {.weight = layer->v, .bias = layer->v_bias, .out = model->v},
    };
    const struct matmul_target output = {.weight = layer->attention_output,
                                         .bias = layer->attention_output_bias,
                                         .out = model->residual,
                                         .epilogue = MATMUL_ADD};
    ops->norm(backend, model->residual, layer->attention_norm, h->norm_epsilon, model->normed);
    ops->matmul(backend, model->normed, qkv, 3);
    ops->rope_store(backend, model->q, model->k, model->v, h->head_count, kv, index);
    ops->attention(backend, model->q, kv, index, &shape, model->attended);
    ops->matmul(backend, model->attended, &output, 1);
}

static void feed_forward_block(struct model *model, size_t index) {
    const struct layer *layer = &model->layers[index];
    struct backend *backend = model->backend;
    const struct matmul_target gated = {.weight = layer->gate,
                                        .second = layer->up,
                                        .bias = layer->gate_bias,
                                        .second_bias = layer->up_bias,
                                        .out = model->gated,
                                        .epilogue = MATMUL_SILU_MUL};
    const struct matmul_target down = {.weight = layer->down,
                                       .bias = layer->down_bias,
                                       .out = model->residual,
                                       .epilogue = MATMUL_ADD};
    backend->ops->norm(backend, model->residual, layer->feed_forward_norm,
                       model->hyperparameters.norm_epsilon, model->normed);
    backend->ops->matmul(backend, model->normed, &gated, 1);
    backend->ops->matmul(backend, model->gated, &down, 1);
}

static void add_to_pool(struct model *model, const struct model_pool *pool) {
    const struct hyperparameters *h = &model->hyperparameters;
    for (size_t done = 0; done < pool->row_count; done += HIDDEN_ROWS) {
        size_t count = size_min(pool->row_count - done, HIDDEN_ROWS);
        model->backend->ops->hidden(model->backend, model->residual, model->output_norm,
                                    h->norm_epsilon, pool->first_row + done, count, model->hidden);
        for (size_t row = 0; row < count; row++) {
            for (size_t i = 0; i < h->embedding_length; i++) {
                pool->sums[i] += (double)model->hidden[row * h->embedding_length + i];
            }
        }
    }
}

void model_forward(struct model *model, const struct batch *batch, struct kv_cache *kv,
                   float *logits, const struct model_pool *pools, size_t pool_count) {
    struct backend *backend = model->backend;
    const struct backend_ops *ops = backend->ops;
    ops->step_begin(backend, batch, &model->rope);
    ops->embed(backend, model->embedding, model->residual);
    for (size_t i = 0; i < model->hyperparameters.layer_count; i++) {
        attention_block(model, i, kv);
        feed_forward_block(model, i);
    }
    if (batch->logit_row_count > 0) {
        ops->logits(backend, model->residual, model->output_norm,
                    model->hyperparameters.norm_epsilon, model->output, logits);
    }
    for (size_t i = 0; i < pool_count; i++) {
        add_to_pool(model, &pools[i]);
    }
    ops->step_end(backend);
}

void model_occupy_kv(struct model *model, const struct batch *batch, struct kv_cache *kv) {
    struct backend *backend = model->backend;
    const struct hyperparameters *h = &model->hyperparameters;
    backend->ops->step_begin(backend, batch, &model->rope);
    for (size_t i = 0; i < h->layer_count; i++) {
        backend->ops->rope_store(backend, model->q, model->k, model->v, h->head_count, kv, i);
    }
    backend->ops->step_end(backend);
}
