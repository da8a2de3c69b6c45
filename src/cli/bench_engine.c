/*
 * bench_engine.c - mistral bench engine: how fast this machine reads prompts and generates with a
 * model, beside what its memory and its arithmetic allow. No server, no scheduler, no sampling.
 *
 * All tests are run once, then all again, so that what slows the machine down for a while falls on
 * every test alike. Another engine's program, where one is named, is run right after each of ours:
 * A B A B ….
 */
#include "base/arithmetic.h"
#include "base/bandwidth.h"
#include "base/bytes.h"
#include "bench/engine_bench.h"
#include "bench/measurements.h"
#include "bench/peer_command.h"
#include "bench/synthetic_model.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/json_output.h"
#include "cli/load.h"
#include "cli/terminal.h"
#include "hub/hub.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_VALUES = 16,  /* of one list */
    MOST_TESTS = 1024, /* of all lists together */
    MOST_TOKENS = 1 << 24,
    MOST_STREAMS = 1024,
};

#define LIMIT_SECONDS    0.5
#define LIMIT_BYTES      ((size_t)1 << 30)
#define BANDWIDTH_PASSES 1.5 /* seconds */

static struct {
    const char *synthetic, *baseline_command;
    const char *prompts, *generates, *depths, *streams;
    int64_t repeat;
    bool limits, json, csv, markdown;
} options = {.prompts = "512",
             .generates = "64",
             .depths = "0",
             .streams = "1",
             .repeat = 5,
             .limits = true};

static const struct argument_option option_table[] = {
    {"synthetic", 0, ARGUMENT_TEXT, &options.synthetic, 0, 0, "SHAPE:FORMAT",
     "no file: a model of that shape and format made up in memory, such as mistral-7b:q5_k_m"},
    {"prompt", 'p', ARGUMENT_TEXT, &options.prompts, 0, 0, "TOKENS,..",
     "lengths of prompts to read; 0: none [512]"},
    {"generate", 'n', ARGUMENT_TEXT, &options.generates, 0, 0, "TOKENS,..",
     "lengths of answers to generate; 0: none [64]"},
    {"depth", 'd', ARGUMENT_TEXT, &options.depths, 0, 0, "TOKENS,..",
     "context that each begins after [0]"},
    {"streams", 'b', ARGUMENT_TEXT, &options.streams, 0, 0, "N,..",
     "answers generated together [1]"},
    {"repeat", 'r', ARGUMENT_INTEGER, &options.repeat, 1, 1000, "N",
     "times that each is measured [5]"},
    {"baseline-command", 0, ARGUMENT_TEXT, &options.baseline_command, 0, 0, "COMMAND",
     "another engine in turn with ours, such as 'PATH/llama-bench -m FILE.gguf -t 2'"},
    {"limits", 0, ARGUMENT_SWITCH, &options.limits, 0, 0, NULL,
     "measure the machine's bandwidth and arithmetic too [yes]"},
    {"json", 0, ARGUMENT_SWITCH, &options.json, 0, 0, NULL,
     "as JSON, which 'mistral bench compare' reads"},
    {"csv", 0, ARGUMENT_SWITCH, &options.csv, 0, 0, NULL, "as CSV, a line a sample"},
    {"markdown", 0, ARGUMENT_SWITCH, &options.markdown, 0, 0, NULL, "as a Markdown table"},
    {0},
};

/* --- what to measure --- */

struct number_list {
    size_t values[MOST_VALUES];
    size_t count;
};

static bool read_list(const char *option, const char *text, size_t minimum, size_t maximum,
                      struct number_list *list, struct error *error) {
    list->count = 0;
    for (const char *at = text;; at++) {
        char *end;
        errno = 0;
        unsigned long value = strtoul(at, &end, 10);
        if (end == at || *at < '0' || *at > '9' || errno != 0 || value < minimum ||
            value > maximum || (*end != ',' && *end != '\0')) {
            return error_set(error, ERROR_INVALID_ARGUMENT,
                             "--%s takes numbers from %zu to %zu with commas between, not '%.60s'",
                             option, minimum, maximum, text);
        }
        if (list->count == MOST_VALUES) {
            return error_set(error, ERROR_INVALID_ARGUMENT, "--%s takes at most %d numbers", option,
                             MOST_VALUES);
        }
        for (size_t i = 0; i < list->count; i++) {
            if (list->values[i] == value) {
                return error_set(error, ERROR_INVALID_ARGUMENT, "--%s names %lu twice", option,
                                 value);
            }
        }
        list->values[list->count++] = value;
        at = end;
        if (*end == '\0') {
            return true;
        }
    }
}

