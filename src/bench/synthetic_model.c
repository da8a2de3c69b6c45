/* synthetic_model.c - see synthetic_model.h. */
#include "bench/synthetic_model.h"

#include "base/bytes.h"
#include "base/random.h"
#include "convert/mix.h"
#include "model/gguf_writer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>

/* As the models' own config.json has them. */
struct shape {
    const char *name;
    uint32_t layers, width, feed_forward, heads, kv_heads, head_dim, vocabulary, context;
    float rope_base;
    bool tied; /* the embedding is the output matrix */
};

static const struct shape shapes[] = {
    {"mistral-7b", 32, 4096, 14336, 32, 8, 128, 32768, 32768, 1e6F, false},
    {"mistral-nemo-12b", 40, 5120, 14336, 32, 8, 128, 131072, 131072, 1e6F, false},
    {"mistral-small-24b", 40, 5120, 32768, 32, 8, 128, 131072, 32768, 1e8F, false},
    {"llama-3-8b", 32, 4096, 14336, 32, 8, 128, 128256, 8192, 5e5F, false},
    {"smollm2-135m", 30, 576, 1536, 9, 3, 64, 49152, 8192, 1e5F, true},
    {"tiny", 4, 256, 768, 4, 2, 64, 1024, 2048, 1e4F, true},
};

enum { SHAPE_COUNT = sizeof shapes / sizeof shapes[0] };

/* Rows of random weights that a matrix repeats: encoding is slow, and what the bytes are does not
 * matter to speed. */
enum { DISTINCT_ROWS = 16 };

/* A matrix of a layer, or of the model, and its size. */
struct tensor {
    char name[64];
    size_t rows, columns; /* a vector has one row */
    const struct quant_format *format;
    size_t offset; /* in the data */
};

struct making {
    const struct shape *shape;
    const struct mix *mix;
    struct gguf_writer writer;
    struct tensor *tensors; /* [tensor_count] */
    size_t tensor_count;
    struct random_state random;
};

void synthetic_model_append_shapes(struct string_buffer *out) {
    for (size_t i = 0; i < SHAPE_COUNT; i++) {
        string_buffer_append_format(out, "%s%s", i == 0 ? "" : ", ", shapes[i].name);
    }
}

/* --- what was asked for --- */

static bool refuse(const char *what, const char *wanted, struct error *error) {
    struct string_buffer names = {0};
    synthetic_model_append_shapes(&names);
    error_set(
        error, ERROR_INVALID_ARGUMENT,
        "%s in '%.60s'; a made-up model is SHAPE:FORMAT with one of the shapes %s and a format "
        "such as q5_k_m",
        what, wanted, string_buffer_text(&names));
    string_buffer_deinit(&names);
    return false;
}

static bool parse(const char *wanted, struct making *making, struct error *error) {
    const char *colon = strchr(wanted, ':');
    size_t length = colon == NULL ? strlen(wanted) : (size_t)(colon - wanted);
    for (size_t i = 0; i < SHAPE_COUNT; i++) {
        if (strlen(shapes[i].name) == length && strncasecmp(shapes[i].name, wanted, length) == 0) {
            making->shape = &shapes[i];
        }
    }
    if (making->shape == NULL) {
        return refuse("unknown shape", wanted, error);
    }
    making->mix = colon == NULL ? NULL : mix_of(colon + 1);
    return making->mix != NULL || refuse("unknown format", wanted, error);
}

/* --- the head --- */

static void add_metadata(struct making *making) {
    const struct shape *s = making->shape;
    struct gguf_writer *writer = &making->writer;
    gguf_writer_add_text(writer, "general.architecture", string_view_of("llama"));
    gguf_writer_add_text(writer, "general.name", string_view_of(s->name));
    const struct {
        const char *key;
        uint32_t value;
    } rows[] = {
        {"general.file_type", making->mix->file_type},
        {"llama.block_count", s->layers},
        {"llama.context_length", s->context},
        {"llama.embedding_length", s->width},
        {"llama.feed_forward_length", s->feed_forward},
        {"llama.attention.head_count", s->heads},
        {"llama.attention.head_count_kv", s->kv_heads},
        {"llama.attention.key_length", s->head_dim},
        {"llama.attention.value_length", s->head_dim},
        {"llama.rope.dimension_count", s->head_dim},
        {"llama.vocab_size", s->vocabulary},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        gguf_writer_add_u32(writer, rows[i].key, rows[i].value);
    }
    gguf_writer_add_f32(writer, "llama.attention.layer_norm_rms_epsilon", 1e-5F);
    gguf_writer_add_f32(writer, "llama.rope.freq_base", s->rope_base);
}

