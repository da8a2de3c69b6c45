/* json_body.c - see json_body.h. */
#include "server/json_body.h"

#include "base/json_memory.h"

/* Counts brackets and commas outside strings; whether they match is the parser's business. */
static bool check_size(const char *bytes, size_t length, struct api_error *error) {
    size_t depth = 0;
    size_t values = 0;
    bool in_string = false;
    for (size_t i = 0; i < length; i++) {
        char byte = bytes[i];
        if (in_string) {
            i += byte == '\\'; /* what is escaped ends nothing */
            in_string = byte != '"';
        } else if (byte == '"') {
            in_string = true;
        } else if (byte == '[' || byte == '{') {
            depth++;
            values++;
        } else if (byte == ']' || byte == '}') {
            depth -= depth != 0;
        } else if (byte == ',') {
            values++;
        }
        if (depth > JSON_BODY_MAX_DEPTH) {
            return api_error_set(error, 400, "json_too_deep", NULL,
                                 "The JSON body of your request is nested deeper than %d levels.",
                                 JSON_BODY_MAX_DEPTH);
        }
    }
    if (values > JSON_BODY_MAX_VALUES) {
        return api_error_set(error, 400, "json_too_large", NULL,
                             "The JSON body of your request holds more than %d values.",
                             JSON_BODY_MAX_VALUES);
    }
    return true;
}

bool json_body_parse(const char *bytes, size_t length, json_t **object, struct api_error *error) {
    if (length == 0) {
        return api_error_set(error, 400, "missing_body", NULL,
                             "The request has no body; a JSON object is expected.");
    }
    if (!check_size(bytes, length, error)) {
        return false;
    }
    json_error_t reason = {.text = ""};
    json_t *value = json_guarded(json_loadb, bytes, length, JSON_DECODE_ANY, &reason);
    if (value == NULL && reason.text[0] == '\0') {
        return api_error_out_of_memory(error);
    }
    if (value == NULL) {
        return api_error_set(error, 400, "invalid_json", NULL,
                             "We could not parse the JSON body of your request: %s (line %d, "
                             "column %d).",
                             reason.text, reason.line, reason.column);
    }
    if (!json_is_object(value)) {
        json_decref(value);
        return api_error_set(error, 400, "invalid_json", NULL,
                             "The JSON body of your request is not an object.");
    }
    *object = value;
    return true;
}
