/* pack.c - packing that every processor can do; see pack_blocks.h. */
#define PACK_VECTOR_BYTES 16
#include "backend/cpu/pack_blocks.h"

void portable_pack_blocks(const struct cpu_weight *weight, size_t panel, size_t first_block,
                          size_t block_count, uint8_t *packed) {
    pack_panel(weight, panel, first_block, block_count, packed);
}