struct plan {
    struct engine_bench_test tests[MOST_TESTS];
    size_t count;
    size_t max_streams, max_tokens;
};

static bool plan_add(struct plan *plan, struct engine_bench_test test, struct error *error) {
    if (test.length == 0) {
        return true;
    }
    if (plan->count == MOST_TESTS) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "these are more than %d tests", MOST_TESTS);
    }
    plan->tests[plan->count++] = test;
    plan->max_streams = size_max(plan->max_streams, test.streams);
    plan->max_tokens = size_max(plan->max_tokens, test.depth + test.length);
    return true;
}

static bool make_plan(struct plan *plan, struct error *error) {
    struct number_list prompts, generates, depths, streams;
    bool done = read_list("prompt", options.prompts, 0, MOST_TOKENS, &prompts, error) &&
                read_list("generate", options.generates, 0, MOST_TOKENS, &generates, error) &&
                read_list("depth", options.depths, 0, MOST_TOKENS, &depths, error) &&
                read_list("streams", options.streams, 1, MOST_STREAMS, &streams, error);
    for (size_t d = 0; done && d < depths.count; d++) {
        for (size_t i = 0; done && i < prompts.count; i++) {
            done = plan_add(
                plan, (struct engine_bench_test){false, prompts.values[i], depths.values[d], 1},
                error);
        }
        for (size_t i = 0; done && i < generates.count * streams.count; i++) {
            done = plan_add(plan,
                            (struct engine_bench_test){true, generates.values[i / streams.count],
                                                       depths.values[d],
                                                       streams.values[i % streams.count]},
                            error);
        }
    }
    if (done && options.baseline_command != NULL && plan->max_streams > 1) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "--baseline-command: llama-bench generates one answer at a time, so leave "
                         "--streams at 1");
    }
    return done &&
           (plan->count > 0 || error_set(error, ERROR_INVALID_ARGUMENT,
                                         "nothing to measure: --prompt and --generate are 0"));
}

static void name_test(const struct engine_bench_test *test, char *name, size_t size) {
    int used =
        snprintf(name, size, "%s %zu", test->generates ? "generate" : "prompt", test->length);
    if (test->streams > 1) {
        used += snprintf(name + used, size - (size_t)used, " x %zu", test->streams);
    }
    if (test->depth > 0) {
        snprintf(name + used, size - (size_t)used, " after %zu", test->depth);
    }
}

/* --- measuring --- */

struct run {
    const struct cli *cli;
    struct plan plan;
    struct synthetic_model synthetic;
    struct gguf *gguf;
    struct engine_bench *bench;
    struct peer_command *peer; /* NULL: none is compared with */
    struct system_information system;
    struct measurements measurements;
    double bandwidth; /* bytes a second; 0: not measured */
    struct arithmetic arithmetic;
    bool partial; /* ended before all was measured */
};

static void show_loading(void *context, double fraction) {
    char line[128] = "preparing the model ";
    (void)context;
    terminal_append_bar(line, sizeof line, fraction, 24);
    terminal_draw_line(line);
}

static bool open_model(struct run *run, struct error *error) {
    const struct cli *cli = run->cli;
    bool named = cli->operands.count > 0;
    if (named == (options.synthetic != NULL)) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "give either a MODEL or --synthetic");
    }
    if (!named) {
        terminal_draw_line("making a model up");
        return synthetic_model_make(options.synthetic, &run->synthetic, error) &&
               gguf_open_bytes(options.synthetic, run->synthetic.bytes, run->synthetic.length,
                               &run->gguf, error) &&
               system_information_add(&run->system, "model", "Model, made up", options.synthetic,
                                      error);
    }
    struct string_buffer path = {0};
    terminal_draw_line("reading the model file");
    bool done = cli_find_model(cli, &path, error) &&
                gguf_open(string_buffer_text(&path), &run->gguf, error) &&
                system_information_add_model(&run->system, string_buffer_text(&path), error);
    string_buffer_deinit(&path);
    return done;
}

