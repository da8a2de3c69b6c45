/* filters_text.c - filters that make text: case, trimming, joining, indenting, JSON. */
#include "base/json_memory.h"
#include "text/jinja/builtin.h"
#include "text/jinja/json.h"
#include "text/jinja/operators.h"
#include "text/jinja/print.h"
#include "text/jinja/text.h"

#include <jansson.h>
#include <string.h>

typedef void case_mapping(struct jinja_builder *builder, struct string_view text);

/* The subject as text; a string stays marked safe if it was. */
static bool map_case(struct jinja_render *render, const struct jinja_call *call,
                     case_mapping *mapping, struct jinja_value *result) {
    struct string_view text;
    struct jinja_builder builder = {.render = render};
    if (!jinja_to_text(render, &call->subject, &text) ||
        !jinja_spend_characters(render, text.length)) {
        return false;
    }
    mapping(&builder, text);
    bool done = jinja_finish(&builder, result);
    result->safe = call->subject.kind == JINJA_STRING && call->subject.safe;
    return done;
}

static bool filter_upper(struct jinja_render *render, const struct jinja_call *call,
                         struct jinja_value *result) {
    return map_case(render, call, jinja_append_upper, result);
}

static bool filter_lower(struct jinja_render *render, const struct jinja_call *call,
                         struct jinja_value *result) {
    return map_case(render, call, jinja_append_lower, result);
}

static bool filter_capitalize(struct jinja_render *render, const struct jinja_call *call,
                              struct jinja_value *result) {
    return map_case(render, call, jinja_append_capitalized, result);
}

/* Jinja's own idea of title case: words end at spaces, hyphens and opening brackets only, and the
 * first character is in upper case, not in title case. */
static void append_words_capitalized(struct jinja_builder *builder, struct string_view text) {
    size_t start = 0;
    for (size_t at = 0; at <= text.length && !builder->render->failed;) {
        struct string_view rest = jinja_text_from(text, at);
        bool end = at == text.length;
        size_t bytes = end ? 1 : jinja_character_bytes(rest.data, rest.length);
        struct string_view character = jinja_text_until(rest, bytes);
        bool separator = end || jinja_leading_space(character) > 0 ||
                         (bytes == 1 && strchr("-({[<", character.data[0]) != NULL);
        if (separator) {
            struct string_view word = {text.data + start, at - start};
            size_t first = jinja_character_bytes(word.data, word.length);
            jinja_append_upper(builder, jinja_text_until(word, first));
            jinja_append_lower(builder, jinja_text_from(word, first));
            jinja_append_view(builder, character);
            start = at + bytes;
        }
        at += bytes;
    }
}

static bool filter_title(struct jinja_render *render, const struct jinja_call *call,
                         struct jinja_value *result) {
    return map_case(render, call, append_words_capitalized, result);
}

/* The method of this name, of the subject as text; one marked safe stays so. */
static bool call_method(struct jinja_render *render, const char *name,
                        const struct jinja_call *call, struct jinja_value *result) {
    struct jinja_call method = *call;
    if (call->subject.kind != JINJA_STRING) {
        struct string_view text;
        if (!jinja_to_text(render, &call->subject, &text)) {
            return false;
        }
        method.subject = jinja_string(text);
    }
    return jinja_find_method(JINJA_STRING, string_view_of(name))->function(render, &method, result);
}

static bool filter_trim(struct jinja_render *render, const struct jinja_call *call,
                        struct jinja_value *result) {
    return call_method(render, "strip", call, result);
}

static bool filter_string(struct jinja_render *render, const struct jinja_call *call,
                          struct jinja_value *result) {
    struct string_view text;
    if (call->subject.kind == JINJA_STRING) {
        *result = call->subject;
        return true;
    }
    bool done = jinja_to_text(render, &call->subject, &text);
    *result = jinja_string(text);
    return done;
}

