/*
 * tune.c - mistral tune: finds the settings that make a model fastest on this machine, by running
 * it, and recommends only what is beyond the noise.
 *
 * Candidates are combinations of the settings below. Successive halving finds the best; it must
 * then beat what is set now, measured in turn, and each setting that it changes must be missed when
 * it is put back. The budget holds: no run is begun that would not end in it, and one that takes
 * longer than foreseen is cut.
 */
#include "base/bytes.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/processors.h"
#include "base/random.h"
#include "bench/halving.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/json_output.h"
#include "cli/load.h"
#include "cli/terminal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    MOST_VALUES = 6,
    MOST_TRIED = 32, /* candidates, where there is time */
    STREAMS = 16,
    DUEL_ROUNDS = 7,
    FEWEST_ROUNDS = 5,
    POLL_NS = 50000000,
    LONGEST_PROMPT = 256, /* tokens of a run's request, where nobody says */
    LONGEST_ANSWER = 32,
    SHORTER = 8, /* times, the shortest request and what warms up */
};

/* Part of the budget that the search may take; the rest shows what was found to be real. */
#define SEARCH_SHARE 0.6
#define RUN_SHARE    (1.0 / 60) /* a run's part, where nobody says how long its requests are */

static struct {
    const char *goal, *output;
    double minutes;
    int64_t prompt, generate;
    bool json;
} options = {.goal = "balanced", .minutes = 5};

static const struct argument_option option_table[] = {
    {"goal", 0, ARGUMENT_TEXT, &options.goal, 0, 0, "GOAL",
     "latency (one request), throughput (16 together) or balanced (both) [balanced]"},
    {"budget", 0, ARGUMENT_NUMBER, &options.minutes, 0.05, 1440, "MINUTES",
     "how long it may take [5]"},
    {"prompt", 'p', ARGUMENT_INTEGER, &options.prompt, 1, 1 << 20, "TOKENS",
     "length of a request's prompt [256, or less where a run would take too long]"},
    {"generate", 'n', ARGUMENT_INTEGER, &options.generate, 1, 1 << 20, "TOKENS",
     "length of its answer [32, or less]"},
    {"output", 'o', ARGUMENT_TEXT, &options.output, 0, 0, "FILE",
     "write what is recommended there, for --config"},
    {"json", 0, ARGUMENT_SWITCH, &options.json, 0, 0, NULL, "as JSON"},
    {0},
};

/* A setting that is searched. The first value is what is set now. */
enum setting_kind { SETTING_INTEGER, SETTING_WORD, SETTING_SWITCH };

struct tunable {
    const char *section, *key;
    enum setting_kind kind;
    size_t offset;      /* in struct config */
    const char *effect; /* what it trades, for the profile */
    const char *values[MOST_VALUES];
    size_t count;
};

#define MEMBER(name) offsetof(struct config, name)
static const struct tunable tunables[] = {
    {"resources",
     "num_threads",
     SETTING_INTEGER,
     MEMBER(num_threads),
     "threads that compute",
     {0},
     0},
    {"performance",
     "prefill_chunk_size",
     SETTING_INTEGER,
     MEMBER(prefill_chunk_size),
     "more is faster for a prompt alone, less keeps others waiting less",
     {"128", "256", "512", "1024"},
     4},
    {"inference",
     "max_batch_size",
     SETTING_INTEGER,
     MEMBER(max_batch_size),
     "more serves more at once, each more slowly",
     {"8", "16", "32"},
     3},
    {"memory",
     "kv_cache_dtype",
     SETTING_WORD,
     MEMBER(kv_cache_dtype),
     "q8_0 rounds keys and values further",
     {"f16", "q8_0"},
     2},
    {"resources",
     "repack_weights",
     SETTING_SWITCH,
     MEMBER(repack_weights),
     "on takes memory for a second form of the weights",
     {"true", "false"},
     2},
};
#undef MEMBER

enum { TUNABLE_COUNT = sizeof tunables / sizeof tunables[0] };

/* A combination: the index of each tunable's value. */
struct choice {
    size_t values[TUNABLE_COUNT];
};

