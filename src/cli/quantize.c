/* quantize.c - mistral quantize: writes a model as GGUF in another format. */
#include "base/clock.h"
#include "base/file.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/json_output.h"
#include "cli/terminal.h"
#include "convert/plan.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { REDRAW_NS = 100 * 1000 * 1000, BAR_WIDTH = 24, PLAIN_STEP_PERCENT = 10 };

static struct {
    bool json;
    bool force;
} options;

static const struct argument_option option_table[] = {
    {.name = "force",
     .letter = 'f',
     .kind = ARGUMENT_SWITCH,
     .target = &options.force,
     .sentence = "replace OUT when it is there already"},
    {.name = "json",
     .kind = ARGUMENT_SWITCH,
     .target = &options.json,
     .sentence = "what was written, as JSON on standard output, nothing else there"},
    {0},
};

struct display {
    int64_t start_ns, drawn_ns;
    int plain_percent; /* of the last line where nothing can be drawn over */
};

static void show_progress(void *context, double fraction) {
    struct display *display = context;
    int64_t now = clock_now_ns();
    int percent = (int)(fraction * 100);
    if (!terminal_is(stderr)) {
        if (percent >= display->plain_percent + PLAIN_STEP_PERCENT) {
            display->plain_percent = percent - percent % PLAIN_STEP_PERCENT;
            fprintf(stderr, "quantising: %d%%\n", display->plain_percent);
        }
        return;
    }
    if (now - display->drawn_ns < REDRAW_NS) {
        return;
    }
    display->drawn_ns = now;
    double seconds = clock_seconds(now - display->start_ns);
    char line[128] = "quantising ";
    terminal_append_bar(line, sizeof line, fraction, BAR_WIDTH);
    size_t length = strlen(line);
    snprintf(line + length, sizeof line - length, " %3d%%  %.0f s left", percent,
             fraction > 0 ? seconds / fraction - seconds : 0);
    terminal_draw_line(line);
}

static bool was_interrupted(void *context) {
    (void)context;
    return interrupt_requested();
}

static uint64_t source_bytes(const struct source *source) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < source->tensor_count; i++) {
        bytes += (uint64_t)source->tensors[i].dimensions[0] * source->tensors[i].row_count *
                 source->tensors[i].format->block_bytes;
    }
    return bytes;
}

static json_t *count_formats(const struct plan *plan) {
    json_t *formats = json_object();
    for (size_t i = 0; i < plan->source->tensor_count; i++) {
        const char *name = plan->tensors[i].format->name;
        json_int_t count = json_integer_value(json_object_get(formats, name));
        json_object_set_new(formats, name, json_integer(count + 1));
    }
    return formats;
}

static bool report(const struct plan *plan, const char *path, double seconds, struct error *error) {
    uint64_t read = source_bytes(plan->source);
    if (options.json) {
        return json_output_print(
            json_pack("{s:s, s:s, s:I, s:I, s:I, s:o, s:f}", "path", path, "format",
                      plan->mix->name, "bytes", (json_int_t)plan->file_bytes, "source_bytes",
                      (json_int_t)read, "tensor_count", (json_int_t)plan->source->tensor_count,
                      "formats", count_formats(plan), "seconds", seconds),
            error);
    }
    char size[32], from[32];
    terminal_format_bytes(size, sizeof size, plan->file_bytes);
    terminal_format_bytes(from, sizeof from, read);
    printf("wrote %s: %s, %s from %s of weights, in %.1f s\n", path, plan->mix->name, size, from,
           seconds);
    return true;
}

/* Opens the file beside OUT that is to become it, and locks it: what a killed process left there is
 * used again, what another one is writing is an error. -1 with the error. */
