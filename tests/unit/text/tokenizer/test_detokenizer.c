/* test_detokenizer.c - streaming detokenization never cuts a character and loses none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/utf8.h"
#include "tiny_vocabulary.h"

#include <string.h>

#define BAD        "\xef\xbf\xbd" /* U+FFFD */
#define SPACE_MARK "\xe2\x96\x81"

/* Detokenizes bytes, one token each; every step must be whole characters. */
static struct string_buffer stream(const struct tokenizer *tokenizer, const char *bytes,
                                   size_t length) {
    struct detokenizer detokenizer = {.tokenizer = tokenizer};
    struct string_buffer text = {0};
    for (size_t i = 0; i < length; i++) {
        size_t before = text.length;
        detokenizer_push(&detokenizer, (unsigned char)bytes[i], &text);
        assert_true(text.length == before ||
                    utf8_validate(text.data + before, text.length - before, NULL));
    }
    detokenizer_finish(&detokenizer, &text);
    assert_int_equal(detokenizer.pending_length, 0);
    return text;
}

static void expect_stream(const struct tokenizer *tokenizer, const char *bytes,
                          const char *expected) {
    struct string_buffer text = stream(tokenizer, bytes, strlen(bytes));
    assert_string_equal(string_buffer_text(&text), expected);
    string_buffer_deinit(&text);
}

static struct tokenizer *byte_tokenizer(void) {
    struct tiny_vocabulary tiny;
    tiny_byte_level(&tiny, "gpt-2");
    return tiny_create(&tiny);
}

static void characters_cut_into_bytes_come_out_whole(void **state) {
    (void)state;
    struct tokenizer *tokenizer = byte_tokenizer();
    static const char text[] = "a\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80z\xf4\x8f\xbf\xbf";
    expect_stream(tokenizer, text, text);
    expect_stream(tokenizer, "", "");
    tokenizer_free(tokenizer);
}

/* One replacement for each maximal beginning of a character (Unicode, section 3.9, table 3-8 and
 * those around it). */
static void impossible_bytes_become_replacement_characters(void **state) {
    (void)state;
    struct tokenizer *tokenizer = byte_tokenizer();
    expect_stream(tokenizer,
                  "\x80"
                  "a",
                  BAD "a");
    expect_stream(tokenizer, "\xff\xfe", BAD BAD);
    expect_stream(tokenizer,
                  "\xc3"
                  "a",
                  BAD "a");
    expect_stream(tokenizer,
                  "\xe4\xb8"
                  "a",
                  BAD "a");
    expect_stream(tokenizer,
                  "\xf0\x9f\x98"
                  "a",
                  BAD "a");
    expect_stream(tokenizer, "\xf0\x9f\xe4\xb8\xad", BAD "\xe4\xb8\xad");
    expect_stream(tokenizer, "\xed\xa0\x80", BAD BAD BAD);
    expect_stream(tokenizer, "\xc0\xaf", BAD BAD);
    expect_stream(tokenizer, "\xf4\x90\x80\x80", BAD BAD BAD BAD);
    expect_stream(tokenizer, "\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", BAD BAD BAD BAD "\x41");
    tokenizer_free(tokenizer);
}

static void an_unfinished_character_at_the_end_is_one_replacement(void **state) {
    (void)state;
    struct tokenizer *tokenizer = byte_tokenizer();
    expect_stream(tokenizer, "a\xf0\x9f\x98", "a" BAD);
    expect_stream(tokenizer, "a\xc3", "a" BAD);
    tokenizer_free(tokenizer);
}

/* The same random bytes, cut into tokens at random: the result must not depend on the cuts. */
static void the_cuts_between_tokens_do_not_matter(void **state) {
    (void)state;
    enum { BYTES = 24, ROUNDS = 2000, POOL = 12 };
    static const char pool[POOL] = {'a',        ' ',        (char)0x80, (char)0x9f,
                                    (char)0xbf, (char)0xa0, (char)0xc3, (char)0xe4,
                                    (char)0xed, (char)0xf0, (char)0xf4, (char)0xff};
    struct tokenizer *singles = byte_tokenizer();
    struct random_state random;
    random_seed(&random, 3);
    for (int round = 0; round < ROUNDS; round++) {
        char bytes[BYTES];
        for (size_t i = 0; i < BYTES; i++) {
            bytes[i] = pool[random_next(&random) % POOL];
        }
        struct string_buffer expected = stream(singles, bytes, BYTES);
        /* Whole runs of the same bytes as literal control tokens, shown. */
        struct tiny_vocabulary tiny;
        tiny_byte_level(&tiny, "gpt-2");
        struct string_buffer text = {0};
        int32_t first = (int32_t)tiny.source.token_count;
        int32_t count = 0;
        for (size_t at = 0; at < BYTES; count++) {
            size_t length = 1 + random_next(&random) % 9;
            length = length < BYTES - at ? length : BYTES - at;
            int32_t id = tiny_add(&tiny, "", TOKEN_CONTROL, 0);
            tiny.tokens[id] = (struct string_view){bytes + at, length};
            at += length;
        }
        struct tokenizer *runs = tiny_create(&tiny);
        struct detokenizer detokenizer = {.tokenizer = runs, .show_special = true};
        for (int32_t i = 0; i < count; i++) {
            detokenizer_push(&detokenizer, first + i, &text);
            assert_true(utf8_validate(string_buffer_text(&text), text.length, NULL));
        }
        detokenizer_finish(&detokenizer, &text);
        assert_string_equal(string_buffer_text(&text), string_buffer_text(&expected));
        string_buffer_deinit(&text);
        string_buffer_deinit(&expected);
        tokenizer_free(runs);
    }
    tokenizer_free(singles);
}

