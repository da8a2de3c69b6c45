/*
 * checkpoint_tokenizer.c - tokenizer.json, tokenizer.model and tokenizer_config.json to GGUF's
 * vocabulary, and the chat template.
 *
 * Two families: byte-level BPE ("gpt2" in GGUF), whose way of cutting words must be one that
 * text/tokenizer/pretokenizer.c knows, and SentencePiece's BPE with bytes to fall back to
 * ("llama"). For the latter tokenizer.model has the scores; where there is only tokenizer.json they
 * are made from the order of its merges, which gives the same tokens.
 */
#include "convert/checkpoint.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/hash_map.h"
#include "convert/sentencepiece_model.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TOKENS = 1 << 22, MAX_FILE_BYTES = 64 << 20 };

struct vocabulary {
    const struct checkpoint *checkpoint;
    struct arena *arena;
    json_t *tokenizer; /* tokenizer.json, or NULL */
    json_t *settings;  /* tokenizer_config.json, or NULL */
    struct mapped_file file;
    struct sentencepiece_model pieces; /* of tokenizer.model; count 0: none */

    struct string_view *tokens; /* [count]; data NULL: not named */
    float *scores;              /* [count] */
    int32_t *types;             /* [count], enum piece_type */
    size_t count;
    struct hash_map ids; /* of the tokens */
};

static bool fail(const struct vocabulary *vocabulary, enum error_code code, const char *what,
                 struct error *error) {
    return error_set(error, code, "'%s': %s", vocabulary->checkpoint->folder, what);
}

/* "<0x0A>" */
static bool is_byte(const char *text, size_t length) {
    return length == 6 && strncmp(text, "<0x", 3) == 0 && isxdigit((unsigned char)text[3]) &&
           isxdigit((unsigned char)text[4]) && text[5] == '>';
}

/* ---- the tokens ---- */

static bool allocate(struct vocabulary *vocabulary, size_t count, struct error *error) {
    if (count == 0 || count > MAX_TOKENS) {
        return fail(vocabulary, ERROR_FORMAT, "its vocabulary has no usable number of tokens",
                    error);
    }
    vocabulary->count = count;
    vocabulary->tokens = arena_alloc(vocabulary->arena, count, sizeof *vocabulary->tokens);
    vocabulary->scores = arena_alloc(vocabulary->arena, count, sizeof *vocabulary->scores);
    vocabulary->types = arena_alloc(vocabulary->arena, count, sizeof *vocabulary->types);
    return (vocabulary->tokens != NULL && vocabulary->scores != NULL &&
            vocabulary->types != NULL) ||
           error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a vocabulary");
}

static void set_token(struct vocabulary *vocabulary, json_int_t id, const char *text,
                      enum piece_type type) {
    if (id >= 0 && (size_t)id < vocabulary->count) {
        vocabulary->tokens[id] = string_view_of(text);
        if (vocabulary->types[id] != PIECE_UNKNOWN) { /* which is special by itself */
            vocabulary->types[id] = (int32_t)type;
        }
    }
}

/* tokenizer.json's added_tokens, and tokenizer_config.json's added_tokens_decoder. */
static void add_special_tokens(struct vocabulary *vocabulary) {
    size_t index;
    const char *key;
    json_t *row;
    json_array_foreach(json_object_get(vocabulary->tokenizer, "added_tokens"), index, row) {
        const char *text = json_string_value(json_object_get(row, "content"));
        const json_t *id = json_object_get(row, "id");
        bool special = json_is_true(json_object_get(row, "special"));
        if (text != NULL && json_is_integer(id)) {
            set_token(vocabulary, json_integer_value(id), text,
                      special ? PIECE_CONTROL : PIECE_USER_DEFINED);
        }
    }
    json_object_foreach(json_object_get(vocabulary->settings, "added_tokens_decoder"), key, row) {
        const char *text = json_string_value(json_object_get(row, "content"));
        bool special = json_is_true(json_object_get(row, "special"));
        if (text != NULL && key[0] >= '0' && key[0] <= '9') {
            set_token(vocabulary, strtoll(key, NULL, 10), text,
                      special ? PIECE_CONTROL : PIECE_USER_DEFINED);
        }
    }
}

