/* lexer.c - see lexer.h. */
#include "text/jinja/lexer.h"

#include "text/jinja/text.h"

#include "base/bytes.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void jinja_lexer_init(struct jinja_lexer *lexer, struct string_view source, struct arena *arena) {
    *lexer = (struct jinja_lexer){
        .arena = arena, .source = source, .line = 1, .mode = JINJA_IN_DATA, .line_starting = true};
}

static struct string_view rest_of(const struct jinja_lexer *lexer) {
    return jinja_text_from(lexer->source, lexer->at);
}

static bool starts_with(const struct jinja_lexer *lexer, const char *text) {
    return jinja_text_starts_with(rest_of(lexer), string_view_of(text));
}

static void advance(struct jinja_lexer *lexer, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        lexer->line += lexer->source.data[lexer->at + i] == '\n';
    }
    lexer->at += bytes;
    lexer->line_starting = lexer->source.data[lexer->at - 1] == '\n';
}

static bool out_of_memory(struct error *error) {
    return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the template");
}

/* The bytes of a tag's end at `text`: "%}" with trim_blocks' newline, "-%}" with the white space
 * after it, "+%}" alone. 0 when it is not there. */
static size_t block_end_bytes(struct string_view text, const char *end, bool plus_allowed) {
    struct string_view mark = string_view_of(end);
    if (jinja_text_starts_with(text, mark)) {
        bool newline = plus_allowed && text.length > 2 && text.data[2] == '\n';
        return newline ? 3 : 2;
    }
    struct string_view after = jinja_text_from(text, 1);
    if (text.length == 0 || !jinja_text_starts_with(after, mark)) {
        return 0;
    }
    if (text.data[0] == '-') {
        return 3 + jinja_leading_space(jinja_text_from(text, 3));
    }
    return text.data[0] == '+' && plus_allowed ? 3 : 0;
}

/* What the text before a tag loses: all white space at its end for "-"; for a statement or comment,
 * the blanks of the tag's own line, if there is nothing else on it. */
static struct string_view strip_before_tag(struct string_view text, char sign, bool output,
                                           bool line_starting) {
    if (sign == '-') {
        return jinja_text_strip(text, NULL, JINJA_STRIP_RIGHT);
    }
    if (sign == '+' || output) {
        return text;
    }
    size_t newline = jinja_text_find_last(text, string_view_of("\n"));
    size_t line_start = newline == JINJA_NOT_FOUND ? 0 : newline + 1;
    struct string_view blanks = jinja_text_from(text, line_start);
    bool only_blanks = jinja_leading_space(blanks) == blanks.length;
    if (only_blanks && (line_start > 0 || line_starting)) {
        return jinja_text_until(text, line_start);
    }
    return text;
}

static char sign_at(struct string_view text, size_t at) {
    char sign = at < text.length ? text.data[at] : '\0';
    return sign == '-' || sign == '+' ? sign : '\0';
}

/* "{%", sign, spaces, word, spaces, end: the bytes of it, or 0. `end` finds what follows. */
static size_t raw_tag_bytes(struct string_view text, const char *word, bool trim_newline) {
    size_t at = 2 + (sign_at(text, 2) != '\0');
    at += jinja_leading_space(jinja_text_from(text, at));
    if (!jinja_text_starts_with(jinja_text_from(text, at), string_view_of(word))) {
        return 0;
    }
    at += strlen(word);
    at += jinja_leading_space(jinja_text_from(text, at));
    size_t end = block_end_bytes(jinja_text_from(text, at), "%}", trim_newline);
    return end == 0 ? 0 : at + end;
}

/* The text of a raw block up to and including its end tag, which is passed over. */
static bool lex_raw(struct jinja_lexer *lexer, struct jinja_token *token, struct error *error) {
    struct string_view rest = rest_of(lexer);
    for (size_t at = 0;; at++) {
        at = jinja_text_find(rest, string_view_of("{%"), at);
        if (at == JINJA_NOT_FOUND) {
            return error_set(error, ERROR_FORMAT, "line %u: missing end of raw block",
                             (unsigned)token->line);
        }
        size_t bytes = raw_tag_bytes(jinja_text_from(rest, at), "endraw", true);
        if (bytes > 0) {
            token->kind = JINJA_TOKEN_DATA;
            token->text = strip_before_tag(jinja_text_until(rest, at), sign_at(rest, at + 2), false,
                                           lexer->line_starting);
            advance(lexer, at + bytes);
            return true;
        }
    }
}

