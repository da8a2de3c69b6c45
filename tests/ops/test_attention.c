/*
 * test_attention.c - attention, rotary embedding and the KV cache: every kernel set against the
 * definition in f64 (bound 2e-5, or what one step of the cache's rounding makes where keys or
 * values are normed first), and against itself under other chunks, batches and thread counts, where
 * the result must be the same bit for bit.
 */
#include "ops_harness.h"

enum { MAX_BLOCK_TABLE = 128 };

/* ---- rotary embedding, KV cache and attention ---- */

struct attention_case {
    size_t heads, kv_heads, head_dim, length, window;
    size_t value_dim; /* 0: head_dim */
    bool values_in_keys, values_from_keys, normalise_values;
    bool has_sinks, has_q_norm, has_k_norm, has_no_rope;
    float soft_cap;
    struct query_temperature temperature;
    enum rope_pairing pairing;
    size_t rope_first, rope_pairs; /* 0 pairs: half of head_dim */
    float magnitude;               /* 0: 1 */
    size_t norm_width;             /* 0: head_dim */
};

static const struct attention_case attention_cases[] = {
    {1, 1, 32, 1, 0},
    {4, 2, 64, 70, 0},
    {9, 3, 64, 150, 0},
    {8, 8, 128, 33, 0},
    {6, 1, 80, 100, 0},
    {40, 1, 32, 20, 0},
    {4, 2, 64, 200, 48},
    {4, 4, 32, 130, 1},
    {2, 2, 64, 65, 64},
    {4, 2, 128, 129, 65},
    {2, 1, 32, 540, 0},
    {1, 1, 16, 1060, 520},
    /* What families ask for, one by one: */
    {4, 2, 64, 40, 0, .value_dim = 32},
    {2, 2, 32, 40, 0, .value_dim = 96},
    {5, 1, 96, 40, 0, .value_dim = 64, .values_in_keys = true, .rope_first = 64, .rope_pairs = 16},
    {2, 1, 32, 70, 0, .values_in_keys = true},
    {4, 2, 32, 40, 20, .soft_cap = 5},
    {4, 2, 32, 40, 20, .has_sinks = true},
    {2, 1, 32, 540, 0, .has_sinks = true, .soft_cap = 2},
    {2, 1, 32, 40, 0, .temperature = {0.1f, 16}},
    {4, 2, 64, 40, 0, .pairing = ROPE_HALVES},
    {4, 2, 64, 40, 0, .pairing = ROPE_HALVES, .rope_pairs = 12, .magnitude = 1.3f},
    {2, 1, 48, 40, 0, .pairing = ROPE_HALVES, .rope_first = 16, .rope_pairs = 8},
    {2, 1, 48, 40, 0, .rope_first = 6, .rope_pairs = 5},
    {2, 1, 48, 40, 0, .has_no_rope = true},
    {4, 2, 64, 40, 0, .has_q_norm = true, .has_k_norm = true, .pairing = ROPE_HALVES},
    {4, 2, 64, 40, 0, .has_k_norm = true, .norm_width = 40},
    {4, 2, 64, 40, 0, .has_k_norm = true, .values_from_keys = true, .normalise_values = true},
    {4, 2, 64, 40, 0, .has_k_norm = true, .values_from_keys = true},
    {4, 2, 64, 40, 0, .normalise_values = true, .value_dim = 48},
};

static const float epsilon = 1e-5f;

static size_t value_dim_of(const struct attention_case *c) {
    return c->value_dim == 0 ? c->head_dim : c->value_dim;
}

static size_t pairs_of(const struct attention_case *c) {
    return c->rope_pairs == 0 ? c->head_dim / 2 : c->rope_pairs;
}

static float frequency_of(const struct attention_case *c, size_t pair) {
    return (float)pow(10000, -(double)pair / (double)pairs_of(c));
}

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
    float *q, *k; /* [length][heads or kv_heads][head_dim] */
    float *v;     /* [length][kv_heads][value_dim] */
    float *sinks, *q_norm, *k_norm;
};

