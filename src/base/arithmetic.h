/*
 * arithmetic.h - how fast this machine's processors multiply and add: what bounds the speed of
 * reading a prompt.
 */
#ifndef MISTRAL_BASE_ARITHMETIC_H
#define MISTRAL_BASE_ARITHMETIC_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct arithmetic {
    double int8_operations; /* a second; a multiplication and an addition are two */
    double f32_operations;
    const char *int8_instructions; /* what they were measured with: "vpdpbusd, 512 bits" */
    const char *f32_instructions;
};

/* Dot products out of registers on `thread_count` threads, each kind for about `seconds`; the best
 * pass counts. With the instructions that the set of kernels of that name may use (backend.h:
 * "avx2", "neon", …), so that what these kernels reach can be held against it; NULL: the
 * processor's best. Vector instructions only: matrix units (AMX, SME) are not looked at. Blocks;
 * any thread. */
bool arithmetic_measure(size_t thread_count, double seconds, const char *kernels,
                        struct arithmetic *arithmetic, struct error *error);

#endif
