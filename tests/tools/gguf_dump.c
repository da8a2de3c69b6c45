/*
 * gguf_dump.c - shows what the reader makes of GGUF files, for tests written in Python.
 *
 * Paths come on standard input, one a line. For each one, one line "error <code> <message>", or
 *   open <version> <entries> <tensors>
 *   value <type> <element type> <elements> <their bytes as hexadecimal> <key>
 *   tensor <format> <dimensions, joined by x> <rows> <bytes> <Adler-32 of the data> <name>
 */
#include "model/gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* RFC 1950; the modulus after every byte keeps it plain. */
static uint32_t adler32(const uint8_t *bytes, size_t length) {
    uint32_t low = 1, high = 0;
    for (size_t i = 0; i < length; i++) {
        low = (low + bytes[i]) % 65521;
        high = (high + low) % 65521;
    }
    return high << 16 | low;
}

static void print_value(const struct gguf_value *value) {
    printf("value %s %s %zu ", gguf_value_type_name(value->type),
           gguf_value_type_name(value->element_type), value->count);
    for (size_t i = 0; i < value->data_bytes; i++) {
        printf("%02x", value->data[i]);
    }
    printf(" %.*s\n", (int)value->key.length, value->key.data);
}

static void print_tensor(const struct gguf_tensor *tensor) {
    printf("tensor %s ", tensor->format->name);
    for (size_t i = 0; i < tensor->dimension_count; i++) {
        printf("%s%zu", i > 0 ? "x" : "", tensor->dimensions[i]);
    }
    printf(" %zu %zu %08x %.*s\n", tensor->row_count, tensor->bytes,
           adler32(tensor->data, tensor->bytes), (int)tensor->name.length, tensor->name.data);
}

static void dump(const char *path) {
    struct gguf *gguf = NULL;
    struct error error = {0};
    if (!gguf_open(path, &gguf, &error)) {
        printf("error %d %s\n", error.code, error.message);
        return;
    }
    printf("open %u %zu %zu\n", gguf_version(gguf), gguf_value_count(gguf),
           gguf_tensor_count(gguf));
    for (size_t i = 0; i < gguf_value_count(gguf); i++) {
        print_value(gguf_value_at(gguf, i));
    }
    for (size_t i = 0; i < gguf_tensor_count(gguf); i++) {
        print_tensor(gguf_tensor_at(gguf, i));
    }
    gguf_close(gguf);
}

int main(void) {
    char path[4096];
    while (fgets(path, sizeof path, stdin) != NULL) {
        path[strcspn(path, "\n")] = '\0';
        dump(path);
    }
    return ferror(stdin) || fflush(stdout) != 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
