/* kernel_bench.c - see kernel_bench.h. */
#include "bench/kernel_bench.h"

#include "base/bytes.h"
#include "base/random.h"
#include "engine/sampler.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_EXPERTS = 128 };

/* The sizes of a 7B model's parts, more than the caches hold; or of hardly anything. */
struct sizes {
    size_t columns, matrix_bytes, prompt_rows, most_matrix_rows_of_a_prompt;
    size_t context, long_context, attention_rows, vocabulary;
    size_t most_experts, most_expert_columns; /* of a layer */
};

static const struct sizes large_sizes = {4096,   (size_t)256 << 20, 512,     4096, 8192, 32768, 128,
                                         131072, MOST_EXPERTS,      SIZE_MAX};
static const struct sizes small_sizes = {1024, (size_t)64 << 10, 64, 64, 256, 1024, 16, 32768, 8,
                                         256};

enum { HEADS = 32, KV_HEADS = 8, HEAD_DIM = 128, MATRIX_ROWS_MULTIPLE = 16, DECODE_ROWS = 16 };

static const enum tensor_type formats[] = {
    TENSOR_F32,  TENSOR_F16,  TENSOR_BF16, TENSOR_Q4_0, TENSOR_Q4_1, TENSOR_Q5_0, TENSOR_Q5_1,
    TENSOR_Q8_0, TENSOR_Q2_K, TENSOR_Q3_K, TENSOR_Q4_K, TENSOR_Q5_K, TENSOR_Q6_K};

/* Layers of Qwen3-30B-A3B and gpt-oss-20b; of fewer and smaller experts when sizes are small. */
static const struct {
    enum tensor_type type;
    size_t count, used, width, length;
} expert_layers[] = {{TENSOR_Q4_K, 128, 8, 2048, 768}, {TENSOR_Q4_0, 32, 4, 2880, 2880}};

static const enum kv_element elements[] = {KV_ELEMENT_F16, KV_ELEMENT_Q8_0};

static const struct {
    const char *name;
    float temperature, top_p, min_p, repeat_penalty;
    int32_t top_k;
} samplings[] = {
    {"greedy", 0, 1, 0, 1, 0},
    {"temperature", 0.8F, 1, 0, 1, 0},
    {"top-p", 0.8F, 0.95F, 0, 1, 0},
    {"top-k, top-p, min-p, penalty", 0.8F, 0.95F, 0.05F, 1.1F, 40},
};

enum {
    FORMAT_COUNT = sizeof formats / sizeof formats[0],
    ROW_COUNTS = 3, /* 1, DECODE_ROWS, the sizes' prompt_rows */
    MATMUL_CASES = FORMAT_COUNT * ROW_COUNTS,
    ELEMENT_COUNT = sizeof elements / sizeof elements[0],
    ATTENTION_CASES = ELEMENT_COUNT * 4, /* two contexts, one row and many */
    EXPERT_CASES = sizeof expert_layers / sizeof expert_layers[0] * ROW_COUNTS,
    ROUTERS = 16, /* a layer's calls use other experts each time, from memory and not from caches */
    SAMPLING_CASES = sizeof samplings / sizeof samplings[0],
};

struct kernel_bench {
    struct sizes sizes;
    struct backend *backend;
    struct random_state random;
    /* The case that was prepared; what it does not use is NULL. */
    void (*call)(struct kernel_bench *bench);
    struct weight *weights[3]; /* one matrix, or experts' gate, up and down */
    uint8_t *data[3];          /* what the weights were made of */
    struct activation *x, *k, *out;
    struct activation *routers[ROUTERS];
    size_t call_count; /* of the case */
    struct expert_layer layer;
    struct kv_cache *kv;
    uint32_t *table;
    struct sampler *sampler;
    float *logits;
    struct batch_span span;
    struct batch batch;
    struct attention_shape shape;
};

/* --- cases by number --- */

struct matmul_case {
    const struct quant_format *format;
    size_t rows; /* of activations */
};

static struct matmul_case matmul_case_of(const struct kernel_bench *bench, size_t index) {
    const size_t rows[ROW_COUNTS] = {1, DECODE_ROWS, bench->sizes.prompt_rows};
    return (struct matmul_case){quant_format_of(formats[index / ROW_COUNTS]),
                                rows[index % ROW_COUNTS]};
}

struct attention_case {
    enum kv_element element;
    size_t tokens; /* of the context, the rows included */
    size_t rows;
};

