/*
 * ollama_generate.c - /api/generate: a prompt, with the template or raw, to tokens.
 */
#include "server/ollama.h"
#include "server/ollama_defaults.h"
#include "server/ollama_request.h"
#include "server/openai_prompts.h"
#include "server/openai_request.h"
#include "server/server_internal.h"

#include <string.h>

/* A prompt this many times the context is refused, not cut: reading it would only cost time. */
enum { MOST_CONTEXTS_READ = 8 };

static bool has_text(const char *text) {
    return text != NULL && text[0] != '\0';
}

static bool read_context(const json_t *context, const struct served_model *model,
                         struct token_list *tokens, struct api_error *error) {
    if (context != NULL && !json_is_array(context)) {
        return request_field_wrong_type("context", "an array of token ids", context, error);
    }
    for (size_t i = 0; i < json_array_size(context); i++) {
        int64_t id;
        if (!json_read_integer(json_array_get(context, i), &id) || id < 0 ||
            (size_t)id >= model->info->vocabulary_size) {
            return api_error_set(error, 400, "invalid_value", "context",
                                 "invalid context: element %zu is no token of this model", i);
        }
        if (!token_list_append(tokens, (int32_t)id)) {
            return api_error_out_of_memory(error);
        }
    }
    return true;
}

/* The conversation that the prompt stands for: the system text, the model's own messages at its
 * beginning, the prompt. NULL: no memory. */
static json_t *make_messages(const struct ollama_request *request, const struct hub_model *entry) {
    bool goes_on = json_array_size(request->context) != 0;
    json_t *prompt = json_pack("[{s:s,s:s}]", "role", "user", "content", request->prompt);
    json_t *whole = prompt == NULL
                        ? NULL
                        : ollama_defaults_messages(goes_on ? NULL : entry, request->system, prompt);
    json_decref(prompt);
    return whole;
}

/* Through the model's template, or the client's own. */
static bool encode_messages(const struct ollama_request *request, const struct served_model *model,
                            struct generation *generation, const struct chat_wishes *wishes,
                            struct token_list *tokens, struct api_error *error) {
    json_t *messages = make_messages(request, generation->lease.entry);
    bool ok = (messages != NULL || api_error_out_of_memory(error)) &&
              chat_turn_encode(generation, model, messages, wishes, tokens, error) &&
              chat_turn_constrain(generation, wishes, &request->format, error);
    json_decref(messages);
    return ok;
}

/* The template is the client's; what the model thinks is marked as ever. */
static bool encode_with_template(const struct ollama_request *request,
                                 const struct served_model *model, struct generation *generation,
                                 struct chat_wishes *wishes, struct token_list *tokens,
                                 struct api_error *error) {
    struct error cause = {0};
    struct chat_template *own = NULL;
    const char *source = request->template_source;
    struct chat_traits *traits = &wishes->own_traits;
    if (!chat_template_create(source, strlen(source), &own, &cause)) {
        if (cause.code == ERROR_FORMAT) {
            cause.code = ERROR_INVALID_ARGUMENT;
            error_prefix(&cause, "template (Jinja; Go templates are not read)");
        }
        return api_error_from(error, &cause, "template");
    }
    if (!chat_traits_probe(own, source, model->tokenizer, traits, &cause)) {
        chat_template_free(own);
        return api_error_from(error, &cause, "template");
    }
    traits->thinking = model->chat_traits.thinking;
    chat_traits_find_controls(traits, model->tokenizer);
    wishes->own_template = own;
    bool ok = encode_messages(request, model, generation, wishes, tokens, error);
    chat_template_free(own);
    return ok;
}

/* A model without a template: the system text, an empty line, the prompt. */
static bool encode_plain(const struct ollama_request *request, const struct served_model *model,
                         struct token_list *tokens, struct error *cause) {
    struct string_buffer text = {0};
    bool has_system = !request->raw && has_text(request->system);
    string_buffer_append_format(&text, "%s%s", has_system ? request->system : "",
                                has_system ? "\n\n" : "");
    string_buffer_append_text(&text, request->prompt);
    bool ok = text.failed ? error_set(cause, ERROR_OUT_OF_MEMORY, "no memory for the prompt")
                          : tokenizer_encode(model->tokenizer, text.data, text.length, true, true,
                                             tokens, cause);
    string_buffer_deinit(&text);
    return ok;
}

static bool encode_text(const struct ollama_request *request, const struct served_model *model,
                        struct generation *generation, struct token_list *tokens,
                        struct api_error *error) {
    struct error cause = {0};
    bool ok = has_text(request->suffix)
                  ? fill_in_middle_encode(&model->fill_in_middle, model->tokenizer,
                                          string_view_of(request->prompt),
                                          string_view_of(request->suffix), tokens, &cause)
                  : encode_plain(request, model, tokens, &cause);
    return (ok || api_error_from(error, &cause, "prompt")) &&
           answer_format_compile(&request->format, &generation->request.grammar, error);
}