static bool open_peer(struct run *run, struct error *error) {
    if (options.baseline_command == NULL) {
        return true;
    }
    if (!peer_command_create(options.baseline_command, &run->peer, error) ||
        !peer_command_check(run->peer, run->plan.tests, run->plan.count, interrupt_requested,
                            error)) {
        return error_prefix(error, "--baseline-command");
    }
    return system_information_add(&run->system, "baseline", "Baseline", options.baseline_command,
                                  error);
}

static bool start_engine(struct run *run, struct error *error) {
    const struct config *config = &run->cli->config;
    enum kv_element element = KV_ELEMENT_F16;
    char threads[32];
    kv_element_of_name(config->kv_cache_dtype, &element);
    const struct engine_bench_options engine = {
        .cpu = {.thread_count = load_thread_count(config),
                .kernels = config->kernels,
                .mapped_weights = !config->repack_weights,
                .plain_attention = !config->use_flash_attention},
        .kv_element = element,
        .prefill_chunk = (size_t)config->prefill_chunk_size,
        .max_streams = run->plan.max_streams,
        .max_tokens = run->plan.max_tokens,
    };
    snprintf(threads, sizeof threads, "%zu", engine.cpu.thread_count);
    return engine_bench_create(run->gguf, &engine, show_loading, NULL, &run->bench, error) &&
           system_information_add(&run->system, "kernels", "Kernels",
                                  engine_bench_kernels(run->bench), error) &&
           system_information_add_number(&run->system, "threads", "Threads",
                                         (double)engine.cpu.thread_count, threads, error);
}

static bool measure_limits(struct run *run, struct error *error) {
    size_t threads = load_thread_count(&run->cli->config);
    char text[96];
    if (!options.limits) {
        return true;
    }
    terminal_draw_line("measuring the machine");
    if (!bandwidth_measure(threads, LIMIT_BYTES, BANDWIDTH_PASSES, &run->bandwidth, error) ||
        !arithmetic_measure(threads, LIMIT_SECONDS, engine_bench_kernels(run->bench),
                            &run->arithmetic, error)) {
        return false;
    }
    snprintf(text, sizeof text, "%.1f GB/s", run->bandwidth / 1e9);
    if (!system_information_add_number(&run->system, "read_bandwidth", "Memory, read",
                                       run->bandwidth, text, error)) {
        return false;
    }
    snprintf(text, sizeof text, "%.0f GOP/s (%s)", run->arithmetic.int8_operations / 1e9,
             run->arithmetic.int8_instructions);
    if (!system_information_add_number(&run->system, "int8_operations", "Int8 dot products",
                                       run->arithmetic.int8_operations, text, error)) {
        return false;
    }
    snprintf(text, sizeof text, "%.0f GFLOP/s (%s)", run->arithmetic.f32_operations / 1e9,
             run->arithmetic.f32_instructions);
    return system_information_add_number(&run->system, "f32_operations", "F32 multiply and add",
                                         run->arithmetic.f32_operations, text, error);
}

static bool add_rows(struct run *run, struct error *error) {
    bool done = measurements_init(&run->measurements, run->plan.count, error);
    for (size_t i = 0; done && i < run->plan.count; i++) {
        const struct engine_bench_test *test = &run->plan.tests[i];
        char name[96];
        name_test(test, name, sizeof name);
        struct measurement *row = measurements_add(&run->measurements, name, "tokens/s", true,
                                                   (size_t)options.repeat, error);
        done = row != NULL &&
               (run->peer == NULL || measurements_add_baseline(&run->measurements, row, error));
        if (done && options.limits) {
            row->limit = engine_bench_limit(run->bench, test, run->bandwidth, &run->arithmetic);
            row->limit_by = test->generates ? "memory bandwidth" : "arithmetic";
        }
    }
    return done;
}

static bool interrupted(struct error *error) {
    return error_set(error, ERROR_CANCELLED, "interrupted: the results are partial");
}

