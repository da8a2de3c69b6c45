/*
 * openai_completions.c - /v1/completions: plain text goes on, with the old form of
 * log-probabilities.
 */
#include "base/bytes.h"
#include "server/openai.h"
#include "server/openai_answer.h"
#include "server/openai_prompts.h"
#include "server/openai_request.h"
#include "server/server_internal.h"
#include "server/sse.h"

#include <math.h>

static const char object_name[] = "text_completion";

enum { DEFAULT_MAX_TOKENS = 16 }; /* OpenAI's, for this route only */

/* The four lists of the old log-probabilities; choice->logprobs holds the inside of each. */
enum logprob_list { LIST_TOKENS, LIST_TOKEN_LOGPROBS, LIST_TOP_LOGPROBS, LIST_TEXT_OFFSET };
static const char *const list_names[] = {"tokens", "token_logprobs", "top_logprobs", "text_offset"};

/* Where a prompt's tokens stand in its text, while their log-probabilities arrive. */
struct echo_progress {
    struct detokenizer detokenizer;
    size_t characters;
};

struct completion_answer {
    struct openai_answer shared;   /* first */
    struct echo_progress *echoing; /* [choice_count] */
};

static size_t count_characters(const char *text, size_t length) {
    size_t count = 0;
    for (size_t i = 0; i < length; i++) {
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    }
    return count;
}

/* --- log-probabilities --- */

static struct json_writer list_writer(struct string_buffer *list) {
    return (struct json_writer){.out = list, .needs_comma = list->length != 0};
}

/* {"token":logprob,…}: the best, and the one that was taken. Two tokens of one text: the better. */
static void write_top(struct json_writer *json, const struct tokenizer *tokenizer,
                      const struct engine_event *event) {
    struct token_logprob rows[ENGINE_MAX_TOP_LOGPROBS + 1];
    size_t count = size_min(event->top_count, ENGINE_MAX_TOP_LOGPROBS);
    for (size_t i = 0; i < count; i++) {
        rows[i] = event->top[i];
    }
    rows[count++] = (struct token_logprob){event->token, event->logprob};
    json_write_object_begin(json);
    for (size_t i = 0; i < count; i++) {
        struct string_view piece = tokenizer_piece(tokenizer, rows[i].token, true);
        bool is_new = true;
        for (size_t k = 0; k < i && is_new; k++) {
            is_new = !string_view_equals(piece, tokenizer_piece(tokenizer, rows[k].token, true));
        }
        if (is_new) {
            openai_write_token_text(json, piece, "bytes:");
            string_buffer_append_char(json->out, ':');
            json->needs_comma = false;
            openai_write_logprob(json, rows[i].logprob);
        }
    }
    json_write_object_end(json);
}

static size_t take_offset(struct generation_choice *choice, const struct engine_event *event,
                          bool *failed) {
    struct completion_answer *answer = choice->generation->details;
    if (!event->is_prompt) {
        return choice->shown_characters;
    }
    struct echo_progress *echoing = &answer->echoing[choice->index];
    struct string_buffer text = {0};
    size_t offset = echoing->characters;
    echoing->detokenizer.tokenizer = answer->shared.model->tokenizer;
    detokenizer_push(&echoing->detokenizer, event->token, &text);
    *failed = *failed || text.failed;
    echoing->characters += count_characters(string_buffer_text(&text), text.length);
    string_buffer_deinit(&text);
    return offset;
}

static void collect_logprobs(struct generation_choice *choice, const struct engine_event *event,
                             struct string_buffer lists[4]) {
    const struct openai_answer *answer = openai_answer_of(choice->generation);
    const struct tokenizer *tokenizer = answer->model->tokenizer;
    if (!answer->want_logprobs) {
        return;
    }
    struct json_writer tokens = list_writer(&lists[LIST_TOKENS]);
    openai_write_token_text(&tokens, tokenizer_piece(tokenizer, event->token, true), "bytes:");
    struct json_writer offsets = list_writer(&lists[LIST_TEXT_OFFSET]);
    json_write_integer(&offsets,
                       (int64_t)take_offset(choice, event, &lists[LIST_TEXT_OFFSET].failed));
    struct json_writer logprobs = list_writer(&lists[LIST_TOKEN_LOGPROBS]);
    struct json_writer top = list_writer(&lists[LIST_TOP_LOGPROBS]);
    if (event->is_prompt && isnan(event->logprob)) { /* the first: nothing comes before it */
        json_write_null(&logprobs);
        json_write_null(&top);
    } else {
        openai_write_logprob(&logprobs, event->logprob);
        write_top(&top, tokenizer, event);
    }
}

