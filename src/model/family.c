/* family.c - see family.h: the list of families, and the reading they share. */
#include "model/family.h"

#include "base/bytes.h"
#include "model/families/families.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- the list ---- */

static const struct family *const families[] = {
#define FAMILY(name) &family_##name,
#include "model/families/families.def"
#undef FAMILY
};

enum { FAMILY_COUNT = sizeof families / sizeof families[0] };

const struct family *family_at(size_t index) {
    return index < FAMILY_COUNT ? families[index] : NULL;
}

const char *description_architecture(size_t index) {
    for (size_t i = 0; i < FAMILY_COUNT; i++) {
        for (const char *const *name = families[i]->architectures; *name != NULL; name++) {
            if (index-- == 0) {
                return *name;
            }
        }
    }
    return NULL;
}

const struct family *family_find(struct string_view architecture) {
    for (size_t i = 0; i < FAMILY_COUNT; i++) {
        for (const char *const *name = families[i]->architectures; *name != NULL; name++) {
            if (string_view_is(architecture, *name)) {
                return families[i];
            }
        }
    }
    return NULL;
}

const char *family_tensor_name(const struct family *family, const char *usual) {
    for (const struct tensor_alias *alias = family->aliases; alias->usual != NULL; alias++) {
        if (strcmp(alias->usual, usual) == 0) {
            return alias->own;
        }
    }
    return usual;
}

/* ---- reading ---- */

const char *family_key(const struct family_reader *reader, const char *key, char out[128]) {
    snprintf(out, 128, "%s.%s", reader->architecture, key);
    return out;
}

bool family_has_key(const struct family_reader *reader, const char *key) {
    char name[128];
    return gguf_find(reader->gguf, family_key(reader, key, name)) != NULL;
}

bool family_fail(const struct family_reader *reader, const char *key, const char *what) {
    char name[128];
    return error_set(reader->error, ERROR_FORMAT, "%s: '%s' %s", gguf_path(reader->gguf),
                     family_key(reader, key, name), what);
}

bool family_read_float(const struct family_reader *reader, const char *key, float *out) {
    char name[128];
    return gguf_read_f32(reader->gguf, family_key(reader, key, name), out, reader->error);
}

bool family_read_bool(const struct family_reader *reader, const char *key, bool *out) {
    char name[128];
    return gguf_read_bool(reader->gguf, family_key(reader, key, name), out, reader->error);
}

static bool in_range(const struct family_reader *reader, const char *key, double value,
                     size_t minimum, size_t maximum) {
    if (value >= (double)minimum && value <= (double)maximum && value == floor(value)) {
        return true;
    }
    char what[128];
    snprintf(what, sizeof what, "is %s%.0f; %zu to %zu are possible",
             family_has_key(reader, key) ? "" : "missing, so ", value, minimum, maximum);
    return family_fail(reader, key, what);
}

/* Element `index` of an array, or the number that holds for all; its type has been checked. */
static double element_of(const struct gguf_value *value, size_t index) {
    double number = -1;
    gguf_number_at(value, value->type == GGUF_ARRAY ? index : 0, &number);
    return number;
}

static bool is_numeric(const struct family_reader *reader, const char *key,
                       const struct gguf_value *value) {
    double number;
    return value->count == 0 || gguf_number_at(value, 0, &number) ||
           family_fail(reader, key, "is no number");
}

bool family_read_layer_sizes(const struct family_reader *reader, const char *key, size_t minimum,
                             size_t maximum, size_t fallback, size_t layer_count, size_t *out) {
    char name[128];
    const struct gguf_value *value = gguf_find(reader->gguf, family_key(reader, key, name));
    if (value != NULL && !is_numeric(reader, key, value)) {
        return false;
    }
    if (value != NULL && value->type == GGUF_ARRAY && value->count < layer_count) {
        return family_fail(reader, key, "has fewer entries than there are layers");
    }
    for (size_t i = 0; i < layer_count; i++) {
        double number = value == NULL ? (double)fallback : element_of(value, i);
        if (!in_range(reader, key, number, minimum, maximum)) {
            return false;
        }
        out[i] = (size_t)number;
    }
    return true;
}

bool family_read_size(const struct family_reader *reader, const char *key, size_t minimum,
                      size_t maximum, size_t *out) {
    char name[128];
    const struct gguf_value *value = gguf_find(reader->gguf, family_key(reader, key, name));
    double number = (double)*out;
    if (value != NULL) {
        if (!is_numeric(reader, key, value)) {
            return false;
        }
        number = element_of(value, 0);
        for (size_t i = 1; i < value->count; i++) {
            if (element_of(value, i) != number) {
                return error_set(reader->error, ERROR_UNSUPPORTED,
                                 "%s: '%s' differs from layer to layer, which is not supported",
                                 gguf_path(reader->gguf), name);
            }
        }
    }
    if (!in_range(reader, key, number, minimum, maximum)) {
        return false;
    }
    *out = (size_t)number;
    return true;
}

bool family_read_windows(const struct family_reader *reader, size_t window, size_t pattern,
                         struct model_description *d) {
    static const char key[] = "attention.sliding_window_pattern";
    char name[128];
    const struct gguf_value *value = gguf_find(reader->gguf, family_key(reader, key, name));
    bool is_array = value != NULL && value->type == GGUF_ARRAY;
    double every = (double)pattern;
    if (value != NULL && !is_array && (!gguf_number_at(value, 0, &every) || every < 0)) {
        return family_fail(reader, key, "is neither a number nor a list of booleans");
    }
    if (is_array && value->count < d->layer_count) {
        return family_fail(reader, key, "has fewer entries than there are layers");
    }
    for (size_t i = 0; i < d->layer_count; i++) {
        double flag = 1;
        if (is_array && !gguf_number_at(value, i, &flag)) {
            return family_fail(reader, key, "is not a list of booleans");
        }
        if (!is_array && every >= 1) {
            flag = fmod((double)i + 1, floor(every)) != 0;
        }
        d->layers[i].window = flag != 0 ? window : 0;
    }
    return true;
}

bool family_place_kv(const struct family_reader *reader, struct model_description *d) {
    d->kv_layers = arena_alloc(reader->arena, d->layer_count, sizeof *d->kv_layers);
    if (d->kv_layers == NULL) {
        return error_set(reader->error, ERROR_OUT_OF_MEMORY, "no memory for the layer table");
    }
    for (size_t i = 0; i < d->layer_count; i++) {
        struct layer_description *layer = &d->layers[i];
        if ((layer->parts & (PART_KEYS | PART_LATENT)) == 0) {
            const struct layer_description *other = &d->layers[layer->kv_layer];
            layer->kv_layer = other->kv_layer; /* an earlier layer: its own place is known */
            continue;
        }
        layer->kv_layer = d->kv_layer_count++;
        d->kv_layers[layer->kv_layer] =
            (struct kv_layer){.head_count = layer->kv_head_count,
                              .key_dim = layer->key_dim,
                              .value_dim = layer->value_dim,
                              .values_in_keys = (layer->parts & PART_LATENT) != 0};
    }
    return true;
}