static float *random_floats(size_t count) {
    float *values = calloc(count, sizeof *values);
    assert_non_null(values);
    normal_activations(values, count);
    return values;
}

static struct sequence_data random_sequence(const struct attention_case *c) {
    struct sequence_data s = {.c = c};
    s.q = random_floats(c->length * c->heads * c->head_dim);
    s.k = random_floats(c->length * c->kv_heads * c->head_dim);
    s.v = random_floats(c->length * c->kv_heads * value_dim_of(c));
    s.sinks = random_floats(c->heads);
    s.sinks[0] += 20; /* above every score */
    s.q_norm = random_floats(c->head_dim);
    s.k_norm = random_floats(c->head_dim);
    return s;
}

static void free_sequence(struct sequence_data *s) {
    float *all[] = {s->q, s->k, s->v, s->sinks, s->q_norm, s->k_norm};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        free(all[i]);
    }
}

/* ---- by the backend ---- */

/* What a sequence needs of a backend. */
struct run {
    struct backend *backend;
    const struct sequence_data *s;
    struct activation *q, *k, *v, *attended;
    struct kv_cache *kv;
    struct weight *sinks, *q_norm, *k_norm;
    uint32_t tables[2][MAX_BLOCK_TABLE]; /* of the copies; one of them in reverse order */
    float frequencies[64];
    struct rope rope;
};

static struct weight *create_vector(struct backend *backend, bool is_there, const float *values,
                                    size_t count) {
    struct weight_source source = {quant_format_of(TENSOR_F32), values, 1, count};
    struct weight *weight = NULL;
    struct error error = {0};
    assert_true(!is_there ||
                backend->ops->weight_create(backend, &source, WEIGHT_VECTOR, &weight, &error));
    return weight;
}

static void create_run(struct run *r, struct backend *backend, const struct sequence_data *s,
                       const struct attention_form *form, size_t rows) {
    const struct attention_case *c = s->c;
    size_t blocks = size_divide_up(c->length, KV_BLOCK_TOKENS);
    size_t norm_width = c->norm_width == 0 ? c->head_dim : c->norm_width;
    struct error error = {0};
    *r = (struct run){.backend = backend, .s = s};
    r->q = create_activation(backend, rows, c->heads * c->head_dim);
    r->k = create_activation(backend, rows, c->kv_heads * c->head_dim);
    r->v = create_activation(backend, rows, c->kv_heads * value_dim_of(c));
    r->attended = create_activation(backend, rows, c->heads * value_dim_of(c));
    r->sinks = create_vector(backend, c->has_sinks, s->sinks, c->heads);
    r->q_norm = create_vector(backend, c->has_q_norm, s->q_norm, norm_width);
    r->k_norm = create_vector(backend, c->has_k_norm, s->k_norm, norm_width);
    /* The layer before it has another shape: it must be found behind that. */
    const struct kv_layer layers[2] = {
        {3, 40, 24, false}, {c->kv_heads, c->head_dim, value_dim_of(c), c->values_in_keys}};
    struct kv_layout layout = {2, layers, 2 * blocks, form->element, form->grows};
    assert_true(backend->ops->kv_create(backend, &layout, &r->kv, &error));
    assert_true(!form->grows || backend->ops->kv_grow(backend, r->kv, blocks, &error));
    assert_true(!form->grows || backend->ops->kv_grow(backend, r->kv, 2 * blocks, &error));
    assert_true(blocks <= MAX_BLOCK_TABLE);
    for (uint32_t i = 0; i < blocks; i++) {
        r->tables[0][i] = (uint32_t)(2 * blocks) - 1 - i;
        r->tables[1][i] = i;
    }
    for (size_t i = 0; i < pairs_of(c); i++) {
        r->frequencies[i] = frequency_of(c, i);
    }
    r->rope = (struct rope){c->pairing, c->rope_first, pairs_of(c), r->frequencies,
                            c->magnitude == 0 ? 1 : c->magnitude};
}

