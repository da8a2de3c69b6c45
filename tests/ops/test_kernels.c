/*
 * test_kernels.c - every set's kernels by themselves, where an op would hide what they do: the
 * encoding of activations and the packing of weights against the reference bit for bit, the
 * exponential's range and its last lanes against the definition in f64.
 */
#include "ops_harness.h"

#include "backend/cpu/cpu.h"

typedef void (*kernel_check)(const struct cpu_kernels *kernels);

static void for_each_set(kernel_check check) {
    for (size_t set = 0; cpu_kernels_offered(set) != NULL; set++) {
        struct error error = {0};
        check(cpu_kernels_choose(cpu_kernels_offered(set), &error));
    }
}

/* ---- encoding ---- */

enum { COLUMNS = 512 };

/* Half a step between two quants, for each of them: with 127 as the largest a step is 1. */
static void half_steps(float *x) {
    for (size_t i = 0; i < COLUMNS; i++) {
        x[i] = i % 32 == 7 ? -127.0f : (float)(i % 253) - 126.0f + 0.5f;
    }
}

static void check_encoding(const struct cpu_kernels *kernels, const float *x) {
    struct q8_block32 want32[COLUMNS / 32], got32[COLUMNS / 32];
    struct q8_block256 want256[COLUMNS / 256], got256[COLUMNS / 256];
    memset(want256, 0, sizeof want256); /* their padding is nobody's */
    memset(got256, 0, sizeof got256);
    cpu_kernels_portable.encode_q8_32(x, COLUMNS, want32);
    cpu_kernels_portable.encode_q8_256(x, COLUMNS, want256);
    kernels->encode_q8_32(x, COLUMNS, got32);
    kernels->encode_q8_256(x, COLUMNS, got256);
    assert_memory_equal(want32, got32, sizeof want32);
    assert_memory_equal(want256, got256, sizeof want256);
}

static void check_encodings(const struct cpu_kernels *kernels) {
    static float x[COLUMNS];
    half_steps(x);
    check_encoding(kernels, x);
    for (float scale = 1e-30f; scale < 1e35f; scale *= 1e15f) {
        normal_activations(x, COLUMNS);
        memset(x, 0, 32 * sizeof *x);
        for (size_t i = 0; i < COLUMNS; i++) {
            x[i] *= scale;
        }
        check_encoding(kernels, x);
    }
}

static void encoding_gives_the_bits_of_the_reference(void **state) {
    (void)state;
    for_each_set(check_encodings);
}

/* ---- packing ---- */

/* From the second block on, so that floats end with columns by themselves; the last panel has two
 * rows. */
static void check_packing(const struct cpu_kernels *kernels) {
    enum { ROWS = 2 * PANEL_ROWS + 2, FLOATS = PANEL_ROWS * COLUMNS };
    static uint8_t data[ROWS * COLUMNS * sizeof(float)];
    static uint8_t want[FLOATS * sizeof(float)], got[FLOATS * sizeof(float)];
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)random_next(&rng);
    }
    for (uint32_t type = 0; type <= TENSOR_BF16; type++) {
        const struct quant_format *format = quant_format_of(type);
        if (format == NULL || kernels->matmul(format->type)->layout.block_values == 0) {
            continue; /* the portable set packs nothing */
        }
        size_t blocks = COLUMNS / format->block_values;
        const struct cpu_weight weight = {.kernel = kernels->matmul(format->type),
                                          .format = format,
                                          .data = data,
                                          .rows = ROWS,
                                          .columns = COLUMNS,
                                          .row_bytes = blocks * format->block_bytes};
        for (size_t panel = 0; panel < 3; panel++) {
            memset(want, 0x5a, sizeof want);
            memset(got, 0x5a, sizeof got);
            portable_pack_blocks(&weight, panel, 1, blocks - 1, want);
            kernels->pack_blocks(&weight, panel, 1, blocks - 1, got);
            if (memcmp(want, got, sizeof want) != 0) {
                fail_msg("%s (%s kernels): panel %zu is packed otherwise", format->name,
                         kernels->name, panel);
            }
        }
    }
}

static void packing_gives_the_bytes_of_the_reference(void **state) {
    (void)state;
    for_each_set(check_packing);
}

/* ---- the exponential ---- */

static void assert_close(const char *kernels, const char *what, double at, double want, double got,
                         double least) {
    if (!(fabs(want - got) <= 1e-6 * fabs(want) + least)) {
        fail_msg("%s (%s kernels) of %.9g: expected %.9g, got %.9g", what, kernels, at, want, got);
    }
}

