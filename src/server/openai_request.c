/* openai_request.c - see openai_request.h. */
#include "server/openai_request.h"

#include "base/bytes.h"
#include "base/random.h"
#include "server/served_model.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_STOPS = 16,       /* OpenAI allows 4 */
    MAX_STOP_BYTES = 1024 /* of one */
};

/* --- fields with a shape of their own --- */

bool openai_read_any(const struct request_field *field, const json_t *value, void *request,
                     struct api_error *error) {
    (void)error;
    void *target = (char *)request + field->target;
    const json_t **kept = target;
    *kept = value;
    return true;
}

static bool refuse(const struct request_field *field, struct api_error *error) {
    return api_error_set(error, 400, "unsupported_parameter", field->name,
                         "'%s' is not supported yet.", field->name);
}

bool openai_refuse_unless_empty(const struct request_field *field, const json_t *value,
                                void *request, struct api_error *error) {
    (void)request;
    bool is_empty = (json_is_array(value) && json_array_size(value) == 0) ||
                    (json_is_string(value) && json_string_length(value) == 0) ||
                    json_is_false(value);
    return is_empty || refuse(field, error);
}

static bool read_stream_options(const struct request_field *field, const json_t *value,
                                void *context, struct api_error *error) {
    struct openai_request *request = context;
    if (!json_is_object(value)) {
        return request_field_wrong_type(field->name, "an object", value, error);
    }
    request->has_stream_options = true;
    const json_t *include_usage = json_object_get(value, "include_usage");
    if (include_usage == NULL || json_is_null(include_usage)) {
        return true;
    }
    if (!json_is_boolean(include_usage)) {
        return request_field_wrong_type("stream_options.include_usage", "a boolean", include_usage,
                                        error);
    }
    request->include_usage = json_is_true(include_usage);
    return true;
}

static bool read_seed(const struct request_field *field, const json_t *value, void *context,
                      struct api_error *error) {
    struct openai_request *request = context;
    int64_t seed;
    if (!json_read_integer(value, &seed)) {
        return request_field_wrong_type(field->name, "an integer", value, error);
    }
    request->has_seed = true;
    request->sampling.seed = (uint64_t)seed;
    return true;
}

static bool add_stop(struct openai_request *request, const json_t *value, struct api_error *error) {
    size_t length = json_string_length(value);
    if (!json_is_string(value)) {
        return request_field_wrong_type("stop", "a string or an array of strings", value, error);
    }
    if (length == 0 || length > MAX_STOP_BYTES) {
        return api_error_set(error, 400, "invalid_value", "stop",
                             "Invalid 'stop': a stop sequence has from 1 to %d bytes.",
                             MAX_STOP_BYTES);
    }
    const char *copy = arena_copy_text(request->arena, json_string_value(value), length);
    if (copy == NULL) {
        return api_error_out_of_memory(error);
    }
    request->stops[request->stop_count++] = (struct string_view){copy, length};
    return true;
}

static bool read_stop(const struct request_field *field, const json_t *value, void *context,
                      struct api_error *error) {
    struct openai_request *request = context;
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    if (count > MAX_STOPS) {
        return api_error_set(error, 400, "array_above_max_length", field->name,
                             "Invalid 'stop': array too long. Expected an array with maximum "
                             "length %d, but got an array with length %zu instead.",
                             MAX_STOPS, count);
    }
    request->stops = arena_alloc(request->arena, count + 1, sizeof *request->stops);
    if (request->stops == NULL) {
        return api_error_out_of_memory(error);
    }
    if (!json_is_array(value)) {
        return add_stop(request, value, error);
    }
    for (size_t i = 0; i < count; i++) {
        if (!add_stop(request, json_array_get(value, i), error)) {
            return false;
        }
    }
    return true;
}

static bool parse_token_id(const char *text, int32_t *id) {
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || text[0] < '0' || text[0] > '9' ||
        value > INT32_MAX) {
        return false;
    }
    *id = (int32_t)value;
    return true;
}

static bool read_logit_bias(const struct request_field *field, const json_t *value, void *context,
                            struct api_error *error) {
    struct openai_request *request = context;
    if (!json_is_object(value)) {
        return request_field_wrong_type(field->name, "an object", value, error);
    }
    struct logit_bias *rows =
        arena_alloc(request->arena, json_object_size(value) + 1, sizeof *rows);
    if (rows == NULL) {
        return api_error_out_of_memory(error);
    }
    size_t count = 0;
    const char *key;
    json_t *bias;
    json_object_foreach((json_t *)(uintptr_t)value, key, bias) {
        if (!parse_token_id(key, &rows[count].token)) {
            return api_error_set(error, 400, "invalid_value", field->name,
                                 "Invalid key in 'logit_bias': '%.40s'. Keys are token ids.", key);
        }
        if (!json_is_number(bias)) {
            return request_field_wrong_type(field->name, "numbers as values", bias, error);
        }
        if (!request_field_in_range(field->name, false, json_number_value(bias), -100.0, 100.0,
                                    error)) {
            return false;
        }
        rows[count++].bias = (float)json_number_value(bias);
    }
    request->sampling.logit_bias = rows;
    request->sampling.logit_bias_count = count;
    return true;
}

/* --- the shared table --- */

