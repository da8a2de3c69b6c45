/* chat_turn.c - see chat_turn.h. */
#include "server/chat_turn.h"

#include "base/random.h"
#include "server/chat_grammar.h"
#include "server/served_model.h"
#include "text/chat/prompt.h"
#include "text/chat/tool_schema.h"

#include <string.h>

/* What reading the answer takes; the generation's arena. */
struct chat_turn {
    struct answer_options options; /* without sink */
};

/* --- the prompt --- */

static bool has_tools(const struct chat_wishes *wishes) {
    return wishes->tools != NULL && json_array_size(wishes->tools) > 0 &&
           wishes->choice != TOOL_CHOICE_NONE;
}

/* The parameters' names and kinds, for forms that write values without quotes. */
static bool keep_parameters(struct generation *generation, const json_t *function,
                            struct answer_tool *tool) {
    const json_t *schema = json_object_get(function, "parameters");
    json_t *properties = json_object_get(schema, "properties");
    size_t count = json_object_size(properties);
    struct answer_parameter *made = arena_alloc(&generation->arena, count + 1, sizeof *made);
    const char *name;
    json_t *property;
    size_t i = 0;
    if (made == NULL) {
        return false;
    }
    json_object_foreach(properties, name, property) {
        size_t length = strlen(name);
        made[i].name =
            (struct string_view){arena_copy_text(&generation->arena, name, length), length};
        made[i].kinds = tool_schema_kinds(property, schema);
        if (made[i++].name.data == NULL) {
            return false;
        }
    }
    tool->parameters = made;
    tool->parameter_count = count;
    return true;
}

static bool keep_tools(struct generation *generation, const struct chat_wishes *wishes,
                       struct answer_options *options, struct api_error *error) {
    size_t count = json_array_size(wishes->tools);
    struct answer_tool *tools = arena_alloc(&generation->arena, count, sizeof *tools);
    for (size_t i = 0; tools != NULL && i < count; i++) {
        const json_t *function = json_object_get(json_array_get(wishes->tools, i), "function");
        const json_t *name = json_object_get(function, "name");
        tools[i].name.length = json_string_length(name);
        tools[i].name.data =
            arena_copy_text(&generation->arena, json_string_value(name), tools[i].name.length);
        if (tools[i].name.data == NULL || !keep_parameters(generation, function, &tools[i])) {
            return api_error_out_of_memory(error);
        }
    }
    options->tools = tools;
    options->tool_count = count;
    return tools != NULL || api_error_out_of_memory(error);
}

/* gpt-oss knows three degrees of thinking, and cannot do without. NULL: no memory. */
static json_t *variables_for(const struct chat_traits *traits, json_t *variables) {
    static const char *const degrees[][2] = {
        {"none", "low"}, {"minimal", "low"}, {"xhigh", "high"}, {"max", "high"}};
    const char *effort = json_string_value(json_object_get(variables, "reasoning_effort"));
    bool has_degrees = traits->thinking != NULL && traits->thinking->content_open != NULL;
    if (effort == NULL || !has_degrees) {
        return json_incref(variables);
    }
    json_t *made = json_copy(variables);
    for (size_t i = 0; made != NULL && i < sizeof degrees / sizeof degrees[0]; i++) {
        if (strcmp(effort, degrees[i][0]) == 0 &&
            json_object_set_new(made, "reasoning_effort", json_string(degrees[i][1])) != 0) {
            json_decref(made);
            return NULL;
        }
    }
    return made;
}

/* What the template itself refuses, or a client's template that fails, is the client's to mend. */
static bool build(const struct chat_prompt *wanted, bool is_clients, struct token_list *prompt,
                  bool *thinking_open, struct api_error *error) {
    struct error cause = {0};
    if (chat_prompt_build(wanted, prompt, thinking_open, &cause)) {
        return true;
    }
    if (is_clients && cause.code == ERROR_FORMAT) {
        cause.code = ERROR_INVALID_ARGUMENT;
        error_prefix(&cause, "template");
    }
    return api_error_from(error, &cause, "messages");
}

