/* tool_schema.c - see tool_schema.h. */
#include "text/chat/tool_schema.h"

#include <jansson.h>
#include <string.h>

enum { DEPTH_MAX = 8 };

unsigned json_kind_of(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_STRING:
        return KIND_TEXT;
    case JSON_INTEGER:
    case JSON_REAL:
        return KIND_NUMBER;
    case JSON_TRUE:
    case JSON_FALSE:
        return KIND_BOOLEAN;
    case JSON_NULL:
        return KIND_NULL;
    case JSON_OBJECT:
        return KIND_OBJECT;
    case JSON_ARRAY:
        return KIND_ARRAY;
    }
    return KIND_ANY;
}

static unsigned kind_named(const json_t *type) {
    static const struct {
        const char *name;
        unsigned kind;
    } rows[] = {{"string", KIND_TEXT},     {"number", KIND_NUMBER}, {"integer", KIND_NUMBER},
                {"boolean", KIND_BOOLEAN}, {"null", KIND_NULL},     {"object", KIND_OBJECT},
                {"array", KIND_ARRAY}};
    for (size_t i = 0; json_is_string(type) && i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(json_string_value(type), rows[i].name) == 0) {
            return rows[i].kind;
        }
    }
    return KIND_ANY;
}

static unsigned kinds_named(const json_t *type) {
    unsigned kinds = 0;
    if (!json_is_array(type)) {
        return kind_named(type);
    }
    for (size_t i = 0; i < json_array_size(type); i++) {
        kinds |= kind_named(json_array_get(type, i));
    }
    return kinds == 0 ? KIND_ANY : kinds;
}

static unsigned kinds_listed(const json_t *values) {
    unsigned kinds = 0;
    for (size_t i = 0; i < json_array_size(values); i++) {
        kinds |= json_kind_of(json_array_get(values, i));
    }
    return kinds == 0 ? KIND_ANY : kinds;
}

/* "#/$defs/name", or any other path from the root. */
static const json_t *find(const json_t *root, const char *reference) {
    const json_t *at = root;
    if (reference[0] != '#') {
        return NULL;
    }
    reference++;
    while (at != NULL && *reference == '/') {
        char name[128];
        size_t length = strcspn(++reference, "/");
        if (length >= sizeof name) {
            return NULL;
        }
        memcpy(name, reference, length);
        name[length] = '\0';
        reference += length;
        at = json_object_get(at, name);
    }
    return at;
}

static unsigned kinds_of(const json_t *schema, const json_t *root, unsigned depth);

/* Of the alternatives together. */
static unsigned kinds_of_any(const json_t *schemas, const json_t *root, unsigned depth) {
    unsigned kinds = 0;
    for (size_t i = 0; i < json_array_size(schemas); i++) {
        kinds |= kinds_of(json_array_get(schemas, i), root, depth);
    }
    return kinds == 0 ? KIND_ANY : kinds;
}

static unsigned kinds_of(const json_t *schema, const json_t *root, unsigned depth) {
    if (!json_is_object(schema) || depth >= DEPTH_MAX) {
        return KIND_ANY;
    }
    const json_t *value = json_object_get(schema, "const");
    unsigned kinds = kinds_named(json_object_get(schema, "type")) &
                     kinds_listed(json_object_get(schema, "enum")) &
                     (value == NULL ? (unsigned)KIND_ANY : json_kind_of(value)) &
                     kinds_of_any(json_object_get(schema, "anyOf"), root, depth + 1) &
                     kinds_of_any(json_object_get(schema, "oneOf"), root, depth + 1);
    const json_t *all = json_object_get(schema, "allOf");
    for (size_t i = 0; i < json_array_size(all); i++) {
        kinds &= kinds_of(json_array_get(all, i), root, depth + 1);
    }
    const char *reference = json_string_value(json_object_get(schema, "$ref"));
    if (reference != NULL) {
        kinds &= kinds_of(find(root, reference), root, depth + 1);
    }
    return kinds == 0 ? (unsigned)KIND_ANY : kinds;
}

unsigned tool_schema_kinds(const json_t *schema, const json_t *root) {
    return kinds_of(schema, root, 0);
}

const json_t *tool_schema_resolve(const json_t *schema, const json_t *root) {
    for (unsigned depth = 0; depth < DEPTH_MAX; depth++) {
        const char *reference = json_string_value(json_object_get(schema, "$ref"));
        if (reference == NULL) {
            return schema;
        }
        schema = find(root, reference);
    }
    return NULL;
}
