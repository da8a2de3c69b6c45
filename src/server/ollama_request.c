/* ollama_request.c - see ollama_request.h. */
#include "server/ollama_request.h"

#include "server/ollama_defaults.h"
#include "server/openai_request.h"
#include "server/server_internal.h"

#include <string.h>

enum { ROOM_FOR_ANSWER = 512 }; /* tokens, that a cut prompt leaves when num_predict says nothing */

static bool read_keep_alive(const struct request_field *field, const json_t *value, void *context,
                            struct api_error *error) {
    (void)field;
    struct ollama_request *request = context;
    request->has_keep_alive = true;
    return ollama_keep_alive_read(value, &request->keep_alive, error);
}

static bool read_think(const struct request_field *field, const json_t *value, void *context,
                       struct api_error *error) {
    static const char *const levels[] = {"low", "medium", "high", "max"};
    struct ollama_request *request = context;
    bool known = json_is_boolean(value);
    for (size_t i = 0; json_is_string(value) && i < sizeof levels / sizeof levels[0]; i++) {
        known = known || strcmp(json_string_value(value), levels[i]) == 0;
    }
    request->think = value;
    return known || api_error_set(error, 400, "invalid_value", field->name,
                                  "invalid think value: must be true, false, \"low\", \"medium\", "
                                  "\"high\" or \"max\"");
}

static bool refuse_images(const struct request_field *field, const json_t *value, void *context,
                          struct api_error *error) {
    (void)context;
    return json_array_size(value) == 0 ||
           api_error_set(error, 400, "unsupported_value", field->name,
                         "this model does not support image input");
}

#define TARGET(member) .target = offsetof(struct ollama_request, member)
static const struct request_field shared_fields[] = {
    {"model", FIELD_TEXT, TARGET(model)},
    {"stream", FIELD_BOOL, TARGET(is_stream)},
    {"keep_alive", FIELD_CUSTOM, .read = read_keep_alive},
    {"options", FIELD_CUSTOM, TARGET(options_json), .read = openai_read_any},
    {"format", FIELD_CUSTOM, TARGET(format.ollama), .read = openai_read_any},
    {"think", FIELD_CUSTOM, .read = read_think},
    {"truncate", FIELD_BOOL, TARGET(truncate)},
    {"logprobs", FIELD_BOOL, TARGET(want_logprobs)},
    {"top_logprobs", FIELD_INTEGER, 0, ENGINE_MAX_TOP_LOGPROBS, TARGET(top_logprobs)},
    {.name = NULL},
};

const struct request_field ollama_generate_fields[] = {
    {"prompt", FIELD_TEXT, TARGET(prompt)},
    {"suffix", FIELD_TEXT, TARGET(suffix)},
    {"system", FIELD_TEXT, TARGET(system)},
    {"template", FIELD_TEXT, TARGET(template_source)},
    {"context", FIELD_CUSTOM, TARGET(context), .read = openai_read_any},
    {"raw", FIELD_BOOL, TARGET(raw)},
    {"images", FIELD_CUSTOM, .read = refuse_images},
    {.name = NULL},
};

const struct request_field ollama_chat_fields[] = {
    {"messages", FIELD_CUSTOM, TARGET(messages), .read = openai_read_any},
    {"tools", FIELD_CUSTOM, TARGET(tools), .read = openai_read_any},
    {.name = NULL},
};
#undef TARGET

static bool model_is_required(struct api_error *error) {
    return api_error_set(error, 400, "missing_required_parameter", "model", "model is required");
}

bool ollama_choose_model(struct generation *generation, const json_t *body,
                         struct api_error *error) {
    const json_t *model = json_object_get(body, "model");
    if (model != NULL && !json_is_null(model) && !json_is_string(model)) {
        return request_field_wrong_type("model", "a string", model, error);
    }
    if (json_string_length(model) == 0) {
        return model_is_required(error);
    }
    const json_t *keep_alive = json_object_get(body, "keep_alive");
    struct api_error ignored;
    double seconds;
    if (keep_alive != NULL && !json_is_null(keep_alive) &&
        ollama_keep_alive_read(keep_alive, &seconds, &ignored)) {
        generation->keep_alive = seconds; /* what cannot be read is told of with the fields */
    }
    generation->model_name =
        arena_copy_text(&generation->arena, json_string_value(model), json_string_length(model));
    return generation->model_name != NULL || api_error_out_of_memory(error);
}

void ollama_unknown_model(const char *name, struct api_error *error) {
    api_error_set(error, 404, "model_not_found", "model", "model '%.200s' not found", name);
}