static bool encode_prompt(const struct ollama_request *request, const struct served_model *model,
                          struct generation *generation, struct token_list *tokens,
                          struct api_error *error) {
    struct chat_wishes wishes = {0};
    bool has_own = has_text(request->template_source);
    bool is_text =
        has_text(request->suffix) || request->raw || (!has_own && model->chat_template == NULL);
    bool ok = ollama_request_wishes(request, model, &wishes, error);
    if (ok && is_text) {
        ok = encode_text(request, model, generation, tokens, error);
    } else if (ok && has_own) {
        ok = encode_with_template(request, model, generation, &wishes, tokens, error);
    } else if (ok) {
        ok = encode_messages(request, model, generation, &wishes, tokens, error);
    }
    chat_wishes_deinit(&wishes);
    return ok;
}

/* After an earlier answer the text goes on: no second beginning. */
static bool append(struct token_list *tokens, const struct token_list *more,
                   const struct tokenizer *tokenizer, struct api_error *error) {
    bool skips = tokens->count != 0 && more->count != 0 && more->ids[0] == tokenizer_bos(tokenizer);
    for (size_t i = skips; i < more->count; i++) {
        if (!token_list_append(tokens, more->ids[i])) {
            return api_error_out_of_memory(error);
        }
    }
    return true;
}

/* Takes tokens out after the first num_keep, so that the end stays. */
static bool cut(const struct ollama_request *request, const struct served_model *model,
                struct token_list *tokens, struct api_error *error) {
    if (tokens->count < ollama_context_limit(request, model)) {
        return true;
    }
    if (!request->truncate) {
        return ollama_too_long(error);
    }
    size_t limit = ollama_prompt_limit(request, model);
    int64_t asked = request->options.num_keep;
    size_t kept = asked < 0 || (uint64_t)asked > limit / 2 ? limit / 2 : (size_t)asked;
    size_t removed = tokens->count - limit;
    memmove(tokens->ids + kept, tokens->ids + kept + removed,
            (tokens->count - kept - removed) * sizeof *tokens->ids);
    tokens->count = limit;
    return true;
}

static bool check_combination(const struct ollama_request *request,
                              const struct served_model *model, struct api_error *error) {
    if (request->raw && (has_text(request->template_source) || has_text(request->system) ||
                         json_array_size(request->context) != 0)) {
        return api_error_set(error, 400, "invalid_value", "raw",
                             "raw mode does not support template, system, or context");
    }
    if (has_text(request->suffix) && !model->fill_in_middle.is_known) {
        return api_error_set(error, 400, "unsupported_value", "suffix",
                             "%.200s does not support insert", request->model);
    }
    return true;
}

static bool prepare(struct generation *generation, const struct served_model *model,
                    const json_t *body, struct api_error *error) {
    struct ollama_request request;
    struct token_list prompt = {0};
    if (!ollama_request_read(generation, body, ollama_generate_fields, &request, error) ||
        !ollama_request_apply(&request, model, generation, error)) {
        return false;
    }
    if (!has_text(request.prompt) && !has_text(request.suffix)) {
        return ollama_request_idle(&request, generation, error);
    }
    request.prompt = request.prompt == NULL ? "" : request.prompt;
    struct ollama_answer *answer = generation->details;
    struct token_list *tokens = &generation->request.prompts[0];
    answer->tells_context = !request.raw;
    size_t most_bytes = model->info->context_length * model->longest_piece * MOST_CONTEXTS_READ;
    const struct hub_model *entry = generation->lease.entry;
    bool ok = check_combination(&request, model, error);
    if (!has_text(request.system) && !request.raw && entry != NULL) {
        request.system = entry->system;
    }
    ok = ok && (strlen(request.prompt) <= most_bytes || ollama_too_long(error)) &&
         read_context(request.context, model, tokens, error) &&
         encode_prompt(&request, model, generation, &prompt, error) &&
         append(tokens, &prompt, model->tokenizer, error) && cut(&request, model, tokens, error);
    token_list_deinit(&prompt);
    if (ok) {
        ollama_bound_answer(&request, model, &generation->request);
    }
    return ok;
}

const struct generation_kind ollama_generate_kind = {
    .route = "/api/generate",
    .id_prefix = "ollama-",
    .prompt_field = "prompt",
    .choose_model = ollama_choose_model,
    .unknown_model = ollama_unknown_model,
    .prepare = prepare,
};
