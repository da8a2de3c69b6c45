/*
 * test_experts.c - feed-forwards of experts and products of heads: the choice against its
 * definition in f64 (bound 1e-4 of the largest value, in f32 weights), and the products against the
 * plain ones, row by row and expert by expert, bit for bit, whatever the batch, the number of
 * threads, and the form that the weights are kept in.
 */
#include "backend/cpu/cpu.h"
#include "ops_harness.h"

enum {
    MOST_EXPERTS = 64,
    MOST_ROWS = 200,
    SHARED_ROWS = 48,
    MOST_COLUMNS = 768,
};

/* A feed-forward's sizes, its choice, and what it has. */
struct expert_case {
    const char *name;
    struct expert_choice choice;
    size_t width, length, rows; /* d_model, d_ff, of the batch */
    struct gate gate;
    bool has_selection_bias, has_scales, has_biases, adds;
};

#define SILU    {GATE_SILU, 0, 0}
#define CLAMPED {GATE_CLAMPED, 1.702f, 7}

static const struct expert_case choices[] = {
    {"softmax", {8, 2, EXPERTS_SOFTMAX, 0, 0, false, 1}, 64, 48, 9, SILU, false, false, false, 0},
    {"normalised", {16, 4, EXPERTS_SOFTMAX, 1, 1, true, 1}, 32, 32, 33, SILU, 0, 0, 0, true},
    {"odd sizes", {5, 3, EXPERTS_SOFTMAX, 0, 0, true, 1}, 37, 21, 7, SILU, 0, 0, true, 0},
    {"one of one", {1, 1, EXPERTS_SOFTMAX, 0, 0, false, 2.5f}, 16, 17, 3, SILU, 0, 0, 0, 0},
    {"all of them", {6, 6, EXPERTS_SIGMOID, 0, 0, false, 1}, 33, 16, 5, SILU, 0, 0, 0, true},
    {"sigmoid", {12, 3, EXPERTS_SIGMOID, 0, 0, true, 2.5f}, 48, 16, 8, SILU, true, 0, 0, 0},
    {"groups", {32, 6, EXPERTS_SIGMOID, 8, 3, true, 2.5f}, 32, 16, 40, SILU, true, 0, 0, 0},
    {"small groups", {6, 2, EXPERTS_SOFTMAX, 6, 4, false, 16}, 32, 16, 6, SILU, 0, 0, 0, 0},
    {"gpt-oss", {32, 4, EXPERTS_SOFTMAX_OF_CHOSEN, 0, 0, 0, 1}, 48, 40, 8, CLAMPED, 0, 0, true, 0},
    {"scales",
     {8, 2, EXPERTS_SOFTMAX, 0, 0, true, 1},
     16,
     48,
     4,
     {GATE_GELU_TANH, 0, 0},
     0,
     true,
     0,
     0},
    {"more than a tile",
     {3, 2, EXPERTS_SOFTMAX, 0, 0, true, 1},
     16,
     16,
     200,
     SILU,
     0,
     0,
     true,
     true},
};

/* ---- one feed-forward's data and its handles ---- */

struct layer_data {
    const struct expert_case *c;
    const struct quant_format *format;
    size_t slice_bytes;
    uint8_t *gate, *up, *down; /* [expert_count] matrices */
    float *gate_bias, *up_bias, *down_bias, *selection_bias, *scales;
    float *x, *router, *before; /* [rows][width], [rows][expert_count], [rows][width] */
};

static float *random_floats(size_t count, float scale) {
    float *values = calloc(count, sizeof *values);
    assert_non_null(values);
    normal_activations(values, count);
    for (size_t i = 0; i < count; i++) {
        values[i] *= scale;
    }
    return values;
}

/* Each row encoded from uniform deviates. */
static uint8_t *random_matrices(const struct quant_format *format, size_t rows, size_t columns) {
    size_t row_bytes = 0;
    assert_true(quant_row_bytes(format, columns, &row_bytes));
    uint8_t *data = calloc(rows, row_bytes);
    float *values = calloc(columns, sizeof *values);
    assert_true(data != NULL && values != NULL);
    for (size_t row = 0; row < rows; row++) {
        for (size_t i = 0; i < columns; i++) {
            values[i] = (float)(random_uniform(&rng) - 0.5) * 0.7f;
        }
        format->encode(values, data + row * row_bytes, columns);
    }
    free(values);
    return data;
}

