/* fake_engine.c - see fake_engine.h. */
#include "fake_engine.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/json_writer.h"
#include "base/random.h"
#include "text/tokenizer/stop_matcher.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

enum {
    FIRST_BYTE_TOKEN = 4,
    BYTE_COUNT = 256,
    TOKEN_COUNT = FIRST_BYTE_TOKEN + BYTE_COUNT,
    EMBEDDING_LENGTH = 4
};

const char fake_engine_template[] =
    "{{ bos_token }}{% for message in messages %}<{{ message.role }}>{{ message.content }}\n"
    "{% endfor %}<assistant>";

static _Atomic uint64_t last_id; /* of all engines, so that told events cannot be confused */

static const char *const words[] = {
    "alpha ", "beta ", "gamma ", "delta ", "grün ", "日本 ", "\xf0\x9f\x8c\x8d ", "omega "};

struct script {
    int64_t tokens, prefill, delay, stall, fail, bytes, stuck, tell;
    char refuse[16];
    char *say; /* NULL: words; owned by the sequence */
};

struct sequence {
    LIST_ENTRY(sequence) link;
    uint64_t id;
    struct engine_request request; /* its prompt and stops are copies, owned */
    struct script script;
    struct stop_matcher matcher;
    struct detokenizer detokenizer;
    struct token_list reply;
    size_t next; /* of reply */
    int64_t submitted_ns, started_ns, first_ns, due_ns;
    bool has_started;
    bool cancelled;
};

LIST_HEAD(sequence_list, sequence);

struct engine {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct sequence_list sequences; /* guarded by lock, as is all below */
    size_t count, max_requests;
    bool stopping;
    struct engine_info info; /* constant */
    char *path;              /* of info, when a file was loaded; owned */
    struct tokenizer *tokenizer;
};

static void *must(void *memory) {
    if (memory == NULL) {
        abort();
    }
    return memory;
}

static void must_be(bool ok) {
    if (!ok) {
        abort();
    }
}

/* What a test may want to know of a request: its prompt's text and what else it asked for. */
static void tell_request(const struct engine *engine, const struct sequence *sequence) {
    const struct engine_request *request = &sequence->request;
    const struct sampling_params *sampling = &request->sampling;
    struct string_buffer prompt = {0}, text = {0};
    struct json_writer json = {.out = &text};
    for (size_t i = 0; i < request->prompt_count; i++) {
        struct string_view piece = tokenizer_piece(engine->tokenizer, request->prompt[i], true);
        string_buffer_append(&prompt, piece.data, piece.length);
    }
    json_write_object_begin(&json);
    json_write_text_member(&json, "event", "asked");
    json_write_integer_member(&json, "id", (int64_t)sequence->id);
    json_write_key(&json, "prompt");
    json_write_text(&json, string_buffer_text(&prompt), prompt.length);
    json_write_integer_member(&json, "max_tokens", (int64_t)request->max_tokens);
    json_write_integer_member(&json, "top_k", sampling->top_k);
    json_write_integer_member(&json, "repeat_last_n", sampling->repeat_last_n);
    json_write_integer_member(&json, "stop_count", (int64_t)request->stop_count);
    const struct {
        const char *name;
        float value;
    } numbers[] = {{"temperature", sampling->temperature},
                   {"top_p", sampling->top_p},
                   {"min_p", sampling->min_p},
                   {"typical_p", sampling->typical_p},
                   {"repeat_penalty", sampling->repeat_penalty},
                   {"presence_penalty", sampling->presence_penalty},
                   {"frequency_penalty", sampling->frequency_penalty}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        json_write_key(&json, numbers[i].name);
        json_write_number(&json, (double)numbers[i].value);
    }
    json_write_object_end(&json);
    printf("%s\n", string_buffer_text(&text));
    string_buffer_deinit(&prompt);
    string_buffer_deinit(&text);
}

static void tell(const char *what, const struct sequence *sequence, const char *reason) {
    printf("{\"event\":\"%s\",\"id\":%" PRIu64 ",\"reason\":\"%s\",\"prompt_tokens\":%zu,"
           "\"generated\":%zu,\"seed\":%" PRIu64 "}\n",
           what, sequence->id, reason, sequence->request.prompt_count, sequence->next,
           sequence->request.sampling.seed);
    fflush(stdout);
}

/* --- the script --- */

static int64_t script_number(const char *script, const char *name, int64_t otherwise) {
    const char *at = strstr(script, name);
    return at == NULL ? otherwise : strtoll(at + strlen(name), NULL, 10);
}