struct tuning {
    struct cli *cli;
    struct config base; /* as it is set now; a copy without ownership */
    struct tunable rows[TUNABLE_COUNT];
    char texts[TUNABLE_COUNT + 2][32]; /* values that are not in the table */
    struct choice choices[HALVING_MOST_CANDIDATES];
    struct halving halving;
    size_t prompt, generate; /* tokens of each request; 0: not decided */
    int64_t start_ns, deadline_ns;
    double run_seconds; /* of loading and one run; 0: not known */
    size_t runs;
};

static bool has_one(void) {
    return strcmp(options.goal, "throughput") != 0;
}

static bool has_many(void) {
    return strcmp(options.goal, "latency") != 0;
}

/* --- candidates --- */

static void append_value(const struct tunable *row, const struct config *config, char *text,
                         size_t size) {
    const char *member = (const char *)config + row->offset;
    switch (row->kind) {
    case SETTING_INTEGER:
        snprintf(text, size, "%lld", (long long)*(const int64_t *)member);
        break;
    case SETTING_WORD:
        snprintf(text, size, "%s", *(const char *const *)member);
        break;
    case SETTING_SWITCH:
        snprintf(text, size, "%s", *(const bool *)member ? "true" : "false");
        break;
    }
}

static void set_value(const struct tunable *row, const char *value, struct config *config) {
    char *member = (char *)config + row->offset;
    switch (row->kind) {
    case SETTING_INTEGER:
        *(int64_t *)member = strtoll(value, NULL, 10);
        break;
    case SETTING_WORD:
        *(const char **)member = value;
        break;
    case SETTING_SWITCH:
        *(bool *)member = strcmp(value, "true") == 0;
        break;
    }
}

static void offer(struct tunable *row, const char *value) {
    for (size_t i = 0; i < row->count; i++) {
        if (strcmp(row->values[i], value) == 0) {
            return;
        }
    }
    if (row->count < MOST_VALUES) {
        row->values[row->count++] = value;
    }
}

/* The table's rows, with what is set now in front. */
static void make_rows(struct tuning *tuning) {
    for (size_t i = 0; i < TUNABLE_COUNT; i++) {
        struct tunable *row = &tuning->rows[i];
        *row = tunables[i];
        row->count = 0;
        append_value(row, &tuning->base, tuning->texts[i], sizeof tuning->texts[i]);
        offer(row, tuning->texts[i]);
        bool matters = row->offset != offsetof(struct config, max_batch_size) || has_many();
        for (size_t j = 0; matters && j < tunables[i].count; j++) {
            offer(row, tunables[i].values[j]);
        }
    }
    /* 0, the default, is one a physical core; beside it, one a logical one, and one core less. */
    size_t physical = processors_physical();
    long logical = sysconf(_SC_NPROCESSORS_ONLN);
    if (logical > (long)physical) {
        snprintf(tuning->texts[TUNABLE_COUNT], sizeof tuning->texts[0], "%ld", logical);
        offer(&tuning->rows[0], tuning->texts[TUNABLE_COUNT]);
    }
    if (physical > 1) {
        snprintf(tuning->texts[TUNABLE_COUNT + 1], sizeof tuning->texts[0], "%zu", physical - 1);
        offer(&tuning->rows[0], tuning->texts[TUNABLE_COUNT + 1]);
    }
}

static struct choice choice_of(const struct tuning *tuning, size_t number) {
    struct choice choice;
    for (size_t i = 0; i < TUNABLE_COUNT; i++) {
        choice.values[i] = number % tuning->rows[i].count;
        number /= tuning->rows[i].count;
    }
    return choice;
}

static size_t count_changes(const struct choice *choice) {
    size_t changes = 0;
    for (size_t i = 0; i < TUNABLE_COUNT; i++) {
        changes += choice->values[i] != 0;
    }
    return changes;
}

static void add_candidate(struct tuning *tuning, struct choice choice) {
    if (tuning->halving.count < MOST_TRIED) {
        tuning->choices[tuning->halving.count++] = choice;
    }
}

