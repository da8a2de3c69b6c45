/*
 * engine_metrics.h - what an engine counts of its steps, in the registry it was given.
 *
 * All series are looked up when the engine starts, so that a step only adds to atomics. Without a
 * registry every series is NULL and nothing is counted. Engine thread, but for init and deinit.
 */
#ifndef MISTRAL_ENGINE_ENGINE_METRICS_H
#define MISTRAL_ENGINE_ENGINE_METRICS_H

#include "engine/engine.h"
#include "metrics/metrics.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* batch_size is one of few: the least power of two that is no smaller, at most 2^12. */
enum { ENGINE_BATCH_CLASSES = 13 };

struct engine_metrics {
    struct metric_series *between_tokens, *queue, *steps, *busy;
    struct metric_series *prefill[ENGINE_BATCH_CLASSES], *decode[ENGINE_BATCH_CLASSES];
    struct metric_series *running, *waiting, *waiting_limit, *waiting_of_all;
    struct metric_series *kv_used, *kv_cached, *kv_capacity;
    struct metric_series *prefix_lookup, *prefix_hit, *preemptions, *draft, *draft_hit;
    struct metric_series *weights, *kv_cache, *metal_weights, *metal_kv_cache;
    double weight_bytes;
    struct engine_stats seen; /* what is told already */
};

/* What does not change while the engine lives. */
struct engine_metrics_about {
    const char *model;     /* label */
    const char *device;    /* "cpu" */
    const char *device_id; /* "0" */
    double load_seconds;
    double weight_bytes;
};

void engine_metrics_init(struct engine_metrics *metrics, const struct engine_options *options,
                         const struct engine_metrics_about *about);
/* Takes back what the gauges say of this engine. */
void engine_metrics_deinit(struct engine_metrics *metrics);

struct request;
/* A request has its first step. */
void engine_metrics_started(struct engine_metrics *metrics, const struct request *request);
/* A request was advanced: what it had before, and how many sequences the step has. */
void engine_metrics_advanced(struct engine_metrics *metrics, const struct request *request,
                             size_t generated_before, int64_t last_token_before_ns,
                             size_t sequence_count);
/* A step took `ns`; `decode_rows` sequences decoded `decode_tokens` tokens in it. */
void engine_metrics_step(struct engine_metrics *metrics, int64_t ns, size_t decode_rows,
                         uint64_t decode_tokens);
void engine_metrics_publish(struct engine_metrics *metrics, const struct engine_stats *stats);

#endif
