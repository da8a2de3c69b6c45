/* special.c - see special.h. */
#include "text/tokenizer/special.h"

#include "base/bytes.h"

#include <stdlib.h>
#include <string.h>

static bool is_special(const struct vocabulary_token *token) {
    return token->text.length > 0 &&
           (token->type == TOKEN_CONTROL || token->type == TOKEN_UNKNOWN ||
            token->type == TOKEN_USER_DEFINED);
}

/* qsort gives no context to its comparison, so what is sorted carries the text with it. */
struct sort_entry {
    struct string_view text;
    int32_t id;
};

static int compare_entries(const void *left, const void *right) {
    const struct sort_entry *a = left;
    const struct sort_entry *b = right;
    int order = memcmp(a->text.data, b->text.data, size_min(a->text.length, b->text.length));
    if (order != 0) {
        return order;
    }
    if (a->text.length != b->text.length) {
        return a->text.length < b->text.length ? -1 : 1;
    }
    return a->id < b->id ? -1 : a->id > b->id;
}

bool special_tokens_init(struct special_tokens *special, const struct vocabulary *vocabulary,
                         struct error *error) {
    *special = (struct special_tokens){.vocabulary = vocabulary};
    bool done = false;
    size_t count = 0;
    for (size_t i = 0; i < vocabulary->count; i++) {
        count += is_special(&vocabulary->tokens[i]);
    }
    struct sort_entry *entries = calloc(count + 1, sizeof *entries);
    special->ids = calloc(count + 1, sizeof *special->ids);
    if (entries == NULL || special->ids == NULL) {
        special_tokens_deinit(special);
        error_set(error, ERROR_OUT_OF_MEMORY, "no memory for %zu special tokens", count);
        goto cleanup;
    }
    count = 0;
    for (size_t i = 0; i < vocabulary->count; i++) {
        if (is_special(&vocabulary->tokens[i])) {
            entries[count++] = (struct sort_entry){vocabulary->tokens[i].text, (int32_t)i};
        }
    }
    qsort(entries, count, sizeof *entries, compare_entries);
    for (size_t i = 0; i < count; i++) {
        bool duplicate = i > 0 && string_view_equals(entries[i].text, entries[i - 1].text);
        if (!duplicate) {
            special->ids[special->count++] = entries[i].id;
            special->first_byte[(unsigned char)entries[i].text.data[0] + 1]++;
        }
    }
    for (size_t byte = 0; byte < 256; byte++) {
        special->first_byte[byte + 1] += special->first_byte[byte];
    }
    done = true;
cleanup:
    free(entries);
    return done;
}

void special_tokens_deinit(struct special_tokens *special) {
    free(special->ids);
    *special = (struct special_tokens){0};
}

static struct string_view text_at(const struct special_tokens *special, size_t index) {
    return special->vocabulary->tokens[special->ids[index]].text;
}

/* First index in [low, high) whose text has a byte of at least `byte` at `depth`; every text in the
 * range is longer than `depth`. */
static size_t lower_bound(const struct special_tokens *special, size_t low, size_t high,
                          size_t depth, unsigned byte) {
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((unsigned char)text_at(special, middle).data[depth] < byte) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The longest special token that starts the text, or TOKEN_NONE. Narrows the sorted range by one
 * byte at a time; a text that ends at the current depth sorts first in its range. */
static int32_t longest_at(const struct special_tokens *special, const char *text, size_t length,
                          const uint8_t *own, bool with_control) {
    unsigned char first = (unsigned char)text[0];
    size_t low = special->first_byte[first];
    size_t high = special->first_byte[first + 1];
    int32_t best = TOKEN_NONE;
    for (size_t depth = 1; low < high; depth++) {
        with_control = with_control && (own == NULL || own[depth - 1] != 0);
        if (text_at(special, low).length == depth) {
            int32_t id = special->ids[low++];
            if (with_control || special->vocabulary->tokens[id].type == TOKEN_USER_DEFINED) {
                best = id;
            }
        }
        if (depth == length) {
            break;
        }
        unsigned char byte = (unsigned char)text[depth];
        low = lower_bound(special, low, high, depth, byte);
        high = lower_bound(special, low, high, depth, (unsigned)byte + 1);
    }
    return best;
}

bool special_tokens_find(const struct special_tokens *special, struct string_view text,
                         const uint8_t *own, size_t from, bool with_control, size_t *at,
                         int32_t *id) {
    for (size_t i = from; i < text.length; i++) {
        int32_t found = longest_at(special, text.data + i, text.length - i,
                                   own == NULL ? NULL : own + i, with_control);
        if (found != TOKEN_NONE) {
            *at = i;
            *id = found;
            return true;
        }
    }
    return false;
}
