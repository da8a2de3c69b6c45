/* hyperparameters.c - see hyperparameters.h. Key names are GGUF's: "<architecture>.<key>". */
#include "model/hyperparameters.h"

#include "base/bytes.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Bounds that no real model comes near, and that keep every product of two or three sizes in range.
 */
enum {
    MAX_LAYERS = 1024,
    MAX_WIDTH = 1 << 20,
    MAX_HEADS = 1 << 12,
    MAX_HEAD_DIM = 1 << 10,
    MAX_VOCABULARY = 1 << 24,
    MAX_CONTEXT = 1 << 28,
};

static const char *const supported_architectures[] = {"llama"};

struct reader {
    const struct gguf *gguf;
    const char *architecture;
    struct error *error;
};

static const char *full_key(const struct reader *reader, const char *key, char out[128]) {
    snprintf(out, 128, "%s.%s", reader->architecture, key);
    return out;
}

static bool read_float(const struct reader *reader, const char *key, float *out) {
    char name[128];
    return gguf_read_f32(reader->gguf, full_key(reader, key, name), out, reader->error);
}

/* Reads a size into *out when present; checks 1 … maximum either way. A head count may be written
 * as an array with one entry a layer; this program runs models whose layers are alike. */
static bool read_size(const struct reader *reader, const char *key, size_t maximum, size_t *out) {
    char name[128];
    full_key(reader, key, name);
    uint32_t value = *out > UINT32_MAX ? UINT32_MAX : (uint32_t)*out;
    const struct gguf_value *entry = gguf_find(reader->gguf, name);
    if (entry != NULL && entry->type == GGUF_ARRAY) {
        double first = 0, other = 0;
        for (size_t i = 0; i < entry->count; i++) {
            if (!gguf_number_at(entry, i, i == 0 ? &first : &other) || (i > 0 && other != first)) {
                return error_set(reader->error, ERROR_UNSUPPORTED,
                                 "%s: '%s' differs from layer to layer, which is not supported",
                                 gguf_path(reader->gguf), name);
            }
        }
        value = first >= 1 && first <= (double)maximum ? (uint32_t)first : 0;
    } else if (!gguf_read_u32(reader->gguf, name, &value, reader->error)) {
        return false;
    }
    if (value == 0 || value > maximum) {
        return error_set(reader->error, ERROR_FORMAT, "%s: '%s' is %s%u; 1 to %zu are possible",
                         gguf_path(reader->gguf), name, entry == NULL ? "missing, so " : "", value,
                         maximum);
    }
    *out = value;
    return true;
}

static bool read_architecture(const struct gguf *gguf, struct hyperparameters *h,
                              struct error *error) {
    struct string_view name = {"", 0};
    if (!gguf_read_string(gguf, "general.architecture", &name, error)) {
        return false;
    }
    for (size_t i = 0; i < sizeof supported_architectures / sizeof supported_architectures[0];
         i++) {
        if (string_view_is(name, supported_architectures[i])) {
            snprintf(h->architecture, sizeof h->architecture, "%s", supported_architectures[i]);
            return true;
        }
    }
    return error_set(error, ERROR_UNSUPPORTED,
                     "%s: the architecture '%.*s' (general.architecture) is not supported; this "
                     "program runs: llama",
                     gguf_path(gguf), (int)size_min(name.length, 64), name.data);
}

static bool read_vocabulary_size(const struct reader *reader, size_t *out) {
    const struct gguf_value *tokens = gguf_find(reader->gguf, "tokenizer.ggml.tokens");
    *out = tokens != NULL && tokens->type == GGUF_ARRAY ? tokens->count : 0;
    return *out != 0 ? *out <= MAX_VOCABULARY ||
                           error_set(reader->error, ERROR_FORMAT,
                                     "%s: 'tokenizer.ggml.tokens' has %zu entries; at most %d are "
                                     "possible",
                                     gguf_path(reader->gguf), *out, MAX_VOCABULARY)
                     : read_size(reader, "vocab_size", MAX_VOCABULARY, out);
}

