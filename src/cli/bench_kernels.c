/*
 * bench_kernels.c - mistral bench kernels: every kernel by itself, timed beside the machine's
 * limits, or counted in instructions where time is too noisy.
 */
#include "base/arithmetic.h"
#include "base/bandwidth.h"
#include "base/clock.h"
#include "bench/callgrind.h"
#include "bench/kernel_bench.h"
#include "bench/measurements.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/json_output.h"
#include "cli/load.h"
#include "cli/terminal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(__APPLE__)
#include <mach-o/dyld.h>
#endif

enum { MOST_CASES = 256, NAME_BYTES = 96 };

static struct {
    const char *only;
    int64_t repeat;
    bool instructions, once, json;
} options = {.only = "", .repeat = 5};

static const struct argument_option option_table[] = {
    {"only", 0, ARGUMENT_TEXT, &options.only, 0, 0, "WORD", "those with this word in their name"},
    {"repeat", 'r', ARGUMENT_INTEGER, &options.repeat, 1, 1000, "N",
     "times that each is measured [5]"},
    {"instructions", 0, ARGUMENT_SWITCH, &options.instructions, 0, 0, NULL,
     "count instructions under valgrind, with one thread and small data, instead of timing"},
    {"once", 0, ARGUMENT_SWITCH, &options.once, 0, 0, NULL,
     "small data, each called once and nothing printed: for a profiler of your own"},
    {"json", 0, ARGUMENT_SWITCH, &options.json, 0, 0, NULL,
     "as JSON, which 'mistral bench compare' reads"},
    {0},
};

struct run {
    const struct cli *cli;
    struct kernel_bench *bench;
    struct system_information system;
    struct measurements measurements;
    size_t cases[MOST_CASES]; /* those that --only leaves */
    size_t case_count;
    double bandwidth;
    struct arithmetic arithmetic;
    bool interrupted;
};

static bool choose_cases(struct run *run, struct error *error) {
    for (size_t i = 0; i < kernel_bench_count() && i < MOST_CASES; i++) {
        char name[NAME_BYTES];
        kernel_bench_name(run->bench, i, name, sizeof name);
        if (strstr(name, options.only) != NULL) {
            run->cases[run->case_count++] = i;
        }
    }
    return run->case_count > 0 || error_set(error, ERROR_INVALID_ARGUMENT,
                                            "no kernel's name has '%.60s' in it", options.only);
}

static size_t thread_count(const struct run *run) {
    return options.instructions || options.once ? 1 : load_thread_count(&run->cli->config);
}

static bool start(struct run *run, struct error *error) {
    const struct config *config = &run->cli->config;
    const struct kernel_bench_options bench = {
        .cpu = {.thread_count = thread_count(run),
                .kernels = config->kernels,
                .mapped_weights = !config->repack_weights,
                .plain_attention = !config->use_flash_attention},
        .small = options.instructions || options.once};
    return kernel_bench_create(&bench, &run->bench, error) && choose_cases(run, error) &&
           measurements_init(&run->measurements, run->case_count, error);
}

/* --- timed --- */

static bool measure_limits(struct run *run, struct error *error) {
    terminal_draw_line("measuring the machine");
    return bandwidth_measure(thread_count(run), (size_t)1 << 30, 1, &run->bandwidth, error) &&
           arithmetic_measure(thread_count(run), 0.5, kernel_bench_kernels(run->bench),
                              &run->arithmetic, error);
}

/* "  12.3 GB/s  45 %  678.9 GOP/s  32 %" of the best call. */
static void print_speed(const struct run *run, const struct measurement *row,
                        const struct kernel_bench_work *work) {
    double best = row->samples[0];
    for (size_t i = 1; i < row->count; i++) {
        best = row->samples[i] < best ? row->samples[i] : best;
    }
    double seconds = best / 1e6;
    double limit =
        work->is_integer ? run->arithmetic.int8_operations : run->arithmetic.f32_operations;
    terminal_clear_line();
    printf("%-36s %10.1f us %8.2f GB/s %4.0f %%", row->name, best, work->bytes / seconds / 1e9,
           100 * work->bytes / seconds / run->bandwidth);
    if (work->operations > 0) {
        printf(" %9.1f GOP/s %4.0f %%", work->operations / seconds / 1e9,
               100 * work->operations / seconds / limit);
    }
    printf("\n");
    fflush(stdout);
}

static bool time_case(struct run *run, size_t index, struct error *error) {
    char name[NAME_BYTES];
    struct kernel_bench_work work;
    kernel_bench_name(run->bench, index, name, sizeof name);
    terminal_draw_line(name);
    struct measurement *row =
        measurements_add(&run->measurements, name, "us", false, (size_t)options.repeat, error);
    if (row == NULL || !kernel_bench_prepare(run->bench, index, &work, error)) {
        return false;
    }
    kernel_bench_call(run->bench); /* brings pages and caches in */
    while (row->count < row->capacity) {
        int64_t before = clock_now_ns();
        kernel_bench_call(run->bench);
        row->samples[row->count++] = clock_seconds(clock_now_ns() - before) * 1e6;
    }
    if (!options.json) {
        print_speed(run, row, &work);
    }
    return true;
}

