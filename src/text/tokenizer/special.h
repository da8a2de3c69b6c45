/*
 * special.h - finds special tokens written out in a text: leftmost first, longest first.
 *
 * Control and unknown tokens are found only when the caller asks for them; user-defined ones
 * always. This is the order of Hugging Face `tokenizers`. Immutable after init: any thread may
 * read.
 */
#ifndef MISTRAL_TEXT_TOKENIZER_SPECIAL_H
#define MISTRAL_TEXT_TOKENIZER_SPECIAL_H

#include "text/tokenizer/vocabulary.h"

struct special_tokens {
    const struct vocabulary *vocabulary; /* borrowed; must outlive this */
    int32_t *ids;                        /* [count], in byte order of their texts; owned */
    size_t count;
    size_t first_byte[257]; /* texts that start with byte b: ids[first_byte[b]..first_byte[b+1]) */
};

bool special_tokens_init(struct special_tokens *special, const struct vocabulary *vocabulary,
                         struct error *error);
void special_tokens_deinit(struct special_tokens *special);

/* The first special token at or after `from`: its offset and id. False when there is none. With
 * `own` [text.length], not NULL, a control token counts only where every byte of it is marked.
 * Costs O(1) for a byte that begins no special token. */
bool special_tokens_find(const struct special_tokens *special, struct string_view text,
                         const uint8_t *own, size_t from, bool with_control, size_t *at,
                         int32_t *id);

#endif
