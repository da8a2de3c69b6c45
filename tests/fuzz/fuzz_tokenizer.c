/*
 * fuzz_tokenizer.c - any bytes as a vocabulary and a text: builds the tokenizer, encodes, decodes.
 *
 *   input: options, pre-tokenizer, BOS, EOS, unknown, end of turn (one byte each), then records:
 *     0 type score length bytes   a token
 *     1 length bytes              a merge
 *     anything else               the rest of the input is the text
 *
 * Beyond memory errors it looks for broken promises: an id out of range, decoded text that is not
 * UTF-8, two results for one text, a control token out of plain text, bytes lost on the way.
 */
#include "fuzz.h"

#include "base/utf8.h"
#include "text/tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

enum {
    OPTION_SENTENCEPIECE = 1,
    OPTION_SPACE_PREFIX = 2,
    OPTION_REMOVE_SPACES = 4,
    OPTION_TYPES = 8,
    OPTION_SCORES = 16,
    OPTION_SPECIAL = 32, /* add and parse them */
    OPTION_ALL_BYTES = 64,
    OPTION_RANKS = 128, /* SentencePiece with a list of merges */
    MOST_TOKENS = 600,
    MOST_MERGES = 300,
};

static const char *const pres[] = {
    "",       "gpt-2",  "smollm",       "llama-bpe",      "qwen2",
    "tekken", "falcon", "deepseek-llm", "deepseek-coder", "unheard-of",
    "gpt-4o", "qwen35", "deepseek-v3",  "youtu",
};

struct input {
    const uint8_t *data;
    size_t size;
};

struct made {
    struct tokenizer_source source;
    struct string_view tokens[MOST_TOKENS], merges[MOST_MERGES];
    float scores[MOST_TOKENS];
    int32_t types[MOST_TOKENS];
    char texts[256][8]; /* of the bytes' own tokens */
};

static uint8_t take(struct input *input) {
    if (input->size == 0) {
        return 0;
    }
    input->size--;
    return *input->data++;
}

static struct string_view take_text(struct input *input) {
    size_t length = take(input);
    if (length > input->size) {
        length = input->size;
    }
    struct string_view text = {(const char *)input->data, length};
    input->data += length;
    input->size -= length;
    return text;
}

static void add_token(struct made *made, struct string_view text, int32_t type, float score) {
    size_t id = made->source.token_count++;
    made->tokens[id] = text;
    made->types[id] = type;
    made->scores[id] = score;
}

/* A token for each byte, spelled as the family spells it. */
static void add_all_bytes(struct made *made, bool sentencepiece) {
    static const char digits[] = "0123456789ABCDEF";
    uint32_t hidden = 0x100;
    for (uint32_t byte = 0; byte < 256; byte++) {
        char *text = made->texts[byte];
        size_t length = 6;
        if (sentencepiece) {
            memcpy(text, "<0x__>", length);
            text[3] = digits[byte >> 4];
            text[4] = digits[byte & 15];
        } else {
            bool shown = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
            length = utf8_encode(shown ? byte : hidden++, text);
        }
        add_token(made, (struct string_view){text, length},
                  sentencepiece ? TOKEN_BYTE : TOKEN_NORMAL, 0);
    }
}

static void take_records(struct made *made, struct input *input) {
    for (;;) {
        uint8_t kind = take(input);
        if (kind == 0 && input->size > 0 && made->source.token_count < MOST_TOKENS) {
            int32_t type = (int8_t)take(input);
            float score = (int8_t)take(input);
            add_token(made, take_text(input), type, score);
        } else if (kind == 1 && input->size > 0 && made->source.merge_count < MOST_MERGES) {
            made->merges[made->source.merge_count++] = take_text(input);
        } else {
            return;
        }
    }
}

