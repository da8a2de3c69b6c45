/* utilization.c - see utilization.h. */
#include "metrics/utilization.h"

#include "metrics/metrics_internal.h"

#include <string.h>

static const char metal_label[] = "device=\"metal\",";

void utilization_init(struct utilization *utilization, struct metrics *metrics) {
    *utilization = (struct utilization){.metrics = metrics};
}

static double ratio_since(double busy, double before, int64_t elapsed_ns) {
    double ratio = elapsed_ns <= 0 ? 0 : (busy - before) / ((double)elapsed_ns * 1e-9);
    return ratio < 0 ? 0 : ratio > 1 ? 1 : ratio; /* two models may share a device */
}

/* Under the registry's lock. */
static void set_ratio(struct metrics *metrics, const char *labels, double ratio) {
    struct string_buffer text = {0};
    string_buffer_append_text(&text, labels);
    metric_set(metrics_find_or_add(metrics, METRIC_DEVICE_UTILIZATION, &text), ratio);
    if (strncmp(labels, metal_label, strlen(metal_label)) == 0) {
        string_buffer_clear(&text);
        string_buffer_append_text(&text, labels + strlen(metal_label));
        metric_set(metrics_find_or_add(metrics, METRIC_METAL_UTILIZATION, &text), ratio);
    }
    string_buffer_deinit(&text);
}

void utilization_sample(struct utilization *utilization, int64_t now_ns) {
    struct metrics *metrics = utilization->metrics;
    size_t newest = utilization->next;
    size_t oldest = utilization->count < UTILIZATION_SAMPLES
                        ? 0
                        : (utilization->next + 1) % UTILIZATION_SAMPLES;
    pthread_mutex_lock(&metrics->lock);
    utilization->sampled_ns[newest] = now_ns;
    const struct metric_series *series = metrics->series[METRIC_DEVICE_BUSY].first;
    for (size_t i = 0; series != NULL && i < UTILIZATION_DEVICES; i++, series = series->next) {
        double busy = metric_value(series);
        utilization->busy_seconds[newest][i] = busy;
        set_ratio(metrics, series->labels,
                  ratio_since(busy, utilization->busy_seconds[oldest][i],
                              now_ns - utilization->sampled_ns[oldest]));
    }
    pthread_mutex_unlock(&metrics->lock);
    utilization->next = (newest + 1) % UTILIZATION_SAMPLES;
    utilization->count += utilization->count < UTILIZATION_SAMPLES;
}