static void expect_pieces(const struct tokenizer *tokenizer, bool show_special, const int32_t *ids,
                          size_t count, const char *expected) {
    struct detokenizer detokenizer = {.tokenizer = tokenizer, .show_special = show_special};
    struct string_buffer text = {0};
    for (size_t i = 0; i < count; i++) {
        detokenizer_push(&detokenizer, ids[i], &text);
    }
    detokenizer_finish(&detokenizer, &text);
    assert_string_equal(string_buffer_text(&text), expected);
    string_buffer_deinit(&text);
}

static void sentencepiece_takes_back_the_space_it_put_in_front(void **state) {
    (void)state;
    struct tiny_vocabulary tiny;
    tiny_sentencepiece(&tiny);
    tiny_add(&tiny, SPACE_MARK "Hi", TOKEN_NORMAL, -1); /* 259 */
    tiny_add(&tiny, SPACE_MARK, TOKEN_NORMAL, -1);      /* 260 */
    struct tokenizer *tokenizer = tiny_create(&tiny);
    expect_pieces(tokenizer, false, (int32_t[]){259, 259}, 2, "Hi Hi");
    expect_pieces(tokenizer, false, (int32_t[]){1, 259, 2, 259}, 4, "Hi Hi");
    expect_pieces(tokenizer, true, (int32_t[]){1, 259, 2}, 3, "<s> Hi</s>");
    expect_pieces(tokenizer, false, (int32_t[]){260, 259}, 2, " Hi");
    expect_pieces(tokenizer, false, (int32_t[]){3 + 0xc3, 3 + 0xa9, 259}, 3, "\xc3\xa9 Hi");
    expect_pieces(tokenizer, false, (int32_t[]){99999, -1, 0, 259}, 4, "Hi");
    tokenizer_free(tokenizer);
    tiny.source.add_space_prefix = false;
    tokenizer = tiny_create(&tiny);
    expect_pieces(tokenizer, false, (int32_t[]){259}, 1, " Hi");
    tokenizer_free(tokenizer);
}

static void control_tokens_are_hidden_shown_or_marked(void **state) {
    (void)state;
    struct tiny_vocabulary tiny;
    tiny_byte_level(&tiny, "gpt-2");
    int32_t control = tiny_add(&tiny, "[ARGS]", TOKEN_CONTROL, 0);
    int32_t added = tiny_add(&tiny, "<think>", TOKEN_USER_DEFINED, 0);
    struct tokenizer *tokenizer = tiny_create(&tiny);
    static const struct {
        bool show, mark;
        const char *expected;
    } rows[] = {
        {false, false, "a<think>b"},
        {true, false, "a[ARGS]<think>b"},
        {false, true, "a\xef\xb7\x90[ARGS]\xef\xb7\x91<think>b"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct detokenizer detokenizer = {
            .tokenizer = tokenizer, .show_special = rows[i].show, .mark_special = rows[i].mark};
        struct string_buffer text = {0};
        detokenizer_push(&detokenizer, 'a', &text);
        detokenizer_push(&detokenizer, control, &text);
        detokenizer_push(&detokenizer, added, &text);
        detokenizer_push(&detokenizer, 'b', &text);
        detokenizer_finish(&detokenizer, &text);
        assert_string_equal(string_buffer_text(&text), rows[i].expected);
        string_buffer_deinit(&text);
    }
    tokenizer_free(tokenizer);
}

static void a_marked_token_ends_an_unfinished_character(void **state) {
    (void)state;
    struct tiny_vocabulary tiny;
    tiny_byte_level(&tiny, "gpt-2");
    int32_t control = tiny_add(&tiny, "[ARGS]", TOKEN_CONTROL, 0);
    struct tokenizer *tokenizer = tiny_create(&tiny);
    struct detokenizer detokenizer = {.tokenizer = tokenizer, .mark_special = true};
    struct string_buffer text = {0};
    detokenizer_push(&detokenizer, 0xc3, &text);
    detokenizer_push(&detokenizer, control, &text);
    detokenizer_push(&detokenizer, 'b', &text);
    detokenizer_finish(&detokenizer, &text);
    assert_string_equal(string_buffer_text(&text), BAD "\xef\xb7\x90[ARGS]\xef\xb7\x91"
                                                       "b");
    string_buffer_deinit(&text);
    tokenizer_free(tokenizer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_cut_into_bytes_come_out_whole),
        cmocka_unit_test(impossible_bytes_become_replacement_characters),
        cmocka_unit_test(an_unfinished_character_at_the_end_is_one_replacement),
        cmocka_unit_test(the_cuts_between_tokens_do_not_matter),
        cmocka_unit_test(sentencepiece_takes_back_the_space_it_put_in_front),
        cmocka_unit_test(control_tokens_are_hidden_shown_or_marked),
        cmocka_unit_test(a_marked_token_ends_an_unfinished_character),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
