/*
 * methods_string.c - methods of strings.
 *
 * A result is marked safe when the string was: Python's Markup passes its mark on.
 */
#include "text/jinja/builtin.h"
#include "text/jinja/print.h"
#include "text/jinja/text.h"

#include "base/bytes.h"
#include "base/utf8.h"

static bool give_text(const struct jinja_call *call, struct string_view text,
                      struct jinja_value *result) {
    *result = jinja_string(text);
    result->safe = call->subject.safe;
    return true;
}

static bool give_built(const struct jinja_call *call, const struct jinja_builder *builder,
                       struct jinja_value *result) {
    give_text(call, jinja_built(builder), result);
    return !builder->render->failed;
}

/* An optional argument; *given is false for None. */
static bool optional_string(struct jinja_render *render, const struct jinja_value *argument,
                            const char *what, bool *given) {
    *given = jinja_given(argument) && argument->kind != JINJA_NONE;
    return !*given || jinja_expect_string(render, argument, what);
}

static bool optional_integer(struct jinja_render *render, const struct jinja_value *argument,
                             int64_t otherwise, int64_t *value) {
    *value = otherwise;
    if (!jinja_given(argument) || argument->kind == JINJA_NONE) {
        return true;
    }
    if (!jinja_expect_integer(render, argument, "an argument")) {
        return false;
    }
    *value = jinja_integral(argument);
    return true;
}

static bool strip(struct jinja_render *render, const struct jinja_call *call,
                  enum jinja_strip_sides sides, struct jinja_value *result) {
    const struct jinja_value *characters = &call->arguments[0];
    bool given;
    if (!optional_string(render, characters, "strip's characters", &given)) {
        return false;
    }
    struct string_view text = call->subject.text;
    return jinja_text_strip_paid(render, &text, given ? &characters->text : NULL, sides) &&
           give_text(call, text, result);
}

static bool string_strip(struct jinja_render *render, const struct jinja_call *call,
                         struct jinja_value *result) {
    return strip(render, call, JINJA_STRIP_BOTH, result);
}

static bool string_lstrip(struct jinja_render *render, const struct jinja_call *call,
                          struct jinja_value *result) {
    return strip(render, call, JINJA_STRIP_LEFT, result);
}

static bool string_rstrip(struct jinja_render *render, const struct jinja_call *call,
                          struct jinja_value *result) {
    return strip(render, call, JINJA_STRIP_RIGHT, result);
}

static bool add_piece(struct jinja_render *render, const struct jinja_call *call,
                      struct jinja_value *list, struct string_view text) {
    struct jinja_value piece;
    return give_text(call, text, &piece) && jinja_list_append(render, list->list, piece);
}

static size_t space_bytes(struct string_view text) {
    uint32_t code_point = 0;
    size_t bytes = utf8_decode(text.data, text.length, &code_point);
    return bytes > 0 && jinja_is_space(code_point) ? bytes : 0;
}

/* split(): words, however much white space is between them. */
static bool split_words(struct jinja_render *render, const struct jinja_call *call, int64_t limit,
                        struct jinja_value *list) {
    struct string_view rest = jinja_text_strip(call->subject.text, NULL, JINJA_STRIP_LEFT);
    while (rest.length > 0) {
        size_t end = 0;
        while (end < rest.length && (limit == 0 || space_bytes(jinja_text_from(rest, end)) == 0)) {
            end += jinja_character_bytes(rest.data + end, rest.length - end);
        }
        if (!add_piece(render, call, list, jinja_text_until(rest, end))) {
            return false;
        }
        rest = jinja_text_strip(jinja_text_from(rest, end), NULL, JINJA_STRIP_LEFT);
        limit -= limit > 0;
    }
    return true;
}

/* rsplit(): the same from the end; the pieces are collected backwards. */
static bool split_words_last(struct jinja_render *render, const struct jinja_call *call,
                             int64_t limit, struct jinja_value *list) {
    struct string_view rest = jinja_text_strip(call->subject.text, NULL, JINJA_STRIP_RIGHT);
    while (rest.length > 0) {
        size_t start = rest.length;
        while (start > 0 &&
               (limit == 0 || jinja_trailing_space(jinja_text_until(rest, start)) == 0)) {
            do {
                start--;
            } while (start > 0 && ((unsigned char)rest.data[start] & 0xc0) == 0x80);
        }
        if (!add_piece(render, call, list, jinja_text_from(rest, start))) {
            return false;
        }
        rest = jinja_text_strip(jinja_text_until(rest, start), NULL, JINJA_STRIP_RIGHT);
        limit -= limit > 0;
    }
    return true;
}