static bool read_heads(const struct reader *reader, struct hyperparameters *h) {
    if (!read_size(reader, "attention.head_count", MAX_HEADS, &h->head_count)) {
        return false;
    }
    h->kv_head_count = h->head_count;
    if (!read_size(reader, "attention.head_count_kv", MAX_HEADS, &h->kv_head_count)) {
        return false;
    }
    h->head_dim = h->embedding_length / h->head_count;
    if (!read_size(reader, "attention.key_length", MAX_HEAD_DIM, &h->head_dim)) {
        return false;
    }
    size_t value_length = h->head_dim;
    if (!read_size(reader, "attention.value_length", MAX_HEAD_DIM, &value_length)) {
        return false;
    }
    if (h->head_count % h->kv_head_count != 0) {
        return error_set(reader->error, ERROR_FORMAT,
                         "%s: %zu attention heads do not divide into %zu key/value heads",
                         gguf_path(reader->gguf), h->head_count, h->kv_head_count);
    }
    if (value_length != h->head_dim) {
        return error_set(reader->error, ERROR_UNSUPPORTED,
                         "%s: keys of %zu and values of %zu values a head are not supported",
                         gguf_path(reader->gguf), h->head_dim, value_length);
    }
    h->attention_scale = 1.0f / sqrtf((float)h->head_dim);
    return read_float(reader, "attention.scale", &h->attention_scale);
}

static bool read_rope_scaling(const struct reader *reader, struct hyperparameters *h) {
    char name[128];
    struct string_view type = {"linear", 6}; /* a factor without a type, as llama.cpp reads it */
    float linear = 0;                        /* the older spelling of the factor */
    h->rope_factor = 1;
    h->rope_original_length = h->context_length;
    h->yarn_extrapolation = 1;
    h->yarn_attention_factor = 1;
    h->yarn_beta_fast = 32;
    h->yarn_beta_slow = 1;
    if (!gguf_read_string(reader->gguf, full_key(reader, "rope.scaling.type", name), &type,
                          reader->error) ||
        !read_float(reader, "rope.scaling.factor", &h->rope_factor) ||
        !read_float(reader, "rope.scale_linear", &linear) ||
        !read_size(reader, "rope.scaling.original_context_length", MAX_CONTEXT,
                   &h->rope_original_length) ||
        !read_float(reader, "rope.scaling.attn_factor", &h->yarn_attention_factor) ||
        !read_float(reader, "rope.scaling.yarn_ext_factor", &h->yarn_extrapolation) ||
        !read_float(reader, "rope.scaling.yarn_beta_fast", &h->yarn_beta_fast) ||
        !read_float(reader, "rope.scaling.yarn_beta_slow", &h->yarn_beta_slow)) {
        return false;
    }
    if (string_view_is(type, "yarn")) {
        h->rope_scaling = ROPE_SCALING_YARN;
    } else if (string_view_is(type, "linear")) {
        h->rope_scaling = ROPE_SCALING_LINEAR;
    } else if (!string_view_is(type, "none")) {
        return error_set(reader->error, ERROR_UNSUPPORTED,
                         "%s: the RoPE scaling '%.*s' (%s) is not supported; linear, yarn and "
                         "Llama 3's factors are",
                         gguf_path(reader->gguf), (int)size_min(type.length, 64), type.data, name);
    }
    if (h->rope_scaling == ROPE_SCALING_LINEAR && linear > 0) {
        h->rope_factor = linear;
    }
    if (h->rope_factor == 0) {
        h->rope_factor = 1; /* what some converters write for none */
    }
    if (!(h->rope_factor > 0) || !isfinite(h->rope_factor)) {
        return error_set(reader->error, ERROR_FORMAT, "%s: a RoPE scaling factor of %g",
                         gguf_path(reader->gguf), (double)h->rope_factor);
    }
    return true;
}

static bool read_rope(const struct reader *reader, struct hyperparameters *h) {
    h->rope_dimensions = h->head_dim;
    h->rope_base = 10000.0f;
    if (!read_size(reader, "rope.dimension_count", h->head_dim, &h->rope_dimensions) ||
        !read_float(reader, "rope.freq_base", &h->rope_base)) {
        return false;
    }
    if (h->rope_dimensions % 2 != 0 || !(h->rope_base > 1) || !isfinite(h->rope_base)) {
        return error_set(reader->error, ERROR_FORMAT,
                         "%s: RoPE over %zu dimensions with base %g is not possible",
                         gguf_path(reader->gguf), h->rope_dimensions, (double)h->rope_base);
    }
    return read_rope_scaling(reader, h);
}

/* A window may hold for every layer, or by attention.sliding_window_pattern: an array of booleans,
 * or a number n (every n-th layer sees everything). */
