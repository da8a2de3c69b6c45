/* traits.c - see traits.h. Each trait is a question: a conversation to render, and what
 * must or must not be in the text. */
#include "text/chat/traits.h"

#include <jansson.h>
#include <string.h>

/* Words that no template holds by itself. */
#define TOOL_NAME  "probe_tool_zq"
#define OTHER_NAME "probe_other_zq"
#define ARGUMENT   "probe_argument_zq"
#define VALUE      "probe_value_zq"
#define USER_TEXT  "probe_user_zq"
#define SHORT_ID   "Zq4567890"
#define LONG_ID    "call_Zq4567890probe"

static const char tools_text[] =
    "[{\"type\": \"function\", \"function\": {\"name\": \"" TOOL_NAME "\", \"description\": \"p\", "
    "\"parameters\": {\"type\": \"object\", \"properties\": {\"" ARGUMENT "\": {\"type\": "
    "\"string\", \"description\": \"p\"}}, \"required\": [\"" ARGUMENT "\"]}}}]";
static const char argument_text[] = "{\"" ARGUMENT "\": \"" VALUE "\"}";

struct probe {
    const struct chat_template *chat_template;
    struct string_buffer text; /* of the last rendering */
};

/* Takes both references. False when the template fails or refuses. */
static bool render(struct probe *probe, json_t *messages, json_t *more) {
    json_t *context = json_pack("{s:o, s:b, s:s, s:s}", "messages", messages,
                                "add_generation_prompt", 1, "bos_token", "", "eos_token", "");
    string_buffer_clear(&probe->text);
    bool done = context != NULL && (more == NULL || json_object_update(context, more) == 0) &&
                chat_template_render(probe->chat_template, context, &probe->text, NULL);
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

static json_t *with_tools(void) {
    return json_pack("{s:o}", "tools", json_loads(tools_text, 0, NULL));
}

/* A question, a call, its result. */
static json_t *call_messages(const struct chat_traits *shape, const char *id) {
    json_t *arguments =
        shape->arguments_as_text ? json_string(argument_text) : json_loads(argument_text, 0, NULL);
    json_t *content = shape->null_content ? json_null() : json_string("");
    return json_pack("[{s:s, s:s}, {s:s, s:o, s:[{s:s, s:s, s:{s:s, s:o}}]},"
                     " {s:s, s:s, s:s, s:s}]",
                     "role", "user", "content", USER_TEXT, "role", "assistant", "content", content,
                     "tool_calls", "id", id, "type", "function", "function", "name", TOOL_NAME,
                     "arguments", arguments, "role", "tool", "tool_call_id", id, "name", TOOL_NAME,
                     "content", "probe_result");
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

/* Somewhere a "{" follows `text`, white space apart. */
static bool shows_object_after(const char *where, const char *text) {
    while ((where = strstr(where, text)) != NULL) {
        where += strlen(text);
        if (where[strspn(where, " \n")] == '{') {
            return true;
        }
    }
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

/* How a Mistral template writes what comes after its tag. */
static void probe_mistral_calls(const struct probe *probe, struct chat_traits *traits) {
    const char *call = strstr(string_buffer_text(&probe->text), "[TOOL_CALLS]");
    call += strlen("[TOOL_CALLS]");
    call += strspn(call, " ");
    traits->calls_are_listed = call[0] == '[';
    traits->calls_have_ids = !traits->calls_are_listed && strstr(call, "[CALL_ID]") != NULL;
}

static enum tool_call_form form_of(const char *text) {
    if (strstr(text, "[TOOL_CALLS]") != NULL) {
        return TOOL_CALLS_MISTRAL;
    }
    if (shows_object_after(text, "<tool_call>")) {
        return TOOL_CALLS_HERMES;
    }
    if (strstr(text, "{\"name\": \"" TOOL_NAME "\", \"parameters\": {") != NULL) {
        return TOOL_CALLS_LLAMA3;
    }
    return TOOL_CALLS_NONE;
}

static void probe_tools(struct probe *probe, struct chat_traits *traits) {
    bool shows_tools = render(probe, user_message(), with_tools()) && shows(probe, TOOL_NAME);
    if (find_call_shape(probe, traits)) {
        traits->tool_calls = form_of(string_buffer_text(&probe->text));
        if (traits->tool_calls == TOOL_CALLS_MISTRAL) {
            probe_mistral_calls(probe, traits);
        }
        traits->short_call_ids = !render(probe, call_messages(traits, LONG_ID), with_tools());
        traits->single_calls =
            !render(probe, two_call_messages(traits), with_tools()) || !shows(probe, OTHER_NAME);
    }
    traits->supports_tools = shows_tools && traits->tool_calls != TOOL_CALLS_NONE;
}

/* --- thinking --- */

static bool renders_apart(struct probe *probe, json_t *one, json_t *other) {
    struct string_buffer first = {0};
    bool rendered = render(probe, user_message(), one);
    string_buffer_append(&first, string_buffer_text(&probe->text), probe->text.length);
    rendered = render(probe, user_message(), other) && rendered;
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

static void probe_thinking(struct probe *probe, const char *source, struct chat_traits *traits) {
    if (strstr(source, "[THINK]") != NULL) {
        traits->thinking = THINKING_MISTRAL;
        traits->thinking_parts = shows_thinking_part(probe);
    } else if (strstr(source, "</think>") != NULL || strstr(source, "<think>") != NULL) {
        traits->thinking = THINKING_TAGS;
    }
    traits->supports_thinking = traits->thinking != THINKING_NONE;
    traits->thinking_can_be_set =
        renders_apart(probe, json_pack("{s:b, s:b}", "enable_thinking", 1, "thinking", 1),
                      json_pack("{s:b, s:b}", "enable_thinking", 0, "thinking", 0)) ||
        renders_apart(probe, json_pack("{s:s}", "reasoning_effort", "high"),
                      json_pack("{s:s}", "reasoning_effort", "none"));
}

/* --- content --- */

static void probe_content(struct probe *probe, struct chat_traits *traits) {
    if (render(probe, user_message(), NULL) && shows(probe, USER_TEXT)) {
        return;
    }
    json_t *typed = json_pack("[{s:s, s:[{s:s, s:s}]}]", "role", "user", "content", "type", "text",
                              "text", USER_TEXT);
    traits->typed_content = render(probe, typed, NULL) && shows(probe, USER_TEXT);
}

/* --- tags --- */

struct chat_tags tool_call_tags(enum tool_call_form form) {
    static const struct chat_tags tags[] = {
        [TOOL_CALLS_MISTRAL] = {"[TOOL_CALLS]", NULL},
        [TOOL_CALLS_HERMES] = {"<tool_call>", "</tool_call>"},
        [TOOL_CALLS_LLAMA3] = {"<|python_tag|>", NULL},
    };
    return tags[form];
}

struct chat_tags thinking_tags(enum thinking_form form) {
    static const struct chat_tags tags[] = {
        [THINKING_NONE] = {NULL, NULL},
        [THINKING_TAGS] = {"<think>", "</think>"},
        [THINKING_MISTRAL] = {"[THINK]", "[/THINK]"},
    };
    return tags[form];
}

/* Whether the vocabulary has the text as a token that ordinary text does not become. */
static bool is_control(const struct tokenizer *tokenizer, const char *text) {
    if (tokenizer == NULL || text == NULL) {
        return false;
    }
    int32_t id = tokenizer_find(tokenizer, string_view_of(text));
    return id != TOKEN_NONE && tokenizer_piece(tokenizer, id, false).length == 0;
}

void chat_traits_probe(const struct chat_template *chat_template, const char *source,
                       const struct tokenizer *tokenizer, struct chat_traits *traits) {
    *traits = (struct chat_traits){0};
    if (chat_template == NULL || source == NULL) {
        return;
    }
    struct probe probe = {.chat_template = chat_template};
    probe_content(&probe, traits);
    probe_tools(&probe, traits);
    probe_thinking(&probe, source, traits);
    traits->tool_tags_are_control = is_control(tokenizer, tool_call_tags(traits->tool_calls).open);
    traits->inner_tags_are_control =
        traits->tool_tags_are_control &&
        is_control(tokenizer, traits->tool_calls == TOOL_CALLS_MISTRAL
                                  ? "[ARGS]"
                                  : tool_call_tags(traits->tool_calls).close);
    traits->thinking_tags_are_control = is_control(tokenizer, thinking_tags(traits->thinking).open);
    string_buffer_deinit(&probe.text);
}