static bool split_at(struct jinja_render *render, const struct jinja_call *call,
                     struct string_view separator, int64_t limit, struct jinja_value *list) {
    struct string_view rest = call->subject.text;
    while (limit != 0) {
        size_t at;
        if (!jinja_search(render, rest, separator, 0, &at)) {
            return false;
        }
        if (at == JINJA_NOT_FOUND) {
            break;
        }
        if (!add_piece(render, call, list, jinja_text_until(rest, at))) {
            return false;
        }
        rest = jinja_text_from(rest, at + separator.length);
        limit -= limit > 0;
    }
    return add_piece(render, call, list, rest);
}

static bool split_at_last(struct jinja_render *render, const struct jinja_call *call,
                          struct string_view separator, int64_t limit, struct jinja_value *list) {
    struct string_view rest = call->subject.text;
    while (limit != 0) {
        size_t at;
        if (!jinja_search_last(render, rest, separator, &at)) {
            return false;
        }
        if (at == JINJA_NOT_FOUND) {
            break;
        }
        if (!add_piece(render, call, list, jinja_text_from(rest, at + separator.length))) {
            return false;
        }
        rest = jinja_text_until(rest, at);
        limit -= limit > 0;
    }
    return add_piece(render, call, list, rest);
}

static void reverse_items(struct jinja_list *list) {
    for (size_t i = 0, j = list->count; i + 1 < j; i++) {
        struct jinja_value item = list->items[i];
        list->items[i] = list->items[--j];
        list->items[j] = item;
    }
}

static bool split(struct jinja_render *render, const struct jinja_call *call, bool from_end,
                  struct jinja_value *result) {
    const struct jinja_value *separator = &call->arguments[0];
    bool given;
    int64_t limit;
    if (!optional_string(render, separator, "split's separator", &given) ||
        !optional_integer(render, &call->arguments[1], -1, &limit) ||
        !jinja_new_list(render, JINJA_LIST, 0, result)) {
        return false;
    }
    if (!given && !jinja_spend_characters(render, call->subject.text.length)) {
        return false;
    }
    if (given && separator->text.length == 0) {
        return jinja_fail(render, "empty separator");
    }
    bool done;
    if (given) {
        done = from_end ? split_at_last(render, call, separator->text, limit, result)
                        : split_at(render, call, separator->text, limit, result);
    } else {
        done = from_end ? split_words_last(render, call, limit, result)
                        : split_words(render, call, limit, result);
    }
    if (from_end) {
        reverse_items(result->list);
    }
    return done;
}

static bool string_split(struct jinja_render *render, const struct jinja_call *call,
                         struct jinja_value *result) {
    return split(render, call, false, result);
}

static bool string_rsplit(struct jinja_render *render, const struct jinja_call *call,
                          struct jinja_value *result) {
    return split(render, call, true, result);
}

static bool string_splitlines(struct jinja_render *render, const struct jinja_call *call,
                              struct jinja_value *result) {
    struct string_view rest = call->subject.text, line, ending;
    bool keep = jinja_truth(&call->arguments[0]);
    if (!jinja_new_list(render, JINJA_LIST, 0, result) ||
        !jinja_spend_characters(render, rest.length)) {
        return false;
    }
    while (jinja_next_line(&rest, &line, &ending)) {
        line.length += keep ? ending.length : 0;
        if (!add_piece(render, call, result, line)) {
            return false;
        }
    }
    return true;
}

static bool partition(struct jinja_render *render, const struct jinja_call *call, bool last,
                      struct jinja_value *result) {
    struct string_view text = call->subject.text, separator = call->arguments[0].text;
    if (!jinja_expect_string(render, &call->arguments[0], "partition's separator")) {
        return false;
    }
    if (separator.length == 0) {
        return jinja_fail(render, "empty separator");
    }
    size_t at;
    if (!(last ? jinja_search_last(render, text, separator, &at)
               : jinja_search(render, text, separator, 0, &at))) {
        return false;
    }
    struct string_view pieces[3] = {text, {"", 0}, {"", 0}};
    if (at != JINJA_NOT_FOUND) {
        pieces[0] = jinja_text_until(text, at);
        pieces[1] = separator;
        pieces[2] = jinja_text_from(text, at + separator.length);
    } else if (last) {
        pieces[2] = text;
        pieces[0] = pieces[1];
    }
    return jinja_new_list(render, JINJA_TUPLE, 3, result) &&
           add_piece(render, call, result, pieces[0]) &&
           add_piece(render, call, result, pieces[1]) && add_piece(render, call, result, pieces[2]);
}

