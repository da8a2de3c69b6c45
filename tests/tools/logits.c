/*
 * logits.c - runs token ids through a model in one step and writes every row's logits: the raw
 * output that golden tests compare. Usage: logits MODEL KERNELS CHUNK < token ids > f32
 * logits [tokens][vocabulary] KERNELS:
 * auto, portable, avx2, ...; CHUNK: rows a step (0: all at once). LOGITS_THREADS: threads;
 * LOGITS_KV: the KV cache's elements (f16).
 */
#include "backend/backend.h"
#include "base/bytes.h"
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TOKENS = 4096 };

static bool run(struct model *model, struct backend *backend, enum kv_element element,
                const int32_t *tokens, size_t count, size_t chunk, struct error *error) {
    size_t vocabulary = model_description(model)->vocabulary_size;
    size_t blocks = size_divide_up(count, KV_BLOCK_TOKENS);
    struct kv_layout layout = model_kv_layout(model, blocks);
    layout.element = element;
    struct kv_cache *kv = NULL;
    uint32_t *table = calloc(blocks, sizeof *table), *rows = calloc(chunk, sizeof *rows);
    float *logits = calloc(chunk * vocabulary, sizeof *logits);
    bool done = table != NULL && rows != NULL && logits != NULL &&
                backend->ops->kv_create(backend, &layout, &kv, error);
    for (size_t i = 0; done && i < blocks; i++) {
        table[i] =
            (uint32_t)(blocks - 1 - i); /* backwards: a table that is the identity hides bugs */
    }
    for (size_t i = 0; done && i < chunk; i++) {
        rows[i] = (uint32_t)i;
    }
    for (size_t at = 0; done && at < count; at += chunk) {
        size_t n = size_min(chunk, count - at);
        struct batch_span span = {0, n, at, table};
        struct batch batch = {n, tokens + at, 1, &span, n, rows};
        model_forward(model, &batch, kv, logits, NULL, 0);
        done = fwrite(logits, sizeof *logits, n * vocabulary, stdout) == n * vocabulary;
    }
    if (kv != NULL) {
        backend->ops->kv_free(backend, kv);
    }
    free(table);
    free(rows);
    free(logits);
    return done;
}

int main(int argc, char **argv) {
    struct error error = {0};
    struct gguf *gguf = NULL;
    struct backend *backend = NULL;
    struct model *model = NULL;
    static int32_t tokens[MAX_TOKENS];
    size_t count = 0;
    while (count < MAX_TOKENS && scanf("%d", &tokens[count]) == 1) {
        count++;
    }
    if (argc != 4 || count == 0) {
        fputs("usage: logits MODEL KERNELS CHUNK < token ids\n", stderr);
        return 2;
    }
    size_t chunk = strtoul(argv[3], NULL, 10);
    chunk = chunk == 0 ? count : chunk;
    const char *threads = getenv("LOGITS_THREADS"), *kv = getenv("LOGITS_KV");
    enum kv_element element = KV_ELEMENT_F16;
    struct cpu_backend_options options = {
        .thread_count = threads == NULL ? 2 : strtoul(threads, NULL, 10), .kernels = argv[2]};
    const struct model_options model_options = {.max_rows = chunk};
    bool done = (kv == NULL || kv_element_of_name(kv, &element)) &&
                gguf_open(argv[1], &gguf, &error) &&
                cpu_backend_create(&options, &backend, &error) &&
                model_create(gguf, backend, &model_options, &model, &error) &&
                run(model, backend, element, tokens, count, chunk, &error);
    if (!done) {
        fprintf(stderr, "logits: %s\n", error.message);
    }
    model_free(model);
    if (backend != NULL) {
        backend->ops->free(backend);
    }
    gguf_close(gguf);
    return done ? 0 : 1;
}
