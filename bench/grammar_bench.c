/*
 * grammar_bench.c - what following a grammar costs, beside the step of the model that it is part
 * of.
 *
 * Usage: grammar_bench MODEL [--threads N] [--tokens N] [--temperature T] [--show]
 *
 * For each grammar of the table below, one stream: after every step of the model the same logits
 * are sampled freely and under the grammar, both timed, and the answer goes on as the grammar had
 * it. The first answer under a grammar finds nothing known; a second one finds what the first
 * left. "Refused" is how many free
 * draws it would not have taken. Times are of this thread's processor, so that what else runs does
 * not count; a step's is by the clock, of which the median is taken. The cost is what the grammar
 * takes more than free sampling, in percent of a step with free sampling.
 */
#include "backend/backend.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/processors.h"
#include "engine/grammar_draw.h"
#include "engine/vocabulary.h"
#include "grammar/grammar_schema.h"
#include "model/model.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CHUNK = 512, MAX_TOKENS = 4096 };

struct settings {
    size_t threads, tokens;
    float temperature;
    bool shows;
};

struct bench {
    struct settings settings;
    struct gguf *gguf;
    struct backend *backend;
    struct model *model;
    struct kv_cache *kv;
    struct tokenizer *tokenizer;
    struct grammar_cache *grammars;
    uint32_t *table;        /* [blocks] */
    float *logits, *masked; /* [vocabulary] */
    size_t vocabulary;
};

struct bench_case {
    const char *name, *schema, *gbnf;
};

/* Of one answer: seconds, a token. */
struct cost {
    double steps[MAX_TOKENS];
    double free_draw, grammar_draw, worst;
    size_t count, refused;
};

static const char prompt_text[] =
    "<|im_start|>user\nInvent some people who live by the sea. Answer with JSON.<|im_end|>\n"
    "<|im_start|>assistant\n";

static const struct bench_case cases[] = {
    {.name = "any JSON object"},
    {.name = "a list of people",
     .schema = "{\"type\":\"array\",\"minItems\":60,\"items\":{\"type\":\"object\","
               "\"properties\":{\"name\":{\"type\":\"string\"},\"age\":{\"type\":\"integer\","
               "\"minimum\":0,\"maximum\":120},\"city\":{\"enum\":[\"Oslo\",\"Bergen\",\"Bodø\"]},"
               "\"likes\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"maxItems\":3}},"
               "\"required\":[\"name\",\"age\",\"city\",\"likes\"]}}"},
    {.name = "a bounded string",
     .schema = "{\"type\":\"object\",\"properties\":{\"story\":{\"type\":\"string\","
               "\"minLength\":900,\"maxLength\":1000}},\"required\":[\"story\"]}"},
    {.name = "a pattern",
     .schema = "{\"type\":\"array\",\"minItems\":60,\"items\":{\"type\":\"string\",\"pattern\":"
               "\"^[A-Z][a-z]{1,20}( [A-Z][a-z]{1,20}){0,3}, \\\\d{1,3} years$\"}}"},
    {.name = "GBNF: lines", .gbnf = "root ::= (\"- \" [A-Z] [a-z ,']{3,60} \".\\n\")+\n"},
};

static bool compile(const struct bench_case *row, struct grammar **grammar, struct error *error) {
    if (row->gbnf != NULL) {
        return grammar_from_gbnf(string_view_of(row->gbnf), grammar, error);
    }
    if (row->schema == NULL) {
        return grammar_from_json_object(grammar, error);
    }
    json_t *schema = json_loads(row->schema, 0, NULL);
    bool done = schema != NULL && grammar_from_json_schema(schema, NULL, grammar, error);
    json_decref(schema);
    return done;
}

/* Seconds of this thread on a processor. */
static double processor_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void forward(struct bench *bench, const int32_t *tokens, size_t count, size_t position) {
    struct batch_span span = {0, count, position, bench->table};
    uint32_t row = (uint32_t)count - 1;
    struct batch batch = {count, tokens, 1, &span, 1, &row};
    model_forward(bench->model, &batch, bench->kv, bench->logits, NULL, 0);
}

