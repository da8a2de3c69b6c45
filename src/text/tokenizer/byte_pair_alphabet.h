/*
 * byte_pair_alphabet.h - the printable stand-ins in which byte-level vocabularies are written.
 *
 * GPT-2's alphabet: bytes 0x21-0x7E, 0xA1-0xAC and 0xAE-0xFF stand for themselves as code points;
 * the other 68, in order, are U+0100, U+0101 and so on (so a space is U+0120). Pure functions.
 */
#ifndef MISTRAL_TEXT_TOKENIZER_BYTE_PAIR_ALPHABET_H
#define MISTRAL_TEXT_TOKENIZER_BYTE_PAIR_ALPHABET_H

#include <stdbool.h>
#include <stddef.h>

/* Turns stand-ins back into bytes: out has room for `length` bytes (there are never more), or is
 * NULL when only the answer matters. False when the text holds anything that is no stand-in;
 * *out_length is then meaningless. */
bool byte_alphabet_decode(const char *text, size_t length, char *out, size_t *out_length);

#endif
