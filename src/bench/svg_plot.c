/* svg_plot.c - see svg_plot.h. Sizes are for a figure as wide as a telephone's screen. */
#include "bench/svg_plot.h"

#include <math.h>

enum { WIDTH = 380, HEIGHT = 260, LEFT = 52, RIGHT = 12, TOP = 12, BOTTOM = 44, TICKS = 5 };

struct scale {
    double x_most, y_most;
};

void svg_append_escaped(const char *text, struct string_buffer *out) {
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '&':
            string_buffer_append_text(out, "&amp;");
            break;
        case '<':
            string_buffer_append_text(out, "&lt;");
            break;
        case '>':
            string_buffer_append_text(out, "&gt;");
            break;
        case '"':
            string_buffer_append_text(out, "&quot;");
            break;
        default:
            string_buffer_append_char(out, *text);
        }
    }
}

static double x_at(const struct scale *scale, double x) {
    return LEFT + x / scale->x_most * (WIDTH - LEFT - RIGHT);
}

static double y_at(const struct scale *scale, double y) {
    return HEIGHT - BOTTOM - y / scale->y_most * (HEIGHT - TOP - BOTTOM);
}

/* 1, 2 or 5 times a power of ten, so that about TICKS of them make `most`. */
static double step_of(double most) {
    double rough = most / TICKS;
    double power = pow(10, floor(log10(rough)));
    double lead = rough / power;
    return power * (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 5 ? 5 : 10);
}

static void append_axes(const struct svg_plot *plot, const struct scale *scale,
                        struct string_buffer *out) {
    double step = step_of(scale->x_most);
    for (int i = 0; i * step <= scale->x_most * 1.0001; i++) {
        double x = i * step;
        string_buffer_append_format(
            out,
            "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>"
            "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.6g</text>\n",
            x_at(scale, x), x_at(scale, x), TOP, HEIGHT - BOTTOM, x_at(scale, x),
            HEIGHT - BOTTOM + 15, x);
    }
    step = step_of(scale->y_most);
    for (int i = 0; i * step <= scale->y_most * 1.0001; i++) {
        double y = i * step;
        string_buffer_append_format(
            out,
            "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>"
            "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.6g</text>\n",
            LEFT, WIDTH - RIGHT, y_at(scale, y), y_at(scale, y), LEFT - 6, y_at(scale, y) + 4, y);
    }
    string_buffer_append_format(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">",
                                (WIDTH + LEFT - RIGHT) / 2, HEIGHT - 8);
    svg_append_escaped(plot->x_label, out);
    string_buffer_append_format(
        out, "</text>\n<text transform=\"translate(12 %d) rotate(-90)\" text-anchor=\"middle\">",
        (HEIGHT - BOTTOM + TOP) / 2);
    svg_append_escaped(plot->y_label, out);
    string_buffer_append_text(out, "</text>\n");
}

static void append_series(const struct svg_series *series, const struct scale *scale,
                          struct string_buffer *out) {
    string_buffer_append_format(
        out, "<polyline class=\"series\" fill=\"none\" stroke=\"var(--series-%d)\"%s points=\"",
        series->colour, series->is_dashed ? " stroke-dasharray=\"5 4\"" : "");
    for (size_t i = 0; i < series->count; i++) {
        string_buffer_append_format(out, "%s%.1f,%.1f", i == 0 ? "" : " ",
                                    x_at(scale, series->xs[i]), y_at(scale, series->ys[i]));
    }
    string_buffer_append_text(out, "\"/>\n");
    for (size_t i = 0; series->has_marks && i < series->count; i++) {
        string_buffer_append_format(
            out, "<circle r=\"3\" cx=\"%.1f\" cy=\"%.1f\" fill=\"var(--series-%d)\"/>\n",
            x_at(scale, series->xs[i]), y_at(scale, series->ys[i]), series->colour);
    }
}

static void append_legend(const struct svg_plot *plot, struct string_buffer *out) {
    string_buffer_append_text(out, "<figcaption><strong>");
    svg_append_escaped(plot->title, out);
    string_buffer_append_text(out, "</strong>");
    for (size_t i = 0; i < plot->series_count; i++) {
        const struct svg_series *series = &plot->series[i];
        if (series->count > 0) {
            string_buffer_append_format(
                out,
                " <span class=\"key\"><svg width=\"22\" height=\"8\" aria-hidden=\"true\"><line "
                "x1=\"0\" x2=\"22\" y1=\"4\" y2=\"4\" stroke-width=\"2\" "
                "stroke=\"var(--series-%d)\"%s/></svg> ",
                series->colour, series->is_dashed ? " stroke-dasharray=\"5 4\"" : "");
            svg_append_escaped(series->name, out);
            string_buffer_append_text(out, "</span>");
        }
    }
    string_buffer_append_text(out, "</figcaption>\n");
}

void svg_plot_append(const struct svg_plot *plot, struct string_buffer *out) {
    struct scale scale = {0, plot->y_most};
    for (size_t i = 0; i < plot->series_count; i++) {
        for (size_t k = 0; k < plot->series[i].count; k++) {
            scale.x_most = fmax(scale.x_most, plot->series[i].xs[k]);
            if (plot->y_most <= 0) {
                scale.y_most = fmax(scale.y_most, plot->series[i].ys[k] * 1.05);
            }
        }
    }
    if (scale.x_most <= 0 || scale.y_most <= 0) {
        return;
    }
    string_buffer_append_text(out, "<figure class=\"plot\">\n");
    append_legend(plot, out);
    string_buffer_append_format(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDTH,
                                HEIGHT);
    svg_append_escaped(plot->title, out);
    string_buffer_append_text(out, "\">\n");
    append_axes(plot, &scale, out);
    for (size_t i = 0; i < plot->series_count; i++) {
        if (plot->series[i].count > 0) {
            append_series(&plot->series[i], &scale, out);
        }
    }
    string_buffer_append_text(out, "</svg>\n</figure>\n");
}