/* Each gate's function in f64. */
static double defined_gate(const struct gate *gate, double g, double u) {
    double clamped = fmin(g, (double)gate->limit);
    switch (gate->function) {
    case GATE_SILU:
        return g / (1 + exp(-g)) * u;
    case GATE_GELU_TANH:
        return 0.5 * g * (1 + tanh(sqrt(2 / acos(-1)) * (g + 0.044715 * g * g * g))) * u;
    case GATE_GELU_ERF:
        return 0.5 * g * (1 + erf(g / sqrt(2))) * u;
    default:
        return clamped / (1 + exp(-(double)gate->alpha * clamped)) *
               (fmax(fmin(u, (double)gate->limit), -(double)gate->limit) + 1);
    }
}

static void check_gate(const struct cpu_kernels *kernels, enum gate_function function) {
    enum { COUNT = 4096 };
    static const char *const names[] = {"silu", "gelu with tanh", "gelu", "clamped"};
    const struct gate gate = {function, 1.702f, 7};
    static float x[COUNT], g[COUNT], up[COUNT];
    normal_activations(up, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        x[i] = g[i] = ((float)i - COUNT / 2) / 16; /* -128 … 128: past both ends of exp */
        up[i] *= i % 3 == 0 ? 8 : 1;
    }
    x[0] = g[0] = -1e30f;
    x[1] = g[1] = 1e30f;
    g[2] = NAN;
    kernels->gates[function](&gate, g, up, COUNT);
    assert_true(isnan(g[2]) || function == GATE_CLAMPED); /* a limit may take its place */
    for (size_t i = 0; i < COUNT; i++) {
        double want = defined_gate(&gate, (double)x[i], (double)up[i]);
        if (i != 2) {
            /* Where exp has become 0; where 1 + erf of f32 cancels, and exp's argument is rounded.
             */
            double least = (function == GATE_SILU ? 1e-36 : 1e-6) * fmax(1, fabs((double)up[i]));
            assert_close(kernels->name, names[function], (double)x[i], want, (double)g[i], least);
        }
    }
}

static void check_gates(const struct cpu_kernels *kernels) {
    for (int function = 0; function < GATE_FUNCTIONS; function++) {
        check_gate(kernels, (enum gate_function)function);
    }
}

static void gates_agree_with_their_definitions(void **state) {
    (void)state;
    for_each_set(check_gates);
}

static void check_largest(const struct cpu_kernels *kernels) {
    enum { MOST = 70 };
    float scores[MOST + 1];
    for (size_t count = 0; count <= MOST; count++) {
        for (size_t at = 0; at < count; at++) {
            for (size_t i = 0; i < count; i++) {
                scores[i] = (i + at) % 5 == 2   ? NAN
                            : (i + at) % 5 == 3 ? -INFINITY
                                                : (float)-(int)i;
            }
            scores[at] = 3;
            scores[count] = 42; /* not this kernel's */
            assert_true(kernels->largest(scores, count, -7) == 3);
            assert_true(kernels->largest(scores, count, 3.5f) == 3.5f);
        }
        for (size_t i = 0; i < count; i++) {
            scores[i] = i % 2 == 0 ? NAN : -INFINITY;
        }
        scores[count] = 42;
        assert_true(kernels->largest(scores, count, -INFINITY) == -INFINITY);
    }
}

static void largest_is_the_largest(void **state) {
    (void)state;
    for_each_set(check_largest);
}

static void check_exp_sum(const struct cpu_kernels *kernels) {
    enum { MOST = 70 };
    const float maximum = 8;
    float x[MOST + 1], scores[MOST + 1];
    for (size_t count = 1; count <= MOST; count++) {
        for (size_t i = 0; i < count; i++) { /* some below the range of exp */
            x[i] = i % 7 == 3 ? -INFINITY : maximum - (float)fabs(30 * normal());
        }
        x[count] = 42; /* not this kernel's */
        memcpy(scores, x, sizeof scores);
        double sum = 0, got = (double)kernels->exp_sum(scores, count, maximum);
        for (size_t i = 0; i < count; i++) {
            double want = exp((double)(x[i] - maximum));
            assert_close(kernels->name, "exp", (double)x[i], want, (double)scores[i], 1e-37);
            sum += want;
        }
        assert_close(kernels->name, "the sum", (double)count, sum, got, 1e-37);
        assert_true(scores[count] == 42);
    }
}

static void exp_sum_agrees_with_its_definition(void **state) {
    (void)state;
    for_each_set(check_exp_sum);
}

int main(void) {
    random_seed(&rng, 20240607);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encoding_gives_the_bits_of_the_reference),
        cmocka_unit_test(packing_gives_the_bytes_of_the_reference),
        cmocka_unit_test(gates_agree_with_their_definitions),
        cmocka_unit_test(largest_is_the_largest),
        cmocka_unit_test(exp_sum_agrees_with_its_definition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
