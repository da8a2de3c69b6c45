/* traits.c - see traits.h. Each trait is a question: a conversation to render, and what
 * must or must not be in the text. */
#include "text/chat/traits.h"

#include "base/json_memory.h"
#include "base/work_limit.h"

#include <jansson.h>
#include <string.h>

/* Words that no template holds by itself. */
#define TOOL_NAME  "probe_tool_zq"
#define OTHER_NAME "probe_other_zq"
#define ARGUMENT   "probe_argument_zq"
#define VALUE      "probe_value_zq"
#define USER_TEXT  "probe_user_zq"
#define THOUGHT    "probe_thought_zq"
#define RESULT     "probe_result_zq"
#define SHORT_ID   "Zq4567890"
#define LONG_ID    "call_Zq4567890probe"

static const char tools_text[] =
    "[{\"type\": \"function\", \"function\": {\"name\": \"" TOOL_NAME "\", \"description\": \"p\", "
    "\"parameters\": {\"type\": \"object\", \"properties\": {\"" ARGUMENT "\": {\"type\": "
    "\"string\", \"description\": \"p\"}}, \"required\": [\"" ARGUMENT "\"]}}}]";
static const char argument_text[] = "{\"" ARGUMENT "\": \"" VALUE "\"}";

static json_t *with_tools(void) {
    return json_pack("{s:o}", "tools",
                     json_guarded(json_loadb, tools_text, strlen(tools_text), 0, NULL));
}

/* All questions together may take this; a hostile template would take 2 s for each. */
enum { PROBE_NS = 1000000000 };

struct probe {
    const struct chat_template *chat_template;
    struct string_buffer text; /* of the last rendering */
    bool ran_short;            /* of memory, in any of them */
};

/* Takes both references. False when the template fails or refuses. */
static bool render(struct probe *probe, json_t *messages, json_t *more) {
    json_t *context = json_pack("{s:o, s:b, s:s, s:s}", "messages", messages,
                                "add_generation_prompt", 1, "bos_token", "", "eos_token", "");
    string_buffer_clear(&probe->text);
    struct error error = {0};
    bool made = context != NULL && (more == NULL || json_object_update(context, more) == 0);
    bool done = made && chat_template_render(probe->chat_template, context, &probe->text, &error);
    probe->ran_short =
        probe->ran_short || !made || probe->text.failed || error.code == ERROR_OUT_OF_MEMORY;
    json_decref(context);
    json_decref(more);
    return done && !probe->text.failed;
}

static bool shows(const struct probe *probe, const char *text) {
    return strstr(string_buffer_text(&probe->text), text) != NULL;
}

static json_t *user_message(void) {
    return json_pack("[{s:s, s:s}]", "role", "user", "content", USER_TEXT);
}

/* --- tools --- */

/* A question, a call, its result. */
static json_t *call_messages(const struct chat_traits *shape, const char *id) {
    json_t *arguments = shape->arguments_as_text ? json_string(argument_text)
                                                 : json_guarded(json_loadb, argument_text,
                                                                strlen(argument_text), 0, NULL);
    json_t *content = shape->null_content ? json_null() : json_string("");
    return json_pack("[{s:s, s:s}, {s:s, s:o, s:[{s:s, s:s, s:{s:s, s:o}}]},"
                     " {s:s, s:s, s:s, s:s}]",
                     "role", "user", "content", USER_TEXT, "role", "assistant", "content", content,
                     "tool_calls", "id", id, "type", "function", "function", "name", TOOL_NAME,
                     "arguments", arguments, "role", "tool", "tool_call_id", id, "name", TOOL_NAME,
                     "content", RESULT);
}

/* The call is in the text, and its arguments are JSON: not JSON in a string, not Python. */
static bool shows_call(const struct probe *probe) {
    return shows(probe, TOOL_NAME) && shows(probe, VALUE) && !shows(probe, "\\\"" ARGUMENT) &&
           !shows(probe, "'" ARGUMENT "'");
}

