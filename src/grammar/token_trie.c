/* token_trie.c - see token_trie.h. */
#include "grammar/token_trie.h"

#include "base/bytes.h"

#include <stdlib.h>
#include <string.h>

enum { LONGEST_TOKEN = UINT16_MAX - 1 };

struct entry {
    struct string_view text;
    int32_t token;
};

static int compare_entries(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    size_t common = size_min(x->text.length, y->text.length);
    int order = memcmp(x->text.data, y->text.data, common);
    if (order == 0) {
        order = (x->text.length > y->text.length) - (x->text.length < y->text.length);
    }
    return order != 0 ? order : (x->token > y->token) - (x->token < y->token);
}

static size_t sort_tokens(struct token_trie *trie, struct entry *entries, size_t *bytes) {
    size_t count = 0;
    for (size_t i = 0; i < trie->vocabulary_size; i++) {
        int32_t token = (int32_t)i;
        struct string_view text = tokenizer_piece(trie->tokenizer, token, false);
        if (tokenizer_is_end(trie->tokenizer, token)) {
            trie->ends[trie->end_count++] = token;
        } else if (text.length == 0) {
            trie->specials[trie->special_count++] = token;
        } else if (text.length <= LONGEST_TOKEN) {
            entries[count++] = (struct entry){text, token};
            trie->longest = size_max(trie->longest, text.length);
            *bytes += text.length;
        }
    }
    qsort(entries, count, sizeof *entries, compare_entries);
    return count;
}

/* Nodes of sorted entries; `path` holds the open node of each depth. */
static void lay_out(struct token_trie *trie, const struct entry *entries, size_t count,
                    uint32_t *path) {
    struct string_view before = {"", 0};
    for (size_t i = 0; i < count; i++) {
        struct string_view text = entries[i].text;
        size_t common = 0;
        while (common < size_min(before.length, text.length) &&
               before.data[common] == text.data[common]) {
            common++;
        }
        for (size_t depth = before.length; depth > common; depth--) {
            trie->nodes[path[depth - 1]].end = (uint32_t)trie->node_count;
        }
        for (size_t depth = common; depth < text.length; depth++) {
            path[depth] = (uint32_t)trie->node_count;
            trie->nodes[trie->node_count++] =
                (struct trie_node){.first_token = (uint32_t)trie->token_count,
                                   .depth = (uint16_t)(depth + 1),
                                   .byte = (uint8_t)text.data[depth]};
        }
        trie->tokens[trie->token_count++] = entries[i].token;
        before = text;
    }
    for (size_t depth = before.length; depth > 0; depth--) {
        trie->nodes[path[depth - 1]].end = (uint32_t)trie->node_count;
    }
    trie->nodes[trie->node_count] = (struct trie_node){.first_token = (uint32_t)trie->token_count};
}

bool token_trie_init(struct token_trie *trie, const struct tokenizer *tokenizer) {
    size_t size = tokenizer_vocabulary_size(tokenizer), bytes = 0;
    *trie = (struct token_trie){.tokenizer = tokenizer, .vocabulary_size = size};
    struct entry *entries = calloc(size + 1, sizeof *entries);
    uint32_t *path = calloc(LONGEST_TOKEN + 1, sizeof *path);
    trie->tokens = calloc(size + 1, sizeof *trie->tokens);
    trie->ends = calloc(size + 1, sizeof *trie->ends);
    trie->specials = calloc(size + 1, sizeof *trie->specials);
    bool done = entries != NULL && path != NULL && trie->tokens != NULL && trie->ends != NULL &&
                trie->specials != NULL;
    if (done) {
        size_t count = sort_tokens(trie, entries, &bytes);
        trie->nodes = bytes < UINT32_MAX ? calloc(bytes + 1, sizeof *trie->nodes) : NULL;
        done = trie->nodes != NULL;
        if (done) {
            lay_out(trie, entries, count, path);
            struct trie_node *fitted =
                realloc(trie->nodes, (trie->node_count + 1) * sizeof *trie->nodes);
            trie->nodes = fitted != NULL ? fitted : trie->nodes;
        }
    }
    free(entries);
    free(path);
    if (!done) {
        token_trie_deinit(trie);
    }
    return done;
}

void token_trie_deinit(struct token_trie *trie) {
    free(trie->nodes);
    free(trie->tokens);
    free(trie->ends);
    free(trie->specials);
    *trie = (struct token_trie){0};
}