/* One sample of ours, and one of the other engine. */
static bool measure_once(struct run *run, size_t round, size_t index, struct error *error) {
    const struct engine_bench_test *test = &run->plan.tests[index];
    struct measurement *row = &run->measurements.rows[index];
    char line[192];
    double speed;
    snprintf(line, sizeof line, "round %zu of %lld: %s", round + 1, (long long)options.repeat,
             row->name);
    terminal_draw_line(line);
    if (run->peer != NULL) { /* it had the caches until now, and llama-bench warms up too */
        const struct engine_bench_test warm_up = {true, 1, 0, 1};
        engine_bench_run(run->bench, &warm_up, interrupt_requested, &speed);
    }
    if (interrupt_requested() || !engine_bench_run(run->bench, test, interrupt_requested, &speed)) {
        return interrupted(error);
    }
    if (!gguf_check(run->gguf, error)) {
        return false;
    }
    row->samples[row->count++] = speed;
    if (run->peer == NULL) {
        return true;
    }
    size_t used = strlen(line);
    snprintf(line + used, sizeof line - used, ", baseline");
    terminal_draw_line(line);
    if (!peer_command_run(run->peer, test, interrupt_requested, &speed, error)) {
        return interrupt_requested() ? interrupted(error)
                                     : error_prefix(error, "--baseline-command, %s", row->name);
    }
    row->baseline[row->baseline_count++] = speed;
    return true;
}

static bool measure(struct run *run, struct error *error) {
    interrupt_catch();
    for (size_t round = 0; round < (size_t)options.repeat; round++) {
        for (size_t i = 0; i < run->plan.count; i++) {
            if (!measure_once(run, round, i, error)) {
                return false;
            }
        }
    }
    return true;
}

/* --- output --- */

/* How a table is written: a test's columns, those of a baseline behind them, and the head's. */
struct table_form {
    const char *row, *baseline, *head_start, *head_end;
    const char *rule, *baseline_rule; /* below the head; NULL: none */
};

static bool print_baseline(const struct measurement *row, const char *format, struct error *error) {
    struct statistics_interval median;
    struct statistics_comparison comparison;
    struct string_buffer verdict = {0};
    char value[32] = "";
    bool done = statistics_median_interval(row->baseline, row->baseline_count, &median, error) &&
                measurement_compare(row, &comparison, &verdict, error);
    if (done) {
        if (row->baseline_count > 0) {
            snprintf(value, sizeof value, "%.2f", median.value);
        }
        printf(format, value, string_buffer_text(&verdict));
    }
    string_buffer_deinit(&verdict);
    return done;
}

static bool print_row(const struct measurement *row, const struct table_form *form,
                      struct error *error) {
    struct statistics_interval median;
    char interval[48] = "", limit[32] = "", share[32] = "", value[32];
    if (!statistics_median_interval(row->samples, row->count, &median, error)) {
        return false;
    }
    snprintf(value, sizeof value, "%.2f", median.value);
    if (row->count >= STATISTICS_FEWEST) {
        snprintf(interval, sizeof interval, "%.2f to %.2f", median.low < 0 ? 0 : median.low,
                 median.high);
    }
    if (row->limit > 0) {
        snprintf(limit, sizeof limit, "%.2f", row->limit);
        snprintf(share, sizeof share, "%.0f %%", 100 * median.value / row->limit);
    }
    printf(form->row, row->name, row->count > 0 ? value : "", interval, limit,
           row->count > 0 ? share : "", row->limit > 0 ? row->limit_by : "");
    if (row->baseline != NULL && !print_baseline(row, form->baseline, error)) {
        return false;
    }
    printf("\n");
    return true;
}

static bool print_table(const struct run *run, const struct table_form *form, struct error *error) {
    bool compares = run->peer != NULL;
    printf("\n%s", form->head_start);
    printf(form->row, "test", "tokens/s", "95 %", "limit", "of it", "limited by");
    if (compares) {
        printf(form->baseline, "baseline", "verdict");
    }
    printf("%s\n", form->head_end);
    if (form->rule != NULL) {
        printf("%s%s\n", form->rule, compares ? form->baseline_rule : "");
    }
    bool done = true;
    for (size_t i = 0; done && i < run->measurements.count; i++) {
        done = print_row(&run->measurements.rows[i], form, error);
    }
    return done;
}

static void print_facts(const struct run *run, const char *format) {
    for (size_t i = 0; i < run->system.count; i++) {
        printf(format, run->system.facts[i].label, run->system.facts[i].text);
    }
}

