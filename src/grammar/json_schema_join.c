/*
 * json_schema_join.c - references followed, schemas joined (allOf, and what stands beside anyOf or
 * $ref), and schemas that share no value told (oneOf).
 */
#include "grammar/json_schema.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_JOINS = 20000, MOST_BRANCHES = 256, MOST_REFERENCES = 64 };

/* Says something to people, or is read elsewhere: joined or not, it changes nothing. */
static bool is_annotation(const char *key) {
    static const char *const keys[] = {
        "title", "description", "default",    "examples", "$comment",  "$schema",      "$id",
        "$defs", "definitions", "deprecated", "readOnly", "writeOnly", "discriminator"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (strcmp(key, keys[i]) == 0) {
            return true;
        }
    }
    return false;
}

bool schema_is_false(const json_t *schema) {
    return json_is_false(schema);
}

/* One step of a JSON pointer (RFC 6901) behind '#', with percent escapes undone. */
static const json_t *step_into(const json_t *value, const char *token, size_t length) {
    char name[512];
    size_t count = 0;
    for (size_t i = 0; i < length && count < sizeof name - 1; i++) {
        if (token[i] == '%' && i + 2 < length && isxdigit((unsigned char)token[i + 1]) &&
            isxdigit((unsigned char)token[i + 2])) {
            const char hex[] = {token[i + 1], token[i + 2], 0};
            name[count++] = (char)strtoul(hex, NULL, 16);
            i += 2;
        } else {
            name[count++] = token[i];
        }
    }
    size_t kept = 0;
    for (size_t i = 0; i < count; i++, kept++) {
        bool escaped = name[i] == '~' && i + 1 < count;
        name[kept] = !escaped ? name[i] : name[i + 1] == '1' ? '/' : '~';
        i += escaped;
    }
    name[kept] = '\0';
    if (json_is_array(value)) {
        char *end;
        unsigned long index = strtoul(name, &end, 10);
        return *end == '\0' && kept > 0 ? json_array_get(value, index) : NULL;
    }
    return json_object_get(value, name);
}

static const json_t *find_reference(struct schema_reader *reader, const char *reference) {
    const json_t *at = reader->root;
    if (reference[0] != '#' || (reference[1] != '\0' && reference[1] != '/')) {
        schema_fail(reader, ERROR_UNSUPPORTED,
                    "'$ref' to '%.100s' is not supported; only within the schema, as in "
                    "\"#/$defs/name\"",
                    reference);
        return NULL;
    }
    for (const char *token = reference + 1; at != NULL && *token == '/';) {
        size_t length = strcspn(token + 1, "/");
        at = step_into(at, token + 1, length);
        token += 1 + length;
    }
    if (at == NULL) {
        schema_fail(reader, ERROR_FORMAT, "'$ref' names '%.100s', which is not there", reference);
    }
    return at;
}

/* A copy of an object without one of its keys; owned by the reader. */
static json_t *without(struct schema_reader *reader, const json_t *schema, const char *key) {
    json_t *copy = json_copy((json_t *)(uintptr_t)schema);
    if (copy == NULL || json_array_append_new(reader->owned, copy) != 0) {
        schema_fail(reader, ERROR_OUT_OF_MEMORY, "no memory");
        return NULL;
    }
    json_object_del(copy, key);
    return copy;
}

static bool has_assertions(const json_t *schema) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)schema, key, value) {
        if (!is_annotation(key)) {
            return true;
        }
    }
    return false;
}

const json_t *schema_resolve(struct schema_reader *reader, const json_t *schema) {
    for (size_t i = 0; i < MOST_REFERENCES; i++) {
        const json_t *reference = json_object_get(schema, "$ref");
        if (reference == NULL) {
            return schema;
        }
        if (!json_is_string(reference)) {
            schema_fail(reader, ERROR_FORMAT, "'$ref' is a string");
            return NULL;
        }
        const json_t *target = find_reference(reader, json_string_value(reference));
        json_t *rest = target == NULL ? NULL : without(reader, schema, "$ref");
        if (rest == NULL) {
            return NULL;
        }
        schema = has_assertions(rest) ? schema_join(reader, rest, target) : target;
        if (schema == NULL) {
            return NULL;
        }
    }
    schema_fail(reader, ERROR_UNSUPPORTED, "'$ref' leads in a circle");
    return NULL;
}

/* --- joining --- */

static json_t *all_of(const json_t *a, const json_t *b) {
    return json_pack("{s:[O,O]}", "allOf", (json_t *)(uintptr_t)a, (json_t *)(uintptr_t)b);
}

/* Equal values have the same text. */
static char *text_of(const json_t *value) {
    return json_dumps(value, JSON_ENCODE_ANY | JSON_SORT_KEYS | JSON_COMPACT);
}

