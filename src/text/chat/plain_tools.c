/* plain_tools.c - see plain_tools.h. The plain form is that of the Hermes models, which most models
 * have met in their training. */
#include "text/chat/plain_tools.h"

#include "base/string_buffer.h"

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Memory has run out somewhere: nothing of what is made is used. */
struct conversation {
    const struct chat_traits *traits;
    json_t *made;
    bool calls_as_text, results_as_user;
    bool has_results; /* the last message made holds results, and more may follow */
    bool failed;
};

static const char *role_of(const json_t *message) {
    const char *role = json_string_value(json_object_get(message, "role"));
    return role == NULL ? "" : role;
}

static void set(struct conversation *conversation, json_t *message, const char *key,
                json_t *value) {
    conversation->failed = json_object_set_new(message, key, value) != 0 || conversation->failed;
}

static void set_text(struct conversation *conversation, json_t *message, const char *key,
                     struct string_buffer *text) {
    conversation->failed = conversation->failed || text->failed;
    set(conversation, message, key, json_stringn(string_buffer_text(text), text->length));
    string_buffer_deinit(text);
}

static void append_json(struct string_buffer *out, const json_t *value) {
    char *text = json_dumps(value, JSON_ENCODE_ANY);
    out->failed = out->failed || text == NULL;
    string_buffer_append_text(out, text == NULL ? "" : text);
    free(text);
}

/* The text of a content, or of its parts. */
static void append_content(struct string_buffer *out, const json_t *content) {
    if (json_is_string(content)) {
        string_buffer_append(out, json_string_value(content), json_string_length(content));
    } else if (json_is_array(content)) {
        for (size_t i = 0; i < json_array_size(content); i++) {
            append_content(out, json_object_get(json_array_get(content, i), "text"));
        }
    } else if (content != NULL && !json_is_null(content)) {
        append_json(out, content);
    }
}

static void append(struct conversation *conversation, json_t *message) {
    conversation->failed = message == NULL || json_array_append(conversation->made, message) != 0 ||
                           conversation->failed;
}

/* --- tools --- */

static const char *text_of(const char *text) {
    return text == NULL ? "" : text;
}

/* A call as the model is to write it. */
static void append_example(struct string_buffer *out, const struct tool_call_form *form) {
    string_buffer_append_format(out, "%s%s%s%s", text_of(form->section_open),
                                form->is_list ? "[" : "", text_of(form->open),
                                text_of(form->before_name));
    switch (form->codec) {
    case CALL_JSON:
        string_buffer_append_format(out, "{\"%s\": \"NAME\", \"%s\": {\"ARGUMENT\": \"VALUE\"}}",
                                    form->name_key, form->arguments_key);
        break;
    case CALL_NAMED:
        string_buffer_append_format(out, "NAME%s{\"ARGUMENT\": \"VALUE\"}",
                                    text_of(form->after_name));
        break;
    case CALL_TAGGED:
        string_buffer_append_format(out, "NAME%s%sARGUMENT%s%sVALUE%s", text_of(form->after_name),
                                    form->key_open, form->key_close, text_of(form->value_open),
                                    form->value_close);
        break;
    case CALL_GEMMA:
        string_buffer_append_format(out, "NAME{ARGUMENT:%sVALUE%s}", form->text_mark,
                                    form->text_mark);
        break;
    }
    string_buffer_append_format(out, "%s%s%s%s", text_of(form->after_arguments),
                                text_of(form->close), form->is_list ? "]" : "",
                                text_of(form->section_close));
}

static void append_plain_tools(struct string_buffer *out, const json_t *tools,
                               const struct chat_traits *traits) {
    string_buffer_append_text(
        out, "You may call tools. Each line between <tools> and </tools> describes one: its name, "
             "what it does, and the JSON schema of its arguments.\n\n<tools>\n");
    for (size_t i = 0; i < json_array_size(tools); i++) {
        append_json(out, json_object_get(json_array_get(tools, i), "function"));
        string_buffer_append_char(out, '\n');
    }
    string_buffer_append_text(out, "</tools>\n\nTo call a tool, write its name and its arguments "
                                   "in this form, and nothing after it:\n\n");
    append_example(out, traits->calls);
    string_buffer_append_format(
        out, "\n\n%s%sWhere no tool helps, answer without one.",
        traits->single_calls ? "" : "Several calls may follow one another. ",
        traits->results_as_user || traits->calls_as_text
            ? "Results are given to you between <tool_response> and </tool_response>. "
            : "");
}

