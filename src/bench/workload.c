/* workload.c - see workload.h. A trace is read by workload_trace.c. */
#include "bench/workload.h"

#include "base/json_writer.h"
#include "base/random.h"
#include "bench/workload_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The names are those of the stack's earlier benchmark, so that results can be set side by side. */
static const struct {
    const char *name, *prompt;
} prompts[] = {
    {"simple_math", "How much is 17 + 25? Answer with the number alone."},
    {"one_sentence", "In one sentence: why does ice float on water?"},
    {"code_generation",
     "Write a C function that reverses a string in place. Return nothing but the function."},
    {"detailed_explanation",
     "Explain how a transformer language model turns a prompt into its next token: tokenisation, "
     "embeddings, attention, the feed-forward layers, and sampling. Say what each step costs in "
     "memory and in arithmetic."},
    {"comprehensive_guide",
     "A small shop has one server, 2,000 customers and a database of 40 GB. It wants to survive "
     "the "
     "loss of that server with at most ten minutes of lost orders and an hour of downtime, for "
     "less "
     "than 200 euros a month. Reason step by step through three designs, compare their cost and "
     "their failure modes, choose one, and write the runbook for the night it happens, with the "
     "commands and the order in which they are run."},
};

enum { PROMPT_COUNT = sizeof prompts / sizeof prompts[0], LONGEST = 1 << 20 };

/* Short words, each of them one token (with its blank) in most vocabularies. */
static const char *const words[] = {
    "time",  "year",  "people", "way",   "day",  "man",   "thing", "world", "life", "hand",  "part",
    "place", "case",  "week",   "work",  "fact", "group", "night", "point", "home", "water", "room",
    "area",  "money", "story",  "month", "lot",  "right", "study", "book",  "eye",  "job",   "word",
    "side",  "kind",  "head",   "house", "end",  "game",  "line",  "city",  "name", "team",  "road",
};

enum { WORD_COUNT = sizeof words / sizeof words[0] };

/* ---- lengths ---- */

bool workload_length_parse(const char *text, const char *option, struct workload_length *length,
                           struct error *error) {
    static const struct {
        const char *prefix;
        int kind;
        char between;
    } forms[] = {{"", LENGTH_FIXED, 0},
                 {"uniform:", LENGTH_UNIFORM, '-'},
                 {"lognormal:", LENGTH_LOG_NORMAL, ','}};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        size_t skip = strlen(forms[i].prefix);
        if (strncmp(text, forms[i].prefix, skip) != 0) {
            continue;
        }
        char *end;
        *length = (struct workload_length){.kind = forms[i].kind};
        length->first = strtod(text + skip, &end);
        bool ok = end != text + skip && length->first >= 1 && length->first <= LONGEST;
        if (ok && forms[i].between != 0) {
            const char *second = end + 1;
            ok = *end == forms[i].between && *second != '\0';
            length->second = ok ? strtod(second, &end) : 0;
            ok = ok && (length->kind == LENGTH_UNIFORM
                            ? length->second >= length->first && length->second <= LONGEST
                            : length->second > 0 && length->second <= 3);
        }
        if (ok && *end == '\0') {
            return true;
        }
    }
    return error_set(error, ERROR_INVALID_ARGUMENT,
                     "--%s takes tokens: 128, uniform:64-256 or lognormal:128,0.5 (median and "
                     "sigma), not '%.100s'",
                     option, text);
}

/* A normal deviate (Box and Muller 1958). */
static double normal(struct random_state *random) {
    double radius = sqrt(-2 * log(1 - random_uniform(random)));
    return radius * cos(6.283185307179586 * random_uniform(random));
}

static size_t draw_length(const struct workload_length *length, struct random_state *random) {
    double value = length->first;
    if (length->kind == LENGTH_UNIFORM) {
        value += floor(random_uniform(random) * (length->second - length->first + 1));
    } else if (length->kind == LENGTH_LOG_NORMAL) {
        value *= exp(length->second * normal(random));
    }
    return (size_t)fmin(fmax(round(value), 1), LONGEST);
}

/* ---- texts ---- */

/* Whether the text has so many tokens at least. */
static bool is_long_enough(const struct tokenizer *tokenizer, const struct string_buffer *text,
                           size_t wanted, size_t count) {
    struct token_list tokens = {0};
    if (tokenizer == NULL || count * 2 < wanted) {
        return count >= wanted;
    }
    bool known = tokenizer_encode(tokenizer, string_buffer_text(text), text->length, false, false,
                                  &tokens, NULL);
    size_t have = tokens.count;
    token_list_deinit(&tokens);
    return !known || have >= wanted;
}

