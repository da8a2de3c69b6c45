/* checkpoint.c - see checkpoint.h: the folder's tensors, under GGUF's names. */
#include "convert/checkpoint.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/json_memory.h"
#include "convert/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_JSON_BYTES = 64 << 20, MAX_FILES = 1024 };

bool checkpoint_read_json(const char *folder, const char *name, bool required, json_t **value,
                          struct error *error) {
    struct string_buffer path = {0};
    char *text = NULL;
    size_t length = 0;
    json_error_t where;
    *value = NULL;
    string_buffer_append_format(&path, "%s/%s", folder, name);
    bool done = true;
    if (required || file_exists(string_buffer_text(&path))) {
        done = file_read_all(string_buffer_text(&path), MAX_JSON_BYTES, &text, &length, error);
        *value = done ? json_guarded(json_loadb, text, length, 0, &where) : NULL;
        if (done && *value == NULL) {
            done = error_set(error, ERROR_FORMAT, "'%s', line %d, column %d: %s",
                             string_buffer_text(&path), where.line, where.column, where.text);
        }
    }
    free(text);
    string_buffer_deinit(&path);
    return done;
}

/* ---- names ---- */

/* Whose rows the RoPE pairs are of. */
enum rotary { ROTARY_NONE, ROTARY_QUERIES, ROTARY_KEYS };

static const struct {
    const char *theirs, *ours;
    enum rotary rotary;
} layer_names[] = {
    {"input_layernorm", "attn_norm", ROTARY_NONE},
    {"self_attn.q_proj", "attn_q", ROTARY_QUERIES},
    {"self_attn.k_proj", "attn_k", ROTARY_KEYS},
    {"self_attn.v_proj", "attn_v", ROTARY_NONE},
    {"self_attn.o_proj", "attn_output", ROTARY_NONE},
    {"post_attention_layernorm", "ffn_norm", ROTARY_NONE},
    {"mlp.gate_proj", "ffn_gate", ROTARY_NONE},
    {"mlp.up_proj", "ffn_up", ROTARY_NONE},
    {"mlp.down_proj", "ffn_down", ROTARY_NONE},
};

