/*
 * model.c - see model.h: the one forward pass. A layer is attention and a feed-forward, each a
 * branch that is added to the residual stream; which norms, matrices and rotations they have is
 * told by the description (description.h), and no architecture is named here.
 *
 * Weights are found and checked by tensors.c and handed to the backend once.
 */
#include "model/model.h"

#include "base/bytes.h"
#include "model/tensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* [max_rows][…]; NULL where the description has no use for one. Widths that differ from layer to
 * layer are the largest. */
struct buffers {
    struct activation *residual;         /* [d_model] */
    struct activation *normed;           /* [d_model] */
    struct activation *branch;           /* [d_model], before it is added */
    struct activation *second;           /* [d_model], of experts that have norms of their own */
    struct activation *q;                /* [heads * key_dim] */
    struct activation *k, *v;            /* [kv_heads * key_dim], [kv_heads * value_dim] */
    struct activation *attended;         /* [heads * value_dim] */
    struct activation *gated;            /* [d_ff] */
    struct activation *router;           /* [experts] */
    struct activation *shared_router;    /* [1] */
    struct activation *q_down;           /* [query_rank] */
    struct activation *q_parts;          /* [heads * (plain + rope)] */
    struct activation *values;           /* [heads * value_dim of the latent form's output] */
    struct activation *layer_embedding;  /* [layers * layer_embedding_length] */
    struct activation *layer_projection; /* the same */
    struct activation *layer_gate;       /* [layer_embedding_length] */
};

struct model {
    struct arena arena;
    struct backend *backend;
    struct model_description description;
    struct rope ropes[STEP_MAX_ROPES];
    struct layer_weights *layers; /* [layer_count] */
    float *output_scales;         /* [layer_count], of the residual stream after each layer */
    struct model_weights weights;
    struct buffers buffers;
    float *hidden; /* [HIDDEN_ROWS][d_model]: on their way to a pool */
};

/* Rows read back at once for a pool. */
enum { HIDDEN_ROWS = 16 };

/* ---- buffers ---- */

struct buffer_row {
    size_t offset; /* of the struct activation * in struct buffers */
    size_t columns;
};

enum { BUFFER_COUNT = sizeof(struct buffers) / sizeof(struct activation *) };

static struct activation **buffer_at(struct buffers *buffers, const struct buffer_row *row) {
    return (struct activation **)(void *)((char *)buffers + row->offset);
}

/* The largest width any layer has. */
struct widths {
    size_t q, k, v, attended, gated;
    unsigned parts; /* that any layer has */
};

static struct widths widths_of(const struct model_description *d) {
    struct widths w = {0};
    for (size_t i = 0; i < d->layer_count; i++) {
        const struct layer_description *layer = &d->layers[i];
        w.parts |= layer->parts;
        w.q = size_max(w.q, layer->head_count * layer->key_dim);
        w.k = size_max(w.k, layer->kv_head_count * layer->key_dim);
        w.v = size_max(w.v, layer->kv_head_count * layer->value_dim);
        w.attended = size_max(w.attended, layer->head_count * layer->value_dim);
        if ((layer->parts & PART_DENSE) != 0) {
            w.gated = size_max(w.gated, layer->feed_forward_length);
        }
    }
    if ((w.parts & PART_SHARED_EXPERT) != 0) {
        w.gated = size_max(w.gated, d->experts.shared_length);
    }
    return w;
}

static bool needs_branch(const struct model_description *d, unsigned parts) {
    return d->residual_scale != 1 ||
           (parts & (PART_ATTENTION_POST_NORM | PART_FEED_FORWARD_POST_NORM | PART_SHARED_GATE |
                     PART_LAYER_EMBEDDING)) != 0;
}

