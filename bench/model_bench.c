/*
 * model_bench.c - prompt and decode speed of a model file, without server or tokenizer.
 *
 * Usage: model_bench MODEL [--threads N] [--prompt N] [--generate N] [--depth N] [--streams N]
 *                    [--repeat N] [--kernels NAME]
 * Prints, for each repetition and as medians, tokens per second: reading a prompt of N tokens in
 * chunks of 512, and generating N tokens for each of N streams after `depth` tokens of context
 * (written without being timed). Tokens are arbitrary: speed depends on shapes, not on values.
 */
#include "backend/backend.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/processors.h"
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 512, MAX_REPEATS = 101 };

struct settings {
    size_t threads, prompt, generate, depth, streams, repeat;
    const char *kernels;
};

struct bench {
    struct settings settings;
    struct gguf *gguf;
    struct backend *backend;
    struct model *model;
    struct kv_cache *kv;
    uint32_t *tables; /* [streams][blocks] */
    size_t blocks;    /* of one stream */
    float *logits;
};

static void step(struct bench *bench, size_t streams, size_t position, size_t rows) {
    static int32_t tokens[8192];
    static uint32_t logit_rows[1024];
    static struct batch_span spans[1024];
    size_t vocabulary = model_hyperparameters(bench->model)->vocabulary_size;
    for (size_t s = 0; s < streams; s++) {
        spans[s] = (struct batch_span){s * rows, rows, position, bench->tables + s * bench->blocks};
        logit_rows[s] = (uint32_t)((s + 1) * rows - 1);
        for (size_t i = 0; i < rows; i++) {
            tokens[s * rows + i] = (int32_t)((position + i + s) * 7919 % vocabulary);
        }
    }
    struct batch batch = {streams * rows, tokens, streams, spans, streams, logit_rows};
    model_forward(bench->model, &batch, bench->kv, bench->logits, NULL, 0);
}

static void read_prompt(struct bench *bench, size_t stream_count, size_t length) {
    size_t chunk = size_max(1, CHUNK / stream_count);
    for (size_t at = 0; at < length; at += chunk) {
        step(bench, stream_count, at, size_min(chunk, length - at));
    }
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const char *what, size_t tokens, double *seconds, size_t repeat) {
    qsort(seconds, repeat, sizeof *seconds, compare);
    printf("%-24s %10.2f tokens/s (median of %zu; %.2f to %.2f)\n", what,
           (double)tokens / seconds[repeat / 2], repeat, (double)tokens / seconds[repeat - 1],
           (double)tokens / seconds[0]);
}

static void run(struct bench *bench) {
    const struct settings *s = &bench->settings;
    double seconds[MAX_REPEATS];
    char what[64];
    step(bench, 1, 0, 1); /* touches every weight once */
    if (s->prompt > 0) {
        for (size_t r = 0; r < s->repeat; r++) {
            int64_t start = clock_now_ns();
            read_prompt(bench, 1, s->prompt);
            seconds[r] = clock_seconds(clock_now_ns() - start);
        }
        snprintf(what, sizeof what, "prompt %zu", s->prompt);
        report(what, s->prompt, seconds, s->repeat);
    }
    if (s->generate > 0) {
        read_prompt(bench, s->streams, s->depth);
        for (size_t r = 0; r < s->repeat; r++) {
            int64_t start = clock_now_ns();
            for (size_t i = 0; i < s->generate; i++) {
                step(bench, s->streams, s->depth + i, 1);
            }
            seconds[r] = clock_seconds(clock_now_ns() - start);
        }
        snprintf(what, sizeof what, "generate %zu x %zu @ %zu", s->generate, s->streams, s->depth);
        report(what, s->generate * s->streams, seconds, s->repeat);
    }
}

static bool open_model(struct bench *bench, const char *path, struct error *error) {
    const struct settings *s = &bench->settings;
    struct cpu_backend_options cpu = {.thread_count = s->threads, .kernels = s->kernels};
    int64_t start = clock_now_ns();
    if (!gguf_open(path, &bench->gguf, error) ||
        !cpu_backend_create(&cpu, &bench->backend, error) ||
        !model_create(bench->gguf, bench->backend, CHUNK + s->streams, NULL, NULL, &bench->model,
                      error)) {
        return false;
    }
    bench->blocks = size_divide_up(size_max(s->prompt, s->depth + s->generate), KV_BLOCK_TOKENS);
    struct kv_layout layout = model_kv_layout(bench->model, bench->blocks * s->streams);
    size_t vocabulary = model_hyperparameters(bench->model)->vocabulary_size;
    bench->tables = calloc(bench->blocks * s->streams, sizeof *bench->tables);
    bench->logits = calloc(vocabulary * s->streams, sizeof *bench->logits);
    if (bench->tables == NULL || bench->logits == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory");
    }
    for (size_t i = 0; i < bench->blocks * s->streams; i++) {
        bench->tables[i] = (uint32_t)i;
    }
    printf("%s: loaded in %.2f s; kernels %s, %zu threads\n", path,
           clock_seconds(clock_now_ns() - start), bench->backend->kernels, s->threads);
    return bench->backend->ops->kv_create(bench->backend, &layout, &bench->kv, error);
}

static bool parse(int argc, char **argv, struct settings *s) {
    const struct {
        const char *flag;
        size_t *value;
    } rows[] = {{"--threads", &s->threads},   {"--prompt", &s->prompt},
                {"--generate", &s->generate}, {"--depth", &s->depth},
                {"--streams", &s->streams},   {"--repeat", &s->repeat}};
    for (int i = 2; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--kernels") == 0) {
            s->kernels = argv[i + 1];
            continue;
        }
        size_t row = 0;
        while (row < sizeof rows / sizeof rows[0] && strcmp(argv[i], rows[row].flag) != 0) {
            row++;
        }
        if (row == sizeof rows / sizeof rows[0]) {
            return false;
        }
        *rows[row].value = strtoul(argv[i + 1], NULL, 10);
    }
    return argc >= 2 && argc % 2 == 0 && s->streams >= 1 && s->streams <= 1024 && s->repeat >= 1 &&
           s->repeat <= MAX_REPEATS;
}

int main(int argc, char **argv) {
    struct bench bench = {.settings = {.threads = processors_physical(),
                                       .prompt = 512,
                                       .generate = 64,
                                       .streams = 1,
                                       .repeat = 5}};
    struct error error = {0};
    if (!parse(argc, argv, &bench.settings)) {
        fputs("usage: model_bench MODEL [--threads N] [--prompt N] [--generate N] [--depth N] "
              "[--streams N] [--repeat N] [--kernels NAME]\n",
              stderr);
        return 2;
    }
    bool done = open_model(&bench, argv[1], &error);
    if (done) {
        run(&bench);
    } else {
        fprintf(stderr, "model_bench: %s\n", error.message);
    }
    if (bench.kv != NULL) {
        bench.backend->ops->kv_free(bench.backend, bench.kv);
    }
    model_free(bench.model);
    if (bench.backend != NULL) {
        bench.backend->ops->free(bench.backend);
    }
    gguf_close(bench.gguf);
    free(bench.tables);
    free(bench.logits);
    return done ? 0 : 1;
}
