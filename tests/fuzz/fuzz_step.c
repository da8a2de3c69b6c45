/*
 * fuzz_step.c - any bytes as a model: opens the file, builds the model and runs one step of it.
 *
 * Models that would take long are passed over: what is looked for is a size that was not checked.
 */
#include "fuzz.h"

#include "backend/backend.h"
#include "base/bytes.h"
#include "model/model.h"

#include <stdlib.h>

enum {
    ROWS = 3,
    MOST_VOCABULARY = 4096,
    MOST_LAYERS = 16,
    MOST_BYTES = 1 << 26, /* of weights, activations and keys, each */
};

static bool is_small(const struct gguf *gguf, struct backend *backend) {
    struct arena arena = {0};
    struct model_description description;
    struct model_needs needs;
    struct error error = {0};
    bool small = description_read(gguf, 0, &arena, &description, &error) &&
                 description.vocabulary_size <= MOST_VOCABULARY &&
                 description.layer_count <= MOST_LAYERS &&
                 model_add_up(gguf, &description, backend, ROWS, &needs, &error) &&
                 needs.scratch < MOST_BYTES && needs.packed < MOST_BYTES;
    arena_deinit(&arena);
    return small;
}

static void run_step(struct model *model, struct backend *backend) {
    size_t vocabulary = model_description(model)->vocabulary_size;
    const struct kv_layout layout = model_kv_layout(model, 1);
    struct kv_cache *kv = NULL;
    struct error error = {0};
    const uint32_t table[1] = {0}, logit_rows[1] = {ROWS - 1};
    int32_t tokens[ROWS];
    for (size_t i = 0; i < ROWS; i++) {
        tokens[i] = (int32_t)(i % vocabulary);
    }
    size_t kv_bytes = 0;
    float *logits = calloc(vocabulary, sizeof *logits);
    const struct batch_span span = {0, ROWS, 0, table};
    const struct batch batch = {ROWS, tokens, 1, &span, 1, logit_rows};
    if (logits != NULL && kv_block_bytes(&layout, &kv_bytes) && kv_bytes < MOST_BYTES &&
        backend->ops->kv_create(backend, &layout, &kv, &error)) {
        model_forward(model, &batch, kv, logits, NULL, 0);
        backend->ops->kv_free(backend, kv);
    }
    free(logits);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct backend *backend; /* one for all inputs: its thread is dear to start */
    struct gguf *gguf = NULL;
    struct model *model = NULL;
    struct error error = {0};
    const struct cpu_backend_options cpu = {.thread_count = 1};
    const struct model_options options = {.max_rows = ROWS};
    if ((backend == NULL && !cpu_backend_create(&cpu, &backend, &error)) ||
        !gguf_open_bytes("fuzz", data, size, &gguf, &error)) {
        return 0;
    }
    if (is_small(gguf, backend) && model_create(gguf, backend, &options, &model, &error)) {
        run_step(model, backend);
        model_free(model);
    }
    gguf_close(gguf);
    return 0;
}
