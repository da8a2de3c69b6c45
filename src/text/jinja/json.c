/* json.c - see json.h. */
#include "text/jinja/json.h"

#include "text/jinja/print.h"
#include "text/jinja/sort.h"

#include "base/bytes.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

static bool text_from_json(struct jinja_render *render, const char *data, size_t length,
                           bool borrow, struct jinja_value *value) {
    if (!borrow && length > 0) {
        char *copy = jinja_alloc(render, length, 1);
        if (copy == NULL) {
            return false;
        }
        memcpy(copy, data, length);
        data = copy;
    }
    *value = jinja_string((struct string_view){data, length});
    return true;
}

static bool array_from_json(struct jinja_render *render, const json_t *json, bool borrow,
                            struct jinja_value *value) {
    size_t count = json_array_size(json);
    if (!jinja_new_list(render, JINJA_LIST, count, value)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        struct jinja_value item;
        if (!jinja_from_json(render, json_array_get(json, i), borrow, &item) ||
            !jinja_list_append(render, value->list, item)) {
            return false;
        }
    }
    return true;
}

static bool object_from_json(struct jinja_render *render, const json_t *json, bool borrow,
                             struct jinja_value *value) {
    if (!jinja_new_dict(render, JINJA_DICT, json_object_size(json), value)) {
        return false;
    }
    /* jansson walks an object in order of insertion; it only reads, but takes no const. */
    json_t *object = (json_t *)(uintptr_t)json;
    for (void *at = json_object_iter(object); at != NULL; at = json_object_iter_next(object, at)) {
        const char *name = json_object_iter_key(at);
        struct jinja_value key, item;
        if (!text_from_json(render, name, strlen(name), borrow, &key) ||
            !jinja_from_json(render, json_object_iter_value(at), borrow, &item) ||
            !jinja_dict_add(render, value->dict, key, item)) {
            return false;
        }
    }
    return true;
}

bool jinja_from_json(struct jinja_render *render, const json_t *json, bool borrow,
                     struct jinja_value *value) {
    if (!jinja_spend(render, 1) || !jinja_enter(render)) {
        return false;
    }
    bool done = true;
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        done = object_from_json(render, json, borrow, value);
        break;
    case JSON_ARRAY:
        done = array_from_json(render, json, borrow, value);
        break;
    case JSON_STRING:
        done = text_from_json(render, json_string_value(json), json_string_length(json), borrow,
                              value);
        break;
    case JSON_INTEGER:
        *value = jinja_integer(json_integer_value(json));
        break;
    case JSON_REAL:
        *value = jinja_float(json_real_value(json));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        *value = jinja_bool(json_is_true(json));
        break;
    case JSON_NULL:
        *value = jinja_none();
        break;
    }
    jinja_leave(render);
    return done;
}

static void append_escaped(struct jinja_builder *builder, uint32_t c) {
    static const char short_escapes[] = "\bb\ff\nn\rr\tt\"\"\\\\";
    for (const char *at = short_escapes; *at != '\0'; at += 2) {
        if (c == (uint32_t)(unsigned char)at[0]) {
            jinja_append_format(builder, "\\%c", at[1]);
            return;
        }
    }
    if (c > 0xffff) {
        jinja_append_format(builder, "\\u%04" PRIx32 "\\u%04" PRIx32,
                            0xd800 + ((c - 0x10000) >> 10), 0xdc00 + ((c - 0x10000) & 0x3ff));
    } else {
        jinja_append_format(builder, "\\u%04" PRIx32, c);
    }
}

/* Bytes from the start that are written as they are: printable ASCII, and beyond ASCII if allowed.
 */
static size_t plain_bytes(struct string_view text, bool ascii_only) {
    size_t at = 0;
    while (at < text.length) {
        unsigned char c = (unsigned char)text.data[at];
        if (c < 0x20 || c == '"' || c == '\\' || (ascii_only && c >= 0x7f)) {
            break;
        }
        at++;
    }
    return at;
}

static void append_json_string(struct jinja_builder *builder, struct string_view text,
                               bool ascii_only) {
    if (!jinja_spend_characters(builder->render, text.length)) {
        return;
    }
    jinja_append_char(builder, '"');
    for (size_t at = 0; at < text.length && !builder->render->failed;) {
        struct string_view rest = {text.data + at, text.length - at};
        size_t plain = plain_bytes(rest, ascii_only), bytes = 0;
        uint32_t code_point = 0;
        jinja_append(builder, rest.data, plain);
        if (plain < rest.length) {
            bytes = utf8_decode(rest.data + plain, rest.length - plain, &code_point);
            bytes = size_max(bytes, 1);
            append_escaped(builder, code_point);
        }
        at += plain + bytes;
    }
    jinja_append_char(builder, '"');
}

static void append_json_float(struct jinja_builder *builder, double number) {
    if (isnan(number) || isinf(number)) {
        jinja_append_text(builder, isnan(number) ? "NaN" : number < 0 ? "-Infinity" : "Infinity");
        return;
    }
    char text[JINJA_NUMBER_BYTES];
    if (!jinja_spend(builder->render, JINJA_STEPS_OF_NUMBER)) {
        return;
    }
    jinja_append(builder, text, jinja_format_float(number, text));
}

