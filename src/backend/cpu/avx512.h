/* avx512.h - what the AVX-512 files share. Private to them. */
#ifndef MISTRAL_BACKEND_CPU_AVX512_H
#define MISTRAL_BACKEND_CPU_AVX512_H

#include "backend/cpu/cpu.h"

const struct matmul_kernel *avx512_matmul_kernel(enum tensor_type type);

#endif
