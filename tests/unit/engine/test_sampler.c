/*
 * test_sampler.c - each stage of the sampler against the obvious slow form of the same rule.
 *
 * The reference works on a sorted copy of the whole vocabulary, in double. A sampler is judged by
 * what it draws: never a token outside the reference's set, and frequencies that a chi-square test
 * of fixed seed accepts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"
#include "engine/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    double logit, score; /* score orders the entries: larger first */
    double probability;
    int32_t token;
};

static int compare_entries(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    if (x->score != y->score) {
        return x->score > y->score ? -1 : 1;
    }
    return x->token < y->token ? -1 : 1;
}

static void sort_by_logit(struct entry *entries, size_t count) {
    for (size_t i = 0; i < count; i++) {
        entries[i].score = entries[i].logit;
    }
    qsort(entries, count, sizeof *entries, compare_entries);
}

/* entries are sorted by logit; probability = softmax(logit / temperature) */
static void softmax(struct entry *entries, size_t count, double temperature) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        double below = entries[i].logit == entries[0].logit
                           ? 0
                           : (entries[i].logit - entries[0].logit) / temperature;
        entries[i].probability = exp(below);
        sum += entries[i].probability;
    }
    for (size_t i = 0; i < count; i++) {
        entries[i].probability /= sum;
    }
}

static size_t cut_at_mass(const struct entry *entries, size_t count, double mass) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += entries[i].probability;
        if (sum >= mass) {
            return i + 1;
        }
    }
    return count;
}

static size_t reference_typical(struct entry *entries, size_t count, double typical_p) {
    softmax(entries, count, 1.0);
    double entropy = 0;
    for (size_t i = 0; i < count; i++) {
        if (entries[i].probability > 0) {
            entropy -= entries[i].probability * log(entries[i].probability);
        }
    }
    for (size_t i = 0; i < count; i++) {
        entries[i].score = -fabs(-log(entries[i].probability) - entropy);
    }
    qsort(entries, count, sizeof *entries, compare_entries);
    count = cut_at_mass(entries, count, typical_p);
    sort_by_logit(entries, count);
    return count;
}

/* The tokens the sampler may draw, with their probabilities; history: what was accepted. */
static size_t reference(const struct sampling_params *params, const float *logits, size_t n,
                        const int32_t *history, size_t history_count, struct entry *entries) {
    for (size_t i = 0; i < n; i++) {
        double logit = isnan(logits[i]) ? -INFINITY : (double)logits[i];
        for (size_t j = 0; j < params->logit_bias_count; j++) {
            if ((size_t)params->logit_bias[j].token == i) {
                logit += (double)params->logit_bias[j].bias;
            }
        }
        size_t window = params->repeat_last_n < 0 ? history_count : (size_t)params->repeat_last_n;
        int occurrences = 0;
        for (size_t j = 0; j < history_count; j++) {
            occurrences += (size_t)history[j] == i && history_count - j <= window;
        }
        if (occurrences > 0) {
            double penalty = (double)params->repeat_penalty;
            logit = logit > 0 ? logit / penalty : logit * penalty;
            logit -= occurrences * (double)params->frequency_penalty;
            logit -= (double)params->presence_penalty;
        }
        entries[i] = (struct entry){.logit = logit, .token = (int32_t)i};
    }
    sort_by_logit(entries, n);
    size_t count = n;
    if (params->temperature == 0.0f) {
        entries[0].probability = 1;
        return 1;
    }
    if (params->top_k > 0 && (size_t)params->top_k < count) {
        count = (size_t)params->top_k;
    }
    if (params->typical_p < 1.0f) {
        count = reference_typical(entries, count, (double)params->typical_p);
    }
    softmax(entries, count, 1.0);
    if (params->top_p < 1.0f) {
        count = cut_at_mass(entries, count, (double)params->top_p);
    }
    for (size_t i = 1; i < count && params->min_p > 0.0f; i++) {
        if (entries[i].probability < (double)params->min_p * entries[0].probability) {
            count = i;
        }
    }
    softmax(entries, count, (double)params->temperature);
    return count;
}

