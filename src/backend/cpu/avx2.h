/* avx2.h - what the AVX2 files share. Private to them. */
#ifndef MISTRAL_BACKEND_CPU_AVX2_H
#define MISTRAL_BACKEND_CPU_AVX2_H

#include "backend/cpu/cpu.h"

const struct matmul_kernel *avx2_matmul_kernel(enum tensor_type type);

#endif
