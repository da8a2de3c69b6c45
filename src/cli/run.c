/* run.c - mistral run: one answer to a prompt, or a chat where there is none. */
#include "cli/run.h"

#include "base/bytes.h"
#include "base/random.h"
#include "cli/cli.h"
#include "cli/conversation.h"
#include "cli/input.h"
#include "cli/interrupt.h"
#include "cli/json_output.h"
#include "cli/load.h"
#include "cli/terminal.h"

#include <stdio.h>
#include <string.h>

/* Seeds are shown and typed as JSON numbers, which many readers keep exact up to 2^53 only. */
#define MAX_SEED ((uint64_t)1 << 53)

static struct {
    bool json, raw, verbose, ignore_end, history;
    const char *system;
    int64_t max_tokens, top_k, repeat_last_n, seed;
    double top_p, min_p, typical_p, repeat_penalty, presence_penalty, frequency_penalty;
    struct argument_operands stops;
} options = {.history = true,
             .seed = -1,
             .repeat_last_n = 64,
             .top_p = 1,
             .typical_p = 1,
             .repeat_penalty = 1};

static const struct argument_option option_table[] = {
    {"system", 's', ARGUMENT_TEXT, &options.system, 0, 0, "TEXT",
     "what the model should know first"},
    {"raw", 0, ARGUMENT_SWITCH, &options.raw, 0, 0, NULL,
     "the prompt as it is, without the chat template: the model goes on with it"},
    {"max-tokens", 'n', ARGUMENT_INTEGER, &options.max_tokens, 0, 1 << 24, "N",
     "most tokens of an answer; 0, the default: until the context is full"},
    {"seed", 0, ARGUMENT_INTEGER, &options.seed, 0, 9007199254740992, "N",
     "same seed, same answer; a new one each time when not given"},
    {"top-k", 0, ARGUMENT_INTEGER, &options.top_k, 0, 1 << 24, "N",
     "choose among the N likeliest tokens; 0, the default: among all"},
    {"top-p", 0, ARGUMENT_NUMBER, &options.top_p, 0, 1, "P",
     "choose among the likeliest tokens that have P of the probability together [1]"},
    {"min-p", 0, ARGUMENT_NUMBER, &options.min_p, 0, 1, "P",
     "choose among tokens at least P times as likely as the likeliest [0]"},
    {"typical-p", 0, ARGUMENT_NUMBER, &options.typical_p, 0, 1, "P", "typical sampling [1: off]"},
    {"repeat-penalty", 0, ARGUMENT_NUMBER, &options.repeat_penalty, 0.01, 100, "X",
     "makes tokens that were there less likely [1: off]"},
    {"presence-penalty", 0, ARGUMENT_NUMBER, &options.presence_penalty, -100, 100, "X",
     "the same, once a token [0: off]"},
    {"frequency-penalty", 0, ARGUMENT_NUMBER, &options.frequency_penalty, -100, 100, "X",
     "the same, each time it was there [0: off]"},
    {"repeat-last-n", 0, ARGUMENT_INTEGER, &options.repeat_last_n, -1, 1 << 20, "N",
     "how far back the penalties look; -1: to the start [64]"},
    {"stop", 0, ARGUMENT_TEXTS, &options.stops, 0, 0, "TEXT",
     "ends the answer where this text would come; may be given several times"},
    {"ignore-end", 0, ARGUMENT_SWITCH, &options.ignore_end, 0, 0, NULL,
     "go on where the model would end its answer"},
    {"verbose", 'v', ARGUMENT_SWITCH, &options.verbose, 0, 0, NULL,
     "tokens and speed on standard error after each answer"},
    {"history", 0, ARGUMENT_SWITCH, &options.history, 0, 0, NULL,
     "keep the lines typed in a chat for the next one (on; --no-history)"},
    {"json", 0, ARGUMENT_SWITCH, &options.json, 0, 0, NULL,
     "text, token ids, finish reason and timings as JSON; needs a prompt"},
    {0},
};

void run_write_event(void *context, const struct engine_event *event) {
    (void)context;
    if (!event->is_prompt && event->text_length > 0) {
        terminal_write_text(stdout, event->text, event->text_length);
        fflush(stdout);
    }
}