/* What is set now; then each single change, the first other value of every setting before the
 * second of any, since a short budget ends the list early; then other combinations as there is
 * room, drawn by chance but the same each time. */
static void make_candidates(struct tuning *tuning) {
    size_t numbers[4096], total = 1, drawn = 0;
    struct random_state random;
    random_seed(&random, 1);
    add_candidate(tuning, (struct choice){0});
    for (size_t value = 1; value < MOST_VALUES; value++) {
        for (size_t i = 0; i < TUNABLE_COUNT; i++) {
            struct choice choice = {0};
            choice.values[i] = value;
            if (value < tuning->rows[i].count) {
                add_candidate(tuning, choice);
            }
        }
    }
    for (size_t i = 0; i < TUNABLE_COUNT; i++) {
        total *= tuning->rows[i].count;
    }
    for (size_t i = 0; i < size_min(total, sizeof numbers / sizeof numbers[0]); i++) {
        struct choice choice = choice_of(tuning, i);
        if (count_changes(&choice) > 1) {
            numbers[drawn++] = i;
        }
    }
    for (size_t i = 0; i < drawn; i++) {
        size_t other = i + (size_t)(random_uniform(&random) * (double)(drawn - i));
        size_t number = numbers[other];
        numbers[other] = numbers[i];
        add_candidate(tuning, choice_of(tuning, number));
    }
}

static void describe(const struct tuning *tuning, const struct choice *choice,
                     struct string_buffer *out) {
    const char *separator = "";
    for (size_t i = 0; i < TUNABLE_COUNT; i++) {
        if (choice->values[i] != 0) {
            string_buffer_append_format(out, "%s%s=%s", separator, tuning->rows[i].key,
                                        tuning->rows[i].values[choice->values[i]]);
            separator = ", ";
        }
    }
    if (separator[0] == '\0') {
        string_buffer_append_text(out, "as it is set");
    }
}

/* --- one run --- */

/* Ctrl-C, or the budget. */
static bool must_stop(const struct tuning *tuning) {
    return interrupt_requested() || clock_now_ns() >= tuning->deadline_ns;
}

/* The length of requests, and how long one run of them took. */
struct run {
    size_t prompt, generate;
    double alone, together; /* seconds; 0: not of the goal */
};

static bool submit(struct generator *generator, const struct run *run, size_t count, uint64_t *ids,
                   size_t *submitted, struct error *error) {
    size_t vocabulary = engine_info(generator->engine)->vocabulary_size;
    int32_t *prompt = calloc(run->prompt, sizeof *prompt);
    if (prompt == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a prompt");
    }
    struct engine_request request = {.prompt = prompt,
                                     .prompt_count = run->prompt,
                                     .max_tokens = run->generate,
                                     .sampling = sampling_params_default(),
                                     .ignore_end = true,
                                     .replies = &generator->replies};
    bool done = true;
    for (*submitted = 0; done && *submitted < count; *submitted += done) {
        for (size_t i = 0; i < run->prompt; i++) {
            prompt[i] = (int32_t)((i * 7919 + *submitted * 104729 + 17) % vocabulary);
        }
        done = engine_submit(generator->engine, &request, &ids[*submitted], error);
    }
    free(prompt);
    return done;
}

/* `count` requests at once, each with a prompt of its own; seconds until the last has ended.
 * ERROR_CANCELLED when they were cut. */
static bool run_requests(const struct tuning *tuning, struct generator *generator,
                         const struct run *run, size_t count, double *seconds,
                         struct error *error) {
    uint64_t ids[STREAMS];
    size_t ended = 0, submitted = 0;
    int64_t start = clock_now_ns();
    bool done = submit(generator, run, count, ids, &submitted, error), cut = false;
    while (ended < submitted) {
        struct mailbox_message *message = mailbox_wait_all(&generator->replies, POLL_NS);
        while (message != NULL) {
            struct mailbox_message *next = message->next;
            struct engine_event *event = (struct engine_event *)message;
            if (event->kind == ENGINE_FAILED) {
                *error = event->error;
                done = false;
            }
            ended += event->kind != ENGINE_TOKENS;
            engine_event_free(event);
            message = next;
        }
        for (size_t i = 0; !cut && must_stop(tuning) && i < submitted; i++) {
            engine_cancel(generator->engine, ids[i]);
            cut = i + 1 == submitted;
        }
    }
    *seconds = clock_seconds(clock_now_ns() - start);
    return done && (!cut || error_set(error, ERROR_CANCELLED, "cut short"));
}

