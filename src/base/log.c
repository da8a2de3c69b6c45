/* log.c - see log.h. Formats into a stack buffer: a log line never allocates. */
#include "base/log.h"

#include "base/clock.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LOG_LINE_BYTES = 4096, LOG_TAIL_BYTES = 4 };

static enum log_level current_level = LOG_WARN;
static enum log_format current_format = LOG_FORMAT_TEXT;

static const char *const level_names[] = {"trace", "debug", "info", "warn", "error", "off"};

struct line {
    char bytes[LOG_LINE_BYTES];
    size_t length;
};

void log_configure(enum log_level level, enum log_format format) {
    current_level = level;
    current_format = format;
}

bool log_enabled(enum log_level level) {
    return level >= current_level;
}

bool log_level_parse(const char *name, enum log_level *level) {
    for (size_t i = 0; i < sizeof level_names / sizeof level_names[0]; i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

/* Room is kept for the closing brace and newline, so a long value is cut and the line stays whole.
 */
static void put_char(struct line *line, char character) {
    if (line->length < LOG_LINE_BYTES - LOG_TAIL_BYTES) {
        line->bytes[line->length++] = character;
    }
}

static void put_text(struct line *line, const char *text) {
    while (*text != '\0') {
        put_char(line, *text++);
    }
}

/* JSON string escapes; in the text format too, so that a value can never forge a line. */
static void put_quoted(struct line *line, const char *text) {
    put_char(line, '"');
    for (; *text != '\0' && line->length < LOG_LINE_BYTES - LOG_TAIL_BYTES - 8; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            put_char(line, '\\');
            put_char(line, (char)c);
        } else if (c < 0x20 || c == 0x7f) {
            char escape[8];
            snprintf(escape, sizeof escape, "\\u%04x", c);
            put_text(line, escape);
        } else {
            put_char(line, (char)c);
        }
    }
    put_char(line, '"');
}

static void put_value(struct line *line, const struct log_field *field) {
    char number[40];
    switch (field->kind) {
    case LOG_FIELD_TEXT:
        put_quoted(line, field->text == NULL ? "" : field->text);
        return;
    case LOG_FIELD_BOOL:
        put_text(line, field->boolean ? "true" : "false");
        return;
    case LOG_FIELD_INTEGER:
        snprintf(number, sizeof number, "%lld", (long long)field->integer);
        break;
    case LOG_FIELD_NUMBER:
        if (isfinite(field->number)) {
            snprintf(number, sizeof number, "%.6g", field->number);
        } else {
            snprintf(number, sizeof number, "null");
        }
        break;
    }
    put_text(line, number);
}

static void put_time(struct line *line) {
    int64_t now = clock_wall_ns();
    time_t seconds = (time_t)(now / 1000000000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    char stamp[48];
    size_t length = strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(stamp + length, sizeof stamp - length, ".%03dZ", (int)(now / 1000000 % 1000));
    put_text(line, stamp);
}

static void put_json(struct line *line, enum log_level level, const char *event,
                     const struct log_field *fields) {
    put_text(line, "{\"time\":\"");
    put_time(line);
    put_text(line, "\",\"level\":\"");
    put_text(line, level_names[level]);
    put_text(line, "\",\"event\":");
    put_quoted(line, event);
    for (; fields->name != NULL; fields++) {
        put_char(line, ',');
        put_quoted(line, fields->name);
        put_char(line, ':');
        put_value(line, fields);
    }
    line->bytes[line->length++] = '}';
}

static void put_plain(struct line *line, enum log_level level, const char *event,
                      const struct log_field *fields) {
    put_time(line);
    put_char(line, ' ');
    put_text(line, level_names[level]);
    put_char(line, ' ');
    put_text(line, event);
    for (; fields->name != NULL; fields++) {
        put_char(line, ' ');
        put_text(line, fields->name);
        put_char(line, '=');
        put_value(line, fields);
    }
}

void log_write(enum log_level level, const char *event, const struct log_field *fields) {
    if (!log_enabled(level)) {
        return;
    }
    struct line line = {.length = 0};
    if (current_format == LOG_FORMAT_JSON) {
        put_json(&line, level, event, fields);
    } else {
        put_plain(&line, level, event, fields);
    }
    line.bytes[line.length++] = '\n';
    ssize_t written = write(STDERR_FILENO, line.bytes, line.length);
    (void)written; /* nowhere left to say that the log itself failed */
}