#define AT(member) offsetof(struct buffers, member)
static void buffer_table(const struct model_description *d, struct buffer_row table[BUFFER_COUNT]) {
    const struct latent_attention *latent = &d->latent;
    struct widths w = widths_of(d);
    bool is_latent = (w.parts & PART_LATENT) != 0, has_experts = (w.parts & PART_EXPERTS) != 0;
    size_t width = d->embedding_length, heads = d->layers[0].head_count;
    size_t layer_embeddings = d->layer_count * d->layer_embedding_length;
    const struct buffer_row rows[BUFFER_COUNT] = {
        {AT(residual), width},
        {AT(normed), width},
        {AT(branch), needs_branch(d, w.parts) ? width : 0},
        {AT(second), (w.parts & (PART_EXPERT_NORMS | PART_SHARED_GATE)) != 0 ? width : 0},
        {AT(q), w.q},
        {AT(k), w.k},
        {AT(v), is_latent ? 0 : w.v},
        {AT(attended), w.attended},
        {AT(gated), w.gated},
        {AT(router), has_experts ? d->experts.choice.expert_count : 0},
        {AT(shared_router), (w.parts & PART_SHARED_GATE) != 0 ? 1 : 0},
        {AT(q_down), latent->query_rank},
        {AT(q_parts), is_latent ? heads * (latent->plain_dim + latent->rope_dim) : 0},
        {AT(values), is_latent ? heads * latent->value_dim : 0},
        {AT(layer_embedding), layer_embeddings},
        {AT(layer_projection), layer_embeddings},
        {AT(layer_gate), d->layer_embedding_length},
    };
    memcpy(table, rows, sizeof rows);
}
#undef AT

static struct scratch_shape scratch_shape_of(const struct model_description *d, size_t max_rows) {
    struct buffer_row table[BUFFER_COUNT];
    struct scratch_shape shape = {.max_rows = max_rows, .rope_count = d->rope_count};
    buffer_table(d, table);
    for (size_t i = 0; i < BUFFER_COUNT; i++) {
        shape.max_columns = size_max(shape.max_columns, table[i].columns);
    }
    for (size_t i = 0; i < d->layer_count; i++) {
        shape.head_dim = size_max(shape.head_dim, d->layers[i].key_dim);
        shape.head_dim = size_max(shape.head_dim, d->layers[i].value_dim);
    }
    if (d->experts.choice.expert_count > 0) {
        shape.expert_count = d->experts.choice.expert_count;
        shape.used_experts = d->experts.choice.used_count;
        shape.expert_length = d->experts.length;
        shape.expert_width = d->embedding_length;
    }
    return shape;
}

static bool create_activations(struct model *model, size_t max_rows, struct error *error) {
    const struct backend_ops *ops = model->backend->ops;
    const struct scratch_shape shape = scratch_shape_of(&model->description, max_rows);
    struct buffer_row table[BUFFER_COUNT];
    buffer_table(&model->description, table);
    for (size_t i = 0; i < BUFFER_COUNT; i++) {
        if (table[i].columns > 0 &&
            !ops->activation_create(model->backend, max_rows, table[i].columns,
                                    buffer_at(&model->buffers, &table[i]), error)) {
            return false;
        }
    }
    return shape.expert_count == 0 || ops->experts_reserve(model->backend, &shape, error);
}

/* ---- loading ---- */

struct loader {
    const struct gguf *gguf;
    struct model *model;
    const struct model_options *options;
    size_t bytes_done;
};

static bool load_tensor(void *context, const struct found_tensor *found, struct error *error) {
    struct loader *loader = context;
    struct backend *backend = loader->model->backend;
    if (!backend->ops->weight_create(backend, &found->source, found->use, found->slot, error)) {
        return false;
    }
    loader->bytes_done += found->file_bytes;
    if (loader->options->progress != NULL) {
        /* A tied embedding is prepared twice: hence the bound. */
        double done = (double)loader->bytes_done / (double)gguf_file_bytes(loader->gguf);
        loader->options->progress(loader->options->progress_context, done < 1 ? done : 1);
    }
    return true;
}

