/*
 * description.c - see description.h: reads what all families are described with from the usual
 * keys, then lets the family say what is different. Key names are GGUF's:
 * "<architecture>.<key>".
 */
#include "model/description.h"

#include "base/bytes.h"
#include "model/family.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- the architecture ---- */

static void append_text(char *out, size_t size, size_t *length, const char *text) {
    int added = snprintf(out + *length, size - *length, "%s%s", *length == 0 ? "" : ", ", text);
    *length = size_min(*length + (size_t)added, size - 1);
}

static const struct family *find_family(const struct gguf *gguf, struct error *error) {
    struct string_view name = {"", 0};
    if (!gguf_read_string(gguf, "general.architecture", &name, error)) {
        return NULL;
    }
    const struct family *family = family_find(name);
    if (family == NULL) {
        char known[512] = "";
        size_t length = 0;
        for (size_t i = 0; description_architecture(i) != NULL; i++) {
            append_text(known, sizeof known, &length, description_architecture(i));
        }
        error_set(error, ERROR_UNSUPPORTED,
                  "%s: the architecture '%.*s' (general.architecture) is not supported; this "
                  "program runs: %s (docs/models.md)",
                  gguf_path(gguf), (int)size_min(name.length, 64), name.data, known);
    }
    return family;
}

/* ---- sizes ---- */

static bool read_vocabulary_size(const struct family_reader *reader, size_t *out) {
    const struct gguf_value *tokens = gguf_find(reader->gguf, "tokenizer.ggml.tokens");
    *out = tokens != NULL && tokens->type == GGUF_ARRAY ? tokens->count : 0;
    return *out != 0 ? *out <= MAX_VOCABULARY ||
                           error_set(reader->error, ERROR_FORMAT,
                                     "%s: 'tokenizer.ggml.tokens' has %zu entries; at most %d are "
                                     "possible",
                                     gguf_path(reader->gguf), *out, MAX_VOCABULARY)
                     : family_read_size(reader, "vocab_size", 1, MAX_VOCABULARY, out);
}

/* Layers at the end that predict further tokens take no part in this forward pass. */
static bool read_layer_count(const struct family_reader *reader, size_t *out) {
    size_t predicting = 0;
    if (!family_read_size(reader, "block_count", 1, MAX_LAYERS, out) ||
        !family_read_size(reader, "nextn_predict_layers", 0, MAX_LAYERS, &predicting)) {
        return false;
    }
    if (predicting >= *out) {
        return family_fail(reader, "nextn_predict_layers", "leaves no layer of block_count");
    }
    *out -= predicting;
    return true;
}

static bool read_sizes(const struct family_reader *reader, struct model_description *d) {
    if (!read_layer_count(reader, &d->layer_count) ||
        !family_read_size(reader, "embedding_length", 1, MAX_WIDTH, &d->embedding_length) ||
        !family_read_size(reader, "context_length", 1, MAX_CONTEXT, &d->context_length) ||
        !family_read_float(reader, "attention.layer_norm_rms_epsilon", &d->norm_epsilon) ||
        !read_vocabulary_size(reader, &d->vocabulary_size)) {
        return false;
    }
    if (!(d->norm_epsilon >= 0 && d->norm_epsilon < 1)) {
        return family_fail(reader, "attention.layer_norm_rms_epsilon", "must be from 0 to below 1");
    }
    d->layers = arena_alloc(reader->arena, d->layer_count, sizeof *d->layers);
    return d->layers != NULL || error_set(reader->error, ERROR_OUT_OF_MEMORY,
                                          "no memory for %zu layers", d->layer_count);
}

/* ---- attention ---- */

