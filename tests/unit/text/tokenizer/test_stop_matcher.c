/* test_stop_matcher.c - stop strings are found whatever pieces the text comes in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"
#include "text/tokenizer/stop_matcher.h"

#include <string.h>

enum { MOST_STOPS = 4 };

struct outcome {
    struct string_buffer text;
    bool matched;
};

/* Pushes the text cut where bit i of `cuts` is set: after byte i. */
static struct outcome run(const char *const *stops, const char *text, uint64_t cuts) {
    struct string_view views[MOST_STOPS];
    size_t count = 0;
    while (stops[count] != NULL) {
        views[count] = string_view_of(stops[count]);
        count++;
    }
    struct stop_matcher matcher = {.stops = views, .stop_count = count};
    struct outcome outcome = {0};
    size_t length = strlen(text);
    size_t from = 0;
    for (size_t i = 0; i < length; i++) {
        if (i + 1 == length || (cuts >> i & 1) != 0) {
            outcome.matched = stop_matcher_push(&matcher, text + from, i + 1 - from, &outcome.text);
            from = i + 1;
        }
    }
    if (!outcome.matched) {
        stop_matcher_finish(&matcher, &outcome.text);
    }
    stop_matcher_deinit(&matcher);
    return outcome;
}

/* The definition, slowly: the first moment a stop string is complete, and the longest of those. */
static size_t first_match(const char *const *stops, const char *text) {
    for (size_t end = 1; end <= strlen(text); end++) {
        size_t start = SIZE_MAX;
        for (size_t i = 0; stops[i] != NULL; i++) {
            size_t length = strlen(stops[i]);
            if (length <= end && memcmp(text + end - length, stops[i], length) == 0 &&
                (start == SIZE_MAX || end - length < start)) {
                start = end - length;
            }
        }
        if (start != SIZE_MAX) {
            return start;
        }
    }
    return SIZE_MAX;
}

static void check(const char *const *stops, const char *text, uint64_t cuts) {
    size_t start = first_match(stops, text);
    size_t kept = start == SIZE_MAX ? strlen(text) : start;
    struct outcome outcome = run(stops, text, cuts);
    if (outcome.matched != (start != SIZE_MAX) || outcome.text.length != kept ||
        (kept > 0 && memcmp(outcome.text.data, text, kept) != 0)) {
        fail_msg("'%s' cut at %llx: expected %.*s, came %s", text, (unsigned long long)cuts,
                 (int)kept, text, string_buffer_text(&outcome.text));
    }
    string_buffer_deinit(&outcome.text);
}

static void every_way_to_cut_the_text_gives_the_same(void **state) {
    (void)state;
    static const char *const stops[] = {"abc", "bcd", "cc", NULL};
    static const char *const texts[] = {"xabcx", "ababcd", "abab", "xbcdab",
                                        "cabcc", "ab",     "c",    "accb"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        for (uint64_t cuts = 0; cuts < (uint64_t)1 << strlen(texts[i]); cuts++) {
            check(stops, texts[i], cuts);
        }
    }
}

static void random_texts_of_two_letters_agree_with_the_definition(void **state) {
    (void)state;
    struct random_state random;
    random_seed(&random, 4);
    for (int round = 0; round < 20000; round++) {
        char letters[MOST_STOPS - 1][8] = {{0}};
        const char *stops[MOST_STOPS] = {NULL};
        for (size_t i = 0; i + 1 < MOST_STOPS; i++) {
            size_t length = 2 + random_next(&random) % 5;
            for (size_t j = 0; j < length; j++) {
                letters[i][j] = random_next(&random) % 2 == 0 ? 'a' : 'b';
            }
            stops[i] = letters[i];
        }
        char text[21] = {0};
        for (size_t i = 0; i < sizeof text - 1; i++) {
            text[i] = random_next(&random) % 2 == 0 ? 'a' : 'b';
        }
        text[random_next(&random) % sizeof text] = '\0';
        check(stops, text, random_next(&random));
    }
}

static void only_what_could_become_a_stop_string_is_held_back(void **state) {
    (void)state;
    struct string_view stop = string_view_of("STOP now");
    struct stop_matcher matcher = {.stops = &stop, .stop_count = 1};
    struct string_buffer out = {0};
    assert_false(stop_matcher_push(&matcher, "go on S", 7, &out));
    assert_string_equal(string_buffer_text(&out), "go on ");
    assert_false(stop_matcher_push(&matcher, "TOP", 3, &out));
    assert_string_equal(string_buffer_text(&out), "go on ");
    assert_false(stop_matcher_push(&matcher, "", 0, &out));
    assert_false(stop_matcher_push(&matcher, " never S", 8, &out));
    assert_string_equal(string_buffer_text(&out), "go on STOP never ");
    stop_matcher_finish(&matcher, &out);
    assert_string_equal(string_buffer_text(&out), "go on STOP never S");
    stop_matcher_deinit(&matcher);
    string_buffer_deinit(&out);
}

static void after_a_match_nothing_comes_out(void **state) {
    (void)state;
    struct string_view stop = string_view_of("</s>");
    struct stop_matcher matcher = {.stops = &stop, .stop_count = 1};
    struct string_buffer out = {0};
    assert_true(stop_matcher_push(&matcher, "a</s>b", 6, &out));
    assert_true(stop_matcher_push(&matcher, "c", 1, &out));
    stop_matcher_finish(&matcher, &out);
    assert_string_equal(string_buffer_text(&out), "a");
    stop_matcher_deinit(&matcher);
    string_buffer_deinit(&out);
}

static void without_stop_strings_text_passes_through(void **state) {
    (void)state;
    struct stop_matcher matcher = {0};
    struct string_buffer out = {0};
    assert_false(stop_matcher_push(&matcher, "anything", 8, &out));
    assert_string_equal(string_buffer_text(&out), "anything");
    stop_matcher_finish(&matcher, &out);
    assert_string_equal(string_buffer_text(&out), "anything");
    stop_matcher_deinit(&matcher);
    string_buffer_deinit(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way_to_cut_the_text_gives_the_same),
        cmocka_unit_test(random_texts_of_two_letters_agree_with_the_definition),
        cmocka_unit_test(only_what_could_become_a_stop_string_is_held_back),
        cmocka_unit_test(after_a_match_nothing_comes_out),
        cmocka_unit_test(without_stop_strings_text_passes_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
