/*
 * test_grammar_draw.c - drawing under a grammar is drawing from the distribution of the allowed
 * tokens, and a single token is judged as the mask of all judges it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../text/tokenizer/tiny_vocabulary.h"
#include "base/random.h"
#include "engine/grammar_draw.h"

#include <math.h>
#include <string.h>

enum { DRAWS = 20000 };

struct fixture {
    struct tokenizer *tokenizer;
    struct grammar_cache *cache;
    struct grammar_matcher *matcher;
    size_t vocabulary;
    int32_t end, bx; /* a control token, and two bytes in one */
};

static void set_up(struct fixture *f, const char *gbnf) {
    struct tiny_vocabulary tiny;
    struct error error = {0};
    struct grammar *grammar = NULL;
    tiny_byte_level(&tiny, "gpt-2");
    f->end = tiny_add(&tiny, "<end>", TOKEN_CONTROL, 0);
    tiny_add(&tiny, "<call>", TOKEN_CONTROL, 0);
    tiny_add(&tiny, "ab", TOKEN_NORMAL, 0);
    tiny_add(&tiny, "abc", TOKEN_NORMAL, 0);
    f->bx = tiny_add(&tiny, "bx", TOKEN_NORMAL, 0);
    tiny.source.eos = f->end;
    f->tokenizer = tiny_create(&tiny);
    f->vocabulary = tokenizer_vocabulary_size(f->tokenizer);
    assert_true(grammar_cache_create(f->tokenizer, &f->cache, &error));
    if (!grammar_from_gbnf(string_view_of(gbnf), &grammar, &error) ||
        !grammar_matcher_create(f->cache, grammar, &f->matcher, &error)) {
        fail_msg("%s: %s", gbnf, error.message);
    }
    grammar_unref(grammar);
}

static void tear_down(struct fixture *f) {
    grammar_matcher_free(f->matcher);
    grammar_cache_free(f->cache);
    tokenizer_free(f->tokenizer);
}

static bool is_in(const uint64_t *mask, size_t token) {
    return (mask[token / 64] >> (token % 64) & 1) != 0;
}

static void one_token_is_judged_as_the_mask_judges_it(void **state) {
    static const char *const sources[] = {
        "root ::= [a-c]{0,3} (\"x\" | <call> \"y\"){1,2}",
        "root ::= \"a\" root \"b\" | \"é\"?",
        "root ::= ([^a] | \"ab\")*",
    };
    struct random_state random;
    struct error error;
    (void)state;
    random_seed(&random, 3);
    for (size_t round = 0; round < 60; round++) {
        struct fixture f;
        set_up(&f, sources[round % 3]);
        for (size_t step = 0; step < 12 && !grammar_matcher_must_end(f.matcher); step++) {
            uint64_t copy[8] = {0};
            const uint64_t *mask;
            size_t allowed = 0, chosen = 0;
            assert_true(f.vocabulary <= 512 && grammar_matcher_mask(f.matcher, &mask, &error));
            memcpy(copy, mask, (f.vocabulary + 63) / 64 * sizeof *copy);
            for (size_t token = 0; token < f.vocabulary; token++) {
                bool judged = grammar_matcher_allows(f.matcher, (int32_t)token);
                assert_int_equal(judged, is_in(copy, token));
                bool goes_on = judged && (int32_t)token != f.end;
                if (goes_on && random_next(&random) % ++allowed == 0) {
                    chosen = token;
                }
            }
            if (allowed == 0) {
                break;
            }
            assert_true(grammar_matcher_accept(f.matcher, (int32_t)chosen));
        }
        tear_down(&f);
    }
}

/* Likely and unlikely tokens on both sides of what is allowed. */
static void fill_logits(float *logits, size_t count) {
    for (size_t i = 0; i < count; i++) {
        logits[i] = (float)(i * 7919 % 101) * 0.04f - 3;
    }
    logits['z'] = 5; /* what the model wants most is refused */
    logits['b'] = 4;
}

static void greedy_takes_the_likeliest_allowed_token(void **state) {
    struct fixture f;
    struct error error;
    struct sampler *sampler;
    struct sampling_params params = sampling_params_default();
    float logits[512], masked[512];
    int32_t token;
    (void)state;
    set_up(&f, "root ::= [a-d] \"x\"");
    fill_logits(logits, f.vocabulary);
    params.temperature = 0;
    assert_true(sampler_create(&params, f.vocabulary, &sampler, &error));
    assert_true(grammar_draw(sampler, f.matcher, logits, masked, f.vocabulary, &token, &error));
    assert_int_equal(token, 'b');
    logits['b'] = NAN;
    logits['a'] = logits['c'] = logits[f.bx] = -INFINITY;
    logits['d'] = -90;
    assert_true(grammar_draw(sampler, f.matcher, logits, masked, f.vocabulary, &token, &error));
    assert_int_equal(token, 'd');
    for (size_t i = 0; i < f.vocabulary; i++) {
        logits[i] = i == 'z' ? 1 : -INFINITY;
    }
    assert_true(grammar_draw(sampler, f.matcher, logits, masked, f.vocabulary, &token, &error));
    assert_true(grammar_matcher_allows(f.matcher, token));
    sampler_free(sampler);
    tear_down(&f);
}

/* As in test_sampler.c: a fixed seed, and a bound of 6 standard deviations. */
static void plain_draws_have_the_distribution_of_the_allowed_tokens(void **state) {
    struct fixture f;
    struct error error;
    struct sampler *sampler;
    struct sampling_params params = sampling_params_default();
    static const float temperatures[] = {0.7f, 1.0f, 1.6f};
    float logits[512], masked[512];
    (void)state;
    set_up(&f, "root ::= [a-h]+ | \"x\"");
    fill_logits(logits, f.vocabulary);
    for (size_t t = 0; t < 3; t++) {
        double weights[512] = {0}, total = 0, chi_square = 0, cells = 0;
        size_t drawn[512] = {0};
        params.temperature = temperatures[t];
        params.seed = 11 + t;
        assert_true(sampler_create(&params, f.vocabulary, &sampler, &error));
        for (size_t i = 0; i < f.vocabulary; i++) {
            bool allowed = grammar_matcher_allows(f.matcher, (int32_t)i);
            weights[i] = allowed ? exp((double)(logits[i] / params.temperature)) : 0;
            total += weights[i];
        }
        for (size_t i = 0; i < DRAWS; i++) {
            int32_t token;
            assert_true(
                grammar_draw(sampler, f.matcher, logits, masked, f.vocabulary, &token, &error));
            drawn[token]++;
        }
        for (size_t i = 0; i < f.vocabulary; i++) {
            double expected = weights[i] / total * DRAWS, got = (double)drawn[i];
            if (expected == 0) {
                assert_int_equal(drawn[i], 0);
                continue;
            }
            chi_square += (got - expected) * (got - expected) / expected;
            cells++;
        }
        assert_true(cells == 11); /* a to h, x, and the tokens ab and abc */
        assert_true(chi_square < cells - 1 + 6 * sqrt(2 * (cells - 1)));
        sampler_free(sampler);
    }
    tear_down(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_token_is_judged_as_the_mask_judges_it),
        cmocka_unit_test(greedy_takes_the_likeliest_allowed_token),
        cmocka_unit_test(plain_draws_have_the_distribution_of_the_allowed_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