static bool read_heads(const struct family_reader *reader, struct model_description *d) {
    size_t heads[MAX_LAYERS], kv_heads[MAX_LAYERS];
    if (!family_read_layer_sizes(reader, "attention.head_count", 1, MAX_HEADS, 0, d->layer_count,
                                 heads)) {
        return false;
    }
    if (!family_read_layer_sizes(reader, "attention.head_count_kv", 1, MAX_HEADS, heads[0],
                                 d->layer_count, kv_heads)) {
        return false;
    }
    size_t key_dim = d->embedding_length / heads[0];
    if (!family_read_size(reader, "attention.key_length", 1, MAX_HEAD_DIM, &key_dim)) {
        return false;
    }
    size_t value_dim = d->embedding_length / heads[0];
    if (!family_has_key(reader, "attention.value_length")) {
        value_dim = key_dim;
    }
    float scale = 1.0f / sqrtf((float)key_dim);
    if (!family_read_size(reader, "attention.value_length", 1, MAX_HEAD_DIM, &value_dim) ||
        !family_read_float(reader, "attention.scale", &scale)) {
        return false;
    }
    for (size_t i = 0; i < d->layer_count; i++) {
        d->layers[i].head_count = heads[i];
        d->layers[i].kv_head_count = kv_heads[i];
        d->layers[i].key_dim = key_dim;
        d->layers[i].value_dim = value_dim;
        d->layers[i].attention_scale = scale;
    }
    return true;
}

static bool check_heads(const struct family_reader *reader, const struct model_description *d) {
    for (size_t i = 0; i < d->layer_count; i++) {
        const struct layer_description *layer = &d->layers[i];
        if (layer->head_count % layer->kv_head_count != 0) {
            char what[128];
            snprintf(what, sizeof what,
                     "is %zu in layer %zu, whose %zu heads do not divide into that",
                     layer->kv_head_count, i, layer->head_count);
            return family_fail(reader, "attention.head_count_kv", what);
        }
        if (!isfinite(layer->attention_scale)) {
            return family_fail(reader, "attention.scale", "is no finite number");
        }
    }
    return true;
}

/* ---- rotary embedding ---- */

static bool read_scaling_numbers(const struct family_reader *reader, struct rope_description *rope,
                                 float *linear, float *attention_factor, float *log_multiplier) {
    return family_read_float(reader, "rope.scaling.factor", &rope->factor) &&
           family_read_float(reader, "rope.scale_linear", linear) &&
           family_read_size(reader, "rope.scaling.original_context_length", 1, MAX_CONTEXT,
                            &rope->original_length) &&
           family_read_float(reader, "rope.scaling.attn_factor", attention_factor) &&
           family_read_float(reader, "rope.scaling.yarn_log_multiplier", log_multiplier) &&
           family_read_float(reader, "rope.scaling.yarn_ext_factor", &rope->yarn_extrapolation) &&
           family_read_float(reader, "rope.scaling.yarn_beta_fast", &rope->yarn_beta_fast) &&
           family_read_float(reader, "rope.scaling.yarn_beta_slow", &rope->yarn_beta_slow);
}

static bool read_scaling_type(const struct family_reader *reader, enum rope_scaling *out) {
    static const struct {
        const char *name;
        enum rope_scaling scaling;
    } types[] = {{"none", ROPE_SCALING_NONE},
                 {"linear", ROPE_SCALING_LINEAR},
                 {"yarn", ROPE_SCALING_YARN},
                 {"longrope", ROPE_SCALING_LONG}};
    char name[128];
    struct string_view type = {"linear", 6}; /* a factor without a type, as llama.cpp reads it */
    if (!gguf_read_string(reader->gguf, family_key(reader, "rope.scaling.type", name), &type,
                          reader->error)) {
        return false;
    }
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (string_view_is(type, types[i].name)) {
            *out = types[i].scaling;
            return true;
        }
    }
    return error_set(reader->error, ERROR_UNSUPPORTED,
                     "%s: the RoPE scaling '%.*s' (%s) is not supported; linear, yarn, longrope "
                     "and Llama 3's factors are",
                     gguf_path(reader->gguf), (int)size_min(type.length, 64), type.data, name);
}

/* YaRN's factor of rotated vectors: 0.1 ln(factor) + 1, or, where the file says by how much scores
 * grow instead (mscale_all_dim), what is left of it (Peng et al. 2023, section 3.4). */
static float yarn_magnitude(float factor, float log_multiplier) {
    double growth = 0.1 * log((double)factor);
    return (float)((1 + growth) / (1 + growth * (double)log_multiplier));
}