/* The values that both arrays have; NULL: no memory. By the set of one's texts, as there may be
 * many. */
static json_t *shared_values(const json_t *a, const json_t *b) {
    json_t *shared = json_array(), *set = json_object();
    bool done = shared != NULL && set != NULL;
    for (size_t i = 0; done && i < json_array_size(b); i++) {
        char *text = text_of(json_array_get(b, i));
        done = text != NULL && json_object_set_new(set, text, json_null()) == 0;
        free(text);
    }
    for (size_t i = 0; done && i < json_array_size(a); i++) {
        char *text = text_of(json_array_get(a, i));
        done = text != NULL && (json_object_get(set, text) == NULL ||
                                json_array_append(shared, json_array_get(a, i)) == 0);
        free(text);
    }
    json_decref(set);
    if (!done) {
        json_decref(shared);
        return NULL;
    }
    return shared;
}

static json_t *types_to_json(unsigned types) {
    static const char *const names[] = {"null",   "boolean", "integer", "number",
                                        "string", "array",   "object"};
    json_t *list = json_array();
    for (size_t i = 0; i < 7; i++) {
        if ((types >> i & 1) != 0) {
            json_array_append_new(list, json_string(names[i]));
        }
    }
    return list;
}

/* NUMBER holds INTEGER: an integer is left where only one side says number. */
static unsigned shared_types(unsigned a, unsigned b) {
    a |= a & TYPE_NUMBER ? TYPE_INTEGER : 0U;
    b |= b & TYPE_NUMBER ? TYPE_INTEGER : 0U;
    unsigned shared = a & b;
    return shared & TYPE_NUMBER ? shared & ~(unsigned)TYPE_INTEGER : shared;
}

