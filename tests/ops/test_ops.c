/*
 * test_ops.c - the table of op × shape × format: every backend against the portable reference, and
 * each against itself under other batches and thread counts, where the result must be the same bit
 * for bit.
 *
 * Bounds are relative to the sum of magnitudes that went into a value (for a product: Σ|w||x|),
 * which is what rounding errors scale with. Integer kernels are tested twice: with activations that
 * 8 bits hold exactly, where only the order of f32 sums differs (bound 2e-6), and with normal ones,
 * where the encoding's own error shows (bound 0.6 %: half a step of 1/127 of the block's largest
 * value, on each side).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backend/backend.h"
#include "base/bytes.h"
#include "base/random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BLOCK_TABLE = 128 };

static struct random_state rng;

static double normal(void) { /* Irwin-Hall: twelve uniforms */
    double sum = -6;
    for (int i = 0; i < 12; i++) {
        sum += random_uniform(&rng);
    }
    return sum;
}

static struct backend *create_backend_with(size_t threads, const char *kernels,
                                           bool plain_attention) {
    struct cpu_backend_options options = {
        .thread_count = threads, .kernels = kernels, .plain_attention = plain_attention};
    struct backend *backend = NULL;
    struct error error = {0};
    if (!cpu_backend_create(&options, &backend, &error)) {
        fail_msg("%s", error.message);
    }
    return backend;
}

static struct backend *create_backend(size_t threads, const char *kernels) {
    return create_backend_with(threads, kernels, false);
}

/* ---- random weights: valid blocks of any format ---- */

/* Where a block's f16 scales stand, and how large the values they scale can be. */
struct format_row {
    enum tensor_type type;
    size_t halves[2];
    size_t half_count;
    double largest; /* |scale| 1 gives values up to this */
};

static const struct format_row formats[] = {
    {TENSOR_F32, {0}, 0, 1},       {TENSOR_F16, {0}, 0, 1},        {TENSOR_BF16, {0}, 0, 1},
    {TENSOR_Q4_0, {0}, 1, 8},      {TENSOR_Q4_1, {0, 2}, 2, 16},   {TENSOR_Q5_0, {0}, 1, 16},
    {TENSOR_Q5_1, {0, 2}, 2, 32},  {TENSOR_Q8_0, {0}, 1, 128},     {TENSOR_Q2_K, {80, 82}, 2, 60},
    {TENSOR_Q3_K, {108}, 1, 128},  {TENSOR_Q4_K, {0, 2}, 2, 1000}, {TENSOR_Q5_K, {0, 2}, 2, 2000},
    {TENSOR_Q6_K, {208}, 1, 4000},
};

enum { FORMAT_COUNT = sizeof formats / sizeof formats[0] };
enum weight_kind { WEIGHT_NORMAL, WEIGHT_HUGE, WEIGHT_TINY, WEIGHT_ZERO, WEIGHT_KINDS };

static void put_half(uint8_t *at, float value) {
    uint16_t half = f32_to_f16(value);
    at[0] = (uint8_t)half;
    at[1] = (uint8_t)(half >> 8);
}

static void fill_floats(enum tensor_type type, uint8_t *data, size_t values, double scale) {
    for (size_t i = 0; i < values; i++) {
        float x = (float)(normal() * scale);
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        if (type == TENSOR_F32) {
            memcpy(data + 4 * i, &x, 4);
        } else if (type == TENSOR_F16) {
            put_half(data + 2 * i, x);
        } else {
            uint16_t top = (uint16_t)(bits >> 16);
            memcpy(data + 2 * i, &top, 2);
        }
    }
}

static uint8_t *random_weights(const struct format_row *row, size_t rows, size_t columns,
                               enum weight_kind kind) {
    const struct quant_format *format = quant_format_of(row->type);
    size_t blocks = rows * columns / format->block_values, bytes = blocks * format->block_bytes;
    uint8_t *data = malloc(bytes);
    assert_non_null(data);
    static const double scales[WEIGHT_KINDS] = {0.05, 60000, 3e-7, 0};
    if (row->half_count == 0) {
        fill_floats(row->type, data, rows * columns, scales[kind]);
        return data;
    }
    for (size_t i = 0; i < bytes; i++) {
        data[i] = (uint8_t)random_next(&rng);
    }
    for (size_t b = 0; b < blocks; b++) {
        for (size_t h = 0; h < row->half_count; h++) {
            double scale = kind == WEIGHT_NORMAL ? scales[kind] / row->largest * 8 : scales[kind];
            double sign = random_next(&rng) % 4 == 0 ? -1 : 1;
            put_half(data + b * format->block_bytes + row->halves[h],
                     (float)(sign * scale * (0.5 + random_uniform(&rng) / 2)));
        }
    }
    return data;
}

