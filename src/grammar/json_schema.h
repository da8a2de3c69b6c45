/*
 * json_schema.h - what the files that turn a JSON Schema into a grammar share: one conversion, and
 * schemas joined into one.
 */
#ifndef MISTRAL_GRAMMAR_JSON_SCHEMA_H
#define MISTRAL_GRAMMAR_JSON_SCHEMA_H

#include "base/string_buffer.h"
#include "grammar/grammar_internal.h"
#include "grammar/grammar_json.h"
#include "grammar/grammar_schema.h"

#include <jansson.h>

struct known_schema {
    const json_t *schema;
    grammar_expr rule;
};

struct narrowed_schema {
    const json_t *schema, *required, *narrowed; /* the last is the first with this one required */
};

struct schema_reader {
    struct grammar_builder *builder;
    struct json_parts parts;
    struct json_schema_options options;
    const json_t *root;
    json_t *owned;                         /* array: schemas that were made by joining others */
    struct string_buffer path;             /* "#/properties/a", of the schema being read */
    POOL(struct known_schema) known;       /* those a $ref leads to */
    POOL(struct narrowed_schema) narrowed; /* branches told apart by a discriminator */
    size_t depth, work;
};

/* Notes the failure with the path before it; the message follows printf. */
grammar_expr schema_fail(struct schema_reader *reader, enum error_code code, const char *format,
                         ...) __attribute__((format(printf, 3, 4)));
/* The schema with whatever a lone or accompanied $ref names joined in; NULL after a failure. */
const json_t *schema_resolve(struct schema_reader *reader, const json_t *schema);
/* A schema for what satisfies both, owned by the reader; NULL after a failure. */
const json_t *schema_join(struct schema_reader *reader, const json_t *a, const json_t *b);
/* No value satisfies both, as far as can be told from types, constants and required members. */
bool schema_disjoint(struct schema_reader *reader, const json_t *a, const json_t *b);

enum schema_type {
    TYPE_NULL = 1,
    TYPE_BOOLEAN = 2,
    TYPE_INTEGER = 4,
    TYPE_NUMBER = 8, /* integers included */
    TYPE_STRING = 16,
    TYPE_ARRAY = 32,
    TYPE_OBJECT = 64,
    TYPE_ANY = 127
};
/* The bits of "type"; TYPE_ANY where there is none; 0: malformed, or no type at all. */
unsigned schema_types(const json_t *schema);

/* The expressions of one type. */
grammar_expr schema_object(struct schema_reader *reader, const json_t *schema);
grammar_expr schema_array(struct schema_reader *reader, const json_t *schema);
grammar_expr schema_string(struct schema_reader *reader, const json_t *schema);
/* Of a part of a schema, at `key` (and `index` when not SIZE_MAX) below the current path. */
grammar_expr schema_part(struct schema_reader *reader, const json_t *schema, const char *key,
                         const char *member);
/* A keyword's number of at least 0; `otherwise` when absent. */
size_t schema_count(struct schema_reader *reader, const json_t *schema, const char *key,
                    size_t otherwise);
bool schema_is_false(const json_t *schema);
/* A new object whose members are the names that "required" has; NULL: no memory. */
json_t *schema_required(const json_t *schema);

#endif
