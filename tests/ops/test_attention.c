/*
 * test_attention.c - attention, rotary embedding and the KV cache: every kernel set against the
 * definition in f64 (bound 2e-5), and against itself under other chunks, batches and thread counts,
 * where the result must be the same bit for bit.
 */
#include "ops_harness.h"

enum { MAX_BLOCK_TABLE = 128 };

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
    const struct kv_layer layer = {c->kv_heads, c->head_dim, c->head_dim, false};
    const struct kv_layer layers[2] = {layer, layer};
    struct kv_layout layout = {2, layers, 2 * blocks, form->element, form->grows};
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
    struct rope rope = {ROPE_INTERLEAVED, 0, c->head_dim / 2, frequencies, 1};
    struct attention_input input = {.q = q, .k = k, .v = v, .head_count = c->heads, .rope = &rope};
    struct attention_shape shape = {.head_count = c->heads,
                                    .kv_head_count = c->kv_heads,
                                    .key_dim = c->head_dim,
                                    .value_dim = c->head_dim,
                                    .scale = 1.0f / sqrtf((float)c->head_dim),
                                    .window = c->window};
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
        ops->step_begin(backend, &batch, &rope, 1);
        ops->attention_input(backend, &input, kv, 1);
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