static struct attention_case attention_case_of(const struct kernel_bench *bench, size_t index) {
    return (struct attention_case){
        elements[index / 4], index / 2 % 2 == 0 ? bench->sizes.context : bench->sizes.long_context,
        index % 2 == 0 ? 1 : bench->sizes.attention_rows};
}

/* --- data --- */

static void free_activation(struct kernel_bench *bench, struct activation **activation) {
    if (*activation != NULL) {
        bench->backend->ops->activation_free(bench->backend, *activation);
        *activation = NULL;
    }
}

static void release(struct kernel_bench *bench) {
    const struct backend_ops *ops = bench->backend->ops;
    free_activation(bench, &bench->x);
    free_activation(bench, &bench->k);
    free_activation(bench, &bench->out);
    for (size_t i = 0; i < ROUTERS; i++) {
        free_activation(bench, &bench->routers[i]);
    }
    for (size_t i = 0; i < 3; i++) {
        if (bench->weights[i] != NULL) {
            ops->weight_free(bench->backend, bench->weights[i]);
        }
        free(bench->data[i]);
        bench->weights[i] = NULL;
        bench->data[i] = NULL;
    }
    if (bench->kv != NULL) {
        ops->kv_free(bench->backend, bench->kv);
    }
    sampler_free(bench->sampler);
    free(bench->table);
    free(bench->logits);
    bench->kv = NULL;
    bench->sampler = NULL;
    bench->table = NULL;
    bench->logits = NULL;
    bench->call_count = 0;
}

static bool out_of_memory(struct error *error) {
    return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the benchmark's data");
}

static bool create_activation(struct kernel_bench *bench, size_t rows, size_t columns,
                              struct activation **out, struct error *error) {
    float *values = calloc(rows, columns * sizeof *values);
    if (values == NULL) {
        return out_of_memory(error);
    }
    bool done = bench->backend->ops->activation_create(bench->backend, rows, columns, out, error);
    if (done) {
        for (size_t i = 0; i < rows * columns; i++) {
            values[i] = (float)random_uniform(&bench->random) - 0.5F;
        }
        bench->backend->ops->activation_write(bench->backend, *out, rows, values);
    }
    free(values);
    return done;
}

/* Bits that keep elements which are floats from being subnormal, which would be slow too. */
static uint64_t least_exponents(const struct quant_format *format) {
    if (format->block_values > 1) {
        return 0;
    }
    return format->block_bytes == 4 ? UINT64_C(0x2000000020000000) : UINT64_C(0x2000200020002000);
}

static uint8_t *random_matrices(struct kernel_bench *bench, const struct quant_format *format,
                                size_t bytes) {
    uint8_t *data = malloc(bytes);
    for (size_t i = 0; data != NULL && i + 8 <= bytes; i += 8) {
        /* Small exponents wherever a scale may stand: no infinity, which would be slow. */
        uint64_t word = random_next(&bench->random) & UINT64_C(0x2f2f2f2f2f2f2f2f);
        word |= least_exponents(format);
        memcpy(data + i, &word, sizeof word);
    }
    return data;
}

/* Weight number `slot`: a matrix, or with a `count` a stack of so many. */
static bool create_weight(struct kernel_bench *bench, size_t slot, struct weight_source source,
                          size_t count, struct error *error) {
    size_t bytes =
        source.rows * (source.columns / source.format->block_values) * source.format->block_bytes;
    const void *stack[MOST_EXPERTS];
    /* The weight may use them where they stand. */
    uint8_t *data = random_matrices(bench, source.format, bytes * size_max(count, 1));
    bench->data[slot] = data;
    if (data == NULL) {
        return out_of_memory(error);
    }
    for (size_t i = 0; i < count; i++) {
        stack[i] = data + i * bytes;
    }
    source.data = data;
    source.stack_count = count;
    source.stack = stack;
    if (!bench->backend->ops->weight_create(bench->backend, &source,
                                            count == 0 ? WEIGHT_MATRIX : WEIGHT_EXPERTS,
                                            &bench->weights[slot], error)) {
        return false;
    }
    while (bench->backend->ops->prepare(bench->backend)) {
    }
    return true;
}

/* --- products --- */

static void call_matmul(struct kernel_bench *bench) {
    const struct backend_ops *ops = bench->backend->ops;
    const struct matmul_target target = {
        .weight = bench->weights[0], .out = bench->out, .epilogue = MATMUL_STORE};
    ops->step_begin(bench->backend, &bench->batch, NULL, 0);
    ops->matmul(bench->backend, bench->x, &target, 1);
    ops->step_end(bench->backend);
}

