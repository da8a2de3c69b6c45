/* avx2_pack.c - packing eight rows at a time, for AVX2; see pack_blocks.h. */
#define PACK_VECTOR_BYTES 32
#include "backend/cpu/avx2.h"
#include "backend/cpu/pack_blocks.h"

void avx2_pack_blocks(const struct cpu_weight *weight, size_t panel, size_t first_block,
                      size_t block_count, uint8_t *packed) {
    pack_panel(weight, panel, first_block, block_count, packed);
}
