/*
 * llama_server_completion.c - /completion and /infill: a text goes on, or a gap in one is filled,
 * with llama-server's own field names and answer.
 */
#include "server/llama_server.h"
#include "server/openai_answer.h"
#include "server/openai_prompts.h"
#include "server/openai_request.h"
#include "server/server_internal.h"
#include "server/sse.h"

#include <stdio.h>
#include <string.h>

struct completion_request {
    struct openai_request shared; /* first: one table fills both */
    int64_t n_predict;
    const char *input_prefix, *input_suffix;
    const json_t *input_extra;
};

struct completion_answer {
    struct openai_answer shared; /* first */
    bool is_stream;
};

/* --- the answer --- */

static void write_end(struct json_writer *json, const struct generation_choice *choice) {
    const struct generation *generation = choice->generation;
    const char *reason = choice->finish_reason == FINISH_LENGTH ? "limit"
                         : choice->stop != NULL                 ? "word"
                                                                : "eos";
    json_write_text_member(json, "id", generation->id);
    json_write_text_member(json, "model", openai_answer_of(generation)->model->id);
    json_write_integer_member(json, "tokens_predicted", (int64_t)choice->usage.generated_tokens);
    json_write_integer_member(json, "tokens_evaluated", (int64_t)choice->usage.prompt_tokens);
    json_write_integer_member(json, "tokens_cached", (int64_t)choice->usage.cached_tokens);
    json_write_key(json, "truncated");
    json_write_bool(json, false);
    json_write_text_member(json, "stop_type", reason);
    json_write_key(json, "stopping_word");
    json_write_text(json, choice->stop == NULL ? "" : choice->stop->data,
                    choice->stop == NULL ? 0 : choice->stop->length);
    llama_write_timings(json, generation);
}

/* One object: a piece of a stream, its end, or the whole. */
static void write_piece(struct string_buffer *out, const struct generation_choice *choice,
                        const char *text, size_t length, bool is_end) {
    struct json_writer json = {.out = out};
    json_write_object_begin(&json);
    json_write_integer_member(&json, "index", (int64_t)choice->index);
    json_write_key(&json, "content");
    json_write_text(&json, text == NULL ? "" : text, length);
    json_write_key(&json, "stop");
    json_write_bool(&json, is_end);
    if (is_end) {
        write_end(&json, choice);
    }
    json_write_object_end(&json);
}

static void send_piece(struct generation_choice *choice, const struct engine_event *event,
                       bool is_end) {
    struct string_buffer json = {0};
    write_piece(&json, choice, event->text, event->text_length, is_end);
    sse_send(choice->generation->connection, &json);
    string_buffer_deinit(&json);
}

static void token(struct generation_choice *choice, const struct engine_event *event) {
    const struct completion_answer *answer = choice->generation->details;
    if (!answer->is_stream) {
        string_buffer_append(&choice->text, event->text, event->text_length);
    } else if (event->text_length != 0) {
        send_piece(choice, event, false);
    }
}

static void choice_done(struct generation_choice *choice, const struct engine_event *event) {
    const struct completion_answer *answer = choice->generation->details;
    if (answer->is_stream) {
        send_piece(choice, event, true);
    } else {
        string_buffer_append(&choice->text, event->text, event->text_length);
    }
}

/* One answer is an object, several are a list of them. */
static void all_done(struct generation *generation) {
    const struct completion_answer *answer = generation->details;
    struct string_buffer json = {0};
    if (answer->is_stream) {
        http_stream_end(generation->connection);
        return;
    }
    for (size_t i = 0; i < generation->choice_count; i++) {
        const struct generation_choice *choice = &generation->choices[i];
        string_buffer_append_text(&json, i > 0 ? "," : generation->choice_count > 1 ? "[" : "");
        write_piece(&json, choice, string_buffer_text(&choice->text), choice->text.length, true);
    }
    string_buffer_append_text(&json, generation->choice_count > 1 ? "]" : "");
    server_send_json(generation->connection, 200, &json);
    string_buffer_deinit(&json);
}

static const struct generation_format format = {
    .token = token,
    .choice_done = choice_done,
    .all_done = all_done,
    .failed = openai_stream_failed,
};

/* --- the request --- */

/* A negative seed asks for a fresh one. */
static bool read_seed(const struct request_field *field, const json_t *value, void *context,
                      struct api_error *error) {
    struct openai_request *request = context;
    (void)field;
    (void)error; /* the shared table has refused what is no integer */
    request->has_seed = json_number_value(value) >= 0;
    return true;
}

#define TARGET(member) .target = offsetof(struct completion_request, member)
static const struct request_field fields[] = {
    {"prompt", FIELD_CUSTOM, TARGET(shared.prompt), .read = openai_read_any},
    {"n_predict", FIELD_INTEGER, -2, 1e15, TARGET(n_predict)},
    {"max_tokens", FIELD_INTEGER, -1, 1e15, TARGET(n_predict)},
    {"repeat_penalty", FIELD_NUMBER, 0.01, 100, TARGET(shared.sampling.repeat_penalty)},
    {"seed", FIELD_CUSTOM, .read = read_seed},
    {"input_prefix", FIELD_TEXT, TARGET(input_prefix)},
    {"input_suffix", FIELD_TEXT, TARGET(input_suffix)},
    {"input_extra", FIELD_CUSTOM, TARGET(input_extra), .read = openai_read_any},
    {.name = NULL},
};
#undef TARGET