static bool create_rope(struct loader *loader, size_t index, struct error *error) {
    struct model *model = loader->model;
    const struct rope_description *d = &model->description.ropes[index];
    size_t pairs = d->dimensions / 2;
    const struct gguf_tensor *tensor =
        d->factors_tensor == NULL ? NULL : gguf_find_tensor(loader->gguf, d->factors_tensor);
    float *frequencies = arena_alloc(&model->arena, pairs, sizeof *frequencies);
    float *factors = arena_alloc(&model->arena, pairs, sizeof *factors);
    if (frequencies == NULL || factors == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the RoPE table");
    }
    if (tensor != NULL) {
        if (tensor->row_count != 1 || tensor->dimensions[0] != pairs ||
            pairs % tensor->format->block_values != 0) {
            return error_set(error, ERROR_FORMAT,
                             "%s: the tensor '%s' has %zu rows of %zu values; the model's metadata "
                             "asks for 1 of %zu",
                             gguf_path(loader->gguf), d->factors_tensor, tensor->row_count,
                             tensor->dimensions[0], pairs);
        }
        tensor->format->decode(tensor->data, factors, pairs);
    }
    rope_frequencies(d, tensor == NULL ? NULL : factors, frequencies);
    model->ropes[index] = (struct rope){d->pairing, d->first, pairs, frequencies, d->magnitude};
    return true;
}

/* One number a layer, where the file has it: what the residual stream is multiplied with. */
static bool read_output_scale(const struct loader *loader, size_t layer, struct error *error) {
    char name[64];
    snprintf(name, sizeof name, "blk.%zu.layer_output_scale.weight", layer);
    const struct gguf_tensor *tensor = gguf_find_tensor(loader->gguf, name);
    loader->model->output_scales[layer] = 1;
    if (tensor == NULL) {
        return true;
    }
    if (tensor->row_count != 1 || tensor->dimensions[0] != 1 || tensor->format->block_values != 1) {
        return error_set(error, ERROR_FORMAT, "%s: the tensor '%s' is not one number",
                         gguf_path(loader->gguf), name);
    }
    tensor->format->decode(tensor->data, &loader->model->output_scales[layer], 1);
    return true;
}

static bool load_all(struct loader *loader, struct error *error) {
    struct model *model = loader->model;
    struct model_description *d = &model->description;
    if (!description_read(loader->gguf, loader->options->sequence_length, &model->arena, d,
                          error)) {
        return false;
    }
    model->layers = arena_alloc(&model->arena, d->layer_count, sizeof *model->layers);
    model->output_scales = arena_alloc(&model->arena, d->layer_count, sizeof *model->output_scales);
    model->hidden =
        arena_alloc(&model->arena, d->embedding_length, HIDDEN_ROWS * sizeof *model->hidden);
    if (model->layers == NULL || model->output_scales == NULL || model->hidden == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for %zu layers", d->layer_count);
    }
    for (size_t i = 0; i < d->rope_count; i++) {
        if (!create_rope(loader, i, error)) {
            return false;
        }
    }
    for (size_t i = 0; i < d->layer_count; i++) {
        if (!read_output_scale(loader, i, error)) {
            return false;
        }
    }
    return tensors_visit(loader->gguf, d, &model->weights, model->layers, load_tensor, loader,
                         error) &&
           create_activations(model, loader->options->max_rows, error);
}

bool model_create(const struct gguf *gguf, struct backend *backend,
                  const struct model_options *options, struct model **out, struct error *error) {
    struct model *model = calloc(1, sizeof *model);
    if (model == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the model");
    }
    model->backend = backend;
    struct loader loader = {.gguf = gguf, .model = model, .options = options};
    if (!load_all(&loader, error)) {
        model_free(model);
        return false;
    }
    *out = model;
    return true;
}

