/*
 * bench_serve.c - mistral bench serve: load on a running server, alone or beside another one, and
 * reports of what came of it. Main thread.
 */
#include "bench/load_campaign.h"
#include "bench/load_report.h"
#include "cli/bench_options.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/terminal.h"
#include "engine/vocabulary.h"
#include "hub/hub.h"

#include "base/clock.h"
#include "base/file.h"
#include "model/gguf.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { BAR_WIDTH = 20, REDRAW_NS = 100 * 1000 * 1000 };

static struct {
    const char *model, *name, *baseline, *baseline_model, *baseline_name;
    const char *concurrency, *rate, *arrivals, *max_tokens, *prompt_tokens, *prefix, *trace;
    const char *goal, *tokenizer;
    int64_t requests, warmup, rounds, seed, server_pid, baseline_pid;
    double duration, timeout, pause;
    bool vary, ignore_eos, json;
    struct argument_operands outputs;
} options = {.arrivals = "poisson",
             .max_tokens = "128",
             .requests = 10,
             .warmup = 3,
             .seed = 1,
             .timeout = 120,
             .pause = 2};

#define TEXT(flag, short_flag, member, what, words)                                                \
    {.name = flag,                                                                                 \
     .letter = short_flag,                                                                         \
     .kind = ARGUMENT_TEXT,                                                                        \
     .target = &options.member,                                                                    \
     .unit = what,                                                                                 \
     .sentence = words}
#define NUMBER(flag, short_flag, of_kind, member, least, most, what, words)                        \
    {.name = flag,                                                                                 \
     .letter = short_flag,                                                                         \
     .kind = of_kind,                                                                              \
     .target = &options.member,                                                                    \
     .minimum = least,                                                                             \
     .maximum = most,                                                                              \
     .unit = what,                                                                                 \
     .sentence = words}
#define SWITCH(flag, member, words)                                                                \
    {.name = flag, .kind = ARGUMENT_SWITCH, .target = &options.member, .sentence = words}

static const struct argument_option option_table[] = {
    TEXT("model", 'm', model, "MODEL", "as the server names it [the first it lists]"),
    TEXT("name", 0, name, "NAME", "the server's, in reports [what it seems to be]"),
    TEXT("baseline", 0, baseline, "URL[,PROTOCOL]", "another server, asked the same in turn"),
    TEXT("baseline-model", 0, baseline_model, "MODEL", "as the baseline names it [--model]"),
    TEXT("baseline-name", 0, baseline_name, "NAME", "the baseline's, in reports"),
    TEXT("concurrency", 'c', concurrency, "N,...",
         "closed loop: so many clients, each asks again when it is answered [1]"),
    TEXT("rate", 'r', rate, "N,...", "open loop: so many requests a second, whatever is answered"),
    TEXT("arrivals", 0, arrivals, "WORD", "of --rate: poisson or regular [poisson]"),
    NUMBER("requests", 'n', ARGUMENT_INTEGER, requests, 1, 1000000, "N",
           "of each scenario in each run [10]"),
    NUMBER("duration", 0, ARGUMENT_NUMBER, duration, 0.1, 86400, "SECONDS",
           "send for so long in each run, whatever --requests says"),
    NUMBER("warmup", 'w', ARGUMENT_INTEGER, warmup, 0, 100000, "N",
           "requests of each scenario beforehand that do not count [3]"),
    NUMBER("rounds", 0, ARGUMENT_INTEGER, rounds, 1, 1000, "N",
           "runs of each level [1; 5 with a baseline]"),
    TEXT("max-tokens", 0, max_tokens, "LENGTH", "most tokens of an answer [128]"),
    TEXT("prompt-tokens", 0, prompt_tokens, "LENGTH",
         "prompts of random words, so long, in place of the five of rising complexity"),
    TEXT("shared-prefix", 0, prefix, "TOKENS[xN]",
         "they begin with one of N [1] prefixes of so many tokens"),
    TEXT("trace", 0, trace, "FILE", "requests and their times from a file, a JSON object a line"),
    SWITCH("vary", vary, "begin each prompt with its number, so that no cached prefix helps"),
    SWITCH("ignore-eos", ignore_eos,
           "answers go on to --max-tokens (mistral.c and llama.cpp obey it)"),
    NUMBER("seed", 0, ARGUMENT_INTEGER, seed, 0, 9007199254740992.0, "N",
           "of lengths, words and arrivals, and told to the server [1]"),
    TEXT("slo", 0, goal, "GOAL", "count answers that keep it: ttft=500ms,itl=50ms,latency=10s"),
    NUMBER("stall", 0, ARGUMENT_NUMBER, pause, 0.001, 3600, "SECONDS",
           "a longer pause within an answer is told as a stall [2]"),
    NUMBER("timeout", 0, ARGUMENT_NUMBER, timeout, 0.1, 86400, "SECONDS",
           "give an answer up when nothing comes for so long [120]"),
    TEXT("tokenizer", 0, tokenizer, "MODEL",
         "count the answers' tokens by this model file too, and compare with what servers say"),
    NUMBER("server-pid", 0, ARGUMENT_INTEGER, server_pid, 1, 4194304, "PID",
           "watch this process's memory and processor time, and its descendants'"),
    NUMBER("baseline-pid", 0, ARGUMENT_INTEGER, baseline_pid, 1, 4194304, "PID",
           "the same of the baseline"),
    {.name = "output",
     .letter = 'o',
     .kind = ARGUMENT_TEXTS,
     .target = &options.outputs,
     .unit = "FILE",
     .sentence = "write a report; its name ends in .csv, .json, .md or .html; may be given again"},
    SWITCH("json", json, "the report on standard output as JSON"),
    {0},
};

