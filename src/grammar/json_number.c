/*
 * json_number.c - json_number of grammar_json.h: numbers between bounds, compared digit by digit.
 *
 * An automaton per sign. Its states are how long the integer part is, how many digits have been
 * read, and whether they are still those of the lower or of the upper bound: only then does a bound
 * restrict the next digit. For multiples, also the remainder so far.
 */
#include "base/bytes.h"
#include "grammar/grammar_internal.h"
#include "grammar/grammar_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DIGITS = 16,      /* before and after the point; more before it where a bound has more */
    MOST_DIGITS = 20, /* of a bound, before and after the point */
    MOST_STATES = 60000,
    END = 1
};

#define NO_STEP SIZE_MAX

struct decimal {
    char whole[MOST_DIGITS + 1], fraction[MOST_DIGITS + 1]; /* digits; whole has no leading zero */
    size_t whole_length, fraction_length;
};

struct digits {
    struct grammar_builder *builder;
    struct decimal low, high;
    bool has_high, low_is_excluded, high_is_excluded, integers_only;
    uint32_t modulus; /* of the number times ten to the `decimals` */
    size_t decimals;  /* digits behind the point at most; NO_STEP: as many as there may be */
    POOL(struct grammar_arc) arcs;
    uint32_t *numbers; /* of states by key, 0: none yet */
    uint32_t count;
    bool failed;
};

/* Where a number is being read. */
struct place {
    size_t length, read; /* digits of the integer part, digits read of it or of the fraction */
    bool in_fraction, at_low, at_high;
    uint32_t remainder;
};

/* The shortest decimal that reads back as `value` (not negative); false: too many digits. */
static bool decimal_of(double value, struct decimal *out) {
    char text[40], digits[20];
    int precision = 0, exponent = 0;
    do {
        snprintf(text, sizeof text, "%.*e", precision, value);
    } while (strtod(text, NULL) != value && ++precision < 17);
    size_t count = 0;
    for (const char *at = text; *at != 'e'; at++) {
        if (*at != '.' && count < sizeof digits) {
            digits[count++] = *at;
        }
    }
    exponent = (int)strtol(strchr(text, 'e') + 1, NULL, 10);
    while (count > 1 && digits[count - 1] == '0') {
        count--;
    }
    *out = (struct decimal){.whole_length = exponent < 0 ? 1 : (size_t)exponent + 1};
    size_t zeros = exponent < 0 ? (size_t)(-exponent - 1) : 0;
    size_t after = exponent < 0                   ? zeros + count
                   : count > (size_t)exponent + 1 ? count - (size_t)exponent - 1
                                                  : 0;
    if (out->whole_length > MOST_DIGITS || after > MOST_DIGITS) {
        return value == 0 && (*out = (struct decimal){"0", "", 1, 0}, true);
    }
    out->fraction_length = value == 0 ? 0 : after;
    memset(out->whole, '0', out->whole_length);
    memset(out->fraction, '0', after);
    for (size_t i = 0; i < count; i++) {
        if (exponent >= 0 && i <= (size_t)exponent) {
            out->whole[i] = digits[i];
        } else {
            out->fraction[exponent >= 0 ? i - (size_t)exponent - 1 : zeros + i] = digits[i];
        }
    }
    return true;
}

static uint32_t state_at(struct digits *d, struct place p) {
    size_t key = p.length * 2 + p.in_fraction;
    key = key * (MOST_DIGITS + 2) + p.read;
    key = (key * 4 + p.at_low * 2U + p.at_high) * d->modulus + p.remainder;
    if (d->numbers[key] == 0) {
        d->failed = d->failed || d->count >= MOST_STATES;
        d->numbers[key] = d->count++;
    }
    return d->numbers[key];
}

static void add_arc(struct digits *d, uint32_t from, uint32_t to, grammar_expr label) {
    if (!POOL_RESERVE(&d->arcs, 1)) {
        d->failed = true;
        return;
    }
    d->arcs.items[d->arcs.count++] = (struct grammar_arc){from, to, label};
}

static char digit_of(const struct decimal *bound, bool in_fraction, size_t at) {
    if (!in_fraction) {
        return bound->whole[at];
    }
    return at < bound->fraction_length ? bound->fraction[at] : '0';
}

/* Whether the number may end here, all digits of the integer part being read. */
static bool may_end(const struct digits *d, struct place p) {
    size_t read = p.in_fraction ? p.read : 0;
    uint64_t remainder = p.remainder;
    for (size_t i = read; d->decimals != NO_STEP && i < d->decimals; i++) {
        remainder = remainder * 10 % d->modulus; /* digits that are not written are zeros */
    }
    if (remainder != 0 || (p.at_low && (read < d->low.fraction_length || d->low_is_excluded))) {
        return false; /* a bound's fraction ends with no zero: what is left of it is above zero */
    }
    return !(p.at_high && d->high_is_excluded && read >= d->high.fraction_length);
}

static void read_digits(struct digits *d, struct place p);

/* The states after one more digit, by whether it is a bound's own: between them, one range. */
static void read_one(struct digits *d, struct place p) {
    char from = p.at_low ? digit_of(&d->low, p.in_fraction, p.read) : '0';
    char to = p.at_high ? digit_of(&d->high, p.in_fraction, p.read) : '9';
    if (!p.in_fraction && p.read == 0 && p.length > 1 && from == '0') {
        from = '1';
    }
    uint32_t here = state_at(d, p);
    for (char digit = from; digit <= to; digit++) {
        struct place next = p;
        next.read++;
        next.at_low = p.at_low && digit == digit_of(&d->low, p.in_fraction, p.read);
        next.at_high = p.at_high && digit == digit_of(&d->high, p.in_fraction, p.read);
        next.remainder = (p.remainder * 10 + (uint32_t)(digit - '0')) % d->modulus;
        uint32_t before = d->count, state = state_at(d, next);
        add_arc(d, here, state, grammar_byte_range(d->builder, (uint8_t)digit, (uint8_t)digit));
        if (d->count > before && !d->failed) {
            read_digits(d, next);
        }
    }
}

