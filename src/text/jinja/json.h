/*
 * json.h - JSON into values, and values into the JSON that Python's json.dumps writes.
 */
#ifndef MISTRAL_TEXT_JINJA_JSON_H
#define MISTRAL_TEXT_JINJA_JSON_H

#include "text/jinja/value.h"

struct json_t;

/* `borrow`: strings stay in the JSON, which must outlive the value; else they are copied. */
bool jinja_from_json(struct jinja_render *render, const struct json_t *json, bool borrow,
                     struct jinja_value *value);

struct jinja_json_style {
    bool ascii_only; /* ensure_ascii */
    bool sort_keys;
    bool multiline;            /* an indent was given, maybe an empty one */
    struct string_view indent; /* one level of it */
    struct string_view item_separator, key_separator;
};

bool jinja_append_json(struct jinja_builder *builder, const struct jinja_value *value,
                       const struct jinja_json_style *style);

#endif
