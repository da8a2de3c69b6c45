/*
 * load_campaign.h - a benchmark of one server, or of two in turn: warm-up, levels, rounds.
 *
 * For each level and round every target is asked the same workload, one target after the other
 * (A B A B ...), so that what changes on the machine meanwhile befalls both. Blocks; main thread.
 */
#ifndef MISTRAL_BENCH_LOAD_CAMPAIGN_H
#define MISTRAL_BENCH_LOAD_CAMPAIGN_H

#include "bench/load_report.h"

struct load_progress {
    const struct load_report *report;
    size_t run, runs; /* this one, from 0, of so many */
    size_t target, level, round;
    bool is_warmup;
    size_t done, total, failed; /* requests of this run */
    double tokens, seconds;     /* of this run so far */
};

struct load_campaign {
    struct workload_options workload;
    double most_seconds; /* of each run; 0: until the workload is over */
    double timeout;
    bool ignore_end;
    int64_t pids[LOAD_MOST_TARGETS]; /* to be watched; 0: none */
    /* About ten times a second; false stops the benchmark, and what there is becomes the report. */
    bool (*tick)(void *context, const struct load_progress *progress);
    void *context;
};

/* `report` comes with its targets, levels, rounds, goal and seed filled in; the measurements are
 * added. On false it holds what had been measured, and is still to be released. */
bool load_campaign_run(const struct load_campaign *campaign, struct load_report *report,
                       struct error *error);

#endif
