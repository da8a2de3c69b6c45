/*
 * toml_scalar.c - strings, numbers, dates and times of TOML 1.0.
 *
 * Owns nothing: results go into the cursor's arena. Pure functions of the text; any thread.
 */
#include "base/utf8.h"
#include "config/toml_cursor.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

/* Longest number or date that is read; a float with more digits than this means nothing more. */
enum { TOML_SCALAR_BYTES = 256 };

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static int hex_value(char c) {
    if (is_digit(c)) {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Strings. */

/* \uXXXX or \UXXXXXXXX; the cursor is on the u. */
static bool read_unicode_escape(struct toml_cursor *cursor, struct string_buffer *out) {
    size_t digits = toml_peek(cursor, 0) == 'u' ? 4 : 8;
    uint32_t code_point = 0;
    for (size_t i = 1; i <= digits; i++) {
        int digit = hex_value(toml_peek(cursor, i));
        if (digit < 0) {
            return toml_fail(cursor, cursor->at + i, "\\%c needs %zu hexadecimal digits",
                             toml_peek(cursor, 0), digits);
        }
        code_point = code_point << 4 | (uint32_t)digit;
    }
    if (code_point > 0x10ffff || (code_point >= 0xd800 && code_point <= 0xdfff)) {
        return toml_fail(cursor, cursor->at, "U+%04X is not a Unicode scalar value", code_point);
    }
    char bytes[4];
    string_buffer_append(out, bytes, utf8_encode(code_point, bytes));
    cursor->at += 1 + digits;
    return true;
}

/* A backslash at the end of a line of a multi-line string drops all white space up to the next
 * other character. The cursor is behind the backslash; false (untouched) when it is no such thing.
 */
static bool skip_line_continuation(struct toml_cursor *cursor) {
    size_t start = cursor->at;
    while (toml_peek(cursor, 0) == ' ' || toml_peek(cursor, 0) == '\t') {
        cursor->at++;
    }
    if (!toml_skip_newline(cursor)) {
        cursor->at = start;
        return false;
    }
    for (;;) {
        if (toml_peek(cursor, 0) == ' ' || toml_peek(cursor, 0) == '\t') {
            cursor->at++;
        } else if (!toml_skip_newline(cursor)) {
            break;
        }
    }
    return true;
}

/* The cursor is on the backslash. */
static bool read_escape(struct toml_cursor *cursor, bool multiline, struct string_buffer *out) {
    static const struct {
        char letter, meaning;
    } escapes[] = {{'b', '\b'}, {'t', '\t'}, {'n', '\n'}, {'f', '\f'},
                   {'r', '\r'}, {'"', '"'},  {'\\', '\\'}};
    cursor->at++;
    if (multiline && skip_line_continuation(cursor)) {
        return true;
    }
    char letter = toml_peek(cursor, 0);
    if (letter == 'u' || letter == 'U') {
        return read_unicode_escape(cursor, out);
    }
    for (size_t i = 0; i < sizeof escapes / sizeof escapes[0]; i++) {
        if (escapes[i].letter == letter) {
            string_buffer_append_char(out, escapes[i].meaning);
            cursor->at++;
            return true;
        }
    }
    return toml_fail(cursor, cursor->at - 1,
                     "unknown escape in a string; use '…' quotes for text with backslashes");
}

/* One or more quotes inside a multi-line string: three end it, and up to two more before those
 * three belong to the text. Sets *ended. */
static void read_multiline_quotes(struct toml_cursor *cursor, char quote, struct string_buffer *out,
                                  bool *ended) {
    size_t run = 0;
    while (run < 5 && toml_peek(cursor, run) == quote) {
        run++;
    }
    *ended = run >= 3;
    for (size_t i = *ended ? 3 : 0; i < run; i++) {
        string_buffer_append_char(out, quote);
    }
    cursor->at += run;
}

static bool read_string_body(struct toml_cursor *cursor, char quote, bool multiline,
                             struct string_buffer *out) {
    size_t start = cursor->at;
    bool ended = false;
    while (!ended) {
        if (cursor->at >= cursor->length) {
            return toml_fail(cursor, start, "this string has no closing quote");
        }
        char c = cursor->text[cursor->at];
        if (c == quote && multiline) {
            read_multiline_quotes(cursor, quote, out, &ended);
        } else if (c == quote) {
            cursor->at++;
            ended = true;
        } else if (c == '\\' && quote == '"') {
            if (!read_escape(cursor, multiline, out)) {
                return false;
            }
        } else if (multiline && toml_skip_newline(cursor)) {
            string_buffer_append_char(out, '\n');
        } else if (c == '\n' || c == '\r') {
            return toml_fail(cursor, start, "this string has no closing quote on its line");
        } else if (((unsigned char)c < 0x20 && c != '\t') || c == 0x7f) {
            return toml_fail(cursor, cursor->at, "control character 0x%02x in a string",
                             (unsigned char)c);
        } else {
            string_buffer_append_char(out, c);
            cursor->at++;
        }
    }
    return true;
}

bool toml_read_string(struct toml_cursor *cursor, bool allow_multiline, struct string_view *text) {
    char quote = toml_peek(cursor, 0);
    bool multiline = toml_peek(cursor, 1) == quote && toml_peek(cursor, 2) == quote;
    if (multiline && !allow_multiline) {
        return toml_fail(cursor, cursor->at, "a key cannot be a multi-line string");
    }
    cursor->at += multiline ? 3 : 1;
    if (multiline) {
        toml_skip_newline(cursor);
    }
    struct string_buffer buffer = {0};
    bool done = read_string_body(cursor, quote, multiline, &buffer);
    if (done) {
        char *copy = buffer.failed ? NULL
                                   : arena_copy_text(cursor->arena, string_buffer_text(&buffer),
                                                     buffer.length);
        *text = (struct string_view){copy, buffer.length};
        done = copy != NULL ||
               error_set(cursor->error, ERROR_OUT_OF_MEMORY, "no memory for '%s'", cursor->name);
    }
    string_buffer_deinit(&buffer);
    return done;
}

/* Numbers. */

/* Copies the digits without the underscores that separate them; each underscore must have a digit
 * of the base on both sides. False when that, or the base, is not kept to. */
static bool copy_digits(struct string_view digits, int base, char *out) {
    size_t length = 0;
    bool after_digit = false;
    for (size_t i = 0; i < digits.length; i++) {
        char c = digits.data[i];
        int value = hex_value(c);
        if (c == '_' && after_digit && i + 1 < digits.length) {
            after_digit = false;
        } else if (value >= 0 && value < base) {
            out[length++] = c;
            after_digit = true;
        } else {
            return false;
        }
    }
    out[length] = '\0';
    return length > 0;
}

static struct string_view tail(struct string_view view, size_t from) {
    return (struct string_view){view.data + from, view.length - from};
}

static bool read_integer(struct toml_cursor *cursor, struct string_view word,
                         struct toml_value *value) {
    static const struct {
        char letter;
        int base;
    } prefixes[] = {{'x', 16}, {'o', 8}, {'b', 2}};
    bool has_sign = word.data[0] == '+' || word.data[0] == '-';
    struct string_view digits = tail(word, has_sign ? 1 : 0);
    int base = 10;
    for (size_t i = 0; i < 3 && !has_sign && word.length > 2 && word.data[0] == '0'; i++) {
        if (word.data[1] == prefixes[i].letter) {
            base = prefixes[i].base;
            digits = tail(word, 2);
        }
    }
    char clean[TOML_SCALAR_BYTES + 2];
    clean[0] = word.data[0] == '-' ? '-' : '+';
    if (!copy_digits(digits, base, clean + 1)) {
        return toml_fail(cursor, cursor->at, "'%.*s' is not a value; text needs quotes",
                         (int)word.length, word.data);
    }
    if (base == 10 && digits.length > 1 && digits.data[0] == '0') {
        return toml_fail(cursor, cursor->at, "a number cannot begin with 0");
    }
    errno = 0;
    long long number = strtoll(clean, NULL, base);
    if (errno == ERANGE) {
        return toml_fail(cursor, cursor->at, "the integer does not fit into 64 bits");
    }
    value->kind = TOML_INTEGER;
    value->integer = number;
    return true;
}

/* Characters of a word that have been checked, on their way to strtod. */
struct clean_number {
    char text[TOML_SCALAR_BYTES + 8];
    size_t length;
};

/* A run of digits at *at, without its underscores. */
static bool take_digits(struct string_view word, size_t *at, struct clean_number *number) {
    size_t end = *at;
    while (end < word.length && (is_digit(word.data[end]) || word.data[end] == '_')) {
        end++;
    }
    struct string_view digits = {word.data + *at, end - *at};
    if (!copy_digits(digits, 10, number->text + number->length)) {
        return false;
    }
    number->length += strlen(number->text + number->length);
    *at = end;
    return true;
}

/* One of `choices` at *at, when there. */
static bool take_mark(struct string_view word, size_t *at, const char *choices,
                      struct clean_number *number) {
    if (*at >= word.length || strchr(choices, word.data[*at]) == NULL) {
        return false;
    }
    number->text[number->length++] = word.data[(*at)++];
    return true;
}

/* [sign] digits [. digits] [e [sign] digits]. The program never leaves the "C" numeric locale, so
 * strtod reads the point as a point. */
static bool read_float(struct toml_cursor *cursor, struct string_view word,
                       struct toml_value *value) {
    struct clean_number number = {.length = 0};
    size_t at = 0;
    take_mark(word, &at, "+-", &number);
    size_t integer_start = at;
    bool good = take_digits(word, &at, &number);
    if (good && at - integer_start > 1 && word.data[integer_start] == '0') {
        return toml_fail(cursor, cursor->at, "a number cannot begin with 0");
    }
    if (good && take_mark(word, &at, ".", &number)) {
        good = take_digits(word, &at, &number);
    }
    if (good && take_mark(word, &at, "eE", &number)) {
        take_mark(word, &at, "+-", &number);
        good = take_digits(word, &at, &number);
    }
    if (!good || at != word.length) {
        return toml_fail(cursor, cursor->at, "'%.*s' is not a number", (int)word.length, word.data);
    }
    number.text[number.length] = '\0';
    value->kind = TOML_FLOAT;
    value->number = strtod(number.text, NULL);
    return true;
}

/* Dates and times (RFC 3339). */

/* Exactly `count` digits at *at; steps over them. */
static bool take_number(struct string_view word, size_t *at, size_t count, int *out) {
    int value = 0;
    for (size_t i = 0; i < count; i++) {
        if (*at + i >= word.length || !is_digit(word.data[*at + i])) {
            return false;
        }
        value = value * 10 + (word.data[*at + i] - '0');
    }
    *at += count;
    *out = value;
    return true;
}

static bool take_char(struct string_view word, size_t *at, char expected) {
    if (*at >= word.length || word.data[*at] != expected) {
        return false;
    }
    (*at)++;
    return true;
}

static bool take_date(struct string_view word, size_t *at, struct toml_time *time) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (!take_number(word, at, 4, &time->year) || !take_char(word, at, '-') ||
        !take_number(word, at, 2, &time->month) || !take_char(word, at, '-') ||
        !take_number(word, at, 2, &time->day) || time->month < 1 || time->month > 12) {
        return false;
    }
    bool leap = (time->year % 4 == 0 && time->year % 100 != 0) || time->year % 400 == 0;
    int last = days[time->month - 1] + (time->month == 2 && leap ? 1 : 0);
    return time->day >= 1 && time->day <= last;
}

/* A second may be 60, as RFC 3339 allows for leap seconds. */
static bool take_time(struct string_view word, size_t *at, struct toml_time *time) {
    if (!take_number(word, at, 2, &time->hour) || !take_char(word, at, ':') ||
        !take_number(word, at, 2, &time->minute) || !take_char(word, at, ':') ||
        !take_number(word, at, 2, &time->second) || time->hour > 23 || time->minute > 59 ||
        time->second > 60) {
        return false;
    }
    if (!take_char(word, at, '.')) {
        return true;
    }
    size_t digits = 0;
    for (; *at < word.length && is_digit(word.data[*at]); (*at)++, digits++) {
        if (digits < 9) {
            time->nanosecond = time->nanosecond * 10 + (word.data[*at] - '0');
        }
    }
    for (size_t i = digits; i < 9; i++) {
        time->nanosecond *= 10;
    }
    return digits > 0;
}

static bool take_offset(struct string_view word, size_t *at, struct toml_time *time) {
    if (take_char(word, at, 'Z') || take_char(word, at, 'z')) {
        return true;
    }
    int sign = take_char(word, at, '-') ? -1 : 1;
    int hours = 0;
    int minutes = 0;
    if ((sign > 0 && !take_char(word, at, '+')) || !take_number(word, at, 2, &hours) ||
        !take_char(word, at, ':') || !take_number(word, at, 2, &minutes) || hours > 23 ||
        minutes > 59) {
        return false;
    }
    time->offset_minutes = sign * (hours * 60 + minutes);
    return true;
}

static bool read_time(struct toml_cursor *cursor, struct string_view word,
                      struct toml_value *value) {
    struct toml_time time = {0};
    size_t at = 0;
    bool good = true;
    bool has_date = word.length > 4 && word.data[4] == '-';
    value->kind = TOML_LOCAL_TIME;
    if (has_date) {
        good = take_date(word, &at, &time);
        value->kind = TOML_LOCAL_DATE;
    }
    if (good && has_date && at < word.length) {
        good = take_char(word, &at, 'T') || take_char(word, &at, 't') || take_char(word, &at, ' ');
        value->kind = TOML_LOCAL_DATE_TIME;
    }
    if (good && value->kind != TOML_LOCAL_DATE) {
        good = take_time(word, &at, &time);
    }
    if (good && has_date && at < word.length) {
        good = take_offset(word, &at, &time);
        value->kind = TOML_OFFSET_DATE_TIME;
    }
    if (!good || at != word.length) {
        return toml_fail(cursor, cursor->at, "'%.*s' is not a valid date or time", (int)word.length,
                         word.data);
    }
    value->time = time;
    return true;
}

/* Words. */

static bool is_word_char(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '+' ||
           c == '-' || c == '_' || c == '.' || c == ':';
}

static bool looks_like_time(struct string_view word) {
    return (word.length > 4 && word.data[4] == '-' && is_digit(word.data[3])) ||
           (word.length > 2 && word.data[2] == ':');
}

/* The run of characters that a plain value may consist of. A date takes a space and the time that
 * follows it along. */
static struct string_view plain_word(const struct toml_cursor *cursor) {
    size_t length = 0;
    while (is_word_char(toml_peek(cursor, length))) {
        length++;
    }
    struct string_view word = {cursor->text + cursor->at, length};
    if (length == 10 && looks_like_time(word) && toml_peek(cursor, length) == ' ' &&
        is_digit(toml_peek(cursor, length + 1))) {
        length++;
        while (is_word_char(toml_peek(cursor, length))) {
            length++;
        }
        word.length = length;
    }
    return word;
}

static const struct {
    const char *word;
    enum toml_kind kind;
    double number;
} named_values[] = {
    {"true", TOML_BOOL, 1},         {"false", TOML_BOOL, 0},         {"inf", TOML_FLOAT, INFINITY},
    {"+inf", TOML_FLOAT, INFINITY}, {"-inf", TOML_FLOAT, -INFINITY}, {"nan", TOML_FLOAT, NAN},
    {"+nan", TOML_FLOAT, NAN},      {"-nan", TOML_FLOAT, NAN},
};

static bool read_named_value(struct string_view word, struct toml_value *value) {
    for (size_t i = 0; i < sizeof named_values / sizeof named_values[0]; i++) {
        if (string_view_is(word, named_values[i].word)) {
            value->kind = named_values[i].kind;
            if (value->kind == TOML_BOOL) {
                value->boolean = named_values[i].number > 0;
            } else {
                value->number = named_values[i].number;
            }
            return true;
        }
    }
    return false;
}

bool toml_read_plain_scalar(struct toml_cursor *cursor, struct toml_value *value) {
    struct string_view word = plain_word(cursor);
    if (word.length == 0) {
        return toml_fail(cursor, cursor->at, "a value is missing");
    }
    if (word.length > TOML_SCALAR_BYTES) {
        return toml_fail(cursor, cursor->at, "this value is too long");
    }
    bool is_hex = word.length > 1 && word.data[0] == '0' && word.data[1] == 'x';
    bool is_float = !is_hex && (memchr(word.data, '.', word.length) != NULL ||
                                memchr(word.data, 'e', word.length) != NULL ||
                                memchr(word.data, 'E', word.length) != NULL);
    bool starts_number = is_digit(word.data[0]) || word.data[0] == '+' || word.data[0] == '-';
    bool done = read_named_value(word, value);
    if (!done && looks_like_time(word)) {
        done = read_time(cursor, word, value);
    } else if (!done && is_float && starts_number) {
        done = read_float(cursor, word, value);
    } else if (!done) {
        done = read_integer(cursor, word, value);
    }
    cursor->at += done ? word.length : 0;
    return done;
}