static int open_part(const char *part, const char *path, struct error *error) {
    int file;
    do {
        file = open(part, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (file < 0) {
            error_set_errno(error, errno, "cannot create '%s'", part);
            return -1;
        }
        if (flock(file, LOCK_EX | LOCK_NB) != 0) {
            close(file);
            error_set(error, ERROR_BUSY, "another process is writing '%s'", path);
            return -1;
        }
        if (!file_is_at(file, part)) { /* it has become OUT meanwhile */
            close(file);
            file = -1;
        }
    } while (file < 0);
    if (ftruncate(file, 0) != 0) {
        error_set_errno(error, errno, "cannot write '%s'", part);
        close(file);
        return -1;
    }
    return file;
}

/* Writes beside OUT and renames; whatever goes wrong, nothing is left. */
static bool write_file(const struct plan *plan, const char *path, size_t threads,
                       struct error *error) {
    char temporary[PATH_MAX];
    int needed = snprintf(temporary, sizeof temporary, "%s.part", path);
    if (needed < 0 || (size_t)needed >= sizeof temporary) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "the path '%s' is too long", path);
    }
    int file = open_part(temporary, path, error);
    if (file < 0) {
        return false;
    }
    struct display display = {.start_ns = clock_now_ns()};
    const struct convert_watch watch = {show_progress, was_interrupted, &display};
    bool done = plan_write(plan, file, path, threads, &watch, error);
    terminal_clear_line();
    if (done && fsync(file) != 0) {
        done = error_set_errno(error, errno, "cannot write '%s'", path);
    }
    if (done && rename(temporary, path) != 0) {
        done = error_set_errno(error, errno, "cannot write '%s'", path);
    }
    if (!done) {
        unlink(temporary);
    }
    close(file); /* and unlocked, not before; it was synced */
    return done;
}

static bool check_target(const char *path, const char *format, const struct mix **mix,
                         struct error *error) {
    *mix = mix_of(format);
    if (*mix == NULL) {
        struct string_buffer names = {0};
        for (const struct mix *row = mix_table(); row->name != NULL; row++) {
            string_buffer_append_format(&names, " %s", row->name);
        }
        error_set(error, ERROR_INVALID_ARGUMENT, "no format is called '%.40s'; there are%s", format,
                  string_buffer_text(&names));
        string_buffer_deinit(&names);
        return false;
    }
    if (file_is_directory(path)) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "'%s' is a directory; name the file to write", path);
    }
    return options.force || !file_exists(path) ||
           error_set(error, ERROR_INVALID_ARGUMENT, "'%s' is there already; --force replaces it",
                     path);
}

static bool quantize(struct cli *cli, struct error *error) {
    const char *out = cli->operands.texts[1];
    const struct mix *mix;
    struct string_buffer path = {0};
    struct source source = {0};
    struct plan plan = {0};
    int64_t start_ns = clock_now_ns();
    interrupt_catch();
    bool done = check_target(out, cli->operands.texts[2], &mix, error) &&
                cli_find_model(cli, &path, error) &&
                source_open(string_buffer_text(&path), &source, error) &&
                plan_make(&source, mix, &plan, error) &&
                write_file(&plan, out, (size_t)cli->config.num_threads, error) &&
                report(&plan, out, clock_seconds(clock_now_ns() - start_ns), error);
    plan_free(&plan);
    source_close(&source);
    string_buffer_deinit(&path);
    return done;
}

const struct cli_command cli_quantize_command = {
    .name = "quantize",
    .usage = "IN OUT FORMAT",
    .summary = "write a model as GGUF in a smaller format",
    .details = "IN is a GGUF file of f32, f16 or bf16, or a Hugging Face folder. OUT is the GGUF "
               "file to write. FORMAT is one "
               "of\nq2_k q3_k_s q3_k_m q3_k_l q4_0 q4_1 q4_k_s q4_k_m q5_0 q5_1 q5_k_s q5_k_m "
               "q6_k q8_0\nf16 bf16 f32, smallest first. Ctrl-C leaves nothing behind.\n",
    .reader = READ_BY_QUANTIZE,
    .minimum_operands = 3,
    .maximum_operands = 3,
    .options = option_table,
    .run = quantize,
};