static struct layer_data random_layer(const struct expert_case *c, enum tensor_type type) {
    size_t count = c->choice.expert_count;
    struct layer_data d = {.c = c, .format = quant_format_of(type)};
    assert_true(quant_row_bytes(d.format, c->width, &d.slice_bytes));
    d.slice_bytes *= c->length;
    d.gate = random_matrices(d.format, count * c->length, c->width);
    d.up = random_matrices(d.format, count * c->length, c->width);
    d.down = random_matrices(d.format, count * c->width, c->length);
    d.gate_bias = random_floats(count * c->length, 1);
    d.up_bias = random_floats(count * c->length, 1);
    d.down_bias = random_floats(count * c->width, 1);
    d.selection_bias = random_floats(count, 0.3f);
    d.scales = random_floats(count, 1);
    d.x = random_floats(c->rows * c->width, 0.3f);
    d.router = random_floats(c->rows * count, 1.5f);
    d.before = random_floats(c->rows * c->width, 1);
    return d;
}

static void free_layer(struct layer_data *d) {
    free(d->gate);
    free(d->up);
    free(d->down);
    float *floats[] = {d->gate_bias, d->up_bias, d->down_bias, d->selection_bias,
                       d->scales,    d->x,       d->router,    d->before};
    for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++) {
        free(floats[i]);
    }
}

static struct weight *create_vector(struct backend *backend, const float *values, size_t count) {
    struct weight_source source = {quant_format_of(TENSOR_F32), values, 1, count};
    struct weight *weight = NULL;
    struct error error = {0};
    assert_true(backend->ops->weight_create(backend, &source, WEIGHT_VECTOR, &weight, &error));
    return weight;
}

/* `count` matrices that lie one after the other. */
static struct weight *create_stack(struct backend *backend, const struct quant_format *format,
                                   const uint8_t *data, size_t count, size_t rows, size_t columns) {
    const void *matrices[MOST_EXPERTS];
    size_t row_bytes = 0;
    assert_true(quant_row_bytes(format, columns, &row_bytes));
    for (size_t i = 0; i < count; i++) {
        matrices[i] = data + i * rows * row_bytes;
    }
    struct weight_source source = {.format = format,
                                   .rows = rows,
                                   .columns = columns,
                                   .stack_count = count,
                                   .stack = matrices};
    struct weight *weight = NULL;
    struct error error = {0};
    assert_true(backend->ops->weight_create(backend, &source, WEIGHT_EXPERTS, &weight, &error));
    return weight;
}

struct layer_handles {
    struct expert_layer layer;
    struct weight *weights[8];
    size_t weight_count;
};

static const struct weight *keep(struct layer_handles *handles, struct weight *weight) {
    handles->weights[handles->weight_count++] = weight;
    return weight;
}

static void create_layer(struct backend *backend, const struct layer_data *d,
                         struct layer_handles *h) {
    const struct expert_case *c = d->c;
    size_t count = c->choice.expert_count, wide = count * c->width, length = count * c->length;
    *h = (struct layer_handles){.layer = {.choice = c->choice, .function = c->gate}};
    struct expert_layer *layer = &h->layer;
    layer->gate = keep(h, create_stack(backend, d->format, d->gate, count, c->length, c->width));
    layer->up = keep(h, create_stack(backend, d->format, d->up, count, c->length, c->width));
    layer->down = keep(h, create_stack(backend, d->format, d->down, count, c->width, c->length));
    if (c->has_selection_bias) {
        layer->selection_bias = keep(h, create_vector(backend, d->selection_bias, count));
    }
    if (c->has_scales) {
        layer->scales = keep(h, create_vector(backend, d->scales, count));
    }
    if (c->has_biases) {
        layer->gate_bias = keep(h, create_vector(backend, d->gate_bias, length));
        layer->up_bias = keep(h, create_vector(backend, d->up_bias, length));
        layer->down_bias = keep(h, create_vector(backend, d->down_bias, wide));
    }
    const struct scratch_shape shape = {.max_rows = MOST_ROWS,
                                        .expert_count = count,
                                        .used_experts = c->choice.used_count,
                                        .expert_length = c->length,
                                        .expert_width = c->width};
    struct error error = {0};
    assert_true(backend->ops->experts_reserve(backend, &shape, &error));
}

