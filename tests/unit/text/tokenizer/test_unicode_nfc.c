/* test_unicode_nfc.c - normalization form C: utf8proc's own result, without its quadratic time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/random.h"
#include "base/utf8.h"
#include "text/tokenizer/unicode_nfc.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static void expect(const char *text, const char *expected) {
    struct string_buffer out = {0};
    assert_true(unicode_nfc(text, strlen(text), &out, NULL));
    assert_string_equal(string_buffer_text(&out), expected);
    string_buffer_deinit(&out);
}

static void letters_and_marks_are_joined(void **state) {
    (void)state;
    expect("", "");
    expect("plain", "plain");
    expect("e\xcc\x81", "\xc3\xa9");                                /* é */
    expect("a\xcc\x81\xcc\xa7", "\xc3\xa1\xcc\xa7");                /* marks reordered */
    expect("\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab", "\xed\x95\x9c"); /* Hangul */
    expect("\xe2\x84\xab", "\xc3\x85");                             /* the ångström sign */
    expect("\xe0\xa4\x95\xe0\xa4\xbc", "\xe0\xa4\x95\xe0\xa4\xbc"); /* a composition exclusion */
}

static void bytes_that_are_not_utf8_stay_and_separate(void **state) {
    (void)state;
    expect("e\xff\xcc\x81", "e\xff\xcc\x81");
    expect("\xed\xa0\x80"
           "e\xcc\x81",
           "\xed\xa0\x80\xc3\xa9");
}

static void random_texts_agree_with_utf8proc(void **state) {
    (void)state;
    static const struct {
        uint32_t first, count;
    } blocks[] = {{0x41, 60},      {0xc0, 0x180},   {0x300, 0x70},   {0x590, 0x60},
                  {0x900, 0x80},   {0x1100, 0x100}, {0x1e00, 0x200}, {0xac00, 0x400},
                  {0xf900, 0x200}, {0x1d150, 0x40}};
    struct random_state random;
    random_seed(&random, 5);
    for (int round = 0; round < 5000; round++) {
        struct string_buffer text = {0};
        struct string_buffer out = {0};
        for (uint64_t i = random_next(&random) % 20; i > 0; i--) {
            size_t block = random_next(&random) % (sizeof blocks / sizeof blocks[0]);
            char encoded[4];
            uint32_t point =
                blocks[block].first + (uint32_t)(random_next(&random) % blocks[block].count);
            string_buffer_append(&text, encoded, utf8_encode(point, encoded));
        }
        const char *input = string_buffer_text(&text);
        utf8proc_uint8_t *expected = utf8proc_NFC((const utf8proc_uint8_t *)input);
        assert_true(unicode_nfc(input, text.length, &out, NULL));
        assert_string_equal(string_buffer_text(&out), (const char *)expected);
        free(expected);
        string_buffer_deinit(&text);
        string_buffer_deinit(&out);
    }
}

static void a_megabyte_of_marks_takes_linear_time(void **state) {
    (void)state;
    enum { PAIRS = 1 << 18 };
    struct string_buffer text = {0};
    struct string_buffer out = {0};
    for (int i = 0; i < PAIRS; i++) {
        string_buffer_append_text(&text, "\xcc\x95\xcc\x80\xcc\xa3"); /* classes 232, 230, 220 */
    }
    int64_t started = clock_now_ns();
    assert_true(unicode_nfc(text.data, text.length, &out, NULL));
    assert_true(clock_seconds(clock_now_ns() - started) < 30);
    assert_int_equal(out.length, text.length);
    assert_memory_equal(out.data, "\xcc\xa3\xcc\xa3", 4);
    string_buffer_deinit(&text);
    string_buffer_deinit(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_and_marks_are_joined),
        cmocka_unit_test(bytes_that_are_not_utf8_stay_and_separate),
        cmocka_unit_test(random_texts_agree_with_utf8proc),
        cmocka_unit_test(a_megabyte_of_marks_takes_linear_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
