/* bench_options.c - see bench_options.h. */
#include "cli/bench_options.h"

#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool bench_read_levels(const char *text, bool is_rate, struct load_report *report,
                       struct error *error) {
    const char *at = text;
    for (report->level_count = 0; report->level_count < LOAD_MOST_LEVELS;) {
        char *end;
        double value = strtod(at, &end);
        bool fits = is_rate ? value >= 0.001 && value <= 1e6
                            : value >= 1 && value <= 100000 && value == (double)(int)value;
        if (end == at || !fits || (*end != ',' && *end != '\0')) {
            break;
        }
        report->levels[report->level_count++] = (struct load_level){is_rate, value};
        if (*end == '\0') {
            return true;
        }
        at = end + 1;
    }
    return error_set(error, ERROR_INVALID_ARGUMENT,
                     is_rate ? "--rate takes requests a second, up to 16 of them with commas "
                               "between, not '%.100s'"
                             : "--concurrency takes whole numbers from 1 to 100000, up to 16 of "
                               "them with commas between, not '%.100s'",
                     text);
}

bool bench_read_prefix(const char *text, struct workload_options *workload, struct error *error) {
    char *end;
    unsigned long long tokens = strtoull(text, &end, 10);
    unsigned long long count = 1;
    bool ok = end != text && text[0] != '-' && tokens >= 1 && tokens <= 1000000;
    if (ok && *end == 'x') {
        const char *second = end + 1;
        count = strtoull(second, &end, 10);
        ok = end != second && *second != '-' && count >= 1 && count <= 100000;
    }
    workload->prefix_tokens = (size_t)tokens;
    workload->prefix_count = (size_t)count;
    return (ok && *end == '\0') ||
           error_set(error, ERROR_INVALID_ARGUMENT,
                     "--shared-prefix takes tokens, or tokens and how many prefixes there are "
                     "(512x4), not '%.100s'",
                     text);
}

bool bench_read_goal(const char *text, struct load_goal *goal, struct error *error) {
    struct {
        const char *name;
        double *target;
    } rows[] = {{"ttft=", &goal->ttft}, {"itl=", &goal->itl}, {"latency=", &goal->latency}};
    const char *at = text;
    bool ok = *at != '\0';
    while (ok && *at != '\0') {
        size_t row = 0;
        while (row < 3 && strncmp(at, rows[row].name, strlen(rows[row].name)) != 0) {
            row++;
        }
        if (row == 3) {
            break;
        }
        char *end;
        double value = strtod(at + strlen(rows[row].name), &end);
        bool is_ms = strncmp(end, "ms", 2) == 0;
        ok = value > 0 && value < 1e6 && (is_ms || *end == 's');
        *rows[row].target = is_ms ? value * 1e-3 : value;
        at = ok ? end + (is_ms ? 2 : 1) : at;
        ok = ok && (*at == '\0' || (*at == ',' && at[1] != '\0'));
        at += ok && *at == ',';
    }
    return (ok && *at == '\0') || error_set(error, ERROR_INVALID_ARGUMENT,
                                            "--slo takes ttft, itl and latency with their bounds, "
                                            "as ttft=500ms,itl=50ms, not '%.100s'",
                                            text);
}

void bench_append_command(const struct cli *cli, struct string_buffer *out) {
    bool is_secret = false;
    string_buffer_append_format(out, "mistral %s", cli->command->name);
    for (size_t i = 0; i < cli->argument_count; i++) {
        const char *text = cli->arguments[i];
        bool has_key = strncmp(text, "--api-key", 9) == 0;
        bool is_plain = text[0] != '\0' && text[strcspn(text, " \t\n'\"\\$`;&|<>()*?!")] == '\0';
        if (is_secret || (has_key && text[9] == '=')) {
            text = is_secret ? "…" : "--api-key=…";
            is_plain = true;
        }
        is_secret = !is_secret && has_key && text[9] == '\0';
        string_buffer_append_format(out, is_plain ? " %s" : " '%s'", text);
    }
}

/* ---- files ---- */

static const struct {
    const char *ending;
    bool (*make)(const struct load_report *report, struct string_buffer *out, struct error *error);
} forms[] = {{".csv", load_report_csv},
             {".json", load_report_json},
             {".md", load_report_text},
             {".html", load_report_html}};

enum { FORM_COUNT = sizeof forms / sizeof forms[0] };

static size_t form_of(const char *path) {
    size_t length = strlen(path), form = 0;
    while (form < FORM_COUNT &&
           (length <= strlen(forms[form].ending) ||
            strcmp(path + length - strlen(forms[form].ending), forms[form].ending) != 0)) {
        form++;
    }
    return form;
}

static bool check_output(const char *path, struct error *error) {
    char folder[4096];
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash == NULL ? 1 : (int)(slash - path + 1),
             slash == NULL ? "." : path);
    if (form_of(path) == FORM_COUNT) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "'%.200s': a report's name ends in .csv, .json, .md or .html", path);
    }
    if (file_is_directory(path)) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "'%.200s' is a folder", path);
    }
    return access(folder, W_OK) == 0 ||
           error_set(error, ERROR_IO, "'%.200s' cannot be written: the folder %s", path,
                     file_is_directory(folder) ? "is not yours to write to" : "does not exist");
}

bool bench_check_outputs(const struct argument_operands *outputs, struct error *error) {
    for (size_t i = 0; i < outputs->count; i++) {
        if (!check_output(outputs->texts[i], error)) {
            return false;
        }
    }
    return true;
}

bool bench_write_outputs(const struct load_report *report, const struct argument_operands *outputs,
                         struct error *error) {
    bool done = true;
    for (size_t i = 0; done && i < outputs->count; i++) {
        struct string_buffer text = {0};
        done = forms[form_of(outputs->texts[i])].make(report, &text, error) &&
               file_write_atomic(outputs->texts[i], string_buffer_text(&text), text.length, error);
        string_buffer_deinit(&text);
    }
    return done;
}
