/* openai_prompts.c - see openai_prompts.h. */
#include "server/openai_prompts.h"

#include "server/openai_request.h"
#include "server/request_fields.h"
#include "server/served_model.h"

#include <string.h>

static const char expected[] = "a string, an array of strings, or an array of token ids";

static bool keep_text(struct arena *arena, const char *text, size_t length,
                      struct string_view *kept, struct api_error *error) {
    kept->data = arena_copy_text(arena, text, length);
    kept->length = length;
    return kept->data != NULL || api_error_out_of_memory(error);
}

static bool read_text(const json_t *value, const char *suffix, const struct served_model *model,
                      struct arena *arena, struct token_list *prompt, struct string_view *text,
                      struct api_error *error) {
    size_t length = json_string_length(value);
    struct error cause = {0};
    if (!openai_check_prompt_bytes(length, model, "prompt", error) ||
        !keep_text(arena, json_string_value(value), length, text, error)) {
        return false;
    }
    bool ok = suffix != NULL ? fill_in_middle_encode(&model->fill_in_middle, model->tokenizer,
                                                     *text, string_view_of(suffix), prompt, &cause)
                             : tokenizer_encode(model->tokenizer, text->data, length, true, true,
                                                prompt, &cause);
    return ok || api_error_from(error, &cause, "prompt");
}

static bool read_tokens(const json_t *list, const struct served_model *model, struct arena *arena,
                        struct token_list *prompt, struct string_view *text,
                        struct api_error *error) {
    struct detokenizer detokenizer = {.tokenizer = model->tokenizer};
    struct string_buffer shown = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < json_array_size(list); i++) {
        const json_t *value = json_array_get(list, i);
        int64_t id;
        if (!json_read_integer(value, &id)) {
            ok = request_field_wrong_type("prompt", expected, value, error);
        } else if (id < 0 || (size_t)id >= model->info->vocabulary_size) {
            ok = api_error_set(error, 400, "invalid_value", "prompt",
                               "Invalid 'prompt': %lld is no token of this model; its tokens are "
                               "from 0 to %zu.",
                               (long long)id, model->info->vocabulary_size - 1);
        } else {
            ok = token_list_append(prompt, (int32_t)id) || api_error_out_of_memory(error);
            detokenizer_push(&detokenizer, (int32_t)id, &shown);
        }
    }
    detokenizer_finish(&detokenizer, &shown);
    ok = ok && (!shown.failed || api_error_out_of_memory(error)) &&
         keep_text(arena, string_buffer_text(&shown), shown.length, text, error);
    string_buffer_deinit(&shown);
    return ok;
}

static bool read_one(const json_t *value, const char *suffix, const struct served_model *model,
                     struct arena *arena, struct token_list *prompt, struct string_view *text,
                     struct api_error *error) {
    bool ok;
    if (json_is_string(value)) {
        ok = read_text(value, suffix, model, arena, prompt, text, error);
    } else if (suffix != NULL) {
        ok = api_error_set(error, 400, "invalid_value", "suffix",
                           "'suffix' goes with a prompt of text, not with token ids.");
    } else if (json_is_array(value)) {
        ok = read_tokens(value, model, arena, prompt, text, error);
    } else {
        ok = request_field_wrong_type("prompt", expected, value, error);
    }
    return ok && openai_check_prompt(prompt, model, "prompt", error);
}

static bool check_suffix(const char *suffix, const struct served_model *model,
                         struct api_error *error) {
    if (suffix != NULL && !model->fill_in_middle.is_known) {
        return api_error_set(error, 400, "unsupported_value", "suffix",
                             "This model cannot fill in the middle: its vocabulary has no tokens "
                             "for it. Leave 'suffix' out.");
    }
    return suffix == NULL || openai_check_prompt_bytes(strlen(suffix), model, "suffix", error);
}

bool openai_prompts_read(const json_t *value, const char *suffix, const struct served_model *model,
                         struct arena *arena, struct generation_request *wanted,
                         const struct string_view **texts, struct api_error *error) {
    suffix = suffix != NULL && suffix[0] != '\0' ? suffix : NULL;
    if (!check_suffix(suffix, model, error)) {
        return false;
    }
    if (value == NULL) {
        return api_error_set(error, 400, "missing_required_parameter", "prompt",
                             "Missing required parameter: 'prompt'.");
    }
    /* A list of prompts, unless it is one prompt given as token ids. */
    const json_t *first = json_is_array(value) ? json_array_get(value, 0) : NULL;
    bool is_list = json_is_string(first) || json_is_array(first);
    size_t count = is_list ? json_array_size(value) : 1;
    if (count > model->max_choices) {
        return api_error_set(error, 400, "array_above_max_length", "prompt",
                             "Invalid 'prompt': %zu prompts are more than the %zu this server "
                             "answers at once.",
                             count, model->max_choices);
    }
    struct string_view *kept = arena_alloc(arena, count, sizeof *kept);
    wanted->prompts = arena_alloc(arena, count, sizeof *wanted->prompts);
    if (kept == NULL || wanted->prompts == NULL) {
        return api_error_out_of_memory(error);
    }
    wanted->prompt_count = count;
    *texts = kept;
    for (size_t i = 0; i < count; i++) {
        if (!read_one(is_list ? json_array_get(value, i) : value, suffix, model, arena,
                      &wanted->prompts[i], &kept[i], error)) {
            return false;
        }
    }
    return true;
}
