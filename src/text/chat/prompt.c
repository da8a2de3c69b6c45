/* prompt.c - see prompt.h. */
#include "text/chat/prompt.h"

#include "base/json_memory.h"
#include "text/chat/messages.h"
#include "text/chat/plain_tools.h"

#include <jansson.h>
#include <stdint.h>
#include <string.h>

/* What the template is given, and which texts of it are not a user's. */
struct context {
    json_t *values;
    json_t *roles[CHAT_ROLE_COUNT];
    struct string_view trusted[CHAT_ROLE_COUNT + 2]; /* the roles, BOS, EOS */
};

/* "" for a token the vocabulary does not have, as templates expect. */
static json_t *token_text(const struct tokenizer *tokenizer, int32_t id) {
    struct string_view piece = {"", 0};
    if (id != TOKEN_NONE) {
        piece = tokenizer_piece(tokenizer, id, true);
    }
    return json_stringn(piece.data == NULL ? "" : piece.data, piece.length);
}

static struct string_view view_of(const json_t *text) {
    return (struct string_view){json_string_value(text), json_string_length(text)};
}

/* jansson counts references in the value itself: holding one does not change what it holds. */
static json_t *shared(const json_t *value) {
    return json_incref((json_t *)(uintptr_t)value);
}

static bool set(json_t *object, const char *name, json_t *value) {
    return json_object_set_new(object, name, value) == 0;
}

/* The messages as the template wants them. */
static json_t *make_messages(struct context *context, const struct chat_prompt *prompt) {
    json_t *given = prompt->traits == NULL
                        ? shared(prompt->messages)
                        : plain_tools_apply(prompt->messages, prompt->tools, prompt->traits);
    json_t *made =
        given == NULL ? NULL : chat_messages_adapt(given, prompt->traits, context->roles);
    json_decref(given);
    return made;
}

/* A tool with an empty description, and no parameters, where it has none. NULL: no memory. */
static json_t *whole_tool(const json_t *tool) {
    json_t *made = json_copy((json_t *)(uintptr_t)tool);
    json_t *function = json_copy(json_object_get(tool, "function"));
    bool has_description = json_object_get(function, "description") != NULL;
    bool has_parameters = json_object_get(function, "parameters") != NULL;
    bool done = (has_description || set(function, "description", json_string(""))) &&
                (has_parameters || set(function, "parameters",
                                       json_pack("{s:s, s:{}}", "type", "object", "properties"))) &&
                set(made, "function", json_incref(function));
    json_decref(function);
    if (!done) {
        json_decref(made);
        return NULL;
    }
    return made;
}

/* The tools as the template wants them. */
static json_t *make_tools(const struct chat_prompt *prompt) {
    if (prompt->traits == NULL || !prompt->traits->whole_tools) {
        return shared(prompt->tools);
    }
    json_t *made = json_array();
    for (size_t i = 0; i < json_array_size(prompt->tools); i++) {
        if (json_array_append_new(made, whole_tool(json_array_get(prompt->tools, i))) != 0) {
            json_decref(made);
            return NULL;
        }
    }
    return made;
}

static bool make_context(struct context *context, const struct chat_prompt *prompt,
                         struct error *error) {
    const struct tokenizer *tokenizer = prompt->tokenizer;
    json_t *variables = (json_t *)(uintptr_t)prompt->variables;
    json_t *values = variables == NULL ? json_object() : json_copy(variables);
    context->values = values;
    bool has_tools = json_array_size(prompt->tools) > 0 &&
                     (prompt->traits == NULL || prompt->traits->tools_place == TOOLS_IN_TEMPLATE);
    if (values == NULL || !set(values, "messages", make_messages(context, prompt)) ||
        !set(values, "add_generation_prompt", json_true()) ||
        !set(values, "bos_token", token_text(tokenizer, tokenizer_bos(tokenizer))) ||
        !set(values, "eos_token", token_text(tokenizer, tokenizer_eos(tokenizer))) ||
        (has_tools && !set(values, "tools", make_tools(prompt)))) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the conversation");
    }
    for (size_t i = 0; i < CHAT_ROLE_COUNT; i++) {
        context->trusted[i] = view_of(context->roles[i]);
    }
    context->trusted[CHAT_ROLE_COUNT] = view_of(json_object_get(values, "bos_token"));
    context->trusted[CHAT_ROLE_COUNT + 1] = view_of(json_object_get(values, "eos_token"));
    return true;
}