static void add_tensor(struct making *making, const char *prefix, const char *name, size_t rows,
                       size_t columns) {
    const struct shape *s = making->shape;
    const struct mix_shape mix = {s->layers, s->heads / s->kv_heads, !s->tied};
    struct tensor *tensor = &making->tensors[making->tensor_count++];
    size_t dimensions[] = {columns, rows}, bytes;
    size_t dimension_count = rows == 1 ? 1 : 2;
    snprintf(tensor->name, sizeof tensor->name, "%s%s.weight", prefix, name);
    struct string_view view = string_view_of(tensor->name);
    tensor->rows = rows;
    tensor->columns = columns;
    tensor->format = mix_applies(view, dimension_count)
                         ? mix_format(making->mix, &mix, view, columns)
                         : quant_format_of(TENSOR_F32);
    tensor->offset = gguf_writer_add_tensor(&making->writer, view, tensor->format, dimensions,
                                            dimension_count, &bytes);
}

static void add_layer(struct making *making, size_t index) {
    const struct shape *s = making->shape;
    const size_t q = (size_t)s->heads * s->head_dim, kv = (size_t)s->kv_heads * s->head_dim;
    const struct {
        const char *name;
        size_t rows, columns;
    } rows[] = {
        {"attn_norm", 1, s->width},
        {"attn_q", q, s->width},
        {"attn_k", kv, s->width},
        {"attn_v", kv, s->width},
        {"attn_output", s->width, q},
        {"ffn_norm", 1, s->width},
        {"ffn_gate", s->feed_forward, s->width},
        {"ffn_up", s->feed_forward, s->width},
        {"ffn_down", s->width, s->feed_forward},
    };
    char prefix[32];
    snprintf(prefix, sizeof prefix, "blk.%zu.", index);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        add_tensor(making, prefix, rows[i].name, rows[i].rows, rows[i].columns);
    }
}

static bool plan(struct making *making, struct error *error) {
    const struct shape *s = making->shape;
    making->tensors = calloc(3 + 9 * (size_t)s->layers, sizeof *making->tensors);
    if (making->tensors == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a made-up model");
    }
    add_metadata(making);
    add_tensor(making, "", "token_embd", s->vocabulary, s->width);
    add_tensor(making, "", "output_norm", 1, s->width);
    if (!s->tied) {
        add_tensor(making, "", "output", s->vocabulary, s->width);
    }
    for (size_t i = 0; i < s->layers; i++) {
        add_layer(making, i);
    }
    return true;
}

/* --- the data --- */

/* Uniform with the deviation that keeps activations where they are: 1 / sqrt(columns). A vector
 * holds ones: it is a norm's weight. */
static void draw_values(struct making *making, const struct tensor *tensor, float *values,
                        size_t count) {
    double reach = sqrt(3.0 / (double)tensor->columns);
    for (size_t i = 0; i < count; i++) {
        double drawn = 2 * random_uniform(&making->random) - 1;
        values[i] = tensor->rows == 1 ? 1.0F : (float)(reach * drawn);
    }
}

static bool fill(struct making *making, const struct tensor *tensor, uint8_t *data,
                 struct error *error) {
    size_t row_bytes, distinct = size_min(tensor->rows, DISTINCT_ROWS);
    float *values = calloc(distinct, tensor->columns * sizeof *values);
    if (values == NULL || !quant_row_bytes(tensor->format, tensor->columns, &row_bytes)) {
        free(values);
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the tensor '%s'", tensor->name);
    }
    draw_values(making, tensor, values, distinct * tensor->columns);
    tensor->format->encode(values, data, distinct * tensor->columns);
    free(values);
    for (size_t done = distinct; done < tensor->rows; done += distinct) {
        memcpy(data + done * row_bytes, data, size_min(distinct, tensor->rows - done) * row_bytes);
    }
    return true;
}

static bool write_all(struct making *making, struct synthetic_model *model, struct error *error) {
    struct string_buffer head = {0};
    bool done = gguf_writer_head(&making->writer, &head, error);
    model->length = head.length + making->writer.data_bytes;
    if (done) {
        model->bytes =
            mmap(NULL, model->length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        done = model->bytes != MAP_FAILED ||
               error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a made-up model of %zu bytes",
                         model->length);
    }
    if (!done) {
        model->bytes = NULL;
    } else {
        memcpy(model->bytes, head.data, head.length);
    }
    for (size_t i = 0; done && i < making->tensor_count; i++) {
        const struct tensor *tensor = &making->tensors[i];
        done = fill(making, tensor, (uint8_t *)model->bytes + head.length + tensor->offset, error);
    }
    string_buffer_deinit(&head);
    return done;
}

bool synthetic_model_make(const char *wanted, struct synthetic_model *model, struct error *error) {
    struct making making = {0};
    *model = (struct synthetic_model){0};
    random_seed(&making.random, 1);
    bool done =
        parse(wanted, &making, error) && plan(&making, error) && write_all(&making, model, error);
    gguf_writer_deinit(&making.writer);
    free(making.tensors);
    if (!done) {
        synthetic_model_deinit(model);
    }
    return done;
}

void synthetic_model_deinit(struct synthetic_model *model) {
    if (model->bytes != NULL) {
        munmap(model->bytes, model->length);
    }
    *model = (struct synthetic_model){0};
}
