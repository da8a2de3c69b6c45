/*
 * unicode_nfc.h - Unicode's normalization form C (UAX #15), in time linear in the text.
 *
 * Pure functions; safe on any thread.
 */
#ifndef MISTRAL_TEXT_TOKENIZER_UNICODE_NFC_H
#define MISTRAL_TEXT_TOKENIZER_UNICODE_NFC_H

#include "base/error.h"
#include "base/string_buffer.h"

#include <stdbool.h>
#include <stddef.h>

/* Appends the text in form C to `out`. Bytes that are not UTF-8 are kept as they are and end what
 * may be composed or reordered. False only when memory runs out. */
bool unicode_nfc(const char *text, size_t length, struct string_buffer *out, struct error *error);

#endif