/* The first shape in which the template writes a call; the plainest when there is none. Some
 * templates fail on a call when there are no tools. */
static bool find_call_shape(struct probe *probe, struct chat_traits *traits) {
    for (unsigned shape = 0; shape < 8; shape++) {
        traits->arguments_as_text = (shape & 2) != 0;
        traits->null_content = (shape & 1) != 0;
        json_t *more = (shape & 4) != 0 ? with_tools() : NULL;
        if (render(probe, call_messages(traits, SHORT_ID), more) && shows_call(probe)) {
            return true;
        }
    }
    traits->arguments_as_text = false;
    traits->null_content = false;
    return false;
}

/* The same with a second call beside the first. */
static json_t *two_call_messages(const struct chat_traits *shape) {
    json_t *messages = call_messages(shape, SHORT_ID);
    json_t *calls = json_object_get(json_array_get(messages, 1), "tool_calls");
    json_t *second = json_deep_copy(json_array_get(calls, 0));
    json_object_set_new(json_object_get(second, "function"), "name", json_string(OTHER_NAME));
    json_array_append_new(calls, second);
    return messages;
}

/* What stands before a call's name, then the name; of a call that is JSON, as far as its "{". */
static void write_sign(const struct tool_call_form *form, struct string_buffer *sign) {
    const char *const before[] = {form->section_open, form->is_list ? "[" : NULL, form->open,
                                  form->before_name};
    bool is_named = form->codec != CALL_JSON;
    string_buffer_clear(sign);
    if (form->sign != NULL) {
        string_buffer_append_format(sign, "%s" TOOL_NAME, form->sign);
        return;
    }
    for (size_t i = 0; i < sizeof before / sizeof before[0]; i++) {
        string_buffer_append_text(sign, before[i] == NULL ? "" : before[i]);
    }
    if (is_named) {
        string_buffer_append_format(sign, TOOL_NAME "%s",
                                    form->id_open != NULL      ? form->id_open
                                    : form->after_name != NULL ? form->after_name
                                    : form->key_open != NULL   ? form->key_open
                                                               : "{");
    } else if (tool_call_form_opening(form) != NULL) {
        string_buffer_append_char(sign, '{');
    } else {
        string_buffer_append_format(sign, "{\"%s\": \"" TOOL_NAME "\", \"%s\": {", form->name_key,
                                    form->arguments_key);
    }
}

static bool is_blank(char byte) {
    return byte == ' ' || byte == '\n';
}

/* Whether `text` begins with `sign`; with `loose` wherever white space stands in either. */
static bool begins_with(const char *text, const char *sign, bool loose) {
    for (;;) {
        while (loose && is_blank(*sign)) {
            sign++;
        }
        if (*sign == '\0') {
            return true;
        }
        while (loose && is_blank(*text)) {
            text++;
        }
        if (*text != *sign) {
            return false;
        }
        text++;
        sign++;
    }
}

static bool has_sign(const char *text, const char *sign, bool loose) {
    for (; *text != '\0'; text++) {
        if (!is_blank(*text) && begins_with(text, sign, loose)) {
            return true;
        }
    }
    return false;
}

/* The form that a text shows: to the letter, else but for white space. */
static const struct tool_call_form *form_of(struct probe *probe, const char *text) {
    const struct tool_call_form *found = NULL;
    struct string_buffer sign = {0};
    for (unsigned loose = 0; loose < 2 && found == NULL; loose++) {
        for (size_t i = 0; i < tool_call_form_count && found == NULL; i++) {
            write_sign(&tool_call_forms[i], &sign);
            probe->ran_short = probe->ran_short || sign.failed;
            if (has_sign(text, string_buffer_text(&sign), loose != 0)) {
                found = &tool_call_forms[i];
            }
        }
    }
    string_buffer_deinit(&sign);
    return found;
}

/* A template that writes no calls may tell the model how to write one. The tools themselves are
 * JSON: what opens a call must stand before a "{". */
