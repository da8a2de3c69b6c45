/*
 * perplexity.c - mistral perplexity: how well a model foresees a text.
 *
 * The text is cut into chunks of --ctx tokens, as llama.cpp's tool of the same name does, so that
 * the numbers can be compared: each chunk is evaluated on its own, its first token replaced by BOS
 * if the model wants one; the tokens of its second half are scored, since the first half has too
 * little before it. Perplexity is exp of the mean negative log-probability; the error is that of
 * the mean, to first order.
 */
#include "base/file.h"
#include "cli/cli.h"
#include "cli/generate.h"
#include "cli/interrupt.h"
#include "cli/json_output.h"
#include "cli/load.h"
#include "cli/terminal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { TEXT_LIMIT = 1 << 30 };

static struct {
    bool json;
    int64_t context;
    int64_t chunks;
} options = {.context = 512};

static const struct argument_option option_table[] = {
    {"ctx", 0, ARGUMENT_INTEGER, &options.context, 4, 1 << 20, "TOKENS", "tokens of a chunk [512]"},
    {"chunks", 0, ARGUMENT_INTEGER, &options.chunks, 0, 1 << 30, "N",
     "most chunks to evaluate; 0, the default: all"},
    {"json", 0, ARGUMENT_SWITCH, &options.json, 0, 0, NULL, "as JSON"},
    {0},
};

/* Sums over the scored tokens, of x = -ln p. */
struct score {
    size_t count;
    double sum;         /* of x */
    double sum_squares; /* of x² */
};

static double perplexity_of(const struct score *score) {
    return score->count == 0 ? 0 : exp(score->sum / (double)score->count);
}

/* d exp(mean) = exp(mean) · d mean, and the mean's own error is sqrt(variance / (n - 1)). */
static double error_of(const struct score *score) {
    if (score->count < 2) {
        return 0;
    }
    double mean = score->sum / (double)score->count;
    double variance = score->sum_squares / (double)score->count - mean * mean;
    return variance <= 0 ? 0 : perplexity_of(score) * sqrt(variance / (double)(score->count - 1));
}

/* The events of one chunk. */
struct chunk_watch {
    struct score *score;
    size_t position;     /* of the next prompt token */
    size_t first_scored; /* position */
};

static void watch_event(void *context, const struct engine_event *event) {
    struct chunk_watch *watch = context;
    if (event->kind != ENGINE_TOKENS || !event->is_prompt) {
        return;
    }
    if (watch->position++ >= watch->first_scored) {
        double x = -(double)event->logprob;
        watch->score->count++;
        watch->score->sum += x;
        watch->score->sum_squares += x * x;
    }
}

static bool score_chunk(struct generator *generator, const int32_t *tokens, size_t count,
                        struct score *score, struct error *error) {
    struct chunk_watch watch = {.score = score, .first_scored = count / 2 + 1};
    const struct engine_request request = {
        .prompt = tokens,
        .prompt_count = count,
        .max_tokens = 1,
        .sampling = {.top_p = 1, .typical_p = 1, .repeat_penalty = 1},
        .want_logprobs = true,
        .echo_logprobs = true};
    struct generation generation;
    bool done = generate(generator, &request, watch_event, &watch, &generation, error);
    if (done && generation.finish_reason == FINISH_CANCELLED) {
        done = error_set(error, ERROR_CANCELLED, "interrupted");
    }
    generation_deinit(&generation);
    return done;
}

/* What encoding nothing gives is what the model wants in front of every text. */
static bool wants_bos(const struct tokenizer *tokenizer, bool *wants, struct error *error) {
    struct token_list tokens = {0};
    bool done = tokenizer_encode(tokenizer, "", 0, true, false, &tokens, error);
    *wants = done && tokens.count > 0 && tokens.ids[0] == tokenizer_bos(tokenizer);
    token_list_deinit(&tokens);
    return done;
}

static void show_progress(size_t done, size_t count, const struct score *score) {
    char line[128];
    snprintf(line, sizeof line, "chunk %zu of %zu: perplexity %.4f ± %.4f", done, count,
             perplexity_of(score), error_of(score));
    if (terminal_is(stderr)) {
        terminal_draw_line(line);
    } else {
        fprintf(stderr, "%s\n", line);
    }
}

static bool score_chunks(struct generator *generator, struct token_list *tokens,
                         size_t *chunk_count, struct score *score, struct error *error) {
    size_t context = (size_t)options.context;
    size_t count = tokens->count / context;
    const struct tokenizer *tokenizer = engine_tokenizer(generator->engine);
    bool bos = false;
    if (!wants_bos(tokenizer, &bos, error)) {
        return false;
    }
    if (count == 0) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "the text has %zu tokens; one chunk has %zu (--ctx)", tokens->count,
                         context);
    }
    if (options.chunks > 0 && (size_t)options.chunks < count) {
        count = (size_t)options.chunks;
    }
    for (size_t i = 0; i < count; i++) {
        int32_t *chunk = tokens->ids + i * context;
        if (bos) {
            chunk[0] = tokenizer_bos(tokenizer);
        }
        if (!score_chunk(generator, chunk, context, score, error)) {
            return false;
        }
        show_progress(i + 1, count, score);
    }
    terminal_clear_line();
    *chunk_count = count;
    return true;
}

static bool print_result(size_t chunks, const struct score *score, struct error *error) {
    if (options.json) {
        return json_output_print(
            json_pack("{s:f, s:f, s:I, s:I, s:I}", "perplexity", perplexity_of(score), "error",
                      error_of(score), "chunks", (json_int_t)chunks, "context",
                      (json_int_t)options.context, "scored_tokens", (json_int_t)score->count),
            error);
    }
    printf("perplexity %.4f ± %.4f (%zu tokens scored, %zu chunks of %zu)\n", perplexity_of(score),
           error_of(score), score->count, chunks, (size_t)options.context);
    return true;
}

static bool perplexity(struct cli *cli, struct error *error) {
    char *text = NULL;
    size_t length = 0;
    size_t chunks = 0;
    struct generator generator = {0};
    struct token_list tokens = {0};
    struct score score = {0};
    /* The engine wants room for one token behind the prompt. */
    struct engine_options engine_options =
        load_single_options(&cli->config, (size_t)options.context + 1);
    engine_options.prefix_caching = false;
    bool done = file_read_all(cli->operands.texts[1], TEXT_LIMIT, &text, &length, error) &&
                load_model(cli, cli->operands.texts[0], &engine_options, &generator, error);
    if (done) {
        interrupt_catch();
        done = tokenizer_encode(engine_tokenizer(generator.engine), text, length, true, false,
                                &tokens, error) &&
               score_chunks(&generator, &tokens, &chunks, &score, error) &&
               print_result(chunks, &score, error);
    }
    token_list_deinit(&tokens);
    generator_deinit(&generator);
    free(text);
    return done;
}

const struct cli_command cli_perplexity_command = {
    .name = "perplexity",
    .usage = "MODEL FILE",
    .summary = "measure how well a model foresees a text",
    .details = "Comparable with llama.cpp's perplexity of the same file and --ctx.\n",
    .reader = READ_BY_PERPLEXITY,
    .minimum_operands = 2,
    .maximum_operands = 2,
    .options = option_table,
    .run = perplexity,
};
