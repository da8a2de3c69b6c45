/*
 * unicode_nfc.c - see unicode_nfc.h.
 *
 * utf8proc decomposes and composes. Its own reordering of combining marks swaps neighbours, which
 * takes quadratic time on a long run of marks, and the text comes from a client; so marks are
 * brought into order here first, by counting, and utf8proc only composes.
 */
#include "text/tokenizer/unicode_nfc.h"

#include "base/bytes.h"
#include "base/utf8.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum {
    CANONICAL_EXPANSION_MAX = 4, /* code points one code point decomposes to (UAX #15, table 9) */
    CLASS_COUNT = 256,
};

/* utf8proc's options are an enum whose values are meant to be joined. */
/* NOLINTBEGIN(clang-analyzer-optin.core.EnumCastOutOfRange) */
static const utf8proc_option_t DECOMPOSE =
    (utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
static const utf8proc_option_t COMPOSE = (utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
/* NOLINTEND(clang-analyzer-optin.core.EnumCastOutOfRange) */

static int combining_class(int32_t code_point) {
    return utf8proc_get_property(code_point)->combining_class;
}

/* Sorts a run of marks by combining class, equal ones staying in place: a counting sort. */
static void sort_marks(int32_t *marks, int32_t *copy, size_t count) {
    size_t place[CLASS_COUNT + 1] = {0};
    for (size_t i = 0; i < count; i++) {
        place[combining_class(marks[i]) + 1]++;
    }
    for (size_t i = 0; i < CLASS_COUNT; i++) {
        place[i + 1] += place[i];
    }
    memcpy(copy, marks, count * sizeof *marks);
    for (size_t i = 0; i < count; i++) {
        marks[place[combining_class(copy[i])]++] = copy[i];
    }
}

/* A single mark, the common case, is in order already. */
static void order_marks(int32_t *points, int32_t *copy, size_t count) {
    for (size_t at = 0; at < count;) {
        size_t end = at;
        while (end < count && combining_class(points[end]) != 0) {
            end++;
        }
        if (end - at > 1) {
            sort_marks(points + at, copy, end - at);
        }
        at = end + 1;
    }
}

/* Canonical decomposition of well-formed UTF-8; points: room for four times the code points. */
static size_t decompose(const char *text, size_t length, int32_t *points) {
    size_t count = 0;
    for (size_t at = 0; at < length;) {
        uint32_t code_point = 0;
        at += utf8_decode(text + at, length - at, &code_point);
        int boundary = 0;
        utf8proc_ssize_t written = utf8proc_decompose_char(
            (int32_t)code_point, points + count, CANONICAL_EXPANSION_MAX, DECOMPOSE, &boundary);
        if (written < 1 || written > CANONICAL_EXPANSION_MAX) {
            points[count++] = (int32_t)code_point;
        } else {
            count += (size_t)written;
        }
    }
    return count;
}

static bool append_composed(const char *text, size_t length, struct string_buffer *out) {
    size_t bytes;
    bool done = false;
    int32_t *points = NULL;
    int32_t *copy = NULL;
    if (!size_multiply(length, CANONICAL_EXPANSION_MAX * sizeof *points, &bytes)) {
        goto cleanup;
    }
    points = malloc(bytes);
    copy = malloc(bytes);
    if (points == NULL || copy == NULL) {
        goto cleanup;
    }
    size_t count = decompose(text, length, points);
    order_marks(points, copy, count);
    utf8proc_ssize_t composed = utf8proc_normalize_utf32(points, (utf8proc_ssize_t)count, COMPOSE);
    for (utf8proc_ssize_t i = 0; i < composed; i++) {
        char encoded[4];
        string_buffer_append(out, encoded, utf8_encode((uint32_t)points[i], encoded));
    }
    done = composed >= 0 && !out->failed;
cleanup:
    free(points);
    free(copy);
    return done;
}

/* Every code point below U+0300 stays as it is in form C; lead bytes from 0xCC on begin the others.
 */
static bool is_stable(const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] >= 0xcc) {
            return false;
        }
    }
    return true;
}

bool unicode_nfc(const char *text, size_t length, struct string_buffer *out, struct error *error) {
    while (length > 0) {
        size_t good = length;
        utf8_validate(text, length, &good);
        if (is_stable(text, good)) {
            string_buffer_append(out, text, good);
        } else if (!append_composed(text, good, out)) {
            out->failed = true;
        }
        if (good < length) {
            string_buffer_append_char(out, text[good++]);
        }
        text += good;
        length -= good;
    }
    return !out->failed || error_set(error, ERROR_OUT_OF_MEMORY, "no memory to normalize a text");
}
