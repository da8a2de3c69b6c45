/*
 * tokenizer.h - text to token ids and back, as the model was trained.
 *
 * Two families, told by GGUF's tokenizer.ggml.model: "llama" and "gemma4" (SentencePiece BPE, by
 * score or by a list of merges, with byte fallback) and "gpt2" (byte-level BPE by merge rank, with
 * a pre-tokenizer chosen by tokenizer.ggml.pre). Immutable after create: any thread may use one
 * tokenizer at once (matching state is per call or per thread).
 */
#ifndef MISTRAL_TEXT_TOKENIZER_TOKENIZER_H
#define MISTRAL_TEXT_TOKENIZER_TOKENIZER_H

#include "base/error.h"
#include "base/string_buffer.h"
#include "base/string_view.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* GGUF's tokenizer.ggml.token_type. */
enum token_type {
    TOKEN_NORMAL = 1,
    TOKEN_UNKNOWN = 2,
    TOKEN_CONTROL = 3,
    TOKEN_USER_DEFINED = 4,
    TOKEN_UNUSED = 5,
    TOKEN_BYTE = 6,
};

enum { TOKEN_NONE = -1 };

/* What a model file says of its vocabulary; everything is borrowed until tokenizer_create returns.
 */
struct tokenizer_source {
    struct string_view model;         /* "llama", "gemma4" or "gpt2" */
    struct string_view pre;           /* pre-tokenizer's name; empty when the file names none */
    size_t token_count;               /* at most INT32_MAX */
    const struct string_view *tokens; /* [token_count] */
    const float *scores;              /* [token_count] or NULL */
    const int32_t *types;             /* [token_count] or NULL: all normal */
    size_t merge_count;
    const struct string_view *merges;         /* [merge_count], "left right" */
    int32_t bos, eos, unknown, pad, eot, eom; /* TOKEN_NONE when the file has none */
    bool add_bos, add_eos;                    /* what encode's add_special does */
    bool add_space_prefix;                    /* SentencePiece: a space before the first word */
    bool remove_extra_whitespaces;
};

/* What a file means by what it leaves out: the special ids, add_bos and add_space_prefix that go
 * with this model and pre-tokenizer, everything else empty. A reader starts from this. Of any
 * names. */
struct tokenizer_source tokenizer_source_defaults(struct string_view model, struct string_view pre);

struct tokenizer;

/* An unknown model or pre-tokenizer is ERROR_UNSUPPORTED and named; a broken vocabulary
 * ERROR_FORMAT. */
bool tokenizer_create(const struct tokenizer_source *source, struct tokenizer **tokenizer,
                      struct error *error);
void tokenizer_free(struct tokenizer *tokenizer); /* NULL allowed */

struct token_list {
    int32_t *ids; /* [count]; owned, free with token_list_deinit */
    size_t count, capacity;
};
void token_list_deinit(struct token_list *list);
bool token_list_append(struct token_list *list, int32_t id); /* false: no memory */

/* Appends to `out`, or leaves it as it was on failure. `add_special`: BOS and EOS as the model
 * wants them. `parse_special`: control tokens written out in the text become their ids (templates
 * want that, user text does not; user-defined added tokens are always recognised). Without it no
 * text whatever turns into a control token. Any bytes are accepted: what is not UTF-8 is encoded
 * byte by byte, as itself, in both families. Takes O(n log n) for any text; at most 512 MiB. */
bool tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t length,
                      bool add_special, bool parse_special, struct token_list *out,
                      struct error *error);
/* A text of two hands: own[i] [length] is 1 where byte i is the template's. Control tokens are
 * recognised only where all their bytes are; everything else is as in tokenizer_encode without
 * `add_special`. `own` NULL: all bytes are. */
bool tokenizer_encode_marked(const struct tokenizer *tokenizer, const char *text,
                             const uint8_t *own, size_t length, struct token_list *out,
                             struct error *error);

/* The bytes a token stands for (may be part of a character); empty for a control token unless
 * `show_special`. Borrowed from the tokenizer. An id out of range gives an empty view. */
struct string_view tokenizer_piece(const struct tokenizer *tokenizer, int32_t id,
                                   bool show_special);
size_t tokenizer_vocabulary_size(const struct tokenizer *tokenizer);
int32_t tokenizer_bos(const struct tokenizer *tokenizer);
int32_t tokenizer_eos(const struct tokenizer *tokenizer);
/* Whether encode's add_special begins with the BOS. */
bool tokenizer_adds_bos(const struct tokenizer *tokenizer);
/* True for every token that ends an answer: eos, eot, and known end-of-turn texts (<|im_end|>,
 * </s>, <|eot_id|>, <|endoftext|>, <end_of_turn>, …) that are control tokens of this vocabulary. */
bool tokenizer_is_end(const struct tokenizer *tokenizer, int32_t id);
/* True when encode puts a space before the first word, so that decoded text begins with one that
 * was never there. */
bool tokenizer_strips_leading_space(const struct tokenizer *tokenizer);
/* The lowest id whose text, as the file spells it, is exactly this (special or not), or TOKEN_NONE.
 * Looks at every token: for start-up, not for every request. */
int32_t tokenizer_find(const struct tokenizer *tokenizer, struct string_view text);

/* Streaming detokenisation: bytes go in token by token, whole UTF-8 characters come out. A zeroed
 * struct with `tokenizer` set is ready. */
struct detokenizer {
    const struct tokenizer *tokenizer;
    bool show_special;
    bool
        mark_special; /* control tokens appear between U+FDD0 and U+FDD1, which are no characters */
    bool started;     /* SentencePiece: the first piece loses its leading space */
    char pending[4];
    size_t pending_length; /* bytes of a character that is not yet complete */
};

/* Appends the text that became complete. Bytes that can never be UTF-8 come out as U+FFFD. */
void detokenizer_push(struct detokenizer *detokenizer, int32_t id, struct string_buffer *out);
/* The end: an unfinished character comes out as U+FFFD. */
void detokenizer_finish(struct detokenizer *detokenizer, struct string_buffer *out);

#endif