/* Structs of nothing but weights. */
enum {
    MODEL_WEIGHTS = sizeof(struct model_weights) / sizeof(struct weight *),
    LAYER_WEIGHTS = sizeof(struct layer_weights) / sizeof(struct weight *),
};

static void free_weights(struct model *model, void *weights, size_t count) {
    struct weight **slots = weights;
    for (size_t i = 0; i < count; i++) {
        if (slots[i] != NULL) {
            model->backend->ops->weight_free(model->backend, slots[i]);
        }
    }
}

void model_free(struct model *model) {
    if (model == NULL) {
        return;
    }
    for (size_t i = 0; model->layers != NULL && i < model->description.layer_count; i++) {
        free_weights(model, &model->layers[i], LAYER_WEIGHTS);
    }
    free_weights(model, &model->weights, MODEL_WEIGHTS);
    struct activation **buffers = (struct activation **)(void *)&model->buffers;
    for (size_t i = 0; i < BUFFER_COUNT; i++) {
        if (buffers[i] != NULL) {
            model->backend->ops->activation_free(model->backend, buffers[i]);
        }
    }
    arena_deinit(&model->arena);
    free(model);
}

/* ---- what a model takes ---- */

struct adder {
    const struct gguf *gguf;
    struct backend *backend;
    struct model_needs *needs;
    uint64_t tensors; /* bytes of the file that are tensors of the model */
    bool tied;
};

static bool add_tensor(void *context, const struct found_tensor *found, struct error *error) {
    struct adder *adder = context;
    (void)error;
    size_t own = adder->backend->ops->weight_bytes(adder->backend, &found->source, found->use);
    bool is_tied_output =
        adder->tied && found->use == WEIGHT_MATRIX && strcmp(found->name, "token_embd.weight") == 0;
    adder->needs->packed += own;
    if (found->use == WEIGHT_EXPERTS) {
        adder->needs->experts += found->file_bytes;
        adder->needs->packed_experts += own;
        adder->needs->mapped_experts += own == 0 ? found->file_bytes : 0;
    }
    if (!is_tied_output) {
        adder->tensors += found->file_bytes;
        adder->needs->mapped += own == 0 ? found->file_bytes : 0;
    }
    return true;
}

/* What is in the file's own form stays in its map; what is not leaves it once it is copied. */
bool model_add_up(const struct gguf *gguf, const struct model_description *description,
                  struct backend *backend, size_t max_rows, struct model_needs *needs,
                  struct error *error) {
    struct adder adder = {.gguf = gguf,
                          .backend = backend,
                          .needs = needs,
                          .tied = gguf_find_tensor(gguf, "output.weight") == NULL};
    *needs = (struct model_needs){0};
    if (!tensors_visit(gguf, description, NULL, NULL, add_tensor, &adder, error)) {
        return false;
    }
    uint64_t all = 0;
    for (size_t i = 0; i < gguf_tensor_count(gguf); i++) {
        all += gguf_tensor_at(gguf, i)->bytes;
    }
    uint64_t file = gguf_file_bytes(gguf);
    needs->mapped += file > all ? file - all : 0; /* the metadata */
    const struct scratch_shape shape = scratch_shape_of(description, max_rows);
    struct buffer_row table[BUFFER_COUNT];
    buffer_table(description, table);
    for (size_t i = 0; i < BUFFER_COUNT; i++) {
        needs->scratch += (uint64_t)max_rows * table[i].columns * sizeof(float);
    }
    needs->scratch += backend->ops->scratch_bytes(backend, &shape);
    return true;
}

const struct model_description *model_description(const struct model *model) {
    return &model->description;
}

struct kv_layout model_kv_layout(const struct model *model, size_t block_count) {
    const struct model_description *d = &model->description;
    return (struct kv_layout){
        .layer_count = d->kv_layer_count, .layers = d->kv_layers, .block_count = block_count};
}

/* ---- the forward pass: branches ---- */

