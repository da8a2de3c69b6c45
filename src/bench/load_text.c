/* load_text.c - a report as Markdown whose tables are in columns, for a terminal too. See
 * load_report.h. */
#include "bench/load_report.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MOST_CELLS = 12, CELL_BYTES = 192, MOST_ROWS = 80 };

/* A table that is laid out when all of it is known. */
struct table {
    char cells[MOST_ROWS][MOST_CELLS][CELL_BYTES];
    size_t rows, columns;
    bool is_words; /* all columns to the left; else figures, to the right */
};

static void cell(struct table *table, size_t column, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Column 0 begins a row. */
static void cell(struct table *table, size_t column, const char *format, ...) {
    if (column == 0 && table->rows < MOST_ROWS) {
        table->rows++;
        memset(table->cells[table->rows - 1], 0, sizeof table->cells[0]);
    }
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(table->cells[table->rows - 1][column], CELL_BYTES, format, arguments);
    va_end(arguments);
    table->columns = column + 1 > table->columns ? column + 1 : table->columns;
}

static size_t width_of(const char *text) {
    size_t width = 0;
    for (; *text != '\0'; text++) {
        width += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return width;
}

static void pad(struct string_buffer *out, size_t count, char with) {
    for (size_t i = 0; i < count; i++) {
        string_buffer_append_char(out, with);
    }
}

/* The first column to the left, figures to the right; the first row is the heading. */
static void append_table(const struct table *table, struct string_buffer *out) {
    size_t widths[MOST_CELLS] = {0};
    for (size_t row = 0; row < table->rows; row++) {
        for (size_t i = 0; i < table->columns; i++) {
            size_t width = width_of(table->cells[row][i]);
            widths[i] = width > widths[i] ? width : widths[i];
        }
    }
    for (size_t row = 0; row < table->rows; row++) {
        for (size_t i = 0; i < table->columns; i++) {
            const char *text = table->cells[row][i];
            size_t gap = widths[i] - width_of(text);
            string_buffer_append_text(out, "| ");
            bool to_left = i == 0 || table->is_words;
            pad(out, to_left ? 0 : gap, ' ');
            string_buffer_append_text(out, text);
            pad(out, (to_left ? gap : 0) + 1, ' ');
        }
        string_buffer_append_text(out, "|\n");
        for (size_t i = 0; row == 0 && i < table->columns; i++) {
            string_buffer_append_char(out, '|');
            pad(out, widths[i] + 1, '-');
            string_buffer_append_char(out, i == 0 || table->is_words ? '-' : ':');
        }
        string_buffer_append_text(out, row == 0 ? "|\n" : "");
    }
    string_buffer_append_char(out, '\n');
}

/* Four figures, or a dash. */
static void number_cell(struct table *table, size_t column, double value) {
    if (isnan(value) || isinf(value)) {
        cell(table, column, "–");
    } else if (fabs(value) >= 1000) {
        cell(table, column, "%.0f", value);
    } else {
        cell(table, column, "%.4g", value);
    }
}

static void summary_row(struct table *table, const char *label,
                        const struct statistics_summary *summary) {
    cell(table, 0, "%s", label);
    const double values[] = {summary->mean, summary->p50, summary->p90,
                             summary->p95,  summary->p99, summary->maximum};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        number_cell(table, i + 1, values[i] * 1e3);
    }
}

static void append_times(const struct load_figures *figures, struct string_buffer *out) {
    static const char *const heads[] = {"milliseconds", "mean", "p50", "p90", "p95", "p99", "max"};
    struct table table = {0};
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        cell(&table, i, "%s", heads[i]);
    }
    summary_row(&table, "time to first token", &figures->ttft);
    summary_row(&table, "time between tokens", &figures->itl);
    summary_row(&table, "whole answer", &figures->latency);
    summary_row(&table, "longest pause in an answer", &figures->pause);
    append_table(&table, out);
}

static void append_figure(struct string_buffer *out, const char *between, double value,
                          const char *unit) {
    if (!isnan(value)) {
        string_buffer_append_format(out, "%s%.4g %s", between, value, unit);
    }
}

static void append_speeds(const struct load_figures *figures, struct string_buffer *out) {
    string_buffer_append_format(out, "%zu requests in %.4g s, %zu answered", figures->requests,
                                figures->seconds, figures->succeeded);
    append_figure(out, "; ", figures->tokens_per_second, "tokens/s");
    append_figure(out, ", ", figures->requests_per_second, "requests/s");
    if (!isnan(figures->goodput)) {
        string_buffer_append_format(out, ", goodput %.4g requests/s (%.1f %% of all)",
                                    figures->goodput, 100 * figures->good_share);
    }
    append_figure(out, "; the server used ", figures->cpu_cores, "cores");
    string_buffer_append_text(out, ".\n\n");
}

static bool append_levels(const struct load_report *report, struct string_buffer *out,
                          struct error *error) {
    for (size_t level = 0; level < report->level_count; level++) {
        char name[64];
        load_level_describe(&report->levels[level], name, sizeof name);
        for (size_t i = 0; i < report->target_count; i++) {
            struct load_figures figures;
            const struct load_filter filter = {(int)i, (int)level, LOAD_ALL, LOAD_ALL};
            if (!load_figures_of(report, filter, &figures, error)) {
                return false;
            }
            if (figures.requests > 0) {
                string_buffer_append_format(out, "## %s, %s\n\n", report->targets[i].name, name);
                append_speeds(&figures, out);
                append_times(&figures, out);
            }
        }
    }
    return true;
}

