/* model_facts.c - see model_facts.h. */
#include "server/model_facts.h"

#include "convert/prepare.h"
#include "model/gguf.h"
#include "server/fill_in_middle.h"
#include "text/chat/traits.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SHORT_ARRAY = 16 }; /* elements that are shown without being asked for */

/* general.file_type, as llama.cpp numbers them (llama.h, enum llama_ftype). */
static const struct {
    uint32_t number;
    const char *name;
} file_types[] = {
    {0, "F32"},     {1, "F16"},     {2, "Q4_0"},    {3, "Q4_1"},    {7, "Q8_0"},    {8, "Q5_0"},
    {9, "Q5_1"},    {10, "Q2_K"},   {11, "Q3_K_S"}, {12, "Q3_K_M"}, {13, "Q3_K_L"}, {14, "Q4_K_S"},
    {15, "Q4_K_M"}, {16, "Q5_K_S"}, {17, "Q5_K_M"}, {18, "Q6_K"},   {32, "BF16"},
};

static void copy_view(struct string_view view, char *text, size_t size) {
    snprintf(text, size, "%.*s", (int)(view.length < size ? view.length : size),
             view.data == NULL ? "" : view.data);
}

static void read_size(const struct gguf *gguf, const char *architecture, const char *key,
                      size_t *size) {
    char name[96];
    uint32_t value = 0;
    struct error ignored;
    snprintf(name, sizeof name, "%s.%s", architecture, key);
    if (gguf_read_u32(gguf, name, &value, &ignored)) {
        *size = value;
    }
}

/* By the file's own word, else by the format of most of its values. */
static void read_format(const struct gguf *gguf, struct model_facts *facts) {
    uint32_t number = UINT32_MAX;
    struct error ignored;
    size_t most = 0;
    for (size_t i = 0; i < gguf_tensor_count(gguf); i++) {
        const struct gguf_tensor *tensor = gguf_tensor_at(gguf, i);
        size_t values = tensor->dimensions[0] * tensor->row_count;
        facts->parameter_count += values;
        if (values > most) {
            most = values;
            snprintf(facts->format, sizeof facts->format, "%s", tensor->format->name);
        }
    }
    if (!gguf_read_u32(gguf, "general.file_type", &number, &ignored)) {
        return;
    }
    for (size_t i = 0; i < sizeof file_types / sizeof file_types[0]; i++) {
        if (file_types[i].number == number) {
            snprintf(facts->format, sizeof facts->format, "%s", file_types[i].name);
        }
    }
}

/* Marks of fill-in-the-middle in the vocabulary: of a family, there are two at least. */
static bool has_middle_marks(const struct gguf *gguf) {
    const struct gguf_value *tokens = gguf_find(gguf, "tokenizer.ggml.tokens");
    size_t found = 0;
    if (tokens == NULL || tokens->element_type != GGUF_STRING) {
        return false;
    }
    const uint8_t *at = tokens->data;
    for (size_t i = 0; i < tokens->count; i++) { /* each: its length, 8 bytes, then its bytes */
        uint64_t length = 0;
        for (size_t k = 0; k < 8; k++) {
            length |= (uint64_t)at[k] << 8 * k;
        }
        found += fill_in_middle_is_mark((struct string_view){(const char *)at + 8, length});
        at += 8 + length;
    }
    return found >= 2;
}

/* False when memory runs out. */
static bool read_template(const struct gguf *gguf, struct model_facts *facts) {
    struct string_view source = {0};
    struct chat_template *chat_template = NULL;
    struct chat_traits traits = {0};
    struct error reason = {0};
    if (!gguf_read_string(gguf, "tokenizer.chat_template", &source, &reason) ||
        source.length == 0) {
        return true;
    }
    string_buffer_append(&facts->chat_template, source.data, source.length);
    if (facts->chat_template.failed ||
        !chat_template_create(source.data, source.length, &chat_template, &reason)) {
        return !facts->chat_template.failed && reason.code != ERROR_OUT_OF_MEMORY;
    }
    bool has_memory = chat_traits_probe(chat_template, string_buffer_text(&facts->chat_template),
                                        NULL, &traits, &reason) ||
                      reason.code != ERROR_OUT_OF_MEMORY;
    facts->can_use_tools = traits.supports_tools;
    facts->can_think = traits.supports_thinking;
    chat_template_free(chat_template);
    return has_memory;
}