static struct sampler *make(const struct sampling_params *params, size_t n) {
    struct sampler *sampler = NULL;
    struct error error = {0};
    if (!sampler_create(params, n, &sampler, &error)) {
        fail_msg("sampler_create: %s", error.message);
    }
    return sampler;
}

/* Sums of four uniforms: a bell, so that few tokens lead. */
static void random_logits(struct random_state *random, float *logits, size_t n, double spread) {
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (int j = 0; j < 4; j++) {
            sum += random_uniform(random) - 0.5;
        }
        logits[i] = (float)(sum * spread);
    }
}

/*
 * Draws `draws` tokens and compares them with the reference. The seeds are fixed, so the outcome is
 * too: the chi-square bound, 6 standard deviations above its mean, cannot flake; a wrong
 * probability of a few per cent exceeds it.
 */
static void compare_draws(const char *what, const struct sampling_params *params,
                          const float *logits, size_t n, const int32_t *history,
                          size_t history_count, size_t draws) {
    struct entry *entries = calloc(n, sizeof *entries);
    size_t *drawn = calloc(n, sizeof *drawn);
    size_t kept = reference(params, logits, n, history, history_count, entries);
    struct sampler *sampler = make(params, n);
    for (size_t i = 0; i < history_count; i++) {
        sampler_accept(sampler, history[i]);
    }
    for (size_t i = 0; i < draws; i++) {
        int32_t token = sampler_sample(sampler, logits);
        if (token < 0 || (size_t)token >= n) {
            fail_msg("%s: drew %d of %zu tokens", what, token, n);
        }
        drawn[token]++;
    }
    double chi_square = 0, cells = 0, rest_expected = 0, rest_drawn = 0;
    for (size_t i = 0; i < n; i++) {
        double expected = i < kept ? entries[i].probability * (double)draws : 0;
        double got = (double)drawn[entries[i].token];
        if (got > 0 && (i >= kept || entries[i].probability <= 0)) {
            fail_msg("%s: drew token %d, rank %zu, outside the %zu kept", what, entries[i].token, i,
                     kept);
        }
        if (expected < 10) { /* too rare for a cell of its own */
            rest_expected += expected;
            rest_drawn += got;
            continue;
        }
        chi_square += (got - expected) * (got - expected) / expected;
        cells++;
    }
    if (rest_expected >= 10) {
        chi_square += (rest_drawn - rest_expected) * (rest_drawn - rest_expected) / rest_expected;
        cells++;
    }
    double freedom = cells > 1 ? cells - 1 : 0;
    double bound = freedom + 6 * sqrt(2 * freedom) + 6;
    if (chi_square > bound) {
        fail_msg("%s: chi-square %.1f over %.0f cells, bound %.1f", what, chi_square, cells, bound);
    }
    sampler_free(sampler);
    free(entries);
    free(drawn);
}

static const struct logit_bias some_bias[] = {{3, 2.5f}, {7, -INFINITY}, {11, -1.5f}, {3, 0.5f}};

struct stage_case {
    const char *name;
    struct sampling_params params;
};

