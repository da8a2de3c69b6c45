/*
 * log.h - lines for the operator, on standard error, as text or JSON.
 *
 * One call is one line, written with one write(2), so lines of several threads never mix. A line
 * has an event name (lower case, words joined by '_') and typed fields; a message with spaces is a
 * field. A line is always whole: long texts are cut inside their quotes and end in "…", and what is
 * no UTF-8 becomes U+FFFD. Level and format are set once at start, before other threads exist. Safe
 * on any thread afterwards.
 */
#ifndef MISTRAL_BASE_LOG_H
#define MISTRAL_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_TRACE, LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_OFF };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

struct log_field {
    const char *name;
    enum { LOG_FIELD_TEXT, LOG_FIELD_INTEGER, LOG_FIELD_NUMBER, LOG_FIELD_BOOL } kind;
    union {
        const char *text; /* UTF-8; NULL prints as empty */
        int64_t integer;
        double number;
        bool boolean;
    };
};

static inline struct log_field log_text(const char *name, const char *text) {
    return (struct log_field){.name = name, .kind = LOG_FIELD_TEXT, .text = text};
}

static inline struct log_field log_integer(const char *name, int64_t value) {
    return (struct log_field){.name = name, .kind = LOG_FIELD_INTEGER, .integer = value};
}

static inline struct log_field log_number(const char *name, double value) {
    return (struct log_field){.name = name, .kind = LOG_FIELD_NUMBER, .number = value};
}

static inline struct log_field log_bool(const char *name, bool value) {
    return (struct log_field){.name = name, .kind = LOG_FIELD_BOOL, .boolean = value};
}

/* The default is LOG_WARN and text: a library stays quiet until its host asks. */
void log_configure(enum log_level level, enum log_format format);
bool log_enabled(enum log_level level);
bool log_level_parse(const char *name, enum log_level *level); /* trace … error, off */

/* `fields` ends with a row whose name is NULL; log_event(...) writes that row itself. */
void log_write(enum log_level level, const char *event, const struct log_field *fields);

#define log_event(level, event, ...)                                                               \
    log_write((level), (event), (const struct log_field[]){__VA_ARGS__, {.name = NULL}})

#endif