static bool string_partition(struct jinja_render *render, const struct jinja_call *call,
                             struct jinja_value *result) {
    return partition(render, call, false, result);
}

static bool string_rpartition(struct jinja_render *render, const struct jinja_call *call,
                              struct jinja_value *result) {
    return partition(render, call, true, result);
}

/* startswith and endswith: one text, or a tuple of which one fits. */
static bool affix(struct jinja_render *render, const struct jinja_call *call,
                  bool (*fits)(struct string_view, struct string_view),
                  struct jinja_value *result) {
    const struct jinja_value *argument = &call->arguments[0];
    size_t count = argument->kind == JINJA_TUPLE ? argument->list->count : 1;
    const struct jinja_value *candidates =
        argument->kind == JINJA_TUPLE ? argument->list->items : argument;
    bool found = false;
    for (size_t i = 0; !found && i < count; i++) {
        if (!jinja_expect_string(render, &candidates[i], "what a string starts or ends with") ||
            !jinja_spend_bytes(render, candidates[i].text.length)) {
            return false;
        }
        found = fits(call->subject.text, candidates[i].text);
    }
    *result = jinja_bool(found);
    return true;
}

static bool string_startswith(struct jinja_render *render, const struct jinja_call *call,
                              struct jinja_value *result) {
    return affix(render, call, jinja_text_starts_with, result);
}

static bool string_endswith(struct jinja_render *render, const struct jinja_call *call,
                            struct jinja_value *result) {
    return affix(render, call, jinja_text_ends_with, result);
}

static bool string_removeprefix(struct jinja_render *render, const struct jinja_call *call,
                                struct jinja_value *result) {
    struct string_view text = call->subject.text;
    if (!jinja_expect_string(render, &call->arguments[0], "removeprefix's prefix") ||
        !jinja_spend_bytes(render, call->arguments[0].text.length)) {
        return false;
    }
    bool fits = jinja_text_starts_with(text, call->arguments[0].text);
    return give_text(call, jinja_text_from(text, fits ? call->arguments[0].text.length : 0),
                     result);
}

static bool string_removesuffix(struct jinja_render *render, const struct jinja_call *call,
                                struct jinja_value *result) {
    struct string_view text = call->subject.text;
    if (!jinja_expect_string(render, &call->arguments[0], "removesuffix's suffix") ||
        !jinja_spend_bytes(render, call->arguments[0].text.length)) {
        return false;
    }
    bool fits = jinja_text_ends_with(text, call->arguments[0].text);
    text.length -= fits ? call->arguments[0].text.length : 0;
    return give_text(call, text, result);
}

typedef void case_mapping(struct jinja_builder *builder, struct string_view text);

static bool map_case(struct jinja_render *render, const struct jinja_call *call,
                     case_mapping *mapping, struct jinja_value *result) {
    struct jinja_builder builder = {.render = render};
    if (!jinja_spend_characters(render, call->subject.text.length)) {
        return false;
    }
    mapping(&builder, call->subject.text);
    return give_built(call, &builder, result);
}

static bool string_upper(struct jinja_render *render, const struct jinja_call *call,
                         struct jinja_value *result) {
    return map_case(render, call, jinja_append_upper, result);
}

static bool string_lower(struct jinja_render *render, const struct jinja_call *call,
                         struct jinja_value *result) {
    return map_case(render, call, jinja_append_lower, result);
}

static bool string_title(struct jinja_render *render, const struct jinja_call *call,
                         struct jinja_value *result) {
    return map_case(render, call, jinja_append_title, result);
}

static bool string_capitalize(struct jinja_render *render, const struct jinja_call *call,
                              struct jinja_value *result) {
    return map_case(render, call, jinja_append_capitalized, result);
}

