/*
 * tokenizer.c - see tokenizer.h. The parts and how they join: vocabulary (the tokens), special
 * (special tokens in the text), then one family: sentencepiece, or pretokenizer
 * with byte_pair.
 */
#include "text/tokenizer/tokenizer.h"

#include "base/utf8.h"
#include "base/work_limit.h"
#include "text/tokenizer/byte_pair.h"
#include "text/tokenizer/pretokenizer.h"
#include "text/tokenizer/sentencepiece.h"
#include "text/tokenizer/special.h"
#include "text/tokenizer/unicode_nfc.h"
#include "text/tokenizer/vocabulary.h"

#include <stdlib.h>

enum family { FAMILY_SENTENCEPIECE, FAMILY_BYTE_PAIR };

struct tokenizer {
    struct vocabulary vocabulary;
    struct special_tokens special;
    bool add_bos, add_eos, add_space_prefix;
    enum family family;
    struct sentencepiece sentencepiece; /* of the family named above, else empty */
    struct byte_pair byte_pair;
    struct pretokenizer *pretokenizer; /* owned; NULL for SentencePiece */
    bool normalize_nfc;
};

/* What one call of encode needs and no other may touch. */
struct encoding {
    const struct tokenizer *tokenizer;
    struct token_list *out;
    struct sentencepiece_scratch sentencepiece;
    struct merge_list list;
    struct string_buffer normalized;
    struct pretokenizer_scratch *pretokenizer;
};

void token_list_deinit(struct token_list *list) {
    free(list->ids);
    *list = (struct token_list){0};
}

bool token_list_append(struct token_list *list, int32_t id) {
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 64 : list->capacity * 2;
        if (capacity > SIZE_MAX / sizeof *list->ids) {
            return false;
        }
        int32_t *ids = realloc(list->ids, capacity * sizeof *ids);
        if (ids == NULL) {
            return false;
        }
        list->ids = ids;
        list->capacity = capacity;
    }
    list->ids[list->count++] = id;
    return true;
}

/* The names of tokenizer.ggml.model that are known, and what their files mean when they say
 * nothing: a space before the first word, and where the special tokens are. */
static const struct model {
    const char *name;
    enum family family;
    bool spaced, numbered; /* add_space_prefix; <unk> <s> </s> are 0 1 2 */
    bool adds_bos;
    bool always_bos; /* files of it were written that say not to add it, by mistake */
} models[] = {
    {"llama", FAMILY_SENTENCEPIECE, true, true, true, false},
    {"gemma4", FAMILY_SENTENCEPIECE, false, false, true, true},
    {"gpt2", FAMILY_BYTE_PAIR, false, false, false, false},
};

static const struct model *model_of(struct string_view name) {
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        if (string_view_is(name, models[i].name)) {
            return &models[i];
        }
    }
    return NULL;
}

static bool refuse_model(struct string_view model, struct error *error) {
    int shown = model.length < 100 ? (int)model.length : 100;
    return error_set(error, ERROR_UNSUPPORTED,
                     "the tokenizer '%.*s' (tokenizer.ggml.model) is not supported; known are "
                     "llama, gemma4 and gpt2",
                     shown, model.data);
}

struct tokenizer_source tokenizer_source_defaults(struct string_view model,
                                                  struct string_view pre) {
    const struct model *known =
        model_of(model); /* unknown names are tokenizer_create's to refuse */
    bool numbered = known != NULL && known->numbered;
    struct pretokenizer_traits traits = {0};
    if (known != NULL && known->family == FAMILY_BYTE_PAIR) {
        pretokenizer_traits_of(pre, &traits);
    }
    return (struct tokenizer_source){
        .model = model,
        .pre = pre,
        .bos = numbered ? 1 : TOKEN_NONE,
        .eos = numbered ? 2 : TOKEN_NONE,
        .unknown = numbered ? 0 : TOKEN_NONE,
        .pad = TOKEN_NONE,
        .eot = TOKEN_NONE,
        .eom = TOKEN_NONE,
        .add_bos = traits.adds_bos || (known != NULL && known->adds_bos),
        .add_space_prefix = known != NULL && known->spaced,
    };
}

static bool create_byte_pair(struct tokenizer *tokenizer, const struct tokenizer_source *source,
                             struct error *error) {
    struct pretokenizer_traits traits = {0};
    if (!pretokenizer_create(source->pre, &tokenizer->pretokenizer, error)) {
        return false;
    }
    pretokenizer_traits_of(source->pre, &traits);
    tokenizer->normalize_nfc = traits.normalize_nfc;
    return byte_pair_init(&tokenizer->byte_pair, &tokenizer->vocabulary, source,
                          traits.ignore_merges, error);
}