static bool run_once(const struct tuning *tuning, struct generator *generator, struct run *run,
                     struct error *error) {
    return (!has_one() || run_requests(tuning, generator, run, 1, &run->alone, error)) &&
           (!has_many() || run_requests(tuning, generator, run, STREAMS, &run->together, error));
}

/* Tokens a second, read and generated. */
static double score_of(const struct run *run) {
    double tokens = (double)(run->prompt + run->generate);
    double alone = has_one() ? tokens / run->alone : 1;
    double together = has_many() ? tokens * STREAMS / run->together : 1;
    return has_one() && has_many() ? sqrt(alone * together) : alone * together;
}

/* Brings pages and caches in with a short run. The first tells how long requests may be. */
static bool warm_up(struct tuning *tuning, struct generator *generator, double load_seconds,
                    struct error *error) {
    struct run run = {.prompt = LONGEST_PROMPT / SHORTER, .generate = LONGEST_ANSWER / SHORTER};
    if (tuning->prompt != 0) {
        run.prompt = size_min(run.prompt, tuning->prompt);
        run.generate = size_min(run.generate, tuning->generate);
    }
    if (!run_once(tuning, generator, &run, error)) {
        return false;
    }
    if (tuning->prompt == 0) {
        double seconds = run.alone + run.together;
        double most = fmax(options.minutes * 60 * RUN_SHARE, load_seconds);
        size_t times = 1;
        while (times < SHORTER && seconds * (double)(2 * times) <= most) {
            times *= 2;
        }
        tuning->prompt = options.prompt > 0 ? (size_t)options.prompt : run.prompt * times;
        tuning->generate = options.generate > 0 ? (size_t)options.generate : run.generate * times;
    }
    return true;
}

static struct engine_options options_of(const struct tuning *tuning, size_t candidate) {
    struct config config = tuning->base;
    for (size_t i = 0; i < TUNABLE_COUNT; i++) {
        const struct tunable *row = &tuning->rows[i];
        set_value(row, row->values[tuning->choices[candidate].values[i]], &config);
    }
    struct engine_options engine = load_engine_options(&config);
    engine.prefix_caching = false; /* each run reads its prompts anew */
    engine.max_running_requests = size_max(engine.max_running_requests, STREAMS);
    engine.max_waiting_requests = size_max(engine.max_waiting_requests, STREAMS);
    return engine;
}

static void show_run(const struct tuning *tuning, size_t candidate) {
    struct string_buffer line = {0};
    string_buffer_append_format(
        &line, "%.0f of %.0f s, run %zu: ", clock_seconds(clock_now_ns() - tuning->start_ns),
        options.minutes * 60, tuning->runs + 1);
    describe(tuning, &tuning->choices[candidate], &line);
    terminal_draw_line(string_buffer_text(&line));
    string_buffer_deinit(&line);
}

/* Appends up to `times` scores; fewer when the time is out. */
static bool measure_loaded(struct tuning *tuning, struct generator *generator, size_t candidate,
                           size_t times, struct error *error) {
    struct halving_candidate *scores = &tuning->halving.candidates[candidate];
    for (size_t i = 0; i < times && scores->count < HALVING_MOST_SCORES; i++) {
        struct run run = {.prompt = tuning->prompt, .generate = tuning->generate};
        if (!run_once(tuning, generator, &run, error)) {
            return false;
        }
        scores->scores[scores->count++] = score_of(&run);
        tuning->runs++;
    }
    return true;
}

