/*
 * metrics_bench.c - what counting costs: a decode step's updates, and writing the page.
 *
 * Usage: metrics_bench [STEPS]
 * For 1, 8 and 64 sequences in a step, nanoseconds that the engine's metrics take of each step: one
 * update for every token, those of the step, and what it publishes. Then microseconds of one
 * /metrics page. The best of five rounds, as JSON. One thread; another reads nothing meanwhile.
 */
#include "base/clock.h"
#include "engine/engine_metrics.h"
#include "engine/request.h"

#include <stdio.h>
#include <stdlib.h>

enum { STEPS = 200 * 1000, ROUNDS = 5, LARGEST = 64, STEP_NS = 5 * 1000 * 1000 };

static double time_steps(struct engine_metrics *counted, size_t sequences, size_t steps) {
    struct request request = {.generated = 2, .started_ns = 1, .first_token_ns = 2};
    struct engine_stats stats = {.running = sequences, .kv_blocks_total = 1 << 20};
    int64_t best = INT64_MAX;
    for (size_t round = 0; round < ROUNDS; round++) {
        int64_t start = clock_now_ns();
        for (size_t step = 0; step < steps; step++) {
            for (size_t i = 0; i < sequences; i++) {
                request.last_token_ns = STEP_NS;
                engine_metrics_advanced(counted, &request, 1, 1, sequences);
            }
            stats.kv_blocks_used++;
            stats.prefix_lookup_tokens++;
            engine_metrics_step(counted, STEP_NS, sequences, sequences);
            engine_metrics_publish(counted, &stats);
        }
        int64_t taken = clock_now_ns() - start;
        best = taken < best ? taken : best;
    }
    return (double)best / (double)steps;
}

static double time_page(struct metrics *registry) {
    int64_t best = INT64_MAX;
    for (size_t round = 0; round < ROUNDS; round++) {
        struct string_buffer page = {0};
        int64_t start = clock_now_ns();
        metrics_write(registry, METRICS_TEXT, &page);
        int64_t taken = clock_now_ns() - start;
        best = taken < best ? taken : best;
        string_buffer_deinit(&page);
    }
    return (double)best;
}

int main(int argc, char **argv) {
    static const size_t sizes[] = {1, 8, LARGEST};
    size_t steps = argc > 1 ? strtoul(argv[1], NULL, 10) : STEPS;
    struct metrics *registry = NULL;
    struct error error = {0};
    if (steps == 0 || !metrics_create(&registry, &error)) {
        fprintf(stderr, "metrics_bench: %s\n", steps == 0 ? "no steps" : error.message);
        return 1;
    }
    const struct engine_options options = {
        .metrics = registry, .max_batch_size = LARGEST, .max_running_requests = LARGEST};
    const struct engine_metrics_about about = {"model", "cpu", "0", 1, 1};
    struct engine_metrics counted;
    engine_metrics_init(&counted, &options, &about);
    printf("{");
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        printf("\"step_ns_%zu\": %.1f, ", sizes[i], time_steps(&counted, sizes[i], steps));
    }
    printf("\"page_us\": %.1f}\n", time_page(registry) / 1e3);
    engine_metrics_deinit(&counted);
    metrics_free(registry);
    return 0;
}