static bool read_rope_scaling(const struct family_reader *reader, size_t context_length,
                              struct rope_description *rope) {
    float linear = 0, attention_factor = 1, log_multiplier = 0;
    rope->factor = 1;
    rope->original_length = context_length;
    rope->yarn_extrapolation = 1;
    rope->yarn_beta_fast = 32;
    rope->yarn_beta_slow = 1;
    if (!read_scaling_type(reader, &rope->scaling) ||
        !read_scaling_numbers(reader, rope, &linear, &attention_factor, &log_multiplier)) {
        return false;
    }
    if (rope->scaling == ROPE_SCALING_LINEAR && linear > 0) {
        rope->factor = linear; /* the older spelling */
    }
    if (rope->factor == 0) {
        rope->factor = 1; /* what some converters write for none */
    }
    if (!(rope->factor > 0) || !isfinite(rope->factor)) {
        return family_fail(reader, "rope.scaling.factor", "must be a number above 0");
    }
    rope->magnitude = attention_factor;
    if (rope->scaling == ROPE_SCALING_YARN) {
        rope->magnitude *= yarn_magnitude(rope->factor, log_multiplier);
    }
    return isfinite(rope->magnitude) ||
           family_fail(reader, "rope.scaling.attn_factor", "is no finite number");
}

static bool read_rope(const struct family_reader *reader, const struct family *family,
                      struct model_description *d) {
    struct rope_description *rope = &d->ropes[0];
    d->rope_count = 1;
    *rope = (struct rope_description){.pairing = family->pairing,
                                      .dimensions = d->layers[0].key_dim,
                                      .base = 10000.0f,
                                      .factors_tensor = "rope_freqs.weight"};
    if (!family_read_size(reader, "rope.dimension_count", 1, MAX_HEAD_DIM, &rope->dimensions) ||
        !family_read_float(reader, "rope.freq_base", &rope->base) ||
        !read_rope_scaling(reader, d->context_length, rope)) {
        return false;
    }
    /* Phi-3's files have the factors, and not the type. */
    static const char long_factors[] = "rope_factors_long.weight";
    if (rope->scaling == ROPE_SCALING_LONG ||
        gguf_find_tensor(reader->gguf, long_factors) != NULL) {
        rope->scaling = ROPE_SCALING_LONG;
        rope->factors_tensor = reader->sequence_length > rope->original_length
                                   ? long_factors
                                   : "rope_factors_short.weight";
    }
    return true;
}

static bool check_ropes(const struct family_reader *reader, const struct model_description *d) {
    for (size_t i = 0; i < d->layer_count; i++) {
        if (d->layers[i].rope == ROPE_NONE) {
            continue;
        }
        const struct rope_description *rope = &d->ropes[d->layers[i].rope];
        if (rope->dimensions % 2 != 0 || rope->dimensions == 0 ||
            rope->first + rope->dimensions > d->layers[i].key_dim) {
            return family_fail(reader, "rope.dimension_count",
                               "must be even and no larger than attention.key_length");
        }
        if (!(rope->base > 1) || !isfinite(rope->base)) {
            return family_fail(reader, "rope.freq_base", "must be a number above 1");
        }
    }
    return true;
}

/* ---- feed-forwards ---- */

static bool read_scoring(const struct family_reader *reader, struct expert_choice *choice) {
    /* 0: the file does not say */
    size_t number = 0;
    if (!family_read_size(reader, "expert_gating_func", 0, UINT32_MAX, &number)) {
        return false;
    }
    if (number > 3) {
        return family_fail(reader, "expert_gating_func",
                           "is not known: softmax (1), sigmoid (2) and the softmax of the chosen "
                           "(3) are");
    }
    if (number > 0) {
        static const enum expert_scoring scorings[] = {EXPERTS_SOFTMAX, EXPERTS_SIGMOID,
                                                       EXPERTS_SOFTMAX_OF_CHOSEN};
        choice->scoring = scorings[number - 1];
    }
    return true;
}