/* The tools without what is around them, as a JSON list. */
static void append_functions(struct string_buffer *out, const json_t *tools) {
    string_buffer_append_char(out, '[');
    for (size_t i = 0; i < json_array_size(tools); i++) {
        string_buffer_append_text(out, i == 0 ? "" : ", ");
        append_json(out, json_object_get(json_array_get(tools, i), "function"));
    }
    string_buffer_append_char(out, ']');
}

/* The system message, with what it says of the tools. `first` NULL: there was none. */
static void tell_tools(struct conversation *conversation, const json_t *first,
                       const json_t *tools) {
    struct string_buffer text = {0};
    json_t *message = json_pack("{s:s}", "role", "system");
    append_content(&text, json_object_get(first, "content"));
    if (conversation->traits->tools_place == TOOLS_IN_SYSTEM_MESSAGE) {
        struct string_buffer list = {0};
        append_functions(&list, tools);
        set_text(conversation, message, "tools", &list);
    } else {
        string_buffer_append_text(&text, text.length > 0 ? "\n\n" : "");
        append_plain_tools(&text, tools, conversation->traits);
    }
    set_text(conversation, message, "content", &text);
    append(conversation, message);
    json_decref(message);
}

/* --- calls --- */

static void append_call(struct string_buffer *out, const struct tool_call_form *form,
                        const json_t *call) {
    const json_t *function = json_object_get(call, "function");
    const json_t *arguments = json_object_get(function, "arguments");
    string_buffer_append_format(out, "{\"%s\": ", form->name_key);
    append_json(out, json_object_get(function, "name"));
    string_buffer_append_format(out, ", \"%s\": ", form->arguments_key);
    if (json_is_string(arguments) && json_string_length(arguments) > 0) {
        string_buffer_append_text(out, json_string_value(arguments));
    } else if (json_is_object(arguments)) {
        append_json(out, arguments);
    } else {
        string_buffer_append_text(out, "{}");
    }
    string_buffer_append_char(out, '}');
}

/* The calls as the model writes them, behind the content. */
static void write_calls(struct conversation *conversation, json_t *message) {
    const struct tool_call_form *form = conversation->traits->calls;
    const json_t *calls = json_object_get(message, "tool_calls");
    struct string_buffer text = {0};
    append_content(&text, json_object_get(message, "content"));
    string_buffer_append_text(&text, text.length > 0 ? "\n" : "");
    string_buffer_append_format(&text, "%s%s", text_of(form->section_open),
                                form->is_list ? "[" : "");
    for (size_t i = 0; i < json_array_size(calls); i++) {
        string_buffer_append_format(&text, "%s%s", i > 0 ? text_of(form->between) : "",
                                    text_of(form->open));
        append_call(&text, form, json_array_get(calls, i));
        string_buffer_append_text(&text, text_of(form->close));
    }
    string_buffer_append_format(&text, "%s%s", form->is_list ? "]" : "",
                                text_of(form->section_close));
    set_text(conversation, message, "content", &text);
    json_object_del(message, "tool_calls");
}

/* --- results --- */

/* A user's message, or more of one that holds results already. */
static void add_to_user(struct conversation *conversation, const json_t *content, bool is_result) {
    size_t count = json_array_size(conversation->made);
    struct string_buffer text = {0};
    json_t *message = NULL;
    if (conversation->has_results) {
        json_t *last = json_array_get(conversation->made, count - 1);
        message = json_incref(last);
        append_content(&text, json_object_get(message, "content"));
        string_buffer_append_text(&text, is_result ? "\n" : "\n\n");
    } else {
        message = json_pack("{s:s}", "role", "user");
        append(conversation, message);
    }
    string_buffer_append_text(&text, is_result ? "<tool_response>\n" : "");
    append_content(&text, content);
    string_buffer_append_text(&text, is_result ? "\n</tool_response>" : "");
    set_text(conversation, message, "content", &text);
    conversation->has_results = is_result;
    json_decref(message);
}

/* --- one call a message --- */

static bool is_result_of(const json_t *result, const json_t *call) {
    const char *id = json_string_value(json_object_get(call, "id"));
    const char *of = json_string_value(json_object_get(result, "tool_call_id"));
    return id != NULL && of != NULL && strcmp(id, of) == 0;
}

/* An answer with several calls becomes several, each with its own results. Returns how many of the
 * messages that follow it were taken along. */