bool ollama_request_read(struct generation *generation, const json_t *body,
                         const struct request_field *own_fields, struct ollama_request *request,
                         struct api_error *error) {
    *request = (struct ollama_request){.is_stream = true, .truncate = true};
    if (!request_fields_read(shared_fields, body, request, error) ||
        !request_fields_read(own_fields, body, request, error)) {
        return false;
    }
    if (request->model == NULL || request->model[0] == '\0') {
        return model_is_required(error);
    }
    request->options =
        ollama_options_default(&generation->arena, generation->server->options->ollama_temperature);
    ollama_defaults_options(generation->lease.entry, &request->options);
    return ollama_options_read(request->options_json, &request->options, error);
}

static struct ollama_answer *new_answer(const struct ollama_request *request,
                                        const struct served_model *model,
                                        struct generation *generation) {
    struct ollama_answer *answer = arena_alloc(&generation->arena, 1, sizeof *answer);
    char *name = arena_copy_text(&generation->arena, request->model, strlen(request->model));
    if (answer == NULL || name == NULL) {
        return NULL;
    }
    *answer = (struct ollama_answer){
        .model = model,
        .name = name,
        .is_stream = request->is_stream,
        .want_logprobs = request->want_logprobs,
    };
    return answer;
}

bool ollama_request_apply(const struct ollama_request *request, const struct served_model *model,
                          struct generation *generation, struct api_error *error) {
    struct generation_request *wanted = &generation->request;
    struct ollama_answer *answer = new_answer(request, model, generation);
    wanted->prompts = arena_alloc(&generation->arena, 1, sizeof *wanted->prompts);
    if (answer == NULL || wanted->prompts == NULL) {
        return api_error_out_of_memory(error);
    }
    generation->details = answer;
    generation->format = &ollama_format;
    wanted->prompt_count = 1;
    wanted->choices_per_prompt = 1;
    wanted->want_logprobs = request->want_logprobs;
    wanted->top_logprobs = request->want_logprobs ? (size_t)request->top_logprobs : 0;
    wanted->stops = request->options.stops;
    wanted->stop_count = request->options.stop_count;
    return ollama_options_sampling(&request->options, model->info->vocabulary_size,
                                   &wanted->sampling, error);
}

/* true asks for as much as templates that know degrees can give. */
static bool set_thinking(const struct ollama_request *request, struct chat_wishes *wishes,
                         struct api_error *error) {
    const char *level = json_string_value(request->think);
    bool enabled = level != NULL || json_is_true(request->think);
    return chat_wishes_set_thinking(wishes, enabled,
                                    level != NULL ? level
                                    : enabled     ? "high"
                                                  : "none",
                                    error);
}

bool ollama_request_wishes(const struct ollama_request *request, const struct served_model *model,
                           struct chat_wishes *wishes, struct api_error *error) {
    bool can_think = model->chat_traits.supports_thinking;
    if (request->think != NULL && !json_is_false(request->think) && !can_think) {
        return api_error_set(error, 400, "unsupported_value", "think",
                             "\"%.200s\" does not support thinking", request->model);
    }
    if (!chat_wishes_read_tools(request->tools, wishes, error)) {
        return false;
    }
    if (request->think != NULL && can_think && !set_thinking(request, wishes, error)) {
        chat_wishes_deinit(wishes);
        return false;
    }
    return true;
}

bool ollama_request_idle(const struct ollama_request *request, struct generation *generation,
                         struct api_error *error) {
    bool unloads = request->has_keep_alive && request->keep_alive == 0;
    if (!answer_format_compile(&request->format, &generation->request.grammar, error)) {
        return false;
    }
    ollama_write_idle(generation, unloads ? "unload" : "load");
    return true;
}

size_t ollama_context_limit(const struct ollama_request *request,
                            const struct served_model *model) {
    size_t most = model->info->context_length;
    int64_t asked = request->options.num_ctx;
    return asked > 0 && (uint64_t)asked < most ? (size_t)asked : most;
}

size_t ollama_prompt_limit(const struct ollama_request *request, const struct served_model *model) {
    size_t limit = ollama_context_limit(request, model);
    int64_t predict = request->options.num_predict;
    size_t room = predict > 0 && predict < ROOM_FOR_ANSWER ? (size_t)predict : ROOM_FOR_ANSWER;
    size_t most_room = limit / 4;
    room = room < most_room ? room : most_room;
    return limit - (room == 0 ? 1 : room);
}

void ollama_bound_answer(const struct ollama_request *request, const struct served_model *model,
                         struct generation_request *wanted) {
    size_t limit = ollama_context_limit(request, model);
    size_t used = wanted->prompts[0].count;
    int64_t predict = request->options.num_predict;
    if (used >= limit) { /* the part that may not be cut is longer than num_ctx */
        limit = model->info->context_length;
    }
    size_t left = limit > used ? limit - used : 1;
    wanted->max_tokens = predict > 0 && (uint64_t)predict < left ? (size_t)predict : left;
}

bool ollama_too_long(struct api_error *error) {
    return api_error_set(error, 400, "context_length_exceeded", "prompt",
                         "the input length exceeds the context length");
}
