/*
 * text.h - what Python's str knows about text: characters, white space, case, lines, search.
 *
 * Text is valid UTF-8; an index counts code points unless it says bytes. Pure functions.
 */
#ifndef MISTRAL_TEXT_JINJA_TEXT_H
#define MISTRAL_TEXT_JINJA_TEXT_H

#include "base/string_view.h"
#include "text/jinja/render.h"

#include <stdint.h>

#define JINJA_NOT_FOUND SIZE_MAX

/* Code points. */
size_t jinja_text_length(struct string_view text);
/* Bytes of the character that starts at `text`; 1 where the bytes are not UTF-8, 0 at the end. */
size_t jinja_character_bytes(const char *text, size_t length);
/* Byte offset of code point `index`; the length in bytes when the text is shorter. */
size_t jinja_text_offset(struct string_view text, size_t index);
struct string_view jinja_text_from(struct string_view text, size_t byte_offset);
struct string_view jinja_text_until(struct string_view text, size_t byte_end);

/* str.isspace() of one character; also what \s matches. */
bool jinja_is_space(uint32_t code_point);
/* Bytes of white space at the start, and at the end, of a text. */
size_t jinja_leading_space(struct string_view text);
size_t jinja_trailing_space(struct string_view text);

enum jinja_strip_sides { JINJA_STRIP_LEFT = 1, JINJA_STRIP_RIGHT = 2, JINJA_STRIP_BOTH = 3 };
/* `characters` NULL: white space. */
struct string_view jinja_text_strip(struct string_view text, const struct string_view *characters,
                                    enum jinja_strip_sides sides);

/* The same, paid for character by character; false when it cannot be. */
bool jinja_text_strip_paid(struct jinja_render *render, struct string_view *text,
                           const struct string_view *characters, enum jinja_strip_sides sides);

/* Byte offset of the first (last) occurrence at or after `from`, or JINJA_NOT_FOUND. An empty
 * needle is found at once. */
size_t jinja_text_find(struct string_view text, struct string_view needle, size_t from);
size_t jinja_text_find_last(struct string_view text, struct string_view needle);
/* The same, paid for by what is looked at, a window after the other; false when it cannot be. */
bool jinja_search(struct jinja_render *render, struct string_view text, struct string_view needle,
                  size_t from, size_t *found);
bool jinja_search_last(struct jinja_render *render, struct string_view text,
                       struct string_view needle, size_t *found);
bool jinja_text_starts_with(struct string_view text, struct string_view prefix);
bool jinja_text_ends_with(struct string_view text, struct string_view suffix);

/* str.splitlines(): takes the next line off `rest`; *ending is its terminator. False when there is
 * none left. */
bool jinja_next_line(struct string_view *rest, struct string_view *line,
                     struct string_view *ending);

void jinja_append_upper(struct jinja_builder *builder, struct string_view text);
void jinja_append_lower(struct jinja_builder *builder, struct string_view text);
/* The first character in title case, the rest in lower case. */
void jinja_append_capitalized(struct jinja_builder *builder, struct string_view text);
/* str.title(): a capital after every character that is not a letter. */
void jinja_append_title(struct jinja_builder *builder, struct string_view text);

/* str.isalpha() and its like, of one character. */
bool jinja_is_alpha(uint32_t code_point);
bool jinja_is_decimal(uint32_t code_point);
bool jinja_is_alphanumeric(uint32_t code_point);
bool jinja_is_upper(uint32_t code_point);
bool jinja_is_lower(uint32_t code_point);
bool jinja_is_printable(uint32_t code_point); /* as repr() decides */
bool jinja_is_name(uint32_t code_point);      /* can be part of a variable's name */

#endif
