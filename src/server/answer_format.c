/* answer_format.c - see answer_format.h. */
#include "server/answer_format.h"

#include "grammar/grammar_schema.h"
#include "server/request_fields.h"

#include <string.h>

/* What was malformed came from the client. */
static bool fail(const char *field, struct error *cause, struct api_error *error) {
    if (cause->code == ERROR_FORMAT) {
        cause->code = ERROR_INVALID_ARGUMENT;
    }
    error_prefix(cause, field);
    return api_error_from(error, cause, field);
}

static bool from_schema(const char *field, const json_t *schema, struct grammar **grammar,
                        struct api_error *error) {
    struct error cause = {0};
    if (!json_is_object(schema) && !json_is_boolean(schema)) {
        return request_field_wrong_type(field, "a JSON schema", schema, error);
    }
    return grammar_from_json_schema(schema, NULL, grammar, &cause) || fail(field, &cause, error);
}

static bool from_any_object(const char *field, struct grammar **grammar, struct api_error *error) {
    struct error cause = {0};
    return grammar_from_json_object(grammar, &cause) || fail(field, &cause, error);
}

static bool from_response_format(const char *field, const json_t *value, struct grammar **grammar,
                                 struct api_error *error) {
    if (!json_is_object(value)) {
        return request_field_wrong_type(field, "an object", value, error);
    }
    const char *type = json_string_value(json_object_get(value, "type"));
    if (type == NULL) {
        return api_error_set(error, 400, "missing_required_parameter", "response_format.type",
                             "Missing required parameter: 'response_format.type'.");
    }
    if (strcmp(type, "text") == 0) {
        return true;
    }
    if (strcmp(type, "json_object") == 0) {
        return from_any_object(field, grammar, error);
    }
    if (strcmp(type, "json_schema") == 0) {
        const json_t *form = json_object_get(value, "json_schema");
        const json_t *schema = json_object_get(form, "schema");
        return from_schema("response_format.json_schema.schema", schema, grammar, error);
    }
    return api_error_set(error, 400, "invalid_value", "response_format.type",
                         "Invalid value: '%.40s'. Supported values are: 'text', 'json_object', and "
                         "'json_schema'.",
                         type);
}

static bool from_json_schema(const char *field, const json_t *value, struct grammar **grammar,
                             struct api_error *error) {
    return from_schema(field, value, grammar, error);
}

static bool from_text(const char *field, const json_t *value,
                      bool (*compile)(struct string_view, struct grammar **, struct error *),
                      struct grammar **grammar, struct api_error *error) {
    if (!json_is_string(value)) {
        return request_field_wrong_type(field, "a string", value, error);
    }
    struct error cause = {0};
    struct string_view text = {json_string_value(value), json_string_length(value)};
    return text.length == 0 || compile(text, grammar, &cause) || fail(field, &cause, error);
}

static bool from_gbnf(const char *field, const json_t *value, struct grammar **grammar,
                      struct api_error *error) {
    return from_text(field, value, grammar_from_gbnf, grammar, error);
}

static bool from_regex(const char *field, const json_t *value, struct grammar **grammar,
                       struct api_error *error) {
    return from_text(field, value, grammar_from_regex, grammar, error);
}

static bool from_ollama(const char *field, const json_t *value, struct grammar **grammar,
                        struct api_error *error) {
    if (json_is_string(value) && json_string_length(value) == 0) {
        return true;
    }
    if (json_is_string(value) && strcmp(json_string_value(value), "json") == 0) {
        return from_any_object(field, grammar, error);
    }
    if (!json_is_object(value)) {
        return api_error_set(error, 400, "invalid_value", field,
                             "invalid format: expected \"json\" or a JSON schema");
    }
    return from_schema(field, value, grammar, error);
}

bool answer_format_compile(const struct answer_format *format, struct grammar **grammar,
                           struct api_error *error) {
    const struct {
        const char *field;
        const json_t *value;
        bool (*compile)(const char *, const json_t *, struct grammar **, struct api_error *);
    } forms[] = {
        {"response_format", format->response_format, from_response_format},
        {"json_schema", format->json_schema, from_json_schema},
        {"grammar", format->gbnf, from_gbnf},
        {"regex", format->regex, from_regex},
        {"format", format->ollama, from_ollama},
    };
    *grammar = NULL;
    const char *first = NULL;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        struct grammar *made = NULL;
        if (forms[i].value == NULL) {
            continue;
        }
        bool compiled = forms[i].compile(forms[i].field, forms[i].value, &made, error);
        if (compiled && made != NULL && *grammar != NULL) {
            compiled = api_error_set(error, 400, "invalid_value", forms[i].field,
                                     "'%s' and '%s' both say what the answer must look like; give "
                                     "one of them.",
                                     first, forms[i].field);
            grammar_unref(made);
        }
        if (!compiled) {
            grammar_unref(*grammar);
            *grammar = NULL;
            return false;
        }
        first = made != NULL ? forms[i].field : first;
        *grammar = made != NULL ? made : *grammar;
    }
    return true;
}
