/*
 * kernel_bench.c - every kernel by itself, beside what the machine can read and multiply.
 *
 * Usage: kernel_bench [--kernels NAME] [--threads N] [--megabytes N] [--rows N] [--only WORD]
 *
 * First the machine's own limits, measured here: bytes a second read from memory, 8-bit operations
 * a second in vector registers. Then, for each format, products with 1 and 16 rows, as when 1 and
 * 16 sequences decode, of matrices that have so many megabytes together (more than the caches
 * should hold), and with --rows of them (512), as when a prompt is read: the weights' bytes a
 * second as the file has them, operations a second (a multiplication and an addition are two), and
 * percent of the limits. Then attention over 8,192 and 32,768 tokens by a decoding row and by a
 * prompt's last 128 rows, and a token's sampling from 131,072 logits. --only leaves out the lines
 * without that word. Each product is timed by itself and the best counts: what else runs can only
 * slow one down.
 */
#include "backend/backend.h"
#include "base/arithmetic.h"
#include "base/bandwidth.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/processors.h"
#include "base/random.h"
#include "engine/sampler.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 4096, VOCABULARY = 131072, MAX_ROWS = 4096, PASSES = 5, MATRIX_BYTES = 8 << 20 };

struct settings {
    const char *kernels, *only;
    size_t threads, megabytes, rows;
};

struct bench {
    struct settings settings;
    struct backend *backend;
    double read_bytes;                   /* a second: the machine's limits */
    double operations, single_precision; /* a second */
    struct random_state random;
};

static void fail(const struct error *error) {
    fprintf(stderr, "kernel_bench: %s\n", error->message);
    exit(1);
}

static void *allocate(size_t bytes) {
    void *memory = calloc(1, bytes);
    if (memory == NULL) {
        fputs("kernel_bench: no memory\n", stderr);
        exit(1);
    }
    return memory;
}

static struct activation *create_activation(struct bench *bench, size_t rows, size_t columns) {
    struct activation *activation = NULL;
    struct error error = {0};
    if (!bench->backend->ops->activation_create(bench->backend, rows, columns, &activation,
                                                &error)) {
        fail(&error);
    }
    float *values = allocate(rows * columns * sizeof *values);
    for (size_t i = 0; i < rows * columns; i++) {
        values[i] = (float)random_uniform(&bench->random) - 0.5f;
    }
    bench->backend->ops->activation_write(bench->backend, activation, rows, values);
    free(values);
    return activation;
}

/* ---- products ---- */

static struct weight *random_weight(struct bench *bench, const struct quant_format *format,
                                    size_t rows) {
    size_t blocks = rows * (COLUMNS / format->block_values), bytes = blocks * format->block_bytes;
    uint8_t *data = allocate(bytes);
    for (size_t i = 0; i + 8 <= bytes; i += 8) {
        /* Small exponents wherever a scale may stand: no infinity, which would be slow. */
        uint64_t word = random_next(&bench->random) & UINT64_C(0x2f2f2f2f2f2f2f2f);
        memcpy(data + i, &word, sizeof word);
    }
    struct weight_source source = {format, data, rows, COLUMNS};
    struct weight *weight = NULL;
    struct error error = {0};
    if (!bench->backend->ops->weight_create(bench->backend, &source, WEIGHT_MATRIX, &weight,
                                            &error)) {
        fail(&error);
    }
    free(data);
    return weight;
}

static double time_product(struct bench *bench, const struct weight *weight,
                           const struct activation *x, struct activation *out, size_t rows) {
    const struct backend_ops *ops = bench->backend->ops;
    struct batch_span span = {0, rows, 0, NULL};
    struct batch batch = {.row_count = rows, .span_count = 1, .spans = &span};
    struct rope rope = {0, NULL, 1};
    struct matmul_target target = {.weight = weight, .out = out, .epilogue = MATMUL_STORE};
    int64_t start = clock_now_ns();
    ops->step_begin(bench->backend, &batch, &rope);
    ops->matmul(bench->backend, x, &target, 1);
    ops->step_end(bench->backend);
    return clock_seconds(clock_now_ns() - start);
}

/* `activations` rows with each of `count` matrices in turn, so that none is still in a cache. */
static void bench_products(struct bench *bench, const struct quant_format *format, size_t count,
                           size_t rows, size_t activations) {
    const struct backend_ops *ops = bench->backend->ops;
    struct weight **weights = allocate(count * sizeof(struct weight *));
    struct activation *x = create_activation(bench, activations, COLUMNS);
    struct activation *out = create_activation(bench, activations, rows);
    double best = INFINITY;
    for (size_t i = 0; i < count; i++) {
        weights[i] = random_weight(bench, format, rows);
    }
    size_t passes = count == 1 ? 16 * PASSES : PASSES;
    for (size_t pass = 0; pass < passes; pass++) {
        for (size_t i = 0; i < count; i++) {
            best = fmin(best, time_product(bench, weights[i], x, out, activations));
        }
    }
    size_t row_bytes = COLUMNS / format->block_values * format->block_bytes;
    double bytes = (double)(rows * row_bytes) / best;
    double operations = 2.0 * (double)(activations * rows * COLUMNS) / best;
    double limit = row_bytes >= COLUMNS * 2 ? bench->single_precision : bench->operations;
    printf("matmul %-6s %4zu rows %8.2f GB/s %4.0f %% of reading %9.1f GOP/s %4.0f %% of vectors\n",
           format->name, activations, bytes / 1e9, 100 * bytes / bench->read_bytes,
           operations / 1e9, 100 * operations / limit);
    fflush(stdout);
    for (size_t i = 0; i < count; i++) {
        ops->weight_free(bench->backend, weights[i]);
    }
    ops->activation_free(bench->backend, x);
    ops->activation_free(bench->backend, out);
    free(weights);
}

