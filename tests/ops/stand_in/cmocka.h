/*
 * cmocka.h - what the op tests use of cmocka, for processors whose cmocka is not at hand: a build
 * with -Dkernels_only=true. The first failure ends the program. Prints what scripts/test_summary.py
 * counts.
 */
#ifndef MISTRAL_TESTS_STAND_IN_CMOCKA_H
#define MISTRAL_TESTS_STAND_IN_CMOCKA_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct CMUnitTest {
    const char *name;
    void (*run)(void **state);
};

#define cmocka_unit_test(function) {#function, function}

#define fail_msg(...)                                                                              \
    do {                                                                                           \
        printf("%s:%d: ", __FILE__, __LINE__);                                                     \
        printf(__VA_ARGS__);                                                                       \
        printf("\n[  FAILED  ] 1 test(s)\n");                                                      \
        exit(1);                                                                                   \
    } while (0)

#define assert_true(condition)                                                                     \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fail_msg("expected %s", #condition);                                                   \
        }                                                                                          \
    } while (0)

#define assert_false(condition)           assert_true(!(condition))
#define assert_non_null(pointer)          assert_true((pointer) != NULL)
#define assert_int_equal(a, b)            assert_true((long long)(a) == (long long)(b))
#define assert_string_equal(a, b)         assert_true(strcmp((a), (b)) == 0)
#define assert_memory_equal(a, b, length) assert_true(memcmp((a), (b), (length)) == 0)

#define cmocka_run_group_tests(tests, setup, teardown)                                             \
    run_group_tests((tests), sizeof(tests) / sizeof(tests)[0])

static inline int run_group_tests(const struct CMUnitTest *tests, size_t count) {
    for (size_t i = 0; i < count; i++) {
        void *state = NULL;
        printf("[ RUN      ] %s\n", tests[i].name);
        fflush(stdout);
        tests[i].run(&state);
        printf("[       OK ] %s\n", tests[i].name);
    }
    printf("[  PASSED  ] %zu test(s).\n", count);
    return 0;
}

#endif