/* ---- matmul ---- */

/* Integers times 2^-5, with 127 in each block of 32: 8 bits hold them exactly, whatever the block.
 */
static void exact_activations(float *x, size_t count) {
    for (size_t i = 0; i < count; i++) {
        int q = (int)(random_next(&rng) % 255) - 127;
        x[i] = (float)(i % 32 == 7 ? 127 : q) / 32.0f;
    }
}

static void normal_activations(float *x, size_t count) {
    for (size_t i = 0; i < count; i++) {
        x[i] = (float)normal();
    }
}

static void zero_activations(float *x, size_t count) {
    memset(x, 0, count * sizeof *x);
}

/* Below FLT_MIN, and so small that 127 divided by the largest is infinite. */
static void denormal_activations(float *x, size_t count) {
    for (size_t i = 0; i < count; i++) {
        x[i] = (float)(normal() * 1e-39);
    }
}

static void large_activations(float *x, size_t count) {
    for (size_t i = 0; i < count; i++) {
        x[i] = (float)(normal() * 1e15);
    }
}

/* Values to multiply with, and the error allowed, relative to Σ|w||x|. */
struct activation_kind {
    const char *name;
    void (*fill)(float *x, size_t count);
    double bound;
};

static const struct activation_kind exact = {"exact", exact_activations, 2e-6};
static const struct activation_kind activation_kinds[] = {
    {"exact", exact_activations, 2e-6}, {"normal", normal_activations, 6e-3},
    {"zero", zero_activations, 0},      {"denormal", denormal_activations, 6e-3},
    {"large", large_activations, 6e-3},
};

struct product {
    const struct quant_format *format;
    const uint8_t *data, *second; /* second: of a gated product, else NULL */
    const float *bias;
    size_t rows, columns, batch;
    enum matmul_epilogue epilogue;
};

static struct weight *create_weight(struct backend *backend, const struct product *p,
                                    const void *data) {
    struct error error = {0};
    struct weight *weight = NULL;
    struct weight_source source = {p->format, data, p->rows, p->columns};
    if (!backend->ops->weight_create(backend, &source, WEIGHT_MATRIX, &weight, &error)) {
        fail_msg("%s", error.message);
    }
    return weight;
}

static struct activation *create_activation(struct backend *backend, size_t rows, size_t columns) {
    struct activation *activation = NULL;
    struct error error = {0};
    assert_true(backend->ops->activation_create(backend, rows, columns, &activation, &error));
    return activation;
}

/* out [batch][rows], which holds the old values for MATMUL_ADD. */
static void run_product(struct backend *backend, const struct product *p, const float *x,
                        float *out) {
    const struct backend_ops *ops = backend->ops;
    struct weight *weight = create_weight(backend, p, p->data), *second = NULL, *bias = NULL;
    struct activation *in = create_activation(backend, p->batch, p->columns);
    struct activation *to = create_activation(backend, p->batch, p->rows);
    struct error error = {0};
    if (p->second != NULL) {
        second = create_weight(backend, p, p->second);
    }
    if (p->bias != NULL) {
        struct weight_source source = {quant_format_of(TENSOR_F32), p->bias, 1, p->rows};
        assert_true(ops->weight_create(backend, &source, WEIGHT_VECTOR, &bias, &error));
    }
    struct batch_span span = {0, p->batch, 0, NULL};
    struct batch batch = {.row_count = p->batch, .span_count = 1, .spans = &span};
    struct rope rope = {0, NULL, 1};
    struct matmul_target target = {weight, second, bias, NULL, to, p->epilogue};
    ops->activation_write(backend, in, p->batch, x);
    ops->activation_write(backend, to, p->batch, out);
    ops->step_begin(backend, &batch, &rope);
    ops->matmul(backend, in, &target, 1);
    ops->step_end(backend);
    ops->activation_read(backend, to, p->batch, out);
    ops->activation_free(backend, in);
    ops->activation_free(backend, to);
    ops->weight_free(backend, weight);
    if (second != NULL) {
        ops->weight_free(backend, second);
    }
    if (bias != NULL) {
        ops->weight_free(backend, bias);
    }
}

