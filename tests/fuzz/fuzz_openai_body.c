/*
 * fuzz_openai_body.c - any bytes as the body of a request: JSON, the shared fields, the messages;
 * and, as a request of Anthropic's API or of /v1/responses, the chat request it becomes.
 */
#include "fuzz.h"

#include "server/anthropic.h"
#include "server/json_body.h"
#include "server/openai_messages.h"
#include "server/openai_request.h"
#include "server/responses.h"
#include "server/served_model.h"

static const struct request_field messages_field[] = {
    {"messages", FIELD_CUSTOM, .target = offsetof(struct openai_request, messages),
     .read = openai_read_any},
    {.name = NULL},
};

/* What is translated is read on as what it became. */
static void translate(const json_t *body,
                      bool (*to_chat)(const json_t *, json_t **, struct api_error *)) {
    json_t *chat = NULL, *normal = NULL;
    struct api_error error = {0};
    if (to_chat(body, &chat, &error) &&
        openai_messages_read(json_object_get(chat, "messages"), &normal, &error)) {
        json_decref(normal);
    }
    json_decref(chat);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const struct engine_info info = {.context_length = 100, .vocabulary_size = 50};
    const struct served_model model = {
        .id = "model", .info = &info, .default_temperature = 0.7f, .max_choices = 4};
    json_t *body = NULL;
    struct api_error error = {0};
    if (!json_body_parse((const char *)data, size, &body, &error)) {
        return 0;
    }
    translate(body, anthropic_to_chat);
    translate(body, responses_to_chat);
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
