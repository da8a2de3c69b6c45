/* source.c - see source.h: GGUF files, and what is alike for both kinds. */
#include "convert/source.h"

#include "convert/checkpoint.h"
#include "model/description.h"

/* What a file says of its own format, and what holds for its own bytes only. */
static bool is_replaced(struct string_view key) {
    static const char *const keys[] = {"general.file_type", "general.quantization_version",
                                       "general.alignment"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (string_view_is(key, keys[i])) {
            return true;
        }
    }
    return false;
}

static bool read_shape(struct source *source, struct error *error) {
    struct model_description d;
    if (!description_read(source->gguf, 0, &source->arena, &d, error)) {
        return false;
    }
    source->shape = (struct mix_shape){
        .layer_count = d.layer_count,
        .group_size = d.layers[0].head_count / d.layers[0].kv_head_count,
        .has_output = gguf_find_tensor(source->gguf, "output.weight") != NULL,
    };
    return true;
}

static bool open_gguf(struct source *source, struct error *error) {
    if (!gguf_open(source->path, &source->gguf, error) || !read_shape(source, error)) {
        return false;
    }
    const struct gguf *gguf = source->gguf;
    source->tensor_count = gguf_tensor_count(gguf);
    source->tensors =
        arena_alloc(&source->arena, source->tensor_count + 1, sizeof *source->tensors);
    if (source->tensors == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the tensors of '%s'",
                         source->path);
    }
    for (size_t i = 0; i < source->tensor_count; i++) {
        const struct gguf_tensor *tensor = gguf_tensor_at(gguf, i);
        struct source_tensor *out = &source->tensors[i];
        *out = (struct source_tensor){.name = tensor->name,
                                      .format = tensor->format,
                                      .dimension_count = tensor->dimension_count,
                                      .row_count = tensor->row_count,
                                      .data = tensor->data};
        memcpy(out->dimensions, tensor->dimensions, sizeof out->dimensions);
    }
    for (size_t i = 0; i < gguf_value_count(gguf); i++) {
        const struct gguf_value *value = gguf_value_at(gguf, i);
        if (!is_replaced(value->key)) {
            gguf_writer_add_value(&source->values, value);
        }
    }
    return true;
}

bool source_open(const char *path, struct source *source, struct error *error) {
    *source = (struct source){.path = path};
    bool is_open =
        file_is_directory(path) ? checkpoint_open(source, error) : open_gguf(source, error);
    if (!is_open) {
        (void)source_check(source, error); /* a file that changes is why, where it does */
        source_close(source);
        return false;
    }
    return true;
}

void source_close(struct source *source) {
    for (size_t i = 0; i < source->file_count; i++) {
        file_unmap(&source->files[i]);
    }
    gguf_close(source->gguf);
    gguf_writer_deinit(&source->values);
    arena_deinit(&source->arena);
    *source = (struct source){0};
}

bool source_check(const struct source *source, struct error *error) {
    for (size_t i = 0; i < source->file_count; i++) {
        if (!file_check(&source->files[i], source->file_paths[i], error)) {
            return false;
        }
    }
    return source->gguf == NULL || gguf_check(source->gguf, error);
}

const struct quant_format *source_main_format(const struct source *source) {
    const struct quant_format *main_format = NULL;
    size_t most = 0;
    for (size_t i = 0; i < source->tensor_count; i++) {
        const struct source_tensor *tensor = &source->tensors[i];
        size_t values = tensor->dimensions[0] * tensor->row_count; /* checked when it was read */
        if (values > most) {
            most = values;
            main_format = tensor->format;
        }
    }
    return main_format;
}

static bool is_float(const struct quant_format *format) {
    return format->type == TENSOR_F32 || format->type == TENSOR_F16 || format->type == TENSOR_BF16;
}

bool source_is_float(const struct source *source) {
    for (size_t i = 0; i < source->tensor_count; i++) {
        if (!is_float(source->tensors[i].format)) {
            return false;
        }
    }
    return true;
}
