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

bool kv_block_bytes(const struct kv_layout *layout, size_t *bytes) {
    size_t most_dim = SIZE_MAX / (KV_BLOCK_TOKENS * sizeof(float) * 2);
    *bytes = 2;
    return layout->head_dim < most_dim &&
           size_multiply(*bytes, kv_unit_bytes(layout->element, layout->head_dim), bytes) &&
           size_multiply(*bytes, layout->kv_head_count, bytes) &&
           size_multiply(*bytes, layout->layer_count, bytes);
}
