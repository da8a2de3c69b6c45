/*
 * test_ngram_draft.c - prompt-lookup drafts: what is guessed, and when guessing stops and resumes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"
#include "engine/ngram_draft.h"

#include <stdlib.h>
#include <string.h>

struct guess_case {
    const char *name;
    size_t count, limit;
    int32_t tokens[16];
    size_t expected_count;
    int32_t expected[16];
};

static const struct guess_case guess_cases[] = {
    {"one token", 1, 4, {5}, 0, {0}},
    {"nothing repeats", 6, 4, {1, 2, 3, 4, 5, 6}, 0, {0}},
    {"one token alone is no match", 4, 4, {1, 2, 3, 1}, 0, {0}},
    {"two tokens are", 6, 3, {1, 2, 8, 9, 1, 2}, 3, {8, 9, 1}},
    {"the latest of equal length",
     10,
     1,
     {1, 2, 3, 0, 1, 2, 4, 0, 1, 2}, /* 0 1 2 comes before 4 */
     1,
     {4}},
    {"a longer match beats a later one", 11, 1, {7, 1, 2, 3, 9, 1, 2, 4, 7, 1, 2}, 1, {3}},
    {"a repeated token goes on", 3, 5, {6, 6, 6}, 5, {6, 6, 6, 6, 6}},
    {"a period of three goes on", 6, 7, {1, 2, 3, 1, 2, 3}, 7, {1, 2, 3, 1, 2, 3, 1}},
    {"limit 0", 6, 0, {1, 2, 8, 9, 1, 2}, 0, {0}},
};

static void the_latest_longest_match_is_continued(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof guess_cases / sizeof guess_cases[0]; i++) {
        const struct guess_case *row = &guess_cases[i];
        struct ngram_draft draft;
        int32_t guesses[NGRAM_DRAFT_MAX];
        ngram_draft_init(&draft);
        size_t count = ngram_draft_propose(&draft, row->tokens, row->count, row->limit, guesses);
        if (count != row->expected_count ||
            memcmp(guesses, row->expected, count * sizeof *guesses) != 0) {
            fail_msg("%s: %zu guesses, the first %d; expected %zu, %d", row->name, count,
                     count > 0 ? guesses[0] : -1, row->expected_count, row->expected[0]);
        }
    }
}

/* The match against its definition: no place matches longer, none as long comes later. */
static void random_texts_are_matched_by_definition(void **state) {
    (void)state;
    struct random_state random;
    random_seed(&random, 31);
    size_t matched = 0;
    for (int round = 0; round < 5000; round++) {
        int32_t tokens[60];
        size_t count = 1 + random_next(&random) % 60;
        for (size_t i = 0; i < count; i++) {
            tokens[i] = (int32_t)(random_next(&random) % 4);
        }
        size_t best = 0, best_length = 0;
        for (size_t end = 1; end < count; end++) {
            for (size_t length = 2; length <= 4 && length <= end; length++) {
                if (length >= best_length && memcmp(tokens + end - length, tokens + count - length,
                                                    length * sizeof *tokens) == 0) {
                    best = end;
                    best_length = length;
                }
            }
        }
        struct ngram_draft draft;
        int32_t guess;
        ngram_draft_init(&draft);
        assert_int_equal(ngram_draft_propose(&draft, tokens, count, 1, &guess), best > 0);
        if (best > 0) {
            assert_int_equal(guess, tokens[best]);
            matched++;
        }
    }
    assert_true(matched > 3000);
}

struct text {
    int32_t tokens[4000];
    size_t count;
    struct ngram_draft draft;
    size_t proposed, accepted;
    size_t limit; /* guesses verified at most, as when a step has no room for more */
};

/* Generates to `count` tokens as an engine would: a draft is accepted as far as it is right, and
 * one token more comes with it. period > 0: the text repeats; 0: it is noise with frequent false
 * matches. */
static void generate(struct text *text, size_t count, size_t period, struct random_state *random) {
    int32_t next[NGRAM_DRAFT_MAX + 1], guesses[NGRAM_DRAFT_MAX];
    while (text->count < count) {
        size_t taken = ngram_draft_propose(&text->draft, text->tokens, text->count, 8, guesses);
        size_t right = 0;
        taken = taken < text->limit ? taken : text->limit;
        for (size_t i = 0; i <= taken; i++) {
            size_t at = text->count + i;
            next[i] = period > 0 ? (int32_t)(at % period) : (int32_t)(random_next(random) % 3);
            if (right == i && i < taken && next[i] == guesses[i]) {
                right++;
            }
        }
        text->proposed += taken;
        text->accepted += right;
        memcpy(text->tokens + text->count, next, (right + 1) * sizeof *next);
        text->count += right + 1;
    }
}

static void guessing_stops_when_it_does_not_pay_and_resumes_when_it_would(void **state) {
    (void)state;
    struct random_state random;
    random_seed(&random, 32);
    struct text *text = calloc(1, sizeof *text);
    ngram_draft_init(&text->draft);
    text->count = 1;
    text->limit = 8;
    generate(text, 500, 50, &random);
    assert_false(text->draft.off);
    assert_true(text->accepted == text->proposed && text->accepted > 300);
    /* Noise: a few guesses until the mean is below 0.3, then none. */
    size_t before = text->proposed;
    generate(text, 700, 0, &random);
    assert_true(text->draft.off);
    assert_in_range(text->proposed - before, 8, 200);
    before = text->proposed;
    generate(text, 1700, 0, &random);
    assert_int_equal(text->proposed, before);
    /* Worth it again: back within a dozen guesses that came true unseen. */
    generate(text, 2200, 50, &random);
    assert_false(text->draft.off);
    assert_true(text->proposed - before > 200);
    free(text);
}

/* Guesses that are right as far as they were verified are right. */
static void guesses_cut_short_do_not_count_as_wrong(void **state) {
    (void)state;
    struct random_state random;
    random_seed(&random, 33);
    struct text *text = calloc(1, sizeof *text);
    ngram_draft_init(&text->draft);
    text->count = 1;
    text->limit = 1;
    generate(text, 1000, 20, &random);
    assert_false(text->draft.off);
    assert_true(text->draft.share > 0.99);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_latest_longest_match_is_continued),
        cmocka_unit_test(random_texts_are_matched_by_definition),
        cmocka_unit_test(guessing_stops_when_it_does_not_pay_and_resumes_when_it_would),
        cmocka_unit_test(guesses_cut_short_do_not_count_as_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
