/*
 * llama_server_text.c - /tokenize, /detokenize, /apply-template, /props: what can be said of a text
 * and a model without running it.
 */
#include "base/utf8.h"
#include "server/llama_server.h"
#include "server/openai.h"
#include "server/openai_request.h"
#include "server/server_internal.h"

#include <string.h>

/* --- /tokenize --- */

struct tokenize_request {
    struct openai_request shared; /* first: for `model` */
    const json_t *content;
    bool add_special, parse_special, with_pieces;
};

#define TARGET(member) .target = offsetof(struct tokenize_request, member)
static const struct request_field tokenize_fields[] = {
    {"content", FIELD_CUSTOM, TARGET(content), .read = openai_read_any},
    {"add_special", FIELD_BOOL, TARGET(add_special)},
    {"parse_special", FIELD_BOOL, TARGET(parse_special)},
    {"with_pieces", FIELD_BOOL, TARGET(with_pieces)},
    {.name = NULL},
};
#undef TARGET

/* The piece as text, or as a list of bytes where it is no whole character. */
static void write_piece(struct json_writer *json, struct string_view piece) {
    if (utf8_validate(piece.data, piece.length, NULL)) {
        json_write_text(json, piece.data == NULL ? "" : piece.data, piece.length);
        return;
    }
    json_write_array_begin(json);
    for (size_t i = 0; i < piece.length; i++) {
        json_write_integer(json, (unsigned char)piece.data[i]);
    }
    json_write_array_end(json);
}

static void write_tokens(struct string_buffer *out, const struct served_model *model,
                         const struct token_list *tokens, bool with_pieces) {
    struct json_writer json = {.out = out};
    json_write_object_begin(&json);
    json_write_key(&json, "tokens");
    json_write_array_begin(&json);
    for (size_t i = 0; i < tokens->count; i++) {
        if (!with_pieces) {
            json_write_integer(&json, tokens->ids[i]);
            continue;
        }
        json_write_object_begin(&json);
        json_write_integer_member(&json, "id", tokens->ids[i]);
        json_write_key(&json, "piece");
        write_piece(&json, tokenizer_piece(model->tokenizer, tokens->ids[i], true));
        json_write_object_end(&json);
    }
    json_write_array_end(&json);
    json_write_object_end(&json);
}

static bool prepare_tokenize(struct generation *generation, const struct served_model *model,
                             const json_t *body, struct api_error *error) {
    struct tokenize_request request = {.parse_special = true};
    struct token_list tokens = {0};
    struct error cause = {0};
    if (!openai_request_read(body, tokenize_fields, model, &generation->arena, &request.shared,
                             error)) {
        return false;
    }
    if (request.content == NULL) {
        return api_error_set(error, 400, "missing_required_parameter", "content",
                             "Missing required parameter: 'content'.");
    }
    if (!json_is_string(request.content)) {
        return request_field_wrong_type("content", "a string", request.content, error);
    }
    bool ok = tokenizer_encode(model->tokenizer, json_string_value(request.content),
                               json_string_length(request.content), request.add_special,
                               request.parse_special, &tokens, &cause);
    if (ok) {
        write_tokens(&generation->answer, model, &tokens, request.with_pieces);
    }
    token_list_deinit(&tokens);
    return ok || api_error_from(error, &cause, "content");
}

const struct generation_kind llama_tokenize_kind = {
    .route = "/tokenize",
    .id_prefix = "tokenize-",
    .prompt_field = "content",
    .prepare = prepare_tokenize,
};

/* --- /detokenize --- */

struct detokenize_request {
    struct openai_request shared; /* first */
    const json_t *tokens;
};

static const struct request_field detokenize_fields[] = {
    {"tokens", FIELD_CUSTOM, .target = offsetof(struct detokenize_request, tokens),
     .read = openai_read_any},
    {.name = NULL},
};

static bool decode(const json_t *list, const struct served_model *model, struct string_buffer *text,
                   struct api_error *error) {
    struct detokenizer detokenizer = {.tokenizer = model->tokenizer, .show_special = true};
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *value = json_array_get(list, i);
        int64_t id;
        if (!json_read_integer(value, &id)) {
            return request_field_wrong_type("tokens", "an array of token ids", value, error);
        }
        if (id < 0 || (size_t)id >= model->info->vocabulary_size) {
            return api_error_set(error, 400, "invalid_value", "tokens",
                                 "Invalid 'tokens': %lld is no token of this model; its tokens are "
                                 "from 0 to %zu.",
                                 (long long)id, model->info->vocabulary_size - 1);
        }
        detokenizer_push(&detokenizer, (int32_t)id, text);
    }
    detokenizer_finish(&detokenizer, text);
    return true;
}

