/* test_tokenizer.c - encoding: merges, special tokens, bytes that are not text, hostile inputs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tiny_vocabulary.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SPACE_MARK "\xe2\x96\x81"

static void expect(const struct tokenizer *tokenizer, const char *text, const char *expected) {
    tiny_expect(tokenizer, string_view_of(text), false, false, expected);
}

static void byte_level_merges_the_lowest_rank_first_and_leftmost_among_equals(void **state) {
    (void)state;
    struct tiny_vocabulary tiny;
    tiny_byte_level(&tiny, "gpt-2");
    tiny_merge(&tiny, "b c", "bc"); /* 256 */
    tiny_merge(&tiny, "a b", "ab"); /* 257: comes too late in "abc" */
    tiny_merge(&tiny, "a a", "aa"); /* 258 */
    tiny_merge(&tiny, "aa aa", "aaaa");
    tiny_merge(&tiny, "\xc4\xa0 a",
               "\xc4\xa0"
               "a"); /* 260: " a" */
    struct tokenizer *tokenizer = tiny_create(&tiny);
    expect(tokenizer, "abc", "97 256");
    expect(tokenizer, "abab", "257 257");
    expect(tokenizer, "aaa", "258 97");
    expect(tokenizer, "aaaaaaa", "259 258 97");
    expect(tokenizer, "a a", "97 260");
    expect(tokenizer, "", "");
    tokenizer_free(tokenizer);
}

static void a_word_that_is_a_token_needs_no_merges_where_the_model_says_so(void **state) {
    (void)state;
    for (int ignores = 0; ignores < 2; ignores++) {
        struct tiny_vocabulary tiny;
        tiny_byte_level(&tiny, ignores ? "llama-bpe" : "qwen2");
        tiny_add(&tiny, "word", TOKEN_NORMAL, 0);
        struct tokenizer *tokenizer = tiny_create(&tiny);
        expect(tokenizer, "word", ignores ? "256" : "119 111 114 100");
        tokenizer_free(tokenizer);
    }
}

static void sentencepiece_merges_the_best_score_first_and_spells_the_rest_in_bytes(void **state) {
    (void)state;
    struct tiny_vocabulary tiny;
    tiny_sentencepiece(&tiny);
    tiny_add(&tiny, SPACE_MARK, TOKEN_NORMAL, -1); /* 259 */
    tiny_add(&tiny, "a", TOKEN_NORMAL, -2);
    tiny_add(&tiny, "b", TOKEN_NORMAL, -3);
    tiny_add(&tiny, "c", TOKEN_NORMAL, -4);
    tiny_add(&tiny, "ab", TOKEN_NORMAL, -6);           /* 263 */
    tiny_add(&tiny, "bc", TOKEN_NORMAL, -5);           /* 264: better */
    tiny_add(&tiny, SPACE_MARK "a", TOKEN_NORMAL, -7); /* 265 */
    struct tokenizer *tokenizer = tiny_create(&tiny);
    expect(tokenizer, "abc", "265 264");
    expect(tokenizer, "ab", "259 263");
    expect(tokenizer, " a", "259 265");
    expect(tokenizer, "a\n", "265 13");           /* 3 + 0x0A */
    expect(tokenizer, "\xc3\xa9", "259 198 172"); /* é: 3 + 0xC3, 3 + 0xA9 */
    expect(tokenizer,
           "\xff"
           "a",
           "259 258 260"); /* not UTF-8 */
    tiny_expect(tokenizer, string_view_of("a"), true, false, "1 265");
    tiny_expect(tokenizer, string_view_of(""), true, false, "1");
    tiny_expect(tokenizer, string_view_of("a</s>a"), true, true, "1 265 2 265");
    tokenizer_free(tokenizer);
}

static void an_unknown_run_without_byte_tokens_is_one_unknown_token(void **state) {
    (void)state;
    struct tiny_vocabulary tiny;
    tiny_sentencepiece(&tiny);
    for (size_t i = 3; i < 259; i++) {
        tiny.types[i] = TOKEN_NORMAL;
    }
    tiny_add(&tiny, SPACE_MARK, TOKEN_NORMAL, -1); /* 259 */
    tiny_add(&tiny, "a", TOKEN_NORMAL, -1);        /* 260 */
    struct tokenizer *tokenizer = tiny_create(&tiny);
    expect(tokenizer, "xyza zz", "259 0 260 259 0");
    tokenizer_free(tokenizer);
    tiny.source.unknown = TOKEN_NONE;
    tokenizer = tiny_create(&tiny);
    expect(tokenizer, "xyza zz", "259 260 259");
    tokenizer_free(tokenizer);
}