/* A branch's last product adds to the residual stream by itself, unless something is done to the
 * sum first. */
static struct matmul_target branch_end(struct model *model, const struct weight *weight,
                                       const struct weight *bias, bool is_separate) {
    return (struct matmul_target){.weight = weight,
                                  .bias = bias,
                                  .out =
                                      is_separate ? model->buffers.branch : model->buffers.residual,
                                  .epilogue = is_separate ? MATMUL_STORE : MATMUL_ADD};
}

static void add_branch(struct model *model, const struct weight *post_norm) {
    struct backend *backend = model->backend;
    const struct model_description *d = &model->description;
    struct buffers *b = &model->buffers;
    if (post_norm != NULL) {
        backend->ops->norm(backend, b->branch, post_norm, d->norm_epsilon, b->branch);
    }
    if (d->residual_scale != 1) {
        backend->ops->add(backend, NULL, d->residual_scale, b->branch);
    }
    backend->ops->add(backend, b->branch, 1, b->residual);
}

static bool is_separate(const struct model_description *d, const struct weight *post_norm) {
    return post_norm != NULL || d->residual_scale != 1;
}

/* ---- attention ---- */

static void project(struct model *model, const struct layer_weights *w) {
    struct buffers *b = &model->buffers;
    struct matmul_target targets[3];
    size_t count = 0;
    targets[count++] = (struct matmul_target){.weight = w->q, .bias = w->q_bias, .out = b->q};
    if (w->k != NULL) {
        targets[count++] = (struct matmul_target){.weight = w->k, .bias = w->k_bias, .out = b->k};
    }
    if (w->v != NULL) {
        targets[count++] = (struct matmul_target){.weight = w->v, .bias = w->v_bias, .out = b->v};
    }
    model->backend->ops->matmul(model->backend, b->normed, targets, count);
}

/* Latent attention's queries and key: [heads][rank + rope] and [rank + rope]. */
static void project_latent(struct model *model, const struct layer_weights *w, size_t heads) {
    struct backend *backend = model->backend;
    const struct backend_ops *ops = backend->ops;
    const struct latent_attention *latent = &model->description.latent;
    struct buffers *b = &model->buffers;
    const struct matmul_target down[] = {{.weight = w->kv_down, .out = b->k},
                                         {.weight = w->q_down, .out = b->q_down}};
    const struct matmul_target up = {.weight = w->q_up, .out = b->q_parts};
    const struct matmul_target direct[] = {down[0], {.weight = w->q, .out = b->q_parts}};
    if (latent->query_rank > 0) {
        ops->matmul(backend, b->normed, down, 2);
        ops->norm(backend, b->q_down, w->q_down_norm, model->description.norm_epsilon, b->q_down);
        ops->matmul(backend, b->q_down, &up, 1);
    } else {
        ops->matmul(backend, b->normed, direct, 2);
    }
    const struct head_part plain = {latent->plain_dim + latent->rope_dim, 0};
    const struct head_part rope = {latent->plain_dim + latent->rope_dim, latent->plain_dim};
    const struct head_part to_latent = {latent->rank + latent->rope_dim, 0};
    const struct head_part to_rope = {latent->rank + latent->rope_dim, latent->rank};
    ops->matmul_heads(backend, b->q_parts, plain, w->k_up, b->q, to_latent);
    ops->copy_heads(backend, b->q_parts, rope, heads, latent->rope_dim, b->q, to_rope);
}