static const struct {
    const char *theirs, *ours;
} end_names[] = {
    {"model.embed_tokens.weight", "token_embd.weight"},
    {"model.norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
};

/* "model.layers.3.self_attn.q_proj.weight" → "blk.3.attn_q.weight" in `out`; false: no such name.
 */
static bool translate(const char *theirs, char out[64], enum rotary *rotary) {
    static const char before[] = "model.layers.";
    *rotary = ROTARY_NONE;
    for (size_t i = 0; i < sizeof end_names / sizeof end_names[0]; i++) {
        if (strcmp(theirs, end_names[i].theirs) == 0) {
            snprintf(out, 64, "%s", end_names[i].ours);
            return true;
        }
    }
    if (strncmp(theirs, before, sizeof before - 1) != 0) {
        return false;
    }
    const char *digits = theirs + sizeof before - 1;
    size_t length = strspn(digits, "0123456789");
    if (length == 0 || length > 5 || digits[length] != '.') {
        return false;
    }
    const char *inner = digits + length + 1;
    for (size_t i = 0; i < sizeof layer_names / sizeof layer_names[0]; i++) {
        size_t known = strlen(layer_names[i].theirs);
        const char *kind = inner + known;
        if (strncmp(inner, layer_names[i].theirs, known) == 0 &&
            (strcmp(kind, ".weight") == 0 || strcmp(kind, ".bias") == 0)) {
            snprintf(out, 64, "blk.%.*s.%s%s", (int)length, digits, layer_names[i].ours, kind);
            *rotary = layer_names[i].rotary;
            return true;
        }
    }
    return false;
}

/* What some folders hold and no model needs. */
static bool is_needless(const struct checkpoint *checkpoint, const char *name) {
    return strstr(name, "rotary_emb.inv_freq") != NULL ||
           (checkpoint->is_tied && strcmp(name, "lm_head.weight") == 0);
}

/* ---- tensors ---- */

static bool add_tensor(const struct checkpoint *checkpoint, struct source *source,
                       const struct safetensor *from, struct error *error) {
    char name[64];
    enum rotary rotary;
    struct source_tensor *tensor = &source->tensors[source->tensor_count];
    if (is_needless(checkpoint, from->name.data)) {
        return true;
    }
    if (!translate(from->name.data, name, &rotary)) {
        return error_set(error, ERROR_UNSUPPORTED,
                         "'%s' has a tensor '%.80s', which no supported model has", source->path,
                         from->name.data);
    }
    if (from->format == NULL || from->dimension_count == 0) {
        return error_set(
            error, ERROR_UNSUPPORTED,
            "'%s': the tensor '%.80s' is not of f32, f16 or bf16; take the form of the "
            "model that is not quantised",
            source->path, from->name.data);
    }
    char *copy = arena_copy_text(&source->arena, name, strlen(name));
    if (copy == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for names");
    }
    *tensor = (struct source_tensor){.name = string_view_of(copy),
                                     .format = from->format,
                                     .dimension_count = from->dimension_count,
                                     .row_count = 1,
                                     .data = from->data};
    for (size_t i = 0; i < GGUF_MAX_DIMENSIONS; i++) {
        tensor->dimensions[i] =
            i < from->dimension_count ? from->dimensions[from->dimension_count - 1 - i] : 1;
        tensor->row_count *= i == 0 ? 1 : tensor->dimensions[i];
    }
    size_t heads = rotary == ROTARY_QUERIES ? checkpoint->head_count : checkpoint->kv_head_count;
    size_t outputs = tensor->dimensions[from->dimension_count == 1 ? 0 : 1];
    if (rotary != ROTARY_NONE && outputs != heads * checkpoint->head_dim) {
        return error_set(error, ERROR_FORMAT,
                         "'%s': the tensor '%.80s' has %zu outputs; %zu heads of %zu are needed",
                         source->path, from->name.data, outputs, heads, checkpoint->head_dim);
    }
    tensor->halved_heads = rotary == ROTARY_NONE ? 0 : heads;
    source->tensor_count++;
    return true;
}

static bool add_rope_factors(const struct checkpoint *checkpoint, struct source *source,
                             struct error *error) {
    size_t pairs = checkpoint->head_dim / 2;
    float *factors = arena_alloc(&source->arena, pairs, sizeof *factors);
    uint8_t *bytes = arena_alloc(&source->arena, pairs, sizeof *factors);
    if (factors == NULL || bytes == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for RoPE factors");
    }
    if (!checkpoint_rope_factors(checkpoint, factors)) {
        return true;
    }
    const struct quant_format *format = quant_format_of(TENSOR_F32);
    format->encode(factors, bytes, pairs);
    source->tensors[source->tensor_count++] =
        (struct source_tensor){.name = string_view_of("rope_freqs.weight"),
                               .format = format,
                               .dimension_count = 1,
                               .dimensions = {pairs, 1, 1, 1},
                               .row_count = 1,
                               .data = bytes};
    return true;
}

/* ---- files ---- */

/* The names of the files with weights: [*count], owned by `index`, which the caller releases. */
static bool list_files(const struct source *source, json_t **index, const char *names[MAX_FILES],
                       size_t *count, struct error *error) {
    *count = 0;
    if (!checkpoint_read_json(source->path, "model.safetensors.index.json", false, index, error)) {
        return false;
    }
    if (*index == NULL) {
        names[(*count)++] = "model.safetensors";
        return true;
    }
    const char *tensor;
    json_t *file;
    json_object_foreach(json_object_get(*index, "weight_map"), tensor, file) {
        const char *name = json_string_value(file);
        bool known = false;
        for (size_t i = 0; name != NULL && i < *count && !known; i++) {
            known = strcmp(names[i], name) == 0;
        }
        if (name == NULL || strchr(name, '/') != NULL || name[0] == '.' || *count == MAX_FILES) {
            return error_set(error, ERROR_FORMAT,
                             "'%s/model.safetensors.index.json' has the file '%.80s' for '%.80s'",
                             source->path, name == NULL ? "" : name, tensor);
        }
        if (!known) {
            names[(*count)++] = name;
        }
    }
    return *count > 0 ||
           error_set(error, ERROR_FORMAT, "'%s/model.safetensors.index.json' has no weight_map",
                     source->path);
}

static bool map_files(struct source *source, const char *const *names, size_t count,
                      struct safetensor **tensors, size_t *counts, struct error *error) {
    source->files = arena_alloc(&source->arena, count, sizeof *source->files);
    source->file_paths = arena_alloc(&source->arena, count, sizeof *source->file_paths);
    if (source->files == NULL || source->file_paths == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for %zu files", count);
    }
    for (size_t i = 0; i < count; i++) {
        struct string_buffer path = {0};
        string_buffer_append_format(&path, "%s/%s", source->path, names[i]);
        struct mapped_file *file = &source->files[i];
        const char *kept = arena_copy_text(&source->arena, string_buffer_text(&path), path.length);
        string_buffer_deinit(&path);
        bool done = kept != NULL ? file_map(kept, file, error)
                                 : error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a path");
        source->file_paths[i] = kept;
        source->file_count += done;
        done = done && safetensors_read(kept, file->data, file->size, &source->arena, &tensors[i],
                                        &counts[i], error);
        if (!done) {
            return false;
        }
    }
    return true;
}

static bool read_tensors(const struct checkpoint *checkpoint, struct source *source,
                         struct error *error) {
    json_t *index = NULL;
    const char *names[MAX_FILES];
    struct safetensor *tensors[MAX_FILES];
    size_t counts[MAX_FILES] = {0};
    size_t file_count = 0, total = 1; /* one for the RoPE factors */
    bool done = list_files(source, &index, names, &file_count, error) &&
                map_files(source, names, file_count, tensors, counts, error);
    for (size_t i = 0; done && i < file_count; i++) {
        total += counts[i];
    }
    if (done) {
        source->tensors = arena_alloc(&source->arena, total, sizeof *source->tensors);
        done = source->tensors != NULL ||
               error_set(error, ERROR_OUT_OF_MEMORY, "no memory for %zu tensors", total);
    }
    done = done && add_rope_factors(checkpoint, source, error);
    for (size_t i = 0; done && i < file_count; i++) {
        for (size_t j = 0; done && j < counts[i]; j++) {
            done = add_tensor(checkpoint, source, &tensors[i][j], error);
        }
    }
    json_decref(index);
    return done;
}

bool checkpoint_open(struct source *source, struct error *error) {
    struct checkpoint checkpoint = {.folder = source->path};
    bool done =
        checkpoint_read_json(source->path, "config.json", true, &checkpoint.config, error) &&
        checkpoint_read_config(&checkpoint, error) &&
        checkpoint_write_config(&checkpoint, &source->values, error) &&
        checkpoint_write_tokenizer(&checkpoint, &source->values, &source->arena, error) &&
        read_tensors(&checkpoint, source, error);
    if (done) {
        source->shape = (struct mix_shape){
            .layer_count = checkpoint.layer_count,
            .group_size = checkpoint.head_count / checkpoint.kv_head_count,
            .has_output = !checkpoint.is_tied,
        };
    }
    json_decref(checkpoint.config);
    return done;
}
