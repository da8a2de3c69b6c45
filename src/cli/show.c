/* show.c - mistral show: what a model file says of itself. Reads the file's head only. */
#include "base/bytes.h"
#include "base/utf8.h"
#include "cli/cli.h"
#include "cli/json_output.h"
#include "cli/terminal.h"
#include "convert/prepare.h"
#include "model/gguf.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    LONG_ARRAY = 16, /* elements; longer arrays are counted, not shown, unless --full */
    LONG_TEXT = 60,  /* bytes of a string in a line */
    MAX_FORMATS = 64,
};

static struct {
    bool json;
    bool full;
    bool metadata;
    bool tensors;
    bool chat_template;
} options;

static const struct argument_option option_table[] = {
    {.name = "metadata",
     .kind = ARGUMENT_SWITCH,
     .target = &options.metadata,
     .sentence = "every key of the file and its value"},
    {.name = "tensors",
     .kind = ARGUMENT_SWITCH,
     .target = &options.tensors,
     .sentence = "every tensor: name, format, shape"},
    {.name = "template",
     .kind = ARGUMENT_SWITCH,
     .target = &options.chat_template,
     .sentence = "the chat template, nothing else"},
    {.name = "full",
     .kind = ARGUMENT_SWITCH,
     .target = &options.full,
     .sentence = "long arrays and texts too (with --metadata or --json)"},
    {.name = "json", .kind = ARGUMENT_SWITCH, .target = &options.json, .sentence = "as JSON"},
    {0},
};

/* Values. */

static bool is_whole(enum gguf_value_type type) {
    return type != GGUF_FLOAT32 && type != GGUF_FLOAT64;
}

static json_t *element_to_json(const struct gguf_value *value, size_t index) {
    struct string_view text;
    double number = 0;
    if (value->element_type == GGUF_STRING) {
        return gguf_string_at(value, index, &text) ? json_output_text(text) : NULL;
    }
    if (value->element_type == GGUF_BOOL) {
        return json_boolean(value->data[index] != 0);
    }
    if (!gguf_number_at(value, index, &number)) {
        return NULL;
    }
    if (is_whole(value->element_type) && fabs(number) <= 0x1p53) {
        return json_integer((json_int_t)number);
    }
    return isfinite(number) ? json_real(number) : json_null(); /* JSON has no infinity */
}

/* All of an array's strings at once: one by one each would be sought from the start. */
static json_t *strings_to_json(const struct gguf_value *value) {
    struct string_view *strings = calloc(value->count + 1, sizeof *strings);
    json_t *array = json_array();
    if (strings != NULL && gguf_strings(value, strings)) {
        for (size_t i = 0; i < value->count; i++) {
            json_array_append_new(array, json_output_text(strings[i]));
        }
    }
    free(strings);
    return array;
}

static json_t *value_to_json(const struct gguf_value *value) {
    if (value->type != GGUF_ARRAY) {
        return element_to_json(value, 0);
    }
    if (value->count > LONG_ARRAY && !options.full) {
        return json_pack("{s:I}", "count", (json_int_t)value->count);
    }
    if (value->element_type == GGUF_STRING) {
        return strings_to_json(value);
    }
    json_t *array = json_array();
    for (size_t i = 0; i < value->count; i++) {
        json_array_append_new(array, element_to_json(value, i));
    }
    return array;
}

/* Totals. */

struct format_share {
    const struct quant_format *format;
    size_t tensors;
};

struct totals {
    uint64_t parameters;
    struct format_share formats[MAX_FORMATS];
    size_t format_count;
};

static struct totals count_tensors(const struct gguf *gguf) {
    struct totals totals = {0};
    for (size_t i = 0; i < gguf_tensor_count(gguf); i++) {
        const struct gguf_tensor *tensor = gguf_tensor_at(gguf, i);
        totals.parameters += (uint64_t)tensor->dimensions[0] * tensor->row_count;
        size_t at = 0;
        while (at < totals.format_count && totals.formats[at].format != tensor->format) {
            at++;
        }
        if (at == MAX_FORMATS) {
            continue;
        }
        totals.format_count += at == totals.format_count ? 1 : 0;
        totals.formats[at].format = tensor->format;
        totals.formats[at].tensors++;
    }
    return totals;
}

/* Output. */

