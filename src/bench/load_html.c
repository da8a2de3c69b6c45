/*
 * load_html.c - a report as one HTML page: tables, plots, no script, nothing fetched from anywhere.
 * See load_report.h. Light and dark follow the reader's system.
 */
#include "bench/load_report.h"

#include "bench/svg_plot.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char style[] =
    ":root{--ink:#1c2430;--paper:#fff;--faint:#5b6675;--line:#d5dbe3;--card:#f4f6f9;"
    "--series-0:#1565c0;--series-1:#c2410c;--good:#17692f;--bad:#a3200d}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--paper:#12161c;--faint:#9aa6b5;"
    "--line:#333c48;--card:#1b2129;--series-0:#6cb2ff;--series-1:#ff9d5c;--good:#6fd48b;"
    "--bad:#ff8d7a}}\n"
    ":root{color-scheme:light dark}*{box-sizing:border-box}\n"
    "body{margin:0 auto;padding:16px;max-width:1240px;background:var(--paper);color:var(--ink);"
    "font:15px/1.5 system-ui,sans-serif}\n"
    "h1{font-size:1.5rem;line-height:1.25}h2{font-size:1.15rem;margin:2rem 0 .5rem}\n"
    ".table{overflow-x:auto;max-width:100%}\n"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums}\n"
    "th,td{padding:4px 10px;border-bottom:1px solid var(--line);text-align:right;"
    "vertical-align:top}\n"
    "th:first-child,td:first-child,.words th,.words td{text-align:left}th{color:var(--faint);"
    "font-weight:600}\n"
    "@media(max-width:600px){th,td{padding:4px 5px;font-size:.87rem}}\n"
    ".pair{display:grid;column-gap:32px;grid-template-columns:repeat(auto-fit,minmax(min(100%,"
    "540px),1fr))}.pair section{min-width:0}\n"
    ".words td:last-child{overflow-wrap:anywhere;white-space:normal}\n"
    ".plots{display:grid;gap:16px;margin-top:2rem;grid-template-columns:repeat(auto-fit,minmax(min("
    "100%,480px),"
    "1fr))}\n"
    "figure{margin:0;padding:12px;background:var(--card);border-radius:8px}\n"
    "figure svg{width:100%;height:auto}figcaption svg{width:22px}\n"
    "figure text{fill:var(--faint);font-size:11px}.grid{stroke:var(--line);stroke-width:1}\n"
    ".series{stroke-width:2;stroke-linejoin:round}.key{white-space:nowrap;margin-left:.6em}\n"
    ".remarks{border-left:4px solid var(--bad);padding:4px 12px 4px 28px;background:var(--card)}\n"
    ".better{color:var(--good);font-weight:600}.worse{color:var(--bad);font-weight:600}\n"
    "code{overflow-wrap:anywhere}\n";

static void tag_text(struct string_buffer *out, const char *open, const char *text,
                     const char *close) {
    string_buffer_append_text(out, open);
    svg_append_escaped(text, out);
    string_buffer_append_text(out, close);
}

static void number_cell(struct string_buffer *out, double value) {
    if (isnan(value) || isinf(value)) {
        string_buffer_append_text(out, "<td>–</td>");
    } else {
        string_buffer_append_format(out, fabs(value) >= 1000 ? "<td>%.0f</td>" : "<td>%.4g</td>",
                                    value);
    }
}

/* ---- tables ---- */

static bool append_verdict(const struct load_report *report, size_t level, size_t which,
                           struct string_buffer *out, struct error *error) {
    static const char *const classes[] = {[STATISTICS_TOO_FEW] = "",
                                          [STATISTICS_NO_DIFFERENCE] = "",
                                          [STATISTICS_BETTER] = "better",
                                          [STATISTICS_WORSE] = "worse"};
    struct statistics_comparison comparison;
    if (!load_compare(report, level, which, &comparison, error)) {
        return false;
    }
    if (comparison.count == 0) {
        string_buffer_append_text(out, "<td>–</td>");
        return true;
    }
    struct string_buffer text = {0};
    statistics_append_verdict(&comparison, load_metrics[which].better, load_metrics[which].worse,
                              &text);
    string_buffer_append_format(out, "<td class=\"%s\">", classes[comparison.verdict]);
    tag_text(out, "", string_buffer_text(&text), "</td>");
    string_buffer_deinit(&text);
    return true;
}

