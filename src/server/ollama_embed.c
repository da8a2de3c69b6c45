/*
 * ollama_embed.c - /api/embed and the older /api/embeddings: texts to vectors of length 1.
 */
#include "server/ollama.h"
#include "server/ollama_request.h"
#include "server/openai.h"
#include "server/openai_request.h"
#include "server/server_internal.h"

#include <string.h>

enum {
    MAX_INPUTS = 2048,
    AT_ONCE = 8, /* inputs in the engine, so that a long list leaves others their turn */
};

struct embed_request {
    const char *model; /* borrowed from the body */
    const json_t *input;
    const char *prompt;
    bool truncate;
    int64_t dimensions; /* 0: all */
};

struct embed_answer {
    const char *name; /* of the model, as the request has it */
    size_t dimensions;
    bool is_old; /* one vector and nothing else */
};

/* --- the answer --- */

static void on_token(struct generation_choice *choice, const struct engine_event *event) {
    (void)choice; /* an embedding comes with the last event alone */
    (void)event;
}

static void on_choice_done(struct generation_choice *choice, const struct engine_event *event) {
    const struct embed_answer *answer = choice->generation->details;
    if (event->embedding == NULL) {
        choice->text.failed = true;
        return;
    }
    openai_shorten_embedding(event->embedding, answer->dimensions);
    struct json_writer json = {.out = &choice->text};
    json_write_array_begin(&json);
    for (size_t i = 0; i < answer->dimensions; i++) {
        json_write_number(&json, (double)event->embedding[i]);
    }
    json_write_array_end(&json);
}

static void write_vectors(struct json_writer *json, struct generation *generation) {
    for (size_t i = 0; i < generation->choice_count; i++) {
        struct string_buffer *values = &generation->choices[i].text;
        json_write_raw_of(json, values);
        string_buffer_deinit(values);
    }
}

static void write_answer(struct json_writer *json, struct generation *generation) {
    const struct embed_answer *answer = generation->details;
    json_write_object_begin(json);
    if (answer->is_old) {
        json_write_key(json, "embedding");
        if (generation->choice_count == 0) {
            json_write_raw(json, "[]", 2);
        }
        write_vectors(json, generation);
    } else {
        json_write_text_member(json, "model", answer->name);
        json_write_key(json, "embeddings");
        json_write_array_begin(json);
        write_vectors(json, generation);
        json_write_array_end(json);
        ollama_write_durations(json, generation);
        json_write_integer_member(json, "prompt_eval_count",
                                  generation->choice_count == 0
                                      ? 0
                                      : (int64_t)generation_usage(generation).prompt_tokens);
    }
    json_write_object_end(json);
}

static void on_all_done(struct generation *generation) {
    struct string_buffer text = {0};
    struct json_writer json = {.out = &text};
    write_answer(&json, generation);
    server_send_json(generation->connection, 200, &text);
    string_buffer_deinit(&text);
}

static const struct generation_format format = {
    .token = on_token, .choice_done = on_choice_done, .all_done = on_all_done};

/* --- the request --- */

#define TARGET(member) .target = offsetof(struct embed_request, member)
static const struct request_field fields[] = {
    {"model", FIELD_TEXT, TARGET(model)},
    {"input", FIELD_CUSTOM, TARGET(input), .read = openai_read_any},
    {"prompt", FIELD_TEXT, TARGET(prompt)},
    {"truncate", FIELD_BOOL, TARGET(truncate)},
    {"dimensions", FIELD_INTEGER, 0, 1e9, TARGET(dimensions)},
    {.name = NULL},
};
#undef TARGET

static bool read_text(const char *text, size_t length, const struct embed_request *request,
                      const struct served_model *model, struct token_list *prompt,
                      struct api_error *error) {
    struct error cause = {0};
    size_t limit = model->info->context_length;
    size_t most_bytes = limit * (model->longest_piece + 1); /* more cannot be in the part kept */
    if (length > most_bytes) {
        if (!request->truncate) {
            return ollama_too_long(error);
        }
        length = most_bytes;
    }
    if (!tokenizer_encode(model->tokenizer, text, length, true, false, prompt, &cause)) {
        return api_error_from(error, &cause, "input");
    }
    if (prompt->count == 0) {
        return api_error_set(error, 400, "invalid_value", "input",
                             "input cannot be an empty string");
    }
    if (prompt->count > limit) {
        prompt->count = limit;
        return request->truncate || ollama_too_long(error);
    }
    return true;
}