static bool read_choice(const struct family_reader *reader, struct expert_choice *choice) {
    char name[128];
    float scale = 0;
    choice->group_count = choice->used_groups = 1;
    if (!family_read_size(reader, "expert_used_count", 1, choice->expert_count,
                          &choice->used_count) ||
        !family_read_size(reader, "expert_group_count", 0, choice->expert_count,
                          &choice->group_count) ||
        !read_scoring(reader, choice) ||
        !gguf_read_bool(reader->gguf, family_key(reader, "expert_weights_norm", name),
                        &choice->normalise, reader->error) ||
        !family_read_float(reader, "expert_weights_scale", &scale)) {
        return false;
    }
    choice->scale = scale == 0 ? 1 : scale;
    choice->group_count = size_max(choice->group_count, 1);
    if (!family_read_size(reader, "expert_group_used_count", 0, choice->group_count,
                          &choice->used_groups)) {
        return false;
    }
    choice->used_groups = size_max(choice->used_groups, 1);
    size_t group = choice->expert_count / choice->group_count;
    if (choice->expert_count % choice->group_count != 0 ||
        group * choice->used_groups < choice->used_count) {
        return family_fail(reader, "expert_group_count",
                           "does not divide the experts into groups that hold those to be used");
    }
    return true;
}

static bool read_experts(const struct family_reader *reader, const struct family *family,
                         size_t feed_forward_length, struct expert_description *experts) {
    size_t shared = 0;
    experts->choice.scoring = family->expert_scoring;
    experts->choice.normalise = family->experts_normalise;
    experts->length = feed_forward_length;
    if (!family_read_size(reader, "expert_count", 0, MAX_EXPERTS, &experts->choice.expert_count)) {
        return false;
    }
    if (experts->choice.expert_count == 0) {
        return true;
    }
    if (!family_read_size(reader, "expert_feed_forward_length", 1, MAX_WIDTH, &experts->length) ||
        !family_read_size(reader, "expert_shared_count", 0, MAX_EXPERTS, &shared)) {
        return false;
    }
    experts->shared_length = shared * experts->length;
    return read_choice(reader, &experts->choice) &&
           family_read_size(reader, "expert_shared_feed_forward_length", 0, MAX_WIDTH,
                            &experts->shared_length);
}

/* Leading layers may be dense in a model of experts. */
static bool read_feed_forward(const struct family_reader *reader, const struct family *family,
                              struct model_description *d) {
    size_t lengths[MAX_LAYERS], dense = 0;
    if (!family_read_layer_sizes(reader, "feed_forward_length", 1, MAX_WIDTH, d->embedding_length,
                                 d->layer_count, lengths) ||
        !read_experts(reader, family, lengths[0], &d->experts) ||
        !family_read_size(reader, "leading_dense_block_count", 0, d->layer_count, &dense)) {
        return false;
    }
    bool has_experts = d->experts.choice.expert_count > 0;
    if (!has_experts && !family_has_key(reader, "feed_forward_length")) {
        return family_fail(reader, "feed_forward_length", "is missing");
    }
    for (size_t i = 0; i < d->layer_count; i++) {
        struct layer_description *layer = &d->layers[i];
        layer->parts |= family->parts;
        layer->feed_forward_length = lengths[i];
        layer->parts |= has_experts && i >= dense ? PART_EXPERTS : PART_DENSE;
        if ((layer->parts & PART_EXPERTS) != 0 && d->experts.shared_length > 0) {
            layer->parts |= PART_SHARED_EXPERT;
        }
    }
    return true;
}

/* ---- all of it ---- */

static bool read_window(const struct family_reader *reader, const struct family *family,
                        struct model_description *d) {
    size_t window = 0;
    return family_read_size(reader, "attention.sliding_window", 0, MAX_CONTEXT, &window) &&
           family_read_windows(reader, window, family->window_pattern, d);
}

static bool read_scales(const struct family_reader *reader, const struct family *family,
                        struct model_description *d) {
    d->gate = family->gate;
    d->embedding_scale = family->embedding_scale ? sqrtf((float)d->embedding_length) : 1;
    d->residual_scale = 1;
    d->logits.scale = 1;
    return family_read_float(reader, "attention.temperature_scale", &d->query_temperature.scale) &&
           family_read_size(reader, "attention.temperature_length", 1, MAX_CONTEXT,
                            &d->query_temperature.length) &&
           family_read_float(reader, "attn_logit_softcapping", &d->attention_soft_cap) &&
           family_read_float(reader, "final_logit_softcapping", &d->logits.soft_cap);
}