/* replace("", x) puts x between all characters, and at both ends. */
static void replace_empty(struct jinja_builder *builder, struct string_view text,
                          struct string_view new, int64_t limit) {
    size_t at = 0;
    while (limit != 0 && !builder->render->failed) {
        jinja_append_view(builder, new);
        limit -= limit > 0;
        if (at >= text.length) {
            return;
        }
        size_t bytes = jinja_character_bytes(text.data + at, text.length - at);
        jinja_append(builder, text.data + at, bytes);
        at += bytes;
    }
    jinja_append_view(builder, jinja_text_from(text, at));
}

static bool string_replace(struct jinja_render *render, const struct jinja_call *call,
                           struct jinja_value *result) {
    struct jinja_builder builder = {.render = render};
    struct jinja_value new = call->arguments[1];
    int64_t limit;
    if (!jinja_expect_string(render, &call->arguments[0], "what is replaced") ||
        !jinja_expect_string(render, &new, "the replacement") ||
        !optional_integer(render, &call->arguments[2], -1, &limit) ||
        (call->subject.safe && !jinja_escape(render, &new, &new))) {
        return false;
    }
    struct string_view rest = call->subject.text, old = call->arguments[0].text;
    size_t at;
    if (old.length == 0) {
        replace_empty(&builder, rest, new.text, limit);
        return give_built(call, &builder, result);
    }
    while (limit != 0 && jinja_search(render, rest, old, 0, &at) && at != JINJA_NOT_FOUND) {
        jinja_append_view(&builder, jinja_text_until(rest, at));
        jinja_append_view(&builder, new.text);
        rest = jinja_text_from(rest, at + old.length);
        limit -= limit > 0;
    }
    jinja_append_view(&builder, rest);
    return give_built(call, &builder, result);
}

/* The part of the string from `start` to `end`, in code points, as find() and count() take them;
 * *offset is its place in bytes. False: the part does not exist. */
static bool searched_part(struct string_view text, int64_t start, int64_t end,
                          struct string_view *part, size_t *offset) {
    if (start == 0 && end == INT64_MAX) {
        *offset = 0;
        *part = text;
        return true;
    }
    int64_t length = (int64_t)jinja_text_length(text);
    start = start < 0 ? (start + length < 0 ? 0 : start + length) : start;
    end = end < 0 ? (end + length < 0 ? 0 : end + length) : end;
    end = end > length ? length : end;
    if (start > end) {
        return false;
    }
    *offset = jinja_text_offset(text, (size_t)start);
    *part = jinja_text_from(text, *offset);
    *part = jinja_text_until(*part, jinja_text_offset(*part, (size_t)(end - start)));
    return true;
}

/* Characters are counted to find a part, and to say where something was found. */
static bool spend_part(struct jinja_render *render, const struct jinja_call *call, int64_t start,
                       int64_t end) {
    size_t length = call->subject.text.length;
    return start == 0 && end == INT64_MAX ? jinja_spend_bytes(render, length)
                                          : jinja_spend_characters(render, 2 * length);
}

/* Code point index of what is looked for, or -1. */
static bool find(struct jinja_render *render, const struct jinja_call *call, bool last,
                 int64_t *found) {
    struct string_view needle = call->arguments[0].text, part;
    int64_t start, end;
    size_t offset;
    *found = -1;
    if (!jinja_expect_string(render, &call->arguments[0], "what is looked for") ||
        !optional_integer(render, &call->arguments[1], 0, &start) ||
        !optional_integer(render, &call->arguments[2], INT64_MAX, &end) ||
        !spend_part(render, call, start, end)) {
        return false;
    }
    if (!searched_part(call->subject.text, start, end, &part, &offset)) {
        return true;
    }
    size_t at;
    if (!(last ? jinja_search_last(render, part, needle, &at)
               : jinja_search(render, part, needle, 0, &at))) {
        return false;
    }
    if (at != JINJA_NOT_FOUND) {
        *found = (int64_t)jinja_text_length(jinja_text_until(call->subject.text, offset + at));
    }
    return true;
}

static bool find_or_minus_one(struct jinja_render *render, const struct jinja_call *call, bool last,
                              struct jinja_value *result) {
    int64_t found;
    bool done = find(render, call, last, &found);
    *result = jinja_integer(found);
    return done;
}