static bool read_window(const struct reader *reader, struct arena *arena,
                        struct hyperparameters *h) {
    char name[128];
    uint32_t window = 0;
    if (!gguf_read_u32(reader->gguf, full_key(reader, "attention.sliding_window", name), &window,
                       reader->error)) {
        return false;
    }
    bool *has_window = arena_alloc(arena, h->layer_count, sizeof *has_window);
    if (has_window == NULL) {
        return error_set(reader->error, ERROR_OUT_OF_MEMORY, "no memory for the layer table");
    }
    h->sliding_window = window;
    h->layer_has_window = has_window;
    const struct gguf_value *pattern =
        gguf_find(reader->gguf, full_key(reader, "attention.sliding_window_pattern", name));
    double every = 0;
    bool is_array = pattern != NULL && pattern->type == GGUF_ARRAY;
    if (pattern != NULL && (is_array ? pattern->count < h->layer_count
                                     : !gguf_number_at(pattern, 0, &every) || every < 0)) {
        return error_set(reader->error, ERROR_FORMAT, "%s: '%s' does not fit %zu layers",
                         gguf_path(reader->gguf), name, h->layer_count);
    }
    for (size_t i = 0; i < h->layer_count; i++) {
        double flag = window != 0;
        if (is_array && !gguf_number_at(pattern, i, &flag)) {
            return error_set(reader->error, ERROR_FORMAT, "%s: '%s' is not an array of booleans",
                             gguf_path(reader->gguf), name);
        }
        if (every >= 1) {
            flag = fmod((double)i + 1, floor(every)) != 0;
        }
        has_window[i] = window != 0 && flag != 0;
    }
    return true;
}

bool hyperparameters_read(const struct gguf *gguf, struct arena *arena, struct hyperparameters *out,
                          struct error *error) {
    struct hyperparameters h = {.norm_epsilon = 1e-5f};
    if (!read_architecture(gguf, &h, error)) {
        return false;
    }
    struct reader reader = {gguf, h.architecture, error};
    char name[128];
    uint32_t experts = 0;
    if (!read_size(&reader, "block_count", MAX_LAYERS, &h.layer_count) ||
        !read_size(&reader, "embedding_length", MAX_WIDTH, &h.embedding_length) ||
        !read_size(&reader, "feed_forward_length", MAX_WIDTH, &h.feed_forward_length) ||
        !read_size(&reader, "context_length", MAX_CONTEXT, &h.context_length) ||
        !read_float(&reader, "attention.layer_norm_rms_epsilon", &h.norm_epsilon) ||
        !gguf_read_u32(gguf, full_key(&reader, "expert_count", name), &experts, error) ||
        !read_vocabulary_size(&reader, &h.vocabulary_size) || !read_heads(&reader, &h) ||
        !read_rope(&reader, &h) || !read_window(&reader, arena, &h)) {
        return false;
    }
    if (experts != 0) {
        return error_set(error, ERROR_UNSUPPORTED,
                         "%s: a mixture of %u experts (%s) is not supported", gguf_path(gguf),
                         experts, name);
    }
    *out = h;
    return true;
}

/* YaRN (Peng et al. 2023, section 3.2): the pair index at which a wave makes `rotations` turns over
 * the original context. */
static double yarn_pair_of_rotations(const struct hyperparameters *h, double rotations) {
    double turns = (double)h->rope_original_length / (rotations * 2 * M_PI);
    return (double)h->rope_dimensions * log(turns) / (2 * log((double)h->rope_base));
}

void rope_frequencies(const struct hyperparameters *h, const float *factors, float *frequencies,
                      float *magnitude) {
    size_t pairs = h->rope_dimensions / 2;
    bool yarn = h->rope_scaling == ROPE_SCALING_YARN;
    double low = 0, high = 0;
    if (yarn) {
        low = fmax(0, floor(yarn_pair_of_rotations(h, h->yarn_beta_fast)));
        high = fmin((double)h->rope_dimensions - 1,
                    ceil(yarn_pair_of_rotations(h, h->yarn_beta_slow)));
    }
    for (size_t i = 0; i < pairs; i++) {
        double plain = pow(h->rope_base, -2.0 * (double)i / (double)h->rope_dimensions);
        if (factors != NULL && factors[i] != 0) {
            plain /= factors[i];
        }
        double stretched = h->rope_scaling == ROPE_SCALING_NONE ? plain : plain / h->rope_factor;
        /* Fast waves keep their frequency, slow ones are stretched, with a ramp between. */
        double ramp = ((double)i - low) / fmax(0.001, high - low);
        double keep = yarn ? (1 - fmin(1, fmax(0, ramp))) * h->yarn_extrapolation : 0;
        frequencies[i] = (float)(stretched * (1 - keep) + plain * keep);
    }
    *magnitude = yarn ? h->yarn_attention_factor * (1 + 0.1f * logf(h->rope_factor)) : 1.0f;
}
