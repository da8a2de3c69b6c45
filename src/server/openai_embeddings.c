/*
 * openai_embeddings.c - /v1/embeddings: texts to vectors of length 1, as numbers or in base64.
 *
 * Each input is one sequence of the engine; a long list is given to it a few at a time.
 */
#include "base/bytes.h"
#include "server/openai.h"
#include "server/openai_answer.h"
#include "server/openai_request.h"
#include "server/server_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    MAX_INPUTS = 2048, /* OpenAI's */
    AT_ONCE = 8,       /* inputs in the engine, so that a long list leaves others their turn */
};

struct embeddings_request {
    struct openai_request shared; /* first: one table fills both */
    const json_t *input;
    const char *encoding_format;
    int64_t dimensions; /* OPENAI_NOT_GIVEN: all */
};

struct embeddings_answer {
    struct openai_answer shared; /* first */
    size_t dimensions;
    bool is_base64;
};

/* --- the answer --- */

static void write_base64(struct string_buffer *out, const unsigned char *bytes, size_t length) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < length; i += 3) {
        size_t left = size_min(length - i, 3);
        uint32_t group = (uint32_t)bytes[i] << 16;
        group |= left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0;
        group |= left > 2 ? (uint32_t)bytes[i + 2] : 0;
        string_buffer_append_char(out, digits[group >> 18]);
        string_buffer_append_char(out, digits[group >> 12 & 63]);
        string_buffer_append_char(out, left > 1 ? digits[group >> 6 & 63] : '=');
        string_buffer_append_char(out, left > 2 ? digits[group & 63] : '=');
    }
}

static void write_float_bytes(struct string_buffer *out, const float *values, size_t count) {
    struct string_buffer bytes = {0};
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        for (size_t k = 0; k < 4; k++) { /* little-endian, whatever this machine is */
            string_buffer_append_char(&bytes, (char)(bits >> 8 * k & 255));
        }
    }
    string_buffer_append_char(out, '"');
    write_base64(out, (const unsigned char *)string_buffer_text(&bytes), bytes.length);
    string_buffer_append_char(out, '"');
    out->failed = out->failed || bytes.failed;
    string_buffer_deinit(&bytes);
}

void openai_shorten_embedding(float *values, size_t count) {
    double square = 0;
    for (size_t i = 0; i < count; i++) {
        square += (double)values[i] * (double)values[i];
    }
    double scale = square > 0 ? 1 / sqrt(square) : 0;
    for (size_t i = 0; i < count; i++) {
        values[i] = (float)((double)values[i] * scale);
    }
}

static void token(struct generation_choice *choice, const struct engine_event *event) {
    (void)choice; /* an embedding comes with the last event alone */
    (void)event;
}

static void choice_done(struct generation_choice *choice, const struct engine_event *event) {
    const struct embeddings_answer *answer = choice->generation->details;
    size_t width = answer->shared.model->info->embedding_length;
    if (event->embedding == NULL) {
        choice->text.failed = true;
        return;
    }
    if (answer->dimensions < width) {
        openai_shorten_embedding(event->embedding, answer->dimensions);
    }
    if (answer->is_base64) {
        write_float_bytes(&choice->text, event->embedding, answer->dimensions);
        return;
    }
    struct json_writer json = {.out = &choice->text};
    json_write_array_begin(&json);
    for (size_t i = 0; i < answer->dimensions; i++) {
        json_write_number(&json, (double)event->embedding[i]);
    }
    json_write_array_end(&json);
}

static void all_done(struct generation *generation) {
    const struct embeddings_answer *answer = generation->details;
    struct engine_usage usage = generation_usage(generation);
    struct string_buffer text = {0};
    struct json_writer json = {.out = &text};
    json_write_object_begin(&json);
    json_write_text_member(&json, "object", "list");
    json_write_key(&json, "data");
    json_write_array_begin(&json);
    for (size_t i = 0; i < generation->choice_count; i++) {
        struct string_buffer *values = &generation->choices[i].text;
        json_write_object_begin(&json);
        json_write_text_member(&json, "object", "embedding");
        json_write_integer_member(&json, "index", (int64_t)i);
        json_write_key(&json, "embedding");
        json_write_raw_of(&json, values);
        json_write_object_end(&json);
        text.failed = text.failed || values->failed;
        string_buffer_deinit(values);
    }
    json_write_array_end(&json);
    json_write_text_member(&json, "model", answer->shared.model->id);
    json_write_key(&json, "usage");
    json_write_object_begin(&json);
    json_write_integer_member(&json, "prompt_tokens", (int64_t)usage.prompt_tokens);
    json_write_integer_member(&json, "total_tokens", (int64_t)usage.prompt_tokens);
    json_write_object_end(&json);
    json_write_object_end(&json);
    server_send_json(generation->connection, 200, &text);
    string_buffer_deinit(&text);
}

static const struct generation_format format = {
    .token = token, .choice_done = choice_done, .all_done = all_done};

