/*
 * cpu_matmul.h - products as the threads are given them: some rows of activations, encoded once,
 * and the matrices that they meet. Private to src/backend/cpu. Thread: the engine's.
 */
#ifndef MISTRAL_BACKEND_CPU_CPU_MATMUL_H
#define MISTRAL_BACKEND_CPU_CPU_MATMUL_H

#include "backend/cpu/cpu.h"

/* Rows that meet the same matrices. */
struct matmul_input {
    const float *x; /* rows lie `stride` floats apart; of each the first columns of the job */
    size_t stride;
    const uint32_t *rows; /* [count] of x; NULL: the first ones, one after the other */
    size_t count;
    size_t first; /* its place among the encoded rows of all inputs */
    /* Set by cpu_run_matmul: where its rows are encoded, chunk by chunk; NULL: nobody asks. */
    uint8_t *encoded[ENCODING_COUNT];
};

/* One matrix, or with a gate a pair of one shape, and the rows it meets. */
struct matmul_part {
    struct matmul_input *input;
    const struct cpu_weight *weight, *second; /* second: of MATMUL_GATED */
    const float *bias, *second_bias;          /* [weight rows], or NULL */
    enum matmul_epilogue epilogue;
    const struct gate *gate;
    float *out; /* rows lie out_stride floats apart */
    size_t out_stride;
    const uint32_t *out_rows; /* [input count]; NULL: the first ones, one after the other */
    const float *factors;     /* [input count]: with MATMUL_ADD, out += factor * product; NULL: 1 */
};

struct matmul_job {
    struct cpu_backend *cpu;
    size_t columns; /* of all matrices */
    struct matmul_input *inputs;
    size_t input_count;
    const struct matmul_part *parts;
    size_t part_count;
    bool is_sum; /* parts, of one shape, add to the same rows: each value in the parts' order */
    /* Set by cpu_run_matmul: */
    size_t pass_panels, pass_count;
};

void cpu_run_matmul(struct matmul_job *job);
/* How many rows of that many columns can be encoded at once, whatever the format. */
size_t cpu_encodable_rows(const struct cpu_backend *cpu, size_t columns);

#endif