static void bench_format(struct bench *bench, enum tensor_type type) {
    const struct quant_format *format = quant_format_of(type);
    char name[64];
    snprintf(name, sizeof name, "matmul %s", format->name);
    if (bench->settings.only != NULL && strstr(name, bench->settings.only) == NULL) {
        return;
    }
    size_t row_bytes = COLUMNS / format->block_values * format->block_bytes;
    size_t rows = MATRIX_BYTES / row_bytes / 16 * 16;
    size_t count = size_max(1, (bench->settings.megabytes << 20) / MATRIX_BYTES);
    bench_products(bench, format, count, rows, 1);
    bench_products(bench, format, count, rows, 16);
    bench_products(bench, format, 1, 512, bench->settings.rows);
}

/* ---- attention ---- */

enum { HEADS = 32, KV_HEADS = 8, HEAD_DIM = 128, PROMPT_ROWS = 128 };

/* The last `rows` of a context of `tokens`, whose cache is zeros: speed does not depend on it. */
static void bench_attention(struct bench *bench, enum kv_element element, size_t tokens,
                            size_t rows) {
    const struct backend_ops *ops = bench->backend->ops;
    char name[64];
    snprintf(name, sizeof name, "attention %s", kv_element_name(element));
    if (bench->settings.only != NULL && strstr(name, bench->settings.only) == NULL) {
        return;
    }
    size_t blocks = size_divide_up(tokens, KV_BLOCK_TOKENS), block_bytes = 0;
    struct kv_layout layout = {blocks, 1, KV_HEADS, HEAD_DIM, element, false};
    struct kv_cache *kv = NULL;
    struct error error = {0};
    struct activation *q = create_activation(bench, rows, (size_t)HEADS * HEAD_DIM);
    struct activation *k = create_activation(bench, rows, (size_t)KV_HEADS * HEAD_DIM);
    struct activation *out = create_activation(bench, rows, (size_t)HEADS * HEAD_DIM);
    uint32_t *table = allocate(blocks * sizeof *table);
    if (!kv_block_bytes(&layout, &block_bytes) ||
        !ops->kv_create(bench->backend, &layout, &kv, &error)) {
        fail(&error);
    }
    for (size_t i = 0; i < blocks; i++) {
        table[i] = (uint32_t)i;
    }
    float frequencies[HEAD_DIM / 2] = {0};
    struct rope rope = {HEAD_DIM / 2, frequencies, 1};
    struct attention_shape shape = {HEADS, KV_HEADS, HEAD_DIM, 0.088f, 0};
    double best = INFINITY;
    for (size_t at = 0; at < tokens; at += rows) { /* touches the cache's pages */
        struct batch_span span = {0, size_min(rows, tokens - at), at, table};
        struct batch batch = {.row_count = span.row_count, .span_count = 1, .spans = &span};
        ops->step_begin(bench->backend, &batch, &rope);
        ops->rope_store(bench->backend, q, k, k, HEADS, kv, 0);
        ops->step_end(bench->backend);
    }
    struct batch_span span = {0, rows, tokens - rows, table};
    struct batch batch = {.row_count = rows, .span_count = 1, .spans = &span};
    for (size_t pass = 0; pass < PASSES; pass++) {
        ops->step_begin(bench->backend, &batch, &rope);
        int64_t start = clock_now_ns();
        ops->attention(bench->backend, q, kv, 0, &shape, out);
        best = fmin(best, clock_seconds(clock_now_ns() - start));
        ops->step_end(bench->backend);
    }
    double bytes = (double)(blocks * block_bytes) / best;
    double operations = 4.0 * (double)(rows * tokens) * HEADS * HEAD_DIM / best;
    printf("%-14s %4zu rows after %5zu %8.2f GB/s %4.0f %% of reading %9.1f GOP/s %4.0f %% of f32 "
           "vectors\n",
           name, rows, tokens - rows, bytes / 1e9, 100 * bytes / bench->read_bytes,
           operations / 1e9, 100 * operations / bench->single_precision);
    fflush(stdout);
    ops->kv_free(bench->backend, kv);
    ops->activation_free(bench->backend, q);
    ops->activation_free(bench->backend, k);
    ops->activation_free(bench->backend, out);
    free(table);
}

/* ---- sampling ---- */