/* --- the request --- */

#define TARGET(member) .target = offsetof(struct embeddings_request, member)
static const struct request_field fields[] = {
    {"input", FIELD_CUSTOM, TARGET(input), .read = openai_read_any},
    {"encoding_format", FIELD_TEXT, TARGET(encoding_format)},
    {"dimensions", FIELD_INTEGER, 1, 1e9, TARGET(dimensions)},
    {.name = NULL},
};
#undef TARGET

static bool read_input(const json_t *value, const char *name, const struct served_model *model,
                       struct token_list *prompt, struct api_error *error) {
    struct error cause = {0};
    if (json_is_integer(value) || json_is_array(value)) {
        return api_error_set(error, 400, "invalid_type", "input",
                             "Invalid '%s': token ids belong to the tokenizer they came from, "
                             "which need not be this model's. Send the text. (LangChain: "
                             "OpenAIEmbeddings(check_embedding_ctx_length=False).)",
                             name);
    }
    if (!json_is_string(value)) {
        return request_field_wrong_type(name, "a string or an array of strings", value, error);
    }
    size_t length = json_string_length(value);
    if (length == 0) {
        return api_error_set(error, 400, "invalid_value", "input",
                             "Invalid '%s': it is empty, there is nothing to embed.", name);
    }
    if (!openai_check_prompt_bytes(length, model, "input", error)) {
        return false;
    }
    if (!tokenizer_encode(model->tokenizer, json_string_value(value), length, true, false, prompt,
                          &cause)) {
        return api_error_from(error, &cause, "input");
    }
    size_t limit = model->info->context_length;
    return (prompt->count != 0 && prompt->count <= limit) ||
           api_error_set(error, 400, "context_length_exceeded", "input",
                         "Invalid '%s': it has %zu tokens; this model takes from 1 to %zu.", name,
                         prompt->count, limit);
}

static bool read_inputs(const json_t *value, const struct served_model *model, struct arena *arena,
                        struct generation_request *wanted, struct api_error *error) {
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    if (value == NULL) {
        return api_error_set(error, 400, "missing_required_parameter", "input",
                             "Missing required parameter: 'input'.");
    }
    if (count == 0 || count > MAX_INPUTS) {
        return api_error_set(error, 400, "invalid_value", "input",
                             "Invalid 'input': it has %zu inputs; from 1 to %d are possible.",
                             count, MAX_INPUTS);
    }
    wanted->prompts = arena_alloc(arena, count, sizeof *wanted->prompts);
    if (wanted->prompts == NULL) {
        return api_error_out_of_memory(error);
    }
    wanted->prompt_count = count;
    for (size_t i = 0; i < count; i++) {
        char name[40] = "input";
        if (json_is_array(value)) {
            snprintf(name, sizeof name, "input[%zu]", i);
        }
        if (!read_input(json_is_array(value) ? json_array_get(value, i) : value, name, model,
                        &wanted->prompts[i], error)) {
            return false;
        }
    }
    return true;
}

static bool prepare_answer(struct generation *generation, const struct embeddings_request *request,
                           const struct served_model *model, struct api_error *error) {
    struct embeddings_answer *answer = arena_alloc(&generation->arena, 1, sizeof *answer);
    const char *form = request->encoding_format;
    size_t width = model->info->embedding_length;
    if (answer == NULL) {
        return api_error_out_of_memory(error);
    }
    answer->shared.model = model;
    answer->is_base64 = form != NULL && strcmp(form, "base64") == 0;
    if (form != NULL && !answer->is_base64 && strcmp(form, "float") != 0) {
        return api_error_set(error, 400, "invalid_value", "encoding_format",
                             "Invalid value: '%.40s'. Supported values are: 'float' and 'base64'.",
                             form);
    }
    if (request->dimensions > (int64_t)width) {
        return api_error_set(error, 400, "invalid_value", "dimensions",
                             "Invalid 'dimensions': this model's embeddings have %zu.", width);
    }
    answer->dimensions =
        request->dimensions == OPENAI_NOT_GIVEN ? width : (size_t)request->dimensions;
    generation->details = answer;
    generation->format = &format;
    return true;
}

static bool prepare(struct generation *generation, const struct served_model *model,
                    const json_t *body, struct api_error *error) {
    struct embeddings_request request = {.dimensions = OPENAI_NOT_GIVEN};
    struct generation_request *wanted = &generation->request;
    wanted->embed = true;
    wanted->choices_per_prompt = 1;
    wanted->max_at_once = AT_ONCE;
    return openai_request_read(body, fields, model, &generation->arena, &request.shared, error) &&
           prepare_answer(generation, &request, model, error) &&
           read_inputs(request.input, model, &generation->arena, wanted, error);
}

const struct generation_kind openai_embeddings_kind = {
    .route = "/v1/embeddings",
    .id_prefix = "embd-",
    .prompt_field = "input",
    .prepare = prepare,
};
