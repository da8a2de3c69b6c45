/*
 * mix.c - see mix.h. The rules are facts of llama.cpp's src/llama-quant.cpp (as llama-cpp-python
 * 0.3.36 carries it) for the llama family; tests/python/test_quantize.py spells them out for eight
 * layers.
 */
#include "convert/mix.h"

#include <string.h>
#include <strings.h>

static const struct mix mixes[] = {
    {"q2_k", 10, TENSOR_Q2_K},   {"q3_k_s", 11, TENSOR_Q3_K}, {"q3_k_m", 12, TENSOR_Q3_K},
    {"q3_k_l", 13, TENSOR_Q3_K}, {"q4_0", 2, TENSOR_Q4_0},    {"q4_1", 3, TENSOR_Q4_1},
    {"q4_k_s", 14, TENSOR_Q4_K}, {"q4_k_m", 15, TENSOR_Q4_K}, {"q5_0", 8, TENSOR_Q5_0},
    {"q5_1", 9, TENSOR_Q5_1},    {"q5_k_s", 16, TENSOR_Q5_K}, {"q5_k_m", 17, TENSOR_Q5_K},
    {"q6_k", 18, TENSOR_Q6_K},   {"q8_0", 7, TENSOR_Q8_0},    {"f16", 1, TENSOR_F16},
    {"bf16", 32, TENSOR_BF16},   {"f32", 0, TENSOR_F32},      {0},
};

const struct mix *mix_table(void) {
    return mixes;
}

const struct mix *mix_of(const char *name) {
    for (const struct mix *mix = mixes; mix->name != NULL; mix++) {
        if (strcasecmp(mix->name, name) == 0) {
            return mix;
        }
    }
    return NULL;
}

/* In which layers a rule holds. */
enum when {
    ALWAYS,
    FIRST_TWO,
    FIRST_FOUR,
    FIRST_SIXTEENTH,
    FIRST_EIGHTH,
    MORE_BITS, /* the first and the last eighth, and every third between them */
    GROUPED,   /* four query heads or more share a key-value head */
};

/* The first rule of a mix for a tensor that holds counts; none: the mix's base. */
static const struct rule {
    const char *mix;
    const char *tensor; /* its name behind "blk.N." */
    enum when when;
    enum tensor_type type;
} rules[] = {
    {"q2_k", "attn_v.weight", GROUPED, TENSOR_Q4_K},
    {"q2_k", "attn_v.weight", ALWAYS, TENSOR_Q3_K},
    {"q2_k", "ffn_down.weight", ALWAYS, TENSOR_Q3_K},
    {"q2_k", "attn_output.weight", ALWAYS, TENSOR_Q3_K},
    {"q3_k_m", "attn_v.weight", FIRST_TWO, TENSOR_Q5_K},
    {"q3_k_m", "attn_v.weight", ALWAYS, TENSOR_Q4_K},
    {"q3_k_m", "ffn_down.weight", FIRST_SIXTEENTH, TENSOR_Q5_K},
    {"q3_k_m", "ffn_down.weight", ALWAYS, TENSOR_Q4_K},
    {"q3_k_m", "attn_output.weight", ALWAYS, TENSOR_Q4_K},
    {"q3_k_l", "attn_v.weight", ALWAYS, TENSOR_Q5_K},
    {"q3_k_l", "ffn_down.weight", ALWAYS, TENSOR_Q5_K},
    {"q3_k_l", "attn_output.weight", ALWAYS, TENSOR_Q5_K},
    {"q4_k_s", "attn_v.weight", FIRST_FOUR, TENSOR_Q5_K},
    {"q4_k_s", "ffn_down.weight", FIRST_EIGHTH, TENSOR_Q5_K},
    {"q4_k_m", "attn_v.weight", MORE_BITS, TENSOR_Q6_K},
    {"q4_k_m", "ffn_down.weight", MORE_BITS, TENSOR_Q6_K},
    {"q5_k_m", "attn_v.weight", MORE_BITS, TENSOR_Q6_K},
    {"q5_k_m", "ffn_down.weight", MORE_BITS, TENSOR_Q6_K},
};

