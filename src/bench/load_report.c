/* load_report.c - see load_report.h: figures of what was measured, comparisons, remarks. */
#include "bench/load_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct load_metric load_metrics[LOAD_METRICS] = {
    {"tokens_per_second", "tokens a second, all streams", "faster", "slower", true},
    {"requests_per_second", "requests a second", "faster", "slower", true},
    {"ttft", "time to first token, median", "faster", "slower", false},
    {"itl", "time between tokens, median", "faster", "slower", false},
    {"latency", "whole answer, median", "faster", "slower", false},
    {"latency_p95", "whole answer, 95 % of them", "faster", "slower", false},
};

void load_report_deinit(struct load_report *report) {
    for (size_t i = 0; i < report->count; i++) {
        load_run_deinit(&report->measurements[i].run);
    }
    free(report->measurements);
    for (size_t i = 0; i < LOAD_MOST_TARGETS; i++) {
        free(report->watches[i].samples);
    }
    workload_deinit(&report->workload);
    system_information_deinit(&report->system);
    string_buffer_deinit(&report->command);
    *report = (struct load_report){0};
}

void load_level_describe(const struct load_level *level, char *out, size_t size) {
    if (level->is_rate && level->value <= 0) {
        snprintf(out, size, "at the trace's times");
    } else {
        snprintf(out, size, level->is_rate ? "%g requests a second" : "%g at once", level->value);
    }
}

/* ---- figures ---- */

static bool matches(int wanted, size_t value) {
    return wanted == LOAD_ALL || (size_t)wanted == value;
}

static bool counts(const struct load_measurement *measurement, struct load_filter filter) {
    return matches(filter.target, measurement->target) &&
           matches(filter.level, measurement->level) && matches(filter.round, measurement->round);
}

/* NaN where there is none. The time between tokens is an answer's mean: pieces of a stream may hold
 * several tokens, and what is between two of those cannot be seen from outside. */
static double time_of(const struct load_record *record, enum load_time which) {
    switch (which) {
    case LOAD_TTFT:
        return record->first - record->intended;
    case LOAD_ITL:
        return record->output_tokens > 1
                   ? (record->last - record->first) / (double)(record->output_tokens - 1)
                   : NAN;
    case LOAD_LATENCY:
        return record->ended - record->intended;
    case LOAD_PAUSE:
        break;
    }
    return record->longest_pause;
}

static size_t most_records(const struct load_report *report) {
    size_t total = 0;
    for (size_t i = 0; i < report->count; i++) {
        total += report->measurements[i].run.count;
    }
    return total;
}

bool load_times_of(const struct load_report *report, struct load_filter filter,
                   enum load_time which, double **values, size_t *count, struct error *error) {
    *count = 0;
    *values = calloc(most_records(report) + 1, sizeof **values);
    if (*values == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the figures");
    }
    for (size_t i = 0; i < report->count; i++) {
        const struct load_run *run = &report->measurements[i].run;
        for (size_t k = 0; counts(&report->measurements[i], filter) && k < run->count; k++) {
            const struct load_record *record = &run->records[k];
            double time = time_of(record, which);
            if (record->outcome == LOAD_OK && matches(filter.scenario, record->scenario) &&
                !isnan(time)) {
                (*values)[(*count)++] = time;
            }
        }
    }
    statistics_sort(*values, *count);
    return true;
}

static bool is_good(const struct load_goal *goal, const struct load_record *record) {
    double itl = time_of(record, LOAD_ITL);
    return record->outcome == LOAD_OK &&
           (goal->ttft <= 0 || time_of(record, LOAD_TTFT) <= goal->ttft) &&
           (goal->itl <= 0 || isnan(itl) || itl <= goal->itl) &&
           (goal->latency <= 0 || time_of(record, LOAD_LATENCY) <= goal->latency);
}

struct sums {
    size_t good;
    double prompt_tokens, output_tokens, latency, cpu_seconds;
};