static void free_handles(struct backend *backend, struct layer_handles *handles) {
    for (size_t i = 0; i < handles->weight_count; i++) {
        backend->ops->weight_free(backend, handles->weights[i]);
    }
}

/* Rows [first, first + count) of the data in one step → out [count][width]. */
static void run_layer(struct backend *backend, const struct layer_data *d,
                      const struct layer_handles *handles, size_t first, size_t count, float *out) {
    const struct backend_ops *ops = backend->ops;
    size_t width = d->c->width, experts = d->c->choice.expert_count;
    struct activation *x = create_activation(backend, count, width);
    struct activation *router = create_activation(backend, count, experts);
    struct activation *to = create_activation(backend, count, width);
    const struct batch_span span = {0, count, 0, NULL};
    const struct batch batch = {.row_count = count, .span_count = 1, .spans = &span};
    ops->activation_write(backend, x, count, d->x + first * width);
    ops->activation_write(backend, router, count, d->router + first * experts);
    ops->activation_write(backend, to, count, d->before + first * width);
    ops->step_begin(backend, &batch, NULL, 0);
    ops->experts(backend, x, router, &handles->layer, d->c->adds, to);
    ops->step_end(backend);
    ops->activation_read(backend, to, count, out);
    ops->activation_free(backend, x);
    ops->activation_free(backend, router);
    ops->activation_free(backend, to);
}

/* ---- the definition ---- */

static void softmax(double *values, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        values[i] = exp(values[i]);
        sum += values[i];
    }
    for (size_t i = 0; i < count; i++) {
        values[i] /= sum;
    }
}

/* The best of those that are not taken; of equal ones the first. */
static size_t best_of(const double *ranks, const bool *taken, size_t count) {
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < count; i++) {
        if (!taken[i] && (best == SIZE_MAX || ranks[i] > ranks[best])) {
            best = i;
        }
    }
    return best;
}

static double group_rank(const double *ranks, size_t count) {
    bool taken[MOST_EXPERTS] = {false};
    size_t first = best_of(ranks, taken, count);
    taken[first] = true;
    size_t second = best_of(ranks, taken, count);
    return ranks[first] + (second == SIZE_MAX ? 0 : ranks[second]);
}

/* Marks as taken who is not to be chosen. */
static void refuse_groups(const struct expert_choice *choice, const double *ranks, bool *taken) {
    size_t size = choice->expert_count / choice->group_count;
    double groups[MOST_EXPERTS];
    bool chosen[MOST_EXPERTS] = {false};
    for (size_t g = 0; g < choice->group_count; g++) {
        groups[g] = group_rank(ranks + g * size, size);
    }
    for (size_t i = 0; i < choice->used_groups; i++) {
        chosen[best_of(groups, chosen, choice->group_count)] = true;
    }
    for (size_t e = 0; e < choice->expert_count; e++) {
        taken[e] = !chosen[e / size];
    }
}

/* weights [expert_count]; 0 of those that are not chosen. */
static void defined_weights(const struct layer_data *d, size_t row, double *weights) {
    const struct expert_choice *choice = &d->c->choice;
    size_t count = choice->expert_count;
    double scores[MOST_EXPERTS], ranks[MOST_EXPERTS], of_chosen[MOST_EXPERTS], sum = 0;
    bool taken[MOST_EXPERTS] = {false};
    size_t chosen[MOST_EXPERTS];
    for (size_t e = 0; e < count; e++) {
        double logit = (double)d->router[row * count + e];
        scores[e] = choice->scoring == EXPERTS_SIGMOID ? 1 / (1 + exp(-logit)) : logit;
    }
    if (choice->scoring == EXPERTS_SOFTMAX) {
        softmax(scores, count);
    }
    for (size_t e = 0; e < count; e++) {
        ranks[e] = scores[e] + (d->c->has_selection_bias ? (double)d->selection_bias[e] : 0);
        weights[e] = 0;
    }
    if (choice->group_count > 1) {
        refuse_groups(choice, ranks, taken);
    }
    for (size_t i = 0; i < choice->used_count; i++) {
        chosen[i] = best_of(ranks, taken, count);
        taken[chosen[i]] = true;
        of_chosen[i] = scores[chosen[i]];
    }
    if (choice->scoring == EXPERTS_SOFTMAX_OF_CHOSEN) {
        softmax(of_chosen, choice->used_count);
    }
    for (size_t i = 0; i < choice->used_count; i++) {
        sum += of_chosen[i];
    }
    for (size_t i = 0; i < choice->used_count; i++) {
        weights[chosen[i]] = of_chosen[i] / (choice->normalise ? sum : 1) * (double)choice->scale *
                             (d->c->has_scales ? (double)d->scales[chosen[i]] : 1);
    }
}

