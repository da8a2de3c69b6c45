/* request_fields.c - see request_fields.h. */
#include "server/request_fields.h"

#include <math.h>

static const char *describe(const json_t *value) {
    static const char *const names[] = {
        [JSON_OBJECT] = "an object",   [JSON_ARRAY] = "an array", [JSON_STRING] = "a string",
        [JSON_INTEGER] = "an integer", [JSON_REAL] = "a decimal", [JSON_TRUE] = "a boolean",
        [JSON_FALSE] = "a boolean",    [JSON_NULL] = "null",
    };
    return value == NULL ? "nothing" : names[json_typeof(value)];
}

bool request_field_wrong_type(const char *name, const char *expected, const json_t *value,
                              struct api_error *error) {
    return api_error_set(error, 400, "invalid_type", name,
                         "Invalid type for '%s': expected %s, but got %s instead.", name, expected,
                         describe(value));
}

bool json_read_integer(const json_t *value, int64_t *out) {
    if (json_is_integer(value)) {
        *out = json_integer_value(value);
        return true;
    }
    double number = json_real_value(value);
    /* 2^62: within int64_t, and no clean integer is written with a fraction anywhere near it. */
    if (!json_is_real(value) || number != floor(number) || fabs(number) > 0x1p62) {
        return false;
    }
    *out = (int64_t)number;
    return true;
}

bool request_field_in_range(const char *name, bool is_integer, double value, double minimum,
                            double maximum, struct api_error *error) {
    if (value >= minimum && value <= maximum) {
        return true;
    }
    bool below = value < minimum;
    const char *code = is_integer ? (below ? "integer_below_min_value" : "integer_above_max_value")
                                  : (below ? "decimal_below_min_value" : "decimal_above_max_value");
    return api_error_set(error, 400, code, name,
                         "Invalid '%s': %s %s value. Expected a value %s %.15g, but got %.15g "
                         "instead.",
                         name, is_integer ? "integer" : "decimal",
                         below ? "below minimum" : "above maximum",
                         below ? ">=" : "<=", below ? minimum : maximum, value);
}

static bool read_number(const struct request_field *field, const json_t *value, void *target,
                        struct api_error *error) {
    if (field->kind == FIELD_INTEGER) {
        int64_t integer;
        if (!json_read_integer(value, &integer)) {
            return request_field_wrong_type(field->name, "an integer", value, error);
        }
        *(int64_t *)target = integer;
        return request_field_in_range(field->name, true, (double)integer, field->minimum,
                                      field->maximum, error);
    }
    if (!json_is_number(value)) {
        return request_field_wrong_type(field->name, "a number", value, error);
    }
    *(float *)target = (float)json_number_value(value);
    return request_field_in_range(field->name, false, json_number_value(value), field->minimum,
                                  field->maximum, error);
}

static bool read_field(const struct request_field *field, const json_t *value, void *request,
                       struct api_error *error) {
    void *target = (char *)request + field->target;
    switch (field->kind) {
    case FIELD_BOOL:
        if (!json_is_boolean(value)) {
            return request_field_wrong_type(field->name, "a boolean", value, error);
        }
        *(bool *)target = json_is_true(value);
        return true;
    case FIELD_INTEGER:
    case FIELD_NUMBER:
        return read_number(field, value, target, error);
    case FIELD_TEXT:
        if (!json_is_string(value)) {
            return request_field_wrong_type(field->name, "a string", value, error);
        }
        *(const char **)target = json_string_value(value);
        return true;
    case FIELD_CUSTOM:
        return field->read(field, value, request, error);
    }
    return true;
}

bool request_fields_read(const struct request_field *fields, const json_t *object, void *request,
                         struct api_error *error) {
    for (; fields->name != NULL; fields++) {
        const json_t *value = json_object_get(object, fields->name);
        if (value != NULL && !json_is_null(value) && !read_field(fields, value, request, error)) {
            return false;
        }
    }
    return true;
}