static bool prepare_matmul(struct kernel_bench *bench, size_t index, struct kernel_bench_work *work,
                           struct error *error) {
    const struct matmul_case c = matmul_case_of(bench, index);
    const struct sizes *sizes = &bench->sizes;
    size_t row_bytes = sizes->columns / c.format->block_values * c.format->block_bytes;
    size_t rows = sizes->matrix_bytes / row_bytes / MATRIX_ROWS_MULTIPLE * MATRIX_ROWS_MULTIPLE;
    if (c.rows == sizes->prompt_rows) { /* bound by arithmetic: a part of the matrix is enough */
        rows = size_min(rows, sizes->most_matrix_rows_of_a_prompt);
    }
    bench->call = call_matmul;
    bench->span = (struct batch_span){0, c.rows, 0, NULL};
    *work = (struct kernel_bench_work){.bytes = (double)(rows * row_bytes),
                                       .operations = 2.0 * (double)(c.rows * rows * sizes->columns),
                                       .is_integer = c.format->block_values > 1};
    const struct weight_source source = {
        .format = c.format, .rows = rows, .columns = sizes->columns};
    return create_weight(bench, 0, source, 0, error) &&
           create_activation(bench, c.rows, sizes->columns, &bench->x, error) &&
           create_activation(bench, c.rows, rows, &bench->out, error);
}

/* --- experts --- */

struct expert_case {
    const struct quant_format *format;
    size_t count, used, width, length, rows;
};

static struct expert_case expert_case_of(const struct kernel_bench *bench, size_t index) {
    const size_t rows[ROW_COUNTS] = {1, DECODE_ROWS, bench->sizes.prompt_rows};
    const struct sizes *sizes = &bench->sizes;
    size_t layer = index / ROW_COUNTS;
    size_t count = size_min(expert_layers[layer].count, sizes->most_experts);
    return (struct expert_case){quant_format_of(expert_layers[layer].type),
                                count,
                                size_min(expert_layers[layer].used, count / 2),
                                size_min(expert_layers[layer].width, sizes->most_expert_columns),
                                size_min(expert_layers[layer].length, sizes->most_expert_columns),
                                rows[index % ROW_COUNTS]};
}

static void call_experts(struct kernel_bench *bench) {
    const struct backend_ops *ops = bench->backend->ops;
    ops->step_begin(bench->backend, &bench->batch, NULL, 0);
    ops->experts(bench->backend, bench->x, bench->routers[bench->call_count++ % ROUTERS],
                 &bench->layer, true, bench->out);
    ops->step_end(bench->backend);
}

/* Logits with which each row chooses any `used` of the experts. Returns how many rows' experts are
 * different ones. */
static size_t draw_experts(struct kernel_bench *bench, const struct expert_case *c, float *logits) {
    size_t count = c->count, different = 0;
    bool is_used[MOST_EXPERTS] = {false};
    for (size_t row = 0; row < c->rows; row++, logits += count) {
        for (size_t i = 0; i < c->used;) {
            size_t expert = random_next(&bench->random) % count;
            if (logits[expert] == 0) {
                logits[expert] = 1 + (float)random_uniform(&bench->random);
                different += !is_used[expert];
                is_used[expert] = true;
                i++;
            }
        }
    }
    return different;
}

/* *experts: how many a call reads, on average. */
static bool create_routers(struct kernel_bench *bench, const struct expert_case *c, double *experts,
                           struct error *error) {
    size_t count = c->count;
    *experts = 0;
    for (size_t i = 0; i < ROUTERS; i++) {
        float *logits = calloc(c->rows * count, sizeof *logits);
        if (logits == NULL ||
            !create_activation(bench, c->rows, count, &bench->routers[i], error)) {
            free(logits);
            return logits != NULL || out_of_memory(error);
        }
        *experts += (double)draw_experts(bench, c, logits) / ROUTERS;
        bench->backend->ops->activation_write(bench->backend, bench->routers[i], c->rows, logits);
        free(logits);
    }
    return true;
}