static void append_line(struct jinja_builder *builder, const struct jinja_json_style *style,
                        size_t level) {
    if (style->multiline) {
        jinja_append_char(builder, '\n');
        jinja_append_repeated(builder, style->indent, level);
    }
}

static bool append_json(struct jinja_builder *builder, const struct jinja_value *value,
                        const struct jinja_json_style *style, size_t level);

static bool append_json_list(struct jinja_builder *builder, const struct jinja_list *list,
                             const struct jinja_json_style *style, size_t level) {
    jinja_append_char(builder, '[');
    for (size_t i = 0; i < list->count; i++) {
        if (i > 0) {
            jinja_append_view(builder, style->item_separator);
        }
        append_line(builder, style, level + 1);
        if (!append_json(builder, &list->items[i], style, level + 1)) {
            return false;
        }
    }
    if (list->count > 0) {
        append_line(builder, style, level);
    }
    jinja_append_char(builder, ']');
    return true;
}

/* Keys that are not strings are written as json.dumps turns them into strings. */
static bool append_json_key(struct jinja_builder *builder, const struct jinja_value *key,
                            const struct jinja_json_style *style) {
    switch ((enum jinja_kind)key->kind) {
    case JINJA_STRING:
        append_json_string(builder, key->text, style->ascii_only);
        return true;
    case JINJA_NONE:
    case JINJA_BOOL:
    case JINJA_INTEGER:
    case JINJA_FLOAT: {
        jinja_append_char(builder, '"');
        bool done = append_json(builder, key, style, 0);
        jinja_append_char(builder, '"');
        return done;
    }
    default:
        return jinja_fail(builder->render, "keys must be str, int, float, bool or None, not %s",
                          jinja_type_name(key));
    }
}

static bool append_json_dict(struct jinja_builder *builder, const struct jinja_dict *dict,
                             const struct jinja_json_style *style, size_t level) {
    struct jinja_entry *entries = dict->entries;
    if (style->sort_keys && dict->count > 1) {
        entries = jinja_alloc(builder->render, dict->count, sizeof *entries);
        if (entries == NULL) {
            return false;
        }
        memcpy(entries, dict->entries, dict->count * sizeof *entries);
        if (!jinja_sort(builder->render, entries, dict->count, false)) {
            return false;
        }
    }
    jinja_append_char(builder, '{');
    for (size_t i = 0; i < dict->count; i++) {
        if (i > 0) {
            jinja_append_view(builder, style->item_separator);
        }
        append_line(builder, style, level + 1);
        if (!append_json_key(builder, &entries[i].key, style)) {
            return false;
        }
        jinja_append_view(builder, style->key_separator);
        if (!append_json(builder, &entries[i].value, style, level + 1)) {
            return false;
        }
    }
    if (dict->count > 0) {
        append_line(builder, style, level);
    }
    jinja_append_char(builder, '}');
    return true;
}

static bool append_json_compound(struct jinja_builder *builder, const struct jinja_value *value,
                                 const struct jinja_json_style *style, size_t level) {
    struct jinja_value list;
    switch ((enum jinja_kind)value->kind) {
    case JINJA_LIST:
    case JINJA_TUPLE:
        return append_json_list(builder, value->list, style, level);
    case JINJA_DICT:
        return append_json_dict(builder, value->dict, style, level);
    case JINJA_ITERATOR: /* Python refuses; templates written for other engines rely on it */
        return jinja_collect(builder->render, value, &list) &&
               append_json_list(builder, list.list, style, level);
    default:
        return jinja_fail(builder->render, "Object of type %s is not JSON serializable",
                          jinja_type_name(value));
    }
}

static bool append_json(struct jinja_builder *builder, const struct jinja_value *value,
                        const struct jinja_json_style *style, size_t level) {
    struct jinja_render *render = builder->render;
    if (!jinja_spend(render, 1)) {
        return false;
    }
    switch ((enum jinja_kind)value->kind) {
    case JINJA_NONE:
        jinja_append_text(builder, "null");
        break;
    case JINJA_BOOL:
        jinja_append_text(builder, value->boolean ? "true" : "false");
        break;
    case JINJA_INTEGER:
        jinja_append_format(builder, "%" PRId64, value->integer);
        break;
    case JINJA_FLOAT:
        append_json_float(builder, value->number);
        break;
    case JINJA_STRING:
        append_json_string(builder, value->text, style->ascii_only);
        break;
    default: {
        if (!jinja_enter(render)) {
            return false;
        }
        bool done = append_json_compound(builder, value, style, level);
        jinja_leave(render);
        return done && !render->failed;
    }
    }
    return !render->failed;
}

bool jinja_append_json(struct jinja_builder *builder, const struct jinja_value *value,
                       const struct jinja_json_style *style) {
    return append_json(builder, value, style, 0);
}