static bool find_or_fail(struct jinja_render *render, const struct jinja_call *call, bool last,
                         struct jinja_value *result) {
    return find_or_minus_one(render, call, last, result) &&
           (result->integer >= 0 || jinja_fail(render, "substring not found"));
}

static bool string_find(struct jinja_render *render, const struct jinja_call *call,
                        struct jinja_value *result) {
    return find_or_minus_one(render, call, false, result);
}

static bool string_rfind(struct jinja_render *render, const struct jinja_call *call,
                         struct jinja_value *result) {
    return find_or_minus_one(render, call, true, result);
}

static bool string_index(struct jinja_render *render, const struct jinja_call *call,
                         struct jinja_value *result) {
    return find_or_fail(render, call, false, result);
}

static bool string_rindex(struct jinja_render *render, const struct jinja_call *call,
                          struct jinja_value *result) {
    return find_or_fail(render, call, true, result);
}

static bool string_count(struct jinja_render *render, const struct jinja_call *call,
                         struct jinja_value *result) {
    struct string_view needle = call->arguments[0].text, part;
    int64_t start, end, count = 0;
    size_t offset;
    if (!jinja_expect_string(render, &call->arguments[0], "what is counted") ||
        !optional_integer(render, &call->arguments[1], 0, &start) ||
        !optional_integer(render, &call->arguments[2], INT64_MAX, &end) ||
        !spend_part(render, call, start, end)) {
        return false;
    }
    if (searched_part(call->subject.text, start, end, &part, &offset)) {
        size_t at = 0;
        if (needle.length == 0) {
            count = (int64_t)jinja_text_length(part) + 1;
        }
        while (needle.length > 0 && jinja_search(render, part, needle, at, &at) &&
               at != JINJA_NOT_FOUND) {
            count++;
            at += needle.length;
        }
    }
    *result = jinja_integer(count);
    return !render->failed;
}

static bool string_join(struct jinja_render *render, const struct jinja_call *call,
                        struct jinja_value *result) {
    struct jinja_builder builder = {.render = render};
    struct jinja_iteration iteration;
    struct jinja_value item;
    if (!jinja_iterate(render, &call->arguments[0], &iteration)) {
        return false;
    }
    for (bool first = true; jinja_next(render, &iteration, &item); first = false) {
        if (!jinja_expect_string(render, &item, "what join joins") ||
            (call->subject.safe && !jinja_escape(render, &item, &item))) {
            return false;
        }
        if (!first) {
            jinja_append_view(&builder, call->subject.text);
        }
        jinja_append_view(&builder, item.text);
    }
    return give_built(call, &builder, result);
}

/* isdigit() and its like: every character passes, and there is one. */
static bool every(struct jinja_render *render, const struct jinja_call *call,
                  bool (*passes)(uint32_t), struct jinja_value *result) {
    struct string_view text = call->subject.text;
    bool all = text.length > 0;
    if (!jinja_spend_characters(render, text.length)) {
        return false;
    }
    size_t bytes;
    for (size_t at = 0; all && at < text.length; at += bytes) {
        uint32_t code_point = 0;
        utf8_decode(text.data + at, text.length - at, &code_point);
        bytes = jinja_character_bytes(text.data + at, text.length - at);
        all = passes(code_point);
    }
    *result = jinja_bool(all);
    return true;
}

static bool string_isdigit(struct jinja_render *render, const struct jinja_call *call,
                           struct jinja_value *result) {
    return every(render, call, jinja_is_decimal, result);
}

static bool string_isalpha(struct jinja_render *render, const struct jinja_call *call,
                           struct jinja_value *result) {
    return every(render, call, jinja_is_alpha, result);
}

static bool string_isalnum(struct jinja_render *render, const struct jinja_call *call,
                           struct jinja_value *result) {
    return every(render, call, jinja_is_alphanumeric, result);
}

static bool string_isspace(struct jinja_render *render, const struct jinja_call *call,
                           struct jinja_value *result) {
    return every(render, call, jinja_is_space, result);
}

static bool test_as_method(struct jinja_render *render, const struct jinja_call *call,
                           const char *test, struct jinja_value *result) {
    return jinja_find_test(string_view_of(test))->function(render, call, result);
}

static bool string_islower(struct jinja_render *render, const struct jinja_call *call,
                           struct jinja_value *result) {
    return test_as_method(render, call, "lower", result);
}