static double rate(size_t tokens, double seconds) {
    return seconds > 0 ? (double)tokens / seconds : 0;
}

/* The first token comes out of the prompt's step: the time of decoding is that of the others. */
static double decode_rate(const struct engine_usage *usage) {
    return usage->generated_tokens > 1 ? rate(usage->generated_tokens - 1, usage->decode_seconds)
                                       : 0;
}

void run_print_timings(const struct engine_usage *usage) {
    fprintf(stderr,
            "%sprompt: %zu tokens (%zu cached), %.2f s, %.1f tokens/s; answer: %zu tokens, %.2f s, "
            "%.1f tokens/s%s\n",
            terminal_style(stderr, STYLE_DIM), usage->prompt_tokens, usage->cached_tokens,
            usage->prefill_seconds,
            rate(usage->prompt_tokens - usage->cached_tokens, usage->prefill_seconds),
            usage->generated_tokens, usage->decode_seconds, decode_rate(usage),
            terminal_style(stderr, STYLE_PLAIN));
}

/* Settings of the request. `stops` has room for every --stop. */
static struct run_settings make_settings(const struct config *config, struct string_view *stops) {
    for (size_t i = 0; i < options.stops.count; i++) {
        stops[i] = string_view_of(options.stops.texts[i]);
    }
    struct sampling_params sampling = sampling_params_default();
    sampling.temperature = (float)config->temperature;
    sampling.top_k = (int32_t)options.top_k;
    sampling.top_p = (float)options.top_p;
    sampling.min_p = (float)options.min_p;
    sampling.typical_p = (float)options.typical_p;
    sampling.repeat_penalty = (float)options.repeat_penalty;
    sampling.presence_penalty = (float)options.presence_penalty;
    sampling.frequency_penalty = (float)options.frequency_penalty;
    sampling.repeat_last_n = (int32_t)options.repeat_last_n;
    sampling.seed = options.seed >= 0 ? (uint64_t)options.seed : random_fresh_seed() % MAX_SEED;
    return (struct run_settings){
        .request = {.max_tokens = (size_t)options.max_tokens,
                    .sampling = sampling,
                    .stops = stops,
                    .stop_count = options.stops.count,
                    .ignore_end = options.ignore_end},
        .system = options.system,
        .verbose = options.verbose,
        .keep_history = options.history,
    };
}

static bool encode_prompt(const struct engine *engine, const struct string_buffer *text,
                          struct token_list *prompt, struct error *error) {
    if (options.raw) {
        return tokenizer_encode(engine_tokenizer(engine), string_buffer_text(text), text->length,
                                true, true, prompt, error);
    }
    struct conversation conversation;
    if (!conversation_init(&conversation, engine, error)) {
        return false;
    }
    bool done =
        conversation_restart(&conversation, options.system, error) &&
        conversation_add(&conversation, "user", string_buffer_text(text), text->length, error) &&
        conversation_encode(&conversation, engine, prompt, error);
    conversation_deinit(&conversation);
    return done;
}

static json_t *tokens_to_json(const struct token_list *tokens) {
    json_t *array = json_array();
    for (size_t i = 0; i < tokens->count; i++) {
        json_array_append_new(array, json_integer(tokens->ids[i]));
    }
    return array;
}

static bool print_json(const struct engine *engine, const struct engine_request *request,
                       const struct token_list *prompt, const struct generation *generation,
                       struct error *error) {
    static const char *const reasons[] = {
        [FINISH_STOP] = "stop", [FINISH_LENGTH] = "length", [FINISH_CANCELLED] = "cancelled"};
    const struct engine_usage *usage = &generation->usage;
    struct string_view text = {string_buffer_text(&generation->text), generation->text.length};
    json_t *timings = json_pack(
        "{s:f, s:f, s:f, s:f, s:f}", "load_seconds", engine_info(engine)->load_seconds,
        "prefill_seconds", usage->prefill_seconds, "prefill_tokens_per_second",
        rate(usage->prompt_tokens - usage->cached_tokens, usage->prefill_seconds), "decode_seconds",
        usage->decode_seconds, "decode_tokens_per_second", decode_rate(usage));
    return json_output_print(json_pack("{s:s, s:o, s:o, s:o, s:s, s:I, s:I, s:I, s:o}", "model",
                                       engine_info(engine)->path, "text", json_output_text(text),
                                       "tokens", tokens_to_json(&generation->tokens), "prompt",
                                       tokens_to_json(prompt), "finish_reason",
                                       reasons[generation->finish_reason], "prompt_tokens",
                                       (json_int_t)usage->prompt_tokens, "generated_tokens",
                                       (json_int_t)usage->generated_tokens, "seed",
                                       (json_int_t)request->sampling.seed, "timings", timings),
                             error);
}