#define TARGET(member) .target = offsetof(struct openai_request, member)
static const struct request_field shared_fields[] = {
    {"model", FIELD_TEXT, TARGET(model)},
    {"stream", FIELD_BOOL, TARGET(stream)},
    {"stream_options", FIELD_CUSTOM, .read = read_stream_options},
    {"n", FIELD_INTEGER, 1, 128, TARGET(choices_per_prompt)},
    {"temperature", FIELD_NUMBER, 0, 2, TARGET(sampling.temperature)},
    {"top_p", FIELD_NUMBER, 0, 1, TARGET(sampling.top_p)},
    {"top_k", FIELD_INTEGER, -1, INT32_MAX, TARGET(top_k)},
    {"min_p", FIELD_NUMBER, 0, 1, TARGET(sampling.min_p)},
    {"typical_p", FIELD_NUMBER, 0, 1, TARGET(sampling.typical_p)},
    {"presence_penalty", FIELD_NUMBER, -2, 2, TARGET(sampling.presence_penalty)},
    {"frequency_penalty", FIELD_NUMBER, -2, 2, TARGET(sampling.frequency_penalty)},
    {"repetition_penalty", FIELD_NUMBER, 0.01, 100, TARGET(sampling.repeat_penalty)},
    {"seed", FIELD_CUSTOM, .read = read_seed},
    {"stop", FIELD_CUSTOM, .read = read_stop},
    {"logit_bias", FIELD_CUSTOM, .read = read_logit_bias},
    {"ignore_eos", FIELD_BOOL, TARGET(ignore_end)},
    {"response_format", FIELD_CUSTOM, TARGET(format.response_format), .read = openai_read_any},
    {"json_schema", FIELD_CUSTOM, TARGET(format.json_schema), .read = openai_read_any},
    {"grammar", FIELD_CUSTOM, TARGET(format.gbnf), .read = openai_read_any},
    {"regex", FIELD_CUSTOM, TARGET(format.regex), .read = openai_read_any},
    {.name = NULL},
};
#undef TARGET

bool openai_request_read(const json_t *body, const struct request_field *own_fields,
                         const struct served_model *model, struct arena *arena,
                         struct openai_request *request, struct api_error *error) {
    *request = (struct openai_request){
        .arena = arena,
        .choices_per_prompt = 1,
        .max_tokens = OPENAI_NOT_GIVEN,
        .max_completion_tokens = OPENAI_NOT_GIVEN,
        .sampling = sampling_params_default(),
        .top_logprobs = OPENAI_NOT_GIVEN,
        .logprobs = OPENAI_NOT_GIVEN,
        .best_of = OPENAI_NOT_GIVEN,
    };
    request->sampling.temperature = model->default_temperature;
    if (!request_fields_read(shared_fields, body, request, error) ||
        !request_fields_read(own_fields, body, request, error)) {
        return false;
    }
    if (request->has_stream_options && !request->stream) {
        return api_error_set(error, 400, "invalid_value", "stream_options",
                             "The 'stream_options' parameter is only allowed when 'stream' is "
                             "enabled.");
    }
    return true;
}

bool openai_request_apply(const struct openai_request *request, const struct served_model *model,
                          size_t prompt_count, struct generation_request *wanted,
                          struct api_error *error) {
    size_t per_prompt = (size_t)request->choices_per_prompt;
    if (prompt_count > model->max_choices / per_prompt) {
        return api_error_set(
            error, 400, "integer_above_max_value", "n",
            "Invalid 'n': %zu answers to each of %zu prompts are more than the %zu "
            "this server gives at once.",
            per_prompt, prompt_count, model->max_choices);
    }
    int64_t most = request->max_completion_tokens != OPENAI_NOT_GIVEN
                       ? request->max_completion_tokens
                       : request->max_tokens;
    wanted->choices_per_prompt = per_prompt;
    wanted->max_tokens = most == OPENAI_NOT_GIVEN ? 0 : (size_t)most;
    wanted->sampling = request->sampling;
    wanted->sampling.top_k = (int32_t)request->top_k;
    if (!request->has_seed) {
        wanted->sampling.seed = random_fresh_seed();
    }
    wanted->stops = request->stops;
    wanted->stop_count = request->stop_count;
    wanted->ignore_end = request->ignore_end;
    struct error cause = {0};
    if (!sampling_params_check(&wanted->sampling, model->info->vocabulary_size, &cause)) {
        return api_error_from(error, &cause, NULL);
    }
    return true;
}

/* --- prompts --- */

static bool too_long(size_t tokens, bool is_lower_bound, const struct served_model *model,
                     const char *field, struct api_error *error) {
    return api_error_set(error, 400, "context_length_exceeded", field,
                         "This model's maximum context length is %zu tokens. However, your %s "
                         "resulted in %s%zu tokens. Please reduce the length of the %s.",
                         model->info->context_length, field, is_lower_bound ? "at least " : "",
                         tokens, field);
}

bool openai_check_prompt(const struct token_list *prompt, const struct served_model *model,
                         const char *field, struct api_error *error) {
    if (prompt->count == 0) {
        return api_error_set(error, 400, "invalid_value", field,
                             "Invalid '%s': it is empty, there is nothing to go on from.", field);
    }
    if (prompt->count >= model->info->context_length) {
        return too_long(prompt->count, false, model, field, error);
    }
    return true;
}

bool openai_check_prompt_bytes(size_t length, const struct served_model *model, const char *field,
                               struct api_error *error) {
    size_t least_tokens = length / size_max(model->longest_piece, 1);
    return least_tokens <= model->info->context_length ||
           too_long(least_tokens, true, model, field, error);
}
