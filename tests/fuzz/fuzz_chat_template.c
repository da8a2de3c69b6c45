/*
 * fuzz_chat_template.c - any bytes as a chat template, with a conversation; after a NUL, any bytes
 * as the JSON of the variables instead.
 */
#include "fuzz.h"

#include "text/chat/template.h"

#include <jansson.h>
#include <string.h>

static const char conversation[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"Be \xc3\xa9.\"}, {\"role\": \"user\","
    " \"content\": [{\"type\": \"text\", \"text\": \"hi\"}]}, {\"role\": \"assistant\", "
    "\"content\":"
    " null, \"tool_calls\": [{\"id\": \"abcdefgh1\", \"function\": {\"name\": \"f\", \"arguments\":"
    " {\"a\": 1.5}}}]}, {\"role\": \"tool\", \"content\": \"{}\"}], \"tools\": [{\"type\":"
    " \"function\", \"function\": {\"name\": \"f\", \"parameters\": {\"type\": \"object\"}}}],"
    " \"bos_token\": \"<s>\", \"eos_token\": \"</s>\", \"add_generation_prompt\": true, \"n\": 7,"
    " \"s\": \"Hello, World\", \"list\": [3, 1, 2], \"d\": {\"a\": \"x\", \"b\": [1]}}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = size > 0 ? memchr(data, '\0', size) : NULL;
    size_t length = end == NULL ? size : (size_t)(end - data);
    json_t *context =
        end == NULL ? json_loads(conversation, 0, NULL)
                    : json_loadb((const char *)end + 1, size - length - 1, JSON_ALLOW_NUL, NULL);
    struct chat_template *chat_template = NULL;
    struct string_buffer out = {0};
    struct error error = {0};
    if (json_is_object(context) &&
        chat_template_create((const char *)data, length, &chat_template, &error)) {
        (void)chat_template_render(chat_template, context, &out, &error);
    }
    string_buffer_deinit(&out);
    chat_template_free(chat_template);
    json_decref(context);
    return 0;
}