static bool append_comparison(const struct load_report *report, struct string_buffer *out,
                              struct error *error) {
    struct string_buffer verdict = {0};
    bool done = true;
    if (report->target_count < 2) {
        return true;
    }
    string_buffer_append_format(out, "## %s beside %s\n\n", report->targets[0].name,
                                report->targets[1].name);
    for (size_t level = 0; done && level < report->level_count; level++) {
        struct table table = {.is_words = true};
        char name[64];
        load_level_describe(&report->levels[level], name, sizeof name);
        cell(&table, 0, "%s", name);
        cell(&table, 1, "verdict");
        for (size_t i = 0; done && i < LOAD_METRICS; i++) {
            struct statistics_comparison comparison;
            done = load_compare(report, level, i, &comparison, error);
            string_buffer_clear(&verdict);
            if (done && comparison.count > 0) {
                statistics_append_verdict(&comparison, load_metrics[i].better,
                                          load_metrics[i].worse, &verdict);
            }
            cell(&table, 0, "%s", load_metrics[i].label);
            cell(&table, 1, "%s", verdict.length == 0 ? "–" : verdict.data);
        }
        append_table(&table, out);
    }
    string_buffer_deinit(&verdict);
    return done;
}

static bool append_scenarios(const struct load_report *report, struct string_buffer *out,
                             struct error *error) {
    struct table table = {0};
    if (report->workload.scenario_count < 2) {
        return true;
    }
    static const char *const heads[] = {"scenario",
                                        "server",
                                        "answers",
                                        "first token, ms",
                                        "answer, ms",
                                        "tokens",
                                        "tokens/s of one answer"};
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        cell(&table, i, "%s", heads[i]);
    }
    for (size_t i = 0; i < report->workload.scenario_count; i++) {
        for (size_t target = 0; target < report->target_count; target++) {
            struct load_figures figures;
            const struct load_filter filter = {(int)target, LOAD_ALL, LOAD_ALL, (int)i};
            if (!load_figures_of(report, filter, &figures, error)) {
                return false;
            }
            cell(&table, 0, "%s", report->workload.scenarios[i]);
            cell(&table, 1, "%s", report->targets[target].name);
            cell(&table, 2, "%zu", figures.succeeded);
            number_cell(&table, 3, figures.ttft.p50 * 1e3);
            number_cell(&table, 4, figures.latency.p50 * 1e3);
            number_cell(&table, 5, figures.output_tokens / (double)figures.succeeded);
            number_cell(&table, 6, figures.answer_tokens_per_second);
        }
    }
    string_buffer_append_text(out, "## By scenario (medians)\n\n");
    append_table(&table, out);
    return true;
}

static void append_setting(const struct load_report *report, struct string_buffer *out) {
    struct table table = {.is_words = true};
    cell(&table, 0, "measured on");
    cell(&table, 1, " ");
    for (size_t i = 0; i < report->system.count; i++) {
        cell(&table, 0, "%s", report->system.facts[i].label);
        cell(&table, 1, "%.180s", report->system.facts[i].text);
    }
    for (size_t i = 0; i < report->target_count; i++) {
        const struct load_target *target = &report->targets[i];
        double peak = load_peak_memory(report, i);
        cell(&table, 0, "%s", target->name);
        cell(&table, 1, "%.60s, %s protocol, version %.40s", target->url,
             load_protocol_name(target->protocol),
             target->version[0] == '\0' ? "not told" : target->version);
        cell(&table, 0, "%s, model", target->name);
        cell(&table, 1, "%.70s, checksum %.80s", target->model,
             target->digest[0] == '\0' ? "not told" : target->digest);
        if (peak > 0) {
            cell(&table, 0, "%s, memory", target->name);
            cell(&table, 1, "%.1f MiB at most", peak / 0x1p20);
        }
    }
    cell(&table, 0, "Workload");
    cell(&table, 1, "%s, %zu requests a run, %zu rounds, %zu to warm up each scenario, seed %llu",
         report->workload.kind, report->workload.count, report->rounds, report->warmup,
         (unsigned long long)report->seed);
    cell(&table, 0, "Tokens counted by");
    cell(&table, 1, "%s%.150s",
         report->tokenizer == NULL ? "the servers" : "the servers, checked by ",
         report->tokenizer == NULL ? "" : report->tokenizer);
    append_table(&table, out);
    string_buffer_append_format(out, "    %s\n", string_buffer_text(&report->command));
}

bool load_report_text(const struct load_report *report, struct string_buffer *out,
                      struct error *error) {
    struct string_buffer remarks = {0};
    bool done = load_remarks(report, &remarks, error);
    string_buffer_append_format(out, "# Load on %s%s%s%s\n\n", report->targets[0].name,
                                report->target_count > 1 ? " and " : "",
                                report->target_count > 1 ? report->targets[1].name : "",
                                report->is_partial ? " (partial)" : "");
    for (const char *at = string_buffer_text(&remarks); *at != '\0';) {
        size_t length = strcspn(at, "\n");
        string_buffer_append_format(out, "- %.*s\n", (int)length, at);
        at += length + 1;
    }
    string_buffer_append_text(out, remarks.length > 0 ? "\n" : "");
    string_buffer_deinit(&remarks);
    done = done && append_comparison(report, out, error) && append_levels(report, out, error) &&
           append_scenarios(report, out, error);
    append_setting(report, out);
    return done &&
           (!out->failed || error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the report"));
}
