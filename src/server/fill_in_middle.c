/* fill_in_middle.c - see fill_in_middle.h. */
#include "server/fill_in_middle.h"

#include <stddef.h>

/* As the tokens are spelled in vocabularies: Qwen2.5-Coder; StarCoder, Granite; DeepSeek-Coder;
 * Codestral and Mistral's tokenizers from v3 on (mistral-common's encode_fim); CodeLlama. */
static const struct {
    const char *prefix, *suffix, *middle;
    bool suffix_first;
} families[] = {
    {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", false},
    {"<fim_prefix>", "<fim_suffix>", "<fim_middle>", false},
    {"<fim-prefix>", "<fim-suffix>", "<fim-middle>", false},
    {"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>", false},
    {"[PREFIX]", "[SUFFIX]", NULL, true},
    {"▁<PRE>", "▁<SUF>", "▁<MID>", false},
};

struct fill_in_middle fill_in_middle_find(const struct tokenizer *tokenizer) {
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        struct fill_in_middle found = {
            .prefix = tokenizer_find(tokenizer, string_view_of(families[i].prefix)),
            .suffix = tokenizer_find(tokenizer, string_view_of(families[i].suffix)),
            .middle = TOKEN_NONE,
            .suffix_first = families[i].suffix_first,
        };
        if (families[i].middle != NULL) {
            found.middle = tokenizer_find(tokenizer, string_view_of(families[i].middle));
        }
        found.is_known = found.prefix != TOKEN_NONE && found.suffix != TOKEN_NONE &&
                         (families[i].middle == NULL || found.middle != TOKEN_NONE);
        if (found.is_known) {
            return found;
        }
    }
    return (struct fill_in_middle){TOKEN_NONE, TOKEN_NONE, TOKEN_NONE, false, false};
}

bool fill_in_middle_is_mark(struct string_view text) {
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        if (string_view_is(text, families[i].prefix) || string_view_is(text, families[i].suffix)) {
            return true;
        }
    }
    return false;
}

static bool append(struct token_list *out, int32_t token, struct error *error) {
    return token == TOKEN_NONE || token_list_append(out, token) ||
           error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the prompt");
}

static bool append_piece(const struct tokenizer *tokenizer, int32_t mark, struct string_view text,
                         struct token_list *out, struct error *error) {
    return append(out, mark, error) &&
           tokenizer_encode(tokenizer, text.data, text.length, false, false, out, error);
}

/* SentencePiece puts a space before the first word, and what follows a gap has none. So it is
 * encoded behind a sign that merges with nothing, whose own tokens are dropped: as mistral-common
 * and CodeLlama's code do it. */
static bool append_suffix(const struct tokenizer *tokenizer, int32_t mark, struct string_view text,
                          struct token_list *out, struct error *error) {
    static const char sign[] = "☺";
    struct token_list alone = {0}, both = {0};
    struct string_buffer joined = {0};
    if (!tokenizer_strips_leading_space(tokenizer)) {
        return append_piece(tokenizer, mark, text, out, error);
    }
    string_buffer_append_text(&joined, sign);
    string_buffer_append(&joined, text.data, text.length);
    bool ok = !joined.failed || error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the prompt");
    ok = ok && tokenizer_encode(tokenizer, sign, sizeof sign - 1, false, false, &alone, error) &&
         tokenizer_encode(tokenizer, joined.data, joined.length, false, false, &both, error) &&
         append(out, mark, error);
    for (size_t i = alone.count; ok && i < both.count; i++) {
        ok = append(out, both.ids[i], error);
    }
    string_buffer_deinit(&joined);
    token_list_deinit(&alone);
    token_list_deinit(&both);
    return ok;
}

bool fill_in_middle_encode(const struct fill_in_middle *tokens, const struct tokenizer *tokenizer,
                           struct string_view prefix, struct string_view suffix,
                           struct token_list *out, struct error *error) {
    /* An empty text with the model's special tokens: its beginning. An end here would end it. */
    bool ok = tokenizer_encode(tokenizer, "", 0, true, false, out, error);
    while (ok && out->count > 0 && tokenizer_is_end(tokenizer, out->ids[out->count - 1]) &&
           out->ids[out->count - 1] != tokenizer_bos(tokenizer)) {
        out->count--;
    }
    if (ok && tokens->suffix_first) {
        ok = append_suffix(tokenizer, tokens->suffix, suffix, out, error) &&
             append_piece(tokenizer, tokens->prefix, prefix, out, error);
    } else if (ok) {
        ok = append_piece(tokenizer, tokens->prefix, prefix, out, error) &&
             append_suffix(tokenizer, tokens->suffix, suffix, out, error);
    }
    return ok && append(out, tokens->middle, error);
}
