/*
 * utf8.h - UTF-8 as Unicode 15 table 3-7 defines it: no overlong forms, no surrogates, none past
 * U+10FFFF. Pure functions.
 */
#ifndef MISTRAL_BASE_UTF8_H
#define MISTRAL_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes one code point from text[0..length). Returns the bytes it took (1 to 4), or 0 when the
 * bytes are not well-formed or end too early. length 0 gives 0. */
size_t utf8_decode(const char *text, size_t length, uint32_t *code_point);

/* Writes 1 to 4 bytes; returns how many. A surrogate or a value past U+10FFFF is written as U+FFFD.
 */
size_t utf8_encode(uint32_t code_point, char out[4]);

/* True when all bytes are well-formed; else *bad_at (may be NULL) is the offset of the first that
 * is not. */
bool utf8_validate(const char *text, size_t length, size_t *bad_at);

/* How many bytes at the end of text are the start of a well-formed sequence that is not yet
 * complete (0 to 3). A streamer holds them back until more arrive. */
size_t utf8_incomplete_tail(const char *text, size_t length);

#endif