static bool is_one_of(const char *key, const char *const *keys, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(key, keys[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* The joined value of a keyword that both have; NULL: it cannot be told. */
static json_t *join_values(const char *key, json_t *a, json_t *b) {
    static const char *const smaller[] = {"maximum", "exclusiveMaximum", "maxLength", "maxItems",
                                          "maxProperties"};
    static const char *const larger[] = {"minimum", "exclusiveMinimum", "minLength", "minItems",
                                         "minProperties"};
    if (json_equal(a, b)) {
        return json_incref(a);
    }
    if (json_is_number(a) && json_is_number(b)) {
        bool a_is_less = json_number_value(a) < json_number_value(b);
        if (is_one_of(key, smaller, 5)) {
            return json_incref(a_is_less ? a : b);
        }
        return is_one_of(key, larger, 5) ? json_incref(a_is_less ? b : a) : NULL;
    }
    if (strcmp(key, "enum") == 0) {
        return shared_values(a, b);
    }
    if (strcmp(key, "required") == 0 && json_is_array(a) && json_is_array(b)) {
        json_t *both = json_copy(a);
        json_array_extend(both, b);
        return both;
    }
    if (strcmp(key, "allOf") == 0 && json_is_array(a) && json_is_array(b)) {
        json_t *both = json_copy(a);
        json_array_extend(both, b);
        return both;
    }
    return NULL;
}

/* anyOf in both: every pair of branches. */
static json_t *join_branches(const json_t *a, const json_t *b) {
    json_t *pairs = json_array();
    if (json_array_size(a) * json_array_size(b) > MOST_BRANCHES) {
        json_decref(pairs);
        return NULL;
    }
    for (size_t i = 0; i < json_array_size(a); i++) {
        for (size_t k = 0; k < json_array_size(b); k++) {
            json_array_append_new(pairs, all_of(json_array_get(a, i), json_array_get(b, k)));
        }
    }
    return pairs;
}

/* A member named by one side is held to the other's additionalProperties. */
static void join_properties(json_t *joined, const json_t *a, const json_t *b) {
    const json_t *sides[2] = {a, b};
    json_t *properties = json_object();
    for (size_t side = 0; side < 2; side++) {
        const json_t *other = json_object_get(sides[1 - side], "properties");
        const json_t *others = json_object_get(sides[1 - side], "additionalProperties");
        const char *key;
        json_t *own;
        json_object_foreach(json_object_get(sides[side], "properties"), key, own) {
            const json_t *second = json_object_get(other, key);
            second = second != NULL ? second : others;
            if (json_object_get(properties, key) != NULL) {
                continue;
            }
            json_object_set_new(properties, key,
                                second == NULL || json_is_true(second) ? json_incref(own)
                                : json_is_false(second)                ? json_false()
                                                                       : all_of(own, second));
        }
    }
    if (json_object_size(properties) > 0) {
        json_object_set(joined, "properties", properties);
    }
    json_decref(properties);
    json_t *first = json_object_get(a, "additionalProperties");
    json_t *second = json_object_get(b, "additionalProperties");
    if (first != NULL && second != NULL) {
        json_object_set_new(joined, "additionalProperties",
                            json_is_false(first) || json_is_false(second) ? json_false()
                                                                          : all_of(first, second));
    } else if (first != NULL || second != NULL) {
        json_object_set(joined, "additionalProperties", first != NULL ? first : second);
    }
}

/* The schema of item `index`; NULL: anything. */
static json_t *item_schema(const json_t *schema, size_t index) {
    const json_t *prefix = json_object_get(schema, "prefixItems");
    return index < json_array_size(prefix) ? json_array_get(prefix, index)
                                           : json_object_get(schema, "items");
}

static json_t *join_item(const json_t *a, const json_t *b, size_t index) {
    json_t *first = item_schema(a, index), *second = item_schema(b, index);
    return first != NULL && second != NULL   ? all_of(first, second)
           : first != NULL || second != NULL ? json_incref(first != NULL ? first : second)
                                             : NULL;
}

/* One side's "items" holds for the items that the other names by "prefixItems". */
static void join_items(json_t *joined, const json_t *a, const json_t *b) {
    size_t named = json_array_size(json_object_get(a, "prefixItems"));
    size_t others = json_array_size(json_object_get(b, "prefixItems"));
    named = named > others ? named : others;
    json_t *prefix = json_array(), *rest = join_item(a, b, SIZE_MAX);
    for (size_t i = 0; i < named; i++) {
        json_t *item = join_item(a, b, i);
        json_array_append_new(prefix, item != NULL ? item : json_true());
    }
    if (named > 0) {
        json_object_set(joined, "prefixItems", prefix);
    }
    if (rest != NULL) {
        json_object_set_new(joined, "items", rest);
    }
    json_decref(prefix);
}

static bool join_key(struct schema_reader *reader, json_t *joined, const char *key, json_t *value) {
    static const char *const together[] = {"properties", "additionalProperties", "prefixItems",
                                           "items"};
    if (is_one_of(key, together, 4)) {
        return true; /* join_properties, join_items */
    }
    json_t *own = json_object_get(joined, key);
    json_t *both = NULL;
    if (own == NULL || is_annotation(key)) {
        return json_object_set(joined, key, value) == 0;
    }
    if (strcmp(key, "anyOf") == 0) {
        both = join_branches(own, value);
    } else if (strcmp(key, "type") == 0) {
        unsigned types = shared_types(schema_types(own), schema_types(value));
        both = types_to_json(types);
    } else {
        both = join_values(key, own, value);
    }
    if (both == NULL) {
        schema_fail(reader, ERROR_UNSUPPORTED,
                    "schemas that both have '%s' and must both hold cannot be joined", key);
        return false;
    }
    return json_object_set_new(joined, key, both) == 0;
}

const json_t *schema_join(struct schema_reader *reader, const json_t *a, const json_t *b) {
    if (++reader->work > MOST_JOINS || reader->depth > 200) {
        schema_fail(reader, ERROR_UNSUPPORTED, "too many schemas must be joined");
        return NULL;
    }
    reader->depth++;
    a = schema_resolve(reader, a);
    b = a == NULL ? NULL : schema_resolve(reader, b);
    reader->depth--;
    if (a == NULL || b == NULL) {
        return NULL;
    }
    if (json_is_boolean(a) || json_is_boolean(b)) {
        return json_is_false(a) || json_is_true(b) ? a : b;
    }
    if (!json_is_object(a) || !json_is_object(b)) {
        schema_fail(reader, ERROR_FORMAT, "a schema is an object or a boolean");
        return NULL;
    }
    json_t *joined = json_copy((json_t *)(uintptr_t)a);
    if (joined == NULL || json_array_append_new(reader->owned, joined) != 0) {
        schema_fail(reader, ERROR_OUT_OF_MEMORY, "no memory");
        return NULL;
    }
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)b, key, value) {
        if (!join_key(reader, joined, key, value)) {
            return NULL;
        }
    }
    join_properties(joined, a, b);
    join_items(joined, a, b);
    return joined;
}

/* --- telling apart --- */

unsigned schema_types(const json_t *schema) {
    static const struct {
        const char *name;
        unsigned bits;
    } rows[] = {{"null", TYPE_NULL},       {"boolean", TYPE_BOOLEAN},
                {"integer", TYPE_INTEGER}, {"number", TYPE_NUMBER | TYPE_INTEGER},
                {"string", TYPE_STRING},   {"array", TYPE_ARRAY},
                {"object", TYPE_OBJECT}};
    const json_t *type = json_is_object(schema) ? json_object_get(schema, "type") : schema;
    if (type == NULL) {
        return TYPE_ANY;
    }
    if (json_is_array(type)) {
        unsigned all = 0;
        for (size_t i = 0; i < json_array_size(type); i++) {
            const json_t *item = json_array_get(type, i);
            unsigned bits = json_is_string(item) ? schema_types(item) : 0;
            if (bits == 0) {
                return 0;
            }
            all |= bits;
        }
        return all;
    }
    for (size_t i = 0; json_is_string(type) && i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(json_string_value(type), rows[i].name) == 0) {
            return rows[i].bits;
        }
    }
    return 0;
}

