/* terminal.c - see terminal.h. */
#include "cli/terminal.h"

#include "base/bytes.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static bool line_is_drawn = false;

bool terminal_is(FILE *stream) {
    return isatty(fileno(stream)) == 1;
}

static bool wants_colour(FILE *stream) {
    const char *no_colour = getenv("NO_COLOR");
    const char *kind = getenv("TERM");
    return terminal_is(stream) && (no_colour == NULL || no_colour[0] == '\0') && kind != NULL &&
           strcmp(kind, "dumb") != 0;
}

const char *terminal_style(FILE *stream, enum terminal_style style) {
    static const char *const sequences[] = {
        [STYLE_PLAIN] = "\x1b[0m",
        [STYLE_BOLD] = "\x1b[1m",
        [STYLE_DIM] = "\x1b[2m",
        [STYLE_ERROR] = "\x1b[31m",
    };
    return wants_colour(stream) ? sequences[style] : "";
}

size_t terminal_width(FILE *stream) {
    struct winsize size = {0};
    bool told = ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col >= 20;
    return told ? size.ws_col : 80;
}

void terminal_print_error(const struct error *error) {
    terminal_clear_line();
    fflush(stdout);
    fprintf(stderr, "mistral: %serror:%s %s\n", terminal_style(stderr, STYLE_ERROR),
            terminal_style(stderr, STYLE_PLAIN), error->message);
}

/* Control characters of ASCII and of Latin-1 (U+0080 to U+009F, which some terminals obey). */
static bool is_control(uint32_t code_point) {
    return (code_point < 0x20 && code_point != '\n' && code_point != '\t') ||
           (code_point >= 0x7f && code_point < 0xa0);
}

void terminal_write_text(FILE *stream, const char *text, size_t length) {
    if (!terminal_is(stream)) {
        fwrite(text, 1, length, stream);
        return;
    }
    for (size_t at = 0; at < length;) {
        uint32_t code_point = 0;
        size_t taken = utf8_decode(text + at, length - at, &code_point);
        if (taken > 0 && !is_control(code_point)) {
            fwrite(text + at, 1, taken, stream);
        }
        at += taken > 0 ? taken : 1;
    }
}

void terminal_draw_line(const char *text) {
    if (!terminal_is(stderr)) {
        return;
    }
    /* One column stays free: a full line would scroll. */
    fprintf(stderr, "\r%.*s\x1b[K", (int)(terminal_width(stderr) - 1), text);
    fflush(stderr);
    line_is_drawn = true;
}

void terminal_clear_line(void) {
    if (line_is_drawn) {
        fputs("\r\x1b[K", stderr);
        fflush(stderr);
        line_is_drawn = false;
    }
}

void terminal_append_bar(char *out, size_t size, double fraction, size_t width) {
    size_t filled = fraction <= 0 ? 0 : size_min((size_t)(fraction * (double)width), width);
    size_t length = strlen(out);
    for (size_t i = 0; i < width + 2 && length + 1 < size; i++) {
        out[length++] = i == 0 ? '[' : i == width + 1 ? ']' : i <= filled ? '#' : ' ';
    }
    out[length] = '\0';
}

void terminal_format_bytes(char *out, size_t size, uint64_t bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t unit = 0;
    double value = (double)bytes;
    while (value >= 1024) {
        value /= 1024;
        unit++;
    }
    snprintf(out, size, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}
