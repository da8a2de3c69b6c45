/* engine_bench.c - see engine_bench.h. */
#include "bench/engine_bench.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "model/model.h"

#include <stdlib.h>

struct engine_bench {
    const struct gguf *gguf;
    struct engine_bench_options options;
    struct backend *backend;
    struct model *model;
    struct kv_cache *kv;
    struct kv_layout layout;
    size_t max_rows;            /* of a step */
    size_t blocks;              /* of one stream */
    uint32_t *tables;           /* [max_streams][blocks] */
    int32_t *tokens;            /* [max_rows] */
    struct batch_span *spans;   /* [max_streams] */
    uint32_t *logit_rows;       /* [max_streams] */
    float *logits;              /* [max_streams][vocabulary] */
    size_t occupied;            /* tokens of context that every stream has */
    double weight_bytes;        /* that a step reads */
    double weight_values;       /* that a token is multiplied with */
    bool weights_are_quantised; /* most of them */
};

/* One step of `rows` tokens a stream, from `position` on. */
static struct batch plan_step(struct engine_bench *bench, size_t streams, size_t position,
                              size_t rows) {
    size_t vocabulary = model_description(bench->model)->vocabulary_size;
    for (size_t s = 0; s < streams; s++) {
        bench->spans[s] =
            (struct batch_span){s * rows, rows, position, bench->tables + s * bench->blocks};
        bench->logit_rows[s] = (uint32_t)((s + 1) * rows - 1);
        for (size_t i = 0; i < rows; i++) {
            bench->tokens[s * rows + i] = (int32_t)((position + i + s) * 7919 % vocabulary);
        }
    }
    return (struct batch){streams * rows, bench->tokens, streams,
                          bench->spans,   streams,       bench->logit_rows};
}

static void step(struct engine_bench *bench, size_t streams, size_t position, size_t rows) {
    struct batch batch = plan_step(bench, streams, position, rows);
    model_forward(bench->model, &batch, bench->kv, bench->logits, NULL, 0);
}

static void occupy(struct engine_bench *bench, size_t depth) {
    size_t chunk = bench->max_rows / bench->options.max_streams;
    while (bench->occupied < depth) {
        size_t rows = size_min(chunk, depth - bench->occupied);
        struct batch batch = plan_step(bench, bench->options.max_streams, bench->occupied, rows);
        model_occupy_kv(bench->model, &batch, bench->kv);
        bench->occupied += rows;
    }
}

bool engine_bench_run(struct engine_bench *bench, const struct engine_bench_test *test,
                      bool (*cancelled)(void), double *tokens_a_second) {
    size_t rows = test->generates ? 1 : bench->options.prefill_chunk;
    occupy(bench, test->depth);
    int64_t start = clock_now_ns();
    for (size_t at = 0; at < test->length; at += rows) {
        if (cancelled != NULL && cancelled()) {
            return false;
        }
        step(bench, test->streams, test->depth + at, size_min(rows, test->length - at));
    }
    double seconds = clock_seconds(clock_now_ns() - start);
    *tokens_a_second = (double)(test->length * test->streams) / seconds;
    return true;
}

/* --- limits --- */

/* The part of a tensor that a row is multiplied with: of experts those that are chosen. */
static double part_used(const struct model_description *d, const struct gguf_tensor *tensor) {
    const struct expert_choice *choice = &d->experts.choice;
    bool is_stack = choice->expert_count > 0 && tensor->dimension_count == 3 &&
                    tensor->dimensions[2] == choice->expert_count;
    return is_stack ? (double)choice->used_count / (double)choice->expert_count : 1;
}

/* Matrices that every step multiplies with: all but an embedding that is not the output as well. */
static void add_up_weights(struct engine_bench *bench) {
    bool tied = gguf_find_tensor(bench->gguf, "output.weight") == NULL;
    double quantised = 0;
    for (size_t i = 0; i < gguf_tensor_count(bench->gguf); i++) {
        const struct gguf_tensor *tensor = gguf_tensor_at(bench->gguf, i);
        bool is_embedding = string_view_is(tensor->name, "token_embd.weight");
        if (tensor->dimension_count < 2 || (is_embedding && !tied)) {
            continue;
        }
        double used = part_used(model_description(bench->model), tensor);
        double values = used * (double)tensor->row_count * (double)tensor->dimensions[0];
        bench->weight_bytes += used * (double)tensor->bytes;
        bench->weight_values += values;
        quantised += tensor->format->block_values > 1 ? values : 0;
    }
    bench->weights_are_quantised = quantised > bench->weight_values / 2;
}

/* Keys that a row sees, averaged over the test's rows and the layers. */
static double mean_context(const struct engine_bench *bench, const struct engine_bench_test *test) {
    const struct model_description *d = model_description(bench->model);
    double context = (double)test->depth + (double)(test->length + 1) / 2;
    double sum = 0;
    for (size_t i = 0; i < d->layer_count; i++) {
        double window = (double)d->layers[i].window;
        sum += window != 0 && context > window ? window : context;
    }
    return sum / (double)d->layer_count;
}