/* ---- the live view ---- */

struct display {
    int64_t drawn_ns;
    size_t last_run; /* the last that a line was printed for, where nothing can be drawn over */
};

static bool show(void *context, const struct load_progress *progress) {
    struct display *display = context;
    const struct load_report *report = progress->report;
    char level[64], line[512];
    int64_t now = clock_now_ns();
    load_level_describe(&report->levels[progress->level], level, sizeof level);
    if (!terminal_is(stderr)) {
        size_t run = 2 * progress->run + !progress->is_warmup + 1;
        if (display->last_run != run) {
            fprintf(stderr, "run %zu of %zu: %s, %s%s\n", progress->run + 1, progress->runs,
                    report->targets[progress->target].name, level,
                    progress->is_warmup ? ", warming up" : "");
            display->last_run = run;
        }
    } else if (now - display->drawn_ns >= REDRAW_NS) {
        double fraction =
            progress->total == 0 ? 0 : (double)progress->done / (double)progress->total;
        snprintf(line, sizeof line, "%zu/%zu %s, %s %s", progress->run + 1, progress->runs,
                 report->targets[progress->target].name, level,
                 progress->is_warmup ? "warming up " : "");
        terminal_append_bar(line, sizeof line, fraction, BAR_WIDTH);
        size_t length = strlen(line);
        snprintf(line + length, sizeof line - length, " %zu answers, %.0f tokens/s, %zu failed",
                 progress->done, progress->tokens / (progress->seconds + 1e-9), progress->failed);
        terminal_draw_line(line);
        display->drawn_ns = now;
    }
    return !interrupt_requested();
}

/* ---- what is asked for ---- */

static bool fill_levels(struct load_report *report, struct load_campaign *campaign,
                        struct error *error) {
    bool has_trace = options.trace != NULL;
    if (options.concurrency != NULL && options.rate != NULL) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "--concurrency is a closed loop and --rate an open one; give one of them");
    }
    report->is_regular = strcmp(options.arrivals, "regular") == 0;
    if (!report->is_regular && strcmp(options.arrivals, "poisson") != 0) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "--arrivals takes poisson or regular, not '%.60s'", options.arrivals);
    }
    campaign->most_seconds = options.duration;
    if (options.rate != NULL) {
        return bench_read_levels(options.rate, true, report, error);
    }
    if (has_trace && options.concurrency == NULL) {
        report->levels[0] = (struct load_level){.is_rate = true};
        report->level_count = 1;
        return true;
    }
    return bench_read_levels(options.concurrency == NULL ? "1" : options.concurrency, false, report,
                             error);
}

static bool fill_workload(struct workload_options *workload, const struct tokenizer *tokenizer,
                          struct error *error) {
    *workload = (struct workload_options){.requests = (size_t)options.requests,
                                          .trace_path = options.trace,
                                          .vary = options.vary,
                                          .seed = (uint64_t)options.seed,
                                          .tokenizer = tokenizer,
                                          .has_prompt_length = options.prompt_tokens != NULL ||
                                                               options.prefix != NULL,
                                          .prompt_length = {LENGTH_FIXED, 64, 0}};
    return workload_length_parse(options.max_tokens, "max-tokens", &workload->max_tokens, error) &&
           (options.prompt_tokens == NULL ||
            workload_length_parse(options.prompt_tokens, "prompt-tokens", &workload->prompt_length,
                                  error)) &&
           (options.prefix == NULL || bench_read_prefix(options.prefix, workload, error));
}

static bool find_targets(const struct cli *cli, struct load_report *report, struct error *error) {
    const struct config *config = &cli->config;
    char own[320];
    bool everywhere = strcmp(config->host, "0.0.0.0") == 0 || strcmp(config->host, "::") == 0;
    snprintf(own, sizeof own, "http://%.250s:%d", everywhere ? "localhost" : config->host,
             (int)config->port);
    const char *url = cli->operands.count > 0 ? cli->operands.texts[0] : own;
    const char *model = options.baseline_model == NULL ? options.model : options.baseline_model;
    report->target_count = options.baseline == NULL ? 1 : 2;
    if (!load_target_find(url, config->api_key, options.model, options.name, &report->targets[0],
                          error)) {
        return false;
    }
    if (options.baseline == NULL) {
        return true;
    }
    if (!load_target_find(options.baseline, NULL, model, options.baseline_name, &report->targets[1],
                          error)) {
        return error_prefix(error, "--baseline");
    }
    if (strcmp(report->targets[0].name, report->targets[1].name) == 0) {
        snprintf(report->targets[1].name, sizeof report->targets[1].name, "baseline");
    }
    return true;
}

