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
#include "backend/cpu/cpu.h"
#include "ops_harness.h"

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
    {TENSOR_Q6_K, {208}, 1, 4000}, {TENSOR_IQ4_NL, {0}, 1, 127},   {TENSOR_IQ4_XS, {0}, 1, 4064},
    {TENSOR_TQ1_0, {52}, 1, 1},    {TENSOR_TQ2_0, {64}, 1, 1},     {TENSOR_MXFP4, {0}, 0, 12},
    {TENSOR_IQ2_XXS, {0}, 1, 167}, {TENSOR_IQ2_XS, {0}, 1, 167},   {TENSOR_IQ2_S, {0}, 1, 167},
    {TENSOR_IQ3_XXS, {0}, 1, 481}, {TENSOR_IQ3_S, {0}, 1, 465},    {TENSOR_IQ1_S, {0}, 1, 17},
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

/* MXFP4's scale: a power of two, 2^(byte - 128) of the table's values. */
static void fill_exponents(uint8_t *data, size_t blocks, size_t block_bytes,
                           enum weight_kind kind) {
    static const uint8_t least[WEIGHT_KINDS] = {118, 138, 100, 0};
    for (size_t b = 0; b < blocks; b++) {
        uint8_t more = kind == WEIGHT_ZERO ? 0 : (uint8_t)(random_next(&rng) % 4);
        data[b * block_bytes] = (uint8_t)(least[kind] + more);
    }
}