static void free_run(struct run *r) {
    const struct backend_ops *ops = r->backend->ops;
    struct activation *activations[] = {r->q, r->k, r->v, r->attended};
    struct weight *weights[] = {r->sinks, r->q_norm, r->k_norm};
    for (size_t i = 0; i < 4; i++) {
        ops->activation_free(r->backend, activations[i]);
    }
    for (size_t i = 0; i < 3; i++) {
        if (weights[i] != NULL) {
            ops->weight_free(r->backend, weights[i]);
        }
    }
    ops->kv_free(r->backend, r->kv);
}

/* Rows [at, at + rows) of the sequence, as often as there are copies. */
static void write_rows(const struct run *r, struct activation *to, const float *from, size_t width,
                       size_t at, size_t rows, size_t copies) {
    float *wide = calloc(copies * rows * width, sizeof *wide);
    assert_non_null(wide);
    for (size_t copy = 0; copy < copies; copy++) {
        memcpy(wide + copy * rows * width, from + at * width, rows * width * sizeof *wide);
    }
    r->backend->ops->activation_write(r->backend, to, copies * rows, wide);
    free(wide);
}

static void run_step(struct run *r, const struct batch *batch) {
    const struct attention_case *c = r->s->c;
    const struct backend_ops *ops = r->backend->ops;
    const struct attention_input input = {
        .q = r->q,
        .k = r->k,
        .v = c->values_in_keys || c->values_from_keys ? NULL : r->v,
        .head_count = c->heads,
        .q_norm = r->q_norm,
        .k_norm = r->k_norm,
        .normalise_values = c->normalise_values,
        .epsilon = epsilon,
        .rope = c->has_no_rope ? NULL : &r->rope,
        .temperature = c->temperature,
    };
    const struct attention_shape shape = {
        .head_count = c->heads,
        .kv_head_count = c->kv_heads,
        .key_dim = c->head_dim,
        .value_dim = value_dim_of(c),
        .scale = 1.0f / sqrtf((float)c->head_dim),
        .window = c->window,
        .soft_cap = c->soft_cap,
        .sinks = r->sinks,
    };
    ops->step_begin(r->backend, batch, &r->rope, 1);
    ops->attention_input(r->backend, &input, r->kv, 1);
    ops->attention(r->backend, r->q, r->kv, 1, &shape, r->attended);
    ops->step_end(r->backend);
}

/* Runs the sequence in steps of `chunk` rows, beside a second span with the same rows when `twice`.
 * out [length][heads][value_dim]. */
static void run_attention(struct backend *backend, const struct sequence_data *s,
                          const struct attention_form *form, size_t chunk, bool twice, float *out) {
    const struct attention_case *c = s->c;
    size_t width = c->heads * value_dim_of(c), copies = twice ? 2 : 1;
    struct run r;
    create_run(&r, backend, s, form, 2 * chunk);
    float *wide = calloc(2 * chunk * width, sizeof *wide);
    for (size_t at = 0; at < c->length; at += chunk) {
        size_t rows = size_min(chunk, c->length - at);
        struct batch_span spans[2] = {{0, rows, at, r.tables[0]}, {rows, rows, at, r.tables[1]}};
        struct batch batch = {.row_count = copies * rows, .span_count = copies, .spans = spans};
        write_rows(&r, r.q, s->q, c->heads * c->head_dim, at, rows, copies);
        write_rows(&r, r.k, s->k, c->kv_heads * c->head_dim, at, rows, copies);
        write_rows(&r, r.v, s->v, c->kv_heads * value_dim_of(c), at, rows, copies);
        run_step(&r, &batch);
        backend->ops->activation_read(backend, r.attended, copies * rows, wide);
        memcpy(out + at * width, wide + (copies - 1) * rows * width, rows * width * sizeof *out);
    }
    free(wide);
    free_run(&r);
}

/* ---- by definition ---- */

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

/* In place: the first `count` values by their root mean square; weight NULL: ones. */
static void define_norm(float *values, const float *weight, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += (double)values[i] * (double)values[i];
    }
    float factor = (float)(1 / sqrt(sum / (double)count + (double)epsilon));
    for (size_t i = 0; i < count; i++) {
        values[i] = values[i] * factor * (weight == NULL ? 1 : weight[i]);
    }
}

