/* chat_prompt.c - see chat_prompt.h. */
#include "text/chat_prompt.h"

#include <jansson.h>

/* "" for a token the vocabulary does not have, as templates expect. */
static json_t *token_text(const struct tokenizer *tokenizer, int32_t id) {
    struct string_view piece = {"", 0};
    if (id != TOKEN_NONE) {
        piece = tokenizer_piece(tokenizer, id, true);
    }
    return json_stringn(piece.data == NULL ? "" : piece.data, piece.length);
}

static bool encode_rendered(const struct tokenizer *tokenizer, const struct string_buffer *text,
                            struct token_list *out, struct error *error) {
    struct string_view rendered = {string_buffer_text(text), text->length};
    int32_t bos = tokenizer_bos(tokenizer);
    struct string_view bos_text = {"", 0};
    if (bos != TOKEN_NONE) {
        bos_text = tokenizer_piece(tokenizer, bos, true);
    }
    /* A template that writes the BOS itself must not get a second one. */
    bool has_bos =
        bos_text.length > 0 && rendered.length >= bos_text.length &&
        string_view_equals((struct string_view){rendered.data, bos_text.length}, bos_text);
    return tokenizer_encode(tokenizer, rendered.data, rendered.length, !has_bos, true, out, error);
}

bool chat_prompt_encode(const struct chat_template *chat_template,
                        const struct tokenizer *tokenizer, const struct json_t *messages,
                        struct token_list *out, struct error *error) {
    struct string_buffer text = {0};
    bool done = false;
    json_t *context = json_object();
    /* jansson counts references in the value itself: holding one does not change the messages. */
    json_t *shared = (json_t *)(uintptr_t)messages;
    if (context == NULL || json_object_set(context, "messages", shared) != 0 ||
        json_object_set_new(context, "add_generation_prompt", json_true()) != 0 ||
        json_object_set_new(context, "bos_token",
                            token_text(tokenizer, tokenizer_bos(tokenizer))) != 0 ||
        json_object_set_new(context, "eos_token",
                            token_text(tokenizer, tokenizer_eos(tokenizer))) != 0) {
        error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the conversation");
        goto cleanup;
    }
    if (!chat_template_render(chat_template, context, &text, error)) {
        goto cleanup;
    }
    if (text.failed) {
        error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the rendered conversation");
        goto cleanup;
    }
    done = encode_rendered(tokenizer, &text, out, error);
cleanup:
    json_decref(context);
    string_buffer_deinit(&text);
    return done;
}

bool chat_prompt_encode_text(const struct chat_template *chat_template,
                             const struct tokenizer *tokenizer, const char *messages, size_t length,
                             struct token_list *out, struct error *error) {
    json_error_t at;
    json_t *array = json_loadb(messages, length, JSON_REJECT_DUPLICATES, &at);
    bool done = false;
    if (array == NULL) {
        error_set(error, ERROR_INVALID_ARGUMENT, "the messages are not valid JSON: line %d: %s",
                  at.line, at.text);
    } else if (!json_is_array(array)) {
        error_set(error, ERROR_INVALID_ARGUMENT, "the messages are not a JSON array");
    } else {
        done = chat_prompt_encode(chat_template, tokenizer, array, out, error);
    }
    json_decref(array);
    return done;
}