static void special_tokens_are_found_leftmost_and_longest_first(void **state) {
    (void)state;
    struct tiny_vocabulary tiny;
    tiny_byte_level(&tiny, "gpt-2");
    tiny_add(&tiny, "<|a|>", TOKEN_CONTROL, 0);    /* 256 */
    tiny_add(&tiny, "<|a|>b", TOKEN_CONTROL, 0);   /* 257 */
    tiny_add(&tiny, "<u>", TOKEN_USER_DEFINED, 0); /* 258 */
    tiny_add(&tiny,
             "<u>"
             "<|a",
             TOKEN_CONTROL, 0); /* 259 */
    tiny_add(&tiny, "\xef\xbd\x9c", TOKEN_USER_DEFINED, 0);
    struct tokenizer *tokenizer = tiny_create(&tiny);
    struct string_view text = string_view_of("<|a|>b<|a|>c<u>");
    tiny_expect(tokenizer, text, false, true, "257 256 99 258");
    tiny_expect(tokenizer, string_view_of("<|a|>"), false, false, "60 124 97 124 62");
    tiny_expect(tokenizer, string_view_of("<u><|a|>"), false, true, "259 124 62");
    tiny_expect(tokenizer, string_view_of("<u><|a"), false, false, "258 60 124 97");
    tiny_expect(tokenizer, string_view_of("<u\xef\xbd\x9c<|a|"), false, true,
                "60 117 260 60 124 97 124");
    tokenizer_free(tokenizer);
}

static void plain_text_never_becomes_a_control_token(void **state) {
    (void)state;
    struct tiny_vocabulary tiny;
    tiny_byte_level(&tiny, "llama-bpe");
    tiny_merge(&tiny, "e o", "eo"); /* 256 */
    int32_t control = tiny_merge(&tiny, "eo s", "eos");
    tiny.types[control] = TOKEN_CONTROL;
    struct tokenizer *tokenizer = tiny_create(&tiny);
    expect(tokenizer, "eos", "256 115");
    tiny_expect(tokenizer, string_view_of("eos"), false, true, "257");
    tokenizer_free(tokenizer);

    tiny_sentencepiece(&tiny);
    tiny_add(&tiny, "<", TOKEN_NORMAL, -1);
    tiny_add(&tiny, "s>", TOKEN_NORMAL, -1);
    tiny_add(&tiny, "s", TOKEN_NORMAL, -1);
    tiny_add(&tiny, ">", TOKEN_NORMAL, -1);
    tiny.source.add_space_prefix = false;
    tokenizer = tiny_create(&tiny);
    expect(tokenizer, "<s>", "259 260");
    tokenizer_free(tokenizer);
}

static void an_end_of_turn_marker_filed_as_user_defined_is_a_control_token(void **state) {
    (void)state;
    struct tiny_vocabulary tiny;
    tiny_byte_level(&tiny, "gpt-2");
    int32_t marker = tiny_add(&tiny, "<|im_end|>", TOKEN_USER_DEFINED, 0);
    struct tokenizer *tokenizer = tiny_create(&tiny);
    struct string_view text = string_view_of("<|im_end|>");
    tiny_expect(tokenizer, text, false, false, "60 124 105 109 95 101 110 100 124 62");
    tiny_expect(tokenizer, text, false, true, "256");
    assert_true(tokenizer_is_end(tokenizer, marker));
    assert_int_equal(tokenizer_piece(tokenizer, marker, false).length, 0);
    tokenizer_free(tokenizer);
}