static void context_deinit(struct context *context) {
    json_decref(context->values);
    for (size_t i = 0; i < CHAT_ROLE_COUNT; i++) {
        json_decref(context->roles[i]);
    }
}

static bool render(const struct chat_prompt *prompt, struct string_buffer *text,
                   struct string_buffer *own, struct error *error) {
    struct context context = {0};
    bool done = make_context(&context, prompt, error) &&
                chat_template_render_marked(prompt->chat_template, context.values, context.trusted,
                                            CHAT_ROLE_COUNT + 2, text, own, error);
    context_deinit(&context);
    return done;
}

bool chat_prompt_render(const struct chat_prompt *prompt, struct string_buffer *text,
                        struct error *error) {
    struct string_buffer own = {0};
    bool done = render(prompt, text, &own, error);
    string_buffer_deinit(&own);
    return done;
}

/* Whether a text ends with `tag` written by the template, white space behind it apart. */
static bool ends_with_tag(const struct string_buffer *text, const struct string_buffer *own,
                          const char *tag) {
    size_t end = text->length;
    size_t length = strcspn(tag, "\n");
    while (end > 0 && (text->data[end - 1] == '\n' || text->data[end - 1] == ' ')) {
        end--;
    }
    return end >= length && memcmp(text->data + end - length, tag, length) == 0 &&
           memchr(own->data + end - length, 0, length) == NULL;
}

/* The tokens, after a BOS where the model wants one and the template has not written it. */
static bool encode(const struct tokenizer *tokenizer, const struct string_buffer *text,
                   const struct string_buffer *own, struct token_list *out, struct error *error) {
    size_t before = out->count;
    int32_t bos = tokenizer_bos(tokenizer);
    struct token_list tokens = {0};
    if (!tokenizer_encode_marked(tokenizer, string_buffer_text(text),
                                 (const uint8_t *)string_buffer_text(own), text->length, &tokens,
                                 error)) {
        token_list_deinit(&tokens); /* what was encoded before memory ran out */
        return false;
    }
    bool has_bos = tokens.count > 0 && tokens.ids[0] == bos;
    bool done = has_bos || !tokenizer_adds_bos(tokenizer) || token_list_append(out, bos);
    for (size_t i = 0; done && i < tokens.count; i++) {
        done = token_list_append(out, tokens.ids[i]);
    }
    token_list_deinit(&tokens);
    if (!done) {
        out->count = before;
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the prompt");
    }
    return true;
}

bool chat_prompt_build(const struct chat_prompt *prompt, struct token_list *out,
                       bool *thinking_open, struct error *error) {
    struct string_buffer text = {0}, own = {0};
    bool done =
        render(prompt, &text, &own, error) && encode(prompt->tokenizer, &text, &own, out, error);
    if (thinking_open != NULL) {
        const struct thinking_form *form = prompt->traits == NULL ? NULL : prompt->traits->thinking;
        *thinking_open = done && form != NULL && ends_with_tag(&text, &own, form->open);
    }
    string_buffer_deinit(&text);
    string_buffer_deinit(&own);
    return done;
}

bool chat_prompt_encode(const struct chat_template *chat_template,
                        const struct tokenizer *tokenizer, const struct json_t *messages,
                        struct token_list *out, struct error *error) {
    const struct chat_prompt prompt = {
        .chat_template = chat_template, .tokenizer = tokenizer, .messages = messages};
    return chat_prompt_build(&prompt, out, NULL, error);
}

bool chat_prompt_encode_text(const struct chat_template *chat_template,
                             const struct tokenizer *tokenizer, const char *messages, size_t length,
                             struct token_list *out, struct error *error) {
    json_error_t at;
    json_t *array = json_guarded(json_loadb, messages, length, JSON_REJECT_DUPLICATES, &at);
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
