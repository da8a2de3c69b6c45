/* checkpoint_config.c - config.json to GGUF's metadata. Keys are those of transformers'
 * LlamaConfig and MistralConfig. */
#include "convert/checkpoint.h"

#include <math.h>
#include <string.h>

enum { MAX_SIZE = 1 << 28 };

static bool is_absent(const json_t *value) {
    return value == NULL || json_is_null(value);
}

static bool fail(const struct checkpoint *checkpoint, enum error_code code, const char *what,
                 const char *key, struct error *error) {
    return error_set(error, code, "'%s/config.json': %s%s", checkpoint->folder, what, key);
}

/* A whole number from 1; absent leaves *size, which must not be 0 then. */
static bool take_size(const struct checkpoint *checkpoint, const char *key, size_t *size,
                      struct error *error) {
    const json_t *value = json_object_get(checkpoint->config, key);
    if (!is_absent(value)) {
        json_int_t number = json_is_integer(value) ? json_integer_value(value) : 0;
        *size = number >= 1 && number <= MAX_SIZE ? (size_t)number : 0;
    }
    return *size != 0 || fail(checkpoint, ERROR_FORMAT, "no usable ", key, error);
}

static double number_of(const json_t *object, const char *key, double absent) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : absent;
}

static bool check_kind(const struct checkpoint *checkpoint, struct error *error) {
    const char *kind = json_string_value(json_object_get(checkpoint->config, "model_type"));
    if (kind == NULL || (strcmp(kind, "llama") != 0 && strcmp(kind, "mistral") != 0)) {
        return error_set(
            error, ERROR_UNSUPPORTED,
            "'%s/config.json': the model_type is '%.40s'; folders of llama and mistral "
            "are read",
            checkpoint->folder, kind == NULL ? "" : kind);
    }
    const char *activation = json_string_value(json_object_get(checkpoint->config, "hidden_act"));
    if (activation != NULL && strcmp(activation, "silu") != 0) {
        return fail(checkpoint, ERROR_UNSUPPORTED, "unsupported hidden_act ", activation, error);
    }
    if (!is_absent(json_object_get(checkpoint->config, "quantization_config"))) {
        return fail(checkpoint, ERROR_UNSUPPORTED,
                    "the weights are quantised already (quantization_config); take the form of the "
                    "model that is not",
                    "", error);
    }
    return true;
}

bool checkpoint_read_config(struct checkpoint *checkpoint, struct error *error) {
    size_t width = 0;
    if (!json_is_object(checkpoint->config)) {
        return fail(checkpoint, ERROR_FORMAT, "it is no JSON object", "", error);
    }
    if (!check_kind(checkpoint, error) ||
        !take_size(checkpoint, "num_hidden_layers", &checkpoint->layer_count, error) ||
        !take_size(checkpoint, "hidden_size", &width, error) ||
        !take_size(checkpoint, "num_attention_heads", &checkpoint->head_count, error) ||
        !take_size(checkpoint, "vocab_size", &checkpoint->vocabulary_size, error)) {
        return false;
    }
    checkpoint->kv_head_count = checkpoint->head_count;
    checkpoint->head_dim = width / checkpoint->head_count;
    checkpoint->is_tied = json_is_true(json_object_get(checkpoint->config, "tie_word_embeddings"));
    if (!take_size(checkpoint, "num_key_value_heads", &checkpoint->kv_head_count, error) ||
        !take_size(checkpoint, "head_dim", &checkpoint->head_dim, error)) {
        return false;
    }
    if (checkpoint->head_count % checkpoint->kv_head_count != 0 || checkpoint->head_dim % 2 != 0 ||
        checkpoint->head_dim > 1 << 16) {
        return fail(checkpoint, ERROR_FORMAT, "its heads do not divide into key-value heads, or ",
                    "head_dim is odd", error);
    }
    return true;
}

/* ---- RoPE ---- */

static const json_t *rope_of(const struct checkpoint *checkpoint) {
    const json_t *rope = json_object_get(checkpoint->config, "rope_parameters");
    return is_absent(rope) ? json_object_get(checkpoint->config, "rope_scaling") : rope;
}

static const char *rope_type(const json_t *rope) {
    const char *type = json_string_value(json_object_get(rope, "rope_type"));
    type = type == NULL ? json_string_value(json_object_get(rope, "type")) : type;
    return type == NULL ? "default" : type;
}

static double rope_theta(const struct checkpoint *checkpoint) {
    return number_of(rope_of(checkpoint), "rope_theta",
                     number_of(checkpoint->config, "rope_theta", 10000));
}

static void add_float(struct gguf_writer *values, const char *key, double value) {
    gguf_writer_add_f32(values, key, (float)value);
}

static void write_yarn(const json_t *rope, double context, struct gguf_writer *values) {
    double factor = number_of(rope, "factor", 1);
    double attention = number_of(rope, "attention_factor", 0);
    gguf_writer_add_text(values, "llama.rope.scaling.type", string_view_of("yarn"));
    add_float(values, "llama.rope.scaling.factor", factor);
    gguf_writer_add_u32(
        values, "llama.rope.scaling.original_context_length",
        (uint32_t)fmin(MAX_SIZE, fmax(1, number_of(rope, "original_max_position_embeddings",
                                                   context / factor))));
    add_float(values, "llama.rope.scaling.yarn_beta_fast", number_of(rope, "beta_fast", 32));
    add_float(values, "llama.rope.scaling.yarn_beta_slow", number_of(rope, "beta_slow", 1));
    if (attention > 0 && factor > 1) { /* GGUF's is beside the usual one */
        add_float(values, "llama.rope.scaling.attn_factor", attention / (1 + 0.1 * log(factor)));
    }
}