static double defined_gate(const struct gate *gate, double g, double u) {
    double limit = (double)gate->limit;
    if (gate->function == GATE_SILU) {
        return g / (1 + exp(-g)) * u;
    }
    if (gate->function == GATE_GELU_TANH) {
        return 0.5 * g * (1 + tanh(sqrt(2 / acos(-1)) * (g + 0.044715 * g * g * g))) * u;
    }
    g = fmin(g, limit);
    return g / (1 + exp(-(double)gate->alpha * g)) * (fmax(fmin(u, limit), -limit) + 1);
}

static double dot(const float *weights, const double *x, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += (double)weights[i] * x[i];
    }
    return sum;
}

/* Of f32 weights; out [width]. */
static void defined_row(const struct layer_data *d, size_t row, double *out) {
    const struct expert_case *c = d->c;
    size_t width = c->width, length = c->length;
    double weights[MOST_EXPERTS], x[MOST_COLUMNS], gated[MOST_COLUMNS];
    const float *gates = (const float *)(const void *)d->gate;
    const float *ups = (const float *)(const void *)d->up;
    const float *downs = (const float *)(const void *)d->down;
    defined_weights(d, row, weights);
    for (size_t i = 0; i < width; i++) {
        x[i] = (double)d->x[row * width + i];
        out[i] = c->adds ? (double)d->before[row * width + i] : 0;
    }
    for (size_t e = 0; e < c->choice.expert_count; e++) {
        if (weights[e] == 0) {
            continue;
        }
        for (size_t i = 0, at = e * length; i < length; i++, at++) {
            double g = dot(gates + at * width, x, width), u = dot(ups + at * width, x, width);
            g += c->has_biases ? (double)d->gate_bias[at] : 0;
            u += c->has_biases ? (double)d->up_bias[at] : 0;
            gated[i] = defined_gate(&c->gate, g, u);
        }
        for (size_t i = 0, at = e * width; i < width; i++, at++) {
            double down = dot(downs + at * length, gated, length);
            out[i] += weights[e] * (down + (c->has_biases ? (double)d->down_bias[at] : 0));
        }
    }
}

static void check_choice(const struct expert_case *c, const char *kernels) {
    struct layer_data d = random_layer(c, TENSOR_F32);
    static float out[MOST_ROWS * MOST_COLUMNS];
    double want[MOST_COLUMNS];
    struct backend *backend = create_backend(2, kernels);
    struct layer_handles handles;
    for (size_t e = 0; e < c->choice.expert_count; e++) {
        d.router[e] = 0.5f; /* the first row's are all equal: the first experts are chosen */
    }
    create_layer(backend, &d, &handles);
    run_layer(backend, &d, &handles, 0, c->rows, out);
    for (size_t row = 0; row < c->rows; row++) {
        double largest = 1e-3;
        defined_row(&d, row, want);
        for (size_t i = 0; i < c->width; i++) {
            largest = fmax(largest, fabs(want[i]));
        }
        for (size_t i = 0; i < c->width; i++) {
            double got = (double)out[row * c->width + i];
            if (!(fabs(want[i] - got) <= 1e-4 * largest)) {
                fail_msg("%s (%s kernels), row %zu value %zu: expected %.9g, got %.9g", c->name,
                         backend->kernels, row, i, want[i], got);
            }
        }
    }
    free_handles(backend, &handles);
    backend->ops->free(backend);
    free_layer(&d);
}