/* Σ|w||x| for each output: what a product's rounding error is measured against. */
static double magnitude_of(const struct product *p, const float *x, size_t row, size_t output) {
    static float values[16384];
    size_t row_bytes = p->columns / p->format->block_values * p->format->block_bytes;
    p->format->decode(p->data + output * row_bytes, values, p->columns);
    double sum = 0;
    for (size_t c = 0; c < p->columns; c++) {
        sum += fabs((double)values[c] * (double)x[row * p->columns + c]);
    }
    return sum;
}

static void compare_products(const struct product *p, const float *x, const float *want,
                             const float *got, double bound, const char *kernels,
                             const char *what) {
    for (size_t row = 0; row < p->batch; row++) {
        for (size_t o = 0; o < p->rows; o++) {
            double expected = (double)want[row * p->rows + o],
                   actual = (double)got[row * p->rows + o];
            double allowed = bound * magnitude_of(p, x, row, o) + 1e-30;
            if (!(fabs(expected - actual) <= allowed)) {
                fail_msg("%s (%s kernels) %s %zux%zu batch %zu, row %zu output %zu: expected "
                         "%.9g, got %.9g, allowed difference %.3g",
                         p->format->name, kernels, what, p->rows, p->columns, p->batch, row, o,
                         expected, actual, allowed);
            }
        }
    }
}

struct shape_row {
    size_t rows, columns, batch;
};

/* Sizes that are not multiples of a panel, a chunk, a tile or the kernels' row groups. Columns are
 * rounded up to the format's block. */
static const struct shape_row shapes[] = {
    {1, 32, 1},    {16, 256, 1},  {17, 288, 2},    {48, 576, 3},    {40, 1024, 5},
    {33, 544, 67}, {16, 2304, 7}, {1000, 256, 16}, {31, 512, 1000},
};

static void check_product(const struct format_row *format, const struct shape_row *shape,
                          enum weight_kind kind, const struct activation_kind *activations) {
    struct product p = {
        .format = quant_format_of(format->type), .rows = shape->rows, .batch = shape->batch};
    p.columns = size_divide_up(shape->columns, p.format->block_values) * p.format->block_values;
    uint8_t *data = random_weights(format, p.rows, p.columns, kind);
    p.data = data;
    float *x = calloc(p.batch * p.columns, sizeof *x);
    float *want = calloc(p.batch * p.rows, sizeof *want);
    float *got = calloc(p.batch * p.rows, sizeof *got);
    activations->fill(x, p.batch * p.columns);
    struct backend *reference = create_backend(1, "portable");
    run_product(reference, &p, x, want);
    reference->ops->free(reference);
    for (size_t set = 0; cpu_kernels_offered(set) != NULL; set++) {
        struct backend *fast = create_backend(2, cpu_kernels_offered(set));
        run_product(fast, &p, x, got);
        compare_products(&p, x, want, got, activations->bound, fast->kernels, activations->name);
        fast->ops->free(fast);
    }
    free(data);
    free(x);
    free(want);
    free(got);
}

static void matmul_agrees_with_the_reference(void **state) {
    (void)state;
    for (size_t f = 0; f < FORMAT_COUNT; f++) {
        for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
            check_product(&formats[f], &shapes[s], WEIGHT_NORMAL, &activation_kinds[0]);
            check_product(&formats[f], &shapes[s], WEIGHT_NORMAL, &activation_kinds[1]);
        }
    }
}

static void matmul_agrees_on_extreme_scales(void **state) {
    (void)state;
    const struct shape_row shape = {24, 512, 4};
    for (size_t f = 0; f < FORMAT_COUNT; f++) {
        for (int kind = WEIGHT_HUGE; kind < WEIGHT_KINDS; kind++) {
            if (formats[f].type == TENSOR_F16 && kind == WEIGHT_HUGE) {
                continue; /* normal deviates times 60000 overflow f16 itself */
            }
            check_product(&formats[f], &shape, (enum weight_kind)kind, &exact);
        }
    }
}

static void matmul_agrees_on_extreme_activations(void **state) {
    (void)state;
    const struct shape_row shape = {24, 512, 19};
    for (size_t f = 0; f < FORMAT_COUNT; f++) {
        for (size_t a = 2; a < sizeof activation_kinds / sizeof activation_kinds[0]; a++) {
            check_product(&formats[f], &shape, WEIGHT_NORMAL, &activation_kinds[a]);
        }
    }
}

/* Weights that stay in the file's form, against packed ones: the same bits, for one row and many.
 */