static struct attention_input attention_input(struct model *model, size_t index) {
    const struct model_description *d = &model->description;
    const struct layer_description *layer = &d->layers[index];
    const struct layer_weights *w = &model->layers[index];
    struct buffers *b = &model->buffers;
    bool is_latent = (layer->parts & PART_LATENT) != 0;
    return (struct attention_input){
        .q = b->q,
        .k = (layer->parts & (PART_KEYS | PART_LATENT)) != 0 ? b->k : NULL,
        .v = (layer->parts & PART_VALUES) != 0 ? b->v : NULL,
        .head_count = layer->head_count,
        .q_norm = w->q_norm,
        .k_norm = is_latent ? w->kv_norm : w->k_norm,
        .normalise_values = (layer->parts & PART_VALUE_NORM) != 0,
        .epsilon = d->norm_epsilon,
        .rope = layer->rope == ROPE_NONE ? NULL : &model->ropes[layer->rope],
        .temperature = d->query_temperature,
    };
}

static void attend(struct model *model, size_t index, struct kv_cache *kv) {
    const struct model_description *d = &model->description;
    const struct layer_description *layer = &d->layers[index];
    struct backend *backend = model->backend;
    const struct attention_shape shape = {
        .head_count = layer->head_count,
        .kv_head_count = layer->kv_head_count,
        .key_dim = layer->key_dim,
        .value_dim = layer->value_dim,
        .scale = layer->attention_scale,
        .window = layer->window,
        .soft_cap = d->attention_soft_cap,
        .sinks = model->layers[index].sinks,
    };
    const struct attention_input input = attention_input(model, index);
    backend->ops->attention_input(backend, &input, kv, layer->kv_layer);
    backend->ops->attention(backend, model->buffers.q, kv, layer->kv_layer, &shape,
                            model->buffers.attended);
}

static void attention_block(struct model *model, size_t index, struct kv_cache *kv) {
    const struct model_description *d = &model->description;
    const struct layer_description *layer = &d->layers[index];
    const struct layer_weights *w = &model->layers[index];
    struct backend *backend = model->backend;
    struct buffers *b = &model->buffers;
    bool separate = is_separate(d, w->attention_post_norm);
    const struct matmul_target output =
        branch_end(model, w->attention_output, w->attention_output_bias, separate);
    struct activation *attended = b->attended;
    backend->ops->norm(backend, b->residual, w->attention_norm, d->norm_epsilon, b->normed);
    if ((layer->parts & PART_LATENT) != 0) {
        project_latent(model, w, layer->head_count);
    } else {
        project(model, w);
    }
    attend(model, index, kv);
    if ((layer->parts & PART_LATENT) != 0) {
        const struct head_part from = {d->latent.rank, 0}, to = {d->latent.value_dim, 0};
        backend->ops->matmul_heads(backend, b->attended, from, w->v_up, b->values, to);
        attended = b->values;
    }
    backend->ops->matmul(backend, attended, &output, 1);
    if (separate) {
        add_branch(model, w->attention_post_norm);
    }
}

/* ---- feed-forwards ---- */

/* gate and up, then down to the target. */
static void feed(struct model *model, struct matmul_target gated, struct matmul_target down) {
    struct backend *backend = model->backend;
    gated.out = model->buffers.gated;
    gated.epilogue = MATMUL_GATED;
    gated.gate = model->description.gate;
    backend->ops->matmul(backend, model->buffers.normed, &gated, 1);
    backend->ops->matmul(backend, model->buffers.gated, &down, 1);
}

static void feed_dense(struct model *model, const struct layer_weights *w, bool separate) {
    const struct matmul_target gated = {
        .weight = w->gate, .second = w->up, .bias = w->gate_bias, .second_bias = w->up_bias};
    feed(model, gated, branch_end(model, w->down, w->down_bias, separate));
}

static void choose_experts(struct model *model, const struct layer_weights *w,
                           const struct activation *x) {
    const struct matmul_target router = {
        .weight = w->router, .bias = w->router_bias, .out = model->buffers.router};
    model->backend->ops->matmul(model->backend, x, &router, 1);
}

