/* ops_harness.h - what the op tests share: random numbers, backends, activations. Each test program
 * includes it once. */
#ifndef MISTRAL_TESTS_OPS_HARNESS_H
#define MISTRAL_TESTS_OPS_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backend/backend.h"
#include "base/bytes.h"
#include "base/random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Many times as slow: tests then leave out what is large and asks nothing new of the kernels. */
#if defined(TEST_EMULATED)
enum { IS_EMULATED = 1 };
#else
enum { IS_EMULATED = 0 };
#endif

/* Six times as slow, and asked about memory and not about results: the other builds have all of it.
 */
#if defined(__SANITIZE_ADDRESS__)
enum { IS_SANITIZED = 1 };
#else
enum { IS_SANITIZED = 0 };
#endif

static struct random_state rng;

static inline double normal(void) { /* Irwin-Hall: twelve uniforms */
    double sum = -6;
    for (int i = 0; i < 12; i++) {
        sum += random_uniform(&rng);
    }
    return sum;
}

static inline struct backend *create_backend_with(size_t threads, const char *kernels,
                                                  bool plain_attention) {
    struct cpu_backend_options options = {
        .thread_count = threads, .kernels = kernels, .plain_attention = plain_attention};
    struct backend *backend = NULL;
    struct error error = {0};
    if (!cpu_backend_create(&options, &backend, &error)) {
        fail_msg("%s", error.message);
    }
    return backend;
}

static inline struct backend *create_backend(size_t threads, const char *kernels) {
    return create_backend_with(threads, kernels, false);
}

static inline void normal_activations(float *x, size_t count) {
    for (size_t i = 0; i < count; i++) {
        x[i] = (float)normal();
    }
}

static inline struct activation *create_activation(struct backend *backend, size_t rows,
                                                   size_t columns) {
    struct activation *activation = NULL;
    struct error error = {0};
    assert_true(backend->ops->activation_create(backend, rows, columns, &activation, &error));
    return activation;
}

#endif