/* A row for each metric, a column for each level. */
static bool append_verdicts(const struct load_report *report, struct string_buffer *out,
                            struct error *error) {
    char title[256];
    snprintf(title, sizeof title, "%s beside %s", report->targets[0].name, report->targets[1].name);
    tag_text(out, "<h2>", title,
             "</h2>\n<div class=\"table\" tabindex=\"0\"><table class=\"words\">\n<tr><td></td>");
    for (size_t level = 0; level < report->level_count; level++) {
        char text[64];
        load_level_describe(&report->levels[level], text, sizeof text);
        tag_text(out, "<th>", text, "</th>");
    }
    bool done = true;
    for (size_t which = 0; done && which < LOAD_METRICS; which++) {
        tag_text(out, "</tr>\n<tr><td>", load_metrics[which].label, "</td>");
        for (size_t level = 0; done && level < report->level_count; level++) {
            done = append_verdict(report, level, which, out, error);
        }
    }
    string_buffer_append_text(out, "</tr>\n</table></div>\n");
    return done;
}

static void summary_row(struct string_buffer *out, const char *label,
                        const struct statistics_summary *summary) {
    const double values[] = {summary->mean, summary->p50, summary->p90,
                             summary->p95,  summary->p99, summary->maximum};
    tag_text(out, "<tr><td>", label, "</td>");
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        number_cell(out, values[i] * 1e3);
    }
    string_buffer_append_text(out, "</tr>\n");
}

static void append_figures(const struct load_report *report, size_t target, size_t level,
                           const struct load_figures *figures, struct string_buffer *out) {
    char name[160], text[64];
    load_level_describe(&report->levels[level], text, sizeof text);
    snprintf(name, sizeof name, "%s, %s", report->targets[target].name, text);
    tag_text(out, "<section><h2>", name, "</h2>\n");
    string_buffer_append_format(out, "<p>%zu requests in %.4g s, %zu answered", figures->requests,
                                figures->seconds, figures->succeeded);
    if (!isnan(figures->tokens_per_second)) {
        string_buffer_append_format(out, "; <strong>%.4g tokens/s</strong>",
                                    figures->tokens_per_second);
    }
    string_buffer_append_format(out, ", %.4g requests/s", figures->requests_per_second);
    if (!isnan(figures->goodput)) {
        string_buffer_append_format(out, ", goodput %.4g requests/s (%.1f %%)", figures->goodput,
                                    100 * figures->good_share);
    }
    if (!isnan(figures->cpu_cores)) {
        string_buffer_append_format(out, "; the server used %.2g cores", figures->cpu_cores);
    }
    string_buffer_append_text(
        out, ".</p>\n<div class=\"table\" "
             "tabindex=\"0\"><table><tr><th>milliseconds</th><th>mean</th><th>p50</th>"
             "<th>p90</th><th>p95</th><th>p99</th><th>max</th></tr>\n");
    summary_row(out, "time to first token", &figures->ttft);
    summary_row(out, "time between tokens", &figures->itl);
    summary_row(out, "whole answer", &figures->latency);
    summary_row(out, "longest pause in an answer", &figures->pause);
    string_buffer_append_text(out, "</table></div></section>\n");
}

/* The servers beside each other where there is room. */
static bool append_levels(const struct load_report *report, struct string_buffer *out,
                          struct error *error) {
    for (size_t level = 0; level < report->level_count; level++) {
        string_buffer_append_text(out, "<div class=\"pair\">\n");
        for (size_t target = 0; target < report->target_count; target++) {
            const struct load_filter filter = {(int)target, (int)level, LOAD_ALL, LOAD_ALL};
            struct load_figures figures;
            if (!load_figures_of(report, filter, &figures, error)) {
                return false;
            }
            if (figures.requests > 0) {
                append_figures(report, target, level, &figures, out);
            }
        }
        string_buffer_append_text(out, "</div>\n");
    }
    return true;
}

static bool append_scenarios(const struct load_report *report, struct string_buffer *out,
                             struct error *error) {
    size_t count = report->workload.scenario_count * report->target_count;
    if (report->workload.scenario_count < 2) {
        return true;
    }
    string_buffer_append_text(
        out, "<h2>By scenario (medians)</h2>\n<div class=\"table\" "
             "tabindex=\"0\"><table><tr><th>scenario</th>"
             "<th>server</th><th>answers</th><th>first token, ms</th><th>answer, ms</th>"
             "<th>tokens</th><th>tokens/s of one answer</th></tr>\n");
    for (size_t i = 0; i < count; i++) {
        size_t scenario = i / report->target_count, target = i % report->target_count;
        const struct load_filter filter = {(int)target, LOAD_ALL, LOAD_ALL, (int)scenario};
        struct load_figures figures;
        if (!load_figures_of(report, filter, &figures, error)) {
            return false;
        }
        tag_text(out, "<tr><td>", report->workload.scenarios[scenario], "</td>");
        tag_text(out, "<td>", report->targets[target].name, "</td>");
        string_buffer_append_format(out, "<td>%zu</td>", figures.succeeded);
        number_cell(out, figures.ttft.p50 * 1e3);
        number_cell(out, figures.latency.p50 * 1e3);
        number_cell(out, figures.output_tokens / (double)figures.succeeded);
        number_cell(out, figures.answer_tokens_per_second);
        string_buffer_append_text(out, "</tr>\n");
    }
    string_buffer_append_text(out, "</table></div>\n");
    return true;
}