static void add_record(const struct load_report *report, const struct load_record *record,
                       struct load_figures *figures, struct sums *sums) {
    figures->requests++;
    figures->outcomes[record->outcome]++;
    sums->good += is_good(&report->goal, record);
    if (record->outcome != LOAD_OK) {
        return;
    }
    figures->succeeded++;
    figures->stalled += record->longest_pause > report->pause_limit;
    sums->prompt_tokens += record->prompt_tokens < 0 ? NAN : (double)record->prompt_tokens;
    sums->output_tokens += record->output_tokens < 0 ? NAN : (double)record->output_tokens;
    sums->latency += record->ended - record->intended;
}

bool load_figures_of(const struct load_report *report, struct load_filter filter,
                     struct load_figures *figures, struct error *error) {
    static const enum load_time times[] = {LOAD_TTFT, LOAD_ITL, LOAD_LATENCY, LOAD_PAUSE};
    struct sums sums = {0};
    *figures = (struct load_figures){0};
    struct statistics_summary *summaries[] = {&figures->ttft, &figures->itl, &figures->latency,
                                              &figures->pause};
    for (size_t i = 0; i < report->count; i++) {
        const struct load_measurement *measurement = &report->measurements[i];
        if (!counts(measurement, filter)) {
            continue;
        }
        figures->seconds += measurement->run.seconds;
        figures->lateness = fmax(figures->lateness, measurement->run.lateness);
        sums.cpu_seconds += measurement->cpu_seconds;
        for (size_t k = 0; k < measurement->run.count; k++) {
            if (matches(filter.scenario, measurement->run.records[k].scenario)) {
                add_record(report, &measurement->run.records[k], figures, &sums);
            }
        }
    }
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        double *values;
        size_t count;
        if (!load_times_of(report, filter, times[i], &values, &count, error)) {
            return false;
        }
        *summaries[i] = statistics_summarize(values, count);
        free(values);
    }
    bool has_goal = report->goal.ttft > 0 || report->goal.itl > 0 || report->goal.latency > 0;
    figures->prompt_tokens = sums.prompt_tokens;
    figures->output_tokens = sums.output_tokens;
    figures->tokens_per_second = sums.output_tokens / figures->seconds;
    figures->answer_tokens_per_second = sums.output_tokens / sums.latency;
    figures->requests_per_second = (double)figures->succeeded / figures->seconds;
    figures->goodput = has_goal ? (double)sums.good / figures->seconds : NAN;
    figures->good_share = has_goal ? (double)sums.good / (double)figures->requests : NAN;
    figures->cpu_cores = sums.cpu_seconds / figures->seconds;
    return true;
}

/* ---- comparison ---- */

static double metric_of(const struct load_figures *figures, size_t metric) {
    const double values[LOAD_METRICS] = {figures->tokens_per_second, figures->requests_per_second,
                                         figures->ttft.p50,          figures->itl.p50,
                                         figures->latency.p50,       figures->latency.p95};
    return values[metric];
}

/* A round in which one of the two has no figure is left out of both. */
bool load_compare(const struct load_report *report, size_t level, size_t metric,
                  struct statistics_comparison *comparison, struct error *error) {
    double *values = calloc(2 * report->rounds + 1, sizeof *values);
    size_t count = 0;
    *comparison = (struct statistics_comparison){.ratio = {NAN, NAN, NAN}};
    if (values == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the rounds");
    }
    double *theirs = values + report->rounds;
    bool done = true;
    for (size_t round = 0; done && report->target_count == 2 && round < report->rounds; round++) {
        struct load_figures ours, others;
        struct load_filter filter = {0, (int)level, (int)round, LOAD_ALL};
        done = load_figures_of(report, filter, &ours, error);
        filter.target = 1;
        done = done && load_figures_of(report, filter, &others, error);
        if (done && metric_of(&ours, metric) > 0 && metric_of(&others, metric) > 0) {
            values[count] = metric_of(&ours, metric);
            theirs[count++] = metric_of(&others, metric);
        }
    }
    if (done && count > 0) {
        done = statistics_compare_pairs(values, theirs, count, load_metrics[metric].more_is_better,
                                        comparison, error);
    }
    free(values);
    return done;
}

