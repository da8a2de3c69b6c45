/* tiny_vocabulary.c - see tiny_vocabulary.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/utf8.h"
#include "tiny_vocabulary.h"

#include <stdio.h>
#include <string.h>

int32_t tiny_add(struct tiny_vocabulary *tiny, const char *text, enum token_type type,
                 float score) {
    size_t id = tiny->source.token_count++;
    assert_true(id < TINY_MOST_TOKENS);
    tiny->tokens[id] = string_view_of(text);
    tiny->types[id] = type;
    tiny->scores[id] = score;
    return (int32_t)id;
}

int32_t tiny_merge(struct tiny_vocabulary *tiny, const char *merge, const char *merged) {
    assert_true(tiny->source.merge_count < TINY_MOST_MERGES);
    tiny->merges[tiny->source.merge_count++] = string_view_of(merge);
    return tiny_add(tiny, merged, TOKEN_NORMAL, 0);
}

static void start(struct tiny_vocabulary *tiny, const char *model, const char *pre) {
    *tiny = (struct tiny_vocabulary){
        .source = tokenizer_source_defaults(string_view_of(model), string_view_of(pre))};
    tiny->source.tokens = tiny->tokens;
    tiny->source.types = tiny->types;
}

void tiny_byte_level(struct tiny_vocabulary *tiny, const char *pre) {
    start(tiny, "gpt2", pre);
    tiny->source.merges = tiny->merges;
    uint32_t hidden = 0x100;
    for (uint32_t byte = 0; byte < 256; byte++) {
        bool shown = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
        uint32_t stand_in = shown ? byte : hidden++;
        tiny->texts[byte][utf8_encode(stand_in, tiny->texts[byte])] = '\0';
        tiny_add(tiny, tiny->texts[byte], TOKEN_NORMAL, 0);
    }
}

void tiny_sentencepiece(struct tiny_vocabulary *tiny) {
    start(tiny, "llama", "");
    tiny->source.scores = tiny->scores;
    tiny_add(tiny, "<unk>", TOKEN_UNKNOWN, 0);
    tiny_add(tiny, "<s>", TOKEN_CONTROL, 0);
    tiny_add(tiny, "</s>", TOKEN_CONTROL, 0);
    for (unsigned byte = 0; byte < 256; byte++) {
        snprintf(tiny->texts[byte], sizeof tiny->texts[byte], "<0x%02X>", byte);
        tiny_add(tiny, tiny->texts[byte], TOKEN_BYTE, 0);
    }
}

struct tokenizer *tiny_create(const struct tiny_vocabulary *tiny) {
    struct tokenizer *tokenizer = NULL;
    struct error error = {0};
    if (!tokenizer_create(&tiny->source, &tokenizer, &error)) {
        fail_msg("the tokenizer cannot be made: %s", error.message);
    }
    return tokenizer;
}

void tiny_expect(const struct tokenizer *tokenizer, struct string_view text, bool add_special,
                 bool parse_special, const char *expected) {
    struct token_list list = {0};
    struct string_buffer ids = {0};
    struct error error = {0};
    bool encoded = tokenizer_encode(tokenizer, text.data, text.length, add_special, parse_special,
                                    &list, &error);
    for (size_t i = 0; i < list.count; i++) {
        string_buffer_append_format(&ids, i == 0 ? "%d" : " %d", (int)list.ids[i]);
    }
    bool same = encoded && strcmp(string_buffer_text(&ids), expected) == 0;
    if (!same) {
        print_error("'%.*s': expected [%s], came [%s] %s\n", (int)text.length, text.data, expected,
                    string_buffer_text(&ids), error.message);
    }
    token_list_deinit(&list);
    string_buffer_deinit(&ids);
    assert_true(same);
}
