/* byte_pair.c - see byte_pair.h. */
#include "text/byte_pair.h"

#include "base/bytes.h"
#include "base/random.h"
#include "text/byte_pair_alphabet.h"

#include <stdlib.h>
#include <string.h>

struct byte_pair_merge {
    uint64_t pair; /* left symbol << 32 | right symbol; NO_PAIR: free */
    uint32_t rank;
    uint32_t merged;
};

static const uint64_t NO_PAIR = UINT64_MAX; /* symbols stay below UINT32_MAX */

/* While the tables are built: every byte string that is a symbol. */
struct builder {
    struct byte_pair *pair;
    struct hash_map tokens; /* bytes → token id; keys in the vocabulary */
    struct hash_map steps;  /* bytes → symbol that is no token; keys in `bytes` or all_bytes */
    char *bytes;            /* the decoded merges, one after the other; owned */
    char all_bytes[256];    /* [b] = b */
    uint32_t symbol_count;
};

size_t byte_pair_piece(enum token_type type, const char *text, size_t length, char *out) {
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
    while (pair->merge_capacity / 2 < merge_count) {
        pair->merge_capacity *= 2;
    }
    pair->merge_seed = random_fresh_seed();
    pair->merges = malloc(pair->merge_capacity * sizeof *pair->merges);
    if (pair->merges == NULL) {
        return false;
    }
    for (size_t i = 0; i < pair->merge_capacity; i++) {
        pair->merges[i].pair = NO_PAIR;
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

/* The symbol of a byte string: its token, or a step that is made up when it is met first. The bytes
 * must stay where they are while the builder lives. */
static bool intern(struct builder *builder, struct string_view bytes, uint32_t *symbol) {
    const uint64_t *known = hash_map_get(&builder->tokens, bytes);
    if (known == NULL) {
        known = hash_map_get(&builder->steps, bytes);
    }
    if (known != NULL) {
        *symbol = (uint32_t)*known;
        return true;
    }
    *symbol = builder->symbol_count++;
    return hash_map_set(&builder->steps, bytes, *symbol);
}

/* Where a single byte is no normal token but a user-defined one (some converters file the bytes
 * that never occur in UTF-8 so), that token stands for it. */
static bool map_bytes(struct builder *builder, const struct vocabulary *vocabulary) {
    struct byte_pair *pair = builder->pair;
    for (size_t i = 0; i < vocabulary->count; i++) {
        const struct vocabulary_token *token = &vocabulary->tokens[i];
        char byte[2]; /* a stand-in takes at most two bytes, and decodes to at most as many */
        size_t length;
        if (token->type != TOKEN_USER_DEFINED || token->text.length > sizeof byte ||
            !byte_alphabet_decode(token->text.data, token->text.length, byte, &length) ||
            length != 1) {
            continue;
        }
        struct string_view key = {&builder->all_bytes[(unsigned char)byte[0]], 1};
        if (hash_map_get(&builder->tokens, key) == NULL &&
            !hash_map_set(&builder->tokens, key, i)) {
            return false;
        }
    }
    for (size_t i = 0; i < 256; i++) {
        struct string_view key = {&builder->all_bytes[i], 1};
        if (!intern(builder, key, &pair->byte_symbols[i])) {
            return false;
        }
    }
    return true;
}

/* Adds one merge; *used counts the builder's bytes. What the alphabet does not cover no text can
 * reach, so it is left out. Of two equal merges the first counts. */
static bool add_merge(struct builder *builder, struct string_view left, struct string_view right,
                      uint32_t rank, size_t *used) {
    char *bytes = builder->bytes + *used;
    size_t left_length;
    size_t right_length;
    if (!byte_alphabet_decode(left.data, left.length, bytes, &left_length) ||
        !byte_alphabet_decode(right.data, right.length, bytes + left_length, &right_length)) {
        return true;
    }
    *used += left_length + right_length;
    uint32_t a;
    uint32_t b;
    uint32_t merged;
    if (!intern(builder, (struct string_view){bytes, left_length}, &a) ||
        !intern(builder, (struct string_view){bytes + left_length, right_length}, &b) ||
        !intern(builder, (struct string_view){bytes, left_length + right_length}, &merged)) {
        return false;
    }
    uint64_t key = (uint64_t)a << 32 | b;
    struct byte_pair_merge *slot = merge_slot(builder->pair, key);
    if (slot->pair == NO_PAIR) {
        *slot = (struct byte_pair_merge){key, rank, merged};
    }
    return true;
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

static bool add_merges(struct builder *builder, const struct tokenizer_source *source,
                       struct error *error) {
    size_t used = 0;
    for (size_t i = 0; i < source->merge_count; i++) {
        struct string_view left;
        struct string_view right;
        if (!parse_merge(source->merges[i], &left, &right)) {
            return error_set(error, ERROR_FORMAT,
                             "merge %zu is not two tokens with a space between", i);
        }
        if (!add_merge(builder, left, right, (uint32_t)i, &used)) {
            return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for %zu merges",
                             source->merge_count);
        }
    }
    return true;
}

/* Room for all merges' bytes; each merge may make up three symbols, and all must have a number. */
static bool size_merges(struct builder *builder, const struct tokenizer_source *source,
                        struct error *error) {
    size_t bytes = 1;
    for (size_t i = 0; i < source->merge_count; i++) {
        if (!size_add(bytes, source->merges[i].length, &bytes)) {
            return error_set(error, ERROR_FORMAT, "the merges are too long");
        }
    }
    if (source->merge_count > INT32_MAX / 4) {
        return error_set(error, ERROR_FORMAT, "%zu merges are more than any vocabulary needs",
                         source->merge_count);
    }
    builder->bytes = malloc(bytes);
    if (builder->bytes == NULL || !create_merge_table(builder->pair, source->merge_count)) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for %zu merges",
                         source->merge_count);
    }
    return true;
}

