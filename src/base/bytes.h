/*
 * bytes.h - arithmetic and reads that must not be got wrong on bytes from outside.
 *
 * Sizes from a file are multiplied and added with these, so that an overflow is an answer, never a
 * wrapped number. Integers in files are little-endian and may be unaligned.
 */
#ifndef MISTRAL_BASE_BYTES_H
#define MISTRAL_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* *out = a * b (a + b); false, with *out untouched, when the result does not fit. */
static inline bool size_multiply(size_t a, size_t b, size_t *out) {
    size_t product;
    if (__builtin_mul_overflow(a, b, &product)) {
        return false;
    }
    *out = product;
    return true;
}

static inline bool size_add(size_t a, size_t b, size_t *out) {
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum)) {
        return false;
    }
    *out = sum;
    return true;
}

static inline size_t size_min(size_t a, size_t b) {
    return a < b ? a : b;
}

static inline size_t size_max(size_t a, size_t b) {
    return a > b ? a : b;
}

static inline size_t size_divide_up(size_t a, size_t b) {
    return a / b + (a % b != 0);
}

static inline uint16_t load_u16_le(const void *at) {
    const uint8_t *b = at;
    return (uint16_t)(b[0] | (b[1] << 8));
}

static inline uint32_t load_u32_le(const void *at) {
    const uint8_t *b = at;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static inline uint64_t load_u64_le(const void *at) {
    const uint8_t *b = at;
    return (uint64_t)load_u32_le(b) | (uint64_t)load_u32_le(b + 4) << 32;
}

static inline float load_f32_le(const void *at) {
    uint32_t bits = load_u32_le(at);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline double load_f64_le(const void *at) {
    uint64_t bits = load_u64_le(at);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

#endif
