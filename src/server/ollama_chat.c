/*
 * ollama_chat.c - /api/chat: a conversation to tokens, its oldest part dropped when it is too long.
 */
#include "server/ollama.h"
#include "server/ollama_defaults.h"
#include "server/ollama_messages.h"
#include "server/ollama_request.h"
#include "server/openai_messages.h"
#include "server/openai_request.h"
#include "server/server_internal.h"

#include <string.h>

/* One attempt to put a conversation into tokens. */
struct attempt {
    const json_t *messages; /* all of them */
    const struct served_model *model;
    const struct chat_wishes *wishes;
    struct generation *generation;
};

static bool is_role(const json_t *message, const char *role) {
    const char *value = json_string_value(json_object_get(message, "role"));
    return value != NULL && strcmp(value, role) == 0;
}

/* The system messages, and the others from `first` on. */
static json_t *select_messages(const json_t *messages, size_t first) {
    json_t *selected = json_array();
    for (size_t i = 0; selected != NULL && i < json_array_size(messages); i++) {
        json_t *message = json_array_get(messages, i);
        if ((i >= first || is_role(message, "system")) &&
            json_array_append(selected, message) != 0) {
            json_decref(selected);
            return NULL;
        }
    }
    return selected;
}

/* Encodes the conversation from `first` on. *fits tells whether it has at most `limit` tokens; a
 * text that cannot fit is not read. */
static bool encode_from(const struct attempt *attempt, size_t first, size_t limit,
                        struct token_list *tokens, bool *fits, struct api_error *error) {
    const struct served_model *model = attempt->model;
    json_t *selected = select_messages(attempt->messages, first);
    size_t bytes = 0;
    for (size_t i = 0; i < json_array_size(selected); i++) {
        bytes += json_string_length(json_object_get(json_array_get(selected, i), "content"));
    }
    *fits = bytes / (model->longest_piece + 1) <= limit;
    tokens->count = 0;
    bool ok = selected != NULL || api_error_out_of_memory(error);
    if (ok && *fits) {
        ok = chat_turn_encode(attempt->generation, model, selected, attempt->wishes, tokens, error);
        *fits = tokens->count <= limit;
    }
    json_decref(selected);
    return ok;
}

/* Where a shortened conversation may begin: at something the user said, or at the last message.
 * Returns how many there are; starts[] ends with the last message's. */
static size_t find_starts(const json_t *messages, size_t *starts) {
    size_t last = json_array_size(messages) - 1;
    size_t count = 0;
    for (size_t i = 1; i < last; i++) {
        if (is_role(json_array_get(messages, i), "user")) {
            starts[count++] = i;
        }
    }
    starts[count++] = last;
    return count;
}

/* Drops as little as makes it fit: halving, since fewer messages are fewer tokens. */
static bool encode_shortened(const struct attempt *attempt, const struct ollama_request *request,
                             struct arena *arena, struct token_list *tokens,
                             struct api_error *error) {
    size_t *starts = arena_alloc(arena, json_array_size(attempt->messages), sizeof *starts);
    if (starts == NULL) {
        return api_error_out_of_memory(error);
    }
    size_t limit = ollama_prompt_limit(request, attempt->model);
    size_t low = 0, high = find_starts(attempt->messages, starts) - 1;
    bool fits;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (!encode_from(attempt, starts[middle], limit, tokens, &fits, error)) {
            return false;
        }
        low = fits ? low : middle + 1;
        high = fits ? middle : high;
    }
    /* What may not be dropped may be longer than num_ctx, but not than the model's context. */
    size_t most = attempt->model->info->context_length - 1;
    if (!encode_from(attempt, starts[low], most, tokens, &fits, error)) {
        return false;
    }
    return fits || ollama_too_long(error);
}

static bool encode(const struct attempt *attempt, const struct ollama_request *request,
                   struct api_error *error) {
    struct token_list *tokens = &attempt->generation->request.prompts[0];
    size_t limit = ollama_context_limit(request, attempt->model) - 1;
    bool fits;
    if (!encode_from(attempt, 0, limit, tokens, &fits, error)) {
        return false;
    }
    if (fits) {
        return true;
    }
    return request->truncate
               ? encode_shortened(attempt, request, &attempt->generation->arena, tokens, error)
               : ollama_too_long(error);
}

static bool encode_messages(const struct ollama_request *request, const struct served_model *model,
                            struct generation *generation, struct api_error *error) {
    struct chat_wishes wishes = {0};
    json_t *converted = NULL;
    json_t *messages = NULL;
    json_t *whole = json_is_array(request->messages)
                        ? ollama_defaults_messages(generation->lease.entry, NULL, request->messages)
                        : json_incref((json_t *)(uintptr_t)request->messages);
    bool ok = (whole != NULL || api_error_out_of_memory(error)) &&
              ollama_request_wishes(request, model, &wishes, error) &&
              ollama_messages_read(whole, &converted, error) &&
              openai_messages_read(converted, &messages, error);
    const struct attempt attempt = {
        .messages = messages, .model = model, .wishes = &wishes, .generation = generation};
    ok = ok && encode(&attempt, request, error) &&
         chat_turn_constrain(generation, &wishes, &request->format, error);
    chat_wishes_deinit(&wishes);
    json_decref(whole);
    json_decref(converted);
    json_decref(messages);
    return ok;
}

static bool prepare(struct generation *generation, const struct served_model *model,
                    const json_t *body, struct api_error *error) {
    struct ollama_request request;
    if (!ollama_request_read(generation, body, ollama_chat_fields, &request, error) ||
        !ollama_request_apply(&request, model, generation, error)) {
        return false;
    }
    struct ollama_answer *answer = generation->details;
    answer->is_chat = true;
    if (request.messages == NULL ||
        (json_is_array(request.messages) && json_array_size(request.messages) == 0)) {
        return ollama_request_idle(&request, generation, error);
    }
    if (!encode_messages(&request, model, generation, error)) {
        return false;
    }
    ollama_bound_answer(&request, model, &generation->request);
    return true;
}

const struct generation_kind ollama_chat_kind = {
    .route = "/api/chat",
    .id_prefix = "ollama-",
    .prompt_field = "messages",
    .choose_model = ollama_choose_model,
    .unknown_model = ollama_unknown_model,
    .prepare = prepare,
};