static bool measure(void *context, size_t candidate, size_t times, struct error *error) {
    struct tuning *tuning = context;
    struct halving_candidate *scores = &tuning->halving.candidates[candidate];
    struct engine_options engine = options_of(tuning, candidate);
    struct generator generator = {0};
    int64_t start = clock_now_ns();
    if (scores->refused) {
        return true;
    }
    if (interrupt_requested()) {
        return error_set(error, ERROR_CANCELLED, "interrupted");
    }
    show_run(tuning, candidate);
    if (!load_model(tuning->cli, tuning->cli->operands.texts[0], &engine, &generator, error)) {
        scores->refused = candidate != 0 && error->code != ERROR_CANCELLED;
        return scores->refused; /* what is set now must run */
    }
    show_run(tuning, candidate);
    bool done = warm_up(tuning, &generator, clock_seconds(clock_now_ns() - start), error) &&
                measure_loaded(tuning, &generator, candidate, times, error);
    terminal_clear_line();
    generator_deinit(&generator);
    if (tuning->run_seconds == 0) {
        tuning->run_seconds = clock_seconds(clock_now_ns() - start);
    }
    if (interrupt_requested()) {
        return error_set(error, ERROR_CANCELLED, "interrupted");
    }
    return done || error->code == ERROR_CANCELLED; /* the time is out */
}

/* A run that would not end in time is not begun. */
static bool out_of_time(void *context) {
    const struct tuning *tuning = context;
    return clock_now_ns() + (int64_t)(tuning->run_seconds * 1e9) >= tuning->deadline_ns;
}

static void set_deadline(struct tuning *tuning, double share) {
    tuning->deadline_ns = tuning->start_ns + (int64_t)(options.minutes * 60e9 * share);
}

/* --- what is recommended --- */

struct verdict {
    struct choice choice; /* all zeros: what is set now */
    struct statistics_comparison gain;
};

static bool is_better(const struct statistics_comparison *comparison) {
    return comparison->verdict == STATISTICS_BETTER && comparison->count >= FEWEST_ROUNDS;
}

/* Puts each change of `best` back and measures without it: a change that is not missed goes. The
 * spare candidate behind the last is what it is compared with. */
static bool drop_what_is_not_missed(struct tuning *tuning, size_t best, struct error *error) {
    size_t spare = tuning->halving.count;
    size_t changes = count_changes(&tuning->choices[best]);
    for (size_t i = 0; i < TUNABLE_COUNT && changes > 1; i++) {
        struct statistics_comparison comparison;
        if (tuning->choices[best].values[i] == 0) {
            continue;
        }
        tuning->choices[spare] = tuning->choices[best];
        tuning->choices[spare].values[i] = 0;
        tuning->halving.candidates[spare] = (struct halving_candidate){0};
        if (!halving_duel(&tuning->halving, best, spare, DUEL_ROUNDS, &comparison, error)) {
            return false;
        }
        if (!is_better(&comparison)) {
            tuning->choices[best].values[i] = 0;
            changes--;
        }
    }
    return true;
}

/* Minutes in which some candidates and a verdict over several rounds have room. */
static double sensible_minutes(const struct tuning *tuning) {
    enum { RUNS = 4 * DUEL_ROUNDS + 24 };
    return ceil(tuning->run_seconds * RUNS / 60);
}

/* What is set now, and how long a run takes; then only as many candidates as the search has time
 * to halve. */
static bool measure_what_is_set(struct tuning *tuning, struct error *error) {
    set_deadline(tuning, 1);
    if (!measure(tuning, 0, 1, error)) {
        return false;
    }
    double budget = options.minutes * 60;
    double runs = (budget * SEARCH_SHARE - tuning->run_seconds) / tuning->run_seconds;
    if (tuning->halving.candidates[0].count == 0) {
        return error_set(
            error, ERROR_INVALID_ARGUMENT,
            "not one run ended within the budget of %g minutes: give --budget more, or "
            "a shorter --prompt and --generate",
            options.minutes);
    }
    if (budget < tuning->run_seconds * (2 + 2 * FEWEST_ROUNDS)) {
        terminal_clear_line();
        fprintf(stderr,
                "mistral: a run takes %.0f s, so %g minutes are too few to tell a gain from noise: "
                "--budget %.0f would do\n",
                tuning->run_seconds, options.minutes, sensible_minutes(tuning));
    }
    size_t count = tuning->halving.count;
    while (count > 2 && (double)count * log2((double)count) > runs) {
        count--;
    }
    tuning->halving.count = count;
    return true;
}