static bool skip_comment(struct jinja_lexer *lexer, struct error *error) {
    struct string_view rest = rest_of(lexer);
    size_t end = jinja_text_find(rest, string_view_of("#}"), 0);
    if (end == JINJA_NOT_FOUND) {
        return error_set(error, ERROR_FORMAT, "line %u: missing end of comment",
                         (unsigned)lexer->line);
    }
    size_t start = end > 0 && sign_at(rest, end - 1) != '\0' ? end - 1 : end;
    advance(lexer, start + block_end_bytes(jinja_text_from(rest, start), "#}", true));
    return true;
}

/* Takes the tag at the lexer's place: a comment is passed over, a raw block becomes data, and for
 * the others the mode changes. The text before the tag has been stripped already. */
static bool begin_tag(struct jinja_lexer *lexer, struct jinja_token *token, struct error *error) {
    struct string_view rest = rest_of(lexer);
    size_t raw = rest.data[1] == '%' ? raw_tag_bytes(rest, "raw", false) : 0;
    *token = (struct jinja_token){.kind = JINJA_TOKEN_DATA, .line = lexer->line};
    char type = rest.data[1];
    if (raw > 0) {
        advance(lexer, raw);
        return lex_raw(lexer, token, error);
    }
    advance(lexer, 2 + (size_t)(sign_at(rest, 2) != '\0'));
    if (type == '#') {
        return skip_comment(lexer, error);
    }
    lexer->mode = type == '%' ? JINJA_IN_BLOCK : JINJA_IN_OUTPUT;
    token->kind = type == '%' ? JINJA_TOKEN_BLOCK_BEGIN : JINJA_TOKEN_OUTPUT_BEGIN;
    return true;
}

static size_t find_tag(struct string_view text) {
    for (size_t at = 0; at + 1 < text.length; at++) {
        const char *brace = memchr(text.data + at, '{', text.length - 1 - at);
        if (brace == NULL) {
            break;
        }
        at = (size_t)(brace - text.data);
        if (brace[1] == '{' || brace[1] == '%' || brace[1] == '#') {
            return at;
        }
    }
    return text.length;
}

/* Text up to the next tag; an empty text gives the tag itself. */
static bool lex_data(struct jinja_lexer *lexer, struct jinja_token *token, struct error *error) {
    struct string_view rest = rest_of(lexer);
    *token = (struct jinja_token){.kind = JINJA_TOKEN_END, .line = lexer->line};
    if (rest.length == 0) {
        return true;
    }
    size_t tag = find_tag(rest);
    if (tag == rest.length) {
        token->kind = JINJA_TOKEN_DATA;
        token->text = rest;
        advance(lexer, rest.length);
        return true;
    }
    struct string_view text = strip_before_tag(jinja_text_until(rest, tag), sign_at(rest, tag + 2),
                                               rest.data[tag + 1] == '{', lexer->line_starting);
    if (tag > 0) {
        advance(lexer, tag);
    }
    if (text.length == 0) {
        return begin_tag(lexer, token, error);
    }
    token->kind = JINJA_TOKEN_DATA;
    token->text = text;
    lexer->tag_waits = true;
    return true;
}

static bool is_digit(char c, int base) {
    int value = c >= '0' && c <= '9'                     ? c - '0'
                : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                         : 99;
    return value < base;
}

/* Digits with single underscores between them; the bytes of it. `leading`: may begin with "_". */
static size_t digits_bytes(struct string_view text, int base, bool leading) {
    size_t at = 0;
    while (at < text.length) {
        size_t digit = at + (size_t)((at > 0 || leading) && text.data[at] == '_');
        if (digit >= text.length || !is_digit(text.data[digit], base)) {
            break;
        }
        at = digit + 1;
    }
    return at;
}

/* Bytes of a float at the start of `text`, or 0 when it is an integer. */
static size_t float_bytes(struct string_view text) {
    size_t at = digits_bytes(text, 10, false);
    size_t fraction = at < text.length && text.data[at] == '.'
                          ? digits_bytes(jinja_text_from(text, at + 1), 10, false)
                          : 0;
    if (fraction > 0) {
        at += 1 + fraction;
    }
    size_t exponent = 0;
    if (at < text.length && (text.data[at] | 0x20) == 'e') {
        size_t sign = sign_at(text, at + 1) != '\0';
        exponent = digits_bytes(jinja_text_from(text, at + 1 + sign), 10, false);
        exponent = exponent == 0 ? 0 : 1 + sign + exponent;
    }
    return fraction == 0 && exponent == 0 ? 0 : at + exponent;
}

static size_t integer_bytes(struct string_view text, int *base) {
    static const struct {
        char letter;
        int base;
    } prefixes[] = {{'b', 2}, {'o', 8}, {'x', 16}};
    for (size_t i = 0; text.length > 1 && text.data[0] == '0' && i < 3; i++) {
        size_t digits = (text.data[1] | 0x20) == prefixes[i].letter
                            ? digits_bytes(jinja_text_from(text, 2), prefixes[i].base, true)
                            : 0;
        if (digits > 0) {
            *base = prefixes[i].base;
            return 2 + digits;
        }
    }
    *base = 10;
    if (text.data[0] != '0') {
        return digits_bytes(text, 10, false);
    }
    return digits_bytes(text, 1, false); /* zeros only: "007" is no number */
}

