/*
 * family.h - what a file in families/ offers, and what it reads the metadata with.
 *
 * A family is a set of GGUF architectures that are described in the same words. Its table says what
 * all layers have; its function, where it has one, reads what the metadata alone decides. What is
 * alike everywhere (sizes, heads, rope, window, experts) has been read from the usual keys before
 * the function is called, so that it only says what is different. CONTRIBUTING.md has an example.
 *
 * Runs while a model is loaded, on its thread. No state.
 */
#ifndef MISTRAL_MODEL_FAMILY_H
#define MISTRAL_MODEL_FAMILY_H

#include "model/description.h"

struct family_reader {
    const struct gguf *gguf;
    const char *architecture;
    size_t sequence_length; /* see description_read; never 0 */
    struct arena *arena;
    struct error *error;
};

/* A tensor that a family calls by another name: "ffn_norm.weight" → "post_attention_norm.weight".
 */
struct tensor_alias {
    const char *usual, *own;
};

enum { FAMILY_ARCHITECTURES = 6, FAMILY_ALIASES = 4 };

struct family {
    const char *architectures[FAMILY_ARCHITECTURES + 1]; /* general.architecture; NULL ends them */
    unsigned parts;                                      /* that every layer has */
    enum rope_pairing pairing;
    struct gate gate;
    enum expert_scoring expert_scoring;
    bool experts_normalise; /* unless the file says otherwise */
    bool embedding_scale;   /* embeddings are multiplied by sqrt(d_model) */
    size_t window_pattern;  /* every n-th layer sees everything, unless the file says otherwise;
                             * 0: all layers have the window, where there is one */
    struct tensor_alias aliases[FAMILY_ALIASES + 1]; /* an empty one ends them */
    /* NULL: nothing is different. False: the error is set. */
    bool (*describe)(const struct family_reader *reader, struct model_description *description);
};

/* Of that architecture, or NULL. */
const struct family *family_find(struct string_view architecture);
/* In the order of the list; NULL past the end. */
const struct family *family_at(size_t index);
/* The name in the file of a tensor that has the usual one in this program. */
const char *family_tensor_name(const struct family *family, const char *usual);

/* The rest reads "<architecture>.<key>". Absent: true, *out as it was. */
const char *family_key(const struct family_reader *reader, const char *key, char out[128]);
bool family_has_key(const struct family_reader *reader, const char *key);
bool family_read_float(const struct family_reader *reader, const char *key, float *out);
bool family_read_bool(const struct family_reader *reader, const char *key, bool *out);
/* Checks minimum … maximum, of the default in *out too. An array's entries must all be equal. */
bool family_read_size(const struct family_reader *reader, const char *key, size_t minimum,
                      size_t maximum, size_t *out);
/* One value a layer: out[layer_count], from an array with as many entries or more, or from a number
 * that holds for all. `fallback` where the key is absent. */
bool family_read_layer_sizes(const struct family_reader *reader, const char *key, size_t minimum,
                             size_t maximum, size_t fallback, size_t layer_count, size_t *out);
/* Sets each layer's window: from `<architecture>.attention.sliding_window_pattern` (a boolean a
 * layer, or n), else by `pattern` (struct family, window_pattern). */
bool family_read_windows(const struct family_reader *reader, size_t window, size_t pattern,
                         struct model_description *description);
/* False with ERROR_FORMAT: "<file>: '<key>' <what is wrong>". */
bool family_fail(const struct family_reader *reader, const char *key, const char *what);
/* Makes the cache's layers of the layers' parts and shapes; each PART_KEYS or PART_LATENT layer has
 * its own. Called by description_read after `describe`; layers without keys have set kv_layer to
 * the *layer* whose keys they read. */
bool family_place_kv(const struct family_reader *reader, struct model_description *description);

enum {
    MAX_LAYERS = 1024,
    MAX_WIDTH = 1 << 20,
    MAX_HEADS = 1 << 12,
    MAX_HEAD_DIM = 1 << 10,
    MAX_VOCABULARY = 1 << 24,
    MAX_CONTEXT = 1 << 28,
    MAX_EXPERTS = 1 << 10,
};

#endif