static void mapped_weights_give_the_same_bits(void **state) {
    (void)state;
    enum { ROWS = 50, BATCH = 19 };
    static float x[BATCH * 768], packed[BATCH * ROWS], mapped[BATCH * ROWS];
    for (size_t set = 0; cpu_kernels_offered(set) != NULL; set++) {
        struct cpu_backend_options options = {
            .thread_count = 2, .kernels = cpu_kernels_offered(set), .mapped_weights = true};
        struct backend *packs = create_backend(2, options.kernels), *maps = NULL;
        struct error error = {0};
        assert_true(cpu_backend_create(&options, &maps, &error));
        for (size_t f = 0; f < FORMAT_COUNT; f++) {
            uint8_t *data = random_weights(&formats[f], ROWS, 768, WEIGHT_NORMAL);
            struct product p = {
                quant_format_of(formats[f].type), data, NULL, NULL, ROWS, 768, 1, MATMUL_STORE};
            struct weight_source source = {p.format, data, ROWS, 768};
            assert_int_equal(maps->ops->weight_bytes(maps, &source, WEIGHT_MATRIX), 0);
            for (; p.batch <= BATCH; p.batch += BATCH - 1) {
                normal_activations(x, p.batch * 768);
                run_product(packs, &p, x, packed);
                run_product(maps, &p, x, mapped);
                assert_memory_equal(packed, mapped, p.batch * ROWS * sizeof(float));
            }
            free(data);
        }
        packs->ops->free(packs);
        maps->ops->free(maps);
    }
}

static void check_epilogues(const struct format_row *format, struct backend *reference,
                            struct backend *fast) {
    enum { ROWS = 40, COLUMNS = 256, BATCH = 9 };
    static float x[BATCH * COLUMNS], bias[ROWS], want[BATCH * ROWS], got[BATCH * ROWS];
    static const enum matmul_epilogue epilogues[] = {MATMUL_STORE, MATMUL_ADD, MATMUL_SILU_MUL};
    uint8_t *a = random_weights(format, ROWS, COLUMNS, WEIGHT_NORMAL);
    uint8_t *b = random_weights(format, ROWS, COLUMNS, WEIGHT_NORMAL);
    exact_activations(x, BATCH * COLUMNS);
    normal_activations(bias, ROWS);
    for (size_t e = 0; e < 3; e++) {
        struct product p = {.format = quant_format_of(format->type),
                            .data = a,
                            .second = epilogues[e] == MATMUL_SILU_MUL ? b : NULL,
                            .bias = bias,
                            .rows = ROWS,
                            .columns = COLUMNS,
                            .batch = BATCH,
                            .epilogue = epilogues[e]};
        normal_activations(want, BATCH * ROWS);
        memcpy(got, want, sizeof got);
        run_product(reference, &p, x, want);
        run_product(fast, &p, x, got);
        for (size_t i = 0; i < BATCH * ROWS; i++) {
            double allowed = 2e-5 * (10 + fabs((double)want[i]));
            if (!(fabs((double)want[i] - (double)got[i]) <= allowed)) {
                fail_msg("%s (%s kernels) epilogue %zu, value %zu: expected %.9g, got %.9g",
                         p.format->name, fast->kernels, e, i, (double)want[i], (double)got[i]);
            }
        }
    }
    free(a);
    free(b);
}

static void epilogues_agree_with_the_reference(void **state) {
    (void)state;
    struct backend *reference = create_backend(1, "portable");
    for (size_t set = 0; cpu_kernels_offered(set) != NULL; set++) {
        struct backend *fast = create_backend(3, cpu_kernels_offered(set));
        for (size_t f = 0; f < FORMAT_COUNT; f++) {
            check_epilogues(&formats[f], reference, fast);
        }
        fast->ops->free(fast);
    }
    reference->ops->free(reference);
}

/* One row alone, in batches of every size, on one thread and on three: the same bits. */
static void matmul_rows_do_not_depend_on_each_other(void **state) {
    (void)state;
    enum { ROWS = 50, MAX_BATCH = 37 };
    static const size_t batches[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 32, 36};
    static float x[MAX_BATCH * 768], all[MAX_BATCH * ROWS], some[MAX_BATCH * ROWS];
    for (size_t set = 0; cpu_kernels_offered(set) != NULL; set++) {
        const char *kernels = cpu_kernels_offered(set);
        struct backend *one = create_backend(1, kernels), *three = create_backend(3, kernels);
        for (size_t f = 0; f < FORMAT_COUNT; f++) {
            uint8_t *data = random_weights(&formats[f], ROWS, 768, WEIGHT_NORMAL);
            struct product p = {.format = quant_format_of(formats[f].type),
                                .data = data,
                                .rows = ROWS,
                                .columns = 768,
                                .batch = MAX_BATCH};
            normal_activations(x, MAX_BATCH * 768);
            run_product(three, &p, x, all);
            for (size_t b = 0; b < sizeof batches / sizeof batches[0]; b++) {
                size_t batch = batches[b], first = MAX_BATCH - batch;
                p.batch = batch;
                run_product(one, &p, x + first * 768, some);
                if (memcmp(all + first * ROWS, some, batch * ROWS * sizeof(float)) != 0) {
                    fail_msg("%s (%s kernels): a batch of %zu gives other bits than one of %d",
                             p.format->name, one->kernels, batch, MAX_BATCH);
                }
            }
            free(data);
        }
        one->ops->free(one);
        three->ops->free(three);
    }
}