/* Ids that the model has and nothing names. */
static bool fill_gaps(struct vocabulary *vocabulary, struct error *error) {
    for (size_t i = 0; i < vocabulary->count; i++) {
        if (vocabulary->tokens[i].data == NULL) {
            char text[32];
            snprintf(text, sizeof text, "[PAD%zu]", i);
            char *copy = arena_copy_text(vocabulary->arena, text, strlen(text));
            if (copy == NULL) {
                return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a vocabulary");
            }
            set_token(vocabulary, (json_int_t)i, copy, PIECE_UNUSED);
        }
    }
    return true;
}

static bool index_tokens(struct vocabulary *vocabulary, struct error *error) {
    for (size_t i = vocabulary->count; i-- > 0;) { /* of duplicates the lowest id counts */
        if (!hash_map_set(&vocabulary->ids, vocabulary->tokens[i], i)) {
            return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a vocabulary");
        }
    }
    return true;
}

static bool take_pieces(struct vocabulary *vocabulary, struct error *error) {
    const struct sentencepiece_model *pieces = &vocabulary->pieces;
    if (!pieces->is_bpe) {
        return fail(vocabulary, ERROR_UNSUPPORTED,
                    "tokenizer.model is no BPE model of SentencePiece", error);
    }
    if (!allocate(vocabulary, size_max(pieces->count, vocabulary->checkpoint->vocabulary_size),
                  error)) {
        return false;
    }
    for (size_t i = 0; i < pieces->count; i++) {
        vocabulary->tokens[i] =
            pieces->pieces[i].data == NULL ? string_view_of("") : pieces->pieces[i];
        vocabulary->scores[i] = pieces->scores[i];
        vocabulary->types[i] = pieces->types[i];
    }
    return true;
}

static bool take_vocabulary(struct vocabulary *vocabulary, bool has_bytes, struct error *error) {
    const json_t *model = json_object_get(vocabulary->tokenizer, "model");
    json_t *vocab = json_object_get(model, "vocab");
    const char *unknown = json_string_value(json_object_get(model, "unk_token"));
    size_t largest = vocabulary->checkpoint->vocabulary_size;
    const char *text;
    json_t *id;
    json_object_foreach(vocab, text, id) {
        json_int_t number = json_is_integer(id) ? json_integer_value(id) : -1;
        if (number < 0 || number >= MAX_TOKENS) {
            return fail(vocabulary, ERROR_FORMAT, "tokenizer.json has a token without an id",
                        error);
        }
        largest = size_max(largest, (size_t)number + 1);
    }
    if (!json_is_object(vocab)) {
        return fail(vocabulary, ERROR_FORMAT, "tokenizer.json has no vocabulary", error);
    }
    if (!allocate(vocabulary, largest, error)) {
        return false;
    }
    json_object_foreach(vocab, text, id) {
        bool is_unknown = unknown != NULL && strcmp(unknown, text) == 0;
        bool byte = has_bytes && is_byte(text, strlen(text));
        set_token(vocabulary, json_integer_value(id), text,
                  is_unknown ? PIECE_UNKNOWN
                  : byte     ? PIECE_BYTE
                             : PIECE_NORMAL);
    }
    return true;
}

/* ---- merges ---- */

/* "a b" in the arena; tokenizer.json has it as that or as ["a", "b"]. */
static bool take_merge(struct vocabulary *vocabulary, const json_t *row, struct string_view *merge,
                       size_t *left, struct error *error) {
    const char *first = json_string_value(json_array_get(row, 0));
    const char *second = json_string_value(json_array_get(row, 1));
    const char *text = json_string_value(row);
    struct string_buffer joined = {0};
    if (first != NULL && second != NULL) {
        string_buffer_append_format(&joined, "%s %s", first, second);
        *left = strlen(first);
    } else if (text != NULL && strchr(text, ' ') != NULL) {
        string_buffer_append_text(&joined, text);
        *left = (size_t)(strchr(text, ' ') - text);
    } else {
        return fail(vocabulary, ERROR_FORMAT, "tokenizer.json has a merge that is no pair", error);
    }
    char *copy = arena_copy_text(vocabulary->arena, string_buffer_text(&joined), joined.length);
    *merge = (struct string_view){copy, joined.length};
    string_buffer_deinit(&joined);
    return copy != NULL || error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the merges");
}