static void the_tokens_that_end_an_answer_are_known(void **state) {
    (void)state;
    struct tiny_vocabulary tiny;
    tiny_byte_level(&tiny, "gpt-2");
    int32_t eot = tiny_add(&tiny, "<|eot_id|>", TOKEN_CONTROL, 0);
    int32_t named = tiny_add(&tiny, "bye", TOKEN_NORMAL, 0);
    int32_t lookalike = tiny_add(&tiny, "</s>", TOKEN_NORMAL, 0);
    int32_t other = tiny_add(&tiny, "<|im_start|>", TOKEN_CONTROL, 0);
    tiny.source.eos = named;
    tiny.source.eot = 65;
    struct tokenizer *tokenizer = tiny_create(&tiny);
    assert_true(tokenizer_is_end(tokenizer, eot));
    assert_true(tokenizer_is_end(tokenizer, named));
    assert_true(tokenizer_is_end(tokenizer, 65));
    assert_false(tokenizer_is_end(tokenizer, lookalike));
    assert_false(tokenizer_is_end(tokenizer, other));
    assert_false(tokenizer_is_end(tokenizer, TOKEN_NONE));
    assert_false(tokenizer_is_end(tokenizer, INT32_MAX));
    assert_int_equal(tokenizer_eos(tokenizer), named);
    assert_int_equal(tokenizer_bos(tokenizer), TOKEN_NONE);
    assert_int_equal(tokenizer_find(tokenizer, string_view_of("</s>")), lookalike);
    assert_int_equal(tokenizer_find(tokenizer, string_view_of("<none>")), TOKEN_NONE);
    assert_int_equal(tokenizer_vocabulary_size(tokenizer), 260);
    assert_int_equal(tokenizer_piece(tokenizer, 260, true).length, 0);
    assert_int_equal(tokenizer_piece(tokenizer, -7, true).length, 0);
    tokenizer_free(tokenizer);
}

/* Gemma has <s> and </s> as HTML, and its marks are filed under user-defined to be shown. */
static void html_does_not_end_an_answer_and_no_text_becomes_a_mark(void **state) {
    (void)state;
    struct tiny_vocabulary tiny;
    tiny_byte_level(&tiny, "gpt-2");
    int32_t html = tiny_add(&tiny, "</s>", TOKEN_USER_DEFINED, 0);
    int32_t mark = tiny_add(&tiny, "<|channel>", TOKEN_USER_DEFINED, 0);
    int32_t message_end = tiny_add(&tiny, "<eom>", TOKEN_USER_DEFINED, 0);
    tiny.source.eos = 65;
    tiny.source.eom = message_end;
    struct tokenizer *tokenizer = tiny_create(&tiny);
    tiny_expect(tokenizer, string_view_of("</s>"), false, false, "256");
    assert_false(tokenizer_is_end(tokenizer, html));
    tiny_expect(tokenizer, string_view_of("<|channel>"), false, false,
                "60 124 99 104 97 110 110 101 108 62");
    tiny_expect(tokenizer, string_view_of("<|channel>"), false, true, "257");
    assert_int_equal(tokenizer_piece(tokenizer, mark, false).length, 0);
    tiny_expect(tokenizer, string_view_of("<eom>"), false, false, "60 101 111 109 62");
    assert_true(tokenizer_is_end(tokenizer, message_end));
    tokenizer_free(tokenizer);
    tiny.source.eos = html;
    tokenizer = tiny_create(&tiny);
    assert_true(tokenizer_is_end(tokenizer, html));
    tiny_expect(tokenizer, string_view_of("</s>"), false, false, "60 47 115 62");
    tokenizer_free(tokenizer);
}

static void a_list_of_merges_decides_where_gemma_has_one(void **state) {
    (void)state;
    struct tiny_vocabulary tiny;
    tiny_sentencepiece(&tiny);
    tiny.source.model = string_view_of("gemma4");
    tiny.source.add_space_prefix = false;
    tiny.source.add_bos = false; /* as some files say */
    tiny.source.merges = tiny.merges;
    tiny_add(&tiny, "a", TOKEN_NORMAL, 0);              /* 259 */
    tiny_add(&tiny, "b", TOKEN_NORMAL, 0);              /* 260 */
    tiny_add(&tiny, SPACE_MARK, TOKEN_NORMAL, 0);       /* 261 */
    tiny_merge(&tiny, "a b", "ab");                     /* 262 */
    tiny_merge(&tiny, SPACE_MARK " a", SPACE_MARK "a"); /* 263 */
    tiny_add(&tiny, "ba", TOKEN_NORMAL, 9);             /* 264: no merge makes it */
    struct tokenizer *tokenizer = tiny_create(&tiny);
    tiny_expect(tokenizer, string_view_of("ab a"), true, false, "1 262 263");
    tiny_expect(tokenizer, string_view_of(" ab"), false, false, "261 262");
    tiny_expect(tokenizer, string_view_of("ba\xc3\xa9\n"), false, false, "260 259 198 172 13");
    tokenizer_free(tokenizer);
}