/* ---- rotary embedding, KV cache and attention ---- */

struct attention_case {
    size_t heads, kv_heads, head_dim, length, window;
};

static const struct attention_case attention_cases[] = {
    {1, 1, 32, 1, 0},   {4, 2, 64, 70, 0},    {9, 3, 64, 150, 0},  {8, 8, 128, 33, 0},
    {6, 1, 80, 100, 0}, {40, 1, 32, 20, 0},   {4, 2, 64, 200, 48}, {4, 4, 32, 130, 1},
    {2, 2, 64, 65, 64}, {4, 2, 128, 129, 65}, {2, 1, 32, 540, 0},  {1, 1, 16, 1060, 520},
};

/* What the cache holds, and how it is attended to. */
struct attention_form {
    enum kv_element element;
    bool plain, grows;
};

static const struct attention_form attention_forms[] = {
    {KV_ELEMENT_F16, false, false}, {KV_ELEMENT_Q8_0, false, true}, {KV_ELEMENT_F32, false, true},
    {KV_ELEMENT_F16, true, true},   {KV_ELEMENT_Q8_0, true, false}, {KV_ELEMENT_F32, true, false},
};

static const char *form_name(const struct attention_form *form) {
    static char text[64];
    snprintf(text, sizeof text, "%s, %s form", kv_element_name(form->element),
             form->plain ? "plain" : "tiled");
    return text;
}

struct sequence_data {
    const struct attention_case *c;
    float *q, *k, *v; /* [length][heads or kv_heads][head_dim] */
};

static struct sequence_data random_sequence(const struct attention_case *c) {
    struct sequence_data s = {c, NULL, NULL, NULL};
    size_t q = c->length * c->heads * c->head_dim, kv = c->length * c->kv_heads * c->head_dim;
    s.q = calloc(q, sizeof *s.q);
    s.k = calloc(kv, sizeof *s.k);
    s.v = calloc(kv, sizeof *s.v);
    normal_activations(s.q, q);
    normal_activations(s.k, kv);
    normal_activations(s.v, kv);
    return s;
}

static void free_sequence(struct sequence_data *s) {
    free(s->q);
    free(s->k);
    free(s->v);
}

/* Runs the sequence in steps of `chunk` rows, beside a second span with the same rows when `twice`.
 * out [length][heads][head_dim]; the blocks are taken in reverse order. */