static struct script read_script(const struct tokenizer *tokenizer, const int32_t *prompt,
                                 size_t count) {
    struct string_buffer text = {0};
    for (size_t i = 0; i < count; i++) {
        struct string_view piece = tokenizer_piece(tokenizer, prompt[i], false);
        string_buffer_append(&text, piece.data, piece.length);
    }
    const char *start = strstr(string_buffer_text(&text), "[[");
    const char *found = start == NULL ? "" : start;
    struct script script = {
        .tokens = script_number(found, "tokens=", 8),
        .prefill = script_number(found, "prefill=", 0),
        .delay = script_number(found, "delay=", 0),
        .stall = script_number(found, "stall=", 0),
        .fail = script_number(found, "fail=", -1),
        .bytes = script_number(found, "bytes=", 0),
        .stuck = script_number(found, "stuck=", 0),
        .tell = script_number(found, "tell=", 0),
    };
    const char *refuse = strstr(found, "refuse=");
    if (refuse != NULL) {
        size_t length = strcspn(refuse + 7, " ]");
        snprintf(script.refuse, sizeof script.refuse, "%.*s", (int)length, refuse + 7);
    }
    const char *say = strstr(string_buffer_text(&text), "[[say=");
    const char *closing = say == NULL ? NULL : strstr(say, "]]");
    if (closing != NULL) {
        say += strlen("[[say=");
        script.say = must(strndup(say, (size_t)(closing - say)));
    }
    string_buffer_deinit(&text);
    return script;
}

/* The script's own text in hexadecimal, "hex=", to `text`; false when there is none. */
static bool read_said(const struct engine *engine, const struct sequence *sequence,
                      struct string_buffer *text) {
    struct string_buffer prompt = {0};
    for (size_t i = 0; i < sequence->request.prompt_count; i++) {
        struct string_view piece =
            tokenizer_piece(engine->tokenizer, sequence->request.prompt[i], false);
        string_buffer_append(&prompt, piece.data, piece.length);
    }
    const char *start = strstr(string_buffer_text(&prompt), "[[");
    const char *at = start == NULL ? NULL : strstr(start, "hex=");
    bool found = at != NULL;
    unsigned byte = 0;
    for (at = found ? at + 4 : at; found && sscanf(at, "%2x", &byte) == 1; at += 2) {
        string_buffer_append_char(text, (char)byte);
    }
    string_buffer_deinit(&prompt);
    return found;
}

/* The words of an answer, as tokens. */
static void write_reply(const struct engine *engine, struct sequence *sequence) {
    const struct sampling_params *sampling = &sequence->request.sampling;
    struct random_state random;
    random_seed(&random, sampling->temperature > 0.0f ? sampling->seed : 0);
    struct string_buffer text = {0};
    bool said = read_said(engine, sequence, &text);
    if (sequence->script.say != NULL) {
        string_buffer_append_text(&text, sequence->script.say);
        said = true;
    }
    for (int64_t i = 0; !said && i < sequence->script.tokens; i++) {
        string_buffer_append_text(&text,
                                  words[random_next(&random) % (sizeof words / sizeof words[0])]);
    }
    if (sequence->script.bytes != 0) { /* one token each, whatever its text */
        for (int64_t i = 0; i < sequence->script.tokens; i++) {
            must_be(token_list_append(&sequence->reply, FIRST_BYTE_TOKEN + 'x'));
        }
    } else {
        must_be(tokenizer_encode(engine->tokenizer, string_buffer_text(&text), text.length, false,
                                 false, &sequence->reply, NULL));
    }
    string_buffer_deinit(&text);
}

/* --- events --- */

static struct engine_event *new_event(const struct sequence *sequence,
                                      enum engine_event_kind kind) {
    struct engine_event *event = must(calloc(1, sizeof *event));
    event->kind = kind;
    event->request_id = sequence->id;
    event->user = sequence->request.user;
    event->logprob = (float)NAN;
    return event;
}

static void send(const struct sequence *sequence, struct engine_event *event) {
    mailbox_send(sequence->request.replies, &event->message);
}

static void set_text(struct engine_event *event, struct string_buffer *text) {
    event->text_length = text->length;
    event->text = must(string_buffer_take(text));
}

static void set_logprobs(const struct sequence *sequence, struct engine_event *event) {
    event->logprob = -0.5f;
    event->top_count = sequence->request.top_logprobs;
    for (size_t i = 0; i < event->top_count; i++) {
        event->top[i].token = (int32_t)((size_t)event->token + i) % TOKEN_COUNT;
        event->top[i].logprob = -0.5f - (float)i;
    }
}