static bool is_empty_text(const json_t *value) {
    return json_is_string(value) && json_string_length(value) == 0;
}

static bool read_input(const struct embed_request *request, const struct served_model *model,
                       struct generation *generation, struct api_error *error) {
    struct generation_request *wanted = &generation->request;
    const json_t *input = request->input;
    bool is_one = !json_is_array(input);
    size_t count = is_one ? 1 : json_array_size(input);
    if (count > MAX_INPUTS) {
        return api_error_set(error, 400, "invalid_value", "input",
                             "input has %zu texts; up to %d are possible", count, MAX_INPUTS);
    }
    wanted->prompts = arena_alloc(&generation->arena, count + 1, sizeof *wanted->prompts);
    if (wanted->prompts == NULL) {
        return api_error_out_of_memory(error);
    }
    wanted->prompt_count = count;
    for (size_t i = 0; i < count; i++) {
        const json_t *text = is_one ? input : json_array_get(input, i);
        if (!json_is_string(text) || is_empty_text(text)) {
            return api_error_set(error, 400, "invalid_type", "input", "%s",
                                 is_empty_text(text)
                                     ? "input cannot be an empty string"
                                     : "invalid input type: a string or a list of strings");
        }
        if (!read_text(json_string_value(text), json_string_length(text), request, model,
                       &wanted->prompts[i], error)) {
            return false;
        }
    }
    return true;
}

static bool prepare_answer(struct generation *generation, const struct embed_request *request,
                           const struct served_model *model, bool is_old, struct api_error *error) {
    struct embed_answer *answer = arena_alloc(&generation->arena, 1, sizeof *answer);
    size_t width = model->info->embedding_length;
    if (answer == NULL) {
        return api_error_out_of_memory(error);
    }
    answer->name = arena_copy_text(&generation->arena, request->model, strlen(request->model));
    answer->is_old = is_old;
    answer->dimensions = request->dimensions > 0 && (uint64_t)request->dimensions < width
                             ? (size_t)request->dimensions
                             : width;
    generation->details = answer;
    generation->format = &format;
    generation->request.embed = true;
    generation->request.choices_per_prompt = 1;
    generation->request.max_at_once = AT_ONCE;
    return answer->name != NULL || api_error_out_of_memory(error);
}

static bool prepare_any(struct generation *generation, const struct served_model *model,
                        const json_t *body, bool is_old, struct api_error *error) {
    struct embed_request request = {.truncate = true};
    if (!request_fields_read(fields, body, &request, error)) {
        return false;
    }
    if (!prepare_answer(generation, &request, model, is_old, error)) {
        return false;
    }
    const json_t *input = is_old ? json_object_get(body, "prompt") : request.input;
    if (input == NULL || json_is_null(input) || is_empty_text(input) ||
        (json_is_array(input) && json_array_size(input) == 0)) { /* only loads the model */
        struct json_writer json = {.out = &generation->answer};
        write_answer(&json, generation);
        return true;
    }
    request.input = input;
    return read_input(&request, model, generation, error);
}

static bool prepare_embed(struct generation *generation, const struct served_model *model,
                          const json_t *body, struct api_error *error) {
    return prepare_any(generation, model, body, false, error);
}

static bool prepare_embeddings(struct generation *generation, const struct served_model *model,
                               const json_t *body, struct api_error *error) {
    return prepare_any(generation, model, body, true, error);
}

static void unknown_model(const char *name, struct api_error *error) {
    api_error_set(error, 404, "model_not_found", "model",
                  "model \"%.200s\" not found, try pulling it first", name);
}

const struct generation_kind ollama_embed_kind = {
    .route = "/api/embed",
    .id_prefix = "ollama-",
    .prompt_field = "input",
    .choose_model = ollama_choose_model,
    .unknown_model = unknown_model,
    .prepare = prepare_embed,
};

const struct generation_kind ollama_embeddings_kind = {
    .route = "/api/embeddings",
    .id_prefix = "ollama-",
    .prompt_field = "prompt",
    .choose_model = ollama_choose_model,
    .unknown_model = unknown_model,
    .prepare = prepare_embeddings,
};
