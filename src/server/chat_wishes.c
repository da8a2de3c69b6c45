/* chat_wishes.c - the part of chat_turn.h that reads what clients ask for: tools, which of them,
 * thinking, and what else they hand to the template. */
#include "server/chat_turn.h"

#include "server/request_fields.h"

#include <stdio.h>
#include <string.h>

enum { MOST_TOOLS = 512 }; /* OpenAI allows 128 */

static bool is_given(const json_t *value) {
    return value != NULL && !json_is_null(value);
}

void chat_wishes_deinit(struct chat_wishes *wishes) {
    json_decref(wishes->variables);
    json_decref(wishes->tools);
    json_decref(wishes->functions);
    *wishes = (struct chat_wishes){0};
}

static bool set_variable(struct chat_wishes *wishes, const char *name, json_t *value,
                         struct api_error *error) {
    if (wishes->variables == NULL) {
        wishes->variables = json_object();
    }
    return json_object_set_new(wishes->variables, name, value) == 0 ||
           api_error_out_of_memory(error);
}

/* --- tools --- */

static bool check_tool(const json_t *tool, size_t index, struct api_error *error) {
    char place[64];
    const json_t *function = json_object_get(tool, "function");
    const json_t *name = json_object_get(function, "name");
    const json_t *parameters = json_object_get(function, "parameters");
    const char *type = json_string_value(json_object_get(tool, "type"));
    snprintf(place, sizeof place, "tools[%zu]", index);
    if (!json_is_object(tool)) {
        return request_field_wrong_type(place, "an object", tool, error);
    }
    if (type != NULL && strcmp(type, "function") != 0) {
        return api_error_set(error, 400, "unsupported_value", "tools",
                             "Invalid '%s.type': '%.40s' is not supported, only 'function' is.",
                             place, type);
    }
    if (!json_is_string(name) || json_string_length(name) == 0 || json_string_length(name) > 256) {
        return api_error_set(error, 400, "invalid_value", "tools",
                             "Invalid '%s.function.name': expected a text of 1 to 256 bytes.",
                             place);
    }
    if (is_given(parameters) && !json_is_object(parameters)) {
        snprintf(place, sizeof place, "tools[%zu].function.parameters", index);
        return request_field_wrong_type(place, "an object, a JSON schema", parameters, error);
    }
    return true;
}

static bool has_tool(const struct chat_wishes *wishes, const char *name) {
    for (size_t i = 0; i < json_array_size(wishes->functions); i++) {
        const json_t *function = json_array_get(wishes->functions, i);
        if (strcmp(json_string_value(json_object_get(function, "name")), name) == 0) {
            return true;
        }
    }
    return false;
}

/* `strict` is between client and server: the model never saw it. Members come in the order in which
 * models were shown them. NULL: no memory. */
static json_t *shown_function(const json_t *function) {
    static const char *const first[] = {"name", "description", "parameters"};
    json_t *shown = json_object();
    const char *key;
    json_t *value;
    bool done = shown != NULL;
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++) {
        json_t *member = json_object_get(function, first[i]);
        done = done && (member == NULL || json_object_set(shown, first[i], member) == 0);
    }
    json_object_foreach((json_t *)(uintptr_t)function, key, value) {
        if (strcmp(key, "strict") != 0) { /* one that is there keeps its place */
            done = done && json_object_set(shown, key, value) == 0;
        }
    }
    if (!done) {
        json_decref(shown);
        return NULL;
    }
    return shown;
}

static bool add_tool(struct chat_wishes *wishes, const json_t *tool, struct api_error *error) {
    json_t *function = json_object_get(tool, "function");
    json_t *shown =
        json_pack("{s:s, s:o}", "type", "function", "function", shown_function(function));
    return (json_array_append_new(wishes->tools, shown) == 0 &&
            json_array_append(wishes->functions, function) == 0) ||
           api_error_out_of_memory(error);
}

