/*
 * test_statistics.c - quantiles, intervals and verdicts of bench/statistics.h: against values
 * worked out by hand and by numpy, and, for the intervals, against how often they miss.
 */
#include "base/random.h"
#include "bench/statistics.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void assert_near(double value, double expected) {
    if (!(fabs(value - expected) <= 1e-9 * fmax(1, fabs(expected)))) {
        fail_msg("%.12g, expected %.12g", value, expected);
    }
}

/* numpy.quantile([1, 2, 4, 8, 16], …), its default method. */
static void test_quantiles_are_those_of_numpy(void **state) {
    (void)state;
    double values[] = {16, 1, 8, 2, 4};
    struct statistics_summary summary = statistics_summarize(values, 5);
    assert_int_equal(summary.count, 5);
    assert_near(summary.mean, 6.2);
    assert_near(summary.minimum, 1);
    assert_near(summary.p50, 4);
    assert_near(summary.p90, 12.8);
    assert_near(summary.p95, 14.4);
    assert_near(summary.p99, 15.68);
    assert_near(summary.maximum, 16);
    assert_true(isnan(statistics_summarize(values, 0).p50));
    assert_near(statistics_summarize(values, 1).p99, 1);
}

/* A normal deviate, by the sum of twelve uniform ones. */
static double noise(struct random_state *random) {
    double sum = -6;
    for (int i = 0; i < 12; i++) {
        sum += random_uniform(random);
    }
    return sum;
}

/* Two servers that are equal but for noise: how many of a thousand comparisons say otherwise. */
static void test_noise_is_seldom_called_a_difference(void **state) {
    (void)state;
    struct random_state random;
    random_seed(&random, 7);
    for (size_t rounds = 3; rounds <= 12; rounds += 3) {
        int wrong = 0;
        for (int i = 0; i < 300; i++) {
            double ours[12], theirs[12];
            for (size_t k = 0; k < rounds; k++) {
                double drift = exp(0.5 * noise(&random)); /* of the whole round */
                ours[k] = drift * exp(0.1 * noise(&random));
                theirs[k] = drift * exp(0.1 * noise(&random));
            }
            struct statistics_comparison comparison;
            assert_true(statistics_compare_pairs(ours, theirs, rounds, true, &comparison, NULL));
            wrong += comparison.verdict != STATISTICS_NO_DIFFERENCE;
        }
        if (wrong > 27) { /* 9 %: 5 % are promised, and 300 tries have their own noise */
            fail_msg("%d of 300 comparisons of equals with %zu rounds were called", wrong, rounds);
        }
    }
}

static void test_a_difference_is_found_and_said(void **state) {
    (void)state;
    const double ours[] = {1.52, 2.9, 0.74, 1.46, 1.6}, theirs[] = {1, 2, 0.5, 1, 1.1};
    struct statistics_comparison comparison;
    struct string_buffer text = {0};
    assert_true(statistics_compare_pairs(ours, theirs, 5, true, &comparison, NULL));
    assert_int_equal(comparison.verdict, STATISTICS_BETTER);
    assert_near(comparison.ratio.value, pow(1.52 * 1.45 * 1.48 * 1.46 * 1.6 / 1.1, 0.2));
    statistics_append_verdict(&comparison, "faster", "slower", &text);
    assert_non_null(strstr(string_buffer_text(&text), "1.47 × faster, 95 % 1.4"));

    string_buffer_clear(&text); /* the same numbers as times: a loss */
    assert_true(statistics_compare_pairs(ours, theirs, 5, false, &comparison, NULL));
    assert_int_equal(comparison.verdict, STATISTICS_WORSE);
    statistics_append_verdict(&comparison, "faster", "slower", &text);
    assert_non_null(strstr(string_buffer_text(&text), "1.47 × slower, 95 % 1.4"));

    string_buffer_clear(&text);
    assert_true(statistics_compare_pairs(ours, theirs, 2, true, &comparison, NULL));
    assert_int_equal(comparison.verdict, STATISTICS_TOO_FEW);
    statistics_append_verdict(&comparison, "faster", "slower", &text);
    assert_string_equal(string_buffer_text(&text), "too few rounds to tell (1.48 ×)");

    string_buffer_clear(&text);
    const double mixed[] = {1.1, 1.9, 0.5, 1.05, 1.0};
    assert_true(statistics_compare_pairs(mixed, theirs, 5, true, &comparison, NULL));
    statistics_append_verdict(&comparison, "faster", "slower", &text);
    assert_int_equal(strncmp(string_buffer_text(&text), "no difference beyond the noise (", 32), 0);
    string_buffer_deinit(&text);
}

static void test_the_same_measurements_give_the_same_interval(void **state) {
    (void)state;
    const double values[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    struct statistics_interval first, second;
    assert_true(statistics_median_interval(values, 9, &first, NULL));
    assert_true(statistics_median_interval(values, 9, &second, NULL));
    assert_memory_equal(&first, &second, sizeof first);
    assert_near(first.value, 5);
    assert_true(first.low < 4 && first.low > 0 && first.high > 6 && first.high < 10);
    assert_true(statistics_median_interval(values, 2, &first, NULL));
    assert_true(isnan(first.low) && isnan(first.high));
}

static void test_rows_of_different_lengths_are_compared(void **state) {
    (void)state;
    const double before[] = {10, 10.2, 9.9, 10.1, 10}, after[] = {8, 8.1, 7.9};
    struct statistics_comparison comparison;
    assert_true(statistics_compare_samples(after, 3, before, 5, true, &comparison, NULL));
    assert_int_equal(comparison.verdict, STATISTICS_WORSE);
    assert_true(comparison.ratio.value > 0.79 && comparison.ratio.value < 0.81);
    assert_int_equal(comparison.count, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantiles_are_those_of_numpy),
        cmocka_unit_test(test_noise_is_seldom_called_a_difference),
        cmocka_unit_test(test_a_difference_is_found_and_said),
        cmocka_unit_test(test_the_same_measurements_give_the_same_interval),
        cmocka_unit_test(test_rows_of_different_lengths_are_compared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
