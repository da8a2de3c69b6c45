/*
 * process.h - the metrics that are read from the system when somebody asks for them.
 *
 * Names and meanings of process_* are those of Prometheus' own client libraries. One thread at a
 * time.
 */
#ifndef MISTRAL_METRICS_PROCESS_H
#define MISTRAL_METRICS_PROCESS_H

#include "metrics/metrics.h"

#include <stdint.h>

struct process_metrics {
    struct metric_series *resident, *virtual_memory, *cpu, *open_files, *max_files;
    int64_t cpu_ns; /* counted so far */
};

/* Tells who this program is, when it started and what memory it may use: that does not change. */
void process_metrics_init(struct process_metrics *process, struct metrics *metrics,
                          const char *version, const char *commit);

/* Reads the rest anew; to be called before each metrics_write. */
void process_metrics_read(struct process_metrics *process);

#endif
