/* test_halving.c - the search finds what is best, spends its time on what may be, and claims no
 * more than it saw. */
#include "bench/halving.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Candidates with a known speed each, and a noise that repeats. */
struct world {
    double speeds[HALVING_MOST_CANDIDATES];
    double noise; /* as a fraction, up and down */
    size_t runs, most_runs;
    size_t refused; /* this one cannot run; 0: all can */
    size_t runs_of[HALVING_MOST_CANDIDATES];
    struct halving *halving;
};

static bool measure(void *context, size_t candidate, size_t times, struct error *error) {
    struct world *world = context;
    struct halving_candidate *scores = &world->halving->candidates[candidate];
    (void)error;
    if (world->refused != 0 && candidate == world->refused) {
        scores->refused = true;
        return true;
    }
    for (size_t i = 0; i < times; i++) {
        double wave = (double)(world->runs % 7) / 3 - 1; /* -1 … 1 */
        scores->scores[scores->count++] = world->speeds[candidate] * (1 + world->noise * wave);
        world->runs_of[candidate]++;
        world->runs++;
    }
    return true;
}

static bool out_of_time(void *context) {
    const struct world *world = context;
    return world->runs >= world->most_runs;
}

static void prepare(struct halving *halving, struct world *world, size_t count) {
    *halving = (struct halving){
        .count = count, .measure = measure, .out_of_time = out_of_time, .context = world};
    world->halving = halving;
    world->most_runs = world->most_runs == 0 ? 100000 : world->most_runs;
    for (size_t i = 0; i < count; i++) {
        world->speeds[i] = 100 + (double)((i * 7) % count);
    }
}

static void the_best_is_found_and_measured_most(void **state) {
    (void)state;
    static struct halving halving;
    static struct world world;
    struct error error;
    size_t best = 0;
    prepare(&halving, &world, 16);
    world.speeds[11] = 200;
    assert_true(halving_run(&halving, &best, &error));
    assert_int_equal(best, 11);
    for (size_t i = 0; i < 16; i++) {
        assert_true(world.runs_of[i] <= world.runs_of[11] && world.runs_of[i] >= 1);
    }
    assert_int_equal(world.runs_of[11], 1 + 2 + 4 + 8);
}

static void what_was_measured_before_counts(void **state) {
    (void)state;
    static struct halving halving;
    static struct world world;
    struct error error;
    size_t best = 7;
    prepare(&halving, &world, 4);
    world.speeds[0] = 200;
    assert_true(measure(&world, 0, 2, &error));
    assert_true(halving_run(&halving, &best, &error));
    assert_int_equal(best, 0);
    assert_int_equal(world.runs_of[0], 3);
}

static void what_cannot_run_is_never_best(void **state) {
    (void)state;
    static struct halving halving;
    static struct world world = {.refused = 3};
    struct error error;
    size_t best = 0;
    prepare(&halving, &world, 8);
    world.speeds[3] = 1000;
    world.speeds[5] = 500;
    assert_true(halving_run(&halving, &best, &error));
    assert_int_equal(best, 5);
    assert_true(halving.candidates[3].refused);
}

static void a_search_without_time_keeps_what_there_is(void **state) {
    (void)state;
    static struct halving halving;
    static struct world world = {.most_runs = 1};
    struct error error;
    size_t best = 7;
    prepare(&halving, &world, 8);
    world.speeds[5] = 500;
    assert_true(halving_run(&halving, &best, &error));
    assert_int_equal(best, 0);
    assert_int_equal(world.runs, 1);
}

static void a_duel_tells_a_difference_from_noise(void **state) {
    (void)state;
    static struct halving halving;
    static struct world world = {.noise = 0.2};
    struct error error;
    struct statistics_comparison comparison;
    prepare(&halving, &world, 3);
    world.speeds[0] = 100;
    world.speeds[1] = 101;
    world.speeds[2] = 200;
    assert_true(halving_duel(&halving, 1, 0, 7, &comparison, &error));
    assert_int_equal(comparison.verdict, STATISTICS_NO_DIFFERENCE);
    assert_true(halving_duel(&halving, 2, 0, 7, &comparison, &error));
    assert_int_equal(comparison.verdict, STATISTICS_BETTER);
    assert_int_equal(comparison.count, 7);
    assert_true(halving_duel(&halving, 0, 2, 7, &comparison, &error));
    assert_int_equal(comparison.verdict, STATISTICS_WORSE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_best_is_found_and_measured_most),
        cmocka_unit_test(what_was_measured_before_counts),
        cmocka_unit_test(what_cannot_run_is_never_best),
        cmocka_unit_test(a_search_without_time_keeps_what_there_is),
        cmocka_unit_test(a_duel_tells_a_difference_from_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
