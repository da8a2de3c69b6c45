/* engine_metrics.c - see engine_metrics.h. */
#include "engine/engine_metrics.h"

#include "engine/request.h"

#include <stdio.h>
#include <string.h>

static size_t batch_class(size_t sequences) {
    size_t class = 0;
    while (class + 1 < ENGINE_BATCH_CLASSES && ((size_t)1 << class) < sequences) {
        class ++;
    }
    return class;
}

/* Those up to `largest`; the rest stay NULL and are never reached. */
static void find_batch_series(struct metrics *registry, enum metric_id id, const char *model,
                              size_t largest, struct metric_series **series) {
    for (size_t class = 0; class <= batch_class(largest); class ++) {
        char size[16];
        snprintf(size, sizeof size, "%zu", (size_t)1 << class);
        series[class] = metrics_series(registry, id, (const char *const[]){model, size});
    }
}

static void find_memory_series(struct engine_metrics *metrics, struct metrics *registry,
                               const struct engine_metrics_about *about) {
    const char *const weights[] = {about->device, about->device_id, "weights"};
    const char *const kv_cache[] = {about->device, about->device_id, "kv_cache"};
    metrics->weights = metrics_series(registry, METRIC_DEVICE_MEMORY, weights);
    metrics->kv_cache = metrics_series(registry, METRIC_DEVICE_MEMORY, kv_cache);
    if (strcmp(about->device, "metal") == 0) {
        metrics->metal_weights = metrics_series(registry, METRIC_METAL_MEMORY, weights + 1);
        metrics->metal_kv_cache = metrics_series(registry, METRIC_METAL_MEMORY, kv_cache + 1);
    }
    metrics->weight_bytes = about->weight_bytes;
    metric_gauge_add(metrics->weights, about->weight_bytes);
    metric_gauge_add(metrics->metal_weights, about->weight_bytes);
}

void engine_metrics_init(struct engine_metrics *metrics, const struct engine_options *options,
                         const struct engine_metrics_about *about) {
    struct metrics *registry = options->metrics;
    *metrics = (struct engine_metrics){0};
    if (registry == NULL) {
        return;
    }
    const char *const model[] = {about->model};
    const char *const device[] = {about->device, about->device_id};
    const struct {
        enum metric_id id;
        struct metric_series **series;
    } rows[] = {
        {METRIC_TIME_BETWEEN_TOKENS, &metrics->between_tokens},
        {METRIC_QUEUE_DURATION, &metrics->queue},
        {METRIC_ENGINE_STEPS, &metrics->steps},
        {METRIC_SEQUENCES_RUNNING, &metrics->running},
        {METRIC_SEQUENCES_WAITING, &metrics->waiting},
        {METRIC_SEQUENCES_WAITING_LIMIT, &metrics->waiting_limit},
        {METRIC_KV_BLOCKS_USED, &metrics->kv_used},
        {METRIC_KV_BLOCKS_CACHED, &metrics->kv_cached},
        {METRIC_KV_BLOCKS_CAPACITY, &metrics->kv_capacity},
        {METRIC_PREFIX_LOOKUP_TOKENS, &metrics->prefix_lookup},
        {METRIC_PREFIX_HIT_TOKENS, &metrics->prefix_hit},
        {METRIC_PREEMPTIONS, &metrics->preemptions},
        {METRIC_DRAFT_TOKENS, &metrics->draft},
        {METRIC_DRAFT_HIT_TOKENS, &metrics->draft_hit},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        *rows[i].series = metrics_series(registry, rows[i].id, model);
    }
    metrics->waiting_of_all = metrics_series(registry, METRIC_BATCH_QUEUE_SIZE, NULL);
    metrics->busy = metrics_series(registry, METRIC_DEVICE_BUSY, device);
    find_batch_series(registry, METRIC_PREFILL_DURATION, about->model,
                      options->max_running_requests, metrics->prefill);
    find_batch_series(registry, METRIC_DECODE_DURATION, about->model, options->max_batch_size,
                      metrics->decode);
    find_memory_series(metrics, registry, about);
    metric_set(metrics->waiting_limit, (double)options->max_waiting_requests);
    metric_observe_ns(metrics_series(registry, METRIC_MODEL_LOAD_DURATION, model),
                      (int64_t)(about->load_seconds * 1e9));
}

void engine_metrics_deinit(struct engine_metrics *metrics) {
    struct engine_stats gone = metrics->seen; /* counters stay as they are */
    gone.running = gone.waiting = 0;
    gone.kv_blocks_used = gone.kv_blocks_cached = gone.kv_blocks_total = gone.kv_bytes = 0;
    engine_metrics_publish(metrics, &gone);
    metric_set(metrics->waiting_limit, 0);
    metric_gauge_add(metrics->weights, -metrics->weight_bytes);
    metric_gauge_add(metrics->metal_weights, -metrics->weight_bytes);
}

void engine_metrics_started(struct engine_metrics *metrics, const struct request *request) {
    metric_observe_ns(metrics->queue, request->started_ns - request->submitted_ns);
}

void engine_metrics_advanced(struct engine_metrics *metrics, const struct request *request,
                             size_t generated_before, int64_t last_token_before_ns,
                             size_t sequence_count) {
    if (last_token_before_ns == 0) {
        metric_observe_ns(metrics->prefill[batch_class(sequence_count)],
                          request->first_token_ns - request->started_ns);
    } else if (request->generated > generated_before) { /* not the mark that ends an answer */
        metric_observe_ns(metrics->between_tokens, request->last_token_ns - last_token_before_ns);
    }
}

void engine_metrics_step(struct engine_metrics *metrics, int64_t ns, size_t decode_rows,
                         uint64_t decode_tokens) {
    metric_add(metrics->steps, 1);
    metric_add_ns(metrics->busy, ns);
    if (decode_rows > 0 && decode_tokens > 0) {
        int64_t per_token = (int64_t)((double)ns * (double)decode_rows / (double)decode_tokens);
        metric_observe_ns(metrics->decode[batch_class(decode_rows)], per_token);
    }
}

void engine_metrics_publish(struct engine_metrics *metrics, const struct engine_stats *stats) {
    const struct engine_stats *seen = &metrics->seen;
    metric_set(metrics->running, (double)stats->running);
    metric_set(metrics->waiting, (double)stats->waiting);
    metric_gauge_add(metrics->waiting_of_all, (double)stats->waiting - (double)seen->waiting);
    metric_set(metrics->kv_used, (double)stats->kv_blocks_used);
    metric_set(metrics->kv_cached, (double)stats->kv_blocks_cached);
    metric_set(metrics->kv_capacity, (double)stats->kv_blocks_total);
    metric_add(metrics->prefix_lookup, stats->prefix_lookup_tokens - seen->prefix_lookup_tokens);
    metric_add(metrics->prefix_hit, stats->prefix_hit_tokens - seen->prefix_hit_tokens);
    metric_add(metrics->preemptions, stats->preemptions - seen->preemptions);
    metric_add(metrics->draft, stats->draft_tokens - seen->draft_tokens);
    metric_add(metrics->draft_hit, stats->draft_hit_tokens - seen->draft_hit_tokens);
    double kv_growth = (double)stats->kv_bytes - (double)seen->kv_bytes;
    if (kv_growth != 0) {
        metric_gauge_add(metrics->kv_cache, kv_growth);
        metric_gauge_add(metrics->metal_kv_cache, kv_growth);
    }
    metrics->seen = *stats;
}