static const struct tool_call_form *form_told(struct probe *probe) {
    if (!render(probe, user_message(), with_tools())) {
        return NULL;
    }
    const char *text = string_buffer_text(&probe->text);
    const struct tool_call_form *hermes = tool_call_form_named("hermes");
    struct string_buffer sign = {0};
    write_sign(hermes, &sign);
    probe->ran_short = probe->ran_short || sign.failed;
    bool is_told = has_sign(text, string_buffer_text(&sign), true);
    string_buffer_deinit(&sign);
    return is_told ? hermes : NULL;
}

/* Phi-4-mini: the system message has the tools as a text. */
static bool shows_system_tools(struct probe *probe) {
    json_t *messages = json_pack("[{s:s, s:s, s:s}, {s:s, s:s}]", "role", "system", "content", "p",
                                 "tools", TOOL_NAME, "role", "user", "content", USER_TEXT);
    return render(probe, messages, NULL) && shows(probe, TOOL_NAME);
}

static void probe_calls(struct probe *probe, struct chat_traits *traits) {
    traits->calls = form_of(probe, string_buffer_text(&probe->text));
    traits->short_call_ids = !render(probe, call_messages(traits, LONG_ID), with_tools());
    traits->single_calls =
        !render(probe, two_call_messages(traits), with_tools()) || !shows(probe, OTHER_NAME);
}

static void probe_results(struct probe *probe, struct chat_traits *traits) {
    traits->results_as_user =
        !render(probe, call_messages(traits, SHORT_ID), with_tools()) || !shows(probe, RESULT);
}

/* OpenAI has both as optional. */
static bool renders_bare_tool(struct probe *probe) {
    return render(probe, user_message(),
                  json_pack("{s:[{s:s, s:{s:s}}]}", "tools", "type", "function", "function", "name",
                            TOOL_NAME));
}

static void probe_tools(struct probe *probe, struct chat_traits *traits) {
    if (render(probe, user_message(), with_tools()) && shows(probe, TOOL_NAME)) {
        traits->tools_place = TOOLS_IN_TEMPLATE;
        traits->whole_tools = !renders_bare_tool(probe);
    } else if (shows_system_tools(probe)) {
        traits->tools_place = TOOLS_IN_SYSTEM_MESSAGE;
        traits->calls = tool_call_form_named("phi4_mini");
        traits->calls_as_text = true;
    }
    if (find_call_shape(probe, traits)) {
        probe_calls(probe, traits);
    } else if (traits->tools_place == TOOLS_IN_TEMPLATE) {
        traits->calls = form_told(probe);
        traits->calls_as_text = traits->calls != NULL;
    }
    probe_results(probe, traits);
    traits->supports_tools = traits->tools_place != TOOLS_NOWHERE && traits->calls != NULL;
    if (traits->supports_tools) {
        return;
    }
    traits->tools_place = TOOLS_NOWHERE;
    if (traits->calls == NULL) { /* else it writes calls, as DeepSeek V3.1 does, but no tools */
        traits->calls = tool_call_form_named("hermes");
        traits->calls_as_text = true;
        traits->single_calls = false;
    }
}

/* --- thinking --- */

static bool renders_apart(struct probe *probe, json_t *one, json_t *other) {
    struct string_buffer first = {0};
    bool rendered = render(probe, user_message(), one);
    string_buffer_append_buffer(&first, &probe->text);
    rendered = render(probe, user_message(), other) && rendered;
    probe->ran_short = probe->ran_short || first.failed;
    bool apart =
        rendered && strcmp(string_buffer_text(&first), string_buffer_text(&probe->text)) != 0;
    string_buffer_deinit(&first);
    return apart;
}