static uint8_t *random_weights(const struct format_row *row, size_t rows, size_t columns,
                               enum weight_kind kind) {
    const struct quant_format *format = quant_format_of(row->type);
    size_t blocks = rows * columns / format->block_values, bytes = blocks * format->block_bytes;
    uint8_t *data = malloc(bytes);
    assert_non_null(data);
    static const double scales[WEIGHT_KINDS] = {0.05, 60000, 3e-7, 0};
    if (row->half_count == 0 && row->type != TENSOR_MXFP4) {
        fill_floats(row->type, data, rows * columns, scales[kind]);
        return data;
    }
    for (size_t i = 0; i < bytes; i++) {
        data[i] = (uint8_t)random_next(&rng);
    }
    if (row->type == TENSOR_MXFP4) {
        fill_exponents(data, blocks, format->block_bytes, kind);
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

/* out [batch][rows], which holds the old values for MATMUL_ADD. Of the target: weights and bias. */
static void multiply(struct backend *backend, const struct product *p, struct matmul_target target,
                     const float *x, float *out) {
    const struct backend_ops *ops = backend->ops;
    struct activation *in = create_activation(backend, p->batch, p->columns);
    struct activation *to = create_activation(backend, p->batch, p->rows);
    struct batch_span span = {0, p->batch, 0, NULL};
    struct batch batch = {.row_count = p->batch, .span_count = 1, .spans = &span};
    target.out = to;
    target.epilogue = p->epilogue;
    ops->activation_write(backend, in, p->batch, x);
    ops->activation_write(backend, to, p->batch, out);
    ops->step_begin(backend, &batch, NULL, 0);
    ops->matmul(backend, in, &target, 1);
    ops->step_end(backend);
    ops->activation_read(backend, to, p->batch, out);
    ops->activation_free(backend, in);
    ops->activation_free(backend, to);
}

static void run_product(struct backend *backend, const struct product *p, const float *x,
                        float *out) {
    const struct backend_ops *ops = backend->ops;
    struct weight *weight = create_weight(backend, p, p->data), *second = NULL, *bias = NULL;
    struct error error = {0};
    if (p->second != NULL) {
        second = create_weight(backend, p, p->second);
    }
    if (p->bias != NULL) {
        struct weight_source source = {quant_format_of(TENSOR_F32), p->bias, 1, p->rows, false};
        assert_true(ops->weight_create(backend, &source, WEIGHT_VECTOR, &bias, &error));
    }
    multiply(backend, p, (struct matmul_target){.weight = weight, .second = second, .bias = bias},
             x, out);
    ops->weight_free(backend, weight);
    if (second != NULL) {
        ops->weight_free(backend, second);
    }
    if (bias != NULL) {
        ops->weight_free(backend, bias);
    }
}

/* Σ|w||x| for each output [batch][rows]: what a product's rounding error is measured against. */
static void magnitudes_of(const struct product *p, const float *x, double *magnitudes) {
    static float values[16384];
    size_t row_bytes = p->columns / p->format->block_values * p->format->block_bytes;
    for (size_t output = 0; output < p->rows; output++) {
        p->format->decode(p->data + output * row_bytes, values, p->columns);
        for (size_t row = 0; row < p->batch; row++) {
            double sum = 0;
            for (size_t c = 0; c < p->columns; c++) {
                sum += fabs((double)values[c] * (double)x[row * p->columns + c]);
            }
            magnitudes[row * p->rows + output] = sum;
        }
    }
}

static void compare_products(const struct product *p, const double *magnitudes, const float *want,
                             const float *got, double bound, const char *kernels,
                             const char *what) {
    for (size_t i = 0; i < p->batch * p->rows; i++) {
        double expected = (double)want[i], actual = (double)got[i];
        double allowed = bound * magnitudes[i] + 1e-30;
        if (!(fabs(expected - actual) <= allowed)) {
            fail_msg("%s (%s kernels) %s %zux%zu batch %zu, row %zu output %zu: expected %.9g, "
                     "got %.9g, allowed difference %.3g",
                     p->format->name, kernels, what, p->rows, p->columns, p->batch, i / p->rows,
                     i % p->rows, expected, actual, allowed);
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
    double *magnitudes = calloc(p.batch * p.rows, sizeof *magnitudes);
    activations->fill(x, p.batch * p.columns);
    magnitudes_of(&p, x, magnitudes);
    struct backend *reference = create_backend(1, "portable");
    run_product(reference, &p, x, want);
    reference->ops->free(reference);
    for (size_t set = 0; cpu_kernels_offered(set) != NULL; set++) {
        struct backend *fast = create_backend(2, cpu_kernels_offered(set));
        run_product(fast, &p, x, got);
        compare_products(&p, magnitudes, want, got, activations->bound, fast->kernels,
                         activations->name);
        fast->ops->free(fast);
    }
    free(data);
    free(x);
    free(want);
    free(got);
    free(magnitudes);
}

static void matmul_agrees_with_the_reference(void **state) {
    (void)state;
    for (size_t f = 0; f < FORMAT_COUNT; f++) {
        for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
            if (IS_EMULATED && shapes[s].rows * shapes[s].batch > 10000) {
                continue;
            }
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
    const struct shape_row shape = {24, 512, 35};
    for (size_t f = 0; f < FORMAT_COUNT; f++) {
        for (size_t a = 2; a < sizeof activation_kinds / sizeof activation_kinds[0]; a++) {
            check_product(&formats[f], &shape, WEIGHT_NORMAL, &activation_kinds[a]);
        }
    }
}

/* Of two backends: every format's product, for one row and many. */
static void assert_same_bits(struct backend *one, struct backend *other) {
    enum { ROWS = 50, COLUMNS = 768, BATCH = 35 };
    static float x[BATCH * COLUMNS], want[BATCH * ROWS], got[BATCH * ROWS];
    for (size_t f = 0; f < FORMAT_COUNT; f++) {
        uint8_t *data = random_weights(&formats[f], ROWS, COLUMNS, WEIGHT_NORMAL);
        struct product p = {
            quant_format_of(formats[f].type), data, NULL, NULL, ROWS, COLUMNS, 1, MATMUL_STORE};
        for (; p.batch <= BATCH; p.batch += BATCH - 1) {
            normal_activations(x, p.batch * COLUMNS);
            run_product(one, &p, x, want);
            run_product(other, &p, x, got);
            assert_memory_equal(want, got, p.batch * ROWS * sizeof(float));
        }
        free(data);
    }
}

/* Weights that stay in the file's form, against packed ones. */
static void mapped_weights_give_the_same_bits(void **state) {
    (void)state;
    for (size_t set = 0; cpu_kernels_offered(set) != NULL; set++) {
        struct cpu_backend_options options = {
            .thread_count = 2, .kernels = cpu_kernels_offered(set), .mapped_weights = true};
        struct backend *packs = create_backend(2, options.kernels), *maps = NULL;
        struct error error = {0};
        assert_true(cpu_backend_create(&options, &maps, &error));
        for (size_t f = 0; f < FORMAT_COUNT; f++) {
            struct weight_source source = {quant_format_of(formats[f].type), NULL, 50, 768};
            assert_int_equal(maps->ops->weight_bytes(maps, &source, WEIGHT_MATRIX), 0);
        }
        assert_same_bits(packs, maps);
        packs->ops->free(packs);
        maps->ops->free(maps);
    }
}

/* Both add whole numbers until a block ends, and go on from there with the same instructions. */
static void avx_vnni_gives_the_bits_of_avx2(void **state) {
    (void)state;
    for (size_t set = 0; cpu_kernels_offered(set) != NULL; set++) {
        if (strcmp(cpu_kernels_offered(set), "avxvnni") == 0) {
            struct backend *avx2 = create_backend(2, "avx2"), *vnni = create_backend(2, "avxvnni");
            assert_same_bits(avx2, vnni);
            avx2->ops->free(avx2);
            vnni->ops->free(vnni);
        }
    }
}

/* A weight is packed from the file's form once: by one of the first steps, though not the very
 * first, or by `prepare`. After either, the file's form may go. */
static void weights_are_packed_once(void **state) {
    (void)state;
    enum { ROWS = 50, COLUMNS = 512 };
    static float x[COLUMNS], want[ROWS], got[ROWS];
    for (size_t set = 0; cpu_kernels_offered(set) != NULL; set++) {
        struct backend *backend = create_backend(2, cpu_kernels_offered(set));
        for (size_t f = 0; f < FORMAT_COUNT; f++) {
            uint8_t *data = random_weights(&formats[f], ROWS, COLUMNS, WEIGHT_NORMAL);
            struct product p = {
                quant_format_of(formats[f].type), data, NULL, NULL, ROWS, COLUMNS, 1, MATMUL_STORE};
            struct weight *first = create_weight(backend, &p, data);
            struct weight *other = create_weight(backend, &p, data);
            struct weight *unused = create_weight(backend, &p, data);
            const struct weight_source source = {p.format, data, ROWS, COLUMNS, false};
            bool packs = backend->ops->weight_bytes(backend, &source, WEIGHT_MATRIX) > 0;
            normal_activations(x, COLUMNS);
            multiply(backend, &p, (struct matmul_target){.weight = first}, x, want);
            multiply(backend, &p, (struct matmul_target){.weight = first}, x, got);
            assert_memory_equal(got, want, sizeof want);
            backend->ops->weight_free(backend, unused);
            assert_int_equal(backend->ops->prepare(backend), packs);
            assert_false(backend->ops->prepare(backend));
            if (packs) {
                memset(data, 0x11,
                       ROWS * (COLUMNS / p.format->block_values) * p.format->block_bytes);
            }
            multiply(backend, &p, (struct matmul_target){.weight = first}, x, got);
            assert_memory_equal(got, want, sizeof want);
            multiply(backend, &p, (struct matmul_target){.weight = other}, x, got);
            assert_memory_equal(got, want, sizeof want);
            backend->ops->weight_free(backend, first);
            backend->ops->weight_free(backend, other);
            free(data);
        }
        backend->ops->free(backend);
    }
}

/* `prepare` packs a large weight piece by piece; a step in between packs the rest, and only that.
 */
static void half_packed_weights_are_packed_on(void **state) {
    (void)state;
    enum { ROWS = 400, COLUMNS = 4096 };
    static float x[COLUMNS], want[ROWS], got[ROWS], data[ROWS * COLUMNS];
    struct backend *backend = create_backend(2, NULL);
    struct product p = {
        quant_format_of(TENSOR_F32), (uint8_t *)data, NULL, NULL, ROWS, COLUMNS, 1, MATMUL_STORE};
    const struct weight_source source = {p.format, p.data, ROWS, COLUMNS, false};
    if (backend->ops->weight_bytes(backend, &source, WEIGHT_MATRIX) == 0) {
        backend->ops->free(backend);
        return; /* portable kernels, which pack nothing, are all that run here */
    }
    normal_activations(x, COLUMNS);
    for (size_t i = 0; i < sizeof data / sizeof data[0]; i++) {
        data[i] = (float)random_uniform(&rng);
    }
    struct weight *weight = create_weight(backend, &p, (const uint8_t *)data);
    multiply(backend, &p, (struct matmul_target){.weight = weight}, x, want);
    assert_true(backend->ops->prepare(backend));
    memset(data, 0x11, 16 * COLUMNS * sizeof *data); /* the first panel: packed */
    multiply(backend, &p, (struct matmul_target){.weight = weight}, x, got);
    assert_memory_equal(got, want, sizeof want);
    assert_false(backend->ops->prepare(backend)); /* the step left nothing to pack */
    memset(data, 0x11, sizeof data);
    multiply(backend, &p, (struct matmul_target){.weight = weight}, x, got);
    assert_memory_equal(got, want, sizeof want);
    backend->ops->weight_free(backend, weight);
    backend->ops->free(backend);
}

static void check_epilogues(const struct format_row *format, struct backend *reference,
                            struct backend *fast) {
    enum { ROWS = 40, COLUMNS = 256, BATCH = 9 };
    static float x[BATCH * COLUMNS], bias[ROWS], want[BATCH * ROWS], got[BATCH * ROWS];
    static const enum matmul_epilogue epilogues[] = {MATMUL_STORE, MATMUL_ADD, MATMUL_GATED};
    uint8_t *a = random_weights(format, ROWS, COLUMNS, WEIGHT_NORMAL);
    uint8_t *b = random_weights(format, ROWS, COLUMNS, WEIGHT_NORMAL);
    exact_activations(x, BATCH * COLUMNS);
    normal_activations(bias, ROWS);
    for (size_t e = 0; e < 3; e++) {
        struct product p = {.format = quant_format_of(format->type),
                            .data = a,
                            .second = epilogues[e] == MATMUL_GATED ? b : NULL,
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
                ops->activation_write(backend, in, rows, x);
                ops->step_begin(backend, &batch, NULL, 0);
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

/* ---- narrowing ---- */

/* Every set rounds to f16 as the reference does, bit for bit: ties, values that become subnormal,
 * infinite or nothing, infinities, payloads of not-a-number, and any count. */
static void narrowing_gives_the_reference_bits(void **state) {
    (void)state;
    enum { COUNT = 1 << 14, LONGEST = 70 };
    static float values[COUNT];
    static uint16_t halves[COUNT + 1];
    for (size_t i = 0; i < COUNT; i++) {
        uint32_t bits = (uint32_t)random_next(&rng);
        if (i % 4 == 1) { /* on a tie between two halves */
            bits = (bits & 0x8fffe000u) | 0x1000u | 0x38000000u;
        } else if (i % 4 == 2) { /* 2^-26 … 2^-13: subnormal halves */
            bits = (bits & 0x807fffffu) | (101u + bits % 14) << 23;
        }
        memcpy(&values[i], &bits, sizeof bits);
    }
    for (size_t set = 0; cpu_kernels_offered(set) != NULL; set++) {
        struct error error = {0};
        const struct cpu_kernels *kernels = cpu_kernels_choose(cpu_kernels_offered(set), &error);
        for (size_t first = 0, count = 0; first + LONGEST < COUNT; first += count, count++) {
            count %= LONGEST;
            halves[count] = 0x1234; /* stays */
            kernels->narrow_f16(values + first, halves, count);
            for (size_t i = 0; i < count; i++) {
                if (halves[i] != f32_to_f16(values[first + i])) {
                    fail_msg("%s: %a becomes %#x, not %#x", kernels->name,
                             (double)values[first + i], halves[i], f32_to_f16(values[first + i]));
                }
            }
            assert_int_equal(halves[count], 0x1234);
        }
    }
}

int main(void) {
    random_seed(&rng, 20240607);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matmul_agrees_with_the_reference),
        cmocka_unit_test(matmul_agrees_on_extreme_scales),
        cmocka_unit_test(matmul_agrees_on_extreme_activations),
        cmocka_unit_test(mapped_weights_give_the_same_bits),
        cmocka_unit_test(avx_vnni_gives_the_bits_of_avx2),
        cmocka_unit_test(weights_are_packed_once),
        cmocka_unit_test(half_packed_weights_are_packed_on),
        cmocka_unit_test(epilogues_agree_with_the_reference),
        cmocka_unit_test(matmul_rows_do_not_depend_on_each_other),
        cmocka_unit_test(norm_agrees_with_its_definition),
        cmocka_unit_test(narrowing_gives_the_reference_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