#define OFF .top_p = 1, .typical_p = 1, .repeat_penalty = 1
static const struct stage_case stage_cases[] = {
    {"greedy", {OFF}},
    {"plain temperature", {.temperature = 0.7f, OFF}},
    {"hot", {.temperature = 5, OFF}},
    {"top-k 1", {.temperature = 1, .top_k = 1, OFF}},
    {"top-k 5", {.temperature = 0.9f, .top_k = 5, OFF}},
    {"top-k past the vocabulary", {.temperature = 1, .top_k = 100000, OFF}},
    {"top-p 0", {.temperature = 1, .top_p = 0, .typical_p = 1, .repeat_penalty = 1}},
    {"top-p 0.5", {.temperature = 1, .top_p = 0.5f, .typical_p = 1, .repeat_penalty = 1}},
    {"top-p 0.95", {.temperature = 1.3f, .top_p = 0.95f, .typical_p = 1, .repeat_penalty = 1}},
    {"min-p 0.1", {.temperature = 1, .min_p = 0.1f, OFF}},
    {"min-p 1", {.temperature = 1, .min_p = 1, OFF}},
    {"typical 0.6", {.temperature = 1, .top_p = 1, .typical_p = 0.6f, .repeat_penalty = 1}},
    {"all narrowing stages",
     {.temperature = 0.8f,
      .top_k = 30,
      .typical_p = 0.95f,
      .top_p = 0.9f,
      .min_p = 0.02f,
      .repeat_penalty = 1}},
    {"typical then top-p, no top-k",
     {.temperature = 1, .typical_p = 0.9f, .top_p = 0.8f, .repeat_penalty = 1}},
    {"logit bias", {.temperature = 1, OFF, .logit_bias_count = 4, .logit_bias = some_bias}},
    {"repetition penalty, 4 back",
     {.temperature = 1, .top_p = 1, .typical_p = 1, .repeat_penalty = 1.7f, .repeat_last_n = 4}},
    {"penalties over all",
     {.temperature = 1,
      .top_p = 0.95f,
      .typical_p = 1,
      .repeat_penalty = 1.2f,
      .frequency_penalty = 0.6f,
      .presence_penalty = -0.4f,
      .repeat_last_n = -1,
      .logit_bias_count = 4,
      .logit_bias = some_bias}},
    {"greedy with penalties and bias",
     {.top_p = 1,
      .typical_p = 1,
      .repeat_penalty = 1.5f,
      .frequency_penalty = 1,
      .repeat_last_n = 20,
      .logit_bias_count = 4,
      .logit_bias = some_bias}},
};
enum { STAGE_CASES = sizeof stage_cases / sizeof stage_cases[0] };

static void every_stage_agrees_with_the_reference(void **state) {
    (void)state;
    static const size_t sizes[] = {12, 31, 300};
    float logits[300];
    int32_t history[12];
    struct random_state random;
    random_seed(&random, 7);
    for (size_t c = 0; c < STAGE_CASES; c++) {
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
            random_logits(&random, logits, sizes[s], 6.0);
            for (size_t i = 0; i < 12; i++) {
                history[i] = (int32_t)(random_next(&random) % 6);
            }
            struct sampling_params params = stage_cases[c].params;
            params.seed = random_next(&random);
            compare_draws(stage_cases[c].name, &params, logits, sizes[s], history, 12, 8000);
        }
    }
}

static void every_stage_agrees_on_ties(void **state) {
    (void)state;
    float logits[300];
    struct random_state random;
    random_seed(&random, 8);
    for (size_t c = 0; c < STAGE_CASES; c++) {
        for (size_t i = 0; i < 300; i++) { /* three levels: every cut falls among equals */
            logits[i] = (float)(random_next(&random) % 3);
        }
        logits[150] = -0.0f;
        struct sampling_params params = stage_cases[c].params;
        params.seed = c;
        compare_draws(stage_cases[c].name, &params, logits, 300, NULL, 0, 4000);
    }
}

static void nan_and_infinity_are_in_order(void **state) {
    (void)state;
    float logits[300];
    struct random_state random;
    random_seed(&random, 9);
    for (size_t c = 0; c < STAGE_CASES; c++) {
        if (stage_cases[c].params.typical_p < 1.0f) {
            continue; /* the entropy of such a distribution is checked for sanity below */
        }
        random_logits(&random, logits, 300, 4.0);
        for (size_t i = 0; i < 300; i += 3) {
            logits[i] = i % 2 == 0 ? NAN : -INFINITY;
        }
        struct sampling_params params = stage_cases[c].params;
        params.seed = c;
        compare_draws(stage_cases[c].name, &params, logits, 300, NULL, 0, 2000);
        logits[100] = logits[200] = INFINITY; /* share the whole mass */
        compare_draws(stage_cases[c].name, &params, logits, 300, NULL, 0, 2000);
    }
}