static bool prepare_detokenize(struct generation *generation, const struct served_model *model,
                               const json_t *body, struct api_error *error) {
    struct detokenize_request request = {0};
    struct string_buffer text = {0};
    if (!openai_request_read(body, detokenize_fields, model, &generation->arena, &request.shared,
                             error)) {
        return false;
    }
    if (!json_is_array(request.tokens)) {
        return request.tokens == NULL
                   ? api_error_set(error, 400, "missing_required_parameter", "tokens",
                                   "Missing required parameter: 'tokens'.")
                   : request_field_wrong_type("tokens", "an array of token ids", request.tokens,
                                              error);
    }
    bool ok = decode(request.tokens, model, &text, error) &&
              (!text.failed || api_error_out_of_memory(error));
    if (ok) {
        struct json_writer json = {.out = &generation->answer};
        json_write_object_begin(&json);
        json_write_key(&json, "content");
        json_write_text_of(&json, &text);
        json_write_object_end(&json);
    }
    string_buffer_deinit(&text);
    return ok;
}

const struct generation_kind llama_detokenize_kind = {
    .route = "/detokenize",
    .id_prefix = "detokenize-",
    .prompt_field = "tokens",
    .prepare = prepare_detokenize,
};

/* --- /apply-template --- */

/* What the model will read for this chat request. A BOS in front is left out where /completion,
 * which the text is for, adds it again. */
static bool prepare_apply_template(struct generation *generation, const struct served_model *model,
                                   const json_t *body, struct api_error *error) {
    struct string_buffer text = {0};
    if (!openai_chat_kind.prepare(generation, model, body, error)) {
        return false;
    }
    const struct token_list *prompt = &generation->request.prompts[0];
    struct detokenizer detokenizer = {.tokenizer = model->tokenizer, .show_special = true};
    for (size_t i = 0; i < prompt->count; i++) {
        bool comes_again = i == 0 && tokenizer_adds_bos(model->tokenizer) &&
                           prompt->ids[i] == tokenizer_bos(model->tokenizer);
        if (!comes_again) {
            detokenizer_push(&detokenizer, prompt->ids[i], &text);
        }
    }
    detokenizer_finish(&detokenizer, &text);
    struct json_writer json = {.out = &generation->answer};
    json_write_object_begin(&json);
    json_write_key(&json, "prompt");
    json_write_text_of(&json, &text);
    json_write_object_end(&json);
    generation->answer.failed = generation->answer.failed || text.failed;
    string_buffer_deinit(&text);
    return true;
}

const struct generation_kind llama_apply_template_kind = {
    .route = "/apply-template",
    .id_prefix = "template-",
    .prompt_field = "messages",
    .prepare = prepare_apply_template,
};

/* --- /props --- */

static void write_token_member(struct json_writer *json, const char *name,
                               const struct served_model *model, int32_t token) {
    struct string_view piece = tokenizer_piece(model->tokenizer, token, true);
    json_write_key(json, name);
    json_write_text(json, piece.data == NULL ? "" : piece.data, piece.length);
}

static void write_default_sampling(struct json_writer *json, const struct served_model *model) {
    struct sampling_params sampling = sampling_params_default();
    sampling.temperature = model->default_temperature;
    const struct {
        const char *name;
        double value;
    } rows[] = {
        {"temperature", (double)sampling.temperature},
        {"top_k", sampling.top_k},
        {"top_p", (double)sampling.top_p},
        {"min_p", (double)sampling.min_p},
        {"typical_p", (double)sampling.typical_p},
        {"repeat_penalty", (double)sampling.repeat_penalty},
        {"presence_penalty", (double)sampling.presence_penalty},
        {"frequency_penalty", (double)sampling.frequency_penalty},
    };
    json_write_key(json, "params");
    json_write_object_begin(json);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_write_key(json, rows[i].name);
        json_write_number(json, rows[i].value);
    }
    json_write_object_end(json);
}

static bool prepare_props(struct generation *generation, const struct served_model *model,
                          const json_t *body, struct api_error *error) {
    (void)body;
    (void)error;
    struct json_writer json = {.out = &generation->answer};
    json_write_object_begin(&json);
    json_write_key(&json, "default_generation_settings");
    json_write_object_begin(&json);
    json_write_integer_member(&json, "n_ctx", (int64_t)model->info->context_length);
    write_default_sampling(&json, model);
    json_write_object_end(&json);
    json_write_integer_member(&json, "total_slots", (int64_t)model->info->max_running_requests);
    json_write_text_member(&json, "model_alias", model->id);
    json_write_text_member(&json, "model_path", model->info->path);
    json_write_key(&json, "modalities");
    json_write_object_begin(&json);
    json_write_key(&json, "vision");
    json_write_bool(&json, false);
    json_write_key(&json, "audio");
    json_write_bool(&json, false);
    json_write_object_end(&json);
    json_write_text_member(&json, "chat_template",
                           model->info->chat_template == NULL ? "" : model->info->chat_template);
    write_token_member(&json, "bos_token", model, tokenizer_bos(model->tokenizer));
    write_token_member(&json, "eos_token", model, tokenizer_eos(model->tokenizer));
    json_write_text_member(&json, "build_info", "mistral.c");
    json_write_object_end(&json);
    return true;
}

const struct generation_kind llama_props_kind = {
    .route = "/props",
    .id_prefix = "props-",
    .has_no_body = true,
    .prepare = prepare_props,
};