bool model_facts_read(const struct config *config, const char *path, struct model_facts *facts,
                      struct error *error) {
    struct outline outline;
    struct string_view text = {0};
    struct error ignored;
    *facts = (struct model_facts){0};
    if (!outline_open(config, path, false, &outline, error)) {
        return false;
    }
    const struct gguf *gguf = outline.gguf;
    if (gguf_read_string(gguf, "general.architecture", &text, &ignored)) {
        copy_view(text, facts->architecture, sizeof facts->architecture);
    }
    text = (struct string_view){0};
    if (gguf_read_string(gguf, "general.license", &text, &ignored)) {
        string_buffer_append(&facts->license, text.data, text.length);
    }
    read_size(gguf, facts->architecture, "context_length", &facts->context_length);
    read_size(gguf, facts->architecture, "embedding_length", &facts->embedding_length);
    read_format(gguf, facts);
    bool has_memory = read_template(gguf, facts) && !facts->license.failed;
    facts->can_insert = has_middle_marks(gguf);
    outline_close(&outline);
    return has_memory || error_set(error, ERROR_OUT_OF_MEMORY, "no memory for a model's facts");
}

void model_facts_deinit(struct model_facts *facts) {
    string_buffer_deinit(&facts->chat_template);
    string_buffer_deinit(&facts->license);
}

/* --- metadata as JSON --- */

static void write_number(struct json_writer *json, const struct gguf_value *value, size_t index) {
    double number = 0;
    if (value->element_type == GGUF_BOOL) {
        (void)gguf_number_at(value, index, &number);
        json_write_bool(json, number != 0);
    } else if (!gguf_number_at(value, index, &number)) {
        json_write_null(json);
    } else if (number == floor(number) && fabs(number) < 0x1p53) {
        json_write_integer(json, (int64_t)number);
    } else {
        json_write_number(json, number);
    }
}

static void write_strings(struct json_writer *json, const struct gguf_value *value) {
    const uint8_t *at = value->data;
    for (size_t i = 0; i < value->count; i++) {
        uint64_t length = 0;
        for (size_t k = 0; k < 8; k++) {
            length |= (uint64_t)at[k] << 8 * k;
        }
        json_write_text(json, (const char *)at + 8, length);
        at += 8 + length;
    }
}

static void write_value(struct json_writer *json, const struct gguf_value *value, bool verbose) {
    bool is_array = value->type == GGUF_ARRAY;
    if (is_array) {
        json_write_array_begin(json);
        if (value->count > SHORT_ARRAY && !verbose) {
            json_write_array_end(json);
            return;
        }
    }
    if (value->element_type == GGUF_STRING) {
        write_strings(json, value);
    } else {
        for (size_t i = 0; i < value->count; i++) {
            write_number(json, value, i);
        }
    }
    if (is_array) {
        json_write_array_end(json);
    }
}

bool model_facts_write_metadata(const struct config *config, const char *path, bool verbose,
                                struct json_writer *json, struct error *error) {
    struct outline outline;
    if (!outline_open(config, path, false, &outline, error)) {
        return false;
    }
    const struct gguf *gguf = outline.gguf;
    uint64_t parameters = 0;
    for (size_t i = 0; i < gguf_tensor_count(gguf); i++) {
        const struct gguf_tensor *tensor = gguf_tensor_at(gguf, i);
        parameters += tensor->dimensions[0] * tensor->row_count;
    }
    for (size_t i = 0; i < gguf_value_count(gguf); i++) {
        const struct gguf_value *value = gguf_value_at(gguf, i);
        char key[256];
        copy_view(value->key, key, sizeof key);
        if (strcmp(key, "tokenizer.chat_template") != 0 &&
            strcmp(key, "general.parameter_count") != 0) {
            json_write_key(json, key);
            write_value(json, value, verbose);
        }
    }
    json_write_integer_member(json, "general.parameter_count", (int64_t)parameters);
    outline_close(&outline);
    return true;
}

bool model_facts_write_tensors(const struct config *config, const char *path,
                               struct json_writer *json, struct error *error) {
    struct outline outline;
    if (!outline_open(config, path, false, &outline, error)) {
        return false;
    }
    const struct gguf *gguf = outline.gguf;
    json_write_array_begin(json);
    for (size_t i = 0; i < gguf_tensor_count(gguf); i++) {
        const struct gguf_tensor *tensor = gguf_tensor_at(gguf, i);
        json_write_object_begin(json);
        json_write_key(json, "name");
        json_write_text(json, tensor->name.data, tensor->name.length);
        json_write_text_member(json, "type", tensor->format->name);
        json_write_key(json, "shape");
        json_write_array_begin(json);
        for (size_t k = 0; k < tensor->dimension_count; k++) {
            json_write_integer(json, (int64_t)tensor->dimensions[k]);
        }
        json_write_array_end(json);
        json_write_object_end(json);
    }
    json_write_array_end(json);
    outline_close(&outline);
    return true;
}

void model_facts_write_size(uint64_t parameter_count, char text[16]) {
    double count = (double)parameter_count;
    if (count >= 1e9) {
        snprintf(text, 16, "%.1fB", count / 1e9);
    } else if (count >= 1e6) {
        snprintf(text, 16, "%.2fM", count / 1e6);
    } else if (count >= 1e3) {
        snprintf(text, 16, "%.0fK", count / 1e3);
    } else {
        snprintf(text, 16, "%.0f", count);
    }
}