/* Whether an earlier thought is shown when it is a part of the content. */
static bool shows_thinking_part(struct probe *probe) {
    json_t *messages = json_pack("[{s:s, s:s}, {s:s, s:[{s:s, s:s}, {s:s, s:s}]}, {s:s, s:s}]",
                                 "role", "user", "content", USER_TEXT, "role", "assistant",
                                 "content", "type", "thinking", "thinking", VALUE, "type", "text",
                                 "text", "probe_answer", "role", "user", "content", USER_TEXT);
    return render(probe, messages, NULL) && shows(probe, "[THINK]" VALUE "[/THINK]");
}

/* Whether a thought under this key is shown: beside a call whose result comes next, or with an
 * answer. Templates drop those of earlier turns. */
static bool shows_thought(struct probe *probe, const struct chat_traits *traits, const char *key,
                          const char *content) {
    json_t *messages = call_messages(traits, SHORT_ID);
    json_t *message = json_array_get(messages, 1);
    json_object_set_new(message, key, json_string(THOUGHT));
    if (content != NULL) {
        json_object_set_new(message, "content", json_string(content));
    }
    if (render(probe, messages, with_tools())) {
        return shows(probe, THOUGHT);
    }
    return false;
}

static bool shows_plain_thought(struct probe *probe, const char *key) {
    json_t *messages = json_pack("[{s:s, s:s}, {s:s, s:s, s:s}, {s:s, s:s}]", "role", "user",
                                 "content", USER_TEXT, "role", "assistant", "content", "p", key,
                                 THOUGHT, "role", "user", "content", "p");
    return render(probe, messages, NULL) && shows(probe, THOUGHT);
}

static void probe_thinking_key(struct probe *probe, struct chat_traits *traits) {
    static const char *const keys[] = {"reasoning_content", "thinking", "reasoning"};
    traits->thinking_key = keys[0];
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (shows_thought(probe, traits, keys[i], NULL) || shows_plain_thought(probe, keys[i])) {
            traits->thinking_key = keys[i];
            traits->thinking_excludes_text = shows_thought(probe, traits, keys[i], NULL) &&
                                             !shows_thought(probe, traits, keys[i], "p");
            return;
        }
    }
}

static const struct thinking_form *thinking_form_of(struct probe *probe, const char *source) {
    for (size_t i = 0; i < thinking_form_count; i++) {
        struct string_buffer open = {0}; /* without the white space at its end */
        string_buffer_append(&open, thinking_forms[i].open, strcspn(thinking_forms[i].open, "\n"));
        probe->ran_short = probe->ran_short || open.failed;
        bool is_there = strstr(source, string_buffer_text(&open)) != NULL;
        string_buffer_deinit(&open);
        if (is_there) {
            return &thinking_forms[i];
        }
    }
    return strstr(source, "</think>") != NULL ? thinking_form_named("tags") : NULL;
}

static void probe_thinking(struct probe *probe, const char *source, struct chat_traits *traits) {
    traits->thinking = thinking_form_of(probe, source);
    traits->supports_thinking = traits->thinking != NULL;
    traits->thinking_parts = traits->thinking != NULL && shows_thinking_part(probe);
    probe_thinking_key(probe, traits);
    traits->thinking_can_be_set =
        renders_apart(probe, json_pack("{s:b, s:b}", "enable_thinking", 1, "thinking", 1),
                      json_pack("{s:b, s:b}", "enable_thinking", 0, "thinking", 0)) ||
        renders_apart(probe, json_pack("{s:s}", "reasoning_effort", "high"),
                      json_pack("{s:s}", "reasoning_effort", "none"));
}

/* --- content --- */

static void probe_content(struct probe *probe, struct chat_traits *traits) {
    if (render(probe, user_message(), NULL) && shows(probe, USER_TEXT)) {
        json_t *messages = json_pack("[{s:s, s:s}, {s:s, s:s}]", "role", "system", "content", VALUE,
                                     "role", "user", "content", USER_TEXT);
        traits->system_as_user = !render(probe, messages, NULL) || !shows(probe, VALUE);
        return;
    }
    json_t *typed = json_pack("[{s:s, s:[{s:s, s:s}]}]", "role", "user", "content", "type", "text",
                              "text", USER_TEXT);
    traits->typed_content = render(probe, typed, NULL) && shows(probe, USER_TEXT);
}