static void bench_sampling(struct bench *bench, const char *what, struct sampling_params params) {
    if (bench->settings.only != NULL && strstr("sampling", bench->settings.only) == NULL) {
        return;
    }
    struct sampler *sampler = NULL;
    struct error error = {0};
    if (!sampler_create(&params, VOCABULARY, &sampler, &error)) {
        fail(&error);
    }
    float *logits = allocate(VOCABULARY * sizeof *logits);
    for (size_t i = 0; i < VOCABULARY; i++) { /* a sum of uniforms, about as wide as a model's */
        logits[i] = 0;
        for (int j = 0; j < 6; j++) {
            logits[i] += 3 * ((float)random_uniform(&bench->random) - 0.5f);
        }
    }
    double best = INFINITY;
    for (size_t pass = 0; pass < 20; pass++) {
        int64_t start = clock_now_ns();
        sampler_accept(sampler, sampler_sample(sampler, logits));
        best = fmin(best, clock_seconds(clock_now_ns() - start));
    }
    printf("sampling from %d, %-28s %7.0f us a token\n", VOCABULARY, what, best * 1e6);
    sampler_free(sampler);
    free(logits);
}

static void bench_samplings(struct bench *bench) {
    struct sampling_params params = sampling_params_default();
    params.temperature = 0;
    bench_sampling(bench, "greedy", params);
    params.temperature = 0.8f;
    bench_sampling(bench, "temperature", params);
    params.top_p = 0.95f;
    bench_sampling(bench, "top-p", params);
    params.top_k = 40;
    params.min_p = 0.05f;
    params.repeat_penalty = 1.1f;
    bench_sampling(bench, "top-k, top-p, min-p, penalty", params);
}

/* ---- the program ---- */

static bool parse(int argc, char **argv, struct settings *s) {
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *value = argv[i + 1];
        if (strcmp(argv[i], "--kernels") == 0) {
            s->kernels = value;
        } else if (strcmp(argv[i], "--only") == 0) {
            s->only = value;
        } else if (strcmp(argv[i], "--threads") == 0) {
            s->threads = strtoul(value, NULL, 10);
        } else if (strcmp(argv[i], "--megabytes") == 0) {
            s->megabytes = strtoul(value, NULL, 10);
        } else if (strcmp(argv[i], "--rows") == 0) {
            s->rows = strtoul(value, NULL, 10);
        } else {
            return false;
        }
    }
    return argc % 2 == 1 && s->threads >= 1 && s->megabytes >= 1 && s->megabytes <= 65536 &&
           s->rows >= 1 && s->rows <= MAX_ROWS;
}

static void measure_limits(struct bench *bench) {
    struct error error = {0};
    struct arithmetic arithmetic;
    size_t threads = bench->settings.threads;
    if (!bandwidth_measure(threads, (size_t)1 << 30, 1, &bench->read_bytes, &error) ||
        !arithmetic_measure(threads, 0.5, &arithmetic, &error)) {
        fail(&error);
    }
    bench->operations = arithmetic.int8_operations;
    bench->single_precision = arithmetic.f32_operations;
    printf("%zu threads read %.2f GB/s; 8-bit vectors %.0f GOP/s (%s), f32 %.0f GOP/s (%s)\n",
           threads, bench->read_bytes / 1e9, bench->operations / 1e9, arithmetic.int8_instructions,
           bench->single_precision / 1e9, arithmetic.f32_instructions);
}

int main(int argc, char **argv) {
    struct bench bench = {
        .settings = {.threads = processors_physical(), .megabytes = 256, .rows = 512}};
    struct error error = {0};
    if (!parse(argc, argv, &bench.settings)) {
        fputs("usage: kernel_bench [--kernels NAME] [--threads N] [--megabytes N] [--rows N] "
              "[--only WORD]\n",
              stderr);
        return 2;
    }
    random_seed(&bench.random, 1);
    struct cpu_backend_options options = {.thread_count = bench.settings.threads,
                                          .kernels = bench.settings.kernels};
    if (!cpu_backend_create(&options, &bench.backend, &error)) {
        fail(&error);
    }
    measure_limits(&bench);
    printf("kernels %s\n", bench.backend->kernels);
    static const enum tensor_type types[] = {
        TENSOR_F32,  TENSOR_F16,  TENSOR_BF16, TENSOR_Q4_0, TENSOR_Q4_1, TENSOR_Q5_0, TENSOR_Q5_1,
        TENSOR_Q8_0, TENSOR_Q2_K, TENSOR_Q3_K, TENSOR_Q4_K, TENSOR_Q5_K, TENSOR_Q6_K};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        bench_format(&bench, types[i]);
    }
    static const enum kv_element elements[] = {KV_ELEMENT_F16, KV_ELEMENT_Q8_0};
    for (size_t i = 0; i < 4; i++) {
        bench_attention(&bench, elements[i % 2], i < 2 ? 8192 : 32768, 1);
        bench_attention(&bench, elements[i % 2], i < 2 ? 8192 : 32768, PROMPT_ROWS);
    }
    bench_samplings(&bench);
    bench.backend->ops->free(bench.backend);
    return 0;
}
