/* neon.h - what the NEON files share. Private to them. */
#ifndef MISTRAL_BACKEND_CPU_NEON_H
#define MISTRAL_BACKEND_CPU_NEON_H

#include "backend/cpu/cpu.h"

const struct matmul_kernel *neon_matmul_kernel(enum tensor_type type);
const struct matmul_kernel *i8mm_matmul_kernel(enum tensor_type type);

/* See struct matmul_kernel. */
#define DECLARE_KERNEL(name)                                                                       \
    void neon_multiply_packed_##name(const struct cpu_weight *weight, size_t panel,                \
                                     size_t first_column, const uint8_t *x, size_t stride,         \
                                     size_t row_count, size_t columns, float *sums)

DECLARE_KERNEL(q4_0);
DECLARE_KERNEL(q4_1);
DECLARE_KERNEL(q5_0);
DECLARE_KERNEL(q5_1);
DECLARE_KERNEL(q8_0);
DECLARE_KERNEL(q2_k);
DECLARE_KERNEL(q3_k);
DECLARE_KERNEL(q4_k);
DECLARE_KERNEL(q5_k);
DECLARE_KERNEL(q6_k);

#endif
