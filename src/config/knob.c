/* knob.c - see knob.h. Values, one row at a time; config.c knows where they come from. */
#include "config/knob.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const struct knob knob_rows[KNOB_COUNT] = {
#define KNOB(...) KNOB_FOR(DEVICES_ALL, __VA_ARGS__)
#define KNOB_FOR(row_devices, member, row_kind, row_default, row_minimum, row_maximum, row_unit,   \
                 row_keys, row_names, row_flag, row_readers, row_sentence)                         \
    [KNOB_##member] = {.kind = KNOB_##row_kind,                                                    \
                       .default_text = (row_default),                                              \
                       .minimum = (row_minimum),                                                   \
                       .maximum = (row_maximum),                                                   \
                       .unit = (row_unit),                                                         \
                       .keys = (row_keys),                                                         \
                       .names = (row_names),                                                       \
                       .flag = (row_flag),                                                         \
                       .readers = (row_readers) | READ_BY_CONFIG | READ_BY_CHECK,                  \
                       .devices = (row_devices),                                                   \
                       .sentence = (row_sentence),                                                 \
                       .offset = offsetof(struct config, member)},
#include "config/knobs.def"
#undef KNOB
};

struct string_view knob_section(const struct knob *knob) {
    struct string_view key = knob_key(knob);
    const char *dot = memchr(key.data, '.', key.length);
    return (struct string_view){key.data, dot == NULL ? 0 : (size_t)(dot - key.data)};
}

struct string_view knob_key(const struct knob *knob) {
    size_t at = 0;
    struct string_view key;
    knob_next_word(knob->keys, &at, &key);
    return key;
}

bool knob_next_word(const char *list, size_t *at, struct string_view *word) {
    *at += strspn(list + *at, " |");
    size_t length = strcspn(list + *at, " |");
    *word = (struct string_view){list + *at, length};
    *at += length;
    return length > 0;
}

bool knob_list_has(const char *list, const char *name) {
    size_t at = 0;
    struct string_view word;
    while (knob_next_word(list, &at, &word)) {
        if (string_view_is(word, name)) {
            return true;
        }
    }
    return false;
}

/* What a row takes, and what came instead. */

static void describe_range(const struct knob *knob, char *out, size_t size) {
    switch (knob->kind) {
    case KNOB_INTEGER:
        snprintf(out, size, "an integer from %.0f to %.0f", knob->minimum, knob->maximum);
        break;
    case KNOB_BYTES:
        snprintf(out, size, "a size (4096, 512M, 8GiB) from %.0f to %.0f bytes", knob->minimum,
                 knob->maximum);
        break;
    case KNOB_NUMBER:
        snprintf(out, size, "a number from %g to %g", knob->minimum, knob->maximum);
        break;
    case KNOB_BOOL:
        snprintf(out, size, "true or false");
        break;
    case KNOB_CHOICE:
        snprintf(out, size, "one of %s", knob->unit);
        break;
    case KNOB_TEXT:
    case KNOB_PATH:
    case KNOB_SECRET:
        snprintf(out, size, "a string");
        break;
    }
}

static bool refuse(const struct knob *knob, const char *text, struct error *error) {
    char range[256];
    describe_range(knob, range, sizeof range);
    return error_set(error, ERROR_INVALID_ARGUMENT, "it takes %s, not '%.100s'", range, text);
}

static bool in_range(const struct knob *knob, double value) {
    return value >= knob->minimum && value <= knob->maximum;
}

/* Values, as people write them. */

static bool parse_integer(const char *text, int64_t *out) {
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    *out = value;
    return end != text && *end == '\0' && errno == 0;
}

/* Digits, a fraction if need be, and a unit: K M G T, with or without B or iB behind, are powers of
 * 1024, as in Docker's memory limits. */