static void experts_agree_with_their_definition(void **state) {
    (void)state;
    for (size_t set = 0; cpu_kernels_offered(set) != NULL; set++) {
        for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++) {
            check_choice(&choices[i], cpu_kernels_offered(set));
        }
    }
}

/* ---- the same bits ---- */

static const enum tensor_type types[] = {TENSOR_F32,  TENSOR_F16,  TENSOR_Q4_0,
                                         TENSOR_Q8_0, TENSOR_Q4_K, TENSOR_Q6_K};

static const struct expert_case shared = {
    "shared", {4, 3, EXPERTS_SOFTMAX, 0, 0, true, 1}, 512, 256, SHARED_ROWS, SILU, 0, 0, true,
    true};

/* One expert's part of a row, by plain products: added to out with its weight. */
static void add_expert(struct backend *backend, const struct layer_data *d, size_t row,
                       size_t expert, float weight, float *out) {
    const struct backend_ops *ops = backend->ops;
    size_t width = d->c->width, length = d->c->length;
    const struct batch_span span = {0, 1, 0, NULL};
    const struct batch batch = {.row_count = 1, .span_count = 1, .spans = &span};
    const uint8_t *data[] = {d->gate, d->up, d->down};
    const float *biases[] = {d->gate_bias + expert * length, d->up_bias + expert * length,
                             d->down_bias + expert * width};
    struct weight *w[3], *b[3];
    struct error error = {0};
    for (size_t i = 0; i < 3; i++) {
        const struct weight_source source = {d->format, data[i] + expert * d->slice_bytes,
                                             i < 2 ? length : width, i < 2 ? width : length};
        assert_true(ops->weight_create(backend, &source, WEIGHT_MATRIX, &w[i], &error));
        b[i] = create_vector(backend, biases[i], source.rows);
    }
    struct activation *x = create_activation(backend, 1, width);
    struct activation *gated = create_activation(backend, 1, length);
    struct activation *to = create_activation(backend, 1, width);
    const struct matmul_target first = {.weight = w[0],
                                        .second = w[1],
                                        .bias = b[0],
                                        .second_bias = b[1],
                                        .out = gated,
                                        .epilogue = MATMUL_GATED,
                                        .gate = d->c->gate};
    const struct matmul_target second = {.weight = w[2], .bias = b[2], .out = to};
    static float product[MOST_COLUMNS];
    ops->activation_write(backend, x, 1, d->x + row * width);
    ops->step_begin(backend, &batch, NULL, 0);
    ops->matmul(backend, x, &first, 1);
    ops->matmul(backend, gated, &second, 1);
    ops->step_end(backend);
    ops->activation_read(backend, to, 1, product);
    for (size_t i = 0; i < width; i++) {
        out[i] += weight * product[i];
    }
    for (size_t i = 0; i < 3; i++) {
        ops->weight_free(backend, w[i]);
        ops->weight_free(backend, b[i]);
    }
    ops->activation_free(backend, x);
    ops->activation_free(backend, gated);
    ops->activation_free(backend, to);
}

/* So that the weights are exact: the chosen have equal logits, and four are chosen. */
static const struct expert_case halves = {"equal weights",
                                          {7, 4, EXPERTS_SOFTMAX_OF_CHOSEN, 0, 0, false, 1},
                                          512,
                                          256,
                                          12,
                                          SILU,
                                          0,
                                          0,
                                          true,
                                          true};