static bool print_markdown(const struct run *run, struct error *error) {
    const struct table_form form = {"| %s | %s | %s | %s | %s | %s |", " %s | %s |", "", "",
                                    "|---|---:|---|---:|---:|---|",    "---:|---|"};
    print_facts(run, "- %s: %s\n");
    return print_table(run, &form, error);
}

static bool print_plain(const struct run *run, struct error *error) {
    const struct table_form form = {
        "%-28s %10s  %-20s %10s %6s  %-16s", " %10s  %s", terminal_style(stdout, STYLE_BOLD),
        terminal_style(stdout, STYLE_PLAIN), NULL,        NULL};
    print_facts(run, "%-28s %s\n");
    return print_table(run, &form, error);
}

/* A line a sample; what the rounds together say of the baseline is on each of a test's. */
static bool print_csv_row(const struct measurement *row, struct error *error) {
    struct statistics_comparison comparison = {0};
    struct string_buffer verdict = {0};
    bool done = row->baseline == NULL || measurement_compare(row, &comparison, &verdict, error);
    for (size_t j = 0; done && j < row->count; j++) {
        printf("%s,%zu,%.4f,%.4f", row->name, j + 1, row->samples[j], row->limit);
        if (row->baseline != NULL && j < row->baseline_count) {
            printf(",%.4f,%.4f,", row->baseline[j], comparison.ratio.value);
            if (row->baseline_count >= STATISTICS_FEWEST) {
                printf("%.4f,%.4f", comparison.ratio.low, comparison.ratio.high);
            } else {
                printf(",");
            }
            printf(",\"%s\"", string_buffer_text(&verdict));
        } else if (row->baseline != NULL) {
            printf(",,,,,");
        }
        printf("\n");
    }
    string_buffer_deinit(&verdict);
    return done;
}

static bool print_csv(const struct run *run, struct error *error) {
    printf("test,round,tokens_per_second,limit%s\n",
           run->peer != NULL ? ",baseline_tokens_per_second,ratio,ratio_low,ratio_high,verdict"
                             : "");
    bool done = true;
    for (size_t i = 0; done && i < run->measurements.count; i++) {
        done = print_csv_row(&run->measurements.rows[i], error);
    }
    return done;
}

static bool print_results(const struct run *run, struct error *error) {
    terminal_clear_line();
    if (options.json) {
        json_t *document =
            measurements_to_json(&run->measurements, &run->system, "engine", run->partial, error);
        return document != NULL && json_output_print(document, error);
    }
    return options.csv        ? print_csv(run, error)
           : options.markdown ? print_markdown(run, error)
                              : print_plain(run, error);
}

static void deinit(struct run *run) {
    peer_command_free(run->peer);
    engine_bench_free(run->bench);
    gguf_close(run->gguf);
    synthetic_model_deinit(&run->synthetic);
    measurements_deinit(&run->measurements);
    system_information_deinit(&run->system);
}

static bool bench_engine(struct cli *cli, struct error *error) {
    static struct run run; /* too large for a stack */
    run = (struct run){.cli = cli};
    bool done =
        make_plan(&run.plan, error) && system_information_read(&run.system, error) &&
        system_information_add_settings(&run.system, &cli->config, cli->command->reader, error) &&
        open_peer(&run, error) && open_model(&run, error) && start_engine(&run, error) &&
        measure_limits(&run, error) && add_rows(&run, error);
    if (done) {
        done = measure(&run, error);
        run.partial = !done;
        /* A baseline that fails at once leaves nothing to tell. */
        if (done || interrupt_requested() || run.measurements.rows[0].baseline_count > 0) {
            done = print_results(&run, done ? error : NULL) && done;
        }
    }
    terminal_clear_line();
    deinit(&run);
    return done;
}

const struct cli_command cli_bench_engine_command = {
    .name = "bench engine",
    .usage = "[MODEL]",
    .summary = "measure reading and generating, beside the machine's limits",
    .details =
        "Each --depth is combined with each --prompt, and with each --generate and --streams.\n"
        "The limits are measured: memory bandwidth for generating, arithmetic for prompts.\n"
        "A --baseline-command is split into words without a shell; each test puts llama-bench's\n"
        "options behind it (-p, -n, -r 1 -o json, and -d or -gp) and runs it in turn with ours.\n",
    .reader = READ_BY_BENCH,
    .minimum_operands = 0,
    .maximum_operands = 1,
    .options = option_table,
    .run = bench_engine,
};
