/* answer_format.c - see answer_format.h. */
#include "server/answer_format.h"

#include "grammar/grammar_schema.h"
#include "server/request_fields.h"

#include <string.h>

/* One of the forms, on its way into the builder. */
struct form {
    const char *field;
    const json_t *value;
    struct grammar_builder *builder;
    grammar_expr expr;
    bool is_given; /* the value asks for something */
};

bool answer_format_build(struct grammar_builder *builder, grammar_expr expr, const char *field,
                         struct grammar **grammar, struct api_error *error) {
    struct error cause = {0};
    if (grammar_build(builder, expr, grammar, &cause)) {
        return true;
    }
    if (cause.code == ERROR_FORMAT) { /* what was malformed came from the client */
        cause.code = ERROR_INVALID_ARGUMENT;
    }
    error_prefix(&cause, field);
    return api_error_from(error, &cause, field);
}

/* Takes the expression, unless the builder has noted a failure: then building says which. */
static bool take(struct form *form, grammar_expr expr, struct api_error *error) {
    struct grammar *none = NULL;
    form->expr = expr;
    form->is_given = true;
    return !grammar_builder_failed(form->builder) ||
           answer_format_build(form->builder, GRAMMAR_EMPTY, form->field, &none, error);
}

static bool read_schema(struct form *form, const json_t *schema, struct api_error *error) {
    if (!json_is_object(schema) && !json_is_boolean(schema)) {
        return request_field_wrong_type(form->field, "a JSON schema", schema, error);
    }
    return take(form, grammar_json_schema(form->builder, schema, NULL), error);
}

static bool read_response_format(struct form *form, struct api_error *error) {
    if (!json_is_object(form->value)) {
        return request_field_wrong_type(form->field, "an object", form->value, error);
    }
    const char *type = json_string_value(json_object_get(form->value, "type"));
    if (type == NULL) {
        return api_error_set(error, 400, "missing_required_parameter", "response_format.type",
                             "Missing required parameter: 'response_format.type'.");
    }
    if (strcmp(type, "text") == 0) {
        return true;
    }
    if (strcmp(type, "json_object") == 0) { /* with a schema: llama-server's form */
        const json_t *schema = json_object_get(form->value, "schema");
        if (schema == NULL) {
            return take(form, grammar_json_object(form->builder), error);
        }
        form->field = "response_format.schema";
        return read_schema(form, schema, error);
    }
    if (strcmp(type, "json_schema") == 0) {
        form->field = "response_format.json_schema.schema";
        return read_schema(
            form, json_object_get(json_object_get(form->value, "json_schema"), "schema"), error);
    }
    return api_error_set(error, 400, "invalid_value", "response_format.type",
                         "Invalid value: '%.40s'. Supported values are: 'text', 'json_object', and "
                         "'json_schema'.",
                         type);
}

static bool read_json_schema(struct form *form, struct api_error *error) {
    return read_schema(form, form->value, error);
}

static bool read_text(struct form *form,
                      grammar_expr (*compile)(struct grammar_builder *, struct string_view),
                      struct api_error *error) {
    if (!json_is_string(form->value)) {
        return request_field_wrong_type(form->field, "a string", form->value, error);
    }
    struct string_view text = {json_string_value(form->value), json_string_length(form->value)};
    return text.length == 0 || take(form, compile(form->builder, text), error);
}

static bool read_gbnf(struct form *form, struct api_error *error) {
    return read_text(form, grammar_gbnf, error);
}

static bool read_regex(struct form *form, struct api_error *error) {
    return read_text(form, grammar_regex, error);
}

static bool read_ollama(struct form *form, struct api_error *error) {
    if (json_is_string(form->value) && json_string_length(form->value) == 0) {
        return true;
    }
    if (json_is_string(form->value) && strcmp(json_string_value(form->value), "json") == 0) {
        return take(form, grammar_json_object(form->builder), error);
    }
    if (!json_is_object(form->value)) {
        return api_error_set(error, 400, "invalid_value", form->field,
                             "invalid format: expected \"json\" or a JSON schema");
    }
    return read_schema(form, form->value, error);
}

bool answer_format_read(const struct answer_format *format, struct grammar_builder *builder,
                        grammar_expr *expr, const char **field, struct api_error *error) {
    const struct {
        const char *field;
        const json_t *value;
        bool (*read)(struct form *, struct api_error *);
    } rows[] = {
        {"response_format", format->response_format, read_response_format},
        {"json_schema", format->json_schema, read_json_schema},
        {"grammar", format->gbnf, read_gbnf},
        {"regex", format->regex, read_regex},
        {"format", format->ollama, read_ollama},
    };
    *field = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct form form = {.field = rows[i].field, .value = rows[i].value, .builder = builder};
        if (form.value == NULL) {
            continue;
        }
        if (!rows[i].read(&form, error)) {
            return false;
        }
        if (form.is_given && *field != NULL) {
            return api_error_set(error, 400, "invalid_value", rows[i].field,
                                 "'%s' and '%s' both say what the answer must look like; give "
                                 "one of them.",
                                 *field, rows[i].field);
        }
        if (form.is_given) {
            *field = rows[i].field;
            *expr = form.expr;
        }
    }
    return true;
}

bool answer_format_compile(const struct answer_format *format, struct grammar **grammar,
                           struct api_error *error) {
    struct grammar_builder *builder = grammar_builder_create();
    grammar_expr expr = GRAMMAR_EMPTY;
    const char *field;
    *grammar = NULL;
    bool done = (builder != NULL || api_error_out_of_memory(error)) &&
                answer_format_read(format, builder, &expr, &field, error) &&
                (field == NULL || answer_format_build(builder, expr, field, grammar, error));
    grammar_builder_free(builder);
    return done;
}
