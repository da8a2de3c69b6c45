/*
 * knob.h - the rows of knobs.def as data, and what their values may be. Private to config/.
 */
#ifndef MISTRAL_CONFIG_KNOB_H
#define MISTRAL_CONFIG_KNOB_H

#include "base/string_buffer.h"
#include "base/string_view.h"
#include "config/config.h"
#include "config/toml.h"

enum knob_kind {
    KNOB_TEXT,
    KNOB_PATH,
    KNOB_SECRET,
    KNOB_INTEGER,
    KNOB_BYTES,
    KNOB_NUMBER,
    KNOB_BOOL,
    KNOB_CHOICE,
};

struct knob {
    enum knob_kind kind;
    const char *default_text; /* NULL: not set */
    double minimum, maximum;  /* of INTEGER, BYTES, NUMBER */
    const char *unit;         /* or the words of a CHOICE */
    const char *keys;         /* TOML, blanks between */
    const char *names;        /* environment, blanks between */
    const char *flag;         /* NULL: none */
    unsigned readers;         /* set of enum config_reader */
    const char *sentence;
    unsigned devices; /* set of enum config_device */
    size_t offset;    /* of the member in struct config */
};

extern const struct knob knob_rows[KNOB_COUNT];

/* A value of any kind; which member counts follows from the row. */
struct knob_value {
    const char *text; /* TEXT, PATH, SECRET, CHOICE */
    int64_t integer;
    uint64_t bytes;
    double number;
    bool boolean;
};

/* Reads a value as people write it. False: *error says what the row takes and what came, with no
 * place in front. Texts lie in the arena. An empty TEXT, PATH or SECRET is "not set". */
bool knob_parse(const struct knob *knob, const char *text, struct arena *arena,
                struct knob_value *value, struct error *error);

/* The same for a value with a type of its own, which must be the right one. */
bool knob_convert(const struct knob *knob, const struct toml_value *from, struct arena *arena,
                  struct knob_value *value, struct error *error);

void knob_store(const struct knob *knob, const struct knob_value *value, struct config *config);
struct knob_value knob_fetch(const struct knob *knob, const struct config *config);
bool knob_values_equal(const struct knob *knob, const struct knob_value *a,
                       const struct knob_value *b);

/* As people write it; a SECRET as "(set)", what is not set as "". */
void knob_append_value(const struct knob *knob, const struct knob_value *value,
                       struct string_buffer *out);

/* The first of the row's TOML keys. */
struct string_view knob_key(const struct knob *knob);

/* The part of it before the dot. */
struct string_view knob_section(const struct knob *knob);

/* The next word of a list with blanks or | between; false at the end. Start with *at == 0. */
bool knob_next_word(const char *list, size_t *at, struct string_view *word);

/* Whether `name` is one of the list's words. */
bool knob_list_has(const char *list, const char *name);

#endif
