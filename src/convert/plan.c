/* plan.c - see plan.h: formats, head and places. write.c writes. */
#include "convert/plan.h"

#include "base/bytes.h"

#include <stdlib.h>

/* ggml's GGML_QNT_VERSION: of the block layouts. */
enum { QUANTIZATION_VERSION = 2 };

static bool choose_format(const struct plan *plan, const struct source_tensor *tensor,
                          const struct quant_format **format, struct error *error) {
    *format = quant_format_of(TENSOR_F32);
    if (mix_applies(tensor->name, tensor->dimension_count)) {
        *format = mix_format(plan->mix, &plan->source->shape, tensor->name, tensor->dimensions[0]);
    }
    return tensor->format->block_values == 1 ||
           error_set(error, ERROR_UNSUPPORTED,
                     "'%s' is quantised already (the tensor '%.*s' is %s); begin with the f32, f16 "
                     "or bf16 form of the model",
                     plan->source->path, (int)size_min(tensor->name.length, 80), tensor->name.data,
                     tensor->format->name);
}

static bool place_tensors(struct plan *plan, struct gguf_writer *writer, struct error *error) {
    for (size_t i = 0; i < plan->source->tensor_count; i++) {
        const struct source_tensor *tensor = &plan->source->tensors[i];
        struct planned_tensor *planned = &plan->tensors[i];
        planned->source = tensor;
        if (!choose_format(plan, tensor, &planned->format, error)) {
            return false;
        }
        planned->offset =
            gguf_writer_add_tensor(writer, tensor->name, planned->format, tensor->dimensions,
                                   tensor->dimension_count, &planned->bytes);
    }
    return true;
}

bool plan_make(const struct source *source, const struct mix *mix, struct plan *plan,
               struct error *error) {
    struct planned_tensor *tensors = calloc(source->tensor_count + 1, sizeof *tensors);
    *plan = (struct plan){.source = source, .mix = mix, .tensors = tensors};
    if (tensors == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a list of tensors");
    }
    struct gguf_writer writer = {.value_count = source->values.value_count};
    string_buffer_append(&writer.values, source->values.values.data, source->values.values.length);
    writer.values.failed = writer.values.failed || source->values.values.failed;
    gguf_writer_add_u32(&writer, "general.file_type", mix->file_type);
    gguf_writer_add_u32(&writer, "general.quantization_version", QUANTIZATION_VERSION);
    bool done =
        place_tensors(plan, &writer, error) && gguf_writer_head(&writer, &plan->head, error);
    if (done && !size_add(plan->head.length, writer.data_bytes, &plan->file_bytes)) {
        done = error_set(error, ERROR_UNSUPPORTED, "the tensors' sizes overflow");
    }
    for (size_t i = 0; done && i < source->tensor_count; i++) {
        plan->tensors[i].offset += plan->head.length;
    }
    gguf_writer_deinit(&writer);
    if (!done) {
        plan_free(plan);
    }
    return done;
}

void plan_free(struct plan *plan) {
    string_buffer_deinit(&plan->head);
    free(plan->tensors);
    *plan = (struct plan){0};
}