static bool read_tools(const json_t *tools, struct chat_wishes *wishes, struct api_error *error) {
    if (!is_given(tools)) {
        return true;
    }
    if (!json_is_array(tools)) {
        return request_field_wrong_type("tools", "an array of objects", tools, error);
    }
    if (json_array_size(tools) > MOST_TOOLS) {
        return api_error_set(error, 400, "array_above_max_length", "tools",
                             "Invalid 'tools': %zu are more than the %d allowed.",
                             json_array_size(tools), MOST_TOOLS);
    }
    wishes->tools = json_array();
    wishes->functions = json_array();
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *tool = json_array_get(tools, i);
        if (!check_tool(tool, i, error) || !add_tool(wishes, tool, error)) {
            return false;
        }
    }
    return true;
}

static const char *name_of(const json_t *tool) {
    return json_string_value(json_object_get(json_object_get(tool, "function"), "name"));
}

/* {mode, tools}: all other tools are as if they were not there. */
static bool read_allowed_tools(const json_t *allowed, struct chat_wishes *wishes,
                               struct api_error *error) {
    const char *mode = json_string_value(json_object_get(allowed, "mode"));
    const json_t *tools = json_object_get(allowed, "tools");
    bool is_required = mode != NULL && strcmp(mode, "required") == 0;
    if (!json_is_array(tools) || mode == NULL || (!is_required && strcmp(mode, "auto") != 0)) {
        return api_error_set(error, 400, "invalid_value", "tool_choice",
                             "Invalid 'tool_choice': 'allowed_tools' has a 'mode', 'auto' or "
                             "'required', and 'tools'.");
    }
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const char *name = name_of(json_array_get(tools, i));
        if (name == NULL || !has_tool(wishes, name)) {
            return api_error_set(error, 400, "invalid_value", "tool_choice",
                                 "Invalid 'tool_choice': the tool '%.100s' is not in 'tools'.",
                                 name == NULL ? "" : name);
        }
    }
    for (size_t i = json_array_size(wishes->tools); i-- > 0;) {
        bool is_allowed = false;
        for (size_t k = 0; k < json_array_size(tools); k++) {
            is_allowed = is_allowed || strcmp(name_of(json_array_get(tools, k)),
                                              name_of(json_array_get(wishes->tools, i))) == 0;
        }
        if (!is_allowed) {
            json_array_remove(wishes->tools, i);
            json_array_remove(wishes->functions, i);
        }
    }
    wishes->choice = is_required ? TOOL_CHOICE_REQUIRED : TOOL_CHOICE_AUTO;
    return !is_required || json_array_size(wishes->tools) > 0 ||
           api_error_set(error, 400, "invalid_value", "tool_choice",
                         "'tool_choice' is 'required', but there are no 'tools'.");
}

static bool read_named_choice(const json_t *choice, struct chat_wishes *wishes,
                              struct api_error *error) {
    const json_t *name = json_object_get(json_object_get(choice, "function"), "name");
    if (!json_is_string(name)) {
        return api_error_set(error, 400, "invalid_value", "tool_choice",
                             "Invalid 'tool_choice': expected 'none', 'auto', 'required' or "
                             "{\"type\": \"function\", \"function\": {\"name\": …}}.");
    }
    if (!has_tool(wishes, json_string_value(name))) {
        return api_error_set(error, 400, "invalid_value", "tool_choice",
                             "Invalid 'tool_choice': the tool '%.100s' is not in 'tools'.",
                             json_string_value(name));
    }
    wishes->choice = TOOL_CHOICE_NAMED;
    wishes->chosen_tool = json_string_value(name);
    return true;
}

static bool read_choice(const json_t *body, struct chat_wishes *wishes, struct api_error *error) {
    static const struct {
        const char *name;
        enum tool_choice choice;
    } rows[] = {
        {"auto", TOOL_CHOICE_AUTO}, {"none", TOOL_CHOICE_NONE}, {"required", TOOL_CHOICE_REQUIRED}};
    const json_t *choice = json_object_get(body, "tool_choice");
    if (!is_given(choice)) {
        return true;
    }
    for (size_t i = 0; json_is_string(choice) && i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(json_string_value(choice), rows[i].name) == 0) {
            wishes->choice = rows[i].choice;
            return wishes->choice != TOOL_CHOICE_REQUIRED || json_array_size(wishes->tools) > 0 ||
                   api_error_set(error, 400, "invalid_value", "tool_choice",
                                 "'tool_choice' is 'required', but there are no 'tools'.");
        }
    }
    const json_t *allowed = json_object_get(choice, "allowed_tools");
    return allowed != NULL ? read_allowed_tools(allowed, wishes, error)
                           : read_named_choice(choice, wishes, error);
}

