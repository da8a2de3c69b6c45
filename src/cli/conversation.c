/* conversation.c - see conversation.h. */
#include "cli/conversation.h"

#include "text/chat/prompt.h"
#include "text/chat/template.h"

#include <string.h>

bool conversation_init(struct conversation *conversation, const struct engine *engine,
                       struct error *error) {
    *conversation = (struct conversation){0};
    const char *source = engine_info(engine)->chat_template;
    if (source == NULL) {
        return error_set(error, ERROR_UNSUPPORTED,
                         "this model has no chat template: it continues a text, which needs --raw "
                         "and a prompt");
    }
    if (!chat_template_create(source, strlen(source), &conversation->chat_template, error)) {
        return error_prefix(error, "the model's chat template");
    }
    if (!conversation_restart(conversation, NULL, error)) {
        conversation_deinit(conversation);
        return false;
    }
    return true;
}

void conversation_deinit(struct conversation *conversation) {
    chat_template_free(conversation->chat_template);
    json_decref(conversation->messages);
    *conversation = (struct conversation){0};
}

bool conversation_add(struct conversation *conversation, const char *role, const char *text,
                      size_t length, struct error *error) {
    json_t *message = json_pack("{s:s, s:o}", "role", role, "content", json_stringn(text, length));
    return (message != NULL && json_array_append_new(conversation->messages, message) == 0) ||
           error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the conversation");
}

void conversation_drop_last(struct conversation *conversation) {
    size_t count = json_array_size(conversation->messages);
    if (count > 0) {
        json_array_remove(conversation->messages, count - 1);
    }
}

bool conversation_restart(struct conversation *conversation, const char *system,
                          struct error *error) {
    json_decref(conversation->messages);
    conversation->messages = json_array();
    if (conversation->messages == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the conversation");
    }
    return system == NULL ||
           conversation_add(conversation, "system", system, strlen(system), error);
}

bool conversation_encode(const struct conversation *conversation, const struct engine *engine,
                         struct token_list *prompt, struct error *error) {
    return chat_prompt_encode(conversation->chat_template, engine_tokenizer(engine),
                              conversation->messages, prompt, error);
}