static void bos_and_eos_are_added_when_the_model_wants_them(void **state) {
    (void)state;
    struct tiny_vocabulary tiny;
    tiny_byte_level(&tiny, "llama-bpe");
    assert_true(tiny.source.add_bos); /* llama-bpe's default; there is no BOS to add yet */
    struct tokenizer *tokenizer = tiny_create(&tiny);
    tiny_expect(tokenizer, string_view_of("x"), true, false, "120");
    tokenizer_free(tokenizer);
    tiny.source.bos = 1;
    tiny.source.eos = 2;
    tiny.source.add_eos = true;
    tokenizer = tiny_create(&tiny);
    tiny_expect(tokenizer, string_view_of("x"), true, false, "1 120 2");
    tiny_expect(tokenizer, string_view_of("x"), false, false, "120");
    tokenizer_free(tokenizer);
}

static void every_byte_string_is_encoded_as_itself(void **state) {
    (void)state;
    char all[256];
    for (size_t i = 0; i < sizeof all; i++) {
        all[i] = (char)(unsigned char)(255 - i);
    }
    for (int family = 0; family < 2; family++) {
        struct tiny_vocabulary tiny;
        if (family == 0) {
            tiny_byte_level(&tiny, "default");
        } else {
            tiny_sentencepiece(&tiny);
            tiny.source.add_space_prefix = false;
            tiny_add(&tiny, SPACE_MARK, TOKEN_NORMAL, 0);
        }
        struct tokenizer *tokenizer = tiny_create(&tiny);
        struct token_list list = {0};
        struct string_buffer bytes = {0};
        struct error error = {0};
        assert_true(tokenizer_encode(tokenizer, all, sizeof all, false, false, &list, &error));
        for (size_t i = 0; i < list.count; i++) {
            struct string_view piece = tokenizer_piece(tokenizer, list.ids[i], false);
            string_buffer_append(&bytes, piece.data, piece.length);
        }
        assert_int_equal(bytes.length, sizeof all);
        assert_memory_equal(bytes.data, all, sizeof all);
        token_list_deinit(&list);
        string_buffer_deinit(&bytes);
        tokenizer_free(tokenizer);
    }
}

static void a_byte_without_a_token_is_left_out_and_its_neighbours_meet(void **state) {
    (void)state;
    struct tiny_vocabulary tiny;
    tiny_byte_level(&tiny, "gpt-2");
    tiny_merge(&tiny, "! ?", "!?"); /* 256 */
    tiny.types[0x16] = TOKEN_CONTROL;
    struct tokenizer *tokenizer = tiny_create(&tiny);
    expect(tokenizer, "!\x16?", "256");
    tokenizer_free(tokenizer);
}

/* Hostile vocabularies. */

static void expect_refusal(const struct tiny_vocabulary *tiny, enum error_code code,
                           const char *words) {
    struct tokenizer *tokenizer = NULL;
    struct error error = {0};
    assert_false(tokenizer_create(&tiny->source, &tokenizer, &error));
    assert_null(tokenizer);
    assert_int_equal(error.code, code);
    if (strstr(error.message, words) == NULL) {
        fail_msg("expected '%s' in '%s'", words, error.message);
    }
}

