/*
 * utilization.h - the share of the last seconds in which each device worked, from the time it has
 * worked in all.
 *
 * Prometheus computes this from the counter by rate(); the gauge is there for those who look at
 * /metrics alone. To be sampled once a second, whoever asks, so that two scrapers see the same.
 * One thread at a time.
 */
#ifndef MISTRAL_METRICS_UTILIZATION_H
#define MISTRAL_METRICS_UTILIZATION_H

#include "metrics/metrics.h"

#include <stddef.h>
#include <stdint.h>

enum { UTILIZATION_DEVICES = 16, UTILIZATION_SAMPLES = 16 };

struct utilization {
    struct metrics *metrics;
    int64_t sampled_ns[UTILIZATION_SAMPLES];
    double busy_seconds[UTILIZATION_SAMPLES][UTILIZATION_DEVICES];
    size_t next, count; /* the ring's */
};

void utilization_init(struct utilization *utilization, struct metrics *metrics);
void utilization_sample(struct utilization *utilization, int64_t now_ns);

#endif