static bool prepare_experts(struct kernel_bench *bench, size_t index,
                            struct kernel_bench_work *work, struct error *error) {
    const struct expert_case c = expert_case_of(bench, index);
    size_t count = c.count;
    const struct weight_source first = {.format = c.format, .rows = c.length, .columns = c.width};
    const struct weight_source second = {.format = c.format, .rows = c.width, .columns = c.length};
    const struct scratch_shape shape = {.max_rows = c.rows,
                                        .expert_count = count,
                                        .used_experts = c.used,
                                        .expert_length = c.length,
                                        .expert_width = c.width};
    double experts = 0, values = 3.0 * (double)(c.width * c.length);
    if (!create_weight(bench, 0, first, count, error) ||
        !create_weight(bench, 1, first, count, error) ||
        !create_weight(bench, 2, second, count, error) ||
        !create_routers(bench, &c, &experts, error) ||
        !create_activation(bench, c.rows, c.width, &bench->x, error) ||
        !create_activation(bench, c.rows, c.width, &bench->out, error) ||
        !bench->backend->ops->experts_reserve(bench->backend, &shape, error)) {
        return false;
    }
    bench->layer = (struct expert_layer){
        .choice = {.expert_count = count, .used_count = c.used, .normalise = true, .scale = 1},
        .gate = bench->weights[0],
        .up = bench->weights[1],
        .down = bench->weights[2]};
    bench->call = call_experts;
    bench->span = (struct batch_span){0, c.rows, 0, NULL};
    *work = (struct kernel_bench_work){.bytes = experts * values / (double)c.format->block_values *
                                                (double)c.format->block_bytes,
                                       .operations = 2.0 * (double)(c.rows * c.used) * values,
                                       .is_integer = true};
    return true;
}

/* --- attention --- */

static void call_attention(struct kernel_bench *bench) {
    bench->backend->ops->step_begin(bench->backend, &bench->batch, NULL, 0);
    bench->backend->ops->attention(bench->backend, bench->x, bench->kv, 0, &bench->shape,
                                   bench->out);
    bench->backend->ops->step_end(bench->backend);
}

/* Writes the whole context, so that its pages are there. */
static void fill_context(struct kernel_bench *bench, size_t tokens, size_t rows) {
    const struct backend_ops *ops = bench->backend->ops;
    const struct attention_input input = {
        .q = bench->x, .k = bench->k, .v = bench->k, .head_count = HEADS};
    for (size_t at = 0; at < tokens; at += rows) {
        const struct batch_span span = {0, size_min(rows, tokens - at), at, bench->table};
        const struct batch batch = {.row_count = span.row_count, .span_count = 1, .spans = &span};
        ops->step_begin(bench->backend, &batch, NULL, 0);
        ops->attention_input(bench->backend, &input, bench->kv, 0);
        ops->step_end(bench->backend);
    }
}

static bool prepare_attention(struct kernel_bench *bench, size_t index,
                              struct kernel_bench_work *work, struct error *error) {
    const struct attention_case c = attention_case_of(bench, index);
    size_t blocks = size_divide_up(c.tokens, KV_BLOCK_TOKENS), block_bytes = 0;
    const struct kv_layer layer = {KV_HEADS, HEAD_DIM, HEAD_DIM, false};
    const struct kv_layout layout = {1, &layer, blocks, c.element, false};
    bench->table = calloc(blocks, sizeof *bench->table);
    if (bench->table == NULL) {
        return out_of_memory(error);
    }
    for (size_t i = 0; i < blocks; i++) {
        bench->table[i] = (uint32_t)i;
    }
    if (!create_activation(bench, c.rows, (size_t)HEADS * HEAD_DIM, &bench->x, error) ||
        !create_activation(bench, c.rows, (size_t)KV_HEADS * HEAD_DIM, &bench->k, error) ||
        !create_activation(bench, c.rows, (size_t)HEADS * HEAD_DIM, &bench->out, error) ||
        !kv_block_bytes(&layout, &block_bytes) ||
        !bench->backend->ops->kv_create(bench->backend, &layout, &bench->kv, error)) {
        return false;
    }
    fill_context(bench, c.tokens, c.rows);
    bench->call = call_attention;
    bench->span = (struct batch_span){0, c.rows, c.tokens - c.rows, bench->table};
    bench->shape = (struct attention_shape){.head_count = HEADS,
                                            .kv_head_count = KV_HEADS,
                                            .key_dim = HEAD_DIM,
                                            .value_dim = HEAD_DIM,
                                            .scale = 0.088F};
    double seen = (double)c.tokens - (double)(c.rows - 1) / 2; /* keys of a row, on average */
    *work = (struct kernel_bench_work){.bytes = (double)(blocks * block_bytes),
                                       .operations = 4.0 * (double)c.rows * seen *
                                                     (double)(HEADS * HEAD_DIM)};
    return true;
}

/* --- sampling --- */

static void call_sampling(struct kernel_bench *bench) {
    sampler_accept(bench->sampler, sampler_sample(bench->sampler, bench->logits));
}