static void echo_prompt(const struct sequence *sequence) {
    for (size_t i = 0; i < sequence->request.prompt_count; i++) {
        struct engine_event *event = new_event(sequence, ENGINE_TOKENS);
        event->token = sequence->request.prompt[i];
        event->is_prompt = true;
        if (i > 0) {
            set_logprobs(sequence, event);
        }
        send(sequence, event);
    }
}

static void sequence_free(struct sequence *sequence) {
    free((void *)(uintptr_t)sequence->request.prompt);
    for (size_t i = 0; i < sequence->request.stop_count; i++) {
        free((void *)(uintptr_t)sequence->request.stops[i].data);
    }
    free((void *)(uintptr_t)sequence->request.stops);
    stop_matcher_deinit(&sequence->matcher);
    token_list_deinit(&sequence->reply);
    free(sequence->script.say);
    free(sequence);
}

static void end(struct engine *engine, struct sequence *sequence, struct engine_event *event,
                const char *reason) {
    int64_t now = clock_now_ns();
    int64_t started = sequence->has_started ? sequence->started_ns : now;
    int64_t first = sequence->first_ns != 0 ? sequence->first_ns : now;
    event->usage = (struct engine_usage){
        .prompt_tokens = sequence->request.prompt_count,
        .generated_tokens = sequence->next,
        .queue_seconds = clock_seconds(started - sequence->submitted_ns),
        .prefill_seconds = clock_seconds(first - started),
        .decode_seconds = clock_seconds(now - first),
    };
    tell("end", sequence, reason);
    LIST_REMOVE(sequence, link);
    engine->count--;
    send(sequence, event);
    sequence_free(sequence);
}

static void end_embedded(struct engine *engine, struct sequence *sequence) {
    struct engine_event *event = new_event(sequence, ENGINE_DONE);
    event->embedding = must(calloc(EMBEDDING_LENGTH, sizeof *event->embedding));
    event->embedding[0] = 0.8f;
    event->embedding[1] = 0.6f;
    event->stop_match = ENGINE_NO_STOP;
    end(engine, sequence, event, "stop");
}

static void end_well(struct engine *engine, struct sequence *sequence, bool stopped,
                     enum finish_reason reason) {
    static const char *const names[] = {"stop", "length", "cancelled"};
    struct engine_event *event = new_event(sequence, ENGINE_DONE);
    struct string_buffer text = {0};
    struct string_buffer tail = {0};
    event->finish_reason = reason;
    event->stop_match = sequence->matcher.matched ? sequence->matcher.match : ENGINE_NO_STOP;
    if (!stopped && reason != FINISH_CANCELLED) {
        detokenizer_finish(&sequence->detokenizer, &tail);
        (void)stop_matcher_push(&sequence->matcher, string_buffer_text(&tail), tail.length, &text);
        stop_matcher_finish(&sequence->matcher, &text);
    }
    set_text(event, &text);
    string_buffer_deinit(&tail);
    end(engine, sequence, event, names[reason]);
}

/* --- steps --- */

static void generate(struct engine *engine, struct sequence *sequence) {
    const struct engine_request *request = &sequence->request;
    struct engine_event *event = new_event(sequence, ENGINE_TOKENS);
    struct string_buffer piece = {0};
    struct string_buffer text = {0};
    event->token = sequence->reply.ids[sequence->next++];
    for (int64_t i = 0; i < sequence->script.bytes; i++) {
        string_buffer_append_char(&piece, 'x');
    }
    if (sequence->script.bytes == 0) {
        detokenizer_push(&sequence->detokenizer, event->token, &piece);
    }
    bool stopped =
        stop_matcher_push(&sequence->matcher, string_buffer_text(&piece), piece.length, &text);
    set_text(event, &text);
    string_buffer_deinit(&piece);
    if (request->want_logprobs) {
        set_logprobs(sequence, event);
    }
    send(sequence, event);
    if (stopped) {
        end_well(engine, sequence, true, FINISH_STOP);
    } else if (request->max_tokens != 0 && sequence->next >= request->max_tokens) {
        end_well(engine, sequence, false, FINISH_LENGTH);
    } else if (sequence->next >= sequence->reply.count) {
        end_well(engine, sequence, false, FINISH_STOP);
    }
}