bool chat_turn_encode(struct generation *generation, const struct served_model *model,
                      const json_t *messages, const struct chat_wishes *wishes,
                      struct token_list *prompt, struct api_error *error) {
    bool is_clients = wishes->own_template != NULL;
    const struct chat_traits *traits = is_clients ? &wishes->own_traits : &model->chat_traits;
    if (model->chat_template == NULL && !is_clients) {
        return api_error_set(error, 400, "no_chat_template", "model", "%s",
                             model->chat_template_error.message);
    }
    struct chat_turn *turn = arena_alloc(&generation->arena, 1, sizeof *turn);
    if (turn == NULL) {
        return api_error_out_of_memory(error);
    }
    turn->options = (struct answer_options){.traits = *traits, .single_call = wishes->single_call};
    if (has_tools(wishes) && !keep_tools(generation, wishes, &turn->options, error)) {
        return false;
    }
    json_t *variables = variables_for(traits, wishes->variables);
    if (variables == NULL && wishes->variables != NULL) {
        return api_error_out_of_memory(error);
    }
    const struct chat_prompt wanted = {
        .chat_template = is_clients ? wishes->own_template : model->chat_template,
        .tokenizer = model->tokenizer,
        .traits = traits,
        .messages = messages,
        .tools = has_tools(wishes) ? wishes->tools : NULL,
        .variables = variables,
    };
    bool done = build(&wanted, is_clients, prompt, &turn->options.thinking_open, error);
    json_decref(variables);
    if (!done) {
        token_list_deinit(prompt); /* what was encoded before memory ran out */
        return false;
    }
    generation->turn = turn;
    generation->request.mark_special = !answer_is_plain(&turn->options);
    return true;
}

bool chat_turn_constrain(struct generation *generation, const struct chat_wishes *wishes,
                         const struct answer_format *format, struct api_error *error) {
    const struct answer_options *options = &generation->turn->options;
    const struct chat_grammar_source source = {
        .traits = &options->traits,
        .functions = has_tools(wishes) ? wishes->functions : NULL,
        .chosen_tool = wishes->choice == TOOL_CHOICE_NAMED ? wishes->chosen_tool : NULL,
        .call_is_forced = has_tools(wishes) && wishes->choice >= TOOL_CHOICE_REQUIRED,
        .single_call = wishes->single_call,
        .thinking_open = options->thinking_open,
        .may_think = !wishes->thinking_is_off,
        .format = format,
    };
    return chat_grammar_compile(&source, &generation->request.grammar, error);
}

/* --- the answer --- */

static void put_content(answer_sink *sink, void *context, const char *text, size_t length) {
    if (length > 0) {
        sink(context, &(struct answer_event){.kind = ANSWER_CONTENT, .text = {text, length}});
    }
}

/* The choice's parser, made when it is first needed; NULL for an answer that is content only. */
static struct answer_parser *parser_of(struct generation_choice *choice, answer_sink *sink,
                                       void *context) {
    const struct chat_turn *turn = choice->generation->turn;
    if (choice->parser != NULL || turn == NULL || answer_is_plain(&turn->options)) {
        return choice->parser;
    }
    struct answer_options options = turn->options;
    options.sink = sink;
    options.context = context;
    options.id_seed = random_fresh_seed();
    choice->parser = answer_parser_create(&options);
    if (choice->parser == NULL) {
        choice->text.failed = true; /* which ends the request */
    }
    return choice->parser;
}

void chat_turn_feed(struct generation_choice *choice, const char *text, size_t length,
                    answer_sink *sink, void *context) {
    struct answer_parser *parser = parser_of(choice, sink, context);
    if (parser == NULL) {
        put_content(sink, context, text, length);
    } else if (length > 0) {
        answer_parser_feed(parser, text, length);
    }
}

void chat_turn_finish(struct generation_choice *choice, answer_sink *sink, void *context) {
    struct answer_parser *parser = parser_of(choice, sink, context);
    if (parser != NULL) {
        answer_parser_finish(parser);
        choice->text.failed = choice->text.failed || answer_parser_failed(parser);
    }
}

bool chat_turn_has_calls(const struct generation_choice *choice) {
    return choice->parser != NULL && answer_parser_calls(choice->parser) > 0;
}
