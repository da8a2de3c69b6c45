/*
 * kernel_bench.h - every kernel by itself: products in each format, a layer of experts,
 * attention, sampling. One call
 * of one case at a time, to be timed, or counted under a profiler.
 *
 * A case's data are made by prepare and dropped by the next. The caller's thread computes.
 */
#ifndef MISTRAL_BENCH_KERNEL_BENCH_H
#define MISTRAL_BENCH_KERNEL_BENCH_H

#include "backend/backend.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct kernel_bench;

struct kernel_bench_options {
    struct cpu_backend_options cpu;
    bool small; /* data that stay in the caches and take a moment: to count instructions */
};

/* What one call does. */
struct kernel_bench_work {
    double bytes;      /* of weights, or of keys and values, that are read */
    double operations; /* a multiplication and an addition are two; 0: it is not about those */
    bool is_integer;   /* of 8-bit dot products, else of f32 */
};

bool kernel_bench_create(const struct kernel_bench_options *options, struct kernel_bench **bench,
                         struct error *error);
void kernel_bench_free(struct kernel_bench *bench); /* NULL allowed */

const char *kernel_bench_kernels(const struct kernel_bench *bench);

size_t kernel_bench_count(void);
/* "matmul Q5_K x 16", "experts Q4_K x 1", "attention f16 x 1 after 8191", "sampling top-p"; the
 * same in every run with data of one size. */
void kernel_bench_name(const struct kernel_bench *bench, size_t index, char *name, size_t size);

bool kernel_bench_prepare(struct kernel_bench *bench, size_t index, struct kernel_bench_work *work,
                          struct error *error);
/* Of what was prepared last. A profiler knows it by this name. */
void kernel_bench_call(struct kernel_bench *bench);

#endif