static void define_rotation(const struct attention_case *c, float *head, size_t position) {
    size_t pairs = c->has_no_rope ? 0 : pairs_of(c);
    float magnitude = c->magnitude == 0 ? 1 : c->magnitude;
    for (size_t p = 0; p < pairs; p++) {
        double angle = (double)position * (double)frequency_of(c, p);
        float cosine = (float)cos(angle) * magnitude, sine = (float)sin(angle) * magnitude;
        bool is_halves = c->pairing == ROPE_HALVES;
        float *first = head + c->rope_first + (is_halves ? p : 2 * p);
        float *second = is_halves ? first + pairs : first + 1;
        float a = *first, b = *second;
        *first = a * cosine - b * sine;
        *second = a * sine + b * cosine;
    }
}

/* One head's queries [length][head_dim], and keys and values as the cache holds them. */
struct head_data {
    float *q, *k, *v;
};

static void define_head(const struct sequence_data *s, enum kv_element element, size_t head,
                        const struct head_data *out) {
    const struct attention_case *c = s->c;
    size_t dim = c->head_dim, values = value_dim_of(c), kv_head = head / (c->heads / c->kv_heads);
    size_t norm_width = c->norm_width == 0 ? dim : c->norm_width;
    for (size_t row = 0; row < c->length; row++) {
        float *q = out->q + row * dim, *k = out->k + row * dim, *v = out->v + row * values;
        memcpy(q, s->q + (row * c->heads + head) * dim, dim * sizeof *q);
        memcpy(k, s->k + (row * c->kv_heads + kv_head) * dim, dim * sizeof *k);
        memcpy(v, c->values_from_keys ? k : s->v + (row * c->kv_heads + kv_head) * values,
               values * sizeof *v);
        if (c->normalise_values) {
            define_norm(v, NULL, values);
        }
        if (c->has_q_norm) {
            define_norm(q, s->q_norm, norm_width);
        }
        if (c->has_k_norm) {
            define_norm(k, s->k_norm, norm_width);
        }
        define_rotation(c, q, row);
        define_rotation(c, k, row);
        if (c->temperature.scale != 0) {
            double times = floor((double)row / (double)c->temperature.length);
            for (size_t d = 0; d < dim; d++) {
                q[d] *= (float)(1 + (double)c->temperature.scale * log(1 + times));
            }
        }
        round_as_stored(element, k, dim);
        round_as_stored(element, v, values);
        if (c->values_in_keys) {
            memcpy(v, k, values * sizeof *v);
        }
    }
}

/* softmax [first, row] → weights; a sink takes its share. */
static void define_weights(const struct sequence_data *s, const struct head_data *h, size_t head,
                           size_t row, size_t first, double *weights) {
    const struct attention_case *c = s->c;
    double sink = c->has_sinks ? (double)s->sinks[head] : -INFINITY, maximum = sink;
    for (size_t t = first; t <= row; t++) {
        weights[t] = 0;
        for (size_t d = 0; d < c->head_dim; d++) {
            weights[t] += (double)h->q[row * c->head_dim + d] * (double)h->k[t * c->head_dim + d] /
                          sqrt((double)c->head_dim);
        }
        if (c->soft_cap != 0) {
            weights[t] = (double)c->soft_cap * tanh(weights[t] / (double)c->soft_cap);
        }
        maximum = fmax(maximum, weights[t]);
    }
    double sum = c->has_sinks ? exp(sink - maximum) : 0;
    for (size_t t = first; t <= row; t++) {
        weights[t] = exp(weights[t] - maximum);
        sum += weights[t];
    }
    for (size_t t = first; t <= row; t++) {
        weights[t] /= sum;
    }
}