/* What takes the place of a 256-value format where rows are no multiple of 256. */
static const struct {
    enum tensor_type wanted, instead;
} fallbacks[] = {
    {TENSOR_Q2_K, TENSOR_Q4_0}, {TENSOR_Q3_K, TENSOR_Q4_0}, {TENSOR_Q4_K, TENSOR_Q5_0},
    {TENSOR_Q5_K, TENSOR_Q5_1}, {TENSOR_Q6_K, TENSOR_Q8_0},
};

static bool holds(enum when when, const struct mix_shape *shape, size_t layer) {
    size_t count = shape->layer_count, eighth = count / 8;
    switch (when) {
    case FIRST_TWO:
        return layer < 2;
    case FIRST_FOUR:
        return layer < 4;
    case FIRST_SIXTEENTH:
        return layer < count / 16;
    case FIRST_EIGHTH:
        return layer < eighth;
    case MORE_BITS:
        return layer < eighth || layer >= 7 * count / 8 || (layer - eighth) % 3 == 2;
    case GROUPED:
        return shape->group_size >= 4;
    default:
        return true;
    }
}

/* "blk.12.attn_v.weight": 12, and what follows; false for a tensor of no layer. */
static bool split_layer(struct string_view tensor, size_t *layer, struct string_view *rest) {
    size_t at = 4;
    *layer = 0;
    if (tensor.length < 6 || memcmp(tensor.data, "blk.", 4) != 0) {
        return false;
    }
    while (at < tensor.length && at < 10 && tensor.data[at] >= '0' && tensor.data[at] <= '9') {
        *layer = *layer * 10 + (size_t)(tensor.data[at++] - '0');
    }
    if (at == 4 || at >= tensor.length || tensor.data[at] != '.') {
        return false;
    }
    *rest = (struct string_view){tensor.data + at + 1, tensor.length - at - 1};
    return true;
}

static bool ends_in(struct string_view text, const char *end) {
    size_t length = strlen(end);
    return text.length >= length && memcmp(text.data + text.length - length, end, length) == 0;
}

bool mix_applies(struct string_view tensor, size_t dimension_count) {
    return dimension_count >= 2 && ends_in(tensor, ".weight") && !ends_in(tensor, "_norm.weight") &&
           !ends_in(tensor, "ffn_gate_inp.weight");
}

static enum tensor_type layer_type(const struct mix *mix, const struct mix_shape *shape,
                                   struct string_view tensor) {
    size_t layer;
    struct string_view rest;
    enum tensor_type type = mix->base;
    if (!split_layer(tensor, &layer, &rest)) {
        return type;
    }
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if (strcmp(rules[i].mix, mix->name) == 0 && string_view_is(rest, rules[i].tensor) &&
            holds(rules[i].when, shape, layer)) {
            type = rules[i].type;
            break;
        }
    }
    /* Llama 2 and 3 of 70 billion: eight times less of attn_v than of attn_q, so better is cheap.
     */
    bool is_70b = shape->layer_count == 80 && shape->group_size > 1;
    if (is_70b && string_view_is(rest, "attn_v.weight") &&
        (type == TENSOR_Q3_K || type == TENSOR_Q4_K)) {
        type = TENSOR_Q5_K;
    }
    return type;
}

const struct quant_format *mix_format(const struct mix *mix, const struct mix_shape *shape,
                                      struct string_view tensor, size_t columns) {
    const struct quant_format *base = quant_format_of(mix->base);
    if (base->type == TENSOR_F32 || base->type == TENSOR_F16 || base->type == TENSOR_BF16) {
        return base;
    }
    enum tensor_type type = layer_type(mix, shape, tensor);
    if (string_view_is(tensor, "output.weight") ||
        (!shape->has_output && string_view_is(tensor, "token_embd.weight"))) {
        bool whole = columns % base->block_values == 0;
        type = whole && mix->base != TENSOR_Q8_0 ? TENSOR_Q6_K : TENSOR_Q8_0;
    }
    const struct quant_format *format = quant_format_of(type);
    for (size_t i = 0; i < sizeof fallbacks / sizeof fallbacks[0]; i++) {
        if (columns % format->block_values != 0 && fallbacks[i].wanted == type) {
            format = quant_format_of(fallbacks[i].instead);
            break;
        }
    }
    return columns % format->block_values == 0 ? format : quant_format_of(TENSOR_F16);
}