static void check_products(struct backend *backend, enum tensor_type type) {
    struct layer_data d = random_layer(&halves, type);
    size_t count = halves.choice.expert_count;
    static float out[MOST_ROWS * MOST_COLUMNS], want[MOST_COLUMNS];
    struct layer_handles handles;
    for (size_t row = 0; row < halves.rows; row++) {
        for (size_t e = 0; e < count; e++) { /* expert row % 7 and the three after it */
            d.router[row * count + e] = (e + count - row % count) % count < 4 ? 1.5f : -3.0f;
        }
    }
    create_layer(backend, &d, &handles);
    run_layer(backend, &d, &handles, 0, halves.rows, out);
    for (size_t row = 0; row < halves.rows; row++) {
        memcpy(want, d.before + row * halves.width, halves.width * sizeof *want);
        for (size_t e = 0; e < count; e++) {
            if (d.router[row * count + e] > 0) {
                add_expert(backend, &d, row, e, 0.25f, want);
            }
        }
        if (memcmp(want, out + row * halves.width, halves.width * sizeof *want) != 0) {
            fail_msg("%s (%s kernels): row %zu is not the sum of its experts' plain products",
                     d.format->name, backend->kernels, row);
        }
    }
    free_handles(backend, &handles);
    free_layer(&d);
}

static void experts_are_the_sum_of_plain_products(void **state) {
    (void)state;
    for (size_t set = 0; cpu_kernels_offered(set) != NULL; set++) {
        struct backend *backend = create_backend(2, cpu_kernels_offered(set));
        for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
            check_products(backend, types[t]);
        }
        backend->ops->free(backend);
    }
}

/* Three forms of the weights: packed before the first step, packed by the steps, never. */
static struct backend *create_form(size_t form, size_t threads, const char *kernels) {
    struct cpu_backend_options options = {
        .thread_count = threads, .kernels = kernels, .mapped_experts = form == 2};
    struct backend *backend = NULL;
    struct error error = {0};
    assert_true(cpu_backend_create(&options, &backend, &error));
    return backend;
}

static void check_batches(const char *kernels, const struct layer_data *d, const float *want) {
    static const size_t batches[] = {1, 2, 3, 7, 20, SHARED_ROWS};
    static float got[MOST_ROWS * MOST_COLUMNS];
    size_t width = d->c->width;
    for (size_t form = 0; form < 3; form++) {
        struct backend *backend = create_form(form, form + 1, kernels);
        struct layer_handles handles;
        create_layer(backend, d, &handles);
        while (form == 0 && backend->ops->prepare(backend)) {
        }
        for (size_t b = 0; b < sizeof batches / sizeof batches[0]; b++) {
            size_t first = SHARED_ROWS - batches[b];
            run_layer(backend, d, &handles, first, batches[b], got);
            if (memcmp(want + first * width, got, batches[b] * width * sizeof *want) != 0) {
                fail_msg("%s (%s kernels), form %zu: a batch of %zu gives other bits than one row",
                         d->format->name, kernels, form, batches[b]);
            }
        }
        free_handles(backend, &handles);
        backend->ops->free(backend);
    }
}

/* Each row alone, against batches of other sizes, numbers of threads and forms. */
static void expert_rows_do_not_depend_on_each_other(void **state) {
    (void)state;
    static float want[MOST_ROWS * MOST_COLUMNS];
    for (size_t set = 0; cpu_kernels_offered(set) != NULL; set++) {
        const char *kernels = cpu_kernels_offered(set);
        for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
            struct layer_data d = random_layer(&shared, types[t]);
            struct backend *alone = create_backend(1, kernels);
            struct layer_handles handles;
            create_layer(alone, &d, &handles);
            for (size_t row = 0; row < SHARED_ROWS; row++) {
                run_layer(alone, &d, &handles, row, 1, want + row * shared.width);
            }
            free_handles(alone, &handles);
            alone->ops->free(alone);
            check_batches(kernels, &d, want);
            free_layer(&d);
        }
    }
}

static void logits_that_are_no_number_stay_in_their_row(void **state) {
    (void)state;
    static float want[MOST_ROWS * MOST_COLUMNS], got[MOST_ROWS * MOST_COLUMNS];
    static const float poisons[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++) {
        const struct expert_case *c = &choices[i];
        size_t count = c->choice.expert_count, bytes = (c->rows - 1) * c->width * sizeof *want;
        struct layer_data d = random_layer(c, TENSOR_F32);
        struct backend *backend = create_backend(2, NULL);
        struct layer_handles handles;
        create_layer(backend, &d, &handles);
        run_layer(backend, &d, &handles, 0, c->rows, want);
        for (size_t p = 0; p < 6; p++) { /* in one logit, and in all of the last row's */
            for (size_t e = 0; e < (p < 3 ? 1 : count); e++) {
                d.router[(c->rows - 1) * count + e] = poisons[p % 3];
            }
            run_layer(backend, &d, &handles, 0, c->rows, got);
            assert_memory_equal(want, got, bytes);
        }
        free_handles(backend, &handles);
        backend->ops->free(backend);
        free_layer(&d);
    }
}

