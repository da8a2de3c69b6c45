/*
 * quant_codec.c - decodes and encodes tensor blocks, for tests written in Python.
 *
 *   quant_codec decode Q4_K   blocks on standard input → little-endian f32 on standard output
 *   quant_codec encode Q4_K   f32 → blocks
 *
 * Input must be a whole number of blocks. The buffers are exactly as long as their contents, so a
 * sanitizer sees a codec that reads or writes a byte too far.
 */
#include "base/bytes.h"
#include "quant/quant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct quant_format *format_by_name(const char *name) {
    for (uint32_t type = 0; quant_type_name(type) != NULL; type++) {
        if (strcmp(quant_type_name(type), name) == 0) {
            return quant_format_of(type);
        }
    }
    return NULL;
}

/* All of standard input, in memory of exactly that size. */
static uint8_t *read_input(size_t *length) {
    uint8_t *bytes = NULL;
    size_t capacity = 0;
    *length = 0;
    for (;;) {
        if (*length == capacity) {
            capacity = capacity == 0 ? 65536 : capacity * 2;
            uint8_t *grown = realloc(bytes, capacity);
            if (grown == NULL) {
                free(bytes);
                return NULL;
            }
            bytes = grown;
        }
        size_t got = fread(bytes + *length, 1, capacity - *length, stdin);
        *length += got;
        if (got == 0) {
            break;
        }
    }
    uint8_t *exact = malloc(*length > 0 ? *length : 1);
    if (exact != NULL) {
        memcpy(exact, bytes, *length);
    }
    free(bytes);
    return exact;
}

static int write_output(const void *bytes, size_t length) {
    bool written = fwrite(bytes, 1, length, stdout) == length && fflush(stdout) == 0;
    return written ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int convert(const struct quant_format *format, bool decode, const uint8_t *input,
                   size_t length) {
    size_t unit = decode ? format->block_bytes : format->block_values * sizeof(float);
    if (length % unit != 0) {
        fprintf(stderr, "%zu bytes are not a whole number of blocks of %zu\n", length, unit);
        return EXIT_FAILURE;
    }
    if (!decode && format->encode == NULL) {
        fprintf(stderr, "%s is only read\n", format->name);
        return EXIT_FAILURE;
    }
    size_t blocks = length / unit;
    size_t count = blocks * format->block_values;
    size_t output_bytes = decode ? count * sizeof(float) : blocks * format->block_bytes;
    void *output = malloc(output_bytes > 0 ? output_bytes : 1);
    if (output == NULL) {
        fprintf(stderr, "out of memory\n");
        return EXIT_FAILURE;
    }
    if (decode) {
        format->decode(input, output, count);
    } else {
        format->encode((const float *)(const void *)input, output, count);
    }
    int status = write_output(output, output_bytes);
    free(output);
    return status;
}

int main(int argument_count, char **arguments) {
    bool decode = argument_count == 3 && strcmp(arguments[1], "decode") == 0;
    bool encode = argument_count == 3 && strcmp(arguments[1], "encode") == 0;
    const struct quant_format *format = argument_count == 3 ? format_by_name(arguments[2]) : NULL;
    if ((!decode && !encode) || format == NULL) {
        fprintf(stderr, "usage: quant_codec decode|encode FORMAT\n");
        return EXIT_FAILURE;
    }
    size_t length;
    uint8_t *input = read_input(&length);
    if (input == NULL) {
        fprintf(stderr, "out of memory\n");
        return EXIT_FAILURE;
    }
    int status = convert(format, decode, input, length);
    free(input);
    return status;
}