static void a_broken_vocabulary_is_refused_with_the_reason(void **state) {
    (void)state;
    struct tiny_vocabulary tiny;
    tiny_byte_level(&tiny, "no-such-words");
    expect_refusal(&tiny, ERROR_UNSUPPORTED, "'no-such-words'");
    tiny_byte_level(&tiny, "gpt-2");
    tiny.source.model = string_view_of("bert");
    expect_refusal(&tiny, ERROR_UNSUPPORTED, "'bert'");
    tiny_byte_level(&tiny, "gpt-2");
    tiny.source.token_count = 0;
    expect_refusal(&tiny, ERROR_FORMAT, "0 tokens");
    tiny.source.token_count = (size_t)INT32_MAX + 1;
    expect_refusal(&tiny, ERROR_FORMAT, "2147483648 tokens");
    tiny_byte_level(&tiny, "gpt-2");
    tiny.source.bos = 256;
    expect_refusal(&tiny, ERROR_FORMAT, "BOS token is 256");
    tiny.source.bos = TOKEN_NONE;
    tiny.source.eot = -2;
    expect_refusal(&tiny, ERROR_FORMAT, "end-of-turn token is -2");
    tiny_byte_level(&tiny, "gpt-2");
    tiny.types[77] = 7;
    expect_refusal(&tiny, ERROR_FORMAT, "token 77 has the unknown type 7");
    tiny.types[77] = -1;
    expect_refusal(&tiny, ERROR_FORMAT, "type -1");
    tiny_sentencepiece(&tiny);
    tiny.scores[9] = NAN;
    expect_refusal(&tiny, ERROR_FORMAT, "score of token 9");
}

static void a_broken_merge_is_refused_and_a_useless_one_ignored(void **state) {
    (void)state;
    static const char *const broken[] = {"ab", "a ", " b", "", " ", "  "};
    struct tiny_vocabulary tiny;
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        tiny_byte_level(&tiny, "gpt-2");
        tiny_merge(&tiny, "a b", "ab");
        tiny_merge(&tiny, broken[i], "x");
        expect_refusal(&tiny, ERROR_FORMAT, "merge 1 ");
    }
    tiny_byte_level(&tiny, "gpt-2");
    tiny_merge(&tiny, "zz a", "zza");          /* "zz" is no token */
    tiny_merge(&tiny, "a \xe4\xb8\xad", "yy"); /* no stand-in for a byte */
    tiny_merge(&tiny, "a c", "unrelated");     /* "ac" is no token */
    tiny_merge(&tiny, "a b", "ab");            /* 259 */
    tiny_merge(&tiny, "a b", "again");
    struct tokenizer *tokenizer = tiny_create(&tiny);
    expect(tokenizer, "abzzac", "259 122 122 97 99");
    tokenizer_free(tokenizer);
}

static void a_token_of_absurd_length_is_refused(void **state) {
    (void)state;
    struct tiny_vocabulary tiny;
    size_t length = 65536;
    char *text = calloc(length + 1, 1);
    assert_non_null(text);
    memset(text, 'a', length);
    tiny_byte_level(&tiny, "gpt-2");
    tiny_add(&tiny, text, TOKEN_NORMAL, 0);
    expect_refusal(&tiny, ERROR_FORMAT, "token 256 has 65536 bytes");
    free(text);
}

static void duplicate_and_empty_tokens_are_tolerated(void **state) {
    (void)state;
    struct tiny_vocabulary tiny;
    tiny_byte_level(&tiny, "gpt-2");
    tiny_add(&tiny, "", TOKEN_CONTROL, 0);
    tiny_add(&tiny, "", TOKEN_NORMAL, 0);
    tiny.tokens[257] = (struct string_view){NULL, 0};
    tiny_add(&tiny, "a", TOKEN_NORMAL, 0);
    tiny_add(&tiny, "<x>", TOKEN_CONTROL, 0); /* 259 */
    tiny_add(&tiny, "<x>", TOKEN_CONTROL, 0);
    struct tokenizer *tokenizer = tiny_create(&tiny);
    tiny_expect(tokenizer, string_view_of("a<x>"), false, true, "97 259");
    tokenizer_free(tokenizer);
}

static void a_vocabulary_without_types_still_guards_its_special_tokens(void **state) {
    (void)state;
    struct tiny_vocabulary tiny;
    tiny_byte_level(&tiny, "gpt-2");
    tiny.source.eos = tiny_merge(&tiny, "x y", "xy");
    tiny.source.types = NULL;
    struct tokenizer *tokenizer = tiny_create(&tiny);
    expect(tokenizer, "xy", "120 121");
    tiny_expect(tokenizer, string_view_of("xy"), false, true, "256");
    tokenizer_free(tokenizer);
}

/* Hostile texts. */

