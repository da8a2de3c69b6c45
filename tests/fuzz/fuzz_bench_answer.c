/*
 * fuzz_bench_answer.c - any bytes as what a server under load sends: an HTTP answer, and the stream
 * in its body, in pieces of any size.
 *
 * The first byte chooses the protocol and the size of a piece. What must hold whatever comes: no
 * body is longer than the bytes it came in, and a stream says the same however it is cut.
 */
#include "fuzz.h"

#include "bench/http_answer.h"
#include "bench/stream_reader.h"

#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>

static void require(bool holds) {
    if (!holds) {
        abort();
    }
}

static void collect(void *context, const char *bytes, size_t length) {
    string_buffer_append(context, bytes, length);
}

static void read_answer(const char *bytes, size_t length, size_t piece,
                        struct string_buffer *body) {
    struct evbuffer *input = evbuffer_new();
    struct http_answer answer;
    enum http_answer_progress progress = HTTP_ANSWER_MORE;
    http_answer_begin(&answer);
    for (size_t at = 0; at < length && progress == HTTP_ANSWER_MORE; at += piece) {
        size_t rest = length - at;
        evbuffer_add(input, bytes + at, rest < piece ? rest : piece);
        progress = http_answer_read(&answer, input, collect, body);
    }
    require(body->length <= length);
    require(progress != HTTP_ANSWER_WHOLE || http_answer_is_idle(&answer));
    evbuffer_free(input);
}

static void read_stream(struct stream_reader *reader, const struct string_buffer *body,
                        size_t piece) {
    for (size_t at = 0; at < body->length; at += piece) {
        size_t rest = body->length - at;
        (void)stream_reader_push(reader, body->data + at, rest < piece ? rest : piece);
    }
    (void)stream_reader_finish(reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) {
        return 0;
    }
    enum stream_protocol protocol = data[0] % 2 == 0 ? STREAM_OPENAI : STREAM_OLLAMA;
    size_t piece = (size_t)data[0] / 2 + 1;
    struct string_buffer body = {0}, whole_text = {0}, cut_text = {0};
    struct stream_reader whole = {.protocol = protocol, .text = &whole_text};
    struct stream_reader cut = {.protocol = protocol, .text = &cut_text};
    char complaint[160];
    read_answer((const char *)data + 1, size - 1, piece, &body);
    read_stream(&whole, &body, size);
    read_stream(&cut, &body, piece);
    require(whole.is_done == cut.is_done && whole.is_malformed == cut.is_malformed);
    require(whole.has_usage == cut.has_usage && whole.output_tokens == cut.output_tokens);
    require(whole.text_bytes == cut.text_bytes && whole_text.length == cut_text.length);
    require(strcmp(whole.problem, cut.problem) == 0);
    stream_reader_complaint(string_buffer_text(&body), body.length, complaint, sizeof complaint);
    stream_reader_deinit(&whole);
    stream_reader_deinit(&cut);
    string_buffer_deinit(&whole_text);
    string_buffer_deinit(&cut_text);
    string_buffer_deinit(&body);
    return 0;
}
