/*
 * bench_compare.c - mistral bench compare: what changed between two results of 'mistral bench', and
 * whether it got worse by more than it may.
 */
#include "base/bytes.h"
#include "bench/measurements.h"
#include "cli/cli.h"
#include "cli/json_output.h"
#include "cli/terminal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    const char *fail_over;
    bool json;
} options;

static const struct argument_option option_table[] = {
    {"fail-over", 0, ARGUMENT_TEXT, &options.fail_over, 0, 0, "PERCENT",
     "exit with 1 when a measurement is worse by more than this, such as 5%"},
    {"json", 0, ARGUMENT_SWITCH, &options.json, 0, 0, NULL, "as JSON"},
    {0},
};

struct comparing {
    struct measurements old, new;
    bool judges;    /* --fail-over was given */
    double allowed; /* as a fraction */
    size_t failed;
    json_t *rows; /* with --json */
};

static bool read_fail_over(struct comparing *comparing, struct error *error) {
    if (options.fail_over == NULL) {
        return true;
    }
    char *end;
    double percent = strtod(options.fail_over, &end);
    if (end == options.fail_over || (*end != '\0' && strcmp(end, "%") != 0) || !(percent >= 0) ||
        percent > 1000) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "--fail-over takes a percentage such as 5%%, not '%.40s'",
                         options.fail_over);
    }
    comparing->judges = true;
    comparing->allowed = percent / 100;
    return true;
}

/* Counted, not timed: the same work always gives the same number, so there is no noise. */
static bool is_exact(const struct measurement *row) {
    return strcmp(row->unit, "instructions") == 0;
}

static bool compare_rows(const struct measurement *old, const struct measurement *new,
                         struct statistics_comparison *comparison, struct error *error) {
    if (!is_exact(new) || new->count == 0 || old->count == 0) {
        return statistics_compare_samples(new->samples, new->count, old->samples, old->count,
                                          new->more_is_better, comparison, error);
    }
    double ratio =
        new->more_is_better ? new->samples[0] / old->samples[0] : old->samples[0] / new->samples[0];
    *comparison = (struct statistics_comparison){.ratio = {ratio, ratio, ratio},
                                                 .verdict = ratio > 1   ? STATISTICS_BETTER
                                                            : ratio < 1 ? STATISTICS_WORSE
                                                                        : STATISTICS_NO_DIFFERENCE,
                                                 .count = 1};
    return true;
}

static double middle(const struct measurement *row) {
    struct statistics_interval median = {0};
    struct error ignored = {0};
    statistics_median_interval(row->samples, row->count, &median, &ignored);
    return median.value;
}

/* What is said of one name; `old` or `new` is NULL where a file does not have it. */
static bool report(struct comparing *comparing, const struct measurement *old,
                   const struct measurement *new, const char *verdict,
                   const struct statistics_comparison *comparison, bool failed) {
    const struct measurement *row = new != NULL ? new : old;
    comparing->failed += failed;
    if (comparing->rows == NULL) {
        char before[32] = "-", after[32] = "-";
        if (old != NULL) {
            snprintf(before, sizeof before, "%.4g", middle(old));
        }
        if (new != NULL) {
            snprintf(after, sizeof after, "%.4g", middle(new));
        }
        const char *style = terminal_style(stdout, failed ? STYLE_ERROR : STYLE_PLAIN);
        printf("%s%-44s %12s %12s  %-12s %s%s\n", style, row->name, before, after, row->unit,
               verdict, terminal_style(stdout, STYLE_PLAIN));
        return true;
    }
    json_t *json = json_pack("{s:s, s:s, s:s, s:b}", "name", row->name, "unit", row->unit,
                             "verdict", verdict, "failed", (int)failed);
    if (old != NULL) {
        json_object_set_new(json, "old", json_real(middle(old)));
    }
    if (new != NULL) {
        json_object_set_new(json, "new", json_real(middle(new)));
    }
    if (comparison != NULL) {
        json_object_set_new(json, "ratio", json_real(comparison->ratio.value));
    }
    return json_array_append_new(comparing->rows, json) == 0;
}

static bool compare_one(struct comparing *comparing, const struct measurement *new,
                        struct error *error) {
    const struct measurement *old = measurements_find(&comparing->old, new->name);
    if (old == NULL || strcmp(old->unit, new->unit) != 0) {
        return report(comparing, NULL, new, "new: nothing to compare with", NULL, false);
    }
    struct statistics_comparison comparison;
    struct string_buffer verdict = {0};
    if (!compare_rows(old, new, &comparison, error)) {
        return false;
    }
    bool failed = comparing->judges && comparison.verdict == STATISTICS_WORSE &&
                  1 / comparison.ratio.value > 1 + comparing->allowed;
    if (is_exact(new) && comparison.verdict == STATISTICS_NO_DIFFERENCE) {
        string_buffer_append_text(&verdict, "the same");
    } else {
        statistics_append_verdict(&comparison, "better", "worse", &verdict);
    }
    bool done = report(comparing, old, new, string_buffer_text(&verdict), &comparison, failed);
    string_buffer_deinit(&verdict);
    return done;
}

/* A gate that loses a measurement must not pass in silence. */
static bool report_missing(struct comparing *comparing) {
    bool done = true;
    for (size_t i = 0; done && i < comparing->old.count; i++) {
        const struct measurement *old = &comparing->old.rows[i];
        if (measurements_find(&comparing->new, old->name) == NULL) {
            done =
                report(comparing, old, NULL, "missing in the new results", NULL, comparing->judges);
        }
    }
    return done;
}

static bool compare_all(struct comparing *comparing, struct error *error) {
    comparing->rows = options.json ? json_array() : NULL;
    if (!options.json) {
        printf("%s%-44s %12s %12s  %-12s %s%s\n", terminal_style(stdout, STYLE_BOLD), "measurement",
               "old", "new", "unit", "verdict", terminal_style(stdout, STYLE_PLAIN));
    }
    bool done = !options.json || comparing->rows != NULL;
    for (size_t i = 0; done && i < comparing->new.count; i++) {
        done = compare_one(comparing, &comparing->new.rows[i], error);
    }
    if (!done || !report_missing(comparing)) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the comparison");
    }
    return (!options.json ||
            json_output_print(json_pack("{s:O, s:I}", "comparisons", comparing->rows, "failed",
                                        (json_int_t)comparing->failed),
                              error));
}

static bool bench_compare(struct cli *cli, struct error *error) {
    struct comparing comparing = {0};
    bool done = read_fail_over(&comparing, error) &&
                measurements_read(cli->operands.texts[0], &comparing.old, error) &&
                measurements_read(cli->operands.texts[1], &comparing.new, error) &&
                compare_all(&comparing, error);
    if (done && comparing.failed > 0) {
        done = error_set(error, ERROR_UNSUPPORTED,
                         "%zu of %zu measurements got worse by more than %s", comparing.failed,
                         size_max(comparing.new.count, comparing.old.count), options.fail_over);
    }
    json_decref(comparing.rows);
    measurements_deinit(&comparing.old);
    measurements_deinit(&comparing.new);
    return done;
}

const struct cli_command cli_bench_compare_command = {
    .name = "bench compare",
    .usage = "OLD.json NEW.json",
    .summary = "say what got faster or slower between two results",
    .details = "Only differences beyond the noise of the samples are called better or worse. Of a "
               "report of\n"
               "'bench serve' a round is a sample, so take a few: --rounds 5.\n",
    .reader = READ_BY_NOBODY,
    .minimum_operands = 2,
    .maximum_operands = 2,
    .options = option_table,
    .run = bench_compare,
};