/* ---- memory ---- */

static void stacks_cost_what_their_matrices_do(void **state) {
    (void)state;
    struct backend *packs = create_form(0, 1, NULL), *maps = create_form(2, 1, NULL);
    struct weight_source source = {quant_format_of(TENSOR_Q4_K), NULL, 40, 512};
    size_t one = packs->ops->weight_bytes(packs, &source, WEIGHT_MATRIX);
    source.stack_count = 9;
    assert_int_equal(packs->ops->weight_bytes(packs, &source, WEIGHT_EXPERTS), 9 * one);
    assert_int_equal(maps->ops->weight_bytes(maps, &source, WEIGHT_STACK), 9 * one);
    assert_int_equal(maps->ops->weight_bytes(maps, &source, WEIGHT_EXPERTS), 0);
    assert_int_equal(maps->ops->weight_bytes(maps, &source, WEIGHT_MATRIX), one);
    struct scratch_shape shape = {.max_rows = 64, .max_columns = 512, .head_dim = 64};
    size_t without = packs->ops->scratch_bytes(packs, &shape);
    shape.expert_count = 32;
    shape.used_experts = 4;
    shape.expert_length = 1024;
    shape.expert_width = 512;
    assert_true(packs->ops->scratch_bytes(packs, &shape) >=
                without + 64 * 4 * 1024 * sizeof(float));
    packs->ops->free(packs);
    maps->ops->free(maps);
}

/* Weights leave the list of those to be packed from its middle, its ends, and as a whole. */
static void stacks_are_freed_before_they_are_packed(void **state) {
    (void)state;
    enum { STACKS = 4, ROWS = 20, COLUMNS = 64, COUNT = 5 };
    static const size_t orders[][STACKS] = {{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 3, 0, 2}};
    const struct quant_format *format = quant_format_of(TENSOR_F32);
    uint8_t *data = random_matrices(format, ROWS * COUNT, COLUMNS);
    struct backend *backend = create_backend(1, NULL);
    for (size_t o = 0; o < 3; o++) {
        for (size_t kept = 0; kept < STACKS; kept++) {
            struct weight *stacks[STACKS];
            for (size_t i = 0; i < STACKS; i++) {
                stacks[i] = create_stack(backend, format, data, COUNT, ROWS, COLUMNS);
            }
            for (size_t i = 0; i < kept; i++) {
                backend->ops->weight_free(backend, stacks[orders[o][i]]);
            }
            size_t prepared = 0;
            while (backend->ops->prepare(backend)) {
                prepared++;
            }
            const struct weight_source source = {format, data, ROWS, COLUMNS};
            bool packs = backend->ops->weight_bytes(backend, &source, WEIGHT_MATRIX) > 0;
            assert_int_equal(prepared, packs ? (STACKS - kept) * COUNT : 0);
            for (size_t i = kept; i < STACKS; i++) {
                backend->ops->weight_free(backend, stacks[orders[o][i]]);
            }
        }
    }
    backend->ops->free(backend);
    free(data);
}

/* ---- heads ---- */