static bool filter_safe(struct jinja_render *render, const struct jinja_call *call,
                        struct jinja_value *result) {
    bool done = filter_string(render, call, result);
    result->safe = true;
    return done;
}

static bool filter_escape(struct jinja_render *render, const struct jinja_call *call,
                          struct jinja_value *result) {
    return jinja_escape(render, &call->subject, result);
}

/* Everything as plain text first, unlike the method. */
static bool filter_replace(struct jinja_render *render, const struct jinja_call *call,
                           struct jinja_value *result) {
    struct jinja_value arguments[3] = {{0}, {0}, call->arguments[2]};
    struct jinja_call plain = *call;
    plain.subject.safe = false;
    plain.arguments = arguments;
    for (size_t i = 0; i < 2; i++) {
        struct string_view text;
        if (!jinja_to_text(render, &call->arguments[i], &text)) {
            return false;
        }
        arguments[i] = jinja_string(text);
    }
    return call_method(render, "replace", &plain, result);
}

static bool filter_join(struct jinja_render *render, const struct jinja_call *call,
                        struct jinja_value *result) {
    struct jinja_builder builder = {.render = render};
    struct jinja_iteration iteration;
    struct jinja_value item, part;
    struct string_view separator = {"", 0};
    if (jinja_given(&call->arguments[0]) &&
        !jinja_to_text(render, &call->arguments[0], &separator)) {
        return false;
    }
    if (!jinja_iterate(render, &call->subject, &iteration)) {
        return false;
    }
    for (bool first = true; jinja_next(render, &iteration, &item); first = false) {
        if (!first) {
            jinja_append_view(&builder, separator);
        }
        if (!jinja_path(render, &item, &call->arguments[1], NULL, &part) ||
            !jinja_append_value(&builder, &part)) {
            return false;
        }
    }
    return jinja_finish(&builder, result);
}

/* One level of indentation: a number of spaces, or the text itself. */
static bool indentation(struct jinja_render *render, const struct jinja_value *width,
                        int64_t otherwise, struct string_view *text) {
    struct jinja_builder builder = {.render = render};
    int64_t spaces = otherwise;
    if (width->kind == JINJA_STRING) {
        *text = width->text;
        return true;
    }
    if (jinja_given(width)) {
        if (!jinja_expect_integer(render, width, "an indentation")) {
            return false;
        }
        spaces = jinja_integral(width);
    }
    jinja_append_repeated(&builder, string_view_of(" "), spaces < 0 ? 0 : (size_t)spaces);
    *text = jinja_built(&builder);
    return !render->failed;
}

static bool filter_indent(struct jinja_render *render, const struct jinja_call *call,
                          struct jinja_value *result) {
    struct jinja_builder builder = {.render = render};
    struct string_view rest, line, ending, indent;
    bool first = jinja_truth(&call->arguments[1]), blank = jinja_truth(&call->arguments[2]);
    if (!jinja_expect_string(render, &call->subject, "what is indented") ||
        !indentation(render, &call->arguments[0], 4, &indent) ||
        !jinja_spend_characters(render, call->subject.text.length)) {
        return false;
    }
    rest = call->subject.text;
    if (first) {
        jinja_append_view(&builder, indent);
    }
    bool more = jinja_next_line(&rest, &line, &ending);
    jinja_append_view(&builder, more ? line : rest);
    /* A newline at the very end begins one more, empty line. */
    bool open = more && ending.length > 0;
    while (open && !render->failed) {
        more = jinja_next_line(&rest, &line, &ending);
        open = more && ending.length > 0;
        jinja_append_char(&builder, '\n');
        if (blank || (more && line.length > 0)) {
            jinja_append_view(&builder, indent);
        }
        if (more) {
            jinja_append_view(&builder, line);
        }
    }
    bool done = jinja_finish(&builder, result);
    result->safe = call->subject.safe;
    return done;
}