static void draw_freely(struct bench *bench, struct sampler *sampler, struct cost *cost,
                        int32_t *token) {
    double start = processor_now();
    *token = sampler_sample(sampler, bench->logits);
    cost->free_draw += processor_now() - start;
}

/* The next token under the grammar, timed beside a free one. Who comes second finds the logits in
 * the processor's cache: they take turns. False: the grammar cannot go on. */
static bool draw(struct bench *bench, struct sampler *samplers[2], struct grammar_matcher *matcher,
                 struct cost *cost, int32_t *token, struct error *error) {
    int32_t wanted = 0;
    bool is_first = cost->count % 2 == 0;
    if (is_first) {
        draw_freely(bench, samplers[0], cost, &wanted);
    }
    double start = processor_now();
    if (!grammar_draw(samplers[1], matcher, bench->logits, bench->masked, bench->vocabulary, token,
                      error)) {
        return false;
    }
    double took = processor_now() - start;
    if (!is_first) {
        draw_freely(bench, samplers[0], cost, &wanted);
    }
    cost->refused += !grammar_matcher_allows(matcher, wanted);
    start = processor_now();
    bool ends = tokenizer_is_end(bench->tokenizer, *token);
    if (!ends && !grammar_matcher_accept(matcher, *token)) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory to follow the grammar");
    }
    took += processor_now() - start;
    cost->grammar_draw += took;
    cost->worst = fmax(cost->worst, took);
    return true;
}

