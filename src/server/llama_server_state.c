/*
 * llama_server_state.c - /slots, and llama-server's timings.
 *
 * A slot there is a place for one sequence. Here sequences take what they need from one pool, so
 * the places are counted: those in use, by the request that has it, then the free ones. Loop
 * thread.
 */
#include "server/llama_server.h"
#include "server/server_internal.h"

/* --- slots --- */

static void write_slot(struct json_writer *json, size_t id, size_t context_length,
                       const struct generation_choice *choice) {
    json_write_object_begin(json);
    json_write_integer_member(json, "id", (int64_t)id);
    json_write_integer_member(json, "n_ctx", (int64_t)context_length);
    json_write_key(json, "is_processing");
    json_write_bool(json, choice != NULL);
    if (choice != NULL) {
        const struct generation *generation = choice->generation;
        const struct generation_request *request = &generation->request;
        json_write_integer_member(json, "id_task", (int64_t)choice->engine_request);
        json_write_text_member(json, "request", generation->id);
        json_write_text_member(json, "route", generation->kind->route);
        json_write_integer_member(
            json, "n_prompt_tokens",
            (int64_t)request->prompts[choice->index / request->choices_per_prompt].count);
        json_write_key(json, "params");
        json_write_object_begin(json);
        json_write_integer_member(json, "n_predict",
                                  request->max_tokens == 0 ? -1 : (int64_t)request->max_tokens);
        json_write_key(json, "temperature");
        json_write_number(json, (double)request->sampling.temperature);
        json_write_integer_member(json, "top_k", request->sampling.top_k);
        json_write_key(json, "top_p");
        json_write_number(json, (double)request->sampling.top_p);
        json_write_object_end(json);
        json_write_key(json, "next_token");
        json_write_object_begin(json);
        json_write_integer_member(json, "n_decoded", (int64_t)choice->token_count);
        json_write_object_end(json);
    }
    json_write_object_end(json);
}

/* The free places of all models that are loaded. */
struct free_slots {
    struct json_writer *json;
    const struct server *server;
    size_t next_id;
};

static size_t count_running(const struct server *server, const struct served_model *model) {
    size_t count = 0;
    const struct generation *generation;
    LIST_FOREACH(generation, &server->generations, link) {
        count += generation->lease.model == model ? generation->running_count : 0;
    }
    return count;
}

static void write_free_slots(void *context, const struct model_status *status) {
    struct free_slots *slots = context;
    if (status->model == NULL) {
        return;
    }
    const struct engine_info *info = status->model->info;
    size_t used = count_running(slots->server, status->model);
    for (; used < info->max_running_requests; used++) {
        write_slot(slots->json, slots->next_id++, info->context_length, NULL);
    }
}

void llama_list_slots(struct server *server, struct http_connection *connection,
                      const char *route) {
    struct string_buffer text = {0};
    struct json_writer json = {.out = &text};
    const struct generation *generation;
    size_t id = 0;
    json_write_array_begin(&json);
    LIST_FOREACH(generation, &server->generations, link) {
        for (size_t i = 0; i < generation->choice_count; i++) {
            if (generation->choices[i].is_running) {
                write_slot(&json, id++, generation->lease.model->info->context_length,
                           &generation->choices[i]);
            }
        }
    }
    struct free_slots slots = {.json = &json, .server = server, .next_id = id};
    model_manager_visit(server->models, write_free_slots, &slots);
    json_write_array_end(&json);
    server_respond_json(connection, route, 200, &text);
    string_buffer_deinit(&text);
}

void llama_refuse_slot(struct server *server, struct http_connection *connection,
                       const char *route) {
    (void)server;
    struct api_error error;
    api_error_set(&error, 501, "not_supported", NULL,
                  "Slots cannot be saved, restored or erased here: prompts that begin alike share "
                  "their computed beginning by themselves, for as long as there is memory.");
    server_respond_error(connection, route, &error);
}

void llama_adapters(struct server *server, struct http_connection *connection, const char *route) {
    (void)server;
    if (http_connection_request(connection)->method == HTTP_POST) {
        struct api_error error;
        api_error_set(&error, 501, "not_supported", NULL,
                      "LoRA adapters are not supported: merge the adapter into a GGUF file and "
                      "serve that.");
        server_respond_error(connection, route, &error);
        return;
    }
    struct string_buffer text = {0};
    string_buffer_append_text(&text, "[]");
    server_respond_json(connection, route, 200, &text);
    string_buffer_deinit(&text);
}

/* --- timings --- */

static void write_pace(struct json_writer *json, const char *const names[4], size_t tokens,
                       double seconds) {
    double milliseconds = seconds * 1000;
    json_write_integer_member(json, names[0], (int64_t)tokens);
    json_write_key(json, names[1]);
    json_write_number(json, milliseconds);
    json_write_key(json, names[2]);
    json_write_number(json, tokens == 0 ? 0 : milliseconds / (double)tokens);
    json_write_key(json, names[3]);
    json_write_number(json, seconds > 0 ? (double)tokens / seconds : 0);
}

void llama_write_timings(struct json_writer *json, const struct generation *generation) {
    static const char *const prompt[] = {"prompt_n", "prompt_ms", "prompt_per_token_ms",
                                         "prompt_per_second"};
    static const char *const predicted[] = {"predicted_n", "predicted_ms", "predicted_per_token_ms",
                                            "predicted_per_second"};
    struct engine_usage usage = generation_usage(generation);
    json_write_key(json, "timings");
    json_write_object_begin(json);
    json_write_integer_member(json, "cache_n", (int64_t)usage.cached_tokens);
    write_pace(json, prompt, usage.prompt_tokens - usage.cached_tokens, usage.prefill_seconds);
    write_pace(json, predicted, usage.generated_tokens, usage.decode_seconds);
    json_write_object_end(json);
}
