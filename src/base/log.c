/*
 * log.c - see log.h. Formats into a stack buffer: a log line never allocates. Its texts share what
 * the line has room for, so that every field is there and the line is whole.
 */
#include "base/log.h"

#include "base/clock.h"
#include "base/utf8.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    LOG_LINE_BYTES = 4096, /* PIPE_BUF of Linux: a write of no more never mixes with another */
    HEAD_BYTES = 160,      /* time, level and event */
    FIELD_BYTES = 72,      /* a name, its marks, and any number */
    MOST_FIELDS = 32,      /* the others are left out */
};

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

static void put(struct line *line, const char *bytes, size_t length) {
    memcpy(line->bytes + line->length, bytes, length);
    line->length += length;
}

static void put_text(struct line *line, const char *text) {
    put(line, text, strlen(text));
}

/* One character as JSON has it, at most 6 bytes, and how many bytes of `text` it was. What is no
 * UTF-8 becomes U+FFFD. */
static size_t escape(const char *text, char out[8], size_t *length) {
    unsigned char c = (unsigned char)*text;
    uint32_t code_point;
    size_t taken = utf8_decode(text, strnlen(text, 4), &code_point);
    if (taken == 0) {
        *length = utf8_encode(0xFFFD, out);
        return 1;
    }
    if (c == '"' || c == '\\') {
        out[0] = '\\';
        out[1] = (char)c;
        *length = 2;
    } else if (c < 0x20 || c == 0x7f) {
        *length = (size_t)snprintf(out, 8, "\\u%04x", c);
    } else {
        memcpy(out, text, taken);
        *length = taken;
    }
    return taken;
}

/* JSON string escapes; in the text format too, so that a value can never forge a line. What has
 * more than `most` bytes is cut after a whole character and ends in "…". */
static void put_quoted(struct line *line, const char *text, size_t most) {
    static const char ellipsis[] = "\xe2\x80\xa6";
    size_t start = line->length + 1, cut = start; /* where the ellipsis would go */
    put_text(line, "\"");
    while (*text != '\0') {
        char escaped[8];
        size_t length;
        text += escape(text, escaped, &length);
        if (line->length - start + length > most) {
            line->length = cut;
            put_text(line, ellipsis);
            break;
        }
        put(line, escaped, length);
        if (line->length - start + sizeof ellipsis - 1 <= most) {
            cut = line->length;
        }
    }
    put_text(line, "\"");
}

static void put_value(struct line *line, const struct log_field *field, size_t most) {
    char number[40];
    switch (field->kind) {
    case LOG_FIELD_TEXT:
        put_quoted(line, field->text == NULL ? "" : field->text, most);
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

/* Bytes of a text as JSON has it, as far as `most`. */
static size_t escaped_length(const char *text, size_t most) {
    size_t total = 0;
    while (text != NULL && *text != '\0' && total < most) {
        char escaped[8];
        size_t length;
        text += escape(text, escaped, &length);
        total += length;
    }
    return total;
}

/* How many bytes a text may have, and how many fields there are: those that need less than their
 * share leave the rest to the others. */
static size_t share(const struct log_field *fields, size_t *count) {
    size_t lengths[MOST_FIELDS];
    size_t texts = 0;
    for (*count = 0; *count < MOST_FIELDS && fields[*count].name != NULL; ++*count) {
        if (fields[*count].kind == LOG_FIELD_TEXT) {
            lengths[texts++] = escaped_length(fields[*count].text, LOG_LINE_BYTES);
        }
    }
    const size_t room = LOG_LINE_BYTES - HEAD_BYTES - *count * FIELD_BYTES;
    size_t most = 0, before;
    do {
        size_t left = room, longer = 0;
        for (size_t i = 0; i < texts; i++) {
            longer += lengths[i] > most;
            left -= lengths[i] > most ? 0 : lengths[i];
        }
        before = most;
        most = longer == 0 ? room : left / longer;
    } while (most > before && most < room);
    return most;
}

enum { MOST_NAME_BYTES = 24 }; /* of events and fields, which the program names */

static void put_json(struct line *line, enum log_level level, const char *event,
                     const struct log_field *fields) {
    size_t count, most = share(fields, &count);
    put_text(line, "{\"time\":\"");
    put_time(line);
    put_text(line, "\",\"level\":\"");
    put_text(line, level_names[level]);
    put_text(line, "\",\"event\":");
    put_quoted(line, event, 2 * MOST_NAME_BYTES);
    for (size_t i = 0; i < count; i++) {
        put_text(line, ",");
        put_quoted(line, fields[i].name, MOST_NAME_BYTES);
        put_text(line, ":");
        put_value(line, &fields[i], most);
    }
    put_text(line, "}\n");
}

static void put_plain(struct line *line, enum log_level level, const char *event,
                      const struct log_field *fields) {
    size_t count, most = share(fields, &count);
    put_time(line);
    put_text(line, " ");
    put_text(line, level_names[level]);
    put_text(line, " ");
    put(line, event, strnlen(event, (size_t)2 * MOST_NAME_BYTES));
    for (size_t i = 0; i < count; i++) {
        put_text(line, " ");
        put(line, fields[i].name, strnlen(fields[i].name, MOST_NAME_BYTES));
        put_text(line, "=");
        put_value(line, &fields[i], most);
    }
    put_text(line, "\n");
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
    ssize_t written = write(STDERR_FILENO, line.bytes, line.length);
    (void)written; /* nowhere left to say that the log itself failed */
}