static bool take_merges(struct vocabulary *vocabulary, struct string_view **merges, size_t **lefts,
                        size_t *count, struct error *error) {
    const json_t *rows = json_object_get(json_object_get(vocabulary->tokenizer, "model"), "merges");
    *count = json_array_size(rows);
    *merges = arena_alloc(vocabulary->arena, *count + 1, sizeof **merges);
    *lefts = arena_alloc(vocabulary->arena, *count + 1, sizeof **lefts);
    if (*merges == NULL || *lefts == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the merges");
    }
    for (size_t i = 0; i < *count; i++) {
        if (!take_merge(vocabulary, json_array_get(rows, i), &(*merges)[i], &(*lefts)[i], error)) {
            return false;
        }
    }
    return true;
}

/* A piece that is merged sooner scores higher; one that no merge makes comes last. */
static bool score_by_merges(struct vocabulary *vocabulary, struct error *error) {
    struct string_view *merges;
    size_t *lefts, count;
    struct string_buffer piece = {0};
    if (!take_merges(vocabulary, &merges, &lefts, &count, error)) {
        return false;
    }
    for (size_t i = 0; i < vocabulary->count; i++) {
        bool counts = vocabulary->types[i] == PIECE_NORMAL;
        vocabulary->scores[i] = counts ? -(float)(count + i + 1) : 0;
    }
    for (size_t i = count; i-- > 0;) { /* the first merge that makes a piece counts */
        string_buffer_clear(&piece);
        string_buffer_append(&piece, merges[i].data, lefts[i]);
        string_buffer_append(&piece, merges[i].data + lefts[i] + 1,
                             merges[i].length - lefts[i] - 1);
        const uint64_t *id = hash_map_get(
            &vocabulary->ids, (struct string_view){string_buffer_text(&piece), piece.length});
        if (id != NULL && vocabulary->types[*id] == PIECE_NORMAL) {
            vocabulary->scores[*id] = -(float)(i + 1);
        }
    }
    bool done = !piece.failed || error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the merges");
    string_buffer_deinit(&piece);
    return done;
}

/* ---- byte-level BPE: which way of cutting words ---- */

#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES      "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define CASELESS(digits)                                                                           \
    CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES
#define CASED(suffix, digits)                                                                      \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"     \
    "+" suffix "|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+"                      \
    "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*" suffix "|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES

enum { MAX_SPLITS = 3 };

/* The expressions of tokenizer.json's Split steps, letter for letter, and GGUF's name for them. */
static const struct {
    const char *name, *patterns[MAX_SPLITS];
} splits[] = {
    {"llama-bpe", {CASELESS("\\p{N}{1,3}")}},
    {"qwen2", {CASELESS("\\p{N}")}},
    {"qwen35",
     {CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+"
                  "[\\r\\n]*|" SPACES}},
    {"tekken", {CASED("", "\\p{N}")}},
    {"gpt-4o", {CASED(CONTRACTION "?", "\\p{N}{1,3}")}},
    {"deepseek-v3",
     {"\\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
      "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?"
      "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"}},
};

static bool is_type(const json_t *step, const char *type) {
    const char *own = json_string_value(json_object_get(step, "type"));
    return own != NULL && strcmp(own, type) == 0;
}

/* Whether the first `count` steps are Split steps with these expressions, and those are all. */
static bool splits_by(const json_t *steps, size_t count, const char *const *patterns) {
    for (size_t i = 0; i < MAX_SPLITS; i++) {
        const json_t *step = i < count ? json_array_get(steps, i) : NULL;
        const char *pattern =
            json_string_value(json_object_get(json_object_get(step, "pattern"), "Regex"));
        if (step == NULL && patterns[i] == NULL) {
            return true;
        }
        if (patterns[i] == NULL || pattern == NULL || !is_type(step, "Split") ||
            strcmp(pattern, patterns[i]) != 0) {
            return false;
        }
    }
    return count <= MAX_SPLITS;
}

