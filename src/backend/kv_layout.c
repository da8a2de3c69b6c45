/* kv_layout.c - see kv_layout.h. Owns nothing; any thread. */
#include "backend/kv_layout.h"

#include "base/bytes.h"

#include <string.h>

static const char *const element_names[KV_ELEMENT_COUNT] = {
    [KV_ELEMENT_F16] = "f16",
    [KV_ELEMENT_Q8_0] = "q8_0",
    [KV_ELEMENT_F32] = "f32",
};

const char *kv_element_name(enum kv_element element) {
    return element_names[element];
}

bool kv_element_of_name(const char *name, enum kv_element *element) {
    for (int i = 0; i < KV_ELEMENT_COUNT; i++) {
        if (strcmp(name, element_names[i]) == 0) {
            *element = (enum kv_element)i;
            return true;
        }
    }
    return false;
}

size_t kv_unit_bytes(enum kv_element element, size_t head_dim) {
    switch (element) {
    case KV_ELEMENT_Q8_0:
        return KV_BLOCK_TOKENS *
               (head_dim + size_divide_up(head_dim, KV_Q8_VALUES) * sizeof(uint16_t));
    case KV_ELEMENT_F32:
        return KV_BLOCK_TOKENS * head_dim * sizeof(float);
    case KV_ELEMENT_F16:
    case KV_ELEMENT_COUNT:
        break;
    }
    return KV_BLOCK_TOKENS * head_dim * sizeof(uint16_t);
}

size_t kv_layer_key_bytes(const struct kv_layer *layer, enum kv_element element) {
    return layer->head_count * kv_unit_bytes(element, layer->key_dim);
}

size_t kv_layer_value_bytes(const struct kv_layer *layer, enum kv_element element) {
    return layer->values_in_keys ? 0 : layer->head_count * kv_unit_bytes(element, layer->value_dim);
}

bool kv_block_bytes(const struct kv_layout *layout, size_t *bytes) {
    size_t most_dim = SIZE_MAX / (KV_BLOCK_TOKENS * sizeof(float) * 4), total = 0;
    for (size_t i = 0; i < layout->layer_count; i++) {
        const struct kv_layer *layer = &layout->layers[i];
        size_t values;
        if (!size_multiply(layer->head_count, size_max(layer->key_dim, layer->value_dim),
                           &values) ||
            values > most_dim ||
            !size_add(total, kv_layer_key_bytes(layer, layout->element), &total) ||
            !size_add(total, kv_layer_value_bytes(layer, layout->element), &total)) {
            return false;
        }
    }
    *bytes = total;
    return true;
}
