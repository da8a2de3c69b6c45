/*
 * load_data.c - a report for other programs: JSON with everything, CSV with a row a scenario. See
 * load_report.h; docs/benchmarking.md describes both.
 */
#include "bench/load_report.h"

#include "base/json_writer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- JSON ---- */

static void number(struct json_writer *json, const char *name, double value) {
    json_write_key(json, name);
    json_write_number(json, value);
}

static void write_summary(struct json_writer *json, const char *name,
                          const struct statistics_summary *summary) {
    json_write_key(json, name);
    json_write_object_begin(json);
    json_write_integer_member(json, "count", (int64_t)summary->count);
    number(json, "mean", summary->mean);
    number(json, "min", summary->minimum);
    number(json, "p50", summary->p50);
    number(json, "p90", summary->p90);
    number(json, "p95", summary->p95);
    number(json, "p99", summary->p99);
    number(json, "max", summary->maximum);
    json_write_object_end(json);
}

static void write_figures(struct json_writer *json, const struct load_figures *figures) {
    json_write_integer_member(json, "requests", (int64_t)figures->requests);
    json_write_key(json, "outcomes");
    json_write_object_begin(json);
    for (int i = 0; i < LOAD_OUTCOME_COUNT; i++) {
        if (figures->outcomes[i] > 0) {
            json_write_integer_member(json, load_outcome_name((enum load_outcome)i),
                                      (int64_t)figures->outcomes[i]);
        }
    }
    json_write_object_end(json);
    write_summary(json, "ttft_seconds", &figures->ttft);
    write_summary(json, "itl_seconds", &figures->itl);
    write_summary(json, "latency_seconds", &figures->latency);
    write_summary(json, "pause_seconds", &figures->pause);
    json_write_integer_member(json, "stalled", (int64_t)figures->stalled);
    number(json, "seconds", figures->seconds);
    number(json, "prompt_tokens", figures->prompt_tokens);
    number(json, "output_tokens", figures->output_tokens);
    number(json, "tokens_per_second", figures->tokens_per_second);
    number(json, "answer_tokens_per_second", figures->answer_tokens_per_second);
    number(json, "requests_per_second", figures->requests_per_second);
    number(json, "goodput_requests_per_second", figures->goodput);
    number(json, "good_share", figures->good_share);
    number(json, "generator_lateness_seconds", figures->lateness);
    number(json, "server_cpu_cores", figures->cpu_cores);
}

static bool write_runs(const struct load_report *report, struct json_writer *json,
                       struct error *error) {
    json_write_key(json, "runs");
    json_write_array_begin(json);
    for (size_t i = 0; i < report->count; i++) {
        const struct load_measurement *measurement = &report->measurements[i];
        const struct load_filter filter = {(int)measurement->target, (int)measurement->level,
                                           (int)measurement->round, LOAD_ALL};
        struct load_figures figures;
        if (!load_figures_of(report, filter, &figures, error)) {
            return false;
        }
        json_write_object_begin(json);
        json_write_text_member(json, "target", report->targets[measurement->target].name);
        json_write_integer_member(json, "level", (int64_t)measurement->level);
        json_write_integer_member(json, "round", (int64_t)measurement->round);
        write_figures(json, &figures);
        json_write_object_end(json);
    }
    json_write_array_end(json);
    return true;
}

/* Each target at each level: all scenarios together, then one by one. */
static bool write_results(const struct load_report *report, struct json_writer *json,
                          struct error *error) {
    size_t per_level = report->workload.scenario_count + 1;
    json_write_key(json, "results");
    json_write_array_begin(json);
    for (size_t i = 0; i < report->level_count * report->target_count * per_level; i++) {
        size_t target = i / per_level % report->target_count;
        size_t level = i / per_level / report->target_count;
        int scenario = (int)(i % per_level) - 1; /* LOAD_ALL is -1 */
        const struct load_filter filter = {(int)target, (int)level, LOAD_ALL, scenario};
        struct load_figures figures;
        if (!load_figures_of(report, filter, &figures, error)) {
            return false;
        }
        json_write_object_begin(json);
        json_write_text_member(json, "target", report->targets[target].name);
        json_write_integer_member(json, "level", (int64_t)level);
        json_write_text_member(json, "scenario",
                               scenario == LOAD_ALL ? "all" : report->workload.scenarios[scenario]);
        write_figures(json, &figures);
        json_write_object_end(json);
    }
    json_write_array_end(json);
    return true;
}