/* NULL when it is none of those that are known. */
static const char *pretokenizer_name(const json_t *tokenizer) {
    json_t *step = json_object_get(tokenizer, "pre_tokenizer");
    json_t *steps = is_type(step, "Sequence") ? json_object_get(step, "pretokenizers") : NULL;
    size_t before = json_array_size(steps) == 0 ? 0 : json_array_size(steps) - 1;
    const json_t *first = json_array_get(steps, 0);
    const json_t *last = steps == NULL ? step : json_array_get(steps, before);
    bool own_words = !json_is_false(json_object_get(last, "use_regex"));
    if (!is_type(last, "ByteLevel")) {
        return NULL;
    }
    if (own_words && before == 0) {
        return "gpt-2";
    }
    if (own_words) {
        bool digits = before == 1 && is_type(first, "Digits") &&
                      json_is_true(json_object_get(first, "individual_digits"));
        return digits ? "smollm" : NULL;
    }
    for (size_t i = 0; i < sizeof splits / sizeof splits[0]; i++) {
        if (splits_by(steps, before, splits[i].patterns)) {
            return splits[i].name;
        }
    }
    return NULL;
}

/* ---- special tokens ---- */

static bool find_id(const struct vocabulary *vocabulary, const char *text, uint32_t *id) {
    const uint64_t *found =
        text == NULL ? NULL : hash_map_get(&vocabulary->ids, string_view_of(text));
    *id = found == NULL ? UINT32_MAX : (uint32_t)*found;
    return found != NULL;
}

/* By its name in tokenizer_config.json, else by the number in config.json (the first of several).
 */
static void write_id(const struct vocabulary *vocabulary, const char *name, const char *number,
                     const char *key, struct gguf_writer *values, uint32_t *id) {
    const json_t *token = json_object_get(vocabulary->settings, name);
    const json_t *from_config = json_object_get(vocabulary->checkpoint->config, number);
    const char *text = json_string_value(token);
    text = text == NULL ? json_string_value(json_object_get(token, "content")) : text;
    if (!find_id(vocabulary, text, id)) {
        from_config = json_is_array(from_config) ? json_array_get(from_config, 0) : from_config;
        json_int_t value = json_is_integer(from_config) ? json_integer_value(from_config) : -1;
        *id = value >= 0 && (size_t)value < vocabulary->count ? (uint32_t)value : UINT32_MAX;
    }
    if (*id != UINT32_MAX) {
        gguf_writer_add_u32(values, key, *id);
        if (vocabulary->types[*id] == PIECE_NORMAL) {
            vocabulary->types[*id] = PIECE_CONTROL;
        }
    }
}

/* Whether a post-processor puts the token before a text. */
static bool processor_begins_with(const json_t *processor, struct string_view token) {
    const json_t *first = json_array_get(json_object_get(processor, "single"), 0);
    const char *id =
        json_string_value(json_object_get(json_object_get(first, "SpecialToken"), "id"));
    size_t index;
    json_t *inner;
    if (id != NULL && string_view_is(token, id)) {
        return true;
    }
    json_array_foreach(json_object_get(processor, "processors"), index, inner) {
        const json_t *begin = json_array_get(json_object_get(inner, "single"), 0);
        id = json_string_value(json_object_get(json_object_get(begin, "SpecialToken"), "id"));
        if (id != NULL && string_view_is(token, id)) {
            return true;
        }
    }
    return false;
}