static bool check_numbers(const struct family_reader *reader, const struct model_description *d) {
    const struct {
        const char *key;
        float value;
    } numbers[] = {
        {"attn_logit_softcapping", d->attention_soft_cap},
        {"final_logit_softcapping", d->logits.soft_cap},
        {"attention.temperature_scale", d->query_temperature.scale},
        {"expert_weights_scale", d->experts.choice.scale},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (!(numbers[i].value >= 0) || !isfinite(numbers[i].value)) {
            return family_fail(reader, numbers[i].key, "must be a finite number, not below 0");
        }
    }
    return true;
}

bool description_read(const struct gguf *gguf, size_t sequence_length, struct arena *arena,
                      struct model_description *out, struct error *error) {
    struct model_description d = {.norm_epsilon = 1e-5f};
    const struct family *family = find_family(gguf, error);
    if (family == NULL) {
        return false;
    }
    struct string_view name = {0};
    if (!gguf_read_string(gguf, "general.architecture", &name, error)) {
        return false;
    }
    snprintf(d.architecture, sizeof d.architecture, "%.*s", (int)name.length, name.data);
    struct family_reader reader = {gguf, d.architecture, sequence_length, arena, error};
    if (!read_sizes(&reader, &d)) {
        return false;
    }
    reader.sequence_length = sequence_length == 0 ? d.context_length : sequence_length;
    d.query_temperature.length = d.context_length;
    if (!read_heads(&reader, &d) || !read_rope(&reader, family, &d) ||
        !read_feed_forward(&reader, family, &d) || !read_window(&reader, family, &d) ||
        !read_scales(&reader, family, &d) ||
        (family->describe != NULL && !family->describe(&reader, &d)) || !check_heads(&reader, &d) ||
        !check_ropes(&reader, &d) || !check_numbers(&reader, &d) || !family_place_kv(&reader, &d)) {
        return false;
    }
    *out = d;
    return true;
}

size_t description_common_window(const struct model_description *d) {
    size_t window = 0;
    for (size_t i = 0; i < d->layer_count; i++) {
        if (d->layers[i].window == 0) {
            return 0;
        }
        window = size_max(window, d->layers[i].window);
    }
    return window;
}

/* YaRN (Peng et al. 2023, section 3.2): the pair index at which a wave makes `rotations` turns over
 * the original context. */
static double yarn_pair_of_rotations(const struct rope_description *rope, double rotations) {
    double turns = (double)rope->original_length / (rotations * 2 * M_PI);
    return (double)rope->dimensions * log(turns) / (2 * log((double)rope->base));
}

void rope_frequencies(const struct rope_description *rope, const float *factors,
                      float *frequencies) {
    bool yarn = rope->scaling == ROPE_SCALING_YARN;
    bool stretches = yarn || rope->scaling == ROPE_SCALING_LINEAR;
    double low = 0, high = 0;
    if (yarn) {
        low = fmax(0, floor(yarn_pair_of_rotations(rope, (double)rope->yarn_beta_fast)));
        high = fmin((double)rope->dimensions - 1,
                    ceil(yarn_pair_of_rotations(rope, (double)rope->yarn_beta_slow)));
    }
    for (size_t i = 0; i < rope->dimensions / 2; i++) {
        double plain = pow((double)rope->base, -2.0 * (double)i / (double)rope->dimensions);
        if (factors != NULL && factors[i] != 0) {
            plain /= (double)factors[i];
        }
        double stretched = stretches ? plain / (double)rope->factor : plain;
        /* Fast waves keep their frequency, slow ones are stretched, with a ramp between. */
        double ramp = ((double)i - low) / fmax(0.001, high - low);
        double keep = yarn ? (1 - fmin(1, fmax(0, ramp))) * (double)rope->yarn_extrapolation : 0;
        frequencies[i] = (float)(stretched * (1 - keep) + plain * keep);
    }
}