static void run_experts(struct model *model, const struct layer_weights *w, bool adds,
                        struct activation *out) {
    const struct model_description *d = &model->description;
    const struct expert_layer layer = {
        .choice = d->experts.choice,
        .selection_bias = w->selection_bias,
        .scales = w->expert_scales,
        .gate = w->expert_gate,
        .up = w->expert_up,
        .down = w->expert_down,
        .gate_bias = w->expert_gate_bias,
        .up_bias = w->expert_up_bias,
        .down_bias = w->expert_down_bias,
        .function = d->gate,
    };
    model->backend->ops->experts(model->backend, model->buffers.normed, model->buffers.router,
                                 &layer, adds, out);
}

/* Beside a dense feed-forward, whose output is in `branch`: each between norms of its own. */
static void feed_experts_beside(struct model *model, const struct layer_weights *w) {
    struct backend *backend = model->backend;
    struct buffers *b = &model->buffers;
    float epsilon = model->description.norm_epsilon;
    backend->ops->norm(backend, b->branch, w->dense_post_norm, epsilon, b->branch);
    backend->ops->norm(backend, b->residual, w->router_norm, epsilon, b->normed);
    backend->ops->add(backend, NULL, model->description.experts.router_scale, b->normed);
    choose_experts(model, w, b->normed);
    backend->ops->norm(backend, b->residual, w->expert_norm, epsilon, b->normed);
    run_experts(model, w, false, b->second);
    backend->ops->norm_add(backend, b->second, w->expert_post_norm, epsilon, b->branch);
}

static void feed_shared(struct model *model, const struct layer_weights *w, bool is_gated,
                        struct activation *out) {
    struct backend *backend = model->backend;
    struct buffers *b = &model->buffers;
    const struct matmul_target gated = {.weight = w->shared_gate, .second = w->shared_up};
    struct matmul_target down = {.weight = w->shared_down,
                                 .out = is_gated ? b->second : out,
                                 .epilogue = is_gated ? MATMUL_STORE : MATMUL_ADD};
    feed(model, gated, down);
    if (is_gated) {
        const struct matmul_target router = {.weight = w->shared_router, .out = b->shared_router};
        backend->ops->matmul(backend, b->normed, &router, 1);
        backend->ops->add_gated(backend, b->second, b->shared_router, out);
    }
}

static void feed_forward_block(struct model *model, size_t index) {
    const struct model_description *d = &model->description;
    const struct layer_weights *w = &model->layers[index];
    unsigned parts = d->layers[index].parts;
    struct buffers *b = &model->buffers;
    bool separate = is_separate(d, w->feed_forward_post_norm);
    struct activation *out = separate ? b->branch : b->residual;
    if (!d->parallel) {
        model->backend->ops->norm(model->backend, b->residual, w->feed_forward_norm,
                                  d->norm_epsilon, b->normed);
    }
    if ((parts & PART_DENSE) != 0) {
        feed_dense(model, w, separate);
    }
    if ((parts & PART_EXPERT_NORMS) != 0) {
        feed_experts_beside(model, w);
    } else if ((parts & PART_EXPERTS) != 0) {
        choose_experts(model, w, b->normed);
        run_experts(model, w, !separate, out);
    }
    if ((parts & PART_SHARED_EXPERT) != 0) {
        feed_shared(model, w, (parts & PART_SHARED_GATE) != 0, out);
    }
    if (separate) {
        add_branch(model, w->feed_forward_post_norm);
    }
}

/* ---- embeddings of the token for each layer ---- */

/* Their sum with a projection of the input, [layers][length] a row, in `layer_embedding`. */
static void embed_layers(struct model *model) {
    struct backend *backend = model->backend;
    const struct backend_ops *ops = backend->ops;
    const struct model_description *d = &model->description;
    struct buffers *b = &model->buffers;
    const struct matmul_target projection = {.weight = model->weights.layer_projection,
                                             .out = b->layer_projection};
    float epsilon = d->norm_epsilon * (float)d->embedding_length; /* of values not yet scaled */
    ops->embed(backend, model->weights.layer_embedding, sqrtf((float)d->layer_embedding_length),
               b->layer_embedding);
    ops->matmul(backend, b->residual, &projection, 1);
    /* The projection's factor 1 / sqrt(d_model) is undone by the norm but for its epsilon. */
    ops->norm(backend, b->layer_projection, model->weights.layer_projection_norm, epsilon,
              b->layer_projection);
    ops->add(backend, b->layer_projection, sqrtf(0.5f), b->layer_embedding);
}

