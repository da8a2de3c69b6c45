/* chat_grammar.c - see chat_grammar.h. How one call is written is in chat_grammar_call.c. */
#include "server/chat_grammar.h"

#include "grammar/grammar_builder.h"
#include "server/chat_grammar_internal.h"

#include <string.h>

/* A text of the model's form, with its control tokens as tokens. */
grammar_expr chat_grammar_marked(const struct assembly *assembly, const char *text) {
    struct grammar_builder *b = assembly->builder;
    grammar_expr expr = GRAMMAR_EMPTY;
    bool is_control = false;
    while (text != NULL && *text != '\0') {
        struct string_view piece =
            chat_traits_next_piece(assembly->source->traits, &text, &is_control);
        grammar_expr next = is_control ? grammar_token(b, piece) : grammar_bytes(b, piece);
        expr = expr == GRAMMAR_EMPTY ? next : grammar_sequence_of(b, 2, expr, next);
    }
    return expr;
}

struct grammar_trigger chat_grammar_trigger(const struct assembly *assembly, const char *text,
                                            const char **rest) {
    bool is_control = false;
    text += strspn(text, " \n");
    struct string_view piece = chat_traits_next_piece(assembly->source->traits, &text, &is_control);
    while (!is_control && piece.length > 0 && strchr(" \n", piece.data[piece.length - 1]) != NULL) {
        piece.length--;
    }
    *rest = piece.data + piece.length;
    return (struct grammar_trigger){.text = piece, .is_token = is_control};
}

/* --- calls --- */

/* The calls, given one of them. `first`: how the first one goes on; `opening`: what is left to
 * write of what opens them. */
static grammar_expr calls_from(const struct assembly *assembly, grammar_expr call,
                               grammar_expr first, const char *opening) {
    struct grammar_builder *b = assembly->builder;
    const struct tool_call_form *form = assembly->form;
    bool is_single = assembly->source->single_call || assembly->source->traits->single_calls;
    bool is_section = form->section_open != NULL;
    grammar_expr open = form->is_list ? GRAMMAR_EMPTY : chat_grammar_marked(assembly, form->open);
    grammar_expr close = chat_grammar_marked(assembly, form->close);
    grammar_expr next = chat_grammar_marked(assembly, form->between);
    grammar_expr more = grammar_sequence_of(b, 4, next, open, call, close);
    grammar_expr rest = is_single ? GRAMMAR_EMPTY : grammar_repeat(b, more, 0, GRAMMAR_UNBOUNDED);
    grammar_expr begin = chat_grammar_marked(assembly, opening);
    grammar_expr end = chat_grammar_marked(assembly, form->section_close);
    if (form->is_list) {
        grammar_expr space = grammar_optional(b, grammar_text(b, " "));
        return grammar_sequence_of(b, 7, begin, space, grammar_text(b, "["), first, rest,
                                   grammar_text(b, "]"), end);
    }
    return grammar_sequence_of(b, 6, begin, is_section ? open : GRAMMAR_EMPTY, first, close, rest,
                               end);
}

/* All calls, tags included, and perhaps the space before them that SentencePiece likes. */
static grammar_expr whole_calls(const struct assembly *assembly, grammar_expr call) {
    struct grammar_builder *b = assembly->builder;
    return grammar_sequence_of(
        b, 2, grammar_optional(b, grammar_text(b, " ")),
        calls_from(assembly, call, call, tool_call_form_opening(assembly->form)));
}

/* What may open calls within any text, and the calls behind it. */
static struct grammar_trigger calls_trigger(const struct assembly *assembly, grammar_expr call) {
    const char *rest = NULL;
    struct grammar_trigger trigger =
        chat_grammar_trigger(assembly, tool_call_form_opening(assembly->form), &rest);
    trigger.body = calls_from(assembly, call, call, rest);
    return trigger;
}

/* Any text that does not begin as a Llama 3 call does, or a call. Its models write no tag. */
static grammar_expr text_or_bare_calls(const struct assembly *assembly, grammar_expr call_end) {
    static const char beginning[] = "{\"name\": \"";
    enum { BEGIN, END, FREE, NEXT, LENGTH = sizeof beginning - 1 };
    struct grammar_builder *b = assembly->builder;
    struct grammar_arc arcs[256 * LENGTH + LENGTH + 2];
    size_t count = 0;
    grammar_expr call = grammar_sequence_of(b, 2, grammar_text(b, beginning), call_end);
    for (uint32_t i = 0; i < LENGTH; i++) { /* state NEXT + i: all up to beginning[i] is there */
        uint32_t at = i == 0 ? BEGIN : NEXT + i - 1;
        arcs[count++] = (struct grammar_arc){at, END, GRAMMAR_EMPTY};
        for (unsigned byte = 0; byte < 256; byte++) {
            bool is_blank = i == 0 && (byte == ' ' || byte == '\n');
            uint32_t to = byte == (uint8_t)beginning[i] ? NEXT + i : is_blank ? BEGIN : FREE;
            arcs[count++] =
                (struct grammar_arc){at, to, grammar_byte_range(b, (uint8_t)byte, (uint8_t)byte)};
        }
    }
    arcs[count++] = (struct grammar_arc){FREE, END, grammar_lazy(b, NULL, 0)};
    arcs[count++] =
        (struct grammar_arc){NEXT + LENGTH - 1, END, calls_from(assembly, call, call_end, NULL)};
    return grammar_automaton(b, NEXT + LENGTH, arcs, count);
}

