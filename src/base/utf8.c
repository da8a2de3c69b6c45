/* utf8.c - see utf8.h. */
#include "base/utf8.h"

#include "base/bytes.h"

/* Length of the sequence a lead byte announces, and the range its second byte must lie in. */
struct lead {
    size_t length; /* 0: not a lead byte */
    uint8_t second_low, second_high;
};

static struct lead lead_of(uint8_t byte) {
    if (byte < 0x80) {
        return (struct lead){1, 0, 0};
    }
    if (byte >= 0xc2 && byte <= 0xdf) {
        return (struct lead){2, 0x80, 0xbf};
    }
    if (byte >= 0xe0 && byte <= 0xef) {
        return (struct lead){3, byte == 0xe0 ? 0xa0 : 0x80, byte == 0xed ? 0x9f : 0xbf};
    }
    if (byte >= 0xf0 && byte <= 0xf4) {
        return (struct lead){4, byte == 0xf0 ? 0x90 : 0x80, byte == 0xf4 ? 0x8f : 0xbf};
    }
    return (struct lead){0, 0, 0};
}

/* How many bytes of the sequence at text are present and well-formed so far. */
static size_t well_formed_prefix(const uint8_t *bytes, size_t length, struct lead lead) {
    if (lead.length < 2 || length < 2) {
        return lead.length == 0 ? 0 : 1;
    }
    if (bytes[1] < lead.second_low || bytes[1] > lead.second_high) {
        return 1;
    }
    size_t i = 2;
    while (i < lead.length && i < length && (bytes[i] & 0xc0) == 0x80) {
        i++;
    }
    return i;
}

size_t utf8_decode(const char *text, size_t length, uint32_t *code_point) {
    if (length == 0) {
        return 0;
    }
    const uint8_t *bytes = (const uint8_t *)text;
    struct lead lead = lead_of(bytes[0]);
    if (lead.length == 0 || well_formed_prefix(bytes, length, lead) != lead.length) {
        return 0;
    }
    static const uint8_t lead_mask[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t value = bytes[0] & lead_mask[lead.length];
    for (size_t i = 1; i < lead.length; i++) {
        value = value << 6 | (bytes[i] & 0x3f);
    }
    *code_point = value;
    return lead.length;
}

size_t utf8_encode(uint32_t code_point, char out[4]) {
    if (code_point > 0x10ffff || (code_point >= 0xd800 && code_point <= 0xdfff)) {
        code_point = 0xfffd;
    }
    if (code_point < 0x80) {
        out[0] = (char)code_point;
        return 1;
    }
    size_t length = code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
    static const uint8_t lead_bits[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = length - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code_point & 0x3f));
        code_point >>= 6;
    }
    out[0] = (char)(lead_bits[length] | code_point);
    return length;
}

bool utf8_validate(const char *text, size_t length, size_t *bad_at) {
    size_t at = 0;
    while (at < length) {
        uint32_t code_point;
        size_t taken = utf8_decode(text + at, length - at, &code_point);
        if (taken == 0) {
            if (bad_at != NULL) {
                *bad_at = at;
            }
            return false;
        }
        at += taken;
    }
    return true;
}

size_t utf8_incomplete_tail(const char *text, size_t length) {
    const uint8_t *bytes = (const uint8_t *)text;
    for (size_t back = 1; back <= size_min(3, length); back++) {
        struct lead lead = lead_of(bytes[length - back]);
        if (lead.length == 0) {
            continue; /* a continuation byte, or never valid: look further back */
        }
        bool unfinished =
            lead.length > back && well_formed_prefix(bytes + length - back, back, lead) == back;
        return unfinished ? back : 0;
    }
    return 0;
}
