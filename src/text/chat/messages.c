/* messages.c - see messages.h. Nothing here judges a message: what has another shape than
 * expected goes to the template as it is. */
#include "text/chat/messages.h"

#include "base/json_memory.h"

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHORT_ID_LENGTH = 9 };

static const char *const role_names[CHAT_ROLE_COUNT] = {"system", "user",     "assistant",
                                                        "tool",   "function", "developer"};

/* --- calls --- */

static json_t *adapt_arguments(json_t *arguments, bool as_text) {
    if (as_text && !json_is_string(arguments)) {
        char *text = json_dumps(arguments, JSON_ENCODE_ANY);
        json_t *made = json_string(text == NULL ? "" : text);
        free(text);
        return made;
    }
    if (!as_text && json_is_string(arguments)) {
        const char *text = json_string_value(arguments);
        size_t length = json_string_length(arguments);
        json_t *object =
            length == 0 ? json_object() : json_guarded(json_loadb, text, length, 0, NULL);
        if (json_is_object(object)) {
            return object;
        }
        json_decref(object);
    }
    return json_incref(arguments);
}

static bool is_short_id(const char *id, size_t length) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    return length == SHORT_ID_LENGTH && strspn(id, allowed) == length;
}

/* Any id as nine letters and digits: the same for a call and its result (FNV-1a). */
static json_t *short_id(const json_t *id) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    const char *text = json_string_value(id);
    size_t length = json_string_length(id);
    if (is_short_id(text, length)) {
        return json_stringn(text, length);
    }
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < length; i++) {
        hash = (hash ^ (unsigned char)text[i]) * UINT64_C(1099511628211);
    }
    char made[SHORT_ID_LENGTH];
    for (size_t i = 0; i < SHORT_ID_LENGTH; i++) {
        made[i] = letters[hash % (sizeof letters - 1)];
        hash /= sizeof letters - 1;
    }
    return json_stringn(made, SHORT_ID_LENGTH);
}

static bool shorten_id(json_t *object, const char *key) {
    const json_t *id = json_object_get(object, key);
    return !json_is_string(id) || json_object_set_new(object, key, short_id(id)) == 0;
}

static json_t *adapt_call(json_t *call, const struct chat_traits *traits) {
    json_t *made = json_copy(call);
    json_t *function = json_copy(json_object_get(call, "function"));
    json_t *arguments = json_object_get(function, "arguments");
    bool done = made != NULL;
    if (done && arguments != NULL) {
        json_t *adapted = adapt_arguments(arguments, traits->arguments_as_text);
        done = json_object_set_new(function, "arguments", adapted) == 0;
    }
    if (done && function != NULL) {
        done = json_object_set(made, "function", function) == 0;
    }
    if (done && traits->short_call_ids) {
        done = shorten_id(made, "id");
    }
    json_decref(function);
    if (!done) {
        json_decref(made);
        return NULL;
    }
    return made;
}

static bool adapt_calls(json_t *message, const struct chat_traits *traits) {
    const json_t *calls = json_object_get(message, "tool_calls");
    if (!json_is_array(calls)) {
        return true;
    }
    json_t *made = json_array();
    bool done = made != NULL;
    for (size_t i = 0; done && i < json_array_size(calls); i++) {
        json_t *call = json_array_get(calls, i);
        json_t *adapted = json_is_object(call) ? adapt_call(call, traits) : json_incref(call);
        done = adapted != NULL && json_array_append_new(made, adapted) == 0;
    }
    done = done && json_object_set(message, "tool_calls", made) == 0;
    json_decref(made);
    return done;
}

/* --- messages --- */

/* [{type: thinking, thinking: …}, {type: text, text: …}]; the text only where there is any. */
static bool join_thinking(json_t *message, json_t *thinking, json_t *content) {
    json_t *parts = json_pack("[{s:s, s:O}]", "type", "thinking", "thinking", thinking);
    if (json_string_length(content) > 0) {
        json_array_append_new(parts, json_pack("{s:s, s:O}", "type", "text", "text", content));
    }
    return json_object_set_new(message, "content", parts) == 0;
}