static bool find_best(struct tuning *tuning, struct verdict *verdict, struct error *error) {
    size_t best = 0;
    *verdict = (struct verdict){.gain = {.ratio = {1, 1, 1}, .verdict = STATISTICS_NO_DIFFERENCE}};
    if (!measure_what_is_set(tuning, error)) {
        return false;
    }
    set_deadline(tuning, SEARCH_SHARE);
    if (!halving_run(&tuning->halving, &best, error)) {
        return false;
    }
    set_deadline(tuning, 1);
    if (best == 0) {
        return true;
    }
    struct choice found = tuning->choices[best];
    if (!drop_what_is_not_missed(tuning, best, error) ||
        !halving_duel(&tuning->halving, best, 0, DUEL_ROUNDS, &verdict->gain, error)) {
        return false;
    }
    if (is_better(&verdict->gain)) {
        verdict->choice = tuning->choices[best];
    }
    tuning->choices[best] = found; /* as it was tried */
    return true;
}

static void append_profile(const struct tuning *tuning, const struct verdict *verdict,
                           struct string_buffer *out) {
    string_buffer_append_format(out,
                                "# Measured by 'mistral tune' for the goal %s with %s (prompts of "
                                "%zu tokens, answers of %zu):\n# ",
                                options.goal, tuning->cli->operands.texts[0], tuning->prompt,
                                tuning->generate);
    statistics_append_verdict(&verdict->gain, "faster", "slower", out);
    string_buffer_append_text(out, "\n");
    for (size_t i = 0; i < TUNABLE_COUNT; i++) {
        const struct tunable *row = &tuning->rows[i];
        size_t value = verdict->choice.values[i];
        const char *quote = row->kind == SETTING_WORD ? "\"" : "";
        if (value != 0) {
            string_buffer_append_format(out, "\n[%s]\n# %s\n%s = %s%s%s\n", row->section,
                                        row->effect, row->key, quote, row->values[value], quote);
        }
    }
}

/* --- output --- */

static void print_tried(const struct tuning *tuning) {
    printf("%s%10s %6s  %s%s\n", terminal_style(stdout, STYLE_BOLD), "tokens/s", "runs", "settings",
           terminal_style(stdout, STYLE_PLAIN));
    for (size_t i = 0; i < tuning->halving.count; i++) {
        const struct halving_candidate *candidate = &tuning->halving.candidates[i];
        struct string_buffer settings = {0};
        describe(tuning, &tuning->choices[i], &settings);
        if (candidate->refused) {
            printf("%10s %6s  %s\n", "cannot run", "", string_buffer_text(&settings));
        } else if (candidate->count > 0) {
            printf("%10.2f %6zu  %s\n", halving_score(candidate), candidate->count,
                   string_buffer_text(&settings));
        }
        string_buffer_deinit(&settings);
    }
}

static bool print_json(const struct tuning *tuning, const struct verdict *verdict, const char *said,
                       struct error *error) {
    json_t *tried = json_array(), *settings = json_object();
    for (size_t i = 0; i < tuning->halving.count; i++) {
        const struct halving_candidate *candidate = &tuning->halving.candidates[i];
        struct string_buffer text = {0};
        describe(tuning, &tuning->choices[i], &text);
        if (candidate->count > 0) {
            json_array_append_new(tried, json_pack("{s:s, s:f, s:I}", "settings",
                                                   string_buffer_text(&text), "tokens_per_second",
                                                   halving_score(candidate), "runs",
                                                   (json_int_t)candidate->count));
        }
        string_buffer_deinit(&text);
    }
    for (size_t i = 0; i < TUNABLE_COUNT; i++) {
        const struct tunable *row = &tuning->rows[i];
        if (verdict->choice.values[i] != 0) {
            char key[64];
            snprintf(key, sizeof key, "%s.%s", row->section, row->key);
            json_object_set_new(settings, key, json_string(row->values[verdict->choice.values[i]]));
        }
    }
    return json_output_print(
        json_pack("{s:s, s:o, s:o, s:f, s:s, s:I, s:I, s:I, s:f}", "goal", options.goal, "tried",
                  tried, "recommended", settings, "ratio", verdict->gain.ratio.value, "verdict",
                  said, "runs", (json_int_t)tuning->runs, "prompt", (json_int_t)tuning->prompt,
                  "generate", (json_int_t)tuning->generate, "seconds",
                  clock_seconds(clock_now_ns() - tuning->start_ns)),
        error);
}