static bool prepare_sampling(struct kernel_bench *bench, size_t index,
                             struct kernel_bench_work *work, struct error *error) {
    size_t vocabulary = bench->sizes.vocabulary;
    struct sampling_params params = sampling_params_default();
    params.temperature = samplings[index].temperature;
    params.top_k = samplings[index].top_k;
    params.top_p = samplings[index].top_p;
    params.min_p = samplings[index].min_p;
    params.repeat_penalty = samplings[index].repeat_penalty;
    params.seed = 1;
    bench->logits = calloc(vocabulary, sizeof *bench->logits);
    if (bench->logits == NULL) {
        return out_of_memory(error);
    }
    for (size_t i = 0; i < vocabulary; i++) { /* a sum of uniforms, about as wide as a model's */
        for (int j = 0; j < 6; j++) {
            bench->logits[i] += 3 * ((float)random_uniform(&bench->random) - 0.5F);
        }
    }
    bench->call = call_sampling;
    *work = (struct kernel_bench_work){.bytes = (double)(vocabulary * sizeof *bench->logits)};
    return sampler_create(&params, vocabulary, &bench->sampler, error);
}

/* --- the kinds of cases --- */

static void name_matmul(const struct kernel_bench *bench, size_t index, char *name, size_t size) {
    const struct matmul_case c = matmul_case_of(bench, index);
    snprintf(name, size, "matmul %s x %zu", c.format->name, c.rows);
}

static void name_experts(const struct kernel_bench *bench, size_t index, char *name, size_t size) {
    const struct expert_case c = expert_case_of(bench, index);
    snprintf(name, size, "experts %s x %zu", c.format->name, c.rows);
}

static void name_attention(const struct kernel_bench *bench, size_t index, char *name,
                           size_t size) {
    const struct attention_case c = attention_case_of(bench, index);
    snprintf(name, size, "attention %s x %zu after %zu", kv_element_name(c.element), c.rows,
             c.tokens - c.rows);
}

static void name_sampling(const struct kernel_bench *bench, size_t index, char *name, size_t size) {
    (void)bench;
    snprintf(name, size, "sampling %s", samplings[index].name);
}

static const struct kind {
    size_t count;
    void (*name)(const struct kernel_bench *bench, size_t index, char *name, size_t size);
    bool (*prepare)(struct kernel_bench *bench, size_t index, struct kernel_bench_work *work,
                    struct error *error);
} kinds[] = {
    {MATMUL_CASES, name_matmul, prepare_matmul},
    {EXPERT_CASES, name_experts, prepare_experts},
    {ATTENTION_CASES, name_attention, prepare_attention},
    {SAMPLING_CASES, name_sampling, prepare_sampling},
};

/* A case's kind; *index becomes its number among these. */
static const struct kind *kind_of(size_t *index) {
    const struct kind *kind = kinds;
    while (*index >= kind->count) {
        *index -= kind->count;
        kind++;
    }
    return kind;
}

size_t kernel_bench_count(void) {
    return MATMUL_CASES + EXPERT_CASES + ATTENTION_CASES + SAMPLING_CASES;
}

void kernel_bench_name(const struct kernel_bench *bench, size_t index, char *name, size_t size) {
    const struct kind *kind = kind_of(&index);
    kind->name(bench, index, name, size);
}

/* --- life --- */

bool kernel_bench_prepare(struct kernel_bench *bench, size_t index, struct kernel_bench_work *work,
                          struct error *error) {
    release(bench);
    random_seed(&bench->random, index + 1);
    const struct kind *kind = kind_of(&index);
    bool done = kind->prepare(bench, index, work, error);
    bench->batch =
        (struct batch){.row_count = bench->span.row_count, .span_count = 1, .spans = &bench->span};
    return done;
}

__attribute__((noinline)) void kernel_bench_call(struct kernel_bench *bench) {
    bench->call(bench);
}

bool kernel_bench_create(const struct kernel_bench_options *options, struct kernel_bench **out,
                         struct error *error) {
    struct kernel_bench *bench = calloc(1, sizeof *bench);
    if (bench == NULL) {
        return out_of_memory(error);
    }
    bench->sizes = options->small ? small_sizes : large_sizes;
    if (!cpu_backend_create(&options->cpu, &bench->backend, error)) {
        free(bench);
        return false;
    }
    *out = bench;
    return true;
}

void kernel_bench_free(struct kernel_bench *bench) {
    if (bench == NULL) {
        return;
    }
    release(bench);
    bench->backend->ops->free(bench->backend);
    free(bench);
}

const char *kernel_bench_kernels(const struct kernel_bench *bench) {
    return bench->backend->kernels;
}