/* --- control tokens --- */

/* Whether the vocabulary has the text as a token that ordinary text does not become. */
static bool is_control(const struct tokenizer *tokenizer, struct string_view text) {
    int32_t id = tokenizer_find(tokenizer, text);
    return id != TOKEN_NONE && tokenizer_piece(tokenizer, id, false).length == 0;
}

bool chat_traits_is_control(const struct chat_traits *traits, struct string_view text) {
    for (size_t i = 0; i < traits->control_count; i++) {
        if (string_view_equals(traits->controls[i], text)) {
            return true;
        }
    }
    return false;
}

/* The run from a bracket to the next one that closes: the only texts that are looked up. */
static struct string_view bracketed(const char *at) {
    const char *end = *at == '<' ? strchr(at, '>') : *at == '[' ? strchr(at, ']') : NULL;
    return (struct string_view){at, end == NULL ? 0 : (size_t)(end - at) + 1};
}

static void note_controls(struct chat_traits *traits, const struct tokenizer *tokenizer,
                          const char *text) {
    while (text != NULL && *text != '\0') {
        struct string_view run = bracketed(text);
        if (run.length > 0 && traits->control_count < CHAT_CONTROLS_MAX &&
            !chat_traits_is_control(traits, run) && is_control(tokenizer, run)) {
            traits->controls[traits->control_count++] = run;
        }
        text += run.length > 0 ? run.length : 1;
    }
}

void chat_traits_find_controls(struct chat_traits *traits, const struct tokenizer *tokenizer) {
    traits->control_count = 0;
    if (tokenizer == NULL) {
        return;
    }
    if (traits->calls != NULL) {
        const struct tool_call_form *form = traits->calls;
        const char *const texts[] = {form->section_open, form->section_close,  form->open,
                                     form->before_name,  form->id_open,        form->after_name,
                                     form->close,        form->key_open,       form->key_close,
                                     form->value_open,   form->value_close,    form->text_mark,
                                     form->other_open,   form->after_arguments};
        for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
            note_controls(traits, tokenizer, texts[i]);
        }
    }
    if (traits->thinking != NULL) {
        note_controls(traits, tokenizer, traits->thinking->open);
        note_controls(traits, tokenizer, traits->thinking->close);
        note_controls(traits, tokenizer, traits->thinking->content_open);
    }
}

struct string_view chat_traits_next_piece(const struct chat_traits *traits, const char **text,
                                          bool *is_control) {
    struct string_view piece = {*text, 0};
    for (const char *at = *text; *at != '\0'; at++) {
        struct string_view run = bracketed(at);
        if (run.length > 0 && chat_traits_is_control(traits, run)) {
            *is_control = piece.length == 0;
            piece = *is_control ? run : piece;
            *text += piece.length;
            return piece;
        }
        piece.length++;
    }
    *is_control = false;
    *text += piece.length;
    return piece;
}

bool chat_traits_probe(const struct chat_template *chat_template, const char *source,
                       const struct tokenizer *tokenizer, struct chat_traits *traits,
                       struct error *error) {
    *traits = (struct chat_traits){.thinking_key = "reasoning_content"};
    if (chat_template == NULL || source == NULL) {
        return true;
    }
    struct work_limit limit;
    const struct work_limit *outer = work_limit_within(&limit, PROBE_NS);
    struct probe probe = {.chat_template = chat_template};
    probe_content(&probe, traits);
    probe_tools(&probe, traits);
    probe_thinking(&probe, source, traits);
    bool is_whole = !work_limit_reached();
    work_limit_set(outer);
    chat_traits_find_controls(traits, tokenizer);
    string_buffer_deinit(&probe.text);
    if (probe.ran_short) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory to try the chat template");
    }
    return is_whole || error_set(error, ERROR_INVALID_ARGUMENT,
                                 "template: the template takes longer than it may");
}
