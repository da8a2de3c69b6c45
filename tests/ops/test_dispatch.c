/*
 * test_dispatch.c - which kernels are chosen: the processor's best, or those asked for by name
 * where it can run them.
 *
 * TEST_BEST_KERNELS in the environment names the best set of the processor that the test runs on,
 * where somebody knows: scripts/test.sh does, of those it emulates.
 */
#include "ops_harness.h"

#include "base/arithmetic.h"

static void kernels_that_cannot_run_are_refused(void **state) {
    (void)state;
    struct error error = {0};
    struct backend *backend = NULL;
    struct cpu_backend_options options = {.thread_count = 1, .kernels = "cray"};
    assert_false(cpu_backend_create(&options, &backend, &error));
    assert_non_null(strstr(error.message, "kernels is cray"));
    assert_non_null(strstr(error.message, "portable"));
}

static void auto_takes_the_best_kernels(void **state) {
    (void)state;
    static const char *const automatic[] = {NULL, "auto"};
    for (size_t i = 0; i < 2; i++) {
        struct backend *backend = create_backend(1, automatic[i]);
        assert_string_equal(backend->kernels, cpu_kernels_offered(0));
        backend->ops->free(backend);
    }
    const char *best = getenv("TEST_BEST_KERNELS");
    if (best != NULL) {
        assert_string_equal(cpu_kernels_offered(0), best);
    }
}

static void every_set_offered_can_be_asked_for(void **state) {
    (void)state;
    const char *last = NULL;
    for (size_t set = 0; cpu_kernels_offered(set) != NULL; set++) {
        last = cpu_kernels_offered(set);
        struct backend *backend = create_backend(1, last);
        assert_string_equal(backend->kernels, last);
        backend->ops->free(backend);
        /* Benchmarks set what it does beside what its instructions can. */
        struct arithmetic limits = {0};
        struct error error = {0};
        assert_true(arithmetic_measure(1, 0, last, &limits, &error));
        assert_true(limits.int8_operations > 0 && limits.f32_operations > 0);
    }
    assert_non_null(last);
    assert_string_equal(last, "portable");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_that_cannot_run_are_refused),
        cmocka_unit_test(auto_takes_the_best_kernels),
        cmocka_unit_test(every_set_offered_can_be_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