/* Bytes of keys and values that a row reads of each token that it sees. */
static double token_bytes(const struct engine_bench *bench) {
    size_t bytes = 0;
    for (size_t i = 0; i < bench->layout.layer_count; i++) {
        bytes += kv_layer_key_bytes(&bench->layout.layers[i], bench->layout.element) +
                 kv_layer_value_bytes(&bench->layout.layers[i], bench->layout.element);
    }
    return (double)bytes / KV_BLOCK_TOKENS;
}

/* Multiply-adds of attention for each token that a row sees. */
static double attention_products(const struct model_description *d) {
    size_t products = 0;
    for (size_t i = 0; i < d->layer_count; i++) {
        products += d->layers[i].head_count * (d->layers[i].key_dim + d->layers[i].value_dim);
    }
    return (double)products;
}

double engine_bench_limit(const struct engine_bench *bench, const struct engine_bench_test *test,
                          double bandwidth, const struct arithmetic *arithmetic) {
    const struct model_description *d = model_description(bench->model);
    double context = mean_context(bench, test);
    if (test->generates) {
        double streams = (double)test->streams;
        return streams * bandwidth / (bench->weight_bytes + streams * context * token_bytes(bench));
    }
    double rate =
        bench->weights_are_quantised ? arithmetic->int8_operations : arithmetic->f32_operations;
    double attention = 2 * context * attention_products(d);
    /* Attention is computed in f32 whatever the weights are. */
    double seconds =
        rate > 0 ? 2 * bench->weight_values / rate + attention / arithmetic->f32_operations : 0;
    return seconds > 0 ? 1 / seconds : 0;
}

/* --- life --- */

static bool create_buffers(struct engine_bench *bench, struct error *error) {
    size_t streams = bench->options.max_streams;
    size_t vocabulary = model_description(bench->model)->vocabulary_size;
    bench->blocks = size_divide_up(bench->options.max_tokens, KV_BLOCK_TOKENS);
    bench->tables = calloc(bench->blocks, streams * sizeof *bench->tables);
    bench->tokens = calloc(bench->max_rows, sizeof *bench->tokens);
    bench->spans = calloc(streams, sizeof *bench->spans);
    bench->logit_rows = calloc(streams, sizeof *bench->logit_rows);
    bench->logits = calloc(vocabulary, streams * sizeof *bench->logits);
    if (bench->tables == NULL || bench->tokens == NULL || bench->spans == NULL ||
        bench->logit_rows == NULL || bench->logits == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for %zu streams of %zu tokens",
                         streams, bench->options.max_tokens);
    }
    for (size_t i = 0; i < bench->blocks * streams; i++) {
        bench->tables[i] = (uint32_t)i;
    }
    bench->layout = model_kv_layout(bench->model, bench->blocks * streams);
    bench->layout.element = bench->options.kv_element;
    return bench->backend->ops->kv_create(bench->backend, &bench->layout, &bench->kv, error);
}

bool engine_bench_create(const struct gguf *gguf, const struct engine_bench_options *options,
                         void (*progress)(void *context, double fraction), void *context,
                         struct engine_bench **out, struct error *error) {
    struct engine_bench *bench = calloc(1, sizeof *bench);
    if (bench == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the benchmark");
    }
    bench->gguf = gguf;
    bench->options = *options;
    bench->max_rows = size_max(options->prefill_chunk, options->max_streams);
    const struct model_options model = {.max_rows = bench->max_rows,
                                        .sequence_length = options->max_tokens,
                                        .progress = progress,
                                        .progress_context = context};
    if (!cpu_backend_create(&options->cpu, &bench->backend, error) ||
        !model_create(gguf, bench->backend, &model, &bench->model, error) ||
        !create_buffers(bench, error)) {
        engine_bench_free(bench);
        return false;
    }
    add_up_weights(bench);
    while (bench->backend->ops->prepare(bench->backend)) {
    }
    step(bench, 1, 0, 1); /* touches every weight */
    *out = bench;
    return true;
}

void engine_bench_free(struct engine_bench *bench) {
    if (bench == NULL) {
        return;
    }
    if (bench->kv != NULL) {
        bench->backend->ops->kv_free(bench->backend, bench->kv);
    }
    model_free(bench->model);
    if (bench->backend != NULL) {
        bench->backend->ops->free(bench->backend);
    }
    free(bench->tables);
    free(bench->tokens);
    free(bench->spans);
    free(bench->logit_rows);
    free(bench->logits);
    free(bench);
}

const char *engine_bench_kernels(const struct engine_bench *bench) {
    return bench->backend->kernels;
}
