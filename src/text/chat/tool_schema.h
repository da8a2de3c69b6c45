/*
 * tool_schema.h - which JSON types a tool's parameter may have, as its schema says.
 *
 * Where a call's values stand without quotes, only the schema tells the text "5" from the number.
 * Pure; any thread.
 */
#ifndef MISTRAL_TEXT_CHAT_TOOL_SCHEMA_H
#define MISTRAL_TEXT_CHAT_TOOL_SCHEMA_H

struct json_t; /* jansson's value */

enum json_kind {
    KIND_TEXT = 1,
    KIND_NUMBER = 2,
    KIND_BOOLEAN = 4,
    KIND_NULL = 8,
    KIND_OBJECT = 16,
    KIND_ARRAY = 32,
    KIND_ANY = 63,
};

/* The kinds that `schema` allows, as bits; KIND_ANY where it does not say. `root` has what its
 * "$ref" points to. */
unsigned tool_schema_kinds(const struct json_t *schema, const struct json_t *root);
/* The schema that a "$ref" in `schema` points to in `root`, or `schema` itself. */
const struct json_t *tool_schema_resolve(const struct json_t *schema, const struct json_t *root);
/* The kind of a value. */
unsigned json_kind_of(const struct json_t *value);

#endif