static unsigned type_of_value(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return TYPE_OBJECT;
    case JSON_ARRAY:
        return TYPE_ARRAY;
    case JSON_STRING:
        return TYPE_STRING;
    case JSON_INTEGER:
        return TYPE_INTEGER | TYPE_NUMBER;
    case JSON_REAL:
        return TYPE_NUMBER;
    case JSON_NULL:
        return TYPE_NULL;
    default:
        return TYPE_BOOLEAN;
    }
}

static bool values_disjoint(const json_t *a, const json_t *b) {
    json_t *shared = shared_values(a, b);
    bool none = shared != NULL && json_array_size(shared) == 0;
    json_decref(shared);
    return none;
}

/* What a constant or an enumeration leaves; a new reference, or NULL: no such list. */
static json_t *values_of(const json_t *schema) {
    json_t *constant = json_object_get(schema, "const");
    json_t *list = json_object_get(schema, "enum");
    return constant != NULL      ? json_pack("[O]", constant)
           : json_is_array(list) ? json_incref(list)
                                 : NULL;
}

static unsigned possible_types(const json_t *schema) {
    unsigned types = schema_types(schema);
    json_t *values = values_of(schema);
    if (values != NULL) {
        unsigned of_values = 0;
        for (size_t i = 0; i < json_array_size(values); i++) {
            of_values |= type_of_value(json_array_get(values, i));
        }
        types &= of_values;
        json_decref(values);
    }
    return types;
}

json_t *schema_required(const json_t *schema) {
    const json_t *required = json_object_get(schema, "required");
    json_t *set = json_object();
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *name = json_string_value(json_array_get(required, i));
        if (name != NULL) {
            json_object_set_new(set, name, json_null());
        }
    }
    return set;
}

/* A member that both require and that cannot be the same in both. */
static bool members_disjoint(struct schema_reader *reader, const json_t *a, const json_t *b) {
    json_t *required = schema_required(a), *others = schema_required(b);
    json_t *other_members = json_object_get(b, "properties");
    const char *key;
    json_t *own;
    bool disjoint = false;
    json_object_foreach(json_object_get(a, "properties"), key, own) {
        const json_t *other = json_object_get(other_members, key);
        disjoint = disjoint ||
                   (other != NULL && json_object_get(required, key) != NULL &&
                    json_object_get(others, key) != NULL && schema_disjoint(reader, own, other));
    }
    json_decref(required);
    json_decref(others);
    return disjoint;
}

static bool ranges_disjoint(const json_t *a, const json_t *b) {
    const json_t *low = json_object_get(a, "minimum"), *high = json_object_get(b, "maximum");
    const json_t *above = json_object_get(a, "exclusiveMinimum");
    const json_t *below = json_object_get(b, "exclusiveMaximum");
    low = above != NULL ? above : low;
    bool excluded = above != NULL || below != NULL;
    high = below != NULL ? below : high;
    return json_is_number(low) && json_is_number(high) &&
           (json_number_value(low) > json_number_value(high) ||
            (excluded && json_number_value(low) >= json_number_value(high)));
}

bool schema_disjoint(struct schema_reader *reader, const json_t *a, const json_t *b) {
    if (++reader->work > MOST_JOINS || reader->depth > 200) {
        return false;
    }
    reader->depth++;
    a = schema_resolve(reader, a);
    b = a == NULL ? NULL : schema_resolve(reader, b);
    bool disjoint = false;
    if (json_is_object(a) && json_is_object(b)) {
        json_t *first = values_of(a), *second = values_of(b);
        unsigned types = shared_types(possible_types(a), possible_types(b));
        disjoint = types == 0 ||
                   (first != NULL && second != NULL && values_disjoint(first, second)) ||
                   (types == TYPE_OBJECT && members_disjoint(reader, a, b)) ||
                   ((types & ~(unsigned)(TYPE_NUMBER | TYPE_INTEGER)) == 0 &&
                    (ranges_disjoint(a, b) || ranges_disjoint(b, a)));
        json_decref(first);
        json_decref(second);
    }
    reader->depth--;
    return disjoint;
}