static void write_logprobs(struct json_writer *json, const struct generation *generation,
                           const struct string_buffer lists[4]) {
    json_write_key(json, "logprobs");
    if (!openai_answer_of(generation)->want_logprobs) {
        json_write_null(json);
        return;
    }
    json_write_object_begin(json);
    for (size_t i = 0; i < sizeof list_names / sizeof list_names[0]; i++) {
        json_write_key(json, list_names[i]);
        json_write_array_begin(json);
        json_write_raw_of(json, &lists[i]);
        json_write_array_end(json);
    }
    json_write_object_end(json);
}

/* --- answers --- */

static const struct string_view *echo_text(const struct generation_choice *choice) {
    const struct generation *generation = choice->generation;
    return &openai_answer_of(generation)
                ->texts[choice->index / generation->request.choices_per_prompt];
}

/* Whether an event's token is one the client asked for: not when only the prompt is scored. */
static bool is_wanted(const struct generation_choice *choice, const struct engine_event *event) {
    return event->is_prompt || !openai_answer_of(choice->generation)->score_only;
}

static void write_choice(struct json_writer *json, const struct generation_choice *choice,
                         struct string_view text, const struct string_buffer lists[4],
                         bool is_finished) {
    json_write_object_begin(json);
    json_write_integer_member(json, "index", (int64_t)choice->index);
    json_write_key(json, "text");
    json_write_text(json, text.data, text.length);
    write_logprobs(json, choice->generation, lists);
    openai_write_finish_reason(json, choice, is_finished);
    json_write_object_end(json);
}

static void whole_append(struct generation_choice *choice, const char *text, size_t length) {
    string_buffer_append(&choice->text, text, length);
    choice->shown_characters += count_characters(text, length);
}

static void whole_announce_once(struct generation_choice *choice) {
    if (!choice->was_announced && openai_answer_of(choice->generation)->echo) {
        whole_append(choice, echo_text(choice)->data, echo_text(choice)->length);
    }
    choice->was_announced = true;
}

static void whole_token(struct generation_choice *choice, const struct engine_event *event) {
    whole_announce_once(choice);
    if (is_wanted(choice, event)) {
        collect_logprobs(choice, event, choice->logprobs);
        if (!event->is_prompt) {
            whole_append(choice, event->text, event->text_length);
        }
    }
}

static void whole_choice_done(struct generation_choice *choice, const struct engine_event *event) {
    whole_announce_once(choice);
    if (is_wanted(choice, event)) {
        whole_append(choice, event->text, event->text_length);
    }
}

static void whole_all_done(struct generation *generation) {
    struct string_buffer text = {0};
    struct json_writer json = {.out = &text};
    openai_answer_begin(&json, generation, object_name);
    for (size_t i = 0; i < generation->choice_count; i++) {
        const struct generation_choice *choice = &generation->choices[i];
        struct string_view shown = {string_buffer_text(&choice->text), choice->text.length};
        write_choice(&json, choice, shown, choice->logprobs, true);
    }
    openai_answer_end(&json, generation, OPENAI_USAGE_FULL);
    server_send_json(generation->connection, 200, &text);
    string_buffer_deinit(&text);
}

static void send_chunk(struct generation_choice *choice, struct string_view shown,
                       const struct string_buffer lists[4], bool is_finished) {
    struct generation *generation = choice->generation;
    struct string_buffer text = {0};
    struct json_writer json = {.out = &text};
    openai_answer_begin(&json, generation, object_name);
    write_choice(&json, choice, shown, lists, is_finished);
    openai_answer_end(&json, generation, openai_chunk_usage(generation));
    sse_send(generation->connection, &text);
    string_buffer_deinit(&text);
    choice->shown_characters += count_characters(shown.data, shown.length);
}

static void stream_announce_once(struct generation_choice *choice) {
    static const struct string_buffer no_logprobs[4];
    if (!choice->was_announced && openai_answer_of(choice->generation)->echo) {
        send_chunk(choice, *echo_text(choice), no_logprobs, false);
    }
    choice->was_announced = true;
}

static void stream_token(struct generation_choice *choice, const struct engine_event *event) {
    struct string_buffer lists[4] = {0};
    struct string_view shown = {"", 0};
    stream_announce_once(choice);
    if (is_wanted(choice, event)) {
        collect_logprobs(choice, event, lists);
        if (!event->is_prompt && event->text_length != 0) {
            shown = (struct string_view){event->text, event->text_length};
        }
        if (shown.length != 0 || lists[LIST_TOKENS].length != 0) {
            send_chunk(choice, shown, lists, false);
        }
    }
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        string_buffer_deinit(&lists[i]);
    }
}

