/*
 * exposition.c - the registry as text: Prometheus' format 0.0.4 and OpenMetrics 1.0, and which of
 * the two a client asks for. Any thread.
 *
 * The formats differ in a counter's family name (OpenMetrics leaves _total off), in the end mark,
 * and in nothing else that we use; "le" is written the same in both, so that a server that changes
 * format goes on with the same series.
 */
#include "metrics/metrics_internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <strings.h>

/* --- values --- */

/* The shortest form that comes back as the same number. */
static void append_number(struct string_buffer *out, double value) {
    if (!isfinite(value)) {
        string_buffer_append_text(out, isnan(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf");
    } else if (fabs(value) < 1e15 && value == floor(value)) {
        string_buffer_append_format(out, "%.0f", value);
    } else {
        string_buffer_append_format(out, "%.15g", value);
    }
}

static void append_name(struct string_buffer *out, const struct metric_series *series,
                        const char *suffix, const char *bound) {
    string_buffer_append_format(out, "%s%s", series->family->name, suffix);
    bool has_labels = series->labels[0] != '\0';
    if (has_labels || bound != NULL) {
        string_buffer_append_format(out, "{%s", series->labels);
        if (bound != NULL) {
            string_buffer_append_format(out, "%sle=\"%s\"", has_labels ? "," : "", bound);
        }
        string_buffer_append_char(out, '}');
    }
    string_buffer_append_char(out, ' ');
}

/* The count is the sum of the buckets read here, so that it always equals the last one. */
static void append_histogram(struct string_buffer *out, const struct metric_series *series) {
    const struct metric_bounds *bounds = series->family->bounds;
    uint64_t count = 0;
    for (size_t i = 0; i <= bounds->count; i++) {
        count += atomic_load_explicit(&series->buckets[i], memory_order_relaxed);
        append_name(out, series, "_bucket", i < bounds->count ? bounds->text[i] : "+Inf");
        string_buffer_append_format(out, "%" PRIu64 "\n", count);
    }
    append_name(out, series, "_sum", NULL);
    append_number(out, metric_value(series));
    string_buffer_append_char(out, '\n');
    append_name(out, series, "_count", NULL);
    string_buffer_append_format(out, "%" PRIu64 "\n", count);
}

static void append_family(struct string_buffer *out, const struct metric_family *family,
                          const struct metric_series *first, enum metrics_format format) {
    static const char *const types[] = {"counter", "counter", "gauge", "histogram"};
    bool is_counter = family->kind == KIND_COUNTER || family->kind == KIND_SECONDS;
    int length = (int)strlen(family->name);
    if (is_counter && format == METRICS_OPENMETRICS) {
        length -= (int)strlen("_total");
    }
    string_buffer_append_format(out, "# HELP %.*s %s.\n# TYPE %.*s %s\n", length, family->name,
                                family->help, length, family->name, types[family->kind]);
    for (const struct metric_series *series = first; series != NULL; series = series->next) {
        if (family->kind == KIND_HISTOGRAM) {
            append_histogram(out, series);
        } else {
            append_name(out, series, "", NULL);
            append_number(out, metric_value(series));
            string_buffer_append_char(out, '\n');
        }
    }
}

void metrics_write(struct metrics *metrics, enum metrics_format format, struct string_buffer *out) {
    pthread_mutex_lock(&metrics->lock);
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        if (metrics->series[i].first != NULL) {
            append_family(out, &metric_families[i], metrics->series[i].first, format);
        }
    }
    pthread_mutex_unlock(&metrics->lock);
    if (format == METRICS_OPENMETRICS) {
        string_buffer_append_text(out, "# EOF\n");
    }
}

/* --- the format asked for (RFC 9110 12.5.1) --- */

static struct string_view trim(struct string_view text) {
    while (text.length > 0 && (text.data[0] == ' ' || text.data[0] == '\t')) {
        text.data++;
        text.length--;
    }
    while (text.length > 0 &&
           (text.data[text.length - 1] == ' ' || text.data[text.length - 1] == '\t')) {
        text.length--;
    }
    return text;
}

/* Cuts `text` at the first `separator`; what follows it stays in `text`. */
static struct string_view cut(struct string_view *text, char separator) {
    const char *end = text->length == 0 ? NULL : memchr(text->data, separator, text->length);
    struct string_view part = {text->data, end == NULL ? text->length : (size_t)(end - text->data)};
    size_t taken = part.length + (end != NULL);
    text->data = taken == 0 ? text->data : text->data + taken;
    text->length -= taken;
    return trim(part);
}

static bool equals(struct string_view text, const char *word) {
    return text.length == strlen(word) && strncasecmp(text.data, word, text.length) == 0;
}

/* "q=0.5" in thousandths; another parameter leaves *weight alone. */
static void read_weight(struct string_view parameter, int *weight) {
    if (parameter.length < 3 || strncasecmp(parameter.data, "q=", 2) != 0) {
        return;
    }
    int value = 0, unit = 1000;
    for (size_t i = 2; i < parameter.length && unit > 0; i++) {
        char digit = parameter.data[i];
        if (digit >= '0' && digit <= '9') {
            value += (digit - '0') * unit;
            unit /= 10;
        } else if (digit != '.') {
            break;
        }
    }
    *weight = value > 1000 ? 1000 : value;
}

enum metrics_format metrics_format_for(struct string_view accept) {
    int text = 0, openmetrics = 0;
    while (accept.length > 0) {
        struct string_view range = cut(&accept, ',');
        struct string_view type = cut(&range, ';');
        int weight = 1000;
        while (range.length > 0) {
            read_weight(cut(&range, ';'), &weight);
        }
        if (equals(type, "application/openmetrics-text")) {
            openmetrics = weight > openmetrics ? weight : openmetrics;
        } else if (equals(type, "text/plain") || equals(type, "text/*") || equals(type, "*/*")) {
            text = weight > text ? weight : text;
        }
    }
    return openmetrics > 0 && openmetrics >= text ? METRICS_OPENMETRICS : METRICS_TEXT;
}

const char *metrics_content_type(enum metrics_format format) {
    return format == METRICS_OPENMETRICS
               ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
               : "text/plain; version=0.0.4; charset=utf-8";
}
