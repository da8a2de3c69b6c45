/* byte_pair_alphabet.c - see byte_pair_alphabet.h. */
#include "text/tokenizer/byte_pair_alphabet.h"

#include "base/utf8.h"

/* The 68 bytes without a printable code point of their own, as runs; U+0100 stands for the first.
 */
static const struct {
    unsigned char first, count;
} hidden_runs[] = {{0x00, 33}, {0x7f, 34}, {0xad, 1}};

static int hidden_byte(uint32_t index) {
    for (size_t i = 0; i < sizeof hidden_runs / sizeof hidden_runs[0]; i++) {
        if (index < hidden_runs[i].count) {
            return (int)(hidden_runs[i].first + index);
        }
        index -= hidden_runs[i].count;
    }
    return -1;
}

static int byte_of(uint32_t code_point) {
    if ((code_point >= 0x21 && code_point <= 0x7e) || (code_point >= 0xa1 && code_point <= 0xac) ||
        (code_point >= 0xae && code_point <= 0xff)) {
        return (int)code_point;
    }
    return code_point >= 0x100 ? hidden_byte(code_point - 0x100) : -1;
}

bool byte_alphabet_decode(const char *text, size_t length, char *out, size_t *out_length) {
    size_t count = 0;
    for (size_t at = 0; at < length;) {
        uint32_t code_point;
        size_t taken = utf8_decode(text + at, length - at, &code_point);
        int byte = taken == 0 ? -1 : byte_of(code_point);
        if (byte < 0) {
            return false;
        }
        if (out != NULL) {
            out[count] = (char)byte;
        }
        count++;
        at += taken;
    }
    *out_length = count;
    return true;
}