/* What may follow at a place that was just reached for the first time; as deep as a number has
 * digits. */
static void read_digits(struct digits *d, struct place p) {
    if (!p.in_fraction && p.read < p.length) {
        read_one(d, p);
        return;
    }
    if (may_end(d, p) && (!p.in_fraction || p.read > 0)) {
        add_arc(d, state_at(d, p), END, GRAMMAR_EMPTY);
    }
    size_t most = d->decimals != NO_STEP
                      ? d->decimals
                      : size_max(DIGITS, size_max(d->low.fraction_length, d->high.fraction_length));
    if (p.in_fraction && p.read < most) {
        read_one(d, p);
    } else if (!p.in_fraction && !d->integers_only && most > 0) {
        struct place fraction = p;
        fraction.in_fraction = true;
        fraction.read = 0;
        uint32_t before = d->count, state = state_at(d, fraction);
        add_arc(d, state_at(d, p), state, grammar_text(d->builder, "."));
        if (d->count > before && !d->failed) {
            read_digits(d, fraction);
        }
    }
}

/* Numbers without a sign from low to high. */
static grammar_expr unsigned_range(struct digits *d) {
    size_t keys = (size_t)(MOST_DIGITS + 1) * 2 * (MOST_DIGITS + 2) * 4 * d->modulus;
    d->numbers = calloc(keys, sizeof *d->numbers);
    d->count = 2;
    size_t longest = d->has_high ? d->high.whole_length : size_max(DIGITS, d->low.whole_length);
    for (size_t length = d->low.whole_length; d->numbers != NULL && length <= longest; length++) {
        struct place start = {.length = length,
                              .at_low = length == d->low.whole_length,
                              .at_high = d->has_high && length == d->high.whole_length};
        uint32_t state = state_at(d, start);
        add_arc(d, 0, state, GRAMMAR_EMPTY);
        read_digits(d, start);
    }
    grammar_expr expr = GRAMMAR_EMPTY;
    if (d->numbers == NULL || d->failed) {
        struct error error;
        error_set(&error, ERROR_UNSUPPORTED, "a number's bounds are too much for a grammar");
        expr = grammar_builder_fail(d->builder, &error);
    } else {
        expr = grammar_automaton(d->builder, d->count, d->arcs.items, d->arcs.count);
    }
    free(d->numbers);
    free(d->arcs.items);
    return expr;
}

/* From low (at least 0) to high; NOTHING when that is empty. */
static grammar_expr magnitude_range(struct json_parts *parts, const struct json_number_range *range,
                                    double low, bool low_is_excluded, bool has_high, double high,
                                    bool high_is_excluded) {
    struct digits d = {.builder = parts->builder,
                       .has_high = has_high,
                       .low_is_excluded = low_is_excluded,
                       .high_is_excluded = high_is_excluded,
                       .integers_only = range->integers_only,
                       .modulus = range->multiple_of > 0 ? range->multiple_of : 1,
                       .decimals = range->multiple_of > 0 ? range->multiple_decimals : NO_STEP};
    high = has_high ? fabs(high) : 0;
    low = fabs(low);
    if (has_high && (low > high || (low == high && (low_is_excluded || high_is_excluded)))) {
        return grammar_choice(parts->builder, NULL, 0);
    }
    /* No number that is written has more digits before the point: as good as no bound. */
    if (has_high && high >= 1e17) {
        d.has_high = d.high_is_excluded = false;
        high = 0;
    }
    if (!decimal_of(low, &d.low) || !decimal_of(high, &d.high)) {
        struct error error;
        error_set(&error, ERROR_UNSUPPORTED,
                  "a number's bound has more than %d digits before or after the point",
                  MOST_DIGITS);
        return grammar_builder_fail(parts->builder, &error);
    }
    return unsigned_range(&d);
}

grammar_expr json_number(struct json_parts *parts, const struct json_number_range *range) {
    bool any_sign = !range->has_low && !range->has_high;
    if (any_sign &&
        (range->multiple_of == 0 || (range->multiple_of == 1 && range->integers_only))) {
        return range->integers_only ? parts->integer : parts->number;
    }
    grammar_expr choices[2];
    size_t count = 0;
    if (!range->has_high || range->high >= 0) {
        bool from_low = range->has_low && range->low >= 0;
        choices[count++] = magnitude_range(parts, range, from_low ? range->low : 0,
                                           from_low && range->low_is_excluded, range->has_high,
                                           range->high, range->high_is_excluded);
    }
    if (!range->has_low || range->low <= 0) {
        bool to_high = range->has_high && range->high <= 0;
        grammar_expr magnitude = magnitude_range(parts, range, to_high ? -range->high : 0,
                                                 to_high && range->high_is_excluded, range->has_low,
                                                 -range->low, range->low_is_excluded);
        choices[count++] =
            grammar_sequence_of(parts->builder, 2, grammar_text(parts->builder, "-"), magnitude);
    }
    return grammar_choice(parts->builder, choices, count);
}