static uint8_t take_source(struct made *made, struct input *input) {
    uint8_t options = take(input);
    const char *pre = pres[take(input) % (sizeof pres / sizeof pres[0])];
    bool sentencepiece = (options & OPTION_SENTENCEPIECE) != 0;
    const char *pieces = (options & OPTION_RANKS) != 0 ? "gemma4" : "llama";
    made->source = tokenizer_source_defaults(string_view_of(sentencepiece ? pieces : "gpt2"),
                                             string_view_of(pre));
    made->source.bos = (int8_t)take(input);
    made->source.eos = (int8_t)take(input);
    made->source.unknown = (int8_t)take(input);
    made->source.eot = (int8_t)take(input);
    made->source.add_space_prefix = (options & OPTION_SPACE_PREFIX) != 0;
    made->source.remove_extra_whitespaces = (options & OPTION_REMOVE_SPACES) != 0;
    made->source.tokens = made->tokens;
    made->source.merges = made->merges;
    made->source.types = (options & OPTION_TYPES) != 0 ? made->types : NULL;
    made->source.scores = (options & OPTION_SCORES) != 0 ? made->scores : NULL;
    if ((options & OPTION_ALL_BYTES) != 0) {
        add_all_bytes(made, sentencepiece);
    }
    take_records(made, input);
    return options;
}

static void require(bool promise) {
    if (!promise) {
        abort();
    }
}

/* Byte-level tokens must stand for exactly the text, where every byte has one. */
static void check_bytes(const struct tokenizer *tokenizer, const struct token_list *list,
                        struct input text) {
    size_t at = 0;
    for (size_t i = 0; i < list->count; i++) {
        struct string_view piece = tokenizer_piece(tokenizer, list->ids[i], true);
        require(piece.length <= text.size - at);
        require(piece.length == 0 || memcmp(piece.data, text.data + at, piece.length) == 0);
        at += piece.length;
    }
    require(at == text.size);
}

static void check_ids(const struct tokenizer *tokenizer, const struct made *made,
                      const struct token_list *list, bool special) {
    struct detokenizer detokenizer = {.tokenizer = tokenizer};
    struct string_buffer text = {0};
    for (size_t i = 0; i < list->count; i++) {
        int32_t id = list->ids[i];
        require(id >= 0 && (size_t)id < made->source.token_count);
        bool hidden = tokenizer_piece(tokenizer, id, false).length == 0 &&
                      tokenizer_piece(tokenizer, id, true).length > 0;
        require(special || !hidden || id == made->source.unknown);
        detokenizer_push(&detokenizer, id, &text);
    }
    detokenizer_finish(&detokenizer, &text);
    require(text.failed || text.length == 0 || utf8_validate(text.data, text.length, NULL));
    string_buffer_deinit(&text);
}

static void use(const struct tokenizer *tokenizer, const struct made *made, uint8_t options,
                struct input text) {
    struct token_list list = {0};
    struct token_list again = {0};
    bool special = (options & OPTION_SPECIAL) != 0;
    const char *data = (const char *)text.data;
    bool encoded = tokenizer_encode(tokenizer, data, text.size, special, special, &list, NULL);
    if (encoded && tokenizer_encode(tokenizer, data, text.size, special, special, &again, NULL)) {
        require(list.count == again.count);
        require(list.count == 0 || memcmp(list.ids, again.ids, list.count * sizeof *list.ids) == 0);
        check_ids(tokenizer, made, &list, special);
        bool normalizes =
            string_view_is(made->source.pre, "qwen2") || string_view_is(made->source.pre, "qwen35");
        if ((options & OPTION_ALL_BYTES) != 0 && (options & OPTION_SENTENCEPIECE) == 0 &&
            (options & OPTION_TYPES) != 0 && !special && !normalizes) {
            check_bytes(tokenizer, &list, text);
        }
    }
    token_list_deinit(&list);
    token_list_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct made made; /* too large for a stack with sanitizers */
    made = (struct made){0};
    struct input input = {data, size};
    struct tokenizer *tokenizer = NULL;
    uint8_t options = take_source(&made, &input);
    if (tokenizer_create(&made.source, &tokenizer, NULL)) {
        use(tokenizer, &made, options, input);
    }
    tokenizer_free(tokenizer);
    return 0;
}
