/*
 * fuzz_openai_body.c - any bytes as the body of a request: JSON, the shared fields, the messages.
 */
#include "fuzz.h"

#include "server/json_body.h"
#include "server/openai_messages.h"
#include "server/openai_request.h"
#include "server/served_model.h"

static const struct request_field messages_field[] = {
    {"messages", FIELD_CUSTOM, .target = offsetof(struct openai_request, messages),
     .read = openai_read_any},
    {.name = NULL},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const struct engine_info info = {.context_length = 100, .vocabulary_size = 50};
    const struct served_model model = {
        .id = "model", .info = &info, .default_temperature = 0.7f, .max_choices = 4};
    json_t *body = NULL;
    struct api_error error = {0};
    if (!json_body_parse((const char *)data, size, &body, &error)) {
        return 0;
    }
    struct arena arena = {0};
    struct openai_request request;
    struct generation_request wanted = {0};
    if (openai_request_read(body, messages_field, &model, &arena, &request, &error)) {
        json_t *normal = NULL;
        (void)openai_request_apply(&request, &model, 1, &wanted, &error);
        if (openai_messages_read(request.messages, &normal, &error)) {
            json_decref(normal);
        }
    }
    struct string_buffer text = {0};
    api_error_write(&error, &text);
    string_buffer_deinit(&text);
    arena_deinit(&arena);
    json_decref(body);
    return 0;
}