static void hopeless_logits_still_give_a_token(void **state) {
    (void)state;
    static const float values[] = {NAN, -INFINITY, INFINITY, 0, 3e38f, -3e38f};
    float logits[300];
    for (size_t c = 0; c < STAGE_CASES; c++) {
        for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
            for (size_t mixed = 0; mixed < 2; mixed++) {
                for (size_t i = 0; i < 300; i++) {
                    logits[i] = mixed != 0 && i % 7 == 0 ? NAN : values[v];
                }
                struct sampler *sampler = make(&stage_cases[c].params, 300);
                for (size_t i = 0; i < 50; i++) {
                    int32_t token = sampler_sample(sampler, logits);
                    assert_in_range(token, 0, 299);
                    sampler_accept(sampler, token);
                }
                sampler_free(sampler);
            }
        }
    }
}

static void a_vocabulary_of_131072_keeps_exactly_the_right_set(void **state) {
    (void)state;
    enum { N = 131072 };
    static const struct sampling_params cases[] = {
        {.temperature = 1, .top_k = 40, OFF},
        {.temperature = 50, .top_k = 5000, OFF},
        {.temperature = 1, .top_p = 0.9f, .typical_p = 1, .repeat_penalty = 1},
        {.temperature = 100, .min_p = 0.2f, OFF},
        {.temperature = 1, .top_p = 1, .typical_p = 0.3f, .repeat_penalty = 1},
        {.temperature = 1, OFF},
    };
    static const double spreads[] = {4, 14, 60}; /* flat, like a model's, one token leads */
    float *logits = malloc(N * sizeof *logits);
    struct random_state random;
    random_seed(&random, 10);
    for (size_t s = 0; s < 3; s++) {
        random_logits(&random, logits, N, spreads[s]);
        for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
            compare_draws("large vocabulary", &cases[c], logits, N, NULL, 0, 20);
        }
    }
    free(logits);
}

static void mass_far_below_the_top_is_found(void **state) {
    (void)state;
    enum { N = 5000 };
    float *logits = calloc(N, sizeof *logits);
    struct sampling_params params = sampling_params_default();
    params.top_p = 0.9f;
    for (size_t i = 0; i < N; i++) {
        logits[i] = i < 4900 ? -30.0f : -20.0f; /* 100 tokens share what the leader leaves */
    }
    logits[1234] = -20.0f + 4.0f; /* weighs 55 of 155 */
    compare_draws("shallow", &params, logits, N, NULL, 0, 1000);
    logits[1234] = -30.0f + 9.0f; /* weighs 8103 beside 4999 others of weight 1 */
    for (size_t i = 4900; i < N; i++) {
        logits[i] = -30.0f;
    }
    compare_draws("deep", &params, logits, N, NULL, 0, 1000);
    free(logits);
}

static void equal_logits_are_cut_at_the_exact_mass(void **state) {
    (void)state;
    float logits[512] = {0};
    struct sampling_params params = sampling_params_default();
    for (size_t n = 2; n <= 512; n *= 2) {
        for (float top_p = 0.25f; top_p < 1.0f; top_p += 0.25f) {
            params.top_p = top_p;
            compare_draws("equal", &params, logits, n, NULL, 0, 4000);
        }
    }
}

static void repetition_makes_negative_logits_smaller(void **state) {
    (void)state;
    const float logits[3] = {-1.0f, -1.4f, -1.6f};
    struct sampling_params params = sampling_params_default();
    params.temperature = 0;
    params.repeat_penalty = 1.5f;
    struct sampler *sampler = make(&params, 3);
    sampler_accept(sampler, 0);
    assert_int_equal(sampler_sample(sampler, logits), 1);
    sampler_accept(sampler, 1);
    assert_int_equal(sampler_sample(sampler, logits), 0); /* -1.5, -2.1, -1.6 */
    sampler_free(sampler);
}

static void greedy_takes_the_lowest_of_equals(void **state) {
    (void)state;
    float *logits = malloc(2000 * sizeof *logits);
    struct sampling_params params = sampling_params_default();
    params.temperature = 0;
    for (size_t n = 1; n < 2000; n = n * 3 / 2 + 1) {
        struct sampler *sampler = make(&params, n);
        for (size_t at = 0; at < n; at += n / 50 + 1) {
            for (size_t i = 0; i < n; i++) {
                logits[i] = i < at ? (i % 2 == 0 ? NAN : -5.0f) : -2.0f;
            }
            assert_int_equal(sampler_sample(sampler, logits), at);
        }
        sampler_free(sampler);
    }
    free(logits);
}