/* Does what is due for one sequence. True when something was done. */
static bool step(struct engine *engine, struct sequence *sequence, int64_t now) {
    if (sequence->cancelled && sequence->script.stuck == 0) {
        end_well(engine, sequence, true, FINISH_CANCELLED);
        return true;
    }
    if (!sequence->has_started) {
        sequence->has_started = true;
        sequence->started_ns = now;
        sequence->due_ns = now + sequence->script.prefill * 1000000;
        /* Unlocked: whoever submits or cancels never waits for a step, and only this thread takes
         * sequences out of the list. */
        pthread_mutex_unlock(&engine->lock);
        struct timespec pause = {.tv_sec = sequence->script.stall / 1000,
                                 .tv_nsec = sequence->script.stall % 1000 * 1000000};
        nanosleep(&pause, NULL);
        write_reply(engine, sequence);
        pthread_mutex_lock(&engine->lock);
        return true;
    }
    if (now < sequence->due_ns) {
        return false;
    }
    if (sequence->first_ns == 0) {
        sequence->first_ns = now;
        if (sequence->request.echo_logprobs) {
            echo_prompt(sequence);
        }
    }
    sequence->due_ns = now + sequence->script.delay * 1000000;
    if (sequence->script.fail >= 0 && sequence->next >= (size_t)sequence->script.fail) {
        struct engine_event *event = new_event(sequence, ENGINE_FAILED);
        error_set(&event->error, ERROR_IO, "the script says so");
        end(engine, sequence, event, "failed");
    } else if (sequence->request.embed) {
        end_embedded(engine, sequence);
    } else if (sequence->reply.count == 0) {
        end_well(engine, sequence, false, FINISH_STOP);
    } else {
        generate(engine, sequence);
    }
    return true;
}

/* Steps every sequence once; *next_ns is when the next is due. */
static bool step_all(struct engine *engine, int64_t *next_ns) {
    bool progressed = false;
    int64_t now = clock_now_ns();
    struct sequence *sequence, *next;
    *next_ns = INT64_MAX;
    for (sequence = LIST_FIRST(&engine->sequences); sequence != NULL; sequence = next) {
        next = LIST_NEXT(sequence, link);
        int64_t due = sequence->due_ns;
        if (step(engine, sequence, now)) {
            progressed = true;
        } else if (due < *next_ns) {
            *next_ns = due;
        }
    }
    return progressed;
}

static void *run(void *context) {
    struct engine *engine = context;
    pthread_mutex_lock(&engine->lock);
    while (!engine->stopping || !LIST_EMPTY(&engine->sequences)) {
        int64_t next_ns;
        if (engine->stopping) {
            struct sequence *sequence;
            LIST_FOREACH(sequence, &engine->sequences, link) {
                sequence->cancelled = true;
                sequence->script.stuck = 0;
            }
        }
        if (step_all(engine, &next_ns)) {
            pthread_mutex_unlock(&engine->lock); /* others may submit and cancel between steps */
            pthread_mutex_lock(&engine->lock);
            continue;
        }
        if (next_ns == INT64_MAX) {
            pthread_cond_wait(&engine->changed, &engine->lock);
        } else {
            int64_t until = clock_wall_ns() + next_ns - clock_now_ns();
            struct timespec deadline = {.tv_sec = until / 1000000000,
                                        .tv_nsec = until % 1000000000};
            pthread_cond_timedwait(&engine->changed, &engine->lock, &deadline);
        }
    }
    pthread_mutex_unlock(&engine->lock);
    return NULL;
}

/* --- engine.h --- */

/* Every text is spelled in bytes: a SentencePiece model of a space, 256 byte tokens, and <unk> <s>
 * </s>. */