static bool json_separators(struct jinja_render *render, const struct jinja_value *value,
                            struct jinja_json_style *style) {
    style->item_separator = string_view_of(style->multiline ? "," : ", ");
    style->key_separator = string_view_of(": ");
    if (!jinja_given(value) || value->kind == JINJA_NONE) {
        return true;
    }
    if (!jinja_is_sequence(value) || value->list->count != 2 ||
        value->list->items[0].kind != JINJA_STRING || value->list->items[1].kind != JINJA_STRING) {
        return jinja_fail(render, "tojson's separators must be two strings");
    }
    style->item_separator = value->list->items[0].text;
    style->key_separator = value->list->items[1].text;
    return true;
}

/* As Hugging Face has it: json.dumps, without Jinja's HTML escapes, not ASCII only. */
static bool filter_tojson(struct jinja_render *render, const struct jinja_call *call,
                          struct jinja_value *result) {
    const struct jinja_value *indent = &call->arguments[1];
    struct jinja_builder builder = {.render = render};
    struct jinja_json_style style = {.ascii_only = jinja_truth(&call->arguments[0]),
                                     .multiline = jinja_given(indent) && indent->kind != JINJA_NONE,
                                     .sort_keys = jinja_truth(&call->arguments[3])};
    if ((style.multiline && !indentation(render, indent, 0, &style.indent)) ||
        !json_separators(render, &call->arguments[2], &style)) {
        return false;
    }
    return jinja_append_json(&builder, &call->subject, &style) && jinja_finish(&builder, result);
}

/* Not Jinja's and not Hugging Face's, but some templates use it on tool calls' arguments. */
static bool filter_from_json(struct jinja_render *render, const struct jinja_call *call,
                             struct jinja_value *result) {
    enum { MAX_BYTES = 4 * 1024 * 1024 }; /* parsed outside of the rendering's own memory */
    struct jinja_value subject = call->subject;
    json_error_t reason;
    if (!jinja_expect_string(render, &subject, "what from_json reads") ||
        !jinja_spend_characters(render, subject.text.length)) {
        return false;
    }
    if (subject.text.length > MAX_BYTES) {
        return jinja_fail(render, "from_json: more than %d MiB", MAX_BYTES >> 20);
    }
    json_t *json =
        json_guarded(json_loadb, subject.text.data, subject.text.length, JSON_DECODE_ANY, &reason);
    if (json == NULL) {
        return jinja_fail(render, "from_json: %s", reason.text);
    }
    bool done = jinja_from_json(render, json, false, result);
    json_decref(json);
    return done;
}

static bool filter_format(struct jinja_render *render, const struct jinja_call *call,
                          struct jinja_value *result) {
    if (!jinja_expect_string(render, &call->subject, "a format")) {
        return false;
    }
    struct jinja_value arguments;
    if (call->keyword_count > 0) {
        return jinja_fail(render, "format with keyword arguments is not supported");
    }
    if (!jinja_new_list(render, JINJA_TUPLE, call->count, &arguments)) {
        return false;
    }
    for (size_t i = 0; i < call->count; i++) {
        arguments.list->items[arguments.list->count++] = call->arguments[i];
    }
    return jinja_format_percent(render, &call->subject, &arguments, result);
}

const struct jinja_builtin jinja_text_filters[] = {
    {"upper", filter_upper, {0}},
    {"lower", filter_lower, {0}},
    {"capitalize", filter_capitalize, {0}},
    {"title", filter_title, {0}},
    {"trim", filter_trim, {"chars"}},
    {"string", filter_string, {0}},
    {"safe", filter_safe, {0}},
    {"escape", filter_escape, {0}},
    {"e", filter_escape, {0}},
    {"replace", filter_replace, {"old", "new", "count"}, .required = 2},
    {"join", filter_join, {"d", "attribute"}},
    {"indent", filter_indent, {"width", "first", "blank"}},
    {"tojson", filter_tojson, {"ensure_ascii", "indent", "separators", "sort_keys"}},
    {"from_json", filter_from_json, {0}},
    {"format", filter_format, .variadic = true},
    {0},
};