static size_t split_calls(struct conversation *conversation, const json_t *messages, size_t at) {
    const json_t *message = json_array_get(messages, at);
    const json_t *calls = json_object_get(message, "tool_calls");
    size_t count = 0;
    while (strcmp(role_of(json_array_get(messages, at + 1 + count)), "tool") == 0) {
        count++;
    }
    bool *is_taken = calloc(count + 1, sizeof *is_taken);
    conversation->failed = conversation->failed || is_taken == NULL;
    for (size_t i = 0; is_taken != NULL && i < json_array_size(calls); i++) {
        const json_t *call = json_array_get(calls, i);
        json_t *one = json_copy((json_t *)(uintptr_t)message);
        set(conversation, one, "tool_calls", json_pack("[O]", call));
        if (i > 0) { /* what was said and thought came before the first */
            set(conversation, one, "content", json_string(""));
            json_object_del(one, "reasoning_content");
        }
        append(conversation, one);
        json_decref(one);
        for (size_t k = 0; k < count; k++) {
            json_t *result = json_array_get(messages, at + 1 + k);
            bool is_last = i + 1 == json_array_size(calls);
            if (!is_taken[k] && (is_last || is_result_of(result, call))) {
                append(conversation, result);
                is_taken[k] = true;
            }
        }
    }
    free(is_taken);
    return count;
}

/* --- the whole --- */

/* Returns how many messages were used. */
static size_t add_message(struct conversation *conversation, const json_t *messages, size_t at) {
    const struct chat_traits *traits = conversation->traits;
    json_t *message = json_array_get(messages, at);
    const char *role = role_of(message);
    size_t call_count = json_array_size(json_object_get(message, "tool_calls"));
    if (conversation->results_as_user && strcmp(role, "tool") == 0) {
        add_to_user(conversation, json_object_get(message, "content"), true);
        return 1;
    }
    if (conversation->has_results && strcmp(role, "user") == 0) {
        add_to_user(conversation, json_object_get(message, "content"), false);
        return 1;
    }
    conversation->has_results = false;
    if (call_count > 0 && conversation->calls_as_text) {
        json_t *made = json_copy(message);
        conversation->failed = conversation->failed || made == NULL;
        if (made != NULL) {
            write_calls(conversation, made);
            append(conversation, made);
        }
        json_decref(made);
        return 1;
    }
    if (call_count > 1 && traits->single_calls) {
        return 1 + split_calls(conversation, messages, at);
    }
    append(conversation, message);
    return 1;
}

/* Templates that refuse a system message get it at the head of the first user's. */
static void move_system(struct conversation *conversation) {
    json_t *system = json_incref(json_array_get(conversation->made, 0));
    json_array_remove(conversation->made, 0);
    json_t *first = json_array_get(conversation->made, 0);
    struct string_buffer text = {0};
    append_content(&text, json_object_get(system, "content"));
    json_t *made = json_pack("{s:s}", "role", "user");
    if (strcmp(role_of(first), "user") == 0) {
        string_buffer_append_text(&text, "\n\n");
        append_content(&text, json_object_get(first, "content"));
        json_array_remove(conversation->made, 0);
    }
    set_text(conversation, made, "content", &text);
    conversation->failed =
        json_array_insert_new(conversation->made, 0, made) != 0 || conversation->failed;
    json_decref(system);
}

json_t *plain_tools_apply(const json_t *messages, const json_t *tools,
                          const struct chat_traits *traits) {
    struct conversation conversation = {.traits = traits, .made = json_array()};
    bool tells_tools = json_array_size(tools) > 0 && traits->tools_place != TOOLS_IN_TEMPLATE;
    size_t at = 0;
    if (conversation.made == NULL) {
        return NULL;
    }
    /* A template that writes results but no calls, and no tools are offered: it has its way. */
    bool is_plain = tells_tools && traits->tools_place == TOOLS_NOWHERE && traits->calls_as_text;
    conversation.results_as_user = traits->results_as_user || is_plain;
    conversation.calls_as_text =
        traits->calls_as_text && (json_array_size(tools) > 0 || traits->results_as_user);
    if (tells_tools) {
        const json_t *first = json_array_get(messages, 0);
        bool is_system = strcmp(role_of(first), "system") == 0;
        tell_tools(&conversation, is_system ? first : NULL, tools);
        at = is_system;
    }
    while (at < json_array_size(messages)) {
        at += add_message(&conversation, messages, at);
    }
    if (tells_tools && traits->system_as_user) {
        move_system(&conversation);
    }
    if (conversation.failed) {
        json_decref(conversation.made);
        return NULL;
    }
    return conversation.made;
}