static struct tokenizer *create_tokenizer(void) {
    static char names[BYTE_COUNT][8];
    static struct string_view tokens[TOKEN_COUNT];
    static int32_t types[TOKEN_COUNT];
    static float scores[TOKEN_COUNT];
    static const struct {
        const char *text;
        enum token_type type;
    } first[FIRST_BYTE_TOKEN] = {{"<unk>", TOKEN_UNKNOWN},
                                 {"<s>", TOKEN_CONTROL},
                                 {"</s>", TOKEN_CONTROL},
                                 {"\xe2\x96\x81", TOKEN_NORMAL}};
    for (size_t i = 0; i < FIRST_BYTE_TOKEN; i++) {
        tokens[i] = string_view_of(first[i].text);
        types[i] = (int32_t)first[i].type;
    }
    for (size_t i = 0; i < BYTE_COUNT; i++) {
        snprintf(names[i], sizeof names[i], "<0x%02X>", (unsigned)i);
        tokens[FIRST_BYTE_TOKEN + i] = string_view_of(names[i]);
        types[FIRST_BYTE_TOKEN + i] = TOKEN_BYTE;
    }
    const struct tokenizer_source source = {
        .model = string_view_of("llama"),
        .token_count = TOKEN_COUNT,
        .tokens = tokens,
        .scores = scores,
        .types = types,
        .bos = 1,
        .eos = 2,
        .unknown = 0,
        .pad = TOKEN_NONE,
        .eot = TOKEN_NONE,
        .eom = TOKEN_NONE,
        .add_bos = true,
    };
    struct tokenizer *tokenizer = NULL;
    struct error error = {0};
    if (!tokenizer_create(&source, &tokenizer, &error)) {
        fprintf(stderr, "fake engine's tokenizer: %s\n", error.message);
        abort();
    }
    return tokenizer;
}

struct engine_options engine_options_default(void) {
    return (struct engine_options){0};
}

/* What fake_engine_create was called with, for one that is unloaded and loaded again. */
static struct {
    size_t context_length, max_requests;
    const char *chat_template;
} first;

/* A model file of the fake's: the line "fake-model", then lines "delay_ms=N" (loading takes that
 * long), "fail=REASON" (loading fails), "bytes=N" (how large it says it is, and how much memory it
 * takes: more than heap_bytes, with the other models, is refused). */
bool engine_create(const char *path, const struct engine_options *options,
                   void (*progress)(void *context, double fraction), void *progress_context,
                   struct engine **engine, struct error *error) {
    char *text;
    size_t length;
    if (strcmp(path, "fake") == 0) { /* the one of fake_engine_create, again */
        *engine = fake_engine_create(first.context_length, first.max_requests, first.chat_template);
        return true;
    }
    if (!file_read_all(path, 4096, &text, &length, error)) {
        return false;
    }
    const char *delay = strstr(text, "delay_ms=");
    const char *reason = strstr(text, "fail=");
    const char *bytes = strstr(text, "bytes=");
    long left = delay == NULL ? 0 : strtol(delay + strlen("delay_ms="), NULL, 10);
    for (; left > 0; left -= 10) {
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
        progress(progress_context, 0.5);
    }
    bool ok = strncmp(text, "fake-model", 10) == 0 ||
              error_set(error, ERROR_FORMAT, "'%s' is no model", path);
    if (ok && reason != NULL) {
        reason += strlen("fail=");
        bool is_memory = strncmp(reason, "memory", 6) == 0;
        ok = error_set(error, is_memory ? ERROR_OUT_OF_MEMORY : ERROR_FORMAT, "%.*s",
                       (int)strcspn(reason, "\n"), reason);
    }
    uint64_t size = bytes == NULL ? length : strtoull(bytes + strlen("bytes="), NULL, 10);
    uint64_t together = size + options->other_models_bytes;
    if (ok && options->heap_bytes != 0 && together > options->heap_bytes) {
        if (options->shrink_kv && together - size / 2 <= options->heap_bytes) {
            size /= 2; /* with a smaller KV pool */
        } else {
            ok = error_set(error, ERROR_OUT_OF_MEMORY, "the model needs %d bytes, %d are taken",
                           (int)size, (int)options->other_models_bytes);
        }
    }
    if (ok) {
        *engine = fake_engine_create(4096, 16, fake_engine_template);
        (*engine)->info.planned_bytes = size;
        (*engine)->path = must(strdup(path));
        (*engine)->info.path = (*engine)->path;
        (*engine)->info.file_bytes = size;
    }
    free(text);
    return ok;
}

struct engine *fake_engine_create(size_t context_length, size_t max_requests,
                                  const char *chat_template) {
    if (first.context_length == 0) {
        first.context_length = context_length;
        first.max_requests = max_requests;
        first.chat_template = chat_template;
    }
    struct engine *engine = must(calloc(1, sizeof *engine));
    engine->max_requests = max_requests;
    engine->tokenizer = create_tokenizer();
    engine->info = (struct engine_info){
        .path = "fake",
        .architecture = "fake",
        .name = "fake-model",
        .format = "none",
        .kernels = "none",
        .chat_template = chat_template,
        .context_length = context_length,
        .vocabulary_size = TOKEN_COUNT,
        .embedding_length = EMBEDDING_LENGTH,
        .max_running_requests = max_requests,
    };
    LIST_INIT(&engine->sequences);
    must_be(pthread_mutex_init(&engine->lock, NULL) == 0);
    must_be(pthread_cond_init(&engine->changed, NULL) == 0);
    must_be(pthread_create(&engine->thread, NULL, run, engine) == 0);
    return engine;
}

