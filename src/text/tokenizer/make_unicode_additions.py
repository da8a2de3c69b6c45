"""Writes unicode_additions.h: the characters that Unicode 15 and 16 added, by kind.

Needs Python 3.11, whose unicodedata is Unicode 14, and unicodedata2==16.0.0 from PyPI:
    python3.11 src/text/tokenizer/make_unicode_additions.py > src/text/tokenizer/unicode_additions.h
"""

import unicodedata as before

import unicodedata2 as after

assert before.unidata_version == "14.0.0" and after.unidata_version == "16.0.0"

GROUPS = {
    "NEW_UPPER_ISH": ("Lu", "Lt", "Lm", "Lo", "Mn", "Mc", "Me"),
    "NEW_LOWER_ISH": ("Ll", "Lm", "Lo", "Mn", "Mc", "Me"),
    "NEW_LETTERS": ("Lu", "Ll", "Lt", "Lm", "Lo"),
    "NEW_NUMBERS": ("Nd", "Nl", "No"),
    "NEW_MARKS": ("Mn", "Mc", "Me"),
    "NEW_SIGNS": ("Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So"),
}
OPENING = """/*
 * unicode_additions.h - the letters, marks, numbers and signs of Unicode 16 that Unicode 14 lacks.
 *
 * PCRE2 10.40 to 10.42, which Debian 12 and Ubuntu 24.04 carry, know Unicode 14; the tokenizers
 * that models are trained with know 16. Pre-tokenizer patterns name these ranges beside \\p{...}, so
 * that text is cut the same way with either. Written by make_unicode_additions.py.
 */
#ifndef MISTRAL_TEXT_TOKENIZER_UNICODE_ADDITIONS_H
#define MISTRAL_TEXT_TOKENIZER_UNICODE_ADDITIONS_H

/* Each for the inside of a class; "upper-ish" and "lower-ish" are the halves of Tekken's words,
 * "signs" are punctuation and symbols. */
/* clang-format off */"""
CLOSING = """/* clang-format on */

#endif"""


def is_new(point, categories):
    character = chr(point)
    return before.category(character) == "Cn" and after.category(character) in categories


def ranges(categories):
    first = None
    for point in range(0x110001):
        inside = point < 0x110000 and is_new(point, categories)
        if inside and first is None:
            first = point
        elif not inside and first is not None:
            yield first, point - 1
            first = None


def spell(first, last):
    return f"\\\\x{{{first:x}}}" + (f"-\\\\x{{{last:x}}}" if last > first else "")


def main():
    print(OPENING)
    for name, categories in GROUPS.items():
        lines, line = [], ""
        for first, last in ranges(categories):
            piece = spell(first, last)
            if len(line) + len(piece) > 88:
                lines.append(line)
                line = ""
            line += piece
        lines.append(line)
        print(f"#define {name} \\")
        print(" \\\n".join(f'    "{text}"' for text in lines))
    print(CLOSING)


if __name__ == "__main__":
    main()