static bool describe(const struct cli *cli, const char *tokenizer_path, struct load_report *report,
                     struct error *error) {
    report->rounds = options.rounds > 0 ? (size_t)options.rounds : options.baseline == NULL ? 1 : 5;
    report->warmup = options.trace == NULL ? (size_t)options.warmup : 0;
    report->seed = (uint64_t)options.seed;
    report->pause_limit = options.pause;
    report->tokenizer = options.tokenizer;
    bench_append_command(cli, &report->command);
    return system_information_read(&report->system, error) &&
           system_information_add_settings(&report->system, &cli->config, READ_BY_SERVE, error) &&
           (tokenizer_path == NULL ||
            system_information_add_model(&report->system, tokenizer_path, error)) &&
           (options.goal == NULL || bench_read_goal(options.goal, &report->goal, error));
}

/* ---- what is told ---- */

static bool print_report(const struct load_report *report, struct error *error) {
    struct string_buffer text = {0};
    bool done = options.json ? load_report_json(report, &text, error)
                             : load_report_text(report, &text, error);
    if (done) {
        fputs(string_buffer_text(&text), stdout);
    }
    string_buffer_deinit(&text);
    return done;
}

static bool judge(const struct load_report *report, struct error *error) {
    if (report->is_partial) {
        return error_set(error, ERROR_CANCELLED, "stopped; the report is partial");
    }
    for (size_t i = 0; i < report->count; i++) {
        const struct load_run *run = &report->measurements[i].run;
        for (size_t k = 0; k < run->count; k++) {
            if (run->records[k].outcome == LOAD_OK) {
                return true;
            }
        }
    }
    return error_set(error, ERROR_NETWORK, "no request was answered: %s",
                     report->count > 0 ? report->measurements[0].run.problem : "none was sent");
}

static bool run_and_report(const struct cli *cli, const char *tokenizer_path,
                           const struct tokenizer *tokenizer, struct error *error) {
    struct display display = {0};
    struct load_report report = {0};
    struct load_campaign campaign = {.timeout = options.timeout,
                                     .ignore_end = options.ignore_eos,
                                     .pids = {options.server_pid, options.baseline_pid},
                                     .tick = show,
                                     .context = &display};
    bool done = fill_levels(&report, &campaign, error) &&
                fill_workload(&campaign.workload, tokenizer, error) &&
                bench_check_outputs(&options.outputs, error) &&
                describe(cli, tokenizer_path, &report, error) && find_targets(cli, &report, error);
    if (done) {
        interrupt_catch();
        signal(SIGPIPE, SIG_IGN);
        done = load_campaign_run(&campaign, &report, error);
        terminal_clear_line();
    }
    /* What was measured is written whatever happened behind it. */
    done = done && bench_write_outputs(&report, &options.outputs, error) &&
           print_report(&report, error) && judge(&report, error);
    load_report_deinit(&report);
    return done;
}

static bool bench_serve(struct cli *cli, struct error *error) {
    struct string_buffer path = {0};
    struct gguf *gguf = NULL;
    struct tokenizer *tokenizer = NULL;
    bool done = options.tokenizer == NULL ||
                (hub_find_model(&cli->config, options.tokenizer, &path, error) &&
                 gguf_open(string_buffer_text(&path), &gguf, error) &&
                 vocabulary_load(gguf, &tokenizer, error));
    done = done && run_and_report(cli, options.tokenizer == NULL ? NULL : string_buffer_text(&path),
                                  tokenizer, error);
    tokenizer_free(tokenizer);
    gguf_close(gguf);
    string_buffer_deinit(&path);
    return done;
}

const struct cli_command cli_bench_serve_command = {
    .name = "bench serve",
    .usage = "[URL[,PROTOCOL]]",
    .summary = "put load on a running server and say how it bears it",
    .details =
        "URL: http://host:port, PROTOCOL: openai (default) or ollama. Without URL: the server "
        "that\n"
        "serve would start with the same settings. LENGTH: tokens, as 128, uniform:64-256 or\n"
        "lognormal:128,0.5. Ctrl-C ends the run; what there is then is reported, marked partial.\n",
    .reader = READ_BY_ASK | READ_BY_ASK_MORE | READ_BY_TOKENIZE,
    .maximum_operands = 1,
    .options = option_table,
    .run = bench_serve,
};
