/* load_campaign.c - see load_campaign.h. */
#include "bench/load_campaign.h"

#include "base/clock.h"

#include <math.h>
#include <stdlib.h>

struct state {
    const struct load_campaign *campaign;
    struct load_report *report;
    struct process_watch *watches[LOAD_MOST_TARGETS];
    struct load_progress progress;
    int64_t started_ns;
};

static bool on_tick(void *context, size_t done, size_t total, size_t failed, double tokens) {
    struct state *state = context;
    struct load_progress *progress = &state->progress;
    progress->done = done;
    progress->total = total;
    progress->failed = failed;
    progress->tokens = tokens;
    progress->seconds = clock_seconds(clock_now_ns() - state->started_ns);
    return state->campaign->tick == NULL ||
           state->campaign->tick(state->campaign->context, progress);
}

static struct load_options options_of(struct state *state, size_t target,
                                      const struct load_level *level) {
    const struct load_campaign *campaign = state->campaign;
    const struct load_report *report = state->report;
    const struct load_target *server = &report->targets[target];
    return (struct load_options){
        .address = &server->address,
        .protocol = server->protocol,
        .key = server->key,
        .model = server->model[0] == '\0' ? NULL : server->model,
        .clients = level->is_rate ? 1 : (size_t)level->value,
        .rate = level->is_rate ? level->value : 0,
        .is_open = level->is_rate,
        .is_regular = report->is_regular,
        .most_seconds = campaign->most_seconds,
        .timeout = campaign->timeout,
        .ignore_end = campaign->ignore_end,
        .seed = report->seed + state->progress.round,
        .tokenizer = campaign->workload.tokenizer,
        .tick = on_tick,
        .context = state,
    };
}

/* The requests of a run: those of another run are others, where that is possible, so that what a
 * server has kept of one does not make it look fast in the next. Both targets are asked the same.
 * `number`: 0 for the warm-up, then one after the other. */
static struct workload_options workload_of(const struct state *state, size_t number) {
    struct workload_options wanted = state->campaign->workload;
    wanted.seed += number * 1000003; /* prefixes take the seeds that follow */
    wanted.first_number = number * 1000000 + 1;
    return wanted;
}

static bool choose_workload(struct state *state, struct error *error) {
    struct load_report *report = state->report;
    const struct load_progress *progress = &state->progress;
    size_t number = progress->level * report->rounds + progress->round + 1;
    struct workload_options wanted = workload_of(state, number);
    if (wanted.trace_path != NULL && number > 1) {
        return true; /* a trace is what it is */
    }
    workload_deinit(&report->workload);
    return workload_create(&wanted, &report->workload, error);
}

/* Answers that nobody counts: what a server loads, compiles or caches at first is not its speed. */
static bool warm_up(struct state *state, size_t target, struct error *error) {
    struct load_report *report = state->report;
    struct workload_options wanted = workload_of(state, 0);
    struct workload workload;
    struct load_run run;
    if (report->warmup == 0) {
        return true;
    }
    wanted.requests = report->warmup;
    wanted.trace_path = NULL;
    if (!workload_create(&wanted, &workload, error)) {
        return false;
    }
    const struct load_level level = {.value = 1};
    struct load_options options = options_of(state, target, &level);
    options.most_seconds = 0;
    state->progress.is_warmup = true;
    state->started_ns = clock_now_ns();
    bool done = load_run_create(&options, &workload, &run, error);
    state->progress.is_warmup = false;
    if (done) {
        report->is_partial = report->is_partial || run.is_partial;
        load_run_deinit(&run);
    }
    workload_deinit(&workload);
    return done;
}

static double cpu_of(struct state *state, size_t target) {
    struct process_sample sample;
    bool watched =
        state->watches[target] != NULL && process_watch_now(state->watches[target], &sample);
    return watched ? sample.cpu_seconds : NAN;
}

static bool measure(struct state *state, size_t target, struct error *error) {
    struct load_report *report = state->report;
    struct load_measurement *measurement = &report->measurements[report->count];
    struct load_options options = options_of(state, target, &report->levels[state->progress.level]);
    *measurement = (struct load_measurement){
        .target = target, .level = state->progress.level, .round = state->progress.round};
    double before = cpu_of(state, target);
    state->started_ns = clock_now_ns();
    if (!load_run_create(&options, &report->workload, &measurement->run, error)) {
        return false;
    }
    double spent = cpu_of(state, target) - before;
    measurement->cpu_seconds = spent >= 0 ? spent : NAN; /* what ended took its count along */
    report->count++;
    report->is_partial = report->is_partial || measurement->run.is_partial;
    return true;
}

static bool measure_all(struct state *state, struct error *error) {
    struct load_report *report = state->report;
    struct load_progress *progress = &state->progress;
    for (progress->level = 0; progress->level < report->level_count; progress->level++) {
        for (progress->round = 0; progress->round < report->rounds; progress->round++) {
            if (!choose_workload(state, error)) {
                return false;
            }
            for (size_t target = 0; target < report->target_count; target++) {
                progress->target = target;
                bool is_first = progress->level == 0 && progress->round == 0;
                if ((is_first && !warm_up(state, target, error)) ||
                    (!report->is_partial && !measure(state, target, error))) {
                    return false;
                }
                if (report->is_partial) {
                    return true;
                }
                progress->run++;
            }
        }
    }
    return true;
}

static bool start_watches(struct state *state, struct error *error) {
    for (size_t i = 0; i < state->report->target_count; i++) {
        int64_t pid = state->campaign->pids[i];
        if (pid > 0 && !process_watch_start(pid, &state->watches[i], error)) {
            return false;
        }
    }
    return true;
}

static bool end_watches(struct state *state, struct error *error) {
    bool done = true;
    for (size_t i = 0; i < LOAD_MOST_TARGETS; i++) {
        struct load_watch *watch = &state->report->watches[i];
        struct process_sample last;
        if (state->watches[i] == NULL) {
            continue;
        }
        watch->samples = calloc(PROCESS_WATCH_MOST, sizeof *watch->samples);
        if (watch->samples == NULL) {
            done = error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the server's samples");
        } else {
            watch->count =
                process_watch_read(state->watches[i], watch->samples, PROCESS_WATCH_MOST);
            watch->is_gone = !process_watch_now(state->watches[i], &last);
        }
        process_watch_free(state->watches[i]);
    }
    return done;
}

bool load_campaign_run(const struct load_campaign *campaign, struct load_report *report,
                       struct error *error) {
    struct state state = {.campaign = campaign, .report = report};
    size_t runs = report->target_count * report->level_count * report->rounds;
    state.progress.report = report;
    state.progress.runs = runs;
    report->measurements = calloc(runs, sizeof *report->measurements);
    if (report->measurements == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for %zu runs", runs);
    }
    bool done = start_watches(&state, error) && measure_all(&state, error);
    struct error ignored = {0};
    return end_watches(&state, done ? error : &ignored) && done;
}