static const char *const verdict_words[] = {[STATISTICS_TOO_FEW] = "too_few",
                                            [STATISTICS_NO_DIFFERENCE] = "no_difference",
                                            [STATISTICS_BETTER] = "better",
                                            [STATISTICS_WORSE] = "worse"};

static bool write_comparisons(const struct load_report *report, struct json_writer *json,
                              struct error *error) {
    struct string_buffer text = {0};
    bool done = true;
    json_write_key(json, "comparisons");
    json_write_array_begin(json);
    for (size_t i = 0; done && report->target_count == 2 && i < report->level_count * LOAD_METRICS;
         i++) {
        const struct load_metric *metric = &load_metrics[i % LOAD_METRICS];
        struct statistics_comparison comparison;
        done = load_compare(report, i / LOAD_METRICS, i % LOAD_METRICS, &comparison, error);
        if (!done || comparison.count == 0) {
            continue;
        }
        string_buffer_clear(&text);
        statistics_append_verdict(&comparison, metric->better, metric->worse, &text);
        json_write_object_begin(json);
        json_write_integer_member(json, "level", (int64_t)(i / LOAD_METRICS));
        json_write_text_member(json, "metric", metric->key);
        json_write_integer_member(json, "rounds", (int64_t)comparison.count);
        number(json, "ratio", comparison.ratio.value);
        number(json, "low", comparison.ratio.low);
        number(json, "high", comparison.ratio.high);
        json_write_text_member(json, "verdict", verdict_words[comparison.verdict]);
        json_write_text_member(json, "text", string_buffer_text(&text));
        json_write_object_end(json);
    }
    json_write_array_end(json);
    string_buffer_deinit(&text);
    return done;
}

static void write_samples(const struct load_watch *watch, struct json_writer *json) {
    json_write_key(json, "samples"); /* of memory and processor time */
    json_write_array_begin(json);
    for (size_t i = 0; i < watch->count; i++) {
        json_write_array_begin(json);
        json_write_number(json, watch->samples[i].at);
        json_write_number(json, watch->samples[i].resident_bytes);
        json_write_number(json, watch->samples[i].cpu_seconds);
        json_write_array_end(json);
    }
    json_write_array_end(json);
}

static void write_targets(const struct load_report *report, struct json_writer *json) {
    json_write_key(json, "targets");
    json_write_array_begin(json);
    for (size_t i = 0; i < report->target_count; i++) {
        const struct load_target *target = &report->targets[i];
        json_write_object_begin(json);
        json_write_text_member(json, "name", target->name);
        json_write_text_member(json, "url", target->url);
        json_write_text_member(json, "protocol", load_protocol_name(target->protocol));
        json_write_text_member(json, "model", target->model);
        json_write_text_member(json, "version", target->version);
        json_write_text_member(json, "model_digest", target->digest);
        write_samples(&report->watches[i], json);
        json_write_object_end(json);
    }
    json_write_array_end(json);
}

static void write_system(const struct system_information *system, struct json_writer *json) {
    json_write_key(json, "system");
    json_write_object_begin(json);
    for (size_t i = 0; i < system->count; i++) {
        const struct system_fact *fact = &system->facts[i];
        if (fact->is_number) {
            number(json, fact->key, fact->number);
        } else {
            json_write_text_member(json, fact->key, fact->text);
        }
    }
    json_write_object_end(json);
}