static bool lex_number(struct jinja_lexer *lexer, struct jinja_token *token, struct error *error) {
    struct string_view rest = rest_of(lexer);
    bool after_dot = lexer->at > 0 && lexer->source.data[lexer->at - 1] == '.';
    size_t bytes = after_dot ? 0 : float_bytes(rest);
    int base = 10;
    token->kind = bytes > 0 ? JINJA_TOKEN_FLOAT : JINJA_TOKEN_INTEGER;
    if (bytes == 0) {
        bytes = integer_bytes(rest, &base);
    }
    char digits[128];
    size_t length = 0;
    for (size_t i = base == 10 ? 0 : 2; i < bytes && length + 1 < sizeof digits; i++) {
        if (rest.data[i] != '_') {
            digits[length++] = rest.data[i];
        }
    }
    digits[length] = '\0';
    errno = 0;
    if (token->kind == JINJA_TOKEN_FLOAT) {
        token->number = strtod(digits, NULL);
    } else {
        token->integer = strtoll(digits, NULL, base);
    }
    if (length + 1 >= sizeof digits || (token->kind == JINJA_TOKEN_INTEGER && errno == ERANGE)) {
        return error_set(error, ERROR_FORMAT, "line %u: number too large", (unsigned)token->line);
    }
    advance(lexer, bytes);
    return true;
}

static size_t name_bytes(struct string_view text) {
    size_t at = 0;
    while (at < text.length) {
        uint32_t code_point;
        size_t bytes = utf8_decode(text.data + at, text.length - at, &code_point);
        if (bytes == 0 || !jinja_is_name(code_point)) {
            break;
        }
        at += bytes;
    }
    return at;
}