bool byte_pair_init(struct byte_pair *pair, const struct vocabulary *vocabulary,
                    const struct tokenizer_source *source, bool ignore_merges,
                    struct error *error) {
    *pair = (struct byte_pair){
        .token_count = vocabulary->count,
        .unknown = vocabulary->unknown,
        .ignore_merges = ignore_merges,
    };
    struct builder builder = {.pair = pair, .symbol_count = (uint32_t)vocabulary->count};
    for (size_t i = 0; i < sizeof builder.all_bytes; i++) {
        builder.all_bytes[i] = (char)(unsigned char)i;
    }
    bool done = false;
    if (!size_merges(&builder, source, error)) {
        goto cleanup;
    }
    if (!map_tokens(&builder.tokens, vocabulary) ||
        (ignore_merges && !map_tokens(&pair->words, vocabulary)) ||
        !map_bytes(&builder, vocabulary)) {
        error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a vocabulary of %zu tokens",
                  vocabulary->count);
        goto cleanup;
    }
    done = add_merges(&builder, source, error);
cleanup:
    hash_map_deinit(&builder.tokens);
    hash_map_deinit(&builder.steps);
    free(builder.bytes);
    if (!done) {
        byte_pair_deinit(pair);
    }
    return done;
}

void byte_pair_deinit(struct byte_pair *pair) {
    free(pair->merges);
    hash_map_deinit(&pair->words);
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

/* A step that became no token is spelled byte by byte. */
static bool emit_symbol(const struct byte_pair *pair, const char *word,
                        const struct merge_symbol *symbol, struct token_list *out) {
    if (symbol->id < pair->token_count) {
        return token_list_append(out, (int32_t)symbol->id);
    }
    for (uint32_t i = 0; i < symbol->length; i++) {
        uint32_t id = pair->byte_symbols[(unsigned char)word[symbol->start + i]];
        if (id >= pair->token_count) {
            id = (uint32_t)pair->unknown; /* TOKEN_NONE becomes the largest number */
        }
        if (id < pair->token_count && !token_list_append(out, (int32_t)id)) {
            return false;
        }
    }
    return true;
}

bool byte_pair_encode(const struct byte_pair *pair, struct merge_list *list, const char *word,
                      size_t length, struct token_list *out, struct error *error) {
    const uint64_t *whole =
        pair->ignore_merges ? hash_map_get(&pair->words, (struct string_view){word, length}) : NULL;
    bool done = true;
    if (whole != NULL) {
        done = token_list_append(out, (int32_t)*whole);
    } else {
        merge_list_clear(list);
        for (size_t i = 0; i < length && done; i++) {
            done =
                merge_list_push(list, (uint32_t)i, 1, pair->byte_symbols[(unsigned char)word[i]]);
        }
        done = done && merge_list_run(list, word, find_merge, pair);
        for (int32_t i = length > 0 ? 0 : MERGE_END; done && i != MERGE_END;
             i = list->symbols[i].next) {
            done = emit_symbol(pair, word, &list->symbols[i], out);
        }
    }
    return done ||
           error_set(error, ERROR_OUT_OF_MEMORY, "no memory to encode a word of %zu bytes", length);
}