static void run_attention(struct backend *backend, const struct sequence_data *s,
                          const struct attention_form *form, size_t chunk, bool twice, float *out) {
    const struct attention_case *c = s->c;
    const struct backend_ops *ops = backend->ops;
    size_t width = c->heads * c->head_dim, kv_width = c->kv_heads * c->head_dim;
    size_t blocks = size_divide_up(c->length, KV_BLOCK_TOKENS), copies = twice ? 2 : 1;
    struct activation *q = create_activation(backend, 2 * chunk, width);
    struct activation *k = create_activation(backend, 2 * chunk, kv_width);
    struct activation *v = create_activation(backend, 2 * chunk, kv_width);
    struct activation *attended = create_activation(backend, 2 * chunk, width);
    struct kv_layout layout = {2, 2 * blocks, c->kv_heads, c->head_dim, form->element, form->grows};
    struct kv_cache *kv = NULL;
    struct error error = {0};
    assert_true(ops->kv_create(backend, &layout, &kv, &error));
    assert_true(!form->grows || ops->kv_grow(backend, kv, blocks, &error));
    assert_true(!form->grows || ops->kv_grow(backend, kv, 2 * blocks, &error));
    uint32_t tables[2][MAX_BLOCK_TABLE];
    assert_true(blocks <= MAX_BLOCK_TABLE);
    for (uint32_t i = 0; i < blocks; i++) {
        tables[0][i] = (uint32_t)(2 * blocks) - 1 - i;
        tables[1][i] = i;
    }
    float *wide = calloc(2 * chunk * width, sizeof *wide);
    float frequencies[64];
    for (size_t i = 0; i < c->head_dim / 2; i++) {
        frequencies[i] = (float)pow(10000, -2.0 * (double)i / (double)c->head_dim);
    }
    struct rope rope = {c->head_dim / 2, frequencies, 1};
    struct attention_shape shape = {c->heads, c->kv_heads, c->head_dim,
                                    1.0f / sqrtf((float)c->head_dim), c->window};
    for (size_t at = 0; at < c->length; at += chunk) {
        size_t rows = size_min(chunk, c->length - at);
        struct batch_span spans[2] = {{0, rows, at, tables[0]}, {rows, rows, at, tables[1]}};
        struct batch batch = {.row_count = copies * rows, .span_count = copies, .spans = spans};
        const struct {
            struct activation *to;
            const float *from;
            size_t width;
        } inputs[] = {{q, s->q, width}, {k, s->k, kv_width}, {v, s->v, kv_width}};
        for (size_t i = 0; i < 3; i++) {
            for (size_t copy = 0; copy < copies; copy++) {
                memcpy(wide + copy * rows * inputs[i].width, inputs[i].from + at * inputs[i].width,
                       rows * inputs[i].width * sizeof *wide);
            }
            ops->activation_write(backend, inputs[i].to, copies * rows, wide);
        }
        ops->step_begin(backend, &batch, &rope);
        ops->rope_store(backend, q, k, v, c->heads, kv, 1);
        ops->attention(backend, q, kv, 1, &shape, attended);
        ops->step_end(backend);
        ops->activation_read(backend, attended, copies * rows, wide);
        memcpy(out + at * width, wide + (copies - 1) * rows * width, rows * width * sizeof *out);
    }
    free(wide);
    ops->kv_free(backend, kv);
    ops->activation_free(backend, q);
    ops->activation_free(backend, k);
    ops->activation_free(backend, v);
    ops->activation_free(backend, attended);
}

/* A head's values as the cache gives them back, in place. q8_0: as the format of that name, whose
 * own tests hold it to ggml. */
static void round_as_stored(enum kv_element element, float *values, size_t dim) {
    const struct quant_format *q8 = quant_format_of(TENSOR_Q8_0);
    for (size_t d = 0; element == KV_ELEMENT_F16 && d < dim; d++) {
        values[d] = f16_to_f32(f32_to_f16(values[d]));
    }
    for (size_t d = 0; element == KV_ELEMENT_Q8_0 && d < dim; d += 32) {
        float group[32] = {0};
        uint8_t block[34];
        size_t count = size_min(32, dim - d);
        memcpy(group, values + d, count * sizeof *group);
        q8->encode(group, block, 32);
        q8->decode(block, group, 32);
        memcpy(values + d, group, count * sizeof *group);
    }
}

/* Attention by its definition, in double, with keys and values rounded as the cache holds them. */
static void defined_attention(const struct sequence_data *s, enum kv_element element, float *out) {
    const struct attention_case *c = s->c;
    size_t dim = c->head_dim;
    double *scores = calloc(c->length, sizeof *scores);
    float *q = calloc(dim, sizeof *q), *k = calloc(c->length * dim, sizeof *k);
    float *v = calloc(c->length * dim, sizeof *v);
    for (size_t head = 0; head < c->heads; head++) {
        size_t kv_head = head / (c->heads / c->kv_heads);
        for (size_t row = 0; row < c->length; row++) {
            for (int which = 0; which < 2; which++) {
                const float *from = which == 0 ? s->q + (row * c->heads + head) * dim
                                               : s->k + (row * c->kv_heads + kv_head) * dim;
                float *to = which == 0 ? q : k + row * dim;
                for (size_t p = 0; p < dim / 2; p++) {
                    float frequency = (float)pow(10000, -2.0 * (double)p / (double)dim);
                    double angle = (double)row * (double)frequency;
                    float cosine = (float)cos(angle), sine = (float)sin(angle);
                    float a = from[2 * p], b = from[2 * p + 1];
                    to[2 * p] = a * cosine - b * sine;
                    to[2 * p + 1] = a * sine + b * cosine;
                }
            }
            memcpy(v + row * dim, s->v + (row * c->kv_heads + kv_head) * dim, dim * sizeof *v);
            round_as_stored(element, k + row * dim, dim);
            round_as_stored(element, v + row * dim, dim);
            size_t first = c->window != 0 && row + 1 > c->window ? row + 1 - c->window : 0;
            double maximum = -INFINITY, sum = 0;
            for (size_t t = first; t <= row; t++) {
                scores[t] = 0;
                for (size_t d = 0; d < dim; d++) {
                    scores[t] += (double)q[d] * (double)k[t * dim + d] / sqrt((double)dim);
                }
                maximum = fmax(maximum, scores[t]);
            }
            for (size_t t = first; t <= row; t++) {
                scores[t] = exp(scores[t] - maximum);
                sum += scores[t];
            }
            for (size_t d = 0; d < dim; d++) {
                double value = 0;
                for (size_t t = first; t <= row; t++) {
                    value += scores[t] / sum * (double)v[t * dim + d];
                }
                out[(row * c->heads + head) * dim + d] = (float)value;
            }
        }
    }
    free(scores);
    free(q);
    free(k);
    free(v);
}

