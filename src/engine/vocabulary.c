/* vocabulary.c - see vocabulary.h. */
#include "engine/vocabulary.h"

#include "base/arena.h"

static bool missing(const struct gguf *gguf, const char *key, const char *what,
                    struct error *error) {
    return error_set(error, ERROR_FORMAT, "%s: '%s' is missing or not %s", gguf_path(gguf), key,
                     what);
}

static bool read_strings(const struct gguf *gguf, const char *key, bool required,
                         struct arena *arena, const struct string_view **out, size_t *count,
                         struct error *error) {
    const struct gguf_value *value = gguf_find(gguf, key);
    if (value == NULL && !required) {
        return true;
    }
    if (value == NULL || value->type != GGUF_ARRAY || value->element_type != GGUF_STRING) {
        return missing(gguf, key, "an array of strings", error);
    }
    struct string_view *strings = arena_alloc(arena, value->count, sizeof *strings);
    if (strings == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the vocabulary");
    }
    if (!gguf_strings(value, strings)) {
        return missing(gguf, key, "an array of strings", error);
    }
    *out = strings;
    *count = value->count;
    return true;
}

/* An array of one number a token, into f32 or int32; absent leaves *out NULL. */
static bool read_numbers(const struct gguf *gguf, const char *key, size_t expected,
                         struct arena *arena, float **floats, int32_t **integers,
                         struct error *error) {
    const struct gguf_value *value = gguf_find(gguf, key);
    if (value == NULL) {
        return true;
    }
    if (value->type != GGUF_ARRAY || value->count != expected) {
        return missing(gguf, key, "an array with one number for each token", error);
    }
    void *numbers = arena_alloc(arena, expected, sizeof(float));
    if (numbers == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the vocabulary");
    }
    for (size_t i = 0; i < expected; i++) {
        double number;
        if (!gguf_number_at(value, i, &number) ||
            (integers != NULL && !(number >= INT32_MIN && number <= INT32_MAX))) {
            return missing(gguf, key, "an array with one number for each token", error);
        }
        if (floats != NULL) {
            ((float *)numbers)[i] = (float)number;
        } else {
            ((int32_t *)numbers)[i] = (int32_t)number;
        }
    }
    if (floats != NULL) {
        *floats = numbers;
    } else {
        *integers = numbers;
    }
    return true;
}

static bool read_id(const struct gguf *gguf, const char *key, size_t token_count, int32_t *id,
                    struct error *error) {
    uint32_t value = UINT32_MAX; /* what some files write for "none" */
    if (gguf_find(gguf, key) == NULL) {
        return true;
    }
    if (!gguf_read_u32(gguf, key, &value, error)) {
        return false;
    }
    if (value != UINT32_MAX && value >= token_count) {
        return error_set(error, ERROR_FORMAT, "%s: '%s' is %u, but there are %zu tokens",
                         gguf_path(gguf), key, value, token_count);
    }
    *id = value == UINT32_MAX ? TOKEN_NONE : (int32_t)value;
    return true;
}

static bool read_ids(const struct gguf *gguf, struct tokenizer_source *source,
                     struct error *error) {
    const struct {
        const char *key;
        int32_t *id;
    } rows[] = {
        {"tokenizer.ggml.bos_token_id", &source->bos},
        {"tokenizer.ggml.eos_token_id", &source->eos},
        {"tokenizer.ggml.unknown_token_id", &source->unknown},
        {"tokenizer.ggml.padding_token_id", &source->pad},
        {"tokenizer.ggml.eot_token_id", &source->eot},
        {"tokenizer.ggml.eom_token_id", &source->eom},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!read_id(gguf, rows[i].key, source->token_count, rows[i].id, error)) {
            return false;
        }
    }
    return true;
}

static bool read_source(const struct gguf *gguf, struct arena *arena,
                        struct tokenizer_source *source, struct error *error) {
    float *scores = NULL;
    int32_t *types = NULL;
    struct string_view model = {"", 0};
    struct string_view pre = {"", 0};
    if (!gguf_read_string(gguf, "tokenizer.ggml.model", &model, error) ||
        !gguf_read_string(gguf, "tokenizer.ggml.pre", &pre, error)) {
        return false;
    }
    *source = tokenizer_source_defaults(model, pre);
    if (!read_strings(gguf, "tokenizer.ggml.tokens", true, arena, &source->tokens,
                      &source->token_count, error) ||
        !read_strings(gguf, "tokenizer.ggml.merges", false, arena, &source->merges,
                      &source->merge_count, error) ||
        !read_numbers(gguf, "tokenizer.ggml.scores", source->token_count, arena, &scores, NULL,
                      error) ||
        !read_numbers(gguf, "tokenizer.ggml.token_type", source->token_count, arena, NULL, &types,
                      error) ||
        !read_ids(gguf, source, error)) {
        return false;
    }
    source->scores = scores;
    source->types = types;
    return gguf_read_bool(gguf, "tokenizer.ggml.add_bos_token", &source->add_bos, error) &&
           gguf_read_bool(gguf, "tokenizer.ggml.add_eos_token", &source->add_eos, error) &&
           gguf_read_bool(gguf, "tokenizer.ggml.add_space_prefix", &source->add_space_prefix,
                          error) &&
           gguf_read_bool(gguf, "tokenizer.ggml.remove_extra_whitespaces",
                          &source->remove_extra_whitespaces, error);
}

bool vocabulary_load(const struct gguf *gguf, struct tokenizer **tokenizer, struct error *error) {
    struct arena arena = {0};
    struct tokenizer_source source;
    bool done = read_source(gguf, &arena, &source, error);
    if (done && !tokenizer_create(&source, tokenizer, error)) {
        done = error_prefix(error, "%s", gguf_path(gguf));
    }
    arena_deinit(&arena);
    return done;
}
