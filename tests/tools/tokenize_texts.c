/*
 * tokenize_texts.c - drives a GGUF file's tokenizer for tests written in Python.
 *
 *   tokenize_texts MODEL.gguf
 *
 * Requests on standard input, answers on standard output; integers are 32-bit little-endian.
 *   request: flags (1 add_special, 2 parse_special, 4 show_special in the text that comes back,
 *            8 the bytes are token ids to detokenize), byte count, the bytes of a text
 *   answer:  id count, the ids; byte count, the text that streaming detokenization makes of them;
 *            byte count, the bytes the tokens stand for
 * A model that cannot be loaded ends it with exit code 1 and the reason on standard error.
 */
#include "base/bytes.h"
#include "engine/vocabulary.h"

#include <stdio.h>
#include <stdlib.h>

enum { FLAG_ADD_SPECIAL = 1, FLAG_PARSE_SPECIAL = 2, FLAG_SHOW_SPECIAL = 4, FLAG_IDS = 8 };

static bool read_u32(uint32_t *value) {
    uint8_t bytes[4];
    if (fread(bytes, sizeof bytes, 1, stdin) != 1) {
        return false;
    }
    *value = load_u32_le(bytes);
    return true;
}

static void write_u32(uint32_t value) {
    for (int shift = 0; shift < 32; shift += 8) {
        putchar((int)(value >> shift & 0xff));
    }
}

static void write_bytes(const struct string_buffer *bytes) {
    write_u32((uint32_t)bytes->length);
    fwrite(string_buffer_text(bytes), 1, bytes->length, stdout);
}

static void answer(const struct tokenizer *tokenizer, const struct token_list *list,
                   bool show_special) {
    struct detokenizer detokenizer = {.tokenizer = tokenizer, .show_special = show_special};
    struct string_buffer text = {0};
    struct string_buffer pieces = {0};
    write_u32((uint32_t)list->count);
    for (size_t i = 0; i < list->count; i++) {
        struct string_view piece = tokenizer_piece(tokenizer, list->ids[i], true);
        write_u32((uint32_t)list->ids[i]);
        string_buffer_append(&pieces, piece.data, piece.length);
        detokenizer_push(&detokenizer, list->ids[i], &text);
    }
    detokenizer_finish(&detokenizer, &text);
    write_bytes(&text);
    write_bytes(&pieces);
    string_buffer_deinit(&text);
    string_buffer_deinit(&pieces);
}

static bool read_ids(const char *bytes, size_t length, struct token_list *list) {
    bool done = true;
    for (size_t at = 0; done && at + 4 <= length; at += 4) {
        done = token_list_append(list, (int32_t)load_u32_le(bytes + at));
    }
    return done;
}

/* Answers one request; false with no message at the end of the input. */
static bool serve_one(const struct tokenizer *tokenizer, struct error *error) {
    uint32_t flags;
    uint32_t length;
    if (!read_u32(&flags) || !read_u32(&length)) {
        return false;
    }
    char *text = malloc((size_t)length + 1);
    struct token_list list = {0};
    bool done = text != NULL && fread(text, 1, length, stdin) == length;
    if (!done) {
        error_set(error, ERROR_IO, "a request ends early");
    }
    if (done && (flags & FLAG_IDS) != 0) {
        done = read_ids(text, length, &list);
    } else if (done) {
        done = tokenizer_encode(tokenizer, text, length, (flags & FLAG_ADD_SPECIAL) != 0,
                                (flags & FLAG_PARSE_SPECIAL) != 0, &list, error);
    }
    if (done) {
        answer(tokenizer, &list, (flags & FLAG_SHOW_SPECIAL) != 0);
    }
    token_list_deinit(&list);
    free(text);
    return done;
}

int main(int argument_count, char **arguments) {
    struct error error = {0};
    struct gguf *gguf = NULL;
    struct tokenizer *tokenizer = NULL;
    if (argument_count != 2) {
        fprintf(stderr, "usage: %s MODEL.gguf\n", arguments[0]);
        return EXIT_FAILURE;
    }
    if (gguf_open(arguments[1], &gguf, &error) && vocabulary_load(gguf, &tokenizer, &error)) {
        while (serve_one(tokenizer, &error)) {
        }
    }
    tokenizer_free(tokenizer);
    gguf_close(gguf);
    if (error.code != ERROR_NONE) {
        fprintf(stderr, "%s\n", error.message);
        return EXIT_FAILURE;
    }
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