static void check_definition(const struct attention_form *form, size_t index) {
    struct sequence_data s = random_sequence(&attention_cases[index]);
    size_t count = s.c->length * s.c->heads * s.c->head_dim;
    float *want = calloc(count, sizeof *want), *got = calloc(count, sizeof *got);
    defined_attention(&s, form->element, want);
    for (size_t set = 0; cpu_kernels_offered(set) != NULL; set++) {
        const char *kernels = cpu_kernels_offered(set);
        struct backend *backend = create_backend_with(2, kernels, form->plain);
        run_attention(backend, &s, form, s.c->length, false, got);
        for (size_t j = 0; j < count; j++) {
            if (!(fabs((double)want[j] - (double)got[j]) <= 2e-5)) {
                fail_msg("case %zu (%s kernels, %s), value %zu: expected %.9g, got %.9g", index,
                         backend->kernels, form_name(form), j, (double)want[j], (double)got[j]);
            }
        }
        backend->ops->free(backend);
    }
    free(want);
    free(got);
    free_sequence(&s);
}

static void check_independence(const struct attention_form *form, size_t index) {
    static const size_t chunks[] = {1, 7, 16, 64};
    struct sequence_data s = random_sequence(&attention_cases[index]);
    size_t count = s.c->length * s.c->heads * s.c->head_dim;
    float *want = calloc(count, sizeof *want), *got = calloc(count, sizeof *got);
    for (size_t set = 0; cpu_kernels_offered(set) != NULL; set++) {
        const char *kernels = cpu_kernels_offered(set);
        struct backend *one = create_backend_with(1, kernels, form->plain);
        struct backend *three = create_backend_with(3, kernels, form->plain);
        run_attention(one, &s, form, s.c->length, false, want);
        for (size_t j = 0; j < sizeof chunks / sizeof chunks[0]; j++) {
            run_attention(three, &s, form, chunks[j], j % 2 == 1, got);
            if (memcmp(want, got, count * sizeof *want) != 0) {
                fail_msg("case %zu (%s kernels, %s): chunks of %zu give other bits than one", index,
                         one->kernels, form_name(form), chunks[j]);
            }
        }
        one->ops->free(one);
        three->ops->free(three);
    }
    free(want);
    free(got);
    free_sequence(&s);
}

static void for_each_attention(void (*check)(const struct attention_form *form, size_t index)) {
    for (size_t f = 0; f < sizeof attention_forms / sizeof attention_forms[0]; f++) {
        for (size_t i = 0; i < sizeof attention_cases / sizeof attention_cases[0]; i++) {
            check(&attention_forms[f], i);
        }
    }
}

static void attention_agrees_with_its_definition(void **state) {
    (void)state;
    for_each_attention(check_definition);
}

static void attention_does_not_depend_on_chunks_or_batch(void **state) {
    (void)state;
    for_each_attention(check_independence);
}

/* What memory_pool_size is divided by. */
static void a_block_costs_what_its_elements_do(void **state) {
    (void)state;
    static const struct {
        enum kv_element element;
        size_t bytes;
    } rows[] = {{KV_ELEMENT_F16, 2 * 3 * 2 * 16 * 80 * 2},
                {KV_ELEMENT_F32, 2 * 3 * 2 * 16 * 80 * 4},
                {KV_ELEMENT_Q8_0, 2 * 3 * 2 * 16 * (80 + 3 * 2)}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct kv_layout layout = {3, 1, 2, 80, rows[i].element, false};
        size_t bytes = 0;
        enum kv_element named = KV_ELEMENT_COUNT;
        assert_true(kv_block_bytes(&layout, &bytes));
        assert_int_equal(bytes, rows[i].bytes);
        assert_true(kv_element_of_name(kv_element_name(rows[i].element), &named));
        assert_int_equal(named, rows[i].element);
    }
    struct kv_layout endless = {SIZE_MAX / 4, 1, 2, 80, KV_ELEMENT_F16, false};
    size_t bytes;
    enum kv_element named;
    assert_false(kv_block_bytes(&endless, &bytes));
    assert_false(kv_element_of_name("q4_0", &named));
}