static void write_setting(const struct load_report *report, struct json_writer *json) {
    json_write_text_member(json, "kind", "mistral-bench-serve");
    json_write_integer_member(json, "schema", 1);
    json_write_key(json, "partial");
    json_write_bool(json, report->is_partial);
    json_write_text_member(json, "command", string_buffer_text(&report->command));
    write_system(&report->system, json);
    json_write_text_member(json, "workload", report->workload.kind);
    json_write_integer_member(json, "seed", (int64_t)report->seed);
    json_write_integer_member(json, "rounds", (int64_t)report->rounds);
    json_write_integer_member(json, "warmup", (int64_t)report->warmup);
    json_write_text_member(json, "tokens_counted_by",
                           report->tokenizer == NULL ? "server" : "server and tokenizer");
    json_write_key(json, "levels");
    json_write_array_begin(json);
    for (size_t i = 0; i < report->level_count; i++) {
        json_write_object_begin(json);
        json_write_text_member(json, "kind", report->levels[i].is_rate ? "rate" : "concurrency");
        number(json, "value", report->levels[i].value);
        json_write_object_end(json);
    }
    json_write_array_end(json);
    json_write_key(json, "slo");
    json_write_object_begin(json);
    number(json, "ttft_seconds", report->goal.ttft);
    number(json, "itl_seconds", report->goal.itl);
    number(json, "latency_seconds", report->goal.latency);
    json_write_object_end(json);
}

static void write_remarks(struct json_writer *json, const struct string_buffer *remarks) {
    json_write_key(json, "remarks");
    json_write_array_begin(json);
    for (const char *at = string_buffer_text(remarks); *at != '\0';) {
        size_t length = strcspn(at, "\n");
        json_write_text(json, at, length);
        at += length + 1;
    }
    json_write_array_end(json);
}

bool load_report_json(const struct load_report *report, struct string_buffer *out,
                      struct error *error) {
    struct json_writer json = {.out = out};
    struct string_buffer remarks = {0};
    json_write_object_begin(&json);
    write_setting(report, &json);
    write_targets(report, &json);
    bool done = load_remarks(report, &remarks, error) && write_results(report, &json, error) &&
                write_runs(report, &json, error) && write_comparisons(report, &json, error);
    write_remarks(&json, &remarks);
    json_write_object_end(&json);
    string_buffer_append_char(out, '\n');
    string_buffer_deinit(&remarks);
    return done &&
           (!out->failed || error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the report"));
}

/* ---- CSV (RFC 4180, lines end as Unix has it) ---- */

static void field(struct string_buffer *out, const char *before, const char *text) {
    bool quoted = text[strcspn(text, ",\"\r\n")] != '\0';
    string_buffer_append_format(out, "%s%s", before, quoted ? "\"" : "");
    for (; *text != '\0'; text++) {
        string_buffer_append_text(out, *text == '"' ? "\"" : "");
        string_buffer_append_char(out, *text);
    }
    string_buffer_append_text(out, quoted ? "\"" : "");
}

/* Empty where there is no figure. */
static void number_field(struct string_buffer *out, const char *before, double value) {
    if (isnan(value) || isinf(value)) {
        string_buffer_append_text(out, before);
    } else {
        string_buffer_append_format(out, "%s%.9g", before, value);
    }
}

static void summary_fields(struct string_buffer *out, const struct statistics_summary *summary) {
    const double values[] = {summary->mean, summary->p50, summary->p90,
                             summary->p95,  summary->p99, summary->maximum};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        number_field(out, ",", values[i]);
    }
}

static void append_heading(const struct load_report *report, struct string_buffer *out) {
    static const char *const times[] = {"ttft", "itl", "latency", "pause"};
    static const char *const parts[] = {"mean", "p50", "p90", "p95", "p99", "max"};
    /* The first four are the earlier benchmark's; the next six are what monitoring reads. */
    string_buffer_append_text(
        out, "test_name,avg_latency_sec,avg_tokens,tokens_per_sec,engine,model,scenario,"
             "tokens_per_second,first_token_seconds,answer_seconds,level,requests,succeeded,failed,"
             "unfinished,all_streams_tokens_per_second,requests_per_second,"
             "goodput_requests_per_second,good_share,stalled,prompt_tokens,output_tokens,seconds,"
             "server_cpu_cores,server_memory_peak_bytes,partial");
    for (size_t i = 0; i < 4; i++) {
        for (size_t k = 0; k < 6; k++) {
            string_buffer_append_format(out, ",%s_%s_seconds", times[i], parts[k]);
        }
    }
    for (size_t i = 0; i < report->system.count; i++) {
        string_buffer_append_format(out, ",system_%s", report->system.facts[i].key);
    }
    string_buffer_append_text(out, "\n");
}

