/* avx2.h - what the AVX2 files share, and what AVX-512 takes from them. Private to both. */
#ifndef MISTRAL_BACKEND_CPU_AVX2_H
#define MISTRAL_BACKEND_CPU_AVX2_H

#include "backend/cpu/cpu.h"

const struct matmul_kernel *avx2_matmul_kernel(enum tensor_type type);
const struct matmul_kernel *avxvnni_matmul_kernel(enum tensor_type type);

/* See struct matmul_kernel. */
void avx2_unpack_wide_q8_0(const struct cpu_weight *weight, size_t panel, size_t first_column,
                           size_t columns, void *unpacked);
void avx2_multiply_wide(const void *unpacked, const uint8_t *x, size_t stride, size_t row_count,
                        size_t columns, float *sums);

/* See struct cpu_kernels. */
void avx2_pack_blocks(const struct cpu_weight *weight, size_t panel, size_t first_block,
                      size_t block_count, uint8_t *packed);
void avx2_encode_q8_32(const float *values, size_t columns, struct q8_block32 *blocks);
void avx2_encode_q8_256(const float *values, size_t columns, struct q8_block256 *blocks);
void avx2_rms_norm(const float *x, const float *weight, float epsilon, size_t columns, float *out);
void avx2_scale(float *values, size_t count, float factor);

/* Members of a struct cpu_kernels beside its name and matmul: what AVX-512 takes from AVX2, and
 * functions of the file that writes this. */
#define SHARED_KERNELS                                                                             \
    .pack_blocks = avx2_pack_blocks, .encode_q8_32 = avx2_encode_q8_32,                            \
    .encode_q8_256 = avx2_encode_q8_256, .rms_norm = avx2_rms_norm,                                \
    .gates = {gate_silu, gate_gelu, portable_gate_gelu_erf, gate_clamped}, .widen_f16 = widen_f16, \
    .narrow_f16 = narrow_f16, .widen_q8_keys = widen_q8_keys, .widen_q8_values = widen_q8_values,  \
    .attention_scores = attention_scores, .largest = largest, .exp_sum = exp_sum,                  \
    .attention_accumulate = attention_accumulate, .scale = avx2_scale

#endif