static bool parse_bytes(const char *text, uint64_t *out) {
    static const char units[] = "KMGT";
    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    char *end;
    double value = strtod(text, &end);
    double factor = 1;
    const char *unit = *end == '\0' ? NULL : strchr(units, *end & ~0x20); /* to upper case */
    if (unit != NULL) {
        factor = ldexp(1, 10 * ((int)(unit - units) + 1));
        end++;
        end += *end == 'i' ? 1 : 0;
    }
    end += (*end == 'B' || *end == 'b') ? 1 : 0;
    value *= factor;
    if (*end != '\0' || !(value < 0x1p63)) {
        return false;
    }
    *out = (uint64_t)value;
    return true;
}

static bool parse_number(const char *text, double *out) {
    char *end;
    *out = strtod(text, &end);
    return end != text && *end == '\0' && isfinite(*out);
}

static bool parse_bool(const char *text, bool *out) {
    static const char *const words[] = {"false", "true", "0", "1", "no", "yes", "off", "on"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcasecmp(text, words[i]) == 0) {
            *out = i % 2 == 1;
            return true;
        }
    }
    return false;
}

/* The row's own spelling of the word. */
static bool parse_choice(const struct knob *knob, const char *text, struct arena *arena,
                         const char **out) {
    size_t at = 0;
    struct string_view word;
    while (knob_next_word(knob->unit, &at, &word)) {
        if (strlen(text) == word.length && strncasecmp(text, word.data, word.length) == 0) {
            *out = arena_copy_text(arena, word.data, word.length);
            return *out != NULL;
        }
    }
    return false;
}

static bool copy_text(const struct knob *knob, const char *text, struct arena *arena,
                      const char **out) {
    *out = NULL;
    if (text[0] == '\0') {
        return true;
    }
    const char *home = getenv("HOME");
    if (knob->kind != KNOB_PATH || strncmp(text, "~/", 2) != 0 || home == NULL) {
        *out = arena_copy_text(arena, text, strlen(text));
        return *out != NULL;
    }
    struct string_buffer path = {0};
    string_buffer_append_format(&path, "%s%s", home, text + 1);
    *out = arena_copy_text(arena, string_buffer_text(&path), path.length);
    bool done = !path.failed && *out != NULL;
    string_buffer_deinit(&path);
    return done;
}

bool knob_parse(const struct knob *knob, const char *text, struct arena *arena,
                struct knob_value *value, struct error *error) {
    bool good = false;
    switch (knob->kind) {
    case KNOB_INTEGER:
        good = parse_integer(text, &value->integer) && in_range(knob, (double)value->integer);
        break;
    case KNOB_BYTES:
        good = parse_bytes(text, &value->bytes) && in_range(knob, (double)value->bytes);
        break;
    case KNOB_NUMBER:
        good = parse_number(text, &value->number) && in_range(knob, value->number);
        break;
    case KNOB_BOOL:
        good = parse_bool(text, &value->boolean);
        break;
    case KNOB_CHOICE:
        good = parse_choice(knob, text, arena, &value->text);
        break;
    case KNOB_TEXT:
    case KNOB_PATH:
    case KNOB_SECRET:
        if (!copy_text(knob, text, arena, &value->text)) {
            return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the settings");
        }
        good = true;
        break;
    }
    return good || refuse(knob, text, error);
}

/* The types TOML has are not mixed: "8080" is no port. Only a size may be a string, for its unit.
 */
bool knob_convert(const struct knob *knob, const struct toml_value *from, struct arena *arena,
                  struct knob_value *value, struct error *error) {
    bool is_string = from->kind == TOML_STRING;
    bool is_integer = from->kind == TOML_INTEGER;
    bool fits = false;
    switch (knob->kind) {
    case KNOB_INTEGER:
        fits = is_integer;
        break;
    case KNOB_BYTES:
        fits = is_integer || is_string;
        break;
    case KNOB_NUMBER:
        fits = is_integer || from->kind == TOML_FLOAT;
        break;
    case KNOB_BOOL:
        fits = from->kind == TOML_BOOL;
        break;
    case KNOB_CHOICE:
    case KNOB_TEXT:
    case KNOB_PATH:
    case KNOB_SECRET:
        fits = is_string && memchr(from->text.data, '\0', from->text.length) == NULL;
        break;
    }
    if (!fits) {
        char range[256];
        describe_range(knob, range, sizeof range);
        return error_set(error, ERROR_INVALID_ARGUMENT, "it takes %s, not %s", range,
                         toml_kind_name(from->kind));
    }
    char number[64];
    if (is_string) {
        return knob_parse(knob, from->text.data, arena, value, error);
    }
    if (is_integer) {
        snprintf(number, sizeof number, "%" PRId64, from->integer);
    } else if (from->kind == TOML_FLOAT) {
        snprintf(number, sizeof number, "%.17g", from->number);
    } else {
        snprintf(number, sizeof number, "%s", from->boolean ? "true" : "false");
    }
    return knob_parse(knob, number, arena, value, error);
}

