/*
 * load_report.h - everything that a benchmark of servers measured, and the figures that follow from
 * it: one struct, filled by load_campaign.h, read by every form of output. Pure; main thread.
 */
#ifndef MISTRAL_BENCH_LOAD_REPORT_H
#define MISTRAL_BENCH_LOAD_REPORT_H

#include "bench/load.h"
#include "bench/load_target.h"
#include "bench/process_watch.h"
#include "bench/statistics.h"
#include "bench/system_information.h"
#include "bench/workload.h"

#include <stdbool.h>
#include <stddef.h>

enum { LOAD_MOST_TARGETS = 2, LOAD_MOST_LEVELS = 16 };

/* What an answer must keep to be counted as a good one; seconds, 0: anything. */
struct load_goal {
    double ttft, itl, latency;
};

/* A level of load: so many clients, or so many requests a second (0: the trace's own times). */
struct load_level {
    bool is_rate;
    double value;
};

/* One run: a target at a level, in a round. */
struct load_measurement {
    size_t target, level, round;
    struct load_run run;
    double cpu_seconds; /* of the server meanwhile; NaN: it was not watched */
};

/* What a server took, over the whole benchmark. */
struct load_watch {
    struct process_sample *samples; /* [count]; owned */
    size_t count;
    bool is_gone; /* the process ended before the benchmark */
};

struct load_report {
    struct system_information system;
    struct load_target targets[LOAD_MOST_TARGETS]; /* ours, and the baseline */
    struct load_watch watches[LOAD_MOST_TARGETS];
    size_t target_count;
    struct load_level levels[LOAD_MOST_LEVELS];
    size_t level_count;
    size_t rounds;
    struct workload workload;
    struct load_goal goal;
    bool is_regular;
    uint64_t seed;
    size_t warmup;         /* requests of each scenario, before each target's first run */
    double pause_limit;    /* seconds: a longer pause within an answer is a stall */
    const char *tokenizer; /* the model file whose tokenizer counted; NULL: none */
    struct string_buffer command;
    struct load_measurement *measurements; /* [count], in the order of their runs; owned */
    size_t count;
    bool is_partial;
};

void load_report_deinit(struct load_report *report);

/* "16 at once", "4 requests a second", "the trace's own times" */
void load_level_describe(const struct load_level *level, char *out, size_t size);

enum { LOAD_ALL = -1 };

/* Which measurements and records count. */
struct load_filter {
    int target, level, round, scenario; /* or LOAD_ALL */
};

/* Distributions are of successful answers only; failures are in `outcomes`. Seconds. */
struct load_figures {
    size_t requests, succeeded;
    size_t outcomes[LOAD_OUTCOME_COUNT];
    struct statistics_summary ttft, itl, latency, pause;
    size_t stalled;       /* answers with a pause above the report's limit */
    double seconds;       /* of the runs, added up */
    double prompt_tokens; /* of successful answers; NaN where no count is known */
    double output_tokens;
    double tokens_per_second;        /* of all streams together */
    double answer_tokens_per_second; /* of one answer: its tokens by its latency */
    double requests_per_second;      /* successful ones */
    double goodput;                  /* good ones a second; NaN without a goal */
    double good_share;               /* of all requests */
    double lateness;                 /* longest the generator was late, seconds */
    double cpu_cores;                /* of the server, mean over the runs; NaN: not watched */
};

bool load_figures_of(const struct load_report *report, struct load_filter filter,
                     struct load_figures *figures, struct error *error);

/* The sorted values of one of the distributions, for plots; *values is the caller's to free. */
enum load_time { LOAD_TTFT, LOAD_ITL, LOAD_LATENCY, LOAD_PAUSE };
bool load_times_of(const struct load_report *report, struct load_filter filter,
                   enum load_time which, double **values, size_t *count, struct error *error);

/* ---- comparison ---- */

struct load_metric {
    const char *key, *label, *better, *worse;
    bool more_is_better;
};

enum { LOAD_METRICS = 6 };
extern const struct load_metric load_metrics[LOAD_METRICS];

/* Ours beside the baseline's at a level, round by round. A count of 0: it cannot be told. */
bool load_compare(const struct load_report *report, size_t level, size_t metric,
                  struct statistics_comparison *comparison, struct error *error);

/* Most bytes that a target's processes had resident; 0: they were not watched. */
double load_peak_memory(const struct load_report *report, size_t target);

/* What a reader must know to judge the figures: failures, stalls, how tokens were counted. One line
 * each. */
bool load_remarks(const struct load_report *report, struct string_buffer *lines,
                  struct error *error);

/* ---- outputs: whole documents ---- */

bool load_report_text(const struct load_report *report, struct string_buffer *out,
                      struct error *error); /* Markdown, in columns */
bool load_report_json(const struct load_report *report, struct string_buffer *out,
                      struct error *error);
bool load_report_csv(const struct load_report *report, struct string_buffer *out,
                     struct error *error);
bool load_report_html(const struct load_report *report, struct string_buffer *out,
                      struct error *error);

#endif