/* A thought and a text beside calls, where the template takes one of them only. */
static bool join_text(json_t *message, json_t *thinking, json_t *content) {
    size_t length = json_string_length(thinking) + json_string_length(content) + 2;
    char *text = malloc(length + 1);
    if (text == NULL) {
        return false;
    }
    snprintf(text, length + 1, "%s\n\n%s", json_string_value(thinking), json_string_value(content));
    bool done = json_object_set_new(message, "reasoning_content", json_string(text)) == 0 &&
                json_object_set_new(message, "content", json_string("")) == 0;
    free(text);
    return done;
}

/* What was thought, where the template looks for it. */
static bool adapt_thinking(json_t *message, const struct chat_traits *traits) {
    json_t *content = json_object_get(message, "content");
    json_t *thinking = json_object_get(message, "reasoning_content");
    bool has_calls = json_array_size(json_object_get(message, "tool_calls")) > 0;
    if (traits->thinking_excludes_text && has_calls && json_string_length(thinking) > 0 &&
        json_string_length(content) > 0 && !join_text(message, thinking, content)) {
        return false;
    }
    thinking = json_object_get(message, "reasoning_content");
    if (thinking == NULL || strcmp(traits->thinking_key, "reasoning_content") == 0) {
        return true;
    }
    return json_object_set(message, traits->thinking_key, thinking) == 0 &&
           json_object_del(message, "reasoning_content") == 0;
}

static bool adapt_content(json_t *message, const struct chat_traits *traits) {
    json_t *content = json_object_get(message, "content");
    json_t *thinking = json_object_get(message, "reasoning_content");
    if (traits->thinking_parts && json_string_length(thinking) > 0 &&
        (json_is_string(content) || json_is_null(content) || content == NULL)) {
        return join_thinking(message, thinking, content);
    }
    bool has_calls = json_array_size(json_object_get(message, "tool_calls")) > 0;
    if (traits->null_content && has_calls && json_is_string(content) &&
        json_string_length(content) == 0) {
        return json_object_set_new(message, "content", json_null()) == 0;
    }
    if (traits->typed_content && json_is_string(content)) {
        json_t *part = json_pack("[{s:s, s:O}]", "type", "text", "text", content);
        return json_object_set_new(message, "content", part) == 0;
    }
    return true;
}

static bool adapt_role(json_t *message, json_t *roles[CHAT_ROLE_COUNT]) {
    const json_t *role = json_object_get(message, "role");
    for (size_t i = 0; json_is_string(role) && i < CHAT_ROLE_COUNT; i++) {
        if (strcmp(json_string_value(role), role_names[i]) == 0) {
            return json_object_set(message, "role", roles[i]) == 0;
        }
    }
    return true;
}

static json_t *adapt_message(json_t *message, const struct chat_traits *traits,
                             json_t *roles[CHAT_ROLE_COUNT]) {
    if (!json_is_object(message)) {
        return json_incref(message);
    }
    json_t *made = json_copy(message);
    bool done = made != NULL && adapt_role(made, roles);
    if (done && traits != NULL) {
        done = adapt_calls(made, traits) && adapt_content(made, traits) &&
               adapt_thinking(made, traits) &&
               (!traits->short_call_ids || shorten_id(made, "tool_call_id"));
    }
    if (!done) {
        json_decref(made);
        return NULL;
    }
    return made;
}

json_t *chat_messages_adapt(const json_t *messages, const struct chat_traits *traits,
                            json_t *roles[CHAT_ROLE_COUNT]) {
    json_t *made = json_array();
    bool done = made != NULL;
    for (size_t i = 0; i < CHAT_ROLE_COUNT; i++) {
        roles[i] = json_string(role_names[i]);
        done = done && roles[i] != NULL;
    }
    for (size_t i = 0; done && i < json_array_size(messages); i++) {
        json_t *message = adapt_message(json_array_get(messages, i), traits, roles);
        done = message != NULL && json_array_append_new(made, message) == 0;
    }
    if (!done) {
        json_decref(made);
        return NULL;
    }
    return made;
}