/* ---- remarks ---- */

static const char *first_problem(const struct load_report *report, size_t target) {
    for (size_t i = 0; i < report->count; i++) {
        if (report->measurements[i].target == target &&
            report->measurements[i].run.problem[0] != '\0') {
            return report->measurements[i].run.problem;
        }
    }
    return "";
}

static void remark_failures(const struct load_report *report, size_t target,
                            const struct load_figures *figures, struct string_buffer *lines) {
    const char *name = report->targets[target].name;
    size_t unfinished = figures->outcomes[LOAD_UNFINISHED];
    size_t failed = figures->requests - figures->succeeded - unfinished;
    if (failed > 0) {
        string_buffer_append_format(lines, "%s: %zu of %zu requests failed (", name, failed,
                                    figures->requests);
        const char *between = "";
        for (int i = LOAD_UNFINISHED + 1; i < LOAD_OUTCOME_COUNT; i++) {
            if (figures->outcomes[i] > 0) {
                string_buffer_append_format(lines, "%s%zu: %s", between, figures->outcomes[i],
                                            load_outcome_sentence((enum load_outcome)i));
                between = "; ";
            }
        }
        string_buffer_append_format(lines, "). The first: %s\n", first_problem(report, target));
    }
    if (figures->stalled > 0) {
        string_buffer_append_format(
            lines,
            "%s: %zu answers stalled, with no text for more than %g s; the longest pause %.3g s\n",
            name, figures->stalled, report->pause_limit, figures->pause.maximum);
    }
}

static void remark_tokens(const struct load_report *report, size_t target,
                          const struct load_figures *figures, struct string_buffer *lines) {
    const char *name = report->targets[target].name;
    if (figures->succeeded > 0 && isnan(figures->output_tokens)) {
        string_buffer_append_format(
            lines,
            "%s does not say how many tokens it made, so speeds in tokens are not known; "
            "--tokenizer MODEL counts them\n",
            name);
    }
    if (figures->lateness > 0.05) {
        string_buffer_append_format(lines,
                                    "the load generator itself was up to %.0f ms late to send to "
                                    "%s; it is short of processor time\n",
                                    figures->lateness * 1e3, name);
    }
    if (report->watches[target].is_gone) {
        string_buffer_append_format(lines, "%s: its process ended during the benchmark\n", name);
    }
}

double load_peak_memory(const struct load_report *report, size_t target) {
    double peak = 0;
    for (size_t i = 0; i < report->watches[target].count; i++) {
        peak = fmax(peak, report->watches[target].samples[i].resident_bytes);
    }
    return peak;
}

bool load_remarks(const struct load_report *report, struct string_buffer *lines,
                  struct error *error) {
    double length[LOAD_MOST_TARGETS] = {0};
    if (report->is_partial) {
        string_buffer_append_text(lines, "PARTIAL: the benchmark was stopped before its end; these "
                                         "are the answers that had come until then\n");
    }
    for (size_t i = 0; i < report->target_count; i++) {
        const struct load_filter filter = {(int)i, LOAD_ALL, LOAD_ALL, LOAD_ALL};
        struct load_figures figures;
        if (!load_figures_of(report, filter, &figures, error)) {
            return false;
        }
        length[i] = figures.output_tokens / (double)figures.succeeded;
        remark_failures(report, i, &figures, lines);
        remark_tokens(report, i, &figures, lines);
    }
    if (report->target_count == 2 && fabs(log(length[0] / length[1])) > 0.05) {
        string_buffer_append_format(
            lines,
            "answers differ in length (%.1f and %.1f tokens on average), so "
            "times of whole answers and requests a second are of different "
            "work; tokens a second are not\n",
            length[0], length[1]);
    }
    return !lines->failed || error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the report");
}