static void layer_embedding_block(struct model *model, size_t index) {
    struct backend *backend = model->backend;
    const struct model_description *d = &model->description;
    const struct layer_weights *w = &model->layers[index];
    struct buffers *b = &model->buffers;
    const struct matmul_target in = {.weight = w->embedding_gate, .out = b->layer_gate};
    const struct matmul_target out = {.weight = w->embedding_output, .out = b->branch};
    backend->ops->matmul(backend, b->residual, &in, 1);
    backend->ops->gate(backend, &d->gate, b->layer_embedding, index * d->layer_embedding_length,
                       b->layer_gate);
    backend->ops->matmul(backend, b->layer_gate, &out, 1);
    backend->ops->norm_add(backend, b->branch, w->embedding_post_norm, d->norm_epsilon,
                           b->residual);
}

/* ---- a step ---- */

static void run_layer(struct model *model, size_t index, struct kv_cache *kv) {
    attention_block(model, index, kv);
    feed_forward_block(model, index);
    if ((model->description.layers[index].parts & PART_LAYER_EMBEDDING) != 0) {
        layer_embedding_block(model, index);
    }
    if (model->output_scales[index] != 1) {
        model->backend->ops->add(model->backend, NULL, model->output_scales[index],
                                 model->buffers.residual);
    }
}

static void add_to_pool(struct model *model, const struct model_pool *pool) {
    const struct model_description *d = &model->description;
    for (size_t done = 0; done < pool->row_count; done += HIDDEN_ROWS) {
        size_t count = size_min(pool->row_count - done, HIDDEN_ROWS);
        model->backend->ops->hidden(model->backend, model->buffers.residual,
                                    model->weights.output_norm, d->norm_epsilon,
                                    pool->first_row + done, count, model->hidden);
        for (size_t row = 0; row < count; row++) {
            for (size_t i = 0; i < d->embedding_length; i++) {
                pool->sums[i] += (double)model->hidden[row * d->embedding_length + i];
            }
        }
    }
}

void model_forward(struct model *model, const struct batch *batch, struct kv_cache *kv,
                   float *logits, const struct model_pool *pools, size_t pool_count) {
    struct backend *backend = model->backend;
    const struct backend_ops *ops = backend->ops;
    const struct model_description *d = &model->description;
    ops->step_begin(backend, batch, model->ropes, d->rope_count);
    ops->embed(backend, model->weights.embedding, d->embedding_scale, model->buffers.residual);
    if (d->layer_embedding_length > 0) {
        embed_layers(model);
    }
    for (size_t i = 0; i < d->layer_count; i++) {
        run_layer(model, i, kv);
    }
    if (batch->logit_row_count > 0) {
        ops->logits(backend, model->buffers.residual, model->weights.output_norm, d->norm_epsilon,
                    model->weights.output, &d->logits, logits);
    }
    for (size_t i = 0; i < pool_count; i++) {
        add_to_pool(model, &pools[i]);
    }
    ops->step_end(backend);
}

void model_occupy_kv(struct model *model, const struct batch *batch, struct kv_cache *kv) {
    struct backend *backend = model->backend;
    const struct model_description *d = &model->description;
    backend->ops->step_begin(backend, batch, model->ropes, d->rope_count);
    for (size_t i = 0; i < d->layer_count; i++) {
        const struct attention_input input = attention_input(model, i);
        backend->ops->attention_input(backend, &input, kv, d->layers[i].kv_layer);
    }
    backend->ops->step_end(backend);
}