static json_t *tensor_to_json(const struct gguf_tensor *tensor) {
    json_t *shape = json_array();
    for (size_t i = 0; i < tensor->dimension_count; i++) {
        json_array_append_new(shape, json_integer((json_int_t)tensor->dimensions[i]));
    }
    return json_pack("{s:o, s:s, s:o, s:I}", "name", json_output_text(tensor->name), "format",
                     tensor->format->name, "shape", shape, "bytes", (json_int_t)tensor->bytes);
}

static bool print_json(const struct gguf *gguf, struct error *error) {
    struct totals totals = count_tensors(gguf);
    json_t *formats = json_object();
    for (size_t i = 0; i < totals.format_count; i++) {
        json_object_set_new(formats, totals.formats[i].format->name,
                            json_integer((json_int_t)totals.formats[i].tensors));
    }
    json_t *metadata = json_object();
    for (size_t i = 0; i < gguf_value_count(gguf); i++) {
        const struct gguf_value *value = gguf_value_at(gguf, i);
        json_t *key = json_output_text(value->key);
        json_object_set_new(metadata, key == NULL ? "" : json_string_value(key),
                            value_to_json(value));
        json_decref(key);
    }
    json_t *document =
        json_pack("{s:s, s:I, s:i, s:I, s:I, s:o, s:o}", "path", gguf_path(gguf), "bytes",
                  (json_int_t)gguf_file_bytes(gguf), "gguf_version", (int)gguf_version(gguf),
                  "parameters", (json_int_t)totals.parameters, "tensor_count",
                  (json_int_t)gguf_tensor_count(gguf), "formats", formats, "metadata", metadata);
    if (document != NULL && options.tensors) {
        json_t *tensors = json_array();
        for (size_t i = 0; i < gguf_tensor_count(gguf); i++) {
            json_array_append_new(tensors, tensor_to_json(gguf_tensor_at(gguf, i)));
        }
        json_object_set_new(document, "tensors", tensors);
    }
    return json_output_print(document, error);
}

/* On one line, and cut where it is long, but not within a character. */
static void print_text(const char *text, size_t length) {
    size_t shown = options.full ? length : size_min(length, LONG_TEXT);
    shown -= utf8_incomplete_tail(text, shown);
    struct string_buffer line = {0};
    string_buffer_append(&line, text, shown);
    for (size_t i = 0; i < line.length; i++) {
        line.data[i] = line.data[i] == '\n' ? ' ' : line.data[i];
    }
    terminal_write_text(stdout, string_buffer_text(&line), line.length);
    printf("%s\n", shown < length ? "…" : "");
    string_buffer_deinit(&line);
}

static void print_value(const struct gguf_value *value) {
    json_t *json = value_to_json(value);
    if (json_is_string(json)) {
        print_text(json_string_value(json), json_string_length(json));
    } else if (json_is_object(json)) {
        printf("(%zu values)\n", value->count);
    } else {
        char *text = json_dumps(json, JSON_ENCODE_ANY);
        printf("%s\n", text == NULL ? "?" : text);
        free(text);
    }
    json_decref(json);
}

/* What people ask first, when the file has it; "%s" stands for the architecture. */
static const struct {
    const char *label, *key;
} summary_rows[] = {
    {"name", "general.name"},
    {"architecture", "general.architecture"},
    {"license", "general.license"},
    {"context", "%s.context_length"},
    {"layers", "%s.block_count"},
    {"width", "%s.embedding_length"},
    {"heads", "%s.attention.head_count"},
    {"key-value heads", "%s.attention.head_count_kv"},
    {"sliding window", "%s.attention.sliding_window"},
    {"tokenizer", "tokenizer.ggml.model"},
    {"pre-tokenizer", "tokenizer.ggml.pre"},
    {"vocabulary", "tokenizer.ggml.tokens"},
    {"chat template", "tokenizer.chat_template"},
};

