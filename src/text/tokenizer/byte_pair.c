/* byte_pair.c - see byte_pair.h. */
#include "text/tokenizer/byte_pair.h"

#include "text/tokenizer/byte_pair_alphabet.h"

#include <string.h>

size_t byte_pair_piece(uint8_t type, const char *text, size_t length, char *out) {
    size_t decoded;
    if (type != TOKEN_USER_DEFINED && byte_alphabet_decode(text, length, out, &decoded)) {
        return decoded;
    }
    memcpy(out, text, length);
    return length;
}

/* The tokens that merges may end in, under the bytes they stand for; the lowest id wins.
 * User-defined tokens are not among them: they are cut out of the text before words are formed. */
static bool map_tokens(struct hash_map *map, const struct vocabulary *vocabulary) {
    if (!hash_map_reserve(map, vocabulary->count)) {
        return false;
    }
    for (size_t i = 0; i < vocabulary->count; i++) {
        const struct vocabulary_token *token = &vocabulary->tokens[i];
        size_t length;
        if (token->type == TOKEN_USER_DEFINED || !vocabulary_is_plain(vocabulary, i) ||
            token->text.length == 0 ||
            !byte_alphabet_decode(token->text.data, token->text.length, NULL, &length)) {
            continue;
        }
        if (hash_map_get(map, token->piece) == NULL && !hash_map_set(map, token->piece, i)) {
            return false;
        }
    }
    return true;
}

/* Finds the 256 tokens words start from. Where a single byte is no normal token but a user-defined
 * one (some converters file the bytes that never occur in UTF-8 so), that one stands for it. */
static void map_bytes(struct byte_pair *pair, const struct hash_map *tokens,
                      const struct vocabulary *vocabulary) {
    for (size_t i = 0; i < 256; i++) {
        char byte = (char)(unsigned char)i;
        const uint64_t *id = hash_map_get(tokens, (struct string_view){&byte, 1});
        pair->byte_tokens[i] = id == NULL ? TOKEN_NONE : (int32_t)*id;
    }
    for (size_t i = 0; i < vocabulary->count; i++) {
        const struct vocabulary_token *token = &vocabulary->tokens[i];
        unsigned char byte[2]; /* a stand-in takes one or two bytes */
        size_t length;
        if (token->type == TOKEN_USER_DEFINED && token->text.length <= sizeof byte &&
            byte_alphabet_decode(token->text.data, token->text.length, (char *)byte, &length) &&
            length == 1 && pair->byte_tokens[byte[0]] == TOKEN_NONE) {
            pair->byte_tokens[byte[0]] = (int32_t)i;
        }
    }
}

/* A merge_resolver. Both sides are spelled in the alphabet; the tokens are known by their bytes. */
static bool resolve_merge(const void *context, struct string_view left, struct string_view right,
                          char *bytes, struct merge_ids *ids) {
    const struct hash_map *tokens = context;
    size_t left_length;
    size_t right_length;
    if (!byte_alphabet_decode(left.data, left.length, bytes, &left_length) ||
        !byte_alphabet_decode(right.data, right.length, bytes + left_length, &right_length)) {
        return false;
    }
    const uint64_t *a = hash_map_get(tokens, (struct string_view){bytes, left_length});
    const uint64_t *b =
        hash_map_get(tokens, (struct string_view){bytes + left_length, right_length});
    const uint64_t *merged =
        hash_map_get(tokens, (struct string_view){bytes, left_length + right_length});
    if (a == NULL || b == NULL || merged == NULL) {
        return false;
    }
    *ids = (struct merge_ids){(uint32_t)*a, (uint32_t)*b, (uint32_t)*merged};
    return true;
}

bool byte_pair_init(struct byte_pair *pair, const struct vocabulary *vocabulary,
                    const struct tokenizer_source *source, bool ignore_merges,
                    struct error *error) {
    *pair = (struct byte_pair){.ignore_merges = ignore_merges};
    if (!map_tokens(&pair->tokens, vocabulary)) {
        byte_pair_deinit(pair);
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a vocabulary of %zu tokens",
                         vocabulary->count);
    }
    map_bytes(pair, &pair->tokens, vocabulary);
    if (!merge_table_init(&pair->merges, source, resolve_merge, &pair->tokens, error)) {
        byte_pair_deinit(pair);
        return false;
    }
    if (!ignore_merges) {
        hash_map_deinit(&pair->tokens);
    }
    return true;
}

void byte_pair_deinit(struct byte_pair *pair) {
    merge_table_deinit(&pair->merges);
    hash_map_deinit(&pair->tokens);
    *pair = (struct byte_pair){0};
}

static bool find_merge(const void *context, const char *text, const struct merge_symbol *left,
                       const struct merge_symbol *right, uint32_t *priority, uint32_t *merged) {
    (void)text;
    const struct byte_pair *pair = context;
    return merge_table_find(&pair->merges, left->id, right->id, priority, merged);
}

static bool push_bytes(const struct byte_pair *pair, struct merge_list *list, const char *word,
                       size_t length) {
    merge_list_clear(list);
    for (size_t i = 0; i < length; i++) {
        int32_t id = pair->byte_tokens[(unsigned char)word[i]];
        if (id != TOKEN_NONE && !merge_list_push(list, (uint32_t)i, 1, (uint32_t)id)) {
            return false;
        }
    }
    return true;
}

static bool emit(const struct merge_list *list, struct token_list *out) {
    for (int32_t i = list->symbol_count > 0 ? 0 : MERGE_END; i != MERGE_END;
         i = list->symbols[i].next) {
        if (!token_list_append(out, (int32_t)list->symbols[i].id)) {
            return false;
        }
    }
    return true;
}

bool byte_pair_encode(const struct byte_pair *pair, struct merge_list *list, const char *word,
                      size_t length, struct token_list *out, struct error *error) {
    const uint64_t *whole = pair->ignore_merges
                                ? hash_map_get(&pair->tokens, (struct string_view){word, length})
                                : NULL;
    bool done = whole != NULL ? token_list_append(out, (int32_t)*whole)
                              : push_bytes(pair, list, word, length) &&
                                    merge_list_run(list, word, find_merge, pair) && emit(list, out);
    return done ||
           error_set(error, ERROR_OUT_OF_MEMORY, "no memory to encode a word of %zu bytes", length);
}
