/* detokenizer.c - tokenizer.h's streaming detokenizer: bytes in, whole UTF-8 characters out. */
#include "base/bytes.h"
#include "base/utf8.h"
#include "text/tokenizer/tokenizer.h"

#include <string.h>

static const char REPLACEMENT[] = "\xef\xbf\xbd"; /* U+FFFD */

/* How many bytes one replacement character stands for: the longest beginning of a well-formed
 * sequence, at least one byte (Unicode 15, section 3.9, "maximal subpart"). */
static size_t bad_length(const char *text, size_t length) {
    for (size_t size = size_min(3, length); size > 1; size--) {
        if (utf8_incomplete_tail(text, size) == size) {
            return size;
        }
    }
    return 1;
}

/* Appends what of text[0..length) is decided; returns how many bytes at its end are not: the
 * beginning of a character that more bytes may complete. */
static size_t append_decided(const char *text, size_t length, struct string_buffer *out) {
    size_t open = utf8_incomplete_tail(text, length);
    size_t decided = length - open;
    for (size_t at = 0; at < decided;) {
        size_t bad_at = decided - at;
        bool good = utf8_validate(text + at, decided - at, &bad_at);
        string_buffer_append(out, text + at, bad_at);
        at += bad_at;
        if (!good) {
            at += bad_length(text + at, decided - at);
            string_buffer_append(out, REPLACEMENT, sizeof REPLACEMENT - 1);
        }
    }
    return open;
}

/* Completes the pending character byte by byte, at most to its end. Returns the bytes taken. */
static size_t complete_pending(struct detokenizer *detokenizer, struct string_view bytes,
                               struct string_buffer *out) {
    size_t taken = 0;
    while (detokenizer->pending_length > 0 && taken < bytes.length) {
        char joined[sizeof detokenizer->pending];
        size_t length = detokenizer->pending_length;
        memcpy(joined, detokenizer->pending, length);
        joined[length++] = bytes.data[taken++];
        size_t open = append_decided(joined, length, out);
        memmove(detokenizer->pending, joined + length - open, open);
        detokenizer->pending_length = open;
    }
    return taken;
}

/* A hidden token between marks, which ends whatever character is unfinished; false when it is not
 * hidden. */
static bool push_marked(struct detokenizer *detokenizer, int32_t id, struct string_buffer *out) {
    struct string_view shown = tokenizer_piece(detokenizer->tokenizer, id, true);
    if (shown.length == 0 || tokenizer_piece(detokenizer->tokenizer, id, false).length != 0) {
        return false;
    }
    detokenizer_finish(detokenizer, out);
    string_buffer_append_text(out, "\xef\xb7\x90");
    append_decided(shown.data, shown.length, out);
    string_buffer_append_text(out, "\xef\xb7\x91");
    return true;
}

void detokenizer_push(struct detokenizer *detokenizer, int32_t id, struct string_buffer *out) {
    if (detokenizer->mark_special && push_marked(detokenizer, id, out)) {
        return;
    }
    struct string_view bytes =
        tokenizer_piece(detokenizer->tokenizer, id, detokenizer->show_special);
    if (bytes.length == 0) {
        return;
    }
    if (!detokenizer->started && bytes.data[0] == ' ' &&
        tokenizer_strips_leading_space(detokenizer->tokenizer)) {
        bytes.data++;
        bytes.length--;
    }
    detokenizer->started = true;
    size_t taken = complete_pending(detokenizer, bytes, out);
    bytes.data += taken;
    bytes.length -= taken;
    if (bytes.length > 0) {
        size_t open = append_decided(bytes.data, bytes.length, out);
        memcpy(detokenizer->pending, bytes.data + bytes.length - open, open);
        detokenizer->pending_length = open;
    }
}

void detokenizer_finish(struct detokenizer *detokenizer, struct string_buffer *out) {
    if (detokenizer->pending_length > 0) {
        string_buffer_append(out, REPLACEMENT, sizeof REPLACEMENT - 1);
        detokenizer->pending_length = 0;
    }
}