static void stream_choice_done(struct generation_choice *choice, const struct engine_event *event) {
    static const struct string_buffer no_logprobs[4];
    struct string_view shown = {"", 0};
    stream_announce_once(choice);
    if (is_wanted(choice, event) && event->text_length != 0) {
        shown = (struct string_view){event->text, event->text_length};
    }
    send_chunk(choice, shown, no_logprobs, true);
}

static void stream_all_done(struct generation *generation) {
    openai_stream_done(generation, object_name);
}

static const struct generation_format whole_format = {
    .token = whole_token,
    .choice_done = whole_choice_done,
    .all_done = whole_all_done,
};

static const struct generation_format stream_format = {
    .token = stream_token,
    .choice_done = stream_choice_done,
    .all_done = stream_all_done,
    .failed = openai_stream_failed,
};

/* --- the request --- */

static const struct request_field fields[] = {
    {"prompt", FIELD_CUSTOM, .target = offsetof(struct openai_request, prompt),
     .read = openai_read_any},
    {"max_tokens", FIELD_INTEGER, 0, 1e15, offsetof(struct openai_request, max_tokens)},
    {"logprobs", FIELD_INTEGER, 0, ENGINE_MAX_TOP_LOGPROBS,
     offsetof(struct openai_request, logprobs)},
    {"echo", FIELD_BOOL, .target = offsetof(struct openai_request, echo)},
    {"best_of", FIELD_INTEGER, 1, 128, offsetof(struct openai_request, best_of)},
    {"suffix", FIELD_TEXT, .target = offsetof(struct openai_request, suffix)},
    {.name = NULL},
};

static bool prepare_answer(struct generation *generation, const struct openai_request *request,
                           const struct served_model *model, const struct string_view *texts,
                           struct api_error *error) {
    struct generation_request *wanted = &generation->request;
    size_t choice_count = wanted->prompt_count * wanted->choices_per_prompt;
    struct completion_answer *answer = arena_alloc(&generation->arena, 1, sizeof *answer);
    struct echo_progress *echoing = arena_alloc(&generation->arena, choice_count, sizeof *echoing);
    if (answer == NULL || echoing == NULL) {
        return api_error_out_of_memory(error);
    }
    answer->echoing = echoing;
    answer->shared = (struct openai_answer){
        .model = model,
        .include_usage = request->include_usage,
        .want_logprobs = request->logprobs != OPENAI_NOT_GIVEN,
        .echo = request->echo,
        .score_only = request->max_tokens == 0,
        .texts = texts,
    };
    generation->details = answer;
    generation->format = request->stream ? &stream_format : &whole_format;
    wanted->want_logprobs = answer->shared.want_logprobs;
    wanted->top_logprobs = request->logprobs > 0 ? (size_t)request->logprobs : 0;
    wanted->echo_logprobs = wanted->want_logprobs && request->echo;
    if (answer->shared.score_only) { /* the engine generates one token at least */
        wanted->max_tokens = 1;
    } else if (request->max_tokens == OPENAI_NOT_GIVEN) {
        wanted->max_tokens = DEFAULT_MAX_TOKENS;
    }
    return true;
}

static bool prepare(struct generation *generation, const struct served_model *model,
                    const json_t *body, struct api_error *error) {
    struct openai_request request;
    struct generation_request *wanted = &generation->request;
    const struct string_view *texts = NULL;
    if (!openai_request_read(body, fields, model, &generation->arena, &request, error)) {
        return false;
    }
    if (request.best_of != OPENAI_NOT_GIVEN && request.best_of != request.choices_per_prompt) {
        return api_error_set(error, 400, "unsupported_value", "best_of",
                             "'best_of' is not supported; ask for 'n' answers instead.");
    }
    return openai_prompts_read(request.prompt, request.suffix, model, &generation->arena, wanted,
                               &texts, error) &&
           openai_request_apply(&request, model, wanted->prompt_count, wanted, error) &&
           answer_format_compile(&request.format, &wanted->grammar, error) &&
           prepare_answer(generation, &request, model, texts, error);
}

const struct generation_kind openai_completions_kind = {
    .route = "/v1/completions",
    .id_prefix = "cmpl-",
    .prompt_field = "prompt",
    .prepare = prepare,
};