bool tokenizer_create(const struct tokenizer_source *source, struct tokenizer **created,
                      struct error *error) {
    const struct model *model = model_of(source->model);
    if (model == NULL) {
        return refuse_model(source->model, error);
    }
    struct tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
    if (tokenizer == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a tokenizer");
    }
    tokenizer->family = model->family;
    tokenizer->add_bos = source->add_bos || model->always_bos;
    tokenizer->add_eos = source->add_eos;
    bool is_sentencepiece = model->family == FAMILY_SENTENCEPIECE;
    tokenizer->add_space_prefix = is_sentencepiece && source->add_space_prefix;
    if (!vocabulary_init(&tokenizer->vocabulary, source,
                         is_sentencepiece ? sentencepiece_piece : byte_pair_piece, error) ||
        !special_tokens_init(&tokenizer->special, &tokenizer->vocabulary, error) ||
        !(is_sentencepiece
              ? sentencepiece_init(&tokenizer->sentencepiece, &tokenizer->vocabulary, source, error)
              : create_byte_pair(tokenizer, source, error))) {
        tokenizer_free(tokenizer);
        return false;
    }
    *created = tokenizer;
    return true;
}

void tokenizer_free(struct tokenizer *tokenizer) {
    if (tokenizer == NULL) {
        return;
    }
    sentencepiece_deinit(&tokenizer->sentencepiece);
    byte_pair_deinit(&tokenizer->byte_pair);
    pretokenizer_free(tokenizer->pretokenizer);
    special_tokens_deinit(&tokenizer->special);
    vocabulary_deinit(&tokenizer->vocabulary);
    free(tokenizer);
}

static bool encode_word(void *context, const char *word, size_t length, struct error *error) {
    struct encoding *encoding = context;
    return byte_pair_encode(&encoding->tokenizer->byte_pair, &encoding->list, word, length,
                            encoding->out, error);
}

/* The patterns see well-formed UTF-8 only. A run of bytes that is not is a word of its own, so that
 * every byte reaches the model as itself. */
static bool encode_words(struct encoding *encoding, const char *text, size_t length,
                         struct error *error) {
    for (size_t at = 0; at < length;) {
        size_t good = length - at;
        utf8_validate(text + at, length - at, &good);
        if (!pretokenizer_split(encoding->tokenizer->pretokenizer, encoding->pretokenizer,
                                text + at, good, encode_word, encoding, error)) {
            return false;
        }
        at += good;
        size_t bad_end = at;
        uint32_t code_point;
        while (bad_end < length &&
               utf8_decode(text + bad_end, length - bad_end, &code_point) == 0) {
            bad_end++;
        }
        if (bad_end > at && !encode_word(encoding, text + at, bad_end - at, error)) {
            return false;
        }
        at = bad_end;
    }
    return true;
}

static bool encode_fragment(struct encoding *encoding, const char *text, size_t length,
                            bool after_special, struct error *error) {
    const struct tokenizer *tokenizer = encoding->tokenizer;
    if (length == 0) {
        return true;
    }
    if (tokenizer->family == FAMILY_SENTENCEPIECE) {
        return sentencepiece_encode(&tokenizer->sentencepiece, &encoding->sentencepiece, text,
                                    length, after_special && tokenizer->add_space_prefix,
                                    encoding->out, error);
    }
    if (!tokenizer->normalize_nfc) {
        return encode_words(encoding, text, length, error);
    }
    string_buffer_clear(&encoding->normalized);
    return unicode_nfc(text, length, &encoding->normalized, error) &&
           encode_words(encoding, encoding->normalized.data, encoding->normalized.length, error);
}

static bool append_id(struct token_list *out, int32_t id, struct error *error) {
    return token_list_append(out, id) ||
           error_set(error, ERROR_OUT_OF_MEMORY, "no memory for %zu tokens", out->count + 1);
}

static bool encode_text(struct encoding *encoding, struct string_view text, const uint8_t *own,
                        bool parse_special, struct error *error) {
    size_t from = 0;
    bool after_special = true; /* the beginning counts as such */
    while (from < text.length) {
        size_t at = text.length;
        int32_t id = TOKEN_NONE;
        special_tokens_find(&encoding->tokenizer->special, text, own, from, parse_special, &at,
                            &id);
        if (!encode_fragment(encoding, text.data + from, at - from, after_special, error)) {
            return false;
        }
        from = at;
        if (id != TOKEN_NONE) {
            if (!append_id(encoding->out, id, error)) {
                return false;
            }
            from += encoding->tokenizer->vocabulary.tokens[id].text.length;
            after_special = true;
        }
    }
    return true;
}