static bool read_parallel(const json_t *body, struct chat_wishes *wishes, struct api_error *error) {
    const json_t *value = json_object_get(body, "parallel_tool_calls");
    if (is_given(value) && !json_is_boolean(value)) {
        return request_field_wrong_type("parallel_tool_calls", "a boolean", value, error);
    }
    wishes->single_call = json_is_false(value);
    return true;
}

/* --- the template's variables --- */

bool chat_wishes_set_thinking(struct chat_wishes *wishes, bool enabled, const char *effort,
                              struct api_error *error) {
    /* Qwen, GLM and SmolLM read the first, DeepSeek the second, gpt-oss and Mistral the third. */
    wishes->thinking_is_off = !enabled;
    return set_variable(wishes, "enable_thinking", json_boolean(enabled), error) &&
           set_variable(wishes, "thinking", json_boolean(enabled), error) &&
           (effort == NULL || set_variable(wishes, "reasoning_effort", json_string(effort), error));
}

static bool read_effort(const json_t *body, struct chat_wishes *wishes, struct api_error *error) {
    static const char *const efforts[] = {"none", "minimal", "low", "medium",
                                          "high", "xhigh",   "max"};
    const json_t *value = json_object_get(body, "reasoning_effort");
    if (!is_given(value)) {
        return true;
    }
    if (!json_is_string(value)) {
        return request_field_wrong_type("reasoning_effort", "a string", value, error);
    }
    for (size_t i = 0; i < sizeof efforts / sizeof efforts[0]; i++) {
        if (strcmp(json_string_value(value), efforts[i]) == 0) {
            return chat_wishes_set_thinking(wishes, i >= 2, efforts[i], error);
        }
    }
    return api_error_set(error, 400, "invalid_value", "reasoning_effort",
                         "Invalid value: '%.40s'. Supported values are: 'none', 'minimal', 'low', "
                         "'medium', 'high', 'xhigh', and 'max'.",
                         json_string_value(value));
}

/* What this program itself gives to the template cannot be replaced. */
static bool is_reserved(const char *name) {
    static const char *const names[] = {"messages", "tools", "add_generation_prompt", "bos_token",
                                        "eos_token"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool read_variables(const json_t *body, struct chat_wishes *wishes,
                           struct api_error *error) {
    json_t *given = json_object_get(body, "chat_template_kwargs");
    const char *name;
    json_t *value;
    if (!is_given(given)) {
        return true;
    }
    if (!json_is_object(given)) {
        return request_field_wrong_type("chat_template_kwargs", "an object", given, error);
    }
    json_object_foreach(given, name, value) {
        if (is_reserved(name)) {
            return api_error_set(error, 400, "invalid_value", "chat_template_kwargs",
                                 "Invalid 'chat_template_kwargs': '%s' is not a client's to set.",
                                 name);
        }
        if (!set_variable(wishes, name, json_incref(value), error)) {
            return false;
        }
    }
    return true;
}

bool chat_wishes_read(const json_t *body, struct chat_wishes *wishes, struct api_error *error) {
    *wishes = (struct chat_wishes){0};
    if (!read_tools(json_object_get(body, "tools"), wishes, error) ||
        !read_choice(body, wishes, error) || !read_parallel(body, wishes, error) ||
        !read_effort(body, wishes, error) || !read_variables(body, wishes, error)) {
        chat_wishes_deinit(wishes);
        return false;
    }
    wishes->thinking_is_off = json_is_false(json_object_get(wishes->variables, "enable_thinking"));
    return true;
}

bool chat_wishes_read_tools(const json_t *tools, struct chat_wishes *wishes,
                            struct api_error *error) {
    *wishes = (struct chat_wishes){0};
    if (!read_tools(tools, wishes, error)) {
        chat_wishes_deinit(wishes);
        return false;
    }
    return true;
}