static bool write_rope(const struct checkpoint *checkpoint, double context,
                       struct gguf_writer *values, struct error *error) {
    const json_t *rope = rope_of(checkpoint);
    const char *type = rope_type(rope);
    gguf_writer_add_u32(values, "llama.rope.dimension_count", (uint32_t)checkpoint->head_dim);
    add_float(values, "llama.rope.freq_base", rope_theta(checkpoint));
    if (number_of(checkpoint->config, "partial_rotary_factor", 1) != 1) {
        return fail(checkpoint, ERROR_UNSUPPORTED, "unsupported ", "partial_rotary_factor", error);
    }
    if (strcmp(type, "linear") == 0) {
        gguf_writer_add_text(values, "llama.rope.scaling.type", string_view_of("linear"));
        add_float(values, "llama.rope.scaling.factor", number_of(rope, "factor", 1));
    } else if (strcmp(type, "yarn") == 0) {
        write_yarn(rope, context, values);
    } else if (strcmp(type, "default") != 0 && strcmp(type, "llama3") != 0) {
        return fail(checkpoint, ERROR_UNSUPPORTED,
                    "only the RoPE types default, linear, llama3 and yarn are supported, not ",
                    type, error);
    }
    return true;
}

/* Waves much shorter than the original context keep their frequency, longer ones are slowed by the
 * factor, with a ramp between (Llama 3.1's model card; transformers' modeling_rope_utils). */
bool checkpoint_rope_factors(const struct checkpoint *checkpoint, float *factors) {
    const json_t *rope = rope_of(checkpoint);
    if (strcmp(rope_type(rope), "llama3") != 0) {
        return false;
    }
    double factor = number_of(rope, "factor", 8), low = number_of(rope, "low_freq_factor", 1);
    double high = number_of(rope, "high_freq_factor", 4);
    double original = number_of(rope, "original_max_position_embeddings", 8192);
    size_t pairs = checkpoint->head_dim / 2;
    for (size_t i = 0; i < pairs; i++) {
        double frequency = pow(rope_theta(checkpoint), -(double)i / (double)pairs);
        double turns = original * frequency / (2 * M_PI); /* of the wave over the context */
        double smooth = fmin(1, fmax(0, (turns - low) / (high - low)));
        factors[i] = (float)(1 / ((1 - smooth) / factor + smooth));
    }
    return true;
}

/* ---- metadata ---- */

static void write_name(const struct checkpoint *checkpoint, struct gguf_writer *values) {
    const char *folder = checkpoint->folder;
    size_t end = strlen(folder);
    while (end > 1 && folder[end - 1] == '/') {
        end--;
    }
    size_t begin = end;
    while (begin > 0 && folder[begin - 1] != '/') {
        begin--;
    }
    gguf_writer_add_text(values, "general.name", (struct string_view){folder + begin, end - begin});
}

bool checkpoint_write_config(const struct checkpoint *checkpoint, struct gguf_writer *values,
                             struct error *error) {
    static const struct {
        const char *theirs, *ours;
    } sizes[] = {
        {"hidden_size", "llama.embedding_length"},
        {"num_hidden_layers", "llama.block_count"},
        {"intermediate_size", "llama.feed_forward_length"},
        {"max_position_embeddings", "llama.context_length"},
    };
    size_t context = 2048; /* LlamaConfig's own default */
    gguf_writer_add_text(values, "general.architecture", string_view_of("llama"));
    write_name(checkpoint, values);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t size = i == 3 ? context : 0;
        if (!take_size(checkpoint, sizes[i].theirs, &size, error)) {
            return false;
        }
        context = i == 3 ? size : context;
        gguf_writer_add_u32(values, sizes[i].ours, (uint32_t)size);
    }
    gguf_writer_add_u32(values, "llama.vocab_size", (uint32_t)checkpoint->vocabulary_size);
    gguf_writer_add_u32(values, "llama.attention.head_count", (uint32_t)checkpoint->head_count);
    gguf_writer_add_u32(values, "llama.attention.head_count_kv",
                        (uint32_t)checkpoint->kv_head_count);
    gguf_writer_add_u32(values, "llama.attention.key_length", (uint32_t)checkpoint->head_dim);
    gguf_writer_add_u32(values, "llama.attention.value_length", (uint32_t)checkpoint->head_dim);
    add_float(values, "llama.attention.layer_norm_rms_epsilon",
              number_of(checkpoint->config, "rms_norm_eps", 1e-6));
    double window = number_of(checkpoint->config, "sliding_window", 0);
    if (window >= 1 && window <= MAX_SIZE) {
        gguf_writer_add_u32(values, "llama.attention.sliding_window", (uint32_t)window);
    }
    return write_rope(checkpoint, (double)context, values, error);
}