static bool in_channels(const struct assembly *assembly) {
    const struct thinking_form *thinking = assembly->source->traits->thinking;
    return thinking != NULL && thinking->content_open != NULL;
}

/* What is said to the user, where that has a channel of its own. */
static grammar_expr content_of(const struct assembly *assembly, grammar_expr content) {
    return in_channels(assembly)
               ? grammar_sequence_of(
                     assembly->builder, 2,
                     chat_grammar_marked(assembly,
                                         assembly->source->traits->thinking->content_open),
                     content)
               : content;
}

/* Any text; once a call has begun, it goes on as one. */
static bool text_or_calls(struct assembly *assembly, grammar_expr call, grammar_expr *expr) {
    struct grammar_builder *b = assembly->builder;
    if (tool_call_form_opening(assembly->form) == NULL) {
        grammar_expr end = GRAMMAR_EMPTY;
        bool done = chat_grammar_any_call(assembly, strlen("{\"name\": \""), &end);
        *expr = text_or_bare_calls(assembly, end);
        return done;
    }
    if (in_channels(assembly)) {
        *expr = grammar_choice_of(b, 2, whole_calls(assembly, call),
                                  content_of(assembly, grammar_lazy(b, NULL, 0)));
        return true;
    }
    const struct grammar_trigger trigger = calls_trigger(assembly, call);
    *expr = grammar_lazy(b, &trigger, 1);
    return true;
}

/* --- thoughts --- */

/* A thought and then `answer`; or, where the model has not begun to think, the answer alone. A call
 * whose tag is a token ends a thought as well. */
static grammar_expr after_thought(const struct assembly *assembly, grammar_expr answer,
                                  grammar_expr call) {
    struct grammar_builder *b = assembly->builder;
    const struct chat_grammar_source *source = assembly->source;
    const struct thinking_form *form = source->traits->thinking;
    bool may_think = source->may_think || in_channels(assembly);
    if (form == NULL || (!source->thinking_open && !may_think)) {
        return answer;
    }
    const char *rest = NULL;
    grammar_expr spaces = grammar_repeat(b, grammar_text(b, "\n"), 0, 2);
    struct grammar_trigger triggers[2] = {chat_grammar_trigger(assembly, form->close, &rest)};
    triggers[0].body = grammar_sequence_of(b, 3, chat_grammar_marked(assembly, rest),
                                           in_channels(assembly) ? GRAMMAR_EMPTY : spaces, answer);
    size_t count = 1;
    if (assembly->has_calls && !in_channels(assembly) &&
        tool_call_form_opening(assembly->form) != NULL) {
        triggers[1] = calls_trigger(assembly, call);
        count += triggers[1].is_token;
    }
    grammar_expr thought = grammar_until(b, triggers, count);
    if (source->thinking_open) {
        return thought;
    }
    const char *inside = NULL; /* the white space behind the tag is the thought's */
    struct grammar_trigger open = chat_grammar_trigger(assembly, form->open, &inside);
    bool is_whole = strspn(inside, " \n") == strlen(inside);
    grammar_expr begin = !is_whole       ? chat_grammar_marked(assembly, form->open)
                         : open.is_token ? grammar_token(b, open.text)
                                         : grammar_bytes(b, open.text);
    return grammar_choice_of(b, 2, grammar_sequence_of(b, 2, begin, thought), answer);
}

/* --- the whole --- */

static bool has_strict(const struct chat_grammar_source *source) {
    for (size_t i = 0; i < json_array_size(source->functions); i++) {
        if (json_is_true(json_object_get(json_array_get(source->functions, i), "strict"))) {
            return true;
        }
    }
    return false;
}

static bool assemble(struct assembly *assembly, grammar_expr *expr, const char **field) {
    const struct chat_grammar_source *source = assembly->source;
    grammar_expr format = GRAMMAR_EMPTY, call = GRAMMAR_EMPTY;
    if (!answer_format_read(source->format, assembly->builder, &format, field, assembly->error)) {
        return false;
    }
    bool is_strict = has_strict(source);
    assembly->has_calls = json_array_size(source->functions) > 0 &&
                          (source->call_is_forced || is_strict || *field != NULL);
    if (!assembly->has_calls && *field == NULL) {
        return true;
    }
    if (assembly->has_calls && !chat_grammar_any_call(assembly, 0, &call)) {
        return false;
    }
    if (source->call_is_forced) {
        *expr = whole_calls(assembly, call);
    } else if (*field != NULL && assembly->has_calls) {
        *expr = grammar_choice_of(assembly->builder, 2, whole_calls(assembly, call),
                                  content_of(assembly, format));
    } else if (*field != NULL) {
        *expr = content_of(assembly, format);
    } else if (!text_or_calls(assembly, call, expr)) {
        return false;
    }
    *field = *field == NULL ? "tools" : *field;
    *expr = after_thought(assembly, *expr, call);
    return true;
}

bool chat_grammar_compile(const struct chat_grammar_source *source, struct grammar **grammar,
                          struct api_error *error) {
    struct assembly assembly = {
        .source = source,
        .builder = grammar_builder_create(),
        .form = source->traits->calls,
        .error = error,
    };
    grammar_expr expr = GRAMMAR_EMPTY;
    const char *field = NULL;
    *grammar = NULL;
    bool done =
        (assembly.builder != NULL || api_error_out_of_memory(error)) &&
        assemble(&assembly, &expr, &field) &&
        (field == NULL || answer_format_build(assembly.builder, expr, field, grammar, error));
    grammar_builder_free(assembly.builder);
    return done;
}