static void the_window_forgets_what_is_older(void **state) {
    (void)state;
    struct sampling_params params = sampling_params_default();
    params.temperature = 0;
    params.presence_penalty = 10;
    params.repeat_last_n = 3;
    struct sampler *sampler = make(&params, 5);
    const float logits[5] = {5, 4, 3, 2, 1};
    static const int32_t expected[] = {0, 1, 2, 3, 0, 1, 2, 3, 0};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        assert_int_equal(sampler_sample(sampler, logits), expected[i]);
        sampler_accept(sampler, expected[i]);
    }
    sampler_free(sampler);
}

static void same_seed_same_tokens(void **state) {
    (void)state;
    float logits[500];
    struct random_state random;
    random_seed(&random, 11);
    for (size_t c = 0; c < STAGE_CASES; c++) {
        struct sampling_params params = stage_cases[c].params;
        struct sampling_params other = params;
        params.seed = 1234;
        other.seed = 1235;
        struct sampler *a = make(&params, 500), *b = make(&params, 500), *d = make(&other, 500);
        size_t differ = 0;
        for (size_t i = 0; i < 100; i++) {
            random_logits(&random, logits, 500, 4.0);
            int32_t token = sampler_sample(a, logits);
            assert_int_equal(token, sampler_sample(b, logits));
            differ += token != sampler_sample(d, logits);
            sampler_accept(a, token);
            sampler_accept(b, token);
            sampler_accept(d, token);
        }
        bool can_differ =
            params.temperature > 0 && params.top_k != 1 && params.top_p > 0 && params.min_p < 1;
        assert_int_equal(differ > 0, can_differ);
        sampler_free(a);
        sampler_free(b);
        sampler_free(d);
    }
}

static void extreme_temperatures_stay_in_order(void **state) {
    (void)state;
    float logits[400];
    struct random_state random;
    random_seed(&random, 12);
    random_logits(&random, logits, 400, 8.0);
    size_t best = 0;
    for (size_t i = 1; i < 400; i++) {
        best = logits[i] > logits[best] ? i : best;
    }
    struct sampling_params params = sampling_params_default();
    params.temperature = 1e-45f; /* the smallest there is */
    struct sampler *sampler = make(&params, 400);
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(sampler_sample(sampler, logits), best);
    }
    sampler_free(sampler);
    params.temperature = 3e38f; /* uniform */
    compare_draws("uniform", &params, logits, 400, NULL, 0, 20000);
}

static void logprobs_are_of_the_raw_distribution(void **state) {
    (void)state;
    enum { N = 3000, TOP = 20 };
    float logits[N];
    struct entry entries[N];
    struct token_logprob top[TOP];
    struct random_state random;
    random_seed(&random, 13);
    const struct sampling_params raw = {.temperature = 1, OFF};
    for (size_t round = 0; round < 20; round++) {
        random_logits(&random, logits, N, 3.0 + 10.0 * (double)round);
        for (size_t i = 0; i < N && round % 2 == 1; i++) {
            logits[i] = i % 5 == 0 ? NAN : roundf(logits[i]); /* ties */
        }
        reference(&raw, logits, N, NULL, 0, entries);
        struct sampler *sampler = make(&stage_cases[round % STAGE_CASES].params, N);
        for (size_t i = 0; i < N; i += 97) {
            float got = sampler_logprobs(sampler, logits, entries[i].token, top, TOP);
            double expected = log(entries[i].probability);
            if (isinf(expected) ? entries[i].probability > 0
                                : !(fabs((double)got - expected) <= 1e-6 * (1 - expected))) {
                fail_msg("token %d: %.9g instead of %.9g", entries[i].token, (double)got, expected);
            }
        }
        for (size_t i = 0; i < TOP; i++) {
            assert_int_equal(top[i].token, entries[i].token);
            double expected = log(entries[i].probability);
            assert_true(fabs((double)top[i].logprob - expected) <= 1e-6 * (1 - expected));
        }
        sampler_free(sampler);
    }
}