/* Attention by its definition, in double, with keys and values rounded as the cache holds them. */
static void defined_attention(const struct sequence_data *s, enum kv_element element, float *out) {
    const struct attention_case *c = s->c;
    size_t dim = c->head_dim, values = value_dim_of(c);
    double *weights = calloc(c->length, sizeof *weights);
    const struct head_data h = {calloc(c->length * dim, sizeof(float)),
                                calloc(c->length * dim, sizeof(float)),
                                calloc(c->length * values, sizeof(float))};
    for (size_t head = 0; head < c->heads; head++) {
        define_head(s, element, head, &h);
        for (size_t row = 0; row < c->length; row++) {
            size_t first = c->window != 0 && row + 1 > c->window ? row + 1 - c->window : 0;
            define_weights(s, &h, head, row, first, weights);
            for (size_t d = 0; d < values; d++) {
                double value = 0;
                for (size_t t = first; t <= row; t++) {
                    value += weights[t] * (double)h.v[t * values + d];
                }
                out[(row * c->heads + head) * values + d] = (float)value;
            }
        }
    }
    free(weights);
    free(h.q);
    free(h.k);
    free(h.v);
}

/* A norm's last bit may decide between two steps of what the cache holds. */
static double bound_of(const struct attention_case *c, enum kv_element element) {
    static const double steps[] = {
        [KV_ELEMENT_F16] = 2e-3, [KV_ELEMENT_Q8_0] = 3e-2, [KV_ELEMENT_F32] = 2e-5};
    return c->has_k_norm || c->normalise_values ? steps[element] : 2e-5;
}

static void check_definition(const struct attention_form *form, size_t index) {
    struct sequence_data s = random_sequence(&attention_cases[index]);
    size_t count = s.c->length * s.c->heads * value_dim_of(s.c);
    float *want = calloc(count, sizeof *want), *got = calloc(count, sizeof *got);
    defined_attention(&s, form->element, want);
    for (size_t set = 0; cpu_kernels_offered(set) != NULL; set++) {
        const char *kernels = cpu_kernels_offered(set);
        struct backend *backend = create_backend_with(2, kernels, form->plain);
        run_attention(backend, &s, form, s.c->length, false, got);
        for (size_t j = 0; j < count; j++) {
            if (!(fabs((double)want[j] - (double)got[j]) <= bound_of(s.c, form->element))) {
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
    size_t count = s.c->length * s.c->heads * value_dim_of(s.c);
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

/* Emulated or sanitized, each sequence in two of the forms: tiled and plain. Emulated, short ones
 * only. */
static bool is_left_out(size_t form, size_t index) {
    return ((IS_EMULATED || IS_SANITIZED) && index % 3 != form % 3) ||
           (IS_EMULATED && attention_cases[index].length > 200);
}

static void for_each_attention(void (*check)(const struct attention_form *form, size_t index)) {
    for (size_t f = 0; f < sizeof attention_forms / sizeof attention_forms[0]; f++) {
        for (size_t i = 0; i < sizeof attention_cases / sizeof attention_cases[0]; i++) {
            if (!is_left_out(f, i)) {
                check(&attention_forms[f], i);
            }
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
    const struct kv_layer layer = {2, 80, 80, false};
    const struct kv_layer layers[] = {layer, layer, layer};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct kv_layout layout = {3, layers, 1, rows[i].element, false};
        size_t bytes = 0;
        enum kv_element named = KV_ELEMENT_COUNT;
        assert_true(kv_block_bytes(&layout, &bytes));
        assert_int_equal(bytes, rows[i].bytes);
        assert_true(kv_element_of_name(kv_element_name(rows[i].element), &named));
        assert_int_equal(named, rows[i].element);
    }
    const struct kv_layer huge = {SIZE_MAX / 4, 80, 80, false};
    struct kv_layout endless = {1, &huge, 1, KV_ELEMENT_F16, false};
    size_t bytes;
    enum kv_element named;
    assert_false(kv_block_bytes(&endless, &bytes));
    assert_false(kv_element_of_name("q4_0", &named));
}

int main(void) {
    random_seed(&rng, 20240607);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_agrees_with_its_definition),
        cmocka_unit_test(attention_does_not_depend_on_chunks_or_batch),
        cmocka_unit_test(a_block_costs_what_its_elements_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
