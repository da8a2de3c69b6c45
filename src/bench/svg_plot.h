/*
 * svg_plot.h - a plot of lines as an SVG element that stands in an HTML page and takes its colours
 * from the page's style sheet: text "var(--ink)", lines "var(--series-0)", "var(--series-1)". Pure.
 */
#ifndef MISTRAL_BENCH_SVG_PLOT_H
#define MISTRAL_BENCH_SVG_PLOT_H

#include "base/string_buffer.h"

#include <stdbool.h>
#include <stddef.h>

struct svg_series {
    const char *name;      /* plain text */
    const double *xs, *ys; /* [count], finite; borrowed */
    size_t count;
    int colour; /* 0 or 1 */
    bool is_dashed, has_marks;
};

struct svg_plot {
    const char *title, *x_label, *y_label; /* plain text; the title says what is seen */
    const struct svg_series *series;       /* [series_count] */
    size_t series_count;
    double y_most; /* top of the y axis; 0: of the values */
};

/* Appends <figure>…</figure>; both axes begin at 0. Nothing when there is no point. */
void svg_plot_append(const struct svg_plot *plot, struct string_buffer *out);

/* Text between tags or in a quoted attribute. */
void svg_append_escaped(const char *text, struct string_buffer *out);

#endif