static void logprobs_past_the_vocabulary_say_so(void **state) {
    (void)state;
    const float logits[3] = {NAN, 1, INFINITY};
    struct token_logprob top[5];
    struct sampling_params params = sampling_params_default();
    struct sampler *sampler = make(&params, 3);
    assert_true(isinf(sampler_logprobs(sampler, logits, 1, top, 5)));
    assert_int_equal(top[0].token, 2);
    assert_true(top[0].logprob == 0.0f);
    assert_int_equal(top[1].token, 1);
    assert_int_equal(top[2].token, 0);
    assert_int_equal(top[3].token, -1);
    assert_int_equal(top[4].token, -1);
    assert_true(sampler_logprobs(sampler, logits, 2, NULL, 0) == 0.0f);
    sampler_free(sampler);
}

static void wrong_parameters_are_named(void **state) {
    (void)state;
    static const struct logit_bias outside[] = {{10, 1}}, negative[] = {{-1, 1}},
                                   not_number[] = {{1, NAN}};
    static const struct stage_case wrong[] = {
        {"temperature is -1; it must be a finite number of at least 0", {.temperature = -1, OFF}},
        {"temperature is nan", {.temperature = NAN, OFF}},
        {"temperature is inf", {.temperature = INFINITY, OFF}},
        {"top_p is 1.5; it must be from 0 to 1", {.top_p = 1.5f, .typical_p = 1}},
        {"top_p is -0.1", {.top_p = -0.1f, .typical_p = 1, .repeat_penalty = 1}},
        {"min_p is 2", {.min_p = 2, OFF}},
        {"typical_p is -1", {.top_p = 1, .typical_p = -1, .repeat_penalty = 1}},
        {"repeat_penalty is 0; it must be a finite number above 0", {.top_p = 1, .typical_p = 1}},
        {"presence_penalty is nan", {.presence_penalty = NAN, OFF}},
        {"frequency_penalty is -inf", {.frequency_penalty = -INFINITY, OFF}},
        {"repeat_last_n is -2; it must be from -1 to 1048576", {.repeat_last_n = -2, OFF}},
        {"repeat_last_n is 2147483647", {.repeat_last_n = INT32_MAX, OFF}},
        {"logit_bias names token 10; tokens are from 0 to 9",
         {OFF, .logit_bias_count = 1, .logit_bias = outside}},
        {"logit_bias names token -1", {OFF, .logit_bias_count = 1, .logit_bias = negative}},
        {"logit_bias of token 1 must be a number",
         {OFF, .logit_bias_count = 1, .logit_bias = not_number}},
        {"logit_bias is missing", {OFF, .logit_bias_count = 1}},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct error error = {0};
        struct sampler *sampler = NULL;
        assert_false(sampler_create(&wrong[i].params, 10, &sampler, &error));
        assert_null(sampler);
        assert_int_equal(error.code, ERROR_INVALID_ARGUMENT);
        if (strncmp(error.message, wrong[i].name, strlen(wrong[i].name)) != 0) {
            fail_msg("'%s' instead of '%s'", error.message, wrong[i].name);
        }
    }
    struct sampling_params good = sampling_params_default();
    assert_true(sampling_params_check(&good, 1, NULL));
    sampler_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_stage_agrees_with_the_reference),
        cmocka_unit_test(every_stage_agrees_on_ties),
        cmocka_unit_test(nan_and_infinity_are_in_order),
        cmocka_unit_test(hopeless_logits_still_give_a_token),
        cmocka_unit_test(a_vocabulary_of_131072_keeps_exactly_the_right_set),
        cmocka_unit_test(mass_far_below_the_top_is_found),
        cmocka_unit_test(equal_logits_are_cut_at_the_exact_mass),
        cmocka_unit_test(repetition_makes_negative_logits_smaller),
        cmocka_unit_test(greedy_takes_the_lowest_of_equals),
        cmocka_unit_test(the_window_forgets_what_is_older),
        cmocka_unit_test(same_seed_same_tokens),
        cmocka_unit_test(extreme_temperatures_stay_in_order),
        cmocka_unit_test(logprobs_are_of_the_raw_distribution),
        cmocka_unit_test(logprobs_past_the_vocabulary_say_so),
        cmocka_unit_test(wrong_parameters_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