static struct token_list encode_all(const struct tokenizer *tokenizer, const char *text,
                                    size_t length) {
    struct token_list list = {0};
    struct error error = {0};
    if (!tokenizer_encode(tokenizer, text, length, false, true, &list, &error)) {
        fail_msg("%s", error.message);
    }
    return list;
}

enum { LONG_TEXT = 1 << 18, LONGEST_TEXT = 1 << 20 };

/* A quadratic step would take minutes here; the bound leaves room for slow machines and sanitizers.
 */
static void expect_fast(const struct tokenizer *tokenizer, const char *unit, size_t length,
                        const char *label) {
    static char text[LONGEST_TEXT];
    size_t unit_length = strlen(unit);
    for (size_t i = 0; i < length; i++) {
        text[i] = unit[i % unit_length];
    }
    int64_t started = clock_now_ns();
    struct token_list list = encode_all(tokenizer, text, length);
    double seconds = clock_seconds(clock_now_ns() - started);
    token_list_deinit(&list);
    if (seconds > 20) {
        fail_msg("%s: %zu bytes of '%s' took %.1f s", label, length, unit, seconds);
    }
}

static const char *const units[] = {
    "a",        "A",
    "1",        " ",
    "\n",       " \n",
    "!",        "'",
    "<",        "<|im_end|",
    "aA",       "\xe4\xb8\xad",
    "\xff",     "\xe4\xb8",
    "\xcc\x80", "\xcc\x95\xcc\x80",
    "\xc2\xa0", "\xf0\x9f\x98\x80",
};

static void long_runs_of_anything_are_encoded_in_time(void **state) {
    (void)state;
    static const char *const pres[] = {"default", "llama-bpe",    "qwen2",
                                       "tekken",  "deepseek-llm", "deepseek-coder",
                                       "gpt-4o",  "deepseek-v3",  "bailingmoe"};
    struct tiny_vocabulary tiny;
    for (size_t p = 0; p <= sizeof pres / sizeof pres[0]; p++) {
        bool byte_level = p < sizeof pres / sizeof pres[0];
        if (byte_level) {
            tiny_byte_level(&tiny, pres[p]);
            tiny_merge(&tiny, "a a", "aa");
            tiny_merge(&tiny, "aa aa", "aaaa");
            tiny_merge(&tiny, "A A", "AA");
            tiny_merge(&tiny, "\xc4\xa0 \xc4\xa0", "\xc4\xa0\xc4\xa0");
            tiny_add(&tiny, "  ", TOKEN_USER_DEFINED, 0);
        } else {
            tiny_sentencepiece(&tiny);
            tiny_add(&tiny, "aa", TOKEN_NORMAL, -1);
            tiny_add(&tiny, "aaaa", TOKEN_NORMAL, -2);
            tiny_add(&tiny, SPACE_MARK SPACE_MARK, TOKEN_NORMAL, -3);
        }
        tiny_add(&tiny, "<|im_end|>", TOKEN_CONTROL, 0);
        struct tokenizer *tokenizer = tiny_create(&tiny);
        const char *label = byte_level ? pres[p] : "sentencepiece";
        for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
            expect_fast(tokenizer, units[u], LONG_TEXT, label);
        }
        expect_fast(tokenizer, "a", LONGEST_TEXT, label);
        tokenizer_free(tokenizer);
    }
}

static void a_text_beyond_the_limit_is_refused_and_the_list_untouched(void **state) {
    (void)state;
    struct tiny_vocabulary tiny;
    tiny_byte_level(&tiny, "gpt-2");
    struct tokenizer *tokenizer = tiny_create(&tiny);
    struct token_list list = encode_all(tokenizer, "ab", 2);
    struct error error = {0};
    assert_false(tokenizer_encode(tokenizer, "", (size_t)1 << 31, true, true, &list, &error));
    assert_int_equal(error.code, ERROR_INVALID_ARGUMENT);
    assert_int_equal(list.count, 2);
    token_list_deinit(&list);
    tokenizer_free(tokenizer);
}

enum { THREADS = 4, ROUNDS = 200 };