static bool read_request(struct generation *generation, const struct served_model *model,
                         const json_t *body, struct completion_request *request,
                         struct api_error *error) {
    struct completion_answer *answer = arena_alloc(&generation->arena, 1, sizeof *answer);
    *request = (struct completion_request){.n_predict = -1, .input_prefix = "", .input_suffix = ""};
    if (answer == NULL) {
        return api_error_out_of_memory(error);
    }
    if (!openai_request_read(body, fields, model, &generation->arena, &request->shared, error)) {
        return false;
    }
    if (request->n_predict == 0) { /* only reads the prompt there; here the cache does that */
        request->n_predict = 1;
    }
    request->shared.max_tokens = request->n_predict < 0 ? OPENAI_NOT_GIVEN : request->n_predict;
    answer->shared.model = model;
    answer->is_stream = request->shared.stream;
    generation->details = answer;
    generation->format = &format;
    return true;
}

static bool prepare_completion(struct generation *generation, const struct served_model *model,
                               const json_t *body, struct api_error *error) {
    struct completion_request request;
    struct generation_request *wanted = &generation->request;
    const struct string_view *texts = NULL;
    return read_request(generation, model, body, &request, error) &&
           openai_prompts_read(request.shared.prompt, NULL, model, &generation->arena, wanted,
                               &texts, error) &&
           openai_request_apply(&request.shared, model, wanted->prompt_count, wanted, error) &&
           answer_format_compile(&request.shared.format, &wanted->grammar, error);
}

const struct generation_kind llama_completion_kind = {
    .route = "/completion",
    .id_prefix = "completion-",
    .prompt_field = "prompt",
    .prepare = prepare_completion,
};

/* Other files of the project go before the prefix, each under its name: a model that was trained on
 * single files reads them as what comes before. */
static bool append_extra(const json_t *extra, struct string_buffer *text, struct api_error *error) {
    if (extra == NULL) {
        return true;
    }
    if (!json_is_array(extra)) {
        return request_field_wrong_type("input_extra", "an array of objects", extra, error);
    }
    for (size_t i = 0; i < json_array_size(extra); i++) {
        const json_t *row = json_array_get(extra, i);
        const char *name = json_string_value(json_object_get(row, "filename"));
        const char *content = json_string_value(json_object_get(row, "text"));
        if (content == NULL) {
            return api_error_set(error, 400, "invalid_value", "input_extra",
                                 "Invalid 'input_extra[%zu]': an object with 'text' (and "
                                 "'filename') is expected.",
                                 i);
        }
        string_buffer_append_format(text, "--- %s ---\n", name == NULL ? "file" : name);
        string_buffer_append_text(text, content);
        string_buffer_append_char(text, '\n');
    }
    return true;
}

static bool prepare_infill(struct generation *generation, const struct served_model *model,
                           const json_t *body, struct api_error *error) {
    struct completion_request request;
    struct generation_request *wanted = &generation->request;
    struct string_buffer prefix = {0};
    struct error cause = {0};
    if (!read_request(generation, model, body, &request, error)) {
        return false;
    }
    if (!model->fill_in_middle.is_known) {
        return api_error_set(error, 400, "unsupported_value", NULL,
                             "This model cannot fill in the middle: its vocabulary has no tokens "
                             "for it.");
    }
    wanted->prompts = arena_alloc(&generation->arena, 1, sizeof *wanted->prompts);
    if (wanted->prompts == NULL) {
        return api_error_out_of_memory(error);
    }
    wanted->prompt_count = 1;
    bool ok = append_extra(request.input_extra, &prefix, error);
    string_buffer_append_text(&prefix, request.input_prefix);
    if (ok && json_is_string(request.shared.prompt)) { /* what has been typed since the prefix */
        string_buffer_append_text(&prefix, json_string_value(request.shared.prompt));
    }
    ok = ok && openai_check_prompt_bytes(prefix.length + strlen(request.input_suffix), model,
                                         "input_prefix", error);
    if (ok &&
        (prefix.failed || !fill_in_middle_encode(
                              &model->fill_in_middle, model->tokenizer,
                              (struct string_view){string_buffer_text(&prefix), prefix.length},
                              string_view_of(request.input_suffix), &wanted->prompts[0], &cause))) {
        ok = api_error_from(error, &cause, "input_prefix");
    }
    string_buffer_deinit(&prefix);
    return ok && openai_check_prompt(&wanted->prompts[0], model, "input_prefix", error) &&
           openai_request_apply(&request.shared, model, 1, wanted, error) &&
           answer_format_compile(&request.shared.format, &wanted->grammar, error);
}

const struct generation_kind llama_infill_kind = {
    .route = "/infill",
    .id_prefix = "infill-",
    .prompt_field = "input_prefix",
    .prepare = prepare_infill,
};