static bool string_isupper(struct jinja_render *render, const struct jinja_call *call,
                           struct jinja_value *result) {
    return test_as_method(render, call, "upper", result);
}

enum pad_side { PAD_LEFT, PAD_RIGHT, PAD_BOTH };

static bool pad(struct jinja_render *render, const struct jinja_call *call, enum pad_side side,
                struct jinja_value *result) {
    struct jinja_builder builder = {.render = render};
    struct string_view fill = string_view_of(" "), text = call->subject.text;
    bool given;
    if (!jinja_expect_integer(render, &call->arguments[0], "a width") ||
        !optional_string(render, &call->arguments[1], "a fill character", &given)) {
        return false;
    }
    if (given) {
        fill = call->arguments[1].text;
        if (fill.length > 4 || jinja_text_length(fill) != 1) {
            return jinja_fail(render, "the fill character must be one character long");
        }
    }
    int64_t width = jinja_integral(&call->arguments[0]);
    if (!jinja_spend_bytes(render, text.length)) {
        return false;
    }
    size_t length = jinja_text_length(text);
    size_t space = width > (int64_t)length ? (size_t)width - length : 0;
    size_t left = side == PAD_LEFT ? space : 0;
    if (side == PAD_BOTH) { /* Python's rule for the odd one */
        left = space / 2 + (space & (size_t)width & 1);
    }
    jinja_append_repeated(&builder, fill, left);
    jinja_append_view(&builder, text);
    jinja_append_repeated(&builder, fill, space - left);
    return give_built(call, &builder, result);
}

static bool string_rjust(struct jinja_render *render, const struct jinja_call *call,
                         struct jinja_value *result) {
    return pad(render, call, PAD_LEFT, result);
}

static bool string_ljust(struct jinja_render *render, const struct jinja_call *call,
                         struct jinja_value *result) {
    return pad(render, call, PAD_RIGHT, result);
}

static bool string_center(struct jinja_render *render, const struct jinja_call *call,
                          struct jinja_value *result) {
    return pad(render, call, PAD_BOTH, result);
}

const struct jinja_builtin jinja_string_methods[] = {
    {"strip", string_strip, {"chars"}},
    {"lstrip", string_lstrip, {"chars"}},
    {"rstrip", string_rstrip, {"chars"}},
    {"split", string_split, {"sep", "maxsplit"}},
    {"rsplit", string_rsplit, {"sep", "maxsplit"}},
    {"splitlines", string_splitlines, {"keepends"}},
    {"partition", string_partition, {"sep"}, .required = 1},
    {"rpartition", string_rpartition, {"sep"}, .required = 1},
    {"startswith", string_startswith, {"prefix"}, .required = 1},
    {"endswith", string_endswith, {"suffix"}, .required = 1},
    {"removeprefix", string_removeprefix, {"prefix"}, .required = 1},
    {"removesuffix", string_removesuffix, {"suffix"}, .required = 1},
    {"upper", string_upper, {0}},
    {"lower", string_lower, {0}},
    {"title", string_title, {0}},
    {"capitalize", string_capitalize, {0}},
    {"replace", string_replace, {"old", "new", "count"}, .required = 2},
    {"find", string_find, {"sub", "start", "end"}, .required = 1},
    {"rfind", string_rfind, {"sub", "start", "end"}, .required = 1},
    {"index", string_index, {"sub", "start", "end"}, .required = 1},
    {"rindex", string_rindex, {"sub", "start", "end"}, .required = 1},
    {"count", string_count, {"sub", "start", "end"}, .required = 1},
    {"join", string_join, {"iterable"}, .required = 1},
    {"format", jinja_format_method, .variadic = true},
    {"isdigit", string_isdigit, {0}},
    {"isdecimal", string_isdigit, {0}},
    {"isnumeric", string_isdigit, {0}},
    {"isalpha", string_isalpha, {0}},
    {"isalnum", string_isalnum, {0}},
    {"isspace", string_isspace, {0}},
    {"islower", string_islower, {0}},
    {"isupper", string_isupper, {0}},
    {"rjust", string_rjust, {"width", "fillchar"}, .required = 1},
    {"ljust", string_ljust, {"width", "fillchar"}, .required = 1},
    {"center", string_center, {"width", "fillchar"}, .required = 1},
    {0},
};