void engine_free(struct engine *engine) {
    if (engine == NULL) {
        return;
    }
    pthread_mutex_lock(&engine->lock);
    engine->stopping = true;
    pthread_cond_signal(&engine->changed);
    pthread_mutex_unlock(&engine->lock);
    pthread_join(engine->thread, NULL);
    pthread_cond_destroy(&engine->changed);
    pthread_mutex_destroy(&engine->lock);
    tokenizer_free(engine->tokenizer);
    free(engine->path);
    free(engine);
}

const struct engine_info *engine_info(const struct engine *engine) {
    return &engine->info;
}

bool engine_is_lost(const struct engine *engine, struct error *reason) {
    (void)engine;
    (void)reason;
    return false;
}

const struct tokenizer *engine_tokenizer(const struct engine *engine) {
    return engine->tokenizer;
}

void engine_event_free(struct engine_event *event) {
    if (event != NULL) {
        free(event->text);
        free(event->embedding);
        free(event);
    }
}

static bool refuse(const struct script *script, struct error *error) {
    static const struct {
        const char *name;
        enum error_code code;
        const char *message;
    } refusals[] = {
        {"busy", ERROR_BUSY, "The queue is full."},
        {"context", ERROR_CONTEXT_LENGTH, "The prompt does not fit the context."},
        {"invalid", ERROR_INVALID_ARGUMENT, "The script calls this request invalid."},
        {"memory", ERROR_OUT_OF_MEMORY, "No memory for the request."},
    };
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        if (strcmp(script->refuse, refusals[i].name) == 0) {
            return error_set(error, refusals[i].code, "%s", refusals[i].message);
        }
    }
    return true;
}

static struct sequence *sequence_create(struct engine *engine, const struct engine_request *request,
                                        const struct script *script) {
    struct sequence *sequence = must(calloc(1, sizeof *sequence));
    sequence->request = *request;
    sequence->script = *script;
    int32_t *prompt = must(malloc(request->prompt_count * sizeof *prompt));
    memcpy(prompt, request->prompt, request->prompt_count * sizeof *prompt);
    sequence->request.prompt = prompt;
    struct string_view *stops = must(calloc(request->stop_count + 1, sizeof *stops));
    for (size_t i = 0; i < request->stop_count; i++) {
        stops[i].data = must(strndup(request->stops[i].data, request->stops[i].length));
        stops[i].length = request->stops[i].length;
    }
    sequence->request.stops = stops;
    sequence->matcher = (struct stop_matcher){.stops = stops, .stop_count = request->stop_count};
    sequence->detokenizer.tokenizer = engine->tokenizer;
    sequence->submitted_ns = clock_now_ns();
    return sequence;
}

bool engine_submit(struct engine *engine, const struct engine_request *request,
                   uint64_t *request_id, struct error *error) {
    struct script script = read_script(engine->tokenizer, request->prompt, request->prompt_count);
    if (!refuse(&script, error)) {
        free(script.say);
        return false;
    }
    pthread_mutex_lock(&engine->lock);
    bool has_room = engine->count < engine->max_requests;
    if (has_room) {
        struct sequence *sequence = sequence_create(engine, request, &script);
        sequence->id = atomic_fetch_add(&last_id, 1) + 1;
        *request_id = sequence->id;
        engine->count++;
        LIST_INSERT_HEAD(&engine->sequences, sequence, link);
        if (script.tell != 0) {
            tell_request(engine, sequence);
        }
        tell("submit", sequence, "");
        pthread_cond_signal(&engine->changed);
    }
    pthread_mutex_unlock(&engine->lock);
    if (!has_room) {
        free(script.say);
    }
    return has_room || error_set(error, ERROR_BUSY, "The queue is full.");
}

void engine_cancel(struct engine *engine, uint64_t request_id) {
    pthread_mutex_lock(&engine->lock);
    struct sequence *sequence;
    LIST_FOREACH(sequence, &engine->sequences, link) {
        if (sequence->id == request_id) {
            sequence->cancelled = true;
        }
    }
    pthread_cond_signal(&engine->changed);
    pthread_mutex_unlock(&engine->lock);
}

void engine_read_stats(const struct engine *engine, struct engine_stats *stats) {
    (void)engine;
    *stats = (struct engine_stats){0};
}
