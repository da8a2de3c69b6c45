/*
 * utf8_ranges.c - a range of code points as ranges of byte sequences (R. Cox, "Regular Expression
 * Matching in the Wild", 2010: split until each byte ranges on its own). Pure.
 */
#include "grammar/grammar_internal.h"

#include "base/utf8.h"

/* Cuts until low and high differ, below their first differing byte, over whole ranges of
 * continuation bytes only. At most two cuts a byte deep. */
static void split_range(uint32_t low, uint32_t high, utf8_range_fn *emit, void *context) {
    for (uint32_t mask = 0x3f; mask <= 0x3ffff; mask = mask << 6 | 0x3f) {
        if ((low & ~mask) == (high & ~mask)) {
            break;
        }
        if ((low & mask) != 0) {
            split_range(low, low | mask, emit, context);
            split_range((low | mask) + 1, high, emit, context);
            return;
        }
        if ((high & mask) != mask) {
            split_range(low, (high & ~mask) - 1, emit, context);
            split_range(high & ~mask, high, emit, context);
            return;
        }
    }
    char low_bytes[4], high_bytes[4];
    size_t length = utf8_encode(low, low_bytes);
    (void)utf8_encode(high, high_bytes);
    emit(context, (const uint8_t *)low_bytes, (const uint8_t *)high_bytes, length);
}

void utf8_ranges(uint32_t low, uint32_t high, utf8_range_fn *emit, void *context) {
    static const struct code_point_range lengths[] = {
        {0, 0x7f}, {0x80, 0x7ff}, {0x800, 0xd7ff}, {0xe000, 0xffff}, {0x10000, 0x10ffff}};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        uint32_t from = low > lengths[i].low ? low : lengths[i].low;
        uint32_t to = high < lengths[i].high ? high : lengths[i].high;
        if (from > to) {
            continue;
        }
        if (to <= 0x7f) {
            const uint8_t first[4] = {(uint8_t)from}, last[4] = {(uint8_t)to};
            emit(context, first, last, 1);
        } else {
            split_range(from, to, emit, context);
        }
    }
}