static bool time_all(struct run *run, struct error *error) {
    bool done = measure_limits(run, error);
    terminal_clear_line();
    if (done && !options.json) {
        printf("%zu threads, kernels %s; memory is read at %.1f GB/s, int8 %.0f GOP/s (%s), f32 "
               "%.0f GFLOP/s (%s)\n\n%s%-36s %13s %20s %21s%s\n",
               thread_count(run), kernel_bench_kernels(run->bench), run->bandwidth / 1e9,
               run->arithmetic.int8_operations / 1e9, run->arithmetic.int8_instructions,
               run->arithmetic.f32_operations / 1e9, run->arithmetic.f32_instructions,
               terminal_style(stdout, STYLE_BOLD), "kernel", "best call", "read, of the limit",
               "computed, of the limit", terminal_style(stdout, STYLE_PLAIN));
    }
    interrupt_catch();
    for (size_t i = 0; done && i < run->case_count && !run->interrupted; i++) {
        done = time_case(run, run->cases[i], error);
        run->interrupted = interrupt_requested();
    }
    terminal_clear_line();
    return done;
}

/* --- counted --- */

static bool own_path(char *path, size_t size, struct error *error) {
#if defined(__APPLE__)
    uint32_t room = (uint32_t)size;
    bool done = _NSGetExecutablePath(path, &room) == 0;
#else
    ssize_t length = readlink("/proc/self/exe", path, size - 1);
    bool done = length > 0;
    path[done ? (size_t)length : 0] = '\0';
#endif
    return done || error_set(error, ERROR_IO, "cannot tell where this program lies");
}

static bool count_all(struct run *run, struct error *error) {
    char path[1024];
    uint64_t counts[MOST_CASES] = {0};
    if (!own_path(path, sizeof path, error)) {
        return false;
    }
    const char *const arguments[] = {path,     "bench",      "kernels",   "--once",
                                     "--only", options.only, "--kernels", run->cli->config.kernels,
                                     NULL};
    terminal_draw_line("counting instructions under valgrind");
    bool done = callgrind_count(arguments, "kernel_bench_call", counts, run->case_count, error);
    terminal_clear_line();
    for (size_t i = 0; done && i < run->case_count; i++) {
        char name[NAME_BYTES];
        kernel_bench_name(run->bench, run->cases[i], name, sizeof name);
        struct measurement *row =
            measurements_add(&run->measurements, name, "instructions", false, 1, error);
        done = row != NULL;
        if (done) {
            row->samples[row->count++] = (double)counts[i];
        }
        if (done && !options.json) {
            printf("%-36s %14" PRIu64 " instructions\n", name, counts[i]);
        }
    }
    return done;
}

static bool call_once(struct run *run, struct error *error) {
    bool done = true;
    for (size_t i = 0; done && i < run->case_count; i++) {
        struct kernel_bench_work work;
        done = kernel_bench_prepare(run->bench, run->cases[i], &work, error);
        if (done) {
            kernel_bench_call(run->bench);
        }
    }
    return done;
}

/* --- the command --- */

static bool print_json(struct run *run, struct error *error) {
    char threads[32];
    snprintf(threads, sizeof threads, "%zu", thread_count(run));
    if (!system_information_read(&run->system, error) ||
        !system_information_add_settings(&run->system, &run->cli->config, run->cli->command->reader,
                                         error) ||
        !system_information_add(&run->system, "kernels", "Kernels",
                                kernel_bench_kernels(run->bench), error) ||
        !system_information_add_number(&run->system, "threads", "Threads",
                                       (double)thread_count(run), threads, error)) {
        return false;
    }
    json_t *document =
        measurements_to_json(&run->measurements, &run->system, "kernels", run->interrupted, error);
    return document != NULL && json_output_print(document, error);
}

static bool bench_kernels(struct cli *cli, struct error *error) {
    struct run run = {.cli = cli};
    bool done = start(&run, error) && (options.once           ? call_once(&run, error)
                                       : options.instructions ? count_all(&run, error)
                                                              : time_all(&run, error));
    done = done && (!options.json || print_json(&run, error)) &&
           (!run.interrupted ||
            error_set(error, ERROR_CANCELLED, "interrupted: the results are partial"));
    terminal_clear_line();
    kernel_bench_free(run.bench);
    measurements_deinit(&run.measurements);
    system_information_deinit(&run.system);
    return done;
}

const struct cli_command cli_bench_kernels_command = {
    .name = "bench kernels",
    .usage = "",
    .summary = "measure every kernel by itself",
    .details =
        "Times are the best of the calls: what else runs can only slow one down. A processor\n"
        "that valgrind makes up has fewer instruction sets than the real one.\n",
    .reader = READ_BY_KERNELS,
    .minimum_operands = 0,
    .maximum_operands = 0,
    .options = option_table,
    .run = bench_kernels,
};
