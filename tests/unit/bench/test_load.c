/*
 * test_load.c - the parts of the load generator that need no server: arrival times, HTTP answers
 * cut at every byte, streams of both protocols, lengths.
 */
#include "bench/http_answer.h"
#include "bench/load.h"
#include "bench/stream_reader.h"
#include "bench/workload.h"

#include <event2/buffer.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* ---- arrivals ---- */

static double variation_of_gaps(const struct load_options *options, double *mean) {
    static double times[20000];
    double sum = 0, squares = 0;
    const size_t count = sizeof times / sizeof times[0];
    load_arrivals(options, NULL, times, count);
    for (size_t i = 1; i < count; i++) {
        double gap = times[i] - times[i - 1];
        assert_true(gap >= 0);
        sum += gap;
        squares += gap * gap;
    }
    *mean = sum / (double)(count - 1);
    return sqrt(fmax(squares / (double)(count - 1) - *mean * *mean, 0)) / *mean;
}

/* Gaps of a Poisson process are exponential: as far spread as they are long. */
static void test_arrivals(void **state) {
    (void)state;
    double mean;
    struct load_options options = {.rate = 50, .is_open = true, .seed = 3};
    double variation = variation_of_gaps(&options, &mean);
    assert_true(fabs(mean - 0.02) < 0.0005 && fabs(variation - 1) < 0.05);
    options.is_regular = true;
    variation = variation_of_gaps(&options, &mean);
    assert_true(fabs(mean - 0.02) < 1e-9 && variation < 1e-3);
}

/* ---- HTTP ---- */

static void collect(void *context, const char *bytes, size_t length) {
    string_buffer_append(context, bytes, length);
}

/* The answer in pieces of `piece` bytes; what came of it, and its body. */
static enum http_answer_progress read_in_pieces(const char *text, size_t piece,
                                                struct http_answer *answer,
                                                struct string_buffer *body) {
    struct evbuffer *input = evbuffer_new();
    enum http_answer_progress progress = HTTP_ANSWER_MORE;
    size_t length = strlen(text);
    http_answer_begin(answer);
    string_buffer_clear(body);
    for (size_t at = 0; at < length && progress == HTTP_ANSWER_MORE; at += piece) {
        size_t left = length - at;
        evbuffer_add(input, text + at, left < piece ? left : piece);
        progress = http_answer_read(answer, input, collect, body);
    }
    evbuffer_free(input);
    return progress;
}

static void test_answers_are_read_wherever_they_are_cut(void **state) {
    (void)state;
    static const struct {
        const char *text, *body;
        int status;
        bool keeps;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", 200, true},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nA: "
         "b\r\n\r\n",
         "hello", 200, true},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\ncontent-length: 2\r\nConnection: "
         "close\r\n\r\nno",
         "no", 404, false},
        {"HTTP/1.1 204 No Content\r\n\r\n", "", 204, true},
        {"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", "x", 200, false},
    };
    struct string_buffer body = {0};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t piece = 1; piece <= strlen(rows[i].text); piece++) {
            struct http_answer answer;
            assert_int_equal(read_in_pieces(rows[i].text, piece, &answer, &body),
                             HTTP_ANSWER_WHOLE);
            assert_string_equal(string_buffer_text(&body), rows[i].body);
            assert_int_equal(answer.status, rows[i].status);
            assert_int_equal(http_answer_keeps_connection(&answer), rows[i].keeps);
        }
    }
    string_buffer_deinit(&body);
}

static void test_what_is_no_answer_is_refused(void **state) {
    (void)state;
    static const char *const texts[] = {
        "HELLO\r\n\r\n",
        "HTTP/1.1 99 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxyz",
    };
    struct string_buffer body = {0};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct http_answer answer;
        assert_int_equal(read_in_pieces(texts[i], strlen(texts[i]), &answer, &body),
                         HTTP_ANSWER_BAD);
    }
    string_buffer_deinit(&body);
}

/* ---- streams ---- */

static void test_streams_are_read_wherever_they_are_cut(void **state) {
    (void)state;
    static const struct {
        enum stream_protocol protocol;
        const char *text;
    } rows[] = {
        {STREAM_OPENAI,
         ": hello\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"ab\"}}]}\r\n\r\n"
         "data:{\"choices\":[{\"delta\":{\"reasoning_content\":\"c\"}}],\"usage\":null}\n\n"
         "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\n"
         "data: [DONE]\n\n"},
        {STREAM_OLLAMA,
         "{\"message\":{\"content\":\"ab\"},\"done\":false}\n{\"response\":\"c\"}\n"
         "{\"message\":{\"content\":\"\"},\"done\":true,\"prompt_eval_count\":5,\"eval_count\":2}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t length = strlen(rows[i].text);
        for (size_t piece = 1; piece <= length; piece++) {
            struct string_buffer text = {0};
            struct stream_reader reader = {.protocol = rows[i].protocol, .text = &text};
            int times = 0;
            for (size_t at = 0; at < length; at += piece) {
                size_t left = length - at;
                times +=
                    stream_reader_push(&reader, rows[i].text + at, left < piece ? left : piece);
            }
            times += stream_reader_finish(&reader);
            assert_true(times >= 1 && times <= 2);
            assert_true(reader.is_done && reader.has_usage && !reader.is_malformed);
            assert_string_equal(string_buffer_text(&text), "abc");
            assert_int_equal(reader.prompt_tokens, 5);
            assert_int_equal(reader.output_tokens, 2);
            stream_reader_deinit(&reader);
            string_buffer_deinit(&text);
        }
    }
}

static void test_what_follows_the_end_is_refused(void **state) {
    (void)state;
    static const char text[] = "data: [DONE]\n\ndata: {\"choices\":[]}\n\n";
    struct stream_reader reader = {.protocol = STREAM_OPENAI};
    stream_reader_push(&reader, text, sizeof text - 1);
    assert_true(reader.is_done && reader.is_malformed);
    stream_reader_deinit(&reader);
}

/* ---- lengths ---- */

static void test_lengths(void **state) {
    (void)state;
    static const char *const good[] = {"1", "128", "uniform:4-4", "uniform:4-9",
                                       "lognormal:64,0.5"};
    static const char *const bad[] = {"",         "0",           "-3", "uniform:9-4",   "uniform:4",
                                      "128 ",     "lognormal:3", "1x", "lognormal:3,9", "nan",
                                      "uniform:", "1e99"};
    struct workload_length length;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(workload_length_parse(good[i], "max-tokens", &length, NULL));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct error error = {0};
        assert_false(workload_length_parse(bad[i], "max-tokens", &length, &error));
        assert_non_null(strstr(error.message, "--max-tokens takes tokens"));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arrivals),
        cmocka_unit_test(test_answers_are_read_wherever_they_are_cut),
        cmocka_unit_test(test_what_is_no_answer_is_refused),
        cmocka_unit_test(test_streams_are_read_wherever_they_are_cut),
        cmocka_unit_test(test_what_follows_the_end_is_refused),
        cmocka_unit_test(test_lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
