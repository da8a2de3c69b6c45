/* processors.h - what there is to compute on. Safe on any thread. */
#ifndef MISTRAL_BASE_PROCESSORS_H
#define MISTRAL_BASE_PROCESSORS_H

#include <stdbool.h>
#include <stddef.h>

/* Physical cores this process may run on (performance cores where the machine has two kinds), at
 * least 1: two threads on one core's hyper-threads share its arithmetic units and gain nothing
 * here. */
size_t processors_physical(void);

/* What the processor calls itself, "processor" when it does not tell. `root` is put before /proc:
 * "" on a live system, a folder in tests. */
void processors_read_name(const char *root, char *name, size_t size);

#if defined(__x86_64__)
/* Whether it multiplies and adds bytes in vectors of 256 bits without AVX-512: AVX-VNNI, and AVX2
 * with FMA beside it. */
bool processors_have_avx_vnni(void);
#elif defined(__aarch64__)
/* Whether this processor has instructions that ARMv8-A leaves open: FEAT_DotProd, FEAT_I8MM. */
bool processors_have_dot_product(void);
bool processors_have_int8_matrices(void);
#endif

#endif
