/* load_request.c - what a request says, and how its answer is judged. See load.h. */
#include "base/bytes.h"
#include "base/json_writer.h"
#include "bench/load_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { COMPLAINT_BYTES = 4096 };

static const struct {
    const char *name, *sentence;
} outcomes[LOAD_OUTCOME_COUNT] = {
    [LOAD_OK] = {"ok", "answered"},
    [LOAD_UNFINISHED] = {"unfinished", "not yet answered when the run was stopped"},
    [LOAD_REFUSED] = {"refused", "no connection"},
    [LOAD_LOST] = {"lost", "the connection ended before the answer"},
    [LOAD_TIMED_OUT] = {"timed_out", "nothing came for too long"},
    [LOAD_HTTP_4XX] = {"http_4xx", "refused with a status 4xx"},
    [LOAD_HTTP_5XX] = {"http_5xx", "failed with a status 5xx"},
    [LOAD_HTTP_OTHER] = {"http_other", "an unexpected status"},
    [LOAD_STREAM_ERROR] = {"stream_error", "an error in the stream"},
    [LOAD_TRUNCATED] = {"truncated", "the stream ended without its end"},
    [LOAD_MALFORMED] = {"malformed", "the answer does not follow its protocol"},
    [LOAD_EMPTY] = {"empty", "an answer without any text"},
    [LOAD_WRONG_USAGE] = {"wrong_usage", "the server's count of tokens cannot be true"},
};

const char *load_outcome_name(enum load_outcome outcome) {
    return outcomes[outcome].name;
}

const char *load_outcome_sentence(enum load_outcome outcome) {
    return outcomes[outcome].sentence;
}

/* ---- requests ---- */

const char *load_request_path(const struct load_options *options) {
    return options->protocol == STREAM_OPENAI ? "/v1/chat/completions" : "/api/chat";
}

static void write_sampling(struct json_writer *writer, const struct load_options *options,
                           const char *most, int64_t max_tokens) {
    json_write_integer_member(writer, most, max_tokens);
    json_write_integer_member(writer, "temperature", 0);
    json_write_integer_member(writer, "seed", (int64_t)(options->seed & 0x7fffffff));
}

void load_request_write(const struct load_options *options, const struct workload_request *request,
                        struct string_buffer *body) {
    struct json_writer writer = {.out = body};
    json_write_object_begin(&writer);
    if (options->model != NULL) {
        json_write_text_member(&writer, "model", options->model);
    }
    json_write_key(&writer, "messages");
    json_write_raw(&writer, request->messages, strlen(request->messages));
    json_write_key(&writer, "stream");
    json_write_bool(&writer, true);
    if (options->protocol == STREAM_OPENAI) {
        json_write_key(&writer, "stream_options");
        json_write_raw(&writer, "{\"include_usage\":true}", 22);
        write_sampling(&writer, options, "max_tokens", request->max_tokens);
        if (options->ignore_end) {
            json_write_key(&writer, "ignore_eos");
            json_write_bool(&writer, true);
        }
    } else {
        json_write_key(&writer, "options");
        json_write_object_begin(&writer);
        write_sampling(&writer, options, "num_predict", request->max_tokens);
        json_write_object_end(&writer);
    }
    json_write_object_end(&writer);
}

/* ---- answers ---- */

void load_stream_begin(struct load_stream *stream, struct load *load,
                       const struct load_options *options, const struct workload_request *request,
                       struct load_record *record) {
    *stream = (struct load_stream){
        .load = load, .options = options, .request = request, .record = record};
    stream->reader.protocol = options->protocol;
    stream->reader.text = options->tokenizer == NULL ? NULL : &stream->text;
    *record = (struct load_record){.first = NAN,
                                   .last = NAN,
                                   .ended = NAN,
                                   .prompt_tokens = -1,
                                   .output_tokens = -1,
                                   .counted_tokens = -1,
                                   .scenario = request->scenario,
                                   .outcome = LOAD_UNFINISHED};
}

void load_stream_deinit(struct load_stream *stream) {
    stream_reader_deinit(&stream->reader);
    string_buffer_deinit(&stream->text);
}

static void take_text(struct load_record *record, double at) {
    if (isnan(record->first)) {
        record->first = at;
    } else {
        record->longest_pause = fmax(record->longest_pause, at - record->last);
    }
    record->last = at;
}