static double peak_memory(const struct load_watch *watch) {
    double peak = NAN;
    for (size_t i = 0; i < watch->count; i++) {
        peak = fmax(peak, watch->samples[i].resident_bytes); /* of a NaN and a number, the number */
    }
    return peak;
}

static void append_row(const struct load_report *report, struct load_filter filter,
                       const struct load_figures *figures, struct string_buffer *out) {
    char level[64], scenario[192];
    bool is_all = filter.scenario == LOAD_ALL || report->workload.scenario_count == 1;
    double succeeded = (double)figures->succeeded;
    const char *name =
        filter.scenario == LOAD_ALL ? "all" : report->workload.scenarios[filter.scenario];
    load_level_describe(&report->levels[filter.level], level, sizeof level);
    snprintf(scenario, sizeof scenario, report->level_count > 1 ? "%.100s, %s" : "%.100s", name,
             level);
    field(out, "", name);
    number_field(out, ",", figures->latency.mean);
    number_field(out, ",", figures->output_tokens / succeeded);
    number_field(out, ",", figures->answer_tokens_per_second);
    field(out, ",", report->targets[filter.target].name);
    field(out, ",", report->targets[filter.target].model);
    field(out, ",", scenario);
    number_field(out, ",", figures->answer_tokens_per_second);
    number_field(out, ",", figures->ttft.p50);
    number_field(out, ",", figures->latency.p50);
    field(out, ",", level);
    string_buffer_append_format(out, ",%zu,%zu,%zu,%zu", figures->requests, figures->succeeded,
                                figures->requests - figures->succeeded -
                                    figures->outcomes[LOAD_UNFINISHED],
                                figures->outcomes[LOAD_UNFINISHED]);
    number_field(out, ",", is_all ? figures->tokens_per_second : NAN);
    number_field(out, ",", is_all ? figures->requests_per_second : NAN);
    number_field(out, ",", is_all ? figures->goodput : NAN);
    number_field(out, ",", figures->good_share);
    string_buffer_append_format(out, ",%zu", figures->stalled);
    number_field(out, ",", figures->prompt_tokens);
    number_field(out, ",", figures->output_tokens);
    number_field(out, ",", figures->seconds);
    number_field(out, ",", is_all ? figures->cpu_cores : NAN);
    number_field(out, ",", is_all ? peak_memory(&report->watches[filter.target]) : NAN);
    string_buffer_append_text(out, report->is_partial ? ",true" : ",false");
    summary_fields(out, &figures->ttft);
    summary_fields(out, &figures->itl);
    summary_fields(out, &figures->latency);
    summary_fields(out, &figures->pause);
    for (size_t i = 0; i < report->system.count; i++) {
        field(out, ",", report->system.facts[i].text);
    }
    string_buffer_append_text(out, "\n");
}

bool load_report_csv(const struct load_report *report, struct string_buffer *out,
                     struct error *error) {
    append_heading(report, out);
    for (size_t level = 0; level < report->level_count; level++) {
        for (size_t target = 0; target < report->target_count; target++) {
            size_t count = report->workload.scenario_count;
            /* One scenario is all of them: a single row. */
            for (int scenario = count == 1 ? 0 : LOAD_ALL; scenario < (int)count; scenario++) {
                const struct load_filter filter = {(int)target, (int)level, LOAD_ALL, scenario};
                struct load_figures figures;
                if (!load_figures_of(report, filter, &figures, error)) {
                    return false;
                }
                append_row(report, filter, &figures, out);
            }
        }
    }
    return !out->failed || error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the report");
}
