/* pull.c - mistral pull: fetches a model into the models folder, showing how far it is. */
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/json_output.h"
#include "cli/terminal.h"
#include "hub/hub.h"

#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum {
    REDRAW_NS = 100 * 1000 * 1000,
    BAR_WIDTH = 24,
    PLAIN_STEP_PERCENT = 10, /* between two lines where nothing can be drawn over */
};

static struct {
    bool json;
    bool verify;
} options;

static const struct argument_option option_table[] = {
    {.name = "verify",
     .kind = ARGUMENT_SWITCH,
     .target = &options.verify,
     .sentence = "compare a file that is there already with the repository's checksum"},
    {.name = "json",
     .kind = ARGUMENT_SWITCH,
     .target = &options.json,
     .sentence = "the result as JSON on standard output, nothing else there"},
    {0},
};

/* What has been shown so far. */
struct display {
    enum hub_stage stage;
    int64_t stage_start_ns;
    uint64_t stage_start_bytes;
    int64_t drawn_ns;
    int plain_percent; /* of the last plain line; -1: none in this stage */
};

static const char *const stage_words[] = {
    [HUB_ASKING] = "asking for the list of files",
    [HUB_CHECKING] = "checking",
    [HUB_FETCHING] = "fetching",
    [HUB_WAITING] = "trying again soon",
};

static void draw(const struct display *display, const struct hub_progress *progress, int64_t now) {
    double fraction = progress->total == 0 ? 0 : (double)progress->done / (double)progress->total;
    double seconds = clock_seconds(now - display->stage_start_ns);
    double rate =
        seconds > 0.2 ? (double)(progress->done - display->stage_start_bytes) / seconds : 0;
    char line[512] = "";
    char done[32];
    char total[32];
    char speed[32];
    terminal_format_bytes(done, sizeof done, progress->done);
    terminal_format_bytes(total, sizeof total, progress->total);
    terminal_format_bytes(speed, sizeof speed, (uint64_t)rate);
    snprintf(line, sizeof line, "%s ", stage_words[progress->stage]);
    terminal_append_bar(line, sizeof line, fraction, BAR_WIDTH);
    size_t length = strlen(line);
    snprintf(line + length, sizeof line - length, " %3.0f%% of %s  %s/s", fraction * 100, total,
             speed);
    if (rate > 0) {
        length = strlen(line);
        snprintf(line + length, sizeof line - length, "  %.0f s left",
                 (double)(progress->total - progress->done) / rate);
    }
    terminal_draw_line(line);
}

static void print_plain(struct display *display, const struct hub_progress *progress) {
    if (progress->stage == HUB_WAITING) {
        fprintf(stderr, "trying again soon: %s\n", progress->note);
        return;
    }
    if (progress->total == 0) {
        return;
    }
    int percent = (int)(100.0 * (double)progress->done / (double)progress->total);
    percent -= percent % PLAIN_STEP_PERCENT;
    if (percent > display->plain_percent) {
        char total[32];
        terminal_format_bytes(total, sizeof total, progress->total);
        fprintf(stderr, "%s %s: %d%% of %s\n", stage_words[progress->stage], progress->file,
                percent, total);
        display->plain_percent = percent;
    }
}

static void show_progress(void *context, const struct hub_progress *progress) {
    struct display *display = context;
    int64_t now = clock_now_ns();
    bool is_new = display->stage_start_ns == 0 || progress->stage != display->stage;
    if (is_new) {
        display->stage = progress->stage;
        display->stage_start_ns = now;
        display->stage_start_bytes = progress->done;
        display->drawn_ns = 0;
        display->plain_percent = -1;
    }
    if (!terminal_is(stderr)) {
        print_plain(display, progress);
    } else if (progress->stage == HUB_WAITING) {
        terminal_clear_line();
        fprintf(stderr, "%s\n", progress->note);
    } else if (is_new || now - display->drawn_ns > REDRAW_NS) {
        display->drawn_ns = now;
        if (progress->stage == HUB_ASKING) {
            terminal_draw_line(stage_words[HUB_ASKING]);
        } else {
            draw(display, progress, now);
        }
    }
}

static bool was_interrupted(void *context) {
    (void)context;
    return interrupt_requested();
}

static bool print_result(const struct hub_pull_result *result, struct error *error) {
    if (options.json) {
        return json_output_print(
            json_pack("{s:s, s:I, s:b, s:o}", "path", result->path, "bytes",
                      (json_int_t)result->bytes, "fetched", result->fetched, "sha256",
                      result->sha256[0] == '\0' ? json_null() : json_string(result->sha256)),
            error);
    }
    char size[32];
    terminal_format_bytes(size, sizeof size, result->bytes);
    if (result->fetched) {
        printf("fetched %s, sha256 %s\n", size, result->sha256);
    } else {
        printf("already there, nothing fetched: %s%s%s\n", size,
               result->sha256[0] == '\0' ? "" : ", sha256 ", result->sha256);
    }
    printf("%s\n", result->path);
    return true;
}

static bool pull(struct cli *cli, struct error *error) {
    struct display display = {0};
    const struct hub_pull_options pull_options = {.config = &cli->config,
                                                  .verify = options.verify,
                                                  .progress = show_progress,
                                                  .cancelled = was_interrupted,
                                                  .context = &display};
    signal(SIGPIPE, SIG_IGN); /* a connection that the other side cut is an error, not the end */
    interrupt_catch();
    struct hub_pull_result result;
    bool done = hub_pull(cli->operands.texts[0], &pull_options, &result, error);
    terminal_clear_line();
    done = done && print_result(&result, error);
    hub_pull_result_deinit(&result);
    return done;
}

const struct cli_command cli_pull_command = {
    .name = "pull",
    .usage = "MODEL",
    .summary = "fetch a model into the models folder",
    .details =
        "MODEL is an alias (smollm2, mistral-7b-instruct:Q4_K_M; 'mistral list --aliases' shows "
        "all)\n"
        "or a Hugging Face repository, hf:owner/name, hf:owner/name:Q4_K_M, "
        "hf:owner/name:file.gguf,\nor a model of Ollama's registry, ollama:mistral:7b.\n"
        "What an interrupted pull has fetched is kept, and the next one goes on from there.\n",
    .reader = READ_BY_PULL,
    .minimum_operands = 1,
    .maximum_operands = 1,
    .options = option_table,
    .run = pull,
};