static bool answer(struct generator *generator, const struct run_settings *settings,
                   const struct string_buffer *text, struct error *error) {
    struct engine *engine = generator->engine;
    struct token_list prompt = {0};
    struct generation generation = {0};
    struct engine_request request = settings->request;
    bool done = encode_prompt(engine, text, &prompt, error);
    if (done) {
        request.prompt = prompt.ids;
        request.prompt_count = prompt.count;
        done = generate(generator, &request, options.json ? NULL : run_write_event, NULL,
                        &generation, error);
    }
    if (done && options.json) {
        done = print_json(engine, &request, &prompt, &generation, error);
    } else if (generation.text.length > 0) {
        fputc('\n', stdout);
    }
    if (done && settings->verbose) {
        run_print_timings(&generation.usage);
    }
    if (done && generation.finish_reason == FINISH_CANCELLED) {
        done = error_set(error, ERROR_CANCELLED, "interrupted");
    }
    generation_deinit(&generation);
    token_list_deinit(&prompt);
    return done;
}

static bool read_prompt(const struct cli *cli, struct string_buffer *text, struct error *error) {
    struct string_buffer system = {0};
    string_buffer_append_text(&system, options.system == NULL ? "" : options.system);
    bool done = input_read(&cli->operands, 1, text, error) &&
                input_check_utf8(text, "the prompt", error) &&
                input_check_utf8(&system, "the system text", error);
    string_buffer_deinit(&system);
    if (done && text->length == 0) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "the prompt is empty");
    }
    return done;
}

static bool check_options(bool is_chat, struct error *error) {
    if (options.raw && options.system != NULL) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "--system needs the chat template, which --raw turns off");
    }
    if (is_chat && (options.raw || options.json)) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "--%s needs a prompt: as arguments, or on standard input",
                         options.raw ? "raw" : "json");
    }
    for (size_t i = 0; i < options.stops.count; i++) {
        if (options.stops.texts[i][0] == '\0') {
            return error_set(error, ERROR_INVALID_ARGUMENT, "--stop needs a text");
        }
    }
    return true;
}

static bool run(struct cli *cli, struct error *error) {
    bool is_chat = cli->operands.count == 1 && terminal_is(stdin);
    struct string_buffer text = {0};
    struct generator generator = {0};
    struct string_view *stops =
        arena_alloc(&cli->config.arena, options.stops.count + 1, sizeof *stops);
    if (stops == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the stop texts");
    }
    struct run_settings settings = make_settings(&cli->config, stops);
    struct engine_options engine_options =
        load_single_options(&cli->config, (size_t)cli->config.max_sequence_length);
    bool done = check_options(is_chat, error) && (is_chat || read_prompt(cli, &text, error)) &&
                load_model(cli, cli->operands.texts[0], &engine_options, &generator, error);
    if (done) {
        interrupt_catch();
        done = is_chat ? chat_run(&generator, &settings, error)
                       : answer(&generator, &settings, &text, error);
    }
    generator_deinit(&generator);
    string_buffer_deinit(&text);
    return done;
}

const struct cli_command cli_run_command = {
    .name = "run",
    .usage = "MODEL [PROMPT...]",
    .summary = "answer a prompt, or chat",
    .details = "With PROMPT, or with a prompt on standard input ('-' among the words, or a pipe), "
               "prints one\n"
               "answer. Otherwise a chat: /help there says what it can do; Ctrl-C stops an answer, "
               "Ctrl-D\n"
               "ends the chat.\n",
    .reader = READ_BY_RUN,
    .minimum_operands = 1,
    .maximum_operands = SIZE_MAX,
    .options = option_table,
    .run = run,
};