void workload_append_words(const struct tokenizer *tokenizer, size_t tokens,
                           struct random_state *random, struct string_buffer *text) {
    struct string_buffer piece = {0};
    size_t step = tokens / 16 + 1; /* counting tokens after each word would take square time */
    for (size_t count = 0; !piece.failed && !is_long_enough(tokenizer, &piece, tokens, count);) {
        size_t more = tokenizer == NULL || count + step > tokens ? 1 : step;
        for (size_t i = 0; i < more; i++, count++) {
            size_t at = (size_t)(random_uniform(random) * WORD_COUNT);
            string_buffer_append_format(&piece, "%s%s", piece.length > 0 ? " " : "", words[at]);
        }
    }
    string_buffer_append_buffer(text, &piece);
    string_buffer_deinit(&piece);
}

bool workload_set_prompt(struct workload *workload, struct workload_request *request,
                         const char *text, size_t length, struct error *error) {
    struct string_buffer json = {0};
    struct json_writer writer = {.out = &json};
    json_write_array_begin(&writer);
    json_write_object_begin(&writer);
    json_write_text_member(&writer, "role", "user");
    json_write_key(&writer, "content");
    json_write_text(&writer, text, length);
    json_write_object_end(&writer);
    json_write_array_end(&writer);
    request->messages =
        json.failed ? NULL : arena_copy_text(&workload->arena, json.data, json.length);
    string_buffer_deinit(&json);
    return request->messages != NULL ||
           error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the prompts");
}

/* ---- kinds of workloads ---- */

/* One after the other, so that every moment of a run has all of them. */
static bool make_prompts(const struct workload_options *options, struct workload *workload,
                         struct random_state *random, struct error *error) {
    struct string_buffer text = {0};
    workload->kind = "prompts";
    workload->scenario_count = PROMPT_COUNT;
    for (size_t i = 0; i < PROMPT_COUNT; i++) {
        workload->scenarios[i] = prompts[i].name;
    }
    bool done = true;
    for (size_t i = 0; done && i < workload->count; i++) {
        struct workload_request *request = &workload->requests[i];
        request->scenario = i % PROMPT_COUNT;
        request->max_tokens = (int64_t)draw_length(&options->max_tokens, random);
        string_buffer_clear(&text);
        if (options->vary) {
            string_buffer_append_format(&text, "(%zu) ", options->first_number + i);
        }
        string_buffer_append_text(&text, prompts[request->scenario].prompt);
        done =
            workload_set_prompt(workload, request, string_buffer_text(&text), text.length, error);
    }
    string_buffer_deinit(&text);
    return done;
}

static bool make_synthetic(const struct workload_options *options, struct workload *workload,
                           struct random_state *random, struct error *error) {
    struct string_buffer text = {0};
    bool has_prefix = options->prefix_tokens > 0;
    workload->kind = has_prefix ? "shared prefix" : "synthetic";
    workload->scenario_count = 1;
    workload->scenarios[0] = has_prefix ? "shared_prefix" : "synthetic";
    bool done = true;
    for (size_t i = 0; done && i < workload->count; i++) {
        struct workload_request *request = &workload->requests[i];
        request->max_tokens = (int64_t)draw_length(&options->max_tokens, random);
        string_buffer_clear(&text);
        if (has_prefix) {
            struct random_state of_prefix;
            random_seed(&of_prefix, options->seed + 1 + i % options->prefix_count);
            workload_append_words(options->tokenizer, options->prefix_tokens, &of_prefix, &text);
            string_buffer_append_text(&text, ". ");
        }
        if (options->vary) {
            string_buffer_append_format(&text, "(%zu) ", options->first_number + i);
        }
        workload_append_words(options->tokenizer, draw_length(&options->prompt_length, random),
                              random, &text);
        done =
            workload_set_prompt(workload, request, string_buffer_text(&text), text.length, error);
    }
    string_buffer_deinit(&text);
    return done;
}

bool workload_create(const struct workload_options *options, struct workload *workload,
                     struct error *error) {
    struct random_state random;
    bool done;
    *workload = (struct workload){0};
    random_seed(&random, options->seed);
    if (options->trace_path != NULL) {
        done = workload_read_trace(options, workload, &random, error);
    } else {
        workload->count = options->requests * (options->has_prompt_length ? 1 : PROMPT_COUNT);
        workload->requests =
            arena_alloc(&workload->arena, workload->count, sizeof *workload->requests);
        done = workload->requests == NULL   ? error_set(error, ERROR_OUT_OF_MEMORY,
                                                        "no memory for %zu requests", workload->count)
               : options->has_prompt_length ? make_synthetic(options, workload, &random, error)
                                            : make_prompts(options, workload, &random, error);
    }
    if (!done) {
        workload_deinit(workload);
    }
    return done;
}

void workload_deinit(struct workload *workload) {
    arena_deinit(&workload->arena);
    *workload = (struct workload){0};
}