static bool answer(struct bench *bench, struct grammar *grammar, struct cost *cost,
                   struct error *error) {
    struct sampling_params params = sampling_params_default();
    struct sampler *samplers[2] = {NULL, NULL};
    struct grammar_matcher *matcher = NULL;
    struct token_list prompt = {0};
    params.temperature = bench->settings.temperature;
    params.seed = 7;
    *cost = (struct cost){0};
    bool done = sampler_create(&params, bench->vocabulary, &samplers[0], error) &&
                sampler_create(&params, bench->vocabulary, &samplers[1], error) &&
                grammar_matcher_create(bench->grammars, grammar, &matcher, error) &&
                tokenizer_encode(bench->tokenizer, prompt_text, strlen(prompt_text), true, true,
                                 &prompt, error);
    size_t position = prompt.count;
    if (done) {
        forward(bench, prompt.ids, prompt.count, 0);
    }
    int32_t token = 0;
    while (done && cost->count < bench->settings.tokens) {
        done = draw(bench, samplers, matcher, cost, &token, error);
        if (!done || tokenizer_is_end(bench->tokenizer, token) ||
            grammar_matcher_must_end(matcher)) {
            break;
        }
        if (bench->settings.shows) {
            struct string_view piece = tokenizer_piece(bench->tokenizer, token, false);
            fwrite(piece.data, 1, piece.length, stdout);
        }
        int64_t start = clock_now_ns();
        forward(bench, &token, 1, position++);
        cost->steps[cost->count++] = clock_seconds(clock_now_ns() - start);
    }
    grammar_matcher_free(matcher);
    sampler_free(samplers[0]);
    sampler_free(samplers[1]);
    token_list_deinit(&prompt);
    return done;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(struct cost *cost) {
    double count = (double)size_max(1, cost->count);
    qsort(cost->steps, cost->count, sizeof *cost->steps, compare);
    double step = cost->steps[cost->count / 2] + cost->free_draw / count;
    double extra = (cost->grammar_draw - cost->free_draw) / count;
    printf(" | %6zu %6.1f %% %8.3f %9.1f %9.1f %7.2f %%", cost->count,
           100 * (double)cost->refused / count, step * 1e3, extra * 1e6, cost->worst * 1e6,
           100 * extra / step);
}

static bool run(struct bench *bench, const struct bench_case *row, struct error *error) {
    static struct cost cost;
    struct grammar *grammar = NULL;
    int64_t start = clock_now_ns();
    bool done = compile(row, &grammar, error);
    printf("%-18s %8.2f", row->name, clock_seconds(clock_now_ns() - start) * 1e3);
    for (size_t i = 0; done && i < 2; i++) {
        done = answer(bench, grammar, &cost, error);
        report(&cost);
    }
    putchar('\n');
    fflush(stdout);
    grammar_unref(grammar);
    return done;
}

static bool open_model(struct bench *bench, const char *path, struct error *error) {
    struct cpu_backend_options cpu = {.thread_count = bench->settings.threads};
    const struct model_options model = {.max_rows = CHUNK};
    if (!gguf_open(path, &bench->gguf, error) ||
        !vocabulary_load(bench->gguf, &bench->tokenizer, error) ||
        !grammar_cache_create(bench->tokenizer, &bench->grammars, error) ||
        !cpu_backend_create(&cpu, &bench->backend, error) ||
        !model_create(bench->gguf, bench->backend, &model, &bench->model, error)) {
        return false;
    }
    size_t blocks = size_divide_up(CHUNK + bench->settings.tokens, KV_BLOCK_TOKENS);
    struct kv_layout layout = model_kv_layout(bench->model, blocks);
    bench->vocabulary = model_description(bench->model)->vocabulary_size;
    bench->table = calloc(blocks, sizeof *bench->table);
    bench->logits = calloc(bench->vocabulary, sizeof *bench->logits);
    bench->masked = calloc(bench->vocabulary, sizeof *bench->masked);
    if (bench->table == NULL || bench->logits == NULL || bench->masked == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory");
    }
    for (size_t i = 0; i < blocks; i++) {
        bench->table[i] = (uint32_t)i;
    }
    printf("%s: vocabulary %zu, kernels %s, %zu threads, temperature %g\n", path, bench->vocabulary,
           bench->backend->kernels, bench->settings.threads, (double)bench->settings.temperature);
    return bench->backend->ops->kv_create(bench->backend, &layout, &bench->kv, error);
}

static void close_model(struct bench *bench) {
    if (bench->kv != NULL) {
        bench->backend->ops->kv_free(bench->backend, bench->kv);
    }
    model_free(bench->model);
    if (bench->backend != NULL) {
        bench->backend->ops->free(bench->backend);
    }
    grammar_cache_free(bench->grammars);
    tokenizer_free(bench->tokenizer);
    gguf_close(bench->gguf);
    free(bench->table);
    free(bench->logits);
    free(bench->masked);
}

static bool parse(int argc, char **argv, struct settings *settings) {
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--show") == 0) {
            settings->shows = true;
            continue;
        }
        double value = i + 1 < argc ? strtod(argv[i + 1], NULL) : -1;
        if (value < 0) {
            return false;
        }
        if (strcmp(argv[i], "--threads") == 0) {
            settings->threads = (size_t)value;
        } else if (strcmp(argv[i], "--tokens") == 0) {
            settings->tokens = (size_t)value;
        } else if (strcmp(argv[i], "--temperature") == 0) {
            settings->temperature = (float)value;
        } else {
            return false;
        }
        i++;
    }
    return argc > 1 && settings->tokens > 0 && settings->tokens <= MAX_TOKENS;
}

int main(int argc, char **argv) {
    struct bench bench = {.settings = {.threads = processors_physical(), .tokens = 300}};
    struct error error = {0};
    if (!parse(argc, argv, &bench.settings)) {
        fputs("usage: grammar_bench MODEL [--threads N] [--tokens N] [--temperature T] [--show]\n",
              stderr);
        return 2;
    }
    bool done = open_model(&bench, argv[1], &error);
    if (done) {
        printf("%-18s %8s | %-51s | and again\n%-18s %8s", "", "compiled", "first answer",
               "grammar", "ms");
        for (size_t i = 0; i < 2; i++) {
            printf(" | %6s %8s %8s %9s %9s %9s", "tokens", "refused", "step, ms", "more, us",
                   "worst, us", "cost");
        }
        putchar('\n');
    }
    for (size_t i = 0; done && i < sizeof cases / sizeof cases[0]; i++) {
        done = run(&bench, &cases[i], &error);
    }
    if (!done) {
        fprintf(stderr, "grammar_bench: %s\n", error.message);
    }
    close_model(&bench);
    return done ? 0 : 1;
}