static void write_specials(struct vocabulary *vocabulary, bool is_sentencepiece,
                           struct gguf_writer *values) {
    uint32_t bos, eos, other;
    write_id(vocabulary, "bos_token", "bos_token_id", "tokenizer.ggml.bos_token_id", values, &bos);
    write_id(vocabulary, "eos_token", "eos_token_id", "tokenizer.ggml.eos_token_id", values, &eos);
    write_id(vocabulary, "unk_token", "unk_token_id", "tokenizer.ggml.unknown_token_id", values,
             &other);
    write_id(vocabulary, "pad_token", "pad_token_id", "tokenizer.ggml.padding_token_id", values,
             &other);
    const json_t *add_bos = json_object_get(vocabulary->settings, "add_bos_token");
    const json_t *processor = json_object_get(vocabulary->tokenizer, "post_processor");
    bool adds_bos = is_sentencepiece;
    if (json_is_boolean(add_bos)) {
        adds_bos = json_is_true(add_bos);
    } else if (json_is_object(processor)) {
        adds_bos = bos != UINT32_MAX && processor_begins_with(processor, vocabulary->tokens[bos]);
    }
    gguf_writer_add_bool(values, "tokenizer.ggml.add_bos_token", adds_bos && bos != UINT32_MAX);
    gguf_writer_add_bool(values, "tokenizer.ggml.add_eos_token",
                         eos != UINT32_MAX &&
                             json_is_true(json_object_get(vocabulary->settings, "add_eos_token")));
}

/* ---- the chat template ---- */

static bool write_template_file(const struct vocabulary *vocabulary, struct gguf_writer *values,
                                bool *found, struct error *error) {
    struct string_buffer path = {0};
    char *text = NULL;
    size_t length;
    string_buffer_append_format(&path, "%s/chat_template.jinja", vocabulary->checkpoint->folder);
    *found = file_exists(string_buffer_text(&path));
    bool done =
        !*found || file_read_all(string_buffer_text(&path), MAX_FILE_BYTES, &text, &length, error);
    if (done && *found) {
        gguf_writer_add_text(values, "tokenizer.chat_template", (struct string_view){text, length});
    }
    free(text);
    string_buffer_deinit(&path);
    return done;
}

/* chat_template.jinja; else tokenizer_config.json's, which may be several with names. */
static bool write_template(const struct vocabulary *vocabulary, struct gguf_writer *values,
                           struct error *error) {
    json_t *own = json_object_get(vocabulary->settings, "chat_template");
    size_t index;
    json_t *row;
    bool found;
    if (!write_template_file(vocabulary, values, &found, error)) {
        return false;
    }
    const char *text = json_string_value(own);
    json_array_foreach(own, index, row) {
        const char *name = json_string_value(json_object_get(row, "name"));
        if (name != NULL && strcmp(name, "default") == 0) {
            text = json_string_value(json_object_get(row, "template"));
        }
    }
    if (!found && text != NULL) {
        gguf_writer_add_text(values, "tokenizer.chat_template", string_view_of(text));
    }
    return true;
}

/* ---- both families ---- */

static bool write_byte_level(struct vocabulary *vocabulary, struct gguf_writer *values,
                             struct error *error) {
    struct string_view *merges;
    size_t *lefts, count;
    const char *name = pretokenizer_name(vocabulary->tokenizer);
    if (name == NULL) {
        return fail(vocabulary, ERROR_UNSUPPORTED,
                    "tokenizer.json cuts words in a way that is not known; convert the model to "
                    "GGUF with llama.cpp's convert_hf_to_gguf.py",
                    error);
    }
    if (!take_merges(vocabulary, &merges, &lefts, &count, error)) {
        return false;
    }
    gguf_writer_add_text(values, "tokenizer.ggml.model", string_view_of("gpt2"));
    gguf_writer_add_text(values, "tokenizer.ggml.pre", string_view_of(name));
    gguf_writer_add_texts(values, "tokenizer.ggml.merges", merges, count);
    return true;
}

/* Whether a text gets a space before it: as tokenizer.model says, or by the step that does it. */
static bool adds_space(const struct vocabulary *vocabulary) {
    if (vocabulary->pieces.count > 0) {
        return vocabulary->pieces.adds_space;
    }
    const json_t *words = json_object_get(vocabulary->tokenizer, "pre_tokenizer");
    if (is_type(words, "Metaspace")) {
        const char *scheme = json_string_value(json_object_get(words, "prepend_scheme"));
        return scheme != NULL ? strcmp(scheme, "never") != 0
                              : !json_is_false(json_object_get(words, "add_prefix_space"));
    }
    const json_t *normalizer = json_object_get(vocabulary->tokenizer, "normalizer");
    size_t index;
    json_t *step;
    json_array_foreach(json_object_get(normalizer, "normalizers"), index, step) {
        if (is_type(step, "Prepend")) {
            return true;
        }
    }
    return is_type(normalizer, "Prepend");
}

