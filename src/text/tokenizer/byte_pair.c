/* byte_pair.c - see byte_pair.h. */
#include "text/tokenizer/byte_pair.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/random.h"
#include "text/tokenizer/byte_pair_alphabet.h"

#include <stdlib.h>
#include <string.h>

struct byte_pair_merge {
    uint64_t pair; /* left token << 32 | right token; NO_PAIR: free */
    uint32_t rank;
    uint32_t merged; /* token */
};

static const uint64_t NO_PAIR = UINT64_MAX; /* ids stay below INT32_MAX */

size_t byte_pair_piece(uint8_t type, const char *text, size_t length, char *out) {
    size_t decoded;
    if (type != TOKEN_USER_DEFINED && byte_alphabet_decode(text, length, out, &decoded)) {
        return decoded;
    }
    memcpy(out, text, length);
    return length;
}

static struct byte_pair_merge *merge_slot(const struct byte_pair *pair, uint64_t key) {
    size_t mask = pair->merge_capacity - 1;
    for (size_t i = hash_bytes(&key, sizeof key, pair->merge_seed) & mask;; i = (i + 1) & mask) {
        if (pair->merges[i].pair == key || pair->merges[i].pair == NO_PAIR) {
            return &pair->merges[i];
        }
    }
}

static bool create_merge_table(struct byte_pair *pair, size_t merge_count) {
    pair->merge_capacity = 16;
    while (pair->merge_capacity / 3 * 2 < merge_count) {
        pair->merge_capacity *= 2;
    }
    pair->merge_seed = random_fresh_seed();
    pair->merges = malloc(pair->merge_capacity * sizeof *pair->merges);
    if (pair->merges == NULL) {
        return false;
    }
    for (size_t i = 0; i < pair->merge_capacity; i++) {
        pair->merges[i] = (struct byte_pair_merge){.pair = NO_PAIR};
    }
    return true;
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

/* Splits "left right" at its space; neither side may be empty. */
static bool parse_merge(struct string_view text, struct string_view *left,
                        struct string_view *right) {
    const char *space = text.length < 3 ? NULL : memchr(text.data + 1, ' ', text.length - 2);
    if (space == NULL) {
        return false;
    }
    *left = (struct string_view){text.data, (size_t)(space - text.data)};
    *right = (struct string_view){space + 1, text.length - left->length - 1};
    return true;
}

/* Adds one merge; false when it does not make a token out of two tokens. `bytes` has room for both
 * sides. Of two equal merges the first counts. */
static bool add_merge(struct byte_pair *pair, const struct hash_map *tokens,
                      struct string_view left, struct string_view right, uint32_t rank,
                      char *bytes) {
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
    struct byte_pair_merge *slot = merge_slot(pair, *a << 32 | *b);
    if (slot->pair == NO_PAIR) {
        *slot = (struct byte_pair_merge){*a << 32 | *b, rank, (uint32_t)*merged};
    }
    return true;
}

static bool add_merges(struct byte_pair *pair, const struct hash_map *tokens,
                       const struct tokenizer_source *source, struct error *error) {
    size_t longest = 1;
    for (size_t i = 0; i < source->merge_count; i++) {
        longest = size_max(longest, source->merges[i].length);
    }
    char *bytes = malloc(longest);
    if (bytes == NULL || source->merge_count > UINT32_MAX / 2 ||
        !create_merge_table(pair, source->merge_count)) {
        free(bytes);
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for %zu merges",
                         source->merge_count);
    }
    bool done = true;
    size_t ignored = 0;
    for (size_t i = 0; done && i < source->merge_count; i++) {
        struct string_view left;
        struct string_view right;
        if (parse_merge(source->merges[i], &left, &right)) {
            ignored += !add_merge(pair, tokens, left, right, (uint32_t)i, bytes);
        } else {
            done = error_set(error, ERROR_FORMAT,
                             "merge %zu is not two tokens with a space between", i);
        }
    }
    if (ignored > 0) {
        log_event(LOG_WARN, "merges_ignored", log_integer("ignored", (int64_t)ignored),
                  log_integer("merges", (int64_t)source->merge_count),
                  log_text("reason", "they do not make a token out of two tokens"));
    }
    free(bytes);
    return done;
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
    if (!add_merges(pair, &pair->tokens, source, error)) {
        byte_pair_deinit(pair);
        return false;
    }
    if (!ignore_merges) {
        hash_map_deinit(&pair->tokens);
    }
    return true;
}

void byte_pair_deinit(struct byte_pair *pair) {
    free(pair->merges);
    hash_map_deinit(&pair->tokens);
    *pair = (struct byte_pair){0};
}

static bool find_merge(const void *context, const char *text, const struct merge_symbol *left,
                       const struct merge_symbol *right, uint32_t *priority, uint32_t *merged) {
    (void)text;
    uint64_t key = (uint64_t)left->id << 32 | right->id;
    const struct byte_pair_merge *slot = merge_slot(context, key);
    *priority = slot->rank;
    *merged = slot->merged;
    return slot->pair == key;
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