static void fact_row(struct string_buffer *out, const char *label, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void fact_row(struct string_buffer *out, const char *label, const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    tag_text(out, "<tr><td>", label, "</td>");
    tag_text(out, "<td>", text, "</td></tr>\n");
}

static void append_setting(const struct load_report *report, struct string_buffer *out) {
    string_buffer_append_text(out,
                              "<h2>Measured on</h2>\n<div class=\"table\" tabindex=\"0\"><table "
                              "class=\"words\">\n");
    for (size_t i = 0; i < report->system.count; i++) {
        fact_row(out, report->system.facts[i].label, "%s", report->system.facts[i].text);
    }
    for (size_t i = 0; i < report->target_count; i++) {
        const struct load_target *target = &report->targets[i];
        fact_row(out, target->name, "%s, %s protocol, version %s, model %s, checksum %s",
                 target->url, load_protocol_name(target->protocol),
                 target->version[0] == '\0' ? "not told" : target->version, target->model,
                 target->digest[0] == '\0' ? "not told" : target->digest);
        if (load_peak_memory(report, i) > 0) {
            char label[160];
            snprintf(label, sizeof label, "%s, memory", target->name);
            fact_row(out, label, "%.1f MiB at most", load_peak_memory(report, i) / 0x1p20);
        }
    }
    fact_row(out, "Workload",
             "%s, %zu requests a run, %zu rounds, %zu to warm up each scenario, "
             "seed %llu",
             report->workload.kind, report->workload.count, report->rounds, report->warmup,
             (unsigned long long)report->seed);
    fact_row(out, "Tokens counted by", "%s%s",
             report->tokenizer == NULL ? "the servers" : "the servers, checked by ",
             report->tokenizer == NULL ? "" : report->tokenizer);
    string_buffer_append_text(out, "</table></div>\n");
    tag_text(out, "<p><code>", string_buffer_text(&report->command), "</code></p>\n");
}

/* ---- plots ---- */

enum { MOST_POINTS = 200 };

/* What share of answers came within a time; of many, every so-manieth. */
struct distribution {
    double xs[MOST_POINTS + 1], ys[MOST_POINTS + 1];
    size_t count;
};

static bool fill_distribution(const struct load_report *report, size_t target, enum load_time which,
                              struct distribution *points, struct error *error) {
    const struct load_filter filter = {(int)target, LOAD_ALL, LOAD_ALL, LOAD_ALL};
    double *values;
    size_t count;
    if (!load_times_of(report, filter, which, &values, &count, error)) {
        return false;
    }
    points->count = count == 0 ? 0 : MOST_POINTS + 1;
    for (size_t i = 0; i < points->count; i++) {
        double share = (double)i / MOST_POINTS;
        points->xs[i] = statistics_quantile(values, count, share) * 1e3;
        points->ys[i] = share * 100;
    }
    free(values);
    return true;
}

static bool append_distribution(const struct load_report *report, enum load_time which,
                                const char *title, struct string_buffer *out, struct error *error) {
    struct distribution points[LOAD_MOST_TARGETS];
    struct svg_series series[LOAD_MOST_TARGETS];
    for (size_t i = 0; i < report->target_count; i++) {
        if (!fill_distribution(report, i, which, &points[i], error)) {
            return false;
        }
        series[i] = (struct svg_series){.name = report->targets[i].name,
                                        .xs = points[i].xs,
                                        .ys = points[i].ys,
                                        .count = points[i].count,
                                        .colour = (int)i,
                                        .is_dashed = i > 0};
    }
    const struct svg_plot plot = {.title = title,
                                  .x_label = "milliseconds",
                                  .y_label = "% of answers within",
                                  .series = series,
                                  .series_count = report->target_count,
                                  .y_most = 100};
    svg_plot_append(&plot, out);
    return true;
}

static bool append_throughput(const struct load_report *report, struct string_buffer *out,
                              struct error *error) {
    double xs[LOAD_MOST_TARGETS][LOAD_MOST_LEVELS], ys[LOAD_MOST_TARGETS][LOAD_MOST_LEVELS];
    struct svg_series series[LOAD_MOST_TARGETS];
    for (size_t i = 0; i < report->target_count; i++) {
        size_t count = 0;
        for (size_t level = 0; level < report->level_count; level++) {
            const struct load_filter filter = {(int)i, (int)level, LOAD_ALL, LOAD_ALL};
            struct load_figures figures;
            if (!load_figures_of(report, filter, &figures, error)) {
                return false;
            }
            if (figures.tokens_per_second > 0) {
                xs[i][count] = report->levels[level].value;
                ys[i][count++] = figures.tokens_per_second;
            }
        }
        series[i] = (struct svg_series){.name = report->targets[i].name,
                                        .xs = xs[i],
                                        .ys = ys[i],
                                        .count = count,
                                        .colour = (int)i,
                                        .is_dashed = i > 0,
                                        .has_marks = true};
    }
    bool is_rate = report->levels[0].is_rate;
    const struct svg_plot plot = {.title = is_rate ? "Throughput against rate"
                                                   : "Throughput against concurrency",
                                  .x_label = is_rate ? "requests a second" : "requests at once",
                                  .y_label = "tokens a second",
                                  .series = series,
                                  .series_count = report->target_count};
    svg_plot_append(&plot, out);
    return true;
}

static bool append_memory(const struct load_report *report, struct string_buffer *out,
                          struct error *error) {
    struct svg_series series[LOAD_MOST_TARGETS] = {0};
    double *values = calloc(2 * LOAD_MOST_TARGETS * PROCESS_WATCH_MOST, sizeof *values);
    if (values == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a plot");
    }
    for (size_t i = 0; i < report->target_count; i++) {
        const struct load_watch *watch = &report->watches[i];
        double *xs = values + 2 * i * PROCESS_WATCH_MOST, *ys = xs + PROCESS_WATCH_MOST;
        for (size_t k = 0; k < watch->count; k++) {
            xs[k] = watch->samples[k].at;
            ys[k] = watch->samples[k].resident_bytes / 0x1p20;
        }
        series[i] = (struct svg_series){.name = report->targets[i].name,
                                        .xs = xs,
                                        .ys = ys,
                                        .count = watch->count,
                                        .colour = (int)i,
                                        .is_dashed = i > 0};
    }
    const struct svg_plot plot = {.title = "The server's memory",
                                  .x_label = "seconds",
                                  .y_label = "MiB resident",
                                  .series = series,
                                  .series_count = report->target_count};
    svg_plot_append(&plot, out);
    free(values);
    return true;
}

static bool append_plots(const struct load_report *report, struct string_buffer *out,
                         struct error *error) {
    bool many = report->level_count > 1;
    string_buffer_append_text(out, "<div class=\"plots\">\n");
    bool done =
        append_distribution(report, LOAD_LATENCY,
                            many ? "Time of a whole answer, all levels" : "Time of a whole answer",
                            out, error) &&
        append_distribution(
            report, LOAD_TTFT,
            many ? "Time to the first token, all levels" : "Time to the first token", out, error) &&
        (report->level_count < 2 || append_throughput(report, out, error)) &&
        append_memory(report, out, error);
    string_buffer_append_text(out, "</div>\n");
    return done;
}

/* ---- the page ---- */

static void append_remarks(const struct string_buffer *remarks, struct string_buffer *out) {
    if (remarks->length == 0) {
        return;
    }
    string_buffer_append_text(out, "<ul class=\"remarks\">\n");
    for (const char *at = string_buffer_text(remarks); *at != '\0';) {
        char line[1024];
        size_t length = strcspn(at, "\n");
        snprintf(line, sizeof line, "%.*s", (int)length, at);
        tag_text(out, "<li>", line, "</li>\n");
        at += length + 1;
    }
    string_buffer_append_text(out, "</ul>\n");
}

bool load_report_html(const struct load_report *report, struct string_buffer *out,
                      struct error *error) {
    struct string_buffer remarks = {0};
    char title[256];
    snprintf(title, sizeof title, "Load on %s%s%s%s", report->targets[0].name,
             report->target_count > 1 ? " and " : "",
             report->target_count > 1 ? report->targets[1].name : "",
             report->is_partial ? " (partial)" : "");
    string_buffer_append_text(
        out, "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta "
             "name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<link "
             "rel=\"icon\" href=\"data:,\">\n");
    tag_text(out, "<title>", title, "</title>\n");
    string_buffer_append_format(out, "<style>\n%s</style>\n", style);
    tag_text(out, "<main>\n<h1>", title, "</h1>\n");
    bool done = load_remarks(report, &remarks, error);
    append_remarks(&remarks, out);
    done = done && (report->target_count < 2 || append_verdicts(report, out, error)) &&
           append_plots(report, out, error) && append_levels(report, out, error) &&
           append_scenarios(report, out, error);
    append_setting(report, out);
    string_buffer_append_text(out, "</main>\n</html>\n");
    string_buffer_deinit(&remarks);
    return done &&
           (!out->failed || error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the report"));
}