void load_stream_push(struct load_stream *stream, int status, const char *bytes, size_t length,
                      double at) {
    stream->status = status;
    if (status != 200) {
        size_t room = COMPLAINT_BYTES - size_min(stream->text.length, COMPLAINT_BYTES);
        string_buffer_append(&stream->text, bytes, size_min(length, room));
    } else if (stream_reader_push(&stream->reader, bytes, length)) {
        take_text(stream->record, at);
    }
}

static enum load_outcome judge_status(int status) {
    return status >= 400 && status < 500   ? LOAD_HTTP_4XX
           : status >= 500 && status < 600 ? LOAD_HTTP_5XX
                                           : LOAD_HTTP_OTHER;
}

/* A count that no server can have come to: none for a text, more than were asked for, or far more
 * than the text has bytes (a token may have no text, such as the one that ends the answer). */
static bool is_usage_wrong(const struct load_stream *stream) {
    const struct stream_reader *reader = &stream->reader;
    const struct load_record *record = stream->record;
    if (!reader->has_usage) {
        return false;
    }
    int64_t told = reader->output_tokens, counted = record->counted_tokens;
    if (told < 1 || told > stream->request->max_tokens + 1 || reader->prompt_tokens < -1) {
        return true;
    }
    /* Text that is split anew need not be split as it was made, but nearly so. */
    return counted >= 0 && fabs((double)(told - counted)) > 4 + 0.15 * (double)counted;
}

static void count_tokens(struct load_stream *stream) {
    struct load_record *record = stream->record;
    struct token_list tokens = {0};
    if (stream->options->tokenizer != NULL &&
        tokenizer_encode(stream->options->tokenizer, string_buffer_text(&stream->text),
                         stream->text.length, false, false, &tokens, NULL)) {
        record->counted_tokens = (int64_t)tokens.count;
    }
    token_list_deinit(&tokens);
    if (stream->reader.has_usage) {
        record->prompt_tokens = stream->reader.prompt_tokens;
        record->output_tokens = stream->reader.output_tokens;
    } else {
        record->output_tokens = record->counted_tokens;
    }
}

void load_stream_end(struct load_stream *stream, enum http_outcome outcome, int status, double at) {
    static const enum load_outcome failures[] = {[HTTP_REFUSED] = LOAD_REFUSED,
                                                 [HTTP_LOST] = LOAD_LOST,
                                                 [HTTP_TIMED_OUT] = LOAD_TIMED_OUT,
                                                 [HTTP_MALFORMED] = LOAD_MALFORMED};
    struct load_record *record = stream->record;
    struct stream_reader *reader = &stream->reader;
    stream->status = status;
    record->ended = at;
    if (outcome != HTTP_COMPLETE) {
        record->outcome = failures[outcome];
        return;
    }
    if (status != 200) {
        record->outcome = judge_status(status);
        return;
    }
    if (stream_reader_finish(reader)) {
        take_text(record, at);
    }
    count_tokens(stream);
    record->outcome = reader->is_refused        ? LOAD_STREAM_ERROR
                      : reader->is_malformed    ? LOAD_MALFORMED
                      : !reader->is_done        ? LOAD_TRUNCATED
                      : reader->text_bytes == 0 ? LOAD_EMPTY
                      : is_usage_wrong(stream)  ? LOAD_WRONG_USAGE
                                                : LOAD_OK;
}

void load_stream_problem(const struct load_stream *stream, char *out, size_t size) {
    const struct load_record *record = stream->record;
    enum load_outcome outcome = record->outcome;
    char said[160] = "";
    if (outcome == LOAD_HTTP_4XX || outcome == LOAD_HTTP_5XX || outcome == LOAD_HTTP_OTHER) {
        stream_reader_complaint(string_buffer_text(&stream->text), stream->text.length, said,
                                sizeof said);
        snprintf(out, size, "status %d: %.130s", stream->status, said);
    } else if (outcome == LOAD_WRONG_USAGE && record->counted_tokens >= 0) {
        snprintf(out, size,
                 "the server counts %lld tokens, our tokenizer %lld, %lld were asked for",
                 (long long)record->output_tokens, (long long)record->counted_tokens,
                 (long long)stream->request->max_tokens);
    } else if (outcome == LOAD_WRONG_USAGE) {
        snprintf(out, size, "the server counts %lld tokens, %lld were asked for at most",
                 (long long)record->output_tokens, (long long)stream->request->max_tokens);
    } else if (stream->reader.problem[0] != '\0') {
        snprintf(out, size, "%s: %.110s", load_outcome_sentence(outcome), stream->reader.problem);
    } else {
        snprintf(out, size, "%s", load_outcome_sentence(outcome));
    }
}