static void *encode_repeatedly(void *argument) {
    const struct tokenizer *tokenizer = argument;
    static const char text[] = "Hello world 123 <|im_end|> aaaa \xe4\xb8\xad\xcc\x81\n\n  x";
    size_t *sum = calloc(1, sizeof *sum);
    for (int round = 0; sum != NULL && round < ROUNDS; round++) {
        struct token_list list = {0};
        if (tokenizer_encode(tokenizer, text, sizeof text - 1, true, true, &list, NULL)) {
            for (size_t i = 0; i < list.count; i++) {
                *sum = *sum * 31 + (size_t)list.ids[i];
            }
        }
        token_list_deinit(&list);
    }
    return sum;
}

static void many_threads_encode_at_once(void **state) {
    (void)state;
    struct tiny_vocabulary tiny;
    tiny_byte_level(&tiny, "qwen2");
    tiny_merge(&tiny, "l l", "ll");
    tiny_add(&tiny, "<|im_end|>", TOKEN_CONTROL, 0);
    struct tokenizer *tokenizer = tiny_create(&tiny);
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, encode_repeatedly, tokenizer), 0);
    }
    size_t *expected = encode_repeatedly(tokenizer);
    assert_non_null(expected);
    for (size_t i = 0; i < THREADS; i++) {
        void *sum = NULL;
        pthread_join(threads[i], &sum);
        assert_non_null(sum);
        assert_int_equal(*(size_t *)sum, *expected);
        free(sum);
    }
    free(expected);
    tokenizer_free(tokenizer);
}

/* Phi's <|end|> ends an answer, gpt-oss's only a message of it. */
static void a_message_of_several_does_not_end_the_answer(void **state) {
    (void)state;
    for (unsigned has_calls = 0; has_calls < 2; has_calls++) {
        struct tiny_vocabulary tiny;
        tiny_byte_level(&tiny, "gpt-2");
        int32_t end = tiny_add(&tiny, "<|end|>", TOKEN_CONTROL, 0);
        int32_t returns = tiny_add(&tiny, "<|return|>", TOKEN_CONTROL, 0);
        int32_t call = tiny_add(&tiny, has_calls ? "<|call|>" : "<|x|>", TOKEN_CONTROL, 0);
        struct tokenizer *tokenizer = tiny_create(&tiny);
        assert_int_equal(tokenizer_is_end(tokenizer, end), !has_calls);
        assert_true(tokenizer_is_end(tokenizer, returns));
        assert_int_equal(tokenizer_is_end(tokenizer, call), has_calls);
        tokenizer_free(tokenizer);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(byte_level_merges_the_lowest_rank_first_and_leftmost_among_equals),
        cmocka_unit_test(a_word_that_is_a_token_needs_no_merges_where_the_model_says_so),
        cmocka_unit_test(sentencepiece_merges_the_best_score_first_and_spells_the_rest_in_bytes),
        cmocka_unit_test(an_unknown_run_without_byte_tokens_is_one_unknown_token),
        cmocka_unit_test(special_tokens_are_found_leftmost_and_longest_first),
        cmocka_unit_test(plain_text_never_becomes_a_control_token),
        cmocka_unit_test(an_end_of_turn_marker_filed_as_user_defined_is_a_control_token),
        cmocka_unit_test(the_tokens_that_end_an_answer_are_known),
        cmocka_unit_test(html_does_not_end_an_answer_and_no_text_becomes_a_mark),
        cmocka_unit_test(a_list_of_merges_decides_where_gemma_has_one),
        cmocka_unit_test(bos_and_eos_are_added_when_the_model_wants_them),
        cmocka_unit_test(every_byte_string_is_encoded_as_itself),
        cmocka_unit_test(a_byte_without_a_token_is_left_out_and_its_neighbours_meet),
        cmocka_unit_test(a_broken_vocabulary_is_refused_with_the_reason),
        cmocka_unit_test(a_broken_merge_is_refused_and_a_useless_one_ignored),
        cmocka_unit_test(a_token_of_absurd_length_is_refused),
        cmocka_unit_test(duplicate_and_empty_tokens_are_tolerated),
        cmocka_unit_test(a_vocabulary_without_types_still_guards_its_special_tokens),
        cmocka_unit_test(long_runs_of_anything_are_encoded_in_time),
        cmocka_unit_test(a_text_beyond_the_limit_is_refused_and_the_list_untouched),
        cmocka_unit_test(many_threads_encode_at_once),
        cmocka_unit_test(a_message_of_several_does_not_end_the_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