/* Values in struct config. */

void knob_store(const struct knob *knob, const struct knob_value *value, struct config *config) {
    void *member = (char *)config + knob->offset;
    switch (knob->kind) {
    case KNOB_INTEGER:
        *(int64_t *)member = value->integer;
        break;
    case KNOB_BYTES:
        *(uint64_t *)member = value->bytes;
        break;
    case KNOB_NUMBER:
        *(double *)member = value->number;
        break;
    case KNOB_BOOL:
        *(bool *)member = value->boolean;
        break;
    case KNOB_CHOICE:
    case KNOB_TEXT:
    case KNOB_PATH:
    case KNOB_SECRET:
        *(const char **)member = value->text;
        break;
    }
}

struct knob_value knob_fetch(const struct knob *knob, const struct config *config) {
    const void *member = (const char *)config + knob->offset;
    struct knob_value value = {0};
    switch (knob->kind) {
    case KNOB_INTEGER:
        value.integer = *(const int64_t *)member;
        break;
    case KNOB_BYTES:
        value.bytes = *(const uint64_t *)member;
        break;
    case KNOB_NUMBER:
        value.number = *(const double *)member;
        break;
    case KNOB_BOOL:
        value.boolean = *(const bool *)member;
        break;
    case KNOB_CHOICE:
    case KNOB_TEXT:
    case KNOB_PATH:
    case KNOB_SECRET:
        value.text = *(const char *const *)member;
        break;
    }
    return value;
}

bool knob_values_equal(const struct knob *knob, const struct knob_value *a,
                       const struct knob_value *b) {
    switch (knob->kind) {
    case KNOB_INTEGER:
        return a->integer == b->integer;
    case KNOB_BYTES:
        return a->bytes == b->bytes;
    case KNOB_NUMBER:
        return a->number == b->number;
    case KNOB_BOOL:
        return a->boolean == b->boolean;
    case KNOB_CHOICE:
    case KNOB_TEXT:
    case KNOB_PATH:
    case KNOB_SECRET:
        break;
    }
    if (a->text == NULL || b->text == NULL) {
        return a->text == b->text;
    }
    return strcmp(a->text, b->text) == 0;
}

/* A size in its largest whole unit. */
static void append_bytes(uint64_t bytes, struct string_buffer *out) {
    static const char units[] = "KMGT";
    size_t unit = 0;
    while (unit < 4 && bytes != 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    string_buffer_append_format(out, "%" PRIu64, bytes);
    if (unit > 0) {
        string_buffer_append_char(out, units[unit - 1]);
    }
}

void knob_append_value(const struct knob *knob, const struct knob_value *value,
                       struct string_buffer *out) {
    switch (knob->kind) {
    case KNOB_INTEGER:
        string_buffer_append_format(out, "%" PRId64, value->integer);
        break;
    case KNOB_BYTES:
        append_bytes(value->bytes, out);
        break;
    case KNOB_NUMBER:
        string_buffer_append_format(out, "%g", value->number);
        break;
    case KNOB_BOOL:
        string_buffer_append_text(out, value->boolean ? "true" : "false");
        break;
    case KNOB_SECRET:
        string_buffer_append_text(out, value->text == NULL ? "" : "(set)");
        break;
    case KNOB_CHOICE:
    case KNOB_TEXT:
    case KNOB_PATH:
        string_buffer_append_text(out, value->text == NULL ? "" : value->text);
        break;
    }
}