/* ---- norm and embedding ---- */

static void norm_agrees_with_its_definition(void **state) {
    (void)state;
    static const size_t widths[] = {8, 32, 100, 576, 4096};
    static const float scales[] = {1.0f, 1e-20f, 1e15f, 0.0f};
    static float x[9 * 4096], weight[4096], out[9 * 4096];
    for (size_t w = 0; w < 5; w++) {
        for (size_t s = 0; s < 4; s++) {
            size_t width = widths[w], rows = 9;
            normal_activations(x, rows * width);
            normal_activations(weight, width);
            for (size_t i = 0; i < rows * width; i++) {
                x[i] *= scales[s];
            }
            for (size_t set = 0; cpu_kernels_offered(set) != NULL; set++) {
                const char *kernels = cpu_kernels_offered(set);
                struct backend *backend = create_backend(2, kernels);
                const struct backend_ops *ops = backend->ops;
                struct activation *in = create_activation(backend, rows, width);
                struct activation *to = create_activation(backend, rows, width);
                struct weight_source source = {quant_format_of(TENSOR_F32), weight, 1, width};
                struct weight *handle = NULL;
                struct error error = {0};
                assert_true(ops->weight_create(backend, &source, WEIGHT_VECTOR, &handle, &error));
                struct batch_span span = {0, rows, 0, NULL};
                struct batch batch = {.row_count = rows, .span_count = 1, .spans = &span};
                struct rope rope = {0, NULL, 1};
                ops->activation_write(backend, in, rows, x);
                ops->step_begin(backend, &batch, &rope);
                ops->norm(backend, in, handle, 1e-5f, to);
                ops->step_end(backend);
                ops->activation_read(backend, to, rows, out);
                for (size_t r = 0; r < rows; r++) {
                    double sum = 0;
                    for (size_t i = 0; i < width; i++) {
                        sum += (double)x[r * width + i] * (double)x[r * width + i];
                    }
                    double factor = 1 / sqrt(sum / (double)width + 1e-5);
                    for (size_t i = 0; i < width; i++) {
                        double want = (double)x[r * width + i] * factor * (double)weight[i];
                        double got = (double)out[r * width + i];
                        if (!(fabs(want - got) <= 2e-6 * fabs(want) + 1e-37)) {
                            fail_msg("width %zu scale %g: expected %.9g, got %.9g", width,
                                     (double)scales[s], want, got);
                        }
                    }
                }
                ops->weight_free(backend, handle);
                ops->activation_free(backend, in);
                ops->activation_free(backend, to);
                ops->free(backend);
            }
        }
    }
}

/* ---- the choice of kernels ---- */

static void kernels_that_cannot_run_are_refused(void **state) {
    (void)state;
    struct error error = {0};
    struct backend *backend = NULL;
    struct cpu_backend_options options = {.thread_count = 1, .kernels = "cray"};
    assert_false(cpu_backend_create(&options, &backend, &error));
    assert_non_null(strstr(error.message, "kernels is cray"));
    assert_non_null(strstr(error.message, "portable"));
    static const char *const automatic[] = {NULL, "auto"};
    for (size_t i = 0; i < 2; i++) {
        options.kernels = automatic[i];
        assert_true(cpu_backend_create(&options, &backend, &error));
        assert_string_equal(backend->kernels, cpu_kernels_offered(0));
        backend->ops->free(backend);
    }
}

int main(void) {
    random_seed(&rng, 20240607);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matmul_agrees_with_the_reference),
        cmocka_unit_test(matmul_agrees_on_extreme_scales),
        cmocka_unit_test(matmul_agrees_on_extreme_activations),
        cmocka_unit_test(mapped_weights_give_the_same_bits),
        cmocka_unit_test(epilogues_agree_with_the_reference),
        cmocka_unit_test(matmul_rows_do_not_depend_on_each_other),
        cmocka_unit_test(attention_agrees_with_its_definition),
        cmocka_unit_test(attention_does_not_depend_on_chunks_or_batch),
        cmocka_unit_test(a_block_costs_what_its_elements_do),
        cmocka_unit_test(norm_agrees_with_its_definition),
        cmocka_unit_test(kernels_that_cannot_run_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