static bool report(const struct tuning *tuning, const struct verdict *verdict,
                   struct error *error) {
    struct string_buffer said = {0}, profile = {0};
    bool changes = count_changes(&verdict->choice) > 0, done = true;
    if (changes) {
        statistics_append_verdict(&verdict->gain, "faster", "slower", &said);
        append_profile(tuning, verdict, &profile);
    } else {
        string_buffer_append_text(&said, "keep what is set: nothing was faster beyond the noise");
        if (verdict->gain.verdict == STATISTICS_TOO_FEW) {
            string_buffer_append_format(&said, " in the time there was (--budget %.0f would do)",
                                        sensible_minutes(tuning));
        }
    }
    if (options.json) {
        done = print_json(tuning, verdict, string_buffer_text(&said), error);
    } else {
        print_tried(tuning);
        printf("\n%s, in %zu runs of %s, prompts of %zu tokens, answers of %zu; %.0f s\n",
               string_buffer_text(&said), tuning->runs,
               !has_many()  ? "one request"
               : !has_one() ? "16 requests together"
                            : "one request and 16 together",
               tuning->prompt, tuning->generate, clock_seconds(clock_now_ns() - tuning->start_ns));
        if (changes) {
            printf("\n%s", string_buffer_text(&profile));
        }
    }
    if (done && changes && options.output != NULL) {
        done = file_write_atomic(options.output, profile.data, profile.length, error);
    }
    string_buffer_deinit(&said);
    string_buffer_deinit(&profile);
    return done;
}

static bool tune(struct cli *cli, struct error *error) {
    static struct tuning tuning; /* too large for a stack */
    struct verdict verdict;
    static const char *const goals[] = {"latency", "throughput", "balanced"};
    size_t goal = 0;
    while (goal < 3 && strcmp(options.goal, goals[goal]) != 0) {
        goal++;
    }
    if (goal == 3) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "--goal is latency, throughput or balanced, not '%.40s'", options.goal);
    }
    tuning = (struct tuning){.cli = cli, .base = cli->config, .start_ns = clock_now_ns()};
    tuning.prompt = options.prompt > 0 && options.generate > 0 ? (size_t)options.prompt : 0;
    tuning.generate = tuning.prompt > 0 ? (size_t)options.generate : 0;
    tuning.halving.measure = measure;
    tuning.halving.out_of_time = out_of_time;
    tuning.halving.context = &tuning;
    make_rows(&tuning);
    make_candidates(&tuning);
    interrupt_catch();
    bool done = find_best(&tuning, &verdict, error) && report(&tuning, &verdict, error);
    terminal_clear_line();
    return done;
}

const struct cli_command cli_tune_command = {
    .name = "tune",
    .usage = "MODEL",
    .summary = "find the settings that make a model fastest on this machine",
    .details =
        "Runs the model with many combinations of threads, batch, prompt chunk, KV type and "
        "repacking, and\n"
        "recommends a change only when it was faster beyond the noise. Nothing is changed: what "
        "is\n"
        "recommended is printed, and written with --output, to be used with --config.\n",
    .reader = READ_BY_BENCH | READ_BY_TUNE,
    .minimum_operands = 1,
    .maximum_operands = 1,
    .options = option_table,
    .run = tune,
};
