/* api_error.c - see api_error.h. */
#include "server/api_error.h"

#include "base/json_writer.h"
#include "base/log.h"
#include "server/client_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    enum error_code code;
    int status;
    const char *api_code;
    bool names_param;
} meanings[] = {
    {ERROR_INVALID_ARGUMENT, 400, "invalid_value", true},
    {ERROR_UNSUPPORTED, 400, "unsupported_value", true},
    {ERROR_CONTEXT_LENGTH, 400, "context_length_exceeded", true},
    {ERROR_NOT_FOUND, 404, "not_found", false},
    {ERROR_BUSY, 503, "queue_full", false},
    {ERROR_CANCELLED, 503, "cancelled", false},
    {ERROR_NO_SPACE, 507, "no_space", false},
};

bool api_error_set(struct api_error *error, int status, const char *code, const char *param,
                   const char *format, ...) {
    error->status = status;
    error->code = code;
    snprintf(error->param, sizeof error->param, "%s", param == NULL ? "" : param);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    return false;
}

bool api_error_out_of_memory(struct api_error *error) {
    return api_error_set(error, 500, NULL, NULL, "The server is out of memory.");
}

bool api_error_tell(struct api_error *error, int status, const char *code, const char *param,
                    const struct error *cause) {
    char shown[sizeof error->message];
    if (client_text_hide_paths(cause->message, shown, sizeof shown)) {
        log_event(LOG_WARN, "error_told", log_integer("status", status), log_text("told", shown),
                  log_text("reason", cause->message));
    }
    return api_error_set(error, status, code, param, "%s", shown);
}

bool api_error_from(struct api_error *error, const struct error *cause, const char *param) {
    for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++) {
        if (meanings[i].code == cause->code) {
            return api_error_tell(error, meanings[i].status, meanings[i].api_code,
                                  meanings[i].names_param ? param : NULL, cause);
        }
    }
    return api_error_tell(error, 500, NULL, NULL, cause);
}

void api_error_write(const struct api_error *error, struct string_buffer *out) {
    struct json_writer json = {.out = out};
    json_write_object_begin(&json);
    json_write_key(&json, "error");
    json_write_object_begin(&json);
    json_write_text_member(&json, "message", error->message);
    json_write_text_member(&json, "type",
                           error->status >= 500 ? "server_error" : "invalid_request_error");
    json_write_text_member(&json, "param", error->param[0] == '\0' ? NULL : error->param);
    json_write_text_member(&json, "code", error->code);
    json_write_object_end(&json);
    json_write_object_end(&json);
}

enum api_dialect api_dialect_of(const char *route) {
    static const struct {
        const char *prefix;
        enum api_dialect dialect;
    } rows[] = {{"/api/", API_OLLAMA}, {"/v1/messages", API_ANTHROPIC}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strncmp(route, rows[i].prefix, strlen(rows[i].prefix)) == 0) {
            return rows[i].dialect;
        }
    }
    return API_OPENAI;
}

/* https://docs.anthropic.com/en/api/errors */
static const char *anthropic_type(int status) {
    static const struct {
        int status;
        const char *type;
    } types[] = {{401, "authentication_error"}, {403, "permission_error"},
                 {404, "not_found_error"},      {413, "request_too_large"},
                 {429, "rate_limit_error"},     {503, "overloaded_error"}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (types[i].status == status) {
            return types[i].type;
        }
    }
    return status >= 500 ? "api_error" : "invalid_request_error";
}

/* Ollama has words of its own where its clients look for them. */
static const char *ollama_message(const struct api_error *error) {
    static const struct {
        const char *code, *message;
    } wordings[] = {
        {"queue_full", "server busy, please try again.  maximum pending requests exceeded"},
        {"missing_body", "missing request body"},
    };
    for (size_t i = 0; error->code != NULL && i < sizeof wordings / sizeof wordings[0]; i++) {
        if (strcmp(error->code, wordings[i].code) == 0) {
            return wordings[i].message;
        }
    }
    return error->message;
}

void api_error_write_as(const struct api_error *error, enum api_dialect dialect,
                        struct string_buffer *out) {
    struct json_writer json = {.out = out};
    if (dialect == API_OPENAI) {
        api_error_write(error, out);
        return;
    }
    json_write_object_begin(&json);
    if (dialect == API_OLLAMA) {
        json_write_text_member(&json, "error", ollama_message(error));
    } else {
        json_write_text_member(&json, "type", "error");
        json_write_key(&json, "error");
        json_write_object_begin(&json);
        json_write_text_member(&json, "type", anthropic_type(error->status));
        json_write_text_member(&json, "message", error->message);
        json_write_object_end(&json);
    }
    json_write_object_end(&json);
}