static void print_summary(const struct gguf *gguf) {
    struct string_view architecture = {"", 0};
    gguf_read_string(gguf, "general.architecture", &architecture, NULL);
    for (size_t i = 0; i < sizeof summary_rows / sizeof summary_rows[0]; i++) {
        const char *pattern = summary_rows[i].key;
        bool is_pattern = strncmp(pattern, "%s", 2) == 0;
        char key[256];
        snprintf(key, sizeof key, "%.*s%s",
                 is_pattern ? (int)size_min(architecture.length, 100) : 0, architecture.data,
                 is_pattern ? pattern + 2 : pattern);
        const struct gguf_value *value = gguf_find(gguf, key);
        if (value != NULL) {
            printf("%-17s", summary_rows[i].label);
            print_value(value);
        }
    }
    struct totals totals = count_tensors(gguf);
    printf("%-17s%.4g million\n%-17s%zu:", "parameters", (double)totals.parameters * 1e-6,
           "tensors", gguf_tensor_count(gguf));
    for (size_t i = 0; i < totals.format_count; i++) {
        printf(" %zu %s", totals.formats[i].tensors, totals.formats[i].format->name);
    }
    char size[32];
    terminal_format_bytes(size, sizeof size, gguf_file_bytes(gguf));
    printf("\n%-17s%s, GGUF version %u\n%-17s%s\n", "file", size, (unsigned)gguf_version(gguf),
           "path", gguf_path(gguf));
}

/* What it is quantised to when it is loaded, where that is not what it is. */
static bool print_loaded(const struct config *config, const char *path, struct error *error) {
    struct outline outline = {0};
    if (!outline_open(config, path, true, &outline, error)) {
        return false;
    }
    if (outline.is_converted) {
        char size[32];
        struct totals totals = count_tensors(outline.gguf);
        terminal_format_bytes(size, sizeof size, gguf_file_bytes(outline.gguf));
        printf("%-17s%s:", "loaded as", size);
        for (size_t i = 0; i < totals.format_count; i++) {
            printf(" %zu %s", totals.formats[i].tensors, totals.formats[i].format->name);
        }
        printf("\n");
    }
    outline_close(&outline);
    return true;
}

static void print_metadata(const struct gguf *gguf) {
    for (size_t i = 0; i < gguf_value_count(gguf); i++) {
        const struct gguf_value *value = gguf_value_at(gguf, i);
        terminal_write_text(stdout, value->key.data, value->key.length);
        fputs(" = ", stdout);
        print_value(value);
    }
}

static void print_tensors(const struct gguf *gguf) {
    for (size_t i = 0; i < gguf_tensor_count(gguf); i++) {
        const struct gguf_tensor *tensor = gguf_tensor_at(gguf, i);
        terminal_write_text(stdout, tensor->name.data, tensor->name.length);
        printf(" %s [", tensor->format->name);
        for (size_t j = 0; j < tensor->dimension_count; j++) {
            printf("%s%zu", j == 0 ? "" : ", ", tensor->dimensions[j]);
        }
        printf("]\n");
    }
}

static bool print_template(const struct gguf *gguf, struct error *error) {
    struct string_view source = {NULL, 0};
    if (!gguf_read_string(gguf, "tokenizer.chat_template", &source, error)) {
        return false;
    }
    if (source.data == NULL) {
        return error_set(error, ERROR_NOT_FOUND, "'%s' has no chat template", gguf_path(gguf));
    }
    terminal_write_text(stdout, source.data, source.length);
    fputc('\n', stdout);
    return true;
}

static bool show(struct cli *cli, struct error *error) {
    struct string_buffer path = {0};
    struct outline outline = {0};
    bool done = cli_find_model(cli, &path, error) &&
                outline_open(&cli->config, string_buffer_text(&path), false, &outline, error);
    const struct gguf *gguf = outline.gguf;
    if (!done) {
        goto cleanup;
    }
    if (options.chat_template) {
        done = print_template(gguf, error);
    } else if (options.json) {
        done = print_json(gguf, error);
    } else if (options.metadata || options.tensors) {
        if (options.metadata) {
            print_metadata(gguf);
        }
        if (options.tensors) {
            print_tensors(gguf);
        }
    } else {
        print_summary(gguf);
        done = print_loaded(&cli->config, string_buffer_text(&path), error);
    }
cleanup:
    outline_close(&outline);
    string_buffer_deinit(&path);
    return done;
}

const struct cli_command cli_show_command = {
    .name = "show",
    .usage = "MODEL",
    .summary = "show what a model file says of itself",
    .reader = READ_BY_SHOW,
    .minimum_operands = 1,
    .maximum_operands = 1,
    .options = option_table,
    .run = show,
};