static uint32_t read_digits(struct string_view text, size_t count, int base, size_t *taken) {
    uint32_t value = 0;
    for (*taken = 0; *taken < count && *taken < text.length; (*taken)++) {
        char c = text.data[*taken];
        if (!is_digit(c, base)) {
            break;
        }
        value = value * (uint32_t)base + (uint32_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return value;
}

/* Decodes one escape, `text` being what follows its backslash, into `out`. Returns the bytes
 * written, or SIZE_MAX when the escape is broken. An unknown one stays as it is, backslash
 * included. */
static size_t decode_escape(struct string_view text, size_t *taken, char out[4]) {
    static const char simple[] = "\\\\''\"\"a\ab\bf\fn\nr\rt\tv\v";
    char c = text.data[0];
    *taken = 1;
    if (c == '\n') {
        return 0;
    }
    for (const char *at = simple; *at != '\0'; at += 2) {
        if (c == at[0]) {
            out[0] = at[1];
            return 1;
        }
    }
    if (c >= '0' && c <= '7') {
        return utf8_encode(read_digits(text, 3, 8, taken), out);
    }
    size_t wanted = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (wanted == 0) { /* named characters are not offered */
        out[0] = '\\';
        *taken = 0;
        return c == 'N' ? SIZE_MAX : 1;
    }
    size_t digits;
    uint32_t code_point = read_digits(jinja_text_from(text, 1), wanted, 16, &digits);
    bool surrogate = code_point >= 0xd800 && code_point <= 0xdfff;
    if (digits < wanted || surrogate || code_point > 0x10ffff) {
        return SIZE_MAX;
    }
    *taken = 1 + wanted;
    return utf8_encode(code_point, out);
}

static bool decode_string(struct jinja_lexer *lexer, struct string_view raw,
                          struct jinja_token *token, struct error *error) {
    if (memchr(raw.data, '\\', raw.length) == NULL) {
        token->text = raw;
        return true;
    }
    char *out = arena_alloc(lexer->arena, raw.length, 1); /* an escape is never longer decoded */
    if (out == NULL) {
        return out_of_memory(error);
    }
    size_t length = 0;
    for (size_t at = 0; at < raw.length;) {
        if (raw.data[at] != '\\') {
            out[length++] = raw.data[at++];
            continue;
        }
        size_t taken;
        char decoded[4];
        size_t bytes = decode_escape(jinja_text_from(raw, at + 1), &taken, decoded);
        if (bytes == SIZE_MAX) {
            return error_set(error, ERROR_FORMAT, "line %u: broken escape in a string",
                             (unsigned)token->line);
        }
        memcpy(out + length, decoded, bytes);
        length += bytes;
        at += 1 + taken;
    }
    token->text = (struct string_view){out, length};
    return true;
}

static bool lex_string(struct jinja_lexer *lexer, struct jinja_token *token, struct error *error) {
    struct string_view rest = rest_of(lexer);
    char quote = rest.data[0];
    size_t end = 1;
    while (end < rest.length && rest.data[end] != quote) {
        end += rest.data[end] == '\\' ? 2 : 1;
    }
    if (end >= rest.length) {
        return error_set(error, ERROR_FORMAT, "line %u: unexpected char '%c'",
                         (unsigned)token->line, quote);
    }
    token->kind = JINJA_TOKEN_STRING;
    struct string_view raw = {rest.data + 1, end - 1};
    if (!decode_string(lexer, raw, token, error)) {
        return false;
    }
    advance(lexer, end + 1);
    return true;
}

/* Keeps the awaited closing brackets, so that "}}" can close two dicts. */
static bool balance(struct jinja_lexer *lexer, const struct jinja_token *token,
                    struct error *error) {
    static const char pairs[] = "(){}[]";
    const char *found = strchr(pairs, token->text.data[0]);
    if (token->text.length != 1 || found == NULL) {
        return true;
    }
    bool opens = (found - pairs) % 2 == 0;
    if (opens && lexer->bracket_count == JINJA_MAX_BRACKETS) {
        return error_set(error, ERROR_FORMAT, "line %u: too many nested brackets",
                         (unsigned)token->line);
    }
    if (opens) {
        lexer->brackets[lexer->bracket_count++] = found[1];
        return true;
    }
    bool awaited = lexer->bracket_count > 0 && lexer->brackets[lexer->bracket_count - 1] == *found;
    if (!awaited) {
        return error_set(error, ERROR_FORMAT, "line %u: unexpected '%c'", (unsigned)token->line,
                         *found);
    }
    lexer->bracket_count--;
    return true;
}

static bool lex_operator(struct jinja_lexer *lexer, struct jinja_token *token,
                         struct error *error) {
    static const char *const operators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                            "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                            ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
        if (starts_with(lexer, operators[i])) {
            token->kind = JINJA_TOKEN_OPERATOR;
            token->text = string_view_of(operators[i]);
            if (!balance(lexer, token, error)) {
                return false;
            }
            advance(lexer, token->text.length);
            return true;
        }
    }
    struct string_view rest = rest_of(lexer);
    return error_set(error, ERROR_FORMAT, "line %u: unexpected char '%.*s'", (unsigned)token->line,
                     (int)jinja_character_bytes(rest.data, rest.length), rest.data);
}

/* True when the tag ends here; the lexer is then behind it. */
static bool lex_tag_end(struct jinja_lexer *lexer, struct jinja_token *token) {
    bool block = lexer->mode == JINJA_IN_BLOCK;
    size_t bytes =
        lexer->bracket_count > 0 ? 0 : block_end_bytes(rest_of(lexer), block ? "%}" : "}}", block);
    if (bytes == 0) {
        return false;
    }
    token->kind = block ? JINJA_TOKEN_BLOCK_END : JINJA_TOKEN_OUTPUT_END;
    advance(lexer, bytes);
    lexer->mode = JINJA_IN_DATA;
    return true;
}

static bool lex_in_tag(struct jinja_lexer *lexer, struct jinja_token *token, struct error *error) {
    *token = (struct jinja_token){.kind = JINJA_TOKEN_END, .line = lexer->line};
    if (lex_tag_end(lexer, token)) {
        return true;
    }
    size_t space = jinja_leading_space(rest_of(lexer));
    if (space > 0) {
        advance(lexer, space);
        token->line = lexer->line;
        if (lex_tag_end(lexer, token)) {
            return true;
        }
    }
    struct string_view rest = rest_of(lexer);
    if (rest.length == 0) {
        return true;
    }
    char c = rest.data[0];
    if (c >= '0' && c <= '9') {
        return lex_number(lexer, token, error);
    }
    if (c == '"' || c == '\'') {
        return lex_string(lexer, token, error);
    }
    size_t name = name_bytes(rest);
    if (name == 0) {
        return lex_operator(lexer, token, error);
    }
    token->kind = JINJA_TOKEN_NAME;
    token->text = jinja_text_until(rest, name);
    advance(lexer, name);
    return true;
}

bool jinja_lexer_next(struct jinja_lexer *lexer, struct jinja_token *token, struct error *error) {
    if (lexer->mode != JINJA_IN_DATA) {
        return lex_in_tag(lexer, token, error);
    }
    if (lexer->tag_waits) {
        lexer->tag_waits = false;
        return begin_tag(lexer, token, error);
    }
    return lex_data(lexer, token, error);
}