/* x [rows][heads][from.stride] → out [rows][heads][to.stride], the parts that are named. */
static void check_heads(struct backend *backend, enum tensor_type type, size_t heads, size_t rows) {
    enum { COLUMNS = 256, OUTPUTS = 40, FROM = 300, TO = 50 };
    const struct head_part from = {FROM, 12}, to = {TO, 7};
    const struct quant_format *format = quant_format_of(type);
    const struct backend_ops *ops = backend->ops;
    uint8_t *data = random_matrices(format, heads * OUTPUTS, COLUMNS);
    size_t bytes = 0;
    assert_true(quant_row_bytes(format, COLUMNS, &bytes));
    bytes *= OUTPUTS;
    float *x = random_floats(rows * heads * FROM, 1), *got = random_floats(rows * heads * TO, 1);
    float *want = calloc(rows * heads * TO, sizeof *want);
    float *head_x = calloc(rows * COLUMNS, sizeof *x),
          *head_out = calloc(rows * OUTPUTS, sizeof *x);
    memcpy(want, got, rows * heads * TO * sizeof *want);
    struct weight *stack = create_stack(backend, format, data, heads, OUTPUTS, COLUMNS);
    struct activation *in = create_activation(backend, rows, heads * FROM);
    struct activation *out = create_activation(backend, rows, heads * TO);
    struct activation *one_in = create_activation(backend, rows, COLUMNS);
    struct activation *one_out = create_activation(backend, rows, OUTPUTS);
    const struct batch_span span = {0, rows, 0, NULL};
    const struct batch batch = {.row_count = rows, .span_count = 1, .spans = &span};
    ops->activation_write(backend, in, rows, x);
    ops->activation_write(backend, out, rows, got);
    ops->step_begin(backend, &batch, NULL, 0);
    ops->matmul_heads(backend, in, from, stack, out, to);
    ops->copy_heads(backend, in, (struct head_part){FROM, 270}, heads, 5, out,
                    (struct head_part){TO, 1});
    ops->step_end(backend);
    ops->activation_read(backend, out, rows, got);
    for (size_t head = 0; head < heads; head++) {
        const struct weight_source source = {format, data + head * bytes, OUTPUTS, COLUMNS};
        struct matmul_target target = {.out = one_out};
        struct weight *weight = NULL;
        struct error error = {0};
        assert_true(ops->weight_create(backend, &source, WEIGHT_MATRIX, &weight, &error));
        target.weight = weight;
        for (size_t row = 0; row < rows; row++) {
            const float *from_row = x + (row * heads + head) * FROM;
            memcpy(head_x + row * COLUMNS, from_row + 12, COLUMNS * sizeof *x);
            memcpy(want + (row * heads + head) * TO + 1, from_row + 270, 5 * sizeof *x);
        }
        ops->activation_write(backend, one_in, rows, head_x);
        ops->step_begin(backend, &batch, NULL, 0);
        ops->matmul(backend, one_in, &target, 1);
        ops->step_end(backend);
        ops->activation_read(backend, one_out, rows, head_out);
        for (size_t row = 0; row < rows; row++) {
            memcpy(want + (row * heads + head) * TO + 7, head_out + row * OUTPUTS,
                   OUTPUTS * sizeof *want);
        }
        ops->weight_free(backend, weight);
    }
    assert_memory_equal(want, got, rows * heads * TO * sizeof *want);
    ops->weight_free(backend, stack);
    struct activation *activations[] = {in, out, one_in, one_out};
    for (size_t i = 0; i < 4; i++) {
        ops->activation_free(backend, activations[i]);
    }
    float *floats[] = {x, got, want, head_x, head_out};
    for (size_t i = 0; i < 5; i++) {
        free(floats[i]);
    }
    free(data);
}

/* More heads than one product takes at once, too. */
static void heads_are_multiplied_as_plain_matrices(void **state) {
    (void)state;
    for (size_t set = 0; cpu_kernels_offered(set) != NULL; set++) {
        for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
            struct backend *backend = create_backend(2, cpu_kernels_offered(set));
            check_heads(backend, types[t], 3, 5);
            check_heads(backend, types[t], 3, 1);
            backend->ops->free(backend);
        }
        struct backend *backend = create_backend(2, cpu_kernels_offered(set));
        check_heads(backend, TENSOR_Q8_0, MOST_EXPERTS, 2);
        backend->ops->free(backend);
    }
}

int main(void) {
    random_seed(&rng, 20240607);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(experts_agree_with_their_definition),
        cmocka_unit_test(experts_are_the_sum_of_plain_products),
        cmocka_unit_test(expert_rows_do_not_depend_on_each_other),
        cmocka_unit_test(logits_that_are_no_number_stay_in_their_row),
        cmocka_unit_test(stacks_cost_what_their_matrices_do),
        cmocka_unit_test(stacks_are_freed_before_they_are_packed),
        cmocka_unit_test(heads_are_multiplied_as_plain_matrices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