static bool write_sentencepiece(struct vocabulary *vocabulary, struct gguf_writer *values,
                                struct error *error) {
    if (vocabulary->pieces.count == 0 && !score_by_merges(vocabulary, error)) {
        return false;
    }
    gguf_writer_add_text(values, "tokenizer.ggml.model", string_view_of("llama"));
    gguf_writer_add_text(values, "tokenizer.ggml.pre", string_view_of("default"));
    gguf_writer_add_f32s(values, "tokenizer.ggml.scores", vocabulary->scores, vocabulary->count);
    gguf_writer_add_bool(values, "tokenizer.ggml.add_space_prefix", adds_space(vocabulary));
    if (vocabulary->pieces.count > 0) {
        gguf_writer_add_bool(values, "tokenizer.ggml.remove_extra_whitespaces",
                             vocabulary->pieces.trims_spaces);
    }
    return true;
}

static bool read_files(struct vocabulary *vocabulary, struct error *error) {
    const char *folder = vocabulary->checkpoint->folder;
    struct string_buffer path = {0};
    bool done =
        checkpoint_read_json(folder, "tokenizer.json", false, &vocabulary->tokenizer, error) &&
        checkpoint_read_json(folder, "tokenizer_config.json", false, &vocabulary->settings, error);
    const json_t *model = json_object_get(vocabulary->tokenizer, "model");
    bool has_bytes = json_is_true(json_object_get(model, "byte_fallback"));
    string_buffer_append_format(&path, "%s/tokenizer.model", folder);
    bool has_model = file_exists(string_buffer_text(&path));
    if (done && has_model && (vocabulary->tokenizer == NULL || has_bytes)) {
        done = file_map(string_buffer_text(&path), &vocabulary->file, error) &&
               sentencepiece_model_read(string_buffer_text(&path), vocabulary->file.data,
                                        vocabulary->file.size, vocabulary->arena,
                                        &vocabulary->pieces, error) &&
               take_pieces(vocabulary, error);
    } else if (done && !is_type(model, "BPE")) {
        done = fail(vocabulary, ERROR_UNSUPPORTED,
                    "there is no tokenizer that can be read: tokenizer.json of BPE, or "
                    "SentencePiece's tokenizer.model",
                    error);
    } else if (done) {
        done = take_vocabulary(vocabulary, has_bytes, error);
    }
    string_buffer_deinit(&path);
    return done;
}

bool checkpoint_write_tokenizer(const struct checkpoint *checkpoint, struct gguf_writer *values,
                                struct arena *arena, struct error *error) {
    struct vocabulary vocabulary = {.checkpoint = checkpoint, .arena = arena};
    bool done = read_files(&vocabulary, error);
    if (done) {
        add_special_tokens(&vocabulary);
        done = fill_gaps(&vocabulary, error) && index_tokens(&vocabulary, error);
    }
    if (done) {
        const json_t *model = json_object_get(vocabulary.tokenizer, "model");
        bool is_sentencepiece =
            vocabulary.pieces.count > 0 || json_is_true(json_object_get(model, "byte_fallback"));
        write_specials(&vocabulary, is_sentencepiece, values);
        done = (is_sentencepiece ? write_sentencepiece(&vocabulary, values, error)
                                 : write_byte_level(&vocabulary, values, error)) &&
               write_template(&vocabulary, values, error);
        gguf_writer_add_texts(values, "tokenizer.ggml.tokens", vocabulary.tokens, vocabulary.count);
        gguf_writer_add_i32s(values, "tokenizer.ggml.token_type", vocabulary.types,
                             vocabulary.count);
    }
    done = done && (file_check(&vocabulary.file, "tokenizer.model", error) ||
                    error_prefix(error, "'%s'", checkpoint->folder));
    hash_map_deinit(&vocabulary.ids);
    file_unmap(&vocabulary.file);
    json_decref(vocabulary.tokenizer);
    json_decref(vocabulary.settings);
    return done;
}