/* Offsets inside a text are 32 bits wide, and escaping or normalizing may triple it. */
enum { TEXT_BYTES_MAX = INT32_MAX / 4 };

/* `own` NULL: of all bytes alike. */
static bool encode(const struct tokenizer *tokenizer, struct string_view text, const uint8_t *own,
                   bool add_special, bool parse_special, struct token_list *out,
                   struct error *error) {
    if (text.length > TEXT_BYTES_MAX) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "a text of %zu bytes is too long to tokenize; at most %d are allowed",
                         text.length, (int)TEXT_BYTES_MAX);
    }
    size_t count_before = out->count;
    struct encoding encoding = {.tokenizer = tokenizer, .out = out};
    const struct vocabulary *vocabulary = &tokenizer->vocabulary;
    bool done = false;
    if (tokenizer->pretokenizer != NULL &&
        !pretokenizer_scratch_create(tokenizer->pretokenizer, &encoding.pretokenizer, error)) {
        goto cleanup;
    }
    if (add_special && tokenizer->add_bos && vocabulary->bos != TOKEN_NONE &&
        !append_id(out, vocabulary->bos, error)) {
        goto cleanup;
    }
    if (!encode_text(&encoding, text, own, parse_special, error)) {
        goto cleanup;
    }
    if (add_special && tokenizer->add_eos && vocabulary->eos != TOKEN_NONE &&
        !append_id(out, vocabulary->eos, error)) {
        goto cleanup;
    }
    done = true;
cleanup:
    sentencepiece_scratch_deinit(&encoding.sentencepiece);
    merge_list_deinit(&encoding.list);
    string_buffer_deinit(&encoding.normalized);
    pretokenizer_scratch_free(encoding.pretokenizer);
    if (!done) {
        out->count = count_before;
        if (work_limit_reached()) { /* a loop gave up, and nothing was wrong */
            work_limit_fail(error);
        }
    }
    return done;
}

bool tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t length,
                      bool add_special, bool parse_special, struct token_list *out,
                      struct error *error) {
    return encode(tokenizer, (struct string_view){text, length}, NULL, add_special, parse_special,
                  out, error);
}

bool tokenizer_encode_marked(const struct tokenizer *tokenizer, const char *text,
                             const uint8_t *own, size_t length, struct token_list *out,
                             struct error *error) {
    return encode(tokenizer, (struct string_view){text, length}, own, false, true, out, error);
}

static const struct vocabulary_token *token_at(const struct tokenizer *tokenizer, int32_t id) {
    bool known = id >= 0 && (size_t)id < tokenizer->vocabulary.count;
    return known ? &tokenizer->vocabulary.tokens[id] : NULL;
}

struct string_view tokenizer_piece(const struct tokenizer *tokenizer, int32_t id,
                                   bool show_special) {
    const struct vocabulary_token *token = token_at(tokenizer, id);
    bool hidden = token == NULL ||
                  (!show_special && (token->type == TOKEN_CONTROL || token->type == TOKEN_UNKNOWN));
    return hidden ? (struct string_view){"", 0} : token->piece;
}

size_t tokenizer_vocabulary_size(const struct tokenizer *tokenizer) {
    return tokenizer->vocabulary.count;
}

int32_t tokenizer_bos(const struct tokenizer *tokenizer) {
    return tokenizer->vocabulary.bos;
}

int32_t tokenizer_eos(const struct tokenizer *tokenizer) {
    return tokenizer->vocabulary.eos;
}

bool tokenizer_adds_bos(const struct tokenizer *tokenizer) {
    return tokenizer->add_bos && tokenizer->vocabulary.bos != TOKEN_NONE;
}

bool tokenizer_strips_leading_space(const struct tokenizer *tokenizer) {
    return tokenizer->add_space_prefix;
}

bool tokenizer_is_end(const struct tokenizer *tokenizer, int32_t id) {
    const struct vocabulary_token *token = token_at(tokenizer, id);
    return token != NULL && token->is_end;
}

int32_t tokenizer_find(const struct tokenizer *tokenizer, struct string_view text) {
    for (size_t i = 0; i < tokenizer->vocabulary.count; i++) {
        if (string_view_equals(tokenizer->vocabulary.tokens[i].text, text)) {
            return (int32_t)i;
        }
    }
    return TOKEN_NONE;
}
